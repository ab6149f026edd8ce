//! Appends: taking a place, and what is made of the result.
//!
//! The zone's entry on the file covers the place before the write is handed out. Nothing that can be refused is refused
//! after the place has been taken.

use std::sync::atomic::Ordering;

use super::stable::Promised;
use super::{EmulatedDevice, in_zone};
use crate::device::{
    AppendCommand, AppendTicket, DeviceError, DeviceResult, Persistence, RawResult, ZonedDevice, admission,
};
use crate::units::{DevicePosition, ZoneSector};

impl EmulatedDevice {
    /// Takes a place for an append and names the write that performs it.
    pub(super) fn admit_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        let zone = admission::zone_named(self.geometry(), zone_start)?;
        admission::check_append_length(self.geometry(), zone, len_bytes)?;
        self.begin_changes()?;
        let place = self.table().take_place(zone, len_bytes)?;
        let promised = self.stable.record(zone, place.forward(len_bytes))?;
        let needs_flush = persistence == Persistence::Durable && promised == Promised::AfterFlush;
        let command = AppendCommand::PositionedWrite {
            fd: self.stable.file().data_fd(),
            file_offset_bytes: self.file_offset_bytes(zone, place),
            // One flush, not two: the one to come covers these bytes as well.
            persistence: if needs_flush { Persistence::Volatile } else { persistence },
        };
        Ok(AppendTicket { command, zone, len_bytes, place, needs_flush })
    }

    /// Turns the raw result of that write into the place.
    pub(super) fn conclude_append(
        &self,
        ticket: &AppendTicket,
        result: RawResult,
    ) -> DeviceResult<ZoneSector> {
        let AppendTicket { command, zone, len_bytes, place, needs_flush } = *ticket;
        let AppendCommand::PositionedWrite { persistence, .. } = command else {
            unreachable!("this device admits positioned writes only");
        };
        let written_bytes = result.moved_bytes().map_err(in_zone("appending", len_bytes, zone, place))?;
        if written_bytes != len_bytes {
            return Err(DeviceError::ShortAppend { zone, len_bytes, written_bytes });
        }
        if needs_flush {
            self.stable.flush()?;
        }
        let durable = needs_flush || persistence == Persistence::Durable;
        self.counters.flush_count.fetch_add(u64::from(durable), Ordering::Relaxed);
        self.counters.appended_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        ZoneSector::at(place).ok_or(DeviceError::PlaceOverflow { zone, offset: place })
    }
}
