//! Latencies by kind of operation: one recorder a thread, merged when the threads are done.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::workload::{Mix, OperationKind};

/// Longest latency told apart from longer ones, in nanoseconds: ten minutes.
const LONGEST_NS: u64 = 600_000_000_000;
/// Decimal digits kept of every latency.
const DIGITS: u8 = 3;

/// Histograms in nanoseconds, for the kinds that a mix holds.
#[derive(Clone, Debug)]
pub struct LatencyRecorder {
    by_kind: [Option<Histogram<u64>>; 5],
}

/// The latencies of one kind of operation, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Operations measured.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The shortest.
    pub min: f64,
    /// Half of the operations took at most this long.
    pub p50: f64,
    /// 95 of 100 took at most this long.
    pub p95: f64,
    /// 99 of 100 took at most this long.
    pub p99: f64,
    /// 999 of 1000 took at most this long.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl LatencyRecorder {
    /// An empty recorder for the kinds in `mix`.
    #[must_use]
    pub fn new(mix: &Mix) -> Self {
        let mut by_kind = [const { None }; 5];
        for kind in mix.kinds() {
            by_kind[kind.index()] = Some(empty_histogram());
        }
        Self { by_kind }
    }

    /// Records one operation.
    pub fn record(&mut self, kind: OperationKind, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(histogram) = &mut self.by_kind[kind.index()] {
            histogram.saturating_record(nanoseconds.max(1));
        }
    }

    /// Forgets everything recorded.
    pub fn clear(&mut self) {
        self.by_kind.iter_mut().flatten().for_each(Histogram::reset);
    }

    /// Adds what another thread recorded.
    ///
    /// # Panics
    ///
    /// Never: all histograms have the same bounds.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.by_kind.iter_mut().zip(&other.by_kind) {
            match (mine, theirs) {
                (Some(mine), Some(theirs)) => mine.add(theirs).expect("histograms of the same bounds"),
                (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
                (_, None) => {}
            }
        }
    }

    /// The latencies of each kind that occurred.
    pub fn summaries(&self) -> impl Iterator<Item = (OperationKind, LatencySummary)> {
        OperationKind::ALL
            .into_iter()
            .zip(&self.by_kind)
            .filter_map(|(kind, histogram)| Some((kind, histogram.as_ref()?)))
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(kind, histogram)| (kind, summarize(histogram)))
    }
}

fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("constant bounds that the histogram accepts")
}

fn summarize(histogram: &Histogram<u64>) -> LatencySummary {
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
    let quantile = |share| microseconds(histogram.value_at_quantile(share));
    LatencySummary {
        count: histogram.len(),
        mean: histogram.mean() / 1000.0,
        min: microseconds(histogram.min()),
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: microseconds(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::workload::{Mix, OperationKind};
    use super::{LatencyRecorder, LatencySummary};

    fn recorder(latencies_us: impl Iterator<Item = u64>) -> LatencyRecorder {
        let mut recorder = LatencyRecorder::new(&Mix::only(OperationKind::Read));
        latencies_us.for_each(|us| recorder.record(OperationKind::Read, Duration::from_micros(us)));
        recorder
    }

    fn only_summary(recorder: &LatencyRecorder) -> LatencySummary {
        let summaries: Vec<_> = recorder.summaries().collect();
        assert_eq!(summaries.len(), 1);
        assert_eq!(summaries[0].0, OperationKind::Read);
        summaries[0].1
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 0.002, "{found}, expected {expected}");
    }

    #[test]
    fn quantiles_are_in_microseconds_and_three_digits_true() {
        let summary = only_summary(&recorder(1..=1000));
        assert_eq!(summary.count, 1000);
        for (found, expected) in [
            (summary.mean, 500.5),
            (summary.min, 1.0),
            (summary.p50, 500.0),
            (summary.p95, 950.0),
            (summary.p99, 990.0),
            (summary.p999, 999.0),
            (summary.max, 1000.0),
        ] {
            assert_near(found, expected);
        }
    }

    #[test]
    fn merged_threads_equal_one_that_saw_everything() {
        let mut merged = recorder(1..=300);
        merged.merge(&recorder(301..=1000));
        assert_eq!(only_summary(&merged), only_summary(&recorder(1..=1000)));
    }

    #[test]
    fn merging_takes_over_kinds_not_seen_before() {
        let mut merged = LatencyRecorder::new(&Mix::only(OperationKind::Scan));
        merged.merge(&recorder(1..=10));
        assert_eq!(only_summary(&merged).count, 10);
    }

    #[test]
    fn clearing_forgets_the_warm_up() {
        let mut warm = recorder(1..=10);
        warm.clear();
        assert_eq!(warm.summaries().count(), 0);
    }
}
