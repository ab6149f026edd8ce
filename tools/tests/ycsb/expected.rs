//! What users and their scripts rely on, word for word, in files under `tests/cli`.
//!
//! After a change that is meant: `ZONAL_WRITE_EXPECTED=1 cargo test -p zonal-tools --test ycsb expected`, then read the
//! difference.

use std::process::Command;

use crate::bench::{Bench, text};
use crate::expectation::{assert_expected, names_of};

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
    let mut found = names_of(&report);
    found.retain(|name| !name.starts_with("phases.[].store."));
    let lines: Vec<_> = found.into_iter().collect();
    assert_expected("ycsb-json-run.txt", &format!("$ ycsb run --format json\n{}\n", lines.join("\n")));
}
