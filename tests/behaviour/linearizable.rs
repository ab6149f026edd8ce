//! Many threads, few keys, a collector that never rests: each call seems to happen at one moment between its beginning and
//! its end.
//!
//! Histories are recorded key by key and decided by `zonal-histories`. They go on over closing and opening again. What a
//! walk or a read of many keys gives of a key is a read of that key, which took as long as the whole call; a key that a walk
//! passes over was absent at some time during it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rand::RngExt;
use rand::rngs::SmallRng;
use zonal::{Db, Durability, Value};
use zonal_histories::{Action, Call, Clock, Content, History};

use crate::support::{KIB, MIB, Place, at, expect_bytes, expect_no_lost_zone, seeded, small, stamped};

const KEYS: u64 = 4;
const CALLERS: u64 = 4;
const OPENINGS: u64 = 3;
/// Of 16 MiB the collector is left about one and a half: every zone that is emptied holds much that must be copied.
const ZONES: u64 = 16;
const COLD_BYTES: usize = 6 * MIB + 256 * KIB;
const COLD_VALUE_BYTES: usize = 64 * KIB;

/// What the callers share.
struct Shared {
    clock: Clock,
    histories: Vec<History>,
    next_number: AtomicU64,
    level: Durability,
}

fn key_of(which: u64) -> Vec<u8> {
    format!("shared/{which}").into_bytes()
}

/// Values of all sizes: some go with others into a unit, some come in parts.
fn value_of(number: u64) -> Vec<u8> {
    let most = [100, 20 * KIB, 60 * KIB, 150 * KIB][usize::try_from(number % 4).expect("small")];
    let len_bytes =
        8 + usize::try_from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).expect("32 bits") % most;
    let mut value = stamped(number, len_bytes);
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// Which write a value is of. Any byte that is not as written fails here.
fn content_of(key: &[u8], value: Option<&Value>) -> Content {
    value.map(|value| {
        let number = u64::from_le_bytes(value[..8].try_into().expect("8 bytes"));
        expect_bytes(key, Some(value), Some(&value_of(number)));
        number
    })
}

impl Shared {
    fn new(level: Durability) -> Self {
        let histories = (0..KEYS).map(|_| History::default()).collect();
        Self { clock: Clock::default(), histories, next_number: AtomicU64::new(1), level }
    }

    fn add(&self, which: u64, began: u64, action: Action) {
        let call = Call { began, ended: self.clock.now(), action };
        self.histories[usize::try_from(which).expect("small")].add(call);
    }

    /// One call on one key. `seen` is what the caller took it to have last.
    fn call(&self, db: &Db, random: &mut SmallRng, seen: &mut [Content]) {
        let which = random.random_range(0..KEYS);
        let (key, seen) = (key_of(which), &mut seen[usize::try_from(which).expect("small")]);
        let began = self.clock.now();
        let action = match random.random_range(0..10) {
            0..3 => {
                *seen = content_of(&key, db.get(&key).expect("get").as_ref());
                Action::Read(*seen)
            }
            3..6 => {
                let number = self.next_number.fetch_add(1, Ordering::Relaxed);
                db.put_with(&key, value_of(number), at(self.level)).expect("put");
                Action::Wrote(Some(number))
            }
            6 => {
                db.delete_with(&key, at(self.level)).expect("delete");
                Action::Wrote(None)
            }
            _ => self.swap(db, &key, seen),
        };
        self.add(which, began, action);
    }

    fn swap(&self, db: &Db, key: &[u8], seen: &mut Content) -> Action {
        let (expected, number) = (*seen, self.next_number.fetch_add(1, Ordering::Relaxed));
        let swapped = db.compare_and_swap(key, expected.map(value_of), Some(value_of(number))).expect("swap");
        *seen = match &swapped {
            Ok(()) => Some(number),
            Err(found) => content_of(key, found.as_ref()),
        };
        match swapped {
            Ok(()) => Action::Swapped { expected, new: Some(number) },
            Err(_) => Action::Refused { expected, found: *seen },
        }
    }

    /// Reads all keys at once, by walking over them or by asking for many.
    fn look_at_all(&self, db: &Db, random: &mut SmallRng) {
        let began = self.clock.now();
        let mut found = vec![None; usize::try_from(KEYS).expect("small")];
        if random.random() {
            let keys: Vec<_> = (0..KEYS).map(key_of).collect();
            for ((found, key), value) in
                found.iter_mut().zip(&keys).zip(db.multi_get(&keys).expect("multi_get"))
            {
                *found = content_of(key, value.as_ref());
            }
        } else {
            let items: Result<Vec<_>, _> = if random.random() {
                db.prefix("shared/").collect()
            } else {
                db.prefix("shared/").rev().collect()
            };
            for (key, value) in items.expect("walk") {
                let which = usize::from(key.last().expect("not empty") - b'0');
                found[which] = content_of(&key, Some(&value));
            }
        }
        for (which, found) in (0..).zip(found) {
            self.add(which, began, Action::Read(found));
        }
    }

    /// All callers, and one who looks at all keys for as long as they call.
    fn run(&self, db: &Db, (seed, calls): (u64, u64)) {
        let left = AtomicU64::new(CALLERS);
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let left = &left;
                scope.spawn(move || {
                    let (mut random, mut seen) = (seeded(seed + caller), vec![None; 4]);
                    (0..calls).for_each(|_| self.call(db, &mut random, &mut seen));
                    left.fetch_sub(1, Ordering::Relaxed);
                });
            }
            let mut random = seeded(seed + CALLERS);
            // Each of them is a read of every key: no more than there are other calls.
            for _ in (0..calls).take_while(|_| left.load(Ordering::Relaxed) > 0) {
                self.look_at_all(db, &mut random);
            }
        });
    }

    fn check(&self) {
        for (which, history) in self.histories.iter().enumerate() {
            history.check(None).unwrap_or_else(|failure| {
                panic!("key {which} at {:?}, {} calls: {failure}", self.level, history.len())
            });
        }
    }
}

fn store_with_cold_data(level: Durability) -> Place {
    let place = Place::with(small(ZONES).durability(level));
    let db = place.open();
    for number in 0..COLD_BYTES / COLD_VALUE_BYTES {
        let value = stamped(number as u64, COLD_VALUE_BYTES);
        db.put_with(format!("cold/{number:03}"), value, at(Durability::Buffered)).expect("put");
    }
    db.close().expect("close");
    place
}

fn calls_at(level: Durability, calls: u64) {
    let (place, shared) = (store_with_cold_data(level), Shared::new(level));
    let seed = rand::random::<u64>() >> 16;
    println!("seed {seed}");
    let mut resets = 0;
    for opening in 0..OPENINGS {
        let db = place.open();
        shared.run(&db, (seed + opening * 100, calls / OPENINGS));
        resets += db.stats().zone_resets;
        expect_no_lost_zone(&db);
        db.close().expect("close");
    }
    shared.check();
    place.expect_sound();
    assert!(resets >= 10, "the collector had only {resets} zones to empty");
}

#[test]
fn calls_at_sync_are_linearizable_while_zones_are_collected() {
    calls_at(Durability::Sync, 600);
}

#[test]
fn calls_at_written_are_linearizable_while_zones_are_collected() {
    calls_at(Durability::Written, 1500);
}

#[test]
fn calls_at_buffered_are_linearizable_while_zones_are_collected() {
    calls_at(Durability::Buffered, 1500);
}
