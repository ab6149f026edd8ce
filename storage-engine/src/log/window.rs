//! What of a zone is in memory while it is read from start to end.

use crate::buffer::AlignedBuffer;
use crate::device::{DeviceResult, ZonedDevice};
use crate::index::MAX_UNIT_BYTES;
use crate::units::{ZoneId, ZoneOffset};

/// Bytes read at once: the largest unit always fits behind a boundary.
const WINDOW_BYTES: u64 = 2 * MAX_UNIT_BYTES as u64;

/// A stretch of a zone that moves on as its reader does.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    device: &'a dyn ZonedDevice,
    zone: ZoneId,
    end_bytes: u64,
    buffer: AlignedBuffer,
    start_bytes: u64,
    len_bytes: u64,
}

impl<'a> Window<'a> {
    /// A window on the first `end_bytes` of a zone.
    pub(crate) fn new(device: &'a dyn ZonedDevice, zone: ZoneId, end_bytes: u64) -> Self {
        let buffer_bytes = usize::try_from(end_bytes.min(WINDOW_BYTES)).expect("2 MiB at most");
        let buffer = AlignedBuffer::zeroed(buffer_bytes);
        Self { device, zone, end_bytes, buffer, start_bytes: 0, len_bytes: 0 }
    }

    /// Makes sure that the largest unit from a position, or all up to the end, is in the window.
    pub(crate) fn reach(&mut self, position_bytes: u64) -> DeviceResult<()> {
        let wanted_end = self.end_bytes.min(position_bytes + u64::from(MAX_UNIT_BYTES));
        if position_bytes >= self.start_bytes && wanted_end <= self.start_bytes + self.len_bytes {
            return Ok(());
        }
        let len_bytes = (self.end_bytes - position_bytes).min(WINDOW_BYTES);
        let into = &mut self.buffer[..usize::try_from(len_bytes).expect("2 MiB at most")];
        self.device.read(self.zone, ZoneOffset::new(position_bytes), into)?;
        (self.start_bytes, self.len_bytes) = (position_bytes, len_bytes);
        Ok(())
    }

    /// What lies at a position that has been reached, up to the end of the window.
    pub(crate) fn here(&self, position_bytes: u64) -> &[u8] {
        let from = usize::try_from(position_bytes - self.start_bytes).expect("inside the window");
        let to = usize::try_from(self.len_bytes).expect("2 MiB at most");
        &self.buffer[from..to]
    }
}
