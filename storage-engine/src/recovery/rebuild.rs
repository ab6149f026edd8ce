//! Makes index, large values and ledger from the records that count.
//!
//! Which record counts of each key `winners` decides.
//!
//! With a checkpoint the records that were read are put on top of the index that it gave. A hash index is always made of
//! records.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::base::Base;
use super::prefix::Prefix;
use super::scan::ZoneScan;
use super::winners::{Chosen, RecordCounts, Winner, Winners};
use super::{Damage, StreamEnd};
use crate::checkpoint::coverage::stream_of_row;
use crate::checkpoint::loader::Standing;
use crate::device::{Geometry, ZoneDescriptor, ZoneState};
use crate::fault::{self, Fault};
use crate::format::checkpoint::ZoneRow;
use crate::format::manifest::CheckpointName;
use crate::format::unit::{MOST_CLASSES, StreamKind, StreamName};
use crate::gc::policy::{Clock, Lifetime, StreamId, ZoneHistory};
use crate::index::ordered::LoadedLeaf;
use crate::index::{
    Catalog, Entry, HashIndex, Index, IndexKind, LargeId, LargeValues, Location, OrderedIndex,
};
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
    pub(super) index: IndexKind,
    /// All zones but those.
    pub(super) descriptors: &'a [ZoneDescriptor],
}

pub(super) fn rebuild(
    layout: &Layout<'_>,
    scans: &[ZoneScan],
    prefix: &Prefix,
    streams: &BTreeMap<StreamName, StreamEnd>,
    mut base: Option<Base>,
) -> Rebuilt {
    let large_of_base = base.as_mut().map(Base::take_large);
    let zones = Arc::new(ZoneTable::new(layout.geometry.zone_count));
    let standing = base.as_ref().map(|base| &base.standing);
    let abandoned = fill_zone_table(&zones, layout, (scans, standing), prefix, streams);
    let zones_lost = layout.descriptors.iter().any(|zone| zone.state == ZoneState::Offline);
    let nowhere = nowhere(layout.for_manifest);
    let winners = Winners::new(scans, prefix, large_of_base.as_ref(), zones_lost, nowhere);
    let made = match (base, layout.index) {
        (Some(base), _) => Made::on_top_of(base, winners, &zones, layout.thread_count),
        (None, IndexKind::Ordered) => Made::in_order(winners, &zones, layout.thread_count),
        (None, IndexKind::Hash(shape)) => {
            Made::by_hash(HashIndex::new(shape), winners, &zones, layout.thread_count)
        }
    };
    // One that a later write in a zone that was not read supersedes is nobody's any more.
    let index = made.catalog.index();
    let incomplete = made.incomplete.into_iter();
    let needed = incomplete.filter(|(key, id, _)| index.lookup(key) == Some(Entry::Large { id: *id }));
    let damages = made.damages.into_iter().chain(needed.map(|(.., damage)| damage)).collect();
    let RecordCounts { believed: record_count, void: void_record_count } = made.counts;
    Rebuilt { catalog: made.catalog, zones, abandoned, damages, record_count, void_record_count }
}

/// The catalog, and what was found on the way.
struct Made<'a> {
    catalog: Catalog,
    damages: Vec<Damage>,
    incomplete: Vec<(&'a [u8], LargeId, Damage)>,
    counts: RecordCounts,
}

impl<'a> Made<'a> {
    /// Puts what was read on top of what a checkpoint gave.
    fn on_top_of(base: Base, winners: Winners<'a>, zones: &Arc<ZoneTable>, thread_count: usize) -> Self {
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
        let chosen = winners.all(thread_count);
        let catalog =
            Catalog::loaded(Index::Ordered(index), winners.into_large(), Arc::clone(zones), loaded.counts);
        for (key, entry, seqno) in chosen.entries {
            if fault::is_on(Fault::SkipReplay) {
                break;
            }
            catalog.adopt(key, entry, |present| standing.gives_way(present, seqno));
        }
        Self { catalog, damages, incomplete: chosen.incomplete, counts: chosen.counts }
    }

    /// Makes a catalog of all winners: each thread makes the leaves of ranges of keys.
    fn in_order(winners: Winners<'a>, zones: &Arc<ZoneTable>, thread_count: usize) -> Self {
        let leaves =
            |chosen: &[Winner<'a>]| LoadedLeaf::of_sorted(chosen.iter().map(|&(key, entry, _)| (key, entry)));
        let (leaves, summed) = Summed::up(&winners, zones, thread_count, leaves);
        let index = OrderedIndex::from_leaves(leaves).expect("winners are in the order of their keys");
        summed.with(Index::Ordered(index), winners, zones)
    }

    /// Puts all winners into a hash index: each thread those of ranges of keys, and then those that find the tag of another.
    fn by_hash(index: HashIndex, winners: Winners<'a>, zones: &Arc<ZoneTable>, thread_count: usize) -> Self {
        let clashing = |chosen: &[Winner<'a>]| -> Vec<_> {
            let clash = |&(key, entry, _): &Winner<'a>| Some((key, entry, index.insert(key, entry).err()?));
            chosen.iter().filter_map(clash).collect()
        };
        let (clashing, summed) = Summed::up(&winners, zones, thread_count, clashing);
        // Whose the tags are that others have found taken.
        let owners = winners.keys_of(&clashing.iter().map(|&(.., occupant)| occupant).collect());
        for (key, entry, occupant) in clashing {
            let owner = owners.get(&occupant).expect("each entry was made of a record");
            assert!(index.set_apart(key, Some((owner, occupant))), "nobody else changes the index yet");
            index.upsert(key, entry);
        }
        summed.with(Index::Hash(index), winners, zones)
    }
}

/// What is summed up over all ranges of keys.
#[derive(Default)]
struct Summed<'a> {
    key_counts: (i64, i64),
    incomplete: Vec<(&'a [u8], LargeId, Damage)>,
    counts: RecordCounts,
}

impl<'a> Summed<'a> {
    /// Counts the winners in with their zones, and has something made of those of each range; gives that in the order of keys.
    fn up<T: Send>(
        winners: &Winners<'a>,
        zones: &ZoneTable,
        thread_count: usize,
        make: impl Fn(&[Winner<'a>]) -> Vec<T> + Sync,
    ) -> (Vec<T>, Self) {
        let made =
            winners.each_range(thread_count, |chosen| OfRange::of(chosen, winners.large(), zones, &make));
        let (mut all, mut summed) = (Vec::new(), Self::default());
        for range in made {
            let (values, tombstones) = summed.key_counts;
            summed.key_counts = (values + range.key_counts.0, tombstones + range.key_counts.1);
            summed.incomplete.extend(range.incomplete);
            summed.counts += range.counts;
            all.extend(range.made);
        }
        (all, summed)
    }

    fn with(self, index: Index, winners: Winners<'a>, zones: &Arc<ZoneTable>) -> Made<'a> {
        let catalog = Catalog::loaded(index, winners.into_large(), Arc::clone(zones), self.key_counts);
        Made { catalog, damages: Vec::new(), incomplete: self.incomplete, counts: self.counts }
    }
}

/// What was made of a range of keys; how many keys have a value, and how many were deleted.
struct OfRange<'a, T> {
    made: Vec<T>,
    key_counts: (i64, i64),
    incomplete: Vec<(&'a [u8], LargeId, Damage)>,
    counts: RecordCounts,
}

impl<'a, T> OfRange<'a, T> {
    fn of(
        chosen: Chosen<'a>,
        large: &LargeValues,
        zones: &ZoneTable,
        make: impl Fn(&[Winner<'a>]) -> Vec<T>,
    ) -> Self {
        let mut charges = Charges { of_zones: vec![(0, 0); zones.iter().count()], key_counts: (0, 0) };
        chosen.entries.iter().for_each(|(key, entry, _)| charges.count(key, *entry, large));
        charges.enter(zones);
        let made = make(&chosen.entries);
        let Chosen { incomplete, counts, .. } = chosen;
        Self { made, key_counts: charges.key_counts, incomplete, counts }
    }
}

/// What entries charge each zone with, deletes apart as well; keys with a value and deletes.
struct Charges {
    of_zones: Vec<(i64, i64)>,
    key_counts: (i64, i64),
}

impl Charges {
    fn count(&mut self, key: &[u8], entry: Entry, large: &LargeValues) {
        match entry {
            Entry::Value { location, value_len } => {
                self.of_zones[location.zone.index()].0 += charge_bytes(key.len(), value_len as usize);
                self.key_counts.0 += 1;
            }
            Entry::Tombstone { location } => {
                let (charge, bytes) = (&mut self.of_zones[location.zone.index()], charge_bytes(key.len(), 0));
                *charge = (charge.0 + bytes, charge.1 + bytes);
                self.key_counts.1 += 1;
            }
            Entry::Large { id } => {
                let value = large.value(id).expect("the value was entered when its key was chosen");
                for (part, (location, len_bytes)) in value.parts().iter().enumerate() {
                    let bytes = charge_bytes(value.key_bytes_of_part(part), *len_bytes as usize);
                    self.of_zones[location.zone.index()].0 += bytes;
                }
                self.key_counts.0 += 1;
            }
        }
    }
    fn enter(&self, zones: &ZoneTable) {
        for ((zone, _), &(bytes, tombstone_bytes)) in zones.iter().zip(&self.of_zones) {
            if bytes > 0 {
                zones.charge_loaded(zone, bytes, tombstone_bytes);
            }
        }
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
    let written_at = scan.records.average_seqno()?.get();
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
