//! Medians over the rounds, and how zonal stands to the best of the others.

use std::collections::BTreeMap;

use serde::Serialize;

use super::arguments::CompareArguments;
use super::child::{PhaseResult, StoreResult};
use super::contestant::Contestant;
use crate::ycsb::html::Unit;
use crate::ycsb::resolve::Plan;

/// Everything about one comparison.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Comparison {
    /// The version of zonal.
    pub version: &'static str,
    /// `compare`.
    pub command: &'static str,
    /// What all stores did alike.
    pub setting: Setting,
    /// For each round the stores' results, in the order in which they ran.
    pub rounds: Vec<Vec<StoreResult>>,
}

/// What all stores did alike.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Setting {
    /// `sync`, `written` or `buffered`.
    pub durability: &'static str,
    /// Records loaded.
    pub records: u64,
    /// Bytes in each value.
    pub value_bytes: usize,
    /// Threads that issued operations.
    pub threads: usize,
    /// Memory for cached data.
    pub cache_bytes: Option<u64>,
    /// Memory for the whole process and its page cache; null is no bound.
    pub memory_bytes: Option<u64>,
    /// What all random choices followed from.
    pub seed: u64,
    /// Processors of the machine.
    pub processors: usize,
}

/// One thing that was measured of each phase.
pub struct Metric {
    /// Its key in JSON.
    pub key: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Whether more is better.
    pub more_is_better: bool,
    of: fn(&PhaseResult) -> Option<f64>,
}

/// What is measured of each phase.
pub const METRICS: [Metric; 5] = [
    Metric {
        key: "ops_per_second",
        title: "Operations a second",
        unit: Unit::Number,
        more_is_better: true,
        of: |phase| Some(phase.ops_per_second),
    },
    Metric {
        key: "p999_us",
        title: "p99.9 latency of the slowest kind of operation",
        unit: Unit::Microseconds,
        more_is_better: false,
        of: |phase| phase.latency_us.values().map(|summary| summary.p999).max_by(f64::total_cmp),
    },
    Metric {
        key: "cpu_us_per_operation",
        title: "Processor time an operation",
        unit: Unit::Microseconds,
        more_is_better: false,
        of: |phase| phase.cpu_us_per_operation,
    },
    Metric {
        key: "written_bytes_per_operation",
        title: "Written to the device an operation",
        unit: Unit::Bytes,
        more_is_better: false,
        of: |phase| phase.written_bytes_per_operation,
    },
    Metric {
        key: "read_bytes_per_operation",
        title: "Read from the device an operation",
        unit: Unit::Bytes,
        more_is_better: false,
        of: |phase| phase.read_bytes_per_operation,
    },
];

/// Medians over all rounds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// The phases, in order.
    pub workloads: Vec<String>,
    /// One row a store.
    pub stores: Vec<StoreSummary>,
    /// For each metric and phase zonal by the best other store; above 1 zonal is better.
    pub ratio_to_best_peer: BTreeMap<&'static str, Vec<Option<f64>>>,
}

/// Medians of one store.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StoreSummary {
    /// The store.
    pub store: Contestant,
    /// For each metric its median in each phase; null where no round finished the phase.
    pub figures: BTreeMap<&'static str, Vec<Option<f64>>>,
    /// The most memory that the process had resident, mapped files included.
    pub peak_memory_bytes: Option<f64>,
    /// What opening took, its files not in the page cache.
    pub open_seconds: Option<f64>,
    /// What its files took on disk at the end.
    pub disk_bytes: Option<f64>,
    /// Why rounds failed.
    pub failures: Vec<String>,
}

/// What is written as JSON.
#[derive(Serialize)]
pub struct ComparisonWithSummary<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    summary: Summary,
}

impl Comparison {
    /// A comparison of which no round has been run.
    #[must_use]
    pub fn new(plan: &Plan, arguments: &CompareArguments) -> Self {
        let (workload, records) =
            plan.load.as_ref().map_or((None, 0), |(workload, records)| (Some(workload), *records));
        let setting = Setting {
            durability: plan.store.durability.name(),
            records,
            value_bytes: workload.map_or(0, |workload| workload.value_bytes),
            threads: workload.map_or(0, |workload| workload.threads),
            cache_bytes: plan.store.cache_bytes,
            memory_bytes: arguments.memory,
            seed: plan.seed,
            processors: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        };
        Self { version: env!("CARGO_PKG_VERSION"), command: "compare", setting, rounds: Vec::new() }
    }

    /// Itself and its summary.
    #[must_use]
    pub fn with_summary(&self) -> ComparisonWithSummary<'_> {
        ComparisonWithSummary { comparison: self, summary: self.summary() }
    }

    /// Sums the rounds up.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut workloads: Vec<String> = Vec::new();
        for phase in self.rounds.iter().flatten().flat_map(|result| &result.phases) {
            if !workloads.contains(&phase.workload) {
                workloads.push(phase.workload.clone());
            }
        }
        let mut stores: Vec<_> = self.rounds.iter().flatten().map(|result| result.store).collect();
        stores.sort_unstable();
        stores.dedup();
        let stores: Vec<_> = stores.into_iter().map(|store| self.summary_of(store, &workloads)).collect();
        let ratios = METRICS.iter().map(|metric| {
            (metric.key, (0..workloads.len()).map(|place| ratio(&stores, metric, place)).collect())
        });
        Summary { ratio_to_best_peer: ratios.collect(), workloads, stores }
    }

    fn summary_of(&self, store: Contestant, workloads: &[String]) -> StoreSummary {
        let results: Vec<_> = self.rounds.iter().flatten().filter(|result| result.store == store).collect();
        let figure = |metric: &Metric, workload: &str| {
            median(results.iter().filter_map(|result| (metric.of)(result.phase(workload)?)))
        };
        let figures = METRICS
            .iter()
            .map(|metric| (metric.key, workloads.iter().map(|workload| figure(metric, workload)).collect()));
        let finished = || results.iter().filter(|result| result.failure.is_none());
        StoreSummary {
            store,
            figures: figures.collect(),
            peak_memory_bytes: median(
                finished().filter_map(|result| result.peak_memory_bytes).map(|bytes| bytes as f64),
            ),
            open_seconds: median(finished().filter_map(|result| result.open_seconds)),
            disk_bytes: median(finished().map(|result| result.disk_bytes as f64)),
            failures: results.iter().filter_map(|result| result.failure.clone()).collect(),
        }
    }
}

impl Summary {
    /// The best figure of a store other than zonal.
    #[must_use]
    pub fn best_peer(&self, metric: &Metric, workload: usize) -> Option<f64> {
        best_peer(&self.stores, metric, workload)
    }

    /// The geometric mean of a metric's ratios; `None` unless every phase has one.
    #[must_use]
    pub fn mean_ratio(&self, metric: &Metric) -> Option<f64> {
        let ratios: Option<Vec<f64>> = self.ratio_to_best_peer[metric.key].iter().copied().collect();
        let ratios = ratios.filter(|ratios| !ratios.is_empty())?;
        Some((ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp())
    }
}

fn best_peer(stores: &[StoreSummary], metric: &Metric, workload: usize) -> Option<f64> {
    let peers = stores.iter().filter(|summary| summary.store != Contestant::Zonal);
    let figures = peers.filter_map(|summary| summary.figures[metric.key][workload]);
    if metric.more_is_better { figures.max_by(f64::total_cmp) } else { figures.min_by(f64::total_cmp) }
}

fn ratio(stores: &[StoreSummary], metric: &Metric, workload: usize) -> Option<f64> {
    let own = stores.iter().find(|summary| summary.store == Contestant::Zonal)?;
    let own = own.figures[metric.key][workload]?;
    let best = best_peer(stores, metric, workload)?;
    let (above, below) = if metric.more_is_better { (own, best) } else { (best, own) };
    // Nothing by nothing is a draw; nothing by something cannot be told as a factor.
    if above == 0.0 && below == 0.0 { Some(1.0) } else { (below > 0.0 && above > 0.0).then(|| above / below) }
}

/// The middle one, or the mean of the two in the middle.
fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.len().checked_sub(1)? / 2, figures.len() / 2);
    Some(f64::midpoint(figures[low], figures[high]))
}

#[cfg(test)]
mod tests;
