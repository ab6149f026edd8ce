//! A small store with everything in it, and all that was ever written to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zonal::{Db, Durability, Options, Salvage, SalvageOptions, SalvageReport, WriteBatch, WriteOptions};

use crate::structures::Map;

pub(crate) use crate::stores::Contents;

/// Keys with all values that they ever had.
pub(crate) type History = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;

/// Zones of a specimen that is cleaned, and of one that is not.
pub(crate) const ZONE_COUNT: u64 = 14;
const ROOMY_ZONE_COUNT: u64 = 22;

pub(crate) struct Specimen {
    directory: TempDir,
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// The file as it was some time before.
    pub(crate) older: Vec<u8>,
    /// What the store holds.
    pub(crate) contents: Contents,
    /// What it ever held.
    pub(crate) history: History,
    /// What lies where.
    pub(crate) map: Map,
}

struct Writer {
    db: Db,
    contents: Contents,
    history: History,
}

impl Specimen {
    /// A store whose zones were cleaned again and again. There is no room for checkpoints.
    pub(crate) fn new(block_bytes: u32) -> Self {
        Self::of(&options(block_bytes), [0..1400, 1400..2400], |writer, number| {
            let is_last = matches!(number, 1399 | 2399);
            assert!(!is_last || writer.db.stats().zone_resets > 2, "zones were cleaned");
        })
    }

    /// A store with room, of which two checkpoints stand for different zones.
    pub(crate) fn with_checkpoints(block_bytes: u32) -> Self {
        // One active zone more than a store needs: a checkpoint takes one.
        let options = crate::stores::small(ROOMY_ZONE_COUNT).max_active_zones(9);
        let options = options.block_bytes(block_bytes).unit_bytes(96 << 10);
        Self::of(&options, [0..300, 300..600], |writer, number| {
            if matches!(number, 200 | 350 | 500) {
                assert!(writer.db.checkpoint().unwrap().is_some(), "there is room for a checkpoint");
            }
        })
    }

    fn of(options: &Options, sessions: [Range<u64>; 2], after_each: impl Fn(&Writer, u64)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("specimen");
        let (mut contents, mut history) = (Contents::new(), History::new());
        let mut older = Vec::new();
        for steps in sessions {
            older = std::fs::read(&path).unwrap_or_default();
            let db = Db::open(&path, options.clone()).unwrap();
            let mut writer = Writer { db, contents, history };
            for number in steps {
                writer.step(number);
                after_each(&writer, number);
            }
            writer.db.clone().close().unwrap();
            Writer { contents, history, .. } = writer;
        }
        let bytes = std::fs::read(&path).unwrap();
        let map = Map::of(&bytes);
        Self { directory, bytes, older, contents, history, map }
    }

    /// A file with other bytes; the next one takes its place.
    pub(crate) fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join("damaged");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// What can be saved of a damaged store, and what is said of the rest.
    pub(crate) fn saved(&self, path: &Path, options: &SalvageOptions) -> (Contents, SalvageReport) {
        let salvage = Salvage::open(path, options, &|_, _| {}).unwrap();
        (copied(&salvage, &self.vacant()), salvage.report().clone())
    }

    /// Where a new store can be made; what was there goes away.
    pub(crate) fn vacant(&self) -> PathBuf {
        let path = self.directory.path().join("saved");
        let _ = std::fs::remove_file(&path);
        path
    }
}

fn options(block_bytes: u32) -> Options {
    crate::stores::small(ZONE_COUNT).block_bytes(block_bytes).unit_bytes(96 << 10)
}

pub(crate) fn to_read() -> Options {
    Options::default().read_only(true).direct_io(false).cache_bytes(0)
}

/// All that a store gives, errors left out.
pub(crate) fn readable(path: &Path) -> Contents {
    let db = Db::open(path, to_read()).unwrap();
    db.iter().filter_map(Result::ok).map(|(key, value)| (key, value.to_vec())).collect()
}

/// What a store holds that all that was found is copied into.
pub(crate) fn copied(salvage: &Salvage, into: &Path) -> Contents {
    let db = Db::open(into, salvage.like_the_original().direct_io(false)).unwrap();
    salvage.copy_into(&db, &|_| {}).unwrap();
    db.close().unwrap();
    readable(into)
}

impl Writer {
    fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.db.put_with(key, &value, written()).unwrap();
        self.note(key, value);
    }

    fn note(&mut self, key: &[u8], value: Vec<u8>) {
        self.history.entry(key.to_vec()).or_default().insert(value.clone());
        self.contents.insert(key.to_vec(), value);
    }

    fn step(&mut self, number: u64) {
        // Keys of the beginning stay in cold zones; the others are overwritten again and again.
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let key = format!("key {:03}", random % if number < 500 { 250 } else { 40 }).into_bytes();
        let value = |bytes: usize| number.to_le_bytes().into_iter().cycle().take(bytes).collect::<Vec<u8>>();
        match number % 40 {
            0 => self.put(format!("large {}", number % 3).as_bytes(), value(60_000)),
            1..4 => {
                self.db.delete_with(&key, written()).unwrap();
                self.contents.remove(&key);
            }
            4..7 => {
                let mut batch = WriteBatch::new();
                batch.put(&key, value(700));
                batch.put(format!("batch {}", number % 4), value(30));
                batch.delete("key 001");
                self.db.write_with(batch, written()).unwrap();
                self.note(&key, value(700));
                self.note(format!("batch {}", number % 4).as_bytes(), value(30));
                self.contents.remove(&b"key 001"[..]);
            }
            _ => self.put(&key, value(2000)),
        }
    }
}

fn written() -> WriteOptions {
    WriteOptions::default().durability(Durability::Written)
}
