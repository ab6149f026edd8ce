//! Reads a zone from its start to its write pointer, unit by unit.
//!
//! What is not a unit of this store and filling is skipped block by block: it may be a hole that a crash left, with zeros
//! or older bytes in it, or damage. Telling which is recovery's business.

use crate::device::{ZoneDescriptor, ZonedDevice};
use crate::error::EngineResult;
use crate::fault::{self, Fault};
use crate::format::DecodeError;
use crate::format::unit::{StoreId, UNIT_HEADER_BYTES, UnitHeader};
use crate::index::{MAX_UNIT_BYTES, MAX_UNITS_PER_ZONE};
use crate::log::read_ahead::ReadAhead;
use crate::log::window::Window;
use crate::units::ZoneOffset;

/// Reads one zone sequentially.
#[derive(Debug)]
pub struct Scanner<'a> {
    device: &'a dyn ZonedDevice,
    store: StoreId,
    reset_count: u32,
    end_bytes: u64,
    position_bytes: u64,
    /// Where the unit begins that was found last.
    unit_bytes: u64,
    window: Window<'a>,
}

/// What lies at a place in a zone.
#[derive(Debug)]
pub enum Found<'a> {
    /// A unit of this store and filling.
    Unit {
        /// Where it starts.
        offset: ZoneOffset,
        /// Its header.
        header: UnitHeader,
        /// Its records.
        body: &'a [u8],
    },
    /// Blocks that are no such unit.
    Gap {
        /// Where they start.
        offset: ZoneOffset,
        /// How much.
        len_bytes: u64,
        /// Why the first of them is no unit.
        error: DecodeError,
    },
}

impl<'a> Scanner<'a> {
    /// Scans what the descriptor says is written.
    #[must_use]
    pub fn new(device: &'a dyn ZonedDevice, store: StoreId, descriptor: &ZoneDescriptor) -> Self {
        let window = Window::new(device, descriptor.zone, descriptor.write_pointer.get());
        Self::through(window, device, store, descriptor)
    }

    /// The same, for a reader that takes its time: what follows is read meanwhile.
    #[must_use]
    pub fn reading_ahead(
        device: &'a dyn ZonedDevice,
        store: StoreId,
        descriptor: &ZoneDescriptor,
        ahead: &'a mut ReadAhead,
    ) -> Self {
        let end_bytes = descriptor.write_pointer.get();
        let window = Window::reading_ahead(device, descriptor.zone, end_bytes, ahead);
        Self::through(window, device, store, descriptor)
    }

    fn through(
        window: Window<'a>,
        device: &'a dyn ZonedDevice,
        store: StoreId,
        descriptor: &ZoneDescriptor,
    ) -> Self {
        let (reset_count, end_bytes) = (descriptor.reset_count, descriptor.write_pointer.get());
        Self { device, store, reset_count, end_bytes, position_bytes: 0, unit_bytes: 0, window }
    }

    /// What comes next; `None` at the write pointer.
    ///
    /// # Errors
    /// The device's.
    pub fn advance(&mut self) -> EngineResult<Option<Found<'_>>> {
        if self.position_bytes >= self.end_bytes {
            return Ok(None);
        }
        let start = self.position_bytes;
        match self.header_here()? {
            Ok(header) => {
                let offset = ZoneOffset::new(start);
                self.unit_bytes = start;
                self.position_bytes += self.device.geometry().round_up_to_block(header.unit_bytes());
                let body = &self.window.here(start)[UNIT_HEADER_BYTES..];
                Ok(Some(Found::Unit { offset, header, body: &body[..header.body_bytes as usize] }))
            }
            Err(error) => {
                self.skip_gap()?;
                let len_bytes = self.position_bytes - start;
                Ok(Some(Found::Gap { offset: ZoneOffset::new(start), len_bytes, error }))
            }
        }
    }

    /// Goes on right behind the first block of the unit that was found last: the caller has seen that it is not whole.
    ///
    /// A power cut may leave the head of a unit and a write pointer inside it. Then the next run's units lie there.
    pub fn look_inside(&mut self) {
        self.position_bytes = self.unit_bytes + u64::from(self.device.geometry().block_bytes);
    }

    fn skip_gap(&mut self) -> EngineResult<()> {
        while self.position_bytes < self.end_bytes {
            self.position_bytes += u64::from(self.device.geometry().block_bytes);
            if self.position_bytes < self.end_bytes && self.header_here()?.is_ok() {
                break;
            }
        }
        Ok(())
    }

    /// The header at the present position, if it is one of ours and its unit ends before the write pointer.
    fn header_here(&mut self) -> EngineResult<Result<UnitHeader, DecodeError>> {
        self.window.reach(self.position_bytes)?;
        let field = |field, found| DecodeError::Field { structure: "unit header", field, found };
        let checked = UnitHeader::decode(self.window.here(self.position_bytes)).and_then(|header| {
            let unit_bytes = self.device.geometry().round_up_to_block(header.unit_bytes());
            if header.store != self.store {
                return Err(field("store id", 0));
            }
            if header.reset_count != self.reset_count && !fault::is_on(Fault::BelieveEarlierFillings) {
                return Err(field("reset count", u64::from(header.reset_count)));
            }
            if header.record_count > 0 && header.unit >= MAX_UNITS_PER_ZONE {
                return Err(field("unit number", u64::from(header.unit)));
            }
            if unit_bytes > u64::from(MAX_UNIT_BYTES) || self.position_bytes + unit_bytes > self.end_bytes {
                return Err(field("body length", u64::from(header.body_bytes)));
            }
            Ok(header)
        });
        Ok(checked)
    }
}
