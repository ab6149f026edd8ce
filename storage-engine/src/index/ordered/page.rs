//! The packed array of one leaf: sorted keys and their entries in a single allocation.
//!
//! Layout, for a capacity of `c` entries, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | `prefix_len` | the prefix that all keys share |
//! | `2 c` | heads: the first two bytes of each suffix, as a number that sorts as they do |
//! | `2 c` | ends: where each suffix ends in the suffix area |
//! | `4 c` | the lengths of the entries |
//! | `8 c` | the places of the entries |
//! | the rest | the suffixes, one after the other |
//!
//! The heads come first because a search needs nothing else most of the time: they fill four cache lines at most where
//! a binary search among whole keys would wait for a line a step.
//!
//! Invariants: keys ascend strictly; every key starts with the prefix; suffixes take at most 65,535 bytes together.
//! A page knows nothing of locks: a leaf's lock guards it.

use super::key::KeyParts;
use super::memory::allocation_bytes;
use crate::index::PackedEntry;

const HEAD_BYTES: usize = 2;
const END_BYTES: usize = 2;
const LENGTH_BYTES: usize = 4;
const PLACE_BYTES: usize = 8;
/// What an entry takes beside its key's suffix.
const FIXED_BYTES: usize = HEAD_BYTES + END_BYTES + LENGTH_BYTES + PLACE_BYTES;

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

    fn with_room(prefix_len: usize, capacity: usize, suffix_room: usize) -> Self {
        Self {
            bytes: vec![0; prefix_len + capacity * FIXED_BYTES + suffix_room].into_boxed_slice(),
            capacity: narrow(capacity),
            count: 0,
            prefix_len: narrow(prefix_len),
            suffix_bytes: 0,
        }
    }

    fn push(&mut self, suffix: KeyParts<'_>, entry: PackedEntry) {
        let (at, start) = (self.len(), self.suffix_len());
        let from = self.suffixes_at() + start;
        suffix.copy_start(&mut self.bytes[from..from + suffix.len()]);
        let head = head_of(&self.bytes[from..from + suffix.len()]);
        self.count += 1;
        self.suffix_bytes = narrow(start + suffix.len());
        self.write_row(at, head, self.suffix_bytes, entry);
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

    pub(super) fn suffix(&self, at: usize) -> &[u8] {
        let base = self.suffixes_at();
        &self.bytes[base + self.suffix_start(at)..base + self.suffix_end(at)]
    }

    pub(super) fn key(&self, at: usize) -> KeyParts<'_> {
        KeyParts::new(self.prefix(), self.suffix(at))
    }

    pub(super) fn entry(&self, at: usize) -> PackedEntry {
        let place = u64::from_le_bytes(array_at(&self.bytes, self.places_at() + at * PLACE_BYTES));
        let length = u32::from_le_bytes(array_at(&self.bytes, self.lengths_at() + at * LENGTH_BYTES));
        PackedEntry::from_own_parts(place, length)
    }

    pub(super) fn set_entry(&mut self, at: usize, entry: PackedEntry) {
        let (place_at, length_at) =
            (self.places_at() + at * PLACE_BYTES, self.lengths_at() + at * LENGTH_BYTES);
        self.bytes[place_at..place_at + PLACE_BYTES].copy_from_slice(&entry.place().to_le_bytes());
        self.bytes[length_at..length_at + LENGTH_BYTES].copy_from_slice(&entry.length().to_le_bytes());
    }

    /// All keys and entries, for building other pages.
    pub(super) fn entries(&self) -> Vec<(KeyParts<'_>, PackedEntry)> {
        (0..self.len()).map(|at| (self.key(at), self.entry(at))).collect()
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
        let heads = &self.bytes[self.heads_at()..self.heads_at() + self.len() * HEAD_BYTES];
        let head = head_of(suffix);
        let mut low = count_heads_below(heads, head);
        let mut high = low + count_heads_equal(&heads[low * HEAD_BYTES..], head);
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
        let start = self.suffix_start(at);
        self.open_gaps(at, start, suffix.len());
        let from = self.suffixes_at() + start;
        self.bytes[from..from + suffix.len()].copy_from_slice(suffix);
        self.count += 1;
        self.suffix_bytes += narrow(suffix.len());
        self.write_row(at, head_of(suffix), narrow(start + suffix.len()), entry);
        self.move_ends_after(at, |end| end + narrow(suffix.len()));
    }

    /// Takes an entry out; gives memory back when more than half would lie idle.
    pub(super) fn remove(&mut self, at: usize) {
        let (start, end) = (self.suffix_start(at), self.suffix_end(at));
        let gone = narrow(end - start);
        self.move_ends_after(at, |end| end - gone);
        self.close_gaps(at, start, end);
        self.count -= 1;
        self.suffix_bytes -= gone;
        let used = usize::from(self.prefix_len) + self.len() * FIXED_BYTES + self.suffix_len();
        if self.bytes.len() > 2 * used {
            self.relocate(self.len(), self.suffix_len());
        }
    }

    /// What the allocation takes.
    pub(super) fn heap_bytes(&self) -> usize {
        allocation_bytes(self.bytes.len())
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
        for ((from, width), (to, _)) in self.regions().into_iter().zip(moved.regions()) {
            let bytes = width * self.len();
            moved.bytes[to..to + bytes].copy_from_slice(&self.bytes[from..from + bytes]);
        }
        for (from, to, bytes) in [
            (0, 0, usize::from(self.prefix_len)),
            (self.suffixes_at(), moved.suffixes_at(), self.suffix_len()),
        ] {
            moved.bytes[to..to + bytes].copy_from_slice(&self.bytes[from..from + bytes]);
        }
        *self = moved;
    }

    fn open_gaps(&mut self, at: usize, start: usize, suffix_len: usize) {
        for (base, width) in self.regions() {
            self.bytes.copy_within(base + at * width..base + self.len() * width, base + (at + 1) * width);
        }
        let base = self.suffixes_at();
        self.bytes.copy_within(base + start..base + self.suffix_len(), base + start + suffix_len);
    }

    fn close_gaps(&mut self, at: usize, start: usize, end: usize) {
        let base = self.suffixes_at();
        self.bytes.copy_within(base + end..base + self.suffix_len(), base + start);
        for (base, width) in self.regions() {
            self.bytes.copy_within(base + (at + 1) * width..base + self.len() * width, base + at * width);
        }
    }

    fn write_row(&mut self, at: usize, head: u16, end: u16, entry: PackedEntry) {
        let (head_at, end_at) = (self.heads_at() + at * HEAD_BYTES, self.ends_at() + at * END_BYTES);
        self.bytes[head_at..head_at + HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
        self.bytes[end_at..end_at + END_BYTES].copy_from_slice(&end.to_le_bytes());
        self.set_entry(at, entry);
    }

    fn move_ends_after(&mut self, at: usize, moved: impl Fn(u16) -> u16) {
        let (from, to) = (self.ends_at() + (at + 1) * END_BYTES, self.ends_at() + self.len() * END_BYTES);
        for raw in self.bytes[from..to].as_chunks_mut().0 {
            *raw = moved(u16::from_le_bytes(*raw)).to_le_bytes();
        }
    }

    fn suffix_start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.suffix_end(before))
    }

    fn suffix_end(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes(array_at(&self.bytes, self.ends_at() + at * END_BYTES)))
    }

    /// The arrays of fixed width: where each starts, and its width.
    fn regions(&self) -> [(usize, usize); 4] {
        [
            (self.heads_at(), HEAD_BYTES),
            (self.ends_at(), END_BYTES),
            (self.lengths_at(), LENGTH_BYTES),
            (self.places_at(), PLACE_BYTES),
        ]
    }

    fn heads_at(&self) -> usize {
        usize::from(self.prefix_len)
    }

    fn ends_at(&self) -> usize {
        self.heads_at() + usize::from(self.capacity) * HEAD_BYTES
    }

    fn lengths_at(&self) -> usize {
        self.ends_at() + usize::from(self.capacity) * END_BYTES
    }

    fn places_at(&self) -> usize {
        self.lengths_at() + usize::from(self.capacity) * LENGTH_BYTES
    }

    fn suffixes_at(&self) -> usize {
        self.places_at() + usize::from(self.capacity) * PLACE_BYTES
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

/// The first two bytes of a suffix, zeros standing in for missing ones. Equal heads decide nothing.
const fn head_of(suffix: &[u8]) -> u16 {
    match suffix {
        [] => 0,
        [first] => u16::from_be_bytes([*first, 0]),
        [first, second, ..] => u16::from_be_bytes([*first, *second]),
    }
}

/// Counts without branches: the compiler makes vector instructions of it, and no load waits for another.
fn count_heads_below(heads: &[u8], head: u16) -> usize {
    let below = |raw: &[u8; HEAD_BYTES]| u16::from(u16::from_le_bytes(*raw) < head);
    usize::from(heads.as_chunks().0.iter().map(below).sum::<u16>())
}

fn count_heads_equal(heads: &[u8], head: u16) -> usize {
    heads.as_chunks().0.iter().take_while(|raw| u16::from_le_bytes(**raw) == head).count()
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
