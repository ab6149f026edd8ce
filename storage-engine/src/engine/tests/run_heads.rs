//! What an earlier run had lost turns up behind what a later one wrote, and that rots: the one does not pass for the other.

use std::path::Path;
use std::sync::Arc;

use super::media::{Media, garble};
use super::{create, open};
use crate::buffer::AlignedBuffer;
use crate::device::ZonedDevice;
use crate::device::emulated::Access;
use crate::engine::opening::append_queue;
use crate::engine::{Durability, Engine, Running};
use crate::error::EngineError;
use crate::format::record::{Record, RecordKind, value_crc};
use crate::format::unit::UnitHeader;
use crate::index::{Entry, Location};
use crate::log::single_append;
use crate::log::unit_builder::UnitBuilder;
use crate::log::writer::LogWrite;
use crate::queue::QueueKind;
use crate::units::{SeqNo, ZoneId, ZoneOffset};

const BLOCK_BYTES: usize = 4096;
const BOOT: u8 = 1;

fn put(engine: &Engine, key: &[u8]) {
    engine.write(&[LogWrite { key, value: Some(b"value") }], Durability::Sync).unwrap();
}

fn location(engine: &Engine, key: &[u8]) -> Location {
    match engine.inner.catalog.index().lookup(key) {
        Some(Entry::Value { location, .. }) => location,
        other => panic!("{other:?}"),
    }
}

/// Uses a store that nobody closes, and loses nothing.
fn in_a_run<T>(path: &Path, use_it: impl FnOnce(&Engine) -> T) -> T {
    let media = Media::open(path, Access::ReadWrite, BOOT).unwrap();
    let engine = open(&media).unwrap();
    let result = use_it(&engine);
    let left = path.with_extension("left");
    assert!(media.lose_none(&left), "everything is durable");
    drop((engine, media));
    std::fs::rename(left, path).unwrap();
    result
}

fn append(path: &Path, zone: ZoneId, unit: &[u8]) {
    let device: Arc<dyn ZonedDevice> = Media::open(path, Access::ReadWrite, BOOT).unwrap();
    let queue = append_queue(&device, &Running::Threads, QueueKind::Automatic).unwrap();
    let start = device.geometry().zone_start(zone);
    single_append::append(&*queue, start, unit, device.geometry().block_bytes).unwrap();
    device.flush().unwrap();
}

/// A unit of the same run and zone as another one, with a record that no other unit has.
fn sibling(of: &UnitHeader, number: u32) -> AlignedBuffer {
    let seqno = of.first_seqno.forward(u64::from(number));
    let mut builder = UnitBuilder::new(AlignedBuffer::zeroed(BLOCK_BYTES));
    let record = Record { seqno, kind: RecordKind::Put, group: None, key: b"lost", value: b"value" };
    builder.push(&record, value_crc(b"value"));
    builder.seal(UnitHeader { unit: number, first_seqno: seqno, ..*of }, BLOCK_BYTES)
}

/// The first unit of a zone.
fn first_unit(path: &Path, zone: ZoneId) -> UnitHeader {
    let media = Media::open(path, Access::ReadOnly, BOOT).unwrap();
    let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
    media.read(zone, ZoneOffset::START, &mut block).unwrap();
    UnitHeader::decode(&block).unwrap()
}

/// The simulation found it: seed 178672342085603, as it was then. A run had gone on behind the head of a torn unit, and of
/// what it wrote first nothing was seen after a bit had flipped but a unit of the run before, which had the same number.
#[test]
fn what_an_earlier_run_had_lost_does_not_pass_for_a_unit_that_has_rotted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let at = in_a_run(&path, |engine| {
        put(engine, b"first");
        location(engine, b"first")
    });
    let first = first_unit(&path, at.zone);
    // Of the last append that the power cut has left, there is the first of three blocks.
    let body_bytes = u32::try_from(3 * BLOCK_BYTES - 100).unwrap();
    let mut torn = AlignedBuffer::zeroed(BLOCK_BYTES);
    let seqno = first.first_seqno.next();
    UnitHeader { unit: 1, first_seqno: seqno, body_bytes, record_count: 1, ..first }.encode(&mut torn);
    append(&path, at.zone, &torn);
    let second = in_a_run(&path, |engine| {
        put(engine, b"second");
        location(engine, b"second")
    });
    assert_eq!(second.zone, at.zone, "the run goes on in the zone");
    // What lay behind it comes to light when the write pointer has passed it.
    (2..6).for_each(|number| append(&path, at.zone, &sibling(&first, number)));
    in_a_run(&path, |engine| assert_eq!(engine.last_seqno().unwrap(), SeqNo::new(2)));

    let whole = std::fs::read(&path).unwrap();
    let value = in_a_run(&path, |engine| engine.value(b"second").unwrap());
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    for block in 2..4 {
        std::fs::write(&path, &whole).unwrap();
        garble(&path, at.zone, (block * BLOCK_BYTES + 20) as u64);
        let media = Media::open(&path, Access::ReadWrite, BOOT).unwrap();
        let opened = open(&media).map(|engine| engine.recovery().clone());
        assert!(matches!(opened, Err(EngineError::Corruption { .. })), "block {block}: {opened:?}");
    }
}
