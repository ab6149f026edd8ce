//! The zones of an emulated device in memory: states, write pointers and limits.
//!
//! Invariants:
//! - `open_count` and `active_count` are the numbers of zones in those states, and `implicit` lists the implicitly open
//!   ones, the one opened longest ago first.
//! - A state changes only under the mutex. A write pointer moves without it as long as the state stays: appends inside
//!   an open zone take their place by compare-and-swap, from any number of threads.
//! - A refusal changes nothing.
//!
//! No I/O happens here, so the mutex is never held across any.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::layout::ZoneEntry;
use super::word::ZoneWord;
use crate::device::transition::ZoneCommand;
use crate::device::{DeviceError, DeviceResult, Geometry, ZoneDescriptor, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

/// How many empty zones keep their blocks: rewriting written blocks needs no file-system journal commit.
pub(super) const KEPT_ZONES: usize = 4;

/// What to do with the blocks of a zone that has been reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Blocks {
    /// Leave them allocated.
    Keep,
    /// Return them to the file system.
    GiveBack,
}

/// Whether every block of a zone is allocated and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coverage {
    /// All of them are.
    Whole,
    /// Some are not.
    Holes,
}

#[derive(Debug)]
struct Zone {
    word: AtomicU64,
    reset_count: AtomicU32,
    blocks_written: AtomicBool,
}

#[derive(Debug, Default)]
struct Limits {
    open_count: u32,
    active_count: u32,
    implicit: VecDeque<ZoneId>,
}

/// The zones in memory.
#[derive(Debug)]
pub(super) struct Table {
    geometry: Geometry,
    zones: Vec<Zone>,
    limits: Mutex<Limits>,
}

impl Table {
    /// The table that `entries`, one a zone and none of them open, describe.
    pub(super) fn new(geometry: Geometry, entries: &[ZoneEntry]) -> Self {
        let zone = |entry: &ZoneEntry| {
            let word = ZoneWord { state: entry.state, write_pointer: entry.write_pointer };
            Zone {
                word: AtomicU64::new(word.pack(geometry.block_bytes)),
                reset_count: AtomicU32::new(entry.reset_count),
                blocks_written: AtomicBool::new(entry.blocks_written),
            }
        };
        let mut limits = Limits::default();
        for entry in entries {
            limits.account(entry.zone, ZoneState::Empty, entry.state);
        }
        Self { geometry, zones: entries.iter().map(zone).collect(), limits: Mutex::new(limits) }
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// # Errors
    /// [`DeviceError::NoSuchZone`].
    pub(super) fn check_exists(&self, zone: ZoneId) -> DeviceResult<()> {
        let zone_count = self.geometry.zone_count;
        if zone.get() < zone_count { Ok(()) } else { Err(DeviceError::NoSuchZone { zone, zone_count }) }
    }

    /// State and write pointer as they are now.
    pub(super) fn word(&self, zone: ZoneId) -> ZoneWord {
        let raw = self.zones[zone.index()].word.load(Ordering::Acquire);
        ZoneWord::unpack(raw, self.geometry.block_bytes)
    }

    /// The zone as a report gives it.
    pub(super) fn describe(&self, zone: ZoneId) -> ZoneDescriptor {
        let ZoneWord { state, write_pointer } = self.word(zone);
        let write_pointer = match state {
            ZoneState::Full => ZoneOffset::new(self.geometry.zone_capacity_bytes),
            _ => write_pointer,
        };
        let reset_count = self.zones[zone.index()].reset_count.load(Ordering::Acquire);
        ZoneDescriptor { zone, state, write_pointer, reset_count }
    }

    /// The zone as the file is to have it, but for the bound, which is at the write pointer.
    pub(super) fn entry(&self, zone: ZoneId) -> ZoneEntry {
        let ZoneWord { state, write_pointer } = self.word(zone);
        ZoneEntry {
            zone,
            state,
            blocks_written: self.blocks_written(zone) == Coverage::Whole,
            write_pointer,
            bound: write_pointer,
            reset_count: self.zones[zone.index()].reset_count.load(Ordering::Acquire),
        }
    }

    /// Whether the zone's blocks are known to be written.
    pub(super) fn blocks_written(&self, zone: ZoneId) -> Coverage {
        let written = self.zones[zone.index()].blocks_written.load(Ordering::Acquire);
        if written { Coverage::Whole } else { Coverage::Holes }
    }

    /// Remembers that every block of the zone is written.
    pub(super) fn set_blocks_written(&self, zone: ZoneId) {
        self.zones[zone.index()].blocks_written.store(true, Ordering::Release);
    }

    /// Remembers that blocks of the zone are missing.
    pub(super) fn set_blocks_missing(&self, zone: ZoneId) {
        self.zones[zone.index()].blocks_written.store(false, Ordering::Release);
    }

    /// Takes a place of `len_bytes` in the zone, opening it where needed, and gives the place.
    ///
    /// # Errors
    /// The zone's refusals, [`DeviceError::TooManyOpen`] and [`DeviceError::TooManyActive`].
    pub(super) fn take_place(&self, zone: ZoneId, len_bytes: u64) -> DeviceResult<ZoneOffset> {
        loop {
            let seen = self.word(zone);
            let next = seen.after_append(zone, len_bytes, &self.geometry)?;
            let taken = if next.state == seen.state {
                self.exchange(zone, seen, next)
            } else {
                self.take_place_and_change_state(zone, seen, next)?
            };
            if taken {
                return Ok(seen.write_pointer);
            }
        }
    }

    /// False when the zone is no longer as seen.
    fn take_place_and_change_state(
        &self,
        zone: ZoneId,
        seen: ZoneWord,
        next: ZoneWord,
    ) -> DeviceResult<bool> {
        let mut limits = self.limits.lock();
        if self.word(zone) != seen {
            return Ok(false);
        }
        // An append that fills a zone at once opens it on the way.
        self.make_room(&mut limits, zone, seen.state, ZoneState::ImplicitlyOpen)?;
        let taken = self.exchange(zone, seen, next);
        if taken {
            limits.account(zone, seen.state, next.state);
        }
        Ok(taken)
    }

    /// Performs a command other than an append or a reset.
    ///
    /// # Errors
    /// [`DeviceError::BadTransition`], [`DeviceError::TooManyOpen`], [`DeviceError::TooManyActive`].
    pub(super) fn command(
        &self,
        zone: ZoneId,
        command: impl Fn(ZoneWord) -> ZoneCommand,
    ) -> DeviceResult<()> {
        let mut limits = self.limits.lock();
        loop {
            let seen = self.word(zone);
            let next = seen.after(zone, command(seen))?;
            self.make_room(&mut limits, zone, seen.state, next.state)?;
            if self.exchange(zone, seen, next) {
                limits.account(zone, seen.state, next.state);
                return Ok(());
            }
        }
    }

    /// Empties a zone; `None` when it was empty already. `coverage` says whether its blocks are worth keeping.
    ///
    /// # Errors
    /// [`DeviceError::BadTransition`].
    pub(super) fn reset(&self, zone: ZoneId, coverage: Coverage) -> DeviceResult<Option<Blocks>> {
        let mut limits = self.limits.lock();
        let keep = coverage == Coverage::Whole && self.kept_count() < KEPT_ZONES;
        loop {
            let seen = self.word(zone);
            let next = seen.after(zone, ZoneCommand::Reset)?;
            if next == seen {
                return Ok(None);
            }
            if self.exchange(zone, seen, next) {
                limits.account(zone, seen.state, next.state);
                break;
            }
        }
        let row = &self.zones[zone.index()];
        row.reset_count.fetch_add(1, Ordering::AcqRel);
        row.blocks_written.store(keep, Ordering::Release);
        Ok(Some(if keep { Blocks::Keep } else { Blocks::GiveBack }))
    }

    fn kept_count(&self) -> usize {
        let kept = |zone: &ZoneId| {
            self.blocks_written(*zone) == Coverage::Whole && self.word(*zone).state == ZoneState::Empty
        };
        self.geometry.zones().filter(kept).count()
    }

    fn exchange(&self, zone: ZoneId, seen: ZoneWord, next: ZoneWord) -> bool {
        let block_bytes = self.geometry.block_bytes;
        let word = &self.zones[zone.index()].word;
        let (seen, next) = (seen.pack(block_bytes), next.pack(block_bytes));
        word.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Sees to it that the limits allow a zone to go from `before` to `after`; may close another zone for it.
    fn make_room(
        &self,
        limits: &mut Limits,
        zone: ZoneId,
        before: ZoneState,
        after: ZoneState,
    ) -> DeviceResult<()> {
        let Geometry { max_active_zones, max_open_zones, .. } = self.geometry;
        // Finishing an empty zone makes it active for a moment (NVMe ZNS, Zone Management Send).
        let activates = before == ZoneState::Empty && (after.is_active() || after == ZoneState::Full);
        if activates && limits.active_count >= max_active_zones {
            return Err(DeviceError::TooManyActive { zone, limit: max_active_zones });
        }
        let opens = after.is_open() && !before.is_open();
        if opens && limits.open_count >= max_open_zones {
            let longest_open = limits.implicit.front().copied();
            let victim = longest_open.ok_or(DeviceError::TooManyOpen { zone, limit: max_open_zones })?;
            self.close_quietly(limits, victim)?;
        }
        Ok(())
    }

    fn close_quietly(&self, limits: &mut Limits, victim: ZoneId) -> DeviceResult<()> {
        loop {
            let seen = self.word(victim);
            let next = seen.after(victim, seen.close_command())?;
            // Appends may move the write pointer in between, but only a holder of the mutex the state.
            if self.exchange(victim, seen, next) {
                limits.account(victim, seen.state, next.state);
                return Ok(());
            }
        }
    }
}

impl Limits {
    fn account(&mut self, zone: ZoneId, before: ZoneState, after: ZoneState) {
        self.open_count += u32::from(after.is_open());
        self.open_count -= u32::from(before.is_open());
        self.active_count += u32::from(after.is_active());
        self.active_count -= u32::from(before.is_active());
        if before == after {
            return;
        }
        if before == ZoneState::ImplicitlyOpen {
            self.implicit.retain(|listed| *listed != zone);
        }
        if after == ZoneState::ImplicitlyOpen {
            self.implicit.push_back(zone);
        }
    }
}
