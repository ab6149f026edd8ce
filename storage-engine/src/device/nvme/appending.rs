//! Appends: what is refused beforehand, and what is made of the result.
//!
//! The drive is the judge. What is refused here is what it would refuse for sure, as far as that can be told without asking.

use std::sync::atomic::Ordering;

use super::NvmeDevice;
use super::status::Status;
use crate::device::{
    AppendCommand, AppendTicket, DeviceError, DeviceResult, NvmeCommand, Persistence, RawResult, ZoneState,
    ZonedDevice, admission,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

impl NvmeDevice {
    /// Names the command that performs an append.
    pub(super) fn admit_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        let geometry = self.geometry();
        let zone = admission::zone_named(geometry, zone_start)?;
        admission::check_append_length(geometry, zone, len_bytes)?;
        self.check_may_change()?;
        if self.known.is_uncertain(zone) {
            self.report(zone)?;
        }
        let block_count = u32::try_from(len_bytes / u64::from(geometry.block_bytes));
        let block_count = block_count.expect("the append limit is a u32 of bytes");
        let append = NvmeCommand::append(
            self.namespace.fd(),
            self.namespace.identifier(),
            self.start_lba(zone),
            block_count,
        );
        let force_unit_access = persistence == Persistence::Durable && geometry.volatile_cache;
        let command = AppendCommand::Nvme(NvmeCommand { force_unit_access, ..append });
        // Last: what is admitted must be ended.
        self.known.admit(zone, len_bytes)?;
        Ok(AppendTicket { command, zone, len_bytes, place: ZoneOffset::START, needs_flush: false })
    }

    /// Turns the raw result of that command into the place.
    pub(super) fn conclude_append(
        &self,
        ticket: &AppendTicket,
        result: RawResult,
    ) -> DeviceResult<ZoneSector> {
        let AppendTicket { zone, len_bytes, .. } = *ticket;
        let place = self.landing(zone, len_bytes, result).map_err(|error| {
            self.known.append_failed(zone);
            self.worn_out(zone, error)
        })?;
        self.known.landed(zone, place.forward(len_bytes));
        let AppendCommand::Nvme(NvmeCommand { force_unit_access, .. }) = ticket.command else {
            unreachable!("this device admits passthrough commands only");
        };
        self.counters.flush_count.fetch_add(u64::from(force_unit_access), Ordering::Relaxed);
        self.counters.appended_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        ZoneSector::at(place).ok_or(DeviceError::PlaceOverflow { zone, offset: place })
    }

    /// Media that take no more writes may say so by the status of a write, and of the zone when it is reported.
    fn worn_out(&self, zone: ZoneId, error: DeviceError) -> DeviceError {
        let error = self.explain(error);
        let DeviceError::Nvme { .. } = error else { return error };
        match self.report(zone).map(|descriptor| descriptor.state) {
            Ok(ZoneState::ReadOnly) => DeviceError::ZoneReadOnly { zone },
            Ok(ZoneState::Offline) => DeviceError::ZoneOffline { zone },
            _ => error,
        }
    }

    fn landing(&self, zone: ZoneId, len_bytes: u64, result: RawResult) -> DeviceResult<ZoneOffset> {
        if let Some(status) = Status::of(result.result) {
            let (_, written) = self.known.look(zone);
            return Err(status.append_error(zone, len_bytes, written, self.geometry()));
        }
        if result.result < 0 {
            let source = result.error();
            return Err(self.kernel_error("Zone Append", zone, source));
        }
        let (geometry, lba) = (self.geometry(), result.lba);
        let bytes = lba.checked_sub(self.start_lba(zone)).and_then(|blocks| {
            let bytes = blocks.checked_mul(u64::from(geometry.block_bytes))?;
            (bytes.checked_add(len_bytes)? <= geometry.zone_capacity_bytes).then_some(bytes)
        });
        bytes.map(ZoneOffset::new).ok_or_else(|| DeviceError::Implausible {
            what: format!("that {len_bytes} bytes appended to {zone} lie at block {lba}"),
        })
    }
}
