//! Collection: stores overwritten many times their capacity, filled up, emptied, and filled again.

use std::os::unix::fs::MetadataExt;

use rand::RngExt;
use rand::rngs::SmallRng;
use zonal::{Db, Durability, ErrorKind, Options, WriteBatch, ZoneRole};

use crate::support::{
    KIB, LEVELS, MIB, Model, Place, at, expect_bytes, expect_no_lost_zone, expect_same, growing, seeded,
    small, stamped,
};

fn key_of(number: u64) -> Vec<u8> {
    format!("key {number:06}").into_bytes()
}

/// Which keys are written how often.
#[derive(Clone, Copy, Debug)]
enum Skew {
    /// All alike.
    Uniform,
    /// Nine of ten writes go to a tenth of the keys.
    Hot,
}

impl Skew {
    fn choose(self, random: &mut SmallRng, key_count: u64) -> u64 {
        match self {
            Self::Hot if random.random_ratio(9, 10) => random.random_range(0..key_count / 10),
            _ => random.random_range(0..key_count),
        }
    }
}

/// Overwrites keys until so many bytes have been written, now and then looking at one.
fn overwrite(db: &Db, model: &mut Model, random: &mut SmallRng, skew: Skew, level: Durability, total: usize) {
    const KEY_COUNT: u64 = 300;
    let mut written = 0;
    while written < total {
        let key = key_of(skew.choose(random, KEY_COUNT));
        let value = stamped(random.random(), random.random_range(0..40 * KIB));
        db.put_with(&key, &value, at(level)).unwrap();
        written += key.len() + value.len();
        model.insert(key, value);
        let looked_at = key_of(random.random_range(0..KEY_COUNT));
        expect_bytes(&looked_at, db.get(&looked_at).unwrap().as_deref(), model.get(&looked_at));
    }
}

#[test]
fn a_store_is_overwritten_twenty_times_its_capacity_at_every_durability() {
    for (seed, (level, skew)) in (0..).zip([
        (Durability::Sync, Skew::Hot),
        (Durability::Written, Skew::Uniform),
        (Durability::Buffered, Skew::Hot),
    ]) {
        println!("{level:?}, {skew:?}, seed {seed}");
        let (place, mut model, mut random) = (Place::new(16), Model::new(), seeded(seed));
        let db = place.open();
        overwrite(&db, &mut model, &mut random, skew, level, 21 * 16 * MIB);
        let stats = db.stats();
        assert!(stats.zone_resets > 10 * 16, "{stats:#?}");
        assert!((1.0..6.0).contains(&stats.write_amplification), "{stats:#?}");
        assert_eq!(stats.puts, stats.since(&zonal::Stats::default()).puts);
        expect_same(&db, &model);
        expect_no_lost_zone(&db);
        place.expect_same_when_closed_and_opened(db, &model);
    }
}

/// The threshold: two zones for puts beyond the reserve of three, and those that are being made ready.
#[test]
fn a_store_with_a_capacity_resets_zones_only_when_free_ones_run_low_and_before_they_run_out() {
    const FEW: usize = 8;
    let place = Place::new(24);
    let db = place.open();
    let free = || db.zones().unwrap().iter().filter(|zone| zone.role == ZoneRole::Free).count();
    let (mut fewest, mut number) = (free(), 0u64);
    assert!(fewest > 2 * FEW, "{fewest} of 24 zones are free at first");
    // Two keys: as good as all of it is garbage from the start.
    while db.stats().zone_resets == 0 {
        fewest = free().min(fewest);
        db.put_with(key_of(number % 2), stamped(number, 20 * KIB), at(Durability::Written)).unwrap();
        number += 1;
    }
    assert!((1..=FEW).contains(&fewest), "the first reset came with {fewest} zones free");
    for number in 0..3 * 24 * 50 {
        db.put_with(key_of(number % 2), stamped(number, 20 * KIB), at(Durability::Written)).unwrap();
    }
    expect_no_lost_zone(&db);
}

#[test]
fn small_durable_writes_that_waste_most_of_their_blocks_are_collected() {
    let place = Place::new(12);
    let (db, mut model) = (place.open(), Model::new());
    for number in 0..6000u64 {
        let (key, value) = (key_of(number % 200), number.to_le_bytes());
        db.put(&key, value).unwrap();
        model.insert(key, value.to_vec());
    }
    assert!(db.stats().zone_resets > 10);
    expect_same(&db, &model);
    expect_no_lost_zone(&db);
    drop(db);
    place.expect_sound();
    expect_same(&place.open(), &model);
}

#[test]
fn large_values_are_collected_part_by_part() {
    let place = Place::new(24);
    let (db, mut model, mut random) = (place.open(), Model::new(), seeded(11));
    // Half of each zone stays, so that no room is gained without copying it.
    for number in 0..28 {
        let (key, value) = (key_of(1000 + number), stamped(number, 300 * KIB));
        db.put_with(&key, &value, at(Durability::Buffered)).unwrap();
        model.insert(key, value);
        for hot in 0..10 {
            let (key, value) = (key_of(100 + hot), stamped(number, 30 * KIB));
            db.put_with(&key, &value, at(Durability::Buffered)).unwrap();
            model.insert(key, value);
        }
    }
    for number in 0..600 {
        let (key, value) = (key_of(100 + number % 10), stamped(number, 30 * KIB));
        db.put_with(&key, &value, at(Durability::Buffered)).unwrap();
        model.insert(key, value);
    }
    let moved_bytes = db.stats().relocated_bytes;
    // At least three of them; how many more depends on how threads meet.
    assert!(moved_bytes > MIB as u64, "{moved_bytes} bytes were moved");
    expect_same(&db, &model);
    expect_no_lost_zone(&db);
    for number in 0..28 {
        db.delete_with(key_of(1000 + number), at(Durability::Buffered)).unwrap();
        model.remove(&key_of(1000 + number));
    }
    for number in 0..200u64 {
        let (key, level) = (key_of(number % 6), LEVELS[random.random_range(0..3)]);
        let value = stamped(number, random.random_range(200 * KIB..2 * MIB));
        db.put_with(&key, &value, at(level)).unwrap();
        model.insert(key, value);
        // Small keys among the parts keep zones from being dead as a whole.
        let (key, value) = (key_of(100 + number % 50), stamped(number, 30 * KIB));
        db.put_with(&key, &value, at(level)).unwrap();
        model.insert(key, value);
    }
    assert!(db.stats().zone_resets > 100);
    expect_same(&db, &model);
    expect_no_lost_zone(&db);
    place.expect_same_when_closed_and_opened(db, &model);
}

/// A key so long that it does not take millions of tombstones to fill a store.
fn long_key_of(number: u64) -> Vec<u8> {
    [vec![b'k'; 500], key_of(number)].concat()
}

#[test]
fn deleted_keys_stay_deleted_while_their_tombstones_are_collected_and_forgotten() {
    let place = Place::new(16);
    let (db, mut model, mut random) = (place.open(), Model::new(), seeded(12));
    for round in 0..60u64 {
        for number in 0..400 {
            let (key, value) = (long_key_of(round * 400 + number), stamped(number, 4 * KIB));
            db.put_with(&key, &value, at(Durability::Buffered)).unwrap();
            model.insert(key, value);
        }
        let gone: Vec<_> = model.keys().filter(|_| random.random_ratio(9, 10)).cloned().collect();
        for key in gone {
            db.delete_with(&key, at(Durability::Buffered)).unwrap();
            model.remove(&key);
        }
        if round % 10 == 9 {
            expect_same(&db, &model);
        }
    }
    let stats = db.stats();
    assert!(stats.tombstones < 8000, "of 24,000 deletes so many are remembered: {stats:#?}");
    expect_no_lost_zone(&db);
    place.expect_same_when_closed_and_opened(db, &model);
}

#[test]
fn a_store_that_was_emptied_takes_as_much_as_before() {
    let place = Place::new(16);
    let mut db = place.open();
    let mut counts = Vec::new();
    for round in 0..4u64 {
        let keys = (0..).map(|number| long_key_of(round << 32 | number));
        let put: Vec<_> =
            keys.take_while(|key| db.put_with(key, "", at(Durability::Buffered)).is_ok()).collect();
        for key in &put {
            db.delete_with(key, at(Durability::Buffered)).unwrap();
        }
        expect_same(&db, &Model::new());
        expect_no_lost_zone(&db);
        counts.push(put.len());
        drop(db);
        place.expect_sound();
        db = place.open();
        expect_same(&db, &Model::new());
    }
    assert!(counts.iter().all(|count| count * 3 > counts[0] * 2), "keys taken by turns: {counts:?}");
}

#[test]
fn a_queue_beside_data_that_never_change_runs_for_ever() {
    let place = Place::new(16);
    let (db, mut model) = (place.open(), Model::new());
    for number in 0..200 {
        let (key, value) = ([b"cold ".as_slice(), &key_of(number)].concat(), stamped(number, 16 * KIB));
        db.put_with(&key, &value, at(Durability::Buffered)).unwrap();
        model.insert(key, value);
    }
    let message = |number: u64| [vec![b'm'; 2000], key_of(number)].concat();
    for number in 0..20_000 {
        db.put_with(message(number), "work", at(Durability::Buffered)).unwrap();
        if number >= 10 {
            db.delete_with(message(number - 10), at(Durability::Buffered)).unwrap();
        }
    }
    for number in 20_000 - 10..20_000 {
        model.insert(message(number), b"work".to_vec());
    }
    expect_same(&db, &model);
    expect_no_lost_zone(&db);
    assert!(db.stats().tombstones < 10_000, "{:#?}", db.stats());
    drop(db);
    place.expect_sound();
    expect_same(&place.open(), &model);
}

fn used_zones(db: &Db) -> u64 {
    db.zones().unwrap().iter().filter(|zone| zone.write_pointer > 0).count() as u64
}

#[test]
fn a_store_without_a_capacity_takes_little_more_than_its_live_data() {
    let place = Place::with(growing());
    let (db, mut model, mut random) = (place.open(), Model::new(), seeded(13));
    for total_mib in [20, 100, 100] {
        overwrite(&db, &mut model, &mut random, Skew::Uniform, Durability::Buffered, total_mib * MIB);
        db.flush().unwrap();
    }
    let (live_mib, zones) = (db.stats().live_bytes / MIB as u64, used_zones(&db));
    // Where the collector does not keep up, writers are held at twice the live data and 16 zones; then those being
    // filled and the manifest's.
    assert!(zones <= live_mib * 2 + 16 + 6, "{zones} zones for {live_mib} MiB");
    expect_same(&db, &model);
    expect_no_lost_zone(&db);
    drop(db);
    place.expect_sound();
    expect_same(&place.open(), &model);
}

/// What the store's file takes of its file system.
fn file_bytes(place: &Place) -> u64 {
    std::fs::metadata(place.path()).expect("the file is there").blocks() * 512
}

fn put_numbered(db: &Db, key_count: u64, value: &[u8]) {
    for number in 0..key_count {
        db.put_with(key_of(number), value, at(Durability::Buffered)).unwrap();
    }
}

/// Of keys numbered from 0 on, every tenth stays.
fn delete_nine_tenths(db: &Db, key_count: u64) {
    for number in (0..key_count).filter(|number| number % 10 > 0) {
        db.delete_with(key_of(number), at(Durability::Buffered)).unwrap();
    }
}

/// Returns when the file takes no more than 1.3 times the live data, and so many bytes beside.
fn wait_for_target(place: &Place, db: &Db, beside_bytes: u64) {
    while file_bytes(place) > db.stats().live_bytes * 13 / 10 + beside_bytes {
        std::thread::yield_now();
    }
}

#[test]
fn the_file_of_a_store_whose_data_were_deleted_shrinks_by_itself() {
    let place = Place::with(growing());
    let db = place.open();
    let value = stamped(1, 10 * KIB);
    put_numbered(&db, 6000, &value);
    db.flush().unwrap();
    assert!(file_bytes(&place) > 58 * MIB as u64);
    delete_nine_tenths(&db, 6000);
    db.flush().unwrap();
    // What is left of zones being filled, two of the manifest; the journal, and the table of 65,536 zones, which a file of larger
    // zones does not have.
    let few_zones = 9 * MIB as u64;
    wait_for_target(&place, &db, few_zones);
    assert_eq!(db.stats().keys, 600);
    drop(db);
    place.expect_sound();
}

/// Nothing but what the device keeps of itself comes on top: zones of the manifest, of streams, and in hand are among them.
#[test]
fn the_whole_file_of_a_store_that_has_shrunk_is_within_its_target() {
    const KEYS: u64 = 50_000;
    let place = Place::with(growing());
    let db = place.open();
    let value = stamped(1, 10 * KIB);
    put_numbered(&db, KEYS, &value);
    // It is of a store ten times as large as the one there will be.
    db.checkpoint().unwrap().expect("there is room");
    delete_nine_tenths(&db, KEYS);
    db.flush().unwrap();
    // The journal, and the table of 65,536 zones, which a file of larger zones does not have.
    let of_the_device = 7 * MIB as u64;
    wait_for_target(&place, &db, of_the_device);
    assert_eq!(db.stats().keys, KEYS / 10);
    drop(db);
    assert!(file_bytes(&place) < 75 * MIB as u64, "closing takes up {} bytes", file_bytes(&place));
    place.expect_sound();
}

/// Whoever was killed after deleting much left it to the next one.
#[test]
fn a_store_that_takes_too_much_is_cleaned_when_it_is_opened() {
    let place = Place::with(growing());
    let used = |db: &Db| db.zones().unwrap().iter().filter(|zone| zone.role != ZoneRole::Free).count();
    let db = Db::open(place.path(), place.options().space_target(1000.0)).unwrap();
    for number in 0..6000 {
        db.put_with(key_of(number % 200), stamped(number, 10 * KIB), at(Durability::Buffered)).unwrap();
    }
    let before = used(&db);
    db.close().unwrap();
    assert!(before > 50, "{before} zones");
    let db = place.open();
    while used(&db) > 20 {
        std::thread::yield_now();
    }
}

#[test]
fn a_device_of_three_active_zones_is_overwritten_many_times_and_opened_again() {
    let limits = |options: Options| options.max_active_zones(3).max_open_zones(3);
    for (seed, level) in (50..).zip(LEVELS) {
        let (place, mut model, mut random) = (Place::with(limits(small(16))), Model::new(), seeded(seed));
        for _ in 0..4 {
            let db = place.open();
            expect_same(&db, &model);
            overwrite(&db, &mut model, &mut random, Skew::Uniform, level, 5 * 16 * MIB);
            assert_eq!(db.checkpoint().unwrap(), None, "there is no active zone for one");
            expect_no_lost_zone(&db);
            db.close().unwrap();
            place.expect_sound();
        }
        assert!(place.open().stats().zone_resets > 10 * 16);
    }
    for level in LEVELS {
        fill_and_empty(limits(small(16)), 9 * KIB, level);
    }
    let refused = Db::open(Place::new(1).path(), small(16).max_active_zones(2)).unwrap_err();
    assert!(refused.to_string().contains("2 active zones; a store needs at least 3"), "{refused}");
}

/// With hundreds of zones, small as they are here: of fewer, what is held back takes more than a tenth.
#[test]
fn a_store_nine_tenths_full_is_overwritten_and_never_full() {
    const ZONES: u64 = 520;
    let zone_bytes = 128 * KIB as u64;
    let options = small(0).zone_size_bytes(zone_bytes).capacity_bytes(ZONES * zone_bytes);
    let place =
        Place::with(options.block_bytes(512).unit_bytes(128 << 10).max_active_zones(7).max_open_zones(7));
    let (db, mut model, mut random) = (place.open(), Model::new(), seeded(90));
    let live_bytes = || db.stats().live_bytes;
    let mut put = |number: u64, stamp: u64| {
        let (key, value) = (key_of(number), stamped(stamp, KIB));
        db.put_with(&key, &value, at(Durability::Buffered)).unwrap();
        model.insert(key, value);
    };
    let mut keys = 0;
    while live_bytes() * 10 < ZONES * zone_bytes * 9 {
        put(keys, 0);
        keys += 1;
    }
    for stamp in 1..keys {
        put(random.random_range(0..keys), stamp);
    }
    let stats = db.stats();
    assert!(stats.live_bytes * 10 >= ZONES * zone_bytes * 9, "{stats:#?}");
    assert!(stats.zone_resets > ZONES * 2, "{stats:#?}");
    assert!(stats.write_amplification < 14.0, "{stats:#?}");
    expect_same(&db, &model);
    expect_no_lost_zone(&db);
    place.expect_same_when_closed_and_opened(db, &model);
}

/// What is asked of a store of 16 MiB zones: those that it cannot do without are most of what it takes then.
#[test]
fn the_file_of_a_small_store_with_zones_of_the_default_size_shrinks_too() {
    let place = Place::with(Options::default());
    let db = place.open();
    let value = stamped(1, 100 * KIB);
    put_numbered(&db, 3000, &value);
    db.flush().unwrap();
    assert!(file_bytes(&place) > 290 * MIB as u64);
    delete_nine_tenths(&db, 3000);
    // What is left of those being filled with new writes and with copies, and two of the manifest; and what a tenth of garbage
    // makes of the last one. None is made ready or kept in hand as long as nobody fills any.
    let few_zones = 3 * 16 * MIB as u64;
    wait_for_target(&place, &db, few_zones);
    assert_eq!(db.stats().keys, 300);
    drop(db);
    place.expect_sound();
}

/// Not even beside data that never change, when other keys go on being written.
#[test]
fn tombstones_of_very_many_deletes_are_not_kept_for_ever() {
    let place = Place::new(24);
    let db = place.open();
    for number in 0..100 {
        db.put_with(
            [b"cold ".as_slice(), &key_of(number)].concat(),
            stamped(number, 16 * KIB),
            at(Durability::Buffered),
        )
        .unwrap();
    }
    for number in 0..60_000 {
        db.put_with(long_key_of(number), "", at(Durability::Buffered)).unwrap();
        db.delete_with(long_key_of(number), at(Durability::Buffered)).unwrap();
    }
    let after_deleting = db.stats().tombstones;
    for number in 0..20_000 {
        db.put_with(key_of(number % 100), stamped(number, 8 * KIB), at(Durability::Buffered)).unwrap();
    }
    let left = db.stats().tombstones;
    assert!(left <= after_deleting && left < 6000, "{left} of {after_deleting}");
    expect_no_lost_zone(&db);
}

/// Puts new keys until the store says that it is full.
fn fill(db: &Db, model: &mut Model, from: u64, value_bytes: usize, level: Durability) -> u64 {
    for number in from.. {
        let (key, value) = (key_of(number), stamped(number, value_bytes));
        match db.put_with(&key, &value, at(level)) {
            Ok(()) => model.insert(key, value),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                return number;
            }
        };
    }
    unreachable!("a store does not take everything")
}

/// Sees another put refused. A collection that was under way when the first one was may have made room for a few.
fn expect_full(db: &Db, value: &[u8]) {
    for _ in 0..10 {
        match db.put("other", value) {
            Ok(()) => db.delete("other").unwrap(),
            Err(error) => return assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}"),
        }
    }
    panic!("a full store takes one put after another");
}

fn fill_and_empty(options: Options, value_bytes: usize, level: Durability) {
    let (place, mut model, mut next) = (Place::with(options), Model::new(), 0);
    let mut db = place.open();
    for round in 0..4 {
        next = fill(&db, &mut model, next, value_bytes, level);
        let stats = db.stats();
        assert!(stats.live_bytes > stats.live_limit_bytes * 9 / 10, "it was not full: {stats:#?}");
        expect_full(&db, &stamped(0, value_bytes + 100));
        expect_same(&db, &model);
        let half: Vec<_> = model.keys().skip(round % 2).step_by(2).cloned().collect();
        for key in half {
            db.delete_with(&key, at(level)).unwrap();
            model.remove(&key);
        }
        expect_same(&db, &model);
        if round % 2 == 1 {
            expect_no_lost_zone(&db);
            drop(db);
            place.expect_sound();
            db = place.open();
            expect_same(&db, &model);
        }
    }
    fill(&db, &mut model, next, value_bytes, level);
    drop(db);
    // Full when it is opened: reads and deletes work, and make room.
    let db = place.open();
    expect_same(&db, &model);
    let keys: Vec<_> = model.keys().take(model.len() / 2).cloned().collect();
    for key in keys {
        db.delete_with(&key, at(level)).unwrap();
        model.remove(&key);
    }
    db.put_with("again", stamped(1, value_bytes), at(level)).unwrap();
    model.insert(b"again".to_vec(), stamped(1, value_bytes));
    expect_same(&db, &model);
    db.close().unwrap();
    place.expect_sound();
}

#[test]
fn a_full_store_reads_and_deletes_and_takes_puts_again_when_there_is_room() {
    for (value_bytes, level) in
        [(20 * KIB, Durability::Sync), (2000, Durability::Buffered), (700 * KIB, Durability::Written)]
    {
        println!("values of {value_bytes} bytes at {level:?}");
        fill_and_empty(Place::new(14).options(), value_bytes, level);
    }
}

#[test]
fn a_store_of_the_fewest_zones_works() {
    fill_and_empty(Place::new(8).options(), 10 * KIB, Durability::Buffered);
    let (place, mut model) = (Place::new(8), Model::new());
    let db = place.open();
    for number in 0..2000 {
        let (key, value) = (key_of(number % 20), stamped(number, 20 * KIB));
        db.put_with(&key, &value, at(Durability::Buffered)).unwrap();
        model.insert(key, value);
    }
    assert!(db.stats().zone_resets > 3 * 8, "{:#?}", db.stats());
    expect_same(&db, &model);
    expect_no_lost_zone(&db);
}

#[test]
fn a_batch_that_cannot_fit_changes_nothing() {
    let place = Place::new(14);
    let (db, mut model) = (place.open(), Model::new());
    for number in 0..100 {
        let (key, value) = (key_of(number), stamped(number, 20 * KIB));
        db.put(&key, &value).unwrap();
        model.insert(key, value);
    }
    for level in LEVELS {
        let mut batch = WriteBatch::new();
        batch.delete(key_of(1));
        batch.put(key_of(2), "new");
        (0..1000).for_each(|number| batch.put(key_of(1000 + number), stamped(number, 20 * KIB)));
        assert_eq!(db.write_with(batch, at(level)).unwrap_err().kind(), ErrorKind::NoSpace);
        expect_same(&db, &model);
    }
    drop(db);
    place.expect_sound();
    expect_same(&place.open(), &model);
}

#[test]
fn a_batch_over_many_zones_is_taken_where_cleaning_makes_room_for_it() {
    let place = Place::new(20);
    let (db, mut model) = (place.open(), Model::new());
    for round in 0..12u64 {
        let mut batch = WriteBatch::new();
        for number in 0..300 {
            let (key, value) = (key_of(number), stamped(round * 1000 + number, 16 * KIB));
            batch.put(&key, &value);
            model.insert(key, value);
        }
        db.write_with(batch, at(LEVELS[usize::try_from(round).unwrap() % 3])).unwrap();
        expect_same(&db, &model);
        expect_no_lost_zone(&db);
    }
    drop(db);
    place.expect_sound();
    expect_same(&place.open(), &model);
}
