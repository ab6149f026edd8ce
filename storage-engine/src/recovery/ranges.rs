//! Divides the sorted records of all zones into ranges of keys, so that several threads can merge them.
//!
//! All records of a key are in one range. Each range holds about as many records as a processor keeps close by, whatever
//! the order was in which they were written.

use super::scan::ZoneScan;
use crate::index::ordered::common_len;

/// Records of a range: what is done with them stays in a processor's cache.
const RANGE_RECORDS: usize = 32 * 1024;
/// Fewer of a zone are not worth looking for.
const ZONE_RECORDS: usize = 64;
/// A store of few records is divided as well: how it is done is the same for all.
const LEAST_RANGES: usize = 8;
/// Keys looked at for each range that is made.
const SAMPLES_A_RANGE: usize = 8;

/// Ranges of keys.
#[derive(Debug)]
pub(super) struct Ranges {
    /// Of each zone where every range begins, and where the last one ends.
    bounds: Vec<Vec<usize>>,
}

impl Ranges {
    pub(super) fn of(scans: &[ZoneScan]) -> Self {
        let record_count: usize = scans.iter().map(|scan| scan.records.heads().len()).sum();
        let most = RANGE_RECORDS.max(ZONE_RECORDS * scans.len());
        Self::of_about(scans, (record_count / LEAST_RANGES).clamp(1, most))
    }

    fn of_about(scans: &[ZoneScan], range_len: usize) -> Self {
        let mut sample = sample(scans, (range_len / SAMPLES_A_RANGE).max(1));
        sample.sort_unstable();
        let mut splitters: Vec<&[u8]> =
            sample.into_iter().skip(SAMPLES_A_RANGE - 1).step_by(SAMPLES_A_RANGE).collect();
        splitters.dedup();
        Self { bounds: scans.iter().map(|scan| bounds(scan, &splitters)).collect() }
    }

    pub(super) fn count(&self) -> usize {
        self.bounds.first().map_or(0, |bounds| bounds.len() - 1)
    }

    /// The records of a range: of each zone that has some its index, and from where to where.
    pub(super) fn stretches(
        &self,
        range: usize,
    ) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + '_ {
        let of_zones = self.bounds.iter().enumerate();
        of_zones
            .map(move |(scan, bounds)| (scan, bounds[range]..bounds[range + 1]))
            .filter(|(_, at)| !at.is_empty())
    }

    /// How many bytes all keys of a range begin with.
    pub(super) fn common_len(&self, scans: &[ZoneScan], range: usize) -> usize {
        let key = |scan: usize, at: usize| scans[scan].records.key(&scans[scan].records.heads()[at]);
        let first = self.stretches(range).map(|(scan, at)| key(scan, at.start)).min();
        let last = self.stretches(range).map(|(scan, at)| key(scan, at.end - 1)).max();
        first.zip(last).map_or(0, |(first, last)| common_len(first, last))
    }
}

/// The key of every `step`th record, zones one after another.
fn sample(scans: &[ZoneScan], step: usize) -> Vec<&[u8]> {
    let (mut sample, mut next) = (Vec::new(), step - 1);
    for scan in scans {
        let heads = scan.records.heads();
        while let Some(record) = heads.get(next) {
            sample.push(scan.records.key(record));
            next += step;
        }
        next -= heads.len();
    }
    sample
}

fn bounds(scan: &ZoneScan, splitters: &[&[u8]]) -> Vec<usize> {
    let heads = scan.records.heads();
    let mut bounds = Vec::with_capacity(splitters.len() + 2);
    let mut last = 0;
    bounds.push(0);
    for splitter in splitters {
        let is_below = |at: usize| heads.get(at).is_some_and(|record| scan.records.key(record) < *splitter);
        let (mut from, mut step) = (last, 1);
        while is_below(from + step - 1) {
            from += step;
            step *= 2;
        }
        let rest = &heads[from..heads.len().min(from + step)];
        last = from + rest.partition_point(|record| scan.records.key(record) < *splitter);
        bounds.push(last);
    }
    bounds.push(heads.len());
    bounds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::Ranges;
    use crate::device::{ZoneDescriptor, ZoneState};
    use crate::format::record::{Record, RecordKind};
    use crate::recovery::records::{Records, Sorting};
    use crate::recovery::scan::ZoneScan;
    use crate::units::{SeqNo, ZoneId, ZoneOffset};

    fn scan(keys: &[Vec<u8>]) -> ZoneScan {
        let mut records = Records::default();
        for key in keys {
            let (seqno, kind) = (SeqNo::new(1), RecordKind::Put);
            records.push(&Record { seqno, kind, group: None, key, value: b"" }, 0, 0, false);
        }
        let (zone, write_pointer) = (ZoneId::new(2), ZoneOffset::new(8192));
        let descriptor = ZoneDescriptor { zone, state: ZoneState::Closed, write_pointer, reset_count: 0 };
        ZoneScan::new(descriptor, records.sorted(&mut Sorting::default()))
    }

    proptest! {
        #[test]
        fn ranges_follow_one_another_and_have_every_record_once(
            zones in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(0u8..4, 0..5), 0..80), 0..6,
            ),
            range_len in 1usize..100,
        ) {
            let scans: Vec<_> = zones.iter().map(|keys| scan(keys)).collect();
            let ranges = Ranges::of_about(&scans, range_len);
            let (mut count, mut highest): (usize, Option<Vec<u8>>) = (0, None);
            for range in 0..ranges.count() {
                let keys: Vec<&[u8]> = ranges.stretches(range).flat_map(|(scan, at)| {
                    let records = &scans[scan].records;
                    records.heads()[at].iter().map(|record| records.key(record))
                }).collect();
                count += keys.len();
                let Some(lowest) = keys.iter().min() else { continue };
                prop_assert!(highest.as_deref().is_none_or(|highest| highest < *lowest), "no key is in two ranges");
                let common_len = ranges.common_len(&scans, range);
                prop_assert!(keys.iter().all(|key| key.get(..common_len) == Some(&lowest[..common_len])));
                highest = keys.iter().max().map(|key| key.to_vec());
            }
            prop_assert_eq!(count, zones.iter().map(Vec::len).sum::<usize>());
        }
    }

    #[test]
    fn ranges_are_about_as_long_as_wanted() {
        let key = |number: u32| number.wrapping_mul(0x9E37_79B9).to_be_bytes().to_vec();
        let zones: Vec<Vec<_>> =
            (0..5).map(|zone| (zone * 400..(zone + 1) * 400).map(key).collect()).collect();
        let scans: Vec<_> = zones.iter().map(|keys| scan(keys)).collect();
        let ranges = Ranges::of_about(&scans, 100);
        let lens: Vec<usize> =
            (0..ranges.count()).map(|range| ranges.stretches(range).map(|(_, at)| at.len()).sum()).collect();
        assert!((15..=25).contains(&lens.len()), "{lens:?}");
        assert!(lens.iter().all(|len| *len < 200), "{lens:?}");
    }
}
