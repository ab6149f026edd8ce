//! Lines 3 and 4: paths that take no appends, and registered buffers.

use std::io::ErrorKind;
use std::path::Path;

use crate::buffer::AlignedBuffer;
use crate::conformance::bench::{Append, Bench, Landed, len};
use crate::conformance::content::{content, first_difference};
use crate::conformance::outcome::{Ending, Outcome, ensure, not_applicable};
use crate::device::{DeviceError, ZoneState};
use crate::units::ZoneOffset;

pub(super) fn synchronous(bench: &Bench) -> Outcome {
    let zone = bench.zone(0)?;
    let before = bench.report(zone)?;
    let payload = content(1, len(bench.block_bytes()));
    let answer = bench.device().append_synchronously(bench.geometry().zone_start(zone), &payload);
    ensure!(matches!(answer, Err(DeviceError::Unsupported { .. })), "it gave {answer:?}");
    let after = bench.report(zone)?;
    ensure!(before == after, "it was refused and yet {before:?} became {after:?}");
    Ok(())
}

/// The program that runs is a regular file that is certainly there.
pub(super) fn foreign_file(bench: &Bench) -> Outcome {
    let opened = bench.open_path(Path::new("/proc/self/exe"));
    let is_refused = matches!(opened, Err(DeviceError::NotOurs { .. } | DeviceError::Unsupported { .. }));
    ensure!(is_refused, "a program's file was opened as a zoned device: {opened:?}");
    Ok(())
}

pub(super) fn conventional_zone(bench: &Bench) -> Outcome {
    let Some(zone) = bench.special_zone(|state| !matches!(state, ZoneState::ReadOnly | ZoneState::Offline))
    else {
        return not_applicable("the device has no conventional zone");
    };
    let append = Append { zone: zone.zone, len_bytes: bench.block_bytes(), seed: 1 };
    let is_due = |error: &DeviceError| matches!(error, DeviceError::Unsupported { .. });
    bench.expect_refusal(&*bench.queue(8)?, append, "Unsupported", is_due).map(drop)
}

/// Where a queue registers buffers, appends from them and reads into them are like any others.
pub(super) fn fixed_buffers(bench: &Bench) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, bench.queue(8)?);
    let is_io_uring = queue.kind().starts_with("io_uring");
    let mut landed = Vec::new();
    for seed in 0..6 {
        let append = Append { zone, len_bytes: bench.block_bytes(), seed };
        let mut payload = content(seed, len(append.len_bytes));
        match queue.register(&mut payload) {
            Ok(()) if is_io_uring => {}
            Ok(()) => ensure!(false, "{} says that it registered a buffer", queue.kind()),
            Err(error) if error.kind() == ErrorKind::Unsupported && !is_io_uring => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Unsupported => return not_applicable(error.to_string()),
            Err(error) => ensure!(false, "registering a buffer failed: {error}"),
        }
        let offset = bench.append_payload(&*queue, zone, payload)?;
        landed.push(Landed { append, offset });
        let mut into = AlignedBuffer::zeroed(len(append.len_bytes));
        queue
            .register(&mut into)
            .map_err(|error| Ending::Fail(format!("registering a buffer failed: {error}")))?;
        let found = bench.try_queued_read_into(&*queue, zone, offset, into)??;
        let wrong = first_difference(seed, &found);
        ensure!(
            wrong.is_none(),
            "byte {} of a block read into a registered buffer is wrong",
            wrong.unwrap_or_default()
        );
    }
    bench.expect_extents(zone, ZoneOffset::START, &landed)?;
    bench.expect_content(&*queue, &landed)
}
