//! A kernel that crashes under load again and again, with stores on drives of several kinds.
//!
//! The test runs once in each life of the machine: it checks what the life before left behind, then writes until it has
//! the kernel reboot at once (sysrq-b), after a random number of acknowledgements or while the stores are being opened.
//! `boot.sh --survive-reboots` keeps the drives and starts the test anew. What must be remembered across lives is in the
//! current folder, which lies on the host.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use zonal::{Db, Depth};

use crate::drive;
use crate::load::{Numbers, THREADS, assert_prefix, assert_sound, existing, write};

const SEED: u64 = 1;
const LIVES: &str = "ZONAL_TEST_LIVES";
const LIFE: &str = "life";
/// Drives with a store each: true append, writes at the write pointer, and an emulated device on a drive without zones.
const DRIVES: [&str; 3] = ["ZONAL_TEST_NVME", "ZONAL_TEST_NVME_BLOCK_2", "ZONAL_TEST_CONVENTIONAL"];
/// A drive in files, which not every kernel has. Unlike the others, it goes back to what was flushed.
const FORGETFUL: &str = "ZONAL_TEST_ZLOOP";

/// A store, and what the host knows of its writers.
struct Store {
    path: PathBuf,
    context: String,
    acknowledged: [File; THREADS],
    /// How often it must have been cleaned in the end. Each flush of the forgetful drive is one of a whole file system, so
    /// that its store is written less in the same lives.
    least_resets: u64,
}

impl Store {
    fn new(variable: &str, life: u64) -> Self {
        let file = |thread| {
            let name = format!("acknowledged-{variable}-{thread}");
            File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(name)
                .expect("the shared folder")
        };
        let context = format!("seed {SEED}, life {life}, {variable}");
        let least_resets = if variable == FORGETFUL { 2 } else { 6 };
        Self { path: drive(variable), context, acknowledged: std::array::from_fn(file), least_resets }
    }

    /// Past the guest's page cache: the shared folder is mounted without one.
    fn acknowledge(&self, thread: usize, number: u64) {
        self.acknowledged[thread].write_all_at(&number.to_le_bytes(), 0).expect("the shared folder");
    }

    fn acknowledged(&self, thread: usize) -> u64 {
        let mut number = [0; 8];
        let length = self.acknowledged[thread].read_at(&mut number, 0).expect("the shared folder");
        if length == 0 { 0 } else { u64::from_le_bytes(number) }
    }

    /// Checks what the life before left, and gives the last call of each writer.
    fn assert_nothing_lost(&self, depth: Depth) -> Numbers {
        assert_sound(&self.path, depth, &self.context);
        let db = Db::open(&self.path, existing().read_only(true)).expect("open");
        assert_prefix(&db, &std::array::from_fn(|thread| self.acknowledged(thread)), &self.context)
    }

    fn open(&self) -> Db {
        Db::open(&self.path, existing()).unwrap_or_else(|error| panic!("{}: {error}", self.context))
    }
}

#[test]
#[ignore = "needs a machine that may crash: tests/zns/suite.sh crashes"]
fn a_kernel_that_crashes_under_load_loses_nothing_acknowledged() {
    let lives: u64 = std::env::var(LIVES).expect("how many").parse().expect("a number");
    let life = fs::read_to_string(LIFE).map_or(0, |text| text.trim().parse().expect("a number"));
    let forgetful = std::env::var_os(FORGETFUL).map(|_| FORGETFUL);
    let stores: Vec<Store> =
        DRIVES.into_iter().chain(forgetful).map(|variable| Store::new(variable, life)).collect();
    let done =
        assert_nothing_lost(&stores, if life.is_multiple_of(5) { Depth::Deep } else { Depth::Shallow });
    println!("life {life}: calls found {done:?}");
    if life == lives {
        return assert_cleaned(&stores);
    }
    note_life(life + 1);
    let mut random = StdRng::seed_from_u64(SEED + life);
    if life % 5 == 4 {
        crash_while_opening(&stores, random.random_range(0..40_000_000));
    } else {
        // The first life fills the drives, so that the others are cleaned in.
        crash_under_load(&stores, &done, if life == 0 { 5000 } else { random.random_range(1..1500) });
    }
}

/// All stores at once: an emulated processor is slow, but there are two.
fn assert_nothing_lost(stores: &[Store], depth: Depth) -> Vec<Numbers> {
    std::thread::scope(|scope| {
        let check = |store| scope.spawn(move || Store::assert_nothing_lost(store, depth));
        let checks: Vec<_> = stores.iter().map(check).collect();
        checks.into_iter().map(|check| check.join().expect("the check says what is wrong")).collect()
    })
}

/// The lives' writers must have overwritten the stores: what is never cleaned is tested by halves.
fn assert_cleaned(stores: &[Store]) {
    for store in stores {
        let resets = store.open().stats().zone_resets;
        println!("{}: {resets} zones reset", store.context);
        assert!(resets >= store.least_resets, "{}: cleaned {resets} times only", store.context);
    }
}

fn note_life(life: u64) {
    fs::write("life.new", life.to_string()).expect("the shared folder");
    fs::rename("life.new", LIFE).expect("the shared folder");
}

/// No process ends, nothing is written back: the machine starts anew within this call.
fn crash() -> ! {
    fs::write(Path::new("/proc/sysrq-trigger"), "b").expect("this is root");
    unreachable!("the kernel reboots at once")
}

fn crash_while_opening(stores: &[Store], spins: u64) {
    std::thread::scope(|scope| {
        for store in stores {
            scope.spawn(|| store.open());
        }
        (0..spins).for_each(|_| std::hint::spin_loop());
        crash();
    });
}

fn crash_under_load(stores: &[Store], done: &[Numbers], count: u64) {
    let left = AtomicU64::new(count);
    std::thread::scope(|scope| {
        for (store, done) in stores.iter().zip(done) {
            let left = &left;
            scope.spawn(move || {
                let acknowledged = |thread, number| {
                    store.acknowledge(thread, number);
                    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                        crash();
                    }
                };
                let error = write(&store.open(), done, &|| true, &acknowledged).expect_err("it goes on");
                panic!("{}: {error}", store.context);
            });
        }
    });
}
