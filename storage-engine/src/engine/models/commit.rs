//! Group commit: leaders and followers, what is published when, and how far the watermark is.
//!
//! The device of the models checks each watermark that is written. That nobody waits for ever is shuttle's to find.

use std::sync::{Arc, Mutex};

use super::device::ModelDevice;
use super::{explore, new_store, open, recover};
use crate::engine::{Durability, Engine};
use crate::sync::thread;

/// What was told to whom, in the order in which it was told.
#[derive(Debug, Default)]
struct Told {
    writes: Mutex<Vec<Write>>,
}

#[derive(Debug, Clone)]
struct Write {
    key: String,
    durability: Durability,
    /// The writes that had been acknowledged when this one began.
    after: Vec<usize>,
    acknowledged: bool,
    /// Whether a crash can no longer take it.
    safe: bool,
}

impl Told {
    fn begin(&self, key: &str, durability: Durability) -> usize {
        let after = self.acknowledged();
        let mut writes = self.writes.lock().unwrap();
        writes.push(Write { key: key.to_owned(), durability, after, acknowledged: false, safe: false });
        writes.len() - 1
    }

    fn acknowledge(&self, number: usize) {
        let write = &mut self.writes.lock().unwrap()[number];
        write.acknowledged = true;
        write.safe |= write.durability == Durability::Sync;
    }

    fn acknowledged(&self) -> Vec<usize> {
        let writes = self.writes.lock().unwrap();
        (0..writes.len()).filter(|&number| writes[number].acknowledged).collect()
    }

    /// Those acknowledged when a flush begins are safe when it has ended.
    fn flush(&self, engine: &Engine) {
        let acknowledged = self.acknowledged();
        engine.flush().unwrap();
        let mut writes = self.writes.lock().unwrap();
        acknowledged.iter().for_each(|&number| writes[number].safe = true);
    }

    /// A power cut, and what had been told by then.
    fn cut(&self, device: &ModelDevice) -> Cut {
        Cut { writes: self.writes.lock().unwrap().clone(), seen: Vec::new(), left: device.cut() }
    }
}

/// Writes one after another, with values of so many bytes.
fn write_some(
    engine: &Engine,
    told: &Told,
    name: &str,
    durability: Durability,
    (count, bytes): (u32, usize),
) {
    let value = vec![1; bytes];
    for count in 0..count {
        let key = format!("{name}{count}");
        let number = told.begin(&key, durability);
        engine.put(key.as_bytes(), &value, durability);
        told.acknowledge(number);
        assert!(engine.value(key.as_bytes()).unwrap().is_some(), "{key} is not visible to its writer");
    }
}

/// What a power cut left, and what must be there.
struct Cut {
    writes: Vec<Write>,
    /// Sync writes that somebody saw, whether their writers knew of them or not.
    seen: Vec<&'static str>,
    left: Arc<ModelDevice>,
}

impl Cut {
    fn check(&self) {
        let recovered = recover(&self.left);
        let is_there = |key: &str| recovered.value(key.as_bytes()).unwrap().is_some();
        for key in &self.seen {
            assert!(is_there(key), "{key} was seen and then lost");
        }
        for write in &self.writes {
            assert!(is_there(&write.key) || !write.safe, "{write:?} is lost");
            for before in write.after.iter().map(|&number| &self.writes[number]) {
                assert!(is_there(&before.key) || !is_there(&write.key), "{write:?} survives {before:?}");
            }
        }
        recovered.assert_sound();
    }
}

/// Writers of all durabilities, one who flushes, one who looks before the power is cut.
fn writers_and_a_power_cut() {
    let device = new_store();
    let engine = open(&device);
    let told = Arc::new(Told::default());
    let start = |act: fn(&Engine, &Told)| {
        let (engine, told) = (Arc::clone(&engine), Arc::clone(&told));
        thread::Builder::new().spawn(move || act(&engine, &told)).unwrap()
    };
    let threads = [
        start(|engine, told| write_some(engine, told, "s", Durability::Sync, (2, 1))),
        start(|engine, told| write_some(engine, told, "t", Durability::Sync, (2, 1))),
        start(|engine, told| write_some(engine, told, "w", Durability::Written, (2, 1))),
        // Enough to fill units, and a zone.
        start(|engine, told| write_some(engine, told, "b", Durability::Buffered, (7, 24_000))),
        start(|engine, told| told.flush(engine)),
    ];
    let (looker, looked_at, known) = (Arc::clone(&engine), Arc::clone(&device), Arc::clone(&told));
    let cut = thread::Builder::new().spawn(move || {
        let is_seen = |key: &&str| looker.value(key.as_bytes()).unwrap().is_some();
        let seen = ["s0", "t0", "s1", "t1"].into_iter().filter(is_seen).collect();
        Cut { seen, ..known.cut(&looked_at) }
    });
    let cut = cut.unwrap().join().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    engine.close().unwrap();
    cut.check();
}

#[test]
fn what_is_acknowledged_or_seen_survives_and_nobody_waits_for_ever() {
    explore(4000, writers_and_a_power_cut);
}
