//! What every device refuses by looking at the request alone.

use super::{DeviceError, DeviceResult, Geometry};
use crate::units::{DevicePosition, ZoneId, ZoneOffset};

/// The zone that an append names.
///
/// # Errors
/// [`DeviceError::NotAZoneStart`], [`DeviceError::NoSuchZone`].
pub(super) fn zone_named(geometry: &Geometry, zone_start: DevicePosition) -> DeviceResult<ZoneId> {
    if let Some(zone) = geometry.zone_starting_at(zone_start) {
        return Ok(zone);
    }
    let size_bytes = geometry.zone_size_bytes;
    match u32::try_from(zone_start.get() / size_bytes) {
        Ok(number) if zone_start.get().is_multiple_of(size_bytes) => {
            Err(DeviceError::NoSuchZone { zone: ZoneId::new(number), zone_count: geometry.zone_count })
        }
        _ => Err(DeviceError::NotAZoneStart { position: zone_start }),
    }
}

/// # Errors
/// [`DeviceError::Unaligned`], also for no bytes at all; [`DeviceError::AppendTooLarge`].
pub(super) fn check_append_length(geometry: &Geometry, zone: ZoneId, len_bytes: u64) -> DeviceResult<()> {
    let limit_bytes = geometry.append_limit_bytes;
    if len_bytes == 0 {
        return Err(unaligned(geometry, zone, "append length", len_bytes));
    }
    check_whole_blocks(geometry, zone, "append length", len_bytes)?;
    if len_bytes > u64::from(limit_bytes) {
        return Err(DeviceError::AppendTooLarge { zone, len_bytes, limit_bytes });
    }
    Ok(())
}

/// Gives the end of the range.
///
/// # Errors
/// [`DeviceError::NoSuchZone`], [`DeviceError::Unaligned`]; [`DeviceError::BeyondWritePointer`] for what reaches beyond
/// the zone, which is written up to `written`.
pub(super) fn check_read(
    geometry: &Geometry,
    zone: ZoneId,
    (offset, len_bytes): (ZoneOffset, u64),
    written: ZoneOffset,
) -> DeviceResult<ZoneOffset> {
    check_whole_blocks(geometry, zone, "read offset", offset.get())?;
    check_whole_blocks(geometry, zone, "read length", len_bytes)?;
    match offset.get().checked_add(len_bytes) {
        Some(end_bytes) if end_bytes <= geometry.zone_size_bytes => Ok(ZoneOffset::new(end_bytes)),
        _ => Err(DeviceError::BeyondWritePointer { zone, offset, len_bytes, write_pointer: written }),
    }
}

fn check_whole_blocks(geometry: &Geometry, zone: ZoneId, what: &'static str, value: u64) -> DeviceResult<()> {
    if geometry.is_whole_blocks(value) { Ok(()) } else { Err(unaligned(geometry, zone, what, value)) }
}

fn unaligned(geometry: &Geometry, zone: ZoneId, what: &'static str, value: u64) -> DeviceError {
    DeviceError::Unaligned { zone, what, value, block_bytes: geometry.block_bytes }
}
