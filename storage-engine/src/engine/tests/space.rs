//! How much space a store without a capacity of its own takes. Nobody but the test takes steps here.

use std::sync::Arc;

use tempfile::TempDir;

use super::super::background::Step;
use super::super::opening::OpenOptions;
use super::super::running::Running;
use super::super::{CreateOptions, Durability, Engine};
use super::media::Media;
use super::{GEOMETRY, open_options};
use crate::device::emulated::Access;
use crate::device::{Geometry, ZonedDevice};
use crate::format::manifest::SpaceUse;
use crate::log::writer::LogWrite;

const KEYS: u16 = 1000;

struct Store {
    _directory: TempDir,
    media: Arc<Media>,
    engine: Engine,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let geometry = Geometry { zone_count: 96, ..GEOMETRY };
        Engine::create(&path, &CreateOptions { geometry, space_use: SpaceUse::Proportional }).unwrap();
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        // So that reads show.
        let options = OpenOptions { cache_bytes: 0, ..open_options() };
        let engine = Engine::at_rest(Arc::clone(&media) as Arc<_>, &options, Running::Threads).unwrap();
        Self { _directory: directory, media, engine }
    }

    /// Writes or deletes some keys, and flushes. Nobody cleans meanwhile.
    fn write(&self, keys: impl Iterator<Item = u16>, value: Option<&[u8]>) {
        for (count, key) in keys.enumerate() {
            if count % 30 == 0 {
                self.engine.inner.count_zone_allowance();
            }
            self.engine.write(&[LogWrite { key: &key.to_be_bytes(), value }], Durability::Buffered).unwrap();
        }
        self.engine.flush().unwrap();
    }

    /// Does what the housekeeper does when it is woken.
    fn clean(&self) {
        let inner = &self.engine.inner;
        while inner.clean_step() == Step::Again {}
        inner.watch_for_garbage();
    }

    fn taken_bytes(&self) -> u64 {
        self.engine.inner.allocator.taken_count() * GEOMETRY.zone_capacity_bytes
    }

    /// The target, and a zone for each stream and each that is ready.
    fn assert_within_target(&self, when: &str) {
        let (taken, live) = (self.taken_bytes(), self.engine.stats().live_bytes);
        let allowed = live * 13 / 10 + 5 * GEOMETRY.zone_capacity_bytes;
        assert!(taken <= allowed, "{when}: {taken} bytes taken for {live} live ones");
    }
}

#[test]
fn a_store_whose_data_were_deleted_shrinks_to_its_target_and_then_leaves_the_device_alone() {
    let store = Store::new();
    store.write(0..KEYS, Some(&[1; 10_000]));
    store.clean();
    store.write((0..KEYS).filter(|key| key % 10 > 0), None);
    assert!(store.taken_bytes() > 5 * store.engine.stats().live_bytes, "nobody has cleaned yet");
    store.clean();
    store.assert_within_target("after deleting");
    let settled = store.media.activity();
    (0..50).for_each(|_| store.clean());
    assert_eq!(store.media.activity(), settled, "an idle store reads, writes or flushes");
    for key in 0..KEYS {
        let found = store.engine.value(&key.to_be_bytes()).unwrap();
        assert_eq!(found.is_some(), key % 10 == 0, "key {key}");
    }
}

#[test]
fn a_store_that_is_overwritten_stays_at_its_target() {
    let store = Store::new();
    store.write(0..KEYS, Some(&[1; 10_000]));
    for round in 0..40_u16 {
        // A tenth of the keys, each time another one.
        store.write((0..KEYS / 10).map(|number| (number * 7 + round * 101) % KEYS), Some(&[2; 10_000]));
        store.clean();
        store.assert_within_target("while it is overwritten");
    }
    assert!(store.engine.stats().relocated_bytes > 0, "it has to copy for that");
}

#[test]
fn zones_without_live_records_are_reset_and_not_read() {
    let store = Store::new();
    store.write(0..KEYS, Some(&[1; 10_000]));
    store.write(0..KEYS, Some(&[2; 10_000]));
    let before = store.media.activity();
    store.clean();
    let after = store.media.activity();
    assert!(after.reset_count > before.reset_count + 10, "{before:?} {after:?}");
    store.assert_within_target("after cleaning");
    assert_eq!(after.read_bytes, before.read_bytes);
}

#[test]
fn the_write_that_makes_too_much_garbage_wakes_the_housekeeper_and_others_do_not() {
    let store = Store::new();
    let inner = &store.engine.inner;
    store.write(0..KEYS, Some(&[1; 10_000]));
    store.clean();
    let mark = || inner.garbage_mark_bytes();
    assert!(mark() > 0 && mark() < store.engine.stats().live_bytes);
    store.write(0..5, None);
    assert!(mark() > 0, "little has died");
    store.write(5..KEYS, None);
    assert_eq!(mark(), 0, "it was passed, and cleared by the write that woke the housekeeper");
}
