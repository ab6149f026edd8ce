//! Many lives, on several threads, for a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Problem, Report, live};

/// What an exploration came to.
#[derive(Debug, Default)]
pub struct Exploration {
    /// Lives lived.
    pub life_count: u64,
    /// Crashes recovered from.
    pub recovery_count: u64,
    /// How many of them were inside a recovery.
    pub interrupted_count: u64,
    /// How many of them began with a checkpoint of the index.
    pub checkpoint_count: u64,
    /// The first failure, with its seed.
    pub failure: Option<(u64, Problem)>,
    /// How long it took.
    pub time: Duration,
}

impl Exploration {
    fn add(&mut self, report: &Report) {
        self.life_count += 1;
        self.recovery_count += report.recovery_count;
        self.interrupted_count += report.interrupted_count;
        self.checkpoint_count += report.checkpoint_count;
    }
}

/// Lives the lives of `seed` and the seeds that follow, for a time, and at least that of `seed`.
#[must_use]
pub fn explore(seed: u64, time: Duration, thread_count: usize) -> Exploration {
    let (next, stop, began) = (AtomicU64::new(0), AtomicBool::new(false), Instant::now());
    let sum = Mutex::new(Exploration::default());
    std::thread::scope(|scope| {
        for _ in 0..thread_count {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) || number > 0 && began.elapsed() >= time {
                        return;
                    }
                    let seed = seed.wrapping_add(number);
                    match live(seed) {
                        Ok(report) => sum.lock().add(&report),
                        Err(problem) => {
                            stop.store(true, Ordering::Relaxed);
                            sum.lock().failure.get_or_insert((seed, problem));
                        }
                    }
                }
            });
        }
    });
    Exploration { time: began.elapsed(), ..sum.into_inner() }
}
