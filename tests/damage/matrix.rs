//! Every kind of damage at every structure: found by a check and by reading, named by its place, never a panic, never a wrong
//! value, and never more lost than what was hit.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use zonal::{CheckReport, Db, Depth, ErrorKind, Salvage, SalvageOptions, SalvageReport};

use crate::specimen::{Contents, Specimen, copied, to_read};
use crate::structures::{Loss, Map, STRUCTURES, Structure};

/// A kind of damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// One bit is another.
    Flip,
    /// Zeros instead of the structure.
    Zero,
    /// The file ends where the structure begins.
    Cut,
    /// The structure and another one like it are exchanged.
    Exchange,
    /// Another one like it lies in its place, and where it was as well.
    Double,
    /// What the file held there some time before.
    Older,
}

const KINDS: [Kind; 6] = [Kind::Flip, Kind::Zero, Kind::Cut, Kind::Exchange, Kind::Double, Kind::Older];

/// A damaged file, and which of its bytes are not what they were.
struct Damaged {
    bytes: Vec<u8>,
    hit: Vec<Range<u64>>,
}

fn index(place: u64) -> usize {
    usize::try_from(place).unwrap()
}

fn slice(range: &Range<u64>) -> Range<usize> {
    index(range.start)..index(range.end)
}

/// `None` where there is no such damage, or it changes nothing.
fn inflict(kind: Kind, specimen: &Specimen, places: &[Range<u64>]) -> Option<Damaged> {
    let place = places.first().expect("the specimen has one").clone();
    let mut bytes = specimen.bytes.clone();
    let mut hit = vec![place.clone()];
    match kind {
        Kind::Flip => bytes[index(place.start.midpoint(place.end))] ^= 0x20,
        Kind::Zero => bytes[slice(&place)].fill(0),
        Kind::Cut => {
            bytes.truncate(index(place.start));
            hit[0].end = u64::MAX;
        }
        Kind::Exchange | Kind::Double => {
            let differs = |other: &&Range<u64>| specimen.bytes[slice(other)] != specimen.bytes[slice(&place)];
            let other = places.iter().skip(1).find(differs)?;
            bytes[slice(&place)].copy_from_slice(&specimen.bytes[slice(other)]);
            if kind == Kind::Exchange {
                bytes[slice(other)].copy_from_slice(&specimen.bytes[slice(&place)]);
                hit.push(other.clone());
            }
        }
        Kind::Older => bytes[slice(&place)].copy_from_slice(specimen.older.get(slice(&place))?),
    }
    (bytes != specimen.bytes).then_some(Damaged { bytes, hit })
}

/// Whether opening or reading the store tells of damage; panics on a wrong value.
fn read(specimen: &Specimen, path: &Path) -> bool {
    let db = match Db::open(path, to_read()) {
        Ok(db) => db,
        Err(error) => {
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::Corruption | ErrorKind::NotAStore), "{kind:?}: {error}");
            return true;
        }
    };
    let mut is_found = false;
    for (key, expected) in &specimen.contents {
        match db.get(key) {
            Ok(found) => assert!(found.as_deref() == Some(expected), "{key:?} is wrong"),
            Err(error) => {
                assert_eq!((error.kind(), error.key()), (ErrorKind::Corruption, Some(&key[..])), "{error}");
                is_found = true;
            }
        }
    }
    let back = db.iter().filter_map(Result::ok).filter(|(key, _)| !specimen.contents.contains_key(key));
    assert_eq!(back.count(), 0, "deleted keys are back");
    is_found
}

/// Whether a report names a place near the damage.
fn names(report: &CheckReport, map: &Map, damage: &Range<u64>) -> bool {
    let units = map.units.iter().map(|unit| &unit.bytes);
    let blocks = map.blocks.iter().map(|block| &block.bytes);
    let mut appended = units.chain(blocks).chain(map.manifests.iter().map(|(_, bytes)| bytes));
    let around = appended.find(|bytes| bytes.contains(&damage.start)).unwrap_or(damage).clone();
    let near = |place: Option<u64>| {
        place.is_some_and(|place| around.start <= place && place < around.end.max(around.start + 1))
    };
    let in_zones = report.damages.iter().chain(&report.harmless_damages);
    let of_device = report.device_damages.iter().map(|damage| Some(damage.device_offset));
    let in_its_zone = |damage: &zonal::Damage| {
        damage.device_offset.is_some_and(|place| map.zone_of(place) == Some(u64::from(damage.zone)))
    };
    assert!(report.damages.iter().all(in_its_zone), "zones and places in the file do not agree: {report:?}");
    in_zones.map(|damage| damage.device_offset).chain(of_device).any(near)
}

fn check(specimen: &Specimen, path: &Path, damage: &Range<u64>, must_name: bool) -> bool {
    match Db::check(path, &to_read(), Depth::Deep, &|_| {}) {
        Ok(report) => {
            let is_named = report.is_sound() || !must_name || names(&report, &specimen.map, damage);
            assert!(is_named, "the report names another place than {damage:?}: {report:?}");
            !report.is_sound()
        }
        Err(error) => {
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::Corruption | ErrorKind::NotAStore), "{kind:?}: {error}");
            true
        }
    }
}

/// Salvages a store and holds what comes of it against what was hit.
fn salvage(specimen: &Specimen, path: &Path, hit: &[Range<u64>]) -> Option<SalvageReport> {
    let before = std::fs::read(path).unwrap();
    let salvage = match Salvage::open(path, &SalvageOptions::default(), &|_, _| {}) {
        Ok(salvage) => salvage,
        Err(error) => {
            let has_nothing = before.len() < 2 << 20;
            assert!(has_nothing, "{error}");
            return None;
        }
    };
    let saved = copied(&salvage, &specimen.vacant());
    assert!(std::fs::read(path).unwrap() == before, "the damaged store was changed");
    let report = salvage.report().clone();
    judge(specimen, &saved, &report, hit);
    Some(report)
}

fn judge(specimen: &Specimen, saved: &Contents, report: &SalvageReport, hit: &[Range<u64>]) {
    let keys_hit: BTreeSet<Vec<u8>> = hit.iter().flat_map(|range| specimen.map.keys_hit(range)).collect();
    let doubtful: BTreeSet<&[u8]> = report.doubtful_keys.iter().map(|found| &found.key[..]).collect();
    let lost: BTreeSet<&[u8]> = report.lost_keys.iter().map(|lost| &lost.key[..]).collect();
    let name = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    for (key, value) in saved {
        assert!(
            specimen.history.get(key).is_some_and(|values| values.contains(value)),
            "{} never had that",
            name(key)
        );
        let is_present = specimen.contents.get(key) == Some(value);
        assert!(
            is_present || doubtful.contains(&key[..]),
            "an old value of {} came back silently",
            name(key)
        );
        assert!(!lost.contains(&key[..]), "{} is said to be lost and is there", name(key));
    }
    for key in specimen.contents.keys().filter(|key| !saved.contains_key(*key)) {
        assert!(keys_hit.contains(key), "{} was not hit and is lost: {report:?}", name(key));
        assert!(lost.contains(&key[..]) || !report.lost_writes.is_empty(), "{} is lost silently", name(key));
    }
}

fn assert_loss(loss: Loss, report: &SalvageReport, key_count: usize) {
    match loss {
        Loss::Nothing => assert!(report.is_complete() && report.keys == key_count as u64, "{report:?}"),
        Loss::OneKey => {
            assert_eq!((report.lost_keys.len(), report.keys), (1, key_count as u64 - 1), "{report:?}");
            assert!(report.lost_writes.is_empty() && report.doubtful_keys.is_empty(), "{report:?}");
        }
        Loss::WhatWasHit => {}
    }
}

fn try_one(specimen: &Specimen, structure: &Structure, kind: Kind) {
    let places = (structure.locate)(&specimen.map);
    if places.is_empty() {
        return;
    }
    let Some(damaged) = inflict(kind, specimen, &places) else { return };
    let path = specimen.file(&damaged.bytes);
    let is_seen = read(specimen, &path);
    let must_name = matches!(kind, Kind::Flip | Kind::Zero)
        || structure.is_of_checkpoint && matches!(kind, Kind::Exchange | Kind::Double | Kind::Older);
    let is_needed = !structure.is_of_checkpoint || kind == Kind::Cut;
    assert!(!is_seen || is_needed, "reading needs what is in the log as well");
    let is_found = check(specimen, &path, &places[0], must_name);
    // An older session block or zone table entry may say the same in other words.
    let must_find = structure.is_checked && (kind != Kind::Older || structure.is_of_checkpoint);
    assert!(is_found || !must_find && !is_seen, "a check finds nothing wrong");
    let report = salvage(specimen, &path, &damaged.hit);
    match (kind, report) {
        (Kind::Flip, report) => assert_loss(structure.flipped, &report.unwrap(), specimen.contents.len()),
        (Kind::Zero, report) => assert_loss(structure.zeroed, &report.unwrap(), specimen.contents.len()),
        _ => {}
    }
}

fn try_all(specimen: &Specimen) {
    let mut failures = Vec::new();
    for structure in STRUCTURES {
        for kind in KINDS {
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                try_one(specimen, structure, kind);
            }));
            if let Err(panic) = tried {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                failures.push(format!("{kind:?} of {}: {text}", structure.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn no_damage_costs_more_than_what_was_hit_in_blocks_of_4096() {
    try_all(&Specimen::new(4096));
}

#[test]
fn no_damage_costs_more_than_what_was_hit_in_blocks_of_512() {
    try_all(&Specimen::new(512));
}

#[test]
fn no_damage_costs_more_where_checkpoints_stand_for_zones_in_blocks_of_4096() {
    try_all(&Specimen::with_checkpoints(4096));
}

#[test]
fn no_damage_costs_more_where_checkpoints_stand_for_zones_in_blocks_of_512() {
    try_all(&Specimen::with_checkpoints(512));
}

/// A row of which no specimen has an example would be no test. What lies where is a matter of the threads' pace: a
/// specimen in a few lacks units of copies.
#[test]
fn the_specimens_have_every_structure() {
    let mut missing: Vec<&Structure> = STRUCTURES.iter().collect();
    for _ in 0..20 {
        for map in [Specimen::new(4096).map, Specimen::with_checkpoints(4096).map] {
            missing.retain(|structure| (structure.locate)(&map).is_empty());
        }
        if missing.is_empty() {
            break;
        }
    }
    let names: Vec<_> = missing.iter().map(|structure| structure.name).collect();
    assert!(names.is_empty(), "no specimen has {names:?}");
}

#[test]
fn a_store_that_is_whole_is_salvaged_whole() {
    for specimen in [Specimen::new(4096), Specimen::with_checkpoints(4096)] {
        let path = specimen.file(&specimen.bytes);
        assert!(!read(&specimen, &path) && !check(&specimen, &path, &(0..1), false));
        let report = salvage(&specimen, &path, &[]).unwrap();
        assert_loss(Loss::Nothing, &report, specimen.contents.len());
    }
}
