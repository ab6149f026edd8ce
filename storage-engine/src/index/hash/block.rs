//! Slots of the hash index, sixteen to a block, and the memory that blocks come from.
//!
//! Blocks are all of one size, so that memory which one page gives up serves any other: pages of many sizes, each an
//! allocation of its own, left a fifth of the heap in holes as they grew side by side (ADR 0053).

use crate::index::PackedEntry;
use crate::index::entry::{KIND_LARGE, KIND_TOMBSTONE, KIND_VALUE, LENGTH_BITS};

/// Slots of a block.
pub(super) const BLOCK_SLOTS: usize = 16;
/// Blocks allocated together.
const CHUNK_BLOCKS: usize = 32;

/// Bits of a slot's head below the tag: the kind, and of a value its length.
pub(super) const CODE_BITS: u32 = 18;
/// The most bits that a tag may have.
pub(super) const MAX_TAG_BITS: u32 = 30;
/// Bytes of a slot's head.
const HEAD_BYTES: usize = 6;

/// Codes from here on are kinds and no lengths.
const FIRST_KIND: u32 = (1 << CODE_BITS) - 3;
const TOMBSTONE: u32 = FIRST_KIND;
const LARGE: u32 = FIRST_KIND + 1;
const APART: u32 = FIRST_KIND + 2;

/// What a slot says of its tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holds {
    /// The entry of the one key with this tag.
    Entry(PackedEntry),
    /// Keys with this tag lie apart, each with its entry.
    Apart,
}

/// A tag and what is known of it: 14 bytes in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    tag: u32,
    code: u32,
    place: u64,
}

impl Slot {
    /// A slot of an entry; `None` for a value longer than any that a store writes in one record, which has no code.
    pub(super) fn of(tag: u32, entry: PackedEntry) -> Option<Self> {
        let length = entry.length();
        let code = match length >> LENGTH_BITS {
            KIND_TOMBSTONE => TOMBSTONE,
            KIND_LARGE => LARGE,
            _ if length < FIRST_KIND => length,
            _ => return None,
        };
        Some(Self { tag, code, place: entry.place() })
    }

    /// Says that keys with the tag lie apart.
    pub(super) const fn apart(tag: u32) -> Self {
        Self { tag, code: APART, place: 0 }
    }

    pub(super) const fn tag(self) -> u32 {
        self.tag
    }

    pub(super) fn holds(self) -> Holds {
        let length = match self.code {
            APART => return Holds::Apart,
            TOMBSTONE => KIND_TOMBSTONE << LENGTH_BITS,
            LARGE => KIND_LARGE << LENGTH_BITS,
            value_len => KIND_VALUE << LENGTH_BITS | value_len,
        };
        Holds::Entry(PackedEntry::from_own_parts(self.place, length))
    }
}

/// Sixteen slots, their heads side by side: a search reads nothing else.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Tag and code in 48 bits, little-endian.
    heads: [[u8; HEAD_BYTES]; BLOCK_SLOTS],
    places: [u64; BLOCK_SLOTS],
}

impl Block {
    const EMPTY: Self = Self { heads: [[0; HEAD_BYTES]; BLOCK_SLOTS], places: [0; BLOCK_SLOTS] };

    fn head(&self, at: usize) -> u64 {
        let [a, b, c, d, e, f] = self.heads[at];
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    #[expect(clippy::cast_possible_truncation, reason = "a head has 48 bits, a tag at most 30 of them")]
    pub(super) fn tag(&self, at: usize) -> u32 {
        (self.head(at) >> CODE_BITS) as u32
    }

    pub(super) fn slot(&self, at: usize) -> Slot {
        let code = (self.head(at) & ((1 << CODE_BITS) - 1)) as u32;
        Slot { tag: self.tag(at), code, place: self.places[at] }
    }

    pub(super) fn set(&mut self, at: usize, slot: Slot) {
        let head = u64::from(slot.tag) << CODE_BITS | u64::from(slot.code);
        self.heads[at].copy_from_slice(&head.to_le_bytes()[..HEAD_BYTES]);
        self.places[at] = slot.place;
    }

    /// Puts a slot among the first `count`; gives the last one of a block that was full.
    pub(super) fn insert(&mut self, at: usize, count: usize, slot: Slot) -> Option<Slot> {
        let last = (count == BLOCK_SLOTS).then(|| self.slot(BLOCK_SLOTS - 1));
        let end = count.min(BLOCK_SLOTS - 1);
        self.heads.copy_within(at..end, at + 1);
        self.places.copy_within(at..end, at + 1);
        self.set(at, slot);
        last
    }

    /// Takes one of the first `count` slots out.
    pub(super) fn remove(&mut self, at: usize, count: usize) {
        self.heads.copy_within(at + 1..count, at);
        self.places.copy_within(at + 1..count, at);
    }
}

/// The number of a block: below 2^24, which is room for 268 million slots a shard.
pub(super) type BlockId = u32;

const NO_BLOCK: BlockId = BlockId::MAX;
const MAX_BLOCKS: usize = 1 << 24;

/// All blocks of a shard. What is given back is used again, and never returned to the heap.
#[derive(Debug)]
pub(super) struct Blocks {
    chunks: Vec<Box<[Block]>>,
    /// The first free block; each names the next one in its first place.
    first_free: BlockId,
}

impl Blocks {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), first_free: NO_BLOCK }
    }

    pub(super) fn block(&self, id: BlockId) -> &Block {
        &self.chunks[id as usize / CHUNK_BLOCKS][id as usize % CHUNK_BLOCKS]
    }

    pub(super) fn block_mut(&mut self, id: BlockId) -> &mut Block {
        &mut self.chunks[id as usize / CHUNK_BLOCKS][id as usize % CHUNK_BLOCKS]
    }

    /// A block with whatever was in it.
    pub(super) fn take(&mut self) -> BlockId {
        if self.first_free == NO_BLOCK {
            self.grow();
        }
        let id = self.first_free;
        self.first_free = BlockId::try_from(self.block(id).places[0]).expect("it was written as a number");
        id
    }

    pub(super) fn give_back(&mut self, id: BlockId) {
        let next = self.first_free;
        self.block_mut(id).places[0] = next.into();
        self.first_free = id;
    }

    fn grow(&mut self) {
        let first = self.chunks.len() * CHUNK_BLOCKS;
        self.chunks.push(vec![Block::EMPTY; CHUNK_BLOCKS].into_boxed_slice());
        for id in (first..first + CHUNK_BLOCKS).rev() {
            assert!(id < MAX_BLOCKS, "a shard of more than 268 million keys");
            self.give_back(BlockId::try_from(id).expect("24 bits"));
        }
    }

    pub(super) const fn heap_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BLOCKS * size_of::<Block>()
            + self.chunks.capacity() * size_of::<Box<[Block]>>()
    }
}
