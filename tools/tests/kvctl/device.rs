//! `kvctl device`: on files with zones of their own, and on a machine laid out in a directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, Writer, message, text};

/// A sandbox with the empty device `d.zonal` of 16 zones.
fn with_blank_device() -> Sandbox {
    let sandbox = Sandbox::with_store();
    sandbox.done(&["device", "reset", "--yes", "--all", "d.zonal"]);
    sandbox
}

fn write(root: &Path, file: &str, content: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{content}\n")).unwrap();
}

/// What sysfs and procfs say of a machine with an NVMe ZNS drive that somebody uses, an SMR disk that is mounted and has
/// something on top, and a conventional disk.
pub(crate) fn machine(root: &Path) {
    for (disk, file, content) in [
        ("nvme0n1", "queue/zoned", "host-managed"),
        ("nvme0n1", "queue/nr_zones", "256"),
        ("nvme0n1", "queue/chunk_sectors", "8192"),
        ("nvme0n1", "queue/logical_block_size", "4096"),
        ("nvme0n1", "queue/max_open_zones", "8"),
        ("nvme0n1", "queue/max_active_zones", "12"),
        ("nvme0n1", "queue/zone_append_max_bytes", "131072"),
        ("nvme0n1", "device/model", "QEMU NVMe Ctrl                          "),
        ("nvme0n1", "dev", "259:0"),
        ("sdb", "queue/zoned", "host-aware"),
        ("sdb", "queue/nr_zones", "55880"),
        ("sdb", "queue/chunk_sectors", "524288"),
        ("sdb", "queue/logical_block_size", "512"),
        ("sdb", "queue/max_open_zones", "0"),
        ("sdb", "queue/max_active_zones", "0"),
        ("sdb", "device/model", "HGST HSH721414AL"),
        ("sdb", "holders/dm-0/dev", "253:0"),
        ("sdb", "dev", "8:16"),
        ("sda", "queue/zoned", "none"),
        ("sda", "dev", "8:0"),
    ] {
        write(root, &format!("sys/block/{disk}/{file}"), content);
    }
    write(root, "sys/class/nvme-generic/ng0n1/dev", "237:0");
    write(root, "proc/self/mountinfo", "36 35 8:16 / /srv/archive rw - f2fs /dev/sdb rw");
    write(root, "proc/417/comm", "ycsb");
    fs::create_dir_all(root.join("proc/417/fd")).unwrap();
    symlink("/dev/ng0n1", root.join("proc/417/fd/5")).unwrap();
}

#[test]
fn list_shows_zoned_devices_and_who_has_them() {
    let sandbox = Sandbox::new();
    machine(&sandbox.path("root"));
    let listed = sandbox.json(&["device", "list", "--root", "root"]);
    let drive = json!({
        "path": "/dev/ng0n1", "block_path": "/dev/nvme0n1", "model": "QEMU NVMe Ctrl", "kind": "host-managed",
        "zone_count": 256, "zone_size_bytes": 4 << 20, "block_bytes": 4096, "max_open_zones": 8,
        "max_active_zones": 12, "append_limit_bytes": 131_072,
        "held_by": [{ "process": { "id": 417, "name": "ycsb" } }],
    });
    assert_eq!(listed[0], drive);
    assert_eq!(listed[1]["path"], "/dev/sdb");
    assert_eq!(listed[1]["held_by"], json!([{ "device": "dm-0" }, { "mount": "/srv/archive" }]));
    assert_eq!(listed.as_array().unwrap().len(), 2, "the conventional disk is none");
}

#[test]
fn list_says_what_to_do_where_there_is_nothing() {
    let sandbox = Sandbox::new();
    let text = sandbox.done(&["device", "list", "--root", "nowhere"]);
    assert!(
        text.starts_with("no zoned devices on this machine\n") && text.contains("kvctl create"),
        "{text}"
    );
    assert_eq!(sandbox.json(&["device", "list", "--root", "nowhere"]), json!([]));
    // The machine that this runs on has some or none: it can be listed.
    sandbox.json(&["device", "list"]);
}

#[test]
fn report_changes_nothing_and_says_how_the_zones_stand() {
    let sandbox = Sandbox::with_store();
    sandbox.done(&["put", "d.zonal", "k", "v"]);
    let before = sandbox.bytes("d.zonal");
    let report = sandbox.json(&["device", "report", "d.zonal"]);
    assert!(sandbox.bytes("d.zonal") == before);
    assert_eq!((&report["zone_count"], &report["block_bytes"]), (&json!(16), &json!(4096)));
    let zones = report["zones"].as_array().unwrap();
    assert_eq!((zones.len(), &zones[2]["start"]), (16, &json!(2 << 20)));
    let written = zones.iter().filter(|zone| zone["write_pointer"].as_u64().unwrap() > 0).count();
    assert!(written >= 3, "two zones with manifests, one with data: {report}");
    assert_eq!(zones[15]["state"], "empty");
}

#[test]
fn check_passes_on_a_file_with_every_queue_and_leaves_it_empty() {
    let sandbox = with_blank_device();
    for queue in ["io_uring", "aio", "threads"] {
        // Nothing is on it: nobody is asked.
        let found = sandbox.json(&["device", "check", "d.zonal", "--queue", queue]);
        assert_eq!(
            (&found["conforms"], &found["queue"], &found["failed"]),
            (&json!(true), &json!(queue), &json!(0))
        );
        let checks = found["checks"].as_array().unwrap();
        let lines: Vec<_> = (1..=7).map(Value::from).collect();
        assert!(lines.iter().all(|line| checks.iter().any(|check| check["line"] == *line)), "{found}");
        assert!(checks.iter().any(|check| check["line"] == "zones"));
        let total = ["passed", "failed", "not_applicable"].map(|name| found[name].as_u64().unwrap());
        assert_eq!(total.iter().sum::<u64>(), checks.len() as u64);
    }
    let report = sandbox.json(&["device", "report", "d.zonal"]);
    assert!(report["zones"].as_array().unwrap().iter().all(|zone| zone["state"] == "empty"), "{report}");
}

#[test]
fn what_destroys_a_store_asks_first_and_takes_only_yes_for_an_answer() {
    for words in [
        &["device", "check", "d.zonal"][..],
        &["device", "reset", "d.zonal", "--all"],
        &["device", "reset", "d.zonal", "--zones", "0-2"],
        &["device", "bench", "d.zonal"],
    ] {
        let sandbox = Sandbox::with_store();
        sandbox.done(&["put", "d.zonal", "k", "v"]);
        for answer in ["", "no\n", "y\n", "yes please\n"] {
            let output = sandbox.run_with(words, answer.as_bytes());
            let message = message(words, &output, 1);
            for part in ["d.zonal: it holds a zonal store", "Type yes", "nothing was changed", "--yes"] {
                assert!(message.contains(part), "{part} is missing: {message}");
            }
            assert_eq!(text(&output.stdout), "");
            assert_eq!(sandbox.done(&["get", "d.zonal", "k"]), "v");
        }
    }
    let sandbox = Sandbox::with_store();
    let words = ["device", "reset", "d.zonal", "--all"];
    let output = sandbox.run_with(&words, b"yes\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("zones reset: "), "{}", text(&output.stdout));
    assert!(sandbox.refused(&["get", "d.zonal", "k"], 3).contains("holds no zonal store"));
}

#[test]
fn reset_empties_the_zones_that_are_named_and_no_others() {
    let sandbox = Sandbox::with_store();
    for number in 0..60 {
        let key = number.to_string();
        sandbox.done_with(&["put", "d.zonal", &key, "-", "--durability", "written"], &vec![b'x'; 60_000]);
    }
    let states = || -> Vec<bool> {
        let report = sandbox.json(&["device", "report", "d.zonal"]);
        report["zones"].as_array().unwrap().iter().map(|zone| zone["state"] == "empty").collect()
    };
    let before = states();
    let used: Vec<_> = (2..16).filter(|&zone| !before[zone]).collect();
    assert!(used.len() >= 3, "{before:?}");
    let named = format!("{},{}-{}", used[0], used[1], used[1]);
    let done = sandbox.json(&["device", "reset", "--yes", "d.zonal", "--zones", &named]);
    assert_eq!(done["zones_reset"], 2);
    let mut expected = before;
    (expected[used[0]], expected[used[1]]) = (true, true);
    assert_eq!(states(), expected);
    let message = sandbox.refused(&["device", "reset", "--yes", "d.zonal", "--zones", "3,12-16"], 2);
    assert!(message.contains("zone 16 does not exist; the device has 16 zones, counted from 0"), "{message}");
    assert_eq!(states(), expected, "nothing is reset where a zone does not exist");
}

#[test]
fn bench_measures_every_combination_and_leaves_the_zone_empty() {
    let sandbox = with_blank_device();
    let words = ["device", "bench", "d.zonal", "--appends", "40", "--rounds", "2"];
    let measured = sandbox.json(&words);
    let cells = measured["measurements"].as_array().unwrap();
    let combinations: Vec<_> = cells
        .iter()
        .map(|cell| (cell["threads"].as_u64().unwrap(), cell["depth"].as_u64().unwrap()))
        .collect();
    let expected: Vec<_> =
        [1, 2, 4].into_iter().flat_map(|threads| [1, 8, 32].map(|depth| (threads, depth))).collect();
    assert_eq!(combinations, expected);
    for cell in cells {
        let rate = |name: &str| cell[name].as_f64().unwrap();
        let ratio = rate("appends_per_second") / rate("one_at_a_time_per_second");
        assert!((ratio - rate("ratio")).abs() < 1e-6 && ratio > 0.0, "{cell}");
    }
    assert_eq!((&measured["appends"], &measured["rounds"]), (&json!(40), &json!(2)));
    let shown = sandbox.done(&words);
    assert!(shown.contains("one at a time/s") && shown.contains("40 in each measurement"), "{shown}");
    assert_eq!(sandbox.json(&["device", "report", "d.zonal"])["zones"][0]["state"], "empty");
}

#[test]
fn sizes_that_make_no_measurement_are_wrong_usage() {
    let sandbox = with_blank_device();
    for (options, reason) in [
        (["--append-bytes", "1000"], "whole blocks of 4096 bytes"),
        (["--append-bytes", "2MiB"], "up to 1048576 bytes"),
        (["--append-bytes", "1MiB"], "at least 4 appends"),
        (["--appends", "0"], "--appends"),
    ] {
        let message = sandbox.refused(&[&["device", "bench", "d.zonal"][..], &options].concat(), 2);
        assert!(message.contains(reason), "{options:?}: {message}");
    }
}

#[test]
fn a_device_that_is_no_device_or_in_use_is_refused() {
    let sandbox = Sandbox::with_store();
    fs::write(sandbox.path("notes"), "precious").unwrap();
    let mut writer = Writer::start(&sandbox, &["--batch", "1", "--acknowledge"]);
    writer.line(b"{\"key\":\"k\",\"value\":\"v\"}\n");
    assert_eq!(writer.acknowledgement(), Some(1));
    for command in ["report", "check", "bench"] {
        let options: &[&str] = if command == "report" { &[] } else { &["--yes"] };
        for (path, says) in
            [("missing", "missing does not exist"), ("notes", "not a zonal device"), ("d.zonal", "in use by")]
        {
            let message = sandbox.refused(&[&["device", command, path][..], options].concat(), 3);
            assert!(message.contains(says), "{command}: {message}");
        }
    }
    writer.kill();
    assert_eq!(sandbox.bytes("notes"), b"precious");
    assert!(sandbox.refused(&["device", "reset", "d.zonal"], 2).contains("--all"));
    assert!(
        sandbox
            .refused(&["device", "reset", "d.zonal", "--all", "--zones", "1"], 2)
            .contains("cannot be used")
    );
    assert_eq!(sandbox.done(&["get", "d.zonal", "k"]), "v");
}
