//! Puts, deletes, batches, compare-and-swap, flush, close.

use zonal::{Db, Durability, ErrorKind, WriteBatch};

use crate::support::{KIB, LEVELS, MIB, Model, Place, at, expect_bytes, expect_same, stamped};

#[test]
fn a_put_is_seen_at_once_at_every_durability_and_after_reopening() {
    let place = Place::new(16);
    let db = place.open();
    for (number, level) in (0u8..).zip(LEVELS) {
        db.put_with([number + 1], [number], at(level)).unwrap();
        assert_eq!(db.get([number + 1]).unwrap().as_deref(), Some(&[number][..]));
        assert!(db.contains_key([number + 1]).unwrap());
    }
    db.close().unwrap();
    let db = place.open();
    for number in 0..3u8 {
        assert_eq!(db.get([number + 1]).unwrap().as_deref(), Some(&[number][..]));
    }
}

#[test]
fn the_last_put_of_a_key_counts_whatever_the_durabilities_of_the_two() {
    let place = Place::new(16);
    let db = place.open();
    for first in LEVELS {
        for second in LEVELS {
            db.put_with("k", "first", at(first)).unwrap();
            db.put_with("k", "second", at(second)).unwrap();
            assert_eq!(db.get("k").unwrap().unwrap(), *b"second", "{first:?}, then {second:?}");
            db.delete_with("k", at(first)).unwrap();
            assert_eq!(db.get("k").unwrap(), None, "{second:?}, then a delete at {first:?}");
        }
    }
}

#[test]
fn a_deleted_key_is_gone_and_stays_gone() {
    let place = Place::new(16);
    let db = place.open();
    db.put("gone", "1").unwrap();
    db.put("there", "2").unwrap();
    db.delete("gone").unwrap();
    db.delete("never").unwrap();
    let model = Model::from([(b"there".to_vec(), b"2".to_vec())]);
    expect_same(&db, &model);
    drop(db);
    let db = place.open();
    expect_same(&db, &model);
    assert!(!db.contains_key("gone").unwrap());
    db.put("gone", "back").unwrap();
    assert_eq!(db.get("gone").unwrap().unwrap(), *b"back");
}

#[test]
fn a_batch_takes_effect_in_its_order() {
    let place = Place::new(16);
    let db = place.open();
    for (number, level) in (0u64..).zip(LEVELS) {
        let mut batch = WriteBatch::new();
        batch.put("a", "1");
        batch.put("b", "1");
        batch.put("a", "2");
        batch.delete("b");
        batch.delete("c");
        batch.put("c", stamped(number, 300 * KIB));
        assert_eq!((batch.len(), batch.is_empty()), (6, false));
        db.write_with(batch, at(level)).unwrap();
        assert_eq!(db.get("a").unwrap().unwrap(), *b"2");
        assert_eq!(db.get("b").unwrap(), None);
        expect_bytes(b"c", db.get("c").unwrap().as_deref(), Some(&stamped(number, 300 * KIB)));
    }
    db.write(WriteBatch::new()).unwrap();
    assert_eq!(db.stats().keys, 2);
}

#[test]
fn an_empty_batch_and_the_delete_of_an_unknown_key_write_nothing() {
    let place = Place::new(16);
    let db = place.open();
    let before = db.stats();
    db.write(WriteBatch::new()).unwrap();
    db.delete("unknown").unwrap();
    let mut deletes = WriteBatch::new();
    deletes.delete("unknown");
    deletes.delete("unknown as well");
    db.write(deletes).unwrap();
    let stats = db.stats();
    assert_eq!((stats.keys, stats.tombstones, stats.live_bytes), (0, 0, 0));
    assert_eq!(stats.device_bytes_written, before.device_bytes_written);
}

#[test]
fn compare_and_swap_swaps_only_what_it_expects() {
    let place = Place::new(16);
    let options = place.options();
    for level in LEVELS {
        let db = Db::open(place.path(), options.clone().durability(level)).unwrap();
        swap_all_ways(&db);
        db.close().unwrap();
        let db = Db::open(place.path(), options.clone().durability(level)).unwrap();
        assert_eq!(db.get("k").unwrap(), None);
        assert_eq!(db.get("large").unwrap().unwrap(), *b"small");
        db.delete("large").unwrap();
    }
}

fn swap_all_ways(db: &Db) {
    const NOTHING: Option<&[u8]> = None;
    let (one, two) = (Some(&b"1"[..]), Some(&b"2"[..]));
    let refused_with = |expected: Option<&[u8]>, new: Option<&[u8]>| {
        db.compare_and_swap("k", expected, new).unwrap().unwrap_err().map(|value| value.to_vec())
    };
    assert_eq!(refused_with(one, two), None, "absent is not 1");
    assert_eq!(refused_with(Some(b""), two), None, "absent is not empty");
    assert_eq!(db.compare_and_swap("k", NOTHING, NOTHING).unwrap(), Ok(()), "absent stays absent");
    assert_eq!(db.compare_and_swap("k", NOTHING, one).unwrap(), Ok(()));
    assert_eq!(refused_with(NOTHING, two), Some(b"1".to_vec()), "present is not absent");
    assert_eq!(refused_with(two, NOTHING), Some(b"1".to_vec()));
    assert_eq!(db.compare_and_swap("k", one, two).unwrap(), Ok(()));
    assert_eq!(db.get("k").unwrap().as_deref(), two);
    assert_eq!(db.compare_and_swap("k", two, NOTHING).unwrap(), Ok(()), "None deletes");
    assert_eq!(db.get("k").unwrap(), None);
    let large = stamped(7, 700 * KIB);
    assert_eq!(db.compare_and_swap("large", NOTHING, Some(&large)).unwrap(), Ok(()));
    assert_eq!(db.compare_and_swap("large", Some(&large), Some(b"small")).unwrap(), Ok(()));
}

#[test]
fn compare_and_swap_sees_a_buffered_write_of_the_moment_before() {
    let place = Place::new(16);
    let db = place.open();
    for number in 0..200u32 {
        let (old, new) = (number.to_le_bytes(), (number + 1).to_le_bytes());
        db.put_with("k", old, at(Durability::Buffered)).unwrap();
        assert_eq!(db.compare_and_swap("k", Some(old), Some(new)).unwrap(), Ok(()));
    }
}

#[test]
fn flush_makes_buffered_writes_durable_with_one_flush_of_the_device() {
    let place = Place::new(16);
    let db = place.open();
    for number in 0..100u32 {
        db.put_with(number.to_be_bytes(), "v", at(Durability::Buffered)).unwrap();
    }
    db.flush().unwrap();
    let flushed = db.stats().device_flushes;
    db.flush().unwrap();
    assert_eq!(db.stats().device_flushes, flushed, "there was nothing to flush the second time");
}

#[test]
fn large_values_are_overwritten_deleted_and_recovered() {
    let place = Place::new(24);
    let db = place.open();
    let mut model = Model::new();
    for (number, len_bytes) in
        (0u64..).zip([3 * MIB, 32 * KIB, 33 * KIB, 128 * KIB, 5 * MIB / 2, 10, 2 * MIB, 0, MIB])
    {
        let key = format!("large {}", number % 4).into_bytes();
        let value = stamped(number, len_bytes);
        db.put_with(&key, &value, at(LEVELS[usize::try_from(number).unwrap() % 3])).unwrap();
        model.insert(key, value);
        expect_same(&db, &model);
    }
    db.delete("large 0").unwrap();
    model.remove(&b"large 0"[..]);
    expect_same(&db, &model);
    place.expect_same_when_closed_and_opened(db, &model);
}

#[test]
fn clones_share_the_store_and_closing_one_closes_all() {
    let place = Place::new(16);
    let db = place.open();
    db.put("k", "v").unwrap();
    let clone = db.clone();
    let mut range = clone.iter();
    db.close().unwrap();
    let closed = |kind: Option<ErrorKind>| assert_eq!(kind, Some(ErrorKind::Closed));
    closed(clone.get("k").err().map(|error| error.kind()));
    closed(clone.contains_key("k").err().map(|error| error.kind()));
    closed(clone.multi_get(&["k"]).err().map(|error| error.kind()));
    closed(clone.put("k", "w").err().map(|error| error.kind()));
    closed(clone.put_with("k", "w", at(Durability::Buffered)).err().map(|error| error.kind()));
    closed(clone.delete("k").err().map(|error| error.kind()));
    let mut batch = WriteBatch::new();
    batch.put("k", "w");
    closed(clone.write(batch).err().map(|error| error.kind()));
    closed(clone.compare_and_swap("k", Some("v"), Some("w")).err().map(|error| error.kind()));
    closed(clone.flush().err().map(|error| error.kind()));
    closed(range.next().and_then(Result::err).map(|error| error.kind()));
    assert!(range.next().is_none(), "after an error the walk is over");
    assert_eq!(clone.stats().keys, 1, "what is known without the device is still told");
    clone.close().unwrap();
    assert_eq!(place.open().get("k").unwrap().unwrap(), *b"v");
}

#[test]
fn dropping_the_last_clone_closes_the_store() {
    let place = Place::new(16);
    let db = place.open();
    let clone = db.clone();
    drop(db);
    clone.put_with("k", "v", at(Durability::Buffered)).unwrap();
    drop(clone);
    assert!(Db::check(place.path(), &place.options(), zonal::Depth::Deep, &|_| {}).unwrap().clean);
    assert_eq!(place.open().get("k").unwrap().unwrap(), *b"v");
}
