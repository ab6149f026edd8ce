//! A phase as YCSB's own text: lines of `[PART], measure, figure`, that scripts for YCSB read.

use std::io::{self, Write};

use super::PhaseReport;
use crate::ycsb::latency::LatencySummary;
use crate::ycsb::workload::OperationKind;

pub(super) fn write(phase: &PhaseReport, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# workload {}, {} threads, {}", phase.workload, phase.threads, phase.durability)?;
    writeln!(out, "[OVERALL], RunTime(ms), {:.0}", phase.seconds * 1000.0)?;
    writeln!(out, "[OVERALL], Throughput(ops/sec), {}", phase.ops_per_second)?;
    for kind in OperationKind::ALL {
        if let Some(summary) = phase.latency_us.get(kind.name()) {
            write_kind(kind, summary, out)?;
        }
    }
    out.flush()
}

fn write_kind(kind: OperationKind, summary: &LatencySummary, out: &mut impl Write) -> io::Result<()> {
    let name = kind.ycsb_name();
    writeln!(out, "[{name}], Operations, {}", summary.count)?;
    for (measure, us) in [
        ("AverageLatency", summary.mean),
        ("MinLatency", summary.min),
        ("MaxLatency", summary.max),
        ("50thPercentileLatency", summary.p50),
        ("95thPercentileLatency", summary.p95),
        ("99thPercentileLatency", summary.p99),
        ("99.9PercentileLatency", summary.p999),
    ] {
        writeln!(out, "[{name}], {measure}(us), {us}")?;
    }
    // A phase with any other return than OK does not get this far.
    writeln!(out, "[{name}], Return=OK, {}", summary.count)
}
