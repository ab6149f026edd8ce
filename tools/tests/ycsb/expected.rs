//! What users and their scripts rely on, word for word, in files under `tests/cli`.
//!
//! After a change that is meant: `ZONAL_WRITE_EXPECTED=1 cargo test -p zonal-tools --test ycsb expected`, then read the
//! difference.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bench::{Bench, text};

fn assert_expected(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cli").join(name);
    if std::env::var_os("ZONAL_WRITE_EXPECTED").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == found, "{} is not what was found:\n{found}", path.display());
}

/// The names in JSON, those inside others with a dot, in alphabetical order.
fn names(prefix: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                into.insert(format!("{prefix}{name}"));
                names(&format!("{prefix}{name}."), value, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(&format!("{prefix}[]."), item, into)),
        _ => {}
    }
}

#[test]
fn help_is_as_expected() {
    for (file, words) in [
        ("ycsb-help.txt", &["--help"][..]),
        ("ycsb-help-load.txt", &["load", "--help"]),
        ("ycsb-help-run.txt", &["run", "--help"]),
        ("ycsb-help-compare.txt", &["compare", "--help"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ycsb")).args(words).output().unwrap();
        assert_expected(file, &format!("$ ycsb {}\n{}", words.join(" "), text(&output.stdout)));
    }
}

#[test]
fn json_has_the_names_it_has_always_had() {
    let options = ["--load", "--records", "300", "--rmw-proportion", "1", "--durability", "buffered"];
    let report = Bench::new().json("run", &options);
    let mut found = BTreeSet::new();
    names("", &report, &mut found);
    found.retain(|name| !name.starts_with("phases.[].store."));
    let lines: Vec<_> = found.into_iter().collect();
    assert_expected("ycsb-json-run.txt", &format!("$ ycsb run --format json\n{}\n", lines.join("\n")));
}
