//! Damage, as somebody at a command line meets it: found by `check`, survived by `dump`, saved from by `salvage`.

use std::fs;
use std::ops::Range;

use serde_json::Value;

use crate::sandbox::{Sandbox, text};
use crate::structures::{Map, STRUCTURES};

/// A sandbox with a store of a few dozen keys, large values, deletes, a batch and copies; gives its file and its dump.
pub(crate) fn specimen() -> (Sandbox, Vec<u8>, Vec<String>) {
    let sandbox = Sandbox::new();
    let sizes = ["--capacity", "1MiB", "--zone-size", "128KiB", "--zone-capacity", "112KiB"];
    sandbox.done(&[&["create", "d.zonal", "--max-active", "8"], &sizes[..]].concat());
    let line = |key: &str, value: String| format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}\n");
    let mut lines = String::new();
    for number in 0..30 {
        lines.push_str(&line(&format!("key {number:02}"), format!("value {number} ").repeat(9)));
    }
    lines.push_str(&line("large", "a large value ".repeat(5000)));
    let load = ["load", "d.zonal", "--batch", "1", "--durability", "written"];
    sandbox.done_with(&load, lines.as_bytes());
    let hot: String = (0..60)
        .map(|round| line(&format!("hot {}", round % 3), format!("{round:06}").repeat(3000)))
        .collect();
    sandbox.done_with(&load, hot.as_bytes());
    sandbox.done_with(
        &["load", "d.zonal"],
        (line("batch 1", "one".to_owned()) + &line("batch 2", "two".to_owned())).as_bytes(),
    );
    sandbox.done(&["delete", "d.zonal", "key 07"]);
    let bytes = sandbox.bytes("d.zonal");
    let dump = sandbox.done(&["dump", "d.zonal"]);
    (sandbox, bytes, dump.lines().map(str::to_owned).collect())
}

fn slice(range: &Range<u64>) -> Range<usize> {
    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
}

/// Runs a command on a damaged store. It must end in an orderly way; gives its exit code and output.
fn survive(sandbox: &Sandbox, words: &[&str]) -> (i32, String) {
    let output = sandbox.run(words);
    let message = text(&output.stderr);
    assert!(!message.contains("panicked"), "{words:?}: {message}");
    (output.status.code().expect("it is not killed"), text(&output.stdout))
}

#[test]
fn damage_to_any_structure_is_found_survived_and_salvaged() {
    let (sandbox, bytes, dump) = specimen();
    let map = Map::of(&bytes);
    for structure in STRUCTURES {
        let Some(place) = (structure.locate)(&map).into_iter().next() else { continue };
        for kind in ["flipped", "zeroed", "cut"] {
            let mut damaged = bytes.clone();
            match kind {
                "flipped" => damaged[slice(&place).start] ^= 4,
                "zeroed" => damaged[slice(&place)].fill(0),
                _ => damaged.truncate(slice(&place).start),
            }
            let is_changed = damaged != bytes;
            let context = format!("{kind}: {}", structure.name);
            fs::write(sandbox.path("d.zonal"), &damaged).unwrap();
            let (code, found) = survive(&sandbox, &["check", "--deep", "d.zonal"]);
            let is_found = code == 1 || code == 3;
            assert!(is_found || !is_changed || !structure.is_checked, "{context}: {found}");
            let (code, found) = survive(&sandbox, &["dump", "d.zonal"]);
            assert!(code == 1 || code == 3 || found.lines().eq(&dump), "{context}");
            assert!(
                found.lines().all(|line| dump.iter().any(|known| known == line)),
                "{context}: a wrong record"
            );
            salvage(&sandbox, &dump, &context);
            assert!(sandbox.bytes("d.zonal") == damaged, "{context}: the store was changed");
        }
    }
}

fn salvage(sandbox: &Sandbox, dump: &[String], context: &str) {
    let _ = fs::remove_file(sandbox.path("saved.zonal"));
    let (code, report) =
        survive(sandbox, &["salvage", "d.zonal", "--into", "saved.zonal", "--format", "json"]);
    if code == 3 {
        assert!(sandbox.bytes("d.zonal").len() < 2 << 20, "{context}: nothing is salvaged");
        return;
    }
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["complete"], code == 0, "{context}");
    sandbox.done(&["check", "--deep", "saved.zonal"]);
    let saved = sandbox.done(&["dump", "saved.zonal"]);
    let saved: Vec<&str> = saved.lines().collect();
    assert_eq!(report["keys"], saved.len(), "{context}");
    assert!(code != 0 || saved == dump, "{context}: not complete");
    let missing = dump.iter().filter(|line| !saved.contains(&line.as_str())).count();
    let cut = context.starts_with("cut");
    assert!(cut || missing <= 1, "{context}: {missing} records are lost: {report}");
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_store_is_opened_without_it() {
    let sandbox = Sandbox::new();
    let sizes = ["--capacity", "3MiB", "--zone-size", "128KiB", "--zone-capacity", "112KiB"];
    sandbox.done(&[&["create", "d.zonal", "--max-active", "9"], &sizes[..]].concat());
    let lines: String = (0..40)
        .map(|number| format!("{{\"key\":\"key {number:02}\",\"value\":\"{}\"}}\n", "value ".repeat(2000)))
        .collect();
    sandbox.done_with(&["load", "d.zonal", "--batch", "1"], lines.as_bytes());
    sandbox.done(&["checkpoint", "d.zonal"]);
    let dump = sandbox.done(&["dump", "d.zonal"]);
    assert_ne!(sandbox.json(&["info", "d.zonal"])["opening"]["checkpoint"], 0);

    let mut bytes = sandbox.bytes("d.zonal");
    let map = Map::of(&bytes);
    for block in &map.blocks {
        let place = slice(&block.bytes).start + 60;
        bytes[place] ^= 1;
        fs::write(sandbox.path("d.zonal"), &bytes).unwrap();
        let output = sandbox.run(&["check", "--deep", "d.zonal", "--format", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let damage = &report["harmless_damages"][0];
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(damage["device_offset"], block.bytes.start, "{report}");
        assert_eq!(damage["zone"], map.zone_of(block.bytes.start).unwrap(), "{report}");
        assert_eq!(sandbox.json(&["info", "d.zonal"])["opening"]["unusable_checkpoints"], 1);
        assert_eq!(sandbox.done(&["dump", "d.zonal"]), dump);
        assert_eq!(sandbox.json(&["salvage", "d.zonal"])["complete"], true);
        bytes[place] ^= 1;
    }
}

#[test]
fn a_dump_names_what_it_leaves_out_and_goes_on() {
    let (sandbox, bytes, dump) = specimen();
    let map = Map::of(&bytes);
    let hit = map.records().find(|record| record.is_live && record.key == b"key 11").unwrap();
    let mut damaged = bytes.clone();
    damaged[slice(&hit.value_at).start] ^= 1;
    fs::write(sandbox.path("d.zonal"), &damaged).unwrap();
    for words in [&["dump", "d.zonal"][..], &["scan", "d.zonal", "--format", "json"]] {
        let output = sandbox.run(words);
        let message = text(&output.stderr);
        assert!(
            message.starts_with("kvctl: the value of key 11 cannot be read and is left out: "),
            "{message}"
        );
        assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
        assert_eq!(text(&output.stdout).lines().count(), dump.len() - 1);
    }
    let output = sandbox.run(&["dump", "d.zonal", "--output", "records.jsonl", "--format", "json"]);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &summary["skipped"]), (Some(1), &Value::from(1)));
    assert_eq!(
        text(&sandbox.bytes("records.jsonl")).lines().count(),
        dump.len() - 1,
        "what can be read is kept"
    );
}

#[test]
fn salvage_makes_a_new_store_and_never_replaces_one() {
    let (sandbox, bytes, _) = specimen();
    for into in ["d.zonal", "notes"] {
        fs::write(sandbox.path("notes"), "precious").unwrap();
        let message = sandbox.refused(&["salvage", "d.zonal", "--into", into], 3);
        assert!(message.contains(&format!("{into} exists already")), "{message}");
    }
    assert!(sandbox.bytes("d.zonal") == bytes && sandbox.bytes("notes") == b"precious");
    let report = sandbox.json(&["salvage", "d.zonal"]);
    assert_eq!((&report["complete"], &report["into"]), (&Value::from(true), &Value::Null));
    sandbox.done(&["salvage", "d.zonal", "--into", "larger.zonal", "--capacity", "4MiB"]);
    assert_eq!(sandbox.json(&["info", "larger.zonal"])["zone_size_bytes"], 128 << 10);
}
