//! Building a directory from sorted entries, leaf after leaf, without searching.

use super::Shape;
use super::directory::{Chunk, Directory};
use super::key::{KeyParts, shortest_between};
use super::leaf::{Leaf, suffix_bytes};
use super::memory::Tally;
use crate::index::PackedEntry;

/// Collects ascending entries into leaves, leaves into chunks. An eighth of each is left for inserts to come.
pub(super) struct BulkLoad<'a, K> {
    shape: &'a Shape,
    tally: &'a Tally,
    directory: Directory,
    /// The chunk being filled, and the separator that it begins at.
    chunk: Option<(Box<[u8]>, Chunk)>,
    /// The entries of the leaf being filled, and the separator that it begins at.
    pending: Vec<(K, PackedEntry)>,
    separator: Box<[u8]>,
    pending_key_bytes: usize,
}

impl<'a, K: AsRef<[u8]>> BulkLoad<'a, K> {
    pub(super) fn new(shape: &'a Shape, tally: &'a Tally) -> Self {
        Self {
            shape,
            tally,
            directory: Directory::without_chunks(),
            chunk: None,
            pending: Vec::with_capacity(shape.leaf_entries),
            separator: Box::default(),
            pending_key_bytes: 0,
        }
    }

    /// # Panics
    /// When the key is not above the one before.
    pub(super) fn push(&mut self, key: K, entry: PackedEntry) {
        if let Some((before, _)) = self.pending.last() {
            assert!(before.as_ref() < key.as_ref(), "bulk load wants keys that ascend strictly");
            if self.pending.len() >= filled(self.shape.leaf_entries) || self.bytes_with(key.as_ref()) {
                let separator =
                    shortest_between(KeyParts::whole(before.as_ref()), KeyParts::whole(key.as_ref()));
                self.finish_leaf(separator);
            }
        }
        self.pending_key_bytes += key.as_ref().len();
        self.pending.push((key, entry));
    }

    /// The directory of everything pushed.
    pub(super) fn finish(mut self) -> Directory {
        if self.pending.is_empty() {
            return Directory::new(self.tally);
        }
        self.finish_leaf(Box::default());
        self.finish_chunk();
        self.directory
    }

    /// Whether the leaf's suffixes would take too many bytes with one more key.
    fn bytes_with(&self, key: &[u8]) -> bool {
        let key_bytes = self.pending_key_bytes + key.len();
        let common = KeyParts::whole(self.pending[0].0.as_ref()).common_len(&KeyParts::whole(key));
        key_bytes - common * (self.pending.len() + 1) > self.shape.leaf_suffix_bytes
    }

    fn finish_leaf(&mut self, next_separator: Box<[u8]>) {
        let leaf = self.build_leaf();
        let separator = std::mem::replace(&mut self.separator, next_separator);
        self.pending.clear();
        self.pending_key_bytes = 0;
        if self.chunk.as_ref().is_some_and(|(_, chunk)| chunk.leaves.len() >= filled(self.shape.chunk_leaves))
        {
            self.finish_chunk();
        }
        match &mut self.chunk {
            Some((_, chunk)) => chunk.push(&separator, leaf),
            None => {
                let chunk = Chunk::with_leaf(&separator, leaf);
                self.chunk = Some((separator, chunk));
            }
        }
    }

    fn build_leaf(&self) -> Leaf {
        let entries = self
            .pending
            .iter()
            .map(|(key, entry)| (KeyParts::whole(key.as_ref()), *entry))
            .collect::<Vec<_>>();
        debug_assert!(entries.len() == 1 || suffix_bytes(&entries) <= self.shape.leaf_suffix_bytes);
        Leaf::build(&entries)
    }

    fn finish_chunk(&mut self) {
        if let Some((separator, mut chunk)) = self.chunk.take() {
            chunk.shrink();
            self.directory.push(&separator, chunk, self.tally);
        }
    }
}

/// How much of a leaf or chunk a bulk load fills.
pub(super) const fn filled(limit: usize) -> usize {
    limit - limit / 8
}
