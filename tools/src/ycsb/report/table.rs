//! A phase as a table for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};

use super::{PhaseReport, WindowsSummary};
use crate::size::{grouped, human_bytes};
use crate::ycsb::latency::LatencySummary;
use crate::ycsb::workload::OperationKind;

pub(super) fn write(phase: &PhaseReport, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", headline(phase))?;
    writeln!(out, "  {}", circumstances(phase))?;
    writeln!(out, "{}", latencies(phase))?;
    if let Some(line) = windows_line(&phase.windows) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "  store: {}\n", store_line(&phase.store))?;
    out.flush()
}

fn headline(phase: &PhaseReport) -> String {
    format!(
        "{}: {} operations in {:.2} s, {} operations/s",
        phase.workload,
        grouped(phase.operations),
        phase.seconds,
        grouped(whole(phase.ops_per_second))
    )
}

fn circumstances(phase: &PhaseReport) -> String {
    let threads =
        if phase.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", phase.threads) };
    let mut parts = vec![
        threads,
        phase.durability.to_owned(),
        format!("{} records of {} bytes", grouped(phase.records), grouped(phase.value_bytes as u64)),
    ];
    parts.extend(phase.distribution.map(str::to_owned));
    if phase.flush_seconds > 0.0 {
        parts.push(format!("then a flush of {:.3} s", phase.flush_seconds));
    }
    parts.join(", ")
}

fn latencies(phase: &PhaseReport) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header(["latency in us", "count", "mean", "p50", "p95", "p99", "p99.9", "max"]);
    for kind in OperationKind::ALL {
        if let Some(summary) = phase.latency_us.get(kind.name()) {
            table.add_row(latency_row(kind, summary));
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn latency_row(kind: OperationKind, summary: &LatencySummary) -> Vec<String> {
    let LatencySummary { count, mean, p50, p95, p99, p999, max, .. } = *summary;
    let mut row = vec![kind.name().to_owned(), grouped(count)];
    row.extend([mean, p50, p95, p99, p999, max].map(|us| format!("{us:.1}")));
    row
}

/// How even the throughput was, when there is more than one window to compare.
fn windows_line(windows: &WindowsSummary) -> Option<String> {
    let (lowest, median) = (windows.lowest_ops_per_second?, windows.median_ops_per_second?);
    let ratio = windows.lowest_window_ratio.filter(|_| windows.complete_windows > 1)?;
    Some(format!(
        "{} windows of {} s: median {} operations/s, lowest {}, ratio {ratio:.2}",
        grouped(windows.complete_windows as u64),
        windows.window_seconds,
        grouped(whole(median)),
        grouped(whole(lowest)),
    ))
}

/// The counters that most stores have, as far as this one has them.
fn store_line(store: &serde_json::Value) -> String {
    let count = |name: &str| store.get(name).and_then(serde_json::Value::as_u64);
    let amplification = store.get("write_amplification").and_then(serde_json::Value::as_f64);
    let parts = [
        count("user_bytes_written").map(|bytes| format!("user wrote {}", human_bytes(bytes))),
        count("device_bytes_written").map(|bytes| format!("device wrote {}", human_bytes(bytes))),
        amplification.map(|factor| format!("write amplification {factor:.2}")),
        count("device_bytes_read").map(|bytes| format!("device read {}", human_bytes(bytes))),
        count("device_flushes").map(|flushes| format!("{} flushes", grouped(flushes))),
        count("zone_resets").map(|resets| format!("{} zone resets", grouped(resets))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate, never negative; it saturates"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}
