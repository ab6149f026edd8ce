//! A concurrent map from keys to entries that holds no keys: some 15 bytes for each.
//!
//! Of a key's hash, under a seed of its own for each index, the first bits choose a shard and a *slice* of it; the next
//! ones are the key's *tag*, which a slot keeps beside the packed entry. Slices are divided into pages by the first bits of
//! their tags, by extendible hashing; a page that is full is split in two.
//!
//! **Whose an entry is.** Different keys may have one tag, and the index cannot tell. So what it says of a key is exact
//! only for keys that are *kept apart*, with all their bytes. Everything else is the entry *of the tag*: that of the one
//! key with this tag that has been written. Invariant: of the keys with one tag either at most one has an entry, or all
//! that have one are kept apart. Whoever publishes a write sees to it beforehand ([`HashIndex::set_apart`]), and whoever
//! reads looks whether the record that an entry points at is the key's. To move or to forget an entry takes no such look:
//! the caller has the record in hand, and no two records lie at one place.
//!
//! Threading: any number of threads through `&self`. One lock is taken at a time, that of a shard.

mod block;
mod page;
mod shard;
#[cfg(test)]
mod tests;

use foldhash::quality::FixedState;
use std::hash::BuildHasher;

use block::MAX_TAG_BITS;
use page::PAGE_SLOTS;
use shard::Shard;

use crate::index::Entry;
use crate::patience::WriteSoon;
use crate::sync::RwLock;

/// How the bits of a hash are used, and how large pages grow. Tests use few bits, to see keys share tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct HashShape {
    /// Bits that choose a shard.
    pub shard_bits: u32,
    /// Bits that choose a slice of the shard.
    pub slice_bits: u32,
    /// Bits of the tag.
    pub tag_bits: u32,
    /// Slots at which a page is split.
    pub page_slots: usize,
    /// The seed of the hash; drawn by chance where there is none.
    pub seed: Option<u64>,
}

impl HashShape {
    /// Of 42 bits in all: among ten million keys some ten pairs share a tag.
    pub const DEFAULT: Self =
        Self { shard_bits: 8, slice_bits: 4, tag_bits: MAX_TAG_BITS, page_slots: PAGE_SLOTS, seed: None };

    /// So few bits that most of some dozens of keys share a tag with others.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub const fn crowded(tag_bits: u32, seed: u64) -> Self {
        Self { shard_bits: 1, slice_bits: 1, tag_bits, page_slots: 3, seed: Some(seed) }
    }

    const fn bits(&self) -> u32 {
        self.shard_bits + self.slice_bits + self.tag_bits
    }

    fn assert_limits(&self) {
        assert!((1..=MAX_TAG_BITS).contains(&self.tag_bits), "a tag of {} bits", self.tag_bits);
        assert!((2..=PAGE_SLOTS).contains(&self.page_slots), "pages of {} slots", self.page_slots);
        assert!(self.shard_bits + self.slice_bits <= 32, "too many slices");
    }
}

impl Default for HashShape {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// All that the index knows of a key's hash. Keys with the same one cannot be told apart by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(u64);

impl Tag {
    /// As a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Where in a shard a key belongs.
#[derive(Clone, Copy, Debug)]
struct Spot {
    slice: u32,
    tag: u32,
}

/// What the index knows of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// No key with this tag has an entry.
    Vacant,
    /// The entry of the one key with this tag that has one: this key, or another.
    OfTag(Entry),
    /// Keys with this tag are kept apart: the entry of just this key, if it has one.
    Apart(Option<Entry>),
}

impl Found {
    /// The entry, whosever it is.
    #[must_use]
    pub const fn entry(self) -> Option<Entry> {
        match self {
            Self::Vacant => None,
            Self::OfTag(entry) => Some(entry),
            Self::Apart(entry) => entry,
        }
    }
}

/// How far [`HashIndex::walk`] has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stroll {
    shard: usize,
    page: usize,
}

/// An entry, and its key where that is kept apart.
pub type Strolled = (Option<Box<[u8]>>, Entry);

/// A concurrent map from byte strings to entries that holds no keys. See the module's documentation.
pub struct HashIndex {
    shards: Box<[RwLock<Shard>]>,
    hasher: FixedState,
    shape: HashShape,
}

impl HashIndex {
    /// An empty index.
    ///
    /// # Panics
    /// When the shape is none: tags of no bits or more than 30, pages of one slot or more than 384.
    #[must_use]
    pub fn new(shape: HashShape) -> Self {
        shape.assert_limits();
        Self {
            shards: (0..1 << shape.shard_bits).map(|_| RwLock::new(Shard::new(shape))).collect(),
            hasher: FixedState::with_seed(shape.seed.unwrap_or_else(rand::random)),
            shape,
        }
    }

    /// The tag of a key.
    #[must_use]
    pub fn tag(&self, key: &[u8]) -> Tag {
        Tag(self.hasher.hash_one(key) >> (u64::BITS - self.shape.bits()))
    }

    /// What is known of a key.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Found {
        let (shard, spot) = self.spot(key);
        self.shards[shard].read().find(spot, key)
    }

    /// The entry of a key, or of another one with its tag.
    #[must_use]
    pub fn lookup(&self, key: &[u8]) -> Option<Entry> {
        self.find(key).entry()
    }

    /// Sets the entry of a key; gives the one that it had.
    ///
    /// No other key with its tag may have one, unless they are kept apart.
    pub fn upsert(&self, key: &[u8], entry: Entry) -> Option<Entry> {
        let (shard, spot) = self.spot(key);
        self.shards[shard].write_soon().upsert(spot, key, entry.into()).map(Entry::from)
    }

    /// Sets the entry of a key that has none yet, unless another key may have its tag.
    ///
    /// # Errors
    /// The entry of the other one.
    pub fn insert(&self, key: &[u8], entry: Entry) -> Result<(), Entry> {
        let (shard, spot) = self.spot(key);
        let mut shard = self.shards[shard].write_soon();
        match shard.find(spot, key) {
            Found::OfTag(occupant) => Err(occupant),
            Found::Vacant | Found::Apart(_) => {
                shard.upsert(spot, key, entry.into());
                Ok(())
            }
        }
    }

    /// Keeps keys with the tag of `key` apart from now on, if what was found of the tag is still so: no entry, or this
    /// one, of this key. Says whether they are.
    #[must_use]
    pub fn set_apart(&self, key: &[u8], occupant: Option<(&[u8], Entry)>) -> bool {
        let (shard, spot) = self.spot(key);
        let occupant = occupant.map(|(key, entry)| (key, entry.into()));
        self.shards[shard].write_soon().set_apart(spot, occupant)
    }

    /// Sets the entry of a key that has the expected one; says whether it did.
    #[must_use]
    pub fn replace_if(&self, key: &[u8], expected: Entry, new: Entry) -> bool {
        let (shard, spot) = self.spot(key);
        self.shards[shard].write_soon().replace_if(spot, key, expected.into(), new.into())
    }

    /// Removes a key that has the expected entry; says whether it did.
    #[must_use]
    pub fn remove_if(&self, key: &[u8], expected: Entry) -> bool {
        let (shard, spot) = self.spot(key);
        self.shards[shard].write_soon().remove_if(spot, key, expected.into())
    }

    /// Appends the entries of the next page, or of the keys of a shard that are kept apart, in no order; gives how to go
    /// on, or `None` at the end.
    ///
    /// Others may write meanwhile: what is there all the time is met at least once, unless it is set apart.
    pub fn walk(&self, Stroll { shard, page }: Stroll, into: &mut Vec<Strolled>) -> Option<Stroll> {
        let guard = self.shards.get(shard)?.read();
        if page < guard.page_count() {
            into.extend(guard.entries_of(page).map(|entry| (None, entry.into())));
            return Some(Stroll { shard, page: page + 1 });
        }
        into.extend(guard.kept_apart().map(|(key, entry)| (Some(key.into()), entry.into())));
        Some(Stroll { shard: shard + 1, page: 0 })
    }

    /// How many keys have an entry, tombstones included. Exact when nobody writes.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().key_count()).sum()
    }

    /// How many keys are kept apart.
    #[must_use]
    pub fn apart_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().kept_apart().count()).sum()
    }

    /// What the index takes of the heap, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let shards = self.shards.iter().map(|shard| size_of::<RwLock<Shard>>() + shard.read().heap_bytes());
        shards.sum()
    }

    #[expect(clippy::cast_possible_truncation, reason = "each part has at most 32 bits")]
    fn spot(&self, key: &[u8]) -> (usize, Spot) {
        let HashShape { slice_bits, tag_bits, .. } = self.shape;
        let Tag(bits) = self.tag(key);
        let slice = bits >> tag_bits & ((1 << slice_bits) - 1);
        let spot = Spot { slice: slice as u32, tag: (bits & ((1 << tag_bits) - 1)) as u32 };
        ((bits >> (tag_bits + slice_bits)) as usize, spot)
    }
}

impl std::fmt::Debug for HashIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HashIndex({} keys, {} bytes)", self.key_count(), self.memory_bytes())
    }
}
