//! A checkpoint of the index: blocks that lie one after another in zones of their own.
//!
//! A block is what one append writes: a header, items of one kind back to back, zeros up to whole device blocks. It is
//! believed when its checksum, store, checkpoint number, block number and the zone's reset count are right. Which zones
//! and how many blocks a checkpoint has, the manifest says; a checkpoint that it does not name does not exist.
//!
//! Three kinds of items:
//! - *zones*: what the ledger must know of a zone that is not read any more: filling, places of its units, claims.
//! - *parts*: where the parts of large values lie.
//! - *entries*: a page of the index: neighbouring keys without their common prefix, and their entries, laid out as a
//!   leaf of the index has them, so that loading is copying.

use super::{DecodeError, FORMAT_VERSION, Fields, FieldsMut};
use crate::fault::{self, Fault};
use crate::format::unit::{MOST_CLASSES, StoreId};
use crate::units::{Generation, SeqNo, ZoneId};

/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 56;
/// Place (8), length and kind (4), where the suffix ends (2).
pub const ROW_BYTES: usize = 14;
/// The most entries of a page.
pub const MAX_PAGE_ENTRIES: usize = 256;
/// The longest page of an index: keys of 65,535 bytes share most of them.
pub const MAX_PAGE_BYTES: usize = PAGE_HEADER_BYTES + (64 << 10) + (16 << 10) + 128 * ROW_BYTES;
/// The most bytes that the suffixes of a page take.
const MAX_SUFFIX_BYTES: usize = u16::MAX as usize;

const MAGIC: u32 = u32::from_le_bytes(*b"ZCKP");
const STRUCTURE: &str = "checkpoint block";
const PAGE: &str = "checkpoint page";
const PAGE_HEADER_BYTES: usize = 8;
const ZONE_HEADER_BYTES: usize = 48;
const PARTS_HEADER_BYTES: usize = 28;
const PART_BYTES: usize = 12;
/// Numbers of units take so many bits; what lies above them holds something else.
const SPARE_BITS_FROM: u32 = 20;
/// Ranges of claims taken down of one zone. A claim that is left out is one check less.
const MAX_CLAIMS: usize = 2048;

/// What a block holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockKind {
    /// [`ZoneRow`]s.
    Zones,
    /// [`PartsRow`]s.
    Parts,
    /// [`EntryPage`]s.
    Entries,
}

impl BlockKind {
    const fn code(self) -> u8 {
        match self {
            Self::Zones => 1,
            Self::Parts => 2,
            Self::Entries => 3,
        }
    }

    fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            1 => Ok(Self::Zones),
            2 => Ok(Self::Parts),
            3 => Ok(Self::Entries),
            found => Err(impossible("kind", u64::from(found))),
        }
    }
}

/// What a block says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// The store.
    pub store: StoreId,
    /// Which checkpoint of the store.
    pub checkpoint: u64,
    /// The number of the block in its checkpoint, from 0.
    pub block: u32,
    /// The device's reset count of the zone.
    pub reset_count: u32,
    /// Bytes of items.
    pub payload_bytes: u32,
    /// Number of items.
    pub item_count: u32,
    /// What the items are.
    pub kind: BlockKind,
}

impl BlockHeader {
    /// Reads the block at the start of `from`; gives its items' bytes as well.
    ///
    /// # Errors
    /// [`DecodeError`], whatever the bytes are.
    pub fn decode(from: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let cut_short = |needed_bytes| DecodeError::CutShort {
            structure: STRUCTURE,
            needed_bytes,
            found_bytes: from.len(),
        };
        let mut fields = Fields::new(from.get(..BLOCK_HEADER_BYTES).ok_or(cut_short(BLOCK_HEADER_BYTES))?);
        if fields.u32() != MAGIC {
            return Err(DecodeError::Magic { structure: STRUCTURE });
        }
        let expected = fields.u32();
        let (store, checkpoint, block, reset_count) =
            (fields.bytes(), fields.u64(), fields.u32(), fields.u32());
        let (payload_bytes, item_count) = (fields.u32(), fields.u32());
        let (kind, version) = (fields.u8(), fields.u8());
        let end = BLOCK_HEADER_BYTES.saturating_add(payload_bytes as usize);
        let checked = from.get(8..end).ok_or(cut_short(end))?;
        let found = crc32fast::hash(checked);
        if found != expected && !fault::is_on(Fault::TrustCheckpointBlocks) {
            return Err(DecodeError::Checksum { structure: STRUCTURE, found, expected });
        }
        if version != FORMAT_VERSION {
            return Err(DecodeError::Version { structure: STRUCTURE, found: version });
        }
        let kind = BlockKind::from_code(kind)?;
        let header = Self { store, checkpoint, block, reset_count, payload_bytes, item_count, kind };
        Ok((header, &from[BLOCK_HEADER_BYTES..end]))
    }

    /// Bytes of the block without the padding.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        BLOCK_HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }
}

/// Where a block lies in a checkpoint and on the device.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlace {
    /// The store.
    pub store: StoreId,
    /// Which checkpoint.
    pub checkpoint: u64,
    /// The number of the block.
    pub block: u32,
    /// The device's reset count of the zone.
    pub reset_count: u32,
}

/// Collects items of one kind into a block.
#[derive(Debug)]
pub struct BlockBuilder {
    kind: BlockKind,
    item_count: u32,
    bytes: Vec<u8>,
    page: PageBuilder,
}

/// The page being collected.
#[derive(Debug, Default)]
struct PageBuilder {
    prefix: Vec<u8>,
    rows: Vec<u8>,
    suffixes: Vec<u8>,
}

impl BlockBuilder {
    /// A block without items.
    #[must_use]
    pub fn new(kind: BlockKind) -> Self {
        Self { kind, item_count: 0, bytes: vec![0; BLOCK_HEADER_BYTES], page: PageBuilder::default() }
    }

    /// Bytes so far, the header's included.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no item yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.item_count == 0
    }

    /// Begins a page of keys that share a prefix.
    pub fn begin_page(&mut self, prefix: &[u8]) {
        let PageBuilder { prefix: kept, rows, suffixes } = &mut self.page;
        kept.clear();
        kept.extend_from_slice(prefix);
        rows.clear();
        suffixes.clear();
    }

    /// Adds an entry to the page; keys ascend.
    ///
    /// # Panics
    /// When the page's suffixes exceed 65,535 bytes.
    pub fn push_entry(&mut self, suffix: &[u8], place: u64, length: u32) {
        let PageBuilder { rows, suffixes, .. } = &mut self.page;
        suffixes.extend_from_slice(suffix);
        let end = u16::try_from(suffixes.len()).expect("a leaf of the index has fewer bytes of suffixes");
        rows.extend_from_slice(&place.to_le_bytes());
        rows.extend_from_slice(&length.to_le_bytes());
        rows.extend_from_slice(&end.to_le_bytes());
    }

    /// Ends the page; one without entries is left out. Gives the number of its entries.
    ///
    /// # Panics
    /// When the prefix is longer than a key.
    pub fn end_page(&mut self) -> usize {
        let PageBuilder { prefix, rows, suffixes } = &self.page;
        let count = rows.len() / ROW_BYTES;
        if count == 0 {
            return 0;
        }
        let mut header = [0; PAGE_HEADER_BYTES];
        let mut fields = FieldsMut::new(&mut header);
        fields.u16(u16::try_from(prefix.len()).expect("a prefix is at most a key"));
        fields.u16(u16::try_from(count).expect("a leaf has few entries"));
        fields.u32(u32::try_from(suffixes.len()).expect("checked when they were pushed"));
        for piece in [&header[..], prefix, rows, suffixes] {
            self.bytes.extend_from_slice(piece);
        }
        self.item_count += 1;
        count
    }

    /// Adds what is known of a zone, as far as `limit_bytes` of the block allow; gives how many places it took.
    ///
    /// # Panics
    /// When there are more units than a zone can have.
    pub fn push_zone(&mut self, row: &ZoneRow, first_unit: usize, limit_bytes: usize) -> usize {
        let claims = if first_unit == 0 { &row.claims[..row.claims.len().min(MAX_CLAIMS)] } else { &[] };
        let fixed = self.bytes.len() + ZONE_HEADER_BYTES + claims.len() * 8;
        let room = limit_bytes.saturating_sub(fixed) / 4;
        let count = (row.places.len() - first_unit).min(room);
        // A row of which no place fits is left to the next block whole.
        if fixed > limit_bytes || count == 0 && first_unit < row.places.len() {
            return 0;
        }
        let narrow = |wide: usize| u32::try_from(wide).expect("units of a zone are numbered by 20 bits");
        let mut header = [0; ZONE_HEADER_BYTES];
        let mut fields = FieldsMut::new(&mut header);
        fields.u32(row.zone.get());
        fields.u32(row.reset_count);
        fields.u64(row.generation.get());
        fields.u64(row.first_seqno.get());
        fields.u64(row.newest_seqno.get());
        fields.u32(narrow(row.places.len()) | u32::from(row.class) << SPARE_BITS_FROM);
        fields.u32(narrow(first_unit) | u32::from(row.expected_steps >> 2) << SPARE_BITS_FROM);
        fields.u32(narrow(count) | u32::from(row.age_steps >> 2) << SPARE_BITS_FROM);
        fields.u32(narrow(claims.len()));
        self.bytes.extend_from_slice(&header);
        for &(first, end) in claims {
            self.bytes.extend_from_slice(&first.to_le_bytes());
            self.bytes.extend_from_slice(&end.to_le_bytes());
        }
        for place in &row.places[first_unit..first_unit + count] {
            self.bytes.extend_from_slice(&place.to_le_bytes());
        }
        self.item_count += 1;
        count
    }

    /// Adds parts of a large value from `first_part` on, as far as `limit_bytes` of the block allow; gives how many.
    ///
    /// # Panics
    /// When a value has more parts than 32 bits count.
    pub fn push_parts(&mut self, row: &PartsRow, first_part: usize, limit_bytes: usize) -> usize {
        let room = limit_bytes.saturating_sub(self.bytes.len() + PARTS_HEADER_BYTES) / PART_BYTES;
        let count = (row.parts.len() - first_part).min(room);
        if count == 0 {
            return 0;
        }
        let narrow = |wide: usize| u32::try_from(wide).expect("a value has few parts");
        let mut header = [0; PARTS_HEADER_BYTES];
        let mut fields = FieldsMut::new(&mut header);
        fields.u64(row.id);
        fields.u32(row.key_bytes);
        fields.u32(row.incarnation);
        fields.u32(narrow(row.parts.len()));
        fields.u32(narrow(first_part));
        fields.u32(narrow(count));
        self.bytes.extend_from_slice(&header);
        for (place, len_bytes) in &row.parts[first_part..first_part + count] {
            self.bytes.extend_from_slice(&place.to_le_bytes());
            self.bytes.extend_from_slice(&len_bytes.to_le_bytes());
        }
        self.item_count += 1;
        count
    }

    /// The block's bytes without padding.
    ///
    /// # Panics
    /// When the block exceeds 4 GiB.
    #[must_use]
    pub fn seal(mut self, place: &BlockPlace) -> Vec<u8> {
        let payload_bytes = u32::try_from(self.bytes.len() - BLOCK_HEADER_BYTES).expect("blocks are small");
        let mut fields = FieldsMut::new(&mut self.bytes);
        fields.u32(MAGIC);
        fields.u32(0);
        fields.bytes(&place.store);
        fields.u64(place.checkpoint);
        fields.u32(place.block);
        fields.u32(place.reset_count);
        fields.u32(payload_bytes);
        fields.u32(self.item_count);
        fields.u8(self.kind.code());
        fields.u8(FORMAT_VERSION);
        let crc = crc32fast::hash(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

/// What the ledger must know of a zone that is not read any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneRow {
    /// The zone.
    pub zone: ZoneId,
    /// The device's reset count of it.
    pub reset_count: u32,
    /// Its filling.
    pub generation: Generation,
    /// The lowest seqno in it; zero in a zone of copies.
    pub first_seqno: SeqNo,
    /// No write in it is newer. In a zone of copies: the last write that was durable when the checkpoint began; zero in
    /// checkpoints of versions that had one stream of copies.
    pub newest_seqno: SeqNo,
    /// Which of the streams of its kind filled it.
    pub class: u8,
    /// How long its records are expected to live, as a logarithm; the last two bits are lost. Zero where that is not known.
    pub expected_steps: u16,
    /// How old its records were on average when the checkpoint began, likewise.
    pub age_steps: u16,
    /// Units that are on stable media: ranges of their numbers, end exclusive.
    pub claims: Vec<(u32, u32)>,
    /// By unit number: its sector plus one, 0 where it is not known.
    pub places: Vec<u32>,
}

impl ZoneRow {
    /// Reads the rows of a block; a row that was cut up is joined to what `into` holds of it.
    ///
    /// # Errors
    /// [`DecodeError`], whatever the bytes are.
    pub fn decode_all(mut payload: &[u8], into: &mut Vec<Self>) -> Result<(), DecodeError> {
        while !payload.is_empty() {
            let mut fields = Fields::new(split(&mut payload, ZONE_HEADER_BYTES)?);
            let (zone, reset_count) = (ZoneId::new(fields.u32()), fields.u32());
            let generation = Generation::new(fields.u64());
            let (first_seqno, newest_seqno) = (SeqNo::new(fields.u64()), SeqNo::new(fields.u64()));
            let ((unit_count, class), (first_unit, expected), (count, age)) =
                (split_bits(fields.u32()), split_bits(fields.u32()), split_bits(fields.u32()));
            let (count, claim_count) = (count as usize, fields.u32() as usize);
            let class = u8::try_from(class).ok().filter(|&class| class < MOST_CLASSES);
            let class = class.ok_or(impossible("class", u64::from(unit_count)))?;
            let claims = split(&mut payload, claim_count.saturating_mul(8))?;
            let places = split(&mut payload, count.saturating_mul(4))?;
            let number = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
            if first_unit == 0 {
                let claims = claims.as_chunks::<4>().0.as_chunks::<2>().0.iter();
                let claims = claims.map(|[first, end]| (number(first), number(end))).collect();
                into.push(Self {
                    zone,
                    reset_count,
                    generation,
                    first_seqno,
                    newest_seqno,
                    class,
                    expected_steps: expected << 2,
                    age_steps: age << 2,
                    claims,
                    places: Vec::new(),
                });
            }
            let row = into.last_mut().filter(|row| row.zone == zone && row.generation == generation);
            let Some(row) = row.filter(|row| row.places.len() == first_unit as usize) else {
                return Err(impossible("first unit", u64::from(first_unit)));
            };
            row.places.extend(places.as_chunks::<4>().0.iter().map(number));
            if row.places.len() > unit_count as usize {
                return Err(impossible("unit count", u64::from(unit_count)));
            }
        }
        Ok(())
    }
}

/// A number of units, and what the bits above it hold.
fn split_bits(field: u32) -> (u32, u16) {
    (field & ((1 << SPARE_BITS_FROM) - 1), u16::try_from(field >> SPARE_BITS_FROM).expect("12 bits"))
}

/// Where the parts of a large value lie.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartsRow {
    /// The value's id.
    pub id: u64,
    /// Bytes of its key.
    pub key_bytes: u32,
    /// The run of the store that wrote it first.
    pub incarnation: u32,
    /// Packed location and length in bytes.
    pub parts: Vec<(u64, u32)>,
}

impl PartsRow {
    /// Reads the rows of a block; each is told with the number of its first part and of all parts of the value.
    ///
    /// # Errors
    /// [`DecodeError`], whatever the bytes are.
    pub fn decode_all(
        mut payload: &[u8],
        mut each: impl FnMut(Self, usize, usize),
    ) -> Result<(), DecodeError> {
        while !payload.is_empty() {
            let mut fields = Fields::new(split(&mut payload, PARTS_HEADER_BYTES)?);
            let (id, key_bytes, incarnation) = (fields.u64(), fields.u32(), fields.u32());
            let total = fields.u32() as usize;
            let (first, count) = (fields.u32() as usize, fields.u32() as usize);
            if first.checked_add(count).is_none_or(|end| end > total) {
                return Err(impossible("part count", total as u64));
            }
            let parts = split(&mut payload, count.saturating_mul(PART_BYTES))?;
            let parts = parts.as_chunks::<PART_BYTES>().0.iter().map(|bytes| {
                let mut fields = Fields::new(bytes);
                (fields.u64(), fields.u32())
            });
            each(Self { id, key_bytes, incarnation, parts: parts.collect() }, first, total);
        }
        Ok(())
    }
}

/// Neighbouring keys with their entries.
#[derive(Clone, Copy, Debug)]
pub struct EntryPage<'a> {
    prefix: &'a [u8],
    rows: &'a [[u8; ROW_BYTES]],
    suffixes: &'a [u8],
}

impl<'a> EntryPage<'a> {
    /// Takes the next page off a block's items; `None` at their end.
    ///
    /// # Errors
    /// [`DecodeError`], whatever the bytes are. Keys of a page that is given ascend strictly and have 1 to 65,535 bytes.
    pub fn next(payload: &mut &'a [u8]) -> Result<Option<Self>, DecodeError> {
        if payload.is_empty() {
            return Ok(None);
        }
        let mut fields = Fields::new(split(payload, PAGE_HEADER_BYTES)?);
        let (prefix_len, count) = (fields.u16() as usize, fields.u16() as usize);
        let suffix_bytes = fields.u32() as usize;
        if !(1..=MAX_PAGE_ENTRIES).contains(&count) || suffix_bytes > MAX_SUFFIX_BYTES {
            return Err(DecodeError::Field { structure: PAGE, field: "entry count", found: count as u64 });
        }
        let prefix = split(payload, prefix_len)?;
        let rows = split(payload, count * ROW_BYTES)?.as_chunks::<ROW_BYTES>().0;
        let page = Self { prefix, rows, suffixes: split(payload, suffix_bytes)? };
        page.check()?;
        Ok(Some(page))
    }

    fn check(&self) -> Result<(), DecodeError> {
        let refuse =
            |field, found: usize| Err(DecodeError::Field { structure: PAGE, field, found: found as u64 });
        let (mut start, mut before) = (0, None);
        for row in self.rows {
            let end = suffix_end(row);
            let Some(suffix) = self.suffixes.get(start..end) else { return refuse("suffix", end) };
            if !(1..=usize::from(u16::MAX)).contains(&(self.prefix.len() + suffix.len())) {
                return refuse("key length", self.prefix.len() + suffix.len());
            }
            if before.is_some_and(|before| before >= suffix) {
                return refuse("order of keys", start);
            }
            (start, before) = (end, Some(suffix));
        }
        if start == self.suffixes.len() { Ok(()) } else { refuse("suffix bytes", self.suffixes.len()) }
    }

    /// What all keys begin with.
    #[must_use]
    pub fn prefix(&self) -> &'a [u8] {
        self.prefix
    }

    /// The rows as they lie: place (8), length (4), end of the suffix (2).
    #[must_use]
    pub fn rows(&self) -> &'a [[u8; ROW_BYTES]] {
        self.rows
    }

    /// The rest of each key, one after another.
    #[must_use]
    pub fn suffixes(&self) -> &'a [u8] {
        self.suffixes
    }

    /// The rest of each key with its place and its length and kind, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&'a [u8], u64, u32)> + use<'a> {
        let (suffixes, mut start) = (self.suffixes, 0);
        self.rows.iter().map(move |row| {
            let mut fields = Fields::new(row);
            let (place, length, end) = (fields.u64(), fields.u32(), fields.u16() as usize);
            let suffix = &suffixes[start..end];
            start = end;
            (suffix, place, length)
        })
    }
}

fn suffix_end(row: &[u8; ROW_BYTES]) -> usize {
    usize::from(u16::from_le_bytes([row[ROW_BYTES - 2], row[ROW_BYTES - 1]]))
}

fn split<'a>(from: &mut &'a [u8], len_bytes: usize) -> Result<&'a [u8], DecodeError> {
    let (head, rest) = from.split_at_checked(len_bytes).ok_or(DecodeError::CutShort {
        structure: STRUCTURE,
        needed_bytes: len_bytes,
        found_bytes: from.len(),
    })?;
    *from = rest;
    Ok(head)
}

const fn impossible(field: &'static str, found: u64) -> DecodeError {
    DecodeError::Field { structure: STRUCTURE, field, found }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: BlockPlace = BlockPlace { store: [7; 16], checkpoint: 3, block: 5, reset_count: 2 };

    type Entries = std::collections::BTreeMap<Vec<u8>, (u64, u32)>;

    fn entries() -> impl Strategy<Value = Entries> {
        let suffix = proptest::collection::vec(proptest::sample::select(vec![0u8, 1, 254, 255]), 0..6);
        proptest::collection::btree_map(suffix, (any::<u64>(), any::<u32>()), 1..100)
    }

    fn push(block: &mut BlockBuilder, prefix: &[u8], entries: &Entries) {
        block.begin_page(prefix);
        entries.iter().for_each(|(suffix, (place, length))| block.push_entry(suffix, *place, *length));
        assert_eq!(block.end_page(), entries.len());
    }

    proptest! {
        #[test]
        fn pages_survive_the_round_trip(one in entries(), another in entries(), prefix in proptest::collection::vec(any::<u8>(), 1..20)) {
            let mut block = BlockBuilder::new(BlockKind::Entries);
            push(&mut block, &prefix, &one);
            push(&mut block, b"z", &another);
            let bytes = block.seal(&PLACE);
            let (header, mut payload) = BlockHeader::decode(&bytes).unwrap();
            prop_assert_eq!((header.item_count, header.block, header.checkpoint), (2, 5, 3));
            prop_assert_eq!(header.block_bytes(), bytes.len() as u64);
            for (prefix, entries) in [(&prefix[..], &one), (b"z", &another)] {
                let page = EntryPage::next(&mut payload).unwrap().unwrap();
                prop_assert_eq!(page.prefix(), prefix);
                let found: Entries = page.entries().map(|(key, place, length)| (key.to_vec(), (place, length))).collect();
                prop_assert_eq!(&found, entries);
            }
            prop_assert!(EntryPage::next(&mut payload).unwrap().is_none());
        }

        #[test]
        fn rows_of_zones_survive_being_cut_up(
            lens in proptest::collection::vec(0usize..400, 1..6), limit_bytes in 200usize..900,
        ) {
            let rows: Vec<ZoneRow> = (1..).zip(lens).map(|(zone, len)| ZoneRow {
                zone: ZoneId::new(zone), reset_count: zone, generation: Generation::new(9), first_seqno: SeqNo::new(1),
                newest_seqno: SeqNo::new(8), class: 11, expected_steps: 64 * 256 - 4, age_steps: 4, claims: vec![(0, zone), (7, 9)],
                places: (0..).take(len).collect(),
            }).collect();
            let (mut blocks, mut block) = (Vec::new(), BlockBuilder::new(BlockKind::Zones));
            for row in &rows {
                let (mut done, mut taken) = (0, false);
                while !taken || done < row.places.len() {
                    let items = block.item_count;
                    done += block.push_zone(row, done, limit_bytes);
                    taken |= block.item_count > items;
                    if done < row.places.len() || !taken {
                        blocks.push(std::mem::replace(&mut block, BlockBuilder::new(BlockKind::Zones)));
                    }
                }
            }
            blocks.push(block);
            let mut found = Vec::new();
            for block in blocks {
                let bytes = block.seal(&PLACE);
                prop_assert!(bytes.len() <= limit_bytes);
                ZoneRow::decode_all(BlockHeader::decode(&bytes).unwrap().1, &mut found).unwrap();
            }
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn parts_survive_being_cut_up(len in 1usize..300, limit_bytes in 200usize..900) {
            let row = PartsRow { id: 4, key_bytes: 3, incarnation: 2, parts: (0..).take(len).map(|part| (u64::from(part) << 40, part)).collect() };
            let (mut found, mut done) = (vec![(0, 0); len], 0);
            while done < len {
                let mut block = BlockBuilder::new(BlockKind::Parts);
                done += block.push_parts(&row, done, limit_bytes);
                let bytes = block.seal(&PLACE);
                PartsRow::decode_all(BlockHeader::decode(&bytes).unwrap().1, |part, first, total| {
                    assert_eq!((part.id, part.key_bytes, total), (4, 3, len));
                    found[first..first + part.parts.len()].copy_from_slice(&part.parts);
                }).unwrap();
            }
            prop_assert_eq!(found, row.parts);
        }

        #[test]
        fn any_flipped_bit_is_noticed(entries in entries(), place in any::<prop::sample::Index>()) {
            let mut block = BlockBuilder::new(BlockKind::Entries);
            push(&mut block, b"prefix", &entries);
            let mut bytes = block.seal(&PLACE);
            let bit = place.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(BlockHeader::decode(&bytes).is_err());
        }

        /// Also where a checksum happens to be right.
        #[test]
        fn arbitrary_items_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), small in proptest::collection::vec(0u8..4, 0..200)) {
            for bytes in [&bytes, &small] {
                let _ = BlockHeader::decode(bytes);
                let _ = ZoneRow::decode_all(bytes, &mut Vec::new());
                let _ = PartsRow::decode_all(bytes, |_, _, _| {});
                let mut payload = &bytes[..];
                while let Ok(Some(page)) = EntryPage::next(&mut payload) {
                    assert_eq!(page.entries().count(), page.rows().len());
                }
            }
        }
    }

    #[test]
    fn keys_that_do_not_ascend_are_refused() {
        let mut block = BlockBuilder::new(BlockKind::Entries);
        block.begin_page(b"k");
        block.push_entry(b"b", 0, 0);
        block.push_entry(b"a", 0, 0);
        block.end_page();
        let bytes = block.seal(&PLACE);
        let (_, mut payload) = BlockHeader::decode(&bytes).unwrap();
        assert!(EntryPage::next(&mut payload).is_err());
    }
}
