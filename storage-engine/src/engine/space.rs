//! How much space a store without a capacity of its own takes, and when it is cleaned for that.
//!
//! What counts are whole zones, those that are being filled included: so much the file takes. A target says how many bytes
//! of them are wanted for each live byte; a few zones come on top, one for each stream in use among them. The store is
//! cleaned while it takes more; when it takes half as much again, writers wait.
//!
//! Threading: writes look at one number to see that so much has died that there is something to clean; the housekeeper
//! sets it after each of its rounds. Whoever finds it passed clears it, so that one write alone wakes the housekeeper.

use super::Inner;
use crate::format::manifest::SpaceUse;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Zones taken beyond the target and those of streams: made ready for the next ones, one for each kind.
const READY_ZONES: u64 = 2;
/// Zones beyond which writers wait, over what they may take for live data.
const ZONES_IN_HAND: u64 = 16;

/// How much space the store is to take.
#[derive(Debug)]
pub(super) struct SpaceTarget {
    /// Bytes of zones for a hundred live bytes.
    percent: u64,
    /// When fewer bytes are live than this, cleaning is called for; 0 for never.
    clean_below_bytes: AtomicU64,
}

impl SpaceTarget {
    pub(super) fn new(percent: u32) -> Self {
        Self { percent: percent.into(), clean_below_bytes: AtomicU64::new(0) }
    }
}

impl Inner {
    fn has_own_capacity(&self) -> bool {
        self.manifest.lock().space_use == SpaceUse::Whole
    }

    /// Whether there is more garbage than the store's use of space allows.
    pub(super) fn has_excess_garbage(&self) -> bool {
        let live_bytes = self.zones.live_bytes();
        !self.has_own_capacity() && self.allocator.taken_count() > self.wanted_zones(live_bytes)
    }

    /// How many zones so many live bytes are to take.
    fn wanted_zones(&self, live_bytes: u64) -> u64 {
        let capacity_bytes = self.device.geometry().zone_capacity_bytes;
        let for_data = (live_bytes * self.space.percent / 100).div_ceil(capacity_bytes);
        for_data + self.zones_in_hand()
    }

    fn zones_in_hand(&self) -> u64 {
        READY_ZONES + self.collector.as_ref().map_or(0, |it| u64::from(it.policy.used_count()))
    }

    /// Counts anew how many zones may be taken before writers have to wait for the collector, and how many streams the store
    /// is large enough for.
    pub(super) fn count_zone_allowance(&self) {
        let geometry = self.device.geometry();
        if self.has_own_capacity() {
            self.zone_allowance.store(geometry.zone_count.into(), Ordering::Relaxed);
            return;
        }
        let live_bytes = self.zones.live_bytes();
        let for_data = live_bytes * (self.space.percent * 3 / 2).max(200) / 100;
        let allowance = ZONES_IN_HAND + for_data / geometry.zone_capacity_bytes;
        self.zone_allowance.store(allowance, Ordering::Relaxed);
        if let (Some(collector), false) = (&self.collector, self.running.is_stepped()) {
            collector.policy.fit(for_data / geometry.zone_capacity_bytes);
        }
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.allocator.taken_count() > self.zone_allowance.load(Ordering::Relaxed)
    }

    /// Says from how few live bytes on there is something to clean. For the housekeeper, when it has found nothing more.
    pub(super) fn watch_for_garbage(&self) {
        if self.has_own_capacity() {
            return;
        }
        let capacity_bytes = self.device.geometry().zone_capacity_bytes;
        let for_data = self.allocator.taken_count().saturating_sub(self.zones_in_hand());
        let wanted_for_bytes = for_data * capacity_bytes * 100 / self.space.percent;
        // What could not be gained by now will not be before another zone's worth has died.
        let live_bytes = self.zones.live_bytes();
        let clean_below_bytes = wanted_for_bytes.min(live_bytes.saturating_sub(capacity_bytes));
        self.space.clean_below_bytes.store(clean_below_bytes, Ordering::Relaxed);
    }

    /// Wakes the housekeeper when a write has let so much die that there is something to clean.
    pub(super) fn note_garbage(&self) {
        let below_bytes = self.space.clean_below_bytes.load(Ordering::Relaxed);
        if !self.zones.live_bytes_certainly_below(below_bytes) {
            return;
        }
        if self.space.clean_below_bytes.swap(0, Ordering::Relaxed) > 0 {
            self.housekeeping.raise();
        }
    }

    /// From how few live bytes on there is something to clean.
    #[cfg(test)]
    pub(super) fn garbage_mark_bytes(&self) -> u64 {
        self.space.clean_below_bytes.load(Ordering::Relaxed)
    }
}
