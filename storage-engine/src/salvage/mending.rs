//! Puts a damaged record head right, where that can be proven. Pure.
//!
//! A unit's header holds the checksum of the head checksums of all its records. When all records but one are whole, the
//! head checksum that the missing one must have follows from it. A head that was put together from what lies there and
//! from what is known otherwise is taken when it has that checksum: 32 bits, against the few thousand heads that are
//! tried. What is tried: another byte in one place; fields that follow from others (the seqno in a unit of new writes, the
//! checksum of the value, lengths that must add up to the room there is); and the keys of other records.

use crate::format::record::{
    HEAD_CRC_BYTES, RECORD_HEADER_BYTES, RawHeader, Record, RecordKind, encoded_bytes, head_crc, value_crc,
};
use crate::units::SeqNo;

/// Longest head of which every byte is tried.
const MAX_TRIED_HEAD_BYTES: usize = 600;
/// Longest record of which every division into key and value is tried.
const MAX_DIVIDED_BYTES: usize = 4096;

/// A record that does not pass its checks, in a unit whose other records do.
#[derive(Debug, Clone)]
pub(super) struct TornRecord {
    /// What lies between the records before and after it.
    pub(super) bytes: Vec<u8>,
    /// The head checksum that it must have.
    wanted: u32,
    /// The seqno that it must have, where that is known.
    seqno: Option<SeqNo>,
}

/// How a record's bytes are divided.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Division {
    key_len: usize,
    value_len: usize,
    grouped: bool,
}

impl Division {
    const fn key_start(self) -> usize {
        encoded_bytes(0, 0, self.grouped)
    }

    const fn head_len(self) -> usize {
        self.key_start() + self.key_len
    }
}

impl TornRecord {
    /// `before` and `after` are the head checksums of the unit's other records, in order.
    pub(super) fn new(
        bytes: Vec<u8>,
        (before, after): (&[u32], &[u32]),
        contents_crc: u32,
        seqno: Option<SeqNo>,
    ) -> Option<Self> {
        let wanted = missing_word(before, after, contents_crc)?;
        (bytes.len() > RECORD_HEADER_BYTES).then_some(Self { bytes, wanted, seqno })
    }

    /// The record as it was written, if that can be found out from what lies there.
    pub(super) fn mend(&self) -> Option<Vec<u8>> {
        let divisions = self.divisions();
        let plain = divisions.iter().find_map(|&division| self.mend_fields(division));
        plain.or_else(|| divisions.first().and_then(|&division| self.mend_one_byte(division)))
    }

    /// The record as it was written, if `key` is its key and nothing but the key was hit.
    ///
    /// Many keys are tried, so that nothing else is varied.
    pub(super) fn mend_with_key(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (value_len, key_len, grouped) = self.raw_lengths();
        let division = Division { key_len, value_len, grouped };
        if key_len != key.len() || division.head_len() + value_len != self.bytes.len() {
            return None;
        }
        let mut head = self.bytes[..division.head_len()].to_vec();
        head[division.key_start()..].copy_from_slice(key);
        if head_crc(&head) == self.wanted { self.whole(head, division) } else { None }
    }

    /// What lengths it may have, the likely ones first.
    fn divisions(&self) -> Vec<Division> {
        let (raw_value, raw_key, raw_grouped) = self.raw_lengths();
        let mut divisions = Vec::new();
        let mut add = |key_len: usize, grouped: bool| {
            let head = Division { key_len, value_len: 0, grouped }.head_len();
            if let Some(value_len) = self.bytes.len().checked_sub(head) {
                let division = Division { key_len, value_len, grouped };
                if !divisions.contains(&division) {
                    divisions.push(division);
                }
            }
        };
        add(raw_key, raw_grouped);
        add(raw_key, !raw_grouped);
        for grouped in [raw_grouped, !raw_grouped] {
            let rest = Division { key_len: 0, value_len: 0, grouped }.head_len() + raw_value;
            if let Some(key_len) = self.bytes.len().checked_sub(rest) {
                add(key_len, grouped);
            }
        }
        if self.bytes.len() <= MAX_DIVIDED_BYTES {
            (1..self.bytes.len() - RECORD_HEADER_BYTES + 1).for_each(|key_len| add(key_len, raw_grouped));
        }
        divisions
    }

    fn raw(&self) -> RawHeader {
        RawHeader::read(&self.bytes).expect("a torn record has room for a header")
    }

    /// Lengths of value and key, and whether there is an extension.
    fn raw_lengths(&self) -> (usize, usize, bool) {
        let raw = self.raw();
        (raw.value_bytes as usize, usize::from(raw.key_bytes), raw.is_grouped())
    }

    /// Tries heads of which fields that follow from others are put right.
    fn mend_fields(&self, division: Division) -> Option<Vec<u8>> {
        let raw = self.raw();
        let seqnos = [raw.seqno, self.seqno.map_or(raw.seqno, SeqNo::get)];
        let value_crcs = [raw.value_crc, value_crc(&self.bytes[division.head_len()..])];
        for kind in RecordKind::ALL {
            for seqno in seqnos {
                for value_crc in value_crcs {
                    let head = self.head(division, (value_crc, seqno, kind));
                    if head_crc(&head) == self.wanted {
                        return self.whole(head, division);
                    }
                }
            }
        }
        None
    }

    fn head(&self, division: Division, (value_crc, seqno, kind): (u32, u64, RecordKind)) -> Vec<u8> {
        let mut head = self.bytes[..division.head_len()].to_vec();
        // Lengths are of fields of these sizes: a longer record was not written.
        let value_bytes = u32::try_from(division.value_len).unwrap_or(0);
        let key_bytes = u16::try_from(division.key_len).unwrap_or(0);
        let mut raw = self.raw().of_kind(kind, division.grouped);
        (raw.value_crc, raw.seqno, raw.value_bytes, raw.key_bytes) =
            (value_crc, seqno, value_bytes, key_bytes);
        raw.write(&mut head);
        head
    }

    /// Tries every other value of every byte of the head.
    fn mend_one_byte(&self, division: Division) -> Option<Vec<u8>> {
        let raw = &self.bytes[..division.head_len()];
        if raw.len() > MAX_TRIED_HEAD_BYTES {
            return None;
        }
        let mut head = raw.to_vec();
        for place in HEAD_CRC_BYTES..raw.len() {
            for byte in 0..=u8::MAX {
                head[place] = byte;
                if head_crc(&head) == self.wanted {
                    // Nothing else was hit, so that the value must be whole.
                    let whole = self.whole(head, division)?;
                    return Record::decode(&whole)
                        .is_ok_and(|found| found.value_check.is_ok())
                        .then_some(whole);
                }
            }
            head[place] = raw[place];
        }
        None
    }

    /// The record, if it makes one.
    fn whole(&self, mut head: Vec<u8>, division: Division) -> Option<Vec<u8>> {
        head[..HEAD_CRC_BYTES].copy_from_slice(&self.wanted.to_le_bytes());
        head.extend_from_slice(&self.bytes[division.head_len()..]);
        let found_bytes = Record::decode(&head).ok()?.encoded_bytes;
        (found_bytes == head.len()).then_some(head)
    }
}

/// The one word that, between others, gives a checksum.
///
/// A checksum is affine in each bit of what it is taken of: the word is the solution of 32 equations with 32 unknowns.
fn missing_word(before: &[u32], after: &[u32], crc: u32) -> Option<u32> {
    let with = |word: u32| {
        let mut hasher = crc32fast::Hasher::new();
        for word in before.iter().chain([&word]).chain(after) {
            hasher.update(&word.to_le_bytes());
        }
        hasher.finalize()
    };
    let constant = with(0);
    let mut rows: Vec<(u32, u32)> = (0..32).map(|bit| (with(1 << bit) ^ constant, 1 << bit)).collect();
    let (mut left, mut word) = (crc ^ constant, 0);
    for bit in (0..32).rev() {
        let pivot = rows.iter().position(|(effect, _)| effect >> bit & 1 == 1)?;
        let (effect, cause) = rows.swap_remove(pivot);
        for row in rows.iter_mut().filter(|(other, _)| other >> bit & 1 == 1) {
            *row = (row.0 ^ effect, row.1 ^ cause);
        }
        if left >> bit & 1 == 1 {
            (left, word) = (left ^ effect, word ^ cause);
        }
    }
    Some(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{TornRecord, missing_word};
    use crate::format::record::{Group, Record, RecordKind};
    use crate::format::unit::ContentsChecksum;
    use crate::units::SeqNo;

    const VALUE: &[u8] = b"a value of some length";

    fn encoded(key: &[u8], seqno: u64, group: Option<Group>) -> Vec<u8> {
        let record = Record { seqno: SeqNo::new(seqno), kind: RecordKind::Put, group, key, value: VALUE };
        let mut bytes = vec![0; record.encoded_bytes()];
        record.encode(&mut bytes);
        bytes
    }

    fn head_crc(bytes: &[u8]) -> u32 {
        u32::from_le_bytes(*bytes.first_chunk().unwrap())
    }

    /// The second of three records, hit by `damage`.
    fn torn(group: Option<Group>, damage: impl Fn(&mut Vec<u8>)) -> (TornRecord, Vec<u8>) {
        let records = [encoded(b"before", 5, None), encoded(b"key", 6, group), encoded(b"after", 7, None)];
        let mut contents = ContentsChecksum::default();
        records.iter().for_each(|record| contents.add(record));
        let mut bytes = records[1].clone();
        damage(&mut bytes);
        let others = (&[head_crc(&records[0])][..], &[head_crc(&records[2])][..]);
        let torn = TornRecord::new(bytes, others, contents.finish(), Some(SeqNo::new(6))).unwrap();
        (torn, records[1].clone())
    }

    const GROUP: Option<Group> =
        Some(Group { index: 1, len: 2, part_index: 0, part_count: 0, incarnation: 1 });

    #[test]
    fn a_head_with_any_one_byte_changed_is_put_right() {
        for group in [None, GROUP] {
            for place in 0..encoded(b"key", 6, group).len() - VALUE.len() {
                let (torn, whole) = torn(group, |bytes| bytes[place] ^= 0x10);
                assert!(torn.mend() == Some(whole), "byte {place}, {group:?}");
            }
        }
    }

    #[test]
    fn a_header_of_zeros_follows_from_the_rest() {
        let (torn, whole) = torn(None, |bytes| bytes[..24].fill(0));
        assert_eq!(torn.mend(), Some(whole));
    }

    #[test]
    fn a_key_of_zeros_is_found_among_the_keys_of_others_and_no_other_key_is_taken() {
        let (torn, whole) = torn(None, |bytes| bytes[24..27].fill(0));
        assert_eq!(torn.mend(), None);
        assert_eq!(torn.mend_with_key(b"kez"), None);
        assert_eq!(torn.mend_with_key(b"keys"), None);
        assert_eq!(torn.mend_with_key(b"key"), Some(whole));
    }

    #[test]
    fn what_is_too_far_gone_is_left_alone() {
        let (torn, _) = torn(None, |bytes| bytes.fill(0));
        assert_eq!(torn.mend(), None);
    }

    proptest! {
        #[test]
        fn the_missing_word_is_found(
            before in proptest::collection::vec(any::<u32>(), 0..5), word in any::<u32>(),
            after in proptest::collection::vec(any::<u32>(), 0..5),
        ) {
            let mut contents = ContentsChecksum::default();
            before.iter().chain([&word]).chain(&after).for_each(|word| contents.add(&word.to_le_bytes()));
            prop_assert_eq!(missing_word(&before, &after, contents.finish()), Some(word));
        }
    }
}
