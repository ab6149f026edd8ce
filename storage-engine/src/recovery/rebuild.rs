//! Makes index, large values and ledger from the records that count.
//!
//! Of each key the highest seqno wins, whatever order the records lie in. Of two copies of one write the later filling
//! is taken: the earlier one was about to be reset.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::prefix::Prefix;
use super::scan::{ScannedRecord, ZoneScan};
use super::{Damage, StreamEnd};
use crate::device::{Geometry, ZoneDescriptor, ZoneState};
use crate::fault::{self, Fault};
use crate::format::record::RecordKind;
use crate::format::unit::StreamKind;
use crate::index::{Catalog, Entry, LargeId, LargeValue, LargeValues, Location};
use crate::units::{SeqNo, ZoneId, ZoneSector};
use crate::zones::{Role, ZoneTable};

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
    pub(super) for_manifest: [ZoneId; 2],
    /// All zones but those of the manifest.
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
    streams: [&StreamEnd; 2],
) -> Rebuilt {
    let zones = Arc::new(ZoneTable::new(layout.geometry.zone_count));
    let abandoned = fill_zone_table(&zones, layout, scans, prefix, streams);
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
    let winners =
        Winners { scans, parts, zones_lost, nowhere: nowhere(layout.for_manifest) }.choose(believed);
    let catalog = Catalog::new(winners.entries, winners.large, Arc::clone(&zones));
    Rebuilt { catalog, zones, abandoned, damages: winners.damages, record_count, void_record_count }
}

fn large_id(record: &ScannedRecord) -> LargeId {
    LargeId::new(record.seqno.back(u64::from(record.part_index)).get())
}

struct Chosen {
    entries: Vec<(Box<[u8]>, Entry)>,
    large: LargeValues,
    damages: Vec<Damage>,
}

struct Winners<'a> {
    scans: &'a [ZoneScan],
    parts: HashMap<LargeId, Vec<Handle>, FixedState>,
    /// Whether zones are offline, so that it is known why parts of values are missing.
    zones_lost: bool,
    nowhere: Location,
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

    /// Sorts copies behind the ones that are to be preferred: higher seqno, undamaged, later filling.
    fn preference(&self, handle: Handle) -> impl Ord + use<> {
        let (scan, record) = self.record(handle);
        let seqno = record.seqno.get();
        let rank = if fault::is_on(Fault::OldestWriteWins) { u64::MAX - seqno } else { seqno };
        std::cmp::Reverse((rank, record.value_flaw.is_none(), scan.generation))
    }

    fn choose(&self, mut believed: Vec<Handle>) -> Chosen {
        let by_key = |&a: &Handle, &b: &Handle| {
            self.key(a).cmp(self.key(b)).then_with(|| self.preference(a).cmp(&self.preference(b)))
        };
        believed.sort_unstable_by(by_key);
        believed.dedup_by(|later, first| self.key(*later) == self.key(*first));
        let mut chosen = Chosen {
            entries: Vec::with_capacity(believed.len()),
            large: LargeValues::default(),
            damages: Vec::new(),
        };
        for handle in believed {
            if let Some(entry) = self.entry(handle, &mut chosen) {
                chosen.entries.push((self.key(handle).into(), entry));
            }
        }
        chosen
    }

    fn location(&self, handle: Handle) -> Location {
        let (scan, record) = self.record(handle);
        let unit = scan.units[record.unit_index as usize].header.unit;
        Location::new(scan.descriptor.zone, unit, record.offset)
    }

    fn entry(&self, handle: Handle, chosen: &mut Chosen) -> Option<Entry> {
        let (_, record) = self.record(handle);
        let location = self.location(handle);
        match record.kind {
            RecordKind::Put => Some(Entry::Value { location, value_len: record.value_len }),
            RecordKind::Delete => Some(Entry::Tombstone { location }),
            RecordKind::Part => self.large_entry(handle, chosen),
        }
    }

    fn large_entry(&self, first: Handle, chosen: &mut Chosen) -> Option<Entry> {
        let (scan, record) = self.record(first);
        let id = large_id(record);
        let mut places: Vec<Option<Handle>> = vec![None; record.part_count as usize];
        for &handle in self.parts.get(&id).into_iter().flatten() {
            let (_, part) = self.record(handle);
            let better = |held: Handle| self.preference(handle) < self.preference(held);
            if let Some(place) = places.get_mut(part.part_index as usize)
                && place.is_none_or(better)
            {
                *place = Some(handle);
            }
        }
        if places.iter().any(Option::is_none) {
            let unit = &scan.units[record.unit_index as usize];
            chosen.damages.push(Damage {
                zone: scan.descriptor.zone,
                offset: unit.offset.forward(u64::from(record.offset)),
                what: format!("of {} parts of a value some cannot be found", record.part_count),
                confined: self.zones_lost,
            });
        }
        let place = |part: Option<Handle>| match part {
            Some(part) => (self.location(part), self.record(part).1.value_len),
            None => (self.nowhere, 0),
        };
        let parts = places.into_iter().map(place).collect();
        chosen.large.insert(id, LargeValue::new(usize::from(record.key_len), parts));
        Some(Entry::Large { id })
    }
}

/// The place of a part that is lost: reading it finds nothing and gives damage. No unit of a manifest zone is looked up.
const fn nowhere([zone, _]: [ZoneId; 2]) -> Location {
    Location { zone, unit: 0, offset: 0 }
}

/// Gives each zone its role, filling and places; says which are partly written and nobody's.
fn fill_zone_table(
    zones: &ZoneTable,
    layout: &Layout<'_>,
    scans: &[ZoneScan],
    prefix: &Prefix,
    streams: [&StreamEnd; 2],
) -> Vec<ZoneId> {
    layout.for_manifest.iter().for_each(|&zone| zones.zone(zone).set_role(Role::Manifest));
    let mut abandoned = Vec::new();
    for descriptor in layout.descriptors {
        let zone = zones.zone(descriptor.zone);
        let is_worn = matches!(descriptor.state, ZoneState::ReadOnly | ZoneState::Offline);
        if is_worn && !fault::is_on(Fault::ResetWornZones) {
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
    for stream in streams.iter().filter_map(|end| end.zone) {
        abandoned.retain(|&zone| zone != stream.zone);
        let role = zones.zone(stream.zone);
        if let Role::Sealed(kind) = role.role() {
            role.set_role(Role::Open(kind));
        }
    }
    abandoned
}

fn fill_zone(zones: &ZoneTable, scan: &ZoneScan, prefix: &Prefix) {
    let zone = zones.zone(scan.descriptor.zone);
    zone.begin(scan.generation);
    zone.add_written(scan.descriptor.write_pointer.get());
    if let (Some(kind), Role::Sealed(_)) = (scan.stream, zone.role()) {
        zone.set_role(Role::Sealed(kind));
    }
    let mut newest = SeqNo::ZERO;
    // A run after a crash gives the numbers of lost units anew; should a lost one turn up after all, its records are
    // void, and the number belongs to the later run.
    let mut units: Vec<_> = scan.units.iter().collect();
    units.sort_by_key(|unit| unit.header.incarnation);
    for unit in units {
        newest = newest.max(unit.header.last_seqno());
        let place = ZoneSector::at(unit.offset).expect("a scanned unit lies at a whole block below 2 TiB");
        zone.set_place(unit.header.unit, place);
    }
    zone.raise_newest_seqno(newest.min(prefix.last_seqno));
    // The stream that goes on in a zone has its own account of these; to claim them twice does no harm.
    zone.set_recovered_claims(scan.whole_ranges());
}
