//! Where zones come from that take the place of worn ones of the manifest: from those that are free.
//!
//! While the manifest has a zone with room, it takes none that cleaning may need; without any it takes what there is.

use crate::device::{DeviceError, Preparation, ZoneState, ZonedDevice};
use crate::error::EngineResult;
use crate::log::manifest_log::{Urgency, home_zones};
use crate::units::ZoneId;
use crate::zones::{Allocator, Reserve, Role, ZoneTable};

/// A free zone of an open store, made ready; `None` when none is to be had.
pub(super) fn take_zone(
    device: &dyn ZonedDevice,
    zones: &ZoneTable,
    allocator: &Allocator,
    urgency: Urgency,
) -> EngineResult<Option<ZoneId>> {
    let reserve = match urgency {
        Urgency::CanWait => Reserve::Kept,
        Urgency::Pressing => Reserve::Given,
    };
    while let Some(zone) = allocator.take_for_manifest(reserve) {
        match make_ready(device, zone) {
            Ok(true) => return Ok(Some(zone)),
            Ok(false) => zones.zone(zone).set_role(Role::Lost),
            Err(error) => {
                allocator.give_back_set_aside(zone);
                return if error.is_full_host() { Ok(None) } else { Err(error) };
            }
        }
    }
    Ok(None)
}

/// An empty zone of a device on which there is no store yet.
pub(super) fn take_blank_zone(device: &dyn ZonedDevice, taken: &[ZoneId]) -> EngineResult<Option<ZoneId>> {
    let home = home_zones(device)?;
    for zone in device.geometry().zones().filter(|zone| !home.contains(zone) && !taken.contains(zone)) {
        if device.report(zone)?.state == ZoneState::Empty && make_ready(device, zone)? {
            return Ok(Some(zone));
        }
    }
    Ok(None)
}

/// Whether an empty zone can be appended to: it may have worn out while it was free.
fn make_ready(device: &dyn ZonedDevice, zone: ZoneId) -> EngineResult<bool> {
    if device.report(zone)?.state.is_worn() {
        return Ok(false);
    }
    match device.prepare(zone, Preparation::Streaming) {
        Ok(()) => Ok(true),
        Err(error @ DeviceError::HostFull { .. }) => Err(error.into()),
        Err(_) if device.report(zone)?.state.is_worn() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
