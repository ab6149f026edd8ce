//! Reads.
//!
//! Blocks at and after the write pointer are never asked of the drive: it may give zeros for them, or anything, or an error.

use std::sync::atomic::Ordering;

use super::NvmeDevice;
use super::namespace::Failure;
use super::status::Status;
use crate::device::{
    DeviceError, DeviceResult, NvmeCommand, RawResult, ReadCommand, ZoneState, ZonedDevice, admission,
};
use crate::units::{ZoneId, ZoneOffset};

impl NvmeDevice {
    /// Where a queue finds bytes that were written.
    pub(super) fn locate_read(
        &self,
        zone: ZoneId,
        offset: ZoneOffset,
        len_bytes: u64,
    ) -> DeviceResult<ReadCommand> {
        let limit_bytes = self.transfer_limit_bytes;
        let (end, write_pointer) = self.check_read(zone, offset, len_bytes)?;
        if end > write_pointer {
            return Err(DeviceError::BeyondWritePointer { zone, offset, len_bytes, write_pointer });
        }
        if len_bytes > u64::from(limit_bytes) {
            return Err(DeviceError::ReadTooLarge { zone, len_bytes, limit_bytes });
        }
        let block_count = u32::try_from(len_bytes / u64::from(self.geometry().block_bytes));
        let command = NvmeCommand::read(
            self.namespace.fd(),
            self.namespace.identifier(),
            self.lba(zone, offset),
            block_count.expect("the transfer limit is a u32 of bytes"),
        );
        self.counters.read_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        Ok(ReadCommand::Nvme(command))
    }

    /// Says whether such a read brought its bytes.
    pub(super) fn conclude_read(
        &self,
        (zone, offset, len_bytes): (ZoneId, ZoneOffset, u64),
        result: RawResult,
    ) -> DeviceResult<()> {
        match Status::of(result.result) {
            Some(status) => Err(self.explain(status.read_error(zone))),
            None if result.result == 0 => Ok(()),
            None => Err(self.read_error(zone, offset, len_bytes, result.error())),
        }
    }

    /// Reads what was written, and zeros after it. In pieces, where one command would be too large.
    pub(super) fn read_blocks(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        let (_, write_pointer) = self.check_read(zone, offset, into.len() as u64)?;
        let written_bytes = write_pointer.get().saturating_sub(offset.get());
        let written_len = usize::try_from(written_bytes).map_or(into.len(), |bytes| bytes.min(into.len()));
        self.counters.read_bytes.fetch_add(into.len() as u64, Ordering::Relaxed);
        let (written, unwritten) = into.split_at_mut(written_len);
        unwritten.fill(0);
        let mut at = offset;
        for piece in written.chunks_mut(self.transfer_limit_bytes as usize) {
            let read = self.namespace.read(self.lba(zone, at), self.geometry().block_bytes, piece);
            read.map_err(|failure| match failure {
                Failure::Status(status) => self.explain(status.read_error(zone)),
                Failure::Kernel(source) => self.kernel_error("Read", zone, source),
            })?;
            at = at.forward(piece.len() as u64);
        }
        Ok(())
    }

    /// What both kinds of read are refused for; gives the end of the range, and how far the zone is written at least.
    fn check_read(
        &self,
        zone: ZoneId,
        offset: ZoneOffset,
        len_bytes: u64,
    ) -> DeviceResult<(ZoneOffset, ZoneOffset)> {
        self.known.check_exists(zone)?;
        let (mut state, mut written) = self.known.look(zone);
        let end = admission::check_read(self.geometry(), zone, (offset, len_bytes), written)?;
        if self.known.is_uncertain(zone) {
            let descriptor = self.report(zone)?;
            (state, written) = (descriptor.state, descriptor.write_pointer);
        }
        if state == ZoneState::Offline { Err(DeviceError::ZoneOffline { zone }) } else { Ok((end, written)) }
    }

    fn lba(&self, zone: ZoneId, offset: ZoneOffset) -> u64 {
        self.start_lba(zone) + offset.get() / u64::from(self.geometry().block_bytes)
    }
}
