//! The blocks that zones have of the host's file system: given back at a reset, or got ready for appends.
//!
//! The zone's row is held meanwhile. An append that is admitted while it is held waits for the row before its write is
//! handed out, so that nothing is punched or zeroed under it.

use std::io;
use std::sync::atomic::Ordering;

use super::table::{Blocks, Coverage};
use super::word::ZoneWord;
use super::{EmulatedDevice, in_zone};
use crate::device::{DeviceError, DeviceResult, ZonedDevice};
use crate::units::{ZoneId, ZoneOffset};

impl EmulatedDevice {
    /// Empties a zone durably and sees to its blocks.
    pub(super) fn empty_zone(&self, zone: ZoneId) -> DeviceResult<()> {
        let start_bytes = self.file_offset_bytes(zone, ZoneOffset::START);
        let (file, size_bytes) = (self.stable.file(), self.geometry().zone_size_bytes);
        let mut row = self.stable.row(zone);
        // Asking takes milliseconds on some file systems: tmpfs looks at page after page up to the first hole.
        let is_written = || file.is_written(start_bytes, self.geometry().zone_capacity_bytes);
        let written = self.table().blocks_written(zone) == Coverage::Whole || is_written();
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

    /// Gives an empty zone's blocks back, if it has kept those that were written.
    pub(super) fn give_back_kept(&self, zone: ZoneId) -> DeviceResult<()> {
        let _row = self.stable.row(zone);
        if self.table().blocks_written(zone) == Coverage::Holes {
            return Ok(());
        }
        self.give_back_empty(zone)
    }

    /// Gives an empty zone's blocks back, those among them that are allocated and were never written.
    pub(super) fn give_back_prepared(&self, zone: ZoneId) -> DeviceResult<()> {
        let _row = self.stable.row(zone);
        self.give_back_empty(zone)
    }

    /// For a caller that holds the row.
    fn give_back_empty(&self, zone: ZoneId) -> DeviceResult<()> {
        if self.table().word(zone) != ZoneWord::EMPTY {
            return Ok(());
        }
        // Whoever prepares the zone next must not count on them, even if only some are gone.
        self.table().set_blocks_missing(zone);
        let (start_bytes, size_bytes) =
            (self.file_offset_bytes(zone, ZoneOffset::START), self.geometry().zone_size_bytes);
        let given_back = self.stable.file().give_back(start_bytes, size_bytes);
        given_back.map_err(in_zone("giving back", size_bytes, zone, ZoneOffset::START))
    }

    /// Writes an empty zone's blocks ahead of time, so that appends rewrite them.
    pub(super) fn write_blocks_once(&self, zone: ZoneId) -> DeviceResult<()> {
        let mut row = self.stable.row(zone);
        if !self.wants_blocks(zone) {
            return Ok(());
        }
        let (file, len_bytes) = (self.stable.file(), self.geometry().zone_capacity_bytes);
        let start_bytes = self.file_offset_bytes(zone, ZoneOffset::START);
        // A full host is noticed before anything is written.
        let written =
            file.allocate(start_bytes, len_bytes).and_then(|()| file.write_zeros(start_bytes, len_bytes));
        written.map_err(|error| self.without_room("writing zeros ahead of time", zone, error))?;
        self.stable.sync()?;
        self.table().set_blocks_written(zone);
        self.stable.bring_up_to_date(zone, &mut row).map(|_| ())
    }

    /// Allocates an empty zone's blocks.
    pub(super) fn allocate(&self, zone: ZoneId) -> DeviceResult<()> {
        let _row = self.stable.row(zone);
        if !self.wants_blocks(zone) {
            return Ok(());
        }
        let start_bytes = self.file_offset_bytes(zone, ZoneOffset::START);
        let allocated = self.stable.file().allocate(start_bytes, self.geometry().zone_capacity_bytes);
        allocated.map_err(|error| self.without_room("allocating", zone, error))
    }

    /// Whether a zone is empty and its blocks are not all there. For a caller that holds the row: an append that is
    /// admitted from here on waits for it before it writes.
    fn wants_blocks(&self, zone: ZoneId) -> bool {
        self.table().word(zone) == ZoneWord::EMPTY && self.table().blocks_written(zone) == Coverage::Holes
    }

    /// What a failure to get blocks means. Those that were had go back: the zone is empty, and the host may be full.
    fn without_room(&self, doing: &'static str, zone: ZoneId, error: io::Error) -> DeviceError {
        let needed_bytes = self.geometry().zone_capacity_bytes;
        if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return in_zone(doing, needed_bytes, zone, ZoneOffset::START)(error);
        }
        // They would be of use to nobody; that they stay allocated does no harm to the zone.
        let _ = self.stable.file().give_back(self.file_offset_bytes(zone, ZoneOffset::START), needed_bytes);
        DeviceError::HostFull { path: self.path().to_owned(), zone, needed_bytes }
    }
}
