//! A value that cannot be read does not stand in the way of the others.

use std::collections::BTreeSet;

use zonal::{Db, ErrorKind, Options};

use crate::specimen::to_read;

const KEY_COUNT: u32 = 600;

/// A store of many keys of which some have damaged values, with those.
fn damaged() -> (tempfile::TempDir, std::path::PathBuf, BTreeSet<Vec<u8>>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d");
    let db = Db::open(&path, Options::default().capacity_bytes(16 << 20).zone_size_bytes(1 << 20)).unwrap();
    let value =
        |number: u32| format!("the value of number {number:04} is here").repeat(1 + number as usize % 3);
    for number in 0..KEY_COUNT {
        db.put(format!("key {number:04}"), value(number)).unwrap();
    }
    db.put("large", vec![7; 400_000]).unwrap();
    db.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let hit = [0, 1, 17, 18, 255, 256, 257, KEY_COUNT - 1];
    for number in hit {
        let text = value(number);
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        bytes[at + 3] ^= 1;
    }
    let at = bytes.windows(1000).rposition(|window| window.iter().all(|&byte| byte == 7)).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let hit = hit.iter().map(|number| format!("key {number:04}").into_bytes()).chain([b"large".to_vec()]);
    (directory, path, hit.collect())
}

/// What iteration gives: keys in order, true for those that can be read.
fn walked(items: impl Iterator<Item = zonal::Result<(Vec<u8>, zonal::Value)>>) -> Vec<(Vec<u8>, bool)> {
    let seen = items.map(|item| match item {
        Ok((key, _)) => (key, true),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            (error.key().expect("the error names its key").to_vec(), false)
        }
    });
    seen.collect()
}

#[test]
fn iterators_go_on_behind_damaged_values_from_either_end() {
    let (_directory, path, hit) = damaged();
    let db = Db::open(&path, to_read()).unwrap();
    let forward = walked(db.iter());
    assert_eq!(forward.len(), KEY_COUNT as usize + 1);
    assert!(forward.is_sorted_by(|a, b| a.0 < b.0), "keys come in order, those that cannot be read as well");
    let unread: BTreeSet<Vec<u8>> =
        forward.iter().filter(|(_, read)| !read).map(|(key, _)| key.clone()).collect();
    assert_eq!(unread, hit);
    let mut backward = walked(db.iter().rev());
    backward.reverse();
    assert_eq!(backward, forward);
    let mut both = db.iter();
    let mut ends = (Vec::new(), Vec::new());
    while let Some(item) = both.next() {
        ends.0.extend(walked([item].into_iter()));
        ends.1.extend(walked(both.next_back().into_iter()));
    }
    ends.0.extend(ends.1.into_iter().rev());
    assert_eq!(ends.0, forward, "the two ends meet");
}

#[test]
fn an_error_says_where_the_damage_lies_in_the_file() {
    let (_directory, path, _) = damaged();
    let bytes = std::fs::read(&path).unwrap();
    let error = Db::open(&path, to_read()).unwrap().get("key 0017").unwrap_err();
    let text = error.to_string();
    let place = text.split("(byte ").nth(1).and_then(|rest| rest.split(' ').next()).expect("names the byte");
    let record = &bytes[place.parse::<usize>().unwrap()..][..60];
    assert!(record.windows(8).any(|window| window == b"key 0017"), "{text}");
}

#[test]
fn iteration_over_a_closed_store_ends_with_one_error() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path().join("d"), Options::default()).unwrap();
    db.put("key", "value").unwrap();
    let mut items = db.iter();
    db.clone().close().unwrap();
    assert_eq!(items.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(items.next().is_none());
}
