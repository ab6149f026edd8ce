//! What lies where in the file of an emulated device, and the bytes of it. Pure: no I/O.
//!
//! ```text
//! byte 0         header, copy A      128 bytes     either good copy is enough
//! byte 4096      header, copy B      128 bytes
//! byte 8192      session block       64 bytes      who had the device open, and whether it was closed in order
//! byte 12288     zone table          64 bytes a zone
//! next MiB       zone 0, zone 1, …   one zone size each
//! next 64 KiB    kept memory         2 MiB         where it has been asked for: what outlives the process
//! ```
//!
//! Rules:
//! - All numbers are little-endian. Every structure ends in the CRC-32 of the bytes before it.
//! - No structure crosses a 512-byte sector, so that a power cut leaves it old or new.
//! - A header keeps its length, and its magic, version and checksum their places, in every format version: that is what
//!   tells an unknown version from damage.
//! - A header that begins with `ZONALNEW` and is good otherwise says that the device was being made.
//! - Bytes come from a file that anybody may have written to: decoding gives an error, never a panic.

use std::fmt;

use crate::device::{Geometry, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

/// The format version that this program reads and writes.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Where the two copies of the header lie.
pub(super) const HEADER_AT_BYTES: [u64; 2] = [0, 4096];
/// Where the session block lies.
pub(super) const SESSION_AT_BYTES: u64 = 8192;
/// Where the zone table begins.
pub(super) const TABLE_AT_BYTES: u64 = 12_288;
/// Zone data begin at a multiple of this; no device is shorter.
pub(super) const DATA_ALIGNMENT_BYTES: u64 = 1 << 20;
/// Length of the memory that is kept for the store.
pub(super) const KEPT_MEMORY_LEN: usize = 2 << 20;
/// The same as a length in the file.
pub(super) const KEPT_MEMORY_BYTES: u64 = KEPT_MEMORY_LEN as u64;
/// It begins at a multiple of this, which no processor's pages are larger than.
const KEPT_MEMORY_ALIGNMENT_BYTES: u64 = 64 << 10;
/// Length of a header.
pub(super) const HEADER_BYTES: usize = 128;
/// Length of the session block.
pub(super) const SESSION_BYTES: usize = 64;
/// Length of an entry of the zone table.
pub(super) const ENTRY_BYTES: usize = 64;

/// More zones than this are not worth a table that is kept in memory whole.
const MAX_ZONE_COUNT: u32 = 1 << 20;
const MAGIC: [u8; 8] = *b"ZONALDEV";
/// Where a header will be when the device has been made.
const UNFINISHED_MAGIC: [u8; 8] = *b"ZONALNEW";
const CRC_BYTES: usize = 4;
const FLAG_BLOCKS_WRITTEN: u8 = 1;

/// Why bytes are not the structure that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum LayoutError {
    /// They do not begin as a header of ours does.
    Foreign,
    /// A device was being made here.
    Unfinished,
    /// A good header of a version unknown here.
    UnknownVersion(u32),
    /// They are not what was written.
    Damaged(String),
}

impl LayoutError {
    /// The version, where that is what is unknown.
    pub(super) const fn version(&self) -> Option<u32> {
        if let Self::UnknownVersion(version) = self { Some(*version) } else { None }
    }

    /// The damage, where that is what is wrong.
    pub(super) fn damage(&self) -> Option<&str> {
        if let Self::Damaged(what) = self { Some(what) } else { None }
    }
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(f, "not a structure of ours"),
            Self::Unfinished => write!(f, "the device was not finished"),
            Self::UnknownVersion(version) => write!(f, "format version {version}"),
            Self::Damaged(what) => write!(f, "{what}"),
        }
    }
}

/// Where the entry of a zone lies in the file.
pub(super) fn entry_at_bytes(zone: ZoneId) -> u64 {
    TABLE_AT_BYTES + u64::from(zone.get()) * ENTRY_BYTES as u64
}

/// Where zone data begin in the file.
pub(super) fn data_start_bytes(zone_count: u32) -> u64 {
    entry_at_bytes(ZoneId::new(zone_count)).next_multiple_of(DATA_ALIGNMENT_BYTES)
}

/// How long the file of a device with a valid geometry is, or why no emulated device has this one.
pub(super) fn file_bytes(geometry: &Geometry) -> Result<u64, String> {
    let zone_count = geometry.zone_count;
    if zone_count > MAX_ZONE_COUNT {
        return Err(format!("{zone_count} zones; an emulated device has at most {MAX_ZONE_COUNT}"));
    }
    // So many of the largest zones make 2^61 bytes, which a file offset can name.
    Ok(data_start_bytes(zone_count) + geometry.zone_size_bytes * u64::from(zone_count))
}

/// Where the kept memory lies in the file, behind zones of valid sizes. Not every device has it.
pub(super) fn kept_memory_at_bytes(zone_count: u32, zone_size_bytes: u64) -> u64 {
    let zones_end_bytes = data_start_bytes(zone_count) + zone_size_bytes * u64::from(zone_count);
    zones_end_bytes.next_multiple_of(KEPT_MEMORY_ALIGNMENT_BYTES)
}

/// What the device is; written once, at creation.
///
/// Bytes 0 magic, 8 version, 12 device id (16), 28 block, 32 zone size (8), 40 zone capacity (8), 48 zone count,
/// 52 open limit, 56 active limit, 60 append limit, 64 volatile cache (1), zeros, 124 checksum. Fields without a length
/// are 4 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// Drawn at creation.
    pub(super) device_id: [u8; 16],
    /// Sizes and limits.
    pub(super) geometry: Geometry,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let geometry = &self.geometry;
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 12, &self.device_id);
        put(&mut bytes, 28, &geometry.block_bytes.to_le_bytes());
        put(&mut bytes, 32, &geometry.zone_size_bytes.to_le_bytes());
        put(&mut bytes, 40, &geometry.zone_capacity_bytes.to_le_bytes());
        put(&mut bytes, 48, &geometry.zone_count.to_le_bytes());
        put(&mut bytes, 52, &geometry.max_open_zones.to_le_bytes());
        put(&mut bytes, 56, &geometry.max_active_zones.to_le_bytes());
        put(&mut bytes, 60, &geometry.append_limit_bytes.to_le_bytes());
        bytes[64] = u8::from(geometry.volatile_cache);
        seal(&mut bytes);
        bytes
    }

    /// What stands in a header's place while the device is being made.
    pub(super) fn encode_unfinished(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = self.encode();
        put(&mut bytes, 0, &UNFINISHED_MAGIC);
        seal(&mut bytes);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, LayoutError> {
        if bytes[..MAGIC.len()] == UNFINISHED_MAGIC && check_seal(bytes).is_ok() {
            return Err(LayoutError::Unfinished);
        }
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(LayoutError::Foreign);
        }
        check_seal(bytes)?;
        match u32_at(bytes, 8) {
            FORMAT_VERSION => {}
            version => return Err(LayoutError::UnknownVersion(version)),
        }
        let geometry = Geometry {
            block_bytes: u32_at(bytes, 28),
            zone_size_bytes: u64_at(bytes, 32),
            zone_capacity_bytes: u64_at(bytes, 40),
            zone_count: u32_at(bytes, 48),
            max_open_zones: u32_at(bytes, 52),
            max_active_zones: u32_at(bytes, 56),
            append_limit_bytes: u32_at(bytes, 60),
            volatile_cache: bytes[64] != 0,
        };
        geometry.validate().map_err(|error| LayoutError::Damaged(error.to_string()))?;
        file_bytes(&geometry).map_err(LayoutError::Damaged)?;
        Ok(Self { device_id: array_at(bytes, 12), geometry })
    }
}

/// Who changed the device last.
///
/// Bytes 0 boot id (16), 16 whether it was closed in order (1), zeros, 60 checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Session {
    /// The boot of the machine during which the device was last changed.
    pub(super) boot_id: [u8; 16],
    /// Whether everything was put on stable media at the end.
    pub(super) clean: bool,
}

impl Session {
    pub(super) fn encode(&self) -> [u8; SESSION_BYTES] {
        let mut bytes = [0; SESSION_BYTES];
        put(&mut bytes, 0, &self.boot_id);
        bytes[16] = u8::from(self.clean);
        seal(&mut bytes);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SESSION_BYTES]) -> Result<Self, LayoutError> {
        check_seal(bytes)?;
        Ok(Self { boot_id: array_at(bytes, 0), clean: bytes[16] != 0 })
    }
}

/// What the zone table says of one zone.
///
/// Bytes 0 zone number (4), 4 state (1), 5 flags (1: all blocks written), 8 write pointer (8), 16 bound (8), 24 reset
/// count (4), zeros, 60 checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ZoneEntry {
    /// Which zone: an entry in the wrong place is damage.
    pub(super) zone: ZoneId,
    /// Its state.
    pub(super) state: ZoneState,
    /// Whether every block up to the capacity is allocated and written.
    pub(super) blocks_written: bool,
    /// How far the zone is written, also where it was finished early.
    pub(super) write_pointer: ZoneOffset,
    /// The write pointer does not pass this before a later bound is on the file.
    pub(super) bound: ZoneOffset,
    /// How often the zone has been reset.
    pub(super) reset_count: u32,
}

impl ZoneEntry {
    /// A zone of a new device.
    pub(super) const fn empty(zone: ZoneId) -> Self {
        Self {
            zone,
            state: ZoneState::Empty,
            blocks_written: false,
            write_pointer: ZoneOffset::START,
            bound: ZoneOffset::START,
            reset_count: 0,
        }
    }

    pub(super) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        put(&mut bytes, 0, &self.zone.get().to_le_bytes());
        bytes[4] = state_code(self.state);
        bytes[5] = if self.blocks_written { FLAG_BLOCKS_WRITTEN } else { 0 };
        put(&mut bytes, 8, &self.write_pointer.get().to_le_bytes());
        put(&mut bytes, 16, &self.bound.get().to_le_bytes());
        put(&mut bytes, 24, &self.reset_count.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// The reset count in bytes that are no good entry.
    pub(super) fn reset_count_in(bytes: &[u8; ENTRY_BYTES]) -> u32 {
        u32_at(bytes, 24)
    }

    /// Reads the entry that should be that of `zone`.
    pub(super) fn decode(
        bytes: &[u8; ENTRY_BYTES],
        zone: ZoneId,
        geometry: &Geometry,
    ) -> Result<Self, LayoutError> {
        check_seal(bytes)?;
        let code = bytes[4];
        let state = state_of(code).ok_or_else(|| LayoutError::Damaged(format!("unknown state {code}")))?;
        let entry = Self {
            zone: ZoneId::new(u32_at(bytes, 0)),
            state,
            blocks_written: bytes[5] & FLAG_BLOCKS_WRITTEN != 0,
            write_pointer: ZoneOffset::new(u64_at(bytes, 8)),
            bound: ZoneOffset::new(u64_at(bytes, 16)),
            reset_count: u32_at(bytes, 24),
        };
        entry.validate(zone, geometry).map(|()| entry).map_err(LayoutError::Damaged)
    }

    fn validate(&self, zone: ZoneId, geometry: &Geometry) -> Result<(), String> {
        let Self { zone: found, state, write_pointer, bound, .. } = self;
        if *found != zone {
            return Err(format!("it is the entry of {found}"));
        }
        let whole = geometry.is_whole_blocks(write_pointer.get()) && geometry.is_whole_blocks(bound.get());
        if !whole || write_pointer > bound || bound.get() > geometry.zone_capacity_bytes {
            return Err(format!("write pointer {write_pointer}, bound {bound}"));
        }
        if *state == ZoneState::Empty && *bound != ZoneOffset::START {
            return Err(format!("empty, with bound {bound}"));
        }
        Ok(())
    }
}

/// The code of a state, on the file and in the descriptors in memory: that of the NVMe zone descriptor.
pub(super) const fn state_code(state: ZoneState) -> u8 {
    match state {
        ZoneState::Empty => 0x1,
        ZoneState::ImplicitlyOpen => 0x2,
        ZoneState::ExplicitlyOpen => 0x3,
        ZoneState::Closed => 0x4,
        ZoneState::ReadOnly => 0xd,
        ZoneState::Full => 0xe,
        ZoneState::Offline => 0xf,
        // No emulated device has conventional zones, and `state_of` knows no such code.
        ZoneState::NotWritePointer => 0x0,
    }
}

/// The state that has a code.
pub(super) const fn state_of(code: u8) -> Option<ZoneState> {
    Some(match code {
        0x1 => ZoneState::Empty,
        0x2 => ZoneState::ImplicitlyOpen,
        0x3 => ZoneState::ExplicitlyOpen,
        0x4 => ZoneState::Closed,
        0xd => ZoneState::ReadOnly,
        0xe => ZoneState::Full,
        0xf => ZoneState::Offline,
        _ => return None,
    })
}

fn seal(bytes: &mut [u8]) {
    let crc_at = bytes.len() - CRC_BYTES;
    let crc = crc32fast::hash(&bytes[..crc_at]);
    put(bytes, crc_at, &crc.to_le_bytes());
}

fn check_seal(bytes: &[u8]) -> Result<(), LayoutError> {
    let crc_at = bytes.len() - CRC_BYTES;
    let (expected, found) = (crc32fast::hash(&bytes[..crc_at]), u32_at(bytes, crc_at));
    if expected == found {
        return Ok(());
    }
    Err(LayoutError::Damaged(format!("checksum {found:08x} instead of {expected:08x}")))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn array_at<const LENGTH: usize>(bytes: &[u8], at: usize) -> [u8; LENGTH] {
    let mut array = [0; LENGTH];
    array.copy_from_slice(&bytes[at..at + LENGTH]);
    array
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
