//! SepBIT: two classes of writes by the lifetime of what is overwritten, four of copies by age.
//!
//! Wang, Li, Lee, Ouyang, Shi and Huang, "Separating data via block invalidation time inference for write amplification
//! reduction in log-structured storage", FAST '22. A write that ends a life shorter than the average is expected to be
//! short-lived itself. What has survived in a zone of short-lived writes has a class of copies for itself; the others
//! go by age, 4 and 16 times that average being the bounds. The average is that of the ages of the last 16 zones of
//! short-lived writes when they were collected. Lifetimes are known by zone.
//!
//! With fewer streams the neighbouring classes of copies are one; with two, writes are one class too.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::lifetime::{Clock, Lifetime, Placement, ZoneHistory};
use super::streams::{StreamId, Streams};
use super::{Policy, VictimRule};

/// Zones over whose ages the average is taken.
const ZONES_AVERAGED: u64 = 16;
/// The stream of writes that are expected to be short-lived.
const SHORT_LIVED: StreamId = StreamId::new(0);
/// Classes of copies in the paper.
const COPY_CLASSES: u8 = 4;

/// SepBIT.
#[derive(Debug)]
pub struct SepBit {
    streams: Streams,
    rule: VictimRule,
    average_age: AtomicU64,
    sum: AtomicU64,
    zone_count: AtomicU64,
}

impl SepBit {
    /// With cost-benefit, as published.
    #[must_use]
    pub const fn new(streams: Streams) -> Self {
        Self {
            streams,
            rule: VictimRule::CostBenefit,
            average_age: AtomicU64::new(u64::MAX),
            sum: AtomicU64::new(0),
            zone_count: AtomicU64::new(0),
        }
    }

    /// With another rule for victims.
    #[must_use]
    pub const fn with_rule(self, rule: VictimRule) -> Self {
        Self { rule, ..self }
    }

    /// The streams that it can make use of where there is room for so many.
    #[must_use]
    pub fn streams_within(room: u8) -> Streams {
        let writes = if room > 2 { 2 } else { 1 };
        Streams::apart(writes, (room - writes).min(COPY_CLASSES))
    }

    fn learn(&self, age: u64) {
        let sum = self.sum.load(Relaxed).saturating_add(age);
        let zone_count = self.zone_count.load(Relaxed) + 1;
        if zone_count >= ZONES_AVERAGED {
            self.average_age.store(sum / zone_count, Relaxed);
        }
        let begins_anew = zone_count >= ZONES_AVERAGED;
        self.sum.store(if begins_anew { 0 } else { sum }, Relaxed);
        self.zone_count.store(if begins_anew { 0 } else { zone_count }, Relaxed);
    }

    fn class_of_age(&self, age: u64) -> u8 {
        let average = self.average_age.load(Relaxed);
        if age < average.saturating_mul(4) {
            1
        } else if age < average.saturating_mul(16) {
            2
        } else {
            3
        }
    }
}

impl Policy for SepBit {
    fn streams(&self) -> Streams {
        self.streams
    }

    fn place_write(&self, now: Clock, overwritten: Option<ZoneHistory>) -> Placement {
        let life = overwritten.map_or(u64::MAX, |history| now.since(history.written_at));
        let is_short_lived = life < self.average_age.load(Relaxed);
        let stream = if is_short_lived { SHORT_LIVED } else { StreamId::new(self.streams.writes().end - 1) };
        Placement { stream, written_at: now, expected: Lifetime::of_writes(life) }
    }

    fn note_victim(&self, now: Clock, victim: ZoneHistory) {
        if victim.stream == SHORT_LIVED {
            self.learn(now.since(victim.written_at));
        }
    }

    fn place_copy(&self, now: Clock, record: ZoneHistory) -> Placement {
        let age = now.since(record.written_at);
        let class = if record.stream == SHORT_LIVED { 0 } else { self.class_of_age(age) };
        let copies = self.streams.copies();
        let stream = StreamId::new((copies.start + class).min(copies.end - 1));
        Placement { stream, written_at: record.written_at, expected: Lifetime::of_writes(age) }
    }

    fn victim_rule(&self) -> VictimRule {
        self.rule
    }
}
