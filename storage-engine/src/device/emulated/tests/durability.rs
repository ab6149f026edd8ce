//! What survives a closed device, a killed process and a power cut, and what a durable append costs.

use std::fs;

use super::{
    AppendCommand, DeviceError, EmulatedDevice, KIB, LARGE, MIB, Persistence, Place, SMALL, ZoneId,
    ZoneOffset, ZoneState, ZonedDevice, append, begin, complete, fill, perform, read, refused, shape, zone,
};
use crate::device::Geometry;
use crate::device::emulated::layout::{
    SESSION_AT_BYTES, SESSION_BYTES, Session, TABLE_AT_BYTES, ZoneEntry, entry_at_bytes,
};
use crate::device::emulated::stay::with_stay;
use crate::device::emulated::{Access, Degraded, DirectIo};

/// Zones in every state; gives what each must be found as.
fn furnish(device: &EmulatedDevice) -> Vec<(ZoneState, u64)> {
    fill(device, zone(0), 1);
    append(device, zone(1), 8192, 2).unwrap();
    device.open(zone(2)).unwrap();
    append(device, zone(2), 4096, 3).unwrap();
    device.open(zone(3)).unwrap();
    append(device, zone(4), 12_288, 4).unwrap_err();
    device.close(zone(2)).unwrap();
    append(device, zone(4), 12_288, 4).unwrap();
    device.finish(zone(4)).unwrap();
    append(device, zone(5), 4096, 5).unwrap();
    device.degrade(zone(5), Degraded::ReadOnly).unwrap();
    device.degrade(zone(6), Degraded::Offline).unwrap();
    append(device, zone(7), 4096, 6).unwrap();
    device.reset(zone(7)).unwrap();
    vec![
        (ZoneState::Full, 96 * KIB),
        (ZoneState::Closed, 8192),
        (ZoneState::Closed, 4096),
        (ZoneState::Empty, 0),
        (ZoneState::Full, 96 * KIB),
        (ZoneState::ReadOnly, 4096),
        (ZoneState::Offline, 0),
        (ZoneState::Empty, 0),
    ]
}

fn shapes(device: &EmulatedDevice) -> Vec<(ZoneState, u64)> {
    device.geometry().zones().map(|zone| shape(device, zone)).collect()
}

/// Loses what was not flushed: puts back the zone table as it was at the last flush.
fn lose_power(place: &Place, device: EmulatedDevice, table: &[u8]) {
    device.abandon();
    place.overwrite(TABLE_AT_BYTES, table);
}

fn table_bytes(place: &Place, geometry: &Geometry) -> Vec<u8> {
    let end = entry_at_bytes(zone(geometry.zone_count));
    place.bytes()[usize::try_from(TABLE_AT_BYTES).unwrap()..usize::try_from(end).unwrap()].to_vec()
}

fn durable_append(device: &EmulatedDevice, zone: ZoneId, len_bytes: u64) -> (Persistence, bool) {
    let ticket = begin(device, zone, len_bytes, Persistence::Durable).unwrap();
    let AppendCommand::PositionedWrite { persistence, .. } = ticket.command else {
        panic!("an emulated device names positioned writes");
    };
    let needs_flush = ticket.needs_flush;
    perform(&ticket, 8);
    complete(device, ticket).unwrap();
    (persistence, needs_flush)
}

const WITH_FLUSH: (Persistence, bool) = (Persistence::Volatile, true);
const WRITTEN_THROUGH: (Persistence, bool) = (Persistence::Durable, false);

#[test]
fn states_and_write_pointers_survive_closing_and_a_killed_process() {
    for killed in [false, true] {
        let place = Place::new();
        let device = place.create(&SMALL);
        let expected = furnish(&device);
        if killed {
            device.abandon();
        } else {
            drop(device);
        }
        let device = place.open();
        assert_eq!(shapes(&device), expected, "killed: {killed}");
        assert_eq!(device.report(zone(7)).unwrap().reset_count, 1);
        assert_eq!(read(&device, zone(1), 0, 8192).unwrap(), [2; 8192]);
        assert_eq!(append(&device, zone(1), 4096, 9).unwrap(), ZoneOffset::new(8192));
    }
}

#[test]
fn an_append_that_was_admitted_is_covered_by_the_write_pointer_after_a_kill() {
    let place = Place::new();
    let device = place.create(&SMALL);
    let ticket = begin(&device, zone(0), 8192, Persistence::Volatile).unwrap();
    device.abandon();
    assert_eq!(shape(&place.open(), zone(0)), (ZoneState::Closed, 8192));
    drop(ticket);
}

#[test]
fn limits_are_counted_again_at_opening() {
    let place = Place::new();
    let device = place.create(&SMALL);
    for number in 0..4 {
        append(&device, zone(number), 4096, 1).unwrap();
    }
    drop(device);
    let device = place.open();
    refused!(append(&device, zone(4), 4096, 1), DeviceError::TooManyActive { .. });
    device.open(zone(0)).unwrap();
    device.open(zone(1)).unwrap();
    refused!(device.open(zone(2)), DeviceError::TooManyOpen { .. });
}

#[test]
fn a_device_closed_in_order_is_believed_after_a_power_cut() {
    let place = Place::new();
    let device = place.create(&SMALL);
    let expected = furnish(&device);
    drop(device);
    assert_eq!(shapes(&place.open_after_power_cut()), expected);
}

#[test]
fn after_a_power_cut_write_pointers_are_at_or_after_every_flushed_append() {
    let place = Place::new();
    let device = place.create(&LARGE);
    append(&device, zone(0), MIB, 1).unwrap();
    device.flush().unwrap();
    let table = table_bytes(&place, &LARGE);
    assert_eq!(durable_append(&device, zone(0), MIB), WRITTEN_THROUGH);
    append(&device, zone(1), MIB, 1).unwrap();
    lose_power(&place, device, &table);
    let device = place.open_after_power_cut();
    assert_eq!(shape(&device, zone(0)), (ZoneState::Closed, 5 * MIB), "the bound, past the durable append");
    assert_eq!(shape(&device, zone(1)), (ZoneState::Empty, 0), "never flushed");
    assert_eq!(read(&device, zone(0), MIB, 4096).unwrap(), [8; 4096]);
    assert_eq!(append(&device, zone(0), 4096, 1).unwrap(), ZoneOffset::new(5 * MIB));
}

#[test]
fn a_zone_whose_bound_is_its_capacity_is_full_after_a_power_cut() {
    let place = Place::new();
    let device = place.create(&SMALL);
    append(&device, zone(0), 4096, 1).unwrap();
    device.abandon();
    assert_eq!(shape(&place.open_after_power_cut(), zone(0)), (ZoneState::Full, 96 * KIB));
}

#[test]
fn an_entry_torn_by_a_power_cut_makes_its_zone_full_and_nothing_else() {
    let place = Place::new();
    let device = place.create(&LARGE);
    append(&device, zone(1), 4096, 1).unwrap();
    append(&device, zone(2), 4096, 2).unwrap();
    device.abandon();
    place.flip(entry_at_bytes(zone(1)) + 9);
    refused!(place.try_open(Access::ReadWrite), DeviceError::Damaged { .. });
    let device = place.open_after_power_cut();
    assert_eq!(shape(&device, zone(1)), (ZoneState::Full, 16 * MIB));
    assert_eq!(shape(&device, zone(2)).0, ZoneState::Closed);
    assert_eq!(read(&device, zone(1), 0, 4096).unwrap(), [1; 4096]);
    device.reset(zone(1)).unwrap();
    drop(device);
    assert_eq!(shape(&place.open(), zone(1)), (ZoneState::Empty, 0));
}

#[test]
fn what_was_reckoned_after_a_power_cut_holds_after_a_kill_in_the_same_boot() {
    let place = Place::new();
    let device = place.create(&LARGE);
    append(&device, zone(0), 4096, 1).unwrap();
    device.abandon();
    let device = place.open_after_power_cut();
    let reckoned = shape(&device, zone(0));
    assert_eq!(reckoned, (ZoneState::Closed, 4 * MIB + 4096));
    append(&device, zone(1), 4096, 1).unwrap();
    device.abandon();
    let device = place.open_after_power_cut();
    assert_eq!(shape(&device, zone(0)), reckoned);
    assert_eq!(shape(&device, zone(1)), (ZoneState::Closed, 4096), "exact: only the process died");
}

#[test]
fn opening_after_a_power_cut_without_a_change_leaves_the_reckoning_to_the_next() {
    let place = Place::new();
    let device = place.create(&LARGE);
    append(&device, zone(0), 4096, 1).unwrap();
    device.abandon();
    let before = place.bytes();
    drop(place.open_after_power_cut());
    let reader =
        EmulatedDevice::open_in_boot(&place.path(), Access::ReadOnly, DirectIo::Preferred, super::NEXT_BOOT);
    assert_eq!(shape(&reader.unwrap(), zone(0)), (ZoneState::Closed, 4 * MIB + 4096));
    assert!(place.bytes() == before);
}

#[test]
fn only_the_durable_appends_that_move_the_bound_flush_the_whole_file() {
    let place = Place::new();
    let device = place.create(&LARGE);
    let costs: Vec<_> = (0..16).map(|_| durable_append(&device, zone(0), MIB)).collect();
    let flushes: Vec<usize> = (0..16).filter(|&turn| costs[turn] == WITH_FLUSH).collect();
    assert_eq!(flushes, [0, 5, 10, 15]);
    assert_eq!(costs.iter().filter(|&&cost| cost == WRITTEN_THROUGH).count(), 12);
    assert_eq!(device.activity().flush_count, 16, "never more than one an append");
}

#[test]
fn a_bound_moved_by_a_volatile_append_makes_the_next_durable_one_flush() {
    let place = Place::new();
    let device = place.create(&LARGE);
    append(&device, zone(0), 4096, 1).unwrap();
    assert_eq!(durable_append(&device, zone(0), 4096), WITH_FLUSH);
    assert_eq!(durable_append(&device, zone(0), 4096), WRITTEN_THROUGH);
    append(&device, zone(1), 4096, 1).unwrap();
    assert_eq!(durable_append(&device, zone(0), 4096), WRITTEN_THROUGH, "another zone's bound is no concern");
    device.flush().unwrap();
    assert_eq!(durable_append(&device, zone(1), 4096), WRITTEN_THROUGH);
}

#[test]
fn a_flush_does_not_cover_a_bound_that_is_moved_while_it_runs() {
    let place = Place::new();
    let device = place.create(&LARGE);
    let first = begin(&device, zone(0), MIB, Persistence::Durable).unwrap();
    perform(&first, 1);
    // Admitted before the first one's flush has made the bound durable.
    let second = begin(&device, zone(0), MIB, Persistence::Durable).unwrap();
    assert!(second.needs_flush);
    complete(&device, first).unwrap();
    perform(&second, 2);
    complete(&device, second).unwrap();
    assert_eq!(durable_append(&device, zone(0), MIB), WRITTEN_THROUGH);
}

#[test]
fn a_reset_takes_the_bound_back() {
    let place = Place::new();
    let device = place.create(&LARGE);
    assert_eq!(durable_append(&device, zone(0), 4096), WITH_FLUSH);
    append(&device, zone(1), 4096, 1).unwrap();
    device.reset(zone(0)).unwrap();
    device.reset(zone(1)).unwrap();
    device.flush().unwrap();
    assert_eq!(durable_append(&device, zone(0), 4096), WITH_FLUSH);
    assert_eq!(durable_append(&device, zone(1), 4096), WITH_FLUSH);
}

#[test]
fn bounds_of_earlier_sessions_are_durable_once_a_session_has_begun() {
    let place = Place::new();
    let device = place.create(&LARGE);
    append(&device, zone(0), 4096, 1).unwrap();
    device.abandon();
    let device = place.open();
    assert_eq!(durable_append(&device, zone(0), 4096), WRITTEN_THROUGH);
}

#[test]
fn a_reset_is_on_the_file_before_anything_else_is_written_to_the_zone() {
    let place = Place::new();
    let device = place.create(&SMALL);
    fill(&device, zone(0), 1);
    device.reset(zone(0)).unwrap();
    let entry = ZoneEntry { reset_count: 1, blocks_written: true, ..ZoneEntry::empty(zone(0)) };
    let at = usize::try_from(entry_at_bytes(zone(0))).unwrap();
    let found = ZoneEntry::decode(place.bytes()[at..].first_chunk().unwrap(), zone(0), &SMALL).unwrap();
    // Whether the blocks count as written depends on the file system.
    assert_eq!(ZoneEntry { blocks_written: true, ..found }, entry);
}

#[test]
fn a_session_is_marked_from_the_first_change_to_the_orderly_end() {
    let place = Place::new();
    let session = || {
        let at = usize::try_from(SESSION_AT_BYTES).unwrap();
        Session::decode(place.bytes()[at..].first_chunk::<SESSION_BYTES>().unwrap()).unwrap()
    };
    let device = place.create(&SMALL);
    assert!(session().clean);
    append(&device, zone(0), 4096, 1).unwrap();
    assert!(!session().clean);
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().replace('-', "");
    let boot_id = u128::from_str_radix(boot_id.trim(), 16).unwrap().to_be_bytes();
    let here = with_stay(boot_id, &fs::metadata(place.path()).unwrap());
    assert_eq!(session().boot_id, here, "this boot, and this stay of the disk");
    drop(device);
    assert!(session().clean);
}
