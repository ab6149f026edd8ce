//! Up to which write a zone's dead records were superseded: so much must be on stable media before the zone is reset.
//!
//! Were everything written until then made durable instead, each collection would end the units that are being filled, and
//! every unit ends in a block that is partly empty. A zone's last record has mostly died long before.
//!
//! Time is counted in *rounds*: each collection begins one. A zone remembers the round in which a record of it died last, and
//! this the last seqno there was when each of the latest rounds began. Invariant: what died before a round began was superseded
//! by writes up to the seqno noted for it, because the seqno is looked up when an epoch has passed since.
//!
//! Threading: writers note rounds in the ledger; only the collector comes here.

use std::collections::VecDeque;

use crate::sync::Mutex;
use crate::units::SeqNo;

/// Rounds that are told apart. What died before the earliest of them counts as having died in it.
const ROUNDS: usize = 64;

/// The seqnos at which the latest rounds began, earliest first.
#[derive(Debug, Default)]
pub struct Superseded {
    begun: Mutex<VecDeque<(u64, SeqNo)>>,
}

impl Superseded {
    /// A round has begun and an epoch has passed since; `last` is the last seqno there is.
    pub(super) fn note(&self, round: u64, last: SeqNo) {
        let mut begun = self.begun.lock();
        if begun.len() == ROUNDS {
            begun.pop_front();
        }
        begun.push_back((round, last));
    }

    /// The write up to which records were superseded that died no later than in `round`; `last` is the last seqno there is.
    pub(super) fn up_to(&self, round: u64, last: SeqNo) -> SeqNo {
        let begun = self.begun.lock();
        let next = begun.iter().find(|(later, _)| *later > round);
        next.map_or(last, |&(_, seqno)| seqno)
    }
}

#[cfg(test)]
mod tests {
    use super::{ROUNDS, SeqNo, Superseded};

    #[test]
    fn what_died_in_a_round_was_superseded_by_writes_up_to_the_beginning_of_the_next() {
        let superseded = Superseded::default();
        let up_to = |round| superseded.up_to(round, SeqNo::new(1000)).get();
        assert_eq!(up_to(0), 1000, "nothing is known yet");
        (2..5).for_each(|round| superseded.note(round, SeqNo::new(round * 100)));
        assert_eq!([0, 1, 2, 3].map(up_to), [200, 200, 300, 400]);
        assert_eq!(up_to(4), 1000, "that round goes on");
        (5..5 + ROUNDS as u64).for_each(|round| superseded.note(round, SeqNo::new(round * 100)));
        assert_eq!(up_to(2), 500, "the earliest that is known is later: more than needed, never less");
    }
}
