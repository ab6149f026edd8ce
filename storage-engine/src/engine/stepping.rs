//! What a simulation does with an engine beyond what users do: it steps the background work, and lets a write's two
//! halves, having a place in the log and reaching its level, lie apart, so that writes of several clients interleave.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::background::Step;
use super::placing::idle_active_zones;
use super::running::Running;
use super::write::Logged;
use super::{Durability, Engine, OpenOptions};
use crate::device::ZonedDevice;
use crate::device::simulated::SimulatedDevice;
#[cfg(doc)]
use crate::error::EngineError;
use crate::error::EngineResult;
use crate::format::manifest::SpaceUse;
use crate::format::unit::StreamKind;
use crate::index::{Catalog, Entry, Index, IndexKind, Location};
use crate::log::scanner::{Found, Scanner};
use crate::log::writer::LogWrite;
use crate::recovery::{Recovered, Rely, recover};
use crate::units::{SeqNo, ZoneOffset};
use crate::zones::{Role, ZoneTable};

/// One step of the work that threads do beside the callers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackgroundStep {
    /// Appends what is buffered.
    AppendBuffered,
    /// Empties at most one zone, if that is called for.
    Clean,
    /// Empties the zone that serves best, whether that is called for or not.
    Collect,
    /// Makes the next zone ready.
    ReadyNextZone,
    /// Begins a checkpoint that was asked for, or takes one that was begun a block further.
    Checkpoint,
}

impl BackgroundStep {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::AppendBuffered, Self::Clean, Self::Collect, Self::ReadyNextZone, Self::Checkpoint];
}

/// A write that has its place in the log and waits for its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BegunWrite {
    logged: Logged,
    durability: Durability,
}

impl BegunWrite {
    /// The last of its seqnos; none when it changes nothing.
    #[must_use]
    pub fn last_seqno(&self) -> Option<SeqNo> {
        (!self.logged.is_vain).then_some(self.logged.last_seqno)
    }
}

impl Engine {
    /// Makes a store on a blank simulated device. It is on stable media on return.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub fn create_simulated(
        device: &Arc<SimulatedDevice>,
        store: u128,
        space_use: SpaceUse,
    ) -> EngineResult<()> {
        let running = Running::Stepped(Arc::clone(device));
        let device: Arc<dyn ZonedDevice> = Arc::clone(device) as _;
        super::creating::write_first_manifest(&device, &running, store.to_le_bytes(), space_use)?;
        Ok(device.shut_down()?)
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
            BackgroundStep::Collect => Ok(self.inner.collect_anyway()),
            BackgroundStep::ReadyNextZone => log.ready_next_zone().map(|()| false),
            BackgroundStep::Checkpoint => Ok(self.inner.checkpoint_step() == Step::Again),
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
        self.inner.acknowledge(log, begun.logged, begun.durability)
    }

    /// Whether ranges can be walked.
    #[must_use]
    pub fn has_keys_in_order(&self) -> bool {
        self.inner.catalog.index().ordered().is_some()
    }

    /// Asks for a checkpoint, which [`BackgroundStep::Checkpoint`] and closing write.
    pub fn request_checkpoint(&self) {
        let _ = self.inner.checkpointing.request();
    }

    /// How many zones new writes, copies and checkpoints have active.
    ///
    /// # Errors
    /// The device's.
    pub fn active_zone_counts(&self) -> EngineResult<[usize; 4]> {
        let (mut counts, log) = ([0; 4], self.inner.log()?);
        for (id, zone) in self.inner.zones.iter() {
            let place = match zone.role() {
                // A stream has left it when the last appends to it are on their way.
                Role::Sealed(_) if log.is_quiet(id) => 3,
                Role::Open(StreamKind::User) | Role::Sealed(StreamKind::User) => 0,
                Role::Open(StreamKind::Relocation) | Role::Sealed(StreamKind::Relocation) => 1,
                Role::Checkpoint => 2,
                _ => continue,
            };
            counts[place] += usize::from(self.inner.device.report(id)?.state.is_active());
        }
        Ok(counts)
    }

    /// How many zones new writes, copies and checkpoints may have active, and how many may stay so that nobody fills.
    ///
    /// # Errors
    /// [`EngineError::ReadOnly`], [`EngineError::Closed`].
    pub fn most_active_zone_counts(&self) -> EngineResult<[usize; 4]> {
        let log = self.inner.log()?;
        let of_each = usize::try_from(log.commit().zones_in_flight()).unwrap_or(usize::MAX);
        let (writes, all) = (log.user_stream_count(), log.stream_count());
        let idle = idle_active_zones(self.inner.device.geometry(), all);
        Ok([writes * of_each, (all - writes) * of_each, 1, idle])
    }

    /// Zones that data were given up in: worn ones, and such as could not be emptied.
    #[must_use]
    pub fn lost_zone_count(&self) -> usize {
        self.inner.zones.iter().filter(|(_, zone)| zone.role() == Role::Lost).count()
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
        let recovered = recover(&*self.inner.device, &manifest, 1, (Rely::OnLog, IndexKind::Ordered))?;
        let mine = self.described(&self.inner.catalog, &self.inner.zones)?;
        let mut found = self.described(&recovered.catalog, &recovered.zones)?;
        // A tombstone that is forgotten in memory may lie in a zone that was lost, or that a crash kept from being reset:
        // only copies are forgotten.
        let may_be_gone = |key: &[u8]| self.lost_zone_count() > 0 || is_copied_tombstone(&recovered, key);
        let is_forgotten = |key: &[u8], write: &Write| {
            write.kind == "tombstone" && !mine.contains_key(key) && may_be_gone(key)
        };
        found.retain(|key, write| !is_forgotten(key, write));
        let keys: BTreeSet<_> = mine.keys().chain(found.keys()).collect();
        let differing = keys.into_iter().filter(|key| mine.get(*key) != found.get(*key));
        let line = |key: &[u8]| {
            let key_text = String::from_utf8_lossy(key);
            format!("{key_text}: index {:?}, scan {:?}", mine.get(key), found.get(key))
        };
        let mut lines: Vec<String> = differing.map(|key| line(key)).collect();
        let (mine, scanned) = (self.last_seqno()?, recovered.last_seqno);
        if mine != scanned {
            lines.push(format!("last write: {mine} given out, {scanned} found"));
        }
        Ok(lines)
    }

    /// What lies on the device, for somebody who looks for a bug.
    ///
    /// # Errors
    /// The device's.
    pub fn layout(&self) -> EngineResult<String> {
        let manifest = self.inner.manifest.lock().clone();
        let mut text = format!("{manifest:?}\n");
        for zone in self.inner.device.geometry().zones() {
            let descriptor = self.inner.device.report(zone)?;
            let role = self.inner.zones.zone(zone).role();
            text.push_str(&format!("{role:?} {descriptor:?}\n"));
            let mut scanner = Scanner::new(&*self.inner.device, manifest.store, &descriptor);
            while let Some(found) = scanner.advance()? {
                let mut looks_inside = false;
                text.push_str(&match found {
                    Found::Unit { offset, header, body } => {
                        looks_inside = header.record_count == 0 || !header.is_whole(body);
                        format!(
                        "  {}unit {} at {offset}, {} bytes: generation {}, incarnation {}, {} records from {}, watermark {}, \
                         claims {}..{} and {:?}\n",
                        if looks_inside { "torn " } else { "" },
                        header.unit,
                        header.unit_bytes(),
                        header.generation.get(),
                        header.incarnation,
                        header.record_count,
                        header.first_seqno,
                        header.watermark,
                        header.claim_first,
                        header.claim_end,
                        header.previous,
                    )
                    }
                    Found::Gap { offset, len_bytes, error } => {
                        format!("  gap at {offset}, {len_bytes} bytes: {error}\n")
                    }
                });
                if looks_inside {
                    scanner.look_inside();
                }
            }
        }
        Ok(text)
    }

    /// Which write each key has. Of two copies of one it does not matter which is meant.
    pub(super) fn described(
        &self,
        catalog: &Catalog,
        zones: &ZoneTable,
    ) -> EngineResult<BTreeMap<Box<[u8]>, Write>> {
        let mut entries = Vec::new();
        match catalog.index() {
            Index::Ordered(index) => index.ascend(Bound::Unbounded, usize::MAX >> 8, &mut entries),
            Index::Hash(index) => self.inner.each_owner(index, |key, entry| {
                entries.push((key?, entry));
                Ok(())
            })?,
        }
        let describe = |(key, entry)| {
            let write = match entry {
                Entry::Value { location, .. } => {
                    Write { kind: "value", seqno: self.seqno_at(zones, location)? }
                }
                Entry::Tombstone { location } => {
                    Write { kind: "tombstone", seqno: self.seqno_at(zones, location)? }
                }
                Entry::Large { id } => Write { kind: "large value", seqno: Some(id.get()) },
            };
            Ok((key, write))
        };
        entries.into_iter().map(describe).collect()
    }

    /// The seqno of the record at a place; `None` where there is none.
    fn seqno_at(&self, zones: &ZoneTable, location: Location) -> EngineResult<Option<u64>> {
        let Some(unit) = zones.zone(location.zone).place(location.unit) else { return Ok(None) };
        let geometry = self.inner.device.geometry();
        let at = unit.forward(location.offset.into()).get();
        let start = geometry.round_down_to_block(at);
        // A head may lie across two blocks.
        let len = (2 * u64::from(geometry.block_bytes)).min(geometry.zone_capacity_bytes - start);
        let mut blocks = vec![0; usize::try_from(len).expect("two blocks")];
        self.inner.device.read(location.zone, ZoneOffset::new(start), &mut blocks)?;
        let seqno = usize::try_from(at - start).ok().and_then(|skip| blocks.get(skip + 8..skip + 16));
        Ok(seqno.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes))
    }
}

/// Whether the entry of a key is a delete that the collector has copied.
fn is_copied_tombstone(recovered: &Recovered, key: &[u8]) -> bool {
    match recovered.catalog.index().lookup(key) {
        Some(Entry::Tombstone { location }) => {
            let role = recovered.zones.zone(location.zone).role();
            matches!(role, Role::Open(StreamKind::Relocation) | Role::Sealed(StreamKind::Relocation))
        }
        _ => false,
    }
}

/// A write, as far as it tells itself from others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) kind: &'static str,
    pub(super) seqno: Option<u64>,
}
