//! Lines 3 and 4: paths that take no appends, and registered buffers.

use std::path::Path;

use crate::conformance::bench::{Append, Bench};
use crate::conformance::content::content;
use crate::conformance::outcome::{Outcome, ensure, not_applicable};
use crate::device::emulated::{Access, DirectIo};
use crate::device::{DeviceError, ZoneState, open_device};

pub(super) fn synchronous(bench: &Bench) -> Outcome {
    let zone = bench.zone(0)?;
    let before = bench.report(zone)?;
    let payload = content(1, crate::conformance::bench::len(bench.block_bytes()));
    let answer = bench.device().append_synchronously(bench.geometry().zone_start(zone), &payload);
    ensure!(matches!(answer, Err(DeviceError::Unsupported { .. })), "it gave {answer:?}");
    let after = bench.report(zone)?;
    ensure!(before == after, "it was refused and yet {before:?} became {after:?}");
    Ok(())
}

/// The program that runs is a regular file that is certainly there.
pub(super) fn foreign_file(_: &Bench) -> Outcome {
    let opened = open_device(Path::new("/proc/self/exe"), Access::ReadOnly, DirectIo::Off);
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

pub(super) fn fixed_buffers(_: &Bench) -> Outcome {
    not_applicable("queues of this version register no buffers")
}
