//! The order of what the collector does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::epoch;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::history::{History, state_of};
use super::media::Media;
use super::{GEOMETRY, create, create_with, open, open_options};
use crate::device::Geometry;
use crate::device::emulated::Access;
use crate::device::simulated::SimulatedDevice;
use crate::engine::{Durability, Engine, OpenOptions};
use crate::error::{EngineError, EngineResult};
use crate::format::manifest::SpaceUse;
use crate::format::record::{Record, RecordKind};
use crate::format::unit::StreamKind;
use crate::gc::collector::{Aim, Collected, Witness};
use crate::gc::policy::{Clock, Lifetime, Placement, Policy, StreamId};
use crate::log::writer::LogWrite;
use crate::units::SeqNo;
use crate::zones::{Purpose, Role};

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
        // All that is left to wait for is this reader, who takes its time: far more than the collector would need.
        (0..2000).for_each(|_| drop(state_of(&engine)));
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

/// An open store on a simulated device with so many zones of two units each.
fn small_zones(zone_count: u32) -> (Arc<SimulatedDevice>, Engine) {
    let geometry = Geometry {
        block_bytes: 512,
        zone_size_bytes: 4096,
        zone_capacity_bytes: 4096,
        zone_count,
        append_limit_bytes: 2048,
        ..GEOMETRY
    };
    let device = SimulatedDevice::blank(geometry, 1);
    Engine::create_simulated(&device, 1, SpaceUse::Whole).unwrap();
    let options = OpenOptions { unit_bytes: 2048, ..open_options() };
    let engine = Engine::open_simulated(&device, &options).unwrap();
    (device, engine)
}

/// Four such records fill a unit only to three quarters. The zones that they were copied to were taken for a quarter
/// garbage each, and emptied into each other for ever, while a put waited for room.
#[test]
fn a_store_is_full_when_records_that_fill_their_units_badly_take_up_all_zones() {
    const RECORDS_A_ZONE: u32 = 8;
    const ZONES: u32 = 60;
    let (device, engine) = small_zones(ZONES);
    let put = |number: u32| {
        device.allow_ios();
        let (key, value) = (format!("{number:05}"), [7; 365]);
        engine.write(&[LogWrite { key: key.as_bytes(), value: Some(&value) }], Durability::Written)
    };
    let full = (0..).map(put).position(|put| matches!(put, Err(EngineError::NoSpace { .. })));
    let count = u32::try_from(full.expect("the device holds only so many")).unwrap();
    // Two zones are the manifest's, three in reserve, two being filled.
    assert!(count >= (ZONES - 7) * RECORDS_A_ZONE, "{count} records are no full store");
    for number in 0..3 * RECORDS_A_ZONE {
        let key = format!("{number:05}");
        engine.write(&[LogWrite { key: key.as_bytes(), value: None }], Durability::Sync).unwrap();
    }
    (0..RECORDS_A_ZONE).for_each(|number| put(number).expect("there is room again"));
    assert_eq!(device.misuse(), None);
}

/// A store that is full of live data opened a zone for one more class of copies while another class had room, and took it
/// from what is kept for deletes: a delete then got `NoSpace`.
#[test]
fn near_the_reserve_copies_go_where_there_is_room_whatever_their_class() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create_with(&path, Geometry { zone_count: 120, max_open_zones: 40, max_active_zones: 40, ..GEOMETRY });
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    engine.inner.housekeeping.stop();
    let inner = &engine.inner;
    let (log, copies) = (inner.log().unwrap(), inner.collector.as_ref().unwrap().policy.streams().copies());
    assert!(copies.len() > 1, "there are classes of copies");
    let record = Record { seqno: SeqNo::new(1), kind: RecordKind::Put, group: None, key: b"key", value: b"" };
    let mut encoded = vec![0; record.encoded_bytes()];
    record.encode(&mut encoded);
    let copy = |class: u8| {
        let (written_at, expected) = (Clock::default(), Lifetime::of_steps(0));
        let placement = Placement { stream: StreamId::new(copies.start + class), written_at, expected };
        log.relocate(&encoded, class.into(), placement).expect("there is room").zone
    };
    let first = copy(0);
    assert_ne!(copy(1), first, "with zones to spare each class has its own");
    while inner.allocator.take(StreamKind::User, Purpose::Put).is_some() {}
    let kept = inner.allocator.free_count();
    assert!(kept > 0);
    let last = copy(u8::try_from(copies.len() - 1).unwrap());
    assert_eq!(inner.allocator.free_count(), kept, "what deletes need is left");
    assert!(copies.len() == 2 || last == first);
}

/// Left alone, a zone that was filled once and for all would never be reset.
#[test]
fn zones_of_data_that_never_change_take_their_share_of_the_resets() {
    const COLD: u32 = 60;
    let (device, engine) = small_zones(24);
    let put = |key: u32, value: u32| {
        device.allow_ios();
        let (key, value) = (key.to_be_bytes(), [&value.to_be_bytes()[..], &[7; 300]].concat());
        let write = LogWrite { key: &key, value: Some(&value) };
        engine.write(&[write], Durability::Written).expect("there is room");
    };
    (0..COLD).for_each(|key| put(key, key));
    let resets = || {
        let zones = engine.zones().unwrap().into_iter().filter(|zone| matches!(zone.role, Role::Sealed(_)));
        let counts: Vec<u32> = zones.map(|zone| zone.reset_count).collect();
        (*counts.iter().min().unwrap(), *counts.iter().max().unwrap())
    };
    let mut number = 0;
    while resets().1 < 1000 {
        (0..20).for_each(|_| put(COLD, number));
        number += 1;
    }
    let (least, most) = resets();
    assert!(least > 0, "from {least} to {most} resets: a zone of cold data was never reset");
    let zones = engine.zones().unwrap().into_iter().filter(|zone| zone.role != Role::Manifest);
    let counts: Vec<u32> = zones.map(|zone| zone.reset_count).collect();
    let mean = counts.iter().sum::<u32>() / u32::try_from(counts.len()).unwrap();
    // Twice the lag that is tolerated.
    assert!(most <= mean + 2 * 256, "{counts:?}: {mean} on average");
    for key in 0..COLD {
        let value = engine.value(&key.to_be_bytes()).unwrap().expect("never deleted");
        assert_eq!(value[..4], key.to_be_bytes());
    }
    assert_eq!(device.misuse(), None);
}

#[test]
fn writers_are_held_to_a_rate_from_the_time_on_when_zones_are_emptied_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let mut number = 0_u32;
    let mut overwrite = || {
        let (key, value) = ((number % 100).to_be_bytes(), vec![7; 20_000]);
        engine.write(&[LogWrite { key: &key, value: Some(&value) }], Durability::Buffered).unwrap();
        number += 1;
    };
    (0..30).for_each(|_| overwrite());
    assert!(
        !engine.inner.pace.is_set(),
        "there are free zones, and nobody knows how fast they can be emptied"
    );
    while !engine.inner.pace.is_set() {
        overwrite();
        assert!(
            engine.stats().zone_resets < 500,
            "hundreds of zones have been emptied for writers in a hurry"
        );
    }
}
