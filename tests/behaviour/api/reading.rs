//! Point reads, reads of many keys, and what a store tells about itself.

use zonal::{Durability, ErrorKind, Value, ZoneRole, ZoneState};

use crate::support::{KIB, MIB, Place, at, expect_bytes, stamped};

/// What was put under a number.
fn value_of(number: u64) -> Vec<u8> {
    let len_bytes = match number {
        17 => MIB,
        33 => 40 * KIB,
        _ => usize::try_from(number * 37 % 5000).unwrap(),
    };
    stamped(number, len_bytes)
}

fn key_of(number: u64) -> Vec<u8> {
    format!("key {number:04}").into_bytes()
}

/// A store with 300 keys, opened anew, so that every value must be read from the device.
fn reopened_place() -> Place {
    let place = Place::new(16);
    let db = place.open();
    for number in 0..300 {
        db.put_with(key_of(number), value_of(number), at(Durability::Buffered)).unwrap();
    }
    db.close().unwrap();
    place
}

#[test]
fn a_get_is_one_read_of_the_device_and_none_when_repeated() {
    let place = reopened_place();
    let db = place.open();
    let before = db.stats();
    expect_bytes(b"100", db.get(key_of(100)).unwrap().as_deref(), Some(&value_of(100)));
    let first = db.stats();
    let wanted = value_of(100).len() as u64;
    assert!(first.device_bytes_read - before.device_bytes_read <= wanted + 2 * 4096);
    expect_bytes(b"100", db.get(key_of(100)).unwrap().as_deref(), Some(&value_of(100)));
    let second = db.stats();
    assert_eq!(second.device_bytes_read, first.device_bytes_read);
    assert_eq!(second.memory_hits, first.memory_hits + 1);
}

#[test]
fn contains_key_never_touches_the_device() {
    let place = reopened_place();
    let db = place.open();
    let before = db.stats().device_bytes_read;
    for number in 0..300 {
        assert!(db.contains_key(key_of(number)).unwrap());
    }
    for absent in [&b""[..], b"key", b"key 0300", b"key 0001 "] {
        assert!(!db.contains_key(absent).unwrap());
    }
    assert_eq!(db.stats().device_bytes_read, before);
}

#[test]
fn multi_get_gives_every_value_in_the_order_of_the_keys_from_the_device_and_from_memory() {
    let place = reopened_place();
    let db = place.open();
    let mut numbers: Vec<u64> = (0..300).rev().chain([5, 5, 17, 900, 17, 901, 5]).collect();
    numbers.insert(100, 999);
    let keys: Vec<Vec<u8>> = numbers.iter().map(|&number| key_of(number)).collect();
    for _ in 0..2 {
        let values = db.multi_get(&keys).unwrap();
        assert_eq!(values.len(), keys.len());
        for (&number, value) in numbers.iter().zip(&values) {
            let expected = (number < 300).then(|| value_of(number));
            expect_bytes(&key_of(number), value.as_deref(), expected.as_ref());
        }
    }
    assert!(db.multi_get::<&[u8]>(&[]).unwrap().is_empty());
    assert_eq!(db.multi_get(&["nowhere"]).unwrap(), [None]);
    assert_eq!(db.multi_get(&[""]).unwrap(), [None], "an empty key is nowhere");
}

#[test]
fn a_value_outlives_its_overwriting_and_its_store_and_goes_to_other_threads() {
    let place = Place::new(16);
    let db = place.open();
    db.put("k", "before").unwrap();
    let value = db.get("k").unwrap().unwrap();
    db.put("k", "after").unwrap();
    db.close().unwrap();
    let there: Value = value.clone();
    let elsewhere = std::thread::spawn(move || there.to_vec());
    assert_eq!(elsewhere.join().unwrap(), b"before");
    assert_eq!((&value[..3], value.len()), (&b"bef"[..], 6));
    assert_eq!(format!("{value:?}"), "Value(\"before\")");
}

#[test]
fn stats_count_what_was_done() {
    let place = Place::new(16);
    let db = place.open();
    let start = db.stats();
    for number in 0..10u64 {
        db.put(key_of(number), value_of(number)).unwrap();
    }
    db.delete(key_of(0)).unwrap();
    db.get(key_of(1)).unwrap();
    db.multi_get(&[key_of(1), key_of(2)]).unwrap();
    let stats = db.stats().since(&start);
    assert_eq!((stats.puts, stats.deletes, stats.gets), (10, 1, 3));
    assert_eq!((stats.keys, stats.tombstones), (9, 1));
    let key_bytes = key_of(0).len() as u64;
    let value_bytes: u64 = (0..10).map(|number| value_of(number).len() as u64).sum();
    assert_eq!(stats.user_bytes_written, 11 * key_bytes + value_bytes);
    assert!(stats.device_bytes_written > stats.user_bytes_written);
    assert!(stats.write_amplification > 1.0);
    assert!(stats.device_flushes <= 11, "no more flushes than writes");
    assert!(stats.live_bytes > value_bytes && stats.live_bytes < stats.live_limit_bytes);
    assert!(stats.index_bytes > 0);
}

#[test]
fn counters_marked_life_go_on_after_closing_and_the_others_begin_anew() {
    let place = reopened_place();
    let db = place.open();
    let stats = db.stats();
    assert!(stats.user_bytes_written > 3 * MIB as u64 / 2);
    assert!(stats.device_bytes_written > stats.user_bytes_written);
    assert_eq!((stats.puts, stats.gets, stats.keys), (0, 0, 300));
}

#[test]
fn info_and_zones_describe_the_device_that_was_asked_for() {
    let place = Place::new(16);
    let db = place.open();
    let info = db.info();
    assert_eq!((info.zone_count, info.zone_size_bytes, info.block_bytes), (16, MIB as u64, 4096));
    assert_eq!((info.zone_capacity_bytes, info.capacity_bytes), (MIB as u64, 16 * MIB as u64));
    assert_eq!((info.max_open_zones, info.max_active_zones, info.append_limit_bytes), (14, 14, 1 << 20));
    assert_eq!((info.store_id.len(), info.index.as_str(), info.incarnation), (32, "ordered", 2));
    db.put("k", stamped(1, 2 * MIB)).unwrap();
    let zones = db.zones().unwrap();
    assert!(zones.iter().map(|zone| zone.zone).eq(0..16));
    assert!(zones[..2].iter().all(|zone| zone.role == ZoneRole::Manifest));
    let user: Vec<_> = zones.iter().filter(|zone| zone.live_bytes > 0).collect();
    assert!(user.len() >= 3 && user.iter().all(|zone| zone.role == ZoneRole::User));
    assert_eq!(user.iter().map(|zone| zone.live_bytes).sum::<u64>(), db.stats().live_bytes);
    assert!(user.iter().any(|zone| zone.state == ZoneState::Full));
    let counts = db.stats().zones;
    let full = zones.iter().filter(|zone| zone.state == ZoneState::Full).count() as u64;
    let empty = zones.iter().filter(|zone| zone.state == ZoneState::Empty).count() as u64;
    assert_eq!((counts.full, counts.empty), (full, empty));
}

#[test]
fn handles_to_one_store_tell_the_same_and_another_store_has_another_id() {
    let (place, other) = (Place::new(16), Place::new(16));
    let db = place.open();
    assert_eq!(db.info(), db.clone().info());
    assert_ne!(db.info().store_id, other.open().info().store_id);
    let (id, incarnation) = (db.info().store_id, db.info().incarnation);
    drop(db);
    let again = place.open().info();
    assert_eq!((again.store_id, again.incarnation), (id, incarnation + 1));
}

#[test]
fn a_store_that_is_read_only_reads_and_refuses_every_write() {
    let place = reopened_place();
    let before = std::fs::read(place.path()).unwrap();
    let (one, two) = (place.open_for_reading(), place.open_for_reading());
    for db in [&one, &two] {
        for number in (0..300).step_by(7) {
            expect_bytes(
                &key_of(number),
                db.get(key_of(number)).unwrap().as_deref(),
                Some(&value_of(number)),
            );
        }
        assert_eq!(db.iter().rev().count(), 300);
        let refused = [
            db.put("k", "v").unwrap_err(),
            db.delete("key 0001").unwrap_err(),
            db.compare_and_swap("k", None::<&str>, Some("v")).unwrap_err(),
            db.flush().unwrap_err(),
        ];
        assert!(refused.iter().all(|error| error.kind() == ErrorKind::ReadOnly), "{refused:?}");
    }
    let locked = zonal::Db::open(place.path(), place.options()).unwrap_err();
    assert_eq!(locked.kind(), ErrorKind::Locked, "{locked}");
    one.close().unwrap();
    drop(two);
    assert!(std::fs::read(place.path()).unwrap() == before, "reading has changed the file");
}
