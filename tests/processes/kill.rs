//! Processes that are killed while they write, clean, write checkpoints, recover and close; what they were told is there is there afterwards.
//!
//! The child tells what the store has acknowledged; the parent kills it after a random number of such lines and a random
//! while, reads what was still told before the end, and checks the store against that.

use std::path::Path;

use rand::RngExt;
use rand::rngs::StdRng;
use zonal::{Db, Options};

use crate::child::{Child, Task, dawdle, quick_directory, rounds, seeded, tell};
use crate::history::{History, options};

/// What writers did that were killed.
struct Killed {
    zone_resets: u64,
    /// How often what they left was opened from a checkpoint.
    from_checkpoint: u64,
}

/// Lets writers run and kills them, each after some of `lines` lines, and verifies the store after every kill.
fn kill_writers(role: &str, directory: &Path, rounds: u64, lines: u64) -> Killed {
    let (seed, mut random) = seeded();
    let store = directory.join("store");
    let mut history = History::default();
    let mut killed = Killed { zone_resets: 0, from_checkpoint: 0 };
    for round in 0..rounds {
        let context = format!("seed {seed}, round {round}");
        let told = write_and_kill(role, &store, &history, lines, &mut random);
        history.take_down(&told);
        if store.exists() {
            history.verify(&store, &context);
            let db = Db::open(&store, options().read_only(true)).expect("open");
            killed.zone_resets = db.stats().zone_resets;
            killed.from_checkpoint += u64::from(db.info().opening.checkpoint > 0);
        }
    }
    let (calls, Killed { zone_resets, from_checkpoint }) = (history.call_count(), &killed);
    println!(
        "{role}: {rounds} kills, {calls} calls, {zone_resets} zones reset, {from_checkpoint} times from a checkpoint"
    );
    killed
}

fn write_and_kill(
    role: &str,
    store: &Path,
    history: &History,
    lines: u64,
    random: &mut StdRng,
) -> Vec<String> {
    let mut child = Child::start(role, store, &history.argument());
    let wanted = random.random_range(0..lines);
    let mut told: Vec<String> = (0..wanted).map(|_| child.tells()).collect();
    dawdle(random);
    told.extend(child.kill());
    told
}

#[test]
fn killed_writers_leave_a_prefix_with_all_that_was_acknowledged() {
    let directory = quick_directory();
    let (rounds, lines) = (rounds(200), 250);
    let Killed { zone_resets, from_checkpoint } = kill_writers("write", directory.path(), rounds, lines);
    assert!(zone_resets > rounds / 4, "the store was cleaned {zone_resets} times only in {rounds} rounds");
    assert!(
        from_checkpoint > rounds / 20,
        "checkpoints were used {from_checkpoint} times only in {rounds} rounds"
    );
}

#[test]
fn killed_writers_on_a_disk_leave_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    kill_writers("write", directory.path(), rounds(15), 250);
}

#[test]
fn a_store_that_is_killed_while_it_is_closed_and_opened_keeps_everything() {
    let directory = quick_directory();
    kill_writers("cycle", directory.path(), rounds(60), 100);
}

/// Opens the store for writing, and ends.
pub(crate) fn open_once(task: &Task) {
    tell("begins");
    let db = Db::open(&task.store, options()).expect("open");
    tell("opened");
    db.close().expect("close");
    tell("closed");
}

#[test]
fn recovery_may_be_killed_again_and_again() {
    let (seed, mut random) = seeded();
    let directory = quick_directory();
    let store = directory.path().join("store");
    let (mut history, mut killed_inside) = (History::default(), 0);
    for round in 0..rounds(12) {
        let context = format!("seed {seed}, round {round}");
        let mut child = Child::start("write", &store, &history.argument());
        let mut told: Vec<String> = (0..200).map(|_| child.tells()).collect();
        told.extend(child.kill());
        history.take_down(&told);
        history.verify(&store, &context);
        let found = history.argument();
        for attempt in 0..8 {
            let mut child = Child::start("open", &store, "");
            assert_eq!(child.tells(), "begins");
            dawdle(&mut random);
            killed_inside += u64::from(child.kill().is_empty());
            let context = format!("{context}, attempt {attempt}");
            history.verify(&store, &context);
            assert_eq!(history.argument(), found, "{context}: recovery changed what counts");
        }
    }
    assert!(killed_inside > 0, "no kill hit a recovery");
    println!("{killed_inside} kills hit a recovery");
}

#[test]
fn a_killed_reader_changes_nothing() {
    let (_, mut random) = seeded();
    let directory = quick_directory();
    let store = directory.path().join("store");
    let mut child = Child::start("write", &store, &History::default().argument());
    (0..100).for_each(|_| drop(child.tells()));
    child.kill();
    let before = std::fs::read(&store).expect("read");
    for _ in 0..rounds(10) {
        let mut child = Child::start("hold", &store, "read");
        dawdle(&mut random);
        assert_ne!(child.told().as_deref(), Some("refused"), "{}", child.noise);
        child.kill();
        assert!(std::fs::read(&store).expect("read") == before, "a reader changed the file");
    }
    Db::open(&store, Options::default().direct_io(false)).expect("open");
}
