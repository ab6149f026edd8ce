//! Makes index, large values and ledger from the records that count.
//!
//! Of each key the highest seqno wins, whatever order the records lie in. Of two copies of one write the one that the
//! collector made is taken, and of several such the one in the later filling: the others were about to be reset.
//!
//! With a checkpoint the records that were read are put on top of the index that it gave.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::base::Base;
use super::prefix::Prefix;
use super::scan::{ScannedRecord, ZoneScan};
use super::{Damage, StreamEnd};
use crate::checkpoint::coverage::stream_of_row;
use crate::checkpoint::loader::{LargeParts, Standing};
use crate::device::{Geometry, ZoneDescriptor, ZoneState};
use crate::fault::{self, Fault};
use crate::format::checkpoint::ZoneRow;
use crate::format::manifest::CheckpointName;
use crate::format::record::RecordKind;
use crate::format::unit::{MOST_CLASSES, StreamKind, StreamName};
use crate::gc::policy::{Clock, Lifetime, StreamId, ZoneHistory};
use crate::index::ordered::LoadedLeaf;
use crate::index::{Catalog, Entry, LargeId, LargeValue, LargeValues, Location, OrderedIndex};
use crate::units::{SeqNo, ZoneId, ZoneOffset, ZoneSector};
use crate::zones::{Role, Zone, ZoneTable, charge_bytes};

pub(super) struct Rebuilt {
    pub(super) catalog: Catalog,
    pub(super) zones: Arc<ZoneTable>,
    pub(super) abandoned: Vec<ZoneId>,
    pub(super) damages: Vec<Damage>,
    pub(super) record_count: u64,
    pub(super) void_record_count: u64,
}

/// What the device is like.
pub(super) struct Layout<'a> {
    pub(super) geometry: &'a Geometry,
    pub(super) for_manifest: &'a [ZoneId],
    pub(super) checkpoints: &'a [CheckpointName],
    pub(super) thread_count: usize,
    /// All zones but those.
    pub(super) descriptors: &'a [ZoneDescriptor],
}

/// A record of the scan: zone's index and record's index.
#[derive(Clone, Copy)]
struct Handle {
    scan: u32,
    record: u32,
}

pub(super) fn rebuild(
    layout: &Layout<'_>,
    scans: &[ZoneScan],
    prefix: &Prefix,
    streams: &BTreeMap<StreamName, StreamEnd>,
    mut base: Option<Base>,
) -> Rebuilt {
    let (large_of_base, parts_of_base) = base.as_mut().map(Base::take_large).unwrap_or_default();
    let zones = Arc::new(ZoneTable::new(layout.geometry.zone_count));
    let standing = base.as_ref().map(|base| &base.standing);
    let abandoned = fill_zone_table(&zones, layout, (scans, standing), prefix, streams);
    let mut believed = Vec::new();
    let mut parts: HashMap<LargeId, Vec<Handle>, FixedState> = HashMap::default();
    let mut void_record_count = 0;
    for (scan_index, scan) in (0u32..).zip(scans) {
        for (record_index, record) in (0u32..).zip(&scan.records) {
            let unit = &scan.units[record.unit_index as usize];
            if !prefix.counts(unit, record) {
                void_record_count += 1;
                continue;
            }
            // Copies that a crash tore: what they were copied from is there, and may be what the checkpoint points at. Where
            // it is damage, and no tear, the whole ones may be the only ones.
            let is_torn = record.is_flawed || unit.flaw.is_some() && !unit.is_damaged;
            if base.is_some() && is_torn && unit.header.stream == StreamKind::Relocation {
                continue;
            }
            let handle = Handle { scan: scan_index, record: record_index };
            if record.kind == RecordKind::Part {
                parts.entry(large_id(record)).or_default().push(handle);
            }
            if record.kind != RecordKind::Part || record.part_index == 0 {
                believed.push(handle);
            }
        }
    }
    let record_count = believed.len() as u64;
    let zones_lost = layout.descriptors.iter().any(|zone| zone.state == ZoneState::Offline);
    let winners = Winners {
        scans,
        parts,
        zones_lost,
        nowhere: nowhere(layout.for_manifest),
        large_of_base: &large_of_base,
        parts_of_base: &parts_of_base,
    };
    let mut chosen = winners.choose(believed, layout.thread_count);
    let mut incomplete = std::mem::take(&mut chosen.incomplete);
    let (catalog, mut damages) = match base {
        None => (catalog_of(&zones, &chosen.entries, chosen.large, layout.thread_count), Vec::new()),
        Some(base) => put_on_top(&zones, chosen, base),
    };
    // One that a later write in a zone that was not read supersedes is nobody's any more.
    incomplete.retain(|(key, id, _)| catalog.index().lookup(key) == Some(Entry::Large { id: *id }));
    damages.extend(incomplete.into_iter().map(|(.., damage)| damage));
    Rebuilt { catalog, zones, abandoned, damages, record_count, void_record_count }
}

/// Puts what was read on top of what a checkpoint gave.
fn put_on_top(zones: &Arc<ZoneTable>, chosen: Chosen<'_>, base: Base) -> (Catalog, Vec<Damage>) {
    let Base { standing, loaded } = base;
    for ((zone, _), (bytes, tombstone_bytes)) in zones.iter().zip(loaded.charges) {
        zones.charge_loaded(zone, bytes, tombstone_bytes);
    }
    let mut damages = Vec::new();
    let index = OrderedIndex::from_leaves(loaded.leaves).unwrap_or_else(|| {
        let what = "the keys of a checkpoint are not in order".to_owned();
        damages.push(Damage { zone: ZoneId::default(), offset: ZoneOffset::START, what, confined: true });
        OrderedIndex::new()
    });
    let catalog = Catalog::loaded(index, chosen.large, Arc::clone(zones), loaded.counts);
    for (key, entry, seqno) in chosen.entries {
        if fault::is_on(Fault::SkipReplay) {
            break;
        }
        catalog.adopt(key, entry, |present| standing.gives_way(present, seqno));
    }
    (catalog, damages)
}

/// A catalog of all winners: each thread makes the leaves of a range of keys.
fn catalog_of(
    zones: &Arc<ZoneTable>,
    entries: &[Winner<'_>],
    large: LargeValues,
    thread_count: usize,
) -> Catalog {
    let range_len = entries.len().div_ceil(thread_count).max(1);
    let ranges: Vec<Range> = std::thread::scope(|scope| {
        let (zones, large) = (&**zones, &large);
        let mut ranges = entries.chunks(range_len);
        let mine = ranges.next();
        let threads: Vec<_> =
            ranges.map(|range| scope.spawn(move || Range::of(range, large, zones))).collect();
        let mine = mine.map(|range| Range::of(range, large, zones));
        let theirs = threads.into_iter().map(|thread| thread.join().expect("making leaves does not panic"));
        mine.into_iter().chain(theirs).collect()
    });
    let (mut leaves, mut counts) = (Vec::new(), (0, 0));
    for range in ranges {
        for ((zone, _), (bytes, tombstone_bytes)) in zones.iter().zip(range.charges) {
            zones.charge_loaded(zone, bytes, tombstone_bytes);
        }
        counts = (counts.0 + range.counts.0, counts.1 + range.counts.1);
        leaves.extend(range.leaves);
    }
    let index = OrderedIndex::from_leaves(leaves).expect("winners are in the order of their keys");
    Catalog::loaded(index, large, Arc::clone(zones), counts)
}

/// A range of keys: its leaves, what they charge each zone with, keys with a value and deletes.
struct Range {
    leaves: Vec<LoadedLeaf>,
    charges: Vec<(i64, i64)>,
    counts: (i64, i64),
}

impl Range {
    fn of(winners: &[Winner<'_>], large: &LargeValues, zones: &ZoneTable) -> Self {
        let leaves = LoadedLeaf::of_sorted(winners.iter().map(|&(key, entry, _)| (key, entry)));
        let mut range = Self { leaves, charges: vec![(0, 0); zones.iter().count()], counts: (0, 0) };
        winners.iter().for_each(|(key, entry, _)| range.count(key, *entry, large));
        range
    }

    fn count(&mut self, key: &[u8], entry: Entry, large: &LargeValues) {
        match entry {
            Entry::Value { location, value_len } => {
                self.charges[location.zone.index()].0 += charge_bytes(key.len(), value_len as usize);
                self.counts.0 += 1;
            }
            Entry::Tombstone { location } => {
                let (charge, bytes) = (&mut self.charges[location.zone.index()], charge_bytes(key.len(), 0));
                *charge = (charge.0 + bytes, charge.1 + bytes);
                self.counts.1 += 1;
            }
            Entry::Large { id } => {
                let value = large.value(id).expect("the value was entered when its key was chosen");
                for (part, (location, len_bytes)) in value.parts().iter().enumerate() {
                    let bytes = charge_bytes(value.key_bytes_of_part(part), *len_bytes as usize);
                    self.charges[location.zone.index()].0 += bytes;
                }
                self.counts.0 += 1;
            }
        }
    }
}

fn large_id(record: &ScannedRecord) -> LargeId {
    LargeId::new(record.seqno.back(u64::from(record.part_index)).get())
}

/// A record with the first bytes in which its key differs from others.
#[derive(Clone, Copy)]
struct Sortable {
    head: u64,
    handle: Handle,
}

/// Eight bytes as a number that sorts as they do, zeros standing in for missing ones. Equal heads decide nothing.
fn head_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => u64::from_be_bytes(std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0))),
    }
}

/// The newest write of a key, and its seqno.
type Winner<'a> = (&'a [u8], Entry, SeqNo);

struct Chosen<'a> {
    /// In the order of their keys.
    entries: Vec<Winner<'a>>,
    large: LargeValues,
    /// Large values of which parts cannot be found, with their keys.
    incomplete: Vec<(&'a [u8], LargeId, Damage)>,
}

struct Winners<'a> {
    scans: &'a [ZoneScan],
    parts: HashMap<LargeId, Vec<Handle>, FixedState>,
    /// Whether zones are offline, so that it is known why parts of values are missing.
    zones_lost: bool,
    nowhere: Location,
    /// Keys of large values that a checkpoint knows, and where their parts lie.
    large_of_base: &'a [(Box<[u8]>, LargeId)],
    parts_of_base: &'a HashMap<LargeId, LargeParts, FixedState>,
}

impl<'a> Winners<'a> {
    fn record(&self, handle: Handle) -> (&'a ZoneScan, &'a ScannedRecord) {
        let scan = &self.scans[handle.scan as usize];
        (scan, &scan.records[handle.record as usize])
    }

    fn key(&self, handle: Handle) -> &'a [u8] {
        let (scan, record) = self.record(handle);
        scan.key(record)
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

    fn choose(&self, believed: Vec<Handle>, thread_count: usize) -> Chosen<'a> {
        let first_of_each_key = self.in_order(believed, thread_count);
        let mut chosen = Chosen {
            entries: Vec::with_capacity(first_of_each_key.len()),
            large: LargeValues::default(),
            incomplete: Vec::new(),
        };
        for handle in first_of_each_key {
            if let Some(entry) = self.entry(handle, &mut chosen) {
                chosen.entries.push((self.key(handle), entry, self.record(handle).1.seqno));
            }
        }
        let mut added = Vec::new();
        for (key, id) in self.large_of_base {
            self.choose_large_of_base(key, *id, &mut chosen, &mut added);
        }
        chosen.entries.append(&mut added);
        chosen
    }

    /// Of each key the record that is to be preferred, in the order of keys.
    ///
    /// What is sorted carries the first eight bytes in which keys differ: they decide nearly always, and lie side by side
    /// where keys lie all over memory. Each thread sorts a part; the parts are merged.
    fn in_order(&self, believed: Vec<Handle>, thread_count: usize) -> Vec<Handle> {
        let common_len = self.common_len(&believed);
        let mut sorted: Vec<Sortable> = believed
            .into_iter()
            .map(|handle| Sortable { head: head_of(&self.key(handle)[common_len..]), handle })
            .collect();
        let compare = |a: &Sortable, b: &Sortable| {
            let by_key = a.head.cmp(&b.head).then_with(|| self.key(a.handle).cmp(self.key(b.handle)));
            by_key.then_with(|| self.preference(a.handle).cmp(&self.preference(b.handle)))
        };
        let part_len = sorted.len().div_ceil(thread_count).max(1);
        std::thread::scope(|scope| {
            let mut parts = sorted.chunks_mut(part_len);
            let mine = parts.next();
            for part in parts {
                scope.spawn(move || part.sort_unstable_by(compare));
            }
            if let Some(part) = mine {
                part.sort_unstable_by(compare);
            }
        });
        let mut parts: Vec<&[Sortable]> = sorted.chunks(part_len).collect();
        let mut winners: Vec<Sortable> = Vec::with_capacity(sorted.len());
        while let Some(part) = parts.iter_mut().min_by(|a, b| compare(&a[0], &b[0])) {
            let next = part[0];
            *part = &part[1..];
            parts.retain(|part| !part.is_empty());
            let is_later =
                |last: &Sortable| last.head == next.head && self.key(last.handle) == self.key(next.handle);
            if !winners.last().is_some_and(is_later) {
                winners.push(next);
            }
        }
        winners.into_iter().map(|winner| winner.handle).collect()
    }

    /// How many bytes all keys begin with.
    fn common_len(&self, handles: &[Handle]) -> usize {
        let Some(first) = handles.first().map(|&first| self.key(first)) else { return 0 };
        handles.iter().fold(first.len(), |common, &handle| {
            let key = self.key(handle);
            if key.starts_with(&first[..common]) {
                return common;
            }
            first.iter().zip(key).take_while(|(one, other)| one == other).count()
        })
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
        let part_count = self.parts_of_base.get(&id).map_or(0, |parts| parts.part_count);
        let places = self.large_places(id, part_count);
        // Without its first part the value is none: it was superseded, and so was that in turn.
        let Some(Some(_)) = places.first() else { return };
        if places.iter().any(Option::is_none) {
            let what =
                format!("parts of a value of {part_count} parts that a checkpoint names cannot be found");
            let (zone, offset) = (self.nowhere.zone, ZoneOffset::START);
            chosen.incomplete.push((key, id, Damage { zone, offset, what, confined: false }));
        }
        let parts = places.into_iter().map(|place| place.unwrap_or((self.nowhere, 0))).collect();
        chosen.large.insert(id, LargeValue::new(key.len(), parts));
        let entry = (key, Entry::Large { id }, SeqNo::new(id.get()));
        match place {
            Ok(at) => {
                let superseded = std::mem::replace(&mut chosen.entries[at], entry);
                // Known still, it would be copied with the zones that hold it, and counted where it lies.
                if let (_, Entry::Large { id }, _) = superseded {
                    chosen.large.remove(id);
                }
            }
            Err(_) => added.push(entry),
        }
    }

    /// Where the parts of a value lie: the best copies that were read, else what the checkpoint knows.
    fn large_places(&self, id: LargeId, part_count: usize) -> Vec<Option<(Location, u32)>> {
        let mut read: Vec<Option<Handle>> = vec![None; part_count];
        for &handle in self.parts.get(&id).into_iter().flatten() {
            let (_, part) = self.record(handle);
            let better = |held: Handle| self.preference(handle) < self.preference(held);
            if let Some(place) = read.get_mut(part.part_index as usize)
                && place.is_none_or(better)
            {
                *place = Some(handle);
            }
        }
        let known = self.parts_of_base.get(&id).filter(|known| known.part_count == part_count);
        let known = |part: usize| *known?.parts.get(part)?;
        let place = |handle: Handle| (self.location(handle), self.record(handle).1.value_len);
        (0..).zip(read).map(|(part, handle)| handle.map(place).or_else(|| known(part))).collect()
    }

    fn location(&self, handle: Handle) -> Location {
        let (scan, record) = self.record(handle);
        let unit = scan.units[record.unit_index as usize].header.unit;
        Location::new(scan.descriptor.zone, unit, record.offset)
    }

    fn entry(&self, handle: Handle, chosen: &mut Chosen<'a>) -> Option<Entry> {
        let (_, record) = self.record(handle);
        let location = self.location(handle);
        match record.kind {
            RecordKind::Put => Some(Entry::Value { location, value_len: record.value_len }),
            RecordKind::Delete => Some(Entry::Tombstone { location }),
            RecordKind::Part => self.large_entry(handle, chosen),
        }
    }

    fn large_entry(&self, first: Handle, chosen: &mut Chosen<'a>) -> Option<Entry> {
        let (scan, record) = self.record(first);
        let id = large_id(record);
        let places = self.large_places(id, record.part_count as usize);
        if places.iter().any(Option::is_none) {
            let unit = &scan.units[record.unit_index as usize];
            let damage = Damage {
                zone: scan.descriptor.zone,
                offset: unit.offset.forward(u64::from(record.offset)),
                what: format!("of {} parts of a value some cannot be found", record.part_count),
                confined: self.zones_lost,
            };
            chosen.incomplete.push((self.key(first), id, damage));
        }
        let parts = places.into_iter().map(|place| place.unwrap_or((self.nowhere, 0))).collect();
        chosen.large.insert(id, LargeValue::new(usize::from(record.key_len), parts));
        Some(Entry::Large { id })
    }
}

/// The place of a part that is lost: reading it finds nothing and gives damage. No unit of a manifest zone is looked up.
const fn nowhere(for_manifest: &[ZoneId]) -> Location {
    Location { zone: for_manifest[0], unit: 0, offset: 0 }
}

/// Gives each zone its role, filling and places; says which are partly written and nobody's.
fn fill_zone_table(
    zones: &ZoneTable,
    layout: &Layout<'_>,
    (scans, standing): (&[ZoneScan], Option<&Standing>),
    prefix: &Prefix,
    streams: &BTreeMap<StreamName, StreamEnd>,
) -> Vec<ZoneId> {
    layout.for_manifest.iter().for_each(|&zone| zones.zone(zone).set_role(Role::Manifest));
    let of_checkpoints = layout.checkpoints.iter().flat_map(|name| &name.zones);
    of_checkpoints.for_each(|&(zone, _)| zones.zone(zone).set_role(Role::Checkpoint));
    let mut abandoned = Vec::new();
    for descriptor in layout.descriptors {
        let zone = zones.zone(descriptor.zone);
        if descriptor.state.is_worn() && !fault::is_on(Fault::ResetWornZones) {
            zone.set_role(Role::Lost);
        } else if descriptor.state == ZoneState::NotWritePointer {
            zone.set_role(Role::Conventional);
        } else if descriptor.write_pointer.get() > 0 {
            zone.set_role(Role::Sealed(StreamKind::User));
            if descriptor.write_pointer.get() < layout.geometry.zone_capacity_bytes {
                abandoned.push(descriptor.zone);
            }
        }
    }
    for scan in scans {
        fill_zone(zones, scan, prefix);
    }
    for descriptor in layout.descriptors {
        if let Some(row) = standing.and_then(|standing| standing.row(descriptor.zone)) {
            let edge = standing.map_or(SeqNo::ZERO, Standing::edge);
            fill_standing_zone(zones.zone(descriptor.zone), descriptor, row, edge);
        }
    }
    for stream in streams.values().filter_map(|end| end.zone) {
        abandoned.retain(|&zone| zone != stream.zone);
        let role = zones.zone(stream.zone);
        if let Role::Sealed(kind) = role.role() {
            role.set_role(Role::Open(kind));
        }
        // What comes next has lower seqnos than what a cut may have made void in it.
        if role.first_seqno() > prefix.last_seqno {
            role.set_first_seqno(prefix.last_seqno.next());
        }
    }
    abandoned
}

/// The same for a zone that was not read.
fn fill_standing_zone(zone: &Zone, descriptor: &ZoneDescriptor, row: &ZoneRow, edge: SeqNo) {
    zone.begin(row.generation);
    zone.add_written(descriptor.write_pointer.get());
    if let Role::Sealed(_) = zone.role() {
        zone.set_role(Role::Sealed(stream_of_row(row)));
    }
    if !fault::is_on(Fault::ForgetStandingSeqnos) {
        zone.set_first_seqno(row.first_seqno);
        zone.raise_newest_seqno(row.newest_seqno);
    }
    zone.set_places(row.places.clone());
    zone.set_recovered_claims(row.claims.clone());
    zone.set_class(row.class);
    if row.expected_steps > 0 {
        let written_at = edge.get().saturating_sub(Lifetime::of_steps(row.age_steps).writes());
        zone.set_history(ZoneHistory {
            stream: policy_stream(StreamName { kind: stream_of_row(row), class: row.class }),
            written_at: Clock::new(written_at),
            expected: Lifetime::of_steps(row.expected_steps),
        });
    }
}

/// The number that policies know a stream by. How many of writes come before those of copies is not known here; it is
/// enough that a stream of copies is not taken for one of writes.
fn policy_stream(name: StreamName) -> StreamId {
    StreamId::new(match name.kind {
        StreamKind::User => name.class,
        StreamKind::Relocation => MOST_CLASSES - 1,
    })
}

/// What can be told of a zone's records by their seqnos: how long they were expected to live, nothing says. As survivors
/// they are expected to live for as long as they have.
fn history_by_seqnos(scan: &ZoneScan, last_seqno: SeqNo) -> Option<ZoneHistory> {
    let sum: u128 = scan.records.iter().map(|record| u128::from(record.seqno.get())).sum();
    let average = sum.checked_div(scan.records.len() as u128)?;
    let written_at = u64::try_from(average).expect("an average of 64-bit numbers");
    let expected = Lifetime::of_writes(last_seqno.get().saturating_sub(written_at));
    let stream = policy_stream(scan.stream_name()?);
    Some(ZoneHistory { stream, written_at: Clock::new(written_at), expected })
}

fn fill_zone(zones: &ZoneTable, scan: &ZoneScan, prefix: &Prefix) {
    let zone = zones.zone(scan.descriptor.zone);
    zone.begin(scan.generation);
    zone.add_written(scan.descriptor.write_pointer.get());
    zone.set_class(scan.stream_name().map_or(0, |name| name.class));
    if let Some(history) = history_by_seqnos(scan, prefix.last_seqno) {
        zone.set_history(history);
    }
    if let (Some(kind), Role::Sealed(_)) = (scan.stream, zone.role()) {
        zone.set_role(Role::Sealed(kind));
    }
    let first = scan.units.iter().filter(|unit| unit.header.stream == StreamKind::User);
    zone.set_first_seqno(first.map(|unit| unit.header.first_seqno).min().unwrap_or_default());
    if scan.units.iter().any(|unit| unit.header.moved) {
        zone.set_holds_moved_units();
    }
    let mut newest = SeqNo::ZERO;
    // A run after a crash gives the numbers of lost units anew; should a lost one turn up after all, its records are
    // void, and the number belongs to the later run.
    let mut units: Vec<_> = scan.units.iter().collect();
    if !fault::is_on(Fault::BelieveEarlierRuns) {
        units.sort_by_key(|unit| unit.header.incarnation);
    }
    for unit in units {
        newest = newest.max(unit.header.last_seqno());
        let place = ZoneSector::at(unit.offset).expect("a scanned unit lies at a whole block below 2 TiB");
        zone.set_place(unit.header.unit, place);
    }
    zone.raise_newest_seqno(newest.min(prefix.last_seqno));
    // The stream that goes on in a zone has its own account of these; to claim them twice does no harm.
    zone.set_recovered_claims(scan.ranges_to_claim());
}
