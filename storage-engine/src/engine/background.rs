//! The two threads beside the callers. Each is a loop around one step, and sleeps while there is nothing to do.

use std::sync::Arc;

use super::Inner;
use crate::error::{EngineError, EngineResult};
use crate::gc::collector::{Aim, Collected};
use crate::signal::Woken;
use crate::sync::atomic::Ordering;
use crate::sync::thread::{self, JoinHandle};
use crate::zones::Purpose;

/// Free zones, beyond the reserve, below which cleaning begins.
pub(super) const LOW_FREE_ZONES: usize = 2;
/// Zones that writers may take until the collector is asked again, when it has found nothing to gain.
const ALLOWANCE_WITHOUT_GAIN: u64 = 4;

pub(super) fn start(inner: &Arc<Inner>) -> EngineResult<Vec<JoinHandle<()>>> {
    let spawn = |name: &str, run: fn(&Inner)| {
        let inner = Arc::clone(inner);
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || run(&inner)).map_err(|error| EngineError::io("starting a thread", error))
    };
    if !inner.worn.lock().is_empty() || inner.has_excess_garbage() {
        inner.housekeeping.raise();
    }
    let appender = spawn("zonal-appender", append_buffered)?;
    match spawn("zonal-housekeeper", keep_house) {
        Ok(housekeeper) => Ok(vec![appender, housekeeper]),
        Err(error) => {
            // Else it would sleep for ever, and hold the device.
            inner.buffered.stop();
            let _ = appender.join();
            Err(error)
        }
    }
}

/// Appends what has been buffered for as long as it may be. Units that fill up before that go without it.
fn append_buffered(inner: &Inner) {
    let Some(log) = &inner.log else { return };
    while inner.buffered.sleep() == Woken::Raised {
        while let Some(begun) = log.open_unit_begun() {
            let left = inner.buffered_delay.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            if inner.buffered.pause(left) == Woken::Stopped {
                return;
            }
        }
        // A failure latches the store: whoever writes next is told.
        if log.append_buffered().is_err() {
            return;
        }
    }
}

/// Collects garbage, writes checkpoints and makes the next zone ready.
fn keep_house(inner: &Inner) {
    while inner.housekeeping.sleep() == Woken::Raised {
        loop {
            let steps = [inner.clean_step(), inner.checkpoint_step()];
            if !steps.contains(&Step::Again) || inner.housekeeping.is_stopped() {
                break;
            }
        }
        inner.count_live_limit();
        inner.watch_for_cleaning();
        inner.keep_stock();
        inner.watch_for_garbage();
        inner.rest_pacing();
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Again,
    Rest,
}

impl Inner {
    /// Empties one zone if that is called for.
    pub(super) fn clean_step(&self) -> Step {
        let step = self.clean_one();
        self.cleaning_requests.note(step);
        step
    }

    fn clean_one(&self) -> Step {
        if let Some(step) = self.evacuate_step() {
            return step;
        }
        let Some(collector) = &self.collector else { return Step::Rest };
        let round = self.cleaning_round.fetch_add(1, Ordering::AcqRel) + 1;
        self.note_peak();
        let short = self.allocator.available_count(Purpose::Put) < LOW_FREE_ZONES;
        // A batch may wait for more zones than would otherwise be called few.
        let is_short = short || self.waiting_count.load(Ordering::Acquire) > 0;
        let wants_space = is_short || self.has_excess_garbage();
        self.count_zone_allowance();
        // It costs nothing, and copies may not be needed then.
        if wants_space && self.give_up_checkpoint(false) {
            return Step::Again;
        }
        // Getting rid of tombstones frees nothing at once: it waits until there is room, or is the last resort.
        let aims = match (short, wants_space) {
            (true, _) => [Some(Aim::Space), Some(Aim::Tombstones)],
            (false, true) => [Some(Aim::Tombstones), Some(Aim::Space)],
            (false, false) => [Some(Aim::Tombstones), None],
        };
        for aim in aims.into_iter().flatten() {
            self.begin_pacing();
            match collector.collect(aim, self) {
                Ok(Collected::Zone(collection)) => {
                    self.pace_collector(1.0);
                    self.counters.zone_resets.fetch_add(1, Ordering::Relaxed);
                    self.note_collection(collection);
                    return Step::Again;
                }
                Ok(Collected::Worn(collection)) => {
                    self.note_collection(collection);
                    return Step::Again;
                }
                Ok(Collected::Nothing) => {}
                Err(error) => {
                    self.report_failed_collection(error);
                    break;
                }
            }
        }
        if wants_space && self.give_up_checkpoint(is_short) {
            return Step::Again;
        }
        // There is nothing to wait for.
        self.zone_allowance
            .fetch_max(self.allocator.taken_count() + ALLOWANCE_WITHOUT_GAIN, Ordering::Relaxed);
        if wants_space {
            self.tell_exhausted(round);
        }
        Step::Rest
    }

    /// Drops a checkpoint for its space; says whether one was. What else wants the room decides which.
    fn give_up_checkpoint(&self, is_short: bool) -> bool {
        if !is_short && !self.has_spare_checkpoint() {
            return false;
        }
        match self.drop_checkpoint() {
            Ok(dropped) => {
                self.space.dropped_checkpoints.fetch_add(u64::from(dropped), Ordering::Relaxed);
                dropped
            }
            Err(error) => {
                self.report_failed_collection(error);
                false
            }
        }
    }

    /// Empties the zone that serves best; says whether one was emptied.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn collect_anyway(&self) -> bool {
        let Some(collector) = &self.collector else { return false };
        match collector.collect(Aim::Space, self) {
            Ok(collected) => collected != Collected::Nothing,
            Err(error) => {
                self.report_failed_collection(error);
                false
            }
        }
    }

    /// Copies what is live out of one zone that has worn out, while there is room to spare for it.
    fn evacuate_step(&self) -> Option<Step> {
        let collector = self.collector.as_ref()?;
        if self.allocator.available_count(Purpose::Put) == 0 {
            return None;
        }
        let zone = self.worn.lock().pop()?;
        self.begin_pacing();
        match collector.evacuate(zone, self) {
            Ok(collection) => self.note_collection(collection),
            Err(error) => self.report_failed_collection(error),
        }
        Some(Step::Again)
    }

    /// Tells writers that wait for space that a round of cleaning has found none.
    fn tell_exhausted(&self, round: u64) {
        self.exhausted_round.store(round, Ordering::Release);
        self.allocator.notify();
    }

    /// A device error during cleaning is as bad as one during a write: what is on the device is no longer known.
    fn report_failed_collection(&self, error: EngineError) {
        let confined = matches!(error, EngineError::Corruption { .. } | EngineError::NoSpace { .. })
            || error.is_full_host();
        if let (false, Some(log)) = (confined, &self.log) {
            log.commit().fail(error);
        }
    }
}
