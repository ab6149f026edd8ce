//! What of a zone is in memory while it is read from start to end.

use crate::buffer::AlignedBuffer;
use crate::device::{DeviceResult, ZonedDevice};
use crate::index::MAX_UNIT_BYTES;
use crate::log::read_ahead::{ReadAhead, Stretch};
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
    /// Where reads go; to the device itself otherwise.
    ahead: Option<&'a mut ReadAhead>,
}

impl<'a> Window<'a> {
    /// A window on the first `end_bytes` of a zone.
    pub(crate) fn new(device: &'a dyn ZonedDevice, zone: ZoneId, end_bytes: u64) -> Self {
        let buffer_bytes = usize::try_from(end_bytes.min(WINDOW_BYTES)).expect("2 MiB at most");
        let buffer = AlignedBuffer::zeroed(buffer_bytes);
        Self { device, zone, end_bytes, buffer, start_bytes: 0, len_bytes: 0, ahead: None }
    }

    /// The same, with what follows on its way meanwhile.
    pub(crate) fn reading_ahead(
        device: &'a dyn ZonedDevice,
        zone: ZoneId,
        end_bytes: u64,
        ahead: &'a mut ReadAhead,
    ) -> Self {
        Self { ahead: Some(ahead), ..Self::new(device, zone, end_bytes) }
    }

    /// Makes sure that the largest unit from a position, or all up to the end, is in the window. What is there already is kept: a
    /// reader that goes from start to end reads each byte of the zone once.
    pub(crate) fn reach(&mut self, position_bytes: u64) -> DeviceResult<()> {
        let wanted_end = self.end_bytes.min(position_bytes + u64::from(MAX_UNIT_BYTES));
        let end_bytes = self.start_bytes + self.len_bytes;
        if position_bytes >= self.start_bytes && wanted_end <= end_bytes {
            return Ok(());
        }
        let kept_bytes =
            if position_bytes >= self.start_bytes { end_bytes.saturating_sub(position_bytes) } else { 0 };
        let len_bytes = (self.end_bytes - position_bytes).min(WINDOW_BYTES);
        let index = |bytes| usize::try_from(bytes).expect("2 MiB at most");
        if kept_bytes > 0 {
            self.buffer.copy_within(index(position_bytes - self.start_bytes)..index(self.len_bytes), 0);
        }
        // A failed read leaves no more than what was kept.
        (self.start_bytes, self.len_bytes) = (position_bytes, kept_bytes);
        let into = &mut self.buffer[index(kept_bytes)..index(len_bytes)];
        let (from, stretch) =
            (position_bytes + kept_bytes, Stretch { zone: self.zone, end_bytes: self.end_bytes });
        match &mut self.ahead {
            Some(ahead) => ahead.read(self.device, stretch, from, into)?,
            None => self.device.read(self.zone, ZoneOffset::new(from), into)?,
        }
        self.len_bytes = len_bytes;
        Ok(())
    }

    /// What lies at a position that has been reached, up to the end of the window.
    pub(crate) fn here(&self, position_bytes: u64) -> &[u8] {
        let from = usize::try_from(position_bytes - self.start_bytes).expect("inside the window");
        let to = usize::try_from(self.len_bytes).expect("2 MiB at most");
        &self.buffer[from..to]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{WINDOW_BYTES, Window};
    use crate::device::simulated::{Faults, SimulatedDevice};
    use crate::device::{Geometry, ZonedDevice};
    use crate::index::MAX_UNIT_BYTES;
    use crate::log::read_ahead::ReadAhead;
    use crate::log::single_append::append;
    use crate::queue::SimulatedQueue;
    use crate::units::ZoneId;

    const BLOCK_BYTES: usize = 4096;
    const BLOCK: u64 = BLOCK_BYTES as u64;
    const ZONE: u64 = 3 * WINDOW_BYTES;

    /// A zone of blocks that begin with their numbers.
    fn numbered() -> Arc<SimulatedDevice> {
        let geometry = Geometry {
            block_bytes: 4096,
            zone_size_bytes: 2 * ZONE,
            zone_capacity_bytes: ZONE,
            zone_count: 1,
            max_open_zones: 1,
            max_active_zones: 1,
            append_limit_bytes: 1 << 20,
            volatile_cache: true,
        };
        let device = SimulatedDevice::blank(geometry, 1);
        let queue = SimulatedQueue::new(Arc::clone(&device));
        for first in (0..ZONE / BLOCK).step_by(256) {
            let numbers = first..first + 256;
            let blocks: Vec<u8> = numbers
                .flat_map(|number| {
                    let mut block = vec![0; BLOCK_BYTES];
                    block[..8].copy_from_slice(&number.to_le_bytes());
                    block
                })
                .collect();
            append(&queue, geometry.zone_start(ZoneId::new(0)), &blocks, 4096).unwrap();
        }
        device
    }

    fn expect_number(window: &Window<'_>, block: u64) {
        let here = window.here(block * BLOCK);
        assert!(here.len() as u64 >= u64::from(MAX_UNIT_BYTES).min(ZONE - block * BLOCK), "at {block}");
        for (number, found) in (block..).zip(here.chunks(BLOCK_BYTES)) {
            assert_eq!(found[..8], number.to_le_bytes(), "at {block}");
        }
    }

    /// Looks at the zone through a window of each kind.
    fn each_way(look: impl Fn(&SimulatedDevice, Window<'_>)) {
        let device = numbered();
        look(&device, Window::new(&*device, ZoneId::new(0), ZONE));
        let device = numbered();
        let mut ahead = ReadAhead::new(Arc::new(SimulatedQueue::new(Arc::clone(&device))));
        look(&device, Window::reading_ahead(&*device, ZoneId::new(0), ZONE, &mut ahead));
    }

    #[test]
    fn a_reader_from_start_to_end_reads_each_byte_once() {
        each_way(|device, mut window| {
            for block in (0..ZONE / BLOCK).step_by(17) {
                window.reach(block * BLOCK).unwrap();
                expect_number(&window, block);
            }
            assert_eq!(device.activity().read_bytes, ZONE);
        });
    }

    #[test]
    fn a_reader_may_jump_and_go_back() {
        each_way(|_, mut window| {
            for block in [0, 1300, 256, 257, 1535, 0, 511, 512, 1024, 100] {
                window.reach(block * BLOCK).unwrap();
                expect_number(&window, block);
            }
        });
    }

    #[test]
    fn after_a_failed_read_the_window_holds_what_it_says() {
        each_way(|device, mut window| {
            window.reach(0).unwrap();
            device.set_faults(Faults { read: u32::MAX, ..Faults::NONE });
            window.reach(600 * BLOCK).expect_err("reads fail");
            window.reach(0).expect_err("that is not in the window any more");
            device.set_faults(Faults::NONE);
            for block in [600, 0] {
                window.reach(block * BLOCK).unwrap();
                expect_number(&window, block);
            }
        });
    }
}
