//! Writes: puts, deletes, batches, compare-and-swap.
//!
//! A write holds the latches of its keys from the choice of its seqno until it is published or noted as pending. What
//! becomes visible at once must not overtake an earlier write of the same key that becomes visible later, so it waits
//! for that one first.

use super::latches::Held;
use super::owners::ReadAhead;
use super::read::Bytes;
use super::{Engine, Inner};
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::gc::collector::Collector;
use crate::gc::policy::Placement;
use crate::index::ZoneCharge;
use crate::log::commit::Level;
use crate::log::writer::{AppendFailure, Appended, Entries, Fit, LogWrite, LogWriter, Visibility};
use crate::sync::atomic::Ordering;
use crate::sync::epoch;
use crate::units::SeqNo;
use crate::zones::{Purpose, RESERVED_FROM_PUTS};

/// What a write's return promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Durability {
    /// It is on stable media: it survives power loss.
    #[default]
    Sync,
    /// Its append has completed: it survives the process being killed.
    Written,
    /// It is in the append buffer, visible to readers; it is appended soon.
    Buffered,
}

impl Durability {
    fn visibility(self) -> Visibility {
        match self {
            Self::Sync if fault::is_on(Fault::PublishBeforeDurable) => Visibility::Immediate,
            Self::Sync => Visibility::WhenDurable,
            Self::Written | Self::Buffered => Visibility::Immediate,
        }
    }
}

/// A write that has its place in the log, and whose full units are on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Logged {
    /// The last of its seqnos; of a write that changes nothing, the last one given out before.
    pub(super) last_seqno: SeqNo,
    /// Whether it changes nothing, and is not logged.
    pub(super) is_vain: bool,
}

impl Logged {
    /// What changes nothing nevertheless says of the writes before it that they are as safe.
    fn vain(log: &LogWriter) -> Self {
        let skips = fault::is_on(Fault::SkipVainCommits);
        Self { last_seqno: if skips { SeqNo::ZERO } else { log.last_seqno() }, is_vain: true }
    }
}

/// Longest value in bytes.
const MAX_VALUE_BYTES: usize = 1 << 30;

impl Engine {
    /// Logs writes as one: all of them survive a crash, or none. The keys must be 1 to 65,535 bytes.
    ///
    /// Blocks as `durability` says, and while the collector makes room.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`], [`EngineError::NoSpace`] (deletes alone are let through),
    /// [`EngineError::WritesRefused`], [`EngineError::ReadOnly`], [`EngineError::Closed`]; the device's.
    pub fn write(&self, writes: &[LogWrite<'_>], durability: Durability) -> EngineResult<()> {
        let log = self.inner.log()?;
        let logged = self.log_writes(log, writes, durability)?;
        self.inner.acknowledge(log, logged, durability)
    }

    /// Gives writes their places in the log, unless they change nothing.
    pub(super) fn log_writes(
        &self,
        log: &LogWriter,
        writes: &[LogWrite<'_>],
        durability: Durability,
    ) -> EngineResult<Logged> {
        check_sizes(writes)?;
        if writes.is_empty() {
            return Ok(Logged::vain(log));
        }
        let (mut entries, latches, mut fit) = (Entries::new(), &self.inner.latches, Fit::OwnStream);
        let index = self.inner.catalog.index();
        let appended = loop {
            // What is freed from here on ends a wait for space below.
            let seen = self.inner.allocator.events();
            self.inner.admit(log, writes)?;
            let ahead = self.inner.read_ahead(writes)?;
            let mut held = match writes {
                [one] => latches.hold_one(one.key, index),
                many => latches.hold(many.iter().map(|write| write.key), index),
            };
            let durable = log.commit().durable();
            let pending = match durability {
                Durability::Sync => held.last_of_one_tag(writes.iter().map(|write| write.key), durable),
                Durability::Written | Durability::Buffered => held.last_pending(),
            };
            if pending > durable {
                drop((held, ahead));
                log.commit_to(pending, Level::Durable)?;
                continue;
            }
            if self.inner.is_vain(log, writes, &held, ahead.as_ref())? {
                return Ok(Logged::vain(log));
            }
            match self.inner.append(log, writes, (durability, fit), &mut held, &mut entries) {
                Ok(appended) => break appended,
                Err(AppendFailure::Error(error)) => return Err(error),
                Err(AppendFailure::NoZone) => {}
            }
            drop((held, ahead));
            fit = self.inner.wait_for_room(seen, fit)?;
        };
        self.inner.count(writes);
        submit(log, appended)
    }

    /// Replaces the value of a key if it is what the caller expects (`None`: absent). Otherwise gives the present value.
    ///
    /// Decided against all writes of the key, those in flight too.
    ///
    /// # Errors
    /// As [`Engine::write`] and [`Engine::value`].
    pub fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
        durability: Durability,
    ) -> EngineResult<Result<(), Option<Bytes>>> {
        let log = self.inner.log()?;
        let writes = [LogWrite { key, value: new }];
        check_sizes(&writes)?;
        let (mut entries, mut fit) = (Entries::new(), Fit::OwnStream);
        let appended = loop {
            let seen = self.inner.allocator.events();
            self.inner.admit(log, &writes)?;
            let ignores_pending = fault::is_on(Fault::IgnoreWritesInFlight);
            if !ignores_pending {
                self.inner.wait_for_pending(log, key)?;
            }
            // Until the entry has been compared again no zone is reset, so that an equal entry means an equal record.
            let pinned = epoch::pin();
            let (entry, value) = self.inner.versioned_value(key)?;
            if value.as_deref() != expected {
                return Ok(Err(value));
            }
            let mut held = self.inner.latches.hold_one(key, self.inner.catalog.index());
            let unchanged = self.inner.catalog.index().lookup(key) == entry;
            if !unchanged || held.last_pending() > log.commit().durable() && !ignores_pending {
                continue;
            }
            drop(pinned);
            let is_vain = match self.inner.catalog.index().hash() {
                Some(_) => self.inner.is_vain(log, &writes, &held, None)?,
                None => new.is_none() && entry.is_none(),
            };
            if is_vain {
                drop(held);
                self.inner.acknowledge(log, Logged::vain(log), durability)?;
                return Ok(Ok(()));
            }
            match self.inner.append(log, &writes, (durability, fit), &mut held, &mut entries) {
                Ok(appended) => break appended,
                Err(AppendFailure::Error(error)) => return Err(error),
                Err(AppendFailure::NoZone) => {}
            }
            drop(held);
            fit = self.inner.wait_for_room(seen, fit)?;
        };
        self.inner.count(&writes);
        self.inner.acknowledge(log, submit(log, appended)?, durability)?;
        Ok(Ok(()))
    }
}

impl Inner {
    /// Refuses what would not fit beside the live data, before anything is done. Blocks while the collector is
    /// behind and while tombstones are cleared away.
    fn admit(&self, log: &LogWriter, writes: &[LogWrite<'_>]) -> EngineResult<()> {
        log.commit().check()?;
        if purpose(writes) == Purpose::Delete {
            return Ok(());
        }
        if self.is_overrun() {
            // Once: a writer is slowed down to the collector's pace, not stopped.
            self.wait_for_news(self.allocator.events())?;
        }
        let wanted: u64 = writes.iter().map(|write| log.logged_bytes(write)).sum();
        if self.pace.is_set() {
            self.pace.wait(wanted);
        }
        let limit_bytes = self.live_limit_bytes.load(Ordering::Relaxed);
        if self.zones.live_bytes_certainly_within(limit_bytes.saturating_sub(wanted)) {
            return Ok(());
        }
        loop {
            let seen = self.allocator.events();
            let (live_bytes, limit_bytes) =
                (self.zones.live_bytes(), self.live_limit_bytes.load(Ordering::Relaxed));
            if live_bytes + wanted <= limit_bytes {
                return Ok(());
            }
            let tombstones_may_go = self.collector.as_ref().is_some_and(Collector::has_excess_tombstones);
            if wanted > limit_bytes || !tombstones_may_go {
                return Err(EngineError::NoSpace { live_bytes, limit_bytes });
            }
            self.wait_for_space(seen)?;
        }
    }

    /// Counts anew how many live bytes the store takes: what leaves the collector enough garbage to work with.
    ///
    /// It changes only when a zone is lost, so it is counted when the store is opened and when the housekeeper has worked,
    /// and not for every write.
    pub(super) fn count_live_limit(&self) {
        self.live_limit_bytes.store(self.live_limit_without(0), Ordering::Relaxed);
    }

    /// How many live bytes the store would take with so many zones less.
    pub(super) fn live_limit_without(&self, zone_count: usize) -> u64 {
        const LEAST_STREAMS: usize = 2;
        let stream_count = self.log.as_ref().map_or(LEAST_STREAMS, |log| log.stream_count());
        let data_zones = self.data_zone_count().saturating_sub(zone_count as u64);
        live_limit_bytes(data_zones, stream_count, self.device.geometry().zone_capacity_bytes)
    }

    pub(super) fn data_zone_count(&self) -> u64 {
        self.zones.iter().filter(|(_, zone)| zone.role().is_for_data()).count() as u64
    }

    /// Whether a write changes nothing: deletes of keys that are nowhere. It is not logged, but what was logged before it
    /// must reach its level all the same: a crash that takes an earlier write must not leave a later one.
    ///
    /// In a hash index what is not vain can be published afterwards.
    fn is_vain(
        &self,
        log: &LogWriter,
        writes: &[LogWrite<'_>],
        held: &Held<'_>,
        ahead: Option<&ReadAhead>,
    ) -> EngineResult<bool> {
        let deletes = purpose(writes) == Purpose::Delete && held.last_pending() <= log.commit().durable();
        let index = self.catalog.index();
        let Some(hash) = index.hash() else {
            return Ok(deletes && writes.iter().all(|write| index.lookup(write.key).is_none()));
        };
        let owners = self.owners(hash, writes, ahead)?;
        let is_vain = deletes && owners.iter().all(|owner| owner.own().is_none());
        if !is_vain {
            self.make_way(hash, writes, owners)?;
        }
        Ok(is_vain)
    }

    fn append(
        &self,
        log: &LogWriter,
        writes: &[LogWrite<'_>],
        (durability, fit): (Durability, Fit),
        held: &mut Held<'_>,
        entries: &mut Entries,
    ) -> Result<Appended, AppendFailure> {
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendFailure::Error(EngineError::Closed));
        }
        let visibility = durability.visibility();
        let place = (self.place(log, writes, durability), fit);
        let purpose = match purpose(writes) {
            // The collector has found nothing to free.
            Purpose::Delete if fit == Fit::AnyStream => Purpose::LastDelete,
            purpose => purpose,
        };
        let appended = self.log_and_show(log, writes, (purpose, visibility), place, entries)?;
        if visibility == Visibility::WhenDurable {
            let keys = writes.iter().map(|write| write.key);
            held.set_pending(keys, (appended.last_seqno, log.commit().durable()));
        }
        Ok(appended)
    }

    /// Logs writes and publishes them, unless the log does that when they are durable. The caller sees to it that no other
    /// write of their keys comes between.
    pub(super) fn log_and_show(
        &self,
        log: &LogWriter,
        writes: &[LogWrite<'_>],
        (purpose, visibility): (Purpose, Visibility),
        place: (Placement, Fit),
        entries: &mut Entries,
    ) -> Result<Appended, AppendFailure> {
        // Until it is published, the collector takes the record for dead: it waits for whoever is pinned here.
        let _publishing = epoch::pin();
        let appended = log.append(writes, purpose, visibility, place, entries)?;
        if visibility == Visibility::Immediate {
            for (write, entry) in writes.iter().zip(entries.iter()) {
                self.catalog.publish(write.key, *entry, ZoneCharge::WithUnit);
            }
        }
        Ok(appended)
    }

    pub(super) fn acknowledge(
        &self,
        log: &LogWriter,
        logged: Logged,
        durability: Durability,
    ) -> EngineResult<()> {
        match durability {
            Durability::Sync => log.commit_to(logged.last_seqno, Level::Durable),
            Durability::Written if fault::is_on(Fault::AcknowledgeWrittenAtOnce) => Ok(()),
            Durability::Written => log.commit_to(logged.last_seqno, Level::Written),
            Durability::Buffered => Ok(()),
        }
    }

    /// Waits for the writes of a key that are in flight and not yet visible.
    fn wait_for_pending(&self, log: &LogWriter, key: &[u8]) -> EngineResult<()> {
        let pending: SeqNo = self.latches.hold_one(key, self.catalog.index()).last_pending();
        log.commit_to(pending, Level::Durable)
    }

    /// Blocks until a zone has been freed. When nothing can be, it says that room in the zones of other streams will do.
    fn wait_for_room(&self, seen: u64, fit: Fit) -> EngineResult<Fit> {
        match self.wait_for_space(seen) {
            Ok(()) => Ok(fit),
            Err(error)
                if fit == Fit::OwnStream
                    && (matches!(error, EngineError::NoSpace { .. }) || error.is_full_host()) =>
            {
                Ok(Fit::AnyStream)
            }
            Err(error) => Err(error),
        }
    }

    /// Blocks until a zone has been freed, or nothing can be, since the allocator's events were as `seen`.
    ///
    /// The caller has looked at the events before it found no zone. Taken later, they might count the last zone that is
    /// going to be freed, or the end of the store, and nobody would ever wake the caller.
    pub(super) fn wait_for_space(&self, seen: u64) -> EngineResult<()> {
        // Only a round that begins from here on tells how things are now.
        let round = self.cleaning_round.load(Ordering::Acquire);
        // Why there is no zone is asked now: the housekeeper may find room on the host for one, and take that.
        let host_full = self.log()?.host_full();
        self.wait_for_news(seen)?;
        // Whoever is slow to wake may have missed that zones were freed until no more could be.
        if self.exhausted_round.load(Ordering::Acquire) > round && !self.allocator.freed_since(seen) {
            if let Some(full) = self.log()?.host_full().or(host_full) {
                return Err(full);
            }
            let (live_bytes, limit_bytes) =
                (self.zones.live_bytes(), self.live_limit_bytes.load(Ordering::Relaxed));
            return Err(EngineError::NoSpace { live_bytes, limit_bytes });
        }
        Ok(())
    }

    /// Blocks until the collector has freed a zone, or found that it cannot, since the events were as `seen`.
    fn wait_for_news(&self, seen: u64) -> EngineResult<()> {
        // After closing nobody would answer. Who has seen the news of the closing sees here that it is closed.
        self.log()?;
        self.waiting_count.fetch_add(1, Ordering::AcqRel);
        self.housekeeping.raise();
        if self.running.is_stepped() {
            // There is no housekeeper to wait for. Its steps end in news, by and by.
            let mut step_count = 0;
            while self.allocator.events() == seen {
                let _ = self.clean_step();
                step_count += 1;
                assert!(step_count < 10_000, "{step_count} steps, and no news of space");
            }
        }
        self.allocator.wait_for_event_after(seen);
        self.waiting_count.fetch_sub(1, Ordering::AcqRel);
        self.log()?.commit().check()
    }

    fn count(&self, writes: &[LogWrite<'_>]) {
        for write in writes {
            let counter = if write.value.is_some() { &self.counters.puts } else { &self.counters.deletes };
            counter.add(1);
            let bytes = write.key.len() + write.value.map_or(0, <[u8]>::len);
            self.counters.user_bytes.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        self.note_garbage();
    }
}

/// How many live bytes a store takes that has so many zones for data, those in reserve included, and so many streams.
pub(super) fn live_limit_bytes(data_zones: u64, stream_count: usize, capacity_bytes: u64) -> u64 {
    let held_back = (RESERVED_FROM_PUTS + stream_count) as u64;
    most_live_bytes(data_zones.saturating_sub(held_back), capacity_bytes)
}

/// How much of the room for data may be live: what is left is garbage that the collector lives on. That is a tenth, or where
/// that is less, a sixteenth and four zones.
fn most_live_bytes(zone_count: u64, capacity_bytes: u64) -> u64 {
    let of_many_zones = (zone_count * capacity_bytes / 16 * 15).saturating_sub(4 * capacity_bytes);
    (zone_count * capacity_bytes / 10 * 9).max(of_many_zones)
}

/// Hands the units that a write has filled to the queue. All locks are released.
fn submit(log: &LogWriter, appended: Appended) -> EngineResult<Logged> {
    log.submit(appended.submissions)?;
    Ok(Logged { last_seqno: appended.last_seqno, is_vain: false })
}

fn purpose(writes: &[LogWrite<'_>]) -> Purpose {
    if writes.iter().all(|write| write.value.is_none()) { Purpose::Delete } else { Purpose::Put }
}

fn check_sizes(writes: &[LogWrite<'_>]) -> EngineResult<()> {
    use crate::format::record::MAX_KEY_BYTES;
    let refuse = |what: String| Err(EngineError::InvalidArgument(what));
    for write in writes {
        let (key_bytes, value_bytes) = (write.key.len(), write.value.map_or(0, <[u8]>::len));
        if !(1..=MAX_KEY_BYTES).contains(&key_bytes) {
            return refuse(format!("a key of {key_bytes} bytes; keys are 1 to {MAX_KEY_BYTES} bytes long"));
        }
        if value_bytes > MAX_VALUE_BYTES {
            return refuse(format!(
                "a value of {value_bytes} bytes; values are at most {MAX_VALUE_BYTES} bytes long"
            ));
        }
    }
    Ok(())
}
