//! A latch that background threads sleep on: raised by anybody, lowered by the sleeper that it wakes.

use std::time::Duration;

use crate::sync::{Condvar, Instant, Mutex};

/// What woke a sleeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// There is work.
    Raised,
    /// Time is up.
    TimedOut,
    /// The store is closing; this stays so.
    Stopped,
}

/// A latch to sleep on.
#[derive(Debug, Default)]
pub struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    raised: bool,
    stopped: bool,
}

impl Signal {
    /// There is work: wakes the sleeper, or keeps the next one from falling asleep.
    pub fn raise(&self) {
        let mut state = self.state.lock();
        if !state.raised {
            state.raised = true;
            self.changed.notify_all();
        }
    }

    /// Wakes everybody for good.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether [`Signal::stop`] was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Sleeps until raised (which lowers the signal) or stopped.
    #[must_use]
    pub fn sleep(&self) -> Woken {
        let mut state = self.state.lock();
        while !state.raised && !state.stopped {
            self.changed.wait(&mut state);
        }
        Self::lower(&mut state)
    }

    /// Sleeps for a time, through whatever is raised; only stopping cuts it short.
    #[must_use]
    pub fn pause(&self, time: Duration) -> Woken {
        let mut state = self.state.lock();
        let until = Instant::now() + time;
        while !state.stopped {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return Woken::TimedOut;
            }
        }
        Woken::Stopped
    }

    fn lower(state: &mut State) -> Woken {
        if state.stopped {
            return Woken::Stopped;
        }
        state.raised = false;
        Woken::Raised
    }
}
