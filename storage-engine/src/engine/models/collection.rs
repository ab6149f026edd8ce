//! Collection against writers and readers: moved entries, published writes, pins and resets.
//!
//! The device of the models ends a run in which a zone is reset under a reader, or read when it has been reset.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};

use super::device::ModelDevice;
use super::{explore, new_store, open_at_rest, recover};
use crate::engine::{Direction, Durability, Engine};
use crate::gc::collector::{Aim, Collected};
use crate::sync::thread;

/// Long enough that three fill a zone.
const VALUE_BYTES: usize = 24_000;

fn value(number: u8) -> Vec<u8> {
    vec![number; VALUE_BYTES]
}

/// A value in two parts.
fn large(number: u8) -> Vec<u8> {
    vec![number; VALUE_BYTES + VALUE_BYTES / 4]
}

/// A store whose first zone holds one dead record and two live ones, one of them in parts.
pub(super) fn store_with_garbage() -> (Arc<ModelDevice>, Arc<Engine>) {
    let device = new_store();
    let engine = open_at_rest(&device);
    engine.put(b"dead", &value(0), Durability::Sync);
    engine.put(b"large", &large(1), Durability::Sync);
    engine.put(b"moved", &value(1), Durability::Sync);
    engine.put(b"dead", b"", Durability::Sync);
    engine.put(b"next", &value(0), Durability::Sync);
    (device, engine)
}

impl Engine {
    /// Empties a zone, as the housekeeper does.
    pub(super) fn collect(&self) {
        let collector = self.inner.collector.as_ref().expect("open for writing");
        let collected = collector.collect(Aim::Space, &*self.inner).expect("collect");
        assert_ne!(collected, Collected::Nothing, "the models leave garbage to collect");
    }
}

/// What is written to both keys while they are moved.
#[derive(Clone, Copy)]
enum Change {
    Put(Durability),
    Delete(Durability),
}

impl Change {
    fn any() -> Self {
        let durability =
            [Durability::Sync, Durability::Written, Durability::Buffered][thread_rng().gen_range(0..3)];
        if thread_rng().r#gen() { Self::Put(durability) } else { Self::Delete(durability) }
    }

    fn make(self, engine: &Engine, key: &[u8], new: &[u8]) {
        match self {
            Self::Put(durability) => engine.put(key, new, durability),
            Self::Delete(durability) => engine.delete(key, durability),
        }
    }

    fn result(self, new: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Put(_) => Some(new),
            Self::Delete(_) => None,
        }
    }
}

/// Reads a key: it must be as it was or as it becomes, and once it has become that, it stays so.
fn read_on(engine: &Engine, key: &[u8], old: &[u8], new: Option<&[u8]>) {
    let mut changed = false;
    for round in 0..3 {
        let found = match round {
            0 => engine.value(key).unwrap(),
            1 => engine.values(&[key]).unwrap().remove(0),
            _ => {
                use std::ops::Bound::Included;
                let page = engine.page(Included(key), Included(key), Direction::Forward, 1).unwrap();
                page.items.into_iter().next().map(|(_, value)| value.unwrap())
            }
        };
        let is_new = found.as_deref() == new;
        assert!(is_new || !changed && found.as_deref() == Some(old), "neither the old value nor the new one");
        changed = is_new;
    }
}

fn collect_write_and_read() {
    let (device, engine) = store_with_garbage();
    let change = Change::any();
    let start = |act: Box<dyn Fn(&Engine) + Send>| {
        let engine = Arc::clone(&engine);
        thread::Builder::new().spawn(move || act(&engine)).unwrap()
    };
    let threads = [
        start(Box::new(move |engine| {
            change.make(engine, b"moved", &value(2));
            change.make(engine, b"large", &large(2));
        })),
        start(Box::new(move |engine| {
            read_on(engine, b"moved", &value(1), change.result(value(2)).as_deref());
        })),
        start(Box::new(move |engine| {
            read_on(engine, b"large", &large(1), change.result(large(2)).as_deref());
        })),
    ];
    engine.collect();
    let cut = device.cut();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    check_end(&engine, change);
    check_cut(&cut, change);
    engine.close().unwrap();
    let reopened = recover(&device);
    check_end(&reopened, change);
}

fn check_end(engine: &Engine, change: Change) {
    for (key, new) in [(&b"moved"[..], value(2)), (b"large", large(2))] {
        assert_eq!(engine.value(key).unwrap().as_deref(), change.result(new).as_deref());
    }
    engine.assert_sound();
}

/// At any time both are as they were or as they become, the one that is written first no later than the other.
fn check_cut(left: &Arc<ModelDevice>, change: Change) {
    let engine = recover(left);
    let [moved, large_value] = [b"moved", b"large"].map(|key| engine.value(key).unwrap());
    let moved_changed = moved.as_deref() == change.result(value(2)).as_deref();
    let large_changed = large_value.as_deref() == change.result(large(2)).as_deref();
    assert!(moved_changed || moved.as_deref() == Some(&value(1)), "something else");
    assert!(large_changed || large_value.as_deref() == Some(&large(1)), "something else");
    assert!(moved_changed || !large_changed, "the later write survived and the earlier one did not");
    assert!(engine.value(b"next").unwrap().is_some(), "it was acknowledged");
    engine.assert_sound();
}

/// Writes that are in the log, and durable through others, may not be visible yet when their zone comes to be emptied.
fn publish_late() {
    const COUNT: u8 = 8;
    let (_device, engine) = store_with_garbage();
    engine.collect();
    let shared = Arc::clone(&engine);
    let writer = thread::Builder::new().spawn(move || {
        (0..COUNT).for_each(|number| shared.put(&[number], b"late", Durability::Buffered));
    });
    // They fill the zone that the others go to, and leave garbage in it.
    (0..4).for_each(|_| engine.put(b"next", &value(3), Durability::Sync));
    engine.collect();
    writer.unwrap().join().unwrap();
    for number in 0..COUNT {
        assert_eq!(engine.value(&[number]).unwrap().as_deref(), Some(&b"late"[..]));
    }
    engine.assert_sound();
    engine.close().unwrap();
}

#[test]
fn what_is_logged_and_not_yet_visible_is_not_taken_for_dead() {
    explore(2000, publish_late);
}

#[test]
fn what_is_moved_is_neither_lost_nor_hidden_nor_reset_under_a_reader() {
    explore(1000, collect_write_and_read);
}
