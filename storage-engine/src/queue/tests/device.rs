//! The least device that a queue can work on: zones in a temporary file, places taken from atomic write pointers. Its
//! commands can be pointed at any other file, to have the kernel give results that a good file never gives.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::device::{
    AppendCommand, AppendOrder, AppendTicket, DeviceActivity, DeviceError, DeviceResult, Geometry,
    Persistence, Preparation, RawResult, ReadCommand, ZoneDescriptor, ZoneState, ZonedDevice,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

const ZONE_BYTES: u64 = 64 << 20;
const GEOMETRY: Geometry = Geometry {
    block_bytes: 4096,
    zone_size_bytes: ZONE_BYTES,
    zone_capacity_bytes: ZONE_BYTES,
    zone_count: 2,
    max_open_zones: 2,
    max_active_zones: 2,
    append_limit_bytes: 1 << 20,
    volatile_cache: true,
};

#[derive(Debug)]
pub(in crate::queue) struct TestDevice {
    file: File,
    append_target: Option<OwnedFd>,
    read_source: Option<OwnedFd>,
    write_pointers: [AtomicU64; 2],
    begun_count: AtomicU64,
    /// The raw results that `end_append` was given.
    ended: Mutex<Vec<i32>>,
    /// Whether a second append to a zone is refused while one is in flight.
    order: AppendOrder,
    in_flight: [AtomicBool; 2],
    /// While a test holds it, `end_append` does not return.
    end_gate: Mutex<()>,
}

impl TestDevice {
    pub(in crate::queue) fn new() -> Self {
        Self {
            file: tempfile::tempfile().expect("make a temporary file"),
            append_target: None,
            read_source: None,
            write_pointers: [const { AtomicU64::new(0) }; 2],
            begun_count: AtomicU64::new(0),
            ended: Mutex::new(Vec::new()),
            order: AppendOrder::Concurrent,
            in_flight: [const { AtomicBool::new(false) }; 2],
            end_gate: Mutex::new(()),
        }
    }

    /// The same device, taking one append to a zone at a time.
    pub(super) fn one_at_a_time(self) -> Self {
        Self { order: AppendOrder::OneAtATime, ..self }
    }

    /// A device whose appends go to another file.
    pub(in crate::queue) fn appending_to(target: impl Into<OwnedFd>) -> Self {
        Self { append_target: Some(target.into()), ..Self::new() }
    }

    /// A device whose reads come from another file.
    pub(in crate::queue) fn reading_from(source: impl Into<OwnedFd>) -> Self {
        Self { read_source: Some(source.into()), ..Self::new() }
    }

    pub(super) fn write_pointer(&self, zone: ZoneId) -> u64 {
        self.write_pointers[zone.index()].load(Ordering::SeqCst)
    }

    pub(in crate::queue) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn begun_count(&self) -> u64 {
        self.begun_count.load(Ordering::SeqCst)
    }

    pub(in crate::queue) fn ended_results(&self) -> Vec<i32> {
        self.ended.lock().clone()
    }

    /// Keeps appends from ending until the guard is dropped.
    pub(super) fn hold_ends(&self) -> MutexGuard<'_, ()> {
        self.end_gate.lock()
    }

    fn descriptor(&self, other: Option<&OwnedFd>) -> RawFd {
        other.map_or(self.file.as_raw_fd(), AsRawFd::as_raw_fd)
    }

    fn take_place(&self, zone: ZoneId, len_bytes: u64) -> DeviceResult<ZoneOffset> {
        let pointer = &self.write_pointers[zone.index()];
        pointer
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |from| {
                Some(from + len_bytes).filter(|&to| to <= GEOMETRY.zone_capacity_bytes)
            })
            .map(ZoneOffset::new)
            .map_err(|from| DeviceError::ZoneBoundary {
                zone,
                len_bytes,
                room_bytes: GEOMETRY.zone_capacity_bytes - from,
            })
    }
}

fn aligned(zone: ZoneId, len_bytes: u64) -> DeviceResult<()> {
    if len_bytes == 0 || !len_bytes.is_multiple_of(u64::from(GEOMETRY.block_bytes)) {
        let block_bytes = GEOMETRY.block_bytes;
        return Err(DeviceError::Unaligned { zone, what: "a length", value: len_bytes, block_bytes });
    }
    Ok(())
}

fn unsupported<T>() -> DeviceResult<T> {
    Err(DeviceError::Unsupported { operation: "this", device: "test device", remedy: "queues do not use it" })
}

impl ZonedDevice for TestDevice {
    fn geometry(&self) -> &Geometry {
        &GEOMETRY
    }

    fn kind(&self) -> &'static str {
        "test device"
    }

    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        let write_pointer = ZoneOffset::new(self.write_pointer(zone));
        Ok(ZoneDescriptor { zone, state: ZoneState::ImplicitlyOpen, write_pointer, reset_count: 0 })
    }

    fn reset(&self, _zone: ZoneId) -> DeviceResult<()> {
        unsupported()
    }

    fn open(&self, _zone: ZoneId) -> DeviceResult<()> {
        unsupported()
    }

    fn close(&self, _zone: ZoneId) -> DeviceResult<()> {
        unsupported()
    }

    fn finish(&self, _zone: ZoneId) -> DeviceResult<()> {
        unsupported()
    }

    fn prepare(&self, _zone: ZoneId, _preparation: Preparation) -> DeviceResult<()> {
        unsupported()
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        let not_a_start = DeviceError::NotAZoneStart { position: zone_start };
        let zone = GEOMETRY.zone_starting_at(zone_start).ok_or(not_a_start)?;
        aligned(zone, len_bytes)?;
        let limit_bytes = GEOMETRY.append_limit_bytes;
        if len_bytes > u64::from(limit_bytes) {
            return Err(DeviceError::AppendTooLarge { zone, len_bytes, limit_bytes });
        }
        if self.order == AppendOrder::OneAtATime && self.in_flight[zone.index()].swap(true, Ordering::SeqCst)
        {
            return Err(DeviceError::AppendInFlight { zone });
        }
        let place = self.take_place(zone, len_bytes)?;
        self.begun_count.fetch_add(1, Ordering::SeqCst);
        let command = AppendCommand::PositionedWrite {
            fd: self.descriptor(self.append_target.as_ref()),
            file_offset_bytes: GEOMETRY.position(zone, place).get(),
            persistence,
        };
        Ok(AppendTicket { command, zone, len_bytes, place, needs_flush: false })
    }

    fn append_order(&self) -> AppendOrder {
        self.order
    }

    fn end_append(
        &self,
        ticket: AppendTicket,
        RawResult { result, .. }: RawResult,
    ) -> DeviceResult<ZoneSector> {
        drop(self.end_gate.lock());
        self.ended.lock().push(result);
        let AppendTicket { zone, len_bytes, place, .. } = ticket;
        self.in_flight[zone.index()].store(false, Ordering::SeqCst);
        let written_bytes = u64::try_from(result).map_err(|_| DeviceError::Io {
            action: format!("appending {len_bytes} bytes at {place} of {zone}"),
            source: io::Error::from_raw_os_error(-result),
        })?;
        if written_bytes < len_bytes {
            return Err(DeviceError::ShortAppend { zone, len_bytes, written_bytes });
        }
        ZoneSector::at(place).ok_or(DeviceError::PlaceOverflow { zone, offset: place })
    }

    fn read_command(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ReadCommand> {
        aligned(zone, len_bytes)?;
        let fd = self.descriptor(self.read_source.as_ref());
        Ok(ReadCommand::PositionedRead { fd, file_offset_bytes: GEOMETRY.position(zone, offset).get() })
    }

    fn read(&self, _zone: ZoneId, _offset: ZoneOffset, _into: &mut [u8]) -> DeviceResult<()> {
        unsupported()
    }

    fn flush(&self) -> DeviceResult<()> {
        unsupported()
    }

    fn shut_down(&self) -> DeviceResult<()> {
        Ok(())
    }

    fn activity(&self) -> DeviceActivity {
        DeviceActivity::default()
    }
}
