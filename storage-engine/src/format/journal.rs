//! The journal: records that the log has in memory only, in memory that outlives the process.
//!
//! The area begins with a header of one page; the rest is a ring of frames. A frame says at which position of an endless
//! tape it lies, so that one of an earlier lap is told from one of this lap, and holds one [`Record`] as a unit does.
//!
//! ```text
//! header   0  magic "ZONALJNL"   8  store (16)   24  run of the store (u32)   28  crc32 of bytes 0..28
//! frame    0  position (u64)   8  record bytes (u32)   12  crc32 of bytes 0..12, begun from the header's checksum
//!          then the record; frames begin at multiples of 8 and do not go over the end of the ring
//! ```
//!
//! Nothing names the first frame: the ring is searched. Frames of another run fail their checksum, those half overwritten
//! their record's.

use super::Fields;
use super::record::{DecodedRecord, Record};
use super::unit::StoreId;

/// Bytes of the area before the ring.
pub const RING_AT_BYTES: usize = 4096;
/// Bytes of a frame before its record.
pub const FRAME_HEAD_BYTES: usize = 16;
/// Frames begin at multiples of this.
pub const FRAME_ALIGNMENT_BYTES: usize = 8;

const MAGIC: [u8; 8] = *b"ZONALJNL";
const HEADER_BYTES: usize = 32;
const CRC_AT_BYTES: usize = 28;

/// Whose journal it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalHeader {
    /// Which store.
    pub store: StoreId,
    /// Which run of it: the manifest's incarnation.
    pub incarnation: u32,
}

impl JournalHeader {
    /// Begins a journal in an area: whatever was in it before is in it no more. Gives what frames' checksums begin from.
    ///
    /// # Panics
    /// When the area is shorter than a header.
    pub fn encode(&self, area: &mut [u8]) -> u32 {
        area[..MAGIC.len()].copy_from_slice(&MAGIC);
        area[8..24].copy_from_slice(&self.store);
        area[24..CRC_AT_BYTES].copy_from_slice(&self.incarnation.to_le_bytes());
        let crc = crc32fast::hash(&area[..CRC_AT_BYTES]);
        area[CRC_AT_BYTES..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// The header of an area, and what frames' checksums begin from; `None` where there is no journal.
    #[must_use]
    pub fn decode(area: &[u8]) -> Option<(Self, u32)> {
        let mut fields = Fields::new(area.get(..HEADER_BYTES)?);
        let (magic, store, incarnation) = (fields.bytes::<8>(), fields.bytes::<16>(), fields.u32());
        let crc = fields.u32();
        let is_good = magic == MAGIC && crc == crc32fast::hash(&area[..CRC_AT_BYTES]);
        is_good.then_some((Self { store, incarnation }, crc))
    }

    /// Ends the journal of an area.
    pub fn erase(area: &mut [u8]) {
        area[..HEADER_BYTES].fill(0);
    }
}

/// Bytes of a frame with a record of so many bytes.
#[must_use]
pub const fn frame_bytes(record_bytes: usize) -> usize {
    (FRAME_HEAD_BYTES + record_bytes).next_multiple_of(FRAME_ALIGNMENT_BYTES)
}

/// Writes a frame to the start of `into`.
///
/// # Panics
/// When `into` is shorter than [`frame_bytes`].
pub fn encode_frame(position: u64, seed: u32, record: &Record<'_>, value_crc: u32, into: &mut [u8]) {
    let record_bytes = u32::try_from(record.encoded_bytes()).expect("records are smaller than units");
    into[..8].copy_from_slice(&position.to_le_bytes());
    into[8..12].copy_from_slice(&record_bytes.to_le_bytes());
    let crc = head_crc(seed, &into[..12]);
    into[12..FRAME_HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    record.encode_with_value_crc(value_crc, &mut into[FRAME_HEAD_BYTES..]);
}

/// The whole records in a ring, in the order in which they were written.
#[must_use]
pub fn frames(ring: &[u8], seed: u32) -> Vec<Record<'_>> {
    let mut found: Vec<(u64, u64, Record<'_>)> = (0..ring.len())
        .step_by(FRAME_ALIGNMENT_BYTES)
        .filter_map(|at| {
            let (position, record) = frame_at(ring, at, seed)?;
            Some((position, position + frame_bytes(record.encoded_bytes) as u64, record.record))
        })
        .collect();
    found.sort_by_key(|(position, ..)| *position);
    // What looks like a frame inside another one is part of somebody's value.
    let mut end = 0;
    found.retain(|(position, frame_end, _)| {
        let is_outside = *position >= end;
        end = if is_outside { *frame_end } else { end };
        is_outside
    });
    found.into_iter().map(|(.., record)| record).collect()
}

/// The writes in an area that is a store's journal, in their order: whole groups.
#[must_use]
pub fn groups(area: &[u8], store: StoreId) -> Vec<Vec<Record<'_>>> {
    let Some((_, seed)) = JournalHeader::decode(area).filter(|(header, _)| header.store == store) else {
        return Vec::new();
    };
    let (mut groups, mut group) = (Vec::new(), Vec::<Record<'_>>::new());
    for record in frames(area.get(RING_AT_BYTES..).unwrap_or_default(), seed) {
        let (index, len) = record.group.map_or((0, 1), |group| (group.index as usize, group.len as usize));
        let goes_on = group.last().is_some_and(|last| last.seqno.next() == record.seqno);
        if index == 0 || !goes_on || index != group.len() {
            group.clear();
        }
        if index == group.len() {
            group.push(record);
        }
        if group.len() == len {
            groups.push(std::mem::take(&mut group));
        }
    }
    groups
}

fn frame_at(ring: &[u8], at: usize, seed: u32) -> Option<(u64, DecodedRecord<'_>)> {
    let mut fields = Fields::new(ring.get(at..at + FRAME_HEAD_BYTES)?);
    let (position, record_bytes, crc) = (fields.u64(), fields.u32() as usize, fields.u32());
    if position % ring.len() as u64 != at as u64 || crc != head_crc(seed, &ring[at..at + 12]) {
        return None;
    }
    let from = at + FRAME_HEAD_BYTES;
    let record = Record::decode(ring.get(from..from.checked_add(record_bytes)?)?).ok()?;
    (record.encoded_bytes == record_bytes && record.value_check.is_ok()).then_some((position, record))
}

fn head_crc(seed: u32, head: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(head);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::{JournalHeader, RING_AT_BYTES, encode_frame, frame_bytes, frames, groups};
    use crate::format::record::{Group, Record, RecordKind, value_crc};
    use crate::units::SeqNo;

    const HEADER: JournalHeader = JournalHeader { store: [7; 16], incarnation: 3 };

    fn record<'a>(seqno: u64, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
        Record { seqno: SeqNo::new(seqno), kind: RecordKind::Put, group: None, key, value }
    }

    fn put(area: &mut [u8], position: u64, seed: u32, record: &Record<'_>) -> u64 {
        let ring = &mut area[RING_AT_BYTES..];
        let at = usize::try_from(position).unwrap() % ring.len();
        encode_frame(position, seed, record, value_crc(record.value), &mut ring[at..]);
        position + frame_bytes(record.encoded_bytes()) as u64
    }

    fn seqnos(area: &[u8]) -> Vec<u64> {
        let Some((_, seed)) = JournalHeader::decode(area) else { return Vec::new() };
        frames(&area[RING_AT_BYTES..], seed).iter().map(|record| record.seqno.get()).collect()
    }

    #[test]
    fn what_was_put_in_is_found_in_order_over_the_end_of_the_ring() {
        let mut area = vec![0xaa; RING_AT_BYTES + 4096];
        let seed = HEADER.encode(&mut area);
        assert_eq!(JournalHeader::decode(&area), Some((HEADER, seed)));
        assert_eq!(seqnos(&area), Vec::<u64>::new());
        // The second lap begins with seqno 3, over the first one's start.
        let second = put(&mut area, 0, seed, &record(1, b"first", b"lap"));
        put(&mut area, second, seed, &record(2, b"second", &[5; 100]));
        put(&mut area, 4096, seed, &record(3, b"third", b"now"));
        assert_eq!(seqnos(&area), [2, 3]);
    }

    #[test]
    fn a_frame_that_is_torn_or_of_another_run_is_none() {
        let mut area = vec![0; RING_AT_BYTES + 4096];
        let seed = HEADER.encode(&mut area);
        let end = usize::try_from(put(&mut area, 0, seed, &record(1, b"key", b"a value"))).unwrap();
        for byte in RING_AT_BYTES..RING_AT_BYTES + end {
            let mut damaged = area.clone();
            damaged[byte] ^= 0x10;
            let is_padding = byte >= RING_AT_BYTES + 16 + record(1, b"key", b"a value").encoded_bytes();
            assert_eq!(seqnos(&damaged).is_empty(), !is_padding, "byte {byte}");
        }
        JournalHeader { incarnation: 4, ..HEADER }.encode(&mut area);
        assert_eq!(seqnos(&area), Vec::<u64>::new());
        JournalHeader::erase(&mut area);
        assert_eq!(JournalHeader::decode(&area), None);
    }

    #[test]
    fn a_value_that_looks_like_a_frame_is_a_value() {
        let mut area = vec![0; RING_AT_BYTES + 4096];
        let seed = HEADER.encode(&mut area);
        // The value begins at 48 bytes: head 16, record header 24, key 8.
        let mut forged = vec![0; 128];
        encode_frame(48, seed, &record(2, b"forged", b"x"), value_crc(b"x"), &mut forged);
        put(&mut area, 0, seed, &record(1, b"8 bytes!", &forged));
        assert_eq!(seqnos(&area), [1]);
    }

    #[test]
    fn a_group_counts_when_it_is_whole() {
        let mut area = vec![0; RING_AT_BYTES + 4096];
        let seed = HEADER.encode(&mut area);
        let grouped = |seqno, index, len| {
            let group = Some(Group { index, len, part_index: 0, part_count: 0, incarnation: 1 });
            Record { group, ..record(seqno, b"key", b"value") }
        };
        let records = [
            // The start of the first is not there, of the third the middle, and of the last the end.
            grouped(2, 1, 2),
            record(3, b"alone", b""),
            grouped(4, 0, 2),
            grouped(5, 1, 2),
            grouped(6, 0, 3),
            grouped(8, 2, 3),
            record(9, b"alone", b""),
            grouped(10, 0, 2),
        ];
        let mut position = 0;
        for record in &records {
            position = put(&mut area, position, seed, record);
        }
        let found: Vec<Vec<u64>> = groups(&area, HEADER.store)
            .iter()
            .map(|group| group.iter().map(|record| record.seqno.get()).collect())
            .collect();
        assert_eq!(found, [vec![3], vec![4, 5], vec![9]]);
        assert_eq!(groups(&area, [0; 16]), Vec::<Vec<Record<'_>>>::new(), "another store's");
    }

    #[test]
    fn any_bytes_give_frames_or_none() {
        assert_eq!(JournalHeader::decode(&[]), None);
        assert_eq!(frames(&[], 0), []);
        assert_eq!(frames(&[0xff; 100], 0), []);
    }
}
