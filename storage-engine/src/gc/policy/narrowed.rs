//! Fewer streams than a policy has, while a store is too small for all of them: each keeps half a zone empty.
//!
//! Neighbouring classes share a stream then. The last stream of each kind is always in use: new keys go there.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::lifetime::{Clock, Placement, ZoneHistory};
use super::streams::{StreamId, Streams, ZONES_A_STREAM};
use super::{Policy, VictimRule};

/// A policy, some of whose streams may be left out.
#[derive(Debug)]
pub struct Narrowed {
    policy: Box<dyn Policy>,
    /// Streams that may be used in all.
    room: AtomicU8,
}

impl Narrowed {
    /// With all streams in use.
    #[must_use]
    pub fn new(policy: Box<dyn Policy>) -> Self {
        Self { policy, room: AtomicU8::new(u8::MAX) }
    }

    /// Uses as many streams as a store of so many zones gains from.
    pub fn fit(&self, zone_count: u64) {
        let room = u8::try_from(zone_count / u64::from(ZONES_A_STREAM)).unwrap_or(u8::MAX);
        self.room.store(room, Relaxed);
    }

    /// How many streams are in use.
    #[must_use]
    pub fn used_count(&self) -> u8 {
        let (writes, copies) = (self.streams().writes(), self.streams().copies());
        self.used(&writes) + self.used(&copies)
    }

    /// How many of the streams of a kind are in use: half of the room each, writes having the odd one.
    fn used(&self, of: &Range<u8>) -> u8 {
        let room = self.room.load(Relaxed);
        let share = if of.start == 0 { room.div_ceil(2) } else { room / 2 };
        share.clamp(1, of.end - of.start)
    }

    fn narrow(&self, placement: Placement, among: &Range<u8>) -> Placement {
        let (count, used) = (among.end - among.start, self.used(among));
        let class = u32::from(placement.stream.get() - among.start);
        let class = u8::try_from(class * u32::from(used) / u32::from(count)).expect("below the count");
        Placement { stream: StreamId::new(among.end - used + class), ..placement }
    }
}

impl Policy for Narrowed {
    fn streams(&self) -> Streams {
        self.policy.streams()
    }

    fn place_write(&self, now: Clock, overwritten: Option<ZoneHistory>) -> Placement {
        self.narrow(self.policy.place_write(now, overwritten), &self.streams().writes())
    }

    fn place_copy(&self, now: Clock, record: ZoneHistory) -> Placement {
        self.narrow(self.policy.place_copy(now, record), &self.streams().copies())
    }

    fn note_victim(&self, now: Clock, victim: ZoneHistory) {
        self.policy.note_victim(now, victim);
    }

    fn victim_rule(&self) -> VictimRule {
        self.policy.victim_rule()
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Narrowed, Policy};
    use crate::gc::policy::PolicyKind;
    use crate::gc::policy::scattered::Scattered;
    use crate::gc::policy::{Lifetime, StreamId, ZoneHistory};

    fn used(policy: &Narrowed) -> (Vec<u8>, Vec<u8>) {
        let record = ZoneHistory {
            stream: StreamId::new(0),
            written_at: Clock::default(),
            expected: Lifetime::LONGEST,
        };
        let sorted = |place: &dyn Fn() -> u8| {
            let mut streams: Vec<u8> = (0..1000).map(|_| place()).collect();
            streams.sort_unstable();
            streams.dedup();
            streams
        };
        let writes = sorted(&|| policy.place_write(Clock::default(), None).stream.get());
        (writes, sorted(&|| policy.place_copy(Clock::default(), record).stream.get()))
    }

    #[test]
    fn a_store_of_few_zones_uses_the_last_streams_only_and_a_larger_one_all() {
        let streams = PolicyKind::Forecast.with_streams(10).streams();
        let policy = Narrowed::new(Box::new(Scattered::new(streams)));
        for (zones, writes, copies) in
            [(0, 4..5, 9..10), (39, 4..5, 9..10), (60, 3..5, 9..10), (100, 2..5, 8..10), (200, 0..5, 5..10)]
        {
            policy.fit(zones);
            assert_eq!(used(&policy), (writes.collect(), copies.collect()), "{zones} zones");
        }
    }
}
