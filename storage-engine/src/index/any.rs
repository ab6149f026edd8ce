//! The two kinds of index behind one door.

use super::{Entry, HashIndex, HashShape, OrderedIndex};

/// Which index a store keeps in memory. The log is the same for both: each opening may choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum IndexKind {
    /// All keys, in order.
    #[default]
    Ordered,
    /// No keys, in no order.
    Hash(HashShape),
}

impl IndexKind {
    /// An index of this kind, without entries.
    #[must_use]
    pub fn empty(self) -> Index {
        match self {
            Self::Ordered => Index::Ordered(OrderedIndex::new()),
            Self::Hash(shape) => Index::Hash(HashIndex::new(shape)),
        }
    }
}

/// An index of either kind.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a store has one, and every lookup goes through it")]
pub enum Index {
    /// What it says of a key is the key's.
    Ordered(OrderedIndex),
    /// What it says of a key may be another's: see [`crate::index::hash`].
    Hash(HashIndex),
}

impl Index {
    /// The entry of a key. Of a hash index: of the key, or of another one with its tag.
    #[must_use]
    pub fn lookup(&self, key: &[u8]) -> Option<Entry> {
        match self {
            Self::Ordered(index) => index.lookup(key),
            Self::Hash(index) => index.lookup(key),
        }
    }

    /// Sets the entry of a key; gives the one that it had.
    pub(super) fn upsert(&self, key: &[u8], entry: Entry) -> Option<Entry> {
        match self {
            Self::Ordered(index) => index.upsert(key, entry),
            Self::Hash(index) => index.upsert(key, entry),
        }
    }

    /// Sets the entry of a key that still has the expected one; says whether it did.
    pub(super) fn replace_if(&self, key: &[u8], expected: Entry, new: Entry) -> bool {
        match self {
            Self::Ordered(index) => index.replace_if(key, expected, new),
            Self::Hash(index) => index.replace_if(key, expected, new),
        }
    }

    /// Removes a key that still has the expected entry; says whether it did.
    pub(super) fn remove_if(&self, key: &[u8], expected: Entry) -> bool {
        match self {
            Self::Ordered(index) => index.remove_if(key, expected),
            Self::Hash(index) => index.remove_if(key, expected),
        }
    }

    /// What the index takes of the heap, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Ordered(index) => index.memory_bytes(),
            Self::Hash(index) => index.memory_bytes(),
        }
    }

    /// The index, where it knows the order of keys.
    #[must_use]
    pub const fn ordered(&self) -> Option<&OrderedIndex> {
        match self {
            Self::Ordered(index) => Some(index),
            Self::Hash(_) => None,
        }
    }

    /// The index, where it holds no keys.
    #[must_use]
    pub const fn hash(&self) -> Option<&HashIndex> {
        match self {
            Self::Ordered(_) => None,
            Self::Hash(index) => Some(index),
        }
    }
}
