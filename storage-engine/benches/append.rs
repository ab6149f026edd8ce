//! Appends to an emulated zone through io_uring: one durable block at a time, and large units with several in flight.
//!
//! The file lies in the build's own directory, so that a disk is measured and not a `/tmp` in memory.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use zonal_engine::buffer::AlignedBuffer;
use zonal_engine::device::emulated::{DirectIo, EmulatedDevice};
use zonal_engine::device::{Geometry, Persistence, Preparation, ZonedDevice};
use zonal_engine::queue::{IoQueue, Outcome, Request, UringQueue, Wait};
use zonal_engine::units::ZoneId;

const GEOMETRY: Geometry = Geometry {
    block_bytes: 4096,
    zone_size_bytes: 64 << 20,
    zone_capacity_bytes: 64 << 20,
    zone_count: 4,
    max_open_zones: 4,
    max_active_zones: 4,
    append_limit_bytes: 1 << 20,
    volatile_cache: true,
};
const ZONE: ZoneId = ZoneId::new(0);

/// Appends to one zone, which it resets when it is full.
struct Appender {
    device: Arc<dyn ZonedDevice>,
    queue: UringQueue,
    payload: Arc<AlignedBuffer>,
    persistence: Persistence,
    depth: usize,
    _directory: TempDir,
}

impl Appender {
    fn new(len_bytes: usize, persistence: Persistence, depth: usize) -> Self {
        let directory =
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo makes this directory");
        let path = directory.path().join("append.zonal");
        let device = EmulatedDevice::create(path, &GEOMETRY, DirectIo::Preferred).expect("a new device");
        let device: Arc<dyn ZonedDevice> = Arc::new(device);
        device.prepare(ZONE, Preparation::DurableAppends).expect("there is room on the disk");
        let queue = UringQueue::new(Arc::clone(&device), 64).expect("io_uring is there");
        // Not zeros: some disks store those for nothing.
        let mut payload = AlignedBuffer::zeroed(len_bytes);
        payload.iter_mut().zip((0..=250).cycle()).for_each(|(byte, value)| *byte = value);
        Self { device, queue, payload: Arc::new(payload), persistence, depth, _directory: directory }
    }

    /// Keeps `depth` appends in flight; returns when one more has been taken.
    fn append(&self) {
        self.wait_until_below(self.depth);
        let room_bytes = GEOMETRY.zone_capacity_bytes - self.written_bytes();
        if room_bytes < self.payload.len() as u64 {
            self.wait_until_below(1);
            self.device.reset(ZONE).expect("nothing is in flight");
        }
        let request = Request::Append {
            zone_start: GEOMETRY.zone_start(ZONE),
            payload: Arc::clone(&self.payload),
            persistence: self.persistence,
            user_data: 0,
        };
        self.queue.submit(request).expect("the zone has room");
    }

    fn written_bytes(&self) -> u64 {
        self.device.report(ZONE).expect("the zone is there").write_pointer.get()
    }

    fn wait_until_below(&self, count: usize) {
        let mut completions = Vec::new();
        while self.queue.in_flight_count() >= count {
            self.queue.reap(Wait::ForOne, &mut completions).expect("the kernel takes part");
        }
        for completion in completions {
            assert!(matches!(completion.outcome, Outcome::Append(Ok(_))), "{completion:?}");
        }
    }
}

fn append(criterion: &mut Criterion) {
    for (name, len_bytes, persistence, depth) in [
        ("4k_durable", 4 << 10, Persistence::Durable, 1),
        ("4k", 4 << 10, Persistence::Volatile, 1),
        ("256k_depth_8", 256 << 10, Persistence::Volatile, 8),
    ] {
        let appender = Appender::new(len_bytes, persistence, depth);
        let mut group = criterion.benchmark_group("append");
        group.throughput(Throughput::Bytes(len_bytes as u64));
        group.bench_function(name, |bencher| bencher.iter(|| appender.append()));
        group.finish();
        appender.wait_until_below(1);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = append
}
criterion_main!(benches);
