//! The records of one zone without their values: 32 bytes each, and their keys side by side.
//!
//! While a zone is read they lie in the order of arrival. Then they are put in the order of their keys ([`Records::sorted`]),
//! keys and all, by the thread that has read them and while others wait for the device: whoever merges the zones
//! afterwards goes through memory from front to back.

use prefetch_index::prefetch_index;

use crate::format::record::{Group, Record, RecordKind};
use crate::index::ordered::common_len;
use crate::units::SeqNo;

/// A record as found in a unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScannedRecord {
    pub(super) seqno: SeqNo,
    key_start: usize,
    /// Index into the units of the zone.
    pub(super) unit_index: u32,
    /// Offset in the unit, in bytes.
    pub(super) offset: u32,
    pub(super) value_len: u32,
    key_len: u16,
    pub(super) kind: RecordKind,
    /// Whether the value does not pass its check.
    pub(super) is_flawed: bool,
}

#[cfg(target_pointer_width = "64")]
const _TWO_FIT_A_CACHE_LINE: () = assert!(size_of::<ScannedRecord>() == 32, "there are ten million of them");

/// A record that counts only together with others.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupedRecord {
    pub(super) seqno: SeqNo,
    pub(super) unit_index: u32,
    offset: u32,
    group: Group,
}

impl GroupedRecord {
    /// The first record of its group.
    pub(super) fn first(&self) -> SeqNo {
        self.seqno.back(u64::from(self.group.index))
    }

    /// The last record of its group.
    pub(super) fn last(&self) -> SeqNo {
        self.first().forward(u64::from(self.group.len)).back(1)
    }
}

/// The records of a zone.
#[derive(Debug, Default)]
pub(super) struct Records {
    heads: Vec<ScannedRecord>,
    keys: Vec<u8>,
    /// Those in groups, in the order of units and offsets.
    grouped: Vec<GroupedRecord>,
    seqno_sum: u128,
}

/// How many records there were at some time.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    heads: usize,
    keys: usize,
    grouped: usize,
    seqno_sum: u128,
}

/// Memory for sorting, kept from one zone to the next.
#[derive(Default)]
pub(super) struct Sorting(Vec<Sortable>);

/// A record with the first bytes in which its key differs from others of the zone.
#[derive(Clone, Copy)]
struct Sortable {
    head: u64,
    at: usize,
}

/// Records whose keys are fetched from memory side by side.
const FETCHED_TOGETHER: usize = 64;

impl Records {
    pub(super) fn push(&mut self, record: &Record<'_>, unit_index: u32, offset: u32, is_flawed: bool) {
        let (seqno, key_start) = (record.seqno, self.keys.len());
        self.keys.extend_from_slice(record.key);
        self.heads.push(ScannedRecord {
            seqno,
            key_start,
            unit_index,
            offset,
            value_len: u32::try_from(record.value.len()).expect("a unit is at most 1 MiB"),
            key_len: u16::try_from(record.key.len()).expect("keys are at most 65,535 bytes"),
            kind: record.kind,
            is_flawed,
        });
        self.seqno_sum += u128::from(seqno.get());
        self.grouped.extend(record.group.map(|group| GroupedRecord { seqno, unit_index, offset, group }));
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            heads: self.heads.len(),
            keys: self.keys.len(),
            grouped: self.grouped.len(),
            seqno_sum: self.seqno_sum,
        }
    }

    /// Forgets what came after a mark.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.heads.truncate(mark.heads);
        self.keys.truncate(mark.keys);
        self.grouped.truncate(mark.grouped);
        self.seqno_sum = mark.seqno_sum;
    }

    pub(super) fn clear(&mut self) {
        self.back_to(Self::default().mark());
    }

    pub(super) fn heads(&self) -> &[ScannedRecord] {
        &self.heads
    }

    /// The middle of all seqnos, where there are records.
    pub(super) fn average_seqno(&self) -> Option<SeqNo> {
        let average = self.seqno_sum.checked_div(self.heads.len() as u128)?;
        Some(SeqNo::new(u64::try_from(average).expect("an average of 64-bit numbers")))
    }

    pub(super) fn grouped(&self) -> &[GroupedRecord] {
        &self.grouped
    }

    pub(super) fn key(&self, record: &ScannedRecord) -> &[u8] {
        &self.keys[record.key_start..record.key_start + usize::from(record.key_len)]
    }

    /// The group that a record belongs to.
    pub(super) fn group(&self, record: &ScannedRecord) -> Option<Group> {
        let place = (record.unit_index, record.offset);
        let found = self.grouped.binary_search_by_key(&place, |other| (other.unit_index, other.offset));
        Some(self.grouped[found.ok()?].group)
    }

    /// Which part of a large value a record is; 0 for those that are none.
    pub(super) fn part_index(&self, record: &ScannedRecord) -> u32 {
        let is_part = record.kind == RecordKind::Part;
        if is_part { self.group(record).map_or(0, |group| group.part_index) } else { 0 }
    }

    /// The same records in the order of their keys, those without one first, and of equal keys in the order of arrival. In memory
    /// of their own, just enough.
    pub(super) fn sorted(&self, Sorting(order): &mut Sorting) -> Self {
        let common_len = self.common_len();
        order.clear();
        order.extend(self.heads.iter().enumerate().map(|(at, record)| {
            let key = self.key(record);
            Sortable { head: head_of(key.get(common_len..).unwrap_or_default()), at }
        }));
        order.sort_unstable_by(|a, b| {
            let key = |sortable: &Sortable| self.key(&self.heads[sortable.at]);
            a.head.cmp(&b.head).then_with(|| key(a).cmp(key(b))).then(a.at.cmp(&b.at))
        });
        let mut sorted = Self {
            heads: Vec::with_capacity(self.heads.len()),
            keys: Vec::with_capacity(self.keys.len()),
            grouped: self.grouped.clone(),
            seqno_sum: self.seqno_sum,
        };
        for batch in order.chunks(FETCHED_TOGETHER) {
            let first = sorted.heads.len();
            sorted.heads.extend(batch.iter().map(|sortable| self.heads[sortable.at]));
            let batch = &mut sorted.heads[first..];
            batch.iter().for_each(|record| prefetch_index(&self.keys, record.key_start));
            for record in batch {
                let key = self.key(record);
                record.key_start = sorted.keys.len();
                sorted.keys.extend_from_slice(key);
            }
        }
        sorted
    }

    /// How many bytes all keys begin with, but for empty ones.
    fn common_len(&self) -> usize {
        let mut keys = self.heads.iter().map(|record| self.key(record)).filter(|key| !key.is_empty());
        let Some(first) = keys.next() else { return 0 };
        keys.fold(first.len(), |common, key| common_len(&first[..common], key))
    }
}

/// Eight bytes as a number that sorts as they do, zeros standing in for missing ones. Equal heads decide nothing.
pub(super) fn head_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => u64::from_be_bytes(std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Records, Sorting};
    use crate::format::record::{Group, Record, RecordKind};
    use crate::units::SeqNo;

    fn records_of(keys: &[Vec<u8>]) -> Records {
        let mut records = Records::default();
        for (number, key) in (0u32..).zip(keys) {
            let group = (number % 3 == 0).then_some(Group {
                index: 1,
                len: 5,
                part_index: number,
                part_count: 900,
                incarnation: 1,
            });
            let (seqno, kind) = (SeqNo::new(u64::from(number) + 10), RecordKind::Part);
            let record = Record { seqno, kind, group, key, value: &[7; 9] };
            records.push(&record, number / 8, number * 100, false);
        }
        records
    }

    proptest! {
        #[test]
        fn sorted_records_are_the_same_in_the_order_of_keys(
            prefix in proptest::collection::vec(any::<u8>(), 0..12),
            keys in proptest::collection::vec(proptest::collection::vec(0u8..3, 0..12), 0..60),
        ) {
            let with_prefix = |key: Vec<u8>| if key.is_empty() { key } else { [&prefix[..], &key].concat() };
            let keys: Vec<_> = keys.into_iter().map(with_prefix).collect();
            let records = records_of(&keys);
            let sorted = records.sorted(&mut Sorting::default());
            let mut expected: Vec<_> = keys.iter().zip(0u32..).collect();
            expected.sort();
            let found = sorted.heads().iter().map(|record| (sorted.key(record).to_vec(), record.seqno.get()));
            let seqnos = 10..keys.len() as u64 + 10;
            let average = seqnos.sum::<u64>().checked_div(keys.len() as u64);
            prop_assert_eq!(sorted.average_seqno().map(SeqNo::get), average);
            let expected_seqnos = expected.iter().map(|(key, number)| ((*key).clone(), u64::from(*number) + 10));
            prop_assert_eq!(found.collect::<Vec<_>>(), expected_seqnos.collect::<Vec<_>>());
            for (record, (_, number)) in sorted.heads().iter().zip(&expected) {
                let in_group = number % 3 == 0;
                prop_assert_eq!(sorted.group(record).map(|group| group.part_index), in_group.then_some(*number));
                prop_assert_eq!(sorted.part_index(record), if in_group { *number } else { 0 });
            }
        }
    }

    #[test]
    fn what_came_after_a_mark_is_forgotten() {
        let keys: Vec<_> = (0..10).map(|number| vec![number]).collect();
        let mut records = records_of(&keys[..4]);
        let mark = records.mark();
        records.push(
            &Record { seqno: SeqNo::new(1), kind: RecordKind::Put, group: None, key: b"later", value: b"" },
            9,
            9,
            false,
        );
        records.back_to(mark);
        assert_eq!((records.heads().len(), records.keys.len(), records.grouped().len()), (4, 4, 2));
        assert_eq!(records.average_seqno(), Some(SeqNo::new(11)));
    }
}
