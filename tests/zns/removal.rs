//! Drives that are removed under load, as when somebody pulls them out or unbinds their driver.
//!
//! Two tests, each in a process of its own; between them `jobs/removal.sh` brings the drives back. What must be
//! remembered is in the current folder.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, iter};

use zonal::{Db, Depth, Error, ErrorKind};

use crate::drive;
use crate::load::{KEYS, Numbers, THREADS, assert_prefix, assert_sound, existing, write};

/// Acknowledgements before the drive goes.
const BEFORE: u64 = 300;
/// True append, writes at the write pointer, an emulated device on a drive without zones, and an SMR disk.
const COME_BACK: [&str; 4] =
    ["ZONAL_TEST_NVME", "ZONAL_TEST_NVME_BLOCK_2", "ZONAL_TEST_CONVENTIONAL", "ZONAL_TEST_SMR"];
/// A drive in files, which not every kernel has. What was not flushed when it is removed is gone, as after a power cut.
const FORGETFUL: &str = "ZONAL_TEST_ZLOOP";
/// Its contents go with it.
const GONE_FOR_GOOD: &str = "ZONAL_TEST_NULL_BLK";

fn come_back() -> impl Iterator<Item = &'static str> {
    COME_BACK.into_iter().chain(std::env::var_os(FORGETFUL).map(|_| FORGETFUL))
}

/// Where one writes what, to have the kernel remove a drive.
fn switch(drive: &Path) -> (PathBuf, &'static str) {
    let name = drive.file_name().expect("a name").to_str().expect("ASCII");
    let class = |class: &str| Path::new("/sys/class").join(class).join(name).join("device");
    match name {
        _ if name.starts_with("ng") => (class("nvme-generic").join("device/remove"), "1"),
        _ if name.starts_with("nvme") => (class("block").join("device/remove"), "1"),
        "zloop0" => (PathBuf::from("/dev/zloop-control"), "remove id=0"),
        _ if name.starts_with("sd") => (class("block").join("delete"), "1"),
        _ => (crate::drive("ZONAL_TEST_NULL_BLK_SWITCHES").join("power"), "0"),
    }
}

/// Says whether an error, or what it comes from, is that the device is gone.
fn says_gone(error: &Error) -> bool {
    let causes = iter::successors(std::error::Error::source(error), |&cause| cause.source());
    error.kind() == ErrorKind::DeviceGone || causes.map(ToString::to_string).any(|it| it.contains("is gone"))
}

/// Writes until the drive has been removed and a write has failed. Gives the last call of each thread that was acknowledged.
fn write_until_gone(db: &Db, path: &Path, context: &str) -> Numbers {
    let (switch, word) = switch(path);
    let (written, once) = (AtomicU64::new(0), Once::new());
    let numbers = [const { AtomicU64::new(0) }; THREADS];
    let acknowledged = |thread: usize, number| {
        numbers[thread].store(number, Ordering::Relaxed);
        if written.fetch_add(1, Ordering::Relaxed) >= BEFORE {
            once.call_once(|| fs::write(&switch, word).expect("removing the drive"));
        }
    };
    let error = write(db, &[0; THREADS], &|| true, &acknowledged).expect_err("there is no drive any more");
    println!("{context}: {error}");
    assert!(says_gone(&error), "{context}: {error:?}");
    numbers.map(AtomicU64::into_inner)
}

/// Writes are refused with the reason; reads give what memory has, or say that the drive is gone, and never anything else.
fn assert_ended(db: &Db, context: &str) {
    for refused in [db.put("more", ""), db.flush()] {
        let refused = refused.expect_err("the drive is gone");
        assert_eq!(refused.kind(), ErrorKind::WritesRefused, "{context}: {refused}");
        assert!(says_gone(&refused), "{context}: {refused:?}");
    }
    let mut gone = 0;
    for key in (0..KEYS).map(|slot| format!("0/{slot:03}")) {
        if let Err(error) = db.get(&key) {
            assert_eq!(error.kind(), ErrorKind::DeviceGone, "{context}: {error}");
            gone += 1;
        }
    }
    println!("{context}: {gone} of {KEYS} records cannot be read");
    assert!(gone > 0, "{context}: nothing was read from the drive");
}

#[test]
#[ignore = "removes drives: tests/zns/suite.sh removal"]
fn a_store_whose_drive_is_removed_under_load_says_so_and_ends() {
    for variable in come_back().chain([GONE_FOR_GOOD]) {
        let path = drive(variable);
        let db = Db::open(&path, existing().cache_bytes(64 << 10)).expect(variable);
        let numbers = write_until_gone(&db, &path, variable);
        assert_ended(&db, variable);
        db.close().expect_err("what was buffered cannot be written");
        let error = Db::open(&path, existing()).expect_err("nothing is there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{variable}: {error}");
        let remembered: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        fs::write(variable, remembered).expect("the shared folder");
    }
}

#[test]
#[ignore = "wants drives that were removed: tests/zns/suite.sh removal"]
fn a_drive_that_is_back_has_all_that_was_acknowledged_before_it_was_removed() {
    for variable in come_back() {
        let path = drive(variable);
        let remembered = fs::read(variable).expect("what the test before has left");
        let acknowledged: Numbers = std::array::from_fn(|thread| {
            u64::from_le_bytes(*remembered[8 * thread..].first_chunk().expect("a number each"))
        });
        assert_sound(&path, Depth::Deep, variable);
        let db = Db::open(&path, existing()).expect(variable);
        let found = assert_prefix(&db, &acknowledged, variable);
        println!("{variable}: acknowledged {acknowledged:?}, found {found:?}");
        db.put("more", "").expect("it goes on");
        db.close().expect(variable);
    }
}
