//! Line 1: an append names a zone by its start and never a position inside it.

use crate::conformance::bench::{Append, Bench};
use crate::conformance::outcome::{Outcome, ensure};
use crate::device::DeviceError;
use crate::units::{DevicePosition, ZoneOffset};

pub(super) fn zone_start(bench: &Bench) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, bench.queue(8)?);
    let geometry = bench.geometry();
    let append = Append { zone, len_bytes: bench.block_bytes(), seed: 1 };
    bench.append(&*queue, append)?;
    let before = bench.report(zone)?;
    let inside = [512, bench.block_bytes(), geometry.zone_size_bytes - bench.block_bytes(), 1];
    for offset_bytes in inside {
        let position = geometry.position(zone, ZoneOffset::new(offset_bytes));
        let answer = bench.try_append_at(&*queue, position, append)?;
        ensure!(
            matches!(answer, Err(DeviceError::NotAZoneStart { .. })),
            "an append that names byte {offset_bytes} of {zone} gave {answer:?}"
        );
        let after = bench.report(zone)?;
        ensure!(before == after, "it was refused and yet {before:?} became {after:?}");
    }
    Ok(())
}

pub(super) fn zone_exists(bench: &Bench) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, bench.queue(8)?);
    let geometry = bench.geometry();
    let append = Append { zone, len_bytes: bench.block_bytes(), seed: 1 };
    let end = u64::from(geometry.zone_count) * geometry.zone_size_bytes;
    for position in [end, end + geometry.zone_size_bytes * 1000] {
        let answer = bench.try_append_at(&*queue, DevicePosition::new(position), append)?;
        ensure!(
            matches!(answer, Err(DeviceError::NoSuchZone { .. } | DeviceError::NotAZoneStart { .. })),
            "an append to a zone that would start at byte {position} gave {answer:?}"
        );
    }
    Ok(())
}

pub(super) fn no_position(bench: &Bench) -> Outcome {
    let (here, elsewhere, queue) = (bench.zone(0)?, bench.zone(1)?, bench.queue(8)?);
    let block = bench.block_bytes();
    let mut landed = Vec::new();
    for round in 0..6 {
        for (zone, seed) in [(here, 2 * round), (elsewhere, 2 * round + 1)] {
            let len_bytes = bench.up_to(1 + (round + u64::from(zone.get())) % 3);
            landed.push(bench.append(&*queue, Append { zone, len_bytes, seed })?);
        }
        bench.read(elsewhere, ZoneOffset::START, block)?;
        bench.try_queued_read(&*queue, here, ZoneOffset::START, block)??;
    }
    bench.expect_extents(here, ZoneOffset::START, &landed)?;
    bench.expect_extents(elsewhere, ZoneOffset::START, &landed)?;
    bench.expect_content(&*queue, &landed)
}
