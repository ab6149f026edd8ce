//! Limits of open and active zones.

use crate::conformance::bench::{Append, Bench};
use crate::conformance::outcome::{Outcome, ensure, not_applicable};
use crate::device::{DeviceError, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

/// As many zones as a limit allows, and one more; or why there are none.
fn up_to_the_limit<'bench>(
    bench: &'bench Bench,
    limit: u32,
    what: &str,
) -> Outcome<(&'bench [ZoneId], ZoneId)> {
    let count = usize::try_from(limit).unwrap_or(usize::MAX);
    let zones = bench.zones();
    match zones.get(count) {
        Some(&one_more) => Ok((&zones[..count], one_more)),
        None => not_applicable(format!(
            "the limit of {limit} {what} zones cannot be reached with the {} zones that are used",
            zones.len()
        )),
    }
}

fn expect_limit_in_words(error: &DeviceError, zone: ZoneId, limit: u32) -> Outcome {
    let text = error.to_string();
    let says_it = text.contains(&format!("limit of {limit} ")) && text.contains(&zone.to_string());
    ensure!(says_it, "the message names not both {zone} and the limit of {limit}: {text}");
    Ok(())
}

pub(super) fn active(bench: &Bench) -> Outcome {
    let limit = bench.geometry().max_active_zones;
    let (zones, one_more) = up_to_the_limit(bench, limit, "active")?;
    let (queue, len_bytes) = (bench.queue(8)?, bench.block_bytes());
    let append = |zone: ZoneId| Append { zone, len_bytes, seed: u64::from(zone.get()) };
    let mut landed = Vec::new();
    for &zone in zones {
        landed.push(bench.append(&*queue, append(zone))?);
    }
    let is_due = |error: &DeviceError| matches!(error, DeviceError::TooManyActive { .. });
    let error = bench.expect_refusal(&*queue, append(one_more), "TooManyActive", is_due)?;
    expect_limit_in_words(&error, one_more, limit)?;
    // A zone that is open already goes on, and when it is done it makes room. (To open or finish a closed zone, null_blk
    // would have to close another, which it does not at the limit of active zones.)
    let still_open = zones[zones.len() - 1];
    landed.push(bench.append(&*queue, append(still_open))?);
    bench.device().finish(still_open)?;
    landed.push(bench.append(&*queue, append(one_more))?);
    bench.expect_content(&*queue, &landed)
}

pub(super) fn open(bench: &Bench) -> Outcome {
    let limit = bench.geometry().max_open_zones;
    let (zones, one_more) = up_to_the_limit(bench, limit, "open")?;
    for &zone in zones {
        bench.device().open(zone)?;
    }
    let before = bench.report(one_more)?;
    let answer = bench.device().open(one_more);
    let after = bench.report(one_more)?;
    ensure!(before == after, "opening one zone too many made {before:?} {after:?}");
    match answer {
        // Where the limits are equal, either is true.
        Err(error @ (DeviceError::TooManyOpen { .. } | DeviceError::TooManyActive { .. })) => {
            expect_limit_in_words(&error, one_more, limit)?;
        }
        other => ensure!(false, "opening one zone more than the limit of {limit} gave {other:?}"),
    }
    bench.device().close(zones[0])?;
    bench.device().open(one_more)?;
    bench.expect_zone(one_more, ZoneState::ExplicitlyOpen, 0)
}

pub(super) fn implicit_opens(bench: &Bench) -> Outcome {
    let (open, active) = (bench.geometry().max_open_zones, bench.geometry().max_active_zones);
    if open >= active {
        return not_applicable("as many zones may be open as may be active");
    }
    let (zones, one_more) = up_to_the_limit(bench, open, "open")?;
    let queue = bench.queue(8)?;
    let mut landed = Vec::new();
    for round in 0..2 {
        for &zone in zones.iter().chain([&one_more]) {
            let append =
                Append { zone, len_bytes: bench.block_bytes(), seed: u64::from(zone.get()) + round * 7919 };
            landed.push(bench.append(&*queue, append)?);
        }
    }
    let mut open_count = 0;
    for &zone in zones.iter().chain([&one_more]) {
        open_count += u32::from(bench.report(zone)?.state.is_open());
        bench.expect_extents(zone, ZoneOffset::START, &landed)?;
    }
    ensure!(open_count <= open, "{open_count} zones are open; the limit is {open}");
    bench.expect_content(&*queue, &landed)
}
