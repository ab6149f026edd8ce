//! Key latches: writes of one key pass one at a time from the choice of their seqno to their publication.
//!
//! A latch stands for all keys with its hash. It remembers the last write that waits for durability before it becomes
//! visible, so that whatever must be decided against that write can wait for it.

use std::hash::BuildHasher;

use crossbeam::utils::CachePadded;
use foldhash::fast::FixedState;

use crate::patience::LockSoon;
use crate::sync::{Mutex, MutexGuard};
use crate::units::SeqNo;

/// All latches of a store.
#[derive(Debug)]
pub(super) struct Latches {
    latches: Box<[CachePadded<Mutex<SeqNo>>]>,
    hasher: FixedState,
}

/// Latches held for some keys.
pub(super) struct Held<'a> {
    guards: Guards<'a>,
}

/// Most writes concern one key; they need no list.
enum Guards<'a> {
    One(MutexGuard<'a, SeqNo>),
    Many(Vec<MutexGuard<'a, SeqNo>>),
}

impl Latches {
    /// So many latches; `seed` decides which keys share one.
    pub(super) fn new(count: usize, seed: u64) -> Self {
        Self {
            latches: (0..count).map(|_| CachePadded::new(Mutex::new(SeqNo::ZERO))).collect(),
            hasher: FixedState::with_seed(seed),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
    fn place(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize % self.latches.len()
    }

    /// Waits for everybody who holds a latch now.
    pub(super) fn pass_all(&self) {
        self.latches.iter().for_each(|latch| drop(latch.lock()));
    }

    pub(super) fn hold_one(&self, key: &[u8]) -> Held<'_> {
        Held { guards: Guards::One(self.latches[self.place(key)].lock_soon()) }
    }

    /// Holds the latches of all keys. They are taken in their order, so that two batches never wait for each other.
    pub(super) fn hold<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Held<'_> {
        let mut places: Vec<usize> = keys.map(|key| self.place(key)).collect();
        places.sort_unstable();
        places.dedup();
        Held { guards: Guards::Many(places.into_iter().map(|place| self.latches[place].lock()).collect()) }
    }
}

impl Held<'_> {
    /// The last write under these latches that may not be visible yet.
    pub(super) fn last_pending(&self) -> SeqNo {
        match &self.guards {
            Guards::One(latch) => **latch,
            Guards::Many(latches) => latches.iter().map(|latch| **latch).max().unwrap_or(SeqNo::ZERO),
        }
    }

    /// Notes a write that becomes visible later.
    pub(super) fn set_pending(&mut self, seqno: SeqNo) {
        match &mut self.guards {
            Guards::One(latch) => **latch = seqno,
            Guards::Many(latches) => latches.iter_mut().for_each(|latch| **latch = seqno),
        }
    }
}
