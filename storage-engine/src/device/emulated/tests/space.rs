//! The space that zones take up on the host's file system.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{EmulatedDevice, Geometry, MIB, Place, SMALL, ZonedDevice, append, fill, read, zone};
use crate::device::Preparation;
use crate::device::emulated::table::KEPT_ZONES;

const ZONES: Geometry =
    Geometry { zone_size_bytes: MIB, zone_capacity_bytes: MIB, max_active_zones: 8, ..SMALL };

/// What the file takes up, in whole MiB: the metadata take less than one.
fn allocated_mib(place: &Place, device: &EmulatedDevice) -> u64 {
    // Blocks that are only promised may not be counted yet.
    device.flush().unwrap();
    fs::metadata(place.path()).unwrap().blocks() * 512 / MIB
}

#[test]
fn a_reset_gives_space_back_but_for_a_few_zones() {
    let place = Place::new();
    let device = place.create(&ZONES);
    for zone in device.geometry().zones() {
        fill(&device, zone, 1);
    }
    assert_eq!(allocated_mib(&place, &device), 8);
    for zone in device.geometry().zones() {
        device.reset(zone).unwrap();
    }
    assert_eq!(allocated_mib(&place, &device), KEPT_ZONES as u64);
    drop(device);
    let device = place.open();
    fill(&device, zone(7), 2);
    device.reset(zone(7)).unwrap();
    assert_eq!(allocated_mib(&place, &device), KEPT_ZONES as u64, "kept zones are counted again at opening");
}

#[test]
fn a_partly_written_zone_is_not_kept() {
    let place = Place::new();
    let device = place.create(&ZONES);
    append(&device, zone(0), 65_536, 1).unwrap();
    device.flush().unwrap();
    let before = fs::metadata(place.path()).unwrap().blocks();
    device.reset(zone(0)).unwrap();
    assert!(fs::metadata(place.path()).unwrap().blocks() <= before - 128);
}

/// Prepares zone 0 once more and asserts that its blocks are left alone.
fn preparing_again_writes_nothing(place: &Place, device: &EmulatedDevice) {
    place.overwrite(MIB, &[7; 4096]);
    device.prepare(zone(0), Preparation::DurableAppends).unwrap();
    let at = usize::try_from(MIB).unwrap();
    assert_eq!(place.bytes()[at..at + 4096], [7; 4096]);
    assert_eq!(read(device, zone(0), 0, 4096).unwrap(), [0; 4096]);
    assert_eq!(allocated_mib(place, device), 1);
}

#[test]
fn a_zone_prepared_for_durable_appends_is_written_once_and_kept_over_its_resets() {
    let place = Place::new();
    let device = place.create(&ZONES);
    device.prepare(zone(0), Preparation::DurableAppends).unwrap();
    assert_eq!(allocated_mib(&place, &device), 1);
    preparing_again_writes_nothing(&place, &device);
    drop(device);
    let device = place.open();
    preparing_again_writes_nothing(&place, &device);
    append(&device, zone(0), 4096, 7).unwrap();
    device.reset(zone(0)).unwrap();
    drop(device);
    preparing_again_writes_nothing(&place, &place.open());
}

#[test]
fn a_zone_prepared_for_streaming_is_allocated() {
    let place = Place::new();
    let device = place.create(&ZONES);
    device.prepare(zone(3), Preparation::Streaming).unwrap();
    assert_eq!(allocated_mib(&place, &device), 1);
    fill(&device, zone(3), 1);
    assert_eq!(allocated_mib(&place, &device), 1);
}

#[test]
fn a_zone_that_was_prepared_and_is_not_needed_gives_its_space_back_and_can_be_prepared_again() {
    let place = Place::new();
    let device = place.create(&ZONES);
    for preparation in [Preparation::Streaming, Preparation::DurableAppends] {
        device.prepare(zone(3), preparation).unwrap();
        assert_eq!(allocated_mib(&place, &device), 1, "{preparation:?}");
        device.unprepare(zone(3)).unwrap();
        assert_eq!(allocated_mib(&place, &device), 0, "{preparation:?}");
    }
    device.prepare(zone(3), Preparation::DurableAppends).unwrap();
    append(&device, zone(3), 8192, 3).unwrap();
    device.unprepare(zone(3)).unwrap();
    assert_eq!(read(&device, zone(3), 0, 8192).unwrap(), [3; 8192], "it is not empty");
    assert_eq!(allocated_mib(&place, &device), 1);
}

#[test]
fn preparing_a_zone_with_something_in_it_leaves_it_alone() {
    let place = Place::new();
    let device = place.create(&ZONES);
    append(&device, zone(0), 8192, 3).unwrap();
    for preparation in [Preparation::DurableAppends, Preparation::Streaming] {
        device.prepare(zone(0), preparation).unwrap();
        assert_eq!(read(&device, zone(0), 0, 8192).unwrap(), [3; 8192]);
        assert_eq!(allocated_mib(&place, &device), 0);
    }
}
