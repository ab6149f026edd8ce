//! Processes that are killed while they make a store, and processes that make the same one at once.

use std::fs;
use std::path::Path;

use zonal::{Db, Depth, ErrorKind, Options};

use crate::child::{Child, Task, dawdle, hear, quick_directory, rounds, seeded, tell};
use crate::loop_device::LoopDevice;
use crate::stores::{assert_sound, small};

const ZONES: u64 = 10;

fn options() -> Options {
    small(ZONES)
}

/// Makes a store when the parent says so, or opens what is there, and holds it until the parent is gone.
pub(crate) fn make(task: &Task) {
    tell("begins");
    if task.argument == "when told" {
        hear();
    }
    match Db::open(&task.store, options()) {
        Ok(db) => {
            db.put("made by", std::process::id().to_string()).expect("put");
            tell("has it");
            hear();
        }
        Err(error) => tell(&format!("{:?}: {error}", error.kind())),
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("list the directory");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// Kills makers of stores; gives how many had not finished, and how many had.
fn kill_makers(directory: &Path, rounds: u64) -> (u64, u64) {
    let (seed, mut random) = seeded();
    let store = directory.join("store");
    let (mut unfinished, mut finished) = (0, 0);
    for round in 0..rounds {
        let context = format!("seed {seed}, round {round}");
        let mut child = Child::start("make", &store, "at once");
        assert_eq!(child.tells(), "begins");
        dawdle(&mut random);
        let told = child.kill();
        let names = names_in(directory);
        if names.is_empty() {
            assert!(told.is_empty(), "{context}: a store that was there is gone");
            unfinished += 1;
        } else {
            assert_eq!(names, ["store"], "{context}");
            assert_sound(&store, &context);
            finished += 1;
        }
        let db = Db::open(&store, options()).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(told.is_empty() || db.get("made by").expect("get").is_some(), "{context}");
        db.close().expect("close");
        fs::remove_file(&store).expect("remove");
    }
    println!("{unfinished} kills before the store was there, {finished} after");
    (unfinished, finished)
}

#[test]
fn a_process_killed_while_it_makes_a_store_leaves_none_or_a_good_one() {
    let directory = quick_directory();
    let (unfinished, finished) = kill_makers(directory.path(), rounds(120));
    assert!(unfinished > 0 && finished > 0, "{unfinished} unfinished, {finished} finished");
}

#[test]
fn a_process_killed_while_it_makes_a_store_on_a_disk_leaves_none_or_a_good_one() {
    let directory = tempfile::tempdir().expect("a directory");
    kill_makers(directory.path(), rounds(30));
}

#[test]
fn of_processes_that_make_one_store_at_once_one_has_it_and_the_others_are_told() {
    let directory = quick_directory();
    for round in 0..rounds(15) {
        let store = directory.path().join(format!("store {round}"));
        let mut makers: Vec<Child> = (0..4).map(|_| Child::start("make", &store, "when told")).collect();
        for maker in &mut makers {
            assert_eq!(maker.tells(), "begins");
        }
        makers.iter_mut().for_each(Child::say);
        let told: Vec<String> = makers.iter_mut().map(Child::tells).collect();
        let ids: Vec<u32> = makers.iter().map(Child::id).collect();
        let (winners, losers): (Vec<_>, Vec<_>) = told.iter().partition(|told| *told == "has it");
        assert_eq!(winners.len(), 1, "{told:?}");
        for told in losers {
            let names_a_maker = ids.iter().any(|id| told.contains(&format!("process {id} ")));
            assert!(told.starts_with("Locked: ") && names_a_maker, "{told}, of {ids:?}");
        }
        makers.into_iter().for_each(|maker| drop(maker.end()));
        assert_sound(&store, &format!("round {round}"));
    }
}

/// Makes a store on a block device, whatever is there.
pub(crate) fn make_on_device(task: &Task) {
    tell("begins");
    let options = Options::default().create_new(true).overwrite_device(true).zone_size_bytes(1 << 20);
    Db::open(&task.store, options).expect("make").put("key", "value").expect("put");
    tell("made");
}

/// Opens as often as it takes: another test that starts a program holds this one's descriptors for a moment.
fn unless_locked<T>(open: impl Fn() -> zonal::Result<T>) -> zonal::Result<T> {
    loop {
        match open() {
            Err(error) if error.kind() == ErrorKind::Locked => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

#[test]
fn on_a_block_device_a_store_is_there_or_is_made_anew_without_destroying_anything() {
    let Some(medium) = LoopDevice::new(16 << 20) else { return };
    let (seed, mut random) = seeded();
    let mut unfinished = 0;
    for round in 0..rounds(30) {
        let context = format!("seed {seed}, round {round}");
        let mut child = Child::start("make on device", &medium.node, "");
        assert_eq!(child.tells(), "begins");
        dawdle(&mut random);
        child.kill();
        let check = || Db::check(&medium.node, &Options::default(), Depth::Deep, &|_| {});
        match unless_locked(check) {
            Ok(report) => assert!(report.is_sound(), "{context}: {report:?}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotAStore, "{context}: {error}");
                unfinished += u64::from(error.to_string().contains("not finished"));
                let new = Options::default().create_new(true).zone_size_bytes(1 << 20);
                // Made, and then found locked for a moment by a process that is just being forked off: it is there by then.
                let make = || match Db::open(&medium.node, new.clone()) {
                    Err(error) if error.to_string().contains("it holds an emulated zoned device") => {
                        Db::open(&medium.node, Options::default())
                    }
                    made => made,
                };
                let made = unless_locked(make);
                made.unwrap_or_else(|again| panic!("{context}: {error}, and then: {again}"))
                    .close()
                    .expect("close");
            }
        }
    }
    println!("{unfinished} kills left an unfinished device");
}
