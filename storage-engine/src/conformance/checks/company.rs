//! Line 5: many appends in flight, from many threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::conformance::bench::{Append, Bench, Landed, match_up, request};
use crate::conformance::outcome::{Ending, Outcome, ensure, not_applicable};
use crate::device::{AppendOrder, Persistence};
use crate::queue::{Completion, IoQueue, Wait};
use crate::units::{ZoneId, ZoneOffset};

/// As many appends as one check makes, at most; fewer where zones are small.
const APPEND_COUNT: u64 = 320;
const DEPTH: usize = 64;
const THREAD_COUNT: usize = 4;

pub(super) fn one_by_one(bench: &Bench) -> Outcome {
    into_one_zone(bench, 1)
}

pub(super) fn many_in_flight(bench: &Bench) -> Outcome {
    into_one_zone(bench, DEPTH)
}

fn into_one_zone(bench: &Bench, depth: usize) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, queue_of_depth(bench, depth)?);
    let landed = bench.append_all(&*queue, &appends(bench, &[zone], APPEND_COUNT), depth)?;
    bench.expect_extents(zone, ZoneOffset::START, &landed)?;
    bench.expect_content(&*queue, &landed)
}

pub(super) fn zones_one_by_one(bench: &Bench) -> Outcome {
    into_many_zones(bench, 1)
}

pub(super) fn zones_in_flight(bench: &Bench) -> Outcome {
    into_many_zones(bench, DEPTH)
}

fn into_many_zones(bench: &Bench, depth: usize) -> Outcome {
    let (zones, queue) = (bench.some_zones(12)?, queue_of_depth(bench, depth)?);
    let landed = bench.append_all(&*queue, &appends(bench, zones, APPEND_COUNT), depth)?;
    zones.iter().try_for_each(|&zone| bench.expect_extents(zone, ZoneOffset::START, &landed))?;
    bench.expect_content(&*queue, &landed)
}

fn queue_of_depth(bench: &Bench, depth: usize) -> Outcome<Arc<dyn IoQueue>> {
    bench.queue(u32::try_from(depth).expect("a small depth"))
}

/// Appends of 1 to 4 blocks to zones at random, as far as there is room in each: a few blocks stay free in every zone, so
/// that none is full and counts as active no more.
fn appends(bench: &Bench, zones: &[ZoneId], count: u64) -> Vec<Append> {
    let room_bytes = bench.geometry().zone_capacity_bytes.saturating_sub(bench.block_bytes());
    let mut left = vec![room_bytes; zones.len()];
    let mut appends = Vec::new();
    for seed in 0..count {
        let number = usize::try_from(seed.wrapping_mul(0x9e37_79b9) >> 7).unwrap_or_default() % zones.len();
        let len_bytes = bench.up_to(1 + seed % 4);
        if let Some(still_left) = left[number].checked_sub(len_bytes) {
            left[number] = still_left;
            appends.push(Append { zone: zones[number], len_bytes, seed });
        }
    }
    appends
}

pub(super) fn many_threads(bench: &Bench) -> Outcome {
    let queue = bench.queue(u32::try_from(DEPTH).expect("a small depth"))?;
    from_threads(bench, &vec![queue; THREAD_COUNT])
}

pub(super) fn many_queues(bench: &Bench) -> Outcome {
    if bench.device().append_order() == AppendOrder::OneAtATime {
        return not_applicable(
            "the device takes one append to a zone at a time, and each queue sees to its own",
        );
    }
    let queues: Outcome<Vec<_>> = (0..THREAD_COUNT).map(|_| bench.queue(16)).collect();
    from_threads(bench, &queues?)
}

/// One thread for each of the queues named, which may be one and the same.
fn from_threads(bench: &Bench, queues: &[Arc<dyn IoQueue>]) -> Outcome {
    let zone = bench.zone(0)?;
    let appends = appends(bench, &[zone], APPEND_COUNT);
    ensure!(!appends.is_empty(), "{zone} has no room for two blocks");
    let completions = Mutex::new(Vec::new());
    let share = appends.len().div_ceil(queues.len());
    thread::scope(|scope| {
        let (appends, completions) = (&appends, &completions);
        let spawn = |(number, queue): (usize, &Arc<dyn IoQueue>)| {
            let queue = Arc::clone(queue);
            scope.spawn(move || -> Outcome {
                let mut reaped = Vec::new();
                let mine = appends.iter().enumerate().skip(number * share).take(share);
                for (user_data, append) in mine {
                    let request = request(bench.geometry(), *append, user_data as u64, Persistence::Volatile);
                    queue.submit(request).map_err(|refused| refused.error)?;
                    if user_data % 16 == 0 {
                        reap(&*queue, Wait::Never, &mut reaped)?;
                    }
                }
                // Others may reap the last one meanwhile, and submit more: that nothing came is no finding here.
                while queue.in_flight_count() > 0 {
                    reap(&*queue, Wait::ForOne, &mut reaped)?;
                }
                completions.lock().unwrap_or_else(PoisonError::into_inner).append(&mut reaped);
                Ok(())
            })
        };
        let threads: Vec<_> = queues.iter().enumerate().map(spawn).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(Ending::Fail("a thread that appended panicked".to_owned())),
        })
    })?;
    let completions = completions.into_inner().unwrap_or_else(PoisonError::into_inner);
    let landed: Vec<Landed> = match_up(&appends, completions)?;
    bench.expect_extents(zone, ZoneOffset::START, &landed)?;
    bench.expect_content(&*queues[0], &landed)
}

fn reap(queue: &dyn IoQueue, wait: Wait, into: &mut Vec<Completion>) -> Outcome {
    queue.reap(wait, into).map(drop).map_err(|error| Ending::Fail(format!("reaping failed: {error}")))
}
