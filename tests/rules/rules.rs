//! The rules that are easy to break (docs/invariants.md lists them with the code that keeps each), as far as a store shows
//! them from outside.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use zonal::{Db, Durability, ErrorKind, Options, WriteOptions};

use crate::stores::{Contents, ZONE_CAPACITY_BYTES, ZONE_SIZE_BYTES, assert_sound, contents, small};

const ZONES: u64 = 14;

fn options() -> Options {
    small(ZONES).cache_bytes(0)
}

fn written() -> WriteOptions {
    WriteOptions::default().durability(Durability::Written)
}

/// Overwrites some keys in no particular order until the collector has reset so many more zones: what is left in a zone
/// must be relocated then.
fn churn(db: &Db, resets: u64) {
    let until = db.stats().zone_resets + resets;
    let mut random = StdRng::seed_from_u64(until);
    for _ in 0..100_000 {
        if db.stats().zone_resets >= until {
            return;
        }
        db.put_with(format!("churn {}", random.random_range(0..80)), [7; 10_000], written()).unwrap();
    }
    panic!("no zone is cleaned");
}

/// The store as a process leaves it that is killed now; nothing may be in flight but what the housekeeper does.
///
/// The file is read until it comes out the same twice: then it was like that at the moment in between. Read once, its zone
/// table could be older than its zones.
fn crashed_copy(db: &Db, to: &Path) -> PathBuf {
    let mut image = std::fs::read(db.path()).unwrap();
    loop {
        let again = std::fs::read(db.path()).unwrap();
        if again == image {
            break;
        }
        image = again;
    }
    std::fs::write(to, image).unwrap();
    to.to_owned()
}

fn without_churn(mut contents: Contents) -> Contents {
    contents.retain(|key, _| !key.starts_with(b"churn"));
    contents
}

mod rule_1_a_zone_is_reset_only_when_nothing_in_it_is_needed {
    use super::*;

    /// Readers hold places of records while the zones these lie in are cleaned.
    #[test]
    fn no_zone_is_reset_under_a_reader() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path().join("store"), options()).unwrap();
        const KEYS: u64 = 200;
        let value = |key: u64, number: u64| {
            [key, number].iter().flat_map(|it| it.to_le_bytes()).cycle().take(2000).collect::<Vec<u8>>()
        };
        for key in 0..KEYS {
            db.put_with(format!("{key:04}"), value(key, 0), written()).unwrap();
        }
        let check = |key: &[u8], found: &[u8]| {
            let key: u64 = std::str::from_utf8(key).unwrap().parse().unwrap();
            let number = u64::from_le_bytes(found[8..16].try_into().unwrap());
            assert!(found == value(key, number), "{key} has another key's bytes, or torn ones");
        };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let (db, done) = (db.clone(), &done);
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed);
                    while !done.load(Ordering::Relaxed) {
                        let key = format!("{:04}", random.random_range(0..KEYS));
                        check(key.as_bytes(), &db.get(&key).unwrap().expect("it is always there"));
                        if random.random_range(0..50) == 0 {
                            let found: Vec<_> = db.range(&key[..]..).take(30).map(Result::unwrap).collect();
                            found.iter().for_each(|(key, value)| check(key, value));
                            let keys: Vec<_> = found.iter().map(|(key, _)| key.clone()).collect();
                            let many = db.multi_get(&keys).unwrap();
                            keys.iter().zip(many).for_each(|(key, value)| check(key, &value.unwrap()));
                        }
                    }
                });
            }
            let mut random = StdRng::seed_from_u64(9);
            for number in 1..20_000 {
                let key =
                    if random.random() { random.random_range(0..KEYS) } else { random.random_range(0..20) };
                db.put_with(format!("{key:04}"), value(key, number), written()).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(db.stats().zone_resets > 50, "{} zones were cleaned", db.stats().zone_resets);
    }
}

mod rule_2_a_relocated_record_keeps_its_seqno {
    use super::*;

    /// Were a copy a new write, what was written to its key in the meantime would lose against it.
    #[test]
    fn what_was_written_after_a_relocated_record_wins_at_recovery() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path().join("store"), options()).unwrap();
        let keys: Vec<String> = (0..300).map(|number| format!("key {number:03}")).collect();
        for round in 0..4 {
            for key in &keys {
                db.put_with(key, format!("{round}").repeat(3000), written()).unwrap();
            }
            let before = db.stats().relocated_bytes;
            churn(&db, 15);
            assert!(db.stats().relocated_bytes > before, "nothing was relocated");
            for (number, key) in (0..).zip(&keys) {
                match number % 3 {
                    0 => db.delete_with(key, written()).unwrap(),
                    1 => db.put_with(key, "newer", written()).unwrap(),
                    _ => {}
                }
            }
            churn(&db, 5);
            let crashed = crashed_copy(&db, &directory.path().join("crashed"));
            assert_sound(&crashed, "after the crash");
            let recovered = Db::open(&crashed, options().read_only(true)).unwrap();
            for (number, key) in (0..).zip(&keys) {
                let expected = match number % 3 {
                    0 => None,
                    1 => Some("newer".to_owned()),
                    _ => Some(format!("{round}").repeat(3000)),
                };
                assert_eq!(
                    recovered.get(key).unwrap().as_deref(),
                    expected.as_deref().map(str::as_bytes),
                    "{key}"
                );
            }
        }
    }
}

mod rule_3_a_deleted_key_never_comes_back {
    use super::*;

    /// Old versions lie in zones that are hardly ever cleaned; the tombstones are relocated again and again meanwhile.
    #[test]
    fn a_tombstone_outlives_older_versions_in_cold_zones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let mut db = Db::open(&path, options()).unwrap();
        let cold = |number: u64| format!("cold {number:03}");
        let doomed = |number: u64| format!("doomed {number:03}");
        for number in 0..150 {
            db.put_with(cold(number), [1; 8000], written()).unwrap();
            db.put_with(doomed(number), [2; 100], written()).unwrap();
        }
        churn(&db, 3);
        for number in 0..150 {
            db.delete_with(doomed(number), written()).unwrap();
        }
        for round in 0..8 {
            churn(&db, 12);
            if round % 2 == 0 {
                db.close().unwrap();
                db = Db::open(&path, options()).unwrap();
            } else {
                let crashed = crashed_copy(&db, &directory.path().join(format!("crashed {round}")));
                drop(db);
                db = Db::open(&crashed, options()).unwrap();
            }
            let back = db.prefix("doomed").count();
            assert_eq!(back, 0, "round {round}: deleted keys are back");
            assert_eq!(db.prefix("cold").count(), 150);
        }
    }

    #[test]
    fn a_tombstone_goes_when_no_older_version_can_be_found() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path().join("store"), options()).unwrap();
        for number in 0..200 {
            db.put_with(format!("{number}"), [1; 3000], written()).unwrap();
            db.delete_with(format!("{number}"), written()).unwrap();
        }
        assert_eq!(db.stats().tombstones, 200);
        for _ in 0..100 {
            churn(&db, 5);
            if db.stats().tombstones == 0 {
                return;
            }
        }
        panic!("{} tombstones are still there", db.stats().tombstones);
    }
}

mod rule_4_a_reader_asks_again_before_it_gives_up {
    use super::*;

    /// Large values move part by part, and are overwritten while they are read.
    #[test]
    fn a_large_value_is_read_whole_while_its_parts_move() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path().join("store"), options()).unwrap();
        let done = AtomicBool::new(false);
        db.put_with("large", vec![1; 300_000], written()).unwrap();
        db.put_with("still", vec![9; 300_000], written()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (db, done) = (db.clone(), &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let value = db.get("large").unwrap().expect("it is always there");
                        assert!(value.len() == 300_000 && value.iter().all(|byte| *byte == value[0]));
                        assert_eq!(&*db.get("still").unwrap().unwrap(), &vec![9; 300_000][..]);
                    }
                });
            }
            for number in 0..400_u32 {
                db.put_with("large", vec![number.to_le_bytes()[0]; 300_000], written()).unwrap();
                db.put_with(format!("small {}", number % 9), vec![3; 20_000], written()).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(db.stats().relocated_bytes > 300_000, "parts were moved");
    }
}

mod rule_6_recovery_may_run_again_and_reading_changes_nothing {
    use super::*;

    fn crashed_store(directory: &Path) -> PathBuf {
        let db = Db::open(directory.join("store"), options()).unwrap();
        for number in 0..2000 {
            db.put_with(format!("{:03}", number % 150), vec![1; 100 + number], written()).unwrap();
        }
        crashed_copy(&db, &directory.join("crashed"))
    }

    #[test]
    fn opening_for_reading_changes_not_one_byte() {
        let directory = tempfile::tempdir().unwrap();
        let crashed = crashed_store(directory.path());
        let closed = directory.path().join("store");
        for path in [crashed, closed] {
            let before = std::fs::read(&path).unwrap();
            let db = Db::open(&path, options().read_only(true)).unwrap();
            assert_eq!(contents(&db).len(), 150);
            assert_eq!(db.put("key", "value").unwrap_err().kind(), ErrorKind::ReadOnly);
            assert_eq!(db.delete("000").unwrap_err().kind(), ErrorKind::ReadOnly);
            assert_eq!(db.flush().unwrap_err().kind(), ErrorKind::ReadOnly);
            assert_sound(&path, "while it is open for reading");
            db.close().unwrap();
            assert!(std::fs::read(&path).unwrap() == before, "{} has changed", path.display());
        }
    }

    #[test]
    fn a_recovery_that_ends_in_a_crash_and_runs_again_gives_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let mut path = crashed_store(directory.path());
        let expected = contents(&Db::open(&path, options().read_only(true)).unwrap());
        for round in 0..6 {
            let db = Db::open(&path, options()).unwrap();
            assert!(contents(&db) == expected, "round {round}");
            path = crashed_copy(&db, &directory.path().join(format!("again {round}")));
            assert_sound(&path, "after another crash");
        }
    }
}

mod rule_7_one_writer_at_a_time {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_has_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let writer = Db::open(&path, options()).unwrap();
        for second in [options(), options().read_only(true)] {
            let error = Db::open(&path, second).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Locked);
            let holder = format!("process {}", std::process::id());
            assert!(error.to_string().contains(&holder), "{error} does not name {holder}");
        }
        writer.close().unwrap();
        let reader = Db::open(&path, options().read_only(true)).unwrap();
        let other = Db::open(&path, options().read_only(true)).unwrap();
        assert_eq!(Db::open(&path, options()).unwrap_err().kind(), ErrorKind::Locked);
        drop((reader, other));
        Db::open(&path, options()).unwrap();
    }
}

mod rule_10_zone_starts_use_the_size_and_room_the_capacity {
    use super::*;

    #[test]
    fn nothing_is_ever_written_behind_a_zones_capacity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let db = Db::open(&path, options()).unwrap();
        for number in 0..3000_usize {
            db.put_with(format!("{}", number % 40), vec![255; number % 30_000], written()).unwrap();
        }
        churn(&db, 10);
        db.close().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let [size, capacity] = [ZONE_SIZE_BYTES, ZONE_CAPACITY_BYTES].map(|it| usize::try_from(it).unwrap());
        for (zone, bytes) in bytes[1 << 20..].chunks(size).enumerate() {
            assert!(
                bytes[capacity..].iter().all(|byte| *byte == 0),
                "zone {zone} is written past its capacity"
            );
        }
    }

    #[test]
    fn a_store_is_full_when_its_capacity_is_not_when_its_addresses_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let narrow = options()
            .zone_size_bytes(2 << 20)
            .zone_capacity_bytes(256 << 10)
            .capacity_bytes(14 * (256 << 10));
        let db = Db::open(&path, narrow).unwrap();
        let mut expected = Contents::new();
        let error = loop {
            let key = format!("{:05}", expected.len());
            match db.put_with(&key, [5; 4000], written()) {
                Ok(()) => expected.insert(key.into_bytes(), vec![5; 4000]),
                Err(error) => break error,
            };
        };
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        let live_bytes = db.stats().live_bytes;
        assert!(live_bytes < 12 * (256 << 10), "{live_bytes} live bytes in 12 zones of 256 KiB");
        assert!(contents(&db) == expected);
        for key in expected.keys().step_by(2) {
            db.delete_with(key, written()).unwrap();
        }
        churn(&db, 10);
        db.close().unwrap();
        let kept: Contents = expected.into_iter().skip(1).step_by(2).collect();
        let db = Db::open(&path, options()).unwrap();
        assert!(without_churn(contents(&db)) == kept);
        drop(db);
        assert_sound(&path, "narrow zones");
    }
}

mod rule_11_a_conditional_write_minds_writes_in_flight {
    use super::*;

    /// A Sync put in flight is not visible yet, and decides all the same: a swap that expected the value before it must
    /// not come to lie behind it.
    #[test]
    fn a_swap_never_overwrites_a_put_that_it_did_not_see() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path().join("store"), options()).unwrap();
        db.put("key", "put 0").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for durability in [Durability::Sync, Durability::Written, Durability::Buffered] {
                let db = Db::clone(&db);
                let done = &done;
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let seen = db.get("key").unwrap().unwrap();
                        let number = String::from_utf8_lossy(&seen).split(' ').nth(1).unwrap().to_owned();
                        let swapped = format!("swap {number} {durability:?}");
                        let _ = db.compare_and_swap("key", Some(&*seen), Some(swapped)).unwrap();
                    }
                });
            }
            for number in 1..600_u64 {
                db.put("key", format!("put {number}")).unwrap();
                let now = db.get("key").unwrap().unwrap();
                let now = String::from_utf8_lossy(&now);
                let of: u64 = now.split(' ').nth(1).unwrap().parse().unwrap();
                assert!(of >= number, "put {number} was acknowledged and {now:?} has overwritten it");
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn no_increment_is_lost_whatever_its_durability() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let total = AtomicU64::new(0);
        let db = Db::open(&path, options()).unwrap();
        std::thread::scope(|scope| {
            for durability in [Durability::Sync, Durability::Written, Durability::Buffered] {
                let (db, total) = (&db, &total);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let mut current = db.get("counter").unwrap();
                        loop {
                            let number =
                                current.as_deref().map_or(0, |it| u64::from_le_bytes(it.try_into().unwrap()));
                            let next = (number + 1).to_le_bytes();
                            match db.compare_and_swap("counter", current.as_deref(), Some(next)).unwrap() {
                                Ok(()) => break,
                                Err(other) => current = other,
                            }
                        }
                        total.fetch_add(1, Ordering::Relaxed);
                        // Writes of other keys at this durability keep the log moving.
                        let options = WriteOptions::default().durability(durability);
                        db.put_with(format!("{durability:?}"), [1; 500], options).unwrap();
                    }
                });
            }
        });
        let counted = db.get("counter").unwrap().unwrap();
        assert_eq!(u64::from_le_bytes((*counted).try_into().unwrap()), total.load(Ordering::Relaxed));
    }
}
