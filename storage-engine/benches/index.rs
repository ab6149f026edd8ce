//! The ordered index with random 24-byte keys: a million, or as many as `INDEX_BENCH_KEYS` says.
//!
//! Prints, beside the times, what the index says that it takes for a key and what the process grew by.
#![allow(missing_docs, reason = "criterion's macros make public items")]

mod indexes;

use std::hint::black_box;
use std::ops::Bound;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use indexes::{ENTRY, Key, key_count, on_two_threads, random_keys, resident_bytes};
use zonal_engine::index::OrderedIndex;

/// Memory that the process grew by is told only where nothing was freed before: freed memory is used again.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn report(name: &str, build: impl FnOnce() -> OrderedIndex) -> OrderedIndex {
    let start = Instant::now();
    let index = build();
    let keys = index.key_count() as f64;
    println!(
        "{name}: {:.0} ns a key, {:.1} bytes a key by its own count",
        start.elapsed().as_nanos() as f64 / keys,
        index.memory_bytes() as f64 / keys
    );
    index
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn report_inserts(keys: &[Key]) -> OrderedIndex {
    let before = resident_bytes();
    let index = report("inserts in random order", || inserted(keys));
    let grown = resident_bytes().saturating_sub(before);
    println!("resident memory grew by {:.1} bytes a key", grown as f64 / keys.len() as f64);
    index
}

fn inserted(keys: &[Key]) -> OrderedIndex {
    let index = OrderedIndex::new();
    for key in keys {
        index.upsert(key, ENTRY);
    }
    index
}

fn index(criterion: &mut Criterion) {
    let mut keys = random_keys(key_count());
    let index = report_inserts(&keys);
    let mut next = (0..keys.len()).cycle();
    keys.shuffle(&mut SmallRng::seed_from_u64(2));
    let misses = random_keys(keys.len() + 1_000_000).split_off(keys.len());
    let at = |number: u64| &keys[usize::try_from(number).expect("64 bits") % keys.len()];

    criterion.bench_function("index/lookup_hit", |bencher| {
        bencher.iter(|| index.lookup(black_box(&keys[next.next().expect("endless")])));
    });
    let mut next_miss = misses.iter().cycle();
    criterion.bench_function("index/lookup_miss", |bencher| {
        bencher.iter(|| index.lookup(black_box(next_miss.next().expect("endless"))));
    });
    criterion.bench_function("index/replace", |bencher| {
        bencher.iter(|| index.upsert(black_box(&keys[next.next().expect("endless")]), ENTRY));
    });
    criterion.bench_function("index/lookup_hit_on_two_threads", |bencher| {
        bencher.iter_custom(|rounds| {
            on_two_threads(rounds, |n| {
                black_box(index.lookup(at(n)));
            })
        });
    });
    criterion.bench_function("index/ascend_100", |bencher| {
        let mut found = Vec::with_capacity(100);
        bencher.iter(|| {
            found.clear();
            index.ascend(Bound::Included(&keys[next.next().expect("endless")]), 100, &mut found);
        });
    });
    drop(index);
    keys.sort_unstable();
    drop(report("bulk load", || OrderedIndex::from_sorted(keys.iter().map(|key| (key, ENTRY)))));
    insert_more(criterion, &keys, &misses);
}

/// Single inserts into an index that holds all keys already.
fn insert_more(criterion: &mut Criterion, keys: &[Key], more: &[Key]) {
    criterion.bench_function("index/insert", |bencher| {
        bencher.iter_batched_ref(
            || OrderedIndex::from_sorted(keys.iter().map(|key| (key, ENTRY))),
            |index| {
                more.iter().take(100_000).for_each(|key| {
                    index.upsert(key, ENTRY);
                });
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2));
    targets = index
}
criterion_main!(benches);
