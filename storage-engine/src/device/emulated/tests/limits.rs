//! Open and active limits, and the commands that move zones between states.

use super::{
    DeviceError, Geometry, KIB, Persistence, Place, SMALL, ZoneState, ZonedDevice, append, begin, fill,
    refused, shape, states, zone,
};

const CLOSED: ZoneState = ZoneState::Closed;
const IMPLICIT: ZoneState = ZoneState::ImplicitlyOpen;
const EXPLICIT: ZoneState = ZoneState::ExplicitlyOpen;
const EMPTY: ZoneState = ZoneState::Empty;

#[test]
fn the_zone_implicitly_open_longest_is_closed_to_make_room() {
    let place = Place::new();
    let device = place.create(&SMALL);
    for number in [1, 0, 2] {
        append(&device, zone(number), 4096, 1).unwrap();
    }
    assert_eq!(states(&device)[..3], [IMPLICIT, CLOSED, IMPLICIT]);
    append(&device, zone(1), 4096, 1).unwrap();
    assert_eq!(states(&device)[..3], [CLOSED, IMPLICIT, IMPLICIT]);
}

#[test]
fn an_explicitly_open_zone_stays_open_and_fills_the_limit() {
    let place = Place::new();
    let device = place.create(&SMALL);
    device.open(zone(0)).unwrap();
    append(&device, zone(1), 4096, 1).unwrap();
    device.open(zone(2)).unwrap();
    assert_eq!(states(&device)[..3], [EXPLICIT, CLOSED, EXPLICIT]);
    let limit_reached = begin(&device, zone(1), 4096, Persistence::Volatile);
    refused!(limit_reached, DeviceError::TooManyOpen { limit: 2, .. });
    refused!(device.open(zone(3)), DeviceError::TooManyOpen { limit: 2, .. });
    assert_eq!(states(&device)[..4], [EXPLICIT, CLOSED, EXPLICIT, EMPTY]);
    append(&device, zone(0), 4096, 1).unwrap();
    assert_eq!(shape(&device, zone(0)), (EXPLICIT, 4096));
}

#[test]
fn one_active_zone_too_many_is_refused_and_closes_nothing() {
    let place = Place::new();
    let device = place.create(&SMALL);
    for number in 0..4 {
        append(&device, zone(number), 4096, 1).unwrap();
    }
    let before = states(&device);
    let refusal = begin(&device, zone(4), 4096, Persistence::Volatile);
    refused!(refusal, DeviceError::TooManyActive { limit: 4, .. });
    refused!(device.open(zone(4)), DeviceError::TooManyActive { limit: 4, .. });
    refused!(device.finish(zone(4)), DeviceError::TooManyActive { limit: 4, .. });
    assert_eq!(states(&device), before);
}

#[test]
fn full_finished_and_reset_zones_make_room_in_the_limits() {
    let place = Place::new();
    let device = place.create(&Geometry { max_open_zones: 1, max_active_zones: 1, ..SMALL });
    fill(&device, zone(0), 1);
    append(&device, zone(1), 4096, 1).unwrap();
    device.finish(zone(1)).unwrap();
    append(&device, zone(2), 4096, 1).unwrap();
    device.reset(zone(2)).unwrap();
    device.open(zone(3)).unwrap();
    device.close(zone(3)).unwrap();
    append(&device, zone(4), 4096, 1).unwrap();
    let full = ZoneState::Full;
    assert_eq!(states(&device)[..5], [full, full, EMPTY, EMPTY, IMPLICIT]);
}

#[test]
fn an_append_that_fills_a_zone_at_once_needs_room_but_holds_none() {
    let place = Place::new();
    let geometry =
        Geometry { max_open_zones: 1, max_active_zones: 2, zone_capacity_bytes: 64 * KIB, ..SMALL };
    let device = place.create(&geometry);
    device.open(zone(0)).unwrap();
    let refusal = begin(&device, zone(1), 64 * KIB, Persistence::Volatile);
    refused!(refusal, DeviceError::TooManyOpen { .. });
    device.close(zone(0)).unwrap();
    for number in 0..8 {
        append(&device, zone(number), 64 * KIB, 1).unwrap();
    }
    assert_eq!(states(&device), [ZoneState::Full; 8]);
}

#[test]
fn opening_and_closing_keep_what_was_written() {
    let place = Place::new();
    let device = place.create(&SMALL);
    append(&device, zone(0), 8192, 1).unwrap();
    device.open(zone(0)).unwrap();
    assert_eq!(shape(&device, zone(0)), (EXPLICIT, 8192));
    device.open(zone(0)).unwrap();
    device.close(zone(0)).unwrap();
    device.close(zone(0)).unwrap();
    assert_eq!(shape(&device, zone(0)), (CLOSED, 8192));
}

#[test]
fn resets_are_counted_but_not_those_of_empty_zones() {
    let place = Place::new();
    let device = place.create(&SMALL);
    device.reset(zone(0)).unwrap();
    assert_eq!(device.report(zone(0)).unwrap().reset_count, 0);
    append(&device, zone(0), 4096, 1).unwrap();
    device.reset(zone(0)).unwrap();
    device.reset(zone(0)).unwrap();
    assert_eq!(device.report(zone(0)).unwrap().reset_count, 1);
    assert_eq!(device.activity().reset_count, 1);
}
