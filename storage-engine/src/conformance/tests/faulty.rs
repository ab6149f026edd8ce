//! A device that breaks one rule, and keeps all others.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::device;
use crate::conformance::interposed::{Interposed, Interposer};
use crate::device::emulated::{Degraded, EmulatedDevice};
use crate::device::{
    AppendCommand, AppendTicket, DeviceError, DeviceResult, Geometry, Persistence, RawResult, ReadCommand,
    ZoneDescriptor, ZoneState, ZonedDevice,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

/// Which rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    TakesAnyPosition,
    TakesAnyZone,
    AppendsWhereLastRead,
    PlaceFromTheDevicesStart,
    PlaceInBlocks,
    PlaceAlwaysTheStart,
    PlaceOfTheNext,
    Splits,
    ShortIsFine,
    FailureIsFine,
    DurableIsLost,
    AppendsSynchronously,
    LosesEveryFifth,
    TakesTooLarge,
    TakesParts,
    TakesTooMuch,
    TakesFull,
    MovesOnRefusal,
    IgnoresActiveLimit,
    IgnoresOpenLimit,
    RefusesActiveWithoutWords,
    RefusesImplicitOpens,
    TakesLostForNeverDone,
    RefusesAfterLoss,
    ReportsBeyondTheLast,
    CloseDoesNothing,
    FinishLoses,
    FullBeforeCapacity,
    ReadsBeyondPointer,
    ResetKeeps,
    ResetTakesTheNeighbour,
    TakesWorn,
    PlacesBeyondTheField,
    Nothing,
}

#[derive(Debug)]
pub(super) struct Faulty {
    fault: Fault,
    geometry: Geometry,
    device: Arc<EmulatedDevice>,
    nowhere: File,
    count: AtomicU64,
    /// The zone that was read last, or lost an append.
    marked: AtomicU64,
}

const NO_ZONE: u64 = u64::MAX;

/// A device with a fault; the geometry that it shows is `shown`, that which it keeps is `kept`.
pub(super) fn faulty(
    fault: Fault,
    shown: &Geometry,
    kept: &Geometry,
) -> (tempfile::TempDir, Arc<dyn ZonedDevice>) {
    let (directory, device) = device(kept);
    if fault == Fault::TakesWorn {
        device.degrade(ZoneId::new(1), Degraded::ReadOnly).expect("wear out");
        device.degrade(ZoneId::new(11), Degraded::Offline).expect("wear out");
    }
    let nowhere = File::options().read(true).write(true).open("/dev/zero").expect("open /dev/zero");
    let faulty = Faulty {
        fault,
        geometry: *shown,
        device,
        nowhere,
        count: AtomicU64::new(0),
        marked: AtomicU64::new(NO_ZONE),
    };
    (directory, Arc::new(Interposed(faulty)))
}

impl Faulty {
    fn mark(&self, zone: ZoneId) {
        self.marked.store(u64::from(zone.get()), Ordering::SeqCst);
    }

    fn is_marked(&self, zone: ZoneId) -> bool {
        self.marked.load(Ordering::SeqCst) == u64::from(zone.get())
    }

    fn start(&self, zone: ZoneId) -> DevicePosition {
        self.geometry.zone_start(zone)
    }

    /// What an append that is refused is turned into by devices that take it.
    fn taken_instead(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> Option<DeviceResult<AppendTicket>> {
        let begin = |start, len_bytes| self.device.begin_append(start, len_bytes, persistence);
        let first =
            ZoneId::new(u32::try_from(zone_start.get() / self.geometry.zone_size_bytes).expect("small"));
        match self.fault {
            Fault::TakesAnyPosition => Some(begin(self.start(first), len_bytes)),
            Fault::TakesAnyZone => {
                Some(begin(self.start(ZoneId::new(first.get() % self.geometry.zone_count)), len_bytes))
            }
            Fault::TakesParts => {
                Some(begin(zone_start, 4096).map(|ticket| AppendTicket { len_bytes, ..ticket }))
            }
            Fault::TakesFull | Fault::TakesTooMuch => {
                // A fresh start of the zone: what was there is overwritten.
                let _ = self.device.reset(first);
                Some(begin(zone_start, len_bytes))
            }
            Fault::TakesWorn => Some(begin(self.start(ZoneId::new(5)), len_bytes)),
            Fault::MovesOnRefusal => {
                if let Ok(ticket) = begin(zone_start, 4096) {
                    let _ = self.device.end_append(ticket, RawResult::of(4096));
                }
                None
            }
            _ => None,
        }
    }
}

impl Interposer for Faulty {
    fn inner(&self) -> &dyn ZonedDevice {
        &*self.device
    }

    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        match self.device.report(zone) {
            Err(DeviceError::NoSuchZone { .. }) if self.fault == Fault::ReportsBeyondTheLast => {
                self.device.report(ZoneId::new(0))
            }
            other => other,
        }
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        match self.fault {
            Fault::ResetTakesTheNeighbour => {
                let next = ZoneId::new((zone.get() + 1) % self.geometry.zone_count);
                self.device.reset(next)?;
            }
            Fault::RefusesAfterLoss => self.marked.store(NO_ZONE, Ordering::SeqCst),
            _ => {}
        }
        self.device.reset(zone)
    }

    fn open(&self, zone: ZoneId) -> DeviceResult<()> {
        self.device.open(zone)
    }

    fn close(&self, zone: ZoneId) -> DeviceResult<()> {
        if self.fault == Fault::CloseDoesNothing { Ok(()) } else { self.device.close(zone) }
    }

    fn finish(&self, zone: ZoneId) -> DeviceResult<()> {
        if self.fault == Fault::FinishLoses {
            self.device.reset(zone)?;
        }
        self.device.finish(zone)
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        let mut start = zone_start;
        let mut kept_len_bytes = len_bytes;
        match self.fault {
            Fault::AppendsWhereLastRead => {
                let marked = self.marked.load(Ordering::SeqCst);
                if let Ok(marked) = u32::try_from(marked) {
                    start = self.start(ZoneId::new(marked));
                }
            }
            Fault::RefusesAfterLoss
                if self.geometry.zone_starting_at(start).is_some_and(|zone| self.is_marked(zone)) =>
            {
                return Err(DeviceError::NotAZoneStart { position: start });
            }
            Fault::RefusesImplicitOpens => {
                let zone = self.geometry.zone_starting_at(start);
                if let Some(zone) = zone
                    && self.device.report(zone)?.state == ZoneState::Empty
                {
                    self.device.open(zone)?;
                }
            }
            Fault::Splits => kept_len_bytes = len_bytes.min(4096),
            Fault::FullBeforeCapacity => {
                if let Some(zone) = self.geometry.zone_starting_at(start)
                    && self.device.report(zone)?.write_pointer.get() + len_bytes
                        == self.geometry.zone_capacity_bytes
                {
                    return Err(DeviceError::ZoneFull { zone });
                }
            }
            _ => {}
        }
        let admitted = match self.device.begin_append(start, kept_len_bytes, persistence) {
            Err(error) => self.taken_instead(start, len_bytes, persistence).unwrap_or(Err(error)),
            admitted => admitted,
        };
        let mut ticket = admitted.map_err(|error| match error {
            DeviceError::TooManyActive { zone, .. } if self.fault == Fault::RefusesActiveWithoutWords => {
                DeviceError::TooManyActive { zone, limit: 0 }
            }
            other => other,
        })?;
        ticket.len_bytes = len_bytes;
        let is_lost = match self.fault {
            Fault::LosesEveryFifth => self.count.fetch_add(1, Ordering::SeqCst) % 5 == 4,
            Fault::DurableIsLost => persistence == Persistence::Durable,
            _ => false,
        };
        if let AppendCommand::PositionedWrite { fd, .. } = &mut ticket.command
            && is_lost
        {
            *fd = self.nowhere.as_raw_fd();
        }
        Ok(ticket)
    }

    fn end_append(&self, mut ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector> {
        let (zone, len_bytes, block) = (ticket.zone, ticket.len_bytes, self.geometry.block_bytes);
        let whole = RawResult::of(i32::try_from(len_bytes).expect("small"));
        let result = match self.fault {
            Fault::ShortIsFine if result.result > 0 => whole,
            Fault::FailureIsFine => whole,
            _ => result,
        };
        if result.result < 0 && self.fault == Fault::RefusesAfterLoss {
            self.mark(zone);
        }
        if result.result < 0 && self.fault == Fault::TakesLostForNeverDone {
            // As if it knew: the next one goes to the same place.
            let lost = self.device.end_append(ticket, result);
            self.device.reset(zone)?;
            return lost;
        }
        ticket.len_bytes = len_bytes;
        let place = self.device.end_append(ticket, result)?;
        let sectors_a_block = block / 512;
        Ok(match self.fault {
            Fault::PlaceInBlocks => ZoneSector::new(place.get() / sectors_a_block),
            Fault::PlaceAlwaysTheStart => ZoneSector::new(0),
            Fault::PlaceOfTheNext => ZoneSector::new(place.get() + sectors_a_block),
            Fault::PlaceFromTheDevicesStart => {
                let position = self.geometry.position(zone, place.offset());
                ZoneSector::new(u32::try_from(position.get() / 512).expect("a small device"))
            }
            _ => place,
        })
    }

    fn append_synchronously(&self, zone_start: DevicePosition, payload: &[u8]) -> DeviceResult<ZoneSector> {
        if self.fault != Fault::AppendsSynchronously {
            return self.device.append_synchronously(zone_start, payload);
        }
        let ticket = self.device.begin_append(zone_start, payload.len() as u64, Persistence::Volatile)?;
        self.device.end_append(ticket, RawResult::of(i32::try_from(payload.len()).expect("small")))
    }

    fn read_command(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ReadCommand> {
        if self.fault == Fault::AppendsWhereLastRead {
            self.mark(zone);
        }
        match self.device.read_command(zone, offset, len_bytes) {
            Err(DeviceError::BeyondWritePointer { .. }) if self.fault == Fault::ReadsBeyondPointer => {
                Ok(ReadCommand::PositionedRead { fd: self.nowhere.as_raw_fd(), file_offset_bytes: 0 })
            }
            other => other,
        }
    }

    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        self.device.read(zone, offset, into)?;
        if self.fault == Fault::ResetKeeps && self.device.report(zone)?.write_pointer <= offset {
            into.fill(0xab);
        }
        Ok(())
    }
}
