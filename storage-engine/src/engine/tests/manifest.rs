//! What a check says of manifests that were being appended when a process was killed.

use super::{create, open_options};
use crate::device::emulated::{Access, DirectIo, EmulatedDevice};
use crate::device::{Persistence, ZonedDevice};
use crate::engine::{Depth, Engine, OpenOptions};
use crate::log::manifest_log::manifest_zones;

#[test]
fn a_manifest_append_that_a_kill_cut_off_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    for round in 0..6 {
        // The opener of a store that was closed in order takes a place for its manifest, and is killed.
        let device = EmulatedDevice::open(&path, Access::ReadWrite, DirectIo::Off).unwrap();
        let written = |zone: &_| device.report(*zone).unwrap().write_pointer;
        let zone = manifest_zones(&device).unwrap().into_iter().max_by_key(written).unwrap();
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
