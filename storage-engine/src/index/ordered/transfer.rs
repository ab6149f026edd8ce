//! Leaves in and out as pages of a checkpoint.
//!
//! Out: a walk like those of `scan`, leaf after leaf, that copies keys and entries straight into a block. In: leaves are
//! made of pages by any number of threads, without searching, and then strung together in order.

use std::ops::Bound;

use super::Shape;
use super::bulk::filled;
use super::directory::{Chunk, Directory};
use super::key::{KeyParts, shortest_between};
use super::leaf::Leaf;
use super::memory::Tally;
use super::page::Page;
use super::scan::first_range;
use super::{NOT_POISONED, OrderedIndex};
use crate::format::DecodeError;
use crate::format::checkpoint::{BlockBuilder, EntryPage};
use crate::index::{Entry, PackedEntry};

/// Whether a walk is to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// To the next leaf.
    On,
    /// No further.
    Stop,
}

/// A leaf made of a page, not yet part of an index.
pub struct LoadedLeaf(Leaf);

impl std::fmt::Debug for LoadedLeaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoadedLeaf({} keys)", self.0.len())
    }
}

impl LoadedLeaf {
    /// Leaves of entries in the order of their keys, filled as a bulk load fills them.
    ///
    /// # Panics
    /// When a value is too long for an entry.
    pub fn of_sorted<'k>(entries: impl IntoIterator<Item = (&'k [u8], Entry)>) -> Vec<Self> {
        let shape = Shape::DEFAULT;
        let (mut leaves, mut pending, mut key_bytes) = (Vec::new(), Vec::new(), 0);
        for (key, entry) in entries {
            let key = KeyParts::whole(key);
            let is_full = pending.first().is_some_and(|(first, _): &(KeyParts<'_>, PackedEntry)| {
                let suffix_bytes = key_bytes + key.len() - first.common_len(&key) * (pending.len() + 1);
                pending.len() >= filled(shape.leaf_entries) || suffix_bytes > shape.leaf_suffix_bytes
            });
            if is_full {
                leaves.push(Self(Leaf::build(&pending)));
                pending.clear();
                key_bytes = 0;
            }
            key_bytes += key.len();
            pending.push((key, entry.into()));
        }
        if !pending.is_empty() {
            leaves.push(Self(Leaf::build(&pending)));
        }
        leaves
    }

    /// A leaf of the entries of a page that are to be kept; `keep` is told the length of the key and the entry.
    ///
    /// `None` when none is kept.
    ///
    /// # Errors
    /// [`DecodeError`] for an entry that cannot be.
    pub fn new(
        page: &EntryPage<'_>,
        mut keep: impl FnMut(KeyParts<'_>, PackedEntry) -> Result<bool, DecodeError>,
    ) -> Result<Option<Self>, DecodeError> {
        let mut kept = Vec::with_capacity(page.rows().len());
        for (suffix, place, length) in page.entries() {
            let impossible =
                DecodeError::Field { structure: "checkpoint page", field: "length", found: length.into() };
            let entry = PackedEntry::from_parts(place, length).ok_or(impossible)?;
            let key = KeyParts::new(page.prefix(), suffix);
            if keep(key, entry)? {
                kept.push((key, entry));
            }
        }
        if kept.is_empty() {
            return Ok(None);
        }
        if kept.len() < page.rows().len() {
            return Ok(Some(Self(Leaf::build(&kept))));
        }
        Ok(Some(Self(Leaf::from_page(Page::from_rows(page)))))
    }
}

impl OrderedIndex {
    /// Copies entries into pages of a block, from a separator on, leaf after leaf, until `after_each` says stop; gives
    /// the separator to go on from, or `None` when all is done. `keep` says which entries are copied.
    ///
    /// Others may write meanwhile: each entry copied was present at some time during the call, and a key present
    /// throughout a walk is copied once.
    pub fn export(
        &self,
        from: Option<&[u8]>,
        block: &mut BlockBuilder,
        mut keep: impl FnMut(KeyParts<'_>, PackedEntry) -> bool,
        mut after_each: impl FnMut(&BlockBuilder) -> Walk,
    ) -> Option<Vec<u8>> {
        let mut next = from.map(<[u8]>::to_vec);
        loop {
            let (walk, separator) = self.export_visit(next.as_deref(), block, &mut keep, &mut after_each);
            next = Some(separator?);
            if walk == Walk::Stop {
                return next;
            }
        }
    }

    fn export_visit(
        &self,
        from: Option<&[u8]>,
        block: &mut BlockBuilder,
        keep: &mut impl FnMut(KeyParts<'_>, PackedEntry) -> bool,
        after_each: &mut impl FnMut(&BlockBuilder) -> Walk,
    ) -> (Walk, Option<Vec<u8>>) {
        let directory = self.read_directory();
        let bound = from.map_or(Bound::Unbounded, Bound::Included);
        let chunk_at = first_range(&directory.separators, bound);
        let chunk = directory.chunks[chunk_at].read().expect(NOT_POISONED);
        let first = first_range(&chunk.separators, bound);
        let end = chunk.leaves.len().min(first + self.shape.visit_leaves);
        for (at, leaf) in (first..end).zip(&chunk.leaves[first..end]) {
            leaf.read().export(from, block, &mut *keep);
            if after_each(block) == Walk::Stop && at + 1 < chunk.leaves.len() {
                return (Walk::Stop, Some(chunk.separators.key(at + 1)));
            }
        }
        if end < chunk.leaves.len() {
            return (Walk::On, Some(chunk.separators.key(end)));
        }
        let above = (chunk_at + 1 < directory.chunks.len()).then(|| directory.separators.key(chunk_at + 1));
        (after_each(block), above)
    }

    /// An index of leaves that were loaded, in the order of their keys; `None` when they are not in order.
    #[must_use]
    pub fn from_leaves(leaves: impl IntoIterator<Item = LoadedLeaf>) -> Option<Self> {
        let (tally, shape) = (Tally::default(), Shape::DEFAULT);
        let mut string = LeafString { directory: Directory::without_chunks(), chunk: None, key_count: 0 };
        let mut before: Option<LoadedLeaf> = None;
        let mut separator: Box<[u8]> = Box::default();
        for leaf in leaves {
            if let Some(before) = before.take() {
                let (last, first) = (before.0.last_key()?, leaf.0.first_key()?);
                if last.compare(&first).is_ge() {
                    return None;
                }
                let next_separator = shortest_between(last, first);
                string.push(&std::mem::replace(&mut separator, next_separator), before.0, &shape, &tally);
            }
            before = Some(leaf);
        }
        let Some(last) = before else { return Some(Self::new()) };
        string.push(&separator, last.0, &shape, &tally);
        string.finish_chunk(&tally);
        tally.add_keys(string.key_count);
        Some(Self { directory: crate::sync::ShardedLock::new(string.directory), tally, shape })
    }
}

/// Leaves strung together so far.
struct LeafString {
    directory: Directory,
    chunk: Option<(Box<[u8]>, Chunk)>,
    key_count: usize,
}

impl LeafString {
    fn push(&mut self, separator: &[u8], leaf: Leaf, shape: &Shape, tally: &Tally) {
        self.key_count += leaf.len();
        if self.chunk.as_ref().is_some_and(|(_, chunk)| chunk.leaves.len() >= filled(shape.chunk_leaves)) {
            self.finish_chunk(tally);
        }
        match &mut self.chunk {
            Some((_, chunk)) => chunk.push(separator, leaf),
            None => self.chunk = Some((separator.into(), Chunk::with_leaf(separator, leaf))),
        }
    }

    fn finish_chunk(&mut self, tally: &Tally) {
        if let Some((separator, mut chunk)) = self.chunk.take() {
            chunk.shrink();
            self.directory.push(&separator, chunk, tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    use super::{LoadedLeaf, OrderedIndex, Walk};
    use crate::format::checkpoint::{BlockBuilder, BlockHeader, BlockKind, BlockPlace, EntryPage};
    use crate::index::{Entry, Location};
    use crate::units::ZoneId;

    fn entry(number: u32) -> Entry {
        Entry::Value { location: Location::new(ZoneId::new(number), 0, 0), value_len: number }
    }

    fn contents(index: &OrderedIndex) -> BTreeMap<Vec<u8>, Entry> {
        let mut found = Vec::new();
        index.ascend(std::ops::Bound::Unbounded, usize::MAX, &mut found);
        found.into_iter().map(|(key, entry)| (key.into_vec(), entry)).collect()
    }

    /// Exports block after block, a few leaves each.
    fn exported(index: &OrderedIndex, leaves_a_block: usize) -> Vec<Vec<u8>> {
        let (mut blocks, mut from) = (Vec::new(), None);
        loop {
            let (mut block, mut leaves) = (BlockBuilder::new(BlockKind::Entries), 0);
            let count_leaves = |_: &BlockBuilder| {
                leaves += 1;
                if leaves >= leaves_a_block { Walk::Stop } else { Walk::On }
            };
            from = index.export(from.as_deref(), &mut block, |_, _| true, count_leaves);
            let place = BlockPlace { store: [0; 16], checkpoint: 1, block: 0, reset_count: 0 };
            blocks.push(block.seal(&place));
            if from.is_none() {
                return blocks;
            }
        }
    }

    fn loaded(blocks: &[Vec<u8>], keep: impl Fn(Entry) -> bool) -> Vec<LoadedLeaf> {
        let mut leaves = Vec::new();
        for block in blocks {
            let (_, mut payload) = BlockHeader::decode(block).unwrap();
            while let Some(page) = EntryPage::next(&mut payload).unwrap() {
                leaves.extend(LoadedLeaf::new(&page, |_, entry| Ok(keep(entry.into()))).unwrap());
            }
        }
        leaves
    }

    fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let key = (0u32..4000).prop_map(|number| format!("key {number:06}").into_bytes());
        proptest::collection::vec(key, 1..2000)
    }

    proptest! {
        #[test]
        fn an_index_comes_back_from_its_pages(keys in keys(), leaves_a_block in 1usize..5, odd: bool) {
            let index = OrderedIndex::new();
            for (number, key) in (0..).zip(&keys) {
                index.upsert(key, entry(number));
            }
            let kept = |entry| match entry {
                Entry::Value { value_len, .. } => !odd || value_len % 2 == 1,
                _ => false,
            };
            let again = OrderedIndex::from_leaves(loaded(&exported(&index, leaves_a_block), kept)).unwrap();
            let expected: BTreeMap<_, _> = contents(&index).into_iter().filter(|(_, entry)| kept(*entry)).collect();
            prop_assert_eq!(again.key_count(), expected.len());
            prop_assert_eq!(contents(&again), expected);
            for (number, key) in (0..).zip(&keys) {
                again.upsert(key, entry(number));
            }
            prop_assert_eq!(contents(&again), contents(&index));
        }
    }

    #[test]
    fn leaves_made_of_sorted_entries_are_the_index_of_a_bulk_load() {
        let keys: Vec<Vec<u8>> =
            (0..3000u32).map(|number| [&[7; 40], &number.to_be_bytes()[..]].concat()).collect();
        let entries = || keys.iter().zip(0..).map(|(key, number)| (&key[..], entry(number)));
        let index = OrderedIndex::from_leaves(LoadedLeaf::of_sorted(entries())).unwrap();
        let loaded = OrderedIndex::from_sorted(entries());
        assert_eq!(contents(&index), contents(&loaded));
        assert_eq!((index.key_count(), index.memory_bytes()), (loaded.key_count(), loaded.memory_bytes()));
    }

    #[test]
    fn leaves_out_of_order_are_refused() {
        let index = OrderedIndex::new();
        (0..1000u32).for_each(|number| {
            index.upsert(&number.to_be_bytes(), entry(number));
        });
        let mut leaves = loaded(&exported(&index, 1), |_| true);
        assert!(leaves.len() > 2);
        leaves.swap(0, 1);
        assert!(OrderedIndex::from_leaves(leaves).is_none());
    }

    #[test]
    fn an_index_without_entries_comes_back_empty_and_takes_inserts() {
        let index = OrderedIndex::from_leaves(loaded(&exported(&OrderedIndex::new(), 1), |_| true)).unwrap();
        index.upsert(b"key", entry(1));
        assert_eq!(index.key_count(), 1);
    }
}
