//! The allocator: which zone a stream fills next, and what is kept in reserve.
//!
//! Invariants:
//! - A zone gets a generation when its stream goes over to it; generations only ever increase.
//! - The last [`RESERVED_FOR_COLLECTOR`] free zones go to the collector alone, so that cleaning can always finish;
//!   one more than that is kept for deletes, so that a full store can be emptied.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Role, ZoneTable};
use crate::format::unit::StreamKind;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};
use crate::units::{Generation, ZoneId};

/// Free zones that only the collector may take.
pub(crate) const RESERVED_FOR_COLLECTOR: usize = 2;
/// Free zones that puts leave alone: the collector's, and one for deletes.
pub(crate) const RESERVED_FROM_PUTS: usize = RESERVED_FOR_COLLECTOR + 1;

/// What a zone or room in one is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// New data.
    Put,
    /// Tombstones: they make room.
    Delete,
    /// Copies: they free a zone.
    Relocation,
}

impl Purpose {
    const fn reserve(self) -> usize {
        match self {
            Self::Put => RESERVED_FROM_PUTS,
            Self::Delete => RESERVED_FOR_COLLECTOR,
            Self::Relocation => 0,
        }
    }
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
}

#[derive(Debug)]
struct State {
    /// Recently freed zones are at the front: their blocks are the likeliest to be allocated still.
    free: VecDeque<ZoneId>,
    generation: Generation,
}

impl Allocator {
    /// An allocator over the zones of the table that are free, the last generation handed out being `generation`.
    #[must_use]
    pub fn new(zones: Arc<ZoneTable>, generation: Generation) -> Self {
        let free = zones.iter().filter(|(_, zone)| zone.role() == Role::Free).map(|(id, _)| id).collect();
        let is_taken = |role| !matches!(role, Role::Free | Role::Manifest | Role::Conventional);
        let taken_count = zones.iter().filter(|(_, zone)| is_taken(zone.role())).count() as u64;
        Self {
            zones,
            taken_count: AtomicU64::new(taken_count),
            state: Mutex::new(State { free, generation }),
            freed: Condvar::new(),
            events: AtomicU64::new(0),
        }
    }

    /// How many zones are free.
    #[must_use]
    pub fn free_count(&self) -> usize {
        self.state.lock().free.len()
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
        if state.free.len() <= purpose.reserve() {
            return None;
        }
        let zone = state.free.pop_front()?;
        self.zones.zone(zone).set_role(Role::Open(stream));
        self.taken_count.fetch_add(1, Ordering::Relaxed);
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
        self.zones.zone(zone).set_role(Role::Free);
        state.free.push_front(zone);
        self.taken_count.fetch_sub(1, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::AcqRel);
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

    use super::{Allocator, Purpose};
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
        assert!(take(Purpose::Relocation) && take(Purpose::Relocation));
        assert!(!take(Purpose::Relocation));
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
