//! Threads that write to streams of their own, as long as there is nothing to clean.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::history::{State, assert_sound, state_of};
use super::media::Media;
use super::{GEOMETRY, create_with, open};
use crate::device::Geometry;
use crate::device::emulated::Access;
use crate::engine::{Durability, Engine};
use crate::format::unit::StreamKind;
use crate::log::writer::LogWrite;
use crate::zones::Role;

const THREADS: usize = 4;
/// Room for several streams, and for all that is written without cleaning.
const ROOMY: Geometry = Geometry { zone_count: 256, max_open_zones: 16, max_active_zones: 16, ..GEOMETRY };

fn key(thread: usize, number: usize) -> Vec<u8> {
    format!("{thread} {number:08}").into_bytes()
}

/// Writes records one after the other until it is stopped, and counts those that were acknowledged.
fn write_on(engine: &Engine, thread: usize, (acknowledged, stop): (&AtomicUsize, &AtomicBool)) {
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let key = key(thread, number);
        let write = LogWrite { key: &key, value: Some(&[7; 100]) };
        engine.write(&[write], Durability::Buffered).unwrap();
        acknowledged.store(number + 1, Ordering::Release);
    }
}

fn zones_being_written(engine: &Engine) -> usize {
    let zones = engine.zones().unwrap();
    zones.iter().filter(|zone| zone.role == Role::Open(StreamKind::User)).count()
}

/// Of each thread's records the first so many are there, and no others.
fn prefixes(state: &State) -> [usize; THREADS] {
    std::array::from_fn(|thread| {
        let found: BTreeSet<_> =
            state.keys().filter(|found| found.starts_with(&key(thread, 0)[..2])).collect();
        let count = found.len();
        assert!((0..count).all(|number| found.contains(&key(thread, number))), "thread {thread}: {found:?}");
        count
    })
}

#[test]
fn a_power_cut_leaves_a_prefix_of_what_each_thread_wrote_and_all_that_was_flushed() {
    for seed in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let [path, cut] = ["whole", "cut"].map(|name| directory.path().join(name));
        create_with(&path, ROOMY);
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        let (stop, acknowledged) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; THREADS]);
        let mut flushed = [0; THREADS];
        let lost = std::thread::scope(|scope| {
            for (thread, acknowledged) in acknowledged.iter().enumerate() {
                let (engine, stop) = (&engine, &stop);
                scope.spawn(move || write_on(engine, thread, (acknowledged, stop)));
            }
            while zones_being_written(&engine) < 2 || flushed.contains(&0) {
                flushed = acknowledged.each_ref().map(|count| count.load(Ordering::Acquire));
                engine.flush().unwrap();
            }
            let lost = media.cut_power(&cut, &mut StdRng::seed_from_u64(seed));
            stop.store(true, Ordering::Release);
            lost
        });
        drop((engine, lost));
        let left = Media::open(&cut, Access::ReadWrite, 2).unwrap();
        let engine = open(&left).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_sound(&engine, &format!("seed {seed}"));
        let kept = prefixes(&state_of(&engine));
        let lacks = kept.iter().zip(&flushed).any(|(kept, flushed)| kept < flushed);
        assert!(!lacks, "seed {seed}: {flushed:?} were flushed, {kept:?} are there");
    }
}
