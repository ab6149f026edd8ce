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
use crate::zones::Role;

const KEYS: u16 = 1000;

struct Store {
    _directory: TempDir,
    media: Arc<Media>,
    engine: Engine,
}

impl Store {
    fn new() -> Self {
        Self::with(96, SpaceUse::Proportional)
    }

    fn with(zone_count: u32, space_use: SpaceUse) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let geometry = Geometry { zone_count, ..GEOMETRY };
        Engine::create(&path, &CreateOptions { geometry, space_use }).unwrap();
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

    fn write_checkpoint(&self) {
        let inner = &self.engine.inner;
        let _ = inner.checkpointing.request();
        while inner.checkpoint_step() == Step::Again {}
        assert_eq!(inner.manifest.lock().checkpoints.len(), 1, "there is room");
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

/// One that is not outdated is kept although zones are emptied for want of space meanwhile.
#[test]
fn the_last_checkpoint_is_dropped_when_twice_what_is_live_has_been_written_since_and_space_is_wanted() {
    for space_use in [SpaceUse::Proportional, SpaceUse::Whole] {
        // In a store with a capacity space is wanted when it has been filled, which is after one and a half times what is live.
        let store = Store::with(128, space_use);
        let (first, next) = (vec![1; 20_000], vec![2; 20_000]);
        store.write(0..KEYS, Some(&first));
        store.clean();
        store.write_checkpoint();
        let inner = &store.engine.inner;
        let (begun_at_bytes, live_bytes) = (inner.log().unwrap().clock_bytes(), inner.zones.live_bytes());
        let age_bytes = || inner.log().unwrap().clock_bytes() - begun_at_bytes;
        let resets = store.media.activity().reset_count;
        for round in 0.. {
            let before_bytes = age_bytes();
            store.write((0..15).map(|number| (number * 7 + round * 101) % KEYS), Some(&next));
            store.clean();
            if inner.manifest.lock().checkpoints.is_empty() {
                assert!(age_bytes() > 2 * live_bytes, "{space_use:?}: dropped after {} bytes", age_bytes());
                break;
            }
            assert!(before_bytes < 3 * live_bytes, "{space_use:?}: it is kept after {before_bytes} bytes");
        }
        assert!(store.media.activity().reset_count > resets + 10, "{space_use:?}: no space was wanted");
        assert!(inner.zones.iter().all(|(_, zone)| zone.role() != Role::Checkpoint), "its zones are free");
        store.engine.close().unwrap();
        let Store { _directory, media, engine } = store;
        drop(engine);
        let engine = Engine::at_rest(media as Arc<_>, &open_options(), Running::Threads).unwrap();
        assert_eq!(engine.recovery().checkpoint, None, "everything is read");
        assert!((0..KEYS).all(|key| engine.value(&key.to_be_bytes()).unwrap().is_some()));
    }
}
