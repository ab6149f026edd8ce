//! Where something ends under many threads: the store, its space, the device's active zones, the threads themselves.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use zonal::{Db, Durability, ErrorKind};

use super::{key_of, level_of, value_of};
use crate::support::{KIB, MIB, Model, Place, at, expect_no_lost_zone, expect_same, stamped};

#[test]
fn threads_that_put_once_and_end_lose_nothing() {
    let place = Place::new(16);
    let db = place.open();
    for round in 0..40u64 {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let db = db.clone();
                let put = move || {
                    db.put_with(key_of(thread, round), value_of(thread, round), at(Durability::Buffered))
                };
                thread::spawn(put)
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    }
    db.flush().unwrap();
    let model: Model = (0..8)
        .flat_map(|thread| (0..40).map(move |round| (key_of(thread, round), value_of(thread, round))))
        .collect();
    expect_same(&db, &model);
    drop(db);
    place.expect_sound();
    expect_same(&place.open(), &model);
}

#[test]
fn writes_during_close_are_there_afterwards_or_were_told_that_it_is_closed() {
    const THREADS: u64 = 5;
    for round in 0..12u64 {
        let place = Place::new(12);
        let db = place.open();
        let start = Barrier::new(usize::try_from(THREADS + 1).unwrap());
        let (start, begun) = (&start, &AtomicU64::new(0));
        let write = |db: Db, thread: u64| {
            move || {
                let mut model = Model::new();
                start.wait();
                for count in 0.. {
                    let (key, value) = (key_of(thread, count % 300), value_of(thread, count));
                    match db.put_with(&key, &value, at(level_of(thread))) {
                        Ok(()) => model.insert(key, value),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                            return model;
                        }
                    };
                    begun.fetch_add(1, Ordering::Relaxed);
                }
                unreachable!("the store is closed at some time")
            }
        };
        let model: Model = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(write(db.clone(), thread))).collect();
            start.wait();
            while begun.load(Ordering::Relaxed) < round * 700 {
                thread::yield_now();
            }
            db.close().unwrap();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        place.expect_sound();
        expect_same(&place.open(), &model);
    }
}

#[test]
fn the_active_zones_of_the_device_suffice_for_any_number_of_threads() {
    const THREADS: u64 = 32;
    // Zones of two units, and as few active ones as a store can have.
    let options = Place::new(16).options().zone_size_bytes(256 << 10).max_active_zones(8).max_open_zones(8);
    let place = Place::with(options);
    let db = place.open();
    let write = |thread: u64| {
        for count in 0..150 {
            let value = stamped(thread << 32 | count, 20 * KIB);
            db.put_with(key_of(thread, count % 5), value, at(level_of(thread))).unwrap();
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|thread| drop(scope.spawn(move || write(thread)))));
    expect_no_lost_zone(&db);
    assert!(db.stats().user_bytes_written > 80 * MIB as u64);
    db.close().unwrap();
    place.expect_sound();
}

#[test]
fn a_full_store_under_many_threads_says_so_to_each_and_keeps_what_it_took() {
    const THREADS: u64 = 6;
    let place = Place::new(12);
    let db = place.open();
    let write = |thread: u64| {
        let mut model = Model::new();
        for count in 0.. {
            let (key, value) = (key_of(thread, count), stamped(thread << 32 | count, 30 * KIB));
            match db.put_with(&key, &value, at(level_of(thread))) {
                Ok(()) => model.insert(key, value),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                    break;
                }
            };
        }
        // Everybody deletes half of what they put; that makes room, and succeeds whatever the others do.
        for key in model.keys().step_by(2).cloned().collect::<Vec<_>>() {
            db.delete_with(&key, at(level_of(thread))).unwrap();
            model.remove(&key);
        }
        model
    };
    let mut model: Model = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || write(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    expect_same(&db, &model);
    // While some deleted, others may have filled the store again.
    for key in model.keys().step_by(2).cloned().collect::<Vec<_>>() {
        db.delete(&key).unwrap();
        model.remove(&key);
    }
    for number in 0..20 {
        db.put(key_of(50, number), stamped(number, 30 * KIB)).unwrap();
        model.insert(key_of(50, number), stamped(number, 30 * KIB));
    }
    expect_same(&db, &model);
    expect_no_lost_zone(&db);
    place.expect_same_when_closed_and_opened(db, &model);
}
