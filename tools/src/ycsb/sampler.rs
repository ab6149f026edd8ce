//! Asks the store for its counters whenever a window of the time series ends, on the thread that waits for the workers.

use std::time::Instant;

use super::series::Recording;
use super::store::{Store, StoreWindow};

/// The windows of one phase as the store saw them.
pub struct Sampler<'a, S: Store> {
    store: &'a S,
    recording: &'a Recording,
    last: S::Counters,
    windows: Vec<StoreWindow>,
}

impl<'a, S: Store> Sampler<'a, S> {
    /// A sampler for a phase of which nothing has been done yet.
    pub fn new(store: &'a S, recording: &'a Recording) -> Self {
        Self { store, recording, last: store.counters(), windows: Vec::new() }
    }

    /// When the next window ends.
    pub fn due(&self) -> Instant {
        self.recording.end_of(self.windows.len() as u64)
    }

    /// Samples each window that has ended by `now`, and closes those that the workers have left. Of several windows that
    /// ended while the machine was busy otherwise, the first is told all that happened in them.
    pub fn sample_when_due(&mut self, now: Instant) {
        while self.due() <= now {
            self.sample();
        }
        self.recording.close_windows();
    }

    /// Samples the last window, which the phase's end cut short, and gives them all.
    pub fn finish(mut self) -> Vec<StoreWindow> {
        self.sample();
        self.windows
    }

    fn sample(&mut self) {
        let now = self.store.counters();
        self.windows.push(self.store.window(&self.last, &now));
        self.last = now;
    }
}
