//! Chooses of each key the record that counts.
//!
//! Of each key the highest seqno wins, whatever order the records lie in. Of two copies of one write the one that the
//! collector made is taken, and of several such the one in the later filling: the others were about to be reset.
//!
//! The records of each zone are sorted already. Threads take ranges of keys ([`super::ranges`]) one by one, and merge what the
//! zones have of them; what a range gives does not depend on the others.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::ops::Range;

use foldhash::fast::FixedState;

use super::Damage;
use super::base::LargeOnes;
use super::prefix::Prefix;
use super::ranges::Ranges;
use super::records::{ScannedRecord, head_of};
use super::scan::{ScannedUnit, ZoneScan};
use crate::checkpoint::loader::LargeParts;
use crate::fault::{self, Fault};
use crate::format::record::RecordKind;
use crate::format::unit::StreamKind;
use crate::index::{Entry, LargeId, LargeValue, LargeValues, Location};
use crate::side_by_side;
use crate::units::{SeqNo, ZoneOffset};

/// The newest write of a key, and its seqno.
pub(super) type Winner<'a> = (&'a [u8], Entry, SeqNo);

/// What was chosen of a range of keys, or of all.
#[derive(Default)]
pub(super) struct Chosen<'a> {
    /// In the order of their keys.
    pub(super) entries: Vec<Winner<'a>>,
    /// Large values of which parts cannot be found, with their keys.
    pub(super) incomplete: Vec<(&'a [u8], LargeId, Damage)>,
    pub(super) counts: RecordCounts,
}

/// How many records were found.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordCounts {
    /// Those that count, superseded ones and copies included; of a large value one.
    pub(super) believed: u64,
    pub(super) void: u64,
}

impl std::ops::AddAssign for RecordCounts {
    fn add_assign(&mut self, other: Self) {
        self.believed += other.believed;
        self.void += other.void;
    }
}

/// A record of the scan: zone's index and record's index.
#[derive(Clone, Copy)]
struct Handle {
    scan: u32,
    record: u32,
}

impl Handle {
    fn new(scan: usize, record: usize) -> Self {
        let number =
            |index| u32::try_from(index).expect("zones, and the records of one, are numbered by 32 bits");
        Self { scan: number(scan), record: number(record) }
    }
}

/// A record with the first bytes in which its key differs from others of its range.
#[derive(Clone, Copy)]
struct Sortable {
    head: u64,
    handle: Handle,
}

/// What each record has to be asked of its unit, close together.
struct UnitInBrief {
    /// The last seqno that counts.
    limit: SeqNo,
    number: u32,
    is_torn: bool,
    /// Whether it has copies, and a checkpoint may point at what they were copied from.
    has_spare_copies: bool,
}

/// What becomes of a record.
#[derive(PartialEq, Eq)]
enum Fate {
    Counts,
    /// It does not count since the crash, or since an earlier one.
    Void,
    /// There is a better copy.
    LeftOut,
}

pub(super) struct Winners<'a> {
    scans: &'a [ZoneScan],
    units: Vec<Vec<UnitInBrief>>,
    parts: HashMap<LargeId, Vec<Handle>, FixedState>,
    /// What a checkpoint knows of large values, where there is one.
    base: Option<&'a LargeOnes>,
    /// Whether zones are offline, so that it is known why parts of values are missing.
    zones_lost: bool,
    nowhere: Location,
    large: LargeValues,
}

impl<'a> Winners<'a> {
    /// `nowhere` is the place of parts that are lost: reading it finds nothing and gives damage.
    pub(super) fn new(
        scans: &'a [ZoneScan],
        prefix: &Prefix,
        base: Option<&'a LargeOnes>,
        zones_lost: bool,
        nowhere: Location,
    ) -> Self {
        let units = scans.iter().map(|scan| in_brief(scan, prefix, base.is_some())).collect();
        let (parts, large) = (HashMap::default(), LargeValues::default());
        let mut winners = Self { scans, units, parts, base, zones_lost, nowhere, large };
        winners.find_parts();
        winners
    }

    /// Large values that were chosen.
    pub(super) fn large(&self) -> &LargeValues {
        &self.large
    }

    pub(super) fn into_large(self) -> LargeValues {
        self.large
    }

    /// Has something made of the winners of each range of keys; gives that in the order of keys.
    pub(super) fn each_range<T: Send>(
        &self,
        thread_count: usize,
        make: impl Fn(Chosen<'a>) -> T + Sync,
    ) -> Vec<T> {
        let ranges = Ranges::of(self.scans);
        let Ok(made) = side_by_side::each(thread_count, ranges.count(), |memory, range| {
            Ok::<_, Infallible>(make(self.choose(&ranges, range, memory)))
        });
        made
    }

    /// All winners, those among them that a checkpoint knows by their parts.
    pub(super) fn all(&self, thread_count: usize) -> Chosen<'a> {
        let mut all = Chosen::default();
        for range in self.each_range(thread_count, |chosen| chosen) {
            all.entries.extend(range.entries);
            all.incomplete.extend(range.incomplete);
            all.counts += range.counts;
        }
        let mut added = Vec::new();
        for (key, id) in self.base.into_iter().flat_map(|(keys, _)| keys) {
            self.choose_large_of_base(key, *id, &mut all, &mut added);
        }
        all.entries.append(&mut added);
        all
    }

    /// The keys of the records that these entries were made of.
    pub(super) fn keys_of(&self, wanted: &HashSet<Entry>) -> HashMap<Entry, &'a [u8]> {
        let mut found = HashMap::new();
        if wanted.is_empty() {
            return found;
        }
        for (scan, records) in self.scans.iter().map(|scan| scan.records.heads()).enumerate() {
            for (index, record) in records.iter().enumerate() {
                let handle = Handle::new(scan, index);
                let entry = self.entry_by_head(handle);
                if entry.is_some_and(|entry| wanted.contains(&entry))
                    && self.fate(scan, record) == Fate::Counts
                {
                    found.extend(entry.map(|entry| (entry, self.key(handle))));
                }
            }
        }
        found
    }

    /// The entry that is made of a record; `None` for the later parts of a value.
    fn entry_by_head(&self, handle: Handle) -> Option<Entry> {
        let (scan, record) = self.record(handle);
        let location = self.location(handle);
        match record.kind {
            RecordKind::Put => Some(Entry::Value { location, value_len: record.value_len }),
            RecordKind::Delete => Some(Entry::Tombstone { location }),
            RecordKind::Part => {
                (scan.records.part_index(record) == 0).then(|| Entry::Large { id: large_id(scan, record) })
            }
        }
    }

    fn choose(&self, ranges: &Ranges, range: usize, sorted: &mut Vec<Sortable>) -> Chosen<'a> {
        let mut chosen = Chosen::default();
        let common_len = ranges.common_len(self.scans, range);
        sorted.clear();
        for (scan, at) in ranges.stretches(range) {
            self.gather(scan, at, common_len, sorted, &mut chosen.counts);
        }
        // What comes of each zone is in order: this is a merge.
        sorted.sort_by(|a, b| {
            let by_key = a.head.cmp(&b.head).then_with(|| self.key(a.handle).cmp(self.key(b.handle)));
            by_key.then_with(|| self.preference(a.handle).cmp(&self.preference(b.handle)))
        });
        chosen.entries.reserve(sorted.len());
        let mut last: Option<Sortable> = None;
        for &next in &*sorted {
            let is_next =
                |last: Sortable| last.head == next.head && self.key(last.handle) == self.key(next.handle);
            if !last.is_some_and(is_next) {
                let entry = self.entry(next.handle, &mut chosen);
                chosen.entries.push((self.key(next.handle), entry, self.record(next.handle).1.seqno));
                last = Some(next);
            }
        }
        chosen
    }

    /// Adds the records of a zone that count, later parts of large values left out: those are found by the first ones.
    fn gather(
        &self,
        scan: usize,
        at: Range<usize>,
        common_len: usize,
        into: &mut Vec<Sortable>,
        counts: &mut RecordCounts,
    ) {
        let records = &self.scans[scan].records;
        for (record, index) in records.heads()[at.clone()].iter().zip(at) {
            match self.fate(scan, record) {
                Fate::Counts if records.part_index(record) > 0 => {}
                Fate::Counts => {
                    let head = head_of(&records.key(record)[common_len..]);
                    into.push(Sortable { head, handle: Handle::new(scan, index) });
                    counts.believed += 1;
                }
                Fate::Void => counts.void += 1,
                Fate::LeftOut => {}
            }
        }
    }

    fn fate(&self, scan: usize, record: &ScannedRecord) -> Fate {
        let unit = &self.units[scan][record.unit_index as usize];
        // Copies that a crash tore: what they were copied from is there, and may be what the checkpoint points at. Where
        // it is damage, and no tear, the whole ones may be the only ones.
        if record.seqno > unit.limit {
            Fate::Void
        } else if unit.has_spare_copies && (record.is_flawed || unit.is_torn) {
            Fate::LeftOut
        } else {
            Fate::Counts
        }
    }

    fn find_parts(&mut self) {
        for (scan_index, scan) in self.scans.iter().enumerate() {
            let records = &scan.records;
            if records.grouped().is_empty() {
                continue;
            }
            for (index, record) in records.heads().iter().enumerate() {
                if record.kind == RecordKind::Part && self.fate(scan_index, record) == Fate::Counts {
                    let handles = self.parts.entry(large_id(scan, record)).or_default();
                    handles.push(Handle::new(scan_index, index));
                }
            }
        }
    }
}

impl<'a> Winners<'a> {
    fn record(&self, handle: Handle) -> (&'a ZoneScan, &'a ScannedRecord) {
        let scan = &self.scans[handle.scan as usize];
        (scan, &scan.records.heads()[handle.record as usize])
    }

    fn key(&self, handle: Handle) -> &'a [u8] {
        let (scan, record) = self.record(handle);
        scan.records.key(record)
    }

    /// Sorts copies behind the ones that are to be preferred: higher seqno, undamaged, in a whole unit, made by the collector,
    /// later filling.
    ///
    /// Of a unit that a crash tore nothing is claimed: what rotted of it later would be lost without a word.
    fn preference(&self, handle: Handle) -> impl Ord + use<> {
        let (scan, record) = self.record(handle);
        let seqno = record.seqno.get();
        let rank = if fault::is_on(Fault::OldestWriteWins) { u64::MAX - seqno } else { seqno };
        let is_copy = scan.stream == Some(StreamKind::Relocation);
        let is_in_whole_unit = scan.units[record.unit_index as usize].flaw.is_none();
        std::cmp::Reverse((rank, !record.is_flawed, is_in_whole_unit, is_copy, scan.generation))
    }

    /// Takes a large value that the checkpoint knows, unless a later write of its key was read or it is nowhere any more.
    fn choose_large_of_base(
        &self,
        key: &'a [u8],
        id: LargeId,
        chosen: &mut Chosen<'a>,
        added: &mut Vec<Winner<'a>>,
    ) {
        let place = chosen.entries.binary_search_by(|(other, ..)| (*other).cmp(key));
        if place.is_ok_and(|at| chosen.entries[at].2.get() >= id.get()) {
            return;
        }
        let Some(&LargeParts { part_count, incarnation, .. }) = self.known_parts(id) else { return };
        let places = self.large_places(id, part_count);
        // Without its first part the value is none: it was superseded, and so was that in turn.
        let Some(Some(_)) = places.first() else { return };
        if places.iter().any(Option::is_none) {
            let what =
                format!("parts of a value of {part_count} parts that a checkpoint names cannot be found");
            let (zone, offset) = (self.nowhere.zone, ZoneOffset::START);
            chosen.incomplete.push((key, id, Damage { zone, offset, what, confined: false }));
        }
        self.enter_large(id, key, incarnation, places);
        let entry = (key, Entry::Large { id }, SeqNo::new(id.get()));
        match place {
            Ok(at) => {
                let superseded = std::mem::replace(&mut chosen.entries[at], entry);
                // Known still, it would be copied with the zones that hold it, and counted where it lies.
                if let (_, Entry::Large { id }, _) = superseded {
                    self.large.remove(id);
                }
            }
            Err(_) => added.push(entry),
        }
    }

    /// Where the parts of a value lie: the best copies that were read, else what the checkpoint knows.
    fn large_places(&self, id: LargeId, part_count: usize) -> Vec<Option<(Location, u32)>> {
        let mut read: Vec<Option<Handle>> = vec![None; part_count];
        for &handle in self.parts.get(&id).into_iter().flatten() {
            let (scan, record) = self.record(handle);
            let better = |held: Handle| self.preference(handle) < self.preference(held);
            if let Some(place) = read.get_mut(scan.records.part_index(record) as usize)
                && place.is_none_or(better)
            {
                *place = Some(handle);
            }
        }
        let known = self.known_parts(id).filter(|known| known.part_count == part_count);
        let known = |part: usize| *known?.parts.get(part)?;
        let place = |handle: Handle| (self.location(handle), self.record(handle).1.value_len);
        (0..).zip(read).map(|(part, handle)| handle.map(place).or_else(|| known(part))).collect()
    }

    /// What the checkpoint knows of the parts of a value.
    fn known_parts(&self, id: LargeId) -> Option<&'a LargeParts> {
        self.base?.1.get(&id)
    }

    fn location(&self, handle: Handle) -> Location {
        let (scan, record) = self.record(handle);
        let unit = &self.units[handle.scan as usize][record.unit_index as usize];
        Location::new(scan.descriptor.zone, unit.number, record.offset)
    }

    fn entry(&self, handle: Handle, chosen: &mut Chosen<'a>) -> Entry {
        let (_, record) = self.record(handle);
        let location = self.location(handle);
        match record.kind {
            RecordKind::Put => Entry::Value { location, value_len: record.value_len },
            RecordKind::Delete => Entry::Tombstone { location },
            RecordKind::Part => self.large_entry(handle, chosen),
        }
    }

    fn large_entry(&self, first: Handle, chosen: &mut Chosen<'a>) -> Entry {
        let (scan, record) = self.record(first);
        let id = large_id(scan, record);
        let (part_count, incarnation) =
            scan.records.group(record).map_or((0, 0), |group| (group.part_count, group.incarnation));
        let places = self.large_places(id, part_count as usize);
        if places.iter().any(Option::is_none) {
            let unit = &scan.units[record.unit_index as usize];
            let damage = Damage {
                zone: scan.descriptor.zone,
                offset: unit.offset.forward(u64::from(record.offset)),
                what: format!("of {part_count} parts of a value some cannot be found"),
                confined: self.zones_lost,
            };
            chosen.incomplete.push((self.key(first), id, damage));
        }
        self.enter_large(id, self.key(first), incarnation, places);
        Entry::Large { id }
    }

    /// Enters a large value; parts that were not found lie nowhere.
    fn enter_large(&self, id: LargeId, key: &[u8], incarnation: u32, places: Vec<Option<(Location, u32)>>) {
        let parts = places.into_iter().map(|place| place.unwrap_or((self.nowhere, 0))).collect();
        self.large.insert(id, LargeValue::new(key.len(), incarnation, parts));
    }
}

fn large_id(scan: &ZoneScan, record: &ScannedRecord) -> LargeId {
    LargeId::new(record.seqno.back(u64::from(scan.records.part_index(record))).get())
}

fn in_brief(scan: &ZoneScan, prefix: &Prefix, beside_checkpoint: bool) -> Vec<UnitInBrief> {
    let in_brief = |unit: &ScannedUnit| UnitInBrief {
        limit: if unit.is_void { SeqNo::ZERO } else { prefix.limit_of(unit) },
        number: unit.header.unit,
        is_torn: unit.flaw.is_some() && !unit.is_damaged,
        has_spare_copies: beside_checkpoint && unit.header.stream == StreamKind::Relocation,
    };
    scan.units.iter().map(in_brief).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::{Fate, LargeOnes, LargeParts, Winners};
    use crate::device::{ZoneDescriptor, ZoneState};
    use crate::format::DecodeError;
    use crate::format::record::{Group, Record, RecordKind};
    use crate::format::unit::{StreamKind, UnitHeader};
    use crate::index::{Entry, LargeId, Location};
    use crate::recovery::prefix::Prefix;
    use crate::recovery::records::{Records, Sorting};
    use crate::recovery::scan::{ScannedUnit, ZoneScan};
    use crate::units::{Generation, SeqNo, ZoneId, ZoneOffset};

    /// Seqno, number of the key, whether it is a delete, whether its value is flawed.
    type Written = (u64, u8, bool, bool);
    /// Whether it is a unit of copies, whether it is torn, its records.
    type Unit = (bool, bool, Vec<Written>);

    fn units() -> impl Strategy<Value = Vec<Unit>> {
        let written = (1u64..40, 0u8..12, any::<bool>(), any::<bool>());
        let unit = (any::<bool>(), any::<bool>(), proptest::collection::vec(written, 0..12));
        proptest::collection::vec(unit, 1..5)
    }

    fn key(number: u8) -> Vec<u8> {
        format!("key{}", "x".repeat(usize::from(number % 3)) + &number.to_string()).into_bytes()
    }

    fn header(unit: u32, generation: u64, is_copy: bool) -> UnitHeader {
        UnitHeader {
            generation: Generation::new(generation),
            first_seqno: SeqNo::new(u64::from(!is_copy)),
            unit,
            stream: if is_copy { StreamKind::Relocation } else { StreamKind::User },
            ..UnitHeader::of_a_first_unit()
        }
    }

    fn scan(zone: u32, units: &[Unit]) -> ZoneScan {
        let descriptor = ZoneDescriptor {
            zone: ZoneId::new(zone),
            state: ZoneState::Closed,
            write_pointer: ZoneOffset::new(8192),
            reset_count: 0,
        };
        let mut scan = ZoneScan::new(descriptor, Records::default());
        scan.generation = Generation::new(u64::from(zone) + 1);
        let mut records = Records::default();
        for (number, (is_copy, is_torn, written)) in (0u32..).zip(units) {
            let header = header(number + 7, scan.generation.get(), *is_copy);
            scan.stream = Some(header.stream);
            let flaw = is_torn.then_some((0, DecodeError::Magic { structure: "unit" }));
            let offset = ZoneOffset::new(u64::from(number) * 4096);
            let (is_damaged, is_void, heads_whole) = (false, false, true);
            scan.units.push(ScannedUnit { header, offset, flaw, heads_whole, is_damaged, is_void });
            for (place, &(seqno, number_of_key, is_delete, is_flawed)) in (0u32..).zip(written) {
                let kind = if is_delete { RecordKind::Delete } else { RecordKind::Put };
                let (seqno, key) = (SeqNo::new(seqno), key(number_of_key));
                records.push(
                    &Record { seqno, kind, group: None, key: &key, value: b"val" },
                    number,
                    place * 50,
                    is_flawed,
                );
            }
        }
        scan.records = records.sorted(&mut Sorting::default());
        scan
    }

    /// What one look at every record in turn gives, and how many count.
    fn one_by_one(scans: &[ZoneScan], winners: &Winners<'_>) -> (BTreeMap<Vec<u8>, (Entry, u64)>, u64) {
        let (mut best, mut count) = (BTreeMap::new(), 0);
        for (index, scan) in scans.iter().enumerate() {
            for record in
                scan.records.heads().iter().filter(|record| winners.fate(index, record) == Fate::Counts)
            {
                count += 1;
                let unit = &scan.units[record.unit_index as usize];
                let is_copy = scan.stream == Some(StreamKind::Relocation);
                let rank = (record.seqno, !record.is_flawed, unit.flaw.is_none(), is_copy, scan.generation);
                let location = Location::new(scan.descriptor.zone, unit.header.unit, record.offset);
                let entry = match record.kind {
                    RecordKind::Delete => Entry::Tombstone { location },
                    _ => Entry::Value { location, value_len: record.value_len },
                };
                let held = best.entry(scan.records.key(record).to_vec()).or_insert((rank, entry));
                if rank > held.0 {
                    *held = (rank, entry);
                }
            }
        }
        let entries = best.into_iter().map(|(key, (rank, entry))| (key, (entry, rank.0.get())));
        (entries.collect(), count)
    }

    proptest! {
        #[test]
        fn what_threads_merge_by_ranges_is_what_one_look_at_each_record_gives(
            zones in proptest::collection::vec(units(), 1..6), last in 1u64..50,
        ) {
            let scans: Vec<_> = (0u32..).zip(&zones).map(|(zone, units)| scan(zone, units)).collect();
            let prefix = Prefix::up_to(SeqNo::new(last));
            let nowhere = Location::new(ZoneId::new(99), 0, 0);
            let winners = Winners::new(&scans, &prefix, None, false, nowhere);
            let (expected, believed) = one_by_one(&scans, &winners);
            for thread_count in [1, 3] {
                let chosen = winners.all(thread_count);
                let keys: Vec<_> = chosen.entries.iter().map(|(key, ..)| *key).collect();
                prop_assert_eq!(&keys, &expected.keys().map(|key| &key[..]).collect::<Vec<_>>());
                for (key, entry, seqno) in &chosen.entries {
                    prop_assert_eq!((*entry, seqno.get()), expected[*key]);
                }
                let all: usize = scans.iter().map(|scan| scan.records.heads().len()).sum();
                prop_assert_eq!(chosen.counts.believed, believed);
                prop_assert_eq!(chosen.counts.void, all as u64 - believed);
            }
        }
    }

    /// The scan may find an older large value of a key whose newest one only the checkpoint knows. It was left among the large
    /// values when the checkpoint's took its place: the collector went on copying its parts, and the ledger counted them.
    #[test]
    fn a_large_value_that_the_checkpoints_supersedes_is_forgotten() {
        let (old, new, other) = (LargeId::new(5), LargeId::new(50), LargeId::new(7));
        let mut records = Records::default();
        for (id, key) in [(old, &b"key"[..]), (other, b"other")] {
            let group = Some(Group { index: 0, len: 1, part_index: 0, part_count: 1, incarnation: 1 });
            let (seqno, kind) = (SeqNo::new(id.get()), RecordKind::Part);
            let offset = u32::try_from(id.get()).unwrap();
            records.push(&Record { seqno, kind, group, key, value: b"val" }, 0, offset, false);
        }
        let mut scan = scan(3, &[(false, false, vec![])]);
        scan.records = records.sorted(&mut Sorting::default());
        let place = (Location::new(ZoneId::new(8), 0, 0), 9);
        let parts = LargeParts { key_bytes: 3, incarnation: 1, part_count: 1, parts: vec![Some(place)] };
        let base: LargeOnes = (vec![(b"key"[..].into(), new)], [(new, parts)].into_iter().collect());
        let (scans, prefix) = ([scan], Prefix::up_to(SeqNo::new(100)));
        let nowhere = Location::new(ZoneId::new(99), 0, 0);
        let winners = Winners::new(&scans, &prefix, Some(&base), false, nowhere);
        let chosen = winners.all(1);
        let entries: Vec<_> = chosen.entries.iter().map(|&(key, entry, _)| (key, entry)).collect();
        assert_eq!(
            entries,
            [(&b"key"[..], Entry::Large { id: new }), (&b"other"[..], Entry::Large { id: other })]
        );
        let is_known = [old, new, other].map(|id| winners.large().value(id).is_some());
        assert_eq!(is_known, [false, true, true]);
    }
}
