//! The append contract as far as the device sees to it, and reads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use super::{
    Access, DeviceError, Geometry, KIB, Persistence, Place, SMALL, ZoneOffset, ZoneState, ZonedDevice,
    append, begin, complete, fill, perform, read, refused, shape, zone,
};
use crate::device::RawResult;
use crate::device::emulated::Degraded;
use crate::units::{DevicePosition, ZoneSector};

#[test]
fn an_append_that_does_not_name_a_zone_start_is_refused() {
    let place = Place::new();
    let device = place.create(&SMALL);
    let at = |bytes| device.begin_append(DevicePosition::new(bytes), 4096, Persistence::Volatile);
    refused!(at(4096), DeviceError::NotAZoneStart { position } if position.get() == 4096);
    refused!(at(128 * KIB - 1), DeviceError::NotAZoneStart { .. });
    refused!(at(8 * 128 * KIB), DeviceError::NoSuchZone { zone_count: 8, .. });
    refused!(at(u64::MAX), DeviceError::NotAZoneStart { .. });
    assert_eq!(shape(&device, zone(0)), (ZoneState::Empty, 0));
}

#[test]
fn an_append_of_a_wrong_length_is_refused() {
    let place = Place::new();
    let device = place.create(&SMALL);
    let of = |len_bytes| begin(&device, zone(1), len_bytes, Persistence::Volatile);
    refused!(of(0), DeviceError::Unaligned { value: 0, .. });
    refused!(of(512), DeviceError::Unaligned { value: 512, block_bytes: 4096, .. });
    refused!(of(68 * KIB), DeviceError::AppendTooLarge { limit_bytes: 65_536, .. });
    assert_eq!(shape(&device, zone(1)), (ZoneState::Empty, 0));
}

#[test]
fn an_append_beyond_what_is_left_leaves_the_zone_as_it_was() {
    let place = Place::new();
    let device = place.create(&SMALL);
    append(&device, zone(0), 64 * KIB, 1).unwrap();
    let refusal = begin(&device, zone(0), 36 * KIB, Persistence::Volatile);
    refused!(refusal, DeviceError::ZoneBoundary { room_bytes: 32_768, len_bytes: 36_864, .. });
    assert_eq!(shape(&device, zone(0)), (ZoneState::ImplicitlyOpen, 64 * KIB));
    assert_eq!(append(&device, zone(0), 32 * KIB, 2).unwrap(), ZoneOffset::new(64 * KIB));
    assert_eq!(shape(&device, zone(0)), (ZoneState::Full, 96 * KIB));
}

#[test]
fn a_zone_that_takes_no_writes_says_why() {
    let place = Place::new();
    let device = place.create(&SMALL);
    fill(&device, zone(0), 1);
    append(&device, zone(1), 4096, 1).unwrap();
    device.degrade(zone(1), Degraded::ReadOnly).unwrap();
    device.degrade(zone(2), Degraded::Offline).unwrap();
    let to = |number| begin(&device, zone(number), 4096, Persistence::Volatile);
    refused!(to(0), DeviceError::ZoneFull { .. });
    refused!(to(1), DeviceError::ZoneReadOnly { .. });
    refused!(to(2), DeviceError::ZoneOffline { .. });
    assert_eq!(shape(&device, zone(1)), (ZoneState::ReadOnly, 4096));
}

#[test]
fn commands_that_a_state_does_not_allow_are_refused() {
    let place = Place::new();
    let device = place.create(&SMALL);
    device.degrade(zone(0), Degraded::ReadOnly).unwrap();
    for refusal in
        [device.reset(zone(0)), device.open(zone(0)), device.finish(zone(0)), device.close(zone(0))]
    {
        refused!(refusal, DeviceError::BadTransition { state: ZoneState::ReadOnly, .. });
    }
    refused!(device.close(zone(1)), DeviceError::BadTransition { state: ZoneState::Empty, .. });
    refused!(device.reset(zone(8)), DeviceError::NoSuchZone { .. });
    refused!(device.report(zone(8)), DeviceError::NoSuchZone { .. });
}

#[test]
fn a_device_open_for_reading_refuses_every_change() {
    let place = Place::new();
    append(&place.create(&SMALL), zone(0), 4096, 9).unwrap();
    let device = place.try_open(Access::ReadOnly).unwrap();
    refused!(begin(&device, zone(0), 4096, Persistence::Volatile), DeviceError::ReadOnly { .. });
    for refusal in [
        device.reset(zone(0)),
        device.open(zone(0)),
        device.finish(zone(0)),
        device.degrade(zone(0), Degraded::Offline),
        device.prepare(zone(1), crate::device::Preparation::Streaming),
    ] {
        refused!(refusal, DeviceError::ReadOnly { .. });
    }
    device.flush().unwrap();
    assert_eq!(read(&device, zone(0), 0, 4096).unwrap(), [9; 4096]);
}

#[test]
fn a_place_is_reported_in_sectors_whatever_the_block_size() {
    for block_bytes in [512, 4096] {
        let place = Place::new();
        let device = place.create(&Geometry { block_bytes, ..SMALL });
        append(&device, zone(3), u64::from(block_bytes), 1).unwrap();
        let ticket = begin(&device, zone(3), 4096, Persistence::Volatile).unwrap();
        perform(&ticket, 2);
        assert_eq!(complete(&device, ticket).unwrap(), ZoneSector::new(block_bytes / 512));
        assert_eq!(read(&device, zone(3), u64::from(block_bytes), 4096).unwrap(), [2; 4096]);
    }
}

#[test]
fn a_short_or_failed_append_is_an_error_and_leaves_a_hole() {
    let place = Place::new();
    let device = place.create(&SMALL);
    let ticket = begin(&device, zone(0), 8192, Persistence::Durable).unwrap();
    refused!(
        device.end_append(ticket, RawResult::of(4096)),
        DeviceError::ShortAppend { written_bytes: 4096, .. }
    );
    let ticket = begin(&device, zone(0), 8192, Persistence::Volatile).unwrap();
    match device.end_append(ticket, RawResult::of(-5)) {
        Err(DeviceError::Io { action, source }) => {
            assert_eq!(source.raw_os_error(), Some(5));
            assert_eq!(action, "appending 8192 bytes at byte 8192 of zone 0");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(append(&device, zone(0), 4096, 1).unwrap(), ZoneOffset::new(16_384));
    assert_eq!(device.activity().appended_bytes, 4096);
}

#[test]
fn appends_from_many_threads_cover_exactly_what_the_write_pointers_moved() {
    let place = Place::new();
    let zone_capacity_bytes = 1024 * KIB;
    let geometry =
        Geometry { zone_size_bytes: zone_capacity_bytes, zone_capacity_bytes, max_open_zones: 1, ..SMALL };
    let device = place.create(&geometry);
    let landed = Mutex::new(BTreeMap::new());
    // Two zones and one that may be open: the threads close each other's zones all the time.
    let work = |thread_number: u8| {
        for turn in 0..120_u8 {
            let zone = zone(u32::from(turn % 2));
            let len_bytes = 4096 * u64::from(1 + (turn + thread_number) % 3);
            let Ok(ticket) = begin(&device, zone, len_bytes, Persistence::Volatile) else { continue };
            perform(&ticket, turn ^ (thread_number << 6));
            let offset = complete(&device, ticket).unwrap().offset();
            landed.lock().unwrap().insert((zone, offset), (len_bytes, turn ^ (thread_number << 6)));
        }
    };
    thread::scope(|scope| {
        for thread_number in 0..4 {
            scope.spawn(move || work(thread_number));
        }
    });
    let mut ends = [0, 0];
    for ((zone, offset), (len_bytes, byte)) in landed.into_inner().unwrap() {
        assert_eq!(offset.get(), ends[zone.index()], "a gap or an overlap in {zone}");
        let found = read(&device, zone, offset.get(), len_bytes).unwrap();
        assert!(found.iter().all(|&found| found == byte), "{zone}, {offset}");
        ends[zone.index()] += len_bytes;
    }
    for (number, end) in [(0, ends[0]), (1, ends[1])] {
        assert_eq!(shape(&device, zone(number)).1, end);
        assert!(end > 960 * KIB, "only {end} bytes were appended");
    }
}

#[test]
fn bytes_at_and_after_the_write_pointer_are_zeros() {
    let place = Place::new();
    let device = place.create(&SMALL);
    fill(&device, zone(0), 0xaa);
    device.reset(zone(0)).unwrap();
    append(&device, zone(0), 4096, 1).unwrap();
    let expected: Vec<u8> = [[1; 4096], [0; 4096]].concat();
    assert_eq!(read(&device, zone(0), 0, 8192).unwrap(), expected);
    device.finish(zone(0)).unwrap();
    assert_eq!(shape(&device, zone(0)), (ZoneState::Full, 96 * KIB));
    assert_eq!(read(&device, zone(0), 0, 8192).unwrap(), expected, "finished");
    drop(device);
    assert_eq!(read(&place.open(), zone(0), 0, 8192).unwrap(), expected, "finished and reopened");
    assert_eq!(
        read(&place.open(), zone(0), 96 * KIB, 32 * KIB).unwrap(),
        vec![0; 32 * 1024],
        "past capacity"
    );
}

#[test]
fn reads_fill_memory_of_any_alignment() {
    let place = Place::new();
    let device = place.create(&SMALL);
    append(&device, zone(0), 8192, 3).unwrap();
    append(&device, zone(0), 4096, 4).unwrap();
    for shift in [0, 1, 511, 512, 4096] {
        let mut memory = vec![0; shift + 12_288];
        device.read(zone(0), ZoneOffset::START, &mut memory[shift..]).unwrap();
        assert_eq!(memory[shift..], [vec![3; 8192], vec![4; 4096]].concat(), "shifted by {shift}");
    }
    assert_eq!(device.activity().read_bytes, 5 * 12_288);
}

#[test]
fn a_read_that_is_not_possible_says_why() {
    let place = Place::new();
    let device = place.create(&SMALL);
    append(&device, zone(0), 8192, 3).unwrap();
    refused!(read(&device, zone(0), 512, 4096), DeviceError::Unaligned { value: 512, .. });
    refused!(read(&device, zone(0), 0, 100), DeviceError::Unaligned { value: 100, .. });
    refused!(read(&device, zone(9), 0, 4096), DeviceError::NoSuchZone { .. });
    refused!(read(&device, zone(0), 124 * KIB, 8192), DeviceError::BeyondWritePointer { .. });
    refused!(read(&device, zone(0), u64::MAX - 4095, 4096), DeviceError::BeyondWritePointer { .. });
    let queued = |offset, len_bytes| device.read_command(zone(0), ZoneOffset::new(offset), len_bytes);
    assert!(queued(4096, 4096).is_ok());
    refused!(queued(4096, 8192), DeviceError::BeyondWritePointer { .. });
    device.degrade(zone(0), Degraded::Offline).unwrap();
    refused!(read(&device, zone(0), 0, 4096), DeviceError::ZoneOffline { .. });
    refused!(queued(0, 4096), DeviceError::ZoneOffline { .. });
}
