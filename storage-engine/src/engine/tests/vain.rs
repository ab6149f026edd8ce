//! Writes that change nothing are not logged, and count all the same for what was written before them.
//!
//! Found by fuzzing: a `Sync` delete of a key that had no value returned at once, and a crash then took `Buffered` writes that
//! had been acknowledged before it began.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::media::Media;
use super::{create, open, open_to_look};
use crate::device::emulated::Access;
use crate::engine::{Durability, Engine};
use crate::log::writer::LogWrite;

/// Buffers a write, does what changes nothing, cuts the power, and says whether the write is there.
fn survives(change_nothing: impl Fn(&Engine)) -> bool {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (path, image) = (directory.path().join("store"), directory.path().join("image"));
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).expect("open the media");
    let engine = open(&media).expect("open the store");
    engine.write(&[LogWrite { key: b"before", value: Some(b"it") }], Durability::Buffered).expect("put");
    change_nothing(&engine);
    media.cut_power(&image, &mut StdRng::seed_from_u64(1));
    let media = Media::open(&image, Access::ReadOnly, 2).expect("open what is left");
    open_to_look(&media).expect("recover").value(b"before").expect("read").is_some()
}

#[test]
fn a_delete_of_nothing_makes_what_was_written_before_it_durable() {
    assert!(survives(|engine| {
        engine.write(&[LogWrite { key: b"absent", value: None }], Durability::Sync).expect("delete");
    }));
}

#[test]
fn a_swap_of_nothing_for_nothing_makes_what_was_written_before_it_durable() {
    assert!(survives(|engine| {
        let swapped = engine.compare_and_swap(b"absent", None, None, Durability::Sync).expect("swap");
        assert_eq!(swapped, Ok(()));
    }));
}
