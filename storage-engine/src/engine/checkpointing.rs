//! Checkpoints of the index while the store is in use: when, and step by step.
//!
//! One step appends at most one block, so that collecting and writing go on in between. Steps are taken by the
//! housekeeping thread, and by closing when that thread has ended: collecting and a step never overlap.
//!
//! Order, on which everything hangs:
//! 1. Make durable what has been logged; look which zones are complete (`checkpoint::coverage`).
//! 2. Wait for an epoch to pass: then the index knows all that is in those zones.
//! 3. Write down those zones, and the entries that point into them, while others write.
//! 4. Make durable everything logged until then, copies included, and the blocks: what the index pointed at in place of
//!    what was left out must not be lost to a crash.
//! 5. Name the checkpoint in the manifest. Recovery may choose it from here on.
//! 6. Of three checkpoints reset the oldest one's zones.
//!
//! Checkpoints give way: they take no zone that puts may need soon, and the collector has them dropped when it finds
//! nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use super::background::{LOW_FREE_ZONES, Step};
use super::opening::append_queue;
use super::placing::MIN_ACTIVE_ZONES_FOR_CHECKPOINTS;
use super::{Engine, Inner};
use crate::checkpoint::coverage::Coverage;
use crate::checkpoint::writer::{Appended, CheckpointWriter, MAX_CHECKPOINT_ZONES};
use crate::device::Preparation;
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::checkpoint::{BlockBuilder, BlockKind, MAX_PAGE_BYTES, PartsRow, ZoneRow};
use crate::format::manifest::CheckpointName;
use crate::index::ordered::Walk;
use crate::index::{Entry, LargeId};
use crate::log::commit::Level;
use crate::log::writer::LogWriter;
use crate::pinned::wait_for_pinned;
use crate::queue::{IoQueue, QueueKind};
use crate::sync::{Condvar, Mutex};
use crate::units::ZoneId;
use crate::zones::{Purpose, Role};

/// Checkpoints kept.
const KEPT: usize = 2;
/// What is written between two automatic checkpoints is at least so many times the memory of the index.
const LEAST_SHARE: u64 = 8;
/// What would have to be read at the next opening, in bytes, from which on closing writes a checkpoint.
const WORTHWHILE_BYTES: u64 = 64 << 20;
/// Leaves looked at in one step, at most.
const LEAVES_A_STEP: usize = 1024;

/// What there is to do about checkpoints, and what has become of it.
#[derive(Debug)]
pub(super) struct Checkpointing {
    state: Mutex<State>,
    answered: Condvar,
    /// Bytes written between two automatic ones; 0 for none.
    interval_bytes: u64,
    unit_limit_bytes: usize,
    queue_kind: QueueKind,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Box<Running>>,
    queue: Option<Arc<dyn IoQueue>>,
    /// Requests made, and those that a checkpoint begun after them has answered.
    requested: u64,
    answered: u64,
    answer: Option<EngineResult<Option<CheckpointName>>>,
    /// The engine's clock, in bytes written, when the last checkpoint was begun or given up.
    mark_bytes: u64,
    /// Bytes that opening had to read.
    replayed_bytes: u64,
    /// The same clock when the newest checkpoint there is was begun; less what opening had to read, where it was begun before.
    newest_at_bytes: i128,
    closed: bool,
}

/// A checkpoint being written.
#[derive(Debug)]
struct Running {
    writer: CheckpointWriter,
    coverage: Coverage,
    /// Zones not yet written down, and how many places of the first one are.
    rows: VecDeque<ZoneRow>,
    places_done: usize,
    entries: Entries,
    parts: BlockBuilder,
    full_parts: VecDeque<BlockBuilder>,
    entry_count: u64,
    /// The last request that it answers.
    answers: u64,
    begun_at_bytes: u64,
}

/// How far the index has been walked.
#[derive(Debug)]
enum Entries {
    From(Option<Vec<u8>>),
    Done,
}

/// What a step of a running checkpoint came to.
enum Advanced {
    Further,
    Complete(CheckpointName),
    NoRoom,
}

impl Checkpointing {
    pub(super) fn new(
        interval_bytes: u64,
        unit_limit_bytes: usize,
        queue_kind: QueueKind,
        replayed_bytes: u64,
    ) -> Self {
        let state =
            State { replayed_bytes, newest_at_bytes: -i128::from(replayed_bytes), ..State::default() };
        let (state, answered) = (Mutex::new(state), Condvar::new());
        Self { state, answered, interval_bytes, unit_limit_bytes, queue_kind }
    }

    /// Asks for a checkpoint that is begun from now on; gives the number of the request.
    pub(super) fn request(&self) -> u64 {
        let mut state = self.state.lock();
        state.requested += 1;
        state.requested
    }

    /// Nobody takes steps any more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.answered.notify_all();
    }
}

impl Engine {
    /// Writes a checkpoint of the index that covers everything written before. Blocks until it is on stable media, or
    /// it turns out that there is no room for one: then `None`.
    ///
    /// # Errors
    /// [`EngineError::WritesRefused`], [`EngineError::ReadOnly`], [`EngineError::Closed`]; the device's.
    pub fn checkpoint(&self) -> EngineResult<Option<CheckpointName>> {
        self.inner.log()?.commit().check()?;
        let checkpointing = &self.inner.checkpointing;
        let request = checkpointing.request();
        self.inner.housekeeping.raise();
        let mut state = checkpointing.state.lock();
        while state.answered < request && !state.closed {
            checkpointing.answered.wait(&mut state);
        }
        if state.answered < request {
            return Err(EngineError::Closed);
        }
        state.answer.clone().unwrap_or(Err(EngineError::Closed))
    }
}

impl Inner {
    /// Begins a checkpoint where one is due or asked for, or takes one that has been begun a block further.
    pub(super) fn checkpoint_step(&self) -> Step {
        let Some(log) = &self.log else { return Step::Rest };
        let mut state = self.checkpointing.state.lock();
        let running = state.running.take();
        let (requested, wanted) = (state.requested, state.requested > state.answered);
        drop(state);
        let Some(mut running) = running else {
            if !wanted && !self.is_checkpoint_due() {
                return Step::Rest;
            }
            match self.begin_checkpoint(log, requested) {
                Ok(Some(running)) => self.checkpointing.state.lock().running = Some(Box::new(running)),
                Ok(None) => self.conclude(Ok(None), requested, log.clock_bytes()),
                Err(error) => self.conclude(Err(error), requested, log.clock_bytes()),
            }
            return Step::Again;
        };
        let outcome = match self.advance_checkpoint(log, &mut running) {
            Ok(Advanced::Further) => {
                self.checkpointing.state.lock().running = Some(running);
                return Step::Again;
            }
            Ok(Advanced::Complete(name)) => Ok(Some(name)),
            Ok(Advanced::NoRoom) => self.give_zones_back(running.writer.zones()).map(|()| None),
            Err(error) => Err(error),
        };
        self.conclude(outcome, running.answers, running.begun_at_bytes);
        Step::Again
    }

    /// Takes steps until there is nothing to do. For closing, when no thread takes them.
    pub(super) fn checkpoint_at_close(&self) {
        let Some(log) = &self.log else { return };
        if self.is_checkpoint_worthwhile(log) {
            let _ = self.checkpointing.request();
        }
        while self.checkpoint_step() == Step::Again {}
    }

    fn conclude(&self, outcome: EngineResult<Option<CheckpointName>>, answers: u64, begun_at_bytes: u64) {
        if let (Err(error), Some(log)) = (&outcome, &self.log)
            && !matches!(error, EngineError::WritesRefused(_))
        {
            // What is on the device is no longer known.
            log.commit().fail(error.clone());
        }
        let mut state = self.checkpointing.state.lock();
        if matches!(outcome, Ok(Some(_))) {
            state.newest_at_bytes = begun_at_bytes.into();
        }
        state.mark_bytes = begun_at_bytes;
        state.replayed_bytes = 0;
        state.answered = state.answered.max(answers);
        state.answer = Some(outcome);
        self.checkpointing.answered.notify_all();
    }

    /// Bytes written since the last checkpoint, those found at opening included.
    pub(super) fn bytes_since_checkpoint(&self) -> u64 {
        let state = self.checkpointing.state.lock();
        let clock_bytes = self.log.as_ref().map_or(0, |log| log.clock_bytes());
        state.replayed_bytes + clock_bytes - state.mark_bytes.min(clock_bytes)
    }

    /// Bytes written since the newest checkpoint was begun, those found at opening included, however often there was no room for
    /// another one since.
    pub(super) fn age_of_checkpoint_bytes(&self) -> u64 {
        let clock_bytes = self.log.as_ref().map_or(0, |log| log.clock_bytes());
        let age_bytes = i128::from(clock_bytes) - self.checkpointing.state.lock().newest_at_bytes;
        u64::try_from(age_bytes).unwrap_or(0)
    }

    fn is_checkpoint_due(&self) -> bool {
        let interval_bytes = self.checkpointing.interval_bytes;
        let since_bytes = self.bytes_since_checkpoint();
        interval_bytes > 0
            && self.catalog.index().ordered().is_some()
            && since_bytes >= interval_bytes
            && since_bytes >= LEAST_SHARE * self.catalog.index().memory_bytes() as u64
            && self.log.as_ref().is_some_and(|log| log.commit().check().is_ok())
    }

    /// Whether the next opening would gain more than writing a checkpoint costs.
    fn is_checkpoint_worthwhile(&self, log: &LogWriter) -> bool {
        let since_bytes = self.bytes_since_checkpoint();
        self.checkpointing.interval_bytes > 0
            && self.catalog.index().ordered().is_some()
            && since_bytes >= WORTHWHILE_BYTES
            && since_bytes >= self.catalog.index().memory_bytes() as u64
            && log.commit().check().is_ok()
    }

    fn begin_checkpoint(&self, log: &LogWriter, answers: u64) -> EngineResult<Option<Running>> {
        // Its pages are of keys. The zone that it is written to is one more active zone.
        if self.catalog.index().ordered().is_none()
            || self.device.geometry().max_active_zones < MIN_ACTIVE_ZONES_FOR_CHECKPOINTS
            || !self.make_room_for_checkpoint()?
        {
            return Ok(None);
        }
        let begun_at_bytes = log.clock_bytes();
        let durable = if fault::is_on(Fault::BeginBeforeDurable) {
            log.last_seqno()
        } else {
            log.commit_to(log.last_seqno(), Level::Durable)?;
            log.commit().durable()
        };
        let generation = self.allocator.generation();
        let coverage = Coverage::of(&self.zones, generation, durable, |zone| log.is_quiet(zone));
        wait_for_pinned();
        let rows = coverage.rows(&self.zones, &*self.device)?.into();
        Ok(Some(Running {
            writer: self.checkpoint_writer()?,
            coverage,
            rows,
            places_done: 0,
            entries: Entries::From(None),
            parts: BlockBuilder::new(BlockKind::Parts),
            full_parts: VecDeque::new(),
            entry_count: 0,
            answers,
            begun_at_bytes,
        }))
    }

    fn checkpoint_writer(&self) -> EngineResult<CheckpointWriter> {
        let kept = self.checkpointing.state.lock().queue.clone();
        let queue = match kept {
            Some(queue) => queue,
            None => append_queue(&self.device, &self.running, self.checkpointing.queue_kind)?,
        };
        self.checkpointing.state.lock().queue = Some(Arc::clone(&queue));
        let mut manifest = self.manifest.lock();
        manifest.last_checkpoint += 1;
        let (store, number) = (manifest.store, manifest.last_checkpoint);
        let (device, limit_bytes) = (Arc::clone(&self.device), self.checkpointing.unit_limit_bytes);
        Ok(CheckpointWriter::new(device, queue, store, number, limit_bytes))
    }

    /// Whether there are zones for a checkpoint; drops the oldest one where that helps.
    fn make_room_for_checkpoint(&self) -> EngineResult<bool> {
        let capacity_bytes = self.device.geometry().zone_capacity_bytes;
        let places_bytes: usize = self.zones.iter().map(|(_, zone)| 64 + 4 * zone.unit_count()).sum();
        let needed_bytes = self.catalog.index().memory_bytes() + places_bytes;
        let needed = 1 + usize::try_from(needed_bytes as u64 / capacity_bytes).unwrap_or(usize::MAX);
        loop {
            let available = self.allocator.available_count(Purpose::Put);
            if needed <= MAX_CHECKPOINT_ZONES
                && (available > needed + LOW_FREE_ZONES || fault::is_on(Fault::TakeTheReserveForCheckpoints))
                && self.leaves_data_their_room(needed)
            {
                return Ok(true);
            }
            // One stays in any case: it may be all that makes the next opening quick.
            if self.manifest.lock().checkpoints.len() < KEPT || !self.drop_checkpoint()? {
                return Ok(false);
            }
        }
    }

    /// Whether live data would fit without these zones and those that checkpoints hold.
    fn leaves_data_their_room(&self, zone_count: usize) -> bool {
        let held = self.zones.iter().filter(|(_, zone)| zone.role() == Role::Checkpoint).count();
        self.zones.live_bytes() <= self.live_limit_without(held + zone_count)
    }

    fn advance_checkpoint(&self, log: &LogWriter, running: &mut Running) -> EngineResult<Advanced> {
        if let Some(block) = self.next_block(running) {
            let take_zone = || self.take_checkpoint_zone();
            return Ok(match running.writer.append(block, take_zone)? {
                Appended::Done => Advanced::Further,
                Appended::NoZone => Advanced::NoRoom,
            });
        }
        running.writer.leave_zone()?;
        if !fault::is_on(Fault::NameBeforeDurable) {
            log.make_relocations_durable(log.last_seqno())?;
        }
        let name = running.writer.name(log.commit().durable(), running.entry_count);
        self.manifest.lock().checkpoints.push(name.clone());
        self.write_manifest(false)?;
        let kept_count = self.kept_count();
        while self.manifest.lock().checkpoints.len() > kept_count {
            self.drop_checkpoint()?;
        }
        Ok(Advanced::Complete(name))
    }

    /// How many checkpoints are kept. The older one is for the case that the newer one is damaged: it is not worth what it costs
    /// where zones are emptied for its room.
    fn kept_count(&self) -> usize {
        let is_dear =
            if self.has_own_capacity() { self.has_few_free_zones() } else { self.has_spare_checkpoint() };
        if is_dear { 1 } else { KEPT }
    }

    /// What is to be appended next; `None` when all has been.
    fn next_block(&self, running: &mut Running) -> Option<BlockBuilder> {
        if !running.rows.is_empty() {
            return Some(running.block_of_zones());
        }
        loop {
            if let Some(full) = running.full_parts.pop_front() {
                return Some(full);
            }
            match &running.entries {
                Entries::From(from) => {
                    let from = from.clone();
                    let block = self.block_of_entries(running, from.as_deref());
                    if !block.is_empty() {
                        return Some(block);
                    }
                }
                Entries::Done if running.parts.is_empty() => return None,
                Entries::Done => {
                    return Some(std::mem::replace(&mut running.parts, BlockBuilder::new(BlockKind::Parts)));
                }
            }
        }
    }

    fn block_of_entries(&self, running: &mut Running, from: Option<&[u8]>) -> BlockBuilder {
        let limit_bytes = running.writer.block_limit_bytes();
        let mut block = BlockBuilder::new(BlockKind::Entries);
        let Running { coverage, parts, full_parts, entry_count, .. } = running;
        let mut leaf_count = 0;
        let index = self.catalog.index().ordered().expect("no checkpoint is begun of an index without keys");
        let next = index.export(
            from,
            &mut block,
            |_, entry| {
                let keep = match entry.into() {
                    Entry::Tombstone { .. } if fault::is_on(Fault::LeaveTombstonesOut) => false,
                    Entry::Value { location, .. } | Entry::Tombstone { location } => {
                        coverage.covers(&self.zones, location.zone)
                    }
                    Entry::Large { .. } if fault::is_on(Fault::LeavePartsOut) => true,
                    Entry::Large { id } => self.note_parts(id, parts, full_parts, limit_bytes),
                };
                *entry_count += u64::from(keep);
                keep
            },
            |block| {
                leaf_count += 1;
                let is_full = block.len_bytes() + MAX_PAGE_BYTES > limit_bytes;
                if is_full || leaf_count >= LEAVES_A_STEP { Walk::Stop } else { Walk::On }
            },
        );
        running.entries = next.map_or(Entries::Done, |next| Entries::From(Some(next)));
        block
    }

    /// Takes down where the parts of a value lie, unless it has been overwritten meanwhile; says whether it did.
    fn note_parts(
        &self,
        id: LargeId,
        parts: &mut BlockBuilder,
        full: &mut VecDeque<BlockBuilder>,
        limit_bytes: usize,
    ) -> bool {
        let Some(value) = self.catalog.large().value(id) else { return false };
        let row = PartsRow {
            id: id.get(),
            key_bytes: u32::try_from(value.key_bytes_of_part(0)).expect("keys are at most 65,535 bytes"),
            incarnation: value.incarnation(),
            parts: value.parts().iter().map(|&(location, bytes)| (location.pack(), bytes)).collect(),
        };
        let mut done = 0;
        while done < row.parts.len() {
            done += parts.push_parts(&row, done, limit_bytes);
            if done < row.parts.len() {
                full.push_back(std::mem::replace(parts, BlockBuilder::new(BlockKind::Parts)));
            }
        }
        true
    }

    /// An empty zone for a checkpoint, made ready. Room that puts need soon is none.
    fn take_checkpoint_zone(&self) -> EngineResult<Option<ZoneId>> {
        while let Some(zone) = self.allocator.take_for_checkpoint(LOW_FREE_ZONES) {
            if self.is_worn(zone)? && !fault::is_on(Fault::ResetWornCheckpointZones) {
                self.zones.zone(zone).set_role(Role::Lost);
                continue;
            }
            // Room in the host's file system is lacking, perhaps: nothing has been written.
            if self.device.prepare(zone, Preparation::Streaming).is_err() {
                self.allocator.give_back_set_aside(zone);
                return Ok(None);
            }
            return Ok(Some(zone));
        }
        Ok(None)
    }

    fn is_worn(&self, zone: ZoneId) -> EngineResult<bool> {
        Ok(self.device.report(zone)?.state.is_worn())
    }

    /// Drops the oldest checkpoint, or one that is being written: data need the room. Says whether there was one.
    pub(super) fn drop_checkpoint(&self) -> EngineResult<bool> {
        let running = self.checkpointing.state.lock().running.take();
        if let Some(running) = running {
            self.give_zones_back(running.writer.zones())?;
            self.conclude(Ok(None), running.answers, running.begun_at_bytes);
            return Ok(true);
        }
        let oldest = {
            let mut manifest = self.manifest.lock();
            if manifest.checkpoints.is_empty() {
                return Ok(false);
            }
            manifest.checkpoints.remove(0)
        };
        // Recovery must not look for it any more when its zones are filled anew.
        if !fault::is_on(Fault::ResetBeforeUnnamed) {
            self.write_manifest(false)?;
        }
        self.give_zones_back(oldest.zones.iter().map(|&(zone, _)| zone))?;
        Ok(true)
    }

    /// Empties zones that held a checkpoint which no manifest names.
    pub(super) fn give_zones_back(&self, zones: impl Iterator<Item = ZoneId>) -> EngineResult<()> {
        for zone in zones {
            if self.reset_or_lose(zone)? {
                self.allocator.give_back_set_aside(zone);
            }
        }
        Ok(())
    }

    /// Resets a zone that holds nothing that counts; `false` when it has worn out, and counts as lost.
    pub(super) fn reset_or_lose(&self, zone: ZoneId) -> EngineResult<bool> {
        if !self.is_worn(zone)? {
            match self.device.reset(zone) {
                Ok(()) => return Ok(true),
                Err(_) if self.is_worn(zone)? => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.zones.zone(zone).set_role(Role::Lost);
        Ok(false)
    }
}

impl Running {
    fn block_of_zones(&mut self) -> BlockBuilder {
        let limit_bytes = self.writer.block_limit_bytes();
        let mut block = BlockBuilder::new(BlockKind::Zones);
        while let Some(row) = self.rows.front() {
            let before = block.len_bytes();
            self.places_done += block.push_zone(row, self.places_done, limit_bytes);
            if block.len_bytes() == before || self.places_done < row.places.len() {
                break;
            }
            self.rows.pop_front();
            self.places_done = 0;
        }
        block
    }
}
