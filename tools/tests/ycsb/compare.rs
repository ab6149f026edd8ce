//! `ycsb compare` with what every build has: zonal alone, in processes of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::bench::text;

fn compare(directory: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ycsb"));
    command.arg("compare").arg("--path").arg(directory).args(options).output().unwrap()
}

const SMALL: [&str; 10] = [
    "--stores",
    "zonal",
    "--records",
    "500",
    "--operations",
    "300",
    "--rounds",
    "2",
    "--durability",
    "written",
];

#[test]
fn every_round_runs_load_and_all_core_workloads_in_a_process_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    // Properties that say nothing of the mix leave the workloads as they are.
    let options = ["--format", "json", "-p", "insertorder=ordered", "-p", "recordcont=1"];
    let output = compare(directory.path(), &[&SMALL[..], &options].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("recordcont"), "an unknown property is told of");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["rounds"].as_array().unwrap().len(), 2);
    for result in json["rounds"].as_array().unwrap().iter().map(|round| &round[0]) {
        assert_eq!((&result["store"], &result["failure"]), (&Value::from("zonal"), &Value::Null));
        let phases: Vec<_> = result["phases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|phase| phase["workload"].as_str().unwrap())
            .collect();
        assert_eq!(phases, ["load", "a", "b", "c", "f", "d", "e"]);
        assert!(result["phases"][0]["ops_per_second"].as_f64().unwrap() > 0.0);
        assert!(result["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
        assert!(result["open_seconds"].as_f64().unwrap() > 0.0);
        assert!(result["disk_bytes"].as_u64().unwrap() > 500 * 1000);
    }
    assert_eq!(json["setting"]["cache_bytes"], 256 << 20);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_table_is_printed_and_a_page_written() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.html");
    let options = ["--workload", "a", "--report", page.to_str().unwrap()];
    let output = compare(&directory.path().join("stores"), &[&SMALL[..], &options].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for part in ["Operations a second", "Processor time an operation", "peak memory", "zonal to best peer"] {
        assert!(table.contains(part), "{part} is not in:\n{table}");
    }
    assert!(text(&output.stderr).contains("round 2 of 2"), "{}", text(&output.stderr));
    assert!(fs::read_to_string(page).unwrap().contains("beside other embedded stores"));
    assert!(!directory.path().join("stores").exists(), "a directory made here is removed");
}

#[test]
fn a_store_that_takes_too_long_is_given_up_and_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let options = ["--timeout", "0", "--format", "json"];
    let output = compare(directory.path(), &[&SMALL[..], &options].concat());
    assert_eq!(output.status.code(), Some(3));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["rounds"][0][0]["failure"], "did not finish within 0 s");
    assert_eq!(json["summary"]["stores"][0]["failures"].as_array().unwrap().len(), 2);
}

#[test]
#[cfg(not(feature = "peers-without-rocksdb"))]
fn a_build_without_peers_says_how_to_get_them() {
    let directory = tempfile::tempdir().unwrap();
    for options in [&[][..], &["--stores", "zonal,lmdb"]] {
        let output = compare(directory.path(), options);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("--features peers"), "{}", text(&output.stderr));
    }
}

#[test]
#[cfg(feature = "peers-without-rocksdb")]
fn every_peer_that_was_built_in_passes_every_check() {
    for durability in ["sync", "written", "buffered"] {
        let directory = tempfile::tempdir().unwrap();
        let options = ["--records", "300", "--operations", "200", "--threads", "2", "--rounds", "1"];
        let output = compare(
            directory.path(),
            &[&options[..], &["--durability", durability, "--format", "json"]].concat(),
        );
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let results = json["rounds"][0].as_array().unwrap();
        assert!(results.len() >= 7, "{json}");
        for result in results {
            assert_eq!(result["failure"], Value::Null, "{durability}: {result}");
            assert_eq!(result["phases"].as_array().unwrap().len(), 7);
        }
    }
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    for (path, options, expected) in [
        (directory.path(), &["--format", "ycsb"][..], "no YCSB text"),
        (directory.path(), &["--threads", "0"], "1 to 1024"),
        (directory.path(), &["--report", "/no/such/directory/x.html"], "cannot write"),
        (&file, &[], "as a directory"),
    ] {
        let output = compare(path, &[&SMALL[..], options].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
