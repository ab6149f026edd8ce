//! Cleaning that somebody asks for: down to the space target at once, also in a store that has a capacity of its own.
//!
//! Threading: the housekeeper does it, zone by zone, as it cleans otherwise; whoever asks sleeps, and is told after each zone
//! how far it is. An answer comes when there is nothing left to gain, after a failure too, and when the store is closed.

use super::background::Step;
use super::{Engine, Inner};
use crate::error::{EngineError, EngineResult};
use crate::sync::atomic::Ordering;
use crate::sync::{Condvar, Mutex};

/// What has been asked for.
#[derive(Debug, Default)]
pub(super) struct CleaningRequests {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    requested: u64,
    answered: u64,
    /// Zones emptied and other steps on the way.
    step_count: u64,
    closed: bool,
}

impl CleaningRequests {
    /// Asks; gives the number of the request.
    fn request(&self) -> u64 {
        let mut state = self.state.lock();
        state.requested += 1;
        state.requested
    }

    /// Whether somebody waits for an answer.
    pub(super) fn is_open(&self) -> bool {
        let state = self.state.lock();
        state.requested > state.answered
    }

    /// The housekeeper has done something, or found nothing more to do.
    pub(super) fn note(&self, step: Step) {
        let mut state = self.state.lock();
        if state.requested == state.answered {
            return;
        }
        state.step_count += 1;
        if step == Step::Rest {
            state.answered = state.requested;
        }
        self.changed.notify_all();
    }

    /// Nobody answers any more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Sleeps until something has been done since there were `seen` steps, or the request is answered.
    fn wait(&self, request: u64, seen: u64) -> State {
        let mut state = self.state.lock();
        while state.answered < request && state.step_count == seen && !state.closed {
            self.changed.wait(&mut state);
        }
        *state
    }
}

/// What a store takes of its device. Zones are counted in full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Footprint {
    /// Zones of data, of checkpoints and of the manifest, those that are made ready and those kept in hand.
    pub zone_count: u64,
    /// How many it should take for what is live.
    pub target_zone_count: u64,
    /// What zones can hold, together.
    pub bytes: u64,
    /// Live records.
    pub live_bytes: u64,
}

/// What cleaning has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CleanReport {
    /// How things were.
    pub before: Footprint,
    /// How they are.
    pub after: Footprint,
    /// Zones emptied meanwhile.
    pub zones_emptied: u64,
    /// Bytes copied meanwhile.
    pub moved_bytes: u64,
    /// Checkpoints dropped because they took too much space.
    pub checkpoints_dropped: u64,
}

impl Engine {
    /// Cleans until the store takes no more than its space target, or nothing more can be gained. Blocks until then; others
    /// read and write meanwhile. `progress` is told after each zone what the store takes.
    ///
    /// # Errors
    /// [`EngineError::WritesRefused`], [`EngineError::ReadOnly`], [`EngineError::Closed`]; the device's.
    pub fn clean(&self, progress: &dyn Fn(Footprint)) -> EngineResult<CleanReport> {
        let inner = &self.inner;
        let log = inner.log()?;
        log.commit().check()?;
        let (before, at_first) = (inner.footprint(), inner.work_done());
        let request = inner.cleaning_requests.request();
        if inner.running.is_stepped() {
            while inner.clean_step() == Step::Again {}
        } else {
            inner.housekeeping.raise();
        }
        let mut seen = 0;
        loop {
            let state = inner.cleaning_requests.wait(request, seen);
            progress(inner.footprint());
            if state.answered >= request {
                break;
            }
            if state.closed {
                return Err(EngineError::Closed);
            }
            seen = state.step_count;
        }
        log.commit().check()?;
        let at_last = inner.work_done();
        Ok(CleanReport {
            before,
            after: inner.footprint(),
            zones_emptied: at_last[0] - at_first[0],
            moved_bytes: at_last[1] - at_first[1],
            checkpoints_dropped: at_last[2] - at_first[2],
        })
    }
}

impl Inner {
    /// Zones emptied, bytes copied and checkpoints dropped so far.
    fn work_done(&self) -> [u64; 3] {
        let life = self.life_counters();
        [life.zone_resets, life.relocated_bytes, self.space.dropped_checkpoints.load(Ordering::Relaxed)]
    }
}
