//! What a simulation does with an engine beyond what users do: it steps the background work, and lets a write's two
//! halves, having a place in the log and reaching its level, lie apart, so that writes of several clients interleave.

use std::sync::Arc;

use super::background::Step;
use super::running::Running;
use super::write::Logged;
use super::{Durability, Engine, OpenOptions};
use crate::device::ZonedDevice;
use crate::device::simulated::SimulatedDevice;
#[cfg(doc)]
use crate::error::EngineError;
use crate::error::EngineResult;
use crate::format::manifest::SpaceUse;
use crate::index::{Catalog, Entry};
use crate::log::writer::LogWrite;
use crate::recovery::recover;
use crate::units::SeqNo;

/// One step of the work that threads do beside the callers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackgroundStep {
    /// Appends what is buffered.
    AppendBuffered,
    /// Empties at most one zone, if that is called for.
    Clean,
    /// Makes the next zone ready.
    ReadyNextZone,
}

impl BackgroundStep {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::AppendBuffered, Self::Clean, Self::ReadyNextZone];
}

/// A write that has its place in the log and waits for its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BegunWrite {
    logged: Option<Logged>,
    durability: Durability,
}

impl BegunWrite {
    /// The last of its seqnos; none when there was nothing to write.
    #[must_use]
    pub fn last_seqno(&self) -> Option<SeqNo> {
        self.logged.map(|logged| logged.last_seqno)
    }
}

impl Engine {
    /// Makes a store on a blank simulated device. It is on stable media on return.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub fn create_simulated(device: &Arc<SimulatedDevice>, store: u128, space_use: SpaceUse) -> EngineResult<()> {
        let running = Running::Stepped(Arc::clone(device));
        let device: Arc<dyn ZonedDevice> = Arc::clone(device) as _;
        super::creating::write_first_manifest(&device, &running, store.to_le_bytes(), space_use)
    }

    /// Opens the store on a simulated device. No thread is started: the caller steps what threads would do, and a write
    /// that would wait for them does it itself.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_simulated(device: &Arc<SimulatedDevice>, options: &OpenOptions) -> EngineResult<Self> {
        let running = Running::Stepped(Arc::clone(device));
        Self::over(Arc::clone(device) as _, options, running)
    }

    /// Does one step of background work. Says whether there is more of the kind.
    ///
    /// # Errors
    /// The device's, or the failure that has latched the store.
    pub fn step(&self, step: BackgroundStep) -> EngineResult<bool> {
        let log = self.inner.log()?;
        match step {
            BackgroundStep::AppendBuffered => log.append_buffered().map(|()| false),
            BackgroundStep::Clean => {
                let again = self.inner.clean_step() == Step::Again;
                self.inner.count_live_limit();
                Ok(again)
            }
            BackgroundStep::ReadyNextZone => log.ready_next_zone().map(|()| false),
        }
    }

    /// The first half of [`Engine::write`]: on return the writes have their places in the log.
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub fn begin_write(&self, writes: &[LogWrite<'_>], durability: Durability) -> EngineResult<BegunWrite> {
        let log = self.inner.log()?;
        let logged = self.log_writes(log, writes, durability)?;
        Ok(BegunWrite { logged, durability })
    }

    /// The second half: on return the writes have reached their level.
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub fn end_write(&self, begun: BegunWrite) -> EngineResult<()> {
        let log = self.inner.log()?;
        begun.logged.map_or(Ok(()), |logged| self.inner.acknowledge(log, logged, begun.durability))
    }

    /// Ends the use of the store as the end of its process does: nothing more is written.
    pub fn abandon(self) {
        self.inner.closed.store(true, std::sync::atomic::Ordering::Release);
    }

    /// The last seqno given out.
    ///
    /// # Errors
    /// [`EngineError::ReadOnly`], [`EngineError::Closed`].
    pub fn last_seqno(&self) -> EngineResult<SeqNo> {
        Ok(self.inner.log()?.last_seqno())
    }

    /// Everything up to here is on stable media and visible.
    ///
    /// # Errors
    /// [`EngineError::ReadOnly`], [`EngineError::Closed`].
    pub fn durable_seqno(&self) -> EngineResult<SeqNo> {
        Ok(self.inner.log()?.commit().durable())
    }

    /// Whether writes are refused because one has failed.
    ///
    /// # Errors
    /// [`EngineError::ReadOnly`], [`EngineError::Closed`].
    pub fn has_failed(&self) -> EngineResult<bool> {
        Ok(self.inner.log()?.commit().check().is_err())
    }

    /// Compares the index with what a full scan of the device gives. Nothing may be buffered or in flight, and everything
    /// must be visible.
    ///
    /// # Errors
    /// The device's; [`EngineError::Corruption`] never: differences are told, in words.
    pub fn differences_from_scan(&self) -> EngineResult<Vec<String>> {
        let manifest = self.inner.manifest.lock().clone();
        let recovered = recover(&*self.inner.device, &manifest, 1)?;
        let (mut mine, mut found) = (entries_of(&self.inner.catalog), entries_of(&recovered.catalog));
        // A tombstone that is forgotten in memory may lie in a zone that is still to be reset, or was lost.
        let forgotten = |key: &[u8], other: &[(Box<[u8]>, Entry)]| {
            other.binary_search_by(|(known, _)| (**known).cmp(key)).is_err()
        };
        let known = mine.clone();
        found.retain(|(key, entry)| !matches!(entry, Entry::Tombstone { .. }) || !forgotten(key, &known));
        mine.retain(|entry| !found.contains(entry));
        found.retain(|entry| !known.contains(entry));
        let describe = |who: &str, entries: Vec<(Box<[u8]>, Entry)>| {
            let line = move |(key, entry): (Box<[u8]>, Entry)| {
                format!("{who}: {} {entry:?}", String::from_utf8_lossy(&key))
            };
            entries.into_iter().map(line).collect::<Vec<_>>()
        };
        let mut differences = describe("index", mine);
        differences.extend(describe("scan", found));
        Ok(differences)
    }
}

fn entries_of(catalog: &Catalog) -> Vec<(Box<[u8]>, Entry)> {
    let mut entries = Vec::new();
    catalog.index().ascend(std::ops::Bound::Unbounded, usize::MAX >> 8, &mut entries);
    entries
}
