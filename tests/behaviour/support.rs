//! What the tests share: small stores in directories of their own, and values that tell which write they are of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use tempfile::TempDir;
use zonal::{Db, Depth, Durability, Options, WriteOptions, ZoneRole};

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

pub(crate) const LEVELS: [Durability; 3] = [Durability::Sync, Durability::Written, Durability::Buffered];

/// What a store holds by a model of it.
pub(crate) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A directory for one store, gone when dropped.
pub(crate) struct Place {
    _directory: TempDir,
    path: PathBuf,
    options: Options,
}

impl Place {
    /// A place for a store of `capacity_mib` zones of 1 MiB.
    pub(crate) fn new(capacity_mib: u64) -> Self {
        Self::with(small(capacity_mib))
    }

    pub(crate) fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("store.zonal");
        Self { _directory: directory, path, options }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn options(&self) -> Options {
        self.options.clone()
    }

    pub(crate) fn open(&self) -> Db {
        Db::open(&self.path, self.options()).expect("open the store")
    }

    pub(crate) fn open_for_reading(&self) -> Db {
        Db::open(&self.path, self.options().read_only(true)).expect("open the store for reading")
    }

    /// Checks the closed store: every value readable, the ledger exact, no zone given up.
    pub(crate) fn expect_sound(&self) {
        let report = Db::check(&self.path, &self.options, Depth::Deep, &|_| {}).expect("check the store");
        assert!(report.is_sound(), "{report:#?}");
    }

    /// Closes the store, checks it, and opens it again: it holds what the model says.
    pub(crate) fn expect_same_when_closed_and_opened(&self, db: Db, model: &Model) {
        db.close().expect("close the store");
        self.expect_sound();
        expect_same(&self.open(), model);
    }
}

/// Options for zones so small that they fill in a moment, and for so little memory that most reads go to the device.
pub(crate) fn small(capacity_mib: u64) -> Options {
    growing().capacity_bytes(capacity_mib * MIB as u64)
}

/// The same without a capacity.
pub(crate) fn growing() -> Options {
    Options::default().zone_size_bytes(MIB as u64).unit_bytes(128 << 10).cache_bytes(512 << 10)
}

pub(crate) fn at(durability: Durability) -> WriteOptions {
    WriteOptions::default().durability(durability)
}

pub(crate) fn seeded(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

/// Bytes that only this stamp gives, at any length.
pub(crate) fn stamped(stamp: u64, len_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; len_bytes];
    seeded(stamp).fill_bytes(&mut bytes);
    bytes
}

/// Mostly small lengths, up to `most`.
pub(crate) fn some_length(random: &mut SmallRng, most: usize) -> usize {
    match random.random_range(0..10) {
        0 => 0,
        1..=6 => random.random_range(0..=most.min(500)),
        7..=8 => random.random_range(0..=most.min(10 * KIB)),
        _ => random.random_range(0..=most),
    }
}

/// No zone may have been given up because an account was wrong: that loses capacity until the next opening.
pub(crate) fn expect_no_lost_zone(db: &Db) {
    let zones = db.zones().expect("the zones");
    let lost: Vec<_> = zones.iter().filter(|zone| zone.role == ZoneRole::Lost).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// Everything in the store is what the model says, by point reads, both ways of walking, and the counts.
pub(crate) fn expect_same(db: &Db, model: &Model) {
    let mut found = 0;
    for (item, (key, value)) in db.iter().zip(model) {
        let (found_key, found_value) = item.expect("walk");
        assert_eq!(found_key.escape_ascii().to_string(), key.escape_ascii().to_string());
        expect_bytes(key, Some(&found_value), Some(value));
        found += 1;
    }
    assert_eq!(found, model.len(), "keys are missing at the end");
    assert_eq!(db.iter().count(), model.len(), "there are more keys than there should be");
    let backwards = db.iter().rev().map(|item| item.expect("walk back").0);
    assert!(backwards.eq(model.keys().rev().cloned()), "walking back gives other keys");
    for (key, value) in model {
        expect_bytes(key, db.get(key).expect("get").as_deref(), Some(value));
    }
    assert_eq!(db.stats().keys, model.len() as u64);
}

/// Compares values without printing megabytes.
pub(crate) fn expect_bytes(key: &[u8], found: Option<&[u8]>, expected: Option<&Vec<u8>>) {
    let describe = |bytes: Option<&[u8]>| {
        bytes.map(|bytes| format!("{} bytes: {}…", bytes.len(), bytes[..bytes.len().min(16)].escape_ascii()))
    };
    let same = found == expected.map(Vec::as_slice);
    assert!(
        same,
        "{} has {:?}, expected {:?}",
        key[..key.len().min(32)].escape_ascii(),
        describe(found),
        describe(expected.map(Vec::as_slice))
    );
}
