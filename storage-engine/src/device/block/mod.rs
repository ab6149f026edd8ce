//! Zoned block devices: `/dev/nvmeXnY` of a ZNS drive, SMR disks, null_blk, zloop.
//!
//! # What is promised
//! - The kernel takes no zone append from a program here. An append is a write at the write pointer that this device keeps
//!   for each zone: one in flight a zone ([`AppendOrder::OneAtATime`]), any number of zones in parallel.
//! - No write is larger than what the kernel hands to the device in one piece, so that none is split.
//! - After a failed or short write, or a management command, the zone's state is what the device reports of it, and nothing
//!   else is done to the zone before that report has succeeded.
//! - Data bypass the page cache. A durable append is written with `RWF_DSYNC`; where the device has no volatile cache,
//!   every append is durable when it is done, and a flush asks for nothing.
//! - Conventional zones can be read and are never written.
//!
//! # What is taken for granted
//! - Nobody else writes to the device: the kernel keeps out whoever asks for it exclusively, but not a program that just
//!   writes. What such a program does shows as an append that fails, because the write pointer stands elsewhere.
//! - The device closes implicitly open zones by itself to open others (ZBC, NVMe ZNS); only the limit of active zones, and
//!   of zones opened by command, is ever met.
//!
//! # How it is divided
//! `ioctl` speaks to the kernel, `sysfs` reads what it tells, `zone` puts one zone's report into our words, `opening` finds
//! out whether a device will do. `tracking` keeps what is known of each zone and asks again where that is in doubt.
//!
//! Threading: each zone has a lock. It is held over management commands and reports of that zone, not over appends and
//! reads.

#[cfg(feature = "decoders")]
pub(crate) mod decoders;
mod ioctl;
mod opening;
mod sysfs;
#[cfg(test)]
mod tests;
mod tracking;
mod zone;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use self::ioctl::Management;
use self::tracking::{KnownZone, TrackedZone, Tracker};
use super::activity::ActivityCounters;
use super::direct::{read_by_way_of_aligned_memory, read_until_end};
use super::emulated::Access;
use super::transition::{Contents, Reach, ZoneCommand, transition};
use super::{
    AppendCommand, AppendOrder, AppendTicket, DeviceActivity, DeviceError, DeviceResult, Geometry,
    Persistence, Preparation, RawResult, ReadCommand, ZoneDescriptor, ZoneState, ZonedDevice, admission,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

pub(super) use ioctl::{device_bytes, discard};
pub(super) use opening::claim;
pub(super) use sysfs::{BlockNode, ZonedModel};

/// A zoned block device, open.
#[derive(Debug)]
pub struct ZonedBlockDevice {
    path: PathBuf,
    access: Access,
    /// Keeps others out for as long as it is there.
    claim: Mutex<Option<File>>,
    tracker: Tracker,
    /// After a failed flush what it covered is unknown: no later one may make good for it.
    flush_failed: AtomicBool,
    counters: ActivityCounters,
}

impl ZonedBlockDevice {
    /// Opens the device at a path. Changes nothing.
    ///
    /// # Errors
    /// [`DeviceError::NotFound`], [`DeviceError::NotOurs`] for a partition or a device without zones,
    /// [`DeviceError::InvalidGeometry`], [`DeviceError::Locked`] for one that is mounted or held otherwise,
    /// [`DeviceError::Gone`], [`DeviceError::Io`].
    pub fn open(path: impl AsRef<Path>, access: Access) -> DeviceResult<Self> {
        let path = path.as_ref().to_owned();
        let opening::Opened { presence, claim, data, geometry, zones } = opening::open(&path, access)?;
        Ok(Self {
            tracker: Tracker::new(presence, path.clone(), data, geometry, zones),
            path,
            access,
            claim: Mutex::new(Some(claim)),
            flush_failed: AtomicBool::new(false),
            counters: ActivityCounters::default(),
        })
    }

    /// Where the device is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anything may be changed.
    fn check_writable(&self) -> DeviceResult<()> {
        if self.access == Access::ReadOnly {
            return Err(DeviceError::ReadOnly { path: self.path.clone() });
        }
        let refused = |what: &str, why: &'static str| DeviceError::Io {
            action: format!("writing to {}, {what},", self.path.display()),
            source: io::Error::other(why),
        };
        if self.has_ended() {
            return Err(refused("which has been closed", "the device has been shut down"));
        }
        if self.flush_failed.load(Ordering::Acquire) {
            return Err(refused("of which an earlier flush failed", "the device takes no more writes"));
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.claim.lock().is_none()
    }

    fn manage(&self, zone: ZoneId, management: Management) -> DeviceResult<()> {
        self.tracker.check_exists(zone)?;
        self.check_writable()?;
        let mut tracked = self.tracker.settled(zone)?;
        let command = match management {
            Management::Reset => ZoneCommand::Reset,
            Management::Open => ZoneCommand::Open,
            Management::Finish => ZoneCommand::Finish,
            Management::Close if tracked.known.write_pointer == ZoneOffset::START => {
                ZoneCommand::Close(Contents::Nothing)
            }
            Management::Close => ZoneCommand::Close(Contents::Something),
        };
        let state = tracked.known.state;
        transition(state, command).map_err(|refusal| refusal.of(zone, state, command))?;
        self.tracker.manage(zone, &mut tracked, management)
    }

    /// What both kinds of read are refused for; gives how far the zone can be read.
    fn check_read(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ZoneOffset> {
        self.tracker.check_exists(zone)?;
        let known = self.tracker.lock(zone).known;
        let size_bytes = self.geometry().zone_size_bytes;
        let readable = match known.state {
            ZoneState::Offline => return Err(DeviceError::ZoneOffline { zone }),
            ZoneState::NotWritePointer => ZoneOffset::new(size_bytes),
            _ => known.write_pointer,
        };
        admission::check_read(self.geometry(), zone, (offset, len_bytes), readable)?;
        Ok(readable)
    }

    fn read_written(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        let at_bytes = self.geometry().position(zone, offset).get();
        let aligned = into.as_ptr().addr().is_multiple_of(self.geometry().block_bytes as usize);
        let read = if aligned {
            read_until_end(self.tracker.data(), at_bytes, into)
        } else {
            read_by_way_of_aligned_memory(self.tracker.data(), at_bytes, into)
        };
        let len_bytes = into.len() as u64;
        match read {
            Ok(count) if count == into.len() => Ok(()),
            Ok(count) => {
                let read_bytes = count as u64;
                Err(self.explain(DeviceError::ShortRead { zone, offset, len_bytes, read_bytes }))
            }
            Err(source) => Err(self.read_error(zone, offset, len_bytes, source)),
        }
    }

    /// Books an append that succeeded.
    fn landed(&self, tracked: &mut TrackedZone, ticket: &AppendTicket) -> DeviceResult<ZoneSector> {
        let AppendTicket { command, zone, len_bytes, place, .. } = *ticket;
        tracked.advance(place.forward(len_bytes), self.geometry().zone_capacity_bytes);
        self.counters.appended_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        if matches!(command, AppendCommand::PositionedWrite { persistence: Persistence::Durable, .. }) {
            self.counters.flush_count.fetch_add(1, Ordering::Relaxed);
        }
        ZoneSector::at(place).ok_or(DeviceError::PlaceOverflow { zone, offset: place })
    }
}

impl ZonedDevice for ZonedBlockDevice {
    fn geometry(&self) -> &Geometry {
        self.tracker.geometry()
    }

    fn kind(&self) -> &'static str {
        "zoned block device"
    }

    fn detail(&self) -> String {
        "direct I/O, writes at the write pointer".to_owned()
    }

    /// Of an open zone the device is asked anew, since it may have closed it by itself.
    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        self.tracker.check_exists(zone)?;
        let mut tracked = self.tracker.lock(zone);
        if !tracked.in_flight && tracked.known.state.is_open() && !self.has_ended() {
            self.tracker.ask(zone, &mut tracked)?;
        }
        let KnownZone { state, write_pointer } = tracked.known;
        Ok(ZoneDescriptor { zone, state, write_pointer, reset_count: 0 })
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        self.manage(zone, Management::Reset)?;
        self.counters.reset_count.fetch_add(1, Ordering::Relaxed);
        self.tracker.sync_cache().inspect_err(|_| self.flush_failed.store(true, Ordering::Release))
    }

    fn open(&self, zone: ZoneId) -> DeviceResult<()> {
        self.manage(zone, Management::Open)
    }

    /// Some devices keep an untouched zone active as closed; a reset takes nothing from it and makes it empty.
    fn close(&self, zone: ZoneId) -> DeviceResult<()> {
        self.manage(zone, Management::Close)?;
        let KnownZone { state, write_pointer } = self.tracker.lock(zone).known;
        if state == ZoneState::Closed && write_pointer == ZoneOffset::START {
            return self.manage(zone, Management::Reset);
        }
        Ok(())
    }

    fn finish(&self, zone: ZoneId) -> DeviceResult<()> {
        self.manage(zone, Management::Finish)
    }

    /// There is nothing to do: a zone's blocks are there.
    fn prepare(&self, zone: ZoneId, _preparation: Preparation) -> DeviceResult<()> {
        self.tracker.check_exists(zone)
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        let zone = admission::zone_named(self.geometry(), zone_start)?;
        admission::check_append_length(self.geometry(), zone, len_bytes)?;
        self.check_writable()?;
        let mut tracked = self.tracker.settled(zone)?;
        let place = tracked.known.write_pointer;
        let room_bytes = self.geometry().zone_capacity_bytes - place.get();
        let reach = if len_bytes == room_bytes { Reach::Capacity } else { Reach::Inside };
        let (state, command) = (tracked.known.state, ZoneCommand::Append(reach));
        transition(state, command).map_err(|refusal| refusal.of(zone, state, command))?;
        if len_bytes > room_bytes {
            return Err(DeviceError::ZoneBoundary { zone, len_bytes, room_bytes });
        }
        if ZoneSector::at(place).is_none() {
            return Err(DeviceError::PlaceOverflow { zone, offset: place });
        }
        tracked.in_flight = true;
        // Without a volatile cache every write is durable when it is done.
        let persistence = if self.geometry().volatile_cache { persistence } else { Persistence::Volatile };
        let command = AppendCommand::PositionedWrite {
            fd: self.tracker.data().as_raw_fd(),
            file_offset_bytes: self.geometry().position(zone, place).get(),
            persistence,
        };
        Ok(AppendTicket { command, zone, len_bytes, place, needs_flush: false })
    }

    fn append_order(&self) -> AppendOrder {
        AppendOrder::OneAtATime
    }

    fn end_append(&self, ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector> {
        let AppendTicket { zone, len_bytes, place, .. } = ticket;
        let mut tracked = self.tracker.lock(zone);
        tracked.in_flight = false;
        match result.moved_bytes() {
            Ok(written_bytes) if written_bytes == len_bytes => self.landed(&mut tracked, &ticket),
            Ok(written_bytes) => {
                tracked.in_doubt = true;
                // Should asking fail, the next append asks again.
                let _ = self.tracker.ask(zone, &mut tracked);
                Err(self.explain(DeviceError::ShortAppend { zone, len_bytes, written_bytes }))
            }
            Err(source) => {
                tracked.in_doubt = true;
                let action = format!("appending {len_bytes} bytes at {place} of {zone}");
                let error = self.tracker.explain(zone, &mut tracked, &action, source);
                let worn = tracked.known.state == ZoneState::ReadOnly;
                Err(if worn { DeviceError::ZoneReadOnly { zone } } else { error })
            }
        }
    }

    fn explain(&self, error: DeviceError) -> DeviceError {
        self.tracker.presence().explain(error)
    }

    fn read_command(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ReadCommand> {
        let write_pointer = self.check_read(zone, offset, len_bytes)?;
        if offset.forward(len_bytes) > write_pointer {
            return Err(DeviceError::BeyondWritePointer { zone, offset, len_bytes, write_pointer });
        }
        self.counters.read_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        let file_offset_bytes = self.geometry().position(zone, offset).get();
        Ok(ReadCommand::PositionedRead { fd: self.tracker.data().as_raw_fd(), file_offset_bytes })
    }

    /// Asks the device what has become of the zone.
    fn read_error(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64, source: io::Error) -> DeviceError {
        let action = format!("reading {len_bytes} bytes at {offset} of {zone}");
        self.tracker.explain(zone, &mut self.tracker.lock(zone), &action, source)
    }

    /// What lies at and after the write pointer is not asked for.
    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        let readable = self.check_read(zone, offset, into.len() as u64)?;
        let there_bytes = readable.get().saturating_sub(offset.get());
        let there_len = usize::try_from(there_bytes).map_or(into.len(), |bytes| bytes.min(into.len()));
        let (there, beyond) = into.split_at_mut(there_len);
        self.read_written(zone, offset, there)?;
        beyond.fill(0);
        self.counters.read_bytes.fetch_add(into.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// On a device that is open for reading there is nothing to flush.
    fn flush(&self) -> DeviceResult<()> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        self.check_writable()?;
        self.tracker.sync_cache().inspect_err(|_| self.flush_failed.store(true, Ordering::Release))?;
        self.counters.flush_count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn shut_down(&self) -> DeviceResult<()> {
        // The claim and the lock go with the descriptor. Data were flushed by whoever cares, or are not owed.
        *self.claim.lock() = None;
        Ok(())
    }

    fn activity(&self) -> DeviceActivity {
        self.counters.activity()
    }
}
