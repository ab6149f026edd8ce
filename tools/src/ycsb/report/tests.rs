//! The shapes that programs rely on.

use std::collections::BTreeMap;

use clap::CommandFactory;
use serde_json::Value;

use super::{PhaseReport, Report, ReportFormat};
use crate::ycsb::command_line::CommandLine;
use crate::ycsb::latency::LatencySummary;

fn phase() -> PhaseReport {
    let summary =
        LatencySummary { count: 60, mean: 1.25, min: 0.5, p50: 1.0, p95: 2.0, p99: 3.0, p999: 4.0, max: 5.5 };
    PhaseReport {
        workload: "f".to_owned(),
        threads: 2,
        operations: 120,
        seconds: 1.5,
        ops_per_second: 80.0,
        warmup_operations: 10,
        flush_seconds: 0.25,
        durability: "written",
        value_bytes: 1000,
        records: 1_000_000,
        distribution: Some("zipfian"),
        proportions: BTreeMap::from([("read", 0.5), ("rmw", 0.5)]),
        latency_us: BTreeMap::from([("read", summary), ("rmw", summary)]),
        store: serde_json::json!({ "write_amplification": 1.5, "device_bytes_written": 3_145_728 }),
    }
}

fn report() -> Report {
    Report {
        version: "0.0.0",
        command: "run",
        path: "x.zonal".to_owned(),
        seed: 1,
        index: "ordered",
        cache_bytes: None,
        phases: vec![phase()],
        failure: None,
    }
}

fn phase_text(format: ReportFormat) -> String {
    let mut out = Vec::new();
    phase().write(format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn json_has_the_documented_keys() {
    let mut out = Vec::new();
    report().write(ReportFormat::Json, &mut out).unwrap();
    let json: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        keys(&json),
        ["cache_bytes", "command", "failure", "index", "path", "phases", "seed", "version"]
    );
    let phase = &json["phases"][0];
    assert_eq!(
        keys(phase),
        [
            "distribution",
            "durability",
            "flush_seconds",
            "latency_us",
            "operations",
            "ops_per_second",
            "proportions",
            "records",
            "seconds",
            "store",
            "threads",
            "value_bytes",
            "warmup_operations",
            "workload"
        ]
    );
    assert_eq!(keys(&phase["latency_us"]), ["read", "rmw"]);
    assert_eq!(
        keys(&phase["latency_us"]["read"]),
        ["count", "max", "mean", "min", "p50", "p95", "p99", "p999"]
    );
    assert_eq!(phase["store"]["write_amplification"], 1.5);
    assert_eq!(json["failure"], Value::Null);
}

#[test]
fn the_help_names_every_key_of_the_json() {
    let mut command = CommandLine::command();
    let help = command.find_subcommand_mut("run").unwrap().render_long_help().to_string();
    let json = serde_json::to_value(report()).unwrap();
    let phase = &json["phases"][0];
    for key in [keys(&json), keys(phase), keys(&phase["latency_us"]["read"])].concat() {
        assert!(help.contains(&format!("'{key}'")), "{key}");
    }
}

#[test]
fn json_is_one_object_at_the_end_and_other_formats_show_phases_as_they_finish() {
    assert_eq!(phase_text(ReportFormat::Json), "");
    for format in [ReportFormat::Table, ReportFormat::Ycsb] {
        let mut out = Vec::new();
        report().write(format, &mut out).unwrap();
        assert!(out.is_empty(), "{format:?}");
    }
}

#[test]
fn ycsb_text_has_the_lines_that_ycsb_writes() {
    let text = phase_text(ReportFormat::Ycsb);
    for line in [
        "[OVERALL], RunTime(ms), 1500",
        "[OVERALL], Throughput(ops/sec), 80",
        "[READ], Operations, 60",
        "[READ], AverageLatency(us), 1.25",
        "[READ], MinLatency(us), 0.5",
        "[READ], MaxLatency(us), 5.5",
        "[READ], 95thPercentileLatency(us), 2",
        "[READ], 99thPercentileLatency(us), 3",
        "[READ], 99.9PercentileLatency(us), 4",
        "[READ], Return=OK, 60",
        "[READ-MODIFY-WRITE], Operations, 60",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    let well_formed =
        |line: &str| line.starts_with('#') || (line.starts_with('[') && line.split(", ").count() == 3);
    assert!(text.lines().all(well_formed), "{text}");
}

#[test]
fn the_table_shows_what_people_look_for() {
    let text = phase_text(ReportFormat::Table);
    for part in [
        "f: 120 operations in 1.50 s, 80 operations/s",
        "2 threads, written, 1,000,000 records of 1,000 bytes, zipfian, then a flush of 0.250 s",
        "p99.9",
        "rmw",
        "device wrote 3.0 MiB, write amplification 1.50",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}
