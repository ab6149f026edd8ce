//! Stores with a hash index of so few bits that most keys have their tag in common with others.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::history::assert_sound;
use super::{ROOMY, create_with, open_options};
use crate::engine::owners::Insisted;
use crate::engine::{Direction, Durability, Engine, OpenOptions};
use crate::error::EngineError;
use crate::format::record::RECORD_HEADER_BYTES;
use crate::index::{Entry, HashIndex, HashShape, IndexKind};
use crate::log::writer::LogWrite;

const CROWDED: HashShape = HashShape::crowded(1, 7);
const LEVELS: [Durability; 3] = [Durability::Sync, Durability::Written, Durability::Buffered];

fn options(index: IndexKind) -> OpenOptions {
    OpenOptions { index, ..open_options() }
}

fn open_crowded(path: &Path) -> Engine {
    Engine::open(path, &options(IndexKind::Hash(CROWDED))).unwrap()
}

fn store(act: impl FnOnce(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create_with(&path, ROOMY);
    act(&path);
}

fn put(engine: &Engine, key: &[u8], value: &[u8], durability: Durability) {
    engine.write(&[LogWrite { key, value: Some(value) }], durability).unwrap();
}

fn value(engine: &Engine, key: &[u8]) -> Option<Vec<u8>> {
    engine.value(key).unwrap().map(|value| value.to_vec())
}

/// Keys that have their tag in common with `key`, each made by `key_of` of a number.
fn of_one_tag(key: &[u8], key_of: impl Fn(u32) -> Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    let index = HashIndex::new(CROWDED);
    let tag = index.tag(key);
    (0..).map(key_of).filter(move |other| index.tag(other) == tag)
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn key_of(number: u32) -> Vec<u8> {
    format!("key {number:02}{}", ".".repeat(number as usize % 5 * 30)).into_bytes()
}

/// One call: a put, a delete, a batch or a swap.
fn call(engine: &Engine, model: &mut Model, random: &mut StdRng, number: u64) {
    let durability = LEVELS[random.random_range(0..3)];
    let mut write = || {
        let len = [10, 300, 9_000, 60_000][random.random_range(0..4)];
        let mut value = vec![random.random(); len];
        value[..8].copy_from_slice(&number.to_le_bytes());
        (key_of(random.random_range(0..40)), random.random_bool(0.8).then_some(value))
    };
    let writes: Vec<_> = (0..if number.is_multiple_of(5) { 6 } else { 1 }).map(|_| write()).collect();
    if number.is_multiple_of(7) {
        let (key, new) = &writes[0];
        let present = model.get(key).cloned();
        let swapped = engine.compare_and_swap(key, present.as_deref(), new.as_deref(), durability).unwrap();
        assert_eq!(swapped, Ok(()));
        let wrong = engine.compare_and_swap(key, Some(b"never"), None, durability).unwrap();
        assert_eq!(wrong.unwrap_err().as_deref(), new.as_deref());
        model.extend(new.clone().map(|new| (key.clone(), new)));
        if new.is_none() {
            model.remove(key);
        }
        return;
    }
    let log_writes: Vec<_> =
        writes.iter().map(|(key, value)| LogWrite { key, value: value.as_deref() }).collect();
    engine.write(&log_writes, durability).unwrap();
    for (key, value) in writes {
        match value {
            Some(value) => drop(model.insert(key, value)),
            None => drop(model.remove(&key)),
        }
    }
}

fn assert_same(engine: &Engine, model: &Model, context: &str) {
    let keys: Vec<_> = (0..45).map(key_of).collect();
    let together = engine.values(&keys.iter().map(|key| &key[..]).collect::<Vec<_>>()).unwrap();
    for (key, together) in keys.iter().zip(together) {
        let expected = model.get(key);
        let name = String::from_utf8_lossy(key);
        assert_eq!(value(engine, key).as_ref(), expected, "{context}: {name}");
        assert_eq!(together.as_deref(), expected.map(|value| &value[..]), "{context}: {name}");
        assert_eq!(engine.contains(key).unwrap(), expected.is_some(), "{context}: {name}");
    }
    assert_eq!(engine.stats().keys, model.len() as u64, "{context}");
}

#[test]
fn keys_of_one_tag_keep_their_own_values_whatever_index_each_opening_has() {
    for seed in 0..6 {
        store(|path| {
            let (mut model, mut random) = (Model::new(), StdRng::seed_from_u64(seed));
            let mut number = 0;
            for run in 0..6 {
                let kinds =
                    [IndexKind::Hash(CROWDED), IndexKind::Ordered, IndexKind::Hash(HashShape::DEFAULT)];
                let kind = kinds[random.random_range(0..3)];
                let context = format!("seed {seed}, run {run}, {kind:?}");
                let engine = Engine::open(path, &options(kind)).unwrap();
                assert_same(&engine, &model, &context);
                for _ in 0..150 {
                    number += 1;
                    call(&engine, &mut model, &mut random, number);
                    if number.is_multiple_of(40) {
                        let written = engine.checkpoint().unwrap();
                        assert!(written.is_none() || kind == IndexKind::Ordered, "{context}");
                    }
                }
                assert_same(&engine, &model, &context);
                engine.flush().unwrap();
                assert_sound(&engine, &context);
                engine.close().unwrap();
            }
            let collected = Engine::open(path, &options(IndexKind::Ordered)).unwrap().stats().zone_resets;
            assert!(collected > 0, "nothing was collected");
        });
    }
}

/// A checkpoint that a run with a hash index left would name zones as they were before that run.
#[test]
fn a_run_with_a_hash_index_drops_checkpoints_and_one_that_only_reads_does_not() {
    store(|path| {
        let ordered = Engine::open(path, &options(IndexKind::Ordered)).unwrap();
        let value_of_all = vec![1; 30_000];
        (0..40).for_each(|number| put(&ordered, &key_of(number), &value_of_all, Durability::Written));
        assert!(ordered.checkpoint().unwrap().is_some());
        ordered.close().unwrap();
        let reading = OpenOptions { read_only: true, ..options(IndexKind::Hash(CROWDED)) };
        let reader = Engine::open(path, &reading).unwrap();
        assert_eq!(value(&reader, &key_of(3)).as_ref(), Some(&value_of_all));
        reader.close().unwrap();
        let ordered = Engine::open(path, &options(IndexKind::Ordered)).unwrap();
        assert!(ordered.recovery().checkpoint.is_some());
        ordered.close().unwrap();
        let hashed = open_crowded(path);
        put(&hashed, &key_of(3), b"new", Durability::Sync);
        hashed.close().unwrap();
        let ordered = Engine::open(path, &options(IndexKind::Ordered)).unwrap();
        assert_eq!(ordered.recovery().checkpoint, None);
        assert_eq!(value(&ordered, &key_of(3)), Some(b"new".to_vec()));
        assert_sound(&ordered, "after both");
    });
}

#[test]
fn a_key_that_begins_with_another_one_of_its_tag_is_not_read_for_it() {
    store(|path| {
        let longer = of_one_tag(b"key", |number| format!("key{number}").into_bytes()).next().unwrap();
        let engine = open_crowded(path);
        put(&engine, &longer, b"value", Durability::Buffered);
        assert_eq!(value(&engine, b"key"), None);
        engine.flush().unwrap();
        assert_eq!((value(&engine, b"key"), value(&engine, &longer)), (None, Some(b"value".to_vec())));
        engine.close().unwrap();
        let engine = open_crowded(path);
        // From the device, and then with the value cached.
        for _ in 0..2 {
            assert_eq!((value(&engine, b"key"), value(&engine, &longer)), (None, Some(b"value".to_vec())));
        }
    });
}

#[test]
fn a_delete_of_an_absent_key_with_the_tag_of_another_is_not_logged() {
    store(|path| {
        let mut keys = of_one_tag(b"key", key_of);
        let (present, absent) = (keys.next().unwrap(), keys.next().unwrap());
        let engine = open_crowded(path);
        put(&engine, &present, b"value", Durability::Written);
        let before = engine.last_seqno().unwrap();
        engine.write(&[LogWrite { key: &absent, value: None }], Durability::Sync).unwrap();
        assert_eq!(engine.compare_and_swap(&absent, None, None, Durability::Sync).unwrap(), Ok(()));
        assert_eq!(engine.last_seqno().unwrap(), before);
        assert_eq!(value(&engine, &present), Some(b"value".to_vec()));
    });
}

/// Neither sees the other in the index before it is durable.
#[test]
fn writes_of_two_keys_of_one_tag_that_wait_for_durability_are_both_kept() {
    store(|path| {
        let keys: Vec<_> = of_one_tag(b"key", key_of).take(3).collect();
        let engine = open_crowded(path);
        let begun: Vec<_> = keys
            .iter()
            .map(|key| {
                let write = LogWrite { key, value: Some(key) };
                engine.begin_write(&[write], Durability::Sync).unwrap()
            })
            .collect();
        begun.into_iter().for_each(|write| engine.end_write(write).unwrap());
        for key in &keys {
            assert_eq!(value(&engine, key).as_ref(), Some(key));
        }
        assert_sound(&engine, "three writes");
    });
}

/// One key's writes do not wait for each other, so that a key that many threads write is not written once a flush.
#[test]
fn writes_of_one_key_that_wait_for_durability_go_side_by_side() {
    store(|path| {
        let engine = open_crowded(path);
        let begin = |value: &[u8]| {
            let write = LogWrite { key: b"key", value: Some(value) };
            engine.begin_write(&[write], Durability::Sync).unwrap()
        };
        let begun = [begin(b"first"), begin(b"second"), begin(b"third")];
        assert_eq!(engine.durable_seqno().unwrap().get(), 0);
        begun.into_iter().for_each(|write| engine.end_write(write).unwrap());
        assert_eq!(value(&engine, b"key"), Some(b"third".to_vec()));
        assert_sound(&engine, "three writes");
    });
}

/// A reader of a key that is absent was told of damage when the key that has its tag was written a third time while it asked whose
/// the entry is.
#[test]
fn an_entry_that_is_superseded_while_a_reader_asks_whose_it_is_is_no_damage() {
    store(|path| {
        let engine = open_crowded(path);
        let keys: Vec<Vec<u8>> = of_one_tag(b"key", key_of).take(2).collect();
        let (present, absent) = (&keys[0], &keys[1]);
        put(&engine, present, b"value", Durability::Buffered);
        let entry = engine.inner.catalog.index().lookup(absent).expect("the other key's");
        let insisted = |key: &[u8]| engine.inner.insisted(key, entry).unwrap();
        assert_eq!((insisted(absent), insisted(present)), (Insisted::OfAnother, Insisted::Damaged));
        put(&engine, present, b"another value", Durability::Buffered);
        assert_eq!((insisted(absent), insisted(present)), (Insisted::Superseded, Insisted::Superseded));
        assert_eq!(value(&engine, absent), None);
    });
}

/// Each thread knows what its keys must have; the others' keys have the same tags.
#[test]
fn threads_that_write_keys_of_one_tag_do_not_disturb_each_other() {
    store(|path| {
        let engine = open_crowded(path);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let engine = &engine;
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(thread);
                    let mut model = Model::new();
                    for number in 0..400u64 {
                        let key = format!("{thread} {}", random.random_range(0..12)).into_bytes();
                        let written =
                            random.random_bool(0.75).then(|| [&key[..], &number.to_le_bytes()].concat());
                        let write = LogWrite { key: &key, value: written.as_deref() };
                        engine.write(&[write], LEVELS[random.random_range(0..3)]).unwrap();
                        assert_eq!(value(engine, &key), written);
                        match written {
                            Some(written) => drop(model.insert(key, written)),
                            None => drop(model.remove(&key)),
                        }
                    }
                    for (key, written) in model {
                        assert_eq!(value(engine, &key), Some(written));
                    }
                });
            }
        });
        engine.flush().unwrap();
        assert_sound(&engine, "four threads");
    });
}

#[test]
fn no_swap_is_lost_among_keys_of_one_tag() {
    const ROUNDS: usize = 60;
    store(|path| {
        let engine = open_crowded(path);
        let keys: Vec<_> = of_one_tag(b"key", key_of).take(3).collect();
        let add_one = |key: &[u8], durability| loop {
            let present = value(&engine, key);
            let count = present.as_deref().map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
            let new = (count + 1).to_le_bytes();
            if engine.compare_and_swap(key, present.as_deref(), Some(&new), durability).unwrap().is_ok() {
                return;
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (keys, add_one) = (&keys, &add_one);
                scope.spawn(move || {
                    for level in LEVELS.iter().cycle().skip(thread).take(ROUNDS) {
                        keys.iter().for_each(|key| add_one(key, *level));
                    }
                });
            }
        });
        for key in &keys {
            assert_eq!(value(&engine, key), Some((4 * ROUNDS as u64).to_le_bytes().to_vec()));
        }
    });
}

/// Whose the record is cannot be read: it may be another key's, which must not go.
#[test]
fn a_write_to_a_tag_whose_record_is_damaged_fails_and_changes_nothing() {
    store(|path| {
        let mut keys = of_one_tag(b"key", key_of);
        let [present, absent] = [(); 2].map(|()| keys.next().unwrap());
        let engine = open_crowded(path);
        put(&engine, &present, b"value", Durability::Sync);
        engine.close().unwrap();
        let engine = open_crowded(path);
        let entry = engine.inner.catalog.index().lookup(&present).unwrap();
        let Entry::Value { location, .. } = entry else { panic!("{entry:?}") };
        let unit = engine.inner.zones.zone(location.zone).place(location.unit).unwrap();
        let record_at = engine.device_byte(location.zone, unit.forward(location.offset.into())).unwrap();
        let key_at = record_at + RECORD_HEADER_BYTES as u64;
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(b"K", key_at).unwrap();
        for key in [&present, &absent] {
            for written in [Some(&b"new"[..]), None] {
                let write = engine.write(&[LogWrite { key, value: written }], Durability::Sync);
                assert!(matches!(write, Err(EngineError::Corruption { .. })), "{write:?}");
            }
            assert!(matches!(engine.value(key), Err(EngineError::Corruption { .. })));
        }
        file.write_all_at(&present[..1], key_at).unwrap();
        assert_eq!((value(&engine, &present), value(&engine, &absent)), (Some(b"value".to_vec()), None));
        put(&engine, &absent, b"another", Durability::Sync);
        assert_eq!(value(&engine, &present), Some(b"value".to_vec()));
        assert_eq!(value(&engine, &absent), Some(b"another".to_vec()));
        assert_sound(&engine, "mended");
    });
}

#[test]
fn what_is_absent_is_told_without_the_device() {
    store(|path| {
        let kind = IndexKind::Hash(HashShape { seed: Some(1), ..HashShape::DEFAULT });
        let engine = Engine::open(path, &options(kind)).unwrap();
        (0..2000u32).for_each(|number| put(&engine, &number.to_le_bytes(), b"value", Durability::Buffered));
        engine.close().unwrap();
        let engine = Engine::open(path, &options(kind)).unwrap();
        let before = engine.stats().device_bytes_read;
        assert!((2000..9000u32).all(|number| value(&engine, &number.to_le_bytes()).is_none()));
        assert_eq!(engine.stats().device_bytes_read, before);
        assert_eq!(engine.stats().keys, 2000);
    });
}

#[test]
fn a_walk_is_refused_with_what_to_do() {
    use std::ops::Bound::Unbounded;
    store(|path| {
        let engine = open_crowded(path);
        for direction in [Direction::Forward, Direction::Backward] {
            let error = engine.page(Unbounded, Unbounded, direction, 10).unwrap_err();
            assert!(matches!(error, EngineError::InvalidArgument(_)), "{error:?}");
            assert!(error.to_string().contains("IndexKind::Ordered"), "{error}");
        }
    });
}

#[test]
fn a_journal_of_keys_with_one_tag_is_shown_and_replayed() {
    store(|path| {
        let patient = |index| OpenOptions { buffered_delay: Duration::from_hours(1), ..options(index) };
        let keys: Vec<_> = of_one_tag(b"key", key_of).take(6).collect();
        let engine = Engine::open(path, &patient(IndexKind::Ordered)).unwrap();
        for round in 0..3u8 {
            keys.iter()
                .for_each(|key| put(&engine, key, &[&key[..], &[round]].concat(), Durability::Written));
        }
        engine.write(&[LogWrite { key: &keys[0], value: None }], Durability::Written).unwrap();
        let killed = path.with_extension("killed");
        std::fs::copy(path, &killed).unwrap();
        for read_only in [true, false] {
            let options = OpenOptions { read_only, ..patient(IndexKind::Hash(CROWDED)) };
            let engine = Engine::open(&killed, &options).unwrap();
            assert!(engine.found_journal().write_count > 6, "{:?}", engine.found_journal());
            assert_eq!(value(&engine, &keys[0]), None, "reading only: {read_only}");
            for key in &keys[1..] {
                assert_eq!(value(&engine, key), Some([&key[..], &[2]].concat()), "reading only: {read_only}");
            }
        }
    });
}
