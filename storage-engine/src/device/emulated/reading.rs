//! Reads.
//!
//! Blocks at and after the write pointer are never read from the file: what lies there is of an earlier filling.

use std::sync::atomic::Ordering;

use super::word::ZoneWord;
use super::{EmulatedDevice, in_zone};
use crate::device::{DeviceError, DeviceResult, ReadCommand, ZoneState, ZonedDevice, admission};
use crate::units::{ZoneId, ZoneOffset};

impl EmulatedDevice {
    /// Where a queue finds bytes that were written.
    pub(super) fn locate_read(
        &self,
        zone: ZoneId,
        offset: ZoneOffset,
        len_bytes: u64,
    ) -> DeviceResult<ReadCommand> {
        let write_pointer = self.check_read(zone, offset, len_bytes)?;
        if offset.forward(len_bytes) > write_pointer {
            return Err(DeviceError::BeyondWritePointer { zone, offset, len_bytes, write_pointer });
        }
        self.counters.read_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        let file_offset_bytes = self.file_offset_bytes(zone, offset);
        Ok(ReadCommand::PositionedRead { fd: self.stable.file().data_fd(), file_offset_bytes })
    }

    /// Reads what was written, and zeros after it.
    pub(super) fn read_blocks(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        let write_pointer = self.check_read(zone, offset, into.len() as u64)?;
        let written_bytes = write_pointer.get().saturating_sub(offset.get());
        let written_len = usize::try_from(written_bytes).map_or(into.len(), |bytes| bytes.min(into.len()));
        let (written, unwritten) = into.split_at_mut(written_len);
        self.read_written(zone, offset, written)?;
        unwritten.fill(0);
        self.counters.read_bytes.fetch_add(into.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// What both kinds of read are refused for; gives how far the zone is written.
    fn check_read(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ZoneOffset> {
        self.table().check_exists(zone)?;
        let ZoneWord { state, write_pointer } = self.table().word(zone);
        admission::check_read(self.geometry(), zone, (offset, len_bytes), write_pointer)?;
        if state == ZoneState::Offline {
            return Err(DeviceError::ZoneOffline { zone });
        }
        Ok(write_pointer)
    }

    fn read_written(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        let read = self.stable.file().read_data(self.file_offset_bytes(zone, offset), into);
        let count = read.map_err(in_zone("reading", into.len() as u64, zone, offset))?;
        if count == into.len() {
            return Ok(());
        }
        Err(DeviceError::ShortRead { zone, offset, len_bytes: into.len() as u64, read_bytes: count as u64 })
    }
}
