//! The hash index with random 24-byte keys: a million, or as many as `INDEX_BENCH_KEYS` says.
//!
//! A process of its own, beside that of the ordered index (`index`), because what it prints of resident memory is only right
//! where nothing was freed before.
#![allow(missing_docs, reason = "criterion's macros make public items")]

mod indexes;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use indexes::{ENTRY, Key, key_count, on_two_threads, random_keys, resident_bytes};
use zonal_engine::index::{HashIndex, HashShape};

/// How often resident memory is looked at: it is highest when pages have just split.
const LOOKS: usize = 64;

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn inserted(keys: &[Key]) -> HashIndex {
    let (start, before) = (Instant::now(), resident_bytes());
    let grown_by = |count: usize| resident_bytes().saturating_sub(before) as f64 / count as f64;
    let (index, mut worst) = (HashIndex::new(HashShape::DEFAULT), 0.0f64);
    for (count, key) in (1..).zip(keys) {
        index.upsert(key, ENTRY);
        // A small index has pages that are nearly empty.
        if count % (keys.len() / LOOKS).max(1) == 0 && count > keys.len() / 8 {
            worst = worst.max(grown_by(count));
        }
    }
    println!(
        "inserts: {:.0} ns a key; {:.2} bytes a key by its own count; resident memory grew by {:.2} bytes a key, {worst:.2} at worst",
        start.elapsed().as_nanos() as f64 / keys.len() as f64,
        index.memory_bytes() as f64 / keys.len() as f64,
        grown_by(keys.len()),
    );
    index
}

fn index(criterion: &mut Criterion) {
    let mut keys = random_keys(key_count());
    let index = inserted(&keys);
    keys.shuffle(&mut SmallRng::seed_from_u64(2));
    let misses = random_keys(keys.len() + 1_000_000).split_off(keys.len());
    let at = |number: u64| &keys[usize::try_from(number).expect("64 bits") % keys.len()];
    let (mut next, mut next_miss) = (keys.iter().cycle(), misses.iter().cycle());
    criterion.bench_function("hash_index/lookup_hit", |bencher| {
        bencher.iter(|| index.lookup(black_box(next.next().expect("endless"))));
    });
    criterion.bench_function("hash_index/lookup_miss", |bencher| {
        bencher.iter(|| index.lookup(black_box(next_miss.next().expect("endless"))));
    });
    criterion.bench_function("hash_index/replace", |bencher| {
        bencher.iter(|| index.upsert(black_box(next.next().expect("endless")), ENTRY));
    });
    criterion.bench_function("hash_index/lookup_hit_on_two_threads", |bencher| {
        bencher.iter_custom(|rounds| {
            on_two_threads(rounds, |n| {
                black_box(index.lookup(at(n)));
            })
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2));
    targets = index
}
criterion_main!(benches);
