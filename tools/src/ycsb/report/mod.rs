//! What a session found, and how it is written.
//!
//! # JSON
//!
//! [`Report`], [`PhaseReport`], [`WindowReport`] and [`WindowsSummary`] are the schema: a field's name is its key, and keys are only ever added.

mod html;
mod series;
mod table;
mod ycsb_text;

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::latency::LatencySummary;
use super::phase::PhaseOutcome;
use super::resolve::Plan;
use super::workload::Workload;
use crate::size::{grouped, human_bytes};

pub use series::{WindowReport, WindowsSummary};

/// How results are written to stdout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum ReportFormat {
    /// For people
    #[default]
    Table,
    /// One object, for programs
    Json,
    /// Lines as YCSB itself writes them
    Ycsb,
    /// One page with charts, for a browser
    Html,
}

/// Everything about one invocation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The version of the tool, which is that of the store.
    pub version: &'static str,
    /// `load` or `run`.
    pub command: &'static str,
    /// The store.
    pub path: String,
    /// What all random choices followed from.
    pub seed: u64,
    /// The kind of index.
    pub index: &'static str,
    /// The memory given for cached values; null is the store's default.
    pub cache_bytes: Option<u64>,
    /// What all zones of a new store hold, as asked for or as chosen for a utilisation; null is the store's default.
    pub capacity_bytes: Option<u64>,
    /// The size of a new store's zones, in the same way.
    pub zone_size_bytes: Option<u64>,
    /// The phases that finished, in order.
    pub phases: Vec<PhaseReport>,
    /// Why the run failed; null when it did not.
    pub failure: Option<String>,
}

/// Everything about one phase.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PhaseReport {
    /// `load`, `a` to `f`, the name of a property file, or `custom`.
    pub workload: String,
    /// Threads that issued operations.
    pub threads: usize,
    /// Operations measured, over all threads.
    pub operations: u64,
    /// From the first operation's beginning to the last one's end.
    pub seconds: f64,
    /// Operations by seconds.
    pub ops_per_second: f64,
    /// Operations before these that were not measured.
    pub warmup_operations: u64,
    /// What the flush after the last operation took, which is not in `seconds`; 0 where there was nothing to flush.
    pub flush_seconds: f64,
    /// `sync`, `written` or `buffered`.
    pub durability: &'static str,
    /// Bytes in every value written.
    pub value_bytes: usize,
    /// Records that requests were spread over when the phase began; of `load`, records when it ended.
    pub records: u64,
    /// `uniform`, `zipfian` or `latest`; null where no record was asked for.
    pub distribution: Option<&'static str>,
    /// The share of each kind of operation that the workload asked for.
    pub proportions: BTreeMap<&'static str, f64>,
    /// Latencies in microseconds of each kind of operation that occurred.
    pub latency_us: BTreeMap<&'static str, LatencySummary>,
    /// How even the throughput was.
    pub windows: WindowsSummary,
    /// The phase by windows of time.
    pub series: Vec<WindowReport>,
    /// What the store counted over the phase, flush included. Its keys are those of `kvctl stats`.
    pub store: serde_json::Value,
}

impl Report {
    /// A report of nothing yet.
    #[must_use]
    pub fn of_plan(plan: &Plan) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            command: plan.command,
            path: plan.store.path.display().to_string(),
            seed: plan.seed,
            index: plan.store.index.name(),
            cache_bytes: plan.store.cache_bytes,
            capacity_bytes: plan.store.capacity_bytes,
            zone_size_bytes: plan.store.zone_size_bytes,
            phases: Vec::new(),
            failure: None,
        }
    }

    /// Writes what is known before the first phase, in formats that show phases as they finish.
    ///
    /// # Errors
    ///
    /// When `out` cannot be written to.
    pub fn write_beginning(&self, format: ReportFormat, out: &mut impl Write) -> io::Result<()> {
        let (Some(capacity_bytes), Some(zone_bytes)) = (self.capacity_bytes, self.zone_size_bytes) else {
            return Ok(());
        };
        let mark = match format {
            ReportFormat::Table => "",
            ReportFormat::Ycsb => "# ",
            ReportFormat::Json | ReportFormat::Html => return Ok(()),
        };
        let zone_count = capacity_bytes.div_ceil(zone_bytes.max(1));
        writeln!(out, "{mark}a new store has {} zones of {}", grouped(zone_count), human_bytes(zone_bytes))
    }

    /// Writes what concerns the whole: for JSON and HTML everything, for formats that show phases as they finish nothing
    /// more.
    ///
    /// # Errors
    ///
    /// When `out` cannot be written to.
    pub fn write(&self, format: ReportFormat, out: &mut impl Write) -> io::Result<()> {
        match format {
            ReportFormat::Json => {
                serde_json::to_writer_pretty(&mut *out, self)?;
                writeln!(out)?;
            }
            ReportFormat::Html => out.write_all(html::page(self).as_bytes())?,
            ReportFormat::Table | ReportFormat::Ycsb => {}
        }
        out.flush()
    }
}

impl PhaseReport {
    /// The report of a phase that has finished.
    #[must_use]
    pub fn new(plan: &Plan, workload: &Workload, records: u64, outcome: PhaseOutcome) -> Self {
        let seconds = outcome.elapsed.as_secs_f64();
        let series: Vec<WindowReport> = outcome.windows.into_iter().map(WindowReport::from).collect();
        Self {
            workload: workload.name.clone(),
            threads: workload.threads,
            operations: outcome.operations,
            seconds,
            ops_per_second: if seconds > 0.0 { outcome.operations as f64 / seconds } else { 0.0 },
            warmup_operations: workload.warmup_operations,
            flush_seconds: outcome.flush.as_secs_f64(),
            durability: plan.store.durability.name(),
            value_bytes: workload.value_bytes,
            records,
            distribution: workload.mix.needs_records().then(|| workload.distribution.name()),
            proportions: workload.mix.kinds().map(|kind| (kind.name(), workload.mix.share(kind))).collect(),
            latency_us: outcome.latency.summaries().map(|(kind, summary)| (kind.name(), summary)).collect(),
            windows: WindowsSummary::of(&series, plan.window_length),
            series,
            store: outcome.store,
        }
    }

    /// Writes the phase in a format that shows phases as they finish; JSON and HTML show them at the end.
    ///
    /// # Errors
    ///
    /// When `out` cannot be written to.
    pub fn write(&self, format: ReportFormat, out: &mut impl Write) -> io::Result<()> {
        match format {
            ReportFormat::Table => table::write(self, out),
            ReportFormat::Ycsb => ycsb_text::write(self, out),
            ReportFormat::Json | ReportFormat::Html => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
