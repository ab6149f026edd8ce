//! Key latches: writes of one key pass one at a time from the choice of their seqno to their publication.
//!
//! A latch stands for all keys with its hash. Where the index cannot tell keys with one tag from each other, they have one
//! latch: whose the tag is must not change while a write is decided. It remembers the last write that waits for durability
//! before it becomes visible, so that whatever must be decided against that write can wait for it; and of such an index
//! which keys are written so, since those with the tag of another one must wait for it.

use std::hash::BuildHasher;

use crossbeam::utils::CachePadded;
use foldhash::fast::FixedState;

use crate::fault::{self, Fault};
use crate::index::Index;
use crate::patience::LockSoon;
use crate::sync::{Mutex, MutexGuard};
use crate::units::SeqNo;

/// All latches of a store.
#[derive(Debug)]
pub(super) struct Latches {
    latches: Box<[CachePadded<Mutex<Pending>>]>,
    hasher: FixedState,
}

/// What has been logged under a latch and may not be visible yet.
#[derive(Debug, Default)]
struct Pending {
    last: SeqNo,
    /// Of a hash index each write that becomes visible later.
    writes: Vec<(SeqNo, Box<[u8]>)>,
}

/// Latches held for some keys.
pub(super) struct Held<'a> {
    latches: &'a Latches,
    index: &'a Index,
    guards: Guards<'a>,
}

/// Most writes concern one key; they need no list.
enum Guards<'a> {
    One(MutexGuard<'a, Pending>),
    /// In the order of their places.
    Many(Vec<(usize, MutexGuard<'a, Pending>)>),
}

impl Latches {
    /// So many latches; `seed` decides which keys share one.
    pub(super) fn new(count: usize, seed: u64) -> Self {
        Self {
            latches: (0..count).map(|_| CachePadded::new(Mutex::default())).collect(),
            hasher: FixedState::with_seed(seed),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
    fn place(&self, key: &[u8], index: &Index) -> usize {
        let hash = match index {
            Index::Hash(index) if !fault::is_on(Fault::LatchKeysOfOneTagApart) => index.tag(key).get(),
            _ => self.hasher.hash_one(key),
        };
        hash as usize % self.latches.len()
    }

    /// Waits for everybody who holds a latch now.
    pub(super) fn pass_all(&self) {
        self.latches.iter().for_each(|latch| drop(latch.lock()));
    }

    pub(super) fn hold_one<'a>(&'a self, key: &[u8], index: &'a Index) -> Held<'a> {
        let guards = Guards::One(self.latches[self.place(key, index)].lock_soon());
        Held { latches: self, index, guards }
    }

    /// Holds the latches of all keys. They are taken in their order, so that two batches never wait for each other.
    pub(super) fn hold<'a, 'k>(&'a self, keys: impl Iterator<Item = &'k [u8]>, index: &'a Index) -> Held<'a> {
        let mut places: Vec<usize> = keys.map(|key| self.place(key, index)).collect();
        places.sort_unstable();
        places.dedup();
        let guards = places.into_iter().map(|place| (place, self.latches[place].lock())).collect();
        Held { latches: self, index, guards: Guards::Many(guards) }
    }
}

impl Held<'_> {
    /// The last write under these latches that may not be visible yet.
    pub(super) fn last_pending(&self) -> SeqNo {
        match &self.guards {
            Guards::One(latch) => latch.last,
            Guards::Many(latches) => latches.iter().map(|(_, latch)| latch.last).max().unwrap_or(SeqNo::ZERO),
        }
    }

    /// The last write after `durable` of another key with the tag of one of these: it decides whose the tag is.
    pub(super) fn last_of_one_tag<'k>(&self, keys: impl Iterator<Item = &'k [u8]>, durable: SeqNo) -> SeqNo {
        let Index::Hash(index) = self.index else { return SeqNo::ZERO };
        if self.last_pending() <= durable || fault::is_on(Fault::OvertakeWritesOfOneTag) {
            return SeqNo::ZERO;
        }
        let mut last = SeqNo::ZERO;
        for key in keys {
            let writes = self.pending_of(key).writes.iter();
            let others = writes.filter(|(seqno, other)| *seqno > durable && **other != *key);
            let of_tag = others.filter(|(_, other)| index.tag(other) == index.tag(key));
            last = of_tag.map(|(seqno, _)| *seqno).fold(last, Ord::max);
        }
        last
    }

    /// Notes a write of these keys that becomes visible later. All up to `durable` is.
    pub(super) fn set_pending<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]>,
        (seqno, durable): (SeqNo, SeqNo),
    ) {
        match &mut self.guards {
            Guards::One(latch) => latch.last = seqno,
            Guards::Many(latches) => latches.iter_mut().for_each(|(_, latch)| latch.last = seqno),
        }
        if let Index::Hash(_) = self.index {
            for key in keys {
                let writes = &mut self.pending_of_mut(key).writes;
                writes.retain(|(other, _)| *other > durable);
                writes.push((seqno, key.into()));
            }
        }
    }

    fn pending_of(&self, key: &[u8]) -> &Pending {
        match &self.guards {
            Guards::One(latch) => latch,
            Guards::Many(latches) => &latches[self.position(latches, key)].1,
        }
    }

    fn pending_of_mut(&mut self, key: &[u8]) -> &mut Pending {
        let at = match &self.guards {
            Guards::One(_) => 0,
            Guards::Many(latches) => self.position(latches, key),
        };
        match &mut self.guards {
            Guards::One(latch) => latch,
            Guards::Many(latches) => &mut latches[at].1,
        }
    }

    fn position(&self, latches: &[(usize, MutexGuard<'_, Pending>)], key: &[u8]) -> usize {
        let place = self.latches.place(key, self.index);
        latches.binary_search_by_key(&place, |(place, _)| *place).expect("its latch is held")
    }
}
