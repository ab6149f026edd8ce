//! What a zoned device refuses, and what can go wrong with it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::ZoneState;
use crate::units::{DevicePosition, ZoneId, ZoneOffset};

/// Result of a device operation.
pub type DeviceResult<T> = Result<T, DeviceError>;

/// What a zoned device refuses, and what can go wrong with it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The operation does not exist on this path; nothing was done.
    #[error("{operation} is not supported on {device}: {remedy}")]
    Unsupported {
        /// What was asked for.
        operation: &'static str,
        /// Of what.
        device: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// An append named a position where no zone starts.
    #[error("{position} is not the start of a zone; an append names its zone by the zone's start")]
    NotAZoneStart {
        /// The position that was named.
        position: DevicePosition,
    },
    /// A zone number beyond the device.
    #[error("{zone} does not exist; the device has {zone_count} zones")]
    NoSuchZone {
        /// The zone that was named.
        zone: ZoneId,
        /// How many there are.
        zone_count: u32,
    },
    /// Larger than the append limit.
    #[error("an append of {len_bytes} bytes to {zone} exceeds the append limit of {limit_bytes} bytes")]
    AppendTooLarge {
        /// The zone.
        zone: ZoneId,
        /// What was asked.
        len_bytes: u64,
        /// What is allowed.
        limit_bytes: u32,
    },
    /// Offset, length or memory is not a multiple of the block size.
    #[error("{what} of {value} for {zone} is not a multiple of {block_bytes} bytes (or is zero)")]
    Unaligned {
        /// The zone.
        zone: ZoneId,
        /// Which quantity.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What it must be a multiple of.
        block_bytes: u32,
    },
    /// More than the zone has left; the zone is as it was.
    #[error("{zone} has {room_bytes} bytes left, {len_bytes} were to be appended")]
    ZoneBoundary {
        /// The zone.
        zone: ZoneId,
        /// What was asked.
        len_bytes: u64,
        /// What is left.
        room_bytes: u64,
    },
    /// The zone is full.
    #[error("{zone} is full")]
    ZoneFull {
        /// The zone.
        zone: ZoneId,
    },
    /// The zone is read-only.
    #[error("{zone} is read-only")]
    ZoneReadOnly {
        /// The zone.
        zone: ZoneId,
    },
    /// The zone is offline.
    #[error("{zone} is offline")]
    ZoneOffline {
        /// The zone.
        zone: ZoneId,
    },
    /// One open zone too many.
    #[error("opening {zone} would exceed the limit of {limit} open zones")]
    TooManyOpen {
        /// The zone.
        zone: ZoneId,
        /// The limit.
        limit: u32,
    },
    /// One active zone too many.
    #[error("activating {zone} would exceed the limit of {limit} active zones")]
    TooManyActive {
        /// The zone.
        zone: ZoneId,
        /// The limit.
        limit: u32,
    },
    /// The zone's state does not allow the command.
    #[error("{zone} is {state:?}: it cannot be {action}")]
    BadTransition {
        /// The zone.
        zone: ZoneId,
        /// Its state.
        state: ZoneState,
        /// The command, as a participle.
        action: &'static str,
    },
    /// A queued read of bytes that were not written.
    #[error("{zone} is written up to {write_pointer}; {len_bytes} bytes at {offset} were to be read")]
    BeyondWritePointer {
        /// The zone.
        zone: ZoneId,
        /// Where the read starts.
        offset: ZoneOffset,
        /// How much was to be read.
        len_bytes: u64,
        /// How far the zone is written.
        write_pointer: ZoneOffset,
    },
    /// The place of an append does not fit the field that reports it.
    #[error("{offset} in {zone} does not fit the field that reports where an append landed")]
    PlaceOverflow {
        /// The zone.
        zone: ZoneId,
        /// The place.
        offset: ZoneOffset,
    },
    /// Fewer bytes were written than submitted. The write pointer has moved; below it is a hole.
    #[error("{written_bytes} of {len_bytes} bytes were appended to {zone}")]
    ShortAppend {
        /// The zone.
        zone: ZoneId,
        /// What was submitted.
        len_bytes: u64,
        /// What was written.
        written_bytes: u64,
    },
    /// Fewer bytes were read than asked for.
    #[error("{read_bytes} of {len_bytes} bytes were read at {offset} of {zone}")]
    ShortRead {
        /// The zone.
        zone: ZoneId,
        /// Where.
        offset: ZoneOffset,
        /// What was asked.
        len_bytes: u64,
        /// What came.
        read_bytes: u64,
    },
    /// Sizes or limits that make no device.
    #[error("{what}")]
    InvalidGeometry {
        /// Which rule is broken, with the values.
        what: String,
    },
    /// There is already something at the path where a device was to be created.
    #[error("{path} exists already")]
    AlreadyExists {
        /// The path.
        path: PathBuf,
    },
    /// There is nothing at the path.
    #[error("{path} does not exist")]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The file is not an emulated zoned device of ours.
    #[error("{path} is not a zonal device: {why}")]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// What was seen instead.
        why: String,
    },
    /// The file was written by a version that this one does not know.
    #[error("{path} has device format version {found}; this program reads version {known}")]
    UnknownVersion {
        /// The path.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version known.
        known: u32,
    },
    /// The device's own metadata do not pass their checks.
    #[error("{path} is damaged: {what} at byte {at_bytes} of the file")]
    Damaged {
        /// The path.
        path: PathBuf,
        /// Which structure, and what is wrong with it.
        what: String,
        /// Where it lies.
        at_bytes: u64,
    },
    /// The file is shorter than its header says.
    #[error("{path} is cut short: {found_bytes} bytes instead of {expected_bytes}")]
    CutShort {
        /// The path.
        path: PathBuf,
        /// The length there is.
        found_bytes: u64,
        /// The length there should be.
        expected_bytes: u64,
    },
    /// Somebody else has the device open.
    #[error("{path} is in use by {holder}")]
    Locked {
        /// The path.
        path: PathBuf,
        /// Who, as far as the kernel tells.
        holder: String,
        /// Whether the holder has been killed and only the kernel's work for it is left, as far as that can be told: then the
        /// lock goes soon.
        holder_is_dying: bool,
    },
    /// An append to the zone is on its way, and the device takes them one at a time, with nothing else meanwhile.
    #[error("an append to {zone} is in flight; this device takes one at a time")]
    AppendInFlight {
        /// The zone.
        zone: ZoneId,
    },
    /// The device is not there any more.
    #[error("{path} is gone: the device was removed, or its driver was unbound")]
    Gone {
        /// The path.
        path: PathBuf,
    },
    /// There is something on the device that making a store would destroy.
    #[error("{path} is not blank: {what}; making a store there would destroy that")]
    NotBlank {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// The device was opened for reading only.
    #[error("{path} is open for reading only")]
    ReadOnly {
        /// The path.
        path: PathBuf,
    },
    /// A drive ended a command with an error that has no variant of its own.
    #[error("{command}{} ended with NVMe status {status:#05x}: {meaning}", of_zone(*zone))]
    Nvme {
        /// The zone, where the command names one.
        zone: Option<ZoneId>,
        /// The command, by its name in the specification.
        command: &'static str,
        /// Status code type and status code: eleven bits.
        status: u16,
        /// What the specification says of the code.
        meaning: &'static str,
    },
    /// A drive said something that cannot be.
    #[error("the drive reports {what}")]
    Implausible {
        /// What it said, with the values.
        what: String,
    },
    /// One read of more than the drive moves in one command.
    #[error("a read of {len_bytes} bytes in {zone} exceeds the transfer limit of {limit_bytes} bytes")]
    ReadTooLarge {
        /// The zone.
        zone: ZoneId,
        /// What was asked.
        len_bytes: u64,
        /// What is allowed.
        limit_bytes: u32,
    },
    /// The file system that holds the device has no room for a zone; nothing was changed.
    #[error(
        "the file system that holds {path} is full: the {needed_bytes} bytes of {zone} do not fit; make room there, and \
         go on"
    )]
    HostFull {
        /// The path.
        path: PathBuf,
        /// The zone.
        zone: ZoneId,
        /// What the zone takes.
        needed_bytes: u64,
    },
    /// The operating system reported an error.
    #[error("{action} failed")]
    Io {
        /// What was being done, with the zone and offset where there are any.
        action: String,
        /// The error.
        source: io::Error,
    },
}

fn of_zone(zone: Option<ZoneId>) -> String {
    zone.map_or_else(String::new, |zone| format!(" of {zone}"))
}
