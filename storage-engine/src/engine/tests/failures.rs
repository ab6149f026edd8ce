//! Appends and flushes that fail: the store refuses writes from then on, goes on reading, and recovers when it is opened
//! again.

use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::history::{History, assert_sound, state_of};
use super::media::Media;
use super::{create, open, open_to_look};
use crate::device::emulated::Access;
use crate::engine::{Durability, Engine};
use crate::error::{EngineError, EngineResult};
use crate::log::writer::LogWrite;

fn put(engine: &Engine, key: &str, value: &str, durability: Durability) -> EngineResult<()> {
    engine.write(&[LogWrite { key: key.as_bytes(), value: Some(value.as_bytes()) }], durability)
}

fn value(engine: &Engine, key: &str) -> Option<String> {
    let value = engine.value(key.as_bytes()).expect("reads go on");
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn assert_refuses(engine: &Engine) {
    let refused = |result: EngineResult<()>| {
        assert!(matches!(result, Err(EngineError::WritesRefused(_))), "{result:?}");
    };
    refused(put(engine, "later", "1", Durability::Buffered));
    refused(put(engine, "later", "1", Durability::Written));
    refused(put(engine, "later", "1", Durability::Sync));
    refused(engine.write(&[LogWrite { key: b"kept", value: None }], Durability::Sync));
    refused(engine.flush());
    refused(engine.compare_and_swap(b"kept", Some(b"1"), Some(b"2"), Durability::Sync).map(drop));
}

/// Opens a store, has it fail as `fail` says, writes until it does, and checks what it does then.
fn fails_and_recovers(path: &Path, fail: impl Fn(&Media), durability: Durability) {
    create(path);
    let media = Media::open(path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    put(&engine, "kept", "1", Durability::Sync).unwrap();
    put(&engine, "written", "1", Durability::Written).unwrap();
    fail(&media);
    let mut acknowledged = 0;
    let error = loop {
        match put(&engine, &format!("key {acknowledged}"), "2", durability) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100_000, "the failure was not noticed");
    };
    assert!(!matches!(error, EngineError::Closed | EngineError::ReadOnly), "{error:?}");
    assert_refuses(&engine);
    assert_eq!(value(&engine, "kept").as_deref(), Some("1"));
    assert_eq!(value(&engine, "later"), None, "a refused write is visible");
    assert!(engine.close().is_err(), "closing must not hide that something was not made durable");
    drop((engine, media));
    let media = Media::open(path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    assert_eq!(value(&engine, "kept").as_deref(), Some("1"));
    if durability == Durability::Sync {
        assert!((0..acknowledged).all(|number| value(&engine, &format!("key {number}")).is_some()));
    }
    put(&engine, "later", "3", Durability::Sync).unwrap();
    assert!(!engine.recovery().clean);
    engine.close().unwrap();
    drop((engine, media));
    let media = Media::open(path, Access::ReadOnly, 1).unwrap();
    assert_sound(&open_to_look(&media).unwrap(), "after a failure");
}

#[test]
fn after_a_failed_append_writes_are_refused_and_reads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    for (number, durability) in
        [Durability::Sync, Durability::Written, Durability::Buffered].into_iter().enumerate()
    {
        for successes in 0..3 {
            let path = directory.path().join(format!("{number} {successes}"));
            fails_and_recovers(&path, |media| media.fail_appends_after(successes), durability);
        }
    }
}

#[test]
fn after_a_failed_flush_writes_are_refused_and_it_is_not_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    put(&engine, "kept", "1", Durability::Sync).unwrap();
    put(&engine, "written", "1", Durability::Written).unwrap();
    media.fail_flushes_after(0);
    assert!(engine.flush().is_err());
    // The device is well again: what the failed flush covered is unknown all the same.
    media.fail_flushes_after(-1);
    let flushed = media.flushes();
    assert_refuses(&engine);
    assert_eq!(value(&engine, "written").as_deref(), Some("1"));
    assert!(engine.close().is_err());
    assert_eq!(media.flushes(), flushed, "a failed flush was tried again");
}

/// A Sync write whose flush fails has not become visible: it may be lost, and nobody must have seen it.
#[test]
fn a_sync_write_that_failed_was_never_visible() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    put(&engine, "key", "old", Durability::Sync).unwrap();
    put(&engine, "other", "1", Durability::Written).unwrap();
    media.fail_flushes_after(0);
    assert!(put(&engine, "key", "new", Durability::Sync).is_err());
    assert_eq!(value(&engine, "key").as_deref(), Some("old"));
}

/// A version of which only one copy failed is in the other zone: the next one with its number was not told from it, and a
/// recovery looked for a checkpoint whose zones had been emptied. The simulation found it.
#[test]
fn the_number_of_a_manifest_whose_append_failed_is_not_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let version = || engine.inner.manifest.lock().version;
    for successes in [0, 1] {
        let before = version();
        media.fail_appends_after(successes);
        assert!(engine.inner.write_manifest(false).is_err());
        assert!(version() > before, "after {successes} appends");
    }
}

#[test]
fn a_store_that_fails_while_it_is_cleaned_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    for failing in 0..12 {
        let path = directory.path().join(failing.to_string());
        create(&path);
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        let mut random = StdRng::seed_from_u64(failing);
        let mut history = History::default();
        (0..250).for_each(|_| history.call(&engine, &mut random));
        let number = i64::try_from(failing).unwrap();
        if failing % 2 == 0 {
            media.fail_appends_after(number * 3);
        } else {
            media.fail_flushes_after(number);
        }
        while history.try_call(&engine, &mut random).is_ok() {}
        let seen = state_of(&engine);
        drop((engine, Arc::into_inner(media)));
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        history.accept(&state_of(&engine), &format!("failure {failing}"));
        assert!(!seen.is_empty());
    }
}
