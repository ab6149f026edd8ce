//! The time series of a phase, in JSON and as a page with charts.

use std::fs;

use serde_json::Value;

use crate::bench::{Bench, text};

const UPDATES: [&str; 10] = [
    "--load",
    "--update-proportion",
    "1",
    "--distribution",
    "zipfian",
    "--threads",
    "2",
    "--durability",
    "buffered",
    "--interval=0.02",
];

fn sum(series: &[Value], key: &str) -> u64 {
    series.iter().map(|window| window[key].as_u64().unwrap()).sum()
}

#[test]
fn every_operation_and_byte_of_a_phase_is_in_one_of_its_windows() {
    let bench = Bench::new();
    let options = ["--records", "2000", "--operations", "30000"];
    let report = bench.json("run", &[&UPDATES[..], &options].concat());
    for (phase, operations) in report["phases"].as_array().unwrap().iter().zip([2000, 30_000]) {
        let series = phase["series"].as_array().unwrap();
        assert_eq!(sum(series, "operations"), operations);
        assert_eq!(sum(series, "user_bytes_written"), operations * 1024);
        let end = series.last().unwrap()["end_seconds"].as_f64().unwrap();
        assert!((end - phase["seconds"].as_f64().unwrap()).abs() < 1e-6, "{phase}");
        let lengths: f64 = series.iter().map(|window| window["seconds"].as_f64().unwrap()).sum();
        assert!((lengths - end).abs() < 1e-6, "windows follow each other without a gap: {phase}");
        for window in series {
            for gauge in ["free_zones", "live_bytes", "file_bytes"] {
                assert!(window[gauge].as_u64().is_some_and(|figure| figure > 0), "{gauge}: {window}");
            }
            let counted: u64 = window["latency_us"]
                .as_object()
                .unwrap()
                .values()
                .map(|latency| latency["count"].as_u64().unwrap())
                .sum();
            assert_eq!(window["operations"], counted);
        }
    }
}

#[test]
fn the_lowest_window_is_told_against_the_median() {
    let bench = Bench::new();
    let options = ["--records", "2000", "--seconds", "0.2"];
    let report = bench.json("run", &[&UPDATES[..], &options].concat());
    let (series, windows) = (&report["phases"][1]["series"], &report["phases"][1]["windows"]);
    let complete: Vec<_> = series
        .as_array()
        .unwrap()
        .iter()
        .filter(|window| window["complete"] == true)
        .map(|window| window["ops_per_second"].as_f64().unwrap())
        .collect();
    assert_eq!(windows["complete_windows"], complete.len());
    assert!(complete.len() >= 5, "{windows}");
    let lowest = complete.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(windows["lowest_ops_per_second"], lowest);
    let ratio = lowest / windows["median_ops_per_second"].as_f64().unwrap();
    assert!((windows["lowest_window_ratio"].as_f64().unwrap() - ratio).abs() < 1e-9, "{windows}");
}

#[test]
fn a_utilisation_makes_a_store_that_the_data_fill_so_far_and_that_is_cleaned_under_updates() {
    let bench = Bench::without_sizes();
    let options = ["--records", "60000", "--utilisation", "0.8", "--zone-size", "1MiB"];
    let report = bench.json("run", &[&UPDATES[..], &options, &["--operations", "60000"]].concat());
    let store = &report["phases"][1]["store"];
    let zones: u64 = store["zones"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let utilisation = store["live_bytes"].as_f64().unwrap() / (zones * (1 << 20)) as f64;
    assert!((0.77..0.83).contains(&utilisation), "{utilisation}: {store}");
    assert!(store["zone_resets"].as_u64().unwrap() > 0, "{store}");
    assert!(sum(report["phases"][1]["series"].as_array().unwrap(), "relocated_bytes") > 0);
}

#[test]
fn a_utilisation_alone_makes_zones_so_small_that_it_is_reached() {
    let bench = Bench::without_sizes();
    let options = ["--records", "60000", "--utilisation", "0.8", "--operations", "1000"];
    let report = bench.json("run", &[&UPDATES[..], &options].concat());
    let store = &report["phases"][1]["store"];
    let zones: u64 = store["zones"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let zone_bytes = report["zone_size_bytes"].as_u64().unwrap();
    assert_eq!(zone_bytes, 256 << 10);
    assert_eq!(zones, report["capacity_bytes"].as_u64().unwrap().div_ceil(zone_bytes));
    let utilisation = store["live_bytes"].as_f64().unwrap() / (zones * zone_bytes) as f64;
    assert!((0.77..0.83).contains(&utilisation), "{utilisation}: {store}");

    let others = Bench::without_sizes();
    let printed =
        others.ycsb("load", &["--records", "60000", "--utilisation", "0.8", "--durability", "buffered"]);
    let (printed, told) = (text(&printed.stdout), format!("a new store has {zones} zones of 256.0 KiB\n"));
    assert!(printed.starts_with(&told), "{printed}");
}

#[test]
fn a_utilisation_that_zones_of_the_given_size_do_not_take_is_refused_before_anything_is_made() {
    let bench = Bench::without_sizes();
    let options = ["--records", "500000", "--utilisation", "0.8", "--zone-size", "16MiB"];
    let output = bench.ycsb("load", &options);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    for part in ["--utilisation 0.8 cannot be reached", "40 zones of 16.0 MiB", "smaller --zone-size"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!bench.store().exists());
}

#[test]
fn a_page_with_charts_is_written_beside_the_results_or_in_their_place() {
    let bench = Bench::new();
    let file = bench.directory().join("report.html");
    let options = ["--records", "2000", "--operations", "10000"];
    let options = [&UPDATES[..], &options].concat();
    let report = bench.json("run", &[&options[..], &["--report", file.to_str().unwrap()]].concat());
    assert_eq!(report["phases"].as_array().unwrap().len(), 2);
    let written = fs::read_to_string(&file).unwrap();
    let printed = bench.ycsb("run", &[&options[..], &["--format", "html"]].concat());
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    for page in [written, text(&printed.stdout)] {
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        for part in ["Throughput", "Latency of update", "Free zones", "bench.zonal"] {
            assert!(page.contains(part), "{part}");
        }
        for kind in ["figure", "svg", "table", "div", "h2", "p"] {
            let opened = [">", " "].map(|after| page.matches(&format!("<{kind}{after}")).count());
            let closed = page.matches(&format!("</{kind}>")).count();
            assert_eq!(opened.into_iter().sum::<usize>(), closed, "{kind}");
        }
    }
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_is_done() {
    let bench = Bench::new();
    let output = bench.ycsb("load", &["--report", "/no/such/directory/report.html"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot write /no/such/directory"), "{}", text(&output.stderr));
    assert!(!bench.store().exists());
}
