//! A concurrent ordered map from keys to entries, made for little memory and few cache misses.
//!
//! Three levels: a directory of chunks, chunks of some hundreds of leaves, leaves of some dozens of packed entries.
//! Separators lie side by side as numbers (`separators`), leaves are one allocation each (`page`), and so a lookup
//! waits for memory about five times even in an index of ten million keys.
//!
//! Invariants: each key is in at most one leaf, the one that the separators lead to; the counts of entries and bytes
//! are exact whenever nobody writes.
//!
//! Threading: any number of threads through `&self`. Locks are taken from the top down, directory, chunk, leaf, and
//! let go before any is taken for writing higher up; what was found below is then looked up anew. Nothing waits for
//! anything else while it holds one.

mod bulk;
mod directory;
mod key;
mod leaf;
mod memory;
mod page;
mod scan;
mod separators;
#[cfg(test)]
mod tests;
mod transfer;

use bulk::BulkLoad;
use directory::{Chunk, ChunkOutcome, Directory};
pub use key::KeyParts;
pub(crate) use key::common_len;
use leaf::{Leaf, Upserted};
use memory::Tally;
use separators::Probe;
pub use transfer::{LoadedLeaf, Walk};

use crate::index::{Entry, PackedEntry};
use crate::patience::{ShardedSoon, WriteSoon};
use crate::sync::{RwLock, ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};

/// The longest key, in bytes. The shortest has one.
pub const MAX_KEY_BYTES: usize = 65_535;

/// A directory or chunk that a panic left half changed must not be trusted.
const NOT_POISONED: &str = "no thread panicked while it changed the way to the leaves";

/// Limits of leaves and chunks. Tests use smaller ones, to see many splits and joins among few keys.
struct Shape {
    leaf_entries: usize,
    /// Keys beyond their common prefix, in bytes. Must fit 16 bits.
    leaf_suffix_bytes: usize,
    chunk_leaves: usize,
    /// Leaves that a scan reads before it lets go: enough that finding the next is cheap, few enough that a split
    /// does not wait long. At least 1: a visit that covers no leaf would not get on.
    visit_leaves: usize,
}

impl Shape {
    const DEFAULT: Self =
        Self { leaf_entries: 128, leaf_suffix_bytes: 16 * 1024, chunk_leaves: 512, visit_leaves: 8 };
    const _SLOTS_NAME_ALL_ENTRIES: () = assert!(Self::DEFAULT.leaf_entries <= page::MAX_ENTRIES);

    /// With this many entries left, a leaf looks for a neighbour to join.
    const fn sparse_entries(&self) -> usize {
        self.leaf_entries / 8
    }
}

/// A concurrent ordered map from byte-string keys of 1 to [`MAX_KEY_BYTES`] bytes to entries.
pub struct OrderedIndex {
    /// Every call takes this lock, and few for writing: in shards, so that readers do not share a cache line.
    directory: ShardedLock<Directory>,
    tally: Tally,
    shape: Shape,
}

impl OrderedIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::with_shape(Shape::DEFAULT)
    }

    /// An index of all these entries, several times faster than inserting them.
    ///
    /// # Panics
    /// When a key is not above the one before it, or not of 1 to [`MAX_KEY_BYTES`] bytes.
    pub fn from_sorted<K: AsRef<[u8]>>(entries: impl IntoIterator<Item = (K, Entry)>) -> Self {
        Self::from_sorted_with_shape(entries, Shape::DEFAULT)
    }

    /// The entry of a key.
    #[must_use]
    pub fn lookup(&self, key: &[u8]) -> Option<Entry> {
        self.with_leaf(key, |leaf| leaf.read().lookup(key)).map(Entry::from)
    }

    /// Sets the entry of a key; gives the one that it had.
    ///
    /// # Panics
    /// When the key is not of 1 to [`MAX_KEY_BYTES`] bytes.
    pub fn upsert(&self, key: &[u8], entry: Entry) -> Option<Entry> {
        assert_key_len(key);
        let packed = entry.into();
        loop {
            match self.with_leaf(key, |leaf| self.upsert_in(&mut leaf.write_soon(), key, packed)) {
                Upserted::Inserted => return None,
                Upserted::Replaced(previous) => return Some(previous.into()),
                Upserted::Full => self.make_room(key),
            }
        }
    }

    /// Sets the entry of a key that still has the expected one; says whether it did. For the collector, whose copy of
    /// a record must not hide a newer write.
    pub fn replace_if(&self, key: &[u8], expected: Entry, new: Entry) -> bool {
        let (expected, new) = (expected.into(), new.into());
        self.with_leaf(key, |leaf| leaf.write_soon().replace_if(key, expected, new))
    }

    /// Removes a key that still has the expected entry; says whether it did.
    pub fn remove_if(&self, key: &[u8], expected: Entry) -> bool {
        let expected = expected.into();
        let left = self.with_leaf(key, |leaf| self.remove_in(&mut leaf.write(), key, expected));
        if left.is_some_and(|left| left == 0 || left == self.shape.sparse_entries()) {
            self.tidy(key);
        }
        left.is_some()
    }

    /// How many keys have an entry, tombstones included. Exact when nobody writes.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.tally.keys()
    }

    /// What the index takes of the heap, in bytes: what it asked for, and what a common allocator adds to that.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.tally.bytes()
    }

    fn with_shape(shape: Shape) -> Self {
        let tally = Tally::default();
        Self { directory: ShardedLock::new(Directory::new(&tally)), tally, shape }
    }

    fn from_sorted_with_shape<K: AsRef<[u8]>>(
        entries: impl IntoIterator<Item = (K, Entry)>,
        shape: Shape,
    ) -> Self {
        let tally = Tally::default();
        let mut load = BulkLoad::new(&shape, &tally);
        let mut count = 0;
        for (key, entry) in entries {
            assert_key_len(key.as_ref());
            load.push(key, entry.into());
            count += 1;
        }
        tally.add_keys(count);
        let directory = load.finish();
        Self { directory: ShardedLock::new(directory), tally, shape }
    }

    fn read_directory(&self) -> ShardedLockReadGuard<'_, Directory> {
        self.directory.read().expect(NOT_POISONED)
    }

    fn write_directory(&self) -> ShardedLockWriteGuard<'_, Directory> {
        self.directory.write().expect(NOT_POISONED)
    }

    /// Runs `act` on the leaf of a key. The locks above are held meanwhile, so it stays the key's leaf.
    fn with_leaf<R>(&self, key: &[u8], act: impl FnOnce(&RwLock<Leaf>) -> R) -> R {
        let probe = Probe::new(key);
        let directory = self.read_directory();
        let chunk = directory.chunk_of(&probe).read_soon();
        act(chunk.leaf_of(&probe))
    }

    /// Counts while the leaf is locked: a remove of the same key cannot be counted before its insert.
    fn upsert_in(&self, leaf: &mut Leaf, key: &[u8], entry: PackedEntry) -> Upserted {
        let before = leaf.heap_bytes();
        let upserted = leaf.upsert(key, entry, &self.shape);
        if matches!(upserted, Upserted::Inserted) {
            self.tally.add_keys(1);
            self.tally.resize(before, leaf.heap_bytes());
        }
        upserted
    }

    /// Gives how many entries are left, or `None` when nothing was removed.
    fn remove_in(&self, leaf: &mut Leaf, key: &[u8], expected: PackedEntry) -> Option<usize> {
        let before = leaf.heap_bytes();
        if !leaf.remove_if(key, expected) {
            return None;
        }
        self.tally.drop_key();
        self.tally.resize(before, leaf.heap_bytes());
        Some(leaf.len())
    }

    fn make_room(&self, key: &[u8]) {
        if self.in_chunk(key, |chunk| chunk.make_room(key, &self.shape, &self.tally))
            == ChunkOutcome::NeedsDirectory
        {
            self.write_directory().make_room(key, &self.shape, &self.tally);
        }
    }

    fn tidy(&self, key: &[u8]) {
        if self.in_chunk(key, |chunk| chunk.tidy(key, &self.shape, &self.tally))
            == ChunkOutcome::NeedsDirectory
        {
            self.write_directory().tidy(key, &self.tally);
        }
    }

    fn in_chunk(&self, key: &[u8], act: impl FnOnce(&mut Chunk) -> ChunkOutcome) -> ChunkOutcome {
        let directory = self.read_directory();
        let mut chunk = directory.chunk_of(&Probe::new(key)).write_soon();
        act(&mut chunk)
    }
}

impl Default for OrderedIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for OrderedIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OrderedIndex({} keys, {} bytes)", self.key_count(), self.memory_bytes())
    }
}

fn assert_key_len(key: &[u8]) {
    assert!(
        (1..=MAX_KEY_BYTES).contains(&key.len()),
        "a key of {} bytes is not of 1 to {MAX_KEY_BYTES}",
        key.len()
    );
}
