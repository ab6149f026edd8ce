//! The way from a key to its leaf: chunks of neighbouring leaves, and a directory of chunks.
//!
//! Invariants: every chunk has a leaf and the directory has a chunk; every key of a leaf lies in the range that the
//! separators give that leaf. A first separator decides nothing: the first leaf of a chunk takes all keys that the
//! directory sends to the chunk, and the first chunk all keys below the second.
//!
//! Threading: locks are taken from the top: directory, chunk, leaf, and held until the leaf is done with. So a leaf
//! found is the key's leaf for as long as it is held, and nobody waits in a circle. Leaves come and go under their
//! chunk's write lock; chunks come and go under the directory's.

use super::leaf::Leaf;
use super::memory::{Tally, reserve_one, vec_bytes};
use super::separators::{Probe, Separators};
use super::{NOT_POISONED, Shape};
use crate::sync::{RwLock, ShardedLock};

/// Some hundreds of neighbouring leaves.
pub(super) struct Chunk {
    pub(super) separators: Separators,
    pub(super) leaves: Vec<RwLock<Leaf>>,
}

/// Whether a chunk did what was asked of it, or needs the directory to do something first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkOutcome {
    Done,
    NeedsDirectory,
}

impl Chunk {
    /// A chunk of one leaf that begins at `separator`.
    pub(super) fn with_leaf(separator: &[u8], leaf: Leaf) -> Self {
        let mut chunk = Self { separators: Separators::default(), leaves: Vec::new() };
        chunk.push(separator, leaf);
        chunk
    }

    pub(super) fn push(&mut self, separator: &[u8], leaf: Leaf) {
        self.insert(self.leaves.len(), separator, leaf);
    }

    pub(super) fn leaf_of(&self, probe: &Probe<'_>) -> &RwLock<Leaf> {
        &self.leaves[self.separators.range_of(probe)]
    }

    /// Splits the leaf of a key that does not fit, if it still does not.
    pub(super) fn make_room(&mut self, key: &[u8], shape: &Shape, tally: &Tally) -> ChunkOutcome {
        if self.leaves.len() >= shape.chunk_leaves {
            return ChunkOutcome::NeedsDirectory;
        }
        let at = self.separators.range_of(&Probe::new(key));
        let before = self.array_bytes() + self.leaf_bytes(at);
        if let Some((separator, upper)) = self.leaves[at].get_mut().split_for(key, shape) {
            self.insert(at + 1, &separator, upper);
            let after = self.array_bytes() + self.leaf_bytes(at) + self.leaf_bytes(at + 1);
            tally.resize(before, after);
        }
        ChunkOutcome::Done
    }

    /// Joins the leaf of a key with a neighbour, if the two are nearly empty.
    pub(super) fn tidy(&mut self, key: &[u8], shape: &Shape, tally: &Tally) -> ChunkOutcome {
        if self.leaves.len() == 1 {
            let empty = self.leaves[0].get_mut().len() == 0;
            return if empty { ChunkOutcome::NeedsDirectory } else { ChunkOutcome::Done };
        }
        let upper = self.separators.range_of(&Probe::new(key)).max(1);
        let before = self.array_bytes() + self.leaf_bytes(upper - 1) + self.leaf_bytes(upper);
        if self.join(upper, shape) {
            tally.resize(before, self.array_bytes() + self.leaf_bytes(upper - 1));
        }
        ChunkOutcome::Done
    }

    /// What the chunk takes, leaves and all: for tallying a chunk nobody else sees yet.
    pub(super) fn total_bytes(&mut self) -> usize {
        self.array_bytes() + (0..self.leaves.len()).map(|at| self.leaf_bytes(at)).sum::<usize>()
    }

    fn join(&mut self, upper: usize, shape: &Shape) -> bool {
        let [lower_leaf, upper_leaf] = &mut self.leaves[upper - 1..=upper] else {
            unreachable!("two leaves")
        };
        let joined = lower_leaf.get_mut().absorb(upper_leaf.get_mut(), shape);
        if joined {
            self.separators.remove(upper);
            self.leaves.remove(upper);
        }
        joined
    }

    fn insert(&mut self, at: usize, separator: &[u8], leaf: Leaf) {
        self.separators.insert(at, separator);
        reserve_one(&mut self.leaves);
        self.leaves.insert(at, RwLock::new(leaf));
    }

    /// Cuts in two; at an end where the key that asks for it lies at that end, so that ascending loads fill chunks.
    fn split_for(&mut self, key: &[u8]) -> (Vec<u8>, Self) {
        let cut = match self.separators.range_of(&Probe::new(key)) {
            0 => 1,
            at if at + 1 == self.leaves.len() => at,
            _ => self.leaves.len() / 2,
        };
        let separators = self.separators.split_off(cut);
        let leaves = self.leaves.split_off(cut);
        self.leaves.shrink_to_fit();
        (separators.key(0), Self { separators, leaves })
    }

    pub(super) fn shrink(&mut self) {
        self.separators.shrink();
        self.leaves.shrink_to_fit();
    }

    pub(super) const fn array_bytes(&self) -> usize {
        self.separators.array_bytes() + vec_bytes(&self.leaves)
    }

    fn leaf_bytes(&mut self, at: usize) -> usize {
        self.leaves[at].get_mut().heap_bytes() + self.separators.rest_bytes(at)
    }
}

/// All chunks.
pub(super) struct Directory {
    pub(super) separators: Separators,
    /// Every call takes a chunk's lock, and few for writing: in shards, so that readers do not share a cache line.
    pub(super) chunks: Vec<ShardedLock<Chunk>>,
}

impl Directory {
    /// A directory of one empty leaf.
    pub(super) fn new(tally: &Tally) -> Self {
        let mut directory = Self { separators: Separators::default(), chunks: Vec::new() };
        directory.push(&[], Chunk::with_leaf(&[], Leaf::default()), tally);
        directory
    }

    /// Adds a chunk above all others.
    pub(super) fn push(&mut self, separator: &[u8], mut chunk: Chunk, tally: &Tally) {
        let before = self.array_bytes();
        let added = chunk.total_bytes();
        self.insert(self.chunks.len(), separator, chunk);
        tally.resize(before, self.array_bytes() + added + self.separators.rest_bytes(self.chunks.len() - 1));
    }

    /// An empty one, for a bulk load to push to.
    pub(super) fn without_chunks() -> Self {
        Self { separators: Separators::default(), chunks: Vec::new() }
    }

    pub(super) fn chunk_of(&self, probe: &Probe<'_>) -> &ShardedLock<Chunk> {
        &self.chunks[self.separators.range_of(probe)]
    }

    /// Splits the chunk of a key, if it is still full.
    pub(super) fn make_room(&mut self, key: &[u8], shape: &Shape, tally: &Tally) {
        let at = self.separators.range_of(&Probe::new(key));
        if chunk_mut(&mut self.chunks[at]).leaves.len() < shape.chunk_leaves {
            return;
        }
        let before = self.array_bytes() + self.chunk_bytes(at);
        let (separator, upper) = chunk_mut(&mut self.chunks[at]).split_for(key);
        self.insert(at + 1, &separator, upper);
        tally.resize(before, self.array_bytes() + self.chunk_bytes(at) + self.chunk_bytes(at + 1));
    }

    /// Drops the chunk of a key, if its only leaf is still empty and another chunk can take its range.
    pub(super) fn tidy(&mut self, key: &[u8], tally: &Tally) {
        let at = self.separators.range_of(&Probe::new(key));
        let [leaf] = &mut chunk_mut(&mut self.chunks[at]).leaves[..] else { return };
        if leaf.get_mut().len() > 0 || self.chunks.len() == 1 {
            return;
        }
        let before = self.array_bytes() + self.chunk_bytes(at);
        self.separators.remove(at);
        self.chunks.remove(at);
        tally.resize(before, self.array_bytes());
    }

    fn insert(&mut self, at: usize, separator: &[u8], chunk: Chunk) {
        self.separators.insert(at, separator);
        reserve_one(&mut self.chunks);
        self.chunks.insert(at, ShardedLock::new(chunk));
    }

    pub(super) const fn array_bytes(&self) -> usize {
        self.separators.array_bytes() + vec_bytes(&self.chunks)
    }

    pub(super) fn chunk_bytes(&mut self, at: usize) -> usize {
        chunk_mut(&mut self.chunks[at]).total_bytes() + self.separators.rest_bytes(at)
    }
}

/// A chunk that nobody else can be looking at.
fn chunk_mut(chunk: &mut ShardedLock<Chunk>) -> &mut Chunk {
    chunk.get_mut().expect(NOT_POISONED)
}
