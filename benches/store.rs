//! The store through its public API: puts at each durability, reads from memory and from the device, scans, opening.
//!
//! Values are 1,000 bytes under 16-byte keys. The store lies in the build's own directory, so that it is measured on a
//! disk and not on a `/tmp` in memory.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use zonal::{Db, Durability, Options, WriteOptions};

const VALUE: [u8; 1000] = [0x5a; 1000];
/// Records of the stores that are written to and read from.
const RECORDS: u64 = 100_000;
/// Records of the store that is opened, of 100 bytes.
const OPENED_RECORDS: u64 = 250_000;
const READ_TOGETHER: usize = 64;
const SCANNED: usize = 100;
const THREADS: u64 = 16;

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo makes this directory")
}

/// Keys in an order that has nothing to do with their numbers.
fn key(number: u64) -> [u8; 16] {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mixed.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Numbers below `end` in a fixed random order, without end.
fn numbers(end: u64) -> impl FnMut() -> u64 {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    }
}

fn fill(db: &Db, count: u64, value: &[u8]) {
    let buffered = WriteOptions::default().durability(Durability::Buffered);
    for number in 0..count {
        db.put_with(key(number), value, buffered).expect("there is room");
    }
    db.flush().expect("the disk works");
}

/// Reads the records from a key on; gives the bytes of their values.
fn scan(db: &Db, from: [u8; 16]) -> usize {
    db.range(from..).take(SCANNED).map(|item| item.expect("it is there").1.len()).sum()
}

/// A filled store that was closed and opened again with next to no cache.
fn cold_store(directory: &TempDir) -> Db {
    let path = directory.path().join("cold.zonal");
    let db = Db::open(&path, Options::default()).expect("a new store");
    fill(&db, RECORDS, &VALUE);
    db.close().expect("the disk works");
    Db::open(&path, Options::default().cache_bytes(1 << 20)).expect("the store just made")
}

fn put(criterion: &mut Criterion) {
    let directory = directory();
    let options = Options::default().capacity_bytes(1 << 30);
    let db = Db::open(directory.path().join("put.zonal"), options).expect("a new store");
    fill(&db, RECORDS, &VALUE);
    let mut group = criterion.benchmark_group("put");
    group.throughput(Throughput::Elements(1));
    for (name, durability) in
        [("sync", Durability::Sync), ("written", Durability::Written), ("buffered", Durability::Buffered)]
    {
        let options = WriteOptions::default().durability(durability);
        let mut next = numbers(RECORDS);
        group.bench_function(name, |bencher| {
            bencher.iter(|| db.put_with(key(next()), VALUE, options).expect("there is room"));
        });
    }
    group.bench_function("sync_on_16_threads", |bencher| {
        bencher.iter_custom(|rounds| put_on_many_threads(&db, rounds));
    });
    group.finish();
}

fn put_on_many_threads(db: &Db, rounds: u64) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for number in (thread..rounds).step_by(16) {
                    db.put(key(number % RECORDS), VALUE).expect("there is room");
                }
            });
        }
    });
    start.elapsed()
}

fn get_hit(criterion: &mut Criterion) {
    let directory = directory();
    let db = Db::open(directory.path().join("hot.zonal"), Options::default()).expect("a new store");
    let count = RECORDS / 4;
    fill(&db, count, &VALUE);
    let mut next = numbers(count);
    criterion.bench_function("get/hit", |bencher| {
        bencher.iter(|| db.get(black_box(key(next()))).expect("it is there"));
    });
    criterion.bench_function("get/absent", |bencher| {
        bencher.iter(|| db.get(black_box(key(next() + RECORDS))).expect("the disk works"));
    });
    criterion.bench_function("scan/hot_100", |bencher| {
        bencher.iter(|| scan(&db, key(next())));
    });
}

fn get_miss(criterion: &mut Criterion) {
    let directory = directory();
    let db = cold_store(&directory);
    let mut next = numbers(RECORDS);
    criterion.bench_function("get/miss", |bencher| {
        bencher.iter(|| db.get(black_box(key(next()))).expect("it is there"));
    });
    criterion.bench_function("multi_get/cold_64", |bencher| {
        bencher.iter(|| {
            let keys: [_; READ_TOGETHER] = std::array::from_fn(|_| key(next()));
            db.multi_get(&keys).expect("they are there")
        });
    });
    criterion.bench_function("scan/cold_100", |bencher| {
        bencher.iter(|| scan(&db, key(next())));
    });
}

fn recovery(criterion: &mut Criterion) {
    let directory = directory();
    let path: PathBuf = directory.path().join("recovery.zonal");
    let db = Db::open(&path, Options::default()).expect("a new store");
    fill(&db, OPENED_RECORDS, &VALUE[..100]);
    db.close().expect("the disk works");
    let mut group = criterion.benchmark_group("recovery");
    group.throughput(Throughput::Elements(OPENED_RECORDS));
    group.bench_function("scan_250k_records", |bencher| {
        bencher.iter(|| Db::open(&path, Options::default().read_only(true)).expect("the store just made"));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = put, get_hit, get_miss, recovery
}
criterion_main!(benches);
