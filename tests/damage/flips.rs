//! A byte that changes by itself in a closed store is noticed by who needs it, or harms nobody.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use zonal::{Db, Depth, Durability, Error, ErrorKind, Options, WriteBatch, WriteOptions};
use zonal_engine::format::record::Record;
use zonal_engine::format::unit::{UNIT_HEADER_BYTES, UnitHeader};

use crate::stores::{Contents, ZONE_SIZE_BYTES, small};

const ZONE_COUNT: u64 = 14;
const DATA_START_BYTES: u64 = 1 << 20;
const TABLE_AT_BYTES: u64 = 12_288;
const BLOCK_BYTES: u64 = 4096;

/// A store with everything in it: cold and hot keys, deletes, batches, large values, zones that were cleaned.
struct Specimen {
    directory: TempDir,
    bytes: Vec<u8>,
    expected: Contents,
}

impl Specimen {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("specimen");
        let mut random = StdRng::seed_from_u64(seed);
        let db = Db::open(&path, small(ZONE_COUNT)).unwrap();
        let mut expected = Contents::new();
        for number in 0..3000_u64 {
            step(&db, number, &mut random, &mut expected);
        }
        assert!(db.stats().zone_resets > 10, "zones were cleaned");
        db.close().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        Self { directory, bytes, expected }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("specimen")
    }

    fn file(&self) -> File {
        OpenOptions::new().write(true).open(self.path()).unwrap()
    }

    /// Puts other bytes at a place, judges, and puts the old ones back.
    fn try_with(&self, at_bytes: u64, bytes: &[u8], what: &str) {
        let at = usize::try_from(at_bytes).unwrap();
        self.file().write_all_at(bytes, at_bytes).unwrap();
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge(&self.path())));
        self.file().write_all_at(&self.bytes[at..at + bytes.len()], at_bytes).unwrap();
        match judged {
            Ok(Ok(())) => {}
            Ok(Err(complaint)) => panic!("{what} at byte {at_bytes}: {complaint}"),
            Err(_) => panic!("{what} at byte {at_bytes}: panicked"),
        }
    }

    fn flip(&self, at_bytes: u64, bit: u8, what: &str) {
        let flipped = self.bytes[usize::try_from(at_bytes).unwrap()] ^ (1 << bit);
        self.try_with(at_bytes, &[flipped], what);
    }

    /// Whether a damaged store tells of its damage wherever it cannot give what was stored.
    fn judge(&self, path: &Path) -> Result<(), String> {
        let options = Options::default().read_only(true).direct_io(false).cache_bytes(0);
        let sees_damage = match Db::open(path, options.clone()) {
            Err(error) => {
                check_kind(&error)?;
                true
            }
            Ok(db) => self.compare(&db)?,
        };
        let report = Db::check(path, &options, Depth::Deep, &|_| {});
        if sees_damage && report.is_ok_and(|report| report.is_sound()) {
            return Err("a check finds nothing wrong".to_owned());
        }
        Ok(())
    }

    /// Compares all that can be read; true when something cannot.
    fn compare(&self, db: &Db) -> Result<bool, String> {
        let mut damaged = false;
        for (key, expected) in &self.expected {
            match db.get(key) {
                Ok(Some(value)) if *value == expected[..] => {}
                Ok(found) => {
                    let found = found.map(|value| value.len());
                    return Err(format!("{:?} is wrong: {found:?} bytes", String::from_utf8_lossy(key)));
                }
                Err(error) => {
                    check_kind(&error)?;
                    damaged = true;
                }
            }
        }
        let keys = db.iter().filter_map(Result::ok).filter(|(key, _)| !self.expected.contains_key(key));
        match keys.count() {
            0 => Ok(damaged),
            count => Err(format!("{count} deleted keys are back")),
        }
    }
}

fn check_kind(error: &Error) -> Result<(), String> {
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::NotAStore | ErrorKind::Incompatible => Ok(()),
        kind => Err(format!("the error is {kind:?}: {error}")),
    }
}

fn step(db: &Db, number: u64, random: &mut StdRng, expected: &mut Contents) {
    let value = |bytes: usize| number.to_le_bytes().into_iter().cycle().take(bytes).collect::<Vec<u8>>();
    // Keys that are written once in the beginning stay in cold zones.
    let below = if number < 600 { 300 } else { 40 };
    let key = format!("key {:03}", random.random_range(0..below)).into_bytes();
    let written = WriteOptions::default().durability(Durability::Written);
    match number % 50 {
        0 => {
            let large = format!("large {}", number % 3).into_bytes();
            db.put_with(&large, value(100_000), written).unwrap();
            expected.insert(large, value(100_000));
        }
        1..6 => {
            db.delete_with(&key, written).unwrap();
            expected.remove(&key);
        }
        6..9 => {
            let mut batch = WriteBatch::new();
            batch.put(&key, value(2000));
            batch.put(b"batch", value(10));
            batch.delete(b"key 001");
            db.write_with(batch, written).unwrap();
            expected.insert(key, value(2000));
            expected.insert(b"batch".to_vec(), value(10));
            expected.remove(&b"key 001"[..]);
        }
        _ => {
            db.put_with(&key, value(3000), written).unwrap();
            expected.insert(key, value(3000));
        }
    }
}

/// The units that lie in a store's zones: place in the file, header and the records' places.
fn units(bytes: &[u8]) -> Vec<(u64, UnitHeader, Vec<usize>)> {
    let blocks = (DATA_START_BYTES..bytes.len() as u64).step_by(4096);
    blocks
        .filter_map(|at_bytes| {
            let unit = &bytes[usize::try_from(at_bytes).unwrap()..];
            let header = UnitHeader::decode(unit).ok()?;
            let mut records = Vec::new();
            let mut position = UNIT_HEADER_BYTES;
            for _ in 0..header.record_count {
                records.push(position);
                position += Record::decode(&unit[position..]).ok()?.encoded_bytes;
            }
            Some((at_bytes, header, records))
        })
        .collect()
}

#[test]
fn any_flipped_byte_of_the_devices_metadata_is_noticed_or_harmless() {
    let specimen = Specimen::new(1);
    let mut random = StdRng::seed_from_u64(1);
    let table_bytes = ZONE_COUNT * 64;
    let structures = [
        (0, 128, "header A"),
        (4096, 128, "header B"),
        (8192, 64, "session"),
        (TABLE_AT_BYTES, table_bytes, "zone table"),
    ];
    for (start, len_bytes, what) in structures {
        for offset in (0..len_bytes).step_by(3) {
            specimen.flip(start + offset, random.random_range(0..8), what);
        }
    }
}

#[test]
fn any_flipped_byte_of_a_manifest_is_noticed_or_harmless() {
    let specimen = Specimen::new(2);
    let mut random = StdRng::seed_from_u64(2);
    for zone in 0..2 {
        let start = usize::try_from(DATA_START_BYTES + zone * ZONE_SIZE_BYTES).unwrap();
        let zone_bytes = &specimen.bytes[start..start + usize::try_from(ZONE_SIZE_BYTES).unwrap()];
        let used = zone_bytes.chunks(4096).take_while(|block| block.starts_with(b"ZMAN")).count();
        let last = start as u64 + (used as u64 - 1) * BLOCK_BYTES;
        for offset in (0..400).step_by(4) {
            specimen.flip(last + offset, random.random_range(0..8), "newest manifest");
        }
        specimen.flip(start as u64 + 30, 1, "old manifest");
    }
}

#[test]
fn any_flipped_byte_of_a_unit_header_is_noticed_or_harmless() {
    let specimen = Specimen::new(3);
    let mut random = StdRng::seed_from_u64(3);
    for (at_bytes, header, _) in units(&specimen.bytes) {
        for _ in 0..2 {
            let offset = random.random_range(0..UNIT_HEADER_BYTES as u64);
            let what = format!("unit {} of {}, {:?}", header.unit, header.generation, header.stream);
            specimen.flip(at_bytes + offset, random.random_range(0..8), &what);
        }
    }
}

#[test]
fn any_flipped_byte_of_a_record_or_of_padding_is_noticed_or_harmless() {
    let specimen = Specimen::new(4);
    let mut random = StdRng::seed_from_u64(4);
    for (at_bytes, header, records) in units(&specimen.bytes) {
        if !records.is_empty() {
            let record = records[random.random_range(0..records.len())] as u64;
            specimen.flip(at_bytes + record + random.random_range(0..24), 3, "record header");
            specimen.flip(at_bytes + record + 24 + random.random_range(0..6), 3, "key");
            let in_body = random.random_range(0..u64::from(header.body_bytes));
            specimen.flip(at_bytes + UNIT_HEADER_BYTES as u64 + in_body, 6, "anywhere in a unit");
        }
        let end = at_bytes + header.unit_bytes();
        if !end.is_multiple_of(BLOCK_BYTES) {
            specimen.flip(end, 0, "padding");
        }
    }
}

#[test]
fn any_flipped_byte_anywhere_is_noticed_or_harmless() {
    let specimen = Specimen::new(5);
    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..400 {
        let at_bytes = random.random_range(0..specimen.bytes.len() as u64);
        specimen.flip(at_bytes, random.random_range(0..8), "a byte");
    }
}

#[test]
fn runs_of_zeros_or_garbage_are_noticed_or_harmless() {
    let specimen = Specimen::new(6);
    let mut random = StdRng::seed_from_u64(6);
    let longest = specimen.bytes.len() as u64;
    for _ in 0..200 {
        let len_bytes = 1 << random.random_range(4..18);
        let at_bytes = random.random_range(0..longest - len_bytes);
        let fill = |random: &mut StdRng| if len_bytes % 2 == 0 { 0 } else { random.random() };
        let run: Vec<u8> = (0..len_bytes).map(|_| fill(&mut random)).collect();
        specimen.try_with(at_bytes, &run, &format!("{len_bytes} other bytes"));
    }
}

#[test]
fn a_zone_that_reads_as_zeros_is_noticed_or_was_not_needed() {
    let specimen = Specimen::new(7);
    for zone in 0..ZONE_COUNT {
        let zeros = vec![0; usize::try_from(ZONE_SIZE_BYTES).unwrap()];
        specimen.try_with(DATA_START_BYTES + zone * ZONE_SIZE_BYTES, &zeros, &format!("zone {zone} zeroed"));
    }
}

#[test]
fn exchanged_zones_are_noticed_or_harmless() {
    let specimen = Specimen::new(8);
    let size = usize::try_from(ZONE_SIZE_BYTES).unwrap();
    let start = usize::try_from(DATA_START_BYTES).unwrap();
    let path = specimen.directory.path().join("exchanged");
    for first in 0..14 {
        for second in [(first + 1) % 14, (first + 5) % 14] {
            let mut bytes = specimen.bytes.clone();
            let (one, other) = (start + first * size, start + second * size);
            bytes.copy_within(one..one + size, other);
            bytes[one..one + size].copy_from_slice(&specimen.bytes[other..other + size]);
            std::fs::write(&path, &bytes).unwrap();
            let judged = specimen.judge(&path);
            judged.unwrap_or_else(|complaint| panic!("zones {first} and {second}: {complaint}"));
        }
    }
}

#[test]
fn a_file_that_is_cut_short_is_refused_and_one_that_has_grown_is_not() {
    let specimen = Specimen::new(9);
    let path = specimen.directory.path().join("other length");
    for len_bytes in [0, 1, 100, 127, 128, 4096, 8192, 12_288, 1 << 20, specimen.bytes.len() - 1] {
        std::fs::write(&path, &specimen.bytes[..len_bytes]).unwrap();
        specimen.judge(&path).unwrap_or_else(|complaint| panic!("{len_bytes} bytes: {complaint}"));
        assert!(Db::open(&path, small(ZONE_COUNT)).is_err(), "{len_bytes} bytes are taken for a store");
        assert_eq!(std::fs::read(&path).unwrap().len(), len_bytes, "refusing it changed it");
    }
    let longer = [&specimen.bytes[..], &[7; 10_000]].concat();
    std::fs::write(&path, longer).unwrap();
    assert_eq!(specimen.compare(&Db::open(&path, Options::default().direct_io(false)).unwrap()), Ok(false));
}

#[test]
fn arbitrary_files_are_refused_without_a_panic() {
    let mut random = StdRng::seed_from_u64(10);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("garbage");
    for round in 0..100 {
        let mut bytes: Vec<u8> = (0..random.random_range(0..200_000)).map(|_| random.random()).collect();
        if round % 2 == 0 {
            let magic = b"ZONALDEV";
            let len = magic.len().min(bytes.len());
            bytes[..len].copy_from_slice(&magic[..len]);
        }
        std::fs::write(&path, &bytes).unwrap();
        let error = Db::open(&path, Options::default()).unwrap_err();
        check_kind(&error).unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes, "refusing a file changed it");
    }
}
