//! No classes: one stream for writes; copies go to it too or to one of their own.

use super::lifetime::{Clock, Lifetime, Placement, ZoneHistory};
use super::streams::{StreamId, Streams};
use super::{Policy, VictimRule};

/// Greedy or cost-benefit, with or without separated copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain {
    streams: Streams,
    rule: VictimRule,
}

impl Plain {
    /// The first stream for writes and the first for copies are used, and no others.
    #[must_use]
    pub const fn new(streams: Streams, rule: VictimRule) -> Self {
        Self { streams, rule }
    }
}

impl Policy for Plain {
    fn streams(&self) -> Streams {
        self.streams
    }

    fn place_write(&self, now: Clock, _overwritten: Option<ZoneHistory>) -> Placement {
        let stream = StreamId::new(self.streams.writes().start);
        Placement { stream, written_at: now, expected: Lifetime::LONGEST }
    }

    fn place_copy(&self, _now: Clock, record: ZoneHistory) -> Placement {
        let stream = StreamId::new(self.streams.copies().start);
        Placement { stream, written_at: record.written_at, expected: record.expected }
    }

    fn victim_rule(&self) -> VictimRule {
        self.rule
    }
}
