//! One store in a process of its own: loads it, runs the phases, opens it once more, and writes down what came of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::contestant::Contestant;
use super::peers;
use super::process::{self, Usage};
use crate::ycsb::failure::Failure;
use crate::ycsb::latency::LatencySummary;
use crate::ycsb::progress::Progress;
use crate::ycsb::report::{PhaseReport, Report};
use crate::ycsb::resolve::Plan;
use crate::ycsb::session::run_phases;
use crate::ycsb::store::{Store, StoreError};
use crate::ycsb::zonal_store::ZonalStore;

/// What one store came to in one round.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoreResult {
    /// The store.
    pub store: Contestant,
    /// The phases that finished, in order.
    pub phases: Vec<PhaseResult>,
    /// The most memory that the process had resident, mapped files included.
    pub peak_memory_bytes: Option<u64>,
    /// What opening the store took after it was closed and its pages had left the page cache.
    pub open_seconds: Option<f64>,
    /// What its files took on disk at the end.
    pub disk_bytes: u64,
    /// Why it did not finish.
    pub failure: Option<String>,
}

/// What one phase came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PhaseResult {
    /// `load`, `a` to `f`, or whatever the phase is called.
    pub workload: String,
    /// Operations by seconds.
    pub ops_per_second: f64,
    /// Processor time by operations, in microseconds, background work and the flush at the end included.
    pub cpu_us_per_operation: Option<f64>,
    /// Bytes written to the device by operations, the flush at the end included.
    pub written_bytes_per_operation: Option<f64>,
    /// Bytes read from the device by operations.
    pub read_bytes_per_operation: Option<f64>,
    /// The slowest second by the median one.
    pub lowest_window_ratio: Option<f64>,
    /// Latencies of each kind of operation, in microseconds.
    pub latency_us: BTreeMap<String, LatencySummary>,
}

impl StoreResult {
    /// The result of a store of which nothing is known but why.
    #[must_use]
    pub fn failed(store: Contestant, failure: String) -> Self {
        Self {
            store,
            phases: Vec::new(),
            peak_memory_bytes: None,
            open_seconds: None,
            disk_bytes: 0,
            failure: Some(failure),
        }
    }

    /// The phase of that name, if it finished.
    #[must_use]
    pub fn phase(&self, workload: &str) -> Option<&PhaseResult> {
        self.phases.iter().find(|phase| phase.workload == workload)
    }
}

/// Runs the plan on a store, whose files go to the plan's path.
#[must_use]
pub fn run(contestant: Contestant, plan: &Plan) -> StoreResult {
    match contestant {
        Contestant::Zonal => run_on(contestant, plan, || ZonalStore::open(&plan.store)),
        peer => peers::run(peer, plan),
    }
}

/// Runs the plan on what `open` opens, which is closed by dropping it.
pub fn run_on<S: Store>(
    contestant: Contestant,
    plan: &Plan,
    open: impl Fn() -> Result<S, StoreError>,
) -> StoreResult {
    let mut result = StoreResult { failure: None, ..StoreResult::failed(contestant, String::new()) };
    let failed = |action, source: StoreError| Some(Failure::Whole { action, source }.to_string());
    let store = match open() {
        Ok(store) => store,
        Err(source) => return StoreResult { failure: failed("open", source), ..result },
    };
    let mut progress = Progress::on_stderr(plan.show_progress);
    let mut before = Usage::now();
    let outcome = run_phases(plan, &store, 0, &mut progress, &mut Report::of_plan(plan), |phase| {
        result.phases.push(phase_result(phase, before));
        before = Usage::now();
    });
    result.failure = outcome.err().map(|failure| failure.to_string());
    result.peak_memory_bytes = process::peak_memory_bytes();
    drop(store);
    result.disk_bytes = process::disk_bytes(&plan.store.path);
    if result.failure.is_none() {
        match time_opening(&plan.store.path, open) {
            Ok(seconds) => result.open_seconds = Some(seconds),
            Err(source) => result.failure = failed("reopen", source),
        }
    }
    result
}

fn phase_result(phase: &PhaseReport, before: Usage) -> PhaseResult {
    let after = Usage::now();
    let operations = (phase.operations + phase.warmup_operations) as f64;
    let per_operation =
        |later: Option<u64>, earlier: Option<u64>| Some(later?.saturating_sub(earlier?) as f64 / operations);
    let cpu = after.cpu.zip(before.cpu).map(|(after, before)| after.saturating_sub(before));
    PhaseResult {
        workload: phase.workload.clone(),
        ops_per_second: phase.ops_per_second,
        cpu_us_per_operation: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / operations),
        written_bytes_per_operation: per_operation(after.written_bytes, before.written_bytes),
        read_bytes_per_operation: per_operation(after.read_bytes, before.read_bytes),
        lowest_window_ratio: phase.windows.lowest_window_ratio,
        latency_us: phase.latency_us.iter().map(|(kind, summary)| ((*kind).to_owned(), *summary)).collect(),
    }
}

fn time_opening<S: Store>(path: &Path, open: impl Fn() -> Result<S, StoreError>) -> Result<f64, StoreError> {
    process::forget_cached_pages(path);
    let begun = Instant::now();
    let store = open()?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(store);
    Ok(seconds)
}
