//! Versions of the manifest that a kill has cut off, or of which one copy has rotted.

use super::media::garble;
use super::{GEOMETRY, create, create_with, open_options};
use crate::device::emulated::{Access, DirectIo, EmulatedDevice};
use crate::device::{Geometry, Persistence, ZonedDevice};
use crate::engine::{Depth, Durability, Engine, OpenOptions};
use crate::log::manifest_log::{ManifestLog, home_zones};
use crate::log::writer::LogWrite;

#[test]
fn a_manifest_append_that_a_kill_cut_off_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    for round in 0..6 {
        // The opener of a store that was closed in order takes a place for its manifest, and is killed.
        let device = EmulatedDevice::open(&path, Access::ReadWrite, DirectIo::Off).unwrap();
        let written = |zone: &_| device.report(*zone).unwrap().write_pointer;
        let zone = home_zones(&device).unwrap().into_iter().max_by_key(written).unwrap();
        let start = device.geometry().zone_start(zone);
        drop(device.begin_append(start, 4096, Persistence::Volatile).unwrap());
        device.abandon();
        for _ in 0..round % 3 {
            Engine::open(&path, &open_options()).unwrap().close().unwrap();
        }
        let looking = OpenOptions { read_only: true, ..open_options() };
        let report = Engine::open(&path, &looking).unwrap().verify(Depth::Deep, &|_| {}).unwrap();
        assert!(report.harmless.is_empty(), "round {round}: {:?}", report.harmless);
    }
}

/// Where both zones are written in turn there used to be one copy only: the version before it was believed then, without a
/// word, and what a cut had made void came back.
#[test]
fn of_the_newest_manifest_one_copy_may_rot_and_a_check_tells_of_it() {
    let in_turn = Geometry { max_active_zones: 3, max_open_zones: 3, ..GEOMETRY };
    for geometry in [GEOMETRY, in_turn] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        create_with(&path, geometry);
        let engine = Engine::open(&path, &open_options()).unwrap();
        engine.write(&[LogWrite { key: b"key", value: Some(b"value") }], Durability::Sync).unwrap();
        engine.close().unwrap();
        drop(engine);
        let whole = std::fs::read(&path).unwrap();
        let newest = || {
            let device = EmulatedDevice::open(&path, Access::ReadOnly, DirectIo::Off).unwrap();
            let zones = home_zones(&device).unwrap();
            let ends = zones.map(|zone| (zone, device.report(zone).unwrap().write_pointer.get()));
            (ManifestLog::read(&device).unwrap().unwrap().manifest, ends)
        };
        let (expected, ends) = newest();
        let mut copies = 0;
        for (zone, end) in ends {
            for block in (0..end).step_by(4096) {
                garble(&path, zone, block + 40);
                assert_eq!(newest().0, expected, "{zone} at {block}");
                let looking = OpenOptions { read_only: true, ..open_options() };
                let engine = Engine::open(&path, &looking).unwrap();
                assert!(engine.value(b"key").unwrap().is_some());
                let report = engine.verify(Depth::Deep, &|_| {}).unwrap();
                copies += usize::from(!report.harmless.is_empty());
                drop(engine);
                std::fs::write(&path, &whole).unwrap();
            }
        }
        assert!(copies >= 2, "{copies} of the blocks are told to be damaged: {ends:?}");
    }
}
