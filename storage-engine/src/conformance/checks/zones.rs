//! Rules of zones: reports, states, reads and resets.

use super::refusals::fill_but;
use crate::conformance::bench::{Append, Bench, Landed};
use crate::conformance::outcome::{Outcome, ensure};
use crate::device::{DeviceError, ZoneState};
use crate::queue::IoQueue;
use crate::units::{ZoneId, ZoneOffset};

pub(super) fn reports(bench: &Bench) -> Outcome {
    let geometry = bench.geometry();
    geometry.validate()?;
    for &zone in bench.zones() {
        let descriptor = bench.report(zone)?;
        ensure!(descriptor.zone == zone, "the report of {zone} is about {}", descriptor.zone);
        bench.expect_zone(zone, ZoneState::Empty, 0)?;
    }
    let beyond = bench.device().report(ZoneId::new(geometry.zone_count));
    ensure!(
        matches!(beyond, Err(DeviceError::NoSuchZone { .. })),
        "the report of a zone beyond the last gave {beyond:?}"
    );
    Ok(())
}

pub(super) fn transitions(bench: &Bench) -> Outcome {
    let (zone, queue, block) = (bench.zone(0)?, bench.queue(8)?, bench.block_bytes());
    let device = bench.device();
    let append = |seed| bench.append(&*queue, Append { zone, len_bytes: block, seed });
    device.open(zone)?;
    bench.expect_zone(zone, ZoneState::ExplicitlyOpen, 0)?;
    device.close(zone)?;
    bench.expect_zone(zone, ZoneState::Empty, 0)?;
    append(1)?;
    bench.expect_zone(zone, ZoneState::ImplicitlyOpen, block)?;
    device.open(zone)?;
    append(2)?;
    bench.expect_zone(zone, ZoneState::ExplicitlyOpen, 2 * block)?;
    device.close(zone)?;
    bench.expect_zone(zone, ZoneState::Closed, 2 * block)?;
    append(3)?;
    bench.expect_zone(zone, ZoneState::ImplicitlyOpen, 3 * block)?;
    device.finish(zone)?;
    bench.expect_zone(zone, ZoneState::Full, bench.geometry().zone_capacity_bytes)?;
    let opened = device.open(zone);
    ensure!(
        matches!(opened, Err(DeviceError::BadTransition { .. } | DeviceError::ZoneFull { .. })),
        "opening a full zone gave {opened:?}"
    );
    bench.expect_zone(zone, ZoneState::Full, bench.geometry().zone_capacity_bytes)?;
    device.reset(zone)?;
    bench.expect_zone(zone, ZoneState::Empty, 0)
}

pub(super) fn finish(bench: &Bench) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, bench.queue(8)?);
    let landed = bench.append(&*queue, Append { zone, len_bytes: bench.up_to(2), seed: 1 })?;
    bench.device().finish(zone)?;
    bench.expect_zone(zone, ZoneState::Full, bench.geometry().zone_capacity_bytes)?;
    bench.expect_content(&*queue, &[landed])
}

pub(super) fn capacity(bench: &Bench) -> Outcome {
    let (zone, next, queue) = (bench.zone(0)?, bench.zone(1)?, bench.queue(8)?);
    let beside = bench.append(&*queue, Append { zone: next, len_bytes: bench.block_bytes(), seed: 1 })?;
    fill_but(bench, &*queue, zone, 0)?;
    bench.expect_zone(zone, ZoneState::Full, bench.geometry().zone_capacity_bytes)?;
    bench.expect_zone(next, ZoneState::ImplicitlyOpen, bench.block_bytes())?;
    bench.expect_content(&*queue, &[beside])
}

pub(super) fn beyond_pointer(bench: &Bench) -> Outcome {
    let (zone, queue, block) = (bench.zone(0)?, bench.queue(8)?, bench.block_bytes());
    let landed = bench.append(&*queue, Append { zone, len_bytes: block, seed: 1 })?;
    let mut reads = vec![(block, block)];
    if bench.up_to(2) > block {
        reads.push((0, 2 * block));
    }
    for (offset_bytes, len_bytes) in reads {
        let offset = ZoneOffset::new(offset_bytes);
        let read = bench.try_queued_read(&*queue, zone, offset, len_bytes)?;
        ensure!(
            matches!(read, Err(DeviceError::BeyondWritePointer { .. })),
            "a queued read of {len_bytes} bytes at {offset}, of which {block} are written in {zone}, gave {read:?}"
        );
    }
    expect_zeros(bench, zone, block)?;
    bench.expect_zone(zone, ZoneState::ImplicitlyOpen, block)?;
    bench.expect_content(&*queue, &[landed])
}

/// From an offset on, some blocks of a zone read as zeros.
fn expect_zeros(bench: &Bench, zone: ZoneId, from_bytes: u64) -> Outcome {
    let room_bytes = bench.geometry().zone_capacity_bytes - from_bytes;
    let bytes = bench.read(zone, ZoneOffset::new(from_bytes), room_bytes.min(16 * bench.block_bytes()))?;
    let other = bytes.iter().position(|&byte| byte != 0);
    ensure!(
        other.is_none(),
        "byte {} of {zone} was never written since its reset and is not 0",
        from_bytes + other.unwrap_or_default() as u64
    );
    Ok(())
}

pub(super) fn reset(bench: &Bench) -> Outcome {
    let (zone, beside, queue) = (bench.zone(0)?, bench.zone(1)?, bench.queue(8)?);
    let kept = bench.append(&*queue, Append { zone: beside, len_bytes: bench.up_to(2), seed: 1 })?;
    bench.append(&*queue, Append { zone, len_bytes: bench.up_to(3), seed: 2 })?;
    bench.device().reset(zone)?;
    bench.expect_zone(zone, ZoneState::Empty, 0)?;
    expect_zeros(bench, zone, 0)?;
    bench.device().reset(zone)?;
    bench.expect_zone(zone, ZoneState::Empty, 0)?;
    bench.expect_content(&*queue, &[kept])
}

/// Several fillings one after the other; of each everything is there, and nothing of the one before.
pub(super) fn rewrite(bench: &Bench) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, bench.queue(64)?);
    for round in 1..=3 {
        let landed = filling(bench, &*queue, zone, round)?;
        bench.expect_extents(zone, ZoneOffset::START, &landed)?;
        bench.expect_content(&*queue, &landed)?;
        let end_bytes = landed.iter().map(Landed::end_bytes).max().unwrap_or_default();
        if end_bytes < bench.geometry().zone_capacity_bytes {
            expect_zeros(bench, zone, end_bytes)?;
        }
        bench.device().reset(zone)?;
    }
    Ok(())
}

/// Each round a little shorter than the one before, so that leftovers would show.
fn filling(bench: &Bench, queue: &dyn IoQueue, zone: ZoneId, round: u64) -> Outcome<Vec<Landed>> {
    let capacity_blocks = bench.geometry().zone_capacity_bytes / bench.block_bytes();
    let mut left = (capacity_blocks / round).min(400) * bench.block_bytes();
    let mut appends = Vec::new();
    while left > 0 {
        let len_bytes = bench.up_to(1 + left % 3).min(left);
        appends.push(Append { zone, len_bytes, seed: round << 32 | left });
        left -= len_bytes;
    }
    bench.append_all(queue, &appends, 64)
}
