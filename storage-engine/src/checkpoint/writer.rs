//! Appends the blocks of one checkpoint, to as many zones as they take.
//!
//! Blocks are appended one at a time, so they lie in the order of their numbers. The manifest names the checkpoint when
//! all of it is on stable media; until then its zones hold nothing of worth. At most one zone is active at a time: one
//! that is left with room in it is finished.

use std::sync::Arc;

use crate::device::{Geometry, ZonedDevice};
use crate::error::EngineResult;
use crate::fault::{self, Fault};
use crate::format::checkpoint::{BlockBuilder, BlockPlace};
use crate::format::manifest::CheckpointName;
use crate::format::unit::StoreId;
use crate::log::single_append;
use crate::queue::IoQueue;
use crate::units::{SeqNo, ZoneId};

/// The largest block.
const BLOCK_LIMIT_BYTES: usize = 512 << 10;
/// A zone with less room than this left is left: a block must hold the longest page.
const LEAST_ROOM_BYTES: u64 = 96 << 10;
/// Zones that one checkpoint may take, so that the manifest that names two of them stays one append.
pub const MAX_CHECKPOINT_ZONES: usize = 2048;

/// Appends one checkpoint.
#[derive(Debug)]
pub struct CheckpointWriter {
    device: Arc<dyn ZonedDevice>,
    queue: Arc<dyn IoQueue>,
    geometry: Geometry,
    store: StoreId,
    name: CheckpointName,
    /// Bytes written of the last zone; nothing when it has been left.
    used_bytes: Option<u64>,
    limit_bytes: usize,
}

/// What became of a block.
#[derive(Debug)]
pub enum Appended {
    /// It lies on the device.
    Done,
    /// There is no zone for it.
    NoZone,
}

impl CheckpointWriter {
    /// A writer of checkpoint `number`, through a queue that nobody else uses. `unit_limit_bytes` is the largest append.
    #[must_use]
    pub fn new(
        device: Arc<dyn ZonedDevice>,
        queue: Arc<dyn IoQueue>,
        store: StoreId,
        number: u64,
        unit_limit_bytes: usize,
    ) -> Self {
        let geometry = *device.geometry();
        let name = CheckpointName { number, ..CheckpointName::default() };
        let limit_bytes = unit_limit_bytes.min(BLOCK_LIMIT_BYTES);
        Self { device, queue, geometry, store, name, used_bytes: None, limit_bytes }
    }

    /// The most bytes that the next block may have.
    #[must_use]
    pub fn block_limit_bytes(&self) -> usize {
        match self.used_bytes.map(|used| self.geometry.zone_capacity_bytes - used) {
            Some(room) if room >= LEAST_ROOM_BYTES => {
                usize::try_from(room).map_or(self.limit_bytes, |room| room.min(self.limit_bytes))
            }
            _ => self.limit_bytes,
        }
    }

    /// Appends a block; `take_zone` gives an empty zone where one is needed. Blocks until the append has completed.
    ///
    /// # Errors
    /// The device's.
    #[expect(clippy::missing_panics_doc, reason = "where there was no zone, one is taken first")]
    pub fn append(
        &mut self,
        block: BlockBuilder,
        take_zone: impl FnOnce() -> EngineResult<Option<ZoneId>>,
    ) -> EngineResult<Appended> {
        let len_bytes = self.geometry.round_up_to_block(block.len_bytes() as u64);
        if self.used_bytes.is_none_or(|used| used + len_bytes > self.geometry.zone_capacity_bytes) {
            self.leave_zone()?;
            if self.name.zones.len() >= MAX_CHECKPOINT_ZONES {
                return Ok(Appended::NoZone);
            }
            let Some(zone) = take_zone()? else { return Ok(Appended::NoZone) };
            self.name.zones.push((zone, self.device.report(zone)?.reset_count));
            self.used_bytes = Some(0);
        }
        let &(zone, reset_count) = self.name.zones.last().expect("one was taken");
        let place = BlockPlace {
            store: self.store,
            checkpoint: self.name.number,
            block: self.name.block_count,
            reset_count,
        };
        let bytes = block.seal(&place);
        let zone_start = self.geometry.zone_start(zone);
        single_append::append(&*self.queue, zone_start, &bytes, self.geometry.block_bytes)?;
        self.used_bytes = self.used_bytes.map(|used| used + len_bytes);
        self.name.block_count += 1;
        self.name.byte_count += len_bytes;
        Ok(Appended::Done)
    }

    /// The zones taken so far.
    pub fn zones(&self) -> impl Iterator<Item = ZoneId> + '_ {
        self.name.zones.iter().map(|&(zone, _)| zone)
    }

    /// What the manifest is to say, when all blocks are on stable media and all that `covered` says.
    #[must_use]
    pub fn name(&self, covered: SeqNo, entry_count: u64) -> CheckpointName {
        CheckpointName { covered, entry_count, ..self.name.clone() }
    }

    /// Leaves the present zone: nothing more is appended to it. One that is partly written would stay active.
    ///
    /// # Errors
    /// The device's.
    pub fn leave_zone(&mut self) -> EngineResult<()> {
        if let (Some(used), Some(&(zone, _))) = (self.used_bytes.take(), self.name.zones.last())
            && used < self.geometry.zone_capacity_bytes
            && !fault::is_on(Fault::LeaveCheckpointZonesActive)
        {
            self.device.finish(zone)?;
        }
        Ok(())
    }
}
