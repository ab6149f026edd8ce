//! What each command does when all is well.

use std::fs;
use std::io::Read;

use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn create_makes_a_store_as_asked_and_shows_it() {
    let sandbox = Sandbox::new();
    let sizes = ["--capacity", "8MiB", "--zone-size", "512KiB", "--zone-capacity", "384KiB"];
    let limits = ["--block-size", "512", "--max-open", "10", "--max-active", "12"];
    let [made, shown] = [&[&["create", "d.zonal"], &sizes[..], &limits].concat()[..], &["info", "d.zonal"]]
        .map(|words| sandbox.json(words))
        .map(|mut info| {
            // How long opening took is another matter each time.
            info.as_object_mut().unwrap().remove("opening").expect("how opening went");
            info
        });
    assert_eq!(shown, made);
    for (name, value) in [
        ("zone_size_bytes", 524_288),
        ("zone_capacity_bytes", 393_216),
        ("zone_count", 22),
        ("block_bytes", 512),
        ("max_open_zones", 10),
        ("max_active_zones", 12),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    assert!(sandbox.done(&["info", "d.zonal"]).contains("512.0 KiB"));
}

#[test]
fn a_value_comes_back_byte_for_byte() {
    let sandbox = Sandbox::with_store();
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
    fs::write(sandbox.path("file"), &every_byte).unwrap();
    sandbox.done(&["put", "d.zonal", "from-file", "@file"]);
    sandbox.done_with(&["put", "d.zonal", "from-stdin", "-"], &every_byte);
    for key in ["from-file", "from-stdin"] {
        assert!(sandbox.done_bytes(&["get", "d.zonal", key]) == every_byte, "{key}");
    }
}

#[test]
fn a_value_on_the_command_line_is_stored_as_it_is() {
    let sandbox = Sandbox::with_store();
    for value in ["Ada", "", "two words\n", "Zürich"] {
        for durability in ["sync", "written", "buffered"] {
            sandbox.done(&["put", "d.zonal", "k", value, "--durability", durability]);
            assert_eq!(sandbox.done(&["get", "d.zonal", "k"]), value, "{durability}");
        }
    }
    for value in ["-", "@file"] {
        sandbox.done(&["put", "--literal", "d.zonal", "k", value]);
        assert_eq!(sandbox.done(&["get", "d.zonal", "k"]), value);
    }
    sandbox.done(&["put", "d.zonal", "k", "--", "--value"]);
    assert_eq!(sandbox.done(&["get", "d.zonal", "k"]), "--value");
}

#[test]
fn keys_that_are_no_text_are_spelt_in_hex_or_base64() {
    let sandbox = Sandbox::with_store();
    sandbox.done(&["put", "d.zonal", "--key-encoding", "hex", "00ff", "v"]);
    assert_eq!(sandbox.done(&["get", "d.zonal", "--key-encoding", "base64", "AP8="]), "v");
    let shown = sandbox.json(&["get", "d.zonal", "--key-encoding", "hex", "00FF"]);
    assert_eq!(shown, json!({ "key_base64": "AP8=", "value": "v" }));
    let found = sandbox.done(&["scan", "d.zonal", "--prefix", "00", "--key-encoding", "hex"]);
    assert_eq!(found, "\\0\\xff\tv\n");
}

#[test]
fn get_answers_no_for_an_absent_key() {
    let sandbox = Sandbox::with_store();
    for format in ["table", "json"] {
        let message = sandbox.refused(&["get", "d.zonal", "tab\t", "--format", format], 1);
        assert_eq!(message, "kvctl: no value for the key tab\\t\n");
    }
}

#[test]
fn delete_answers_no_where_there_was_nothing() {
    let sandbox = Sandbox::with_store();
    sandbox.done(&["put", "d.zonal", "k", "v"]);
    assert_eq!(sandbox.done(&["delete", "d.zonal", "k"]), "");
    sandbox.refused(&["get", "d.zonal", "k"], 1);
    assert!(sandbox.refused(&["delete", "d.zonal", "k"], 1).contains("no value for the key k"));
}

/// What is put into the store with five keys: keys and values.
const FIVE_KEYS_BYTES: u64 = 2 * (1 + 10) + 3 * (2 + 11);

/// A store with the keys a, b1, b2, b3, c.
fn five_keys() -> Sandbox {
    let sandbox = Sandbox::with_store();
    for key in ["a", "b1", "b2", "b3", "c"] {
        sandbox.done(&["put", "d.zonal", key, &format!("value of {key}"), "--durability", "written"]);
    }
    sandbox
}

#[test]
fn scan_lists_what_is_asked_for() {
    let sandbox = five_keys();
    let keys = |options: &[&str]| {
        let found = sandbox.done(&[&["scan", "d.zonal", "--keys-only"], options].concat());
        found.lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys(&[]), "a b1 b2 b3 c");
    assert_eq!(keys(&["--prefix", "b"]), "b1 b2 b3");
    assert_eq!(keys(&["--from", "b2"]), "b2 b3 c");
    assert_eq!(keys(&["--to", "b2"]), "a b1");
    assert_eq!(keys(&["--from", "b1", "--to", "b3"]), "b1 b2");
    assert_eq!(keys(&["--from", "b2", "--to", "b2"]), "");
    assert_eq!(keys(&["--reverse"]), "c b3 b2 b1 a");
    assert_eq!(keys(&["--prefix", "b", "--reverse", "--limit", "2"]), "b3 b2");
    assert_eq!(keys(&["--limit", "0"]), "");
}

#[test]
fn scan_shows_values_as_lines_for_people_or_programs() {
    let sandbox = Sandbox::with_store();
    sandbox.done(&["put", "d.zonal", "k\t1", "line\nline"]);
    sandbox.done_with(&["put", "d.zonal", "k2", "-"], b"\xff");
    assert_eq!(sandbox.done(&["scan", "d.zonal"]), "k\\t1\tline\\nline\nk2\t\\xff\n");
    let lines = sandbox.done(&["scan", "d.zonal", "--format", "json"]);
    assert_eq!(lines, sandbox.done(&["dump", "d.zonal"]), "load reads it");
    let names = sandbox.done(&["scan", "d.zonal", "--format", "json", "--keys-only"]);
    assert_eq!(names, "{\"key\":\"k\\t1\"}\n{\"key\":\"k2\"}\n");
}

#[test]
fn stats_count_what_the_store_holds() {
    let sandbox = five_keys();
    sandbox.done(&["delete", "d.zonal", "a"]);
    let stats = sandbox.json(&["stats", "d.zonal"]);
    assert_eq!(stats["keys"], 4);
    assert_eq!(stats["tombstones"], 1);
    assert_eq!(stats["user_bytes_written"], FIVE_KEYS_BYTES + 1, "a delete hands in a key");
    let by_state = stats["zones"].as_object().unwrap().values();
    assert_eq!(by_state.map(|count| count.as_u64().unwrap()).sum::<u64>(), 16);
}

#[test]
fn zones_lists_all_of_them() {
    let sandbox = five_keys();
    let zones = sandbox.json(&["zones", "d.zonal"]);
    let zones = zones.as_array().unwrap();
    assert_eq!(zones.len(), 16);
    let live: u64 = zones.iter().map(|zone| zone["live_bytes"].as_u64().unwrap()).sum();
    assert_eq!(live, sandbox.json(&["stats", "d.zonal"])["live_bytes"].as_u64().unwrap());
    let table = sandbox.done(&["zones", "d.zonal"]);
    assert_eq!(table.lines().count(), 17, "{table}");
    let names: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(names, ["zone", "state", "role", "written", "live", "resets", "generation"]);
    assert!(table.contains("manifest") && table.contains("user, open"), "{table}");
}

#[test]
fn the_map_is_as_wide_as_asked() {
    let sandbox = Sandbox::new();
    sandbox.create("d.zonal", "256MiB");
    for (width, ruler) in
        [("80", "zone  0               16              32              48"), ("30", "zone  0")]
    {
        let map = sandbox.done(&["zones", "d.zonal", "--map", "--width", width]);
        assert!(map.lines().any(|line| line == ruler), "{map}");
    }
}

#[test]
fn a_sound_store_is_said_to_be_sound() {
    let sandbox = five_keys();
    let report = sandbox.json(&["check", "d.zonal", "--deep"]);
    assert_eq!((&report["sound"], &report["keys"], &report["values"]), (&json!(true), &json!(5), &json!(5)));
    assert_eq!(sandbox.json(&["check", "d.zonal"])["values"], 0);
    assert!(sandbox.done(&["check", "d.zonal"]).starts_with("d.zonal: sound\n"));
}

#[test]
fn load_skips_blank_lines_and_sums_up() {
    let sandbox = Sandbox::with_store();
    let lines = b"{\"key\":\"a\",\"value\":\"1\"}\n\n  \r\n{\"key\":\"b\",\"value_base64\":\"/w\"}\n{\"value\":\"3\",\"key\":\"a\"}";
    let summary = sandbox.done_with(&["load", "d.zonal", "-", "--format", "json"], lines);
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary, json!({ "records": 3, "lines": 5, "key_and_value_bytes": 6 }));
    assert_eq!(sandbox.done(&["scan", "d.zonal"]), "a\t3\nb\t\\xff\n");
    fs::write(sandbox.path("lines"), lines).unwrap();
    assert_eq!(sandbox.done(&["load", "d.zonal", "lines"]), "3 records loaded, 6 B of keys and values\n");
}

#[test]
fn load_acknowledges_each_batch_by_the_lines_that_are_durable() {
    let lines = b"{\"key\":\"a\",\"value\":\"1\"}\n\n".repeat(5);
    for (durability, batch, acknowledged) in
        [("sync", "2", "3\n7\n10\n"), ("written", "3", "5\n10\n"), ("buffered", "1000", "10\n")]
    {
        let sandbox = Sandbox::with_store();
        let words = ["load", "d.zonal", "--acknowledge", "--batch", batch, "--durability", durability];
        assert_eq!(sandbox.done_with(&words, &lines), acknowledged, "{durability}");
    }
    let sandbox = Sandbox::with_store();
    let words = ["load", "d.zonal", "--acknowledge", "--format", "json"];
    assert_eq!(sandbox.done_with(&words, &lines), "{\"durable_lines\":10}\n");
}

#[test]
fn a_batch_ends_where_its_values_grow_too_large() {
    let sandbox = Sandbox::with_store();
    let line = format!("{{\"key\":\"a\",\"value\":\"{}\"}}\n", "x".repeat(400_000));
    let acknowledged = sandbox.done_with(&["load", "d.zonal", "--acknowledge"], line.repeat(5).as_bytes());
    assert_eq!(acknowledged, "2\n4\n5\n");
}

#[test]
fn a_dump_goes_to_a_file_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = five_keys();
    let summary = sandbox.json(&["dump", "d.zonal", "--output", "dump"]);
    assert_eq!(summary, json!({ "records": 5, "key_and_value_bytes": FIVE_KEYS_BYTES, "skipped": 0 }));
    assert_eq!(sandbox.bytes("dump"), sandbox.done_bytes(&["dump", "d.zonal"]));
    let mode = fs::metadata(sandbox.path("dump")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_listing_quietly() {
    let sandbox = Sandbox::with_store();
    let lines: String =
        (0..3000).map(|key| format!("{{\"key\":\"{key}\",\"value\":\"{}\"}}\n", "x".repeat(100))).collect();
    sandbox.done_with(&["load", "d.zonal", "--durability", "buffered"], lines.as_bytes());
    for words in [&["scan", "d.zonal"][..], &["dump", "d.zonal"], &["scan", "d.zonal", "--format", "json"]] {
        let mut child = sandbox.command(words).spawn().unwrap();
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{words:?}");
    }
}

#[test]
fn completions_know_the_commands() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sandbox.done(&["completions", shell]);
        assert!(script.contains("zones") && script.contains("acknowledge"), "{shell}");
    }
}
