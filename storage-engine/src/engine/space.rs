//! How much space a store without a capacity of its own takes, and when it is cleaned for that.
//!
//! What counts are whole zones, those that are being filled included: so much the file takes. A target says how many bytes
//! of them are wanted for each live byte; a few zones come on top, one for each stream in use among them. The store is
//! cleaned while it takes more; when it takes half as much again, writers wait.
//!
//! When much has died and little is written (the store *shrinks*), and when somebody asks for it, the target is for all that the
//! file takes: checkpoints, the manifest's zones, those made ready and those kept in hand are counted, and nothing comes on
//! top but what a store cannot do without.
//!
//! Threading: writes look at one number to see that so much has died that there is something to clean; the housekeeper
//! sets it after each of its rounds. Whoever finds it passed clears it, so that one write alone wakes the housekeeper.

use super::Inner;
use super::cleaning::Footprint;
use crate::format::manifest::SpaceUse;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::zones::Role;

/// Zones taken beyond the target and those of streams: made ready for the next ones, one for each kind.
const READY_ZONES: u64 = 2;
/// Zones beyond which writers wait, over what they may take for live data.
const ZONES_IN_HAND: u64 = 16;

/// Bytes of zones for a hundred live bytes below which a store is not squeezed for the sake of what it cannot do without.
const TIGHTEST_PERCENT: u64 = 110;
/// Where no more than this part of the zones is free, space is dear in a store with a capacity of its own.
const SCARCE_PART: u64 = 16;
/// A checkpoint with so many times the entries that one would have now is for the greater part of no use.
const STALE_TIMES: u64 = 2;

/// How much space the store is to take.
#[derive(Debug)]
pub(super) struct SpaceTarget {
    /// Bytes of zones for a hundred live bytes.
    percent: u64,
    /// When fewer bytes are live than this, cleaning is called for; 0 for never.
    clean_below_bytes: AtomicU64,
    /// The most live bytes there have been since as much was written as is live, and what users had written by then. At opening nothing
    /// is known of it: a store that takes too much then counts as shrinking until it is written to.
    peak_bytes: AtomicU64,
    peak_at_bytes: AtomicU64,
    /// Zones that had been begun for new writes when the housekeeper looked last.
    begun_count: AtomicU64,
    /// Whether the store does without zones that are made ready and kept in hand.
    without_stock: AtomicBool,
    /// Checkpoints dropped for their space since the store was opened.
    pub(super) dropped_checkpoints: AtomicU64,
}

impl SpaceTarget {
    pub(super) fn new(percent: u32) -> Self {
        Self {
            percent: percent.into(),
            clean_below_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(u64::MAX),
            peak_at_bytes: AtomicU64::new(0),
            begun_count: AtomicU64::new(0),
            without_stock: AtomicBool::new(false),
            dropped_checkpoints: AtomicU64::new(0),
        }
    }

    /// Begins to compare with what is live now, where that is more than before, or so much has been written that what was live
    /// before counts no more.
    fn note_peak(&self, live_bytes: u64, written_bytes: u64) {
        let peak_bytes = self.peak_bytes.load(Ordering::Relaxed);
        let written_since = written_bytes.saturating_sub(self.peak_at_bytes.load(Ordering::Relaxed));
        if live_bytes >= peak_bytes || written_since > live_bytes.max(1) {
            self.peak_bytes.store(live_bytes, Ordering::Relaxed);
            self.peak_at_bytes.store(written_bytes, Ordering::Relaxed);
        }
    }

    /// Whether most of what was live has died, and little had been written since when the housekeeper last looked.
    fn is_shrinking(&self, live_bytes: u64) -> bool {
        live_bytes < self.peak_bytes.load(Ordering::Relaxed) / 2
    }

    /// Whether a store, so many of whose zones have been begun for new writes, does without zones that are made ready and kept in
    /// hand: from the time on when much has died and none was begun, until one is.
    fn does_without_stock(&self, is_shrinking: bool, begun_count: u64) -> bool {
        let is_filling = self.begun_count.swap(begun_count, Ordering::Relaxed) != begun_count;
        // Whoever passed the mark has cleared it.
        let much_has_died = self.clean_below_bytes.load(Ordering::Relaxed) == 0;
        let before = self.without_stock.load(Ordering::Relaxed);
        let now = is_shrinking && !is_filling && (before || much_has_died);
        self.without_stock.store(now, Ordering::Relaxed);
        now
    }
}

impl Inner {
    pub(super) fn has_own_capacity(&self) -> bool {
        self.manifest.lock().space_use == SpaceUse::Whole
    }

    /// Whether there is more garbage than the store's use of space allows.
    pub(super) fn has_excess_garbage(&self) -> bool {
        if self.cleaning_requests.is_open() {
            return self.is_above_target();
        }
        if self.has_own_capacity() {
            return false;
        }
        let live_bytes = self.zones.live_bytes();
        self.allocator.taken_count() > self.wanted_zones(live_bytes)
            || self.space.is_shrinking(live_bytes) && self.is_above_target()
    }

    /// For the housekeeper, at the beginning of each step: by this it tells whether the store shrinks.
    pub(super) fn note_peak(&self) {
        self.space.note_peak(self.zones.live_bytes(), self.counters.user_bytes.count());
    }

    /// At opening: a store that takes no more than it would while it is written to is not shrinking.
    pub(super) fn begin_space_watch(&self) {
        let live_bytes = self.zones.live_bytes();
        if self.allocator.taken_count() <= self.wanted_zones(live_bytes) {
            self.space.peak_bytes.store(live_bytes, Ordering::Relaxed);
        }
    }

    /// What the store takes in all, and what it should.
    pub(super) fn footprint(&self) -> Footprint {
        let with_role = |wanted| self.zones.iter().filter(|(_, zone)| zone.role() == wanted).count() as u64;
        let (manifest, checkpoints) = (with_role(Role::Manifest), with_role(Role::Checkpoint));
        let in_hand = self.allocator.spare_count() as u64;
        let zone_count = self.allocator.taken_count() + manifest + checkpoints + in_hand;
        let live_bytes = self.zones.live_bytes();
        let capacity_bytes = self.device.geometry().zone_capacity_bytes;
        let being_filled = self.log.as_ref().map(|log| log.being_filled());
        let (left_bytes, ready) =
            being_filled.map_or((0, 0), |it| (it.left_bytes, u64::from(it.ready_count)));
        let tightest = (live_bytes * TIGHTEST_PERCENT / 100 + left_bytes).div_ceil(capacity_bytes);
        let indispensable = tightest + ready + manifest + checkpoints + in_hand;
        let target_zone_count = (live_bytes * self.space.percent / 100 / capacity_bytes).max(indispensable);
        let bytes = zone_count * capacity_bytes;
        Footprint { zone_count, target_zone_count, bytes, live_bytes }
    }

    fn is_above_target(&self) -> bool {
        let Footprint { zone_count, target_zone_count, .. } = self.footprint();
        zone_count > target_zone_count
    }

    /// Whether there is a checkpoint that takes more space than it is worth, where space is dear: a second one, which is for the
    /// case that the first is damaged; or one most of whose keys are gone, or most of whose zones must be, since so much has
    /// been written.
    pub(super) fn has_spare_checkpoint(&self) -> bool {
        let entry_count = self.catalog.live_key_count() + self.catalog.tombstone_count();
        let is_outdated = self.age_of_checkpoint_bytes() > STALE_TIMES * self.zones.live_bytes();
        let manifest = self.manifest.lock();
        let is_stale = |entries: u64| is_outdated || entries > STALE_TIMES * entry_count;
        match &manifest.checkpoints[..] {
            [] => return false,
            [only] if !is_stale(only.entry_count) => return false,
            _ => {}
        }
        drop(manifest);
        if self.has_own_capacity() && !self.cleaning_requests.is_open() {
            return self.has_few_free_zones();
        }
        self.is_above_data_target()
    }

    /// Whether a store with a capacity of its own is so full that zones are emptied for the room that a checkpoint takes.
    pub(super) fn has_few_free_zones(&self) -> bool {
        (self.allocator.free_count() as u64) < self.data_zone_count() / SCARCE_PART
    }

    /// Whether data and checkpoints together take more than is wanted.
    fn is_above_data_target(&self) -> bool {
        let Footprint { zone_count, live_bytes, .. } = self.footprint();
        let capacity_bytes = self.device.geometry().zone_capacity_bytes;
        zone_count * capacity_bytes > live_bytes * self.space.percent / 100
    }

    /// Sees to the zones that are made ready and kept in hand. For the housekeeper, when it has found nothing more to clean.
    ///
    /// When the store shrinks and nobody fills zones, the host gets back what they and other free zones have of it.
    pub(super) fn keep_stock(&self) {
        let Some(log) = &self.log else { return };
        let is_shrinking = !self.has_own_capacity() && self.space.is_shrinking(self.zones.live_bytes());
        if is_shrinking {
            self.give_back_blocks();
        }
        if self.space.does_without_stock(is_shrinking, log.user_zones_begun()) {
            return log.give_up_stock();
        }
        // A zone that cannot be made ready is tried again by the write that needs it, which reports the error.
        let _ = log.ready_next_zone();
        log.keep_spares();
    }

    fn give_back_blocks(&self) {
        for zone in self.allocator.free_zones() {
            // They stay with the store: no harm but the space.
            let _ = self.device.give_back_blocks(zone);
        }
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

#[cfg(test)]
mod tests {
    use super::SpaceTarget;
    use crate::sync::atomic::Ordering;

    #[test]
    fn a_store_shrinks_when_less_than_half_is_left_until_as_much_is_written_as_is_live() {
        let target = SpaceTarget::new(130);
        target.note_peak(1000, 500);
        assert!(target.is_shrinking(1000), "nothing is known at opening");
        target.note_peak(1000, 7000);
        assert!(!target.is_shrinking(500) && target.is_shrinking(499));
        target.note_peak(400, 7300);
        assert!(target.is_shrinking(400), "300 bytes have been written since there were 1000 live ones");
        target.note_peak(400, 7401);
        assert!(!target.is_shrinking(400), "that is what is live nowadays");
        target.note_peak(600, 7500);
        assert!(target.is_shrinking(299) && !target.is_shrinking(300), "the most since then counts");
    }

    #[test]
    fn a_store_that_shrinks_does_without_stock_from_when_much_has_died_until_a_zone_is_begun() {
        let target = SpaceTarget::new(130);
        let (shrinks, does_not) = (true, false);
        assert!(!target.does_without_stock(does_not, 0));
        target.clean_below_bytes.store(1, Ordering::Relaxed);
        assert!(!target.does_without_stock(shrinks, 0), "little has died");
        target.clean_below_bytes.store(0, Ordering::Relaxed);
        assert!(!target.does_without_stock(shrinks, 1), "a zone has been begun");
        assert!(target.does_without_stock(shrinks, 1));
        target.clean_below_bytes.store(1, Ordering::Relaxed);
        assert!(target.does_without_stock(shrinks, 1), "it stays so");
        assert!(!target.does_without_stock(shrinks, 2), "until a zone is begun");
        assert!(!target.does_without_stock(shrinks, 2), "and much has died again");
    }

    #[test]
    fn asking_whether_a_store_shrinks_changes_nothing() {
        let target = SpaceTarget::new(130);
        target.note_peak(1000, 1001);
        for live_bytes in [2000, 100, 499, 500, 1000] {
            assert_eq!(target.is_shrinking(live_bytes), live_bytes < 500);
        }
    }
}
