//! For simulations: records go to streams by turns, whatever they are. No other policy mixes streams as thoroughly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::lifetime::{Clock, Lifetime, Placement, ZoneHistory};
use super::streams::{StreamId, Streams};
use super::{Policy, VictimRule};

/// Places at random, the same each time.
#[derive(Debug)]
pub struct Scattered {
    streams: Streams,
    placed: AtomicU64,
}

impl Scattered {
    /// Into these streams.
    #[must_use]
    pub const fn new(streams: Streams) -> Self {
        Self { streams, placed: AtomicU64::new(0) }
    }

    fn place(&self, among: std::ops::Range<u8>, written_at: Clock) -> Placement {
        let number = self.placed.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let offset = u8::try_from(number % u64::from(among.end - among.start)).expect("few streams");
        let expected = Lifetime::of_writes(number);
        Placement { stream: StreamId::new(among.start + offset), written_at, expected }
    }
}

impl Policy for Scattered {
    fn streams(&self) -> Streams {
        self.streams
    }

    fn place_write(&self, now: Clock, _overwritten: Option<ZoneHistory>) -> Placement {
        self.place(self.streams.writes(), now)
    }

    fn place_copy(&self, _now: Clock, record: ZoneHistory) -> Placement {
        self.place(self.streams.copies(), record.written_at)
    }

    fn victim_rule(&self) -> VictimRule {
        VictimRule::default()
    }
}
