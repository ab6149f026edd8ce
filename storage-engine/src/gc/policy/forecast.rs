//! Forecast: streams by the lifetime that a record is expected to have.
//!
//! A zone holds records of one class, so it remembers, with one number, what was expected of them. When one of them is
//! overwritten, that expectation and the life that has ended give the expectation for its successor: what a key has
//! done over many lives is carried along although nothing is kept by key. When records outlive the expectation of their
//! zone, their age is the new one. Bounds between classes are learnt ([`super::strata`]).
//!
//! Copies have streams of their own unless they are to share those of writes. Sharing makes classes finer, but mixes
//! old records with new ones, so that the age of a zone tells less of each: where popular keys change that costs more
//! than it gains.

use std::ops::Range;

use super::lifetime::{Clock, Lifetime, Placement, ZoneHistory};
use super::spread::Spread;
use super::strata::Strata;
use super::streams::{StreamId, Streams};
use super::{Policy, VictimRule};

/// More streams than this, half of them for copies, gain nothing.
pub const MOST_APART: u8 = 10;
/// More shared streams than this gain next to nothing.
pub const MOST_SHARED: u8 = 8;
/// How many lives the expectation counts for against the one that has just ended.
const LIVES_REMEMBERED: u32 = 4;

/// Streams by expected lifetime.
#[derive(Debug)]
pub struct Forecast {
    streams: Streams,
    rule: VictimRule,
    write_strata: Strata,
    /// Where copies have streams of their own.
    copy_strata: Option<Strata>,
    spread: Spread,
}

impl Forecast {
    /// With the rule for victims that suits it.
    #[must_use]
    pub fn new(streams: Streams) -> Self {
        let copy_strata = (!streams.are_shared()).then(|| Strata::new(class_count(&streams.copies())));
        let write_strata = Strata::new(class_count(&streams.writes()));
        Self { streams, rule: VictimRule::AgeForCopies, write_strata, copy_strata, spread: Spread::default() }
    }

    /// With another rule for victims.
    #[must_use]
    pub fn with_rule(self, rule: VictimRule) -> Self {
        Self { rule, ..self }
    }

    /// The stream of a class; the last one of all as long as there is nothing to separate.
    fn stream(&self, among: &Range<u8>, class: u8) -> StreamId {
        StreamId::new(if self.spread.differ() { among.start + class } else { among.end - 1 })
    }

    fn strata_for_copies(&self) -> &Strata {
        self.copy_strata.as_ref().unwrap_or(&self.write_strata)
    }
}

fn class_count(streams: &Range<u8>) -> u8 {
    streams.end - streams.start
}

/// The average of the logarithms of what was expected and of what has come.
fn updated(expected: Lifetime, life: Lifetime) -> Lifetime {
    let sum = LIVES_REMEMBERED * u32::from(expected.steps()) + u32::from(life.steps());
    Lifetime::of_steps(u16::try_from(sum / (LIVES_REMEMBERED + 1)).unwrap_or(u16::MAX))
}

impl Policy for Forecast {
    fn streams(&self) -> Streams {
        self.streams
    }

    fn place_write(&self, now: Clock, overwritten: Option<ZoneHistory>) -> Placement {
        let Some(history) = overwritten else {
            let stream = StreamId::new(self.streams.writes().end - 1);
            return Placement { stream, written_at: now, expected: Lifetime::of_writes(now.get()) };
        };
        let life = Lifetime::of_writes(now.since(history.written_at));
        let expected = updated(history.expected, life);
        self.write_strata.add(expected);
        self.spread.add(life);
        let stream = self.stream(&self.streams.writes(), self.write_strata.class(expected));
        Placement { stream, written_at: now, expected }
    }

    fn place_copy(&self, now: Clock, record: ZoneHistory) -> Placement {
        let age = Lifetime::of_writes(now.since(record.written_at));
        let expected = record.expected.max(age);
        let strata = self.strata_for_copies();
        strata.add(expected);
        let stream = self.stream(&self.streams.copies(), strata.class(expected));
        Placement { stream, written_at: record.written_at, expected }
    }

    /// Where all records die at one rate, age tells nothing that the live share does not.
    fn victim_rule(&self) -> VictimRule {
        if self.spread.differ() { self.rule } else { VictimRule::Greedy }
    }
}
