//! Checkpoints that are damaged: an older one or the log gives the same store, and a check names what was hit.

use std::ops::Range;
use std::path::Path;

use zonal::{Db, Depth, Opening, Options, SalvageOptions};
use zonal_engine::format::manifest::{CheckpointName, Manifest};
use zonal_engine::units::{SeqNo, ZoneId};

use crate::specimen::{Contents, Specimen, readable, to_read};
use crate::structures::{Map, MappedBlock, ZONES_AT};

fn index(place: u64) -> usize {
    usize::try_from(place).unwrap()
}

fn opening(path: &Path) -> Opening {
    Db::open(path, to_read()).unwrap().info().opening
}

/// The specimen's file with the middle byte of each of these ranges changed.
fn flipped<'a>(bytes: &[u8], places: impl IntoIterator<Item = &'a Range<u64>>) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    places.into_iter().for_each(|place| damaged[index(place.start) + 60] ^= 1);
    damaged
}

fn numbers(map: &Map) -> (u64, u64) {
    let numbers = || map.blocks.iter().map(|block| block.header.checkpoint);
    (numbers().max().unwrap(), numbers().min().unwrap())
}

fn blocks_of(map: &Map, checkpoint: u64) -> impl Iterator<Item = &MappedBlock> {
    map.blocks.iter().filter(move |block| block.header.checkpoint == checkpoint)
}

#[test]
fn opening_falls_back_to_the_older_checkpoint_and_then_to_the_log_with_the_same_data() {
    let specimen = Specimen::with_checkpoints(4096);
    let (newest, older) = numbers(&specimen.map);
    let found = opening(&specimen.file(&specimen.bytes));
    assert_eq!((found.checkpoint, found.unusable_checkpoints), (newest, 0));
    assert!(newest > older && found.checkpoint_zones > 0, "it stands for zones: {found:?}");
    for block in blocks_of(&specimen.map, newest) {
        let path = specimen.file(&flipped(&specimen.bytes, [&block.bytes]));
        let found = opening(&path);
        assert_eq!((found.checkpoint, found.unusable_checkpoints), (older, 1), "{block:?}");
        assert!(readable(&path) == specimen.contents, "{block:?}");
        for second in blocks_of(&specimen.map, older) {
            let path = specimen.file(&flipped(&specimen.bytes, [&block.bytes, &second.bytes]));
            let found = opening(&path);
            assert_eq!((found.checkpoint, found.unusable_checkpoints), (0, 2), "{block:?}, {second:?}");
            assert!(readable(&path) == specimen.contents, "{block:?}, {second:?}");
        }
    }
}

#[test]
fn a_store_goes_on_from_damaged_checkpoints_and_has_good_ones_again() {
    let specimen = Specimen::with_checkpoints(512);
    let all = flipped(&specimen.bytes, specimen.map.blocks.iter().map(|block| &block.bytes));
    let path = specimen.file(&all);
    let db = Db::open(&path, Options::default().direct_io(false)).unwrap();
    db.put("written since", "a value").unwrap();
    for _ in 0..2 {
        assert!(db.checkpoint().unwrap().is_some());
    }
    db.close().unwrap();
    let report = Db::check(&path, &to_read(), Depth::Deep, &|_| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(opening(&path).checkpoint > numbers(&specimen.map).0);
    let mut contents = readable(&path);
    assert_eq!(contents.remove(&b"written since"[..]), Some(b"a value".to_vec()));
    assert!(contents == specimen.contents);
}

/// A store of long keys, of which a checkpoint takes several zones.
fn with_long_checkpoint(path: &Path) -> (Vec<u8>, Contents) {
    let options = Options::default()
        .zone_size_bytes(128 << 10)
        .zone_capacity_bytes(112 << 10)
        .capacity_bytes(40 * (112 << 10))
        .max_active_zones(9)
        .unit_bytes(96 << 10)
        .direct_io(false);
    let db = Db::open(path, options).unwrap();
    let mut contents = Contents::new();
    for number in 0..400_u32 {
        let start = number.wrapping_mul(0x9e37_79b9).to_be_bytes();
        let (key, value) = ([&start[..], &[7; 1000]].concat(), number.to_le_bytes().repeat(20));
        db.put(&key, &value).unwrap();
        contents.insert(key, value);
    }
    let written = db.checkpoint().unwrap().unwrap();
    assert!(written.zones.len() > 2, "{written:?}");
    db.close().unwrap();
    (std::fs::read(path).unwrap(), contents)
}

#[test]
fn every_block_of_a_checkpoint_over_several_zones_is_named_when_it_is_hit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (bytes, contents) = with_long_checkpoint(&path);
    let map = Map::of(&bytes);
    assert!(opening(&path).checkpoint_zones > 0 && map.blocks.len() > 10);
    let zones = map.blocks.iter().map(|block| map.zone_of(block.bytes.start).unwrap());
    for (block, zone) in map.blocks.iter().zip(zones) {
        std::fs::write(&path, flipped(&bytes, [&block.bytes])).unwrap();
        assert_eq!((opening(&path).checkpoint, opening(&path).unusable_checkpoints), (0, 1));
        assert!(readable(&path) == contents, "{block:?}");
        let report = Db::check(&path, &to_read(), Depth::Deep, &|_| {}).unwrap();
        let harmless = report.harmless_damages.iter();
        let named: Vec<_> = harmless.map(|damage| (u64::from(damage.zone), damage.device_offset)).collect();
        assert!(report.damages.is_empty(), "{report:?}");
        assert_eq!(named, [(zone, Some(block.bytes.start))], "{report:?}");
    }
}

/// A file in which the newest manifests name checkpoints as `change` has it; their checksums are right.
fn renamed(specimen: &Specimen, change: impl Fn(&mut Vec<CheckpointName>)) -> Vec<u8> {
    let mut bytes = specimen.bytes.clone();
    let newest = specimen.map.manifests.iter().map(|(version, _)| *version).max();
    for (_, place) in specimen.map.manifests.iter().filter(|(version, _)| Some(*version) == newest) {
        let old = &specimen.bytes[index(place.start)..];
        let resets = u32::from_le_bytes(*old[20..].first_chunk().unwrap());
        let (mut manifest, _) = Manifest::decode(old, resets).unwrap();
        change(&mut manifest.checkpoints);
        let new = manifest.encode(index(specimen.map.block), resets);
        bytes[index(place.start)..][..new.len()].copy_from_slice(&new);
    }
    assert!(bytes != specimen.bytes);
    bytes
}

#[test]
fn a_manifest_that_names_checkpoints_wrongly_changes_nothing_of_what_is_read() {
    type Change = fn(&mut Vec<CheckpointName>);
    let changes: [(&str, Change); 12] = [
        ("a zone of the manifest", |names| names[1].zones[0].0 = ZoneId::new(1)),
        ("a zone of data", |names| names[1].zones[0].0 = ZoneId::new(2)),
        ("no zone of the device", |names| names[1].zones[0].0 = ZoneId::new(u32::MAX)),
        ("another filling", |names| names[1].zones[0].1 += 1),
        ("no zone", |names| names[1].zones.clear()),
        ("a zone twice", |names| names[1].zones = [names[1].zones[0]; 2].to_vec()),
        ("the other one's zones", |names| names[1].zones = names[0].zones.clone()),
        ("another number", |names| names[1].number -= 1),
        ("a block too many", |names| names[1].block_count += 1),
        ("a block too few", |names| names[1].block_count -= 1),
        ("writes that never were", |names| names[1].covered = SeqNo::new(1 << 40)),
        ("one checkpoint twice", |names| names[0] = names[1].clone()),
    ];
    let specimen = Specimen::with_checkpoints(4096);
    for (what, change) in changes {
        let path = specimen.file(&renamed(&specimen, change));
        assert!(readable(&path) == specimen.contents, "{what}");
        let report = Db::check(&path, &to_read(), Depth::Deep, &|_| {}).unwrap();
        assert!(report.damages.is_empty() && report.wrong_accounts.is_empty(), "{what}: {report:?}");
        let (saved, report) = specimen.saved(&path, &SalvageOptions::default());
        assert!(saved == specimen.contents && report.is_complete(), "{what}: {report:?}");
    }
}

#[test]
fn salvage_needs_no_checkpoint() {
    let specimen = Specimen::with_checkpoints(4096);
    let mut bytes = specimen.bytes.clone();
    for block in &specimen.map.blocks {
        let zone = specimen.map.zone_of(block.bytes.start).unwrap();
        let start = index(ZONES_AT + zone * specimen.map.zone_size);
        bytes[start..start + index(specimen.map.zone_size)].fill(0xa5);
    }
    let (saved, report) = specimen.saved(&specimen.file(&bytes), &SalvageOptions::default());
    assert!(saved == specimen.contents && report.is_complete(), "{report:?}");
}

/// What a checkpoint stands for is not read at opening: a check and salvage read it all the same.
#[test]
fn a_zone_that_is_gone_under_a_checkpoint_is_found_and_costs_what_was_in_it() {
    let specimen = Specimen::with_checkpoints(4096);
    let place = ZONES_AT + 2 * specimen.map.zone_size..ZONES_AT + 3 * specimen.map.zone_size;
    let mut bytes = specimen.bytes.clone();
    bytes[index(place.start)..index(place.end)].fill(0xa5);
    let path = specimen.file(&bytes);
    let hit = specimen.map.keys_hit(&place);
    assert!(!hit.is_empty(), "something of it is live");
    let report = Db::check(&path, &to_read(), Depth::Deep, &|_| {}).unwrap();
    assert!(report.damages.iter().any(|damage| damage.zone == 2), "{report:?}");
    if let Ok(db) = Db::open(&path, to_read()) {
        for (key, value) in &specimen.contents {
            match db.get(key) {
                Ok(found) => assert!(found.as_deref() == Some(value), "{key:?} is wrong"),
                Err(_) => assert!(hit.contains(key), "{key:?} was not hit"),
            }
        }
    }
    let (saved, report) = specimen.saved(&path, &SalvageOptions::default());
    assert!(report.lost_writes.iter().any(|lost| lost.zone == 2), "{report:?}");
    for (key, value) in &specimen.contents {
        let is_saved = saved.get(key) == Some(value);
        let is_said = report.doubtful_keys.iter().any(|found| found.key == *key);
        assert!(is_saved || hit.contains(key) && (is_said || !saved.contains_key(key)), "{key:?}");
    }
}
