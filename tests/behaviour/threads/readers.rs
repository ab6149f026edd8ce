//! Readers and walkers beside writers and the collector.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rand::RngExt;
use zonal::{Db, Durability};

use super::{key_of, level_of, value_of, writer_of};
use crate::support::{KIB, MIB, Place, at, expect_bytes, expect_no_lost_zone, seeded, stamped};

/// Permanent keys lie among hot ones; readers must find every one of them, whatever is written and collected.
const PERMANENT: u64 = 200;

fn permanent_key(number: u64) -> Vec<u8> {
    format!("key {number:04} permanent").into_bytes()
}

fn walk_once(db: &Db, reverse: bool) {
    let range = db.prefix("key ");
    let (mut last, mut next_permanent) = (None::<Vec<u8>>, 0);
    let items: Box<dyn Iterator<Item = _>> = if reverse { Box::new(range.rev()) } else { Box::new(range) };
    for item in items {
        let (key, value) = item.unwrap();
        let in_order = last.as_ref().is_none_or(|last| if reverse { key < *last } else { key > *last });
        assert!(in_order, "{} after {last:?}", key.escape_ascii());
        writer_of(&key, &value);
        if key.ends_with(b"permanent") {
            let number = if reverse { PERMANENT - 1 - next_permanent } else { next_permanent };
            assert_eq!(key, permanent_key(number), "a permanent key was missed");
            expect_bytes(&key, Some(&value), Some(&value_of(99, number)));
            next_permanent += 1;
        }
        last = Some(key);
    }
    assert_eq!(next_permanent, PERMANENT);
}

fn read_once(db: &Db, random: &mut impl RngExt) {
    let number = random.random_range(0..PERMANENT);
    let (key, value) = (permanent_key(number), value_of(99, number));
    expect_bytes(&key, db.get(&key).unwrap().as_deref(), Some(&value));
    let keys: Vec<_> = (0..20).map(|_| random.random_range(0..PERMANENT)).collect();
    let values = db.multi_get(&keys.iter().map(|&number| permanent_key(number)).collect::<Vec<_>>()).unwrap();
    for (number, found) in keys.into_iter().zip(values) {
        expect_bytes(&permanent_key(number), found.as_deref(), Some(&value_of(99, number)));
    }
    let hot = format!("key {:04} hot", random.random_range(0..PERMANENT)).into_bytes();
    if let Some(value) = db.get(&hot).unwrap() {
        writer_of(&hot, &value);
    }
}

#[test]
fn readers_and_walkers_see_every_permanent_key_in_order_while_zones_are_collected() {
    let place = Place::new(12);
    let db = place.open();
    for number in 0..PERMANENT {
        db.put_with(permanent_key(number), value_of(99, number), at(Durability::Buffered)).unwrap();
    }
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        for reverse in [false, true] {
            let (db, writing) = (&db, &writing);
            scope.spawn(move || {
                while writing.load(Ordering::Relaxed) {
                    walk_once(db, reverse);
                }
            });
        }
        let (reader, writing_on) = (&db, &writing);
        scope.spawn(move || {
            let mut random = seeded(5);
            while writing_on.load(Ordering::Relaxed) {
                read_once(reader, &mut random);
            }
        });
        let writers: Vec<_> = (0..2u64)
            .map(|thread| {
                let db = &db;
                scope.spawn(move || write_hot_keys(db, thread))
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        writing.store(false, Ordering::Relaxed);
        ended.into_iter().for_each(|writer| writer.unwrap());
    });
    walk_once(&db, false);
    walk_once(&db, true);
    assert!(db.stats().zone_resets > 20, "{:#?}", db.stats());
    expect_no_lost_zone(&db);
    db.close().unwrap();
    place.expect_sound();
    walk_once(&place.open(), false);
}

fn write_hot_keys(db: &Db, thread: u64) {
    let mut random = seeded(thread);
    for count in 0..18_000 {
        let number = random.random_range(0..PERMANENT);
        let key = format!("key {number:04} hot").into_bytes();
        let level = if count % 200 == 0 { Durability::Sync } else { Durability::Buffered };
        match random.random_range(0..10) {
            0 => db.delete_with(key, at(level)).unwrap(),
            // The permanent keys are written now and then, too, always with the same value.
            1 => db.put_with(permanent_key(number), value_of(99, number), at(level)).unwrap(),
            _ => db.put_with(key, value_of(thread, count), at(level)).unwrap(),
        }
    }
}

#[test]
fn large_values_are_whole_while_they_are_overwritten_and_collected() {
    let place = Place::new(24);
    let db = place.open();
    let large = |count: u64| stamped(count, 300 * KIB + usize::try_from(count % 700).unwrap() * KIB);
    let latest: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(0)).collect();
    for number in 0..4u64 {
        db.put_with(key_of(0, number), large(0), at(Durability::Buffered)).unwrap();
    }
    thread::scope(|scope| {
        for thread in 0..2u64 {
            let (db, latest) = (&db, &latest);
            scope.spawn(move || {
                for count in 1..80 {
                    let number = thread * 2 + count % 2;
                    db.put_with(key_of(0, number), large(count), at(level_of(count))).unwrap();
                    latest[usize::try_from(number).unwrap()].store(count, Ordering::SeqCst);
                }
            });
            scope.spawn(move || {
                for round in 0..80 {
                    let number = round % 4;
                    let before = latest[usize::try_from(number).unwrap()].load(Ordering::SeqCst);
                    let value = db.get(key_of(0, number)).unwrap().expect("never deleted");
                    let found = (before..80).find(|&count| *value == large(count)[..]);
                    assert!(found.is_some(), "{} bytes are no value of key {number}", value.len());
                }
            });
        }
    });
    expect_no_lost_zone(&db);
    db.close().unwrap();
    place.expect_sound();
}

#[test]
fn values_over_several_zones_are_not_collected_before_they_are_visible() {
    // A value of some zones is durable bit by bit and visible all at once; the collector is kept busy meanwhile, and
    // small durable writes see to it that the first zones of a value are durable well before its last.
    let place = Place::new(24);
    let db = place.open();
    thread::scope(|scope| {
        for thread in 0..2u64 {
            let db = &db;
            scope.spawn(move || {
                for count in 0..25 {
                    db.put(key_of(thread, 0), stamped(count, 3 * MIB)).unwrap();
                    let value = db.get(key_of(thread, 0)).unwrap();
                    expect_bytes(b"large", value.as_deref(), Some(&stamped(count, 3 * MIB)));
                }
            });
        }
        for thread in 2..6u64 {
            let db = &db;
            scope.spawn(move || {
                for count in 0..150 {
                    db.put(key_of(thread, count % 20), value_of(thread, count)).unwrap();
                }
            });
        }
    });
    expect_no_lost_zone(&db);
    db.close().unwrap();
    place.expect_sound();
}
