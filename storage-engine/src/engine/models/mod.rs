//! The engine under schedules that shuttle chooses: group commit, publication against collection, readers against resets.
//!
//! What runs is the engine's own code, from `write` and `value` down to the log, the index, the collector and crossbeam's
//! epochs; only the device and its queue are models, in memory. A lost wakeup is a deadlock, which shuttle reports.
//!
//! `ZONAL_MODEL_SCHEDULES` says how many schedules each model is tried under, `ZONAL_MODEL_SEED` where their choices come
//! from; without it every run tries others. A failure prints both, and the schedule itself.

mod collection;
mod commit;
mod device;
mod linearizable;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use super::creating::write_first_manifest;
use super::running::Running;
use super::{Depth, Durability, Engine, OpenOptions};
use crate::device::ZonedDevice;
use crate::format::manifest::SpaceUse;
use crate::index::IndexKind;
use crate::log::writer::LogWrite;
use crate::queue::QueueKind;
use device::ModelDevice;

/// How deep a bug may lie for the second half of the schedules to aim at it: so many steps must come in one order.
const PCT_DEPTH: usize = 3;

/// Runs a model under many schedules: half of them random, half such that few changes of thread are forced.
fn explore(schedules: usize, model: fn()) {
    let schedules =
        variable("ZONAL_MODEL_SCHEDULES").map_or(schedules, |count| usize::try_from(count).expect("64 bits"));
    let seed = variable("ZONAL_MODEL_SEED").unwrap_or_else(rand::random);
    let config = || {
        let mut config = Config::new();
        config.stack_size = 1 << 20;
        config.silence_warnings = true;
        config
    };
    let tried = AtomicU64::new(0);
    let tried: &'static AtomicU64 = Box::leak(Box::new(tried));
    let _told = TellOnPanic { seed, tried };
    let counted = move || {
        tried.fetch_add(1, Ordering::Relaxed);
        model();
    };
    Runner::new(RandomScheduler::new_from_seed(seed, schedules / 2), config()).run(counted);
    Runner::new(PctScheduler::new_from_seed(seed, PCT_DEPTH, schedules - schedules / 2), config())
        .run(counted);
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

struct TellOnPanic {
    seed: u64,
    tried: &'static AtomicU64,
}

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("schedule {} of ZONAL_MODEL_SEED={}", self.tried.load(Ordering::Relaxed), self.seed);
        }
    }
}

fn options() -> OpenOptions {
    OpenOptions {
        index: IndexKind::Ordered,
        queue: QueueKind::Automatic,
        read_only: false,
        direct_io: false,
        // Whatever has its place is read from the device.
        cache_bytes: 0,
        buffered_delay: Duration::ZERO,
        unit_bytes: 96 << 10,
        expects_durable: false,
        in_spite_of_damage: false,
        checkpoint_interval_bytes: 0,
        space_target_percent: 130,
        cleaning_policy: crate::gc::policy::PolicyKind::default(),
        listener: None,
    }
}

fn new_store() -> Arc<ModelDevice> {
    let device = ModelDevice::blank();
    let shared: Arc<dyn ZonedDevice> = Arc::clone(&device) as _;
    write_first_manifest(&shared, &Running::Threads, [7; 16], SpaceUse::Whole).expect("make a store");
    device
}

/// Opens a store with the threads that run beside the callers.
fn open(device: &Arc<ModelDevice>) -> Arc<Engine> {
    Arc::new(Engine::over(Arc::clone(device) as _, &options(), Running::Threads).expect("open"))
}

/// Opens a store without them.
fn open_at_rest(device: &Arc<ModelDevice>) -> Arc<Engine> {
    Arc::new(Engine::at_rest(Arc::clone(device) as _, &options(), Running::Threads).expect("open"))
}

/// What recovers from what a power cut left.
fn recover(left: &Arc<ModelDevice>) -> Engine {
    let options = OpenOptions { read_only: true, ..options() };
    Engine::at_rest(Arc::clone(left) as _, &options, Running::Threads).expect("recover")
}

impl Engine {
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) {
        self.write(&[LogWrite { key, value: Some(value) }], durability).expect("put");
    }

    fn delete(&self, key: &[u8], durability: Durability) {
        self.write(&[LogWrite { key, value: None }], durability).expect("delete");
    }

    fn assert_sound(&self) {
        let report = self.verify(Depth::Deep, &|_| ()).expect("check");
        assert!(report.is_sound(), "{report:?}");
    }
}
