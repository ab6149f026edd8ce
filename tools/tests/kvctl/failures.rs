//! What goes wrong, each with its exit code and with what to do about it.

use std::fs;
use std::os::unix::fs::FileExt;

use serde_json::json;

use crate::sandbox::{Sandbox, Writer, ZONE_BYTES, message, text};

/// Every command that needs a store, as it would work on a store that is there.
const ON_A_STORE: [&[&str]; 10] = [
    &["put", "d.zonal", "k", "v"],
    &["get", "d.zonal", "k"],
    &["delete", "d.zonal", "k"],
    &["scan", "d.zonal"],
    &["info", "d.zonal"],
    &["stats", "d.zonal"],
    &["zones", "d.zonal"],
    &["check", "d.zonal"],
    &["dump", "d.zonal"],
    &["load", "d.zonal"],
];

fn overwrite(sandbox: &Sandbox, offset: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(sandbox.path("d.zonal")).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

#[test]
fn a_store_that_is_missing_is_not_created() {
    let sandbox = Sandbox::new();
    for words in ON_A_STORE {
        let message = sandbox.refused(words, 3);
        assert!(message.starts_with("kvctl: d.zonal does not exist\n"), "{message}");
        assert!(
            message.contains("what to do: correct the path, or make a store there with `kvctl create"),
            "{message}"
        );
        assert!(!sandbox.path("d.zonal").exists(), "{words:?}");
    }
}

#[test]
fn a_file_that_is_no_store_is_refused_and_stays() {
    let sandbox = Sandbox::new();
    for content in [&b""[..], b"precious notes\n"] {
        fs::write(sandbox.path("d.zonal"), content).unwrap();
        for words in ON_A_STORE {
            let message = sandbox.refused(words, 3);
            assert!(message.contains("d.zonal is not a zonal device"), "{message}");
            assert_eq!(sandbox.bytes("d.zonal"), content);
        }
    }
    fs::create_dir(sandbox.path("directory")).unwrap();
    assert!(sandbox.refused(&["info", "directory"], 3).contains("no regular file"));
}

#[test]
fn what_leads_to_no_whole_store_is_refused_by_what_it_is() {
    let sandbox = Sandbox::with_store();
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(sandbox.path(target), sandbox.path(name)).unwrap();
    };
    link("nowhere", "dangling");
    assert!(sandbox.refused(&["info", "dangling"], 3).contains("symbolic link to"));
    assert!(sandbox.refused(&["create", "dangling"], 3).contains("dangling exists already"));
    assert!(!sandbox.path("nowhere").exists());
    link("d.zonal", "link");
    sandbox.done(&["info", "link"]);
    let whole = fs::metadata(sandbox.path("d.zonal")).unwrap().len();
    fs::File::options().write(true).open(sandbox.path("d.zonal")).unwrap().set_len(whole - 1).unwrap();
    for words in ON_A_STORE.into_iter().filter(|words| words[0] != "check") {
        let message = sandbox.refused(words, 3);
        assert!(message.contains(&format!("cut short: {} bytes instead of {whole}", whole - 1)), "{message}");
        assert!(message.contains("what to do: find out how much is damaged"), "{message}");
    }
}

#[test]
fn create_refuses_a_path_where_something_is() {
    let sandbox = Sandbox::with_store();
    sandbox.done(&["put", "d.zonal", "k", "v"]);
    fs::write(sandbox.path("notes"), "precious").unwrap();
    for path in ["d.zonal", "notes"] {
        let before = sandbox.bytes(path);
        let message = sandbox.refused(&["create", path], 3);
        assert!(message.contains(&format!("{path} exists already")), "{message}");
        assert!(sandbox.bytes(path) == before);
    }
}

#[test]
fn sizes_that_make_no_store_are_wrong_usage_and_leave_nothing() {
    let sandbox = Sandbox::new();
    for (options, limit) in [
        (&["--capacity", "1MiB"][..], "at least 8"),
        (&["--zone-size", "0"], "a zone size of 0 bytes"),
        (&["--block-size", "1000"], "512"),
        (&["--block-size", "8GiB"], "512 or 4096"),
        (&["--max-active", "2"], "at least 3"),
        (&["--capacity", "many"], "is not a size"),
        (&["--zone-size", "1MiB", "--zone-capacity", "2MiB"], "2097152"),
    ] {
        let message = sandbox.refused(&[&["create", "d.zonal"], options].concat(), 2);
        assert!(message.contains(limit), "{options:?}: {message}");
        assert!(!sandbox.path("d.zonal").exists(), "{options:?}");
    }
}

#[test]
fn a_command_line_that_means_nothing_is_wrong_usage() {
    let sandbox = Sandbox::with_store();
    let long_key = "k".repeat(65_536);
    for (words, reason) in [
        (&[][..], "Usage: kvctl"),
        (&["scam", "d.zonal"], "unrecognized subcommand"),
        (&["info"], "<STORE>"),
        (&["put", "d.zonal", "k"], "<VALUE>"),
        (&["put", "d.zonal", "", "v"], "KEY: a key of 0 bytes"),
        (&["put", "d.zonal", &long_key, "v"], "1 to 65535 bytes"),
        (&["put", "d.zonal", "k", "@"], "names no file"),
        (&["put", "d.zonal", "k", "v", "--durability", "maybe"], "maybe"),
        (&["get", "d.zonal", "xyz", "--key-encoding", "hex"], "hexadecimal"),
        (&["scan", "d.zonal", "--from", "b", "--to", "a"], "--from is after --to"),
        (&["scan", "d.zonal", "--prefix", "a", "--to", "b"], "cannot be used with"),
        (&["scan", "d.zonal", "--limit", "few"], "--limit"),
        (&["zones", "d.zonal", "--map", "--format", "json"], "--map draws for people"),
        (&["zones", "d.zonal", "--width", "80"], "--map"),
        (&["load", "d.zonal", "--batch", "0"], "--batch"),
        (&["info", "d.zonal", "--format", "xml"], "xml"),
        (&["completions", "tcsh"], "tcsh"),
    ] {
        let message = sandbox.refused(words, 2);
        assert!(message.contains(reason), "{words:?}: {message}");
    }
}

#[test]
fn a_store_that_another_process_writes_is_locked() {
    let sandbox = Sandbox::with_store();
    let mut writer = Writer::start(&sandbox, &["--batch", "1", "--acknowledge"]);
    writer.line(b"{\"key\":\"k\",\"value\":\"v\"}\n");
    assert_eq!(writer.acknowledgement(), Some(1));
    for words in ON_A_STORE {
        let message = sandbox.refused(words, 3);
        assert!(message.contains("d.zonal is in use by"), "{message}");
        assert!(message.contains(&writer.id().to_string()), "it says who: {message}");
        assert!(message.contains("what to do: wait until that process is done"), "{message}");
    }
    assert_eq!(writer.finish(), Some(0));
    assert_eq!(sandbox.done(&["get", "d.zonal", "k"]), "v");
}

#[test]
fn a_damaged_header_is_said_to_be_damaged() {
    let sandbox = Sandbox::with_store();
    for copy in [0, 4096] {
        overwrite(&sandbox, copy + 40, b"garbage");
    }
    let damaged = sandbox.bytes("d.zonal");
    for words in ON_A_STORE.into_iter().filter(|words| words[0] != "check") {
        let message = sandbox.refused(words, 3);
        assert!(message.contains("d.zonal is damaged: no copy of the header is good"), "{message}");
        assert!(message.contains("what to do: find out how much is damaged with `kvctl check"), "{message}");
    }
    let checked = sandbox.run(&["check", "d.zonal"]);
    assert_eq!(message(&["check"], &checked, 1), "", "damage is an answer, not a failure");
    assert!(text(&checked.stdout).starts_with("d.zonal: DAMAGED\n  cannot be opened: "));
    assert!(sandbox.bytes("d.zonal") == damaged);
}

#[test]
fn check_names_the_zone_and_offset_of_a_damaged_value() {
    let sandbox = Sandbox::with_store();
    let value = "a value that lies on the device only once";
    sandbox.done(&["put", "d.zonal", "good", "all is well"]);
    sandbox.done(&["put", "d.zonal", "bad", value]);
    let bytes = sandbox.bytes("d.zonal");
    let at = bytes.windows(value.len()).position(|window| window == value.as_bytes()).unwrap() as u64;
    overwrite(&sandbox, at, b"A");

    let words = ["check", "--deep", "d.zonal", "--format", "json"];
    let output = sandbox.run(&words);
    assert_eq!(message(&words, &output, 1), "");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let damages = report["damages"].as_array().unwrap();
    assert_eq!((&report["sound"], damages.len()), (&json!(false), 1), "{report}");
    // Zone 0 begins at the first MiB of the file.
    let (zone, offset) = ((at >> 20) - 1, at % ZONE_BYTES);
    let found = damages[0]["offset"].as_u64().unwrap();
    assert_eq!(damages[0]["zone"], zone, "{report}");
    assert!(found <= offset && offset - found < 4096 && damages[0]["confined"] == true, "{report}");

    let shown = text(&sandbox.run(&["check", "--deep", "d.zonal"]).stdout);
    assert!(
        shown.contains(&format!(
            "damage in zone {zone} at offset {found} (byte {} of the device): ",
            ((zone + 1) << 20) + found
        )),
        "{shown}"
    );
    assert!(sandbox.refused(&["get", "d.zonal", "bad"], 3).contains("what to do: find out how much"));
    assert_eq!(sandbox.done(&["get", "d.zonal", "good"]), "all is well");
}

#[test]
fn a_bad_line_stops_a_load_after_the_lines_before_it() {
    for (durability, batch) in [("sync", "1000"), ("sync", "2"), ("buffered", "1000")] {
        let sandbox = Sandbox::with_store();
        let words = ["load", "d.zonal", "-", "--batch", batch, "--durability", durability];
        let lines = b"{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\",\"value\":\"2\"}\n{\"key\":\"c\"\n{\"key\":\"d\",\"value\":\"4\"}\n";
        let output = sandbox.run_with(&words, lines);
        let message = message(&words, &output, 3);
        assert!(message.starts_with("kvctl: line 4: column 10: not a record: "), "{message}");
        assert!(message.contains("stored: 3 lines (records: 2); go on with line 4\n"), "{message}");
        assert_eq!(sandbox.done(&["scan", "d.zonal"]), "a\t1\nb\t2\n");
        assert_eq!(sandbox.json(&["check", "d.zonal"])["clean"], true);
    }
}

#[test]
fn a_full_store_stops_a_load_and_says_how_far_it_came() {
    let sandbox = Sandbox::new();
    sandbox.create("d.zonal", "10MiB");
    let lines: String = (0..1000)
        .map(|key| format!("{{\"key\":\"{key:04}\",\"value\":\"{}\"}}\n", "x".repeat(20_000)))
        .collect();
    let words = ["load", "d.zonal", "--batch", "10", "--durability", "buffered"];
    let output = sandbox.run_with(&words, lines.as_bytes());
    let message = message(&words, &output, 3);
    assert!(message.starts_with("kvctl: the load stopped\n"), "{message}");
    assert!(
        message.contains("the store is full") && message.contains("what to do: delete something"),
        "{message}"
    );
    let keys = sandbox.json(&["stats", "d.zonal"])["keys"].as_u64().unwrap();
    assert!(keys > 0 && keys < 1000);
    assert!(message.contains(&format!("stored: {keys} lines (records: {keys})")), "{keys}: {message}");
    sandbox.done(&["delete", "d.zonal", "0000"]);
}

#[test]
fn files_other_than_the_store_fail_by_name() {
    let sandbox = Sandbox::with_store();
    assert!(
        sandbox
            .refused(&["put", "d.zonal", "k", "@gone"], 3)
            .contains("cannot read gone\n  because: No such file")
    );
    assert!(
        sandbox
            .refused(&["load", "d.zonal", "gone"], 3)
            .contains("cannot read gone\n  because: No such file")
    );
    assert!(
        sandbox.refused(&["dump", "d.zonal", "--output", "no/such"], 3).contains("cannot create no/such")
    );
    fs::write(sandbox.path("dump"), "an older dump").unwrap();
    let message = sandbox.refused(&["dump", "d.zonal", "--output", "dump"], 3);
    assert!(message.contains("dump exists already"), "{message}");
    assert_eq!(sandbox.bytes("dump"), b"an older dump");
}

#[test]
fn a_dump_that_fails_leaves_no_file() {
    let sandbox = Sandbox::with_store();
    fs::write(sandbox.path("value"), "x".repeat(900_000)).unwrap();
    sandbox.done(&["put", "d.zonal", "k", "@value"]);
    // Files may grow to 8 blocks, and no signal is sent when that is exceeded.
    let script =
        format!("trap '' XFSZ; ulimit -f 8; exec {} dump d.zonal --output dump", env!("CARGO_BIN_EXE_kvctl"));
    let shell = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(sandbox.path(""))
        .output()
        .unwrap();
    assert!(message(&["dump"], &shell, 3).contains("cannot write dump\n  because: File too large"));
    assert!(!sandbox.path("dump").exists());
}

#[test]
fn results_that_cannot_be_written_are_a_failure() {
    let sandbox = Sandbox::with_store();
    sandbox.done(&["put", "d.zonal", "k", "v"]);
    for words in
        [&["get", "d.zonal", "k"][..], &["info", "d.zonal"], &["dump", "d.zonal"], &["check", "d.zonal"]]
    {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = sandbox.command(words).stdout(full).output().unwrap();
        let message = message(words, &output, 3);
        assert!(message.contains("cannot write the results\n  because: No space left"), "{message}");
    }
}
