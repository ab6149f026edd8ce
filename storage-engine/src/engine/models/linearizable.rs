//! Reads, writes and conditional writes of few keys, while the collector moves them: some order explains what they gave.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use zonal_histories::{Action, Call, Clock, Content, History};

use super::collection::store_with_garbage;
use super::explore;
use crate::engine::{Bytes, Durability, Engine};
use crate::sync::thread;

const KEYS: [&[u8]; 2] = [b"moved", b"large"];
const DURABILITIES: [Durability; 3] = [Durability::Sync, Durability::Written, Durability::Buffered];

/// What the threads share.
struct Shared {
    engine: Arc<Engine>,
    clock: Clock,
    histories: [History; 2],
}

/// Values are known by their first bytes.
fn content(bytes: Option<&Bytes>) -> Content {
    bytes.map(|bytes| match bytes.first_chunk() {
        Some(number) if bytes.len() == 8 => u64::from_le_bytes(*number),
        _ => 1,
    })
}

impl Shared {
    /// One call on one key.
    fn call(&self, new: u64, last: &mut [Option<Bytes>; 2]) {
        let which = thread_rng().gen_range(0..KEYS.len());
        let (key, durability) = (KEYS[which], DURABILITIES[thread_rng().gen_range(0..3)]);
        let began = self.clock.now();
        let action = match thread_rng().gen_range(0..6) {
            0 | 1 => self.read(key, &mut last[which]),
            2 => {
                self.engine.put(key, &new.to_le_bytes(), durability);
                Action::Wrote(Some(new))
            }
            3 => {
                self.engine.delete(key, durability);
                Action::Wrote(None)
            }
            _ => self.swap(key, &mut last[which], new, durability),
        };
        self.histories[which].add(Call { began, ended: self.clock.now(), action });
    }

    fn read(&self, key: &[u8], last: &mut Option<Bytes>) -> Action {
        *last = self.engine.value(key).unwrap();
        Action::Read(content(last.as_ref()))
    }

    /// Exchanges what was there when this thread looked last.
    fn swap(&self, key: &[u8], last: &mut Option<Bytes>, new: u64, durability: Durability) -> Action {
        let bytes = new.to_le_bytes();
        let swapped = self.engine.compare_and_swap(key, last.as_deref(), Some(&bytes), durability).unwrap();
        let expected = content(last.as_ref());
        match swapped {
            Ok(()) => {
                *last = Some(Bytes::from(&bytes[..]));
                Action::Swapped { expected, new: Some(new) }
            }
            Err(found) => {
                *last = found;
                Action::Refused { expected, found: content(last.as_ref()) }
            }
        }
    }
}

fn callers_and_the_collector() {
    let (_device, engine) = store_with_garbage();
    let shared = Arc::new(Shared { engine, clock: Clock::default(), histories: Default::default() });
    let at_first = KEYS.map(|key| shared.engine.value(key).unwrap());
    let callers = (1..4u64).map(|caller| {
        let (shared, mut last) = (Arc::clone(&shared), at_first.clone());
        thread::Builder::new()
            .spawn(move || (0..4).for_each(|count| shared.call(caller * 10 + count, &mut last)))
    });
    let callers: Vec<_> = callers.collect();
    shared.engine.collect();
    callers.into_iter().for_each(|caller| caller.unwrap().join().unwrap());
    for history in &shared.histories {
        history.check(Some(1)).unwrap_or_else(|failure| panic!("{failure}"));
    }
    shared.engine.assert_sound();
    shared.engine.close().unwrap();
}

#[test]
fn calls_on_moving_keys_are_linearizable() {
    explore(1000, callers_and_the_collector);
}
