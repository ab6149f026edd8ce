//! What users and their scripts rely on, word for word, in files under `tests/cli`.
//!
//! After a change that is meant: `ZONAL_WRITE_EXPECTED=1 cargo test -p zonal-tools --test kvctl expected`, then read the
//! difference.

use std::collections::BTreeSet;
use std::fs;

use crate::device::machine;
use crate::expectation::{assert_expected, names_of};
use crate::sandbox::{Sandbox, text};

const COMMANDS: [&str; 15] = [
    "create",
    "put",
    "get",
    "delete",
    "scan",
    "info",
    "stats",
    "zones",
    "check",
    "checkpoint",
    "gc",
    "salvage",
    "load",
    "dump",
    "completions",
];

const DEVICE_COMMANDS: [&str; 5] = ["list", "report", "check", "reset", "bench"];

/// A command line and all that came of it.
fn transcript(sandbox: &Sandbox, words: &[&str]) -> String {
    let output = sandbox.run(words);
    let code = output.status.code().unwrap();
    format!(
        "$ kvctl {}\n{}{}[exit code {code}]\n\n",
        words.join(" "),
        text(&output.stdout),
        text(&output.stderr)
    )
}

#[test]
fn help_is_as_expected() {
    let sandbox = Sandbox::new();
    assert_expected("help.txt", &transcript(&sandbox, &["--help"]));
    for command in COMMANDS {
        assert_expected(&format!("help-{command}.txt"), &transcript(&sandbox, &[command, "--help"]));
    }
}

#[test]
fn help_of_device_is_as_expected() {
    let sandbox = Sandbox::new();
    assert_expected("help-device.txt", &transcript(&sandbox, &["device", "--help"]));
    for command in DEVICE_COMMANDS {
        let words = ["device", command, "--help"];
        assert_expected(&format!("help-device-{command}.txt"), &transcript(&sandbox, &words));
    }
}

#[test]
fn every_check_of_a_device_is_in_the_documentation_with_its_line_and_claim() {
    let documentation =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/append-contract.md")).unwrap();
    for (line, name, claim) in zonal_engine::conformance::catalogue() {
        let row = format!("| {line} | `{name}` | {claim} |");
        assert!(documentation.contains(&row), "docs/append-contract.md has no row\n{row}");
    }
}

/// A sandbox with a machine in `root` and a store in `d.zonal`.
fn with_machine() -> Sandbox {
    let sandbox = Sandbox::with_store();
    machine(&sandbox.path("root"));
    sandbox
}

#[test]
fn json_names_of_device_are_as_expected_and_in_help_and_documentation() {
    let sandbox = with_machine();
    let documentation = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kvctl.md")).unwrap();
    let lines: [(&str, &[&str]); 5] = [
        ("list", &["--root", "root"]),
        ("report", &["d.zonal"]),
        ("check", &["d.zonal", "--yes"]),
        ("reset", &["d.zonal", "--yes", "--all"]),
        ("bench", &["d.zonal", "--yes", "--rounds", "1", "--appends", "4"]),
    ];
    for (command, options) in lines {
        let found = names_of(&sandbox.json(&[&["device", command], options].concat()));
        let list: String = found.iter().map(|name| format!("{name}\n")).collect();
        assert_expected(&format!("json-device-{command}.txt"), &list);
        let help = sandbox.done(&["device", command, "--help"]);
        let help: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for name in found.iter().filter_map(|name| name.split('.').next_back()) {
            assert!(help.contains(&format!("'{name}'")), "{name} is not in the help of {command}");
            assert!(documentation.contains(&format!("`{name}`")), "{name} is not in docs/kvctl.md");
        }
    }
}

/// How data are accessed depends on the file system, which queue on the machine.
fn without_machine(text: &str) -> String {
    text.replace("direct I/O", "ACCESS").replace("page cache", "ACCESS")
}

#[test]
fn output_of_device_is_as_expected() {
    let sandbox = with_machine();
    let lines: [&[&str]; 7] = [
        &["device", "list", "--root", "root"],
        &["device", "list", "--root", "nowhere"],
        &["device", "report", "d.zonal"],
        &["device", "check", "d.zonal"],
        &["device", "check", "d.zonal", "--yes", "--queue", "threads"],
        &["device", "reset", "d.zonal", "--all"],
        &["device", "reset", "d.zonal", "--zones", "99"],
    ];
    let found = lines.map(|words| transcript(&sandbox, words)).concat();
    assert_expected("output-device.txt", &without_machine(&found));
}

#[test]
fn json_names_are_as_expected_and_in_help_documentation_and_tables() {
    let sandbox = Sandbox::with_store();
    let documentation = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kvctl.md")).unwrap();
    // So that there is something to tell of collections.
    let churned = Sandbox::with_store();
    churned.churn("d.zonal");
    for command in ["info", "stats", "zones", "check", "checkpoint", "gc"] {
        let sandbox = if command == "stats" { &churned } else { &sandbox };
        let found = names_of(&sandbox.json(&[command, "d.zonal"]));
        let list: String = found.iter().map(|name| format!("{name}\n")).collect();
        assert_expected(&format!("json-{command}.txt"), &list);
        let help = sandbox.done(&[command, "--help"]);
        for name in found.iter().filter_map(|name| name.split('.').next_back()) {
            assert!(help.contains(&format!("'{name}'")), "{name} is not in the help of {command}");
            assert!(documentation.contains(&format!("`{name}`")), "{name} is not in docs/kvctl.md");
        }
    }
    for command in ["info", "stats", "gc"] {
        let table = sandbox.done(&[command, "d.zonal"]);
        // Further tables, of lists, come after an empty line.
        let rows: BTreeSet<_> = table
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect();
        let mut fields = names_of(&sandbox.json(&[command, "d.zonal"]));
        let groups = ["zones", "opening", "streams", "collections", "before", "after"];
        fields.retain(|name| !groups.contains(&name.as_str()) && !name.contains("[]"));
        assert_eq!(rows, fields, "{command}");
    }
}

#[test]
fn output_for_people_is_as_expected() {
    let sandbox = Sandbox::with_store();
    for (key, value) in [("user:1", "Ada"), ("user:2", "Grace\tHopper"), ("zone", "0")] {
        sandbox.done(&["put", "d.zonal", key, value]);
    }
    sandbox.done(&["delete", "d.zonal", "zone"]);
    let lines: [&[&str]; 7] = [
        &["scan", "d.zonal", "--prefix", "user:"],
        &["scan", "d.zonal", "--format", "json", "--limit", "1"],
        &["get", "d.zonal", "user:2", "--format", "json"],
        &["check", "d.zonal"],
        &["check", "d.zonal", "--deep"],
        &["zones", "d.zonal", "--map"],
        &["dump", "d.zonal"],
    ];
    let lines: Vec<_> = lines.into_iter().chain([&["checkpoint", "d.zonal"][..]]).collect();
    let found: String = lines.into_iter().map(|words| transcript(&sandbox, words)).collect();
    assert_expected("output.txt", &found);
}

/// A store of which some values, a key, a whole record and a copy of the device's header are damaged.
fn damaged() -> Sandbox {
    let sandbox = Sandbox::with_store();
    for key in ["a", "b", "c", "d"] {
        sandbox.done(&["put", "d.zonal", key, &format!("the older value of {key}")]);
        sandbox.done(&["put", "d.zonal", key, &format!("the newest value of {key}")]);
    }
    let mut bytes = sandbox.bytes("d.zonal");
    let mut overwrite = |what: &str, skip: usize, len: usize| {
        let at = bytes.windows(what.len()).rposition(|window| window == what.as_bytes()).unwrap();
        bytes[at + skip..at + skip + len].fill(b'!');
    };
    overwrite("the newest value of a", 4, 2);
    overwrite("cthe newest value of c", 0, 22);
    overwrite("ZONALDEV", 0, 2);
    let whole_record = bytes.windows(20).position(|window| window == b"dthe older value of ").unwrap();
    bytes[whole_record - 24..whole_record + 22].fill(b'!');
    fs::write(sandbox.path("d.zonal"), bytes).unwrap();
    sandbox
}

#[test]
fn what_is_said_of_damage_is_as_expected() {
    let sandbox = damaged();
    let lines: [&[&str]; 6] = [
        &["check", "--deep", "d.zonal"],
        &["salvage", "d.zonal"],
        &["salvage", "d.zonal", "--into", "saved.zonal", "--older-versions", "--only-certain"],
        &["scan", "saved.zonal"],
        &["salvage", "d.zonal", "--format", "json"],
        &["salvage", "d.zonal", "--into", "saved.zonal"],
    ];
    assert_expected("output-damage.txt", &lines.map(|words| transcript(&sandbox, words)).concat());
}

#[test]
fn json_names_of_salvage_are_as_expected_and_in_help_and_documentation() {
    let sandbox = damaged();
    let documentation = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kvctl.md")).unwrap();
    let words = ["salvage", "d.zonal", "--format", "json"];
    let found = names_of(&serde_json::from_slice(&sandbox.run(&words).stdout).unwrap());
    let list: String = found.iter().map(|name| format!("{name}\n")).collect();
    assert_expected("json-salvage.txt", &list);
    let help = sandbox.done(&["salvage", "--help"]);
    for name in found.iter().filter_map(|name| name.split('.').next_back()) {
        assert!(help.contains(&format!("'{name}'")), "{name} is not in the help of salvage");
        assert!(documentation.contains(&format!("`{name}`")), "{name} is not in docs/kvctl.md");
    }
}

#[test]
fn messages_are_as_expected() {
    let sandbox = Sandbox::with_store();
    fs::write(sandbox.path("notes"), "not a store\n").unwrap();
    fs::write(sandbox.path("lines"), "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\"}\n").unwrap();
    let cut = fs::File::create(sandbox.path("cut.zonal")).unwrap();
    std::io::copy(&mut fs::File::open(sandbox.path("d.zonal")).unwrap(), &mut &cut).unwrap();
    cut.set_len(3 << 20).unwrap();
    let lines: [&[&str]; 11] = [
        &["get", "d.zonal", "absent"],
        &["delete", "d.zonal", "absent"],
        &["get", "missing.zonal", "k"],
        &["put", "missing.zonal", "k", "v"],
        &["info", "notes"],
        &["info", "cut.zonal"],
        &["check", "cut.zonal"],
        &["create", "d.zonal"],
        &["create", "small.zonal", "--capacity", "64MiB"],
        &["load", "d.zonal", "lines"],
        &["scan", "d.zonal", "--from", "b", "--to", "a"],
    ];
    assert_expected("messages.txt", &lines.map(|words| transcript(&sandbox, words)).concat());
}
