//! Writes acknowledged as `Written` that were never appended, because the process was killed first.

use std::path::Path;
use std::time::Duration;

use zonal::{Db, Durability, Options, Salvage, SalvageOptions, WriteBatch, WriteOptions};

use crate::child::{Child, Task, quick_directory, tell};
use crate::stores::{assert_sound, contents, small};

/// Nothing is appended by itself while such a store is open.
fn options() -> Options {
    small(16).buffered_delay(Duration::from_secs(3600)).durability(Durability::Written)
}

fn key(number: u64) -> Vec<u8> {
    format!("key {number:04}").into()
}

fn value(number: u64) -> Vec<u8> {
    let len = usize::try_from(number % 300).expect("short");
    vec![u8::try_from(number % 251).expect("a byte"); len]
}

/// Writes, tells that it has, and waits for being killed.
pub(crate) fn write_and_wait(task: &Task) {
    let db = Db::open(&task.store, options()).expect("open");
    // The first one begins the journal, and is appended.
    db.put(b"first", b"appended").expect("put");
    let appended_bytes = db.stats().device_bytes_written;
    for number in 0..200 {
        db.put(key(number), value(number)).expect("put");
    }
    db.delete(key(7)).expect("delete");
    let mut batch = WriteBatch::new();
    batch.put(b"batch a", b"1");
    batch.delete(key(8));
    batch.put(b"batch b", b"2");
    db.write(batch).expect("write");
    assert_eq!(
        db.stats().device_bytes_written,
        appended_bytes,
        "everything since was acknowledged from memory"
    );
    match task.argument.as_str() {
        "small" => {}
        "large" => {
            // It has no place in the journal, and what follows is not to be there without it.
            db.put(b"large", vec![5; 200_000]).expect("put");
            db.put(b"after", b"it").expect("put");
        }
        argument => panic!("unknown argument {argument}"),
    }
    let unimportant = WriteOptions::default().durability(Durability::Buffered);
    db.put_with(b"buffered", b"perhaps", unimportant).expect("put");
    tell("written");
    loop {
        std::thread::park();
    }
}

fn kill_after_writing(store: &Path, argument: &str) {
    let mut child = Child::start("journal", store, argument);
    assert_eq!(child.tells(), "written");
    child.kill();
}

fn assert_all_there(db: &Db) {
    let mut found = contents(db);
    found.remove(&b"buffered"[..]);
    assert_eq!(found.remove(&b"first"[..]).as_deref(), Some(&b"appended"[..]));
    assert_eq!(found.remove(&b"batch a"[..]).as_deref(), Some(&b"1"[..]));
    assert_eq!(found.remove(&b"batch b"[..]).as_deref(), Some(&b"2"[..]));
    for number in (0..200).filter(|number| ![7, 8].contains(number)) {
        assert_eq!(found.remove(&key(number)), Some(value(number)), "key {number}");
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn what_was_acknowledged_and_not_appended_is_there_for_readers_and_after_opening_for_writing() {
    let directory = quick_directory();
    let store = directory.path().join("store");
    kill_after_writing(&store, "small");
    let before = std::fs::read(&store).expect("read");
    for _ in 0..2 {
        let db = Db::open(&store, options().read_only(true)).expect("open");
        assert_all_there(&db);
        db.close().expect("close");
    }
    assert!(std::fs::read(&store).expect("read") == before, "reading changed the store");
    let db = Db::open(&store, options()).expect("open");
    assert_all_there(&db);
    db.delete(key(9)).expect("delete");
    db.put(key(9), value(9)).expect("put");
    drop(db);
    assert_all_there(&Db::open(&store, options()).expect("open"));
    assert_sound(&store, "after all");
}

#[test]
fn salvage_takes_what_was_acknowledged_and_not_appended() {
    let directory = quick_directory();
    let store = directory.path().join("store");
    let db = Db::open(&store, options()).expect("make");
    (0..200).for_each(|number| db.put(key(number), b"an older version").expect("put"));
    db.close().expect("close");
    kill_after_writing(&store, "small");
    let salvage = Salvage::open(&store, &SalvageOptions::default(), &|_, _| {}).expect("read");
    assert!(salvage.report().is_complete(), "{:?}", salvage.report());
    let saved = Db::open(directory.path().join("saved"), options()).expect("make");
    salvage.copy_into(&saved, &|_| {}).expect("copy");
    assert_all_there(&saved);
    assert_eq!(saved.stats().keys, salvage.report().keys);
}

#[test]
fn opening_may_be_killed_and_what_was_replaced_since_does_not_come_back() {
    let directory = quick_directory();
    let store = directory.path().join("store");
    for round in 0..5 {
        kill_after_writing(&store, "small");
        for _ in 0..round {
            let mut child = Child::start("open", &store, "");
            assert_eq!(child.tells(), "begins");
            child.kill();
        }
        assert_all_there(&Db::open(&store, options().read_only(true)).expect("open"));
    }
    let db = Db::open(&store, options()).expect("open");
    for number in 0..200 {
        db.delete(key(number)).expect("delete");
    }
    db.flush().expect("flush");
    drop(db);
    let db = Db::open(&store, options()).expect("open");
    assert!((0..200).all(|number| db.get(key(number)).expect("get").is_none()));
}

#[test]
fn what_the_journal_cannot_take_is_appended_before_it_is_acknowledged() {
    let directory = quick_directory();
    let store = directory.path().join("store");
    kill_after_writing(&store, "large");
    let db = Db::open(&store, options()).expect("open");
    assert_eq!(db.get(b"large").expect("get").as_deref(), Some(&vec![5; 200_000][..]));
    assert_eq!(db.get(b"after").expect("get").as_deref(), Some(&b"it"[..]));
}
