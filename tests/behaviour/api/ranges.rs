//! Walking ranges, from either end and from both.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use zonal::{Db, Durability, Range};

use crate::support::{Model, Place, at, stamped};

const KEY_COUNT: u32 = 1000;

fn key_of(number: u32) -> Vec<u8> {
    format!("k{number:04}").into_bytes()
}

/// Even numbers from 0 to 1998, so that there is something between any two keys, and some deleted keys among them.
fn filled() -> (Place, Db, Model) {
    let place = Place::new(16);
    let db = place.open();
    let mut model = Model::new();
    for number in 0..KEY_COUNT {
        let (key, value) = (key_of(2 * number), stamped(u64::from(number), (number % 50) as usize));
        db.put_with(&key, &value, at(Durability::Buffered)).unwrap();
        model.insert(key, value);
    }
    // A whole stretch without keys, longer than a page, and single ones.
    for number in (400..720).chain((1000..2000).step_by(14)) {
        db.delete_with(key_of(number), at(Durability::Buffered)).unwrap();
        model.remove(&key_of(number));
    }
    (place, db, model)
}

fn walk(range: impl Iterator<Item = zonal::Result<(Vec<u8>, zonal::Value)>>) -> Vec<(Vec<u8>, Vec<u8>)> {
    range.map(|item| item.map(|(key, value)| (key, value.to_vec())).unwrap()).collect()
}

fn expected(model: &Model, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let above = |key: &[u8]| match low {
        Unbounded => true,
        Included(low) => key >= low,
        Excluded(low) => key > low,
    };
    let below = |key: &[u8]| match high {
        Unbounded => true,
        Included(high) => key <= high,
        Excluded(high) => key < high,
    };
    let inside = model.iter().filter(|(key, _)| above(key) && below(key));
    inside.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[test]
fn all_kinds_of_bounds_give_the_right_keys_both_ways() {
    let (_place, db, model) = filled();
    let keys = [key_of(0), key_of(100), key_of(101), key_of(500), key_of(1500), b"a".to_vec(), b"z".to_vec()];
    let mut bounds = vec![Unbounded];
    for key in &keys {
        bounds.extend([Included(key.as_slice()), Excluded(key.as_slice())]);
    }
    for &low in &bounds {
        for &high in &bounds {
            let mut wanted = expected(&model, low, high);
            assert_eq!(walk(db.range::<&[u8]>((low, high))), wanted, "{low:?} to {high:?}");
            wanted.reverse();
            assert_eq!(walk(db.range::<&[u8]>((low, high)).rev()), wanted, "{high:?} down to {low:?}");
        }
    }
}

#[test]
fn every_way_to_write_a_range_is_understood() {
    let (_place, db, model) = filled();
    let count = |range: Range| range.count();
    let all = model.len();
    let from_100 = expected(&model, Included(b"k0100"), Unbounded).len();
    assert_eq!(count(db.iter()), all);
    assert_eq!(count(db.range::<&str>(..)), all);
    assert_eq!(count(db.range("k0100"..)), from_100);
    assert_eq!(count(db.range(.."k0100")), all - from_100);
    assert_eq!(count(db.range(..="k0100")), all - from_100 + 1);
    assert_eq!(count(db.range("k0100".."k0110")), 5);
    assert_eq!(count(db.range("k0100"..="k0110")), 6);
    assert_eq!(count(db.range(key_of(100)..key_of(110))), 5);
}

#[test]
fn empty_and_inverted_ranges_are_empty() {
    let (_place, db, _) = filled();
    let (low, high) = (key_of(100), key_of(200));
    for (from, to) in [
        (Included(&high), Included(&low)),
        (Included(&high), Excluded(&low)),
        (Excluded(&high), Excluded(&low)),
        (Included(&low), Excluded(&low)),
        (Excluded(&low), Included(&low)),
        (Excluded(&low), Excluded(&low)),
        (Included(&key_of(101)), Included(&key_of(101))),
        (Excluded(&key_of(100)), Excluded(&key_of(102))),
        (Included(&key_of(400)), Included(&key_of(719))),
    ] {
        assert_eq!(db.range::<&Vec<u8>>((from, to)).count(), 0);
        assert_eq!(db.range::<&Vec<u8>>((from, to)).rev().count(), 0);
    }
    assert_eq!(db.range::<&Vec<u8>>((Included(&low), Included(&low))).count(), 1);
}

#[test]
fn both_ends_meet_without_a_gap_or_a_key_twice_in_whatever_turns_they_walk() {
    let (_place, db, model) = filled();
    let wanted = expected(&model, Unbounded, Unbounded);
    for (front, back) in [(1, 1), (3, 1), (1, 3), (16, 16), (100, 7), (7, 300), (1000, 1), (0, 5)] {
        let (mut range, mut rising, mut falling) = (db.iter(), Vec::new(), Vec::new());
        let mut going = true;
        while going {
            let before = rising.len() + falling.len();
            rising.extend(walk(range.by_ref().take(front)));
            falling.extend(walk(range.by_ref().rev().take(back)));
            going = rising.len() + falling.len() > before;
        }
        assert!(range.next().is_none() && range.next_back().is_none());
        rising.extend(falling.into_iter().rev());
        assert!(rising == wanted, "{front} from the front, {back} from the back");
    }
}

#[test]
fn a_prefix_gives_the_keys_that_begin_with_it_and_no_others() {
    let place = Place::new(16);
    let db = place.open();
    let keys: Vec<&[u8]> = vec![
        b"a",
        b"a\x00",
        b"a\xff",
        b"a\xff\xff",
        b"a\xff\xffz",
        b"ab",
        b"b",
        b"\xff",
        b"\xff\xff",
        b"\xff\xff\x01",
    ];
    for key in &keys {
        db.put_with(key, key, at(Durability::Buffered)).unwrap();
    }
    for prefix in [&b""[..], b"a", b"a\xff", b"a\xff\xff", b"ab", b"abc", b"b", b"\xff", b"\xff\xff", b"c"] {
        let mut wanted: Vec<Vec<u8>> =
            keys.iter().filter(|key| key.starts_with(prefix)).map(|key| key.to_vec()).collect();
        wanted.sort();
        let found: Vec<Vec<u8>> = walk(db.prefix(prefix)).into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, wanted, "prefix {}", prefix.escape_ascii());
        let backwards = walk(db.prefix(prefix).rev()).into_iter().map(|(key, _)| key);
        assert!(backwards.eq(wanted.into_iter().rev()), "prefix {}", prefix.escape_ascii());
    }
}

#[test]
fn a_walk_goes_on_while_the_store_is_written_under_it() {
    let (_place, db, model) = filled();
    let mut last = Vec::new();
    let mut seen = 0;
    for (number, item) in (0u64..).zip(db.iter()) {
        let (key, value) = item.unwrap();
        assert!(key > last);
        seen += usize::from(model.contains_key(&key));
        assert!(model.get(&key).is_none_or(|known| value == known[..]));
        db.put_with([b"a", &*key].concat(), "behind", at(Durability::Buffered)).unwrap();
        db.put_with([&*key, b"+"].concat(), stamped(number, 10), at(Durability::Buffered)).unwrap();
        last = key;
    }
    assert_eq!(seen, model.len());
}
