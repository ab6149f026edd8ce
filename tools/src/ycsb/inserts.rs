//! Hands out record numbers to insert, and says up to where all of them have been acknowledged.
//!
//! Many threads insert at once and finish in any order, while readers ask for the newest record: they may ask only for
//! numbers below [`InsertSequence::acknowledged`], every one of which a store has acknowledged. The idea is YCSB's
//! acknowledged counter; here it takes no lock.
//!
//! Invariants: `acknowledged` never passes a number that was handed out and not acknowledged; numbers in flight never
//! span more than a window of 65,536, so that no two of them share a slot.
//! Threading: any number of threads; `acknowledge` publishes with sequential consistency, so that of two threads that
//! finish neighbouring numbers at once, at least one sees the other and moves the counter past both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// How far the newest number handed out may be ahead of the oldest one in flight.
const WINDOW: u64 = 1 << 16;

/// A counter on a cache line of its own, lest threads that use one slow down those that use its neighbour.
#[repr(align(128))]
#[derive(Debug)]
struct Padded(AtomicU64);

/// The sequence of records inserted into a store.
#[derive(Debug)]
pub struct InsertSequence {
    next: Padded,
    acknowledged: Padded,
    /// Slot `n % WINDOW` holds `n + 1` once the number n has been acknowledged.
    slots: Box<[AtomicU64]>,
}

impl InsertSequence {
    /// The sequence for a store that holds the records 0 to `records` - 1.
    #[must_use]
    pub fn starting_at(records: u64) -> Self {
        Self {
            next: Padded(AtomicU64::new(records)),
            acknowledged: Padded(AtomicU64::new(records)),
            slots: (0..WINDOW).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// How many records the store surely holds: 0 to this number - 1.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.0.load(Ordering::Acquire)
    }

    /// Takes the next record number, or `None` when `stop` is set while waiting for a much older insertion to finish.
    pub fn take(&self, stop: &AtomicBool) -> Option<u64> {
        let number = self.next.0.fetch_add(1, Ordering::Relaxed);
        while number - self.acknowledged() >= WINDOW {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            thread::yield_now();
        }
        Some(number)
    }

    /// Says that the store has acknowledged a number taken before.
    pub fn acknowledge(&self, number: u64) {
        self.slot(number).store(number + 1, Ordering::SeqCst);
        let mut reached = self.acknowledged.0.load(Ordering::SeqCst);
        while self.slot(reached).load(Ordering::SeqCst) == reached + 1 {
            let step = self.acknowledged.0.compare_exchange(
                reached,
                reached + 1,
                Ordering::SeqCst,
                Ordering::SeqCst,
            );
            reached = match step {
                Ok(_) => reached + 1,
                Err(moved_to) => moved_to,
            };
        }
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        &self.slots[(number % WINDOW) as usize]
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers here are small")]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::{InsertSequence, WINDOW};

    static GO_ON: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_gap_holds_the_counter_back_until_it_closes() {
        let sequence = InsertSequence::starting_at(10);
        let taken: Vec<_> = (0..3).map(|_| sequence.take(&GO_ON).unwrap()).collect();
        assert_eq!(taken, [10, 11, 12]);
        sequence.acknowledge(12);
        sequence.acknowledge(11);
        assert_eq!(sequence.acknowledged(), 10);
        sequence.acknowledge(10);
        assert_eq!(sequence.acknowledged(), 13);
    }

    #[test]
    fn the_window_is_reused_many_times() {
        let sequence = InsertSequence::starting_at(0);
        for expected in 0..3 * WINDOW {
            let number = sequence.take(&GO_ON).unwrap();
            assert_eq!(number, expected);
            sequence.acknowledge(number);
        }
        assert_eq!(sequence.acknowledged(), 3 * WINDOW);
    }

    #[test]
    fn a_taker_too_far_ahead_gives_up_when_told_to_stop() {
        let sequence = InsertSequence::starting_at(0);
        let stop = AtomicBool::new(true);
        for _ in 0..WINDOW {
            sequence.take(&stop).unwrap();
        }
        assert_eq!(sequence.take(&stop), None);
    }

    #[test]
    fn all_that_many_threads_acknowledge_is_counted() {
        let sequence = InsertSequence::starting_at(5);
        let finished: Vec<_> = (0..20_000 + 5).map(|_| AtomicBool::new(false)).collect();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        let number = sequence.take(&GO_ON).unwrap();
                        finished[number as usize].store(true, Ordering::SeqCst);
                        sequence.acknowledge(number);
                        let newest = sequence.acknowledged() - 1;
                        assert!(newest < 5 || finished[newest as usize].load(Ordering::SeqCst));
                    }
                });
            }
        });
        assert_eq!(sequence.acknowledged(), 20_005);
    }
}
