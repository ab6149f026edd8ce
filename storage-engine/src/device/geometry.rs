//! Sizes and limits of a zoned device, and the states of its zones.
//!
//! Sums that include zone starts use zone *size*; room uses zone *capacity*.

use serde::{Deserialize, Serialize};

use super::{DeviceError, DeviceResult};
use crate::units::{DevicePosition, SECTOR_BYTES, ZoneId, ZoneOffset};

/// The largest zone: beyond it a place would not fit the field that reports it.
const MAX_ZONE_SIZE_BYTES: u64 = u32::MAX as u64 * SECTOR_BYTES;

/// The largest single append: Linux performs no larger write in one piece (`MAX_RW_COUNT`).
const MAX_APPEND_BYTES: u32 = 0x7fff_f000;

/// Sizes in bytes and limits of a zoned device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    /// The smallest unit of reading and appending: 512 or 4096.
    pub block_bytes: u32,
    /// From one zone start to the next.
    pub zone_size_bytes: u64,
    /// What can be written in a zone; at most the size.
    pub zone_capacity_bytes: u64,
    /// How many zones there are.
    pub zone_count: u32,
    /// How many zones may be open at once.
    pub max_open_zones: u32,
    /// How many zones may be active (open or closed) at once.
    pub max_active_zones: u32,
    /// The largest single append: Zone Append Size Limit (NVMe ZNS, section 4.1.1.1).
    pub append_limit_bytes: u32,
    /// Whether the device may hold completed appends in memory until a flush.
    pub volatile_cache: bool,
}

impl Geometry {
    /// The start of a zone on the device: the only place where a zone number becomes an address.
    #[must_use]
    pub const fn zone_start(&self, zone: ZoneId) -> DevicePosition {
        DevicePosition::new(zone.get() as u64 * self.zone_size_bytes)
    }

    /// The device position of an offset in a zone.
    #[must_use]
    pub const fn position(&self, zone: ZoneId, offset: ZoneOffset) -> DevicePosition {
        DevicePosition::new(self.zone_start(zone).get() + offset.get())
    }

    /// The zone that starts at `position`, or `None` where no zone starts.
    #[must_use]
    pub fn zone_starting_at(&self, position: DevicePosition) -> Option<ZoneId> {
        if !position.get().is_multiple_of(self.zone_size_bytes) {
            return None;
        }
        let number = u32::try_from(position.get() / self.zone_size_bytes).ok()?;
        (number < self.zone_count).then_some(ZoneId::new(number))
    }

    /// Whether these sizes and limits make a device.
    ///
    /// # Errors
    /// [`DeviceError::InvalidGeometry`] naming the first rule that is broken, with the values.
    pub fn validate(&self) -> DeviceResult<()> {
        self.validate_sizes()?;
        self.validate_limits()
    }

    fn validate_sizes(&self) -> DeviceResult<()> {
        let (block, size, capacity) = (self.block_bytes, self.zone_size_bytes, self.zone_capacity_bytes);
        rule(matches!(block, 512 | 4096), || format!("a block of {block} bytes; it must be 512 or 4096"))?;
        rule(size > 0 && self.is_whole_blocks(size), || {
            format!("a zone size of {size} bytes; it must be whole blocks of {block} bytes, and not 0")
        })?;
        rule(capacity > 0 && self.is_whole_blocks(capacity), || {
            format!(
                "a zone capacity of {capacity} bytes; it must be whole blocks of {block} bytes, and not 0"
            )
        })?;
        rule(capacity <= size, || {
            format!("a zone capacity of {capacity} bytes exceeds the zone size of {size} bytes")
        })?;
        rule(size <= MAX_ZONE_SIZE_BYTES, || {
            format!("a zone size of {size} bytes; more than {MAX_ZONE_SIZE_BYTES} cannot be reported")
        })
    }

    fn validate_limits(&self) -> DeviceResult<()> {
        let (open, active, append) = (self.max_open_zones, self.max_active_zones, self.append_limit_bytes);
        rule(self.zone_count > 0, || "0 zones; a device has at least 1".to_owned())?;
        rule(open > 0, || "a limit of 0 open zones; it must be at least 1".to_owned())?;
        rule(open <= active, || {
            format!("a limit of {open} open zones exceeds that of {active} active zones")
        })?;
        rule(append > 0 && self.is_whole_blocks(u64::from(append)), || {
            let block = self.block_bytes;
            format!("an append limit of {append} bytes; it must be whole blocks of {block} bytes, and not 0")
        })?;
        rule(append <= MAX_APPEND_BYTES, || {
            format!("an append limit of {append} bytes; no write exceeds {MAX_APPEND_BYTES}")
        })
    }

    /// Whether `bytes` is a multiple of the block size.
    #[must_use]
    pub const fn is_whole_blocks(&self, bytes: u64) -> bool {
        bytes.is_multiple_of(self.block_bytes as u64)
    }

    /// All zones, in order.
    pub fn zones(&self) -> impl Iterator<Item = ZoneId> + use<> {
        (0..self.zone_count).map(ZoneId::new)
    }

    /// What all zones together can hold.
    #[must_use]
    pub const fn capacity_bytes(&self) -> u64 {
        self.zone_capacity_bytes * self.zone_count as u64
    }

    /// `bytes` rounded up to whole blocks.
    #[must_use]
    pub const fn round_up_to_block(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.block_bytes as u64)
    }

    /// `bytes` rounded down to whole blocks.
    #[must_use]
    pub const fn round_down_to_block(&self, bytes: u64) -> u64 {
        bytes - bytes % self.block_bytes as u64
    }
}

/// Refuses a geometry that breaks a rule.
fn rule(kept: bool, what: impl FnOnce() -> String) -> DeviceResult<()> {
    if kept { Ok(()) } else { Err(DeviceError::InvalidGeometry { what: what() }) }
}

/// The state of a zone (NVMe ZNS, section 2.1.1.2; ZBC, 4.4.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ZoneState {
    /// Nothing written since the last reset.
    Empty,
    /// Opened by an append; the device may close it to make room.
    ImplicitlyOpen,
    /// Opened by command.
    ExplicitlyOpen,
    /// Partly written, not open, still active.
    Closed,
    /// Written to its capacity, or finished.
    Full,
    /// Readable; never writable again.
    ReadOnly,
    /// Neither readable nor writable.
    Offline,
    /// A conventional zone: it has no write pointer and takes no appends (ZBC: NOT WRITE POINTER).
    NotWritePointer,
}

impl ZoneState {
    /// Whether the zone counts against the open limit.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::ImplicitlyOpen | Self::ExplicitlyOpen)
    }

    /// Whether the zone counts against the active limit.
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.is_open() || matches!(self, Self::Closed)
    }

    /// Whether the zone has worn out: it takes no appends any more, and no reset makes it take them again.
    #[must_use]
    pub const fn is_worn(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Offline)
    }
}

/// What a zone report says of one zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneDescriptor {
    /// Which zone.
    pub zone: ZoneId,
    /// Its state.
    pub state: ZoneState,
    /// How far it has been written, in bytes from its start; the capacity when it is full.
    pub write_pointer: ZoneOffset,
    /// How often it has been reset, where the device keeps count; 0 elsewhere.
    pub reset_count: u32,
}

#[cfg(test)]
mod tests {
    use super::{Geometry, MAX_APPEND_BYTES, MAX_ZONE_SIZE_BYTES};
    use crate::device::DeviceError;

    const GOOD: Geometry = Geometry {
        block_bytes: 4096,
        zone_size_bytes: 1 << 20,
        zone_capacity_bytes: 1 << 19,
        zone_count: 8,
        max_open_zones: 2,
        max_active_zones: 3,
        append_limit_bytes: 65_536,
        volatile_cache: true,
    };

    fn complaint(geometry: &Geometry) -> String {
        match geometry.validate() {
            Err(DeviceError::InvalidGeometry { what }) => what,
            other => panic!("{geometry:?} gives {other:?}"),
        }
    }

    #[test]
    fn a_geometry_on_the_edge_of_every_rule_is_accepted() {
        GOOD.validate().unwrap();
        let edge = Geometry {
            block_bytes: 512,
            zone_size_bytes: MAX_ZONE_SIZE_BYTES,
            zone_capacity_bytes: MAX_ZONE_SIZE_BYTES,
            zone_count: 1,
            max_open_zones: 1,
            max_active_zones: 1,
            append_limit_bytes: MAX_APPEND_BYTES,
            ..GOOD
        };
        edge.validate().unwrap();
    }

    #[test]
    fn each_broken_rule_is_named_with_its_value() {
        let capacity = GOOD.zone_capacity_bytes;
        let cases = [
            (Geometry { block_bytes: 1024, ..GOOD }, "block of 1024"),
            (Geometry { zone_size_bytes: 0, ..GOOD }, "zone size of 0"),
            (Geometry { zone_size_bytes: (1 << 20) + 1, ..GOOD }, "zone size of 1048577"),
            (Geometry { zone_capacity_bytes: 0, ..GOOD }, "zone capacity of 0"),
            (Geometry { zone_capacity_bytes: 4095, ..GOOD }, "zone capacity of 4095"),
            (Geometry { zone_size_bytes: capacity - 4096, ..GOOD }, "exceeds the zone size of 520192"),
            (Geometry { zone_size_bytes: 1 << 41, ..GOOD }, "cannot be reported"),
            (Geometry { zone_count: 0, ..GOOD }, "0 zones"),
            (Geometry { max_open_zones: 0, ..GOOD }, "0 open zones"),
            (Geometry { max_open_zones: 4, ..GOOD }, "4 open zones exceeds that of 3"),
            (Geometry { append_limit_bytes: 0, ..GOOD }, "append limit of 0"),
            (Geometry { append_limit_bytes: 5000, ..GOOD }, "append limit of 5000"),
            (Geometry { append_limit_bytes: 1 << 31, ..GOOD }, "no write exceeds"),
        ];
        for (geometry, expected) in cases {
            let what = complaint(&geometry);
            assert!(what.contains(expected), "{what:?} does not say {expected:?}");
        }
    }
}
