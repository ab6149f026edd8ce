//! Runs one phase: warms up, then measures, with all threads at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Barrier, mpsc::Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::chooser::RecordChooser;
use super::failure::Failure;
use super::inserts::InsertSequence;
use super::latency::LatencyRecorder;
use super::progress::Progress;
use super::sampler::Sampler;
use super::series::{Recording, Window};
use super::store::{Store, StoreWindow};
use super::values::{ValuePool, mix};
use super::worker::{PassLimit, PassTally, PhaseContext, Worker};
use super::workload::Workload;

/// What a phase came to.
pub struct PhaseOutcome {
    /// Operations measured.
    pub operations: u64,
    /// From the first operation's beginning to the last one's end.
    pub elapsed: Duration,
    /// What the flush at the end took: it makes what the phase wrote durable, and the store's counters complete.
    pub flush: Duration,
    /// Latencies of all threads.
    pub latency: LatencyRecorder,
    /// The same by windows of time, flush left out.
    pub windows: Vec<Window>,
    /// What the store counted meanwhile, flush included.
    pub store: serde_json::Value,
}

/// How a phase is to run.
pub struct PhaseSettings<'a> {
    /// What to do.
    pub workload: &'a Workload,
    /// Operations in all; `None` leaves it to the time limit.
    pub operations: Option<u64>,
    /// The longest that measuring may take.
    pub time_limit: Option<Duration>,
    /// The length of the time series' windows.
    pub window_length: Duration,
    /// What random choices follow from.
    pub seed: u64,
    /// Whether writes were acknowledged before they were durable, so that a flush has something to do.
    pub flush_at_end: bool,
}

/// Runs a phase on a store that holds the records of `inserts`.
///
/// # Errors
///
/// The first failed operation or wrong value.
pub fn run_phase<S: Store>(
    store: &S,
    settings: &PhaseSettings<'_>,
    inserts: &InsertSequence,
    pool: &ValuePool,
    progress: &mut Progress,
) -> Result<PhaseOutcome, Failure> {
    let workload = settings.workload;
    let context = PhaseContext { store, workload, inserts, pool, stop: AtomicBool::new(false) };
    let records = RecordChooser::for_phase(workload, inserts.acknowledged(), settings.operations);
    let mut workers: Vec<_> = (0..workload.threads)
        .map(|thread| Worker::new(&context, thread, records.clone(), mix(settings.seed ^ mix(thread as u64))))
        .collect();
    if workload.warmup_operations > 0 {
        progress.start(&format!("{} warm-up", workload.name), Some(workload.warmup_operations), None);
        let warm_up = Pass {
            operations: Some(workload.warmup_operations),
            time: None,
            window_length: settings.window_length,
        };
        run_pass(&context, &mut workers, warm_up, progress)?;
    }
    let before = store.counters();
    progress.start(&workload.name, settings.operations, settings.time_limit);
    let measured = Pass {
        operations: settings.operations,
        time: settings.time_limit,
        window_length: settings.window_length,
    };
    let PassOutcome { operations, elapsed, latency, windows } =
        run_pass(&context, &mut workers, measured, progress)?;
    let flush =
        if settings.flush_at_end && workload.mix.writes() { timed_flush(store)? } else { Duration::ZERO };
    let difference = store.difference(&before, &store.counters());
    Ok(PhaseOutcome { operations, elapsed, flush, latency, windows, store: difference })
}

/// How long all workers run together, and how that is recorded.
#[derive(Clone, Copy)]
struct Pass {
    operations: Option<u64>,
    time: Option<Duration>,
    window_length: Duration,
}

struct PassOutcome {
    operations: u64,
    elapsed: Duration,
    latency: LatencyRecorder,
    windows: Vec<Window>,
}

fn timed_flush(store: &impl Store) -> Result<Duration, Failure> {
    let begun = Instant::now();
    store.flush().map_err(|source| Failure::Whole { action: "flush", source })?;
    Ok(begun.elapsed())
}

/// Lets every worker run its share.
fn run_pass<S: Store>(
    context: &PhaseContext<'_, S>,
    workers: &mut [Worker<'_, S>],
    pass: Pass,
    progress: &mut Progress,
) -> Result<PassOutcome, Failure> {
    let done: Vec<DoneCount> = workers.iter().map(|_| DoneCount::default()).collect();
    let shares = shares(pass.operations, workers.len());
    let recording = Recording::new(pass.window_length, &context.workload.mix, workers.len());
    let all_ready = Barrier::new(workers.len() + 1);
    let (report, reports) = mpsc::channel();
    let collected = thread::scope(|scope| {
        for ((worker, done), operations) in workers.iter_mut().zip(&done).zip(shares) {
            let (report, all_ready, recording) = (report.clone(), &all_ready, &recording);
            let limit = PassLimit { operations, time: pass.time };
            scope.spawn(move || {
                let _guard = StopOnPanic(&context.stop);
                all_ready.wait();
                // The receiver lives until every sender is gone, so this cannot fail.
                let _ = report.send(worker.run(limit, recording, &done.0));
            });
        }
        drop(report);
        // Its first look at the counters comes before the first operation.
        let sampler = Sampler::new(context.store, &recording);
        all_ready.wait();
        collect(&reports, &done, sampler, progress)
    });
    progress.finish();
    let (tallies, samples) = collected?;
    Ok(sum_up(&tallies, recording, samples))
}

/// Waits for every worker, showing progress and sampling the store meanwhile. The first failure that comes in is the one
/// to tell of.
fn collect<S: Store>(
    reports: &Receiver<Result<PassTally, Failure>>,
    done: &[DoneCount],
    mut sampler: Sampler<'_, S>,
    progress: &mut Progress,
) -> Result<(Vec<PassTally>, Vec<StoreWindow>), Failure> {
    let mut tallies = Vec::with_capacity(done.len());
    let mut failure = None;
    loop {
        let next = sampler.due().min(progress.due());
        match reports.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Ok(tally)) => tallies.push(tally),
            Ok(Err(error)) => failure = failure.or(Some(error)),
            Err(RecvTimeoutError::Timeout) => {
                sampler.sample_when_due(Instant::now());
                if Instant::now() >= progress.due() {
                    progress.tick(done.iter().map(|count| count.0.load(Ordering::Relaxed)).sum());
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    failure.map_or_else(|| Ok((tallies, sampler.finish())), Err)
}

fn sum_up(tallies: &[PassTally], recording: Recording, samples: Vec<StoreWindow>) -> PassOutcome {
    let began = recording.began();
    let first_end = tallies.iter().map(|tally| tally.ended).min().unwrap_or(began);
    let last_end = tallies.iter().map(|tally| tally.ended).max().unwrap_or(began);
    let series = recording.finish(first_end, last_end, samples);
    PassOutcome {
        operations: tallies.iter().map(|tally| tally.operations).sum(),
        elapsed: last_end - began,
        latency: series.total,
        windows: series.windows,
    }
}

/// Splits operations evenly; the first threads take what is left over. Fixed shares keep a seed's choices the same.
fn shares(operations: Option<u64>, threads: usize) -> Vec<u64> {
    let threads = threads as u64;
    (0..threads)
        .map(|thread| operations.map_or(u64::MAX, |all| all / threads + u64::from(thread < all % threads)))
        .collect()
}

/// Operations that one worker has done: alone in its cache lines, for it is written after every operation.
#[repr(align(128))]
#[derive(Default)]
struct DoneCount(AtomicU64);

/// Ends the other workers when one panics, so that the panic is seen and not waited for.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
