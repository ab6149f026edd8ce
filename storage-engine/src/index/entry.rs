//! What the index remembers of a key: a place and a length, in 12 bytes.
//!
//! Invariants: a [`Location`] always fits its 64 bits, and a [`PackedEntry`] always unpacks to the entry that it was
//! made from. Entries are plain values; whoever shares them brings the lock.

use crate::units::ZoneId;

/// How many bits of a packed location hold the unit number.
const UNIT_BITS: u32 = 20;
/// How many bits of a packed location hold the byte offset in the unit.
const OFFSET_BITS: u32 = 20;
/// How many bits of a packed location hold the zone number.
const ZONE_BITS: u32 = 24;

/// Zones that a location can name.
pub const MAX_ZONES: u32 = 1 << ZONE_BITS;
/// Append units that a location can name in one zone.
pub const MAX_UNITS_PER_ZONE: u32 = 1 << UNIT_BITS;
/// The largest append unit, in bytes, that a location can point into: 1 MiB.
pub const MAX_UNIT_BYTES: u32 = 1 << OFFSET_BITS;

/// Where a record lies.
///
/// Packed into 64 bits, from the top: zone number (24), unit number in the zone (20), byte offset in the unit (20).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Location {
    /// The zone.
    pub zone: ZoneId,
    /// The number of the unit in its zone, counted from 0.
    pub unit: u32,
    /// The byte in the unit where the record starts.
    pub offset: u32,
}

impl Location {
    /// The place of a record.
    ///
    /// # Panics
    /// When a part is at or past its limit: [`MAX_ZONES`], [`MAX_UNITS_PER_ZONE`], [`MAX_UNIT_BYTES`].
    #[must_use]
    pub const fn new(zone: ZoneId, unit: u32, offset: u32) -> Self {
        let location = Self { zone, unit, offset };
        location.assert_limits();
        location
    }

    /// The place in 64 bits.
    ///
    /// # Panics
    /// As [`Location::new`]: a place cut short would be another record's.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.assert_limits();
        (self.zone.get() as u64) << (UNIT_BITS + OFFSET_BITS)
            | (self.unit as u64) << OFFSET_BITS
            | self.offset as u64
    }

    /// The place that was packed. Every 64 bits are a location.
    #[must_use]
    pub const fn unpack(packed: u64) -> Self {
        Self {
            zone: ZoneId::new(low_bits(packed >> (UNIT_BITS + OFFSET_BITS), ZONE_BITS)),
            unit: low_bits(packed >> OFFSET_BITS, UNIT_BITS),
            offset: low_bits(packed, OFFSET_BITS),
        }
    }

    const fn assert_limits(&self) {
        assert!(self.zone.get() < MAX_ZONES, "the zone number does not fit 24 bits");
        assert!(self.unit < MAX_UNITS_PER_ZONE, "the unit number does not fit 20 bits");
        assert!(self.offset < MAX_UNIT_BYTES, "the offset in the unit does not fit 20 bits");
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the mask leaves at most 24 bits")]
const fn low_bits(raw: u64, bits: u32) -> u32 {
    (raw & ((1 << bits) - 1)) as u32
}

/// Names a value too large for one unit: its parts are listed elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LargeId(u64);

impl LargeId {
    /// Wraps a raw number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The newest write of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Entry {
    /// A put whose record lies in one unit.
    Value {
        /// Where the record starts.
        location: Location,
        /// The value's length in bytes; at most [`MAX_VALUE_LEN`].
        value_len: u32,
    },
    /// A delete: kept while an older version of the key may still be found on the device.
    Tombstone {
        /// Where the delete's record starts.
        location: Location,
    },
    /// A put whose value lies in parts.
    Large {
        /// Which value.
        id: LargeId,
    },
}

/// Bits of a packed length that hold the length; the kind takes the two above.
pub(super) const LENGTH_BITS: u32 = 30;
/// The longest value, in bytes, of an [`Entry::Value`].
pub const MAX_VALUE_LEN: u32 = (1 << LENGTH_BITS) - 1;

pub(super) const KIND_VALUE: u32 = 0;
pub(super) const KIND_TOMBSTONE: u32 = 1;
pub(super) const KIND_LARGE: u32 = 2;

/// An [`Entry`] in 12 bytes: 8 of place, 4 of length with the kind in their two top bits.
///
/// | kind | place | length |
/// |---|---|---|
/// | 0, value | the location | the value's, in bytes |
/// | 1, tombstone | the location | 0 |
/// | 2, large | the id | 0 |
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PackedEntry {
    place: u64,
    length: u32,
}

impl PackedEntry {
    /// The entry with these two parts, or `None` where no entry has them: for parts that come from outside.
    #[must_use]
    pub const fn from_parts(place: u64, length: u32) -> Option<Self> {
        let rest = length & MAX_VALUE_LEN;
        match length >> LENGTH_BITS {
            KIND_VALUE => Some(Self { place, length }),
            KIND_TOMBSTONE | KIND_LARGE if rest == 0 => Some(Self { place, length }),
            _ => None,
        }
    }

    /// The entry with parts that [`PackedEntry::place`] and [`PackedEntry::length`] gave.
    pub(super) const fn from_own_parts(place: u64, length: u32) -> Self {
        Self { place, length }
    }

    /// The packed location, or the id of a large value.
    #[must_use]
    pub const fn place(self) -> u64 {
        self.place
    }

    /// The value's length in bytes, and the kind in the two top bits.
    #[must_use]
    pub const fn length(self) -> u32 {
        self.length
    }
}

impl From<Entry> for PackedEntry {
    /// # Panics
    /// When a value is longer than [`MAX_VALUE_LEN`] or a location is past its limits.
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Value { location, value_len } => {
                assert!(value_len <= MAX_VALUE_LEN, "a value of {value_len} bytes exceeds {MAX_VALUE_LEN}");
                Self { place: location.pack(), length: KIND_VALUE << LENGTH_BITS | value_len }
            }
            Entry::Tombstone { location } => {
                Self { place: location.pack(), length: KIND_TOMBSTONE << LENGTH_BITS }
            }
            Entry::Large { id } => Self { place: id.get(), length: KIND_LARGE << LENGTH_BITS },
        }
    }
}

impl From<PackedEntry> for Entry {
    fn from(packed: PackedEntry) -> Self {
        match packed.length >> LENGTH_BITS {
            KIND_VALUE => Self::Value {
                location: Location::unpack(packed.place),
                value_len: packed.length & MAX_VALUE_LEN,
            },
            KIND_TOMBSTONE => Self::Tombstone { location: Location::unpack(packed.place) },
            KIND_LARGE => Self::Large { id: LargeId::new(packed.place) },
            kind => unreachable!("no packed entry is made with kind {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::{
        Entry, LargeId, Location, MAX_UNIT_BYTES, MAX_UNITS_PER_ZONE, MAX_VALUE_LEN, MAX_ZONES, PackedEntry,
    };
    use crate::units::ZoneId;

    /// Numbers below a limit, the two ends among them more often than chance would have it.
    fn below(limit: u32) -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), Just(limit - 1), 0..limit]
    }

    fn locations() -> impl Strategy<Value = Location> {
        (below(MAX_ZONES), below(MAX_UNITS_PER_ZONE), below(MAX_UNIT_BYTES))
            .prop_map(|(zone, unit, offset)| Location::new(ZoneId::new(zone), unit, offset))
    }

    fn entries() -> impl Strategy<Value = Entry> {
        prop_oneof![
            (locations(), below(MAX_VALUE_LEN + 1))
                .prop_map(|(location, value_len)| Entry::Value { location, value_len }),
            locations().prop_map(|location| Entry::Tombstone { location }),
            any::<u64>().prop_map(|id| Entry::Large { id: LargeId::new(id) }),
        ]
    }

    proptest! {
        #[test]
        fn a_location_survives_packing(location in locations()) {
            prop_assert_eq!(Location::unpack(location.pack()), location);
        }

        #[test]
        fn every_64_bits_are_one_location(packed: u64) {
            prop_assert_eq!(Location::unpack(packed).pack(), packed);
        }

        #[test]
        fn an_entry_survives_packing(entry in entries()) {
            let packed = PackedEntry::from(entry);
            prop_assert_eq!(Entry::from(packed), entry);
            prop_assert_eq!(PackedEntry::from_parts(packed.place(), packed.length()), Some(packed));
        }

        #[test]
        fn parts_from_outside_are_an_entry_or_refused(place: u64, length: u32) {
            if let Some(packed) = PackedEntry::from_parts(place, length) {
                prop_assert_eq!(PackedEntry::from(Entry::from(packed)), packed);
            }
        }
    }

    #[test]
    fn parts_of_no_kind_or_with_a_length_where_none_belongs_are_refused() {
        assert_eq!(PackedEntry::from_parts(0, 3 << 30), None);
        assert_eq!(PackedEntry::from_parts(0, 1 << 30 | 1), None);
        assert_eq!(PackedEntry::from_parts(0, 2 << 30 | 1), None);
    }

    #[test]
    #[should_panic(expected = "unit number does not fit")]
    fn a_unit_number_past_its_limit_is_refused() {
        let _ = Location::new(ZoneId::new(0), MAX_UNITS_PER_ZONE, 0);
    }

    #[test]
    #[should_panic(expected = "zone number does not fit")]
    fn a_location_made_by_hand_past_its_limit_is_not_packed() {
        let _ = Location { zone: ZoneId::new(MAX_ZONES), unit: 0, offset: 0 }.pack();
    }

    #[test]
    #[should_panic(expected = "offset in the unit does not fit")]
    fn an_offset_past_its_limit_is_refused() {
        let _ = Location::new(ZoneId::new(0), 0, MAX_UNIT_BYTES);
    }

    #[test]
    #[should_panic(expected = "exceeds")]
    fn a_value_length_past_its_limit_is_refused() {
        let location = Location::new(ZoneId::new(0), 0, 0);
        let _ = PackedEntry::from(Entry::Value { location, value_len: MAX_VALUE_LEN + 1 });
    }
}
