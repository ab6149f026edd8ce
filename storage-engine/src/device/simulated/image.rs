//! What a simulated device holds, and what a crash leaves of it.
//!
//! An image is cheap to clone: zones share their bytes until one is written to. That is what makes a crash at every I/O
//! affordable: the device is cloned there, and the clone crashes.
//!
//! Invariants, which are the crash model's assumptions about media:
//! - What a flush has covered stays as it is through any crash.
//! - Everything else is new, old, zeroed or torn after a power cut, each sector for itself.
//! - A write pointer is found at or after the end of every append that a flush has covered, at most at the capacity, and
//!   never in a zone that nothing has been appended to since its reset.
//! - No more zones are active than the device allows.

use std::sync::Arc;

use super::kept::Kept;
use crate::buffer::AlignedBuffer;
use crate::device::{Geometry, ZoneState};
use crate::seeded::Seeded;
use crate::units::{SECTOR_BYTES, ZoneId};

#[expect(clippy::cast_possible_truncation, reason = "512")]
const SECTOR: usize = SECTOR_BYTES as usize;

/// How the use of a device ends without order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The process is killed: what was submitted is done or dropped, caches survive.
    Kill,
    /// Power is cut: caches are lost.
    PowerCut,
}

/// Everything that a simulated device holds.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) geometry: Geometry,
    pub(super) zones: Vec<ZoneImage>,
    pub(super) volatile: Vec<Volatile>,
    pub(super) kept: Kept,
    lost: Vec<Lost>,
    flush_failed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct ZoneImage {
    pub(super) state: ZoneState,
    /// In a finished zone, where writing stopped.
    pub(super) written_bytes: usize,
    pub(super) reset_count: u32,
    /// Up to where the write pointer is certain to be found after a power cut.
    pub(super) stable_bytes: usize,
    /// Whether it is certain to be found full.
    pub(super) stably_full: bool,
    /// As reads see them, caches included.
    pub(super) bytes: Arc<Vec<u8>>,
}

/// An append that no flush has covered.
#[derive(Clone, Debug)]
pub(super) struct Volatile {
    pub(super) id: u64,
    pub(super) zone: ZoneId,
    pub(super) at: usize,
    pub(super) new: Arc<AlignedBuffer>,
    pub(super) before: Arc<[u8]>,
    /// Whether its completion has been reported.
    pub(super) ended: bool,
    /// Whether a flush that should have covered it has failed: the next opening finds what is on the media.
    pub(super) given_up: bool,
}

/// An append that a crash took, at least in part; it may turn up later.
#[derive(Clone, Debug)]
struct Lost {
    zone: ZoneId,
    reset_count: u32,
    at: usize,
    bytes: Arc<AlignedBuffer>,
}

impl Image {
    pub(super) fn blank(geometry: Geometry) -> Self {
        let size = usize::try_from(geometry.zone_size_bytes).expect("64-bit sizes");
        let zone = || ZoneImage {
            state: ZoneState::Empty,
            written_bytes: 0,
            reset_count: 0,
            stable_bytes: 0,
            stably_full: false,
            bytes: Arc::new(vec![0; size]),
        };
        let zones = geometry.zones().map(|_| zone()).collect();
        Self {
            geometry,
            zones,
            volatile: Vec::new(),
            kept: Kept::default(),
            lost: Vec::new(),
            flush_failed: false,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        usize::try_from(self.geometry.zone_capacity_bytes).expect("64-bit sizes")
    }

    pub(super) fn zone_mut(&mut self, zone: ZoneId) -> &mut ZoneImage {
        &mut self.zones[zone.index()]
    }

    /// Whether both hold the same bytes under the same states.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(mine, theirs): (&ZoneImage, &ZoneImage)| {
            (mine.state, mine.written_bytes, mine.reset_count)
                == (theirs.state, theirs.written_bytes, theirs.reset_count)
                && (Arc::ptr_eq(&mine.bytes, &theirs.bytes) || mine.bytes == theirs.bytes)
        };
        self.zones.iter().zip(&other.zones).all(same) && self.kept.bytes == other.kept.bytes
    }

    pub(super) fn write(&mut self, zone: ZoneId, at: usize, bytes: &[u8]) {
        Arc::make_mut(&mut self.zone_mut(zone).bytes)[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Puts an append that has ended on stable media.
    pub(super) fn harden(&mut self, append: &Volatile) {
        let end = append.at + append.new.len();
        let capacity = self.capacity();
        let zone = self.zone_mut(append.zone);
        zone.stable_bytes = zone.stable_bytes.max(end);
        zone.stably_full |= zone.stable_bytes == capacity;
    }

    /// What a flush that succeeds does.
    pub(super) fn flush(&mut self) {
        let volatile = std::mem::take(&mut self.volatile);
        let (covered, left): (Vec<_>, Vec<_>) =
            volatile.into_iter().partition(|append| append.ended && !append.given_up);
        covered.iter().for_each(|append| self.harden(append));
        self.volatile = left;
        let finished = |zone: &&mut ZoneImage| zone.state == ZoneState::Full;
        self.zones.iter_mut().filter(finished).for_each(|zone| zone.stably_full = true);
        self.kept.flush();
    }

    /// What a flush that fails does.
    pub(super) fn give_up(&mut self) {
        self.flush_failed = true;
        self.volatile.iter_mut().for_each(|append| append.given_up = true);
    }

    /// Whether a flush has failed: then a process that is killed may lose what it had written as well.
    #[must_use]
    pub fn has_failed_to_flush(&self) -> bool {
        self.flush_failed
    }

    /// What is found after a crash.
    pub fn crash(&mut self, crash: Crash, random: &mut Seeded) {
        self.flush_failed = false;
        self.kept.crash(crash, random);
        match crash {
            Crash::Kill => self.kill(random),
            Crash::PowerCut => self.cut_power(random),
        }
        for zone in &mut self.zones {
            if zone.state.is_open() {
                zone.state = if zone.written_bytes == 0 { ZoneState::Empty } else { ZoneState::Closed };
            }
        }
    }

    fn kill(&mut self, random: &mut Seeded) {
        for mut append in std::mem::take(&mut self.volatile) {
            if append.given_up {
                // What a failed flush has left is found as it is on the media.
                self.leave(&append, random);
                self.harden(&append);
                continue;
            }
            if !append.ended {
                self.leave(&append, random);
                append.new = self.seen(&append);
                append.ended = true;
            }
            self.volatile.push(append);
        }
    }

    fn cut_power(&mut self, random: &mut Seeded) {
        let volatile = std::mem::take(&mut self.volatile);
        // Mostly each append fares for itself; sometimes all that had ended survive, sometimes none does.
        let mood = random.below(6);
        for append in &volatile {
            match mood {
                0 => self.lose(append, &append.before),
                1 if append.ended && !append.given_up => {}
                _ => self.leave(append, random),
            }
        }
        for zone in self.geometry.zones() {
            let state = &self.zones[zone.index()];
            let unfinished = state.state == ZoneState::Full && !state.stably_full;
            if unfinished || volatile.iter().any(|append| append.zone == zone) {
                self.shake_write_pointer(zone, random);
            }
        }
        // What is found now is found by everybody.
        for zone in &mut self.zones {
            zone.stable_bytes = zone.written_bytes;
            zone.stably_full = zone.state == ZoneState::Full;
        }
    }

    /// Leaves of an append what chance wants.
    fn leave(&mut self, append: &Volatile, random: &mut Seeded) {
        if let Some(left) = left_of(&append.new, &append.before, random) {
            self.lose(append, &left);
        }
    }

    fn lose(&mut self, append: &Volatile, left: &[u8]) {
        self.write(append.zone, append.at, left);
        let reset_count = self.zones[append.zone.index()].reset_count;
        let (zone, at, bytes) = (append.zone, append.at, Arc::clone(&append.new));
        self.lost.push(Lost { zone, reset_count, at, bytes });
    }

    fn seen(&self, append: &Volatile) -> Arc<AlignedBuffer> {
        let mut seen = AlignedBuffer::zeroed(append.new.len());
        let end = append.at + append.new.len();
        seen.copy_from_slice(&self.zones[append.zone.index()].bytes[append.at..end]);
        Arc::new(seen)
    }

    fn shake_write_pointer(&mut self, zone: ZoneId, random: &mut Seeded) {
        let (capacity, block) = (self.capacity(), self.geometry.block_bytes as usize);
        let active_count = self.zones.iter().filter(|zone| zone.state.is_active()).count();
        let found = self.zone_mut(zone);
        if found.stably_full || found.state.is_worn() {
            return;
        }
        let furthest = capacity.min(found.written_bytes + 4 * block);
        found.written_bytes = match random.below(4) {
            0 => found.stable_bytes,
            1 => found.written_bytes,
            _ => found.stable_bytes + random.index((furthest - found.stable_bytes) / block + 1) * block,
        };
        let was_active = found.state.is_active();
        found.state = match found.written_bytes {
            0 => ZoneState::Empty,
            bytes if bytes == capacity => ZoneState::Full,
            _ => ZoneState::Closed,
        };
        // A device holds no more zones active than it can, whatever has happened.
        let limit = self.geometry.max_active_zones as usize;
        let found = self.zone_mut(zone);
        if found.state.is_active() && !was_active && active_count >= limit {
            found.state = ZoneState::Full;
        }
    }

    /// Has appends that crashes took turn up after all, where nothing has been written over them.
    pub fn turn_up(&mut self, random: &mut Seeded) {
        for lost in std::mem::take(&mut self.lost) {
            let zone = &self.zones[lost.zone.index()];
            let there = zone.reset_count == lost.reset_count
                && lost.at + lost.bytes.len() <= zone.written_bytes
                && !zone.state.is_worn();
            if there && random.chance(1, 2) {
                self.write(lost.zone, lost.at, &lost.bytes);
            } else if zone.reset_count == lost.reset_count {
                self.lost.push(lost);
            }
        }
    }

    /// Forgets lost appends that a new one is written over.
    pub(super) fn write_over(&mut self, zone: ZoneId, at: usize, end: usize) {
        self.lost.retain(|lost| lost.zone != zone || lost.at + lost.bytes.len() <= at || end <= lost.at);
    }

    /// Flips one bit of something written; `None` when nothing is.
    pub fn rot(&mut self, random: &mut Seeded) -> Option<(ZoneId, usize)> {
        let written: Vec<ZoneId> = self.written_zones().collect();
        let zone = *written.get(random.index(written.len()))?;
        let at = random.index(self.zones[zone.index()].written_bytes);
        let flipped = self.zones[zone.index()].bytes[at] ^ (1 << random.below(8));
        self.write(zone, at, &[flipped]);
        Some((zone, at))
    }

    /// Wears out a zone that has something in it, beyond the first `spared` ones; `None` when none has.
    pub fn degrade(&mut self, spared: u32, offline: bool, random: &mut Seeded) -> Option<ZoneId> {
        let written: Vec<ZoneId> = self.written_zones().filter(|zone| zone.get() >= spared).collect();
        let zone = *written.get(random.index(written.len()))?;
        self.zone_mut(zone).state = if offline { ZoneState::Offline } else { ZoneState::ReadOnly };
        Some(zone)
    }

    /// Whether a zone has gone read-only or offline.
    #[must_use]
    pub fn has_worn_zones(&self) -> bool {
        self.zones.iter().any(|zone| zone.state.is_worn())
    }

    fn written_zones(&self) -> impl Iterator<Item = ZoneId> + '_ {
        let alive = |zone: &ZoneImage| zone.written_bytes > 0 && !zone.state.is_worn();
        self.geometry.zones().filter(move |zone| alive(&self.zones[zone.index()]))
    }
}

/// What a crash may leave of an append; `None` when all of it.
fn left_of(new: &[u8], before: &[u8], random: &mut Seeded) -> Option<Vec<u8>> {
    let sectors = new.len() / SECTOR;
    let at = random.index(sectors + 1) * SECTOR;
    let zeros = || std::iter::repeat_n(0, new.len() - at);
    Some(match random.below(8) {
        0..3 => return None,
        3 => before.to_vec(),
        4 => vec![0; new.len()],
        5 => [&new[..at], &before[at..]].concat(),
        6 => new[..at].iter().copied().chain(zeros()).collect(),
        _ => {
            let pairs = new.chunks(SECTOR).zip(before.chunks(SECTOR));
            pairs.flat_map(|(new, before)| if random.chance(1, 2) { new } else { before }).copied().collect()
        }
    })
}
