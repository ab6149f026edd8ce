//! The packed array of one leaf: keys in order and their entries, in a single allocation.
//!
//! Layout, for a capacity of `c` entries, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | `prefix_len` | the prefix that all keys share |
//! | `4 c` | the order of keys: the first three bytes of each suffix, as a number that sorts as they do, and the slot: which row the key has |
//! | `14 c` | rows, in the order of arrival: place (8), length (4), where the suffix ends in the suffix area (2) |
//! | the rest | the suffixes, one after the other, in the order of arrival |
//!
//! The order comes first because a search needs little else: heads lie side by side, where a binary search among whole
//! keys would wait for a cache line a step, and three bytes nearly always decide. Rows and suffixes stay where they are
//! when a key is put between others: only four bytes a key move, and an insert touches few cache lines.
//!
//! Invariants: keys ascend strictly; every key starts with the prefix; suffixes take at most 65,535 bytes together; the
//! slots in use are a permutation of `0..count`. A page knows nothing of locks: a leaf's lock guards it.

use prefetch_index::prefetch_index;

use super::key::KeyParts;
use super::memory::allocation_bytes;
use crate::format::checkpoint::{self, EntryPage};
use crate::index::PackedEntry;

const ORDER_BYTES: usize = 4;
const HEAD_BYTES: usize = 3;
const SLOT_BITS: u32 = 8;
const PLACE_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
const END_BYTES: usize = 2;
const ROW_BYTES: usize = PLACE_BYTES + LENGTH_BYTES + END_BYTES;
const _ROWS_ARE_THOSE_OF_A_CHECKPOINT: () = assert!(
    ROW_BYTES == checkpoint::ROW_BYTES && MAX_ENTRIES <= checkpoint::MAX_PAGE_ENTRIES,
    "a page is loaded by copying"
);
/// How much memory is fetched at once.
const CACHE_LINE_BYTES: usize = 64;
/// What an entry takes beside its key's suffix.
const FIXED_BYTES: usize = ORDER_BYTES + ROW_BYTES;
/// The most entries that slots can name.
pub(super) const MAX_ENTRIES: usize = 1 << SLOT_BITS;

/// Keys and entries, packed.
#[derive(Default)]
pub(super) struct Page {
    bytes: Box<[u8]>,
    capacity: u16,
    count: u16,
    prefix_len: u16,
    suffix_bytes: u16,
}

impl Page {
    /// A page of exactly these entries, which must ascend.
    pub(super) fn build(entries: &[(KeyParts<'_>, PackedEntry)]) -> Self {
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
            return Self::default();
        };
        let prefix_len = first.common_len(last);
        let suffix_bytes = entries.iter().map(|(key, _)| key.len() - prefix_len).sum::<usize>();
        let mut page = Self::with_room(prefix_len, entries.len(), suffix_bytes);
        first.copy_start(&mut page.bytes[..prefix_len]);
        for (key, entry) in entries {
            page.push(key.skip(prefix_len), *entry);
        }
        page
    }

    /// A page of entries that lie as they do here, in the order of their keys.
    pub(super) fn from_rows(from: &EntryPage<'_>) -> Self {
        let count = from.rows().len();
        let mut page = Self::with_room(from.prefix().len(), count, from.suffixes().len());
        (page.count, page.suffix_bytes) = (narrow(count), narrow(from.suffixes().len()));
        let (rows, suffixes) = (page.rows_at(), page.suffixes_at());
        page.bytes[..from.prefix().len()].copy_from_slice(from.prefix());
        page.bytes[rows..suffixes].copy_from_slice(from.rows().as_flattened());
        page.bytes[suffixes..].copy_from_slice(from.suffixes());
        for (at, (suffix, ..)) in from.entries().enumerate() {
            page.set_order(at, head_of(suffix), at);
        }
        page
    }

    fn with_room(prefix_len: usize, capacity: usize, suffix_room: usize) -> Self {
        Self {
            bytes: vec![0; prefix_len + capacity * FIXED_BYTES + suffix_room].into_boxed_slice(),
            capacity: narrow(capacity),
            count: 0,
            prefix_len: narrow(prefix_len),
            suffix_bytes: 0,
        }
    }

    /// Puts an entry above all others.
    fn push(&mut self, suffix: KeyParts<'_>, entry: PackedEntry) {
        let (start, at) = (self.suffix_len(), self.len());
        let from = self.suffixes_at() + start;
        suffix.copy_start(&mut self.bytes[from..from + suffix.len()]);
        let head = head_of(&self.bytes[from..from + suffix.len()]);
        self.add_row(suffix.len(), entry);
        self.set_order(at, head, at);
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes of all suffixes together.
    pub(super) fn suffix_len(&self) -> usize {
        usize::from(self.suffix_bytes)
    }

    pub(super) fn prefix(&self) -> &[u8] {
        &self.bytes[..usize::from(self.prefix_len)]
    }

    fn suffix(&self, at: usize) -> &[u8] {
        let (base, slot) = (self.suffixes_at(), self.slot(at));
        &self.bytes[base + self.suffix_start(slot)..base + self.suffix_end(slot)]
    }

    pub(super) fn key(&self, at: usize) -> KeyParts<'_> {
        KeyParts::new(self.prefix(), self.suffix(at))
    }

    pub(super) fn entry(&self, at: usize) -> PackedEntry {
        let row = self.row_at(self.slot(at));
        let place = u64::from_le_bytes(array_at(&self.bytes, row));
        let length = u32::from_le_bytes(array_at(&self.bytes, row + PLACE_BYTES));
        PackedEntry::from_own_parts(place, length)
    }

    pub(super) fn set_entry(&mut self, at: usize, entry: PackedEntry) {
        self.set_row_entry(self.slot(at), entry);
    }

    /// All keys and entries, for building other pages.
    pub(super) fn entries(&self) -> Vec<(KeyParts<'_>, PackedEntry)> {
        (0..self.len()).map(|at| (self.key(at), self.entry(at))).collect()
    }

    /// Has the memory fetched that the search for a key and an insert look at, all at once; returns without waiting.
    ///
    /// The heads are searched from the first to the last; a key that is new goes behind the last row and the last suffix.
    pub(super) fn prefetch(&self) {
        prefetch_index(&self.bytes, self.row_at(self.len()));
        prefetch_index(&self.bytes, self.suffixes_at() + self.suffix_len());
        let order = self.order_at();
        for at in (order..order + self.len() * ORDER_BYTES).step_by(CACHE_LINE_BYTES) {
            prefetch_index(&self.bytes, at);
        }
    }

    /// Where a key is, or where it would have to go.
    pub(super) fn position(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        match key.strip_prefix(prefix) {
            Some(suffix) => self.suffix_position(suffix),
            None if key < prefix => Err(0),
            None => Err(self.len()),
        }
    }

    fn suffix_position(&self, suffix: &[u8]) -> Result<usize, usize> {
        let order = &self.bytes[self.order_at()..self.order_at() + self.len() * ORDER_BYTES];
        let head = head_of(suffix);
        let mut low = count_heads_below(order, head);
        let mut high = low + count_heads_equal(&order[low * ORDER_BYTES..], head);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.suffix(middle).cmp(suffix) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Puts a key that starts with the prefix at its position; `spare` is how many more to make room for on growing.
    pub(super) fn insert(&mut self, at: usize, suffix: &[u8], entry: PackedEntry, spare: usize) {
        self.grow_for(suffix.len(), spare);
        let (slot, order) = (self.len(), self.order_at());
        self.bytes.copy_within(
            order + at * ORDER_BYTES..order + slot * ORDER_BYTES,
            order + (at + 1) * ORDER_BYTES,
        );
        let from = self.suffixes_at() + self.suffix_len();
        self.bytes[from..from + suffix.len()].copy_from_slice(suffix);
        self.add_row(suffix.len(), entry);
        self.set_order(at, head_of(suffix), slot);
    }

    /// Takes an entry out; gives memory back when more than half would lie idle.
    pub(super) fn remove(&mut self, at: usize) {
        let slot = self.slot(at);
        let (start, end) = (self.suffix_start(slot), self.suffix_end(slot));
        let order = self.order_at();
        self.bytes.copy_within(
            order + (at + 1) * ORDER_BYTES..order + self.len() * ORDER_BYTES,
            order + at * ORDER_BYTES,
        );
        self.remove_row(slot, start, end);
        let used = usize::from(self.prefix_len) + self.len() * FIXED_BYTES + self.suffix_len();
        if self.bytes.len() > 2 * used {
            self.relocate(self.len(), self.suffix_len());
        }
    }

    /// What the allocation takes.
    pub(super) fn heap_bytes(&self) -> usize {
        allocation_bytes(self.bytes.len())
    }

    /// Closes the gap that a row and its suffix leave, once nothing in the order of keys names it.
    fn remove_row(&mut self, slot: usize, start: usize, end: usize) {
        let (rows, suffixes) = (self.rows_at(), self.suffixes_at());
        self.bytes.copy_within(
            rows + (slot + 1) * ROW_BYTES..rows + self.len() * ROW_BYTES,
            rows + slot * ROW_BYTES,
        );
        self.bytes.copy_within(suffixes + end..suffixes + self.suffix_len(), suffixes + start);
        self.count -= 1;
        self.suffix_bytes -= narrow(end - start);
        for moved in slot..self.len() {
            self.set_suffix_end(moved, self.suffix_end(moved) - (end - start));
        }
        for at in 0..self.len() {
            let named = self.slot(at);
            self.bytes[self.slot_at(at)] = narrow_slot(named - usize::from(named > slot));
        }
    }

    fn grow_for(&mut self, suffix_len: usize, spare: usize) {
        let needed = self.suffix_len() + suffix_len;
        if self.count < self.capacity && self.suffixes_at() + needed <= self.bytes.len() {
            return;
        }
        let capacity = usize::from(self.capacity).max(self.len() + 1 + spare);
        let average = needed.div_ceil(self.len() + 1);
        self.relocate(capacity, needed + (capacity - self.len() - 1) * average);
    }

    /// Moves everything to an allocation with room for `capacity` entries and `suffix_room` bytes of suffixes.
    fn relocate(&mut self, capacity: usize, suffix_room: usize) {
        let mut moved = Self::with_room(usize::from(self.prefix_len), capacity, suffix_room);
        (moved.count, moved.suffix_bytes) = (self.count, self.suffix_bytes);
        let regions = |page: &Self| [0, page.order_at(), page.rows_at(), page.suffixes_at()];
        let count = self.len();
        let lengths =
            [usize::from(self.prefix_len), count * ORDER_BYTES, count * ROW_BYTES, self.suffix_len()];
        for ((from, to), len) in regions(self).into_iter().zip(regions(&moved)).zip(lengths) {
            moved.bytes[to..to + len].copy_from_slice(&self.bytes[from..from + len]);
        }
        *self = moved;
    }

    /// Counts a row in, whose suffix lies in its place already.
    fn add_row(&mut self, suffix_len: usize, entry: PackedEntry) {
        let slot = self.len();
        self.count += 1;
        self.suffix_bytes += narrow(suffix_len);
        self.set_row_entry(slot, entry);
        self.set_suffix_end(slot, self.suffix_len());
    }

    fn set_order(&mut self, at: usize, head: u32, slot: usize) {
        let order = self.order_at() + at * ORDER_BYTES;
        let ordered = head << SLOT_BITS | u32::from(narrow_slot(slot));
        self.bytes[order..order + ORDER_BYTES].copy_from_slice(&ordered.to_le_bytes());
    }

    fn set_row_entry(&mut self, slot: usize, entry: PackedEntry) {
        let row = self.row_at(slot);
        let [place, length] = [row, row + PLACE_BYTES];
        self.bytes[place..length].copy_from_slice(&entry.place().to_le_bytes());
        self.bytes[length..length + LENGTH_BYTES].copy_from_slice(&entry.length().to_le_bytes());
    }

    fn slot(&self, at: usize) -> usize {
        usize::from(self.bytes[self.slot_at(at)])
    }

    /// The slot is the lowest byte of a little-endian number.
    fn slot_at(&self, at: usize) -> usize {
        self.order_at() + at * ORDER_BYTES
    }

    fn row_at(&self, slot: usize) -> usize {
        self.rows_at() + slot * ROW_BYTES
    }

    fn suffix_start(&self, slot: usize) -> usize {
        slot.checked_sub(1).map_or(0, |before| self.suffix_end(before))
    }

    fn suffix_end(&self, slot: usize) -> usize {
        let at = self.row_at(slot) + PLACE_BYTES + LENGTH_BYTES;
        usize::from(u16::from_le_bytes(array_at(&self.bytes, at)))
    }

    fn set_suffix_end(&mut self, slot: usize, end: usize) {
        let at = self.row_at(slot) + PLACE_BYTES + LENGTH_BYTES;
        self.bytes[at..at + END_BYTES].copy_from_slice(&narrow(end).to_le_bytes());
    }

    fn order_at(&self) -> usize {
        usize::from(self.prefix_len)
    }

    fn rows_at(&self) -> usize {
        self.order_at() + usize::from(self.capacity) * ORDER_BYTES
    }

    fn suffixes_at(&self) -> usize {
        self.rows_at() + usize::from(self.capacity) * ROW_BYTES
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn narrow(wide: usize) -> u16 {
    u16::try_from(wide).unwrap_or_else(|_| panic!("{wide} does not fit a page's 16 bits"))
}

fn narrow_slot(slot: usize) -> u8 {
    u8::try_from(slot).unwrap_or_else(|_| panic!("slot {slot} of a page of {MAX_ENTRIES}"))
}

/// The first three bytes of a suffix, zeros standing in for missing ones. Equal heads decide nothing.
fn head_of(suffix: &[u8]) -> u32 {
    let first = match suffix.first_chunk::<HEAD_BYTES>() {
        Some(&first) => first,
        None => std::array::from_fn(|at| suffix.get(at).copied().unwrap_or(0)),
    };
    let [high, middle, low] = first;
    u32::from_be_bytes([0, high, middle, low])
}

/// Counts without branches: the compiler makes vector instructions of it, and no load waits for another.
fn count_heads_below(order: &[u8], head: u32) -> usize {
    let least = head << SLOT_BITS;
    let below = |raw: &[u8; ORDER_BYTES]| u32::from(u32::from_le_bytes(*raw) < least);
    order.as_chunks().0.iter().map(below).sum::<u32>() as usize
}

fn count_heads_equal(order: &[u8], head: u32) -> usize {
    order.as_chunks().0.iter().take_while(|raw| u32::from_le_bytes(**raw) >> SLOT_BITS == head).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::Page;
    use crate::index::PackedEntry;
    use crate::index::ordered::key::KeyParts;

    fn entry(number: u32) -> PackedEntry {
        PackedEntry::from_parts(u64::from(number) << 33, number).expect("small numbers are values")
    }

    fn build(model: &BTreeMap<Vec<u8>, PackedEntry>) -> Page {
        let entries = model.iter().map(|(key, entry)| (KeyParts::whole(key), *entry)).collect::<Vec<_>>();
        Page::build(&entries)
    }

    fn contents(page: &Page) -> Vec<(Vec<u8>, PackedEntry)> {
        page.entries().into_iter().map(|(key, entry)| (key.to_boxed().into_vec(), entry)).collect()
    }

    fn suffixes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(vec![0u8, 1, 254, 255]), 0..5)
    }

    proptest! {
        #[test]
        fn a_page_is_a_sorted_map_of_keys_with_one_prefix(
            first in proptest::collection::btree_set(suffixes(), 2..20),
            steps in proptest::collection::vec((suffixes(), any::<bool>(), 0u32..100), 0..60),
        ) {
            let mut model = first.into_iter().map(|key| ([b"shared", &key[..]].concat(), entry(7))).collect();
            let mut page = build(&model);
            let prefix = page.prefix().to_vec();
            for (suffix, remove, number) in steps {
                let key = [&prefix[..], &suffix].concat();
                let position = page.position(&key);
                prop_assert_eq!(position.is_ok(), model.contains_key(&key));
                match position {
                    Ok(at) if remove => { page.remove(at); model.remove(&key); }
                    Ok(at) => { page.set_entry(at, entry(number)); model.insert(key, entry(number)); }
                    Err(at) => { page.insert(at, &suffix, entry(number), 2); model.insert(key, entry(number)); }
                }
                prop_assert_eq!(contents(&page), model.clone().into_iter().collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_key_is_found_or_placed_as_the_sort_order_says(
            keys in proptest::collection::btree_set(suffixes(), 0..20), probe in suffixes(),
        ) {
            let model = keys.iter().map(|key| (key.clone(), entry(1))).collect();
            let sorted = keys.into_iter().collect::<Vec<_>>();
            prop_assert_eq!(build(&model).position(&probe), sorted.binary_search(&probe));
        }

        #[test]
        fn idle_memory_stays_below_what_is_used(keys in proptest::collection::btree_set(suffixes(), 1..40)) {
            let model = keys.iter().map(|key| (key.clone(), entry(1))).collect();
            let mut page = build(&model);
            while page.len() > 1 {
                page.remove(0);
                let tight = Page::build(&page.entries());
                prop_assert!(page.bytes.len() <= 2 * tight.bytes.len() + 2 * page.len() * 5);
            }
        }
    }

    #[test]
    fn the_longest_key_alone_is_all_prefix() {
        let page = build(&BTreeMap::from([(vec![9; 65_535], entry(1))]));
        assert_eq!((page.prefix().len(), page.suffix_len()), (65_535, 0));
        assert_eq!(page.position(&vec![9; 65_535]), Ok(0));
    }
}
