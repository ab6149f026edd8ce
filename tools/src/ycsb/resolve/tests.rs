//! What wins over what, and what is refused.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::super::command_line::{Command, CommandLine};
use super::super::keys::KeyOrder;
use super::super::properties::Properties;
use super::super::settings::{Index, WriteDurability};
use super::super::workload::{Distribution, OperationKind};
use super::{Plan, Task, core_properties, resolve};

/// Resolves `ycsb run --path x` with more options, on top of `properties`.
fn run(options: &[&str], properties: &str) -> Result<Plan, String> {
    let words = ["ycsb", "run", "--path", "x"].iter().chain(options);
    let Command::Run(run) = CommandLine::try_parse_from(words).unwrap().command else { panic!("not run") };
    let task = if run.load { Task::LoadAndRun } else { Task::Run };
    resolve(task, &run.shared, &Properties::parse(properties, "file")).map_err(|error| error.to_string())
}

fn load(options: &[&str], properties: &str) -> Plan {
    let words = ["ycsb", "load", "--path", "x"].iter().chain(options);
    let Command::Load(shared) = CommandLine::try_parse_from(words).unwrap().command else {
        panic!("not load")
    };
    resolve(Task::Load, &shared, &Properties::parse(properties, "file")).unwrap()
}

fn share(plan: &Plan, phase: usize, kind: OperationKind) -> f64 {
    plan.phases[phase].mix.share(kind)
}

fn assert_same(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
}

#[test]
fn the_core_workloads_are_those_of_the_paper() {
    use OperationKind::{Insert, Read, ReadModifyWrite, Scan, Update};
    let plan = run(&["--workload", "a,b,c,d,e,f"], "").unwrap();
    let expected = [
        ("a", Distribution::Zipfian, Read, 0.5, Update, 0.5),
        ("b", Distribution::Zipfian, Read, 0.95, Update, 0.05),
        ("c", Distribution::Zipfian, Read, 1.0, Update, 0.0),
        ("d", Distribution::Latest, Read, 0.95, Insert, 0.05),
        ("e", Distribution::Zipfian, Scan, 0.95, Insert, 0.05),
        ("f", Distribution::Zipfian, Read, 0.5, ReadModifyWrite, 0.5),
    ];
    assert_eq!(plan.phases.len(), expected.len());
    for (phase, (name, distribution, first, first_share, second, second_share)) in
        expected.into_iter().enumerate()
    {
        assert_eq!(plan.phases[phase].name, name);
        assert_eq!(plan.phases[phase].distribution, distribution, "{name}");
        assert_same(share(&plan, phase, first), first_share);
        assert_same(share(&plan, phase, second), second_share);
    }
    let scans = plan.phases[4].scan_lengths;
    assert_eq!((scans.min_records, scans.max_records, scans.favour_short), (1, 100, false));
}

#[test]
fn without_a_workload_it_is_a() {
    let plan = run(&[], "").unwrap();
    assert_eq!(plan.phases.len(), 1);
    assert_eq!(plan.phases[0].name, "a");
}

#[test]
fn properties_win_over_the_core_workload_and_options_over_both() {
    let properties = "requestdistribution=uniform\nthreadcount=3\nrecordcount=10\noperationcount=20";
    let plan = run(&["--workload", "a"], properties).unwrap();
    assert_eq!(plan.phases[0].distribution, Distribution::Uniform);
    assert_eq!(plan.phases[0].threads, 3);
    assert_eq!((plan.records, plan.phases[0].extent.operations), (Some(10), Some(20)));

    let options = ["--workload", "a", "--distribution", "latest", "--threads", "5", "--records", "30"];
    let plan = run(&[&options[..], &["--operations", "40"]].concat(), properties).unwrap();
    assert_eq!(plan.phases[0].distribution, Distribution::Latest);
    assert_eq!(plan.phases[0].threads, 5);
    assert_eq!((plan.records, plan.phases[0].extent.operations), (Some(30), Some(40)));
}

#[test]
fn an_option_replaces_one_share_of_the_core_workload() {
    let plan =
        run(&["--workload", "a", "--update-proportion", "0.3", "--insert-proportion", "0.2"], "").unwrap();
    assert_same(share(&plan, 0, OperationKind::Read), 0.5);
    assert_same(share(&plan, 0, OperationKind::Update), 0.3);
    assert_same(share(&plan, 0, OperationKind::Insert), 0.2);
}

#[test]
fn a_mix_described_by_properties_or_options_stands_on_its_own() {
    let plan = run(&["--rmw-proportion", "0.25"], "readproportion=0.75").unwrap();
    assert_eq!(plan.phases[0].name, "custom");
    assert_eq!(plan.phases[0].distribution, Distribution::Uniform);
    assert_same(share(&plan, 0, OperationKind::Update), 0.0);
    let plan = run(&["-P", "some/workloadx"], "readproportion=1").unwrap();
    assert_eq!(plan.phases[0].name, "workloadx");
}

#[test]
fn shares_that_do_not_sum_to_one_are_refused() {
    let message = run(&["--workload", "a", "--read-proportion", "0.9"], "").unwrap_err();
    assert!(message.contains("sum to 1.4") && message.contains("read 0.9, update 0.5"), "{message}");
    assert!(run(&["--read-proportion", "0.9"], "").is_err());
}

#[test]
fn the_size_of_a_value_comes_from_its_fields_or_from_the_option() {
    assert_eq!(run(&[], "").unwrap().phases[0].value_bytes, 1000);
    assert_eq!(run(&[], "fieldcount=4\nfieldlength=25").unwrap().phases[0].value_bytes, 100);
    assert_eq!(run(&["--value-bytes", "4KiB"], "fieldcount=4").unwrap().phases[0].value_bytes, 4096);
}

#[test]
fn loading_inserts_with_the_settings_of_the_workload() {
    let plan =
        load(&["--workload", "e", "--seconds", "7", "--threads", "2"], "insertorder=ordered\nfieldlength=1");
    assert!(plan.phases.is_empty());
    let (workload, records) = plan.load.unwrap();
    assert_same(workload.mix.share(OperationKind::Insert), 1.0);
    assert_eq!((records, workload.value_bytes, workload.threads), (100_000, 10, 2));
    assert_eq!(workload.key_order, KeyOrder::Ordered);
    assert_eq!(workload.extent.time_limit, Some(Duration::from_secs(7)));
    assert!(plan.store.create_if_missing);
}

#[test]
fn running_never_creates_a_store_unless_it_loads_first() {
    assert!(!run(&[], "").unwrap().store.create_if_missing);
    let plan = run(&["--load", "--seconds", "7"], "").unwrap();
    assert!(plan.store.create_if_missing);
    let (loading, _) = plan.load.unwrap();
    assert_eq!(loading.extent.time_limit, None, "the limit is for what runs on the loaded records");
    assert_eq!(plan.phases[0].extent.time_limit, Some(Duration::from_secs(7)));
}

#[test]
fn a_time_limit_of_zero_in_a_property_is_no_limit() {
    assert_eq!(run(&[], "maxexecutiontime=0").unwrap().phases[0].extent.time_limit, None);
    assert_eq!(
        run(&[], "maxexecutiontime=9").unwrap().phases[0].extent.time_limit,
        Some(Duration::from_secs(9))
    );
}

#[test]
fn the_store_is_opened_as_the_options_say() {
    let options =
        ["--durability", "written", "--cache", "1MiB", "--capacity", "1GiB", "--zone-size", "16MiB"];
    let store = run(&options, "").unwrap().store;
    assert_eq!(store.path, PathBuf::from("x"));
    assert_eq!(store.durability, WriteDurability::Written);
    assert_eq!(store.cache_bytes, Some(1 << 20));
    assert_eq!((store.capacity_bytes, store.zone_size_bytes), (Some(1 << 30), Some(16 << 20)));
}

#[test]
fn a_utilisation_gives_the_capacity_that_the_records_fill_to_that_share() {
    let options = ["--load", "--records", "200000", "--value-bytes", "976", "--utilisation", "0.8"];
    // A record: 24 bytes of header, 24 of key, the value.
    assert_eq!(run(&options, "").unwrap().store.capacity_bytes, Some(200_000 * 1024 * 10 / 8));
    let with_zones = run(&[&options[..], &["--zone-size", "16MiB"]].concat(), "").unwrap_err();
    assert!(with_zones.contains("--utilisation 0.8 cannot be reached"), "{with_zones}");
    let message = run(&["--utilisation", "0.8"], "").unwrap_err();
    assert!(message.contains("`run --load`"), "{message}");
    for impossible in ["0", "1", "-0.5", "NaN"] {
        let option = format!("--utilisation={impossible}");
        assert!(run(&["--load", &option], "").unwrap_err().contains("between 0 and 1"), "{impossible}");
    }
}

#[test]
fn windows_are_a_second_long_unless_an_interval_is_given() {
    assert_eq!(run(&[], "").unwrap().window_length, Duration::from_secs(1));
    assert_eq!(run(&["--interval", "0.05"], "").unwrap().window_length, Duration::from_millis(50));
    for impossible in ["0", "0.001", "1e9", "NaN"] {
        assert!(run(&["--interval", impossible], "").unwrap_err().contains("0.01 to 3600"), "{impossible}");
    }
}

#[test]
fn scans_are_refused_with_an_index_that_has_no_order() {
    assert_eq!(run(&["--index", "hash"], "").unwrap().store.index, Index::Hash);
    let message = run(&["--index", "hash", "--workload", "e"], "").unwrap_err();
    assert!(message.contains("--index hash cannot: use --index ordered"), "{message}");
}

#[test]
fn impossible_settings_are_refused_with_what_is_possible() {
    for (options, properties, expected) in [
        (&["--threads", "0"][..], "", "1 to 1024"),
        (&["--value-bytes", "0"], "", "1 byte to 1 GiB"),
        (&["--records", "0"], "", "records must be at least 1"),
        (&["--operations", "0"], "", "operations must be at least 1"),
        (&["--seconds", "-1"][..0], "maxexecutiontime=-1", "-1 seconds"),
        (&[], "requestdistribution=sequential", "only uniform, zipfian, latest"),
        (&[], "hotspotdatafraction=1.5", "0 to 1"),
        (&[], "insertorder=backwards", "only hashed, ordered"),
        (&[], "fieldlengthdistribution=zipfian", "only constant"),
        (&[], "scanlengthdistribution=latest", "only uniform, zipfian"),
        (&[], "minscanlength=9\nmaxscanlength=8", "9 to 8"),
        (&[], "zipfianconstant=1", "below 1"),
        (&[], "threadcount=many", "threadcount=many (file:1)"),
        (&[], "workload=site.ycsb.workloads.TimeSeriesWorkload", "only YCSB's CoreWorkload"),
    ] {
        let message = run(options, properties).unwrap_err();
        assert!(message.contains(expected), "{options:?} {properties}: {message}");
    }
}

#[test]
fn properties_that_nobody_knows_are_warned_about() {
    let known =
        "workload=site.ycsb.workloads.CoreWorkload\nreadallfields=true\nrecordcount=1\nreadproportion=1";
    assert!(run(&[], known).unwrap().warnings.is_empty());
    let warnings = run(&[], "recordcont=1").unwrap().warnings;
    assert!(matches!(&warnings[..], [warning] if warning.contains("recordcont (file:1)")), "{warnings:?}");
}

#[test]
fn the_workload_files_hold_only_properties_that_are_known() {
    use super::super::command_line::CoreWorkload;
    for workload in [CoreWorkload::A, CoreWorkload::E, CoreWorkload::F] {
        assert!(super::unknown_properties(&core_properties(workload)).is_empty(), "{workload:?}");
    }
}
