//! One record: a put, a delete, or a part of a value too large for one unit.
//!
//! The head checksum covers header and key, the value checksum the value: scanning needs the heads only, and a damaged
//! value still tells whose it was.

use super::{DecodeError, Fields, FieldsMut};
use crate::units::{Generation, SeqNo};

/// Bytes of a record header without its extension.
pub const RECORD_HEADER_BYTES: usize = 24;
/// Bytes that the extension of a grouped record adds.
pub const GROUP_EXTENSION_BYTES: usize = 20;
/// The longest key in bytes.
pub const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// Bytes of the head's checksum, which comes first.
pub const HEAD_CRC_BYTES: usize = 4;

const STRUCTURE: &str = "record";
const GROUPED: u8 = 0x80;

/// What a record does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordKind {
    /// Gives a key a value.
    Put,
    /// Takes a key's value away. A relocated one carries its barrier as its value ([`Record::barrier`]).
    Delete,
    /// One part of a large value; the first carries the key.
    Part,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Put, Self::Delete, Self::Part];

    const fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::Delete => 2,
            Self::Part => 3,
        }
    }
}

/// Where a record stands among those that survive together or not at all: a batch, the parts of a large value, or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// Number of this record in the group.
    pub index: u32,
    /// Number of records in the group.
    pub len: u32,
    /// Number of this part of a large value, 0 otherwise.
    pub part_index: u32,
    /// Number of parts of the large value, 0 otherwise.
    pub part_count: u32,
    /// The run of the store that wrote the record first: a seqno is given again after a crash that undid its first use, but
    /// never twice in a run. Copies keep it.
    pub incarnation: u32,
}

/// A record whose key and value lie elsewhere.
///
/// ```text
///  0  crc32 of bytes 4.. to the end of the key   4  crc32 of the value   8  seqno (u64)
/// 16  value bytes (u32)   20  key bytes (u16)   22  kind (low 4 bits), 0x80 = grouped   23  keyspace (u8, 0)
/// grouped only: 24  group index (u32)  28  group length (u32)  32  part index (u32)  36  part count (u32)
///               40  incarnation (u32)
/// then key, then value
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Its place in commit order.
    pub seqno: SeqNo,
    /// What it does.
    pub kind: RecordKind,
    /// Its group; `None` for a write that stands alone.
    pub group: Option<Group>,
    /// The key; empty in the later parts of a large value.
    pub key: &'a [u8],
    /// The value; empty in a delete that was never relocated.
    pub value: &'a [u8],
}

/// A record's header without its extension, as it lies: nothing of it has been checked. For those who look for records, or put
/// damaged ones right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawHeader {
    /// Checksum of the head.
    pub head_crc: u32,
    /// Checksum of the value.
    pub value_crc: u32,
    /// The seqno.
    pub seqno: u64,
    /// Bytes of the value.
    pub value_bytes: u32,
    /// Bytes of the key.
    pub key_bytes: u16,
    /// The kind and whether there is an extension.
    code: u8,
    keyspace: u8,
}

impl RawHeader {
    /// The header at the start of `from`; `None` where there are too few bytes.
    #[must_use]
    pub fn read(from: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(from.get(..RECORD_HEADER_BYTES)?);
        Some(Self {
            head_crc: fields.u32(),
            value_crc: fields.u32(),
            seqno: fields.u64(),
            value_bytes: fields.u32(),
            key_bytes: fields.u16(),
            code: fields.u8(),
            keyspace: fields.u8(),
        })
    }

    /// Writes it to the first bytes of `into`.
    ///
    /// # Panics
    /// When `into` is too short.
    pub fn write(&self, into: &mut [u8]) {
        let mut fields = FieldsMut::new(&mut into[..RECORD_HEADER_BYTES]);
        fields.u32(self.head_crc);
        fields.u32(self.value_crc);
        fields.u64(self.seqno);
        fields.u32(self.value_bytes);
        fields.u16(self.key_bytes);
        fields.u8(self.code);
        fields.u8(self.keyspace);
    }

    /// Whether the record has an extension.
    #[must_use]
    pub const fn is_grouped(&self) -> bool {
        self.code & GROUPED != 0
    }

    /// The same with another kind, with or without an extension, in the only keyspace that there is.
    #[must_use]
    pub fn of_kind(self, kind: RecordKind, is_grouped: bool) -> Self {
        Self { code: code(kind, is_grouped), keyspace: 0, ..self }
    }

    /// Whether it may be that of a record, before any checksum is computed.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        decode_kind(self.code).is_ok() && self.keyspace == 0
    }
}

const fn code(kind: RecordKind, is_grouped: bool) -> u8 {
    if is_grouped { kind.code() | GROUPED } else { kind.code() }
}

/// The checksum that a head must carry, of the head itself: header, extension and key.
///
/// # Panics
/// When it is shorter than the checksum.
#[must_use]
pub fn head_crc(head: &[u8]) -> u32 {
    crc32fast::hash(&head[HEAD_CRC_BYTES..])
}

/// A record as found in a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodedRecord<'a> {
    /// What it says.
    pub record: Record<'a>,
    /// Whether the value passes its checksum.
    pub value_check: Result<(), DecodeError>,
    /// How many bytes it takes.
    pub encoded_bytes: usize,
}

/// The head of a record as found in a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHead<'a> {
    /// What it says, but for the value.
    pub record: Record<'a>,
    /// Bytes of the value.
    pub value_bytes: usize,
    /// Checksum of the value.
    pub value_crc: u32,
}

/// The checksum of a value.
#[must_use]
pub fn value_crc(value: &[u8]) -> u32 {
    crc32fast::hash(value)
}

/// Bytes of a record with a key and a value of these lengths.
#[must_use]
pub const fn encoded_bytes(key_bytes: usize, value_bytes: usize, grouped: bool) -> usize {
    let extension = if grouped { GROUP_EXTENSION_BYTES } else { 0 };
    RECORD_HEADER_BYTES + extension + key_bytes + value_bytes
}

impl<'a> Record<'a> {
    /// How many bytes [`Record::encode`] writes.
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        encoded_bytes(self.key.len(), self.value.len(), self.group.is_some())
    }

    /// Writes the record to the first bytes of `into` and says how many.
    ///
    /// # Panics
    /// When `into` is too short, the key longer than [`MAX_KEY_BYTES`] or the value longer than 4 GiB.
    pub fn encode(&self, into: &mut [u8]) -> usize {
        self.encode_with_value_crc(value_crc(self.value), into)
    }

    /// The same with the value's checksum given: for writers that compute it before they hold a lock.
    ///
    /// # Panics
    /// As [`Record::encode`].
    pub fn encode_with_value_crc(&self, value_crc: u32, into: &mut [u8]) -> usize {
        let len_bytes = self.encoded_bytes();
        let into = &mut into[..len_bytes];
        let key_len = u16::try_from(self.key.len()).expect("keys are at most 65,535 bytes");
        let value_len = u32::try_from(self.value.len()).expect("values in one record are below 4 GiB");
        let header = RawHeader {
            head_crc: 0,
            value_crc,
            seqno: self.seqno.get(),
            value_bytes: value_len,
            key_bytes: key_len,
            code: code(self.kind, self.group.is_some()),
            keyspace: 0,
        };
        header.write(into);
        let mut fields = FieldsMut::new(&mut into[RECORD_HEADER_BYTES..]);
        if let Some(group) = self.group {
            fields.u32(group.index);
            fields.u32(group.len);
            fields.u32(group.part_index);
            fields.u32(group.part_count);
            fields.u32(group.incarnation);
        }
        fields.bytes(self.key);
        fields.bytes(self.value);
        let crc = head_crc(&into[..len_bytes - self.value.len()]);
        into[..4].copy_from_slice(&crc.to_le_bytes());
        len_bytes
    }

    /// Reads the record at the start of `from`.
    ///
    /// # Errors
    /// [`DecodeError`] when the head is not whole and checked. A damaged value is told by
    /// [`DecodedRecord::value_check`].
    pub fn decode(from: &'a [u8]) -> Result<DecodedRecord<'a>, DecodeError> {
        let RecordHead { record, value_bytes, value_crc } = Self::decode_head(from)?;
        let head_bytes = encoded_bytes(record.key.len(), 0, record.group.is_some());
        let value = from
            .get(head_bytes..head_bytes + value_bytes)
            .ok_or(cut_short(from, head_bytes + value_bytes))?;
        let value_check = check("record value", value, value_crc);
        let record = Self { value, ..record };
        Ok(DecodedRecord { record, value_check, encoded_bytes: head_bytes + value_bytes })
    }

    /// Reads the head of the record at the start of `from`: its value need not be there.
    ///
    /// # Errors
    /// [`DecodeError`] when the head is not whole and checked; [`DecodeError::CutShort`] says how many bytes it has.
    pub fn decode_head(from: &'a [u8]) -> Result<RecordHead<'a>, DecodeError> {
        let cut_short = |needed_bytes| cut_short(from, needed_bytes);
        let raw = RawHeader::read(from).ok_or(cut_short(RECORD_HEADER_BYTES))?;
        let RawHeader { head_crc, value_crc, code, keyspace, .. } = raw;
        let seqno = SeqNo::new(raw.seqno);
        let (value_bytes, key_bytes) = (raw.value_bytes as usize, usize::from(raw.key_bytes));
        let grouped = raw.is_grouped();
        let head_bytes = encoded_bytes(key_bytes, 0, grouped);
        let head = from.get(..head_bytes).ok_or(cut_short(head_bytes))?;
        check("record head", &head[HEAD_CRC_BYTES..], head_crc)?;
        let group = grouped.then(|| decode_group(&head[RECORD_HEADER_BYTES..]));
        if keyspace != 0 {
            return Err(DecodeError::Field {
                structure: STRUCTURE,
                field: "keyspace",
                found: u64::from(keyspace),
            });
        }
        let key = &head[head_bytes - key_bytes..];
        let record = Self { seqno, kind: decode_kind(code)?, group, key, value: &[] };
        record.validate()?;
        Ok(RecordHead { record, value_bytes, value_crc })
    }

    fn validate(&self) -> Result<(), DecodeError> {
        let field = |field, found: u64| Err(DecodeError::Field { structure: STRUCTURE, field, found });
        let part = self.group.is_some_and(|group| group.part_count > 0);
        if part != (self.kind == RecordKind::Part) {
            return field("part count", u64::from(self.group.map_or(0, |group| group.part_count)));
        }
        if let Some(group) = self.group {
            let part_fits = group.part_count == 0 || group.part_index < group.part_count;
            if group.index >= group.len || !part_fits || u64::from(group.index) >= self.seqno.get() {
                return field("group index", u64::from(group.index));
            }
        }
        if self.seqno == SeqNo::ZERO {
            return field("seqno", 0);
        }
        let is_later_part = self.group.is_some_and(|group| group.part_index > 0);
        if self.key.is_empty() && !is_later_part {
            return field("key length", 0);
        }
        Ok(())
    }

    /// Of a relocated delete: no older version of the key can be in a zone of a later generation.
    #[must_use]
    pub fn barrier(&self) -> Option<Generation> {
        if self.kind != RecordKind::Delete {
            return None;
        }
        let bytes: [u8; 8] = self.value.try_into().ok()?;
        Some(Generation::new(u64::from_le_bytes(bytes)))
    }

    /// Seqno of the first record of the group that this one belongs to.
    #[must_use]
    pub fn group_first_seqno(&self) -> SeqNo {
        self.seqno.back(self.group.map_or(0, |group| u64::from(group.index)))
    }

    /// Seqno of the first part of the large value that this part belongs to.
    #[must_use]
    pub fn first_part_seqno(&self) -> SeqNo {
        self.seqno.back(self.group.map_or(0, |group| u64::from(group.part_index)))
    }
}

const fn cut_short(found: &[u8], needed_bytes: usize) -> DecodeError {
    DecodeError::CutShort { structure: STRUCTURE, needed_bytes, found_bytes: found.len() }
}

fn decode_group(extension: &[u8]) -> Group {
    let mut fields = Fields::new(extension);
    Group {
        index: fields.u32(),
        len: fields.u32(),
        part_index: fields.u32(),
        part_count: fields.u32(),
        incarnation: fields.u32(),
    }
}

fn decode_kind(code: u8) -> Result<RecordKind, DecodeError> {
    match code & !GROUPED {
        1 => Ok(RecordKind::Put),
        2 => Ok(RecordKind::Delete),
        3 => Ok(RecordKind::Part),
        found => Err(DecodeError::Field { structure: STRUCTURE, field: "kind", found: u64::from(found) }),
    }
}

fn check(structure: &'static str, bytes: &[u8], expected: u32) -> Result<(), DecodeError> {
    let found = crc32fast::hash(bytes);
    if found == expected { Ok(()) } else { Err(DecodeError::Checksum { structure, found, expected }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Owned {
        seqno: u64,
        kind: RecordKind,
        group: Option<Group>,
        key: Vec<u8>,
        value: Vec<u8>,
    }

    impl Owned {
        fn record(&self) -> Record<'_> {
            Record {
                seqno: SeqNo::new(self.seqno),
                kind: self.kind,
                group: self.group,
                key: &self.key,
                value: &self.value,
            }
        }

        fn encoded(&self) -> Vec<u8> {
            let mut bytes = vec![0; self.record().encoded_bytes()];
            self.record().encode(&mut bytes);
            bytes
        }
    }

    fn any_record() -> impl Strategy<Value = Owned> {
        let bytes = |low, high| proptest::collection::vec(any::<u8>(), low..high);
        (1_000_000..u64::MAX, 0..4u8, bytes(1, 300), bytes(0, 2000), 0..1000u32, 1..1000u32).prop_map(
            |(seqno, shape, key, value, index, more)| {
                let len = index + more;
                let (kind, group) = match shape {
                    0 => (RecordKind::Put, None),
                    1 => (RecordKind::Delete, None),
                    2 => (
                        RecordKind::Put,
                        Some(Group { index, len, part_index: 0, part_count: 0, incarnation: more }),
                    ),
                    _ => (
                        RecordKind::Part,
                        Some(Group { index, len, part_index: index / 2, part_count: len, incarnation: more }),
                    ),
                };
                Owned { seqno, kind, group, key, value }
            },
        )
    }

    proptest! {
        #[test]
        fn a_record_survives_the_round_trip(owned in any_record(), tail in proptest::collection::vec(any::<u8>(), 0..50)) {
            let mut bytes = owned.encoded();
            let encoded_bytes = bytes.len();
            bytes.extend(tail);
            let decoded = Record::decode(&bytes).unwrap();
            prop_assert_eq!(decoded.record, owned.record());
            prop_assert_eq!(decoded.encoded_bytes, encoded_bytes);
            prop_assert_eq!(decoded.value_check, Ok(()));
        }

        #[test]
        fn any_flipped_bit_is_noticed(owned in any_record(), place in any::<prop::sample::Index>()) {
            let mut bytes = owned.encoded();
            let bit = place.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = Record::decode(&bytes) {
                prop_assert!(decoded.value_check.is_err());
                prop_assert_eq!(decoded.record.key, &owned.key[..], "a damaged value leaves the key readable");
            }
        }

        #[test]
        fn a_record_cut_anywhere_is_refused(owned in any_record(), place in any::<prop::sample::Index>()) {
            let bytes = owned.encoded();
            prop_assert!(Record::decode(&bytes[..place.index(bytes.len())]).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&bytes);
        }
    }

    #[test]
    fn a_relocated_delete_carries_its_barrier() {
        let barrier = 77u64.to_le_bytes();
        let owned = Owned {
            seqno: 9,
            kind: RecordKind::Delete,
            group: None,
            key: b"k".to_vec(),
            value: barrier.to_vec(),
        };
        let bytes = owned.encoded();
        assert_eq!(Record::decode(&bytes).unwrap().record.barrier(), Some(Generation::new(77)));
        let fresh = Owned { value: Vec::new(), ..owned };
        assert_eq!(fresh.record().barrier(), None);
    }
}
