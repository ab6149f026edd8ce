//! Checkpoints: what is opened from one is what reading everything gives, whatever happened before and since.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::history::{History, assert_sound, state_of};
use super::media::{Media, garble, turn_up};
use super::{GEOMETRY, ROOMY, create_with, open, open_options, open_to_look};
use crate::device::Geometry;
use crate::device::emulated::{Access, Degraded};
use crate::engine::background::Step;
use crate::engine::running::Running;
use crate::engine::stepping::Write;
use crate::engine::{Durability, Engine, OpenOptions};
use crate::error::{EngineError, EngineResult};
use crate::format::manifest::CheckpointName;
use crate::format::record::{RECORD_HEADER_BYTES, Record, RecordKind};
use crate::gc::collector::{Aim, Witness};
use crate::gc::policy::{Clock, Lifetime, Policy, StreamId, ZoneHistory};
use crate::index::{Entry, Location, MAX_UNIT_BYTES};
use crate::log::manifest_log::ManifestLog;
use crate::log::writer::LogWrite;
use crate::units::{SeqNo, ZoneId};
use crate::zones::Role;

/// The same with so little room that the collector is at work.
const TIGHT: Geometry = Geometry { zone_count: 24, ..ROOMY };

/// A zone as the ledger has it: role, filling, bytes written, first seqno, places. Which of two copies of one record is
/// the live one may differ.
type Account = (Role, u64, u64, u64, Vec<u32>);

/// What recovery made of a store.
#[derive(PartialEq, Debug)]
struct Image {
    entries: BTreeMap<Box<[u8]>, Write>,
    zones: Vec<Account>,
}

fn image_of(engine: &Engine) -> Image {
    let entries = engine.described(&engine.inner.catalog, &engine.inner.zones).unwrap();
    let zones = engine.inner.zones.iter().map(|(_, zone)| {
        let (generation, first) = (zone.generation().get(), zone.first_seqno().get());
        (zone.role(), generation, zone.written_bytes(), first, zone.places())
    });
    Image { entries, zones: zones.collect() }
}

fn read_only() -> OpenOptions {
    OpenOptions { read_only: true, ..open_options() }
}

/// Opens a store from its checkpoint and by reading everything, compares, and says whether a checkpoint was used.
fn compare(path: &Path, boot: u8, context: &str) -> bool {
    let media = Media::open(path, Access::ReadOnly, boot).unwrap();
    let whole = open_to_look(&media).unwrap_or_else(|error| panic!("{context}: {error}"));
    let expected = image_of(&whole);
    let last_seqno = whole.inner.manifest.lock().watermark;
    drop((whole, Arc::into_inner(media)));
    let media = Media::open(path, Access::ReadOnly, boot).unwrap();
    let engine = Engine::over(Arc::clone(&media) as Arc<_>, &read_only(), Running::Threads)
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = image_of(&engine);
    assert_same(&found, &expected, context);
    assert_eq!(engine.inner.manifest.lock().watermark, last_seqno, "{context}");
    assert_sound(&engine, context);
    let report = engine.recovery();
    assert_eq!(report.unusable_checkpoints, [], "{context}");
    report.checkpoint.is_some()
}

/// A delete that the collector had just seen the end of may be forgotten by the one and found by the other, as long as
/// the zone it lies in is there.
fn assert_same(found: &Image, expected: &Image, context: &str) {
    for (key, entry) in &expected.entries {
        let same = found.entries.get(key) == Some(entry);
        let forgotten = !found.entries.contains_key(key) && entry.kind == "tombstone";
        let name = String::from_utf8_lossy(key);
        assert!(same || forgotten, "{context}: {name}: {:?} for {entry:?}", found.entries.get(key));
    }
    let surplus: Vec<_> = found.entries.keys().filter(|key| !expected.entries.contains_key(*key)).collect();
    assert!(surplus.is_empty(), "{context}: {surplus:?}");
    for (zone, (found, expected)) in found.zones.iter().zip(&expected.zones).enumerate() {
        assert_eq!(found, expected, "{context}: zone {zone}");
    }
}

fn calls(engine: &Engine, history: &mut History, random: &mut StdRng, count: usize) {
    (0..count).for_each(|_| history.call(engine, random));
}

/// Puts that only fill zones: what is to be covered must lie in zones that are complete.
fn fill(engine: &Engine, count: u32) {
    for number in 0..count {
        let (key, value) = (format!("filling {number:04}"), vec![7; 30_000]);
        engine.write(&[LogWrite { key: key.as_bytes(), value: Some(&value) }], Durability::Written).unwrap();
    }
}

#[test]
fn a_store_opened_from_a_checkpoint_is_what_reading_everything_gives() {
    let mut used_count = 0;
    for seed in 0..12 {
        println!("seed {seed}");
        let directory = tempfile::tempdir().unwrap();
        create_with(&directory.path().join("0"), TIGHT);
        let (mut random, mut history) = (StdRng::seed_from_u64(seed), History::default());
        for round in 0..6u8 {
            let context = format!("seed {seed}, round {round}");
            let image = directory.path().join(round.to_string());
            used_count += u32::from(compare(&image, round + 1, &context));
            let media = Media::open(&image, Access::ReadWrite, round + 1).unwrap();
            let engine = open(&media).unwrap_or_else(|error| panic!("{context}: {error}"));
            history.accept(&state_of(&engine), &context);
            let count = random.random_range(0..200);
            calls(&engine, &mut history, &mut random, count);
            // Writers go on while checkpoints are written; the power may go before the last one is complete.
            std::thread::scope(|scope| {
                for _ in 0..random.random_range(0..4) {
                    scope.spawn(|| drop(engine.checkpoint().expect("write a checkpoint")));
                    let count = random.random_range(0..120);
                    calls(&engine, &mut history, &mut random, count);
                }
                media.cut_power(&directory.path().join((round + 1).to_string()), &mut random);
            });
            // What was written after the cut is in no image: nothing was.
            drop(engine);
        }
    }
    assert!(used_count > 20, "checkpoints were used {used_count} times");
}

#[test]
fn a_closed_store_is_opened_from_its_checkpoint_without_reading_what_that_stands_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create_with(&path, ROOMY);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    fill(&engine, 100);
    let name = engine.checkpoint().unwrap().expect("there is room");
    assert!(name.entry_count > 80, "{name:?}");
    engine.close().unwrap();
    drop((engine, Arc::into_inner(media)));
    assert!(compare(&path, 1, "closed"));
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let report = engine.recovery();
    let used = report.checkpoint.expect("used");
    assert_eq!((used.number, used.record_count), (name.number, name.entry_count));
    assert!(used.zone_count > 5 && report.zone_count <= 2, "{report:?}");
    // A store goes on from there as from anywhere.
    fill(&engine, 100);
    engine.close().unwrap();
    drop((engine, Arc::into_inner(media)));
    compare(&path, 1, "gone on");
}

fn names(path: &Path) -> Vec<CheckpointName> {
    let media = Media::open(path, Access::ReadOnly, 1).unwrap();
    ManifestLog::read(&*media).unwrap().unwrap().manifest.checkpoints
}

fn two_checkpoints(path: &Path) -> Vec<CheckpointName> {
    create_with(path, ROOMY);
    let media = Media::open(path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let (mut random, mut history) = (StdRng::seed_from_u64(1), History::default());
    for _ in 0..3 {
        calls(&engine, &mut history, &mut random, 100);
        engine.checkpoint().unwrap().expect("there is room");
    }
    calls(&engine, &mut history, &mut random, 30);
    engine.close().unwrap();
    drop((engine, Arc::into_inner(media)));
    names(path)
}

#[test]
fn two_checkpoints_are_kept_and_a_damaged_one_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let names = two_checkpoints(&path);
    assert_eq!(names.iter().map(|name| name.number).collect::<Vec<_>>(), [2, 3]);
    let look = |options: &OpenOptions| {
        let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
        let engine = Engine::over(Arc::clone(&media) as Arc<_>, options, Running::Threads).unwrap();
        (state_of(&engine), engine.recovery().clone())
    };
    let (expected, report) = look(&read_only());
    assert_eq!(report.checkpoint.map(|used| used.number), Some(3));
    // Somewhere in the second block: in the first one the zone would not be known for the checkpoint's.
    garble(&path, names[1].zones[0].0, 4096 + 60);
    let (state, report) = look(&read_only());
    assert!(state == expected);
    assert_eq!(report.checkpoint.map(|used| used.number), Some(2));
    assert_eq!(report.unusable_checkpoints.len(), 1);
    garble(&path, names[0].zones[0].0, 30);
    let (state, report) = look(&read_only());
    assert!(state == expected);
    assert_eq!((report.checkpoint, report.unusable_checkpoints.len()), (None, 2));
    // Whoever looks for damage is told.
    let (_, report) = look(&OpenOptions { in_spite_of_damage: true, ..read_only() });
    assert_eq!((report.damages.len(), report.unusable_checkpoints.len()), (0, 2), "{report:?}");
    // Opened for writing the store forgets them, and makes new ones.
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    assert!(state_of(&engine) == expected);
    engine.checkpoint().unwrap().expect("there is room");
    engine.close().unwrap();
    drop((engine, Arc::into_inner(media)));
    assert!(compare(&path, 1, "after new checkpoints"));
}

#[test]
fn every_byte_of_a_checkpoint_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let (path, image) = (directory.path().join("store"), directory.path().join("image"));
    let names = two_checkpoints(&path);
    let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
    let engine = Engine::over(Arc::clone(&media) as Arc<_>, &read_only(), Running::Threads).unwrap();
    let expected = state_of(&engine);
    drop((engine, Arc::into_inner(media)));
    let mut random = StdRng::seed_from_u64(3);
    for round in 0..60 {
        std::fs::copy(&path, &image).unwrap();
        for name in &names {
            garble(&image, name.zones[0].0, random.random_range(0..name.byte_count.min(20_000)));
        }
        let media = Media::open(&image, Access::ReadOnly, 1).unwrap();
        let engine = Engine::over(Arc::clone(&media) as Arc<_>, &read_only(), Running::Threads).unwrap();
        assert!(state_of(&engine) == expected, "round {round}");
    }
}

#[test]
fn opening_for_reading_uses_a_checkpoint_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    two_checkpoints(&path);
    let before = std::fs::read(&path).unwrap();
    let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
    let engine = Engine::over(Arc::clone(&media) as Arc<_>, &read_only(), Running::Threads).unwrap();
    assert!(engine.recovery().checkpoint.is_some());
    assert!(matches!(engine.checkpoint(), Err(EngineError::ReadOnly)));
    engine.close().unwrap();
    drop((engine, media));
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn where_no_zone_can_be_active_for_it_there_is_no_checkpoint_and_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create_with(&path, Geometry { max_open_zones: 4, max_active_zones: 4, ..GEOMETRY });
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    fill(&engine, 20);
    assert_eq!(engine.checkpoint().unwrap(), None);
    engine.close().unwrap();
}

/// Puts one key after another until the store is full; gives their number.
fn fill_up(engine: &Engine, mut between: impl FnMut(u32)) -> u32 {
    for number in 0.. {
        let (key, value) = (format!("filling {number:05}"), vec![7; 20_000]);
        match engine.write(&[LogWrite { key: key.as_bytes(), value: Some(&value) }], Durability::Written) {
            Ok(()) => between(number),
            Err(EngineError::NoSpace { .. }) => return number,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[test]
fn checkpoints_give_way_to_data() {
    let directory = tempfile::tempdir().unwrap();
    let mut counts = Vec::new();
    for checkpoints in [false, true] {
        let path = directory.path().join(checkpoints.to_string());
        create_with(&path, ROOMY);
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let engine = open(&media).unwrap();
        counts.push(fill_up(&engine, |number| {
            if checkpoints && number % 50 == 0 {
                let _ = engine.checkpoint().unwrap();
            }
        }));
        // Deleting and overwriting go on in the full store.
        for number in 200..203u32 {
            let key = format!("filling {number:05}");
            engine.write(&[LogWrite { key: key.as_bytes(), value: None }], Durability::Sync).unwrap();
        }
        for number in 0..100u32 {
            let (key, value) = (format!("filling {number:05}"), vec![8; 19_000]);
            engine
                .write(&[LogWrite { key: key.as_bytes(), value: Some(&value) }], Durability::Written)
                .unwrap();
        }
        engine.close().unwrap();
        drop((engine, Arc::into_inner(media)));
        compare(&path, 1, "full");
    }
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn a_zone_that_has_worn_out_since_the_checkpoint_changes_nothing() {
    for to in [Degraded::ReadOnly, Degraded::Offline] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        two_checkpoints(&path);
        let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
        let victims: Vec<_> = {
            let engine = open(&media).unwrap();
            let zones = engine.zones().unwrap();
            engine.close().unwrap();
            zones.iter().filter(|zone| zone.live_bytes > 0).map(|zone| zone.zone).take(1).collect()
        };
        drop(Arc::into_inner(media));
        super::worn::degrade(&path, &victims, to);
        let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
        let whole = image_of(&open_to_look(&media).unwrap());
        drop(Arc::into_inner(media));
        let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
        let engine = Engine::over(Arc::clone(&media) as Arc<_>, &read_only(), Running::Threads).unwrap();
        assert_same(&image_of(&engine), &whole, &format!("{to:?}"));
        assert_eq!(engine.recovery().checkpoint.is_some(), to == Degraded::ReadOnly);
    }
}

/// A store whose background work the test does itself.
struct Stepped {
    directory: tempfile::TempDir,
    media: Arc<Media>,
    engine: Engine,
}

impl Stepped {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        create_with(&path, ROOMY);
        Self::over(directory, &path)
    }

    fn over(directory: tempfile::TempDir, path: &Path) -> Self {
        let media = Media::open(path, Access::ReadWrite, 1).unwrap();
        let patient = OpenOptions { buffered_delay: Duration::from_hours(1), ..open_options() };
        let engine = Engine::over(Arc::clone(&media) as Arc<_>, &patient, Running::Threads).unwrap();
        engine.inner.housekeeping.stop();
        Self { directory, media, engine }
    }

    fn put(&self, key: &str, value: &[u8], durability: Durability) {
        self.engine.write(&[LogWrite { key: key.as_bytes(), value: Some(value) }], durability).unwrap();
    }

    /// Overwrites one key until so many more zones are complete; nothing of them stays alive for long.
    fn fill_zones(&self, count: u64) {
        let until = self.engine.inner.allocator.generation().forward(count);
        while self.engine.inner.allocator.generation() < until {
            self.put("hot", &vec![7; 20_000], Durability::Written);
        }
    }

    fn begin_checkpoint(&self) {
        let _ = self.engine.inner.checkpointing.request();
        assert_eq!(self.engine.inner.checkpoint_step(), Step::Again);
    }

    fn finish_checkpoint(&self) {
        while self.engine.inner.checkpoint_step() == Step::Again {}
    }

    fn zone_of(&self, key: &str) -> ZoneId {
        zone_of(&self.engine, key)
    }

    /// Copies a record as the collector does, and leaves what it was made of where it is.
    fn copy_out(&self, key: &str, value: &[u8], seqno: SeqNo) {
        let inner = &self.engine.inner;
        let (log, policy) = (inner.log().unwrap(), &inner.collector.as_ref().unwrap().policy);
        let history = ZoneHistory {
            stream: StreamId::new(policy.streams().writes().end - 1),
            written_at: Clock::default(),
            expected: Lifetime::of_steps(0),
        };
        let placement = policy.place_copy(log.clock_writes(), history);
        let class = usize::from(placement.stream.get() - policy.streams().copies().start);
        let record = Record { seqno, kind: RecordKind::Put, group: None, key: key.as_bytes(), value };
        let mut encoded = vec![0; record.encoded_bytes()];
        record.encode(&mut encoded);
        let location = log.relocate(&encoded, class, placement).expect("there is room");
        let value_len = u32::try_from(value.len()).unwrap();
        let from = inner.catalog.index().lookup(record.key).unwrap();
        assert!(inner.catalog.relocate(record.key, from, Entry::Value { location, value_len }));
    }

    /// Collects zones until a key has moved. What a crash before each reset may leave is compared.
    fn collect_until_moved(&self, key: &str, image_count: &AtomicU8) {
        let zone = self.zone_of(key);
        let imaging = Imaging { stepped: self, image_count };
        while self.zone_of(key) == zone {
            self.engine.inner.collector.as_ref().unwrap().collect(Aim::Space, &imaging).unwrap();
        }
    }

    /// Cuts the power; opened either way the key must have one of these values.
    fn cut_power(&self, image_count: &AtomicU8, values: &[&[u8]]) {
        let number = image_count.fetch_add(1, Ordering::Relaxed);
        let image = self.directory.path().join(number.to_string());
        self.media.cut_power(&image, &mut StdRng::seed_from_u64(number.into()));
        compare(&image, 2, &format!("image {number}"));
        let media = Media::open(&image, Access::ReadOnly, 2).unwrap();
        let engine = Engine::over(Arc::clone(&media) as Arc<_>, &read_only(), Running::Threads).unwrap();
        let value = engine.value(b"key").unwrap();
        assert!(values.contains(&value.as_deref().unwrap_or_default()), "image {number}: {value:?}");
    }
}

fn zone_of(engine: &Engine, key: &str) -> ZoneId {
    match engine.inner.catalog.index().lookup(key.as_bytes()) {
        Some(Entry::Value { location, .. }) => location.zone,
        other => panic!("{key}: {other:?}"),
    }
}

/// Stands between the copies and the reset.
struct Imaging<'a> {
    stepped: &'a Stepped,
    image_count: &'a AtomicU8,
}

impl Witness for Imaging<'_> {
    fn testify(&self) -> EngineResult<()> {
        self.stepped.cut_power(self.image_count, &[b"old", b"new"]);
        self.stepped.engine.inner.testify()
    }
}

/// The walk finds a write that is not durable yet, in place of one that the checkpoint could have held. Were the
/// checkpoint named before that write is durable, a power cut would leave neither.
#[test]
fn what_takes_the_place_of_what_is_left_out_is_durable_before_the_checkpoint_is_named() {
    let stepped = Stepped::new();
    stepped.put("key", b"old", Durability::Sync);
    stepped.fill_zones(3);
    stepped.begin_checkpoint();
    stepped.put("key", b"new", Durability::Buffered);
    stepped.finish_checkpoint();
    assert_eq!(stepped.engine.info().checkpoints.len(), 1);
    stepped.cut_power(&AtomicU8::default(), &[b"new"]);
}

/// A copy lies in a zone that is still being filled when the checkpoint is written; what superseded it since lies in a
/// zone that is not read any more.
#[test]
fn an_old_copy_that_is_read_does_not_hide_a_newer_entry_of_the_checkpoint() {
    let (stepped, images) = (Stepped::new(), AtomicU8::default());
    stepped.put("key", b"old", Durability::Written);
    stepped.put("other", b"stays", Durability::Written);
    stepped.fill_zones(2);
    stepped.collect_until_moved("key", &images);
    stepped.put("key", b"new", Durability::Written);
    stepped.fill_zones(3);
    stepped.begin_checkpoint();
    stepped.finish_checkpoint();
    stepped.cut_power(&images, &[b"new"]);
    // Now that write is copied as well, into the older zone.
    stepped.collect_until_moved("key", &images);
    stepped.cut_power(&images, &[b"new"]);
}

/// A power cut takes the first unit of a store and leaves the second, whose records are void then. The next run goes on in
/// that zone with lower seqnos. The ledger took the void ones for the lowest in the zone, and so what the checkpoint had
/// of it for newer than a delete that came later: the deleted key was back.
#[test]
fn what_a_cut_has_made_void_does_not_make_older_entries_beat_newer_records() {
    const LOST: u32 = 500;
    let (directory, images) = (tempfile::tempdir().unwrap(), AtomicU8::default());
    let (path, cut) = (directory.path().join("store"), directory.path().join("cut"));
    create_with(&path, ROOMY);
    // In the same boot as what follows: in another one the zone might be found full.
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    let keys: Vec<String> = (0..LOST).map(|number| format!("lost {number}")).collect();
    let lost: Vec<_> = keys.iter().map(|key| LogWrite { key: key.as_bytes(), value: Some(b"") }).collect();
    engine.write(&lost, Durability::Written).unwrap();
    engine.write(&[LogWrite { key: b"void", value: Some(b"") }], Durability::Written).unwrap();
    assert!(media.lose_one(&cut, 0).is_some());
    drop((engine, Arc::into_inner(media)));
    let stepped = Stepped::over(directory, &cut);
    assert_eq!(stepped.engine.recovery().void_record_count, 1);
    let void_in = stepped.engine.inner.zones.iter().find(|(_, zone)| zone.first_seqno() > SeqNo::ZERO);
    let void_in = void_in.map(|(id, _)| id);
    stepped.put("key", b"old", Durability::Sync);
    assert_eq!(Some(stepped.zone_of("key")), void_in);
    stepped.fill_zones(2);
    stepped.begin_checkpoint();
    stepped.finish_checkpoint();
    stepped.engine.write(&[LogWrite { key: b"key", value: None }], Durability::Sync).unwrap();
    assert!(stepped.engine.last_seqno().unwrap() < SeqNo::new(LOST.into()), "lower than what is void");
    stepped.cut_power(&images, &[b""]);
}

/// A power cut takes a copy, and it turns up later in a zone that a checkpoint stands for, when that checkpoint cannot be read.
/// That run goes on with the copy and resets what it was made of. Had the next one taken the checkpoint, which can be read
/// again, it would have looked for the key in the zone that was reset, and not into the one that has the copy.
#[test]
fn a_checkpoint_that_a_run_went_on_without_is_not_gone_back_to() {
    let stepped = Stepped::new();
    let path = |name: &str| stepped.directory.path().join(name);
    stepped.put("key", b"old", Durability::Written);
    let seqno = stepped.engine.last_seqno().unwrap();
    let cold: Vec<String> = (0..24).map(|number| format!("cold {number}")).collect();
    let value = vec![3; 20_000];
    cold.iter().for_each(|key| stepped.put(key, &value, Durability::Written));
    stepped.fill_zones(2);
    let origin = stepped.zone_of("key");
    stepped.copy_out("key", b"old", seqno);
    let copied_to = stepped.zone_of("key");
    (1..).zip(&cold).for_each(|(after, key)| stepped.copy_out(key, &value, seqno.forward(after)));
    stepped.media.fail_flushes_after(0);
    let log = stepped.engine.inner.log().unwrap();
    assert!(log.make_relocations_durable(log.last_seqno()).is_err(), "appended, and on no stable media");
    let losing = |which| {
        let lost = stepped.media.lose_one(&path("lost"), which).expect("the copy is volatile");
        let media = Media::open(&path("lost"), Access::ReadOnly, 1).unwrap();
        let engine = Engine::over(media, &read_only(), Running::Threads).unwrap();
        let found = engine.inner.catalog.index().lookup(b"key");
        matches!(found, Some(Entry::Value { location, .. }) if location.zone == origin).then_some(lost)
    };
    let copy = (0..).find_map(losing).expect("the copy is among them");

    let run = Stepped::over(tempfile::tempdir().unwrap(), &path("lost"));
    assert_eq!(zone_of(&run.engine, "key"), origin);
    run.begin_checkpoint();
    run.finish_checkpoint();
    std::fs::copy(path("lost"), path("turned up")).unwrap();
    drop(run);
    turn_up(&path("turned up"), &copy);
    let name = names(&path("turned up")).pop().expect("a checkpoint");
    garble(&path("turned up"), name.zones[0].0, 4096 + 60);

    let run = Stepped::over(tempfile::tempdir().unwrap(), &path("turned up"));
    assert_eq!(run.engine.recovery().checkpoint, None);
    assert_eq!(zone_of(&run.engine, "key"), copied_to, "the copy has turned up");
    while run.engine.inner.zones.zone(origin).role() != Role::Free {
        run.engine.inner.collector.as_ref().unwrap().collect(Aim::Space, &*run.engine.inner).unwrap();
    }
    std::fs::copy(path("turned up"), path("last")).unwrap();
    drop(run);
    garble(&path("last"), name.zones[0].0, 4096 + 60);
    let run = Stepped::over(tempfile::tempdir().unwrap(), &path("last"));
    assert_eq!(run.engine.value(b"key").unwrap().as_deref(), Some(&b"old"[..]));
    assert!(cold.iter().all(|key| run.engine.value(key.as_bytes()).unwrap().is_some()));
}

/// Beside a checkpoint, a torn copy that nobody claims is taken for what a crash has left, and passed over. The run that
/// was told of the damage claimed only what was whole, and the next one lost the key without a word.
#[test]
fn damage_that_one_opening_tells_of_the_next_one_tells_of_as_well() {
    let (stepped, images) = (Stepped::new(), AtomicU8::default());
    stepped.put("key", b"old", Durability::Written);
    stepped.put("other", b"stays", Durability::Written);
    stepped.fill_zones(2);
    stepped.begin_checkpoint();
    stepped.finish_checkpoint();
    stepped.collect_until_moved("key", &images);
    let Some(Entry::Value { location, .. }) = stepped.engine.inner.catalog.index().lookup(b"key") else {
        panic!("the key has a value")
    };
    stepped.engine.close().unwrap();
    let unit = stepped.engine.inner.zones.zone(location.zone).place(location.unit).unwrap();
    let value_at = unit.get() + u64::from(location.offset) + (RECORD_HEADER_BYTES + b"key".len()) as u64;
    let path = stepped.directory.path().join("store");
    drop((stepped.engine, Arc::into_inner(stepped.media)));
    garble(&path, location.zone, value_at);
    for boot in 2..5 {
        let media = Media::open(&path, Access::ReadWrite, boot).unwrap();
        let engine = open(&media).unwrap();
        assert_eq!(engine.recovery().damages.len(), 1, "opening {boot}: {:?}", engine.recovery());
        let found = engine.value(b"key");
        assert!(matches!(found, Err(EngineError::Corruption { .. })), "opening {boot}: {found:?}");
        let image = stepped.directory.path().join(format!("image {boot}"));
        media.cut_power(&image, &mut StdRng::seed_from_u64(boot.into()));
        drop((engine, media));
        std::fs::rename(&image, &path).unwrap();
    }
}

/// Reading beyond the end of a zone was asked for as much as there is memory in the world. A deliberate fault that believes
/// garbled checkpoints found it; one whose checksum happens to be right would do.
#[test]
fn an_entry_that_points_beyond_its_zone_is_damage() {
    let stepped = Stepped::new();
    stepped.put("key", b"old", Durability::Written);
    let index = stepped.engine.inner.catalog.index().ordered().unwrap();
    let Some(Entry::Value { location, .. }) = index.lookup(b"key") else { panic!("the key has a value") };
    let beyond = Location::new(location.zone, location.unit, MAX_UNIT_BYTES - 1);
    index.upsert(b"key", Entry::Value { location: beyond, value_len: 3 });
    let is_damage = |engine: &Engine| matches!(engine.value(b"key"), Err(EngineError::Corruption { .. }));
    assert!(is_damage(&stepped.engine), "in memory");
    let generation = stepped.engine.inner.zones.zone(location.zone).generation();
    stepped.engine.inner.memory.forget_zone(location.zone, generation);
    assert!(is_damage(&stepped.engine), "on the device");
}
