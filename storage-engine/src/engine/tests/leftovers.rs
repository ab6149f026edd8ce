//! Zones that an earlier run was filling and that no stream goes on in. Opening used to finish all of them, and a drive
//! writes what is left of a zone to finish it.

use std::path::Path;
use std::sync::Arc;

use super::media::Media;
use super::{GEOMETRY, create_with, open_options};
use crate::device::emulated::Access;
use crate::device::{Geometry, ZoneState, ZonedDevice};
use crate::engine::opening::append_queue;
use crate::engine::running::Running;
use crate::engine::{Durability, Engine, OpenOptions};
use crate::gc::policy::PolicyKind;
use crate::log::single_append;
use crate::log::writer::LogWrite;
use crate::queue::QueueKind;
use crate::units::{ZoneId, ZoneOffset};
use crate::zones::Role;

/// Enough zones for five streams of each kind, and one active zone more than they need.
const MANY: Geometry = Geometry { zone_count: 220, max_open_zones: 14, max_active_zones: 14, ..GEOMETRY };

fn media(path: &Path) -> Arc<Media> {
    Media::open(path, Access::ReadWrite, 1).unwrap()
}

/// Nobody collects but the test.
fn open(media: &Arc<Media>, cleaning_policy: PolicyKind) -> Engine {
    let options = OpenOptions { cleaning_policy, ..open_options() };
    Engine::at_rest(Arc::clone(media) as Arc<_>, &options, Running::Threads).unwrap()
}

fn put(engine: &Engine, key: &[u8]) {
    let write = LogWrite { key, value: Some(&[7; 3000]) };
    engine.write(&[write], Durability::Buffered).unwrap();
    engine.flush().unwrap();
}

/// A few records in each of two streams. Threads write to different ones as long as there is nothing to clean.
fn fill_two_streams(engine: &Engine) {
    for number in 0_u8..100 {
        std::thread::scope(|scope| scope.spawn(|| put(engine, &[number])).join().unwrap());
        let open = engine.inner.zones.iter().filter(|(_, zone)| matches!(zone.role(), Role::Open(_)));
        if open.filter(|(_, zone)| zone.written_bytes() > 0).count() == 2 {
            return;
        }
    }
    panic!("all threads write to one stream");
}

fn states(media: &Media, zones: &[ZoneId]) -> Vec<ZoneState> {
    zones.iter().map(|&zone| media.report(zone).unwrap().state).collect()
}

#[test]
fn a_zone_in_which_nothing_can_be_read_is_reset_at_opening_and_not_finished() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create_with(&path, MANY);
    let torn = ZoneId::new(30);
    let device = media(&path) as Arc<dyn ZonedDevice>;
    let queue = append_queue(&device, &Running::Threads, QueueKind::Automatic).unwrap();
    single_append::append(&*queue, device.geometry().zone_start(torn), &[0xAB; 4096], 4096).unwrap();
    drop((queue, device));
    let media = media(&path);
    let engine = open(&media, PolicyKind::default());
    let found = media.report(torn).unwrap();
    assert_eq!((found.state, found.write_pointer), (ZoneState::Empty, ZoneOffset::START));
    assert_eq!(engine.inner.zones.zone(torn).role(), Role::Free);
    assert!(engine.inner.allocator.free_zones().contains(&torn), "it can be written to");
    assert_eq!(engine.inner.allocator.taken_count(), 0, "and counts as free");
}

#[test]
fn a_nearly_empty_zone_of_a_stream_that_is_no_more_stays_active_until_it_is_collected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create_with(&path, MANY);
    let media = media(&path);
    let engine = open(&media, PolicyKind::default());
    fill_two_streams(&engine);
    engine.close().unwrap();
    drop(engine);
    let engine = open(&media, PolicyKind::Greedy);
    let inner = &engine.inner;
    let with_data = || inner.zones.iter().filter(|(_, zone)| zone.live_bytes() > 0);
    let left: Vec<ZoneId> =
        with_data().filter(|(_, zone)| matches!(zone.role(), Role::Sealed(_))).map(|(id, _)| id).collect();
    assert!(!left.is_empty(), "all streams go on");
    assert!(states(&media, &left).iter().all(|state| state.is_active()), "{:?}", states(&media, &left));
    while left.iter().any(|&zone| inner.zones.zone(zone).live_bytes() > 0) {
        assert!(inner.collect_anyway(), "it is garbage for the greater part");
    }
    assert!(states(&media, &left).iter().all(|&state| state == ZoneState::Empty));
    assert!(engine.value(&[0]).unwrap().is_some());
}
