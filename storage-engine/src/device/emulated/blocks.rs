//! The blocks that zones have of the host's file system: given back at a reset, or got ready for appends.
//!
//! The zone's row is held meanwhile. An append that is admitted while it is held waits for the row before its write is
//! handed out, so that nothing is punched or zeroed under it.

use std::sync::atomic::Ordering;

use super::table::{Blocks, Coverage};
use super::word::ZoneWord;
use super::{EmulatedDevice, in_zone};
use crate::device::{DeviceResult, ZonedDevice};
use crate::units::{ZoneId, ZoneOffset};

impl EmulatedDevice {
    /// Empties a zone durably and sees to its blocks.
    pub(super) fn empty_zone(&self, zone: ZoneId) -> DeviceResult<()> {
        let start_bytes = self.file_offset_bytes(zone, ZoneOffset::START);
        let (file, size_bytes) = (self.stable.file(), self.geometry().zone_size_bytes);
        let mut row = self.stable.row(zone);
        let written = file.is_written(start_bytes, self.geometry().zone_capacity_bytes);
        let coverage = if written { Coverage::Whole } else { Coverage::Holes };
        let Some(blocks) = self.table().reset(zone, coverage)? else {
            // Whoever emptied it may have failed to make that durable.
            return self.stable.check_health();
        };
        self.stable.record_reset(zone, &mut row)?;
        self.counters.reset_count.fetch_add(1, Ordering::Relaxed);
        match blocks {
            Blocks::Keep => Ok(()),
            Blocks::GiveBack => file.give_back(start_bytes, size_bytes).map_err(in_zone(
                "giving back",
                size_bytes,
                zone,
                ZoneOffset::START,
            )),
        }
    }

    /// Writes an empty zone's blocks ahead of time, so that appends rewrite them.
    pub(super) fn write_blocks_once(&self, zone: ZoneId) -> DeviceResult<()> {
        let (file, len_bytes) = (self.stable.file(), self.geometry().zone_capacity_bytes);
        let mut row = self.stable.row(zone);
        // An append that is admitted from here on waits for the row before it writes.
        let wanted = self.table().word(zone) == ZoneWord::EMPTY
            && self.table().blocks_written(zone) == Coverage::Holes;
        if !wanted {
            return Ok(());
        }
        file.write_zeros(self.file_offset_bytes(zone, ZoneOffset::START), len_bytes).map_err(in_zone(
            "writing zeros ahead of time",
            len_bytes,
            zone,
            ZoneOffset::START,
        ))?;
        self.stable.sync()?;
        self.table().set_blocks_written(zone);
        self.stable.bring_up_to_date(zone, &mut row).map(|_| ())
    }

    /// Allocates an empty zone's blocks.
    pub(super) fn allocate(&self, zone: ZoneId) -> DeviceResult<()> {
        let (file, len_bytes) = (self.stable.file(), self.geometry().zone_capacity_bytes);
        if self.table().word(zone) != ZoneWord::EMPTY {
            return Ok(());
        }
        file.allocate(self.file_offset_bytes(zone, ZoneOffset::START), len_bytes).map_err(in_zone(
            "allocating",
            len_bytes,
            zone,
            ZoneOffset::START,
        ))
    }
}
