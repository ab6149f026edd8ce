//! Newtypes that carry a unit, so that a zone number cannot be added to a byte count.
//!
//! Only the arithmetic that means something exists. A zone and an offset become a device position in one place,
//! [`crate::device::Geometry::position`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes in the sector that every place is reported in, whatever the block size of the device.
pub const SECTOR_BYTES: u64 = 512;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($raw:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name($raw);

        impl $name {
            /// Wraps a raw number that is known to be in this unit.
            #[must_use]
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }

            /// The raw number, for encoding and for printing.
            #[must_use]
            pub const fn get(self) -> $raw {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

unit!(
    /// The number of a zone, counted from 0 at the start of the device.
    ZoneId(u32), "zone {}"
);
unit!(
    /// A distance in bytes from the start of a zone.
    ZoneOffset(u64), "byte {}"
);
unit!(
    /// A byte address on the device: zone starts are multiples of the zone *size*.
    DevicePosition(u64), "device byte {}"
);
unit!(
    /// Where an append landed: sectors of 512 bytes from the start of its zone, on every device and queue.
    ZoneSector(u32), "sector {}"
);
unit!(
    /// The number of a write in commit order. Dense: every record part takes one, none is skipped.
    SeqNo(u64), "seqno {}"
);
unit!(
    /// One filling of one zone. Globally increasing: a zone opened later has the larger generation.
    Generation(u64), "generation {}"
);

impl ZoneId {
    /// The number as an index into a table with one row a zone.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ZoneOffset {
    /// The start of a zone.
    pub const START: Self = Self(0);

    /// The offset `bytes` further into the zone.
    #[must_use]
    pub const fn forward(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl ZoneSector {
    /// The same place in bytes.
    #[must_use]
    pub const fn offset(self) -> ZoneOffset {
        ZoneOffset(self.0 as u64 * SECTOR_BYTES)
    }

    /// The sector at a byte offset, or `None` when the offset is not a whole sector or does not fit the field.
    #[must_use]
    pub fn at(offset: ZoneOffset) -> Option<Self> {
        if !offset.0.is_multiple_of(SECTOR_BYTES) {
            return None;
        }
        u32::try_from(offset.0 / SECTOR_BYTES).ok().map(Self)
    }
}

impl SeqNo {
    /// Before every write: the watermark of an empty store.
    pub const ZERO: Self = Self(0);

    /// The write that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The write `count` places later.
    #[must_use]
    pub const fn forward(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    /// The write `count` places earlier; never below [`SeqNo::ZERO`].
    #[must_use]
    pub const fn back(self, count: u64) -> Self {
        Self(self.0.saturating_sub(count))
    }
}

impl Generation {
    /// The generation of the zone opened next.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The generation of the zone opened `count` zones later.
    #[must_use]
    pub const fn forward(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

#[cfg(test)]
mod tests {
    use super::{ZoneOffset, ZoneSector};

    #[test]
    fn a_sector_is_512_bytes_and_nothing_between_counts() {
        assert_eq!(ZoneSector::at(ZoneOffset::new(4096)), Some(ZoneSector::new(8)));
        assert_eq!(ZoneSector::new(8).offset(), ZoneOffset::new(4096));
        assert_eq!(ZoneSector::at(ZoneOffset::new(513)), None);
    }

    #[test]
    fn an_offset_too_large_for_its_field_is_refused() {
        let last = u64::from(u32::MAX) * 512;
        assert!(ZoneSector::at(ZoneOffset::new(last)).is_some());
        assert_eq!(ZoneSector::at(ZoneOffset::new(last + 512)), None);
    }
}
