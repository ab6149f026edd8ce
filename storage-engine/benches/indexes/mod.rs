//! What the benchmarks of both indexes have in common: their keys, and what is looked at beside times.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use zonal_engine::index::{Entry, LargeId};

pub(super) type Key = [u8; 24];

pub(super) const ENTRY: Entry = Entry::Large { id: LargeId::new(1) };

pub(super) fn key_count() -> usize {
    std::env::var("INDEX_BENCH_KEYS").map_or(1_000_000, |count| count.parse().expect("a number of keys"))
}

pub(super) fn random_keys(count: usize) -> Vec<Key> {
    let mut random = SmallRng::seed_from_u64(1);
    (0..count).map(|_| random.random()).collect()
}

pub(super) fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// Runs `act` on two threads at once; gives how long both took for `rounds` each.
pub(super) fn on_two_threads(rounds: u64, act: impl Fn(u64) + Sync) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for first in [0, rounds] {
            let act = &act;
            scope.spawn(move || (first..first + rounds).for_each(act));
        }
    });
    start.elapsed()
}
