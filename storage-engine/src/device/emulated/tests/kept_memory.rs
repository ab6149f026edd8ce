//! Memory of the file that outlives the process, and need not outlive the machine.

use super::{KIB, MIB, Place, SMALL, append, read, zone};
use crate::device::ZonedDevice;
use crate::device::emulated::{Access, DirectIo, EmulatedDevice};

#[test]
fn what_a_killed_process_stored_is_found_by_the_next_one_and_no_zone_is_touched() {
    let place = Place::new();
    let device = place.create(&SMALL);
    append(&device, zone(0), 4096, 1).unwrap();
    let mut memory = device.keep_memory().unwrap().expect("an emulated device has some");
    let len = memory.bytes().len();
    assert_eq!(len as u64, 2 * MIB);
    memory.bytes()[0] = 7;
    memory.bytes()[len - 1] = 9;
    drop(memory);
    device.abandon();
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let device = EmulatedDevice::open(place.path(), access, DirectIo::Off).unwrap();
        let kept = device.kept_bytes().unwrap();
        assert_eq!((kept.len(), kept[0], kept[1], kept[len - 1]), (len, 7, 0, 9));
        assert_eq!(read(&device, zone(0), 0, 4096).unwrap(), [1; 4096]);
    }
}

#[test]
fn a_new_device_keeps_nothing_and_takes_no_room_for_it() {
    let place = Place::new();
    let device = place.create(&SMALL);
    assert!(device.kept_bytes().unwrap().is_empty());
    let allocated_bytes = || {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(place.path()).unwrap().blocks() * 512
    };
    assert!(allocated_bytes() < MIB);
    let memory = device.keep_memory().unwrap().expect("there is room");
    // Room is taken before the memory is written to: a write to it could not be refused.
    assert!(allocated_bytes() >= 2 * MIB, "{} KiB", allocated_bytes() / KIB);
    memory.give_back().unwrap();
    assert!(allocated_bytes() < MIB);
    assert!(device.kept_bytes().unwrap().is_empty());
}

#[test]
fn nobody_has_it_from_a_device_that_is_open_for_reading() {
    let place = Place::new();
    drop(place.create(&SMALL));
    let device = EmulatedDevice::open(place.path(), Access::ReadOnly, DirectIo::Off).unwrap();
    assert!(device.keep_memory().is_err());
}
