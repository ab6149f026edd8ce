//! Choosing a victim among ten thousand and a million zones.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use zonal_engine::gc::policy::{Candidate, VictimRule};
use zonal_engine::units::ZoneId;

const CAPACITY_BYTES: u64 = 1 << 30;

fn candidates(count: u32) -> Vec<Candidate> {
    let mut random = SmallRng::seed_from_u64(1);
    let zones = (0..count).map(ZoneId::new);
    zones
        .map(|zone| Candidate {
            zone,
            capacity_bytes: CAPACITY_BYTES,
            live_bytes: random.random_range(1..=CAPACITY_BYTES),
            age: random.random_range(0..1 << 40),
        })
        .collect()
}

fn choosing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("victims");
    for count in [10_000, 1_000_000] {
        let candidates = candidates(count);
        group.throughput(Throughput::Elements(u64::from(count)));
        for rule in [VictimRule::Greedy, VictimRule::CostBenefit, VictimRule::AgeForCopies] {
            group.bench_function(format!("{rule:?}/{count}"), |bencher| {
                bencher.iter(|| rule.choose(black_box(&candidates).iter().copied()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, choosing);
criterion_main!(benches);
