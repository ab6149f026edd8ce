//! Loading and running: what is done, how it is told, and what is refused.

use std::process::Command;

use serde_json::Value;

use crate::bench::{Bench, assert_sound, text};

const RECORDS: &str = "3000";

#[test]
fn a_loaded_store_serves_every_core_workload() {
    let bench = Bench::new();
    let loaded = bench.json("load", &["--records", RECORDS, "--threads", "2", "--durability", "written"]);
    assert_sound(&loaded["phases"][0], 3000);
    assert_eq!(loaded["phases"][0]["workload"], "load");
    assert_eq!(loaded["phases"][0]["store"]["keys"], 3000);
    assert_eq!(loaded["phases"][0]["store"]["puts"], 3000);

    let options = ["--workload", "a,b,c,f,d,e", "--operations", "2000", "--threads", "4"];
    let run = bench.json("run", &[&options[..], &["--durability", "buffered"]].concat());
    let phases = run["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 6);
    for (phase, (name, kinds)) in phases.iter().zip([
        ("a", &["read", "update"][..]),
        ("b", &["read", "update"]),
        ("c", &["read"]),
        ("f", &["read", "rmw"]),
        ("d", &["insert", "read"]),
        ("e", &["insert", "scan"]),
    ]) {
        assert_sound(phase, 2000);
        assert_eq!(phase["workload"], name);
        let found: Vec<_> = phase["latency_us"].as_object().unwrap().keys().collect();
        assert_eq!(found, kinds, "{name}");
    }
    assert!(phases[5]["records"].as_u64().unwrap() > 3000, "E runs on what D has inserted");
    assert_eq!(phases[2]["store"]["user_bytes_written"], 0, "C only reads");
}

#[test]
fn every_durability_loads_and_runs_in_one_command() {
    for durability in ["sync", "written", "buffered"] {
        let bench = Bench::new();
        let options = ["--load", "--records", "300", "--operations", "200", "--threads", "2"];
        let report = bench.json("run", &[&options[..], &["--durability", durability]].concat());
        let phases = report["phases"].as_array().unwrap();
        assert_eq!(phases.len(), 2);
        assert_sound(&phases[0], 300);
        assert_sound(&phases[1], 200);
        assert!(phases.iter().all(|phase| phase["durability"] == durability));
    }
}

#[test]
fn property_files_and_ycsbs_own_spellings_work() {
    let bench = Bench::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/workloadb");
    let options = ["-P", file, "-p", "recordcount=400", "-p", "operationcount=500", "-threads", "2"];
    let options = [&options[..], &["--durability", "buffered", "--format", "ycsb"]].concat();
    assert_eq!(bench.ycsb("load", &options).status.code(), Some(0));
    let run = bench.ycsb("run", &options);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let printed = text(&run.stdout);
    assert!(printed.contains("# workload workloadb, 2 threads, buffered"), "{printed}");
    assert!(printed.contains("[OVERALL], Throughput(ops/sec), "), "{printed}");
    assert!(printed.contains("[READ], 99.9PercentileLatency(us), "), "{printed}");
}

#[test]
fn a_time_limit_ends_a_run_without_a_number_of_operations() {
    let bench = Bench::new();
    let options = ["--load", "--records", "300", "--durability", "buffered", "--seconds", "0.05"];
    let report = bench.json("run", &[&options[..], &["--workload", "c"]].concat());
    let run = &report["phases"][1];
    assert!(run["operations"].as_u64().unwrap() > 0);
    assert!(run["seconds"].as_f64().unwrap() >= 0.05);
}

#[test]
fn records_that_were_never_loaded_fail_the_run_with_code_3() {
    let bench = Bench::new();
    bench.json("load", &["--records", "100", "--durability", "buffered"]);
    let output = bench.ycsb("run", &["--records", "1000", "--workload", "c", "--format", "json"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("is missing, though record"), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["failure"].as_str().unwrap().contains("is missing"));
    assert_eq!(report["phases"].as_array().unwrap().len(), 0);
}

#[test]
fn a_missing_store_fails_the_run_and_is_not_created() {
    let bench = Bench::new();
    let output = bench.ycsb("run", &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("cannot open the store"), "{}", text(&output.stderr));
    assert!(!bench.store().exists());
}

#[test]
fn a_hash_index_serves_all_workloads_but_scans() {
    let bench = Bench::new();
    let options = ["--load", "--records", "500", "--operations", "500", "--index", "hash"];
    let report = bench.json("run", &[&options[..], &["--workload", "a,d,f"]].concat());
    let phases = report["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 4, "{report}");
    assert!(phases.iter().all(|phase| phase["operations"] == 500), "{report}");
    let scans = bench.ycsb("run", &["--index", "hash", "--workload", "e"]);
    assert_eq!(scans.status.code(), Some(2));
    assert!(text(&scans.stderr).contains("use --index ordered"), "{}", text(&scans.stderr));
}

#[test]
fn wrong_usage_is_code_2_and_creates_nothing() {
    let bench = Bench::new();
    for options in [
        &["--index", "trie"][..],
        &["--read-proportion", "0.9"],
        &["-P", "no/such/file"],
        &["-p", "recordcount"],
        &["--workload", "z"],
        &["--threads", "0"],
    ] {
        let output = bench.ycsb("load", options);
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{options:?}");
        assert!(!bench.store().exists(), "{options:?}");
    }
}

#[test]
fn an_unknown_property_is_warned_about_on_stderr_only() {
    let bench = Bench::new();
    let options = ["--records", "10", "-p", "recordcont=1", "--durability", "buffered", "--format", "json"];
    let output = bench.ycsb("load", &options);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("recordcont"), "{}", text(&output.stderr));
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok());
}

#[test]
fn help_shows_a_newcomer_what_to_type() {
    for arguments in [&["--help"][..], &["load", "--help"], &["run", "--help"], &["run", "-h"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_ycsb")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("ycsb run --load --path"), "{arguments:?}");
    }
}

#[test]
fn operations_go_through_the_queue_that_is_asked_for() {
    for queue in ["io_uring", "aio", "threads"] {
        let bench = Bench::new();
        let report = bench.json(
            "run",
            &["--load", "--records", "300", "--workload", "a", "--queue", queue, "--threads", "3"],
        );
        assert_sound(&report["phases"][1], 300);
    }
}
