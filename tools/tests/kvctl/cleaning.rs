//! `gc`, and what `stats` tells of cleaning.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn gc_reclaims_what_a_store_with_a_capacity_would_leave_until_it_needs_it() {
    let sandbox = Sandbox::with_store();
    sandbox.churn("d.zonal");
    let (dump, live) =
        (sandbox.done(&["dump", "d.zonal"]), &sandbox.json(&["stats", "d.zonal"])["live_bytes"]);
    let report = sandbox.json(&["gc", "d.zonal"]);
    let (before, after) = (&report["before"], &report["after"]);
    assert_eq!(&after["live_bytes"], live);
    assert!(number(&before["zones"]) > number(&before["target_zones"]), "{report}");
    // The next zone may have been made ready meanwhile.
    assert!(number(&after["zones"]) <= number(&after["target_zones"]) + 1, "{report}");
    assert_eq!(number(&report["reclaimed_bytes"]), number(&before["bytes"]) - number(&after["bytes"]));
    assert!(number(&report["zones_emptied"]) > 0, "{report}");
    assert_eq!(sandbox.done(&["dump", "d.zonal"]), dump);
    assert_eq!(sandbox.json(&["check", "d.zonal", "--deep"])["sound"], true);
}

#[test]
fn gc_of_a_store_that_has_nothing_to_gain_says_so() {
    let sandbox = Sandbox::with_store();
    let report = sandbox.json(&["gc", "d.zonal"]);
    assert_eq!((&report["reclaimed_bytes"], &report["zones_emptied"]), (&json!(0), &json!(0)));
    assert!(sandbox.refused(&["gc", "missing.zonal"], 3).contains("missing.zonal"));
}

#[test]
fn stats_tell_of_streams_and_of_the_last_collections_of_earlier_runs() {
    let sandbox = Sandbox::with_store();
    sandbox.churn("d.zonal");
    let stats = sandbox.json(&["stats", "d.zonal"]);
    let streams = stats["streams"].as_array().unwrap();
    let sum = |name: &str| streams.iter().map(|stream| number(&stream[name])).sum::<u64>();
    assert_eq!(sum("live_bytes"), number(&stats["live_bytes"]));
    let written = number(&stats["device_bytes_written"]);
    assert!((written * 8 / 10..=written).contains(&sum("written_bytes")), "{stats}");
    let collections = stats["collections"].as_array().unwrap();
    assert_eq!(collections.len(), 8, "{stats}");
    for collection in collections {
        let share = collection["live_share"].as_f64().unwrap();
        assert!((0.0..1.0).contains(&share) && collection["freed"] == true, "{collection}");
        assert!(number(&collection["moved_bytes"]) <= number(&collection["live_bytes"]), "{collection}");
        assert!(number(&collection["microseconds"]) > 0, "{collection}");
    }
    let table = sandbox.done(&["stats", "d.zonal"]);
    assert_eq!(table.lines().skip_while(|line| *line != "collections").count(), 2 + 8, "{table}");
}

#[test]
fn a_file_of_which_nine_tenths_are_deleted_gives_them_back_to_the_file_system() {
    const MIB: u64 = 1 << 20;
    let sandbox = Sandbox::new();
    sandbox.done(&["create", "d.zonal", "--zone-size", "1MiB"]);
    let value = "v".repeat(1 << 20);
    let line = |number: u64| format!("{{\"key\": \"{number:03}\", \"value\": \"{value}\"}}\n");
    sandbox.done_with(
        &["load", "d.zonal", "-", "--batch", "1"],
        (0..100).map(line).collect::<String>().as_bytes(),
    );
    let file_bytes = || fs::metadata(sandbox.path("d.zonal")).unwrap().blocks() * 512;
    assert!(file_bytes() > 100 * MIB);
    for number in (0..100).filter(|number| number % 10 > 0) {
        sandbox.done(&["delete", "d.zonal", &format!("{number:03}")]);
    }
    let report = sandbox.json(&["gc", "d.zonal"]);
    assert!(number(&report["after"]["zones"]) <= number(&report["after"]["target_zones"]) + 1, "{report}");
    // Beside zones there are the journal and the table of 65,536 zones; the store itself takes a few.
    let live = number(&report["after"]["live_bytes"]);
    assert!(file_bytes() <= live * 13 / 10 + 18 * MIB, "{} for {live} live ones", file_bytes());
    assert_eq!(sandbox.json(&["stats", "d.zonal"])["keys"], 10);
}
