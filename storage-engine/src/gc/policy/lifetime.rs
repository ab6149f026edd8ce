//! Ages and lifetimes, and how a zone sums up those of its records.
//!
//! Time is counted in writes of users, that is in seqnos: copies do not make anything older, and a record tells by its
//! seqno when it was written. Lifetimes are kept as logarithms, for what matters between them is their ratio.

use super::streams::StreamId;

/// A moment: how many writes the store had had, which is the seqno of the last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Clock(u64);

impl Clock {
    /// The moment after so many writes.
    #[must_use]
    pub const fn new(write_count: u64) -> Self {
        Self(write_count)
    }

    /// The writes until then.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The time that has passed since, in writes; 0 for a moment yet to come.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long a record lives or is expected to live: the logarithm of a time in writes, in 256ths of an octave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lifetime(u16);

impl Lifetime {
    /// Steps of an octave.
    pub const STEPS: u16 = 256;
    /// No record lives longer.
    pub const LONGEST: Self = Self(64 * Self::STEPS);

    /// That of a record that lives while so many writes are made.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "the logarithm is kept with fewer bits")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 64 octaves fit")]
    pub fn of_writes(writes: u64) -> Self {
        Self(((writes.max(1) as f64).log2() * f64::from(Self::STEPS)) as u16).min(Self::LONGEST)
    }

    /// The one with this many steps.
    #[must_use]
    pub fn of_steps(steps: u16) -> Self {
        Self(steps).min(Self::LONGEST)
    }

    /// How many writes that is, about.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "too large a number saturates"
    )]
    pub fn writes(self) -> u64 {
        (f64::from(self.0) / f64::from(Self::STEPS)).exp2() as u64
    }

    /// 256ths of an octave above one write.
    #[must_use]
    pub const fn steps(self) -> u16 {
        self.0
    }
}

/// What the policy says of a record that is to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The stream to append to.
    pub stream: StreamId,
    /// When a user wrote it, as far as known.
    pub written_at: Clock,
    /// How long it is expected to live.
    pub expected: Lifetime,
}

/// All that is known of the records of a zone: 16 bytes.
///
/// The zone's stream adds each record's placement to it; it does not change any more when the zone is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneHistory {
    /// The stream that filled the zone.
    pub stream: StreamId,
    /// When users wrote its records, on average.
    pub written_at: Clock,
    /// How long its records are expected to live, on average over the logarithms.
    pub expected: Lifetime,
}

/// Sums up the placements of the records of a zone while it is filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HistorySum {
    first: Option<Placement>,
    bytes: u64,
    /// Sums, weighted with the bytes; 128 bits hold them for any zone.
    written_at: u128,
    expected: u128,
}

impl HistorySum {
    /// Adds a record of so many bytes.
    pub fn add(&mut self, placement: Placement, bytes: u64) {
        self.first.get_or_insert(placement);
        self.bytes += bytes;
        self.written_at += u128::from(placement.written_at.get()) * u128::from(bytes);
        self.expected += u128::from(placement.expected.steps()) * u128::from(bytes);
    }

    /// The history of the zone so far; `None` while there is none.
    #[must_use]
    pub fn history(&self) -> Option<ZoneHistory> {
        let first = self.first?;
        let bytes = u128::from(self.bytes.max(1));
        // Averages are no larger than the largest term, so they fit.
        let written_at = u64::try_from(self.written_at / bytes).unwrap_or(u64::MAX);
        let expected = u16::try_from(self.expected / bytes).unwrap_or(u16::MAX);
        Some(ZoneHistory {
            stream: first.stream,
            written_at: Clock::new(written_at),
            expected: Lifetime::of_steps(expected),
        })
    }
}
