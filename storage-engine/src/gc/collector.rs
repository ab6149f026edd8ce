//! Empties zones: relocates what is live, makes the copies durable, resets.
//!
//! Order, on which everything hangs:
//! 1. Only a zone whose writes are all durable is chosen. Writers that have logged and not yet published one are waited
//!    for (an epoch passes), so that all of them are visible.
//! 2. Live records are copied byte for byte (they keep their seqnos) and the index is pointed at the copies.
//! 3. Readers that may still hold an old location, and writers that have changed the index but not the ledger, are
//!    waited for (an epoch passes). The ledger must agree now that nothing in the zone is live.
//! 4. The copies, and every write that superseded a record left behind ([`super::superseded`]), are put on stable media.
//! 5. The manifest takes down watermark and tail, durably: what is about to vanish may have been their only witness.
//! 6. The zone is reset.
//!
//! A zone that has gone read-only is evacuated: steps 2 and 3, and no reset.
//!
//! A deleted key never comes back: a tombstone is copied like a value until no zone is left that was opened before the
//! delete was seen by the collector for the first time (its *barrier*); no older version can lie in a later zone, for
//! versions that are not live are never copied. `gc::tombstones` sees to it that this comes to pass.

use std::sync::Arc;
use std::time::Duration;

use super::policy::{Candidate, Clock, Lifetime, Narrowed, Placement, Policy, StreamId, ZoneHistory};
use super::superseded::Superseded;
use super::tombstones::{self, Ages};
use super::wear::{Turns, Wear};
use crate::device::{ZoneState, ZonedDevice};
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::manifest::Collection;
use crate::format::record::{Record, RecordKind};
use crate::format::unit::{StoreId, StreamKind, StreamName, UNIT_HEADER_BYTES, UnitHeader};
use crate::index::{Catalog, Entry, LargeId, Location};
use crate::log::commit::Level;
use crate::log::memory::UnitMemory;
use crate::log::read_ahead::ReadAhead;
use crate::log::scanner::{Found, Scanner};
use crate::log::writer::{AppendFailure, LogWriter};
use crate::pinned::wait_for_pinned;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Instant, Mutex};
use crate::units::{Generation, SeqNo, ZoneId, ZoneOffset};
use crate::zones::{Allocator, Role, ZoneTable, charge_bytes};

/// Takes down watermark and tails before a zone is reset.
pub trait Witness {
    /// Appends a manifest; it is on stable media on return.
    ///
    /// # Errors
    /// The device's.
    fn testify(&self) -> EngineResult<()>;

    /// Is told again and again, until it is all, what share of a zone has been looked through for live records. It may take its
    /// time.
    fn has_looked_through(&self, _share: f64) {}
}

/// Empties zones, one at a time.
#[derive(Debug)]
pub struct Collector {
    /// The device.
    pub device: Arc<dyn ZonedDevice>,
    /// The store.
    pub store: StoreId,
    /// The ledger.
    pub zones: Arc<ZoneTable>,
    /// Free zones.
    pub allocator: Arc<Allocator>,
    /// Index and large values.
    pub catalog: Arc<Catalog>,
    /// Units in memory.
    pub memory: Arc<UnitMemory>,
    /// The log, for copies.
    pub log: Arc<LogWriter>,
    /// How victims are read.
    pub(crate) read_ahead: Mutex<ReadAhead>,
    /// Who decides.
    pub policy: Narrowed,
    /// Bytes of records copied so far.
    pub relocated_bytes: AtomicU64,
    /// How many records that were.
    pub relocated_records: AtomicU64,
    /// When a zone that lags behind in resets is emptied.
    pub turns: Turns,
    /// Up to which write the dead records of zones were superseded.
    pub superseded: Superseded,
    /// Whether time is taken: not in a simulation, where there is none.
    pub takes_time: bool,
    /// The last generation given out when the store was opened: no barrier of an earlier run is later.
    pub opened_at: Generation,
}

/// What a zone is emptied for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aim {
    /// Free space: the policy chooses.
    Space,
    /// An end to old tombstones: the oldest zone is turned over, if they weigh enough.
    Tombstones,
}

/// What became of an attempt to collect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Collected {
    /// A zone was emptied and is free.
    Zone(Collection),
    /// A zone turned out to be read-only or offline. It is left alone from now on.
    Worn(Collection),
    /// No zone is worth emptying.
    Nothing,
}

/// Whether a unit's records are the ones that it was written with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Contents {
    Whole,
    Flawed,
}

/// How things were when a collection began.
struct Begun {
    collection: Collection,
    at: Instant,
}

/// A zone that is being emptied.
#[derive(Clone, Copy)]
struct Victim {
    zone: ZoneId,
    /// The oldest filling of any other zone.
    oldest_elsewhere: Generation,
    /// What its records are like.
    history: Option<ZoneHistory>,
}

impl Collector {
    /// Empties the zone that serves the aim best. Blocks for as long as that takes.
    ///
    /// # Errors
    /// The device's, or the failure that has latched the store. The zone is as it was, copies apart.
    pub fn collect(&self, aim: Aim, witness: &dyn Witness) -> EngineResult<Collected> {
        let victim = match aim {
            Aim::Space => self.choose()?,
            Aim::Tombstones => self.zone_to_turn_over()?,
        };
        let Some(victim) = victim else { return Ok(Collected::Nothing) };
        let begun = self.begin(victim);
        match self.free(victim, witness) {
            Ok(()) => Ok(Collected::Zone(self.end(&begun, true))),
            Err(error) if !self.has_worn_out(victim) => Err(error),
            // No fault of the rest. What could be read of it has been copied; what could not says so when it is asked for.
            Err(_) => {
                self.zones.zone(victim).set_role(Role::Lost);
                self.zones.zone(victim).claim_landed();
                Ok(Collected::Worn(self.end(&begun, false)))
            }
        }
    }

    /// Takes down what a zone is like before it is emptied, and how much has been copied until then.
    fn begin(&self, zone: ZoneId) -> Begun {
        let state = self.zones.zone(zone);
        let kind = match state.role() {
            Role::Open(kind) | Role::Sealed(kind) => kind,
            _ => StreamKind::User,
        };
        let collection = Collection {
            zone,
            generation: state.generation(),
            stream: StreamName { kind, class: state.class() },
            age_bytes: self.log.clock_bytes().saturating_sub(state.sealed_at_bytes()),
            live_bytes: state.live_bytes(),
            capacity_bytes: self.device.geometry().zone_capacity_bytes,
            moved_records: self.relocated_records.load(Ordering::Relaxed),
            moved_bytes: self.relocated_bytes.load(Ordering::Relaxed),
            microseconds: 0,
            is_freed: false,
        };
        Begun { collection, at: Instant::now() }
    }

    fn end(&self, Begun { collection, at }: &Begun, is_freed: bool) -> Collection {
        let taken = if self.takes_time { at.elapsed() } else { Duration::ZERO };
        Collection {
            moved_records: self.relocated_records.load(Ordering::Relaxed) - collection.moved_records,
            moved_bytes: self.relocated_bytes.load(Ordering::Relaxed) - collection.moved_bytes,
            microseconds: u64::try_from(taken.as_micros()).unwrap_or(u64::MAX),
            is_freed,
            ..*collection
        }
    }

    /// Copies what is live out of a zone, resets it and gives it back.
    fn free(&self, victim: ZoneId, witness: &dyn Witness) -> EngineResult<()> {
        // Copies of an earlier attempt that must be moved get a generation; no barrier may be noted before that.
        self.log.settle_relocations()?;
        self.begin_round();
        if let Some(history) = self.zones.zone(victim).history() {
            self.policy.note_victim(self.log.clock_writes(), history);
        }
        self.empty(victim, witness)?;
        wait_for_pinned();
        self.check_empty(victim)?;
        if !fault::is_on(Fault::ResetBeforeCopiesAreDurable) {
            self.log.make_relocations_durable(self.superseded_up_to(victim))?;
        }
        self.zones.zone(victim).forget_claims();
        if !fault::is_on(Fault::ResetWithoutWitness) {
            witness.testify()?;
        }
        self.memory.forget_zone(victim, self.zones.zone(victim).generation());
        self.device.reset(victim)?;
        self.allocator.give_back(victim);
        Ok(())
    }

    /// On return everybody has published who had logged a write before.
    fn begin_round(&self) {
        let round = self.zones.begin_round();
        wait_for_pinned();
        self.superseded.note(round, self.log.last_seqno());
    }

    /// The write up to which everything must be durable, or records that were left behind in the zone would be lost to a crash
    /// together with what superseded them.
    fn superseded_up_to(&self, victim: ZoneId) -> SeqNo {
        if fault::is_on(Fault::ForgetWhatSuperseded) {
            return SeqNo::ZERO;
        }
        self.superseded.up_to(self.zones.zone(victim).died_in_round(), self.log.last_seqno())
    }

    fn has_worn_out(&self, zone: ZoneId) -> bool {
        let state = self.device.report(zone).map(|descriptor| descriptor.state);
        state.is_ok_and(ZoneState::is_worn)
    }

    /// Copies what is live out of a zone that has worn out, as far as it can be read, and leaves the zone as it is: it cannot
    /// be reset. The manifest takes down what lies in it, so that it is told when it cannot be read any more.
    ///
    /// # Errors
    /// As [`Collector::collect`].
    pub fn evacuate(&self, zone: ZoneId, witness: &dyn Witness) -> EngineResult<Collection> {
        let begun = self.begin(zone);
        self.log.settle_zone(zone)?;
        self.log.commit_to(self.log.last_seqno(), Level::Durable)?;
        self.log.make_relocations_durable(self.log.last_seqno())?;
        wait_for_pinned();
        let emptied = self.empty(zone, witness);
        self.log.make_relocations_durable(self.log.last_seqno())?;
        self.zones.zone(zone).claim_landed();
        witness.testify()?;
        match emptied {
            Err(_) if self.is_offline(zone) => Ok(self.end(&begun, false)),
            emptied => emptied.map(|()| self.end(&begun, false)),
        }
    }

    fn is_offline(&self, zone: ZoneId) -> bool {
        let state = self.device.report(zone).map(|descriptor| descriptor.state);
        matches!(state, Ok(ZoneState::Offline))
    }

    fn choose(&self) -> EngineResult<Option<ZoneId>> {
        if let Some(straggler) = self.straggler()? {
            return Ok(Some(straggler));
        }
        if let Some(victim) = self.policy.choose(&self.candidates()) {
            return Ok(Some(victim));
        }
        self.ripen()?;
        Ok(self.policy.choose(&self.candidates()))
    }

    /// A zone whose data never change and that has been spared resets for too long, when it is time to look for one.
    fn straggler(&self) -> EngineResult<Option<ZoneId>> {
        if !self.turns.is_time_to_look() {
            return Ok(None);
        }
        let (mut most, mut ripe) = (0, Vec::new());
        for (zone, _) in self.zones.iter().filter(|(_, zone)| zone.role().is_for_data()) {
            let reset_count = self.device.report(zone)?.reset_count;
            most = most.max(reset_count);
            if self.is_ripe(zone) {
                ripe.push(Wear { zone, reset_count });
            }
        }
        Ok(self.turns.take(ripe.into_iter(), most))
    }

    /// Whether tombstones weigh more than is tolerated and can be made to go.
    #[must_use]
    pub fn has_excess_tombstones(&self) -> bool {
        tombstones::are_heavy(&self.zones, self.device.geometry().zone_capacity_bytes)
            && Ages::of(&self.zones).oldest().is_some_and(|zone| self.zones.zone(zone).role() != Role::Lost)
    }

    /// The zone whose turn it is when tombstones weigh more than is tolerated: the oldest, also if it is not full yet.
    fn zone_to_turn_over(&self) -> EngineResult<Option<ZoneId>> {
        if !self.has_excess_tombstones() {
            return Ok(None);
        }
        let Some(oldest) = Ages::of(&self.zones).oldest() else { return Ok(None) };
        self.log.leave_zone(oldest)?;
        if !self.is_ripe(oldest) {
            self.ripen()?;
        }
        Ok(Some(oldest).filter(|&zone| self.is_ripe(zone)))
    }

    /// Makes durable what is sealed, so that it may be chosen.
    fn ripen(&self) -> EngineResult<()> {
        self.log.commit_to(self.log.last_seqno(), Level::Durable)?;
        self.log.settle()
    }

    /// Whether a zone gets no more records and all that it has are durable.
    fn is_ripe(&self, zone: ZoneId) -> bool {
        let state = self.zones.zone(zone);
        matches!(state.role(), Role::Sealed(_))
            && (state.newest_seqno() <= self.log.commit().durable()
                || fault::is_on(Fault::CollectBeforeDurable))
            && self.log.is_quiet(zone)
    }

    /// Bytes of tombstones in a zone that need not be copied any more.
    fn forgettable_bytes(&self, id: ZoneId, ages: &Ages) -> u64 {
        let zone = self.zones.zone(id);
        // Deletes that were never copied have no barrier yet.
        if zone.role() != Role::Sealed(StreamKind::Relocation) {
            return 0;
        }
        let unknown =
            if zone.generation() <= self.opened_at { self.opened_at } else { Generation::default() };
        let barrier = zone.tombstone_barrier().max(unknown);
        if ages.oldest_generation_but(id) > barrier { zone.tombstone_bytes() } else { 0 }
    }

    /// How much of a zone the copies of so many live bytes of this one would take, as far as that is known.
    ///
    /// What the collector has packed it packs no better a second time: headers, padding and the room at the end where the
    /// next record did not fit are no garbage. Without this, zones of records that fill them badly would be emptied into
    /// each other for ever, and a full store would never be found full. Other zones are emptied once to find out.
    fn room_for_copies(&self, id: ZoneId, live_bytes: u64) -> u64 {
        let (zone, capacity_bytes) = (self.zones.zone(id), self.device.geometry().zone_capacity_bytes);
        let is_packed = zone.role() == Role::Sealed(StreamKind::Relocation)
            && zone.generation() > self.opened_at
            && !zone.holds_moved_units();
        let copied_bytes = zone.copied_bytes();
        if !is_packed || copied_bytes == 0 || fault::is_on(Fault::TakePaddingForGarbage) {
            return live_bytes;
        }
        let room_bytes = u128::from(live_bytes) * u128::from(capacity_bytes) / u128::from(copied_bytes);
        u64::try_from(room_bytes).unwrap_or(u64::MAX).min(capacity_bytes)
    }

    fn candidates(&self) -> Vec<Candidate> {
        let (ages, clock_bytes) = (Ages::of(&self.zones), self.log.clock_bytes());
        let ripe = self.zones.iter().filter(|(id, _)| self.is_ripe(*id));
        ripe.map(|(id, zone)| Candidate {
            zone: id,
            capacity_bytes: self.device.geometry().zone_capacity_bytes,
            live_bytes: self
                .room_for_copies(id, zone.live_bytes().saturating_sub(self.forgettable_bytes(id, &ages))),
            age: clock_bytes.saturating_sub(zone.sealed_at_bytes()),
        })
        .collect()
    }

    fn empty(&self, victim: ZoneId, witness: &dyn Witness) -> EngineResult<()> {
        if self.zones.zone(victim).live_bytes() == 0 {
            return Ok(());
        }
        // Zones that are begun from here on hold no old versions.
        let oldest_elsewhere = Ages::of(&self.zones).oldest_generation_but(victim);
        let history = self.zones.zone(victim).history();
        let victim = Victim { zone: victim, oldest_elsewhere, history };
        let descriptor = self.device.report(victim.zone)?;
        let generation = self.zones.zone(victim.zone).generation();
        let mut ahead = self.read_ahead.lock();
        let mut scanner = Scanner::reading_ahead(&*self.device, self.store, &descriptor, &mut ahead);
        let end_bytes = descriptor.write_pointer.get().max(1) as f64;
        while let Some(found) = scanner.advance()? {
            if let Found::Unit { offset, .. } = &found {
                witness.has_looked_through(offset.get() as f64 / end_bytes);
            }
            if let Found::Unit { offset, header, body } = found
                && (header.generation != generation
                    || header.record_count == 0
                    || self.is_namesake(victim.zone, &header, offset)
                    || self.relocate_unit(victim, &header, body)? == Contents::Flawed)
            {
                scanner.look_inside();
            }
        }
        Ok(())
    }

    /// Whether a unit has the number of another one, which entries of the index mean: a run that was cut off had lost it,
    /// and the next one, which did not see it, gave its number anew.
    fn is_namesake(&self, zone: ZoneId, header: &UnitHeader, offset: ZoneOffset) -> bool {
        self.zones.zone(zone).place(header.unit) != Some(offset) && !fault::is_on(Fault::BelieveEarlierRuns)
    }

    fn relocate_unit(&self, victim: Victim, header: &UnitHeader, body: &[u8]) -> EngineResult<Contents> {
        // All of it is looked at before anything is copied: a record that is whole in itself may be another one's, older
        // or of another unit, if the read was misdirected.
        let Some(records) = header.records(body) else { return Ok(Contents::Flawed) };
        let (mut position, mut found) = (0, Contents::Whole);
        for decoded in records {
            let offset = u32::try_from(UNIT_HEADER_BYTES + position).expect("a unit is at most 1 MiB");
            let encoded = &body[position..position + decoded.encoded_bytes];
            let from = Location::new(victim.zone, header.unit, offset);
            // A copy of what does not pass its checksum would be believed while it is in memory, and the reading may have been
            // at fault and not the media: then the zone stays live and is not reset.
            match decoded.value_check {
                Ok(()) => self.relocate_record(victim, &decoded.record, from, encoded)?,
                Err(_) => found = Contents::Flawed,
            }
            position += decoded.encoded_bytes;
        }
        Ok(found)
    }

    fn relocate_record(
        &self,
        victim: Victim,
        record: &Record<'_>,
        from: Location,
        encoded: &[u8],
    ) -> EngineResult<()> {
        match record.kind {
            RecordKind::Part => self.relocate_part(victim, record, from, encoded),
            RecordKind::Put | RecordKind::Delete => match self.catalog.index().lookup(record.key) {
                Some(entry @ Entry::Value { location, value_len }) if location == from => {
                    let mut renumbered = Vec::new();
                    if fault::is_on(Fault::NewSeqnoForCopies) {
                        let copy = Record { seqno: self.log.last_seqno(), ..*record };
                        renumbered.resize(copy.encoded_bytes(), 0);
                        copy.encode(&mut renumbered);
                    }
                    let encoded = if renumbered.is_empty() { encoded } else { &renumbered };
                    let location = self.copy(victim, record, encoded)?;
                    self.catalog.relocate(record.key, entry, Entry::Value { location, value_len });
                    Ok(())
                }
                Some(entry @ Entry::Tombstone { location }) if location == from => {
                    self.relocate_tombstone(victim, record, entry)
                }
                _ => Ok(()),
            },
        }
    }

    fn relocate_part(
        &self,
        victim: Victim,
        record: &Record<'_>,
        from: Location,
        encoded: &[u8],
    ) -> EngineResult<()> {
        let id = LargeId::new(record.first_part_seqno().get());
        let part = record.group.map_or(0, |group| group.part_index);
        if self.catalog.large().lies_at(id, part, from) {
            let to = self.copy(victim, record, encoded)?;
            self.catalog.relocate_part(id, part, from, to);
        }
        Ok(())
    }

    fn relocate_tombstone(&self, victim: Victim, record: &Record<'_>, entry: Entry) -> EngineResult<()> {
        let may_go = record.barrier().is_some_and(|barrier| victim.oldest_elsewhere > barrier);
        if may_go || fault::is_on(Fault::DropTombstonesAtOnce) {
            self.catalog.forget_tombstone(record.key, entry);
            return Ok(());
        }
        let barrier = record.barrier().unwrap_or(self.allocator.generation());
        let barrier = if fault::is_on(Fault::ForgetBarriers) { Generation::default() } else { barrier };
        let copy = Record { value: &barrier.get().to_le_bytes(), ..*record };
        let mut encoded = vec![0; copy.encoded_bytes()];
        copy.encode(&mut encoded);
        let location = self.copy(victim, record, &encoded)?;
        self.zones.zone(location.zone).raise_tombstone_barrier(barrier);
        self.catalog.relocate(record.key, entry, Entry::Tombstone { location });
        Ok(())
    }

    /// Where the copy of a record goes: the class among the streams of copies.
    fn place_copy(&self, victim: Victim, record: &Record<'_>) -> (usize, Placement) {
        let nothing_known = ZoneHistory {
            stream: StreamId::new(self.policy.streams().writes().end - 1),
            written_at: Clock::default(),
            expected: Lifetime::of_steps(0),
        };
        let written_at = Clock::new(record.seqno.get());
        let history = ZoneHistory { written_at, ..victim.history.unwrap_or(nothing_known) };
        let placement = self.policy.place_copy(self.log.clock_writes(), history);
        (usize::from(placement.stream.get() - self.policy.streams().copies().start), placement)
    }

    fn copy(&self, victim: Victim, record: &Record<'_>, encoded: &[u8]) -> EngineResult<Location> {
        let (class, placement) = self.place_copy(victim, record);
        let location = self.log.relocate(encoded, class, placement).map_err(|failure| match failure {
            AppendFailure::Error(error) => error,
            // The reserve is sized so that a victim's copies always fit; nothing is lost if they do not.
            AppendFailure::NoZone => EngineError::NoSpace {
                live_bytes: self.zones.live_bytes(),
                limit_bytes: self.device.geometry().capacity_bytes(),
            },
        })?;
        self.relocated_bytes.fetch_add(encoded.len() as u64, Ordering::Relaxed);
        self.relocated_records.fetch_add(1, Ordering::Relaxed);
        let value_bytes = if record.kind == RecordKind::Delete { 0 } else { record.value.len() };
        let charge = charge_bytes(record.key.len(), value_bytes);
        self.zones.zone(location.zone).add_copied(u64::try_from(charge).unwrap_or(0));
        Ok(location)
    }

    /// A zone with live records left, because some could not be read, is never reset.
    fn check_empty(&self, victim: ZoneId) -> EngineResult<()> {
        let zone = self.zones.zone(victim);
        let left_bytes = zone.live_bytes_signed();
        if left_bytes == 0 {
            return Ok(());
        }
        zone.set_role(Role::Lost);
        Err(EngineError::Corruption {
            zone: victim,
            offset: ZoneOffset::START,
            what: format!("{left_bytes} live bytes could not be relocated; the zone is kept as it is"),
        })
    }
}
