//! A device that stands between a queue and another device, and changes what passes.
//!
//! Whatever [`Interposer`] does not change goes to the other device as it is.

use std::fmt::Debug;

use crate::device::{
    AppendOrder, AppendTicket, CommandSet, DeviceActivity, DeviceResult, Geometry, Persistence, Preparation,
    RawResult, ReadCommand, ZoneDescriptor, ZonedDevice,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

/// What may be changed on the way.
pub(super) trait Interposer: Debug + Send + Sync {
    fn inner(&self) -> &dyn ZonedDevice;

    fn geometry(&self) -> &Geometry {
        self.inner().geometry()
    }

    fn append_order(&self) -> AppendOrder {
        self.inner().append_order()
    }

    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        self.inner().report(zone)
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        self.inner().reset(zone)
    }

    fn open(&self, zone: ZoneId) -> DeviceResult<()> {
        self.inner().open(zone)
    }

    fn close(&self, zone: ZoneId) -> DeviceResult<()> {
        self.inner().close(zone)
    }

    fn finish(&self, zone: ZoneId) -> DeviceResult<()> {
        self.inner().finish(zone)
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        self.inner().begin_append(zone_start, len_bytes, persistence)
    }

    fn end_append(&self, ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector> {
        self.inner().end_append(ticket, result)
    }

    fn append_synchronously(&self, zone_start: DevicePosition, payload: &[u8]) -> DeviceResult<ZoneSector> {
        self.inner().append_synchronously(zone_start, payload)
    }

    fn read_command(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ReadCommand> {
        self.inner().read_command(zone, offset, len_bytes)
    }

    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        self.inner().read(zone, offset, into)
    }
}

/// The interposer as a device.
#[derive(Debug)]
pub(super) struct Interposed<I>(pub(super) I);

impl<I: Interposer> ZonedDevice for Interposed<I> {
    fn geometry(&self) -> &Geometry {
        self.0.geometry()
    }

    fn kind(&self) -> &'static str {
        self.0.inner().kind()
    }

    fn detail(&self) -> String {
        self.0.inner().detail()
    }

    fn command_set(&self) -> CommandSet {
        self.0.inner().command_set()
    }

    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        self.0.report(zone)
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        self.0.reset(zone)
    }

    fn open(&self, zone: ZoneId) -> DeviceResult<()> {
        self.0.open(zone)
    }

    fn close(&self, zone: ZoneId) -> DeviceResult<()> {
        self.0.close(zone)
    }

    fn finish(&self, zone: ZoneId) -> DeviceResult<()> {
        self.0.finish(zone)
    }

    fn prepare(&self, zone: ZoneId, preparation: Preparation) -> DeviceResult<()> {
        self.0.inner().prepare(zone, preparation)
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        self.0.begin_append(zone_start, len_bytes, persistence)
    }

    fn append_order(&self) -> AppendOrder {
        self.0.append_order()
    }

    fn end_append(&self, ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector> {
        self.0.end_append(ticket, result)
    }

    fn append_synchronously(&self, zone_start: DevicePosition, payload: &[u8]) -> DeviceResult<ZoneSector> {
        self.0.append_synchronously(zone_start, payload)
    }

    fn read_command(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ReadCommand> {
        self.0.read_command(zone, offset, len_bytes)
    }

    fn end_read(
        &self,
        zone: ZoneId,
        offset: ZoneOffset,
        len_bytes: u64,
        result: RawResult,
    ) -> DeviceResult<()> {
        self.0.inner().end_read(zone, offset, len_bytes, result)
    }

    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        self.0.read(zone, offset, into)
    }

    fn flush(&self) -> DeviceResult<()> {
        self.0.inner().flush()
    }

    fn shut_down(&self) -> DeviceResult<()> {
        self.0.inner().shut_down()
    }

    fn activity(&self) -> DeviceActivity {
        self.0.inner().activity()
    }
}
