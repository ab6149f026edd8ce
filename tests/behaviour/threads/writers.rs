//! Writers of the same and of other keys, batches, compare-and-swap.

use std::collections::HashMap;
use std::thread;

use rand::RngExt;
use zonal::{Db, Durability, WriteBatch};

use super::{key_of, level_of, value_of, writer_of};
use crate::support::{Model, Place, at, expect_bytes, expect_no_lost_zone, expect_same, seeded};

#[test]
fn writes_of_many_threads_to_keys_of_their_own_are_all_there() {
    const THREADS: u64 = 8;
    let place = Place::new(20);
    let db = place.open();
    let write = |thread: u64| {
        let (mut model, mut random) = (Model::new(), seeded(thread));
        for count in 0..1200 {
            let (key, level) = (key_of(thread, random.random_range(0..40)), level_of(thread));
            match random.random_range(0..10) {
                0 => {
                    db.delete_with(&key, at(level)).unwrap();
                    model.remove(&key);
                }
                1 => {
                    let mut batch = WriteBatch::new();
                    for number in 0..3 {
                        let (key, value) = (key_of(thread, number), value_of(thread, count + number));
                        batch.put(&key, &value);
                        model.insert(key, value);
                    }
                    db.write_with(batch, at(level)).unwrap();
                }
                _ => {
                    let value = value_of(thread, count);
                    db.put_with(&key, &value, at(level)).unwrap();
                    model.insert(key, value);
                }
            }
            let key = key_of(thread, random.random_range(0..40));
            expect_bytes(&key, db.get(&key).unwrap().as_deref(), model.get(&key));
        }
        model
    };
    let model: Model = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || write(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    expect_same(&db, &model);
    expect_no_lost_zone(&db);
    place.expect_same_when_closed_and_opened(db, &model);
}

#[test]
fn of_writes_to_the_same_keys_one_of_the_last_wins_and_nobody_sees_one_thread_go_back() {
    const THREADS: u64 = 6;
    const COUNT: u64 = 800;
    const KEYS: u64 = 5;
    let place = Place::new(16);
    let db = place.open();
    let write = |thread: u64| {
        // By key and writer, the last write seen.
        let mut seen = HashMap::new();
        for count in 1..=COUNT {
            let key = count % KEYS;
            db.put_with(key_of(0, key), value_of(thread, count), at(level_of(thread + count / 50))).unwrap();
            for key in 0..KEYS {
                let Some(value) = db.get(key_of(0, key)).unwrap() else { continue };
                let (writer, found) = writer_of(&key_of(0, key), &value);
                let last = seen.entry((key, writer)).or_insert(0);
                assert!(found >= *last, "thread {writer} went from {last} back to {found}");
                *last = found;
            }
            let own = writer_of(b"own", &db.get(key_of(0, key)).unwrap().expect("nobody deletes"));
            assert!(own.0 != thread || own.1 == count, "an own write is seen at once");
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|thread| drop(scope.spawn(move || write(thread)))));
    let last_of_all = |db: &Db| {
        (0..KEYS).map(|key| writer_of(b"last", &db.get(key_of(0, key)).unwrap().unwrap())).collect::<Vec<_>>()
    };
    let last = last_of_all(&db);
    for (key, (writer, count)) in (0..KEYS).zip(&last) {
        assert!(*count + KEYS > COUNT, "key {key}: write {count} of thread {writer} was not its last");
    }
    db.close().unwrap();
    place.expect_sound();
    assert_eq!(last_of_all(&place.open()), last, "after reopening");
}

#[test]
fn a_counter_by_compare_and_swap_loses_no_increment() {
    const THREADS: u64 = 8;
    const COUNT: u64 = 120;
    for level in [Durability::Sync, Durability::Buffered] {
        let place = Place::new(16);
        let db = Db::open(place.path(), place.options().durability(level)).unwrap();
        let increment = |db: &Db| {
            let mut current = db.get("counter").unwrap();
            loop {
                let number =
                    current.as_deref().map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
                match db.compare_and_swap("counter", current.as_deref(), Some((number + 1).to_le_bytes())) {
                    Ok(Ok(())) => return number + 1,
                    Ok(Err(found)) => current = found,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let gone_through: Vec<u64> = thread::scope(|scope| {
            let count = |thread: u64| {
                let db = db.clone();
                move || {
                    let step = |count| {
                        db.put_with(key_of(thread, count % 7), value_of(thread, count), at(level_of(count)))
                            .unwrap();
                        increment(&db)
                    };
                    (0..COUNT).map(step).collect::<Vec<_>>()
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(count(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut sorted = gone_through;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(1..=THREADS * COUNT), "{level:?}: every number once");
        db.close().unwrap();
        let counter = place.open().get("counter").unwrap().unwrap();
        assert_eq!(*counter, (THREADS * COUNT).to_le_bytes());
        place.expect_sound();
    }
}

#[test]
fn an_absent_key_is_claimed_by_one_thread_only() {
    const THREADS: u64 = 6;
    let place = Place::new(16);
    let db = place.open();
    let claim = |thread: u64| {
        let claimed = |number: &u64| {
            let key = key_of(0, *number);
            db.compare_and_swap(key, None::<&[u8]>, Some(value_of(thread, *number))).unwrap().is_ok()
        };
        (0..60).filter(claimed).collect::<Vec<u64>>()
    };
    let mut claimed: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || claim(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    claimed.sort_unstable();
    assert!(claimed.into_iter().eq(0..60));
}

#[test]
fn batches_of_many_threads_over_the_same_keys_leave_one_of_them_whole() {
    const THREADS: u64 = 6;
    const KEYS: u64 = 12;
    let place = Place::new(16);
    let db = place.open();
    let write = |thread: u64| {
        for count in 0..300 {
            let mut batch = WriteBatch::new();
            // In an order of its own, so that threads would deadlock if they took keys as they come.
            for step in 0..KEYS {
                let number = (thread * 5 + step * 7) % KEYS;
                batch.put(key_of(0, number), value_of(thread, count));
            }
            db.write_with(batch, at(level_of(thread))).unwrap();
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|thread| drop(scope.spawn(move || write(thread)))));
    let expect_whole = |db: &Db| {
        let writers: Vec<_> =
            (0..KEYS).map(|key| writer_of(b"batch", &db.get(key_of(0, key)).unwrap().unwrap())).collect();
        assert!(writers.iter().all(|writer| *writer == writers[0]), "{writers:?}");
        assert_eq!(writers[0].1, 299);
    };
    expect_whole(&db);
    expect_no_lost_zone(&db);
    db.close().unwrap();
    place.expect_sound();
    expect_whole(&place.open());
}
