//! The time series of a phase: its operations by windows of one length, counted from the phase's beginning.
//!
//! An operation belongs to the window in which it ended. Each worker keeps the latencies of its current window for itself
//! and hands them in when an operation ends beyond it, so that recording costs a comparison an operation and one merge a
//! window. Quantiles are worked out by the thread that waits for the workers, never by one that is measured.
//!
//! Invariant: a window is closed only when every worker is in a later one, or done; nothing is added to it after that.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::latency::{LatencyRecorder, LatencySummary};
use super::store::StoreWindow;
use super::workload::{Mix, OperationKind};

/// The windows of one phase, as its workers fill them.
pub struct Recording {
    window_length: Duration,
    began: OnceLock<Instant>,
    mix: Mix,
    state: Mutex<State>,
}

struct State {
    /// Windows that some worker may still add to, the oldest first.
    open: VecDeque<LatencyRecorder>,
    /// The number of the first of them.
    oldest_open: u64,
    closed: Vec<ClosedWindow>,
    /// The window that each worker is in; [`DONE`] when it adds no more.
    reached: Vec<u64>,
    total: LatencyRecorder,
}

const DONE: u64 = u64::MAX;

/// What happened in a window that nobody adds to any more.
#[derive(Clone, PartialEq, Debug)]
pub struct ClosedWindow {
    /// Operations that ended in it.
    pub operations: u64,
    /// Their latencies, for each kind that occurred.
    pub latency: Vec<(OperationKind, LatencySummary)>,
}

/// One window of a phase that is over.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// From the phase's beginning to this window's end.
    pub ended_after: Duration,
    /// How long it was: the last one of a phase is shorter than the others.
    pub length: Duration,
    /// Whether it has its full length, and every thread worked all through it. Only such windows can be compared.
    pub complete: bool,
    /// What was done in it.
    pub done: ClosedWindow,
    /// How the store was at its end, and what the store did in it.
    pub store: StoreWindow,
}

/// A whole phase, by windows.
pub struct Series {
    /// The windows, without a gap.
    pub windows: Vec<Window>,
    /// Latencies of the whole phase.
    pub total: LatencyRecorder,
}

/// The window that a worker is in.
#[derive(Clone, Copy)]
pub struct Position {
    worker: usize,
    window: u64,
    /// Operations that end at this instant or later belong to a later window.
    pub ends: Instant,
}

impl Recording {
    /// Windows of one length for so many workers.
    #[must_use]
    pub fn new(window_length: Duration, mix: &Mix, workers: usize) -> Self {
        let total = LatencyRecorder::new(mix);
        let reached = vec![0; workers];
        let state = State { open: VecDeque::new(), oldest_open: 0, closed: Vec::new(), reached, total };
        Self { window_length, began: OnceLock::new(), mix: mix.clone(), state: Mutex::new(state) }
    }

    /// When the first window began: when this was asked for the first time.
    pub fn began(&self) -> Instant {
        *self.began.get_or_init(Instant::now)
    }

    /// Where a worker begins.
    pub fn enter(&self, worker: usize) -> Position {
        Position { worker, window: 0, ends: self.end_of(0) }
    }

    /// When a window ends.
    pub fn end_of(&self, window: u64) -> Instant {
        self.began() + times(self.window_length, window + 1)
    }

    /// Takes what a worker timed in its window, leaving `latency` empty, and gives the window in which `now` lies.
    pub fn turn(&self, position: Position, latency: &mut LatencyRecorder, now: Instant) -> Position {
        let window = self.window_of(now - self.began());
        self.hand_in(position, latency, window);
        Position { window, ends: self.end_of(window), ..position }
    }

    /// Takes what a worker timed in its last window.
    pub fn leave(&self, position: Position, latency: &mut LatencyRecorder) {
        self.hand_in(position, latency, DONE);
    }

    /// Works out the quantiles of the windows that all workers have left.
    pub fn close_windows(&self) {
        loop {
            // On a line of its own: the lock must be free again while quantiles are worked out.
            let finished = self.state().take_finished(&self.mix);
            let Some(window) = finished else { return };
            let latency: Vec<_> = window.summaries().collect();
            let operations = latency.iter().map(|(_, summary)| summary.count).sum();
            let mut state = self.state();
            state.total.merge(&window);
            state.closed.push(ClosedWindow { operations, latency });
        }
    }

    /// The series of a phase in which the first worker ended at `first_end` and the last at `last_end`. `samples` says of
    /// the windows in order what the store did.
    #[must_use]
    pub fn finish(self, first_end: Instant, last_end: Instant, samples: Vec<StoreWindow>) -> Series {
        self.close_windows();
        let began = self.began();
        let window_length = self.window_length;
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let samples = samples.into_iter().chain(std::iter::repeat(StoreWindow::default()));
        let windows = (0..).zip(state.closed).zip(samples).map(|((number, done), store)| {
            let begins_after = times(window_length, number);
            let ended_after = (begins_after + window_length).min(last_end - began).max(begins_after);
            let complete = begins_after + window_length <= first_end - began;
            Window { ended_after, length: ended_after - begins_after, complete, done, store }
        });
        Series { windows: windows.collect(), total: state.total }
    }

    fn hand_in(&self, position: Position, latency: &mut LatencyRecorder, next: u64) {
        self.state().add(position, latency, next, &self.mix);
        latency.clear();
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a phase has far fewer windows than 64 bits can count"
    )]
    fn window_of(&self, since: Duration) -> u64 {
        (since.as_nanos() / self.window_length.as_nanos()) as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, position: Position, latency: &LatencyRecorder, next: u64, mix: &Mix) {
        let place = usize::try_from(position.window - self.oldest_open).unwrap_or(usize::MAX);
        while self.open.len() <= place {
            self.open.push_back(LatencyRecorder::new(mix));
        }
        self.open[place].merge(latency);
        self.reached[position.worker] = next;
    }

    /// The oldest open window, if every worker has left it. A window in which no operation ended may never have been
    /// opened; it counts all the same while a worker is in a later one.
    fn take_finished(&mut self, mix: &Mix) -> Option<LatencyRecorder> {
        if self.reached.iter().any(|reached| *reached <= self.oldest_open) {
            return None;
        }
        let someone_is_later = self.reached.iter().any(|reached| *reached != DONE);
        let window = self.open.pop_front().or_else(|| someone_is_later.then(|| LatencyRecorder::new(mix)))?;
        self.oldest_open += 1;
        Some(window)
    }
}

fn times(length: Duration, count: u64) -> Duration {
    Duration::from_nanos(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).saturating_mul(count))
}

#[cfg(test)]
mod tests;
