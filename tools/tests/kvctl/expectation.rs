//! Comparing what a tool says with the files under `tests/cli`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Fails where what was found is not word for word what the file says; `ZONAL_WRITE_EXPECTED` makes it say so.
pub(crate) fn assert_expected(name: &str, found: &str) {
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

/// The names in JSON, as [`names`] finds them.
pub(crate) fn names_of(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    names("", value, &mut found);
    found
}
