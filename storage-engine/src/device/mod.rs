//! What a zoned device is: the trait that every backend implements, its geometry and its zones' states.
//!
//! Invariants that every backend keeps:
//! - An append names a zone by its start and is told afterwards where it landed; nobody chooses a place.
//! - A zone is written from its start to its capacity, once, and again only after a reset.
//! - Bytes at and after the write pointer read as zeros.
//! - A reset is on stable media when [`ZonedDevice::reset`] returns, so that nothing written to the zone afterwards can
//!   be mixed up with what it held before.
//!
//! Together with `queue` this folder holds the only system calls of the engine. An append is split in two around the
//! queue, so that one queue serves every device: [`ZonedDevice::begin_append`] checks and names the raw command,
//! the queue performs it, [`ZonedDevice::end_append`] turns the raw result into a place.

mod activity;
mod admission;
mod contents;
mod direct;
mod error;
mod geometry;
mod lock;
mod mounts;
mod transition;

pub mod block;
pub mod emulated;
pub mod nvme;
mod opening;
mod presence;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;

use std::fmt;
use std::io;
use std::os::fd::RawFd;

pub use error::{DeviceError, DeviceResult};
pub use geometry::{Geometry, ZoneDescriptor, ZoneState};
pub use opening::{Place, erase_leading_conventional, identify_device, open_device, place_at};

use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

/// Memory of a device that outlives the process, though not the machine: what was written to it before the process was killed
/// is found there by the next one.
pub trait KeptMemory: fmt::Debug + Send {
    /// All of it.
    fn bytes(&mut self) -> &mut [u8];

    /// A change of the bytes is complete. Real memory need not be told.
    fn stored(&mut self) {}

    /// Gives it back: nobody wants what it holds any more.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    fn give_back(self: Box<Self>) -> DeviceResult<()>;
}

/// Whether an append must be on stable media when its completion is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persistence {
    /// The completion says that the append is done; a later flush makes it durable.
    Volatile,
    /// The completion says that the append is on stable media (force unit access, or write and flush in one).
    Durable,
}

/// How a zone is about to be used, for devices that can get it ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preparation {
    /// Many small durable appends are expected: worth writing the blocks once ahead of time.
    DurableAppends,
    /// Streaming is expected: allocation is enough.
    Streaming,
}

/// How many appends to one zone a device takes at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendOrder {
    /// Any number: the device gives each its place.
    Concurrent,
    /// One: it is written at the tracked write pointer, and the next must wait for its end.
    OneAtATime,
}

/// Which commands a device has a queue submit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandSet {
    /// Positioned reads and writes.
    Positioned,
    /// NVMe commands by passthrough: a queue needs entries of twice the common size for them.
    Nvme {
        /// The file that all commands go to; it stays open as long as the device.
        fd: RawFd,
    },
}

/// One NVMe I/O command for passthrough to a namespace's character device (`/dev/ngXnY`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NvmeCommand {
    /// The character device; it stays open until the command has ended.
    pub fd: RawFd,
    /// The opcode: Read 0x02, Zone Append 0x7d (NVM and Zoned Namespace Command Sets).
    pub opcode: u8,
    /// The namespace identifier.
    pub namespace: u32,
    /// The first logical block; of an append, the first of the zone.
    pub start_lba: u64,
    /// How many logical blocks, counted from one.
    pub block_count: u32,
    /// Whether the command is to reach stable media before it completes (FUA).
    pub force_unit_access: bool,
}

/// What the kernel or the device said of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawResult {
    /// Bytes moved, for positioned commands; an NVMe status above 0, or 0, for passthrough; below 0 an errno negated.
    pub result: i32,
    /// The logical block that a zone append landed at; meaningless elsewhere, and after a failure.
    pub lba: u64,
}

impl RawResult {
    /// The result of a command that reports no logical block.
    #[must_use]
    pub const fn of(result: i32) -> Self {
        Self { result, lba: 0 }
    }

    /// The error that a negative result is.
    pub(crate) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(self.result.saturating_neg())
    }

    /// How many bytes a positioned command moved, or why none.
    pub(crate) fn moved_bytes(self) -> io::Result<u64> {
        u64::try_from(self.result).map_err(|_| self.error())
    }
}

/// The raw command that performs an append, for a queue to submit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendCommand {
    /// A true zone append by passthrough.
    Nvme(NvmeCommand),
    /// A positioned write at a place that the device has already taken for this append.
    PositionedWrite {
        /// The file to write to; it stays open until [`ZonedDevice::end_append`].
        fd: RawFd,
        /// Where, in bytes from the start of the file.
        file_offset_bytes: u64,
        /// Whether the write itself is to reach stable media (`RWF_DSYNC`).
        persistence: Persistence,
    },
}

impl AppendCommand {
    /// The passthrough command, where it is one.
    pub(crate) const fn nvme(&self) -> Option<NvmeCommand> {
        match self {
            Self::Nvme(command) => Some(*command),
            Self::PositionedWrite { .. } => None,
        }
    }
}

/// An append that the device has admitted and that is not yet over.
///
/// It must be handed to [`ZonedDevice::end_append`] exactly once, whatever became of the command.
#[derive(Debug)]
#[must_use = "an admitted append holds resources of the device until end_append"]
pub struct AppendTicket {
    /// What the queue is to submit.
    pub command: AppendCommand,
    /// The zone appended to.
    pub zone: ZoneId,
    /// How much, in bytes: whole blocks.
    pub len_bytes: u64,
    /// The place taken at admission, in the devices that take it then.
    pub(crate) place: ZoneOffset,
    /// Whether a flush must follow the command before the append counts as durable.
    pub(crate) needs_flush: bool,
}

/// A read for a queue to submit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadCommand {
    /// A read by passthrough.
    Nvme(NvmeCommand),
    /// A positioned read.
    PositionedRead {
        /// The file to read from.
        fd: RawFd,
        /// Where, in bytes from the start of the file.
        file_offset_bytes: u64,
    },
}

impl ReadCommand {
    /// The passthrough command, where it is one.
    pub(crate) const fn nvme(&self) -> Option<NvmeCommand> {
        match self {
            Self::Nvme(command) => Some(*command),
            Self::PositionedRead { .. } => None,
        }
    }
}

/// A zoned device: an array of zones that are appended to, read anywhere and reset whole.
///
/// All methods may be called from any number of threads. All of them block for as long as the device takes.
pub trait ZonedDevice: Send + Sync + fmt::Debug {
    /// Sizes and limits; they never change while the device is open.
    fn geometry(&self) -> &Geometry;

    /// What the device is, in words for a person: `"emulated file"`.
    fn kind(&self) -> &'static str;

    /// How it is reached, in words for a person: `"direct I/O"`.
    fn detail(&self) -> String {
        String::new()
    }

    /// Whether its last user ended with [`Self::shut_down`]; true of devices that do not know.
    fn was_closed_in_order(&self) -> bool {
        true
    }

    /// Which commands [`Self::begin_append`] and [`Self::read_command`] name; never any others.
    fn command_set(&self) -> CommandSet {
        CommandSet::Positioned
    }

    /// State and write pointer of one zone.
    ///
    /// # Errors
    /// [`DeviceError::NoSuchZone`].
    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor>;

    /// Empties a zone; what it held is gone and its space may be given back. Durable on return.
    ///
    /// # Errors
    /// [`DeviceError::BadTransition`] for a read-only or offline zone; [`DeviceError::Io`].
    fn reset(&self, zone: ZoneId) -> DeviceResult<()>;

    /// Makes a zone explicitly open.
    ///
    /// # Errors
    /// [`DeviceError::BadTransition`], [`DeviceError::TooManyOpen`], [`DeviceError::TooManyActive`].
    fn open(&self, zone: ZoneId) -> DeviceResult<()>;

    /// Closes an open zone; it stays active unless nothing was written to it.
    ///
    /// # Errors
    /// [`DeviceError::BadTransition`].
    fn close(&self, zone: ZoneId) -> DeviceResult<()>;

    /// Makes a zone full, wherever its write pointer stands.
    ///
    /// # Errors
    /// [`DeviceError::BadTransition`]; [`DeviceError::TooManyActive`] from empty.
    fn finish(&self, zone: ZoneId) -> DeviceResult<()>;

    /// Gets an empty zone ready for the use that is coming. A hint: devices that have nothing to do, do nothing.
    ///
    /// # Errors
    /// [`DeviceError::HostFull`], [`DeviceError::Io`].
    fn prepare(&self, zone: ZoneId, preparation: Preparation) -> DeviceResult<()>;

    /// Gives back what an empty zone has of its host, if anything was kept for the next appends. Zones that are not empty are
    /// left alone.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    fn give_back_blocks(&self, _zone: ZoneId) -> DeviceResult<()> {
        Ok(())
    }

    /// Undoes [`ZonedDevice::prepare`], for a zone that is not needed after all. One that is not empty is left alone.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    fn unprepare(&self, _zone: ZoneId) -> DeviceResult<()> {
        Ok(())
    }

    /// Admits an append of `len_bytes` to the zone that starts at `zone_start`.
    ///
    /// # Errors
    /// Each refusal has an error of its own ([`DeviceError`]), and leaves the zone as it was.
    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket>;

    /// How many appends to one zone may be between [`Self::begin_append`] and [`Self::end_append`] at once. Whoever begins
    /// one too many on a device that takes them one at a time has a bug, and gets an error.
    fn append_order(&self) -> AppendOrder {
        AppendOrder::Concurrent
    }

    /// Memory that outlives the process; `None` from devices that have none. One holder at a time.
    ///
    /// # Errors
    /// [`DeviceError::HostFull`], [`DeviceError::Io`].
    fn keep_memory(&self) -> DeviceResult<Option<Box<dyn KeptMemory>>> {
        Ok(None)
    }

    /// What that memory holds, for reading only; empty from devices that have none.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    fn kept_bytes(&self) -> DeviceResult<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Whether the device has such memory, if there is room for it.
    fn keeps_memory(&self) -> bool {
        false
    }

    /// Whether an earlier process relied on that memory, and was not told otherwise, and it is gone.
    fn lacks_kept_memory(&self) -> bool {
        false
    }

    /// Ends an append: `result` is the raw result of its command.
    ///
    /// Performs the flush that the ticket may ask for, and gives the place.
    ///
    /// # Errors
    /// [`DeviceError::ShortAppend`], [`DeviceError::Io`]. The write pointer stays moved: below it is a hole.
    fn end_append(&self, ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector>;

    /// Appends on the caller's thread. No device does: where an append lands is known at its completion, on a queue.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`], always; nothing is done.
    fn append_synchronously(&self, _zone_start: DevicePosition, _payload: &[u8]) -> DeviceResult<ZoneSector> {
        Err(DeviceError::Unsupported {
            operation: "an append on the synchronous path",
            device: self.kind(),
            remedy: "submit it on a queue; its completion says where it landed",
        })
    }

    /// Where a read of `len_bytes` at `offset` finds its bytes, for a queue.
    ///
    /// # Errors
    /// [`DeviceError::NoSuchZone`], [`DeviceError::Unaligned`], [`DeviceError::BeyondWritePointer`] when any byte of it
    /// is at or after the write pointer, [`DeviceError::ZoneOffline`].
    fn read_command(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ReadCommand>;

    /// Where a place in a zone lies in the file or device that people can look into with other tools; `None` where it has no
    /// such address.
    fn device_byte(&self, zone: ZoneId, offset: ZoneOffset) -> Option<u64> {
        Some(self.geometry().position(zone, offset).get())
    }

    /// Says that the device is gone where that explains an error.
    fn explain(&self, error: DeviceError) -> DeviceError {
        error
    }

    /// What to say of a read that failed with an error of the operating system.
    fn read_error(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64, source: io::Error) -> DeviceError {
        let action = format!("reading {len_bytes} bytes at {offset} of {zone}");
        self.explain(DeviceError::Io { action, source })
    }

    /// Says whether a queued read of `len_bytes` brought all of them, from the raw result of its command.
    ///
    /// # Errors
    /// [`DeviceError::ShortRead`], [`DeviceError::Io`].
    fn end_read(
        &self,
        zone: ZoneId,
        offset: ZoneOffset,
        len_bytes: u64,
        result: RawResult,
    ) -> DeviceResult<()> {
        match result.moved_bytes() {
            Ok(read_bytes) if read_bytes == len_bytes => Ok(()),
            Ok(read_bytes) => {
                Err(self.explain(DeviceError::ShortRead { zone, offset, len_bytes, read_bytes }))
            }
            Err(source) => Err(self.read_error(zone, offset, len_bytes, source)),
        }
    }

    /// Reads whole blocks at a whole block, on the caller's thread. Bytes at and after the write pointer are zeros.
    ///
    /// # Errors
    /// [`DeviceError::NoSuchZone`], [`DeviceError::Unaligned`], [`DeviceError::ZoneOffline`], [`DeviceError::Io`].
    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()>;

    /// Puts every append that has been ended on stable media.
    ///
    /// # Errors
    /// [`DeviceError::Io`]. A failed flush must not be retried into success: what it covered is unknown.
    fn flush(&self) -> DeviceResult<()>;

    /// Ends the use of the device and lets others have it. Nothing is changed from then on; reports still tell how things
    /// stood. Dropping the device does the same. Call it when no append is in flight.
    ///
    /// # Errors
    /// [`DeviceError::Io`]. Others may have the device all the same.
    fn shut_down(&self) -> DeviceResult<()>;

    /// Counts of what the device was asked to do since it was opened.
    fn activity(&self) -> DeviceActivity;

    /// The queue that goes with a device of the models; all others take those that there are.
    #[cfg(all(test, feature = "models"))]
    fn queue_of_its_own(self: std::sync::Arc<Self>) -> Option<std::sync::Arc<dyn crate::queue::IoQueue>> {
        None
    }
}

/// What a device was asked to do since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceActivity {
    /// Flushes and durable appends, each counted once.
    pub flush_count: u64,
    /// Zones reset.
    pub reset_count: u64,
    /// Bytes appended, padding included.
    pub appended_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
}
