//! The zone that is just being filled turns read-only or offline under an open store, and the store goes on.
//!
//! Writing used to end then until the store was opened again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::history::{History, State, assert_sound, state_of};
use super::media::Media;
use super::{create, open, open_to_look};
use crate::device::emulated::{Access, Degraded};
use crate::engine::{Durability, Engine};
use crate::error::EngineError;
use crate::format::unit::StreamKind;
use crate::log::writer::LogWrite;
use crate::units::{Generation, ZoneId};
use crate::zones::Role;

const DURABILITIES: [Durability; 3] = [Durability::Sync, Durability::Written, Durability::Buffered];

/// When a zone says that it has worn out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// When the next append is handed to it.
    AtOnce,
    /// When appends that it has taken end.
    InFlight,
}

fn wear(media: &Media, zone: ZoneId, to: Degraded, told: Told) {
    match told {
        Told::AtOnce => media.degrade(zone, to),
        Told::InFlight => media.degrade_at_next_append(zone, to),
    }
}

/// The zone that a stream fills.
fn filled_zone(engine: &Engine, kind: StreamKind) -> Option<ZoneId> {
    let zones = engine.zones().unwrap();
    let filled = zones.iter().filter(|zone| zone.role == Role::Open(kind));
    filled.filter(|zone| zone.generation > Generation::default()).map(|zone| zone.zone).next()
}

fn is_lost(engine: &Engine, zone: ZoneId) -> bool {
    engine.zones().unwrap()[zone.index()].role == Role::Lost
}

fn put(engine: &Engine, key: &str, value: &[u8], durability: Durability) {
    let write = LogWrite { key: key.as_bytes(), value: Some(value) };
    engine.write(&[write], durability).unwrap_or_else(|error| panic!("{key}: {error}"));
}

/// Overwrites some keys until `done`.
fn overwrite_until(engine: &Engine, what: &str, done: impl Fn() -> bool) {
    for number in 0..20_000 {
        if done() {
            return;
        }
        put(engine, &format!("hot {}", number % 5), &vec![7; 20_000], Durability::Written);
    }
    panic!("{what}: it has not come to pass");
}

fn without_hot(mut state: State) -> State {
    state.retain(|key, _| !key.starts_with(b"hot"));
    state
}

/// Opens what a power cut has left, for reading and then for writing.
fn assert_recovers(image: &Path, history: &mut History, context: &str) {
    let media = Media::open(image, Access::ReadOnly, 2).unwrap();
    let engine = open_to_look(&media).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_sound(&engine, context);
    drop((engine, Arc::into_inner(media)));
    let media = Media::open(image, Access::ReadWrite, 2).unwrap();
    let engine = open(&media).unwrap_or_else(|error| panic!("{context}: {error}"));
    history.accept(&state_of(&engine), context);
    (0..100).for_each(|_| history.call(&engine, &mut StdRng::seed_from_u64(1)));
    history.all_durable();
    history.accept(&state_of(&engine), context);
    engine.close().unwrap();
}

/// A store that goes on filling a zone of a stream when that turns read-only, and then loses its power.
fn turns_read_only(seed: u64, kind: StreamKind, told: Told) {
    let context = format!("seed {seed}, {kind:?}, {told:?}");
    let directory = tempfile::tempdir().unwrap();
    let (path, image) = (directory.path().join("store"), directory.path().join("image"));
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let (mut random, mut history) = (StdRng::seed_from_u64(seed), History::default());
    let mut zone = None;
    while zone.is_none() {
        (0..50 + seed).for_each(|_| history.call(&engine, &mut random));
        zone = filled_zone(&engine, kind);
    }
    let zone = zone.unwrap();
    wear(&media, zone, Degraded::ReadOnly, told);
    let mut call_count = 0;
    while call_count < 40 || !is_lost(&engine, zone) {
        history.call(&engine, &mut random);
        call_count += 1;
        assert!(call_count < 5000, "{context}: {zone} was not met");
    }
    let mut present = history.clone();
    present.all_durable();
    present.accept(&state_of(&engine), &format!("{context}, while it is open"));
    drop(media.cut_power(&image, &mut random));
    assert_recovers(&image, &mut history, &context);
    // And without a cut: what is in the zone is copied, so that it is needed no more.
    let expected = state_of(&engine);
    overwrite_until(&engine, &context, || engine.zones().unwrap()[zone.index()].live_bytes == 0);
    engine.close().unwrap();
    drop((engine, Arc::into_inner(media)));
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    media.degrade(zone, Degraded::Offline);
    let engine = open(&media).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(without_hot(state_of(&engine)), expected, "{context}");
    engine.close().unwrap();
    drop((engine, Arc::into_inner(media)));
    assert_sound(&open_to_look(&Media::open(&path, Access::ReadOnly, 1).unwrap()).unwrap(), &context);
}

#[test]
fn what_was_to_go_to_a_zone_that_turned_read_only_is_written_elsewhere() {
    for seed in 0..6 {
        for told in [Told::AtOnce, Told::InFlight] {
            turns_read_only(seed, StreamKind::User, told);
        }
    }
}

#[test]
fn copies_that_were_to_go_to_a_zone_that_turned_read_only_are_written_elsewhere() {
    for seed in 0..4 {
        for told in [Told::AtOnce, Told::InFlight] {
            turns_read_only(seed, StreamKind::Relocation, told);
        }
    }
}

/// Such a write is appended anew without being written through, which its acknowledgement must not overlook.
#[test]
fn a_sync_write_that_had_to_go_elsewhere_is_not_acknowledged_without_a_flush() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    (0..3).for_each(|number| put(&engine, &format!("first {number}"), b"1", Durability::Sync));
    // A write that is alone in not being durable needs none while its zone is well.
    let flushed = media.flushes();
    put(&engine, "alone", b"1", Durability::Sync);
    assert_eq!(media.flushes(), flushed);
    let zone = filled_zone(&engine, StreamKind::User).unwrap();
    wear(&media, zone, Degraded::ReadOnly, Told::InFlight);
    media.fail_flushes_after(0);
    let moved = engine.write(&[LogWrite { key: b"moved", value: Some(b"1") }], Durability::Sync);
    assert!(moved.is_err(), "acknowledged though no flush has covered it");
}

/// The units that are refused belong to a zone that the stream has left already.
#[test]
fn a_value_that_reaches_into_the_next_zone_is_whole_when_the_first_one_wears_out() {
    for told in [Told::AtOnce, Told::InFlight] {
        for durability in DURABILITIES {
            let context = format!("{told:?}, {durability:?}");
            let directory = tempfile::tempdir().unwrap();
            let (path, image) = (directory.path().join("store"), directory.path().join("image"));
            create(&path);
            let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
            let engine = open(&media).unwrap();
            (0..10)
                .for_each(|number| put(&engine, &format!("before {number}"), &[1; 10_000], Durability::Sync));
            let zone = filled_zone(&engine, StreamKind::User).unwrap();
            wear(&media, zone, Degraded::ReadOnly, told);
            put(&engine, "large", &vec![2; 600_000], durability);
            (0..10).for_each(|number| put(&engine, &format!("after {number}"), b"3", Durability::Sync));
            while !(is_lost(&engine, zone) && engine.zones().unwrap()[zone.index()].live_bytes == 0) {
                std::thread::yield_now();
            }
            engine.flush().unwrap();
            assert_sound(&engine, &context);
            drop(media.cut_power(&image, &mut StdRng::seed_from_u64(1)));
            let media = Media::open(&image, Access::ReadOnly, 2).unwrap();
            let engine = open_to_look(&media).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_sound(&engine, &context);
            assert_eq!(state_of(&engine).len(), 21, "{context}");
        }
    }
}

#[test]
fn when_the_next_zones_are_worn_as_well_the_one_after_them_is_taken() {
    for durability in DURABILITIES {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        create(&path);
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        (0..30).for_each(|number| put(&engine, &format!("before {number}"), &[1; 10_000], durability));
        let open_zones: Vec<ZoneId> = (2..6).map(ZoneId::new).collect();
        open_zones.iter().for_each(|&zone| wear(&media, zone, Degraded::ReadOnly, Told::InFlight));
        (0..60).for_each(|number| put(&engine, &format!("after {number}"), &vec![2; 20_000], durability));
        engine.flush().unwrap();
        let lost_count = open_zones.iter().filter(|&&zone| is_lost(&engine, zone)).count();
        assert!(lost_count >= 2, "{durability:?}: {lost_count} worn zones were met");
        assert_eq!(state_of(&engine).len(), 90);
        drop((engine, Arc::into_inner(media)));
        let engine = open(&Media::open(&path, Access::ReadWrite, 1).unwrap()).unwrap();
        assert_eq!(state_of(&engine).len(), 90, "{durability:?}");
        engine.close().unwrap();
    }
}

#[test]
fn of_a_zone_that_went_offline_the_loss_is_told_and_what_comes_after_is_kept() {
    for told in [Told::AtOnce, Told::InFlight] {
        for durability in DURABILITIES {
            goes_offline(told, durability);
        }
    }
}

fn goes_offline(told: Told, durability: Durability) {
    let context = format!("{told:?}, {durability:?}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    (0..60).for_each(|number| put(&engine, &format!("before {number}"), &[1; 10_000], Durability::Sync));
    let zone = filled_zone(&engine, StreamKind::User).unwrap();
    wear(&media, zone, Degraded::Offline, told);
    for number in 0..60 {
        put(&engine, &format!("after {number}"), &[2; 10_000], durability);
        put(
            &engine,
            &format!("large {number}"),
            &vec![3; if number % 20 == 0 { 300_000 } else { 10 }],
            durability,
        );
    }
    assert!(is_lost(&engine, zone), "{context}");
    let assert_kept = |engine: &Engine| {
        for number in 0..60 {
            let after = engine.value(format!("after {number}").as_bytes()).unwrap();
            assert_eq!(after.as_deref(), Some(&[2; 10_000][..]), "{context}: after {number}");
            assert!(engine.value(format!("large {number}").as_bytes()).unwrap().is_some(), "{context}");
            match engine.value(format!("before {number}").as_bytes()) {
                Ok(value) => assert!(value.is_none_or(|value| *value == [1; 10_000]), "{context}"),
                Err(EngineError::Device(_) | EngineError::Corruption { .. }) => {}
                Err(error) => panic!("{context}: {error}"),
            }
        }
    };
    assert_kept(&engine);
    engine.close().unwrap();
    drop((engine, Arc::into_inner(media)));
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let damages = &engine.recovery().damages;
    let told = damages.iter().any(|damage| damage.zone == zone && damage.what.contains("offline"));
    assert!(told, "{context}: a silent loss, {damages:?}");
    assert_kept(&engine);
    (0..60).for_each(|number| put(&engine, &format!("before {number}"), &[4; 10], Durability::Sync));
    assert!((0..60).all(|number| engine.value(format!("before {number}").as_bytes()).unwrap().is_some()));
    engine.close().unwrap();
}

/// Call n of a thread writes n under two keys of its own.
fn write_calls(engine: &Engine, thread: usize, acknowledged: &AtomicU64, goes_on: &AtomicBool) {
    for number in 1u64.. {
        if !goes_on.load(Ordering::Relaxed) {
            return;
        }
        let value_bytes =
            if number % 40 == 0 { 200_000 } else { 8 + usize::try_from(number).unwrap() % 3000 };
        let value: Vec<u8> = number.to_le_bytes().iter().copied().cycle().take(value_bytes).collect();
        let keys = [format!("{thread}"), format!("{thread}/{}", number % 20)];
        let writes = [
            LogWrite { key: keys[0].as_bytes(), value: Some(&value[..8]) },
            LogWrite { key: keys[1].as_bytes(), value: Some(&value) },
        ];
        let durability = DURABILITIES[usize::try_from(number % 3).unwrap()];
        engine.write(&writes, durability).unwrap_or_else(|error| panic!("call {number}: {error}"));
        if durability == Durability::Sync {
            acknowledged.store(number, Ordering::SeqCst);
        }
    }
}

fn number_in(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(*value.first_chunk().expect("eight bytes")))
}

fn assert_calls(engine: &Engine, acknowledged: &[u64; 3], context: &str) {
    for (thread, &acknowledged) in acknowledged.iter().enumerate() {
        let last = number_in(engine.value(thread.to_string().as_bytes()).unwrap().as_deref());
        assert!(last >= acknowledged, "{context}: {acknowledged} of {thread} acknowledged, {last} found");
        for number in (last.saturating_sub(20) + 1).max(1)..=last {
            let found = engine.value(format!("{thread}/{}", number % 20).as_bytes()).unwrap();
            assert_eq!(number_in(found.as_deref()), number, "{context}: {thread} is at {last}");
        }
    }
}

#[test]
fn with_many_writers_nothing_acknowledged_is_lost_when_zones_wear_out_and_power_fails() {
    for seed in 0..8 {
        let context = format!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let (path, image) = (directory.path().join("store"), directory.path().join("image"));
        create(&path);
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        let (acknowledged, goes_on) = ([const { AtomicU64::new(0) }; 3], AtomicBool::new(true));
        let numbers = || acknowledged.each_ref().map(|it| it.load(Ordering::SeqCst));
        let at_the_cut = std::thread::scope(|scope| {
            for (thread, acknowledged) in acknowledged.iter().enumerate() {
                let (engine, goes_on) = (&engine, &goes_on);
                scope.spawn(move || write_calls(engine, thread, acknowledged, goes_on));
            }
            let wait_for = |more: u64| {
                let target = numbers()[0] + more;
                while numbers()[0] < target {
                    std::thread::yield_now();
                }
            };
            let stop = StopOnPanic(&goes_on);
            for round in 0..3 {
                wait_for(20 + random.random_range(0..60));
                let kind = if round == 1 { StreamKind::Relocation } else { StreamKind::User };
                if let Some(zone) = filled_zone(&engine, kind) {
                    wear(&media, zone, Degraded::ReadOnly, Told::InFlight);
                }
            }
            wait_for(random.random_range(0..30));
            let at_the_cut = numbers();
            drop(media.cut_power(&image, &mut random));
            wait_for(30);
            drop(stop);
            at_the_cut
        });
        assert_calls(&engine, &numbers(), &format!("{context}, while it is open"));
        let lost = engine.zones().unwrap().iter().filter(|zone| zone.role == Role::Lost).count();
        assert!(lost > 0, "{context}: no worn zone was met");
        let cut = Media::open(&image, Access::ReadOnly, 2).unwrap();
        let recovered = open_to_look(&cut).unwrap();
        assert_sound(&recovered, &context);
        assert_calls(&recovered, &at_the_cut, &context);
        drop((recovered, Arc::into_inner(cut)));
        engine.close().unwrap();
        drop((engine, Arc::into_inner(media)));
        let recovered = open_to_look(&Media::open(&path, Access::ReadOnly, 1).unwrap()).unwrap();
        assert_sound(&recovered, &context);
        assert_calls(&recovered, &numbers(), &format!("{context}, after closing"));
    }
}

/// Ends the writers also when the test fails.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_manifest_zone_that_wears_out_under_an_open_store_leaves_the_other_one() {
    for zone in [0, 1].map(ZoneId::new) {
        for to in [Degraded::ReadOnly, Degraded::Offline] {
            for told in [Told::AtOnce, Told::InFlight] {
                let context = format!("{zone}, {to:?}, {told:?}");
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("store");
                create(&path);
                let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
                let engine = open(&media).unwrap();
                put(&engine, "kept", b"1", Durability::Sync);
                wear(&media, zone, to, told);
                overwrite_until(&engine, &context, || engine.stats().zone_resets > 5);
                engine.close().unwrap();
                drop((engine, Arc::into_inner(media)));
                let engine = open(&Media::open(&path, Access::ReadWrite, 1).unwrap()).unwrap();
                assert_eq!(engine.value(b"kept").unwrap().as_deref(), Some(&b"1"[..]), "{context}");
                engine.close().unwrap();
            }
        }
    }
}
