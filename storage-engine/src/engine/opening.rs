//! Opening stores.
//!
//! Opening for writing: recover, put on stable media what was found, note the new run of the store (and where the log
//! was cut) in the manifest, then start. A crash anywhere in between leaves a store that recovers to the same state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::background;
use super::checkpointing::Checkpointing;
use super::cleaning::CleaningRequests;
use super::events::{Events, Listener};
use super::leftovers::StreamZones;
use super::pacing::Pace;
use super::placing::{MIN_ACTIVE_ZONES, zones_in_flight};
use super::replay::FoundJournal;
use super::run_heads;
use super::running::Running;
use super::space::SpaceTarget;
use super::substitutes::take_zone;
use super::values::ValueCache;
use super::{Counters, Engine, Inner, ReadQueues};
use crate::device::emulated::{Access, DirectIo};
use crate::device::{DeviceError, Geometry, ZoneState, ZonedDevice, open_device};
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::manifest::{Cut, DeviceSizes, Manifest, Tail};
use crate::format::unit::{StoreId, StreamKind, StreamName};
use crate::gc::collector::Collector;
use crate::gc::policy::{Narrowed, Policy, PolicyKind};
use crate::gc::superseded::Superseded;
use crate::gc::wear::Turns;
use crate::index::IndexKind;
use crate::log::commit::Claims;
use crate::log::manifest_log::{ManifestLog, Newest};
use crate::log::memory::UnitMemory;
use crate::log::read_ahead::{self, ReadAhead};
use crate::log::stream::{Claim, Stream};
use crate::log::writer::{
    LogParts, LogStart, LogWriter, most_tails, unit_limit_bytes, unit_limit_bytes_from,
};
use crate::queue::{IoQueue, QueueKind};
use crate::recovery::{Damage, Recovered, Rely, StreamEnd, recover};
use crate::signal::Signal;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Instant, Mutex, thread};
use crate::units::{Generation, SeqNo, ZoneId};
use crate::zones::{Allocator, Role, ZoneTable};

/// Zones below which a store does not work: two for the manifest, one for each stream, the reserve, one to spare.
pub(crate) const MIN_ZONES: u32 = 8;
/// Entries of the append queue.
const APPEND_QUEUE_ENTRIES: u32 = 64;
/// How long an opener waits for a holder that has been killed and is not quite gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Where a store is.
pub type StorePath = PathBuf;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Change nothing, not a byte.
    pub read_only: bool,
    /// Whether to bypass the page cache where possible.
    pub direct_io: bool,
    /// Which index to keep in memory.
    pub index: IndexKind,
    /// Which queue to use.
    pub queue: QueueKind,
    /// Memory for values and recent units, in bytes.
    pub cache_bytes: u64,
    /// The longest that a buffered write stays unappended.
    pub buffered_delay: Duration,
    /// The largest append unit, in bytes; the device's append limit counts as well.
    pub unit_bytes: usize,
    /// Whether durable writes are the rule: then zones are made ready for them from the start.
    pub expects_durable: bool,
    /// Open in spite of damage whose extent is not known: only for looking at it. Everything is read then, checkpoints or
    /// no checkpoints.
    pub in_spite_of_damage: bool,
    /// Bytes written between two checkpoints of the index that are written by themselves; 0 for none.
    pub checkpoint_interval_bytes: u64,
    /// In a store without a capacity of its own: bytes of zones taken for a hundred live bytes.
    pub space_target_percent: u32,
    /// Who decides where records go and which zone is emptied next.
    pub cleaning_policy: PolicyKind,
    /// Who is told of what the store does by itself.
    pub listener: Option<Arc<dyn Listener>>,
}

impl Engine {
    /// Opens the store at a path.
    ///
    /// # Errors
    /// [`EngineError::NoStore`], [`EngineError::ManifestDamaged`], [`EngineError::Corruption`]; the device's.
    pub fn open(path: &Path, options: &OpenOptions) -> EngineResult<Self> {
        let access = if options.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let device = open_patiently(path, access, direct_io(options.direct_io))?;
        Self::over(device, options, Running::Threads)
    }

    pub(super) fn over(
        device: Arc<dyn ZonedDevice>,
        options: &OpenOptions,
        running: Running,
    ) -> EngineResult<Self> {
        let starts_threads = !options.read_only && !running.is_stepped();
        let mut engine = Self::at_rest(device, options, running)?;
        if starts_threads {
            if let Some(listener) = &options.listener {
                engine.inner.events.tell(listener)?;
            }
            *engine.threads.lock() = background::start(&engine.inner)?;
        }
        engine.journal = if options.read_only { engine.show_journal()? } else { engine.replay_journal()? };
        Ok(engine)
    }

    /// Opens a store without the threads that run beside the callers.
    pub(super) fn at_rest(
        device: Arc<dyn ZonedDevice>,
        options: &OpenOptions,
        running: Running,
    ) -> EngineResult<Self> {
        if !running.is_stepped() {
            check_device(&*device, OfUse::HoldingData)?;
        }
        let newest = ManifestLog::read(&*device)?.ok_or(EngineError::NoStore)?;
        check_unchanged(device.geometry(), newest.manifest.device)?;
        let rely = if options.in_spite_of_damage { Rely::OnLog } else { Rely::OnCheckpoints };
        let how = (rely, options.index);
        let recovered = recover(&*device, &newest.manifest, running.scan_thread_count(), how)?;
        let fatal = recovered.report.damages.iter().find(|damage| !damage.confined);
        if let Some(damage) = fatal.filter(|_| !options.in_spite_of_damage) {
            return Err(named(&*device, damage));
        }
        let inner = Arc::new(assemble((device, running), options, newest, &recovered)?);
        Ok(Self { inner, threads: Mutex::new(Vec::new()), journal: FoundJournal::default() })
    }
}

/// The error that damage is, with its place on the device beside the one in its zone.
fn named(device: &dyn ZonedDevice, damage: &Damage) -> EngineError {
    let place = device.device_byte(damage.zone, damage.offset);
    let place = place.map_or(String::new(), |at_bytes| format!(" (byte {at_bytes} of the device)"));
    Damage { what: format!("{}{place}", damage.what), ..damage.clone() }.error()
}

pub(super) fn direct_io(wanted: bool) -> DirectIo {
    if wanted { DirectIo::Preferred } else { DirectIo::Off }
}

/// The kernel may still be finishing the writes of a process that was killed; its lock goes when they are done.
fn open_patiently(path: &Path, access: Access, direct_io: DirectIo) -> EngineResult<Arc<dyn ZonedDevice>> {
    let patience_ends = Instant::now() + LOCK_PATIENCE;
    loop {
        match open_device(path, access, direct_io) {
            Err(DeviceError::Locked { holder_is_dying: true, .. }) if Instant::now() < patience_ends => {
                thread::sleep(Duration::from_millis(5));
            }
            other => return Ok(other?),
        }
    }
}

/// Which zones of a device count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OfUse {
    /// Those that a new store can be laid out in.
    ForNewStore,
    /// Those that may hold something of a store that is there. Some may have worn out meanwhile.
    HoldingData,
}

/// Whether a store can be on a device.
pub(super) fn check_device(device: &dyn ZonedDevice, of_use: OfUse) -> EngineResult<()> {
    let mut zone_count = 0;
    for zone in device.geometry().zones() {
        zone_count += u32::from(match device.report(zone)?.state {
            ZoneState::NotWritePointer => false,
            ZoneState::ReadOnly | ZoneState::Offline => of_use == OfUse::HoldingData,
            _ => true,
        });
    }
    check_geometry(&Geometry { zone_count, ..*device.geometry() })
}

/// Whether a store can be on a device of which all zones are of use.
pub(super) fn check_geometry(geometry: &Geometry) -> EngineResult<()> {
    let too_few = |what: &str, found: u32, needed: u32| {
        Err(EngineError::InvalidArgument(format!("{found} {what}; a store needs at least {needed}")))
    };
    if geometry.zone_count < MIN_ZONES {
        return too_few("zones", geometry.zone_count, MIN_ZONES);
    }
    if geometry.max_active_zones < MIN_ACTIVE_ZONES {
        return too_few("active zones", geometry.max_active_zones, MIN_ACTIVE_ZONES);
    }
    unit_limit_bytes(geometry, usize::MAX).map(drop)
}

/// Whether a store is still on the device that it was made on, as it was then.
fn check_unchanged(geometry: &Geometry, recorded: Option<DeviceSizes>) -> EngineResult<()> {
    let found = DeviceSizes::of(geometry);
    match recorded {
        Some(recorded) if recorded != found => Err(EngineError::DeviceChanged { recorded, found }),
        _ => Ok(()),
    }
}

pub(super) fn append_queue(
    device: &Arc<dyn ZonedDevice>,
    running: &Running,
    kind: QueueKind,
) -> EngineResult<Arc<dyn IoQueue>> {
    running
        .queue(device, APPEND_QUEUE_ENTRIES, kind)
        .map_err(|error| EngineError::io("setting up a queue for appends", error))
}

fn assemble(
    (device, running): (Arc<dyn ZonedDevice>, Running),
    options: &OpenOptions,
    Newest { mut manifest, zone: manifest_zone, is_copied }: Newest,
    recovered: &Recovered,
) -> EngineResult<Inner> {
    // Whoever closed the store was killed before the end: what comes next is numbered as after any crash.
    manifest.clean &= is_copied;
    let geometry = *device.geometry();
    let unit_limit = unit_limit_bytes_from(running.least_unit_bytes(), &geometry, options.unit_bytes)?;
    let budget = usize::try_from(options.cache_bytes).unwrap_or(usize::MAX);
    let counters_before = manifest.counters;
    let read_queues = ReadQueues::new(Arc::clone(&device), running.clone(), options.queue);
    let queue_kind = read_queues.kind()?;
    let mut inner = Inner {
        zones: Arc::clone(&recovered.zones),
        allocator: Arc::new(Allocator::new(Arc::clone(&recovered.zones), recovered.generation)),
        memory: Arc::new(UnitMemory::new(budget, unit_limit)),
        catalog: Arc::clone(&recovered.catalog),
        values: ValueCache::sharing(options.cache_bytes),
        read_queues,
        queue_kind,
        latches: running.latches(),
        log: None,
        collector: None,
        manifest_log: None,
        manifest: Mutex::new(manifest),
        counters: Counters::default(),
        counters_before,
        housekeeping: Arc::default(),
        buffered: Arc::<Signal>::default(),
        buffered_delay: options.buffered_delay,
        worn: Arc::new(Mutex::new(worn_zones(&*device, &recovered.zones)?)),
        live_limit_bytes: 0.into(),
        spreads_writes: AtomicBool::new(false),
        space: SpaceTarget::new(options.space_target_percent),
        pace: Pace::default(),
        events: Events::default(),
        waiting_count: 0.into(),
        zone_allowance: 0.into(),
        cleaning_round: 0.into(),
        exhausted_round: 0.into(),
        closed: AtomicBool::new(false),
        checkpointing: Checkpointing::new(
            options.checkpoint_interval_bytes,
            unit_limit,
            options.queue,
            recovered.report.scanned_bytes,
        ),
        cleaning_requests: CleaningRequests::default(),
        recovery: recovered.report.clone(),
        last_recovered: recovered.last_seqno,
        running,
        device,
    };
    inner.resume_notes();
    inner.count_live_limit();
    if !options.read_only || fault::is_on(Fault::WriteWhenReadingOnly) {
        let queue = append_queue(&inner.device, &inner.running, options.queue)?;
        let manifest_log = ManifestLog::new(Arc::clone(&inner.device), queue, Some(manifest_zone))?;
        make_writable(&mut inner, options, (unit_limit, manifest_log), recovered)?;
        inner.count_live_limit();
        inner.watch_for_cleaning();
        inner.count_zone_allowance();
        inner.begin_space_watch();
    }
    Ok(inner)
}

/// Zones that went read-only by themselves and hold live records.
fn worn_zones(device: &dyn ZonedDevice, zones: &ZoneTable) -> EngineResult<Vec<ZoneId>> {
    let mut worn = Vec::new();
    for (id, _) in zones.iter().filter(|(_, zone)| zone.live_bytes() > 0) {
        if device.report(id)?.state == ZoneState::ReadOnly {
            worn.push(id);
        }
    }
    Ok(worn)
}

fn make_writable(
    inner: &mut Inner,
    options: &OpenOptions,
    (unit_limit, manifest_log): (usize, ManifestLog),
    recovered: &Recovered,
) -> EngineResult<()> {
    let store = inner.manifest.get_mut().store;
    // What a killed process left in caches is part of the prefix from now on.
    if !fault::is_on(Fault::ReopenWithoutFlush) {
        inner.device.flush()?;
    }
    let geometry = *inner.device.geometry();
    let policy = inner.running.policy(options.cleaning_policy, &geometry)?;
    let for_nobody = give_up_streams(inner, &*policy, recovered);
    let leftovers: Vec<ZoneId> = recovered.abandoned.iter().copied().chain(for_nobody).collect();
    // Before the manifest, whose zone may be empty: a power cut may leave as many zones active as there can be.
    let mut streams = recovered.streams.clone();
    streams.retain(|name, _| name.class < stream_count(&*policy, name.kind));
    let to_empty = inner.tidy_leftovers(&leftovers, stream_zones(&*policy, &streams))?;
    let queue = append_queue(&inner.device, &inner.running, options.queue)?;
    let after_crash = !inner.manifest.get_mut().clean;
    begin_run(inner, &manifest_log, recovered)?;
    if after_crash {
        run_heads::append(inner, &*queue, recovered.last_seqno, &mut streams)?;
    }
    inner.device.flush()?;
    for (id, zone) in inner.zones.iter() {
        zone.set_reset_count(inner.device.report(id)?.reset_count);
    }
    inner.memory.append_through(&queue);
    let parts = LogParts {
        device: Arc::clone(&inner.device),
        queue,
        zones: Arc::clone(&inner.zones),
        allocator: Arc::clone(&inner.allocator),
        memory: Arc::clone(&inner.memory),
        catalog: Arc::clone(&inner.catalog),
        housekeeping: Arc::clone(&inner.housekeeping),
        buffered: Arc::clone(&inner.buffered),
        worn: Arc::clone(&inner.worn),
    };
    let run = (store, inner.manifest.get_mut().incarnation);
    let stands = (recovered.last_seqno, streams);
    let start = log_start(run, &geometry, (unit_limit, options.expects_durable), (&*policy, stands));
    let log = Arc::new(LogWriter::new(parts, start));
    log.keep_spares();
    inner.collector = Some(Collector {
        device: Arc::clone(&inner.device),
        store,
        zones: Arc::clone(&inner.zones),
        allocator: Arc::clone(&inner.allocator),
        catalog: Arc::clone(&inner.catalog),
        memory: Arc::clone(&inner.memory),
        log: Arc::clone(&log),
        read_ahead: Mutex::new(ReadAhead::new(inner.read_queues.set_up(read_ahead::DEPTH)?)),
        policy: Narrowed::new(policy),
        relocated_bytes: 0.into(),
        relocated_records: 0.into(),
        turns: Turns::default(),
        takes_time: !inner.running.is_stepped(),
        opened_at: recovered.generation,
        superseded: Superseded::default(),
    });
    inner.log = Some(log);
    inner.manifest_log = Some(manifest_log);
    inner.empty_leftovers(&to_empty)?;
    // No manifest names them any more.
    inner.give_zones_back(recovered.passed_over.iter().flat_map(|name| &name.zones).map(|&(zone, _)| zone))
}

/// Where each stream of the policy goes on.
fn log_start(
    (store, incarnation): (StoreId, u32),
    geometry: &Geometry,
    (unit_limit_bytes, expects_durable): (usize, bool),
    (policy, (last_seqno, ends)): (&dyn Policy, (SeqNo, BTreeMap<StreamName, StreamEnd>)),
) -> LogStart {
    let mut claims = Claims::default();
    let mut streams = |kind| -> Vec<Stream> {
        let names = (0..stream_count(policy, kind)).map(|class| StreamName { kind, class });
        let stream = |name| {
            let StreamEnd { zone, previous } = ends.get(&name).copied().unwrap_or_default();
            claims.set(name, claim(&StreamEnd { zone, previous }));
            Stream::new(name, *geometry, unit_limit_bytes, zone, previous)
        };
        names.map(stream).collect()
    };
    let (users, copies) = (streams(StreamKind::User), streams(StreamKind::Relocation));
    let zones_in_flight = zones_in_flight(geometry, users.len() + copies.len());
    LogStart {
        store,
        incarnation,
        last_seqno,
        users,
        copies,
        claims,
        zones_in_flight,
        unit_limit_bytes,
        expects_durable,
    }
}

fn stream_count(policy: &dyn Policy, kind: StreamKind) -> u8 {
    let streams = match kind {
        StreamKind::User => policy.streams().writes(),
        StreamKind::Relocation => policy.streams().copies(),
    };
    streams.end - streams.start
}

/// How many zones the streams of the policy take, and how many of them are there already.
fn stream_zones(policy: &dyn Policy, streams: &BTreeMap<StreamName, StreamEnd>) -> StreamZones {
    let counts = [StreamKind::User, StreamKind::Relocation].map(|kind| stream_count(policy, kind));
    StreamZones {
        stream_count: counts.map(usize::from).iter().sum(),
        resumed_count: streams.values().filter(|end| end.zone.is_some()).count(),
    }
}

/// Zones that an earlier run was filling in streams that this one does not have.
fn give_up_streams(inner: &Inner, policy: &dyn Policy, recovered: &Recovered) -> Vec<ZoneId> {
    let gone = recovered.streams.iter().filter(|(name, _)| name.class >= stream_count(policy, name.kind));
    let zones = gone.filter_map(|(name, end)| Some((name.kind, end.zone?.zone)));
    zones
        .map(|(kind, zone)| {
            inner.zones.zone(zone).set_role(Role::Sealed(kind));
            zone
        })
        .collect()
}

/// All units that recovery found are on stable media after its flush.
pub(super) fn claim(end: &StreamEnd) -> Claim {
    end.zone.map_or(Claim::default(), |zone| Claim { generation: zone.generation, unit_end: zone.next_unit })
}

/// Takes down that a new run of the store begins, and makes what was cut void for good. The next flush makes the second copy
/// durable.
fn begin_run(inner: &mut Inner, manifest_log: &ManifestLog, recovered: &Recovered) -> EngineResult<()> {
    let (device, zones, allocator) = (&inner.device, &inner.zones, &inner.allocator);
    let geometry = *device.geometry();
    let manifest = inner.manifest.get_mut();
    let incarnation = manifest.incarnation + 1;
    let mut version = manifest.version + 1;
    let mut cuts = recovered.cuts.clone();
    if !manifest.clean {
        // Versions that a power cut hid must not be taken for newer ones when they turn up.
        version += device.geometry().zone_capacity_bytes / u64::from(device.geometry().block_bytes);
        let (after, generation) = (recovered.last_seqno, recovered.generation);
        // Of cuts at one place the last says it all.
        cuts.retain(|cut| cut.after < after);
        if !fault::is_on(Fault::LeaveTheCutUnwritten) {
            cuts.push(Cut { incarnation, after, generation });
        }
    }
    *manifest = Manifest {
        version,
        incarnation,
        cuts,
        watermark: recovered.last_seqno,
        generation: recovered.generation,
        oldest_generation: recovered.oldest_generation,
        clean: false,
        device: Some(DeviceSizes::of(device.geometry())),
        checkpoints: recovered.checkpoints.clone(),
        tails: claims_on_recovered(zones, &geometry, &manifest.tails),
        ..manifest.clone()
    };
    manifest_log.append(manifest, &|urgency| take_zone(&**device, zones, allocator, urgency))
}

/// Claims all that recovery has found whole, which its flush has put on stable media: what rots of it from now on is told
/// from what a crash takes, also before new units or a later manifest claim it.
///
/// Claims on zones that could not be read stay: an offline one takes what it held along.
fn claims_on_recovered(zones: &ZoneTable, geometry: &Geometry, before: &[Tail]) -> Vec<Tail> {
    if fault::is_on(Fault::ForgetWhatWasRecovered) {
        return before.to_vec();
    }
    let is_unread = |tail: &&Tail| zones.zone(tail.zone).generation() != tail.generation;
    let mut tails: Vec<Tail> = before.iter().filter(is_unread).copied().collect();
    for (zone, state) in zones.iter() {
        let claimed = state.claims().recovered.into_iter().filter(|(first, end)| first < end);
        tails.extend(claimed.map(|(claim_first, unit_count)| Tail {
            zone,
            generation: state.generation(),
            claim_first,
            unit_count,
            previous: (Generation::default(), 0, 0),
        }));
    }
    tails.truncate(most_tails(geometry));
    tails
}

#[cfg(test)]
mod tests {
    use super::{DeviceSizes, EngineError, Geometry, check_geometry, check_unchanged};

    const GEOMETRY: Geometry = Geometry {
        block_bytes: 4096,
        zone_size_bytes: 4 << 20,
        zone_capacity_bytes: 3 << 20,
        zone_count: 64,
        max_open_zones: 8,
        max_active_zones: 12,
        append_limit_bytes: 124 << 10,
        volatile_cache: true,
    };

    #[test]
    fn a_device_of_other_sizes_than_recorded_is_refused_by_naming_both() {
        let recorded = Some(DeviceSizes::of(&GEOMETRY));
        let limits = Geometry { max_open_zones: 1, append_limit_bytes: 4096, ..GEOMETRY };
        for unchanged in [(GEOMETRY, recorded), (limits, recorded), (GEOMETRY, None)] {
            check_unchanged(&unchanged.0, unchanged.1)
                .expect("limits may change, and old stores record nothing");
        }
        for changed in [
            Geometry { block_bytes: 512, ..GEOMETRY },
            Geometry { zone_size_bytes: 8 << 20, ..GEOMETRY },
            Geometry { zone_capacity_bytes: 4 << 20, ..GEOMETRY },
            Geometry { zone_count: 63, ..GEOMETRY },
        ] {
            let error = check_unchanged(&changed, recorded).expect_err("changed").to_string();
            let sizes =
                [DeviceSizes::of(&GEOMETRY), DeviceSizes::of(&changed)].map(|sizes| sizes.to_string());
            assert!(sizes.iter().all(|sizes| error.contains(sizes)), "{error}");
        }
    }

    #[test]
    fn a_device_that_is_too_small_is_refused_with_how_many_are_needed() {
        check_geometry(&GEOMETRY).expect("enough");
        for (small, expected) in [
            (Geometry { zone_count: 7, ..GEOMETRY }, "7 zones; a store needs at least 8"),
            (Geometry { max_active_zones: 2, ..GEOMETRY }, "2 active zones; a store needs at least 3"),
        ] {
            match check_geometry(&small) {
                Err(EngineError::InvalidArgument(what)) => assert_eq!(what, expected),
                other => panic!("{other:?}"),
            }
        }
    }
}
