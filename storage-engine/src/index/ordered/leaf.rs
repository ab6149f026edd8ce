//! A leaf: neighbouring keys and their entries, and the rules of when it splits and when it joins its neighbour.
//!
//! Invariants: at most `Shape::leaf_entries` entries; with two or more, at most `Shape::leaf_suffix_bytes` bytes of
//! suffixes, so that an insert moves little memory. A leaf may be empty for a moment, between a split and the insert
//! that asked for it, or between a remove and the tidying after it.
//! Threading: each leaf has a lock of its own, taken after those of the directory and the chunk that lead to it.

use std::ops::Bound;

use super::Shape;
use super::key::{KeyParts, common_len, shortest_between};
use super::page::Page;
use crate::format::checkpoint::BlockBuilder;
use crate::index::{Entry, PackedEntry};

/// Sorted entries of one range of keys.
#[derive(Default)]
pub(super) struct Leaf {
    page: Page,
}

/// What came of an upsert.
pub(super) enum Upserted {
    Inserted,
    Replaced(PackedEntry),
    /// Nothing was changed: the leaf has to split first.
    Full,
}

impl Leaf {
    pub(super) fn build(entries: &[(KeyParts<'_>, PackedEntry)]) -> Self {
        Self { page: Page::build(entries) }
    }

    pub(super) fn from_page(page: Page) -> Self {
        Self { page }
    }

    pub(super) fn len(&self) -> usize {
        self.page.len()
    }

    pub(super) fn first_key(&self) -> Option<KeyParts<'_>> {
        (self.len() > 0).then(|| self.page.key(0))
    }

    pub(super) fn last_key(&self) -> Option<KeyParts<'_>> {
        self.len().checked_sub(1).map(|last| self.page.key(last))
    }

    /// Copies entries from a key on into a page of a block.
    pub(super) fn export(
        &self,
        from: Option<&[u8]>,
        block: &mut BlockBuilder,
        mut keep: impl FnMut(KeyParts<'_>, PackedEntry) -> bool,
    ) {
        let first = from.map_or(0, |key| self.count_below(key));
        block.begin_page(self.page.prefix());
        for at in first..self.len() {
            let (key, entry) = (self.page.key(at), self.page.entry(at));
            if keep(key, entry) {
                block.push_entry(key.suffix(), entry.place(), entry.length());
            }
        }
        block.end_page();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.page.heap_bytes()
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Option<PackedEntry> {
        self.page.position(key).ok().map(|at| self.page.entry(at))
    }

    pub(super) fn upsert(&mut self, key: &[u8], entry: PackedEntry, shape: &Shape) -> Upserted {
        // In a large index the page is in no cache, and it is looked at in several places.
        self.page.prefetch();
        match self.page.position(key) {
            Ok(at) => {
                let previous = self.page.entry(at);
                self.page.set_entry(at, entry);
                Upserted::Replaced(previous)
            }
            Err(_) if !self.has_room_for(key, shape) => Upserted::Full,
            Err(at) => {
                self.insert(at, key, entry, shape);
                Upserted::Inserted
            }
        }
    }

    pub(super) fn replace_if(&mut self, key: &[u8], expected: PackedEntry, new: PackedEntry) -> bool {
        let position = self.position_of(key, expected);
        if let Some(at) = position {
            self.page.set_entry(at, new);
        }
        position.is_some()
    }

    pub(super) fn remove_if(&mut self, key: &[u8], expected: PackedEntry) -> bool {
        let position = self.position_of(key, expected);
        if let Some(at) = position {
            self.page.remove(at);
        }
        position.is_some()
    }

    /// Appends entries from the bound upwards until `into` holds `goal`.
    pub(super) fn ascend(&self, from: Bound<&[u8]>, goal: usize, into: &mut Vec<(Box<[u8]>, Entry)>) {
        let first = match from {
            Bound::Unbounded => 0,
            Bound::Included(key) => self.count_below(key),
            Bound::Excluded(key) => self.count_up_to(key),
        };
        let room = goal.saturating_sub(into.len());
        into.extend((first..self.len()).take(room).map(|at| self.item(at)));
    }

    /// Appends entries from the bound downwards until `into` holds `goal`.
    pub(super) fn descend(&self, below: Bound<&[u8]>, goal: usize, into: &mut Vec<(Box<[u8]>, Entry)>) {
        let end = match below {
            Bound::Unbounded => self.len(),
            Bound::Included(key) => self.count_up_to(key),
            Bound::Excluded(key) => self.count_below(key),
        };
        let room = goal.saturating_sub(into.len());
        into.extend((0..end).rev().take(room).map(|at| self.item(at)));
    }

    /// Splits so that `key` comes nearer to fitting, or does nothing where it fits already or is present. Gives the
    /// upper leaf and the separator that it begins at.
    ///
    /// A key at either end gets a leaf of its own, so that ascending and descending loads leave full leaves behind
    /// them. It also ends the splitting: a key between others halves the leaf until it is at an end.
    pub(super) fn split_for(&mut self, key: &[u8], shape: &Shape) -> Option<(Box<[u8]>, Self)> {
        let Err(at) = self.page.position(key) else { return None };
        if self.has_room_for(key, shape) {
            return None;
        }
        let (below, above, cut) = match at {
            0 => (KeyParts::whole(key), self.page.key(0), 0),
            _ if at == self.len() => (self.page.key(at - 1), KeyParts::whole(key), at),
            _ => (self.page.key(self.len() / 2 - 1), self.page.key(self.len() / 2), self.len() / 2),
        };
        Some((shortest_between(below, above), self.split_off(cut)))
    }

    /// Takes in the leaf above where the two fill at most half a leaf; says whether it did, leaving `upper` empty.
    pub(super) fn absorb(&mut self, upper: &mut Self, shape: &Shape) -> bool {
        if self.len() == 0 {
            std::mem::swap(self, upper);
        }
        if upper.len() == 0 {
            return true;
        }
        let mut entries = self.page.entries();
        entries.extend(upper.page.entries());
        if entries.len() > shape.leaf_entries / 2 || suffix_bytes(&entries) > shape.leaf_suffix_bytes / 2 {
            return false;
        }
        *self = Self::build(&entries);
        *upper = Self::default();
        true
    }

    fn split_off(&mut self, cut: usize) -> Self {
        if cut == 0 {
            return std::mem::take(self);
        }
        let mut lower = self.page.entries();
        let upper = Self::build(&lower.split_off(cut));
        if upper.len() > 0 {
            *self = Self::build(&lower);
        }
        upper
    }

    fn has_room_for(&self, key: &[u8], shape: &Shape) -> bool {
        if self.len() == 0 {
            return true;
        }
        let prefix = self.page.prefix();
        let common = if key.starts_with(prefix) { prefix.len() } else { common_len(prefix, key) };
        let grown = self.page.suffix_len() + self.len() * (prefix.len() - common) + key.len() - common;
        self.len() < shape.leaf_entries && grown <= shape.leaf_suffix_bytes
    }

    fn insert(&mut self, at: usize, key: &[u8], entry: PackedEntry, shape: &Shape) {
        let prefix = self.page.prefix();
        match key.strip_prefix(prefix) {
            Some(suffix) if self.len() > 0 => {
                let spare = (self.len() / 4 + 1).min(shape.leaf_entries - self.len() - 1);
                self.page.insert(at, suffix, entry, spare);
            }
            _ => self.rebuild_with(at, key, entry),
        }
    }

    fn rebuild_with(&mut self, at: usize, key: &[u8], entry: PackedEntry) {
        let mut entries = self.page.entries();
        entries.insert(at, (KeyParts::whole(key), entry));
        *self = Self::build(&entries);
    }

    fn position_of(&self, key: &[u8], expected: PackedEntry) -> Option<usize> {
        self.page.position(key).ok().filter(|at| self.page.entry(*at) == expected)
    }

    fn count_below(&self, key: &[u8]) -> usize {
        self.page.position(key).unwrap_or_else(|at| at)
    }

    fn count_up_to(&self, key: &[u8]) -> usize {
        self.page.position(key).map_or_else(|at| at, |at| at + 1)
    }

    fn item(&self, at: usize) -> (Box<[u8]>, Entry) {
        (self.page.key(at).to_boxed(), self.page.entry(at).into())
    }
}

/// Bytes of suffixes in a leaf of these entries.
pub(super) fn suffix_bytes(entries: &[(KeyParts<'_>, PackedEntry)]) -> usize {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return 0 };
    let common = first.common_len(last);
    entries.iter().map(|(key, _)| key.len() - common).sum()
}
