//! Stores on block devices: a loop device, and the zoned device that `ZONAL_TEST_ZONED_BLOCK` names, of which everything is
//! destroyed. Where there is no such device the tests say so.

use std::env;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zonal::{Db, Depth, Durability, ErrorKind, Options, WriteOptions, ZoneRole, ZoneState};

use super::loop_device::LoopDevice;

fn zoned_device() -> Option<PathBuf> {
    let path = env::var_os("ZONAL_TEST_ZONED_BLOCK").map(PathBuf::from);
    if path.is_none() {
        eprintln!(
            "skipped: ZONAL_TEST_ZONED_BLOCK names no zoned block device whose contents may be destroyed"
        );
    }
    path
}

/// Overwrites a third of what fits until zones have been reset many times; gives the number of keys.
fn overwrite_many_times(db: &Db) -> u32 {
    let value_bytes = 4000;
    let keys = u32::try_from(db.stats().live_limit_bytes / 3 / value_bytes).expect("a small device");
    let buffered = WriteOptions::default().durability(Durability::Buffered);
    let mut round = 0u8;
    while db.stats().zone_resets < 40 {
        round += 1;
        for key in 0..keys {
            let value = vec![round; usize::try_from(value_bytes).expect("small")];
            db.put_with(key.to_be_bytes(), value, buffered).expect("put");
        }
    }
    let last = vec![round; usize::try_from(value_bytes).expect("small")];
    for key in (0..keys).step_by(7) {
        assert_eq!(db.get(key.to_be_bytes()).expect("get").as_deref(), Some(&last[..]));
    }
    keys
}

fn expect_sound(path: &Path, keys: u32) {
    let report = Db::check(path, &Options::default(), Depth::Deep, &|_| {}).expect("check");
    assert!(report.is_sound() && report.clean, "{report:#?}");
    assert_eq!(report.keys, u64::from(keys));
}

/// What is the same on every device.
fn a_store_can_be_made_overwritten_and_found_again(path: &Path, create: &Options) {
    let error = Db::open(path, create.clone().overwrite_device(false)).expect_err("something is on it");
    assert_eq!(error.kind(), ErrorKind::NotBlank, "{error}");
    let db = Db::open(path, create.clone()).expect("make a store");
    let keys = overwrite_many_times(&db);
    db.close().expect("close");
    expect_sound(path, keys);
    let error = Db::open(path, create.clone().overwrite_device(false)).expect_err("a store is on it");
    assert_eq!(error.kind(), ErrorKind::NotBlank, "{error}");
    expect_sound(path, keys);
    let db = Db::open(path, Options::default()).expect("open");
    let error = Db::open(path, Options::default()).expect_err("held");
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    drop(db);
    Db::open(path, create.clone()).expect("make another").close().expect("close");
    expect_sound(path, 0);
}

#[test]
fn a_loop_device_holds_a_store_like_a_file() {
    let Some(medium) = LoopDevice::new(24 << 20) else { return };
    let error = Db::open(&medium.node, Options::default()).expect_err("nobody formatted it");
    assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
    let node = OpenOptions::new().write(true).open(&medium.node).expect("open the loop device");
    node.write_all_at(b"LABELONE", 512).and_then(|()| node.sync_all()).expect("write");
    drop(node);
    let create = Options::default().create_new(true).overwrite_device(true).zone_size_bytes(1 << 20);
    a_store_can_be_made_overwritten_and_found_again(&medium.node, &create);
    let db = Db::open(&medium.node, Options::default().read_only(true)).expect("open");
    let info = db.info();
    assert_eq!((info.device.as_str(), info.zone_count), ("emulated on a block device", 23));
}

#[test]
fn a_blank_loop_device_is_taken_without_asking_and_a_wrong_size_is_refused() {
    let Some(medium) = LoopDevice::new(24 << 20) else { return };
    let create = Options::default().create_new(true);
    for wrong in [
        create.clone().zone_size_bytes(1 << 20).capacity_bytes(24 << 20),
        create.clone().zone_size_bytes(16 << 20),
    ] {
        let error = Db::open(&medium.node, wrong).expect_err("not enough room");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    Db::open(&medium.node, create.zone_size_bytes(1 << 20)).expect("blank still").close().expect("close");
}

#[test]
fn a_zoned_block_device_holds_a_store() {
    let Some(path) = zoned_device() else { return };
    let create = Options::default().create_new(true).overwrite_device(true);
    Db::open(&path, create.clone()).expect("whatever is on it").close().expect("close");
    a_store_can_be_made_overwritten_and_found_again(&path, &create);
    let error = Db::open(&path, create.zone_size_bytes(12_345)).expect_err("another zone size");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let db = Db::open(&path, Options::default().read_only(true)).expect("open");
    assert_eq!(db.info().device, "zoned block device");
    let zones = db.zones().expect("zones");
    let conventional = zones.iter().filter(|zone| zone.role == ZoneRole::Conventional).count() as u64;
    assert_eq!(db.stats().zones.not_write_pointer, conventional);
    let manifest: Vec<_> = zones.iter().filter(|zone| zone.role == ZoneRole::Manifest).collect();
    let mut with_pointer = zones.iter().filter(|zone| zone.state != ZoneState::NotWritePointer);
    assert_eq!(manifest, [with_pointer.next().expect("one"), with_pointer.next().expect("two")]);
}
