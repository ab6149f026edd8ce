//! `device reset`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::Serialize;
use zonal_engine::device::{DeviceResult, ZoneState, ZonedDevice};
use zonal_engine::units::ZoneId;

use super::{failure, open_to_destroy};
use crate::kvctl::Answer;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;
use crate::kvctl::plan::DeviceTarget;
use crate::size::grouped;

/// What was done, with the names that JSON has.
#[derive(Debug, Serialize)]
struct Done {
    zones_reset: u64,
    zones_empty_before: u64,
    zones_that_cannot_be_reset: u64,
}

/// Empties the zones named, or all where none is.
pub(super) fn reset(
    target: &DeviceTarget,
    zones: &[RangeInclusive<u32>],
    output: &mut Output,
) -> Result<Answer, Failure> {
    let Some(device) = open_to_destroy(target)? else { return Ok(Answer::No) };
    let path = &target.at.path;
    check_exist(&*device, zones)?;
    let done = if zones.is_empty() { reset_all(&*device) } else { reset_some(&*device, zones) };
    let done = done.map_err(failure(path))?;
    output.result(&done, || text(&done))?;
    Ok(Answer::Yes)
}

/// Worn and conventional zones are left out: they cannot be reset, and nobody named them.
fn reset_all(device: &dyn ZonedDevice) -> DeviceResult<Done> {
    let mut done = Done { zones_reset: 0, zones_empty_before: 0, zones_that_cannot_be_reset: 0 };
    for zone in device.geometry().zones() {
        match device.report(zone)?.state {
            ZoneState::Empty => done.zones_empty_before += 1,
            state if state.is_active() || state == ZoneState::Full => {
                device.reset(zone)?;
                done.zones_reset += 1;
            }
            _ => done.zones_that_cannot_be_reset += 1,
        }
    }
    Ok(done)
}

/// All of them must exist before the first one is reset.
fn check_exist(device: &dyn ZonedDevice, zones: &[RangeInclusive<u32>]) -> Result<(), Failure> {
    let zone_count = device.geometry().zone_count;
    match zones.iter().map(RangeInclusive::end).find(|&&last| last >= zone_count) {
        None => Ok(()),
        Some(beyond) => Err(Failure::Usage(format!(
            "--zones: zone {beyond} does not exist; the device has {zone_count} zones, counted from 0"
        ))),
    }
}

fn reset_some(device: &dyn ZonedDevice, zones: &[RangeInclusive<u32>]) -> DeviceResult<Done> {
    let zones: BTreeSet<u32> = zones.iter().cloned().flatten().collect();
    for &zone in &zones {
        device.reset(ZoneId::new(zone))?;
    }
    Ok(Done { zones_reset: zones.len() as u64, zones_empty_before: 0, zones_that_cannot_be_reset: 0 })
}

fn text(done: &Done) -> String {
    let mut text = format!("zones reset: {}\n", grouped(done.zones_reset));
    for (count, what) in
        [(done.zones_empty_before, "empty before"), (done.zones_that_cannot_be_reset, "that cannot be reset")]
    {
        if count > 0 {
            text.push_str(&format!("zones {what}: {}\n", grouped(count)));
        }
    }
    text
}
