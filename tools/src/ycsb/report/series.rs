//! The time series of a phase, as reports show it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::ycsb::latency::LatencySummary;
use crate::ycsb::series::Window;
use crate::ycsb::store::StoreWindow;

/// One window of the time series.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WindowReport {
    /// From the phase's beginning to the window's end.
    pub end_seconds: f64,
    /// The window's length; the last one is shorter.
    pub seconds: f64,
    /// Whether the window has its full length and every thread worked all through it.
    pub complete: bool,
    /// Operations that ended in the window.
    pub operations: u64,
    /// Operations by seconds.
    pub ops_per_second: f64,
    /// Latencies of each kind of operation that ended in the window.
    pub latency_us: BTreeMap<&'static str, LatencySummary>,
    /// How the store was at the window's end, and what it did in it.
    #[serde(flatten)]
    pub store: StoreWindow,
}

/// How even the throughput was, over the windows that are complete.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct WindowsSummary {
    /// The length of a window.
    pub window_seconds: f64,
    /// How many complete windows there are. Without any, the rest is null.
    pub complete_windows: usize,
    /// Throughput of the slowest window.
    pub lowest_ops_per_second: Option<f64>,
    /// Half of the windows were at least this fast.
    pub median_ops_per_second: Option<f64>,
    /// Lowest by median: 1 is perfectly even, 0 means that for a whole window nothing was done.
    pub lowest_window_ratio: Option<f64>,
}

impl From<Window> for WindowReport {
    fn from(window: Window) -> Self {
        let seconds = window.length.as_secs_f64();
        let operations = window.done.operations;
        Self {
            end_seconds: window.ended_after.as_secs_f64(),
            seconds,
            complete: window.complete,
            operations,
            ops_per_second: if seconds > 0.0 { operations as f64 / seconds } else { 0.0 },
            latency_us: window
                .done
                .latency
                .into_iter()
                .map(|(kind, summary)| (kind.name(), summary))
                .collect(),
            store: window.store,
        }
    }
}

impl WindowsSummary {
    /// Sums a series up.
    #[must_use]
    pub fn of(series: &[WindowReport], window_length: Duration) -> Self {
        let mut rates: Vec<_> =
            series.iter().filter(|window| window.complete).map(|window| window.ops_per_second).collect();
        rates.sort_by(f64::total_cmp);
        let lowest = rates.first().copied();
        let median = rates.get(rates.len() / 2).copied();
        let ratio = lowest.zip(median).filter(|(_, median)| *median > 0.0);
        Self {
            window_seconds: window_length.as_secs_f64(),
            complete_windows: rates.len(),
            lowest_ops_per_second: lowest,
            median_ops_per_second: median,
            lowest_window_ratio: ratio.map(|(lowest, median)| lowest / median),
        }
    }
}
