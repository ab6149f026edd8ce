//! The shapes that programs rely on.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::CommandFactory;
use serde_json::Value;

use super::{PhaseReport, Report, ReportFormat, WindowReport, WindowsSummary};
use crate::ycsb::command_line::CommandLine;
use crate::ycsb::latency::LatencySummary;
use crate::ycsb::store::StoreWindow;

const SUMMARY: LatencySummary =
    LatencySummary { count: 60, mean: 1.25, min: 0.5, p50: 1.0, p95: 2.0, p99: 3.0, p999: 4.0, max: 5.5 };

fn window(end_seconds: f64, operations: u64) -> WindowReport {
    WindowReport {
        end_seconds,
        seconds: 1.0,
        complete: true,
        operations,
        ops_per_second: operations as f64,
        latency_us: BTreeMap::from([("read", SUMMARY), ("rmw", SUMMARY)]),
        store: StoreWindow {
            free_zones: Some(7),
            live_bytes: Some(1 << 20),
            file_bytes: Some(3 << 20),
            user_bytes_written: Some(1000),
            device_bytes_written: Some(2000),
            relocated_bytes: Some(500),
            write_amplification: Some(2.0),
        },
    }
}

fn phase() -> PhaseReport {
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
        latency_us: BTreeMap::from([("read", SUMMARY), ("rmw", SUMMARY)]),
        windows: WindowsSummary::of(&[window(1.0, 60), window(1.5, 30)], Duration::from_secs(1)),
        series: vec![window(1.0, 60), window(1.5, 30)],
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
        capacity_bytes: Some(640 << 20),
        zone_size_bytes: Some(2 << 20),
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
        [
            "cache_bytes",
            "capacity_bytes",
            "command",
            "failure",
            "index",
            "path",
            "phases",
            "seed",
            "version",
            "zone_size_bytes"
        ]
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
            "series",
            "store",
            "threads",
            "value_bytes",
            "warmup_operations",
            "windows",
            "workload"
        ]
    );
    assert_eq!(
        keys(&phase["series"][0]),
        [
            "complete",
            "device_bytes_written",
            "end_seconds",
            "file_bytes",
            "free_zones",
            "latency_us",
            "live_bytes",
            "operations",
            "ops_per_second",
            "relocated_bytes",
            "seconds",
            "user_bytes_written",
            "write_amplification"
        ]
    );
    assert_eq!(
        keys(&phase["windows"]),
        [
            "complete_windows",
            "lowest_ops_per_second",
            "lowest_window_ratio",
            "median_ops_per_second",
            "window_seconds"
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
    let parts = [&json, phase, &phase["latency_us"]["read"], &phase["series"][0], &phase["windows"]];
    for key in parts.map(keys).concat() {
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
        "2 windows of 1 s: median 60 operations/s, lowest 30, ratio 0.50",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_lowest_window_is_held_against_the_median_of_the_complete_ones() {
    let unfinished = WindowReport { complete: false, ..window(6.0, 1) };
    let series = [100, 90, 40, 80, 110].map(|operations| window(1.0, operations));
    let summary = WindowsSummary::of(&[&series[..], &[unfinished]].concat(), Duration::from_secs(1));
    assert_eq!(summary.complete_windows, 5);
    assert_eq!((summary.lowest_ops_per_second, summary.median_ops_per_second), (Some(40.0), Some(90.0)));
    assert!((summary.lowest_window_ratio.unwrap() - 4.0 / 9.0).abs() < 1e-9);
}

#[test]
fn without_a_complete_window_there_is_no_ratio() {
    let summary = WindowsSummary::of(&[], Duration::from_secs(1));
    assert_eq!((summary.complete_windows, summary.lowest_window_ratio), (0, None));
    let stalled = WindowsSummary::of(&[window(1.0, 0)], Duration::from_secs(1));
    assert_eq!((stalled.lowest_ops_per_second, stalled.lowest_window_ratio), (Some(0.0), None));
}

#[test]
fn the_page_shows_figures_and_charts_and_loads_nothing() {
    let mut out = Vec::new();
    let failed = Report { failure: Some("a <b> broke".to_owned()), ..report() };
    failed.write(ReportFormat::Html, &mut out).unwrap();
    let page = String::from_utf8(out).unwrap();
    for part in ["x.zonal", "0.50", "slowest window by median", "a &lt;b&gt; broke", "prefers-color-scheme"] {
        assert!(page.contains(part), "{part} is not in:\n{page}");
    }
    let charts =
        ["Throughput", "Latency of read", "Latency of rmw", "Write amplification", "Free zones", "Space"];
    for chart in charts {
        assert!(page.contains(&format!("aria-label=\"{chart}\"")), "{chart} is not in:\n{page}");
    }
    for loaded in ["src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(loaded), "{loaded}");
    }
}
