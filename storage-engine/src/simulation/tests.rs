//! A share of the simulation with fresh seeds, and what makes it worth believing.

use std::time::Duration;

use super::{explore, live};

/// The seeds are new ones each time; a failure names its own.
#[test]
fn no_crash_or_fault_breaks_a_promise() {
    let first_seed = rand::random::<u64>() >> 16;
    println!("seeds from {first_seed}");
    let explored = explore(first_seed, Duration::from_secs(20), 2);
    if let Some((seed, problem)) = explored.failure {
        panic!("just sim {seed} 1 shows: {problem}");
    }
    println!("{} lives, {} recoveries", explored.life_count, explored.recovery_count);
    assert!(explored.recovery_count > 0);
}

#[test]
fn a_seed_gives_the_same_life_each_time() {
    for seed in 0..4 {
        assert_eq!(live(seed), live(seed), "seed {seed}");
    }
}

/// Seeds that have found bugs, each named by what was wrong.
#[test]
fn what_the_simulation_has_found_stays_found() {
    for (seed, what) in [
        (3, "units behind the head of a torn one were skipped"),
        (104, "a zone that had been reset was still claimed"),
        (126, "parts of other values, and records that failed their checksum, were believed"),
        (435, "the device forgot what a kill had left of a failed flush"),
        (69_535_657_711_142, "a unit in the place of a torn filler was skipped"),
        (7_000_507, "the head of a lost filling hid what a later run had written behind it"),
    ] {
        if let Err(problem) = live(seed) {
            panic!("seed {seed}, {what}: {problem}");
        }
    }
}
