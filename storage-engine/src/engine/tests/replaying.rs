//! What is replayed of the journal of a killed process.

use std::path::Path;
use std::time::Duration;

use super::{ROOMY, create_with, open_options};
use crate::engine::{Durability, Engine, OpenOptions};
use crate::log::writer::LogWrite;
use crate::units::{ZoneId, ZoneOffset};

const VALUE: &[u8] = b"only in the journal when the process was killed";

fn open(path: &Path) -> Result<Engine, crate::error::EngineError> {
    // Nothing is appended by itself.
    Engine::open(path, &OpenOptions { buffered_delay: Duration::from_hours(1), ..open_options() })
}

/// Flips a bit of the value wherever it lies in a zone; says how often.
fn rot(path: &Path, zones_at: usize) -> usize {
    let mut bytes = std::fs::read(path).unwrap();
    let zones_bytes = u64::from(ROOMY.zone_count) * ROOMY.zone_size_bytes;
    let zones_end = zones_at + usize::try_from(zones_bytes).unwrap();
    let places: Vec<usize> = (zones_at..zones_end).filter(|&at| bytes[at..].starts_with(VALUE)).collect();
    places.iter().for_each(|&at| bytes[at] ^= 1);
    std::fs::write(path, bytes).unwrap();
    places.len()
}

/// Replaying makes what it logs durable, and erases the journal. What rotted of it afterwards was taken for what a crash had
/// torn, for no unit or manifest claimed it, and an acknowledged write was gone without a word.
#[test]
fn damage_of_what_was_replayed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    create_with(&path("store"), ROOMY);
    let engine = open(&path("store")).unwrap();
    for key in [&b"first, which begins the journal"[..], b"key"] {
        engine.write(&[LogWrite { key, value: Some(VALUE) }], Durability::Written).unwrap();
    }
    std::fs::copy(path("store"), path("killed")).unwrap();
    let engine = open(&path("killed")).unwrap();
    assert_eq!(engine.found_journal().write_count, 1);
    assert_eq!(engine.value(b"key").unwrap().as_deref(), Some(VALUE));
    let zones_at = engine.inner.device.device_byte(ZoneId::default(), ZoneOffset::START).unwrap();
    std::fs::copy(path("killed"), path("killed again")).unwrap();
    drop(engine);
    assert_eq!(rot(&path("killed again"), usize::try_from(zones_at).unwrap()), 2);
    match open(&path("killed again")) {
        Ok(engine) => assert!(engine.value(b"key").is_err(), "{:?}", engine.value(b"key")),
        Err(error) => assert!(error.to_string().contains("zone"), "{error}"),
    }
}
