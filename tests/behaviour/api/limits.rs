//! What is too small or too large is refused, with the limit in the message, and changes nothing.

use zonal::{Db, ErrorKind, WriteBatch};

use crate::support::{MIB, Model, Place, expect_same, stamped};

fn expect_invalid(result: zonal::Result<()>, limit: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains(limit), "{limit} is missing from: {error}");
}

#[test]
fn the_shortest_and_the_longest_keys_and_the_shortest_value_are_kept() {
    let place = Place::new(16);
    let db = place.open();
    let mut model = Model::new();
    for key in [vec![0], vec![255], vec![7; 65_535], vec![255; 65_535], vec![7; 65_534]] {
        for value in [vec![], stamped(key.len() as u64, 50_000)] {
            db.put(&key, &value).unwrap();
            model.insert(key.clone(), value);
            expect_same(&db, &model);
        }
    }
    db.put([0], "").unwrap();
    model.insert(vec![0], Vec::new());
    assert_eq!(db.get([0]).unwrap().as_deref(), Some(&b""[..]), "empty is not absent");
    place.expect_same_when_closed_and_opened(db, &model);
}

#[test]
fn keys_that_are_empty_or_too_long_are_refused_by_every_kind_of_write() {
    let place = Place::new(16);
    let db = place.open();
    db.put("there", "1").unwrap();
    for key in [vec![], vec![1; 65_536], vec![1; MIB]] {
        expect_invalid(db.put(&key, "v"), "65535");
        expect_invalid(db.delete(&key), "65535");
        expect_invalid(db.compare_and_swap(&key, None::<&str>, Some("v")).map(drop), "65535");
        let mut batch = WriteBatch::new();
        batch.put("good", "v");
        batch.put(&key, "v");
        expect_invalid(db.write(batch), "65535");
        assert_eq!(db.get(&key).unwrap(), None);
        assert!(!db.contains_key(&key).unwrap());
        assert_eq!(db.multi_get(&[&key]).unwrap(), [None]);
    }
    expect_same(&db, &Model::from([(b"there".to_vec(), b"1".to_vec())]));
}

#[test]
fn a_value_of_more_than_a_gibibyte_is_refused_and_one_that_does_not_fit_the_store_is_no_space() {
    let place = Place::new(16);
    let db = place.open();
    // Zeros that nobody touches take no memory.
    let value = vec![0u8; (1 << 30) + 1];
    expect_invalid(db.put("k", &value), "1073741824");
    expect_invalid(db.compare_and_swap("k", None::<&str>, Some(&value)).map(drop), "1073741824");
    assert_eq!(db.put("k", &value[1..]).unwrap_err().kind(), ErrorKind::NoSpace);
    expect_same(&db, &Model::new());
}

#[test]
fn options_that_make_no_store_are_refused_and_leave_nothing_at_the_path() {
    let place = Place::new(16);
    let options = || place.options();
    let mib = MIB as u64;
    for (what, bad) in [
        ("no capacity", options().capacity_bytes(0)),
        ("too few zones", options().capacity_bytes(7 * mib)),
        ("a zone size of 0", options().zone_size_bytes(0)),
        ("a zone size that is not whole blocks", options().zone_size_bytes(mib + 512)),
        ("a zone capacity of 0", options().zone_capacity_bytes(0)),
        ("a zone capacity above the zone size", options().zone_capacity_bytes(mib + 4096)),
        ("a zone capacity below a unit", options().zone_capacity_bytes(64 << 10)),
        ("a block of 1000 bytes", options().block_bytes(1000)),
        ("a block of 0 bytes", options().block_bytes(0)),
        ("no open zones", options().max_open_zones(0)),
        ("no active zones", options().max_active_zones(0)),
        ("more open than active zones", options().max_open_zones(15)),
        ("too few active zones", options().max_open_zones(2).max_active_zones(2)),
        ("a small append limit", options().append_limit_bytes(64 << 10)),
        ("an append limit of 0", options().append_limit_bytes(0)),
        ("an append limit that is not whole blocks", options().append_limit_bytes((1 << 20) + 1)),
        ("too many zones", options().capacity_bytes(u64::MAX).zone_size_bytes(4096)),
        ("zones beyond counting", options().capacity_bytes(1 << 60)),
        ("zones too large", options().zone_size_bytes(1 << 60).capacity_bytes(1 << 63)),
        ("small units", options().unit_bytes(64 << 10)),
        ("units of 0 bytes", options().unit_bytes(0)),
    ] {
        let error = Db::open(place.path(), bad).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{what}: {error}");
        assert!(!place.path().exists(), "{what} left a file");
    }
    place.open().put("k", "v").unwrap();
}

#[test]
fn a_capacity_is_what_the_zones_hold_also_where_they_hold_less_than_their_size() {
    let mib = MIB as u64;
    let place = Place::with(Place::new(12).options().zone_capacity_bytes(3 * mib / 4));
    let info = place.open().info();
    assert_eq!((info.zone_count, info.capacity_bytes), (16, 12 * mib));
}

#[test]
fn devices_of_other_shapes_work_as_well() {
    let kib = 1 << 10;
    for options in [
        Place::new(16).options().block_bytes(512),
        Place::new(16).options().zone_capacity_bytes(700 * kib),
        Place::new(16).options().max_open_zones(1).max_active_zones(8),
        Place::new(16).options().append_limit_bytes(128 << 10).unit_bytes(1 << 20),
        Place::new(16).options().direct_io(false),
        Place::new(16).options().cache_bytes(0),
        Place::new(8).options().zone_size_bytes(128 * kib),
    ] {
        let place = Place::with(options);
        let mut model = Model::new();
        for run in 0..2u64 {
            let db = place.open();
            for number in 0..200u64 {
                let key = format!("key {}", number % 60).into_bytes();
                let value = stamped(run * 1000 + number, usize::try_from(number * 397 % 20_000).unwrap());
                db.put(&key, &value).unwrap();
                model.insert(key, value);
            }
            expect_same(&db, &model);
            db.close().unwrap();
            place.expect_sound();
        }
        expect_same(&place.open(), &model);
    }
}
