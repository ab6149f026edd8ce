//! Commands that read change nothing: not a byte, not the time of the last change.

use std::fs;
use std::time::SystemTime;

use crate::sandbox::{Sandbox, Writer, text};

const READING: [&[&str]; 10] = [
    &["get", "d.zonal", "k1"],
    &["get", "d.zonal", "absent"],
    &["scan", "d.zonal"],
    &["info", "d.zonal"],
    &["stats", "d.zonal"],
    &["zones", "d.zonal"],
    &["zones", "d.zonal", "--map"],
    &["check", "d.zonal"],
    &["check", "d.zonal", "--deep"],
    &["dump", "d.zonal"],
];

fn state(sandbox: &Sandbox) -> (Vec<u8>, SystemTime) {
    let modified = fs::metadata(sandbox.path("d.zonal")).unwrap().modified().unwrap();
    (sandbox.bytes("d.zonal"), modified)
}

fn assert_nothing_changes(sandbox: &Sandbox) {
    let (bytes, modified) = state(sandbox);
    for words in READING {
        let output = sandbox.run(words);
        let code = i32::from(words.contains(&"absent"));
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output.stderr));
        let (bytes_after, modified_after) = state(sandbox);
        assert!(bytes_after == bytes, "{words:?} changed the store");
        assert_eq!(modified_after, modified, "{words:?}");
    }
}

#[test]
fn reading_changes_nothing_of_a_store_that_was_closed() {
    let sandbox = Sandbox::with_store();
    for key in ["k1", "k2", "k3"] {
        sandbox.done(&["put", "d.zonal", key, "value"]);
    }
    assert_nothing_changes(&sandbox);
}

#[test]
fn reading_changes_nothing_of_a_store_whose_writer_was_killed() {
    let sandbox = Sandbox::with_store();
    let mut writer = Writer::start(&sandbox, &["--batch", "1", "--acknowledge"]);
    writer.line(b"{\"key\":\"k1\",\"value\":\"v\"}\n");
    assert_eq!(writer.acknowledgement(), Some(1));
    writer.kill();
    assert_nothing_changes(&sandbox);
    assert_eq!(sandbox.json(&["check", "d.zonal"])["clean"], false);
    assert_eq!(sandbox.done(&["get", "d.zonal", "k1"]), "v");
}

#[test]
fn a_file_that_may_only_be_read_is_enough_for_reading() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::with_store();
    sandbox.done(&["put", "d.zonal", "k1", "value"]);
    fs::set_permissions(sandbox.path("d.zonal"), fs::Permissions::from_mode(0o400)).unwrap();
    assert_nothing_changes(&sandbox);
}
