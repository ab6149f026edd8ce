//! What is refused, zone states and limits, and failures.

use super::{Bed, OTHER, ZONE, append_to, place, tagged};
use crate::device::{DeviceError, DeviceResult, ZoneState, ZonedDevice};
use crate::queue::AlignedBuffer;
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn what_the_drive_would_surely_refuse_is_refused_at_once_and_changes_nothing() {
    let bed = Bed::new();
    let (block, start) = (bed.block(), bed.geometry().zone_start(ZONE));
    bed.fill_but(ZONE, block as u64);
    let before = bed.report(ZONE);
    let limit = bed.geometry().append_limit_bytes as usize;
    let inside = DevicePosition::new(start.get() + block as u64);
    assert!(matches!(bed.refuses(start, limit + block), DeviceError::AppendTooLarge { .. }));
    assert!(matches!(bed.refuses(start, block / 2), DeviceError::Unaligned { .. }));
    assert!(matches!(bed.refuses(inside, block), DeviceError::NotAZoneStart { .. }));
    let beyond = DevicePosition::new(bed.geometry().zone_size_bytes * u64::from(bed.geometry().zone_count));
    assert!(matches!(bed.refuses(beyond, block), DeviceError::NoSuchZone { .. }));
    assert!(matches!(bed.refuses(start, 2 * block), DeviceError::ZoneBoundary { .. }));
    assert_eq!(bed.report(ZONE), before);
    bed.append(ZONE, AlignedBuffer::zeroed(block)).expect("the last block");
    assert_eq!(bed.report(ZONE).state, ZoneState::Full);
    assert!(matches!(bed.refuses(start, block), DeviceError::ZoneFull { zone: ZONE }));
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn what_the_drive_itself_refuses_is_told_by_its_own_error_and_the_zone_is_usable_again() {
    let bed = Bed::new();
    let block = bed.block();
    bed.fill_but(ZONE, block as u64);
    bed.device.take_for_empty(ZONE);
    let boundary = bed.append(ZONE, AlignedBuffer::zeroed(2 * block)).expect_err("more than is left");
    assert!(matches!(boundary, DeviceError::ZoneBoundary { zone: ZONE, .. }), "{boundary}");
    bed.append(ZONE, AlignedBuffer::zeroed(block)).expect("the zone is as it was, and known again");
    bed.device.take_for_empty(ZONE);
    let full = bed.append(ZONE, AlignedBuffer::zeroed(block)).expect_err("full");
    assert!(matches!(full, DeviceError::ZoneFull { zone: ZONE }), "{full}");
    let start = bed.geometry().zone_start(ZONE);
    assert!(matches!(bed.refuses(start, block), DeviceError::ZoneFull { .. }), "known again");
}

/// A drive may move the write pointer of a zone although an append to it failed: a hole. On a drive without faults, which an
/// injected write error makes one with, this shows only that nothing fails. `ZONAL_TEST_NVME_FAULTS=1` demands a failure.
#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn after_a_write_error_the_zone_is_reported_and_appends_go_on_behind_the_hole() {
    let bed = Bed::new();
    let block = bed.block();
    let mut failures = 0;
    for tag in 0..12 {
        let before = bed.report(ZONE).write_pointer;
        match bed.append(ZONE, tagged(block, tag)) {
            Ok(sector) => {
                assert_eq!(sector.offset(), before);
                assert_eq!(bed.read(ZONE, before.get(), block), tagged(block, tag)[..]);
            }
            Err(error) => {
                failures += 1;
                assert!(
                    error.to_string().contains("zone 3 ended with NVMe status 0x280: write fault"),
                    "{error}"
                );
                // No report in between: the device makes its own.
                let start = bed.geometry().zone_start(ZONE);
                bed.queue.submit(append_to(start, tagged(block, tag), tag)).expect("submit");
                let sector = place(bed.reap_all().remove(0)).expect("append");
                assert!(sector.offset() >= before, "{sector} is before {before}");
                assert_eq!(bed.report(ZONE).write_pointer, sector.offset().forward(block as u64));
            }
        }
    }
    if std::env::var_os("ZONAL_TEST_NVME_FAULTS").is_some() {
        assert_eq!(failures, 1);
    }
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn one_active_zone_too_many_is_refused_whether_opened_or_appended_to() {
    let bed = Bed::new();
    let limit = bed.geometry().max_active_zones;
    for number in 0..limit {
        bed.append(ZoneId::new(number), AlignedBuffer::zeroed(bed.block())).expect("within the limit");
    }
    let one_more = ZoneId::new(limit);
    let appended = bed.append(one_more, AlignedBuffer::zeroed(bed.block())).expect_err("too many");
    assert!(
        matches!(appended, DeviceError::TooManyActive { limit: told, .. } if told == limit),
        "{appended}"
    );
    let opened = bed.device.open(one_more).expect_err("too many");
    assert!(matches!(opened, DeviceError::TooManyActive { .. }), "{opened}");
    assert_eq!(bed.state(one_more), ZoneState::Empty);
    bed.device.reset(ZoneId::new(0)).expect("reset");
    bed.append(one_more, AlignedBuffer::zeroed(bed.block())).expect("within the limit again");
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn one_explicitly_open_zone_too_many_is_refused() {
    let bed = Bed::new();
    let limit = bed.geometry().max_open_zones;
    (0..limit).for_each(|number| bed.device.open(ZoneId::new(number)).expect("within the limit"));
    let refused = bed.device.open(ZoneId::new(limit)).expect_err("too many");
    assert!(matches!(refused, DeviceError::TooManyOpen { limit: told, .. } if told == limit), "{refused}");
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn zones_go_through_their_states_by_command() {
    let bed = Bed::new();
    let device = &bed.device;
    let refused = |result: DeviceResult<()>| result.expect_err("the state forbids it").to_string();
    assert_eq!(refused(device.close(ZONE)), "zone 3 is Empty: it cannot be closed");
    device.open(ZONE).expect("open");
    assert_eq!(bed.state(ZONE), ZoneState::ExplicitlyOpen);
    device.close(ZONE).expect("close");
    assert_eq!(bed.state(ZONE), ZoneState::Empty, "nothing was written");
    bed.append(ZONE, AlignedBuffer::zeroed(bed.block())).expect("append");
    assert_eq!(bed.state(ZONE), ZoneState::ImplicitlyOpen);
    device.open(ZONE).expect("open");
    assert_eq!(bed.state(ZONE), ZoneState::ExplicitlyOpen);
    device.close(ZONE).expect("close");
    assert_eq!(bed.state(ZONE), ZoneState::Closed);
    device.finish(ZONE).expect("finish");
    let full = bed.report(ZONE);
    assert_eq!((full.state, full.write_pointer.get()), (ZoneState::Full, bed.geometry().zone_capacity_bytes));
    assert_eq!(refused(device.open(ZONE)), "zone 3 is Full: it cannot be opened");
    assert_eq!(refused(device.close(ZONE)), "zone 3 is Full: it cannot be closed");
    device.finish(ZONE).expect("finish what is full");
    device.reset(ZONE).expect("reset");
    assert_eq!((bed.state(ZONE), bed.report(ZONE).write_pointer), (ZoneState::Empty, ZoneOffset::START));
    device.reset(ZONE).expect("reset what is empty");
    device.finish(OTHER).expect("finish what is empty");
    assert_eq!(bed.state(OTHER), ZoneState::Full);
    let nowhere = ZoneId::new(bed.geometry().zone_count);
    assert!(matches!(device.report(nowhere), Err(DeviceError::NoSuchZone { .. })));
    assert!(matches!(device.reset(nowhere), Err(DeviceError::NoSuchZone { .. })));
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn a_reset_zone_is_filled_from_its_start_and_shows_nothing_of_before() {
    let bed = Bed::new();
    let block = bed.block();
    for tag in 0..4 {
        bed.append(ZONE, tagged(block, tag)).expect("append");
    }
    bed.device.reset(ZONE).expect("reset");
    assert!(bed.read(ZONE, 0, 4 * block).iter().all(|&byte| byte == 0));
    let sector = bed.append(ZONE, tagged(block, 9)).expect("append");
    assert_eq!(sector, ZoneSector::new(0));
    assert_eq!(bed.read(ZONE, 0, block), tagged(block, 9)[..]);
    assert!(bed.device.activity().reset_count > 0);
}
