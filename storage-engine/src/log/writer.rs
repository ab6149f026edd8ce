//! The log writer: gives writes their seqnos, packs them into units, appends the units and makes them durable.
//!
//! New writes go to one stream or to several, by how long they are expected to live; so do copies. Seqnos are given out in
//! one order over all streams, and nothing counts as written before everything with a lower seqno is ([`crate::log::commit`]).
//! What is waited for at once is placed in one stream, so that it takes one append.
//!
//! Threading: each stream of new writes has a lock of its own (`user_streams`), and a write that has room in its stream's
//! open unit takes no other, so that threads that write to different streams pass nothing to and fro but the next seqno.
//! Whatever else is to be done holds all of them. None is held over I/O, but for the rare allocation of a zone that nobody
//! made ready in time. A unit that is sealed under the locks is submitted after they are released; since the device says
//! where an append landed, the order of submission does not matter.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use smallvec::SmallVec;

use crate::counter::own_stripe;
use crate::device::{DeviceError, Geometry, Persistence, Preparation, ZonedDevice};
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::manifest::Tail;
use crate::format::record::{Group, MAX_KEY_BYTES, Record, RecordKind, encoded_bytes, value_crc};
use crate::format::unit::{PreviousZone, StoreId, StreamKind, StreamName, UNIT_HEADER_BYTES};
use crate::gc::policy::{Clock, Lifetime, Placement, StreamId, ZoneHistory};
use crate::index::{Catalog, Entry, LargeId, LargeValue, Location, MAX_UNIT_BYTES, ZoneCharge};
use crate::log::commit::{Claims, Commit, Deferred, Level, Mends, State, Turn, Work};
use crate::log::company::Company;
use crate::log::durable_pace::DurablePace;
use crate::log::journal::Journaling;
use crate::log::memory::{UnitKey, UnitMemory};
use crate::log::stream::{Claim, SealFacts, SealedUnit, Stream};
use crate::log::user_streams::{UserLog, UserStreams};
use crate::patience::LockSoon;
use crate::queue::{Completion, IoQueue, Outcome, Request, Wait};
use crate::signal::Signal;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Instant, Mutex, MutexGuard};
use crate::units::{DevicePosition, Generation, SeqNo, ZoneId};
use crate::zones::{Allocator, Purpose, Role, ZoneClaims, ZoneTable, charge_bytes};

/// Appends in flight beyond which a writer waits.
const MAX_IN_FLIGHT: usize = 16;
/// The smallest append limit that a store works with: a unit must hold the longest key, and a quarter of it be left for the
/// part of a value that goes with it. Linux hands 124 KiB at once to a plain null_blk device.
pub(crate) const MIN_UNIT_BYTES: usize = 96 << 10;

/// A store that takes up fewer zones does without spare ones on the host.
const ZONES_WITHOUT_SPARES: u64 = 4;
/// The most bytes that a claim takes in a manifest.
const MAX_TAIL_BYTES: usize = 32;

/// One write to be logged.
#[derive(Clone, Copy, Debug)]
pub struct LogWrite<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its new value; `None` deletes.
    pub value: Option<&'a [u8]>,
}

/// When the index learns of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visibility {
    /// The caller publishes it at once.
    Immediate,
    /// The log publishes it when it is durable.
    WhenDurable,
}

/// In which streams writes may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// In the one that they were placed in.
    OwnStream,
    /// In any that has room, where no zone is to be had for their own.
    AnyStream,
}

/// Zones that streams are filling or will fill next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeingFilled {
    /// Bytes left of those that are being filled.
    pub left_bytes: u64,
    /// How many of these there are.
    pub zone_count: u32,
    /// How many are ready for the streams to go over to.
    pub ready_count: u32,
}

/// Zones that are ready to be filled, and the device's reset counts of them.
pub(super) type Ready = VecDeque<(ZoneId, u32)>;

/// Where writes lie, in their order. Most groups are of one write, and allocate nothing.
pub type Entries = SmallVec<[Entry; 1]>;

/// Why a write was not logged.
#[derive(Debug)]
pub enum AppendFailure {
    /// No zone is free for this purpose; cleaning may change that. Nothing was written.
    NoZone,
    /// For good.
    Error(EngineError),
}

/// A write that has its place in the log.
#[derive(Debug)]
pub struct Appended {
    /// The last of its seqnos.
    pub last_seqno: SeqNo,
    /// Units that filled up on the way: to be handed to [`LogWriter::submit`] when all locks are released.
    pub submissions: Vec<Submission>,
}

/// A unit to be submitted.
#[derive(Debug)]
pub struct Submission {
    pub(super) token: u64,
    pub(super) unit: SealedUnit,
    pub(super) persistence: Persistence,
}

/// What all parts of the log share.
#[derive(Debug)]
pub struct LogParts {
    /// The device.
    pub device: Arc<dyn ZonedDevice>,
    /// Where appends are submitted.
    pub queue: Arc<dyn IoQueue>,
    /// The ledger.
    pub zones: Arc<ZoneTable>,
    /// Free zones.
    pub allocator: Arc<Allocator>,
    /// Units in memory.
    pub memory: Arc<UnitMemory>,
    /// Index and large values.
    pub catalog: Arc<Catalog>,
    /// Raised when a stream has gone over to another zone, or free zones have become fewer.
    pub housekeeping: Arc<Signal>,
    /// Raised when a unit has begun to be filled.
    pub buffered: Arc<Signal>,
    /// Zones that have worn out and may hold live records, for the housekeeper.
    pub(crate) worn: Arc<Mutex<Vec<ZoneId>>>,
}

/// Where writing goes on.
#[derive(Debug)]
pub struct LogStart {
    /// The store.
    pub store: StoreId,
    /// This run of it.
    pub incarnation: u32,
    /// The last seqno there is; durable.
    pub last_seqno: SeqNo,
    /// The streams of new writes, by class; at least one.
    pub users: Vec<Stream>,
    /// The streams of copies, by class; at least one.
    pub copies: Vec<Stream>,
    /// What of them is on stable media.
    pub claims: Claims,
    /// Of each stream, appends to so many zones may be in flight at the same time.
    pub zones_in_flight: u64,
    /// The largest unit.
    pub unit_limit_bytes: usize,
    /// Whether zones should be made ready for many small durable appends from the start.
    pub expects_durable: bool,
}

/// The log writer.
#[derive(Debug)]
pub struct LogWriter {
    pub(super) parts: LogParts,
    geometry: Geometry,
    pub(super) store: StoreId,
    pub(super) incarnation: u32,
    unit_limit_bytes: usize,
    pub(super) commit: Commit,
    pub(super) user: UserStreams,
    pub(super) relocation: CachePadded<Mutex<CopyLog>>,
    durable_pace: DurablePace,
    pub(super) journaling: Journaling,
    company: Company,
    /// Why the zone that was wanted last is not to be had, when that is for want of room on the host.
    host_full: Mutex<Option<EngineError>>,
    /// Bytes sealed since the store was opened: the engine's clock.
    pub(super) clock_bytes: AtomicU64,
    /// The last seqno of the unit that was sealed last: the policy's clock.
    clock_writes: AtomicU64,
    /// A lifetime as long as the clock says, in steps: so that not every write takes a logarithm.
    clock_lifetime: AtomicU64,
}

/// The streams of copies.
#[derive(Debug)]
pub(super) struct CopyLog {
    /// By class.
    pub(super) streams: Vec<Stream>,
    pub(super) ready: Ready,
}

/// The largest unit on a device.
///
/// # Errors
/// The geometry's own; [`EngineError::InvalidArgument`] when its append limit, its zones or what is wanted are below
/// what a store needs.
pub fn unit_limit_bytes(geometry: &Geometry, wanted_bytes: usize) -> EngineResult<usize> {
    unit_limit_bytes_from(MIN_UNIT_BYTES, geometry, wanted_bytes)
}

/// The same where units may be as small as `least_bytes`: how small decides how long keys may be.
pub(crate) fn unit_limit_bytes_from(
    least_bytes: usize,
    geometry: &Geometry,
    wanted_bytes: usize,
) -> EngineResult<usize> {
    geometry.validate()?;
    let limit = wanted_bytes.min(geometry.append_limit_bytes as usize).min(MAX_UNIT_BYTES as usize);
    let capacity = usize::try_from(geometry.zone_capacity_bytes).unwrap_or(usize::MAX);
    let limit = geometry.round_down_to_block(limit.min(capacity) as u64);
    let limit = usize::try_from(limit).expect("below the limit above");
    if limit < least_bytes {
        return Err(EngineError::InvalidArgument(format!(
            "unit size, append limit and zone capacity allow units of {limit} bytes; a store needs at least \
             {least_bytes}"
        )));
    }
    Ok(limit)
}

impl LogWriter {
    /// A writer that goes on where recovery found the end.
    #[must_use]
    pub fn new(parts: LogParts, start: LogStart) -> Self {
        let geometry = *parts.device.geometry();
        let durable_pace = DurablePace::new(geometry.zone_capacity_bytes, start.expects_durable);
        Self {
            geometry,
            parts,
            store: start.store,
            incarnation: start.incarnation,
            unit_limit_bytes: start.unit_limit_bytes,
            commit: Commit::new(start.last_seqno, start.claims, start.zones_in_flight),
            user: UserStreams::new(start.users, start.last_seqno),
            relocation: CachePadded::new(Mutex::new(CopyLog { streams: start.copies, ready: Ready::new() })),
            durable_pace,
            journaling: Journaling::default(),
            company: Company::default(),
            host_full: Mutex::default(),
            clock_bytes: AtomicU64::new(0),
            clock_writes: AtomicU64::new(start.last_seqno.get()),
            clock_lifetime: AtomicU64::new(Lifetime::of_writes(start.last_seqno.get()).steps().into()),
        }
    }

    /// The time as policies count it, in writes: as it was when a unit was sealed last.
    #[must_use]
    pub fn clock_writes(&self) -> Clock {
        Clock::new(self.clock_writes.load(Ordering::Relaxed))
    }

    /// Where a write goes of which nothing is known: what is new lives for as long as the store has.
    #[must_use]
    pub fn place_new(&self) -> Placement {
        // There are no more than classes, which fit.
        let last = u8::try_from(self.user_stream_count() - 1).unwrap_or(u8::MAX);
        let steps = u16::try_from(self.clock_lifetime.load(Ordering::Relaxed)).unwrap_or(u16::MAX);
        Placement {
            stream: StreamId::new(last),
            written_at: self.clock_writes(),
            expected: Lifetime::of_steps(steps),
        }
    }

    /// The same for a write whose stream does not matter, since there is nothing to clean yet: threads write to different ones,
    /// and need not wait for each other.
    ///
    /// The first stream is left out where there are others: policies may take what it holds for short-lived.
    #[must_use]
    pub fn place_beside_others(&self) -> Placement {
        let lanes = (self.user_stream_count() - 1).max(1);
        let back = u8::try_from(own_stripe() % lanes).unwrap_or_default();
        let new = self.place_new();
        Placement { stream: StreamId::new(new.stream.get() - back), ..new }
    }

    /// How many streams of new writes there are.
    #[must_use]
    pub fn user_stream_count(&self) -> usize {
        self.user.count()
    }

    /// How many streams there are in all.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.user_stream_count() + self.relocation.lock().streams.len()
    }

    /// How far the log is.
    #[must_use]
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Bytes sealed since the store was opened.
    #[must_use]
    pub fn clock_bytes(&self) -> u64 {
        self.clock_bytes.load(Ordering::Relaxed)
    }

    /// The last seqno given out.
    #[must_use]
    pub fn last_seqno(&self) -> SeqNo {
        self.user.next_seqno().back(1)
    }

    /// The most value bytes in one part of a large value: four parts fill a unit.
    fn part_value_bytes(&self) -> usize {
        (self.unit_limit_bytes - UNIT_HEADER_BYTES) / 4 - encoded_bytes(0, 0, true)
    }

    /// How many records a write takes.
    fn record_count(&self, write: &LogWrite<'_>) -> usize {
        let value_bytes = write.value.map_or(0, <[u8]>::len);
        if value_bytes <= self.part_value_bytes() { 1 } else { value_bytes.div_ceil(self.part_value_bytes()) }
    }

    /// Bytes that a write takes in the log, padding not counted.
    #[must_use]
    pub fn logged_bytes(&self, write: &LogWrite<'_>) -> u64 {
        let count = self.record_count(write);
        let payload = write.key.len() + write.value.map_or(0, <[u8]>::len);
        (payload + count * encoded_bytes(0, 0, count > 1)) as u64
    }

    /// Gives writes the next seqnos and packs them: all of them, as one group, or none. Puts entries into `entries`.
    ///
    /// With [`Visibility::WhenDurable`] the log publishes them itself. Does no I/O but, rarely, the allocation of a zone.
    ///
    /// # Errors
    /// [`AppendFailure::NoZone`]; or the failure that has latched the store; nothing was written.
    ///
    /// # Panics
    /// When a key is longer than [`MAX_KEY_BYTES`]: the caller checks.
    pub fn append(
        &self,
        writes: &[LogWrite<'_>],
        purpose: Purpose,
        visibility: Visibility,
        (placement, fit): (Placement, Fit),
        entries: &mut Entries,
    ) -> Result<Appended, AppendFailure> {
        assert!(
            writes.iter().all(|write| write.key.len() <= MAX_KEY_BYTES),
            "keys are checked by the caller"
        );
        self.commit.check().map_err(AppendFailure::Error)?;
        let single = writes.first().filter(|write| writes.len() == 1 && self.record_count(write) == 1);
        let value_crc = single.map(|write| value_crc(write.value.unwrap_or_default()));
        if let (Some(write), Some(crc)) = (single, value_crc)
            && let Some((seqno, entry)) = self.append_to_open_unit((write, crc), placement, visibility)
        {
            entries.push(entry);
            return Ok(Appended { last_seqno: seqno, submissions: Vec::new() });
        }
        let mut log = self.user.hold();
        let mut submissions = Vec::new();
        let records: usize = writes.iter().map(|write| self.record_count(write)).sum();
        let group_last = log.next_seqno().forward(records as u64).back(1);
        let class = placement.stream.index();
        if !log.streams[class].spans(group_last) {
            submissions.extend(self.seal_user(&mut log, class, Persistence::Volatile));
        }
        let class = match self.make_room(&mut log, class, (writes, group_last), (purpose, fit)) {
            Ok(class) => class,
            Err(failure) => {
                drop(log);
                self.submit(submissions).map_err(AppendFailure::Error)?;
                return Err(failure);
            }
        };
        let was_open = log.streams[class].has_open_unit();
        log.shared.group_last = group_last;
        let mut packer = Packer::new(self, (&mut log, class), &mut submissions, (records, visibility));
        (packer.value_crc, packer.expected) = (value_crc, placement.expected);
        for write in writes {
            let entry = packer.pack(write);
            entries.push(entry);
        }
        let is_journaled = packer.is_journaled;
        if visibility == Visibility::WhenDurable {
            let deferred = writes.iter().zip(entries.iter()).map(|(write, entry)| Deferred {
                visible_at: group_last,
                key: write.key.into(),
                entry: *entry,
            });
            log.shared.deferred.extend(deferred);
        }
        let last_seqno = log.next_seqno().back(1);
        if !is_journaled {
            self.journaling.note_gap(&log.shared, last_seqno);
        }
        let begun = log.streams[class].has_open_unit() && (!was_open || !submissions.is_empty());
        drop(log);
        if begun && visibility == Visibility::Immediate {
            self.parts.buffered.raise();
        }
        Ok(Appended { last_seqno, submissions })
    }

    /// The usual case: one record, for which the unit being filled has room. Else nothing happens.
    fn append_to_open_unit(
        &self,
        (write, value_crc): (&LogWrite<'_>, u32),
        placement: Placement,
        visibility: Visibility,
    ) -> Option<(SeqNo, Entry)> {
        if visibility == Visibility::Immediate && !self.journaling.is_on() {
            let mut stream = self.user.streams[placement.stream.index()].lock_soon();
            // It is switched on by who holds all streams.
            if !self.journaling.is_on() {
                let (record, entry) = self.push_to(&mut stream, (write, value_crc), placement, visibility)?;
                return Some((record.seqno, entry));
            }
        }
        // What is journaled or deferred is so in the order of seqnos.
        let mut shared = self.user.shared.lock_soon();
        let mut stream = self.user.streams[placement.stream.index()].lock_soon();
        let (record, entry) = self.push_to(&mut stream, (write, value_crc), placement, visibility)?;
        if !shared.journal(&record, value_crc, &self.commit) {
            self.journaling.note_gap(&shared, record.seqno);
        }
        if visibility == Visibility::WhenDurable {
            shared.deferred.push(Deferred { visible_at: record.seqno, key: write.key.into(), entry });
        }
        Some((record.seqno, entry))
    }

    fn push_to<'a>(
        &self,
        stream: &mut Stream,
        (&LogWrite { key, value }, value_crc): (&LogWrite<'a>, u32),
        placement: Placement,
        visibility: Visibility,
    ) -> Option<(Record<'a>, Entry)> {
        let kind = if value.is_some() { RecordKind::Put } else { RecordKind::Delete };
        let mut record =
            Record { seqno: SeqNo::ZERO, kind, group: None, key, value: value.unwrap_or_default() };
        let record_bytes = record.encoded_bytes();
        record.seqno = self.user.take_seqno(|seqno| stream.takes(record_bytes, seqno))?;
        let location = stream.push(&record, value_crc, placement.expected);
        let entry = match value {
            None => Entry::Tombstone { location },
            Some(value) => {
                if visibility == Visibility::Immediate {
                    stream.note_live(charge_bytes(key.len(), value.len()));
                }
                Entry::Value { location, value_len: u32::try_from(value.len()).expect("fits a unit") }
            }
        };
        Some((record, entry))
    }

    /// Takes as many zones as the writes may need, and gives the stream that has room for them.
    fn make_room(
        &self,
        log: &mut UserLog<'_>,
        class: usize,
        (writes, group_last): (&[LogWrite<'_>], SeqNo),
        (purpose, fit): (Purpose, Fit),
    ) -> Result<usize, AppendFailure> {
        let part_bytes = self.part_value_bytes();
        let grouped = writes.len() > 1;
        let sizes = || writes.iter().flat_map(|write| record_sizes(write, part_bytes, grouped));
        if let [write] = writes
            && self.record_count(write) == 1
            && log.streams[class].fits(encoded_bytes(
                write.key.len(),
                write.value.map_or(0, <[u8]>::len),
                false,
            ))
        {
            return Ok(class);
        }
        let needed = log.streams[class].zones_needed(sizes());
        while log.shared.ready.len() < needed {
            if !self
                .take_ready(&mut log.shared.ready, StreamKind::User, purpose)
                .map_err(AppendFailure::Error)?
            {
                let has_room = |stream: &MutexGuard<'_, Stream>| {
                    stream.spans(group_last) && stream.zones_needed(sizes()) <= log.shared.ready.len()
                };
                let neighbour = log.streams.iter().position(has_room).filter(|_| fit == Fit::AnyStream);
                return neighbour.ok_or(AppendFailure::NoZone);
            }
        }
        Ok(class)
    }

    /// Takes a zone and makes it ready; `false` when none is to be had.
    pub(super) fn take_ready(
        &self,
        ready: &mut Ready,
        kind: StreamKind,
        purpose: Purpose,
    ) -> EngineResult<bool> {
        let Some(zone) = self.prepare_zone(kind, purpose)? else { return Ok(false) };
        ready.push_back(zone);
        Ok(true)
    }

    /// A zone that is ready to be filled; `None` when none is to be had, be it for want of zones or of room on the host.
    fn prepare_zone(&self, kind: StreamKind, purpose: Purpose) -> EngineResult<Option<(ZoneId, u32)>> {
        let durable = kind == StreamKind::User && self.durable_pace.is_dense(self.clock_bytes());
        let preparation = if durable { Preparation::DurableAppends } else { Preparation::Streaming };
        while let Some(zone) = self.parts.allocator.take(kind, purpose) {
            match self.make_ready(zone, preparation) {
                Ok(Some(reset_count)) => {
                    // The collector may have got one whose blocks were there already: that is no room for others.
                    if purpose == Purpose::Put {
                        self.note_host(None);
                    }
                    self.parts.housekeeping.raise();
                    return Ok(Some((zone, reset_count)));
                }
                // It has worn out while it was free.
                Ok(None) => self.parts.zones.zone(zone).set_role(Role::Lost),
                Err(error) => {
                    self.parts.allocator.put_back(zone);
                    return self.without_room(error, kind, purpose);
                }
            }
        }
        self.parts.housekeeping.raise();
        Ok(None)
    }

    /// Gets a free zone ready and gives its reset count; `None` when it has worn out.
    fn make_ready(&self, zone: ZoneId, preparation: Preparation) -> EngineResult<Option<u32>> {
        let descriptor = self.parts.device.report(zone)?;
        if descriptor.state.is_worn() {
            return Ok(None);
        }
        self.parts.device.prepare(zone, preparation)?;
        Ok(Some(descriptor.reset_count))
    }

    /// What becomes of a caller for whom the host had no room: deletes and the collector take what was kept for them,
    /// others get no zone, as when the store has no more.
    fn without_room(
        &self,
        error: EngineError,
        kind: StreamKind,
        purpose: Purpose,
    ) -> EngineResult<Option<(ZoneId, u32)>> {
        if !error.is_full_host() {
            return Err(error);
        }
        self.note_host(Some(error));
        let Some(zone) = self.parts.allocator.take_spare(kind, purpose) else { return Ok(None) };
        match self.make_ready(zone, Preparation::Streaming) {
            Ok(Some(reset_count)) => Ok(Some((zone, reset_count))),
            _ => {
                self.parts.allocator.put_back(zone);
                Ok(None)
            }
        }
    }

    fn note_host(&self, full: Option<EngineError>) {
        let mut host_full = self.host_full.lock();
        if host_full.is_some() || full.is_some() {
            self.parts.allocator.set_host_full(full.is_some());
            *host_full = full;
        }
    }

    /// What the host said, when there was no room for the last zone that was wanted.
    #[must_use]
    pub fn host_full(&self) -> Option<EngineError> {
        self.host_full.lock().clone()
    }

    /// Sees to it that the zones kept for deletes and the collector have blocks.
    pub fn keep_spares(&self) {
        // A small store does not take up what it may never need.
        if self.parts.allocator.taken_count() < ZONES_WITHOUT_SPARES {
            return;
        }
        for zone in self.parts.allocator.spare_candidates() {
            // On a full host some have their blocks already; who needs one in vain meets the error.
            if self.parts.device.prepare(zone, Preparation::Streaming).is_ok() {
                self.parts.allocator.keep_spare(zone);
            }
            if self.parts.allocator.has_spares() {
                return;
            }
        }
    }

    /// Makes the next zone of new writes ready before it is needed. For a background thread.
    ///
    /// # Errors
    /// The device's; nothing is lost, and a put will meet the same error.
    pub fn ready_next_zone(&self) -> EngineResult<()> {
        if !self.user.shared.lock().ready.is_empty() {
            return Ok(());
        }
        if let Some(zone) = self.prepare_zone(StreamKind::User, Purpose::Put)? {
            self.user.shared.lock().ready.push_back(zone);
        }
        Ok(())
    }

    /// How many zones have been begun for new writes since the store was opened.
    #[must_use]
    pub fn user_zones_begun(&self) -> u64 {
        self.user.hold().streams.iter().map(|stream| stream.begun_count()).sum()
    }

    /// Gives up the zones that are ready, and with them what they have of the host; those kept in hand too, as long as the host
    /// has room. Whoever needs one waits until it is made ready. Only the housekeeper calls this.
    pub fn give_up_stock(&self) {
        let mut ready = std::mem::take(&mut self.user.shared.lock().ready);
        ready.append(&mut self.relocation.lock().ready);
        let LogParts { device, allocator, .. } = &self.parts;
        for (zone, _) in ready {
            // That it takes space does no harm.
            let _ = device.unprepare(zone);
            allocator.put_back(zone);
        }
        if self.host_full().is_some() {
            return;
        }
        while let Some(zone) = allocator.take_out_spare() {
            let _ = device.unprepare(zone);
            allocator.give_back_set_aside(zone);
        }
    }

    pub(super) fn facts(&self, stream: StreamName) -> SealFacts {
        let (watermark, mut claim) = self.commit.facts(stream);
        claim.unit_end += u32::from(fault::is_on(Fault::ClaimTooMuch));
        SealFacts { store: self.store, incarnation: self.incarnation, watermark, claim }
    }

    /// Registers a sealed unit; `wanted` persistence is given where this unit alone is what is not durable yet. Everything up
    /// to `sealed` is in units that are registered with it.
    fn register(
        &self,
        unit: SealedUnit,
        deferred: Vec<Deferred>,
        (wanted, sealed): (Persistence, SeqNo),
    ) -> Submission {
        let zone = self.parts.zones.zone(unit.key.zone);
        zone.add_written(unit.payload.len() as u64);
        self.parts.zones.count_written(unit.stream, unit.payload.len() as u64);
        zone.move_record(unit.live_bytes);
        if unit.stream.kind == StreamKind::User {
            zone.raise_newest_seqno(unit.last_seqno);
        }
        self.clock_bytes.fetch_add(unit.payload.len() as u64, Ordering::Relaxed);
        let (token, alone) = self.commit.register(&unit, deferred, sealed);
        let persistence = if alone { wanted } else { Persistence::Volatile };
        Submission { token, unit, persistence }
    }

    /// Seals the unit being filled of one of the streams of new writes.
    pub(super) fn seal_user(
        &self,
        log: &mut UserLog<'_>,
        class: usize,
        wanted: Persistence,
    ) -> Option<Submission> {
        let stream = &mut *log.streams[class];
        let unit = stream.seal(&self.facts(stream.name()), &self.parts.memory)?;
        self.take_down_history(stream, unit.key.zone);
        let now = unit.last_seqno.get().max(self.clock_writes.load(Ordering::Relaxed));
        self.clock_writes.store(now, Ordering::Relaxed);
        self.clock_lifetime.store(Lifetime::of_writes(now).steps().into(), Ordering::Relaxed);
        self.journaling.pause_when_idle(&mut log.shared);
        let deferred = std::mem::take(&mut log.shared.deferred);
        // A group is visible when its last record is durable. Until then its zones must not look ripe to the collector.
        self.parts
            .zones
            .zone(unit.key.zone)
            .raise_newest_seqno(log.shared.group_last.max(log.next_seqno().back(1)));
        let sealed = log.sealed();
        Some(self.register(unit, deferred, (wanted, sealed)))
    }

    /// Seals all units of new writes that are being filled.
    fn seal_users(&self, log: &mut UserLog<'_>, wanted: Persistence) -> Vec<Submission> {
        (0..self.user_stream_count()).filter_map(|class| self.seal_user(log, class, wanted)).collect()
    }

    fn take_down_history(&self, stream: &Stream, zone: ZoneId) {
        if let Some(history) = stream.history() {
            self.parts.zones.zone(zone).set_history(history);
        }
    }

    /// Makes room in a stream for a record whose unit has been sealed: goes over to the next zone as needed, and begins a unit.
    fn advance(
        &self,
        (stream, ready): (&mut Stream, &mut Ready),
        record_bytes: usize,
        (seqno, placement): (SeqNo, Placement),
    ) -> Vec<Submission> {
        let mut submissions = Vec::new();
        if !stream.zone_fits(record_bytes) {
            submissions = self.leave(stream, seqno);
            let zone = self.begin_next_zone((stream, ready), seqno);
            // Until a unit has been sealed.
            let Placement { stream: id, written_at, expected } = placement;
            self.parts.zones.zone(zone).set_history(ZoneHistory { stream: id, written_at, expected });
            self.parts.housekeeping.raise();
        }
        let first_seqno = if stream.name().kind == StreamKind::User { seqno } else { SeqNo::ZERO };
        stream.begin_unit(first_seqno, &self.parts.memory);
        submissions
    }

    /// Goes over to the next ready zone; new writes in it will have seqnos from `next_seqno` on.
    pub(super) fn begin_next_zone(
        &self,
        (stream, ready): (&mut Stream, &mut Ready),
        next_seqno: SeqNo,
    ) -> ZoneId {
        let next = ready.pop_front().expect("the caller has made zones ready");
        let name = stream.name();
        stream.begin_zone(next, |zone| {
            let generation = self.parts.allocator.begin(zone);
            self.parts.zones.zone(zone).set_class(name.class);
            if name.kind == StreamKind::User {
                self.parts.zones.zone(zone).set_first_seqno(next_seqno);
            }
            generation
        });
        next.0
    }

    /// Fills up the zone that a stream is at.
    pub(super) fn leave(&self, stream: &mut Stream, seqno: SeqNo) -> Vec<Submission> {
        let name = stream.name();
        let Some((zone, fillers)) = stream.leave_zone(seqno, &self.facts(name), &self.parts.memory) else {
            return Vec::new();
        };
        // Fillers hold no writes: they seal none.
        let nothing = (Persistence::Volatile, SeqNo::ZERO);
        let submissions =
            fillers.into_iter().map(|filler| self.register(filler, Vec::new(), nothing)).collect();
        self.parts.zones.zone(zone).set_sealed_at_bytes(self.clock_bytes());
        let PreviousZone { claim_first, unit_count, .. } = stream.previous();
        self.parts.zones.zone(zone).set_left_claim(claim_first, unit_count);
        self.parts.zones.zone(zone).set_role(Role::Sealed(name.kind));
        submissions
    }

    /// Fills up a zone if a stream is at it still, so that the collector may empty it. Only the collector calls this.
    ///
    /// # Errors
    /// The failure that has latched the store.
    pub fn leave_zone(&self, zone: ZoneId) -> EngineResult<()> {
        let is_at = |stream: &Stream| stream.zone().is_some_and(|filled| filled.zone == zone);
        let mut submissions = Vec::new();
        let mut log = self.user.hold();
        let class = log.streams.iter().position(|stream| is_at(stream));
        if let Some(class) = class {
            submissions.extend(self.seal_user(&mut log, class, Persistence::Volatile));
            let next_seqno = log.next_seqno();
            submissions.extend(self.leave(&mut log.streams[class], next_seqno));
        }
        drop(log);
        let mut copies = self.relocation.lock();
        if let Some(stream) = copies.streams.iter_mut().find(|stream| is_at(stream)) {
            submissions.extend(self.seal_relocation(stream));
            submissions.extend(self.leave(stream, SeqNo::ZERO));
            self.parts.zones.zone(zone).forget_copied();
        }
        drop(copies);
        self.submit(submissions)
    }

    /// Hands sealed units to the queue. Blocks while too many appends or zones are in flight.
    ///
    /// # Errors
    /// The failure that has latched the store.
    pub fn submit(&self, submissions: Vec<Submission>) -> EngineResult<()> {
        if submissions.is_empty() {
            return Ok(());
        }
        for submission in submissions {
            let any = fault::is_on(Fault::ActivateTooMany);
            let SealedUnit { stream, zone_ordinal, .. } = submission.unit;
            self.wait_until(|state| any || state.may_activate(stream, zone_ordinal))?;
            self.hand_over(submission);
        }
        self.reap(Wait::Never);
        self.wait_until(|state| state.in_flight_len() <= MAX_IN_FLIGHT)
    }

    fn hand_over(&self, Submission { token, unit, persistence, .. }: Submission) {
        let request = Request::Append {
            zone_start: self.zone_start(unit.key.zone),
            payload: unit.payload,
            persistence,
            user_data: token,
        };
        match self.parts.queue.submit(request) {
            Ok(()) => self.commit.submitted(),
            Err(refused) => self.not_appended(token, refused.error),
        }
    }

    fn zone_start(&self, zone: ZoneId) -> DevicePosition {
        if fault::is_on(Fault::AddressByCapacity) {
            return DevicePosition::new(u64::from(zone.get()) * self.geometry.zone_capacity_bytes);
        }
        self.geometry.zone_start(zone)
    }

    fn wait_until(&self, done: impl Fn(&State) -> bool) -> EngineResult<()> {
        self.wait_and_mend(Mends::User, done)
    }

    fn wait_and_mend(&self, mends: Mends, done: impl Fn(&State) -> bool) -> EngineResult<()> {
        self.commit.wait_until(mends, done, |work| match work {
            Work::Reap => self.reap(Wait::ForOne),
            Work::Mend(stream) => self.mend(stream),
            Work::Submit(moved) => self.hand_over(moved),
        })
    }

    /// Wear is no failure of the store's: the unit is written elsewhere. Everything else is.
    fn not_appended(&self, token: u64, error: DeviceError) {
        match error {
            DeviceError::ZoneReadOnly { .. } | DeviceError::ZoneOffline { .. } => {
                self.commit.refuse(token, error.into());
            }
            error => self.commit.fail(error.into()),
        }
    }

    fn reap(&self, wait: Wait) {
        let mut completions = Vec::new();
        if let Err(error) = self.parts.queue.reap(wait, &mut completions) {
            self.commit.fail(EngineError::io("waiting for the append queue", error));
        }
        for completion in completions {
            self.complete(completion);
        }
    }

    fn complete(&self, completion: Completion) {
        let token = completion.user_data;
        let Outcome::Append(result) = completion.outcome else {
            unreachable!("the append queue is given appends only")
        };
        match result {
            Ok(sector) => {
                // It leaves the in-flight table when its place is known: a zone without appends in flight has all its places.
                let in_flight = self.commit.in_flight(token);
                self.parts.zones.zone(in_flight.key.zone).set_place(in_flight.key.unit, sector);
                self.parts.memory.placed(in_flight.key);
                self.commit.placed(token, in_flight);
            }
            Err(_) if fault::is_on(Fault::GoOnAfterFailedAppend) => {
                let in_flight = self.commit.in_flight(token);
                self.commit.placed(token, in_flight);
            }
            Err(error) => {
                self.commit.ended_without_place();
                self.not_appended(token, error);
            }
        }
    }

    /// Blocks until everything up to `target` has reached `level`; publishes what becomes durable.
    ///
    /// # Errors
    /// The failure that has latched the store: then nothing is known about `target`.
    pub fn commit_to(&self, target: SeqNo, level: Level) -> EngineResult<()> {
        if level == Level::Written && self.outlives_process()? {
            return Ok(());
        }
        self.company.join();
        let reached = self.lead_or_follow(target, level);
        self.company.leave();
        reached
    }

    fn lead_or_follow(&self, target: SeqNo, level: Level) -> EngineResult<()> {
        loop {
            match self.commit.turn(target, level)? {
                Turn::Reached => return Ok(()),
                Turn::Follow(state) => self.commit.follow(state),
                Turn::Lead => {
                    self.company.gather();
                    let began = Instant::now();
                    let led = self.lead(target, level);
                    self.company.end_round(began.elapsed());
                    self.commit.leader_done();
                    led?;
                }
            }
        }
    }

    fn lead(&self, target: SeqNo, level: Level) -> EngineResult<()> {
        let wanted = match level {
            Level::Written => Persistence::Volatile,
            Level::Durable => Persistence::Durable,
        };
        let moved_count = self.commit.moved_count();
        let sealed = self.seal_users(&mut self.user.hold(), wanted);
        let forced = match &sealed[..] {
            [Submission { unit, persistence: Persistence::Durable, .. }] => {
                let claim = Claim { generation: unit.key.generation, unit_end: unit.key.unit + 1 };
                Some((unit.last_seqno, unit.stream, claim))
            }
            _ => None,
        };
        self.submit(sealed)?;
        let until = forced.map_or(target, |(last, ..)| last);
        self.wait_until(|state| state.written() >= until)?;
        // What was moved has been appended anew, and not written through.
        let forced = forced.filter(|_| self.commit.moved_count() == moved_count);
        match level {
            Level::Written => Ok(()),
            Level::Durable => self.make_durable(forced),
        }
    }

    fn make_durable(&self, forced: Option<(SeqNo, StreamName, Claim)>) -> EngineResult<()> {
        self.durable_pace.note(self.clock_bytes());
        match forced {
            Some((covered, stream, claim)) => {
                self.publish_up_to(covered, self.commit.claims_with(stream, claim));
            }
            None => self.flush_and_publish()?,
        }
        Ok(())
    }

    fn flush_and_publish(&self) -> EngineResult<()> {
        let (covered, claims) = self.commit.flush_covers();
        if !fault::is_on(Fault::AcknowledgeBeforeFlush) {
            self.flush_device()?;
        }
        self.publish_up_to(covered, claims);
        Ok(())
    }

    fn publish_up_to(&self, covered: SeqNo, claims: Claims) {
        self.commit.advance_durable(covered, claims, |Deferred { key, entry, .. }| {
            self.parts.catalog.publish(&key, entry, ZoneCharge::Now);
        });
    }

    fn flush_device(&self) -> EngineResult<()> {
        let mut flushed = self.parts.device.flush();
        if flushed.is_err() && fault::is_on(Fault::RetryFailedFlush) {
            flushed = self.parts.device.flush();
        }
        flushed.map_err(|error: DeviceError| {
            let error = EngineError::from(error);
            self.commit.fail(error.clone());
            error
        })
    }

    /// Appends what is buffered and blocks until that is done. For the timer of buffered writes.
    ///
    /// # Errors
    /// The failure that has latched the store.
    pub fn append_buffered(&self) -> EngineResult<()> {
        let target = self.append_open_units()?;
        self.wait_until(|state| state.written() >= target)
    }

    /// Appends the units being filled and gives the last seqno there is.
    fn append_open_units(&self) -> EngineResult<SeqNo> {
        let mut log = self.user.hold();
        let sealed = self.seal_users(&mut log, Persistence::Volatile);
        let last_seqno = log.next_seqno().back(1);
        drop(log);
        self.submit(sealed)?;
        Ok(last_seqno)
    }

    /// Blocks until no append is in flight.
    ///
    /// # Errors
    /// The failure that has latched the store.
    pub fn settle(&self) -> EngineResult<()> {
        self.wait_and_mend(Mends::All, |state| state.in_flight_len() == 0)
    }

    /// Blocks until no append to a zone that nothing more is appended to is in flight. Only the collector calls this.
    ///
    /// # Errors
    /// The failure that has latched the store.
    pub fn settle_zone(&self, zone: ZoneId) -> EngineResult<()> {
        self.wait_and_mend(Mends::All, |state| !state.has_appends_to(zone))
    }

    /// Blocks until no copy is in flight. Only the collector calls this.
    ///
    /// # Errors
    /// The failure that has latched the store.
    pub fn settle_relocations(&self) -> EngineResult<()> {
        self.wait_and_mend(Mends::All, |state| !state.relocations_in_flight())
    }

    /// Copies an encoded record to a stream of copies; to another one that has room where only the reserve has a zone for it.
    /// Only the collector calls this.
    ///
    /// # Errors
    /// [`AppendFailure::NoZone`] when not even the reserve has a zone left; or the failure that has latched the store.
    pub fn relocate(
        &self,
        record: &[u8],
        class: usize,
        placement: Placement,
    ) -> Result<Location, AppendFailure> {
        // Here, where no place of a copy is on its way to the index: it would not be moved with its unit.
        if self.commit.begin_mending(StreamKind::Relocation) {
            self.mend(StreamKind::Relocation);
        }
        let mut submissions = Vec::new();
        let mut copies = self.relocation.lock();
        let class = self.make_room_for_copy(&mut copies, class, record.len())?;
        let CopyLog { streams, ready } = &mut *copies;
        let stream = &mut streams[class];
        if !stream.fits(record.len()) {
            submissions.extend(self.seal_relocation(stream));
            let at = (SeqNo::ZERO, placement);
            submissions.extend(self.advance((stream, ready), record.len(), at));
        }
        let location = stream.push_encoded(record, placement);
        drop(copies);
        self.submit(submissions).map_err(AppendFailure::Error)?;
        Ok(location)
    }

    fn make_room_for_copy(
        &self,
        CopyLog { streams, ready }: &mut CopyLog,
        class: usize,
        record_bytes: usize,
    ) -> Result<usize, AppendFailure> {
        let needed = |stream: &Stream| stream.zones_needed(std::iter::once(record_bytes));
        let neighbour = || streams.iter().position(|stream| needed(stream) == 0);
        while ready.len() < needed(&streams[class]) {
            // What puts leave alone is kept for deletes as well: classes come after that.
            if self.parts.allocator.available_count(Purpose::Put) == 0
                && let Some(neighbour) = neighbour()
            {
                return Ok(neighbour);
            }
            let taken = self.take_ready(ready, StreamKind::Relocation, Purpose::Relocation);
            if !taken.map_err(AppendFailure::Error)? {
                return neighbour().ok_or(AppendFailure::NoZone);
            }
        }
        Ok(class)
    }

    pub(super) fn seal_relocation(&self, stream: &mut Stream) -> Option<Submission> {
        let unit = stream.seal(&self.facts(stream.name()), &self.parts.memory)?;
        self.take_down_history(stream, unit.key.zone);
        Some(self.register(unit, Vec::new(), (Persistence::Volatile, SeqNo::ZERO)))
    }

    /// Blocks until all copies are on stable media, and all writes up to `superseded`: what supersedes records that are left
    /// behind must be durable as well, or a crash would leave neither.
    ///
    /// # Errors
    /// The failure that has latched the store.
    pub fn make_relocations_durable(&self, superseded: SeqNo) -> EngineResult<()> {
        let mut copies = self.relocation.lock();
        let sealed = copies.streams.iter_mut().filter_map(|stream| self.seal_relocation(stream)).collect();
        drop(copies);
        self.submit(sealed)?;
        self.settle_relocations()?;
        self.flush_up_to(superseded)
    }

    /// Flushes the device, after everything that has been logged up to a write has been appended.
    fn flush_up_to(&self, last: SeqNo) -> EngineResult<()> {
        loop {
            match self.commit.turn_to_flush()? {
                Turn::Reached => return Ok(()),
                Turn::Follow(state) => self.commit.follow(state),
                Turn::Lead => {
                    let flushed = self.append_and_flush(last);
                    self.commit.leader_done();
                    return flushed;
                }
            }
        }
    }

    fn append_and_flush(&self, last: SeqNo) -> EngineResult<()> {
        self.append_open_units_up_to(last)?;
        self.wait_until(|state| state.written() >= last)?;
        self.flush_and_publish()
    }

    /// Appends the units being filled that hold writes up to this one.
    fn append_open_units_up_to(&self, last: SeqNo) -> EngineResult<()> {
        let mut log = self.user.hold();
        let is_wanted = |stream: &Stream| stream.open_first_seqno().is_some_and(|first| first <= last);
        let classes = (0..self.user_stream_count()).filter(|&class| is_wanted(&log.streams[class]));
        let sealed = classes.collect::<Vec<_>>().into_iter();
        let sealed =
            sealed.filter_map(|class| self.seal_user(&mut log, class, Persistence::Volatile)).collect();
        drop(log);
        self.submit(sealed)
    }

    /// Whether no append to this filling of a zone is in flight.
    #[must_use]
    pub fn is_quiet(&self, zone: ZoneId) -> bool {
        !self.commit.appends_to(zone)
    }

    /// Copies `len` bytes out of the unit being filled, when `key` is that unit; `read` gets its bytes.
    pub fn read_open_unit<T>(&self, key: UnitKey, read: impl Fn(&[u8]) -> T) -> Option<T> {
        if let Some(found) = self.user.find_map(|stream| stream.open_bytes(key).map(&read)) {
            return Some(found);
        }
        self.relocation.lock().streams.iter().find_map(|stream| stream.open_bytes(key)).map(read)
    }

    /// When the oldest unit of new writes was begun that is being filled.
    #[must_use]
    pub fn open_unit_begun(&self) -> Option<Instant> {
        self.user.hold().streams.iter().filter_map(|stream| stream.open_unit_begun()).min()
    }

    /// What is left of the zones that streams fill, and the zones made ready for them.
    #[must_use]
    pub fn being_filled(&self) -> BeingFilled {
        let count = |(count, sum), left| (count + 1, sum + left);
        let (of_users, user_ready) = {
            let user = self.user.hold();
            let left = user.streams.iter().filter_map(|stream| stream.left_of_zone());
            (left.fold((0, 0), count), user.shared.ready.len())
        };
        let copies = self.relocation.lock();
        let (zone_count, left_bytes) =
            copies.streams.iter().filter_map(Stream::left_of_zone).fold(of_users, count);
        let ready_count = u32::try_from(user_ready + copies.ready.len()).unwrap_or(u32::MAX);
        BeingFilled { left_bytes, zone_count, ready_count }
    }

    /// The zones that new writes go to, and the live bytes in each that its account lacks until the unit being filled is
    /// sealed ([`ZoneCharge::WithUnit`]).
    #[must_use]
    pub fn noted_live(&self) -> Vec<(ZoneId, i64)> {
        self.user.hold().streams.iter().filter_map(|stream| stream.noted_live()).collect()
    }

    /// How far the streams have filled their zones on stable media, for the manifest.
    #[must_use]
    pub fn tails(&self) -> Vec<Tail> {
        let mut tails: Vec<Tail> =
            self.user.hold().streams.iter().filter_map(|stream| self.tail(stream)).collect();
        tails.extend(self.relocation.lock().streams.iter().filter_map(|stream| self.tail(stream)));
        tails.extend(self.claims_on_filled_zones());
        tails
    }

    /// What of the other zones is on stable media.
    ///
    /// The units behind a zone's last ones claim them as well, but may be reset long before that zone is.
    fn claims_on_filled_zones(&self) -> Vec<Tail> {
        let claims = self.commit.durable_claims();
        let mut tails = Vec::new();
        for (id, zone) in self.parts.zones.iter() {
            let generation = zone.generation();
            let ZoneClaims { recovered, left } = zone.claims();
            let left = left.filter(|_| match zone.role() {
                Role::Sealed(kind) => {
                    let stream = StreamName { kind, class: zone.class() };
                    generation < claims.of(stream).generation
                }
                _ => false,
            });
            let ranges = recovered.into_iter().chain(left).filter(|(first, end)| first < end);
            tails.extend(ranges.map(|(claim_first, unit_count)| Tail {
                zone: id,
                generation,
                claim_first,
                unit_count,
                previous: (Generation::default(), 0, 0),
            }));
        }
        tails.truncate(most_tails(&self.geometry));
        tails
    }

    fn tail(&self, stream: &Stream) -> Option<Tail> {
        let Some(zone) = stream.zone() else { return self.tail_of_filled_zone(stream) };
        let (_, claim) = self.commit.facts(stream.name());
        if claim.generation != zone.generation || claim.unit_end <= zone.claim_first {
            return None;
        }
        let PreviousZone { generation, claim_first, unit_count } = zone.previous;
        Some(Tail {
            zone: zone.zone,
            generation: zone.generation,
            claim_first: zone.claim_first,
            unit_count: claim.unit_end,
            previous: (generation, claim_first, unit_count),
        })
    }

    /// A stream found at opening with its last zone full has not begun another one yet; nor has one whose zone the collector
    /// wanted. When that zone is about to be reset, its claims have been forgotten, and here as well.
    fn tail_of_filled_zone(&self, stream: &Stream) -> Option<Tail> {
        let PreviousZone { generation, claim_first, unit_count } = stream.previous();
        let (zone, state) = self.parts.zones.iter().find(|(_, zone)| zone.generation() == generation)?;
        let ZoneClaims { recovered, left } = state.claims();
        if recovered.is_empty() && left.is_none() && !fault::is_on(Fault::ClaimCollectedZones) {
            return None;
        }
        let nothing = (Generation::default(), 0, 0);
        (unit_count > claim_first).then_some(Tail {
            zone,
            generation,
            claim_first,
            unit_count,
            previous: nothing,
        })
    }
}

/// How many tails a manifest may have: it is one append, and several of them fit into a zone.
pub(crate) fn most_tails(geometry: &Geometry) -> usize {
    let room_bytes = u64::from(geometry.append_limit_bytes).min(geometry.zone_capacity_bytes) / 2;
    usize::try_from(room_bytes).expect("64-bit sizes") / MAX_TAIL_BYTES
}

fn record_sizes(
    write: &LogWrite<'_>,
    part_bytes: usize,
    grouped: bool,
) -> impl Iterator<Item = usize> + use<> {
    let (key_bytes, value_bytes) = (write.key.len(), write.value.map_or(0, <[u8]>::len));
    let parts = value_bytes.div_ceil(part_bytes).max(1);
    (0..parts).map(move |part| {
        let key = if part == 0 { key_bytes } else { 0 };
        let value = (value_bytes - part * part_bytes).min(part_bytes);
        encoded_bytes(key, value, grouped || parts > 1)
    })
}

/// Packs the records of one group into units.
struct Packer<'a, 'log> {
    writer: &'a LogWriter,
    log: &'a mut UserLog<'log>,
    class: usize,
    /// What is expected of the records.
    expected: Lifetime,
    submissions: &'a mut Vec<Submission>,
    visibility: Visibility,
    group_len: u32,
    group_index: u32,
    /// Checksum of the first record's value, where it was computed before the lock was taken.
    value_crc: Option<u32>,
    /// Whether all records so far are in the journal too.
    is_journaled: bool,
}

impl<'a, 'log> Packer<'a, 'log> {
    fn new(
        writer: &'a LogWriter,
        (log, class): (&'a mut UserLog<'log>, usize),
        submissions: &'a mut Vec<Submission>,
        (records, visibility): (usize, Visibility),
    ) -> Self {
        let expected = Lifetime::LONGEST;
        let group_len = u32::try_from(records).expect("a batch is limited to far fewer records");
        Self {
            writer,
            log,
            class,
            expected,
            submissions,
            visibility,
            group_len,
            group_index: 0,
            value_crc: None,
            is_journaled: true,
        }
    }

    fn pack(&mut self, write: &LogWrite<'_>) -> Entry {
        let part_bytes = self.writer.part_value_bytes();
        match write.value {
            None => Entry::Tombstone { location: self.push(RecordKind::Delete, write.key, &[], (0, 0)) },
            Some(value) if value.len() <= part_bytes => {
                let location = self.push(RecordKind::Put, write.key, value, (0, 0));
                if self.visibility == Visibility::Immediate {
                    self.log.streams[self.class].note_live(charge_bytes(write.key.len(), value.len()));
                }
                Entry::Value { location, value_len: u32::try_from(value.len()).expect("fits a unit") }
            }
            Some(value) => self.pack_large(write.key, value, part_bytes),
        }
    }

    fn pack_large(&mut self, key: &[u8], value: &[u8], part_bytes: usize) -> Entry {
        let id = LargeId::new(self.log.next_seqno().get());
        let count = u32::try_from(value.len().div_ceil(part_bytes)).expect("values are at most 1 GiB");
        let mut parts = Vec::with_capacity(count as usize);
        for (index, part) in (0..count).zip(value.chunks(part_bytes)) {
            let key = if index == 0 { key } else { &[] };
            let location = self.push(RecordKind::Part, key, part, (index, count));
            parts.push((location, u32::try_from(part.len()).expect("fits a unit")));
        }
        let value = LargeValue::new(key.len(), self.writer.incarnation, parts);
        self.writer.parts.catalog.large().insert(id, value);
        Entry::Large { id }
    }

    fn push(
        &mut self,
        kind: RecordKind,
        key: &[u8],
        value: &[u8],
        (part_index, part_count): (u32, u32),
    ) -> Location {
        let group = (self.group_len > 1).then_some(Group {
            index: self.group_index,
            len: self.group_len,
            part_index,
            part_count,
            incarnation: self.writer.incarnation,
        });
        let record = Record { seqno: self.log.next_seqno(), kind, group, key, value };
        let record_bytes = record.encoded_bytes();
        if !self.log.streams[self.class].fits(record_bytes) {
            self.begin_unit(record_bytes);
        }
        let crc = self.value_crc.take().unwrap_or_else(|| value_crc(value));
        let location = self.log.streams[self.class].push(&record, crc, self.expected);
        self.is_journaled = self.is_journaled && self.log.shared.journal(&record, crc, &self.writer.commit);
        self.log.step_seqno();
        self.group_index += 1;
        location
    }

    fn begin_unit(&mut self, record_bytes: usize) {
        let sealed = self.writer.seal_user(self.log, self.class, Persistence::Volatile);
        self.submissions.extend(sealed);
        let next_seqno = self.log.next_seqno();
        let (stream, ready) = (&mut *self.log.streams[self.class], &mut self.log.shared.ready);
        let written_at = Clock::new(next_seqno.get());
        let id = StreamId::new(stream.name().class);
        let placement = Placement { stream: id, written_at, expected: self.expected };
        let next = (next_seqno, placement);
        self.submissions.extend(self.writer.advance((stream, ready), record_bytes, next));
    }
}
