//! Zones of the manifest wear out, and others take their place.
//!
//! Writing used to end when one of the two had worn out and the other one was full.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::history::{State, assert_sound, state_of};
use super::media::Media;
use super::worn::{degrade, fill, overwrite, without_hot};
use super::{GEOMETRY, create, open, open_to_look};
use crate::device::emulated::{Access, Degraded};
use crate::device::{ZoneState, ZonedDevice};
use crate::engine::creating::write_first_manifest;
use crate::engine::opening::append_queue;
use crate::engine::{Engine, Running};
use crate::error::EngineError;
use crate::format::manifest::SpaceUse;
use crate::log::manifest_log::{ManifestLog, Newest, manifest_zones};
use crate::queue::QueueKind;
use crate::salvage::{Salvage, SalvageOptions};
use crate::units::ZoneId;
use crate::zones::Role;

const HOME: [ZoneId; 2] = [ZoneId::new(0), ZoneId::new(1)];
const WORN: [Degraded; 2] = [Degraded::ReadOnly, Degraded::Offline];

fn media(path: &Path) -> Arc<Media> {
    Media::open(path, Access::ReadWrite, 1).unwrap()
}

/// The zones that hold the manifest and can be appended to.
fn in_use(media: &Media) -> Vec<ZoneId> {
    let newest = ManifestLog::read(media).unwrap().expect("a store");
    let mut zones = manifest_zones(media, &newest.manifest).unwrap();
    zones.retain(|&zone| !media.report(zone).unwrap().state.is_worn());
    zones
}

/// Another thread takes a free zone in the place of a worn one, when it comes to that.
fn overwrite_until_two_are_in_use(engine: &Engine, media: &Media, context: &str) {
    for _ in 0..2000 {
        if in_use(media).len() == 2 {
            return;
        }
        overwrite(engine, 50);
    }
    panic!("{context}: no zone has taken the place of the worn one");
}

/// Appends versions of the manifest until the zones that it is in have no room left.
fn fill_manifest_zones(path: &Path) {
    let device: Arc<dyn ZonedDevice> = media(path);
    let Newest { mut manifest, zone, .. } = ManifestLog::read(&*device).unwrap().unwrap();
    let queue = append_queue(&device, &Running::Threads, QueueKind::Automatic).unwrap();
    let log = ManifestLog::new(Arc::clone(&device), queue, Some(zone)).unwrap();
    while HOME.iter().any(|&zone| device.report(zone).unwrap().state != ZoneState::Full) {
        manifest.version += 1;
        log.append(&mut manifest, &|_| Ok(None)).unwrap();
    }
}

/// What is in a store, opened for writing, used and closed.
fn use_store(path: &Path, context: &str) -> State {
    let media = media(path);
    let engine = open(&media).unwrap_or_else(|error| panic!("{context}: {error}"));
    let state = state_of(&engine);
    overwrite(&engine, 200);
    engine.close().unwrap_or_else(|error| panic!("{context}: {error}"));
    drop(engine);
    let engine = open_to_look(&media).unwrap();
    assert_sound(&engine, context);
    without_hot(state)
}

#[test]
fn a_worn_zone_of_the_manifest_is_replaced_and_writing_never_ends() {
    for to in WORN {
        for zone in HOME {
            let context = format!("{zone}, {to:?}");
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store");
            let expected = fill(&path, 4);
            degrade(&path, &[zone], to);
            let media = media(&path);
            let engine = open(&media).unwrap();
            // Each reset of a zone appends a version: these are several times what one zone of the manifest holds.
            let versions_a_zone = GEOMETRY.zone_capacity_bytes / u64::from(GEOMETRY.block_bytes);
            while engine.stats().zone_resets < 3 * versions_a_zone {
                overwrite(&engine, 200);
            }
            assert_eq!(without_hot(state_of(&engine)), expected, "{context}");
            let zones = engine.zones().unwrap();
            assert_eq!(zones.iter().filter(|zone| zone.role == Role::Manifest).count(), 3, "{context}");
            engine.close().unwrap();
            drop((engine, Arc::into_inner(media)));
            assert_eq!(use_store(&path, &context), expected, "{context}");
        }
    }
}

#[test]
fn zones_of_the_manifest_wear_out_one_after_another_while_the_store_is_open_and_closed() {
    for to in WORN {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let expected = fill(&path, 5);
        let mut used = BTreeSet::new();
        for round in 0..5 {
            let context = format!("round {round}, {to:?}");
            let media = media(&path);
            let engine = open(&media).unwrap();
            overwrite_until_two_are_in_use(&engine, &media, &context);
            let zones = in_use(&media);
            used.extend(zones.iter().copied());
            // Of the two in turns the one that was taken later and the other one; in odd rounds under the open store.
            let zone = zones[round % 2];
            if round % 2 == 0 {
                media.degrade_at_next_append(zone, to);
            }
            overwrite(&engine, 400);
            overwrite_until_two_are_in_use(&engine, &media, &context);
            assert_eq!(without_hot(state_of(&engine)), expected, "{context}");
            engine.close().unwrap();
            drop(engine);
            if round % 2 == 1 {
                media.degrade(zone, to);
            }
            assert_sound(&open_to_look(&media).unwrap(), &context);
            drop(Arc::into_inner(media));
        }
        assert_eq!(use_store(&path, "at the end"), expected);
        assert!(used.len() >= 5, "{used:?}");
    }
}

/// The opening that takes a substitute fails at each of its appends and flushes in turn, and the power fails then.
#[test]
fn a_crash_at_any_step_of_the_replacement_loses_nothing() {
    for (full, to, zone) in [
        (false, Degraded::ReadOnly, HOME[0]),
        (false, Degraded::Offline, HOME[1]),
        (true, Degraded::ReadOnly, HOME[1]),
        (true, Degraded::Offline, HOME[0]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let origin = directory.path().join("origin");
        let expected = fill(&origin, 6);
        if full {
            fill_manifest_zones(&origin);
        }
        degrade(&origin, &[zone], to);
        let (mut step, mut is_done) = (0, false);
        while !is_done {
            for seed in 0..3 {
                let context = format!("{to:?} {zone}, full: {full}, step {step}, seed {seed}");
                let (path, image) = (directory.path().join("store"), directory.path().join("image"));
                std::fs::copy(&origin, &path).unwrap();
                let media = media(&path);
                if step % 2 == 0 {
                    media.fail_appends_after(step / 2);
                } else {
                    media.fail_flushes_after(step / 2);
                }
                is_done = open(&media).is_ok() && step > 4;
                drop(media.cut_power(&image, &mut StdRng::seed_from_u64(seed)));
                let before = Media::open(&image, Access::ReadOnly, 2).unwrap();
                let engine = open_to_look(&before).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(without_hot(state_of(&engine)), expected, "{context}");
                drop((engine, Arc::into_inner(before)));
                assert_eq!(use_store(&image, &context), expected, "{context}");
                assert_eq!(in_use(&Media::open(&image, Access::ReadOnly, 1).unwrap()).len(), 2, "{context}");
            }
            step += 1;
            assert!(step < 40, "opening never succeeds");
        }
    }
}

/// Only the substitute holds the newest version, as after a crash between the two appends.
#[test]
fn a_substitute_whose_first_block_is_damaged_is_found_by_what_the_other_zone_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let expected = fill(&path, 7);
    degrade(&path, &[HOME[0]], Degraded::Offline);
    assert_eq!(use_store(&path, "before"), expected);
    let media_of_log = media(&path);
    let device: Arc<dyn ZonedDevice> = Arc::clone(&media_of_log) as _;
    let mut manifest = ManifestLog::read(&*device).unwrap().unwrap().manifest;
    let [substitute] = manifest.substitutes[..] else { panic!("one was due") };
    let queue = append_queue(&device, &Running::Threads, QueueKind::Automatic).unwrap();
    let log = ManifestLog::new(Arc::clone(&device), queue, Some(HOME[1])).unwrap();
    manifest.version += 1;
    media_of_log.fail_flushes_after(0);
    log.append(&mut manifest, &|_| Ok(None)).expect_err("the flush between the two appends fails");
    drop((log, device, Arc::into_inner(media_of_log)));
    let at_bytes = (1 << 20) + u64::from(substitute.get()) * GEOMETRY.zone_size_bytes;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4096], at_bytes).unwrap();
    let looking = Media::open(&path, Access::ReadOnly, 1).unwrap();
    let newest = ManifestLog::read(&*looking).unwrap().unwrap();
    assert_eq!((newest.manifest.version, newest.zone), (manifest.version, substitute));
    drop((newest, Arc::into_inner(looking)));
    assert_eq!(use_store(&path, "after"), expected);
}

#[test]
fn with_no_zone_left_to_take_the_store_says_so_and_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let expected = fill(&path, 8);
    let media = media(&path);
    let free = media.geometry().zones().filter(|&zone| media.report(zone).unwrap().state == ZoneState::Empty);
    let worn: Vec<ZoneId> = free.chain([HOME[0]]).collect();
    worn.iter().for_each(|&zone| media.degrade(zone, Degraded::ReadOnly));
    drop(Arc::into_inner(media));
    let error = (0..200).find_map(|_| {
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        open(&media).and_then(|engine| engine.close()).err()
    });
    let error = error.expect("the manifest runs out of room");
    assert!(matches!(error, EngineError::WornOut { worn } if worn == HOME[0]), "{error:?}");
    assert!(error.to_string().contains("zone 0, which held its manifest, has worn out"), "{error}");
    let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
    assert_eq!(without_hot(state_of(&open_to_look(&media).unwrap())), expected);
}

/// A version that an earlier store had left in a zone that can only be read used to be taken for the new store's.
#[test]
fn a_store_made_anew_on_worn_zones_is_not_taken_for_the_earlier_one() {
    for worn in [&HOME[..1], &HOME[..]] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        fill(&path, 9);
        degrade(&path, worn, Degraded::ReadOnly);
        use_store(&path, "before");
        let device: Arc<dyn ZonedDevice> = media(&path);
        for zone in device.geometry().zones().filter(|zone| !worn.contains(zone)) {
            device.reset(zone).unwrap();
        }
        write_first_manifest(&device, &Running::Threads, [7; 16], SpaceUse::Whole).unwrap();
        let newest = ManifestLog::read(&*device).unwrap().unwrap();
        assert_eq!(newest.manifest.store, [7; 16]);
        assert_eq!(newest.manifest.substitutes.len(), worn.len());
        drop(device);
        assert_eq!(use_store(&path, "after"), State::new());
    }
}

#[test]
fn salvage_takes_the_manifest_of_substitutes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    degrade(&path, &HOME[..1], Degraded::Offline);
    let expected = use_store(&path, "before");
    degrade(&path, &HOME, Degraded::Offline);
    let media = media(&path);
    let salvage = Salvage::of_device(media, &SalvageOptions::default()).unwrap();
    let findings = salvage.findings();
    assert!(findings.notes.iter().all(|note| !note.contains("manifest")), "{:?}", findings.notes);
    assert_eq!(findings.key_count, expected.len() as u64 + 5);
    drop(salvage);
    use_store(&path, "both home zones are offline");
}
