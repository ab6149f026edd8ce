//! What must have been there and is not, and what of that which is there counts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::{Gap, Proof, Version, ZoneFound};
use super::source::Source;
use super::{LostWrites, TornBatch};
use crate::format::manifest::{Cut, Manifest};
use crate::format::record::RecordKind;
use crate::format::unit::StreamKind;
use crate::units::{Generation, SeqNo, ZoneOffset};

/// Which fillings of zones are the present ones.
pub(super) struct Fillings<'a> {
    manifest: Option<&'a Manifest>,
    source: &'a Source,
}

impl<'a> Fillings<'a> {
    pub(super) fn new(manifest: Option<&'a Manifest>, source: &'a Source) -> Self {
        Self { manifest, source }
    }

    /// Whether a zone still holds what was found in it, or has been reset since.
    ///
    /// The device knows, by its count of resets. Where it does not, the manifest names all zones that were filled when it
    /// was written; those that were opened or written to afterwards count as well.
    pub(super) fn is_present(&self, zone: &ZoneFound) -> bool {
        let (Some(manifest), None) = (self.manifest, self.source.reset_count(zone.zone)) else { return true };
        if zone.units.is_empty() || zone.generation > manifest.generation {
            return true;
        }
        let named = manifest
            .tails
            .iter()
            .any(|tail| tail.generation == zone.generation || tail.previous.0 == zone.generation);
        let written_since = zone.units.iter().any(|unit| match unit.header.stream {
            StreamKind::User => unit.header.watermark >= manifest.watermark,
            StreamKind::Relocation => unit.header.watermark > manifest.watermark,
        });
        named || !manifest.clean && written_since
    }
}

impl Fillings<'_> {
    /// Says which filling it is where no unit's header tells, and the manifest knows of one.
    pub(super) fn name(&self, zone: &mut ZoneFound) {
        let mut tails = self.manifest.iter().flat_map(|manifest| &manifest.tails);
        if zone.units.is_empty()
            && let Some(tail) = tails.find(|tail| tail.zone == zone.zone)
        {
            zone.generation = tail.generation;
        }
    }
}

/// Up to which write the log counts, in units of each run.
pub(super) struct Limits {
    cuts: Vec<Cut>,
    last: SeqNo,
}

impl Limits {
    pub(super) fn find(manifest: Option<&Manifest>, zones: &[ZoneFound]) -> Self {
        let Some(manifest) = manifest else {
            return Self { cuts: cuts_by_units(zones), last: SeqNo::new(u64::MAX) };
        };
        let limits = Self { cuts: manifest.cuts.clone(), last: SeqNo::new(u64::MAX) };
        if manifest.clean {
            return limits;
        }
        let last = limits.end_of_log(manifest, zones);
        let limits = Self { last, ..limits };
        let torn = zones.iter().flat_map(|zone| &zone.versions).filter(|version| {
            let group_last = group_range(version).1;
            limits.counts(version) && group_last > last
        });
        let last = torn.map(|version| group_range(version).0.back(1)).min().unwrap_or(last);
        Self { last, ..limits }
    }

    fn limit(&self, incarnation: u32) -> SeqNo {
        let later = self.cuts.iter().filter(|cut| cut.incarnation > incarnation);
        later.map(|cut| cut.after).min().unwrap_or(SeqNo::new(u64::MAX))
    }

    /// Whether a record counts.
    pub(super) fn counts(&self, version: &Version) -> bool {
        version.seqno <= self.last.min(self.limit(version.incarnation))
    }

    /// As recovery finds it: from the highest watermark on, as long as one whole unit follows another.
    fn end_of_log(&self, manifest: &Manifest, zones: &[ZoneFound]) -> SeqNo {
        let units = || zones.iter().flat_map(|zone| &zone.units);
        let said = units().map(|unit| unit.header.watermark.min(self.limit(unit.header.incarnation)));
        let watermark = said.fold(manifest.watermark, Ord::max);
        let new_writes =
            units().filter(|unit| unit.header.stream == StreamKind::User && unit.header.record_count > 0);
        let mut whole: Vec<(SeqNo, SeqNo)> = new_writes
            .filter(|unit| unit.is_whole)
            .map(|unit| {
                (unit.header.first_seqno, unit.header.last_seqno().min(self.limit(unit.header.incarnation)))
            })
            .filter(|(first, last)| first <= last)
            .collect();
        whole.sort_unstable();
        whole
            .into_iter()
            .fold(watermark, |end, (first, last)| if first <= end.next() { end.max(last) } else { end })
    }
}

/// Without a manifest: a run that began at a seqno has made void what earlier runs wrote from there on.
fn cuts_by_units(zones: &[ZoneFound]) -> Vec<Cut> {
    let mut firsts: BTreeMap<u32, SeqNo> = BTreeMap::new();
    for unit in zones.iter().flat_map(|zone| &zone.units) {
        if unit.header.stream == StreamKind::User && unit.header.record_count > 0 {
            let first = firsts.entry(unit.header.incarnation).or_insert(unit.header.first_seqno);
            *first = (*first).min(unit.header.first_seqno);
        }
    }
    let cut = |(incarnation, first): (u32, SeqNo)| Cut {
        incarnation,
        after: first.back(1),
        generation: Generation::default(),
    };
    firsts.into_iter().map(cut).collect()
}

fn group_range(version: &Version) -> (SeqNo, SeqNo) {
    let (index, len) = version.group.map_or((0, 1), |group| (group.index, group.len));
    let first = version.seqno.back(u64::from(index));
    (first, first.forward(u64::from(len)).back(1))
}

/// Which units of each filling were on stable media.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<Generation, BTreeSet<u32>>);

/// No zone has more units than this.
const MAX_UNITS: u32 = 1 << 20;

impl Claims {
    pub(super) fn collect(manifest: Option<&Manifest>, zones: &[ZoneFound]) -> Self {
        let mut claims = Self::default();
        let present: BTreeSet<Generation> = zones.iter().map(|zone| zone.generation).collect();
        let mut seen = BTreeSet::new();
        let mut claim = |generation: Generation, first: u32, end: u32| {
            // Every unit of a zone claims those before it: mostly the same ones.
            if present.contains(&generation) && first < end && seen.insert((generation, first, end)) {
                claims
                    .0
                    .entry(generation)
                    .or_default()
                    .extend(first..end.min(first.saturating_add(MAX_UNITS)));
            }
        };
        for zone in zones {
            let claiming = zone
                .units
                .iter()
                .map(|unit| &unit.header)
                .filter(|header| header.claim_end > header.claim_first);
            let last = claiming.clone().map(|header| (header.claim_first, header.claim_end));
            last.fold(BTreeMap::new(), |mut ends: BTreeMap<u32, u32>, (first, end)| {
                let known = ends.entry(first).or_default();
                *known = end.max(*known);
                ends
            })
            .into_iter()
            .for_each(|(first, end)| claim(zone.generation, first, end));
            for header in claiming {
                let previous = header.previous;
                claim(previous.generation, previous.claim_first, previous.unit_count);
            }
        }
        for tail in manifest.iter().flat_map(|manifest| &manifest.tails) {
            claim(tail.generation, tail.claim_first, tail.unit_count);
            claim(tail.previous.0, tail.previous.1, tail.previous.2);
        }
        claims
    }

    fn contains(&self, zone: &ZoneFound, unit: u32) -> bool {
        self.0.get(&zone.generation).is_some_and(|claimed| claimed.contains(&unit))
    }

    /// Those units of a zone whose headers cannot be read.
    fn missing(&self, zone: &ZoneFound) -> BTreeSet<u32> {
        let mut missing = self.0.get(&zone.generation).cloned().unwrap_or_default();
        zone.units.iter().for_each(|unit| {
            missing.remove(&unit.header.unit);
        });
        missing
    }
}

/// Forgets what lies behind the last unit of a zone in a store that was closed in order: an earlier filling has left it.
pub(super) fn forget_leftovers(manifest: Option<&Manifest>, claims: &Claims, zones: &mut [ZoneFound]) {
    if !manifest.is_some_and(|manifest| manifest.clean) {
        return;
    }
    for zone in zones {
        let last_claimed = claims.0.get(&zone.generation).and_then(BTreeSet::last);
        let is_there = zone.units.iter().any(|unit| Some(&unit.header.unit) >= last_claimed);
        let end_of = |unit: &super::scan::Unit| unit.offset + unit.header.unit_bytes();
        let Some(end) = zone.units.last().filter(|_| is_there).map(end_of) else { continue };
        zone.gaps.retain(|gap| gap.offset < end);
        zone.versions.retain(|version| version.offset < end || version.proof == Proof::Proven);
    }
}

/// Finds out which of the records without a unit header count for certain.
///
/// As many units as were on stable media and are missing must lie in as many gaps. And writes that are missing in the log
/// below its end can only be these.
pub(super) fn prove(claims: &Claims, zones: &mut [ZoneFound], limits: &Limits) {
    let missing: Vec<usize> = zones.iter().map(|zone| claims.missing(zone).len()).collect();
    for (zone, missing) in zones.iter_mut().zip(missing) {
        let chains: Vec<(u64, u64)> = zone.gaps.iter().filter_map(|gap| gap.chain).collect();
        if chains.is_empty() || chains.len() > missing {
            continue;
        }
        let is_inside = |offset: u64| chains.iter().any(|&(start, end)| (start..end).contains(&offset));
        for version in zone.versions.iter_mut().filter(|version| is_inside(version.offset)) {
            if version.proof == Proof::Likely && limits.counts(version) {
                version.proof = Proof::Proven;
            }
        }
    }
}

/// Finds writes that are gone.
pub(super) fn find(
    manifest: Option<&Manifest>,
    source: &Source,
    (zones, claims): (&[ZoneFound], &Claims),
    limits: &Limits,
) -> Vec<LostWrites> {
    let newest = newest_write(manifest, zones);
    let found = found_of_holes(zones);
    let mut lost = Vec::new();
    for zone in zones {
        // A crash may tear copies; what they were made of is there as long as nothing claims that they are.
        let holes = zone.holes.iter().filter(|hole| match hole.seqnos {
            Some((first, last)) => {
                let limit = limits.last.min(limits.limit(hole.header.incarnation));
                first <= limit && !(first.get()..=last.get()).all(|seqno| found.contains(&seqno))
            }
            None => manifest.is_none() || claims.contains(zone, hole.header.unit),
        });
        lost.extend(holes.map(|hole| LostWrites {
            zone: zone.zone,
            offset: ZoneOffset::new(hole.offset),
            len_bytes: hole.len_bytes,
            what: hole.error.clone(),
            seqnos: hole.seqnos,
            at_most: hole.at_most,
        }));
        lost.extend(lost_units(zone, &claims.missing(zone), newest));
    }
    lost.extend(vanished_zones(manifest, source, zones, newest));
    lost.sort_by_key(|lost| (lost.zone, lost.offset));
    lost
}

/// Those of the writes that holes tell of that were found, there or as a copy elsewhere.
fn found_of_holes(zones: &[ZoneFound]) -> BTreeSet<u64> {
    let mut ranges: Vec<(u64, u64)> = zones
        .iter()
        .flat_map(|zone| &zone.holes)
        .filter_map(|hole| hole.seqnos)
        .map(|(first, last)| (first.get(), last.get()))
        .collect();
    ranges.sort_unstable();
    let told = |seqno: u64| {
        let after = ranges.partition_point(|&(first, _)| first <= seqno);
        ranges[..after].iter().rev().any(|&(_, last)| seqno <= last)
    };
    let found = zones.iter().flat_map(|zone| &zone.versions).map(|version| version.seqno.get());
    if ranges.is_empty() { BTreeSet::new() } else { found.filter(|&seqno| told(seqno)).collect() }
}

fn newest_write(manifest: Option<&Manifest>, zones: &[ZoneFound]) -> SeqNo {
    let said = manifest.map_or(SeqNo::ZERO, |manifest| manifest.watermark);
    let found = zones.iter().flat_map(|zone| &zone.versions).map(|version| version.seqno);
    found.fold(said, Ord::max)
}

/// Runs of missing units, each with the writes that it must have held and that were not found.
fn lost_units(zone: &ZoneFound, missing: &BTreeSet<u32>, newest: SeqNo) -> Vec<LostWrites> {
    let mut lost = Vec::new();
    let mut numbers = missing.iter().copied().peekable();
    while let Some(first) = numbers.next() {
        let mut last = first;
        while numbers.next_if_eq(&(last + 1)).is_some() {
            last += 1;
        }
        lost.extend(lost_run(zone, (first, last), newest));
    }
    lost
}

fn lost_run(zone: &ZoneFound, (first, last): (u32, u32), newest: SeqNo) -> Option<LostWrites> {
    let before =
        zone.units.iter().filter(|unit| unit.header.unit < first).max_by_key(|unit| unit.header.unit);
    let after = zone.units.iter().filter(|unit| unit.header.unit > last).min_by_key(|unit| unit.header.unit);
    let gap = zone
        .gaps
        .iter()
        .find(|gap| before.is_none_or(|before| gap.offset > before.offset))
        .or(zone.gaps.last());
    if zone.stream == Some(StreamKind::User)
        && let Some(range) = between(before, after, gap, newest)
    {
        let (from, to) = range?;
        let there: BTreeSet<SeqNo> = zone.versions.iter().map(|version| version.seqno).collect();
        let mut gone = (from.get()..=to.get()).map(SeqNo::new).filter(|seqno| !there.contains(seqno));
        let first_gone = gone.next()?;
        let last_gone = gone.next_back().unwrap_or(first_gone);
        return Some(lost_at(zone, (first, last), gap, (Some((first_gone, last_gone)), last_gone)));
    }
    // Copies have no order; where as many units are there as are missing, and end as units do, that was all.
    let run_len = (last - first) as usize + 1;
    if gap.and_then(|gap| gap.complete_units).is_some_and(|units| units >= run_len) {
        return None;
    }
    let at_most = after.map_or(newest, |after| after.header.watermark.max(SeqNo::new(1)));
    Some(lost_at(zone, (first, last), gap, (None, at_most.max(newest))))
}

/// The writes between two units of new writes: `None` where that is not known, `Some(None)` where there are none.
#[expect(clippy::option_option, reason = "unknown is another answer than nothing")]
fn between(
    before: Option<&super::scan::Unit>,
    after: Option<&super::scan::Unit>,
    gap: Option<&Gap>,
    newest: SeqNo,
) -> Option<Option<(SeqNo, SeqNo)>> {
    let from = match before {
        Some(before) if before.header.record_count > 0 => before.header.last_seqno().next(),
        Some(before) => before.header.first_seqno,
        None => gap.and_then(|gap| gap.found).map(|(first, _)| first)?,
    };
    let to = match after {
        Some(after) => after.header.first_seqno.back(1),
        None => gap
            .and_then(|gap| gap.found)
            // Older ones than must be there are not those that were there.
            .filter(|(first, _)| *first >= from && gap.is_some_and(|gap| gap.complete_units.is_some()))
            .map(|(_, last)| last)
            .unwrap_or(newest),
    };
    Some((from <= to).then_some((from, to)))
}

fn lost_at(
    zone: &ZoneFound,
    (first, last): (u32, u32),
    gap: Option<&Gap>,
    (seqnos, at_most): (Option<(SeqNo, SeqNo)>, SeqNo),
) -> LostWrites {
    let units = if first == last { format!("unit {first}") } else { format!("units {first} to {last}") };
    let why = gap.map_or(String::new(), |gap| format!(": {}", gap.error));
    LostWrites {
        zone: zone.zone,
        offset: ZoneOffset::new(gap.map_or(0, |gap| gap.offset)),
        len_bytes: gap.map_or(0, |gap| gap.len_bytes),
        what: format!("{units} cannot be read{why}"),
        seqnos,
        at_most,
    }
}

/// Zones that the manifest says are filled and in which nothing can be read.
fn vanished_zones(
    manifest: Option<&Manifest>,
    source: &Source,
    zones: &[ZoneFound],
    newest: SeqNo,
) -> Vec<LostWrites> {
    let there = |generation| zones.iter().any(|zone| zone.generation == generation);
    let tails = manifest.iter().flat_map(|manifest| &manifest.tails);
    let mut lost: Vec<LostWrites> = tails
        .filter(|tail| tail.unit_count > tail.claim_first && !there(tail.generation))
        .map(|tail| LostWrites {
            zone: tail.zone,
            offset: ZoneOffset::START,
            len_bytes: source.sizes.zone_capacity_bytes,
            what: format!("the zone held {} units and none can be read", tail.unit_count),
            seqnos: None,
            at_most: newest,
        })
        .collect();
    lost.dedup_by_key(|lost| lost.zone);
    lost
}

/// Batches that lost writes belong to, as far as others of the batch tell.
pub(super) fn torn_batches(zones: &[ZoneFound], lost: &[LostWrites]) -> Vec<TornBatch> {
    let mut torn = BTreeSet::new();
    let grouped =
        zones.iter().flat_map(|zone| &zone.versions).filter(|version| version.kind != RecordKind::Part);
    for version in grouped.filter(|version| version.group.is_some()) {
        let (first, last) = group_range(version);
        let hits = |lost: &LostWrites| lost.seqnos.is_some_and(|(from, to)| from <= last && to >= first);
        if lost.iter().any(hits) {
            torn.insert((first, version.group.map_or(1, |group| group.len)));
        }
    }
    torn.into_iter().map(|(first, len)| TornBatch { first, len }).collect()
}
