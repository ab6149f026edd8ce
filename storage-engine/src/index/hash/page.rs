//! One page: up to 384 slots in the order of their tags, in blocks that are all full but the last.
//!
//! Tags are spread evenly, so that a tag's rank can be guessed to within a block or so.

use super::block::{BLOCK_SLOTS, BlockId, Blocks, Slot};

/// Blocks of a page, at most: the more, the less is left empty in last blocks, and the more moves with each insert.
const PAGE_BLOCKS: usize = 24;
/// Slots of a page, at most.
pub(super) const PAGE_SLOTS: usize = PAGE_BLOCKS * BLOCK_SLOTS;

/// The slots of all tags that begin with the same bits.
#[derive(Debug)]
pub(super) struct Page {
    /// Slots.
    len: u16,
    /// How many bits of their tags all slots share.
    depth: u8,
    blocks: [[u8; 3]; PAGE_BLOCKS],
}

impl Page {
    pub(super) const fn new(depth: u8) -> Self {
        Self { len: 0, depth, blocks: [[0; 3]; PAGE_BLOCKS] }
    }

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) const fn depth(&self) -> u32 {
        self.depth as u32
    }

    fn block(&self, at: usize) -> BlockId {
        let [a, b, c] = self.blocks[at];
        BlockId::from_le_bytes([a, b, c, 0])
    }

    fn set_block(&mut self, at: usize, id: BlockId) {
        self.blocks[at].copy_from_slice(&id.to_le_bytes()[..3]);
    }

    pub(super) fn slot(&self, at: usize, blocks: &Blocks) -> Slot {
        blocks.block(self.block(at / BLOCK_SLOTS)).slot(at % BLOCK_SLOTS)
    }

    pub(super) fn set(&self, at: usize, slot: Slot, blocks: &mut Blocks) {
        blocks.block_mut(self.block(at / BLOCK_SLOTS)).set(at % BLOCK_SLOTS, slot);
    }

    /// Where the slot of a tag is, or would be, of tags of so many bits.
    pub(super) fn position(&self, tag: u32, tag_bits: u32, blocks: &Blocks) -> Result<usize, usize> {
        if self.len == 0 {
            return Err(0);
        }
        let (mut at, mut has_gone_up) = (self.guess(tag, tag_bits) / BLOCK_SLOTS, false);
        loop {
            let (block, count) = (blocks.block(self.block(at)), self.count_in(at));
            if tag < block.tag(0) && at > 0 {
                if has_gone_up {
                    return Err(at * BLOCK_SLOTS);
                }
                at -= 1;
                if tag > blocks.block(self.block(at)).tag(BLOCK_SLOTS - 1) {
                    return Err((at + 1) * BLOCK_SLOTS);
                }
            } else if tag > block.tag(count - 1) && (at + 1) * BLOCK_SLOTS < self.len() {
                (at, has_gone_up) = (at + 1, true);
            } else {
                let within = (0..count).find(|&slot| block.tag(slot) >= tag).unwrap_or(count);
                let found = within < count && block.tag(within) == tag;
                let position = at * BLOCK_SLOTS + within;
                return if found { Ok(position) } else { Err(position) };
            }
        }
    }

    /// The rank that the tag has if all are spread evenly.
    fn guess(&self, tag: u32, tag_bits: u32) -> usize {
        let free_bits = tag_bits - self.depth();
        let within = u64::from(tag) & ((1 << free_bits) - 1);
        usize::try_from((within * u64::from(self.len)) >> free_bits).expect("below the number of slots")
    }

    /// How many slots the block `at` has.
    fn count_in(&self, at: usize) -> usize {
        (self.len() - at * BLOCK_SLOTS).min(BLOCK_SLOTS)
    }

    /// Puts in a slot where [`Page::position`] said. The page must not be full.
    pub(super) fn insert(&mut self, at: usize, slot: Slot, blocks: &mut Blocks) {
        assert!(self.len() < PAGE_SLOTS, "a full page takes no slot");
        let last = self.len() / BLOCK_SLOTS;
        if self.len().is_multiple_of(BLOCK_SLOTS) {
            self.set_block(last, blocks.take());
        }
        let (mut within, mut carried) = (at % BLOCK_SLOTS, Some(slot));
        for block in at / BLOCK_SLOTS..=last {
            let Some(slot) = carried else { break };
            let count = self.count_in(block);
            carried = blocks.block_mut(self.block(block)).insert(within, count, slot);
            within = 0;
        }
        self.len += 1;
    }

    pub(super) fn remove(&mut self, at: usize, blocks: &mut Blocks) {
        let last = (self.len() - 1) / BLOCK_SLOTS;
        let mut within = at % BLOCK_SLOTS;
        for block in at / BLOCK_SLOTS..=last {
            let count = self.count_in(block);
            blocks.block_mut(self.block(block)).remove(within, count);
            if block < last {
                let next = blocks.block(self.block(block + 1)).slot(0);
                blocks.block_mut(self.block(block)).set(BLOCK_SLOTS - 1, next);
            }
            within = 0;
        }
        self.len -= 1;
        if self.len().is_multiple_of(BLOCK_SLOTS) {
            blocks.give_back(self.block(last));
        }
    }

    /// Gives away the slots whose next bit is set.
    pub(super) fn split(&mut self, tag_bits: u32, blocks: &mut Blocks) -> Self {
        self.depth += 1;
        let mut upper = Self::new(self.depth);
        let bit = 1 << (tag_bits - self.depth());
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let is_upper = self.slot(middle, blocks).tag() & bit != 0;
            (low, high) = if is_upper { (low, middle) } else { (middle + 1, high) };
        }
        for at in low..self.len() {
            let slot = self.slot(at, blocks);
            upper.insert(upper.len(), slot, blocks);
        }
        let (kept, had) = (low.div_ceil(BLOCK_SLOTS), self.len().div_ceil(BLOCK_SLOTS));
        (kept..had).for_each(|at| blocks.give_back(self.block(at)));
        self.len = u16::try_from(low).expect("a page has few slots");
        upper
    }
}
