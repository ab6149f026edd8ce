//! The append unit: what one zone append writes.
//!
//! A unit is a whole number of blocks: [`UnitHeader`], then records back to back, then zeros. It is believed only when its
//! checksum, store, generation and (where the device counts resets) reset count are right. Its records are believed when
//! together they are the ones that the header's contents checksum was made of: in a torn unit, sectors of the zone's
//! earlier filling may complete it with records that are whole in themselves.
//!
//! Two kinds of statement in the header make recovery sure of what is missing:
//! - *watermark*: all writes with a seqno up to it were on stable media when the unit was written.
//! - *claims*: units `claim_first .. claim_end` of this zone were on stable media, too. Once that is more than none, so
//!   was every claimed unit of the zone that the stream filled before (`previous`). A claimed unit that cannot be read is
//!   damage; an unclaimed one may be an append that a crash cut off.

use serde::{Deserialize, Serialize};

use super::record::{DecodedRecord, Record};
use super::{DecodeError, FORMAT_VERSION, Fields, FieldsMut};
use crate::units::{Generation, SeqNo};

/// Bytes of a unit header.
pub const UNIT_HEADER_BYTES: usize = 100;

const MAGIC: u32 = u32::from_le_bytes(*b"ZUNT");
const STRUCTURE: &str = "unit header";

/// 16 random bytes that tell one store from another.
pub type StoreId = [u8; 16];

/// Which kind of writes a zone receives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum StreamKind {
    /// New writes, in commit order.
    User,
    /// Copies that the collector made; their records keep their seqnos.
    Relocation,
}

impl StreamKind {
    const fn code(self) -> u8 {
        match self {
            Self::User => 0,
            Self::Relocation => 1,
        }
    }

    fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::User),
            1 => Ok(Self::Relocation),
            found => {
                Err(DecodeError::Field { structure: STRUCTURE, field: "stream", found: u64::from(found) })
            }
        }
    }
}

/// Streams of a kind there can be.
pub const MOST_CLASSES: u8 = 12;

/// One of the streams of a kind: the zones of a class of lifetimes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct StreamName {
    /// Which kind of writes.
    pub kind: StreamKind,
    /// Which class of them, from 0 and below [`MOST_CLASSES`].
    pub class: u8,
}

impl StreamName {
    /// The stream of new writes of a class.
    #[must_use]
    pub const fn user(class: u8) -> Self {
        Self { kind: StreamKind::User, class }
    }

    /// The stream of copies of a class.
    #[must_use]
    pub const fn relocation(class: u8) -> Self {
        Self { kind: StreamKind::Relocation, class }
    }
}

/// The zone that the same stream filled before this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PreviousZone {
    /// Its generation; 0 for none.
    pub generation: Generation,
    /// The first of its units that are claimed.
    pub claim_first: u32,
    /// How many units it has: those from `claim_first` up to here are claimed.
    pub unit_count: u32,
}

/// The head of a unit.
///
/// ```text
///  0  magic "ZUNT"        4  crc32 of bytes 8..100     8  store id (16)
/// 24  generation (u64)   32  first seqno (u64)        40  watermark (u64)
/// 48  incarnation (u32)  52  reset count (u32)        56  unit number in zone (u32)
/// 60  body bytes (u32)   64  record count (u16)       66  foreign count (u16)
/// 68  claim first (u32)
/// 72  claim end (u32)    76  previous units (u32)     80  previous generation (u64)
/// 88  previous claim first (u32)                      92  stream (u8)  93  version (u8)  94  moved (u8)  95  class (u8)
/// 96  crc32 of the first 4 bytes (the head checksum) of every record, in order
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnitHeader {
    /// The store that wrote it.
    pub store: StoreId,
    /// The filling of the zone that it belongs to.
    pub generation: Generation,
    /// Seqno of the first record; zero in a relocation unit.
    pub first_seqno: SeqNo,
    /// All seqnos up to this one were on stable media.
    pub watermark: SeqNo,
    /// Which run of the store wrote it; a recovery from a crash starts the next.
    pub incarnation: u32,
    /// The device's reset count of the zone when it was opened.
    pub reset_count: u32,
    /// Number of the unit in its zone, in order of sealing.
    pub unit: u32,
    /// Bytes of records behind the header.
    pub body_bytes: u32,
    /// Number of records; fewer than 65,536.
    pub record_count: u32,
    /// How many seqnos between those of the first and the last record are those of records in units of other streams.
    pub foreign_count: u16,
    /// First claimed unit of this zone.
    pub claim_first: u32,
    /// One past the last claimed unit of this zone.
    pub claim_end: u32,
    /// What the same stream filled before.
    pub previous: PreviousZone,
    /// Which kind of writes.
    pub stream: StreamKind,
    /// Which of the streams of this kind.
    pub class: u8,
    /// Whether it was to go to another zone that wore out: then its seqnos are not between those of its neighbours.
    pub moved: bool,
    /// Checksum of the records' head checksums ([`ContentsChecksum`]).
    pub contents_crc: u32,
}

/// Which records a unit holds, in 4 bytes: the checksum of their head checksums.
///
/// A record's head checksum covers its value's checksum, so that this stands for every byte of every record.
#[derive(Clone, Debug, Default)]
pub struct ContentsChecksum(crc32fast::Hasher);

impl ContentsChecksum {
    /// Adds an encoded record.
    ///
    /// # Panics
    /// When it is shorter than 4 bytes, which no record is.
    pub fn add(&mut self, encoded_record: &[u8]) {
        self.0.update(&encoded_record[..4]);
    }

    /// The checksum of what was added.
    #[must_use]
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl UnitHeader {
    /// Writes the header, checksum included, to the first bytes of `into`.
    ///
    /// # Panics
    /// When `into` is shorter than a header, or there are more records than fit a unit.
    pub fn encode(&self, into: &mut [u8]) {
        let head = &mut into[..UNIT_HEADER_BYTES];
        let mut fields = FieldsMut::new(head);
        fields.u32(MAGIC);
        fields.u32(0);
        fields.bytes(&self.store);
        fields.u64(self.generation.get());
        fields.u64(self.first_seqno.get());
        fields.u64(self.watermark.get());
        fields.u32(self.incarnation);
        fields.u32(self.reset_count);
        fields.u32(self.unit);
        fields.u32(self.body_bytes);
        fields
            .u16(u16::try_from(self.record_count).expect("a unit of 1 MiB holds fewer than 42,000 records"));
        fields.u16(self.foreign_count);
        fields.u32(self.claim_first);
        fields.u32(self.claim_end);
        fields.u32(self.previous.unit_count);
        fields.u64(self.previous.generation.get());
        fields.u32(self.previous.claim_first);
        fields.u8(self.stream.code());
        fields.u8(FORMAT_VERSION);
        fields.u8(u8::from(self.moved));
        fields.u8(self.class);
        fields.u32(self.contents_crc);
        let crc = crc32fast::hash(&head[8..]);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads a header from the first bytes of `from`.
    ///
    /// # Errors
    /// [`DecodeError`], whatever the bytes are.
    pub fn decode(from: &[u8]) -> Result<Self, DecodeError> {
        let Some(head) = from.get(..UNIT_HEADER_BYTES) else {
            return Err(DecodeError::CutShort {
                structure: STRUCTURE,
                needed_bytes: UNIT_HEADER_BYTES,
                found_bytes: from.len(),
            });
        };
        let mut fields = Fields::new(head);
        if fields.u32() != MAGIC {
            return Err(DecodeError::Magic { structure: STRUCTURE });
        }
        let (expected, found) = (fields.u32(), crc32fast::hash(&head[8..]));
        if expected != found {
            return Err(DecodeError::Checksum { structure: STRUCTURE, found, expected });
        }
        let version = head[93];
        if version != FORMAT_VERSION {
            return Err(DecodeError::Version { structure: STRUCTURE, found: version });
        }
        Self::decode_fields(&mut fields)?.validate()
    }

    /// A header for tests: of the first unit of a store's first zone, with nothing in it.
    #[cfg(test)]
    pub(crate) fn of_a_first_unit() -> Self {
        Self {
            store: [1; 16],
            generation: Generation::new(1),
            first_seqno: SeqNo::ZERO,
            watermark: SeqNo::ZERO,
            incarnation: 1,
            reset_count: 0,
            unit: 0,
            body_bytes: 0,
            record_count: 0,
            foreign_count: 0,
            claim_first: 0,
            claim_end: 0,
            previous: PreviousZone::default(),
            stream: StreamKind::User,
            class: 0,
            moved: false,
            contents_crc: 0,
        }
    }

    fn decode_fields(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let mut header = Self {
            store: fields.bytes(),
            generation: Generation::new(fields.u64()),
            first_seqno: SeqNo::new(fields.u64()),
            watermark: SeqNo::new(fields.u64()),
            incarnation: fields.u32(),
            reset_count: fields.u32(),
            unit: fields.u32(),
            body_bytes: fields.u32(),
            record_count: u32::from(fields.u16()),
            foreign_count: fields.u16(),
            claim_first: fields.u32(),
            claim_end: fields.u32(),
            previous: PreviousZone { unit_count: fields.u32(), ..PreviousZone::default() },
            stream: StreamKind::User,
            class: 0,
            moved: false,
            contents_crc: 0,
        };
        header.previous.generation = Generation::new(fields.u64());
        header.previous.claim_first = fields.u32();
        header.stream = StreamKind::from_code(fields.u8())?;
        let [_version, moved, class]: [u8; 3] = fields.bytes();
        (header.moved, header.class) = (moved != 0, class);
        header.contents_crc = fields.u32();
        Ok(header)
    }

    /// Checks what one field says against another.
    fn validate(self) -> Result<Self, DecodeError> {
        let field = |field, found: u64| Err(DecodeError::Field { structure: STRUCTURE, field, found });
        if self.generation == Generation::default() {
            return field("generation", 0);
        }
        if self.class >= MOST_CLASSES {
            return field("class", u64::from(self.class));
        }
        if self.claim_end > self.unit || self.claim_first > self.claim_end {
            return field("claim end", u64::from(self.claim_end));
        }
        if self.previous.generation >= self.generation {
            return field("previous generation", self.previous.generation.get());
        }
        if (self.stream == StreamKind::User) != (self.first_seqno > SeqNo::ZERO) {
            return field("first seqno", self.first_seqno.get());
        }
        // The write after the last one has a number as well.
        if self.first_seqno.get().checked_add(self.span()).is_none() {
            return field("first seqno", self.first_seqno.get());
        }
        if self.stream == StreamKind::User && self.watermark >= self.first_seqno {
            return field("watermark", self.watermark.get());
        }
        Ok(self)
    }

    /// Which stream it belongs to.
    #[must_use]
    pub const fn stream_name(&self) -> StreamName {
        StreamName { kind: self.stream, class: self.class }
    }

    /// How many seqnos lie between the first and the last of a unit of new writes, both included.
    fn span(&self) -> u64 {
        u64::from(self.record_count) + u64::from(self.foreign_count)
    }

    /// Seqno of the last record of a unit of new writes; zero in a relocation unit.
    #[must_use]
    pub fn last_seqno(&self) -> SeqNo {
        match self.stream {
            StreamKind::User => self.first_seqno.forward(self.span()).back(1),
            StreamKind::Relocation => SeqNo::ZERO,
        }
    }

    /// The records behind the header, one after another, if they are those that the unit was written with: all of them,
    /// with whole heads, and no other's. Whether a value is whole, its record says.
    #[must_use]
    pub fn records<'b>(&self, body: &'b [u8]) -> Option<Vec<DecodedRecord<'b>>> {
        let (mut position, mut contents, mut records) = (0, ContentsChecksum::default(), Vec::new());
        for _ in 0..self.record_count {
            let decoded = Record::decode(&body[position..]).ok()?;
            contents.add(&body[position..]);
            position += decoded.encoded_bytes;
            records.push(decoded);
        }
        (contents.finish() == self.contents_crc).then_some(records)
    }

    /// Whether everything behind the header is as it was written, values included.
    #[must_use]
    pub fn is_whole(&self, body: &[u8]) -> bool {
        self.records(body).is_some_and(|records| records.iter().all(|record| record.value_check.is_ok()))
    }

    /// Bytes of the whole unit before padding.
    #[must_use]
    pub const fn unit_bytes(&self) -> u64 {
        UNIT_HEADER_BYTES as u64 + self.body_bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        pub(crate) fn any_header()(
            store in any::<[u8; 16]>(), generation in 2..u64::MAX, first in 2..u64::MAX / 2, incarnation in any::<u32>(),
            reset_count in any::<u32>(), unit in 1..u32::MAX, body_bytes in any::<u32>(), record_count in 0..1u32 << 16,
            foreign_count in any::<u16>(), class in 0..MOST_CLASSES,
            previous_units in any::<u32>(), previous_claim in any::<u32>(), relocation in any::<bool>(),
            moved in any::<bool>(), contents_crc in any::<u32>(),
        ) -> UnitHeader {
            UnitHeader {
                store, generation: Generation::new(generation), incarnation, reset_count, unit, body_bytes, record_count,
                foreign_count, class,
                first_seqno: if relocation { SeqNo::ZERO } else { SeqNo::new(first) },
                watermark: SeqNo::new(first - 1), claim_first: unit / 3, claim_end: unit / 2,
                previous: PreviousZone {
                    generation: Generation::new(generation - 1), claim_first: previous_claim, unit_count: previous_units,
                },
                stream: if relocation { StreamKind::Relocation } else { StreamKind::User },
                moved,
                contents_crc,
            }
        }
    }

    proptest! {
        #[test]
        fn a_header_survives_the_round_trip(header in any_header()) {
            let mut bytes = [0; UNIT_HEADER_BYTES];
            header.encode(&mut bytes);
            prop_assert_eq!(UnitHeader::decode(&bytes), Ok(header));
        }

        #[test]
        fn any_flipped_bit_is_noticed(header in any_header(), bit in 0..UNIT_HEADER_BYTES * 8) {
            let mut bytes = [0; UNIT_HEADER_BYTES];
            header.encode(&mut bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(UnitHeader::decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = UnitHeader::decode(&bytes);
        }
    }

    #[test]
    fn impossible_fields_are_refused_though_the_checksum_is_good() {
        let good = UnitHeader {
            store: [7; 16],
            generation: Generation::new(5),
            first_seqno: SeqNo::new(10),
            watermark: SeqNo::new(9),
            unit: 3,
            body_bytes: 10,
            record_count: 1,
            claim_end: 3,
            ..UnitHeader::of_a_first_unit()
        };
        let refused = |change: fn(&mut UnitHeader)| {
            let (mut header, mut bytes) = (good, [0; UNIT_HEADER_BYTES]);
            change(&mut header);
            header.encode(&mut bytes);
            matches!(UnitHeader::decode(&bytes), Err(DecodeError::Field { .. }))
        };
        assert!(!refused(|_| {}));
        assert!(refused(|header| header.generation = Generation::new(0)));
        assert!(refused(|header| header.claim_end = 4));
        assert!(refused(|header| header.class = MOST_CLASSES));
        assert!(refused(|header| header.claim_first = 4));
        assert!(refused(|header| header.watermark = SeqNo::new(10)));
        assert!(refused(|header| header.first_seqno = SeqNo::ZERO));
        assert!(refused(|header| header.previous.generation = Generation::new(5)));
    }
}
