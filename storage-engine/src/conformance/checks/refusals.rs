//! Line 6: what is refused, each with an error of its own and nothing written.

use crate::conformance::bench::{Append, Bench};
use crate::conformance::outcome::{Outcome, ensure, not_applicable};
use crate::device::{DeviceError, ZoneState};
use crate::queue::IoQueue;
use crate::units::{SECTOR_BYTES, ZoneId, ZoneOffset};

/// A zone that holds one block, and an append of `len_bytes` to it.
fn to_a_used_zone(bench: &Bench, queue: &dyn IoQueue, len_bytes: u64) -> Outcome<Append> {
    let zone = bench.zone(0)?;
    if bench.report(zone)?.state == ZoneState::Empty {
        bench.append(queue, Append { zone, len_bytes: bench.block_bytes(), seed: 7 })?;
    }
    Ok(Append { zone, len_bytes, seed: 8 })
}

pub(super) fn too_large(bench: &Bench) -> Outcome {
    let queue = bench.queue(8)?;
    let limit = u64::from(bench.geometry().append_limit_bytes);
    for len_bytes in [limit + bench.block_bytes(), 2 * limit] {
        let append = to_a_used_zone(bench, &*queue, len_bytes)?;
        let beyond_room = len_bytes > bench.geometry().zone_capacity_bytes - bench.block_bytes();
        let error = bench.expect_refusal(&*queue, append, "AppendTooLarge", |error| match error {
            DeviceError::AppendTooLarge { .. } => true,
            // Two reasons at once; either is true.
            DeviceError::ZoneBoundary { .. } => beyond_room,
            _ => false,
        })?;
        let text = error.to_string();
        ensure!(
            beyond_room || text.contains(&limit.to_string()),
            "the message does not name the limit: {text}"
        );
    }
    Ok(())
}

pub(super) fn whole_blocks(bench: &Bench) -> Outcome {
    let (queue, block) = (bench.queue(8)?, bench.block_bytes());
    for len_bytes in [0, 1, 256, block - 1, block + 1, block + block / 2] {
        let append = to_a_used_zone(bench, &*queue, len_bytes)?;
        let is_due = |error: &DeviceError| matches!(error, DeviceError::Unaligned { .. });
        bench.expect_refusal(&*queue, append, "Unaligned", is_due)?;
    }
    Ok(())
}

pub(super) fn unaligned_memory(_: &Bench) -> Outcome {
    not_applicable("a queue takes only memory that is aligned to 4096 bytes, which suits every device")
}

/// Fills a zone up to its last `left_bytes`.
pub(super) fn fill_but(bench: &Bench, queue: &dyn IoQueue, zone: ZoneId, left_bytes: u64) -> Outcome {
    let (most, mut appends) = (bench.up_to(u64::from(u32::MAX)), Vec::new());
    let mut room_bytes = bench.geometry().zone_capacity_bytes - left_bytes;
    while room_bytes > 0 {
        let len_bytes = room_bytes.min(most);
        appends.push(Append { zone, len_bytes, seed: room_bytes });
        room_bytes -= len_bytes;
    }
    let landed = bench.append_all(queue, &appends, 8)?;
    bench.expect_extents(zone, ZoneOffset::START, &landed)
}

pub(super) fn beyond_room(bench: &Bench) -> Outcome {
    let (zone, queue, block) = (bench.zone(0)?, bench.queue(8)?, bench.block_bytes());
    if bench.up_to(2) <= block {
        return not_applicable("it needs appends of two blocks");
    }
    fill_but(bench, &*queue, zone, block)?;
    let is_due = |error: &DeviceError| matches!(error, DeviceError::ZoneBoundary { .. });
    let too_long = Append { zone, len_bytes: 2 * block, seed: 1 };
    bench.expect_refusal(&*queue, too_long, "ZoneBoundary", is_due)?;
    let landed = bench.append(&*queue, Append { zone, len_bytes: block, seed: 2 })?;
    bench.expect_zone(zone, ZoneState::Full, bench.geometry().zone_capacity_bytes)?;
    ensure!(
        landed.end_bytes() == bench.geometry().zone_capacity_bytes,
        "the last block landed at {}",
        landed.offset
    );
    bench.expect_content(&*queue, &[landed])
}

pub(super) fn full_zone(bench: &Bench) -> Outcome {
    let (written, finished, queue) = (bench.zone(0)?, bench.zone(1)?, bench.queue(8)?);
    fill_but(bench, &*queue, written, 0)?;
    bench.device().finish(finished)?;
    for zone in [written, finished] {
        let append = Append { zone, len_bytes: bench.block_bytes(), seed: 1 };
        bench.expect_refusal(&*queue, append, "ZoneFull", |error| {
            matches!(error, DeviceError::ZoneFull { .. })
        })?;
    }
    Ok(())
}

pub(super) fn read_only_zone(bench: &Bench) -> Outcome {
    let Some(worn) = bench.special_zone(|state| state == ZoneState::ReadOnly) else {
        return not_applicable("no zone is read-only");
    };
    let append = Append { zone: worn.zone, len_bytes: bench.block_bytes(), seed: 1 };
    let is_due = |error: &DeviceError| matches!(error, DeviceError::ZoneReadOnly { .. });
    bench.expect_refusal(&*bench.queue(8)?, append, "ZoneReadOnly", is_due)?;
    bench.read(worn.zone, ZoneOffset::START, bench.block_bytes()).map(drop)
}

pub(super) fn offline_zone(bench: &Bench) -> Outcome {
    let Some(worn) = bench.special_zone(|state| state == ZoneState::Offline) else {
        return not_applicable("no zone is offline");
    };
    let (zone, len_bytes, queue) = (worn.zone, bench.block_bytes(), bench.queue(8)?);
    let is_due = |error: &DeviceError| matches!(error, DeviceError::ZoneOffline { .. });
    bench.expect_refusal(&*queue, Append { zone, len_bytes, seed: 1 }, "ZoneOffline", is_due)?;
    let read = bench.try_queued_read(&*queue, zone, ZoneOffset::START, len_bytes)?;
    ensure!(matches!(&read, Err(error) if is_due(error)), "a read of an offline zone gave {read:?}");
    Ok(())
}

pub(super) fn place_fits(bench: &Bench) -> Outcome {
    let last_sector = (bench.geometry().zone_size_bytes - bench.block_bytes()) / SECTOR_BYTES;
    ensure!(
        u32::try_from(last_sector).is_ok(),
        "zones have {last_sector} sectors; their places do not fit 32 bits"
    );
    bench.geometry().validate()?;
    Ok(())
}
