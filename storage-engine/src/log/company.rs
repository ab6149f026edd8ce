//! Company: lets a leader wait a moment for those who committed with it the last time.
//!
//! Callers who were woken together write again at nearly the same time. The first of them to come back leads; if it
//! sealed its unit at once, the others would miss it and groups would alternate between one write and all the rest. So
//! it waits until as many have come as were there when the last round ended, but never for longer than a part of what
//! that round took, and not at all when it was alone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::sync::{Instant, thread};

/// The part of a round's time that a leader waits at most.
const PATIENCE_DIVISOR: u32 = 2;
/// However long a round takes, nobody waits longer than this.
const MOST_PATIENCE: Duration = Duration::from_micros(200);

/// Who is committing at present, and who has come since the last unit was sealed.
#[derive(Debug, Default)]
pub(super) struct Company {
    present_count: AtomicUsize,
    arrival_count: AtomicUsize,
    /// `arrival_count` when the last round sealed its unit.
    sealed_arrival_count: AtomicUsize,
    /// How many were present when the last round ended.
    last_count: AtomicUsize,
    round_nanoseconds: AtomicU64,
}

impl Company {
    /// A caller begins to wait for its write.
    pub(super) fn join(&self) {
        self.present_count.fetch_add(1, Ordering::Relaxed);
        self.arrival_count.fetch_add(1, Ordering::Relaxed);
    }

    /// It goes on.
    pub(super) fn leave(&self) {
        self.present_count.fetch_sub(1, Ordering::Relaxed);
    }

    /// A round has ended that took so long from sealing to publication; nobody has been woken yet.
    pub(super) fn end_round(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.round_nanoseconds.store(nanoseconds, Ordering::Relaxed);
        self.last_count.store(self.present_count.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Waits for the company of the last round, within limits. The caller seals the unit next.
    ///
    /// Those who are on their way out of the last round are present still; so arrivals are counted, not presence.
    pub(super) fn gather(&self) {
        let expected = self.last_count.load(Ordering::Relaxed);
        if self.arrived_count() < expected {
            let round = Duration::from_nanos(self.round_nanoseconds.load(Ordering::Relaxed));
            let patience = (round / PATIENCE_DIVISOR).min(MOST_PATIENCE);
            let began = Instant::now();
            while self.arrived_count() < expected && began.elapsed() < patience {
                thread::yield_now();
            }
        }
        self.sealed_arrival_count.store(self.arrival_count.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn arrived_count(&self) -> usize {
        let sealed = self.sealed_arrival_count.load(Ordering::Relaxed);
        self.arrival_count.load(Ordering::Relaxed).wrapping_sub(sealed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Company, MOST_PATIENCE, Ordering};

    #[test]
    fn a_leader_waits_for_those_who_were_there_and_not_for_ever() {
        let company = Company::default();
        company.join();
        company.join();
        company.gather();
        company.end_round(Duration::from_secs(3600));
        company.join();
        let began = Instant::now();
        company.gather();
        assert!(began.elapsed() >= MOST_PATIENCE, "one of two has not come back");
    }

    #[test]
    fn a_leader_seals_as_soon_as_everybody_is_back() {
        let company = Company::default();
        company.join();
        company.gather();
        company.end_round(Duration::from_secs(3600));
        company.leave();
        company.join();
        assert_eq!(company.arrived_count(), company.last_count.load(Ordering::Relaxed), "nobody is missing");
        company.gather();
        assert_eq!(company.arrived_count(), 0, "what comes now belongs to the next unit");
    }
}
