//! How many streams there are, and which of them take writes and which copies.

use std::ops::Range;

/// The number of a stream, counted from 0. Below [`Streams::MOST`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamId(u8);

impl StreamId {
    /// The stream with this number.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Its number, as an index into a table with one row a stream.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The streams of a policy: those for writes come first; those for copies follow, or are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Streams {
    writes: u8,
    copies: u8,
    shared: bool,
}

/// Active zones that a store keeps for its metadata.
pub const METADATA_ZONES: u32 = 1;
/// Below so many active zones a store does not work: one for metadata, one for writes, one for copies.
pub const LEAST_ACTIVE_ZONES: u32 = METADATA_ZONES + 2;
/// A device has at least so many zones for each stream: a half-filled zone a stream must not cost what streams gain.
pub const ZONES_A_STREAM: u32 = 20;

/// The device lets too few zones be active at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the device lets {limit} zones be active at once; a store needs {LEAST_ACTIVE_ZONES}: one each for metadata, writes \
     and copies"
)]
pub struct TooFewActiveZones {
    /// What the device allows.
    pub limit: u32,
}

/// How many streams a store on such a device can have. At least two, at most [`Streams::MOST`].
///
/// # Errors
/// [`TooFewActiveZones`].
pub fn room(active_limit: Option<u32>, zone_count: u32) -> Result<u8, TooFewActiveZones> {
    let limit = active_limit.unwrap_or(u32::MAX);
    if limit < LEAST_ACTIVE_ZONES {
        return Err(TooFewActiveZones { limit });
    }
    let room = (limit - METADATA_ZONES).min((zone_count / ZONES_A_STREAM).max(2));
    Ok(u8::try_from(room).unwrap_or(u8::MAX).min(Streams::MOST))
}

impl Streams {
    /// No policy has more.
    pub const MOST: u8 = 12;

    /// Streams that take writes and copies alike; at least one.
    #[must_use]
    pub fn shared(count: u8) -> Self {
        let count = count.clamp(1, Self::MOST);
        Self { writes: count, copies: count, shared: true }
    }

    /// Streams for writes and others for copies; at least one of each.
    #[must_use]
    pub fn apart(writes: u8, copies: u8) -> Self {
        let writes = writes.clamp(1, Self::MOST - 1);
        Self { writes, copies: copies.clamp(1, Self::MOST - writes), shared: false }
    }

    /// So many in all, those for writes apart from those for copies. Writes gain more from an odd one.
    #[must_use]
    pub fn split(count: u8) -> Self {
        Self::apart(count.div_ceil(2), count / 2)
    }

    /// How many there are in all.
    #[must_use]
    pub const fn count(self) -> u8 {
        if self.shared { self.writes } else { self.writes + self.copies }
    }

    /// The numbers of those for writes.
    #[must_use]
    pub const fn writes(self) -> Range<u8> {
        0..self.writes
    }

    /// The numbers of those for copies.
    #[must_use]
    pub const fn copies(self) -> Range<u8> {
        if self.shared { 0..self.writes } else { self.writes..self.writes + self.copies }
    }

    /// Whether the same streams take writes and copies.
    #[must_use]
    pub const fn are_shared(self) -> bool {
        self.shared
    }
}
