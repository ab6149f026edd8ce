//! Zones that go read-only or offline by themselves between two openings.

use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::history::{History, State, assert_sound, state_of};
use super::media::Media;
use super::{create, open, open_to_look};
use crate::device::emulated::{Access, Degraded};
use crate::engine::{Durability, Engine};
use crate::error::EngineError;
use crate::format::unit::StreamKind;
use crate::log::writer::LogWrite;
use crate::units::ZoneId;
use crate::zones::Role;

/// A store with cleaned zones at `path`, closed, and what it holds.
fn fill(path: &Path, seed: u64) -> State {
    create(path);
    let media = Media::open(path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let (mut random, mut history) = (StdRng::seed_from_u64(seed), History::default());
    (0..500).for_each(|_| history.call(&engine, &mut random));
    let state = state_of(&engine);
    engine.close().unwrap();
    state
}

pub(super) fn degrade(path: &Path, zones: &[ZoneId], to: Degraded) {
    let media = Media::open(path, Access::ReadWrite, 1).unwrap();
    zones.iter().for_each(|&zone| media.degrade(zone, to));
}

/// The zone with most live bytes.
fn fullest(engine: &Engine) -> ZoneId {
    let zones = engine.zones().unwrap();
    zones.iter().max_by_key(|zone| zone.live_bytes).unwrap().zone
}

/// Overwrites one key until the store has been cleaned some more.
fn overwrite(engine: &Engine, calls: u32) {
    for number in 0..calls {
        let value = vec![7; 20_000];
        let key = format!("hot {}", number % 5);
        let write = LogWrite { key: key.as_bytes(), value: Some(&value) };
        engine.write(&[write], Durability::Written).unwrap();
    }
}

fn without_hot(mut state: State) -> State {
    state.retain(|key, _| !key.starts_with(b"hot"));
    state
}

#[test]
fn a_read_only_zone_is_read_and_evacuated_and_the_store_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let expected = fill(&path, 1);
    let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
    let zone = fullest(&open_to_look(&media).unwrap());
    drop(media);
    degrade(&path, &[zone], Degraded::ReadOnly);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    assert_eq!(state_of(&engine), expected);
    overwrite(&engine, 400);
    assert!(engine.stats().zone_resets > 10);
    let worn = engine.zones().unwrap()[zone.index()];
    assert_eq!((worn.role, worn.live_bytes), (Role::Lost, 0));
    assert_eq!(without_hot(state_of(&engine)), expected);
    engine.close().unwrap();
    drop((engine, media));
    // What was copied does not need the zone any more.
    degrade(&path, &[zone], Degraded::Offline);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    assert_eq!(without_hot(state_of(&engine)), expected);
}

#[test]
fn a_deleted_key_does_not_come_back_out_of_a_read_only_zone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let expected = fill(&path, 2);
    let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
    let zone = fullest(&open_to_look(&media).unwrap());
    drop(media);
    degrade(&path, &[zone], Degraded::ReadOnly);
    for _ in 0..3 {
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        for key in expected.keys() {
            engine.write(&[LogWrite { key, value: None }], Durability::Written).unwrap();
        }
        overwrite(&engine, 400);
        assert_eq!(without_hot(state_of(&engine)), State::new());
        engine.close().unwrap();
        drop((engine, media));
        let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
        let engine = open_to_look(&media).unwrap();
        assert_eq!(without_hot(state_of(&engine)), State::new());
        assert_sound(&engine, "after deletes");
    }
}

/// A large value that has lost one part only used to keep the whole store from being opened.
#[test]
fn of_an_offline_zone_the_loss_is_told_and_the_store_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    for zone in (2..16).map(ZoneId::new) {
        let path = directory.path().join(zone.to_string());
        let expected = fill(&path, 3);
        degrade(&path, &[zone], Degraded::Offline);
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        let damages = &engine.recovery().damages;
        let told = damages.iter().any(|damage| damage.zone == zone && damage.what.contains("offline"));
        for (key, value) in &expected {
            match engine.value(key) {
                Ok(Some(found)) if *found == value[..] => {}
                Ok(_) | Err(EngineError::Corruption { .. }) => assert!(told, "{zone}: a silent loss"),
                Err(error) => panic!("{zone}: {error}"),
            }
            engine.write(&[LogWrite { key, value: Some(b"new") }], Durability::Written).unwrap();
        }
        overwrite(&engine, 200);
        // Where a tombstone is lost, an older version may be read again: other keys than the expected ones are not asked.
        assert!(expected.keys().all(|key| engine.value(key).unwrap().as_deref() == Some(b"new")));
        engine.close().unwrap();
    }
}

#[test]
fn with_one_manifest_zone_worn_the_other_one_does() {
    for to in [Degraded::ReadOnly, Degraded::Offline] {
        for zone in [0, 1].map(ZoneId::new) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store");
            let expected = fill(&path, 4);
            degrade(&path, &[zone], to);
            for _ in 0..2 {
                let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
                let engine = open(&media).unwrap();
                assert_eq!(without_hot(state_of(&engine)), expected);
                overwrite(&engine, 200);
                engine.close().unwrap();
                drop((engine, Arc::into_inner(media)));
            }
        }
    }
}

#[test]
fn with_one_manifest_zone_worn_and_the_other_one_full_the_store_says_so_and_can_be_read() {
    for zone in [0, 1].map(ZoneId::new) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let expected = fill(&path, 4);
        degrade(&path, &[zone], Degraded::ReadOnly);
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        let value = vec![7; 20_000];
        let write = || engine.write(&[LogWrite { key: b"hot", value: Some(&value) }], Durability::Written);
        let refused = (0..100_000).find_map(|_| write().err()).expect("the manifest runs out of room");
        let EngineError::WritesRefused(cause) = &refused else { panic!("{zone}: {refused:?}") };
        assert!(matches!(**cause, EngineError::WornOut { worn, .. } if worn == zone), "{zone}: {cause}");
        assert_eq!(without_hot(state_of(&engine)), expected, "{zone}");
        let _ = engine.close();
        drop((engine, Arc::into_inner(media)));
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let error = open(&media).map(drop).expect_err("each run begins with a manifest");
        assert!(matches!(error, EngineError::WornOut { .. }), "{zone}: {error:?}");
        assert!(error.to_string().contains(&format!("{zone} has worn out")), "{error}");
        let engine = open_to_look(&media).unwrap();
        assert_eq!(without_hot(state_of(&engine)), expected, "{zone}");
    }
}

#[test]
fn zones_that_go_read_only_one_after_another_leave_the_store_with_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let (mut random, mut history) = (StdRng::seed_from_u64(5), History::default());
    for zone in (2..6).map(ZoneId::new) {
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        history.accept(&state_of(&engine), &format!("before {zone} wears out"));
        (0..300).for_each(|_| history.call(&engine, &mut random));
        history.all_durable();
        engine.close().unwrap();
        drop((engine, media));
        degrade(&path, &[zone], Degraded::ReadOnly);
    }
}

/// A zone that the collector could not reset used to end all writing until the store was opened again.
#[test]
fn a_zone_at_rest_that_wears_out_while_the_store_is_open_is_left_and_the_store_goes_on() {
    // Which zones the collector and the allocator come to next is their affair: not each of these is met.
    let mut met_count = 0;
    for to in [Degraded::ReadOnly, Degraded::Offline] {
        for role in [Role::Free, Role::Sealed(StreamKind::User)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store");
            let expected = fill(&path, 6);
            let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
            let engine = open(&media).unwrap();
            overwrite(&engine, 100);
            let zones = engine.zones().unwrap();
            let mut worn =
                zones.iter().filter(|zone| zone.role == role).map(|zone| zone.zone).collect::<Vec<_>>();
            assert!(!worn.is_empty(), "no zone is {role:?}");
            // Of the free ones enough are left to go on with; which of them is taken first is not known here.
            worn.truncate(if role == Role::Free { worn.len().saturating_sub(4).max(1) } else { 1 });
            worn.iter().for_each(|&zone| media.degrade(zone, to));
            overwrite(&engine, 100);
            for (key, value) in &expected {
                match engine.value(key) {
                    Ok(found) => assert_eq!(found.as_deref(), Some(&value[..])),
                    Err(error) => assert_eq!(to, Degraded::Offline, "{role:?}: {error}"),
                }
                // Nothing is left of worth in the zone: it is the collector's next choice.
                engine.write(&[LogWrite { key, value: Some(value) }], Durability::Written).unwrap();
            }
            overwrite(&engine, 1000);
            let zones = engine.zones().unwrap();
            met_count += worn.iter().filter(|zone| zones[zone.index()].role == Role::Lost).count();
            assert_eq!(without_hot(state_of(&engine)), expected, "{role:?} {to:?}");
            engine.close().unwrap();
        }
    }
    assert!(met_count > 0, "no worn zone was met");
}
