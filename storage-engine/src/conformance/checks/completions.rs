//! Line 2: what a completion says.

use crate::conformance::bench::{Append, Bench, Landed, match_up, reap_some, request};
use crate::conformance::outcome::{Outcome, ensure, not_applicable};
use crate::device::{AppendCommand, AppendTicket, Persistence, RawResult};
use crate::units::{SECTOR_BYTES, ZoneId, ZoneOffset};

pub(super) fn user_data(bench: &Bench) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, bench.queue(8)?);
    let append = Append { zone, len_bytes: bench.block_bytes(), seed: 1 };
    let submitted = [0, 1, u64::from(u32::MAX), 1 << 32, 1 << 63, u64::MAX];
    for &user_data in &submitted {
        let request = request(bench.geometry(), append, user_data, Persistence::Volatile);
        queue.submit(request).map_err(|refused| refused.error)?;
    }
    let mut completions = Vec::new();
    while completions.len() < submitted.len() {
        reap_some(&*queue, &mut completions)?;
    }
    let mut returned: Vec<_> = completions.iter().map(|completion| completion.user_data).collect();
    returned.sort_unstable();
    ensure!(returned == submitted, "user data {submitted:x?} were submitted, {returned:x?} came back");
    Ok(())
}

pub(super) fn place_unit(bench: &Bench) -> Outcome {
    let queue = bench.queue(8)?;
    // The last one as well: what is reckoned from the device's start instead of the zone's shows there.
    let last = *bench.zones().last().unwrap_or(&bench.zone(0)?);
    for zone in [bench.zone(0)?, last] {
        bench.clear()?;
        let mut landed = Vec::new();
        let mut end_bytes = 0;
        for seed in 0..4 {
            let append = Append { zone, len_bytes: bench.up_to(1 + seed % 3), seed };
            let sector = bench.try_append(&*queue, append)??;
            let due = end_bytes / SECTOR_BYTES;
            ensure!(
                u64::from(sector.get()) == due,
                "an append after {end_bytes} bytes was told to lie at {sector}; it lies at sector {due}"
            );
            landed.push(Landed { append, offset: sector.offset() });
            end_bytes += append.len_bytes;
        }
        bench.expect_extents(zone, ZoneOffset::START, &landed)?;
        bench.expect_content(&*queue, &landed)?;
    }
    Ok(())
}

pub(super) fn not_split(bench: &Bench) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, bench.queue(8)?);
    let append = Append { zone, len_bytes: bench.up_to(u64::from(u32::MAX)), seed: 1 };
    let before = bench.device().activity().appended_bytes;
    let landed = bench.append(&*queue, append)?;
    let counted = bench.device().activity().appended_bytes - before;
    ensure!(
        counted == append.len_bytes,
        "{} bytes were appended, the device counts {counted}",
        append.len_bytes
    );
    bench.expect_extents(zone, ZoneOffset::START, &[landed])?;
    bench.expect_content(&*queue, &[landed])
}

/// Has the device admit an append whose command nobody performs.
fn admitted(bench: &Bench, zone: ZoneId) -> Outcome<AppendTicket> {
    let len_bytes = bench.up_to(2);
    Ok(bench.device().begin_append(bench.geometry().zone_start(zone), len_bytes, Persistence::Volatile)?)
}

pub(super) fn short_append(bench: &Bench) -> Outcome {
    let ticket = admitted(bench, bench.zone(0)?)?;
    if let AppendCommand::Nvme(_) = ticket.command {
        let _ = bench.device().end_append(ticket, RawResult::of(-libc::EIO));
        return not_applicable("a passthrough command moves all of its bytes or none");
    }
    let short_bytes = ticket.len_bytes - bench.block_bytes() / 2;
    let short = RawResult::of(i32::try_from(short_bytes).expect("two blocks"));
    let answer = bench.device().end_append(ticket, short);
    ensure!(
        answer.is_err(),
        "half a block was missing, and the device says that the append landed: {answer:?}"
    );
    Ok(())
}

pub(super) fn failed_append(bench: &Bench) -> Outcome {
    for (number, errno) in [libc::EIO, libc::ENOSPC, libc::EINVAL].into_iter().enumerate() {
        let ticket = admitted(bench, bench.zone(number % bench.zones().len().max(1))?)?;
        let answer = bench.device().end_append(ticket, RawResult::of(-errno));
        ensure!(answer.is_err(), "the command failed with errno {errno}, and yet: {answer:?}");
        bench.clear()?;
    }
    Ok(())
}

pub(super) fn durable_append(bench: &Bench) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, bench.queue(8)?);
    let volatile = Append { zone, len_bytes: bench.block_bytes(), seed: 0 };
    let durable = Append { zone, len_bytes: bench.up_to(2), seed: 1 };
    let mut landed = vec![bench.append(&*queue, volatile)?];
    queue
        .submit(request(bench.geometry(), durable, 0, Persistence::Durable))
        .map_err(|refused| refused.error)?;
    let mut completions = Vec::new();
    while completions.is_empty() {
        reap_some(&*queue, &mut completions)?;
    }
    landed.extend(match_up(&[durable], completions)?);
    bench.device().flush()?;
    bench.expect_extents(zone, ZoneOffset::START, &landed)?;
    bench.expect_content(&*queue, &landed)
}
