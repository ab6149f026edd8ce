//! One regular file, or one block device that was given over to this, that keeps every rule of a ZNS namespace.
//!
//! # What is promised
//! - Zone states and write pointers survive a killed process exactly. After a power cut each write pointer is at or
//!   after every append that was flushed, and below it there may be holes: zeros, or what the zone held before its
//!   reset.
//! - Appends to one zone from any number of threads take their places by compare-and-swap; no lock is held while their
//!   bytes are written. A durable append costs one flush of the host's device, never more.
//! - A reset zone's space goes back to the file system, but for the few zones that are kept allocated and ready. A crash
//!   between the two leaves the space allocated until the zone's next reset.
//! - One writer or many readers have the file open. A file that is not a device, or not a whole one, is refused and left
//!   as it is, and a device that is opened and closed without a change as well.
//!
//! - On a block device everything is as in a file, but that a reset discards. Nothing counts on what a discard leaves.
//!
//! # What is taken for granted
//! - The host's media write a sector of 512 bytes wholly or not at all, and keep what they acknowledged a flush of.
//! - What the page cache holds survives the process.
//!
//! # What the caller sees to
//! - A zone is not reset while appends to it are in flight: their bytes would land in its next filling.
//!
//! # How it is divided
//! `layout` names the bytes of the file, `word` one zone's state, `table` all zones in memory with their limits,
//! `stable` what of that is on the file, `reckoning` what to believe at opening, `opening` how a device is recognised,
//! `making` how it is made, `draft` files without a name, `file` the system calls; `device::lock` tells who has it. `appending`, `reading` and `blocks` are the device's methods
//! for those.

mod appending;
mod block_target;
mod blocks;
#[cfg(feature = "decoders")]
pub(crate) mod decoders;
mod draft;
mod file;
mod inspection;
mod kept_memory;
mod layout;
mod making;
mod opening;
mod reading;
mod reckoning;
mod stable;
mod stay;
mod table;
#[cfg(test)]
mod tests;
mod word;

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use self::file::Medium;
use self::layout::data_start_bytes;
use self::stable::StableTable;
use self::table::Table;
use self::word::ZoneWord;
use super::activity::ActivityCounters;
use super::lock;
use super::transition::ZoneCommand;
use super::{
    AppendTicket, DeviceActivity, DeviceError, DeviceResult, Geometry, KeptMemory, Persistence, Preparation,
    RawResult, ReadCommand, ZoneDescriptor, ZonedDevice,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

pub use self::block_target::BlockTarget;
pub use self::inspection::{Flaw, Inspected};
pub use self::making::UnfinishedDevice;

/// What a device is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Everything. Nobody else can have the device open.
    ReadWrite,
    /// Reports and reads. Not a byte of the file changes; others may read as well.
    ReadOnly,
}

/// Whether data are to bypass the host's page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirectIo {
    /// Where the host's file system can with the device's block size; [`EmulatedDevice::uses_direct_io`] tells.
    Preferred,
    /// No.
    Off,
}

/// How media wear out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Degraded {
    /// What is written stays readable.
    ReadOnly,
    /// Nothing can be read.
    Offline,
}

/// A zoned device in a regular file.
///
/// Closed when dropped. What was appended is then on stable media; when that fails, the next opening recovers as after a
/// crash.
#[derive(Debug)]
pub struct EmulatedDevice {
    access: Access,
    data_start_bytes: u64,
    stable: StableTable,
    counters: ActivityCounters,
}

impl EmulatedDevice {
    /// Makes a new device, readable and writable by its owner only, and opens it for writing. Durable on return.
    ///
    /// The file gets its full length at once and takes up space as zones are written. The geometry's `volatile_cache` is
    /// taken to be true, whatever it says.
    ///
    /// # Errors
    /// [`DeviceError::InvalidGeometry`], [`DeviceError::AlreadyExists`], [`DeviceError::NotFound`] for the directory,
    /// [`DeviceError::Io`]. Nothing is left at the path that was not there before.
    pub fn create(path: impl AsRef<Path>, geometry: &Geometry, direct_io: DirectIo) -> DeviceResult<Self> {
        let boot_id = opening::present_boot_id();
        let stable = opening::create(path.as_ref(), geometry, direct_io, boot_id)?;
        Ok(Self::over(stable, Access::ReadWrite))
    }

    /// Opens a device.
    ///
    /// # Errors
    /// [`DeviceError::NotFound`], [`DeviceError::NotOurs`], [`DeviceError::UnknownVersion`], [`DeviceError::Damaged`],
    /// [`DeviceError::CutShort`], [`DeviceError::Locked`], [`DeviceError::Io`]. The file stays as it was.
    pub fn open(path: impl AsRef<Path>, access: Access, direct_io: DirectIo) -> DeviceResult<Self> {
        Self::open_in_boot(path.as_ref(), access, direct_io, opening::present_boot_id())
    }

    /// Opens a device as if the machine ran under `boot_id`.
    pub(crate) fn open_in_boot(
        path: &Path,
        access: Access,
        direct_io: DirectIo,
        boot_id: [u8; 16],
    ) -> DeviceResult<Self> {
        Ok(Self::over(opening::open(path, access, direct_io, boot_id)?, access))
    }

    fn over(stable: StableTable, access: Access) -> Self {
        let data_start_bytes = data_start_bytes(stable.table().geometry().zone_count);
        Self { access, data_start_bytes, stable, counters: ActivityCounters::default() }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.stable.path()
    }

    /// Whether data bypass the host's page cache.
    #[must_use]
    pub fn uses_direct_io(&self) -> bool {
        self.stable.file().uses_direct_io()
    }

    /// Wears a zone out, as media do by themselves: the switch by which tests and exercises have zones fail.
    ///
    /// Durable on return. There is no way back; an offline zone does not become readable again.
    ///
    /// # Errors
    /// [`DeviceError::NoSuchZone`], [`DeviceError::BadTransition`], [`DeviceError::ReadOnly`], [`DeviceError::Io`].
    pub fn degrade(&self, zone: ZoneId, to: Degraded) -> DeviceResult<()> {
        let command = match to {
            Degraded::ReadOnly => ZoneCommand::TurnReadOnly,
            Degraded::Offline => ZoneCommand::TurnOffline,
        };
        self.command(zone, |_| command)?;
        self.stable.sync()
    }

    /// Ends the process's hold on the device as a kill does: nothing is written any more.
    #[cfg(test)]
    pub(crate) fn abandon(self) {
        self.stable.abandon();
    }

    /// Claims a block device that is to become an emulated one: nobody else can have it meanwhile. Changes nothing yet.
    ///
    /// # Errors
    /// [`DeviceError::NotFound`], [`DeviceError::NotOurs`], [`DeviceError::Locked`], [`DeviceError::Io`].
    pub fn claim_block_device(path: impl AsRef<Path>) -> DeviceResult<BlockTarget> {
        BlockTarget::claim(path.as_ref())
    }

    fn table(&self) -> &Table {
        self.stable.table()
    }

    fn begin_changes(&self) -> DeviceResult<()> {
        match self.access {
            Access::ReadWrite => self.stable.begin_changes(),
            Access::ReadOnly => Err(DeviceError::ReadOnly { path: self.path().to_owned() }),
        }
    }

    fn command(&self, zone: ZoneId, command: impl Fn(ZoneWord) -> ZoneCommand) -> DeviceResult<()> {
        self.table().check_exists(zone)?;
        self.begin_changes()?;
        let mut row = self.stable.row(zone);
        self.table().command(zone, command)?;
        self.stable.bring_up_to_date(zone, &mut row).map(|_| ()).map_err(|error| self.explain(error))
    }

    fn file_offset_bytes(&self, zone: ZoneId, offset: ZoneOffset) -> u64 {
        self.data_start_bytes + self.geometry().position(zone, offset).get()
    }
}

impl Drop for EmulatedDevice {
    fn drop(&mut self) {
        // There is nobody to tell. The session stays marked as under way, and the next opening recovers.
        let _ = self.stable.close();
        // A process that is just being forked off has the descriptors, too.
        let _ = lock::give_up(self.stable.file().locked(), self.path());
    }
}

impl ZonedDevice for EmulatedDevice {
    fn geometry(&self) -> &Geometry {
        self.table().geometry()
    }

    fn kind(&self) -> &'static str {
        match self.stable.file().medium() {
            Medium::Regular => "emulated file",
            Medium::BlockDevice => "emulated on a block device",
        }
    }

    fn detail(&self) -> String {
        (if self.uses_direct_io() { "direct I/O" } else { "page cache" }).to_owned()
    }

    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        self.table().check_exists(zone)?;
        Ok(self.table().describe(zone))
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        self.table().check_exists(zone)?;
        self.begin_changes()?;
        self.empty_zone(zone).map_err(|error| self.explain(error))
    }

    fn open(&self, zone: ZoneId) -> DeviceResult<()> {
        self.command(zone, |_| ZoneCommand::Open)
    }

    fn close(&self, zone: ZoneId) -> DeviceResult<()> {
        self.command(zone, ZoneWord::close_command)
    }

    /// Durable with the next flush; after a power cut before it the zone may be found closed.
    fn finish(&self, zone: ZoneId) -> DeviceResult<()> {
        self.command(zone, |_| ZoneCommand::Finish)
    }

    /// Does nothing to a zone that is not empty, nor on a block device, whose blocks are always there.
    fn prepare(&self, zone: ZoneId, preparation: Preparation) -> DeviceResult<()> {
        self.table().check_exists(zone)?;
        self.begin_changes()?;
        if self.stable.file().medium() == Medium::BlockDevice {
            return Ok(());
        }
        match preparation {
            Preparation::DurableAppends => self.write_blocks_once(zone),
            Preparation::Streaming => self.allocate(zone),
        }
    }

    fn give_back_blocks(&self, zone: ZoneId) -> DeviceResult<()> {
        self.table().check_exists(zone)?;
        self.give_back_kept(zone)
    }

    fn unprepare(&self, zone: ZoneId) -> DeviceResult<()> {
        self.table().check_exists(zone)?;
        self.give_back_prepared(zone)
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        self.admit_append(zone_start, len_bytes, persistence).map_err(|error| self.explain(error))
    }

    fn was_closed_in_order(&self) -> bool {
        self.stable.is_clean_on_file()
    }

    fn keep_memory(&self) -> DeviceResult<Option<Box<dyn KeptMemory>>> {
        self.map_kept_memory()
    }

    fn kept_bytes(&self) -> DeviceResult<Vec<u8>> {
        self.read_kept_memory()
    }

    fn keeps_memory(&self) -> bool {
        true
    }

    fn lacks_kept_memory(&self) -> bool {
        Self::lacks_kept_memory(self)
    }

    fn end_append(&self, ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector> {
        self.conclude_append(&ticket, result).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: DeviceError) -> DeviceError {
        self.stable.file().presence().explain(error)
    }

    fn read_command(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ReadCommand> {
        self.locate_read(zone, offset, len_bytes)
    }

    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        self.read_blocks(zone, offset, into).map_err(|error| self.explain(error))
    }

    fn device_byte(&self, zone: ZoneId, offset: ZoneOffset) -> Option<u64> {
        Some(self.file_offset_bytes(zone, offset))
    }

    /// On a device that is open for reading there is nothing to flush.
    fn flush(&self) -> DeviceResult<()> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        self.stable.flush().map_err(|error| self.explain(error))?;
        self.counters.flush_count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn shut_down(&self) -> DeviceResult<()> {
        let closed = self.stable.close().map_err(|error| self.explain(error));
        lock::give_up(self.stable.file().locked(), self.path()).and(closed)
    }

    fn activity(&self) -> DeviceActivity {
        self.counters.activity()
    }
}

/// An error of the operating system about a range of a zone.
fn in_zone(
    doing: &'static str,
    len_bytes: u64,
    zone: ZoneId,
    offset: ZoneOffset,
) -> impl FnOnce(io::Error) -> DeviceError {
    move |source| DeviceError::Io {
        action: format!("{doing} {len_bytes} bytes at {offset} of {zone}"),
        source,
    }
}
