//! Walking the index up and down while others write.
//!
//! A walk goes in visits. A visit holds the directory and one chunk for reading, copies what a few leaves hold, each
//! under its own lock, and lets go; the next visit looks up the separator where this one stopped. Leaves are visited
//! in order of their ranges, and what a visit has covered lies wholly on one side of where the next begins: so the
//! order is strict, nothing comes twice, and a key present throughout is found, wherever splits and joins have moved
//! it meanwhile.

use std::ops::Bound;

use super::separators::{Probe, Separators};
use super::{NOT_POISONED, OrderedIndex};
use crate::index::Entry;

impl OrderedIndex {
    /// Appends up to `limit` entries to `into`, in ascending order from the bound on.
    ///
    /// Others may write meanwhile: each entry given was present at some time during the call, and a key present
    /// throughout is given once.
    pub fn ascend(&self, from: Bound<&[u8]>, limit: usize, into: &mut Vec<(Box<[u8]>, Entry)>) {
        let goal = into.len().saturating_add(limit);
        let mut next = self.visit_upwards(from, goal, into);
        while let Some(separator) = next {
            next = self.visit_upwards(Bound::Included(&separator), goal, into);
        }
    }

    /// Appends up to `limit` entries to `into`, in descending order from the bound on.
    ///
    /// Others may write meanwhile: each entry given was present at some time during the call, and a key present
    /// throughout is given once.
    pub fn descend(&self, below: Bound<&[u8]>, limit: usize, into: &mut Vec<(Box<[u8]>, Entry)>) {
        let goal = into.len().saturating_add(limit);
        let mut next = self.visit_downwards(below, goal, into);
        while let Some(separator) = next {
            next = self.visit_downwards(Bound::Excluded(&separator), goal, into);
        }
    }

    /// Gives the separator to go on from, or `None` when done.
    pub(super) fn visit_upwards(
        &self,
        from: Bound<&[u8]>,
        goal: usize,
        into: &mut Vec<(Box<[u8]>, Entry)>,
    ) -> Option<Vec<u8>> {
        let directory = self.read_directory();
        let chunk_at = first_range(&directory.separators, from);
        let chunk = directory.chunks[chunk_at].read().expect(NOT_POISONED);
        let first = first_range(&chunk.separators, from);
        let end = chunk.leaves.len().min(first + self.shape.visit_leaves);
        for leaf in &chunk.leaves[first..end] {
            leaf.read().ascend(from, goal, into);
            if into.len() >= goal {
                return None;
            }
        }
        if end < chunk.leaves.len() {
            return Some(chunk.separators.key(end));
        }
        (chunk_at + 1 < directory.chunks.len()).then(|| directory.separators.key(chunk_at + 1))
    }

    /// Gives the separator to go on below, or `None` when done.
    pub(super) fn visit_downwards(
        &self,
        below: Bound<&[u8]>,
        goal: usize,
        into: &mut Vec<(Box<[u8]>, Entry)>,
    ) -> Option<Vec<u8>> {
        let directory = self.read_directory();
        let chunk_at = last_range(&directory.separators, below);
        let chunk = directory.chunks[chunk_at].read().expect(NOT_POISONED);
        let last = last_range(&chunk.separators, below);
        let end = (last + 1).saturating_sub(self.shape.visit_leaves);
        for leaf in chunk.leaves[end..=last].iter().rev() {
            leaf.read().descend(below, goal, into);
            if into.len() >= goal {
                return None;
            }
        }
        if end > 0 {
            return Some(chunk.separators.key(end));
        }
        (chunk_at > 0).then(|| directory.separators.key(chunk_at))
    }
}

/// The range that holds the smallest keys within the bound.
pub(super) fn first_range(separators: &Separators, from: Bound<&[u8]>) -> usize {
    match from {
        Bound::Unbounded => 0,
        Bound::Included(key) | Bound::Excluded(key) => separators.range_of(&Probe::new(key)),
    }
}

/// The range that holds the largest keys within the bound.
fn last_range(separators: &Separators, below: Bound<&[u8]>) -> usize {
    match below {
        Bound::Unbounded => separators.len() - 1,
        Bound::Included(key) => separators.range_of(&Probe::new(key)),
        Bound::Excluded(key) => separators.range_below(&Probe::new(key)),
    }
}
