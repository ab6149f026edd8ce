//! Tells damage from what a crash may leave.
//!
//! A crash may take any append that was not on stable media. Unit headers and the manifest claim what was
//! ([`crate::format::unit`]): a claimed unit that is not there, or is there with a flaw, is damage. So is a flaw in a unit of
//! new writes that the watermark covers. Gaps and flaws elsewhere are the leftovers of appends that were never
//! acknowledged as durable.
//!
//! Zones that a checkpoint stands for are not read, so what is claimed of them is not looked at: that their filling is
//! there is known.

use std::collections::{BTreeMap, BTreeSet};

use super::Damage;
use super::prefix::Prefix;
use super::scan::{ScannedUnit, ZoneScan};
use crate::checkpoint::loader::Standing;
use crate::device::{ZoneDescriptor, ZoneState};
use crate::fault::{self, Fault};
use crate::format::manifest::Manifest;
use crate::units::{Generation, ZoneOffset};

/// Claims on the units of each filling: number ranges, end exclusive.
type Claims = BTreeMap<Generation, BTreeSet<(u32, u32)>>;

/// Finds all damage that can be told, and notes it with the units.
pub(super) fn verify(
    manifest: &Manifest,
    descriptors: &[ZoneDescriptor],
    scans: &mut [ZoneScan],
    standing: Option<&Standing>,
    prefix: &Prefix,
) -> Vec<Damage> {
    if fault::is_on(Fault::ForgetClaims) {
        return Vec::new();
    }
    let claims = collect(manifest, scans);
    let mut damages = Vec::new();
    for scan in &mut *scans {
        let none = BTreeSet::new();
        let claimed = claims.get(&scan.generation).unwrap_or(&none);
        let forgone = scan.have_later_namesakes();
        let flaw = |(unit, &is_forgone)| if is_forgone { None } else { flaw(scan, unit, claimed, prefix) };
        let flaws: Vec<_> = scan.units.iter().zip(&forgone).map(flaw).collect();
        for ((unit, flaw), is_forgone) in scan.units.iter_mut().zip(flaws).zip(forgone) {
            unit.is_damaged = flaw.is_some();
            unit.is_void = is_forgone || prefix.is_void(unit);
            damages.extend(flaw);
        }
        damages.extend(missing(scan, claimed));
    }
    damages.extend(vanished(manifest, descriptors, scans, standing));
    damages
}

fn collect(manifest: &Manifest, scans: &[ZoneScan]) -> Claims {
    let mut claims = Claims::new();
    let mut claim = |generation: Generation, first: u32, end: u32| {
        if first < end {
            claims.entry(generation).or_default().insert((first, end));
        }
    };
    for header in scans.iter().flat_map(|scan| &scan.units).map(|unit| &unit.header) {
        claim(header.generation, header.claim_first, header.claim_end);
        if header.claim_end > header.claim_first {
            claim(header.previous.generation, header.previous.claim_first, header.previous.unit_count);
        }
    }
    for tail in &manifest.tails {
        claim(tail.generation, tail.claim_first, tail.unit_count);
        let (generation, first, end) = tail.previous;
        claim(generation, first, end);
    }
    claims
}

fn flaw(
    scan: &ZoneScan,
    unit: &ScannedUnit,
    claimed: &BTreeSet<(u32, u32)>,
    prefix: &Prefix,
) -> Option<Damage> {
    let (at, error) = unit.flaw?;
    let number = unit.header.unit;
    let is_claimed = claimed.iter().any(|&(first, end)| (first..end).contains(&number));
    // A zone that wore out while it was being filled may hold a torn copy of a unit that was appended anew elsewhere.
    let may_have_moved = scan.descriptor.state == ZoneState::ReadOnly;
    if !is_claimed && (may_have_moved || !prefix.was_durable(unit)) {
        return None;
    }
    Some(Damage {
        zone: scan.descriptor.zone,
        offset: unit.offset.forward(u64::from(at)),
        what: error.to_string(),
        confined: unit.heads_whole,
    })
}

fn missing(scan: &ZoneScan, claimed: &BTreeSet<(u32, u32)>) -> Option<Damage> {
    let present: BTreeSet<u32> = scan.units.iter().map(|unit| unit.header.unit).collect();
    let first_missing =
        claimed.iter().flat_map(|&(first, end)| first..end).find(|number| !present.contains(number))?;
    // Units lie in the order in which the device took them, which is nearly that of their numbers.
    let before =
        scan.units.iter().filter(|unit| unit.header.unit < first_missing).map(|unit| unit.offset).max();
    let gap = scan.gaps.iter().find(|(offset, ..)| Some(*offset) > before).or(scan.gaps.last());
    let (offset, error) =
        gap.map_or((ZoneOffset::START, String::new()), |(offset, _, error)| (*offset, format!(": {error}")));
    Some(Damage {
        zone: scan.descriptor.zone,
        offset,
        what: format!("unit {first_missing} was on stable media and cannot be read{error}"),
        confined: false,
    })
}

/// Zones that the manifest says are filled, and in which nothing of that filling can be read.
///
/// A zone that has gone offline takes what it held along: that is known, and the store goes on with the rest.
fn vanished(
    manifest: &Manifest,
    descriptors: &[ZoneDescriptor],
    scans: &[ZoneScan],
    standing: Option<&Standing>,
) -> Vec<Damage> {
    let stands =
        |generation| standing.into_iter().flat_map(Standing::rows).any(|row| row.generation == generation);
    let there = |generation| scans.iter().any(|scan| scan.generation == generation) || stands(generation);
    let offline =
        |zone| descriptors.iter().any(|found| found.zone == zone && found.state == ZoneState::Offline);
    let tails = manifest.tails.iter().filter(|tail| tail.unit_count > tail.claim_first);
    tails
        .filter(|tail| !there(tail.generation))
        .map(|tail| Damage {
            zone: tail.zone,
            offset: ZoneOffset::START,
            what: match offline(tail.zone) {
                true => "the zone is offline; what it held is lost".to_owned(),
                false => format!("{} units were on stable media and none can be read", tail.unit_count),
            },
            confined: offline(tail.zone),
        })
        .collect()
}
