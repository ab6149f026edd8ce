//! What salvage saves where several structures are gone, and what it says of versions that are not the newest.

use zonal::{Db, Doubt, ErrorKind, Options, Salvage, SalvageOptions};
use zonal_engine::format::record::{Record, RecordKind};
use zonal_engine::format::unit::{ContentsChecksum, PreviousZone, StreamKind, UNIT_HEADER_BYTES, UnitHeader};
use zonal_engine::units::{Generation, SeqNo};

use crate::specimen::{Specimen, ZONE_COUNT, copied};
use crate::structures::{MappedRecord, ZONE_TABLE_AT, ZONES_AT};

fn index(place: u64) -> usize {
    usize::try_from(place).unwrap()
}

fn wipe(bytes: &mut [u8], from: u64, len: u64) {
    bytes[index(from)..index(from + len)].fill(0);
}

fn headers_gone(bytes: &mut [u8]) {
    wipe(bytes, 0, 128);
    wipe(bytes, 4096, 128);
}

#[test]
fn everything_is_saved_without_header_session_and_zone_table() {
    let specimen = Specimen::new(4096);
    let mut bytes = specimen.bytes.clone();
    wipe(&mut bytes, 0, ZONES_AT);
    let (contents, report) = specimen.saved(&specimen.file(&bytes), &SalvageOptions::default());
    assert!(contents == specimen.contents, "{report:?}");
    assert!(report.is_complete(), "the manifest tells sizes and which fillings are present: {report:?}");
}

#[test]
fn everything_is_saved_without_any_manifest() {
    let specimen = Specimen::new(512);
    let mut bytes = specimen.bytes.clone();
    wipe(&mut bytes, ZONES_AT, 2 * specimen.map.zone_size);
    let (contents, report) = specimen.saved(&specimen.file(&bytes), &SalvageOptions::default());
    assert!(contents == specimen.contents, "{report:?}");
    assert!(report.notes.iter().any(|note| note.contains("manifest")), "{report:?}");
}

#[test]
fn sizes_that_nothing_tells_any_more_can_be_given() {
    let specimen = Specimen::new(4096);
    let mut bytes = specimen.bytes.clone();
    headers_gone(&mut bytes);
    wipe(&mut bytes, ZONES_AT, 2 * specimen.map.zone_size);
    let path = specimen.file(&bytes);
    let error = Salvage::open(&path, &SalvageOptions::default(), &|_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.to_string().contains("give the zone size"), "{error}");
    let options =
        SalvageOptions::default().zone_size_bytes(specimen.map.zone_size).zone_capacity_bytes(384 << 10);
    let (contents, report) = specimen.saved(&path, &options);
    let missing = specimen.contents.iter().filter(|(key, value)| contents.get(*key) != Some(value));
    assert_eq!(missing.count(), 0, "{report:?}");
}

#[test]
fn a_file_that_is_cut_short_gives_all_before_the_cut_and_says_what_is_gone() {
    let specimen = Specimen::new(4096);
    let ends: Vec<u64> = specimen.map.units.iter().map(|unit| unit.bytes.end).collect();
    let cut = ends[ends.len() / 2];
    let path = specimen.file(&specimen.bytes[..index(cut)]);
    let (contents, report) = specimen.saved(&path, &SalvageOptions::default());
    let lost = specimen.map.keys_hit(&(cut..u64::MAX));
    for (key, value) in specimen.contents.iter().filter(|(key, _)| !lost.contains(key)) {
        assert!(contents.get(key) == Some(value), "{key:?} lies before the cut");
    }
    assert!(!report.is_complete() && !report.lost_writes.is_empty());
    assert!(report.device_damages.iter().any(|damage| damage.device_offset == cut), "{report:?}");
}

/// A key with two versions on the device, the newest of which alone is hit.
fn hit_newest(
    specimen: &Specimen,
    place: impl Fn(&MappedRecord) -> std::ops::Range<u64>,
) -> (Vec<u8>, Vec<u8>) {
    let map = &specimen.map;
    let is_put = |record: &&MappedRecord| {
        record.part_index == 0 && !record.is_grouped && record.value_at.end > record.value_at.start
    };
    let newest = map.records().filter(|record| record.is_live).filter(is_put).find(|newest| {
        let versions = || map.records().filter(|record| record.key == newest.key && record.part_index == 0);
        let copies = versions().filter(|record| record.seqno == newest.seqno).count();
        let older = versions().filter(|record| record.seqno < newest.seqno).max_by_key(|record| record.seqno);
        copies == 1 && older.is_some_and(|older| is_put(&older))
    });
    let newest = newest.expect("the specimen has one");
    let mut bytes = specimen.bytes.clone();
    let place = place(newest);
    wipe(&mut bytes, place.start, place.end - place.start);
    (newest.key.clone(), bytes)
}

#[test]
fn an_older_version_does_not_take_the_place_of_a_damaged_one_unless_asked_for() {
    let specimen = Specimen::new(4096);
    let (key, bytes) = hit_newest(&specimen, |record| record.value_at.clone());
    let path = specimen.file(&bytes);
    let (contents, report) = specimen.saved(&path, &SalvageOptions::default());
    assert!(!contents.contains_key(&key), "an older version came back");
    assert!(
        report.lost_keys.len() == 1
            && report.lost_keys[0].key == key
            && report.lost_keys[0].older_seqno.is_some()
    );

    let (contents, report) = specimen.saved(&path, &SalvageOptions::default().older_versions(true));
    assert!(specimen.history[&key].contains(&contents[&key]) && contents[&key] != specimen.contents[&key]);
    assert_eq!(report.doubtful_keys.len(), 1);
    assert_eq!(
        (report.doubtful_keys[0].doubt, report.doubtful_keys[0].kept),
        (Doubt::NewerVersionLost, true)
    );
    assert_eq!(report.lost_keys.len(), 1, "it is said all the same");
}

#[test]
fn a_destroyed_key_is_found_among_the_keys_that_have_older_versions() {
    let specimen = Specimen::new(4096);
    let (_, bytes) = hit_newest(&specimen, |record| record.key_at.clone());
    let (contents, report) = specimen.saved(&specimen.file(&bytes), &SalvageOptions::default());
    assert!(contents == specimen.contents && report.is_complete(), "{report:?}");
    assert_eq!(report.mended_records, 1);
}

#[test]
fn keys_that_may_have_lost_a_newer_version_are_named_and_left_out_on_demand() {
    let specimen = Specimen::new(4096);
    let (key, bytes) = hit_newest(&specimen, |record| record.bytes());
    let path = specimen.file(&bytes);
    let (contents, report) = specimen.saved(&path, &SalvageOptions::default());
    assert_eq!(report.lost_writes.len(), 1, "{report:?}");
    assert_eq!(report.lost_writes[0].first_seqno, report.lost_writes[0].last_seqno);
    let doubtful = |key: &[u8]| report.doubtful_keys.iter().any(|found| found.key == key && found.kept);
    assert!(contents.contains_key(&key) && doubtful(&key), "an old value came back silently");

    let (certain, report) = specimen.saved(&path, &SalvageOptions::default().only_certain(true));
    assert!(!certain.contains_key(&key));
    assert!(certain.iter().all(|(key, value)| specimen.contents.get(key) == Some(value)));
    assert!(!certain.is_empty() && report.doubtful_keys.iter().all(|found| !found.kept));
}

/// Puts a unit with a key that the store does not hold into an empty zone: left over from a filling before a reset.
fn with_ghost(specimen: &Specimen) -> Vec<u8> {
    let map = &specimen.map;
    let is_filled = |zone: u64| map.units.iter().any(|unit| map.zone_of(unit.bytes.start) == Some(zone));
    let zone = (2..ZONE_COUNT).find(|&zone| !is_filled(zone)).expect("some zones are empty");
    let resets = index(ZONE_TABLE_AT + zone * 64) + 24;
    let resets = u32::from_le_bytes(*specimen.bytes[resets..].first_chunk().unwrap());
    assert!(resets > 0, "the zone has been reset");
    let present = |generation: u64| map.units.iter().any(|unit| unit.header.generation.get() == generation);
    let generation = (1..).find(|&generation| !present(generation)).unwrap();
    let seqno = SeqNo::new(3);
    let record =
        Record { seqno, kind: RecordKind::Put, group: None, key: b"ghost", value: b"was deleted long ago" };
    let mut unit = vec![0; UNIT_HEADER_BYTES + record.encoded_bytes()];
    record.encode(&mut unit[UNIT_HEADER_BYTES..]);
    let mut contents = ContentsChecksum::default();
    contents.add(&unit[UNIT_HEADER_BYTES..]);
    let header = UnitHeader {
        generation: Generation::new(generation),
        first_seqno: seqno,
        watermark: SeqNo::ZERO,
        reset_count: resets - 1,
        unit: 0,
        body_bytes: u32::try_from(record.encoded_bytes()).unwrap(),
        record_count: 1,
        claim_first: 0,
        claim_end: 0,
        previous: PreviousZone::default(),
        stream: StreamKind::User,
        contents_crc: contents.finish(),
        ..map.units[0].header
    };
    header.encode(&mut unit);
    let mut bytes = specimen.bytes.clone();
    let start = index(ZONES_AT + zone * map.zone_size);
    wipe(&mut bytes, start as u64, map.zone_size);
    bytes[start..start + unit.len()].copy_from_slice(&unit);
    bytes
}

#[test]
fn what_a_zone_held_before_its_reset_does_not_come_back() {
    let specimen = Specimen::new(4096);
    let mut bytes = with_ghost(&specimen);
    let (contents, report) = specimen.saved(&specimen.file(&bytes), &SalvageOptions::default());
    assert!(contents == specimen.contents && report.is_complete(), "by the zone table: {report:?}");
    wipe(&mut bytes, ZONE_TABLE_AT, ZONE_COUNT * 64);
    let (contents, report) = specimen.saved(&specimen.file(&bytes), &SalvageOptions::default());
    assert!(contents == specimen.contents && report.is_complete(), "by the manifest: {report:?}");
    wipe(&mut bytes, ZONES_AT, 2 * specimen.map.zone_size);
    let (contents, report) = specimen.saved(&specimen.file(&bytes), &SalvageOptions::default());
    assert!(contents.contains_key(&b"ghost"[..]), "nothing tells any more: {report:?}");
    assert!(report.notes.iter().any(|note| note.contains("deleted keys may be back")), "{report:?}");
}

/// Which filling of a zone it is, units say. Where the only one is hit, the manifest does.
#[test]
fn records_whose_unit_was_alone_in_its_zone_are_certain() {
    let directory = tempfile::tempdir().unwrap();
    let (path, into) = (directory.path().join("d"), directory.path().join("saved"));
    let db = Db::open(&path, Options::default().capacity_bytes(16 << 20).zone_size_bytes(1 << 20)).unwrap();
    db.put("key", "value").unwrap();
    db.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let unit = crate::structures::Map::of(&bytes).units[0].bytes.start;
    wipe(&mut bytes, unit, UNIT_HEADER_BYTES as u64);
    std::fs::write(&path, bytes).unwrap();
    let salvage = Salvage::open(&path, &SalvageOptions::default(), &|_, _| {}).unwrap();
    assert!(salvage.report().is_complete(), "{:?}", salvage.report());
    assert_eq!(copied(&salvage, &into)[&b"key"[..]], b"value");
}

/// In the place of a tombstone there used to be taken what looked like a longer record, and its unit for another one: the
/// lost delete was not missed, and the value before it came back without a word.
#[test]
fn a_tombstone_under_the_head_of_a_longer_record_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d");
    let db = Db::open(&path, Options::default().capacity_bytes(16 << 20).zone_size_bytes(1 << 20)).unwrap();
    db.put("k1", "an old value").unwrap();
    db.put("k2", vec![7; 2000]).unwrap();
    db.delete("k1").unwrap();
    db.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let map = crate::structures::Map::of(&bytes);
    let record = |key: &[u8], kind| {
        map.records().find(|record| record.key == key && record.kind == kind).unwrap().header.start
    };
    let (longer, tombstone) =
        (index(record(b"k2", RecordKind::Put)), index(record(b"k1", RecordKind::Delete)));
    bytes.copy_within(longer..longer + 26, tombstone);
    std::fs::write(&path, bytes).unwrap();
    let salvage = Salvage::open(&path, &SalvageOptions::default(), &|_, _| {}).unwrap();
    let report = salvage.report();
    // The delete is put right, or at least it is said that the value may be an old one.
    let is_back = report.keys > 1;
    let is_said = report.doubtful_keys.iter().any(|found| found.key == b"k1");
    assert!(!is_back || is_said, "an old value came back without a word: {report:?}");
}

/// Copies have no order that would tell what is missing. A unit of them without its header used to count as whole as soon as
/// one record of it was found, and the lost ones behind it were not missed.
#[test]
fn a_record_that_is_gone_from_a_unit_of_copies_without_a_header_is_missed() {
    let specimen = Specimen::new(4096);
    let unit = specimen.map.units.iter().find(|unit| {
        let is_wanted = unit.records.len() > 3 && unit.records.iter().all(|record| record.is_live);
        unit.header.stream == StreamKind::Relocation && is_wanted
    });
    let unit = unit.expect("the specimen has one");
    for hit in 1..unit.records.len() - 1 {
        let mut bytes = specimen.bytes.clone();
        wipe(&mut bytes, unit.bytes.start, UNIT_HEADER_BYTES as u64);
        let record = unit.records[hit].bytes();
        wipe(&mut bytes, record.start, record.end - record.start);
        let (contents, report) = specimen.saved(&specimen.file(&bytes), &SalvageOptions::default());
        let key = &unit.records[hit].key;
        let is_there = contents.get(key) == specimen.contents.get(key);
        assert!(is_there || !report.lost_writes.is_empty(), "{hit}: nothing is missed: {report:?}");
        for other in unit.records.iter().filter(|record| record.key != *key) {
            let (found, expected) = (contents.get(&other.key), specimen.contents.get(&other.key));
            assert!(found == expected, "{hit}: {} is lost as well: {report:?}", other.key.escape_ascii());
        }
    }
}

#[test]
fn what_is_no_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes");
    assert_eq!(
        Salvage::open(&path, &SalvageOptions::default(), &|_, _| {}).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    std::fs::write(&path, vec![b'x'; 3 << 20]).unwrap();
    let options = SalvageOptions::default().zone_size_bytes(1 << 20);
    assert_eq!(Salvage::open(&path, &options, &|_, _| {}).unwrap_err().kind(), ErrorKind::NotAStore);
    assert!(std::fs::read(&path).unwrap() == vec![b'x'; 3 << 20]);
}

#[test]
fn a_store_in_use_is_not_salvaged() {
    let specimen = Specimen::new(4096);
    let path = specimen.file(&specimen.bytes);
    let _db = Db::open(&path, Options::default()).unwrap();
    let error = Salvage::open(&path, &SalvageOptions::default(), &|_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
}
