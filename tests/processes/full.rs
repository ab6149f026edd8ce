//! The file system that holds a store is full: writes say so, nothing is lost, deleting and cleaning go on, and so does the
//! store as soon as there is room.
//!
//! The file system is a small one of a child's own: in memory, and ext4 on a loop device where one is to be had.

use std::fs;
use std::path::Path;
use std::process::Command;

use zonal::{Db, Durability, Error, ErrorKind, Options, WriteOptions};

use crate::child::{Child, Task, command_through, tell};
use crate::history::History;
use crate::stores::{assert_sound, contents};

const MIB: usize = 1 << 20;
const VALUE_BYTES: usize = 4000;
/// What a child keeps away from the store at first.
const BALLAST_BYTES: usize = 6 * MIB;

/// A command that runs another one with mounts of its own, which go when it ends.
pub(crate) fn in_own_mounts() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    // Who is not root is one in a name space of his own.
    if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) != 0) {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare
}

/// Runs the scenario in a child for which `mount`, a script, has mounted a small file system at its first argument.
fn on_small_file_system(mount: &str, what: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let script = format!("{mount} && shift && exec \"$@\"");
    let outer = || {
        let mut outer = in_own_mounts();
        outer.args(["sh", "-c", &script, "sh"]).arg(directory.path());
        outer
    };
    match outer().arg("true").output() {
        Ok(output) if output.status.success() => {}
        answer => return eprintln!("skipped: {what} cannot be mounted here ({answer:?})"),
    }
    let (told, noise, status) = Child::run(&mut command_through(outer(), "fill", directory.path(), "")).end();
    assert!(status.success(), "{told:?}\n{noise}");
    println!("{what}: {told:#?}");
}

#[test]
fn on_a_full_file_system_in_memory_nothing_is_lost_and_the_store_goes_on_when_there_is_room() {
    on_small_file_system("mount -t tmpfs -o size=32m tmpfs \"$1\"", "a file system in memory");
}

#[test]
fn on_a_full_disk_nothing_is_lost_and_the_store_goes_on_when_there_is_room() {
    let image = tempfile::NamedTempFile::new().expect("a file");
    image.as_file().set_len(40 << 20).expect("a length");
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image.path()).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no mkfs.ext4 here");
        return;
    }
    on_small_file_system(
        &format!("mount -o loop {} \"$1\"", image.path().display()),
        "ext4 on a loop device",
    );
}

/// What a store on the small file system was told is there.
struct Furnished {
    keys: Vec<u32>,
    next: u32,
}

fn options() -> Options {
    Options::default()
        .zone_size_bytes(MIB as u64)
        .max_active_zones(8)
        .append_limit_bytes(128 << 10)
        .unit_bytes(128 << 10)
        .cache_bytes(256 << 10)
}

fn key(number: u32) -> String {
    format!("key {number:06}")
}

fn value(number: u32) -> Vec<u8> {
    // Nothing that a file system could make smaller.
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(number.into());
    let mut bytes = vec![0; VALUE_BYTES];
    rand::Rng::fill_bytes(&mut random, &mut bytes);
    bytes
}

impl Furnished {
    /// Puts new keys until there is no room.
    fn fill(&mut self, db: &Db) -> Error {
        loop {
            let durability = match self.next % 10 {
                0 => Durability::Sync,
                1..6 => Durability::Written,
                _ => Durability::Buffered,
            };
            let options = WriteOptions::default().durability(durability);
            match db.put_with(key(self.next), value(self.next), options) {
                Ok(()) => self.keys.push(self.next),
                Err(error) => return error,
            }
            self.next += 1;
        }
    }

    fn delete_every_second(&mut self, db: &Db) {
        let (kept, deleted): (Vec<_>, Vec<_>) = self.keys.iter().partition(|number| *number % 2 == 0);
        for &number in &deleted {
            let options = WriteOptions::default().durability(Durability::Written);
            db.delete_with(key(number), options).expect("deletes need no room to speak of");
        }
        self.keys = kept;
    }

    fn assert_there(&self, db: &Db) {
        let found = contents(db);
        let expected: Vec<_> = self.keys.iter().map(|&number| key(number).into_bytes()).collect();
        assert!(found.keys().eq(expected.iter()), "{} keys instead of {}", found.len(), expected.len());
        for &number in &self.keys {
            assert!(found[key(number).as_bytes()] == value(number), "the value of key {number}");
        }
    }
}

fn assert_says_full(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    let message = error.to_string();
    assert!(message.contains("file system") && message.contains("make room"), "{message}");
}

/// The scenario, in a file system of its own.
pub(crate) fn fill_file_system(task: &Task) {
    let (store, ballast) = (task.store.join("store"), task.store.join("ballast"));
    fs::write(&ballast, vec![1; BALLAST_BYTES]).expect("ballast");
    let mut furnished = Furnished { keys: Vec::new(), next: 0 };
    let db = Db::open(&store, options()).expect("make");
    let error = furnished.fill(&db);
    tell(&format!("full with {} keys: {error}", furnished.keys.len()));
    assert_says_full(&error);
    // Cleaning may find room for a few more; then it is full still.
    assert_says_full(&furnished.fill(&db));
    furnished.assert_there(&db);
    db.flush().expect("flush");

    furnished.delete_every_second(&db);
    let before = furnished.keys.len();
    assert_says_full(&furnished.fill(&db));
    tell(&format!("{} more keys in the place of those deleted", furnished.keys.len() - before));
    assert!(furnished.keys.len() > before + before / 4, "cleaning makes room for what is new");

    fs::remove_file(&ballast).expect("make room");
    let before = furnished.keys.len();
    assert_says_full(&furnished.fill(&db));
    tell(&format!("{} more keys in the place of the ballast", furnished.keys.len() - before));
    let most = BALLAST_BYTES / VALUE_BYTES;
    assert!(furnished.keys.len() > before + most / 2, "the store goes on without being opened anew");
    furnished.assert_there(&db);
    db.close().expect("a full store is closed in order");

    // Opened while the file system is full.
    assert_sound(&store, "full");
    let db = Db::open(&store, options()).expect("open");
    furnished.assert_there(&db);
    assert_says_full(&furnished.fill(&db));
    furnished.delete_every_second(&db);
    furnished.assert_there(&db);
    drop(db);
    assert_sound(&store, "after deletes");

    refuse_to_make(&task.store);
    fs::remove_file(&store).expect("remove");
    kill_when_full(&task.store);
}

/// A store for which there is no room is not begun.
fn refuse_to_make(directory: &Path) {
    let rest = directory.join("rest");
    let _until_it_is_full = fs::write(&rest, vec![1; 64 * MIB]);
    let error = Db::open(directory.join("new"), options()).expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    tell(&format!("not made: {error}"));
    let names = fs::read_dir(directory).expect("list").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names.filter(|name| name != "lost+found").collect();
    names.sort();
    assert_eq!(names, ["rest", "store"]);
    fs::remove_file(&rest).expect("remove");
}

/// Writers that have no room left go on in what the store has, and are killed like others.
fn kill_when_full(directory: &Path) {
    let (store, rest) = (directory.join("killed"), directory.join("rest"));
    let mut history = History::default();
    for round in 0..4 {
        let mut child = Child::start("write", &store, &history.argument());
        let mut told: Vec<String> = (0..100).map(|_| child.tells()).collect();
        let _until_it_is_full = fs::write(&rest, vec![1; 64 * MIB]);
        told.extend((0..200).map_while(|_| child.told()));
        told.extend(child.kill());
        history.take_down(&told);
        history.verify(&store, &format!("round {round}"));
        fs::remove_file(&rest).expect("make room");
    }
    tell(&format!("{} calls by writers that ran out of room and were killed", history.call_count()));
}
