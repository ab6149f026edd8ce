//! A part of the hash index, under one lock: pages, the directory that leads to them, and keys kept apart.
//!
//! Invariants: a tag has at most one slot, in the page that the directory names for it; the slots of a page share as many
//! bits of their tags as the page's depth says; a key is kept apart if and only if its tag's slot says so.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::block::{Blocks, Holds, Slot};
use super::page::Page;
use super::{Found, HashShape, Spot};
use crate::index::PackedEntry;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Shard {
    shape: HashShape,
    /// Bits of the tag by which the directory is looked up, beside the slice.
    depth: u32,
    /// Pages by slice and first bits of the tag; empty until there is a key.
    directory: Vec<u32>,
    pages: Vec<Page>,
    blocks: Blocks,
    slot_count: usize,
    /// Slots that say that keys lie apart. They stay, also when those keys are removed: a write that relies on one is
    /// decided before it is published.
    marker_count: usize,
    apart: HashMap<Box<[u8]>, PackedEntry, FixedState>,
    apart_key_bytes: usize,
}

/// Where a slot is.
struct At {
    page: usize,
    position: Result<usize, usize>,
}

impl Shard {
    pub(super) fn new(shape: HashShape) -> Self {
        Self {
            shape,
            depth: 0,
            directory: Vec::new(),
            pages: Vec::new(),
            blocks: Blocks::new(),
            slot_count: 0,
            marker_count: 0,
            apart: HashMap::default(),
            apart_key_bytes: 0,
        }
    }

    pub(super) fn find(&self, spot: Spot, key: &[u8]) -> Found {
        match self.holds(spot) {
            None => Found::Vacant,
            Some(Holds::Entry(entry)) => Found::OfTag(entry.into()),
            Some(Holds::Apart) => Found::Apart(self.apart.get(key).map(|&entry| entry.into())),
        }
    }

    fn holds(&self, spot: Spot) -> Option<Holds> {
        if self.directory.is_empty() {
            return None;
        }
        let page = &self.pages[self.page_of(spot)];
        let position = page.position(spot.tag, self.shape.tag_bits, &self.blocks).ok()?;
        Some(page.slot(position, &self.blocks).holds())
    }

    pub(super) fn upsert(&mut self, spot: Spot, key: &[u8], entry: PackedEntry) -> Option<PackedEntry> {
        let slot = Slot::of(spot.tag, entry);
        match (self.holds(spot), slot) {
            (Some(Holds::Apart), _) => self.put_apart(key, entry),
            (previous, Some(slot)) => {
                self.set(spot, slot);
                previous.and_then(entry_of)
            }
            (previous, None) => {
                self.mark(spot);
                self.put_apart(key, entry);
                previous.and_then(entry_of)
            }
        }
    }

    pub(super) fn replace_if(
        &mut self,
        spot: Spot,
        key: &[u8],
        expected: PackedEntry,
        new: PackedEntry,
    ) -> bool {
        let present = self.entry(spot, key);
        if present == Some(expected) {
            self.upsert(spot, key, new);
        }
        present == Some(expected)
    }

    pub(super) fn remove_if(&mut self, spot: Spot, key: &[u8], expected: PackedEntry) -> bool {
        match self.holds(spot) {
            Some(Holds::Entry(entry)) if entry == expected => self.remove(spot),
            Some(Holds::Apart) if self.apart.get(key) == Some(&expected) => {
                self.apart.remove(key);
                self.apart_key_bytes -= key.len();
            }
            _ => return false,
        }
        true
    }

    /// Keeps keys with this tag apart from now on: that of the entry which the tag has, if it is still this one.
    pub(super) fn set_apart(&mut self, spot: Spot, occupant: Option<(&[u8], PackedEntry)>) -> bool {
        match (self.holds(spot), occupant) {
            (Some(Holds::Apart), _) => true,
            (None, None) => {
                self.mark(spot);
                true
            }
            (Some(Holds::Entry(found)), Some((key, entry))) if found == entry => {
                self.mark(spot);
                self.put_apart(key, entry);
                true
            }
            _ => false,
        }
    }

    fn entry(&self, spot: Spot, key: &[u8]) -> Option<PackedEntry> {
        match self.holds(spot)? {
            Holds::Entry(entry) => Some(entry),
            Holds::Apart => self.apart.get(key).copied(),
        }
    }

    fn put_apart(&mut self, key: &[u8], entry: PackedEntry) -> Option<PackedEntry> {
        if let Some(present) = self.apart.get_mut(key) {
            return Some(std::mem::replace(present, entry));
        }
        self.apart_key_bytes += key.len();
        self.apart.insert(key.into(), entry)
    }

    fn mark(&mut self, spot: Spot) {
        self.set(spot, Slot::apart(spot.tag));
        self.marker_count += 1;
    }

    /// Sets the slot of a tag, whether it has one or not.
    fn set(&mut self, spot: Spot, slot: Slot) {
        let mut at = self.at(spot);
        while at.position.is_err() && self.pages[at.page].len() >= self.shape.page_slots {
            self.split(at.page, spot);
            at = self.at(spot);
        }
        match at.position {
            Ok(position) => self.pages[at.page].set(position, slot, &mut self.blocks),
            Err(position) => {
                self.pages[at.page].insert(position, slot, &mut self.blocks);
                self.slot_count += 1;
            }
        }
    }

    fn remove(&mut self, spot: Spot) {
        let At { page, position } = self.at(spot);
        let position = position.expect("it was found under the same lock");
        self.pages[page].remove(position, &mut self.blocks);
        self.slot_count -= 1;
    }

    fn at(&mut self, spot: Spot) -> At {
        if self.directory.is_empty() {
            let slices = 1 << self.shape.slice_bits;
            self.directory = (0..slices).collect();
            self.pages = (0..slices).map(|_| Page::new(0)).collect();
        }
        let page = self.page_of(spot);
        At { page, position: self.pages[page].position(spot.tag, self.shape.tag_bits, &self.blocks) }
    }

    fn page_of(&self, spot: Spot) -> usize {
        let first_bits = spot.tag >> (self.shape.tag_bits - self.depth);
        self.directory[((spot.slice as usize) << self.depth) + first_bits as usize] as usize
    }

    /// Splits a full page. Tags differ, so that each half gets some in the end.
    fn split(&mut self, page: usize, spot: Spot) {
        if self.pages[page].depth() == self.depth {
            let mut doubled = Vec::with_capacity(2 * self.directory.len());
            self.directory.iter().for_each(|&page| doubled.extend([page, page]));
            self.directory = doubled;
            self.depth += 1;
        }
        let upper = self.pages[page].split(self.shape.tag_bits, &mut self.blocks);
        let number = u32::try_from(self.pages.len()).expect("far below 4 billion pages");
        // The directory names a page once for each value of the bits that its slots do not share.
        let free_bits = self.depth - upper.depth();
        let shared = spot.tag >> (self.shape.tag_bits - upper.depth()) | 1;
        let first = ((spot.slice as usize) << self.depth) + ((shared as usize) << free_bits);
        self.directory[first..first + (1 << free_bits)].fill(number);
        if self.pages.len() == self.pages.capacity() {
            self.pages.reserve_exact(self.pages.len() / 8 + 1);
        }
        self.pages.push(upper);
    }

    /// How many keys have an entry.
    pub(super) fn key_count(&self) -> usize {
        self.slot_count - self.marker_count + self.apart.len()
    }

    /// How many pages there are. None ever goes, and what leaves a page when it is split goes to a later one.
    pub(super) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// The entries of a page, without their keys.
    pub(super) fn entries_of(&self, page: usize) -> impl Iterator<Item = PackedEntry> + '_ {
        let page = &self.pages[page];
        (0..page.len()).filter_map(move |at| entry_of(page.slot(at, &self.blocks).holds()))
    }

    /// The keys kept apart, and their entries.
    pub(super) fn kept_apart(&self) -> impl Iterator<Item = (&[u8], PackedEntry)> {
        self.apart.iter().map(|(key, &entry)| (&**key, entry))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let apart =
            self.apart.capacity() * (size_of::<(Box<[u8]>, PackedEntry)>() + 1) + self.apart_key_bytes;
        self.blocks.heap_bytes()
            + self.pages.capacity() * size_of::<Page>()
            + self.directory.capacity() * size_of::<u32>()
            + apart
    }
}

fn entry_of(holds: Holds) -> Option<PackedEntry> {
    match holds {
        Holds::Entry(entry) => Some(entry),
        Holds::Apart => None,
    }
}
