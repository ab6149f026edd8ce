//! The order of what the collector does.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::epoch;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::history::{History, state_of};
use super::media::Media;
use super::{create, open};
use crate::device::emulated::Access;
use crate::error::EngineResult;
use crate::format::unit::StreamKind;
use crate::gc::collector::{Aim, Collected, Witness};
use crate::zones::Role;

/// Stands between the copies and the reset, and knows whether a reader is still at work.
struct Doorkeeper<'a> {
    readers_gone: &'a AtomicBool,
}

impl Witness for Doorkeeper<'_> {
    fn testify(&self) -> EngineResult<()> {
        assert!(self.readers_gone.load(Ordering::SeqCst), "the zone is about to be reset under a reader");
        Ok(())
    }
}

#[test]
fn a_zone_is_not_reset_before_its_readers_have_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let (mut random, mut history) = (StdRng::seed_from_u64(1), History::default());
    // Enough to seal zones with live records in them, too little for the housekeeper to begin.
    (0..90).for_each(|_| history.call(&engine, &mut random));
    engine.flush().unwrap();
    assert_eq!(engine.stats().zone_resets, 0);
    let readers_gone = AtomicBool::new(false);
    let collector = engine.inner.collector.as_ref().unwrap();
    std::thread::scope(|scope| {
        let (held, begun) = (media.hold(), media.asked());
        let collecting =
            scope.spawn(|| collector.collect(Aim::Space, &Doorkeeper { readers_gone: &readers_gone }));
        while media.asked() == begun {
            std::thread::yield_now();
        }
        // The collector is at its copies. A reader may have been sent to the victim.
        let reading = epoch::pin();
        drop(held);
        // All that is left to wait for is this reader, who takes its time.
        (0..20).for_each(|_| drop(state_of(&engine)));
        readers_gone.store(true, Ordering::SeqCst);
        drop(reading);
        assert!(matches!(collecting.join().unwrap(), Ok(Collected::Zone(_))));
    });
}

/// A store that was killed after the reset of a zone that its stream had filled last, or had been made to leave, did not
/// open any more: the manifest still claimed that zone's units.
#[test]
fn nothing_is_claimed_of_a_zone_that_is_reset_though_its_stream_has_begun_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let (mut random, mut history) = (StdRng::seed_from_u64(1), History::default());
    (0..60).for_each(|_| history.call(&engine, &mut random));
    engine.flush().unwrap();
    let (inner, log) = (&engine.inner, engine.inner.log.as_ref().unwrap());
    let of_users = |role| matches!(role, Role::Open(StreamKind::User) | Role::Sealed(StreamKind::User));
    let filled = inner.zones.iter().filter(|(_, zone)| of_users(zone.role()) && zone.written_bytes() > 0);
    let (last, zone) = filled.max_by_key(|(_, zone)| zone.generation()).unwrap();
    let generation = zone.generation();
    log.leave_zone(last).unwrap();
    let collector = inner.collector.as_ref().unwrap();
    while inner.zones.zone(last).generation() == generation {
        let collected = collector.collect(Aim::Space, &**inner).unwrap();
        assert!(matches!(collected, Collected::Zone(_)), "{collected:?}");
    }
    let claimed: Vec<_> = log.tails().iter().map(|tail| tail.generation).collect();
    assert!(!claimed.contains(&generation), "{claimed:?} are claimed, {generation:?} was reset");
    let tails = inner.manifest.lock().tails.clone();
    assert!(tails.iter().all(|tail| tail.generation != generation), "the manifest claims what is no more");
}
