//! The allocator: which zone a stream fills next, and what is kept in reserve.
//!
//! Invariants:
//! - A zone gets a generation when its stream goes over to it; generations only ever increase.
//! - The last [`RESERVED_FOR_COLLECTOR`] free zones go to the collector alone, so that cleaning can always finish;
//!   one more than that is kept for deletes, so that a full store can be emptied. When the collector cannot free anything
//!   with its zones, as where large records fill small zones badly, deletes get all of them but the last.
//! - Spare zones are free zones. They are taken when the host has no room for others, or when no others are left.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Role, ZoneTable};
use crate::fault::{self, Fault};
use crate::format::unit::StreamKind;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::units::{Generation, ZoneId};

/// Free zones that only the collector may take.
pub(crate) const RESERVED_FOR_COLLECTOR: usize = 2;
/// Free zones that puts leave alone: the collector's, and one for deletes.
pub(crate) const RESERVED_FROM_PUTS: usize = RESERVED_FOR_COLLECTOR + 1;

/// Free zones that are kept with their blocks, so that a full host stops neither deletes nor the collector: one for each.
const SPARE_ZONES: usize = 2;
/// How many free zones are tried for blocks when the host has no more.
const SPARE_CANDIDATES: usize = 16;

/// The free zones among which one for copies is chosen: those most recently freed.
const COPIES_CHOOSE_AMONG: usize = 4;

/// Which of the free zones takes copies, by their resets, those freed last first: the most worn of the first few. Of equals the
/// first.
#[must_use]
pub fn place_for_copies(reset_counts: impl Iterator<Item = u32>) -> Option<usize> {
    let first = reset_counts.take(COPIES_CHOOSE_AMONG).enumerate();
    first.reduce(|most, next| if next.1 > most.1 { next } else { most }).map(|(place, _)| place)
}

/// What a zone or room in one is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// New data.
    Put,
    /// Tombstones: they make room.
    Delete,
    /// Tombstones for want of which the collector finds nothing to do: they may have one of its zones.
    LastDelete,
    /// Copies: they free a zone.
    Relocation,
}

impl Purpose {
    const fn reserve(self) -> usize {
        match self {
            Self::Put => RESERVED_FROM_PUTS,
            Self::Delete => RESERVED_FOR_COLLECTOR,
            Self::LastDelete => RESERVED_FOR_COLLECTOR - 1,
            Self::Relocation => 0,
        }
    }
}

/// What becomes of the reserve when a zone is taken for the manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reserve {
    /// It is left alone.
    Kept,
    /// The zone may be one of the reserve: without it nothing could be written any more.
    Given,
}

/// Hands out free zones and takes them back.
#[derive(Debug)]
pub struct Allocator {
    zones: Arc<ZoneTable>,
    state: Mutex<State>,
    freed: Condvar,
    /// Zones that hold data or are about to. Moves under the lock.
    taken_count: AtomicU64,
    /// Counts zones freed and other news, so that a waiter can tell that something happened. Moves under the lock.
    events: AtomicU64,
    /// What `events` was after the last zone was freed. Moves under the lock.
    freed_at: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Recently freed zones are at the front: their blocks are the likeliest to be allocated still.
    free: VecDeque<ZoneId>,
    /// Free zones that have their blocks whatever becomes of the host's room.
    spare: Vec<ZoneId>,
    host_full: bool,
    generation: Generation,
}

impl State {
    fn free_count(&self) -> usize {
        self.free.len() + self.spare.len()
    }
}

impl Allocator {
    /// An allocator over the zones of the table that are free, the last generation handed out being `generation`.
    #[must_use]
    pub fn new(zones: Arc<ZoneTable>, generation: Generation) -> Self {
        let free = zones.iter().filter(|(_, zone)| zone.role() == Role::Free).map(|(id, _)| id).collect();
        let is_taken =
            |role| !matches!(role, Role::Free | Role::Manifest | Role::Checkpoint | Role::Conventional);
        let taken_count = zones.iter().filter(|(_, zone)| is_taken(zone.role())).count() as u64;
        Self {
            zones,
            taken_count: AtomicU64::new(taken_count),
            state: Mutex::new(State { free, spare: Vec::new(), host_full: false, generation }),
            freed: Condvar::new(),
            events: AtomicU64::new(0),
            freed_at: AtomicU64::new(0),
        }
    }

    /// How many zones are free.
    #[must_use]
    pub fn free_count(&self) -> usize {
        self.state.lock().free_count()
    }

    /// How many zones hold data or are about to.
    #[must_use]
    pub fn taken_count(&self) -> u64 {
        self.taken_count.load(Ordering::Relaxed)
    }

    /// How many zones `purpose` may still take.
    #[must_use]
    pub fn available_count(&self, purpose: Purpose) -> usize {
        self.free_count().saturating_sub(purpose.reserve())
    }

    /// The last generation handed out.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.state.lock().generation
    }

    /// Takes a free zone for a stream; `None` when only the reserve is left.
    #[must_use]
    pub fn take(&self, stream: StreamKind, purpose: Purpose) -> Option<ZoneId> {
        let mut state = self.state.lock();
        let reserve = if fault::is_on(Fault::TakeTheReserve) { 0 } else { purpose.reserve() };
        if state.free_count() <= reserve {
            return None;
        }
        let zone = match stream {
            StreamKind::User => state.free.pop_front(),
            StreamKind::Relocation => self.most_worn(&mut state.free),
        };
        let zone = zone.or_else(|| state.spare.pop())?;
        self.zones.zone(zone).set_role(Role::Open(stream));
        self.taken_count.fetch_add(1, Ordering::Relaxed);
        Some(zone)
    }

    /// Takes the zone that has had the most resets of the first few. What the collector copies lives longer than what is new:
    /// there a zone rests.
    fn most_worn(&self, free: &mut VecDeque<ZoneId>) -> Option<ZoneId> {
        let reset_counts = free.iter().map(|&zone| self.zones.zone(zone).reset_count());
        place_for_copies(reset_counts).and_then(|place| free.remove(place))
    }

    /// Takes a spare zone, which has its blocks. The last one is the collector's.
    #[must_use]
    pub fn take_spare(&self, stream: StreamKind, purpose: Purpose) -> Option<ZoneId> {
        let mut state = self.state.lock();
        let kept_back = usize::from(purpose != Purpose::Relocation);
        if purpose == Purpose::Put
            || state.spare.len() <= kept_back
            || state.free_count() <= purpose.reserve()
        {
            return None;
        }
        let zone = state.spare.pop()?;
        self.zones.zone(zone).set_role(Role::Open(stream));
        self.taken_count.fetch_add(1, Ordering::Relaxed);
        Some(zone)
    }

    /// Free zones to make spare ones of, the likeliest first; none when there are enough.
    ///
    /// After opening, blocks are left in zones that were spare ones before: the last ones, or such as have been in use.
    #[must_use]
    pub fn spare_candidates(&self) -> Vec<ZoneId> {
        let state = self.state.lock();
        if state.spare.len() >= SPARE_ZONES {
            return Vec::new();
        }
        let (last, first) =
            (state.free.iter().rev().take(SPARE_ZONES), state.free.iter().take(SPARE_CANDIDATES));
        last.chain(first).copied().collect()
    }

    /// How many spare zones there are.
    #[must_use]
    pub fn spare_count(&self) -> usize {
        self.state.lock().spare.len()
    }

    /// The free zones but for spare ones. They may be taken at any moment.
    #[must_use]
    pub fn free_zones(&self) -> Vec<ZoneId> {
        self.state.lock().free.iter().copied().collect()
    }

    /// Whether there are as many spare zones as are wanted.
    #[must_use]
    pub fn has_spares(&self) -> bool {
        self.state.lock().spare.len() >= SPARE_ZONES
    }

    /// Makes a free zone that has its blocks a spare one, unless it has been taken meanwhile or there are enough.
    pub fn keep_spare(&self, zone: ZoneId) {
        let mut state = self.state.lock();
        let place = state.free.iter().position(|&free| free == zone);
        if let Some(place) = place.filter(|_| state.spare.len() < SPARE_ZONES) {
            state.free.remove(place);
            state.spare.push(zone);
        }
    }

    /// Takes a spare zone out, to give it back without its blocks ([`Allocator::give_back_set_aside`]).
    #[must_use]
    pub fn take_out_spare(&self) -> Option<ZoneId> {
        self.state.lock().spare.pop()
    }

    /// Says whether the host has no room: then zones that are freed become spare ones first.
    pub fn set_host_full(&self, full: bool) {
        self.state.lock().host_full = full;
    }

    /// Undoes [`Allocator::take`]. It is no news to those who wait for space.
    pub fn put_back(&self, zone: ZoneId) {
        let mut state = self.state.lock();
        self.zones.zone(zone).set_role(Role::Free);
        state.free.push_front(zone);
        self.taken_count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a free zone for a checkpoint, if `left_count` are left to puts then.
    #[must_use]
    pub fn take_for_checkpoint(&self, left_count: usize) -> Option<ZoneId> {
        let mut state = self.state.lock();
        let takes_all = fault::is_on(Fault::TakeTheReserveForCheckpoints);
        if state.free.len() <= RESERVED_FROM_PUTS + left_count && !takes_all {
            return None;
        }
        // Those at the front are the likeliest to be allocated still, which is for data.
        let zone = state.free.pop_back()?;
        self.zones.zone(zone).set_role(Role::Checkpoint);
        Some(zone)
    }

    /// Takes an empty zone back that was set aside for a checkpoint or for the manifest.
    pub fn give_back_set_aside(&self, zone: ZoneId) {
        let mut state = self.state.lock();
        self.zones.zone(zone).set_role(Role::Free);
        state.free.push_back(zone);
        self.tell_freed(state);
    }

    /// Takes a free zone for the manifest, if as many are left as puts leave alone; with `Reserve::Given` in any case.
    #[must_use]
    pub fn take_for_manifest(&self, reserve: Reserve) -> Option<ZoneId> {
        let mut state = self.state.lock();
        if reserve == Reserve::Kept && state.free_count() <= RESERVED_FROM_PUTS {
            return None;
        }
        let zone = state.free.pop_back().or_else(|| state.spare.pop())?;
        self.zones.zone(zone).set_role(Role::Manifest);
        Some(zone)
    }

    /// Gives a zone that was taken its generation, at the moment when its stream goes over to it.
    #[must_use]
    pub fn begin(&self, zone: ZoneId) -> Generation {
        let mut state = self.state.lock();
        state.generation = state.generation.next();
        self.zones.zone(zone).begin(state.generation);
        state.generation
    }

    /// Takes a zone back after its reset.
    pub fn give_back(&self, zone: ZoneId) {
        let mut state = self.state.lock();
        self.zones.zone(zone).begin(Generation::default());
        self.zones.zone(zone).note_reset();
        self.zones.zone(zone).set_role(Role::Free);
        if state.host_full && state.spare.len() < SPARE_ZONES {
            state.spare.push(zone);
        } else {
            state.free.push_front(zone);
        }
        self.taken_count.fetch_sub(1, Ordering::Relaxed);
        self.tell_freed(state);
    }

    /// Wakes those that wait for space; with the lock that the zone was freed under, so that they sleep or see it.
    fn tell_freed(&self, state: MutexGuard<'_, State>) {
        let event = self.events.fetch_add(1, Ordering::AcqRel) + 1;
        self.freed_at.store(event, Ordering::Release);
        drop(state);
        self.freed.notify_all();
    }

    /// Wakes those that wait for space though none was freed: something else has changed.
    pub fn notify(&self) {
        let _waiters_sleep_or_see_it = self.state.lock();
        self.events.fetch_add(1, Ordering::AcqRel);
        self.freed.notify_all();
    }

    /// A number that changes with every [`Allocator::give_back`] and [`Allocator::notify`].
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    /// Whether a zone has been freed since [`Allocator::events`] was `seen`.
    #[must_use]
    pub fn freed_since(&self, seen: u64) -> bool {
        self.freed_at.load(Ordering::Acquire) > seen
    }

    /// Blocks until [`Allocator::events`] differs from `seen`.
    pub fn wait_for_event_after(&self, seen: u64) {
        let mut state = self.state.lock();
        while self.events() == seen {
            self.freed.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Allocator, Purpose, Reserve};
    use crate::format::unit::StreamKind;
    use crate::units::Generation;
    use crate::zones::{Role, ZoneTable};

    fn allocator(zone_count: u32) -> (Arc<ZoneTable>, Allocator) {
        let zones = Arc::new(ZoneTable::new(zone_count));
        (Arc::clone(&zones), Allocator::new(zones, Generation::new(10)))
    }

    #[test]
    fn puts_leave_a_reserve_to_deletes_and_deletes_one_to_the_collector() {
        let (_, allocator) = allocator(5);
        let take = |purpose| allocator.take(StreamKind::User, purpose).is_some();
        assert!(take(Purpose::Put) && take(Purpose::Put));
        assert!(!take(Purpose::Put), "three are left, all in reserve");
        assert!(take(Purpose::Delete));
        assert!(!take(Purpose::Delete), "two are left, for the collector");
        assert!(
            take(Purpose::LastDelete) && !take(Purpose::LastDelete),
            "one is the collector's in any case"
        );
        assert!(take(Purpose::Relocation));
        assert!(!take(Purpose::Relocation));
    }

    #[test]
    fn spare_zones_serve_deletes_and_the_collector_when_the_host_is_full_and_are_replaced_first() {
        let (_, allocator) = allocator(8);
        let candidates = allocator.spare_candidates();
        assert_eq!(candidates[..2], [7, 6].map(crate::units::ZoneId::new));
        candidates.into_iter().for_each(|zone| allocator.keep_spare(zone));
        assert_eq!((allocator.spare_candidates().len(), allocator.free_count()), (0, 8));
        allocator.set_host_full(true);
        let take = |purpose| allocator.take_spare(StreamKind::User, purpose);
        assert_eq!(take(Purpose::Put), None);
        let taken = take(Purpose::Delete).expect("the first of two");
        assert_eq!(take(Purpose::Delete), None, "the last one is the collector's");
        assert!(take(Purpose::Relocation).is_some() && take(Purpose::Relocation).is_none());
        allocator.give_back(taken);
        assert_eq!(take(Purpose::Relocation), Some(taken), "what is freed serves the collector again");
        assert_eq!(allocator.free_count(), 6);
    }

    #[test]
    fn a_zone_freed_is_told_from_other_news() {
        let (_, allocator) = allocator(5);
        let zone = allocator.take(StreamKind::User, Purpose::Put).expect("free");
        let seen = allocator.events();
        allocator.notify();
        assert!(allocator.events() > seen && !allocator.freed_since(seen));
        allocator.give_back(zone);
        allocator.notify();
        assert!(allocator.freed_since(seen), "whatever came after it");
        assert!(!allocator.freed_since(allocator.events()));
    }

    #[test]
    fn a_checkpoint_takes_only_what_puts_can_spare() {
        let (zones, allocator) = allocator(6);
        assert_eq!(allocator.take_for_checkpoint(3), None, "three are in reserve, three are to be left");
        let taken = allocator.take_for_checkpoint(2).unwrap();
        assert_eq!((zones.zone(taken).role(), allocator.free_count()), (Role::Checkpoint, 5));
        assert_eq!(allocator.taken_count(), 0, "writers do not wait for the collector on its account");
        allocator.give_back_set_aside(taken);
        assert_eq!((zones.zone(taken).role(), allocator.free_count()), (Role::Free, 6));
    }

    #[test]
    fn the_manifest_takes_of_the_reserve_only_what_is_given() {
        let (zones, allocator) = allocator(4);
        let taken = allocator.take_for_manifest(Reserve::Kept).expect("one besides the reserve");
        assert_eq!((zones.zone(taken).role(), allocator.taken_count()), (Role::Manifest, 0));
        assert_eq!(allocator.take_for_manifest(Reserve::Kept), None, "three are left");
        assert!(allocator.take_for_manifest(Reserve::Given).is_some());
        assert_eq!(allocator.free_count(), 2);
    }

    #[test]
    fn copies_take_the_most_worn_of_the_zones_freed_last_and_new_writes_the_last() {
        let (zones, allocator) = allocator(12);
        let taken: Vec<_> = (0..3).map(|_| allocator.take(StreamKind::User, Purpose::Put).unwrap()).collect();
        zones.zone(taken[1]).set_reset_count(7);
        for &zone in &taken {
            allocator.give_back(zone);
        }
        assert_eq!(zones.zone(taken[1]).reset_count(), 8);
        assert_eq!(allocator.take(StreamKind::Relocation, Purpose::Relocation), Some(taken[1]));
        assert_eq!(allocator.take(StreamKind::User, Purpose::Put), Some(taken[2]), "freed last");
        let untouched = allocator.free_zones()[1];
        zones.zone(allocator.free_zones()[8]).set_reset_count(9);
        assert_eq!(
            allocator.take(StreamKind::Relocation, Purpose::Relocation),
            Some(taken[0]),
            "one is far down"
        );
        assert_eq!(
            allocator.take(StreamKind::Relocation, Purpose::Relocation),
            Some(untouched),
            "of equals the first"
        );
    }

    #[test]
    fn generations_increase_and_a_zone_given_back_is_taken_first() {
        let (zones, allocator) = allocator(6);
        let first = allocator.take(StreamKind::User, Purpose::Put).unwrap();
        assert_eq!(allocator.begin(first), Generation::new(11));
        assert_eq!(zones.zone(first).role(), Role::Open(StreamKind::User));
        allocator.give_back(first);
        assert_eq!(zones.zone(first).role(), Role::Free);
        let again = allocator.take(StreamKind::Relocation, Purpose::Relocation).unwrap();
        assert_eq!((again, allocator.begin(again)), (first, Generation::new(12)));
    }
}
