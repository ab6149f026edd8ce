//! Power cuts, one after another, on one store: the cache of the media is lost in part, in any combination.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::history::{History, assert_sound, state_of};
use super::media::{Lost, Media, turn_up};
use super::{GEOMETRY, create, create_with, open, open_to_look};
use crate::device::Geometry;
use crate::device::emulated::Access;

/// Whether appends that a cut took may be found at a later opening after all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Late {
    Never,
    Sometimes,
}

/// One store under power cuts.
struct Ordeal {
    directory: tempfile::TempDir,
    seed: u64,
    random: StdRng,
    history: History,
    lost: Vec<Lost>,
    late: Late,
}

impl Ordeal {
    fn new(seed: u64, late: Late, geometry: Geometry) -> Self {
        println!("seed {seed}");
        let directory = tempfile::tempdir().expect("make a directory");
        create_with(&directory.path().join("0"), geometry);
        let (random, history) = (StdRng::seed_from_u64(seed), History::default());
        Self { directory, seed, random, history, lost: Vec::new(), late }
    }

    fn image(&self, round: u8) -> PathBuf {
        self.directory.path().join(round.to_string())
    }

    /// Opens what the last cut left, checks it, writes, and cuts the power again.
    fn round(&mut self, round: u8) {
        let context = format!("seed {}, round {round}", self.seed);
        let image = self.image(round);
        self.look(&image, round, &context);
        let media = Media::open(&image, Access::ReadWrite, round + 1).expect("open the device");
        let engine = open(&media).unwrap_or_else(|error| panic!("{context}: {error}"));
        self.history.accept(&state_of(&engine), &context);
        for _ in 0..self.random.random_range(0..400) {
            self.history.call(&engine, &mut self.random);
        }
        let next = self.image(round + 1);
        media.forget_overwritten(&mut self.lost);
        let lost = media.cut_power(&next, &mut self.random);
        if self.late == Late::Sometimes {
            self.turn_up_some(&next);
            self.lost.extend(lost);
        }
        drop(engine);
        std::fs::remove_file(image).expect("remove the image");
    }

    /// Reads the store without changing it: recovery comes to a sound state, and to the one that writing starts from.
    fn look(&self, image: &Path, round: u8, context: &str) {
        let media = Media::open(image, Access::ReadOnly, round + 1).expect("open the device");
        let engine = open_to_look(&media).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_sound(&engine, context);
        drop((engine, Arc::into_inner(media)));
    }

    fn turn_up_some(&mut self, image: &Path) {
        for lost in std::mem::take(&mut self.lost) {
            if self.random.random_range(0..4) == 0 {
                turn_up(image, &lost);
            } else {
                self.lost.push(lost);
            }
        }
    }
}

fn undergo(seed: u64, late: Late, rounds: u8) {
    undergo_on(GEOMETRY, seed, late, rounds);
}

fn undergo_on(geometry: Geometry, seed: u64, late: Late, rounds: u8) {
    let mut ordeal = Ordeal::new(seed, late, geometry);
    (0..rounds).for_each(|round| ordeal.round(round));
}

/// The manifest is in one zone at a time then. Its zones are small, so that they are full again and again.
#[test]
fn a_power_cut_on_a_device_of_three_active_zones_leaves_a_prefix_as_well() {
    let geometry = Geometry { max_active_zones: 3, max_open_zones: 3, ..GEOMETRY };
    let small =
        Geometry { zone_size_bytes: 128 << 10, zone_capacity_bytes: 128 << 10, zone_count: 40, ..geometry };
    for seed in 200..204 {
        undergo_on(geometry, seed, Late::Sometimes, 8);
        undergo_on(small, seed + 10, Late::Sometimes, 8);
    }
}

#[test]
fn a_power_cut_leaves_a_prefix_with_all_that_was_durable() {
    (0..6).for_each(|seed| undergo(seed, Late::Never, 12));
}

#[test]
fn what_was_cut_stays_cut_though_it_turns_up_late() {
    (100..106).for_each(|seed| undergo(seed, Late::Sometimes, 12));
}

/// Each unit in turn is the only one that is lost: what came after it, and a batch or large value that it is part of, is
/// lost with it.
#[test]
fn whichever_append_is_lost_a_prefix_of_whole_calls_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let (path, image) = (directory.path().join("store"), directory.path().join("image"));
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let (mut random, mut history) = (StdRng::seed_from_u64(1), History::default());
    (0..100).for_each(|_| history.call(&engine, &mut random));
    engine.flush().unwrap();
    history.all_durable();
    (0..40).for_each(|_| history.write_volatile(&engine, &mut random));
    let mut which = 0;
    while media.lose_one(&image, which).is_some() {
        let media = Media::open(&image, Access::ReadOnly, 2).unwrap();
        let engine = open_to_look(&media).unwrap();
        assert_sound(&engine, &format!("append {which} lost"));
        history.clone().accept(&state_of(&engine), &format!("append {which} lost"));
        which += 1;
    }
    assert!(which > 20, "only {which} appends were volatile");
}
