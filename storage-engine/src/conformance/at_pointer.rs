//! An NVMe namespace that is written as whoever has no zone append must: by Write commands at a write pointer that is
//! tracked here, one in flight a zone. For measuring what append is worth.
//!
//! Invariant: a zone's write pointer is known while nothing is in flight to it: the drive was asked, or the last write
//! succeeded. After a failed write the drive is asked again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::interposed::{Interposed, Interposer};
use crate::device::{
    AppendCommand, AppendOrder, AppendTicket, CommandSet, DeviceError, DeviceResult, Persistence, RawResult,
    ZonedDevice, nvme,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

/// Where the next write goes.
#[derive(Clone, Copy, Debug)]
enum Pointer {
    At(ZoneOffset),
    InFlight,
}

#[derive(Debug)]
struct AtPointer {
    inner: Arc<dyn ZonedDevice>,
    pointers: Mutex<HashMap<ZoneId, Pointer>>,
}

/// The same device, written at the write pointer; `None` for one that takes no NVMe commands.
///
/// Nobody may append through `device` to a zone that is written so.
#[must_use]
pub fn written_at_pointer(device: Arc<dyn ZonedDevice>) -> Option<Arc<dyn ZonedDevice>> {
    let CommandSet::Nvme { .. } = device.command_set() else { return None };
    Some(Arc::new(Interposed(AtPointer { inner: device, pointers: Mutex::default() })))
}

impl AtPointer {
    /// Takes the place of a zone's next write.
    fn take(&self, zone: ZoneId) -> DeviceResult<ZoneOffset> {
        let mut pointers = self.pointers.lock();
        let place = match pointers.get(&zone) {
            Some(Pointer::InFlight) => return Err(DeviceError::AppendInFlight { zone }),
            Some(&Pointer::At(place)) => place,
            None => self.inner.report(zone)?.write_pointer,
        };
        pointers.insert(zone, Pointer::InFlight);
        Ok(place)
    }

    fn start_lba(&self, zone: ZoneId, place: ZoneOffset) -> u64 {
        self.inner.geometry().position(zone, place).get() / u64::from(self.inner.geometry().block_bytes)
    }
}

impl Interposer for AtPointer {
    fn inner(&self) -> &dyn ZonedDevice {
        &*self.inner
    }

    fn append_order(&self) -> AppendOrder {
        AppendOrder::OneAtATime
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        self.pointers.lock().remove(&zone);
        self.inner.reset(zone)
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        let mut ticket = self.inner.begin_append(zone_start, len_bytes, persistence)?;
        let place = match self.take(ticket.zone) {
            Ok(place) => place,
            Err(error) => {
                // What was admitted must be ended, and nothing was sent.
                let _ended = self.inner.end_append(ticket, RawResult::of(-libc::ECANCELED));
                return Err(error);
            }
        };
        let AppendCommand::Nvme(append) = ticket.command else {
            unreachable!("an NVMe namespace names NVMe commands")
        };
        let start_lba = self.start_lba(ticket.zone, place);
        ticket.command = AppendCommand::Nvme(nvme::write_instead(append, start_lba));
        Ok(ticket)
    }

    fn end_append(&self, ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector> {
        let AppendTicket { command, zone, len_bytes, .. } = ticket;
        let AppendCommand::Nvme(write) = command else {
            unreachable!("an NVMe namespace names NVMe commands")
        };
        // A write says nothing of its place, which is the one that it named.
        let landed = self.inner.end_append(ticket, RawResult { lba: write.start_lba, ..result });
        let mut pointers = self.pointers.lock();
        match &landed {
            Ok(sector) => pointers.insert(zone, Pointer::At(sector.offset().forward(len_bytes))),
            Err(_) => pointers.remove(&zone),
        };
        landed
    }
}
