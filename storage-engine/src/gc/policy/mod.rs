//! Where records go and which zone to empty next. Pure: no I/O, no clock, no randomness, no threads.
//!
//! A policy answers three questions: to which stream a write goes ([`Policy::place_write`]), to which the copy of a
//! live record goes ([`Policy::place_copy`]), and which zone is the next victim ([`Policy::choose`]). What it may know
//! of a record is the [`ZoneHistory`] of the zone that it lies in, and of one that is being copied its seqno. Nothing
//! is kept by key.
//!
//! - [`victim`]: the formulas by which victims are chosen.
//! - [`lifetime`]: ages and lifetimes, and how a zone sums them up.
//! - [`spread`]: whether there is anything to separate.
//! - [`strata`]: where one class of lifetimes ends and the next begins.
//! - [`streams`]: how many streams there are, within the device's active-zone limit.
//! - [`narrowed`]: fewer streams while a store is small.
//! - [`plain`], [`sepbit`], [`forecast`]: the policies.
//!
//! Invariants: a zone that would give nothing back is never chosen; a stream that a policy names is below the count in
//! its [`Streams`]; every function is total, whatever the ages are. What a policy learns is in atomics, each of which
//! may be lost or late without harm, so that writers share it without a lock.

pub mod forecast;
pub mod lifetime;
pub mod narrowed;
pub mod plain;
#[cfg(any(test, feature = "testing"))]
pub mod scattered;
pub mod sepbit;
pub mod spread;
pub mod strata;
pub mod streams;
pub mod victim;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::str::FromStr;

pub use forecast::Forecast;
pub use lifetime::{Clock, Lifetime, Placement, ZoneHistory};
pub use narrowed::Narrowed;
pub use plain::Plain;
pub use sepbit::SepBit;
pub use streams::{StreamId, Streams, TooFewActiveZones};
pub use victim::{Candidate, VictimRule};

use crate::units::ZoneId;

/// Places writes and copies, and chooses victims.
pub trait Policy: Send + Sync + Debug {
    /// The streams that it places into.
    fn streams(&self) -> Streams;

    /// Where a write goes that takes the place of a record in a zone with this history; `None` for a new key.
    ///
    /// Called once for each write: policies learn from it.
    fn place_write(&self, now: Clock, overwritten: Option<ZoneHistory>) -> Placement;

    /// Where the copy of a live record goes. `record` is the history of its zone with, where it is known, the record's
    /// own time of writing: its seqno tells.
    ///
    /// Called once for each copy: policies learn from it.
    fn place_copy(&self, now: Clock, record: ZoneHistory) -> Placement;

    /// A zone has been chosen and is about to be emptied. Called before its records are copied, also when there are none.
    fn note_victim(&self, _now: Clock, _victim: ZoneHistory) {}

    /// By which formula victims are compared.
    fn victim_rule(&self) -> VictimRule;

    /// The zone to empty next, or `None` when emptying none would gain enough.
    fn choose(&self, candidates: &[Candidate]) -> Option<ZoneId> {
        self.victim_rule().choose(candidates.iter().copied())
    }
}

/// The policies there are, by the names they have in options.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum PolicyKind {
    /// The emptiest zone; writes and copies in one stream. In a store, as with every policy, copies have zones of their own.
    Greedy,
    /// Cost-benefit; writes and copies in one stream.
    CostBenefit,
    /// Cost-benefit; copies in a stream of their own.
    SeparateCopies,
    /// SepBIT: two streams for writes, four for copies.
    SepBit,
    /// Streams by expected lifetime, those for writes apart from those for copies.
    #[default]
    Forecast,
    /// The same, each stream for writes and copies alike: better as long as it stays the same keys that are popular.
    ForecastShared,
}

impl PolicyKind {
    /// All of them, the simplest first.
    pub const ALL: [Self; 6] = [
        Self::Greedy,
        Self::CostBenefit,
        Self::SeparateCopies,
        Self::SepBit,
        Self::Forecast,
        Self::ForecastShared,
    ];

    /// Its name in options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greedy => "greedy",
            Self::CostBenefit => "cost-benefit",
            Self::SeparateCopies => "separate-copies",
            Self::SepBit => "sepbit",
            Self::Forecast => "forecast",
            Self::ForecastShared => "forecast-shared",
        }
    }

    /// The policy, with as many streams as a device of so many zones lets be active at once.
    ///
    /// `active_limit` counts the zone of the metadata too; `None` is a device without such a limit.
    ///
    /// # Errors
    /// [`TooFewActiveZones`] when there are not three.
    pub fn within(
        self,
        active_limit: Option<u32>,
        zone_count: u32,
    ) -> Result<Box<dyn Policy>, TooFewActiveZones> {
        Ok(self.with_streams(streams::room(active_limit, zone_count)?))
    }

    /// The policy, with at most so many streams, or the fewest that it works with.
    #[must_use]
    pub fn with_streams(self, most: u8) -> Box<dyn Policy> {
        match self {
            Self::Greedy => Box::new(Plain::new(Streams::shared(1), VictimRule::Greedy)),
            Self::CostBenefit => Box::new(Plain::new(Streams::shared(1), VictimRule::CostBenefit)),
            Self::SeparateCopies => Box::new(Plain::new(Streams::apart(1, 1), VictimRule::CostBenefit)),
            Self::SepBit => Box::new(SepBit::new(SepBit::streams_within(most.max(2)))),
            Self::Forecast => Box::new(Forecast::new(Streams::split(most.min(forecast::MOST_APART)))),
            Self::ForecastShared => Box::new(Forecast::new(Streams::shared(most.min(forecast::MOST_SHARED)))),
        }
    }
}

/// A name that no policy has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no policy is called {0:?}; there are greedy, cost-benefit, separate-copies, sepbit, forecast and forecast-shared"
)]
pub struct UnknownPolicy(String);

impl std::fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}
