//! Appends through io_uring to an emulated device: 4 KiB and 256 KiB, 1, 8 and 32 in flight.
//!
//! Completions here mean "written", not "durable". The device lies in `APPEND_BENCH_DIRECTORY`, or in the directory for
//! temporary files; a file system in memory measures the queue alone. Resets are not timed.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use zonal_engine::buffer::AlignedBuffer;
use zonal_engine::device::emulated::{DirectIo, EmulatedDevice};
use zonal_engine::device::{Geometry, Persistence, ZonedDevice};
use zonal_engine::queue::{Completion, IoQueue, Outcome, Request, UringQueue, Wait};
use zonal_engine::units::ZoneId;

const ZONE: ZoneId = ZoneId::new(0);
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

fn directory() -> PathBuf {
    std::env::var_os("APPEND_BENCH_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from)
}

struct Appender {
    device: Arc<EmulatedDevice>,
    queue: UringQueue,
    payload: Arc<AlignedBuffer>,
    completions: Vec<Completion>,
}

impl Appender {
    fn append(&self) {
        let request = Request::Append {
            zone_start: GEOMETRY.zone_start(ZONE),
            payload: Arc::clone(&self.payload),
            persistence: Persistence::Volatile,
            user_data: 0,
        };
        self.queue.submit(request).expect("submit");
    }

    fn reap(&mut self) {
        self.queue.reap(Wait::ForOne, &mut self.completions).expect("reap");
        for completion in self.completions.drain(..) {
            match completion.outcome {
                Outcome::Append(place) => black_box(place.expect("append")),
                Outcome::Read { .. } => unreachable!("nothing is read"),
            };
        }
    }

    /// Appends `count` times with `depth` in flight.
    fn run(&mut self, count: u64, depth: usize) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            while self.queue.in_flight_count() >= depth {
                self.reap();
            }
            self.append();
        }
        while self.queue.in_flight_count() > 0 {
            self.reap();
        }
        start.elapsed()
    }

    /// Runs zone after zone, with a reset before each.
    fn run_zones(&mut self, mut count: u64, depth: usize) -> Duration {
        let zone_holds = GEOMETRY.zone_capacity_bytes / self.payload.len() as u64;
        let mut elapsed = Duration::ZERO;
        while count > 0 {
            self.device.reset(ZONE).expect("reset");
            let now = count.min(zone_holds);
            elapsed += self.run(now, depth);
            count -= now;
        }
        elapsed
    }
}

fn appends(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(directory()).expect("make a directory");
    let path = directory.path().join("device");
    let device = EmulatedDevice::create(path, &GEOMETRY, DirectIo::Preferred).expect("create a device");
    println!("direct I/O: {}", device.uses_direct_io());
    let device = Arc::new(device);
    for kib in [4, 256] {
        let mut group = criterion.benchmark_group(format!("append/{kib} KiB"));
        group.throughput(Throughput::Bytes(kib << 10)).sample_size(10);
        let payload_bytes = usize::try_from(kib << 10).expect("small");
        for depth in [1, 8, 32] {
            let mut appender = Appender {
                device: Arc::clone(&device),
                queue: UringQueue::new(Arc::clone(&device) as _, 32).expect("set up a queue"),
                payload: Arc::new(AlignedBuffer::zeroed(payload_bytes)),
                completions: Vec::new(),
            };
            group.bench_function(format!("depth {depth}"), |bencher| {
                bencher.iter_custom(|count| appender.run_zones(count, depth));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, appends);
criterion_main!(benches);
