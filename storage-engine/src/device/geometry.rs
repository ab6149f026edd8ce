//! Sizes and limits of a zoned device, and the states of its zones.
//!
//! Sums that include zone starts use zone *size*; room uses zone *capacity*.

use serde::{Deserialize, Serialize};

use crate::units::{DevicePosition, ZoneId, ZoneOffset};

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
