//! Small stores, and what must be in them.

use std::collections::BTreeMap;
use std::path::Path;

use zonal::{Db, Depth, Options};

/// Keys with their values.
pub(crate) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) const ZONE_SIZE_BYTES: u64 = 512 << 10;
pub(crate) const ZONE_CAPACITY_BYTES: u64 = 384 << 10;

/// A store of a few small zones, part of which cannot be written, so that it is cleaned soon.
pub(crate) fn small(zone_count: u64) -> Options {
    Options::default()
        .capacity_bytes(zone_count * ZONE_CAPACITY_BYTES)
        .zone_size_bytes(ZONE_SIZE_BYTES)
        .zone_capacity_bytes(ZONE_CAPACITY_BYTES)
        .max_open_zones(8)
        .max_active_zones(8)
        .append_limit_bytes(128 << 10)
        .unit_bytes(128 << 10)
        .cache_bytes(256 << 10)
        .direct_io(false)
}

/// Checks everything about a store that nobody writes to.
pub(crate) fn assert_sound(path: &Path, context: &str) {
    let report = Db::check(path, &Options::default().direct_io(false), Depth::Deep, &|_| {});
    let report = report.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(report.is_sound(), "{context}: {report:?}");
}

/// All that a store holds.
pub(crate) fn contents(db: &Db) -> Contents {
    db.iter()
        .map(|item| item.map(|(key, value)| (key, value.to_vec())))
        .collect::<Result<_, _>>()
        .expect("iterate")
}
