//! What `dump` writes, `load` makes into the same store again.

use std::collections::BTreeMap;

use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use crate::sandbox::Sandbox;

/// Spells bytes in base64, whatever they are, so that `load` sees another spelling than `dump` chooses.
fn line(key: &[u8], value: &[u8]) -> String {
    use base64::Engine as _;
    let base64 = |bytes| base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
    serde_json::json!({ "key_base64": base64(key), "value_base64": base64(value) }).to_string() + "\n"
}

/// Loads records, and gives the dumps of that store and of one that was loaded from its dump.
fn two_dumps(records: &BTreeMap<Vec<u8>, Vec<u8>>, batch: &str) -> (String, String) {
    let sandbox = Sandbox::with_store();
    sandbox.create("copy.zonal", "16MiB");
    let lines: String = records.iter().map(|(key, value)| line(key, value)).collect();
    sandbox.done_with(&["load", "d.zonal", "--batch", batch, "--durability", "buffered"], lines.as_bytes());
    let dump = sandbox.done(&["dump", "d.zonal"]);
    sandbox.done_with(&["load", "copy.zonal", "--durability", "written"], dump.as_bytes());
    for (key, value) in records.iter().take(2) {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(sandbox.done_bytes(&["get", "copy.zonal", "--key-encoding", "hex", &hex]) == *value);
    }
    (dump, sandbox.done(&["dump", "copy.zonal"]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_keys_and_values_survive_dump_and_load(
        records in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..30),
            proptest::collection::vec(any::<u8>(), 0..300),
            0..200,
        ),
        text in proptest::collection::btree_map(".{1,20}", "(?s).{0,100}", 0..50),
        batch in 1..100_u32,
    ) {
        let mut records = records;
        records.extend(text.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())));
        let (dump, again) = two_dumps(&records, &batch.to_string());
        prop_assert_eq!(dump.lines().count(), records.len());
        prop_assert_eq!(dump, again);
    }
}

#[test]
fn large_values_and_long_keys_survive_dump_and_load() {
    let long_key = vec![b'k'; 65_535];
    let large: Vec<u8> =
        (0..3_000_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let records =
        BTreeMap::from([(long_key, b"v".to_vec()), (b"large".to_vec(), large), (vec![0], Vec::new())]);
    let (dump, again) = two_dumps(&records, "1000");
    assert_eq!(dump.lines().count(), 3);
    assert!(dump == again);
}
