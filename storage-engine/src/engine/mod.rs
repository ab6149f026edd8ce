//! The engine: wires the layers together; opening, closing, and what a store can be asked to do.
//!
//! Threading: any number of threads use one engine. Two threads run beside them: one appends what has been buffered for
//! long enough, one keeps house (collects, makes zones ready). Both sleep while there is nothing to do.

mod background;
mod checkpointing;
mod cleaning;
mod creating;
mod events;
mod latches;
mod leftovers;
#[cfg(all(test, feature = "models"))]
mod models;
mod opening;
mod owners;
mod pacing;
mod placing;
mod read;
mod read_together;
mod replay;
mod run_heads;
mod running;
mod space;
mod spare;
mod stats;
#[cfg(any(test, feature = "testing"))]
mod stepping;
mod substitutes;
#[cfg(test)]
mod tests;
mod verify;
mod write;

mod values;

use std::sync::Arc;
use std::time::Duration;

pub use cleaning::{CleanReport, Footprint};
pub use creating::{Contents, CreateOptions, GeometryWishes, NewStore};
pub use events::{Event, Listener};
pub use opening::{OpenOptions, StorePath};
pub use read::{Bytes, Direction, Page};
pub use replay::FoundJournal;
pub use stats::{CleaningStats, EngineInfo, EngineStats, StreamStats, ZoneStats};
#[cfg(any(test, feature = "testing"))]
pub use stepping::{BackgroundStep, BegunWrite};
pub use verify::{Depth, VerifyReport};
pub use write::Durability;

use crate::counter::StripedCounter;
use crate::device::ZonedDevice;
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::manifest::{Counters as LifeCounters, Manifest};
use crate::gc::collector::{Collector, Witness};
use crate::index::{Catalog, Index};
use crate::log::commit::Level;
use crate::log::manifest_log::ManifestLog;
use crate::log::memory::UnitMemory;
use crate::log::writer::LogWriter;
use crate::recovery::RecoveryReport;
use crate::signal::Signal;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::thread::JoinHandle;
use crate::units::{Generation, SeqNo, ZoneId};
use crate::zones::{Allocator, Role, ZoneTable};
use checkpointing::Checkpointing;
use cleaning::CleaningRequests;
use events::Events;
use latches::Latches;
use pacing::Pace;
use read_together::ReadQueues;
use running::Running;
use space::SpaceTarget;
use substitutes::take_zone;
use values::ValueCache;

/// An open store. Cheap to share by reference; closed when dropped.
#[derive(Debug)]
pub struct Engine {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    journal: FoundJournal,
}

#[derive(Debug)]
struct Inner {
    running: Running,
    device: Arc<dyn ZonedDevice>,
    zones: Arc<ZoneTable>,
    allocator: Arc<Allocator>,
    memory: Arc<UnitMemory>,
    catalog: Arc<Catalog>,
    values: ValueCache,
    read_queues: ReadQueues,
    /// The kind of queue that reads and appends go through.
    queue_kind: &'static str,
    latches: Latches,
    /// `None` in a store that is open for reading only.
    log: Option<Arc<LogWriter>>,
    collector: Option<Collector>,
    manifest_log: Option<ManifestLog>,
    manifest: Mutex<Manifest>,
    counters: Counters,
    /// Sums over the life of the store up to its opening.
    counters_before: LifeCounters,
    housekeeping: Arc<Signal>,
    /// Zones that have worn out and may have live records in them, to be evacuated.
    worn: Arc<Mutex<Vec<ZoneId>>>,
    buffered: Arc<Signal>,
    buffered_delay: Duration,
    /// How many live bytes the store takes.
    live_limit_bytes: AtomicU64,
    /// Whether buffered writes are placed by what they overwrite. Goes on once, and stays.
    spreads_writes: AtomicBool,
    space: SpaceTarget,
    pace: Pace,
    events: Events,
    /// Writers that wait for a zone to be freed.
    waiting_count: AtomicUsize,
    /// Zones taken beyond which writers wait for the collector although there is space.
    zone_allowance: AtomicU64,
    /// The round of cleaning that was begun last, and the last one that found nothing to gain.
    cleaning_round: AtomicU64,
    exhausted_round: AtomicU64,
    closed: AtomicBool,
    checkpointing: Checkpointing,
    cleaning_requests: CleaningRequests,
    recovery: RecoveryReport,
    /// Where the log ended when the store was opened.
    last_recovered: SeqNo,
}

/// Counts since the store was opened.
#[derive(Debug, Default)]
struct Counters {
    puts: StripedCounter,
    deletes: StripedCounter,
    gets: StripedCounter,
    memory_hits: StripedCounter,
    user_bytes: StripedCounter,
    zone_resets: AtomicU64,
}

impl Inner {
    fn log(&self) -> EngineResult<&LogWriter> {
        if self.closed.load(Ordering::Acquire) {
            return Err(EngineError::Closed);
        }
        self.log.as_deref().ok_or(EngineError::ReadOnly)
    }

    fn check_open(&self) -> EngineResult<()> {
        if self.closed.load(Ordering::Acquire) { Err(EngineError::Closed) } else { Ok(()) }
    }

    /// Sums over the life of the store.
    fn life_counters(&self) -> LifeCounters {
        let before = self.counters_before;
        let relocated = self.collector.as_ref().map_or(0, |it| it.relocated_bytes.load(Ordering::Relaxed));
        LifeCounters {
            user_bytes_written: before.user_bytes_written + self.counters.user_bytes.count(),
            device_bytes_written: before.device_bytes_written + self.device.activity().appended_bytes,
            relocated_bytes: before.relocated_bytes + relocated,
            zone_resets: before.zone_resets + self.counters.zone_resets.load(Ordering::Relaxed),
        }
    }

    /// Appends a version of the manifest with what is known now. Durable on return.
    fn write_manifest(&self, clean: bool) -> EngineResult<()> {
        let (Some(log), Some(manifest_log)) = (&self.log, &self.manifest_log) else {
            return Err(EngineError::ReadOnly);
        };
        let mut manifest = self.manifest.lock();
        let oldest_generation = self.oldest_generation();
        let mut next = Manifest {
            version: manifest.version + 1,
            watermark: log.commit().durable(),
            generation: self.allocator.generation(),
            oldest_generation,
            tails: log.tails(),
            clean,
            counters: self.life_counters(),
            cleaning: self.notes_to_take_down(&manifest.cleaning),
            ..manifest.clone()
        };
        let appended = manifest_log
            .append(&mut next, &|urgency| take_zone(&*self.device, &self.zones, &self.allocator, urgency));
        // Zones that were taken are taken, whatever became of the version; and it may be in one of them, so that its number
        // must not be another one's.
        manifest.substitutes.clone_from(&next.substitutes);
        manifest.version = next.version;
        appended?;
        *manifest = next;
        Ok(())
    }

    /// The generation of the zone that was opened first; the next one where none is filled.
    fn oldest_generation(&self) -> Generation {
        // Asked before the zones are looked at: one that is opened meanwhile is not older.
        let next = self.allocator.generation().next();
        let generations = self.zones.iter().map(|(_, zone)| zone.generation());
        generations.filter(|&filled| filled > Generation::default()).fold(next, Ord::min)
    }
}

impl Witness for Inner {
    fn testify(&self) -> EngineResult<()> {
        self.write_manifest(false)
    }

    fn has_looked_through(&self, share: f64) {
        self.pace_collector(share);
    }
}

impl Engine {
    /// The value of a key, or `None`. Reads at most one record from the device.
    ///
    /// # Errors
    /// [`EngineError::Corruption`] when the stored bytes are damaged; the device's.
    pub fn value(&self, key: &[u8]) -> EngineResult<Option<Bytes>> {
        self.inner.check_open()?;
        self.inner.counters.gets.add(1);
        self.inner.value(key)
    }

    /// The values of many keys, in their order; what must be read from the device is read at once.
    ///
    /// # Errors
    /// As [`Engine::value`].
    pub fn values(&self, keys: &[&[u8]]) -> EngineResult<Vec<Option<Bytes>>> {
        self.inner.check_open()?;
        self.inner.counters.gets.add(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        self.inner.values(keys)
    }

    /// Whether a key has a value. Never touches the device where the index holds the keys; else reads one record at most.
    ///
    /// # Errors
    /// [`EngineError::Closed`]; with a hash index as [`Engine::value`].
    pub fn contains(&self, key: &[u8]) -> EngineResult<bool> {
        self.inner.check_open()?;
        let entry = match self.inner.catalog.index() {
            Index::Ordered(index) => index.lookup(key),
            Index::Hash(index) => self.inner.owner(index, key)?.own(),
        };
        Ok(entry.is_some_and(|entry| !matches!(entry, crate::index::Entry::Tombstone { .. })))
    }

    /// Up to `limit` keys of a range with their values.
    ///
    /// Each value was the key's at some time during the call. A page may hold fewer items than `limit` and yet not be the
    /// last: [`Page::last_key`] tells.
    ///
    /// # Errors
    /// As [`Engine::value`].
    pub fn page(
        &self,
        low: std::ops::Bound<&[u8]>,
        high: std::ops::Bound<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> EngineResult<Page> {
        self.inner.check_open()?;
        self.inner.page(low, high, direction, limit)
    }

    /// Makes everything acknowledged before durable. Blocks for a flush of the device, or not at all.
    ///
    /// # Errors
    /// [`EngineError::WritesRefused`] with the failure; [`EngineError::ReadOnly`]; [`EngineError::Closed`].
    pub fn flush(&self) -> EngineResult<()> {
        let log = self.inner.log()?;
        if fault::is_on(Fault::AcknowledgeFlushAtOnce) {
            return Ok(());
        }
        log.commit_to(log.last_seqno(), Level::Durable)
    }

    /// Flushes, takes down that all is in order, lets others have the device, and refuses everything from then on.
    ///
    /// # Errors
    /// The failure of the flush. The store is closed nevertheless; the next opening recovers.
    pub fn close(&self) -> EngineResult<()> {
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.inner.housekeeping.stop();
        self.inner.buffered.stop();
        self.inner.allocator.notify();
        for thread in self.threads.lock().drain(..) {
            // A panic in a background thread has been reported by the panic hook; closing goes on.
            let _ = thread.join();
        }
        self.inner.checkpointing.close();
        self.inner.cleaning_requests.close();
        self.inner.events.end();
        // After a failure appends may still be in flight: then the device is let go with the last handle only.
        self.inner.log.as_ref().map_or(Ok(()), |log| self.leave_in_order(log))?;
        Ok(self.inner.device.shut_down()?)
    }

    fn leave_in_order(&self, log: &LogWriter) -> EngineResult<()> {
        // Writes that had begun have passed every latch when this returns; later ones are refused under theirs.
        self.inner.latches.pass_all();
        log.make_relocations_durable(log.last_seqno())?;
        log.settle()?;
        // Of a zone that wore out just now the housekeeper may not have taken this down.
        let worn = self.inner.zones.iter().filter(|(_, zone)| zone.role() == Role::Lost);
        worn.for_each(|(_, zone)| zone.claim_landed());
        self.inner.checkpoint_at_close();
        log.commit().check()?;
        log.end_journal()?;
        self.inner.write_manifest(true)?;
        Ok(self.inner.device.flush()?)
    }

    /// What opening the store found of a journal.
    #[must_use]
    pub fn found_journal(&self) -> FoundJournal {
        self.journal
    }

    /// What recovery found when the store was opened.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.inner.recovery
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Nobody is left to tell; what was acknowledged as Written or Sync is safe without it.
        let _ = self.close();
    }
}
