//! Instructions that the hot paths take, counted by Callgrind: unlike times, they hardly differ between machines and runs.
//!
//! Each benchmark does a thousand operations on one thread, over values of 1,000 bytes under 24-byte keys. What it took
//! when it was last looked at stands beside it, in instructions an operation; a tenth more fails the run. A change that
//! is worth more instructions changes the figure, and says why. Waiting and cache misses are not seen here: those are for
//! the benchmarks that measure time.
#![allow(
    missing_docs,
    unused_qualifications,
    clippy::must_use_candidate,
    reason = "what gungraun's macros make has all of these"
)]

use std::hint::black_box;
use std::ops::Range;

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use tempfile::TempDir;
use zonal::{Db, Durability, Options, Value, WriteOptions};
use zonal_engine::buffer::AlignedBuffer;
use zonal_engine::format::record::{Record, RecordKind, value_crc};
use zonal_engine::format::unit::{PreviousZone, StreamKind, UNIT_HEADER_BYTES, UnitHeader};
use zonal_engine::index::{Entry, Location, OrderedIndex};
use zonal_engine::log::unit_builder::UnitBuilder;
use zonal_engine::units::{Generation, SeqNo, ZoneId};

/// What one run of a benchmark does.
const OPERATIONS: u64 = 1000;
/// Records of a store that is read from or written to, and keys of an index.
const RECORDS: u64 = 20_000;
const VALUE: [u8; 1000] = [0x5a; 1000];
const BLOCK_BYTES: usize = 4096;
const UNIT_BYTES: usize = 512 << 10;
/// Percent of a figure.
const TOLERATED: u64 = 110;

/// Fails a benchmark whose thousand operations take more than a tenth beyond so many instructions each.
fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions * OPERATIONS * TOLERATED / 100)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// Keys in an order that has nothing to do with their numbers.
fn key(number: u64) -> [u8; 24] {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = *b"user0000................";
    key[8..16].copy_from_slice(&mixed.to_be_bytes());
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Keys of records that there are, far from each other.
fn known_keys() -> impl Iterator<Item = [u8; 24]> {
    (0..OPERATIONS).map(|number| key(number * 7919 % RECORDS))
}

/// A store, and the directory that it lies in.
struct Store {
    db: Db,
    _directory: TempDir,
}

fn buffered() -> WriteOptions {
    WriteOptions::default().durability(Durability::Buffered)
}

fn store(options: Options) -> Store {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo makes this directory");
    let db = Db::open(directory.path().join("counted.zonal"), options).expect("a new store");
    (0..RECORDS).for_each(|number| db.put_with(key(number), VALUE, buffered()).expect("there is room"));
    db.flush().expect("the disk works");
    Store { db, _directory: directory }
}

/// All of it in memory.
fn hot_store() -> Store {
    store(Options::default().cache_bytes(256 << 20))
}

/// Hardly anything of it in memory.
fn cold_store() -> Store {
    store(Options::default().cache_bytes(0))
}

#[library_benchmark(setup = hot_store, config = at_most(4_070))]
fn put(store: Store) -> Store {
    for key in known_keys() {
        store.db.put_with(black_box(key), VALUE, buffered()).expect("there is room");
    }
    store
}

#[library_benchmark(setup = hot_store, config = at_most(1_570))]
fn get_hit(store: Store) -> (Store, Option<Value>) {
    let last = known_keys().map(|key| store.db.get(black_box(key)).expect("the disk works")).last();
    (store, last.flatten())
}

#[library_benchmark(setup = hot_store, config = at_most(850))]
fn get_absent(store: Store) -> (Store, bool) {
    let absent = (RECORDS..RECORDS + OPERATIONS).map(key);
    let found = absent.filter(|key| store.db.get(black_box(key)).expect("the disk works").is_some()).count();
    (store, found > 0)
}

#[library_benchmark(setup = cold_store, config = at_most(3_050))]
fn get_cold(store: Store) -> (Store, Option<Value>) {
    let last = known_keys().map(|key| store.db.get(black_box(key)).expect("the disk works")).last();
    (store, last.flatten())
}

// An operation is one record of a long scan.
#[library_benchmark(setup = hot_store, config = at_most(2_330))]
fn scan_step(store: Store) -> (Store, usize) {
    let records = store.db.iter().take(usize::try_from(OPERATIONS).expect("a thousand"));
    let bytes = records.map(|item| item.expect("the disk works").1.len()).sum();
    (store, bytes)
}

fn index() -> OrderedIndex {
    let index = OrderedIndex::new();
    insert(&index, 0..RECORDS);
    index
}

fn insert(index: &OrderedIndex, numbers: Range<u64>) {
    for number in numbers {
        assert!(index.upsert(&key(number), entry(number)).is_none(), "keys are inserted once");
    }
}

fn entry(number: u64) -> Entry {
    let unit = u32::try_from(number).expect("a small number");
    Entry::Value { location: Location::new(ZoneId::new(1), unit, 0), value_len: 1000 }
}

#[library_benchmark(setup = index, config = at_most(1_540))]
fn index_insert(index: OrderedIndex) -> OrderedIndex {
    insert(&index, RECORDS..RECORDS + OPERATIONS);
    index
}

#[library_benchmark(setup = index, config = at_most(870))]
fn index_lookup(index: OrderedIndex) -> (OrderedIndex, usize) {
    let found = known_keys().filter(|key| index.lookup(black_box(key)).is_some()).count();
    (index, found)
}

fn header() -> UnitHeader {
    UnitHeader {
        store: [7; 16],
        generation: Generation::new(1),
        first_seqno: SeqNo::new(1),
        watermark: SeqNo::new(0),
        incarnation: 1,
        reset_count: 0,
        unit: 0,
        body_bytes: 0,
        record_count: 0,
        claim_first: 0,
        claim_end: 0,
        previous: PreviousZone::default(),
        stream: StreamKind::User,
        class: 0,
        foreign_count: 0,
        moved: false,
        contents_crc: 0,
    }
}

/// Units of as many records as fit, a thousand records in all.
fn encode(mut buffers: Vec<AlignedBuffer>) -> Vec<AlignedBuffer> {
    let mut units = Vec::new();
    let mut builder = UnitBuilder::new(buffers.pop().expect("enough of them"));
    for number in 0..OPERATIONS {
        let key = key(number);
        let record = Record {
            seqno: SeqNo::new(number + 1),
            kind: RecordKind::Put,
            group: None,
            key: &key,
            value: &VALUE,
        };
        if builder.room_bytes() < record.encoded_bytes() {
            let next = UnitBuilder::new(buffers.pop().expect("enough of them"));
            units.push(std::mem::replace(&mut builder, next).seal(header(), BLOCK_BYTES));
        }
        builder.push(&record, value_crc(record.value));
    }
    units.push(builder.seal(header(), BLOCK_BYTES));
    units
}

fn buffers() -> Vec<AlignedBuffer> {
    (0..4).map(|_| AlignedBuffer::zeroed(UNIT_BYTES)).collect()
}

fn units() -> Vec<AlignedBuffer> {
    encode(buffers())
}

// An operation is one record.
#[library_benchmark(setup = buffers, config = at_most(1_070))]
fn unit_encode(buffers: Vec<AlignedBuffer>) -> Vec<AlignedBuffer> {
    encode(buffers)
}

// An operation is one record.
#[library_benchmark(setup = units, config = at_most(950))]
fn unit_decode(units: Vec<AlignedBuffer>) -> (Vec<AlignedBuffer>, usize) {
    let count = units.iter().map(|unit| {
        let header = UnitHeader::decode(unit).expect("a whole unit");
        let body = &unit[UNIT_HEADER_BYTES..][..header.body_bytes as usize];
        header.records(body).expect("whole records").len()
    });
    let count = count.sum();
    (units, count)
}

library_benchmark_group!(name = store_paths, benchmarks = [put, get_hit, get_absent, get_cold, scan_step]);
library_benchmark_group!(name = index_paths, benchmarks = [index_insert, index_lookup]);
library_benchmark_group!(name = formats, benchmarks = [unit_encode, unit_decode]);
main!(library_benchmark_groups = [store_paths, index_paths, formats]);
