//! Hands out record numbers to insert, and says up to where all of them have been acknowledged.
//!
//! Many threads insert at once and finish in any order, while readers ask for the newest record: they may ask only for
//! numbers below [`InsertSequence::acknowledged`], every one of which a store has acknowledged. The idea is YCSB's
//! acknowledged counter. Here each thread says in a lane of its own how far it is, and one that has many records to insert
//! takes numbers in runs, so that threads which insert at once share next to nothing: what they shared would be measured
//! with the store.
//!
//! Invariant: no number at or above `acknowledged` was ever said to be there, and none below it is missing: a lane is
//! marked before its numbers are taken, goes on when one has been acknowledged, and is freed after the last.
//! Threading: any number of threads, each lane used by one. Taking a run is sequentially consistent: who sees that
//! numbers have been handed out also sees the mark in the lane of their taker.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the lane of a thread holds that is inserting nothing.
const IDLE: u64 = u64::MAX;
/// The most numbers that a thread takes at once.
const MOST_IN_RUN: u64 = 64;

/// On cache lines of its own, lest threads that use it slow down those that use its neighbour.
#[repr(align(128))]
#[derive(Debug)]
struct Padded<T>(T);

/// The numbers that a thread has taken.
#[derive(Debug)]
struct Lane {
    /// The lowest that has not been acknowledged, or a lower one while a run is taken.
    at: AtomicU64,
    /// One past the last. Only its thread looks at it.
    end: AtomicU64,
}

/// The sequence of records inserted into a store.
#[derive(Debug)]
pub struct InsertSequence {
    next: Padded<AtomicU64>,
    /// By thread.
    lanes: Box<[Padded<Lane>]>,
}

impl InsertSequence {
    /// The sequence for a store that holds the records 0 to `records` - 1, for threads 0 to `threads` - 1.
    #[must_use]
    pub fn starting_at(records: u64, threads: usize) -> Self {
        let lane = |_| Padded(Lane { at: AtomicU64::new(IDLE), end: AtomicU64::new(0) });
        Self { next: Padded(AtomicU64::new(records)), lanes: (0..threads).map(lane).collect() }
    }

    /// How many records the store surely holds: 0 to this number - 1.
    ///
    /// What it once gave stays true, but the next call may give a little less, while a thread takes numbers.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        // The counter first: whoever took a number below it has marked its lane.
        let handed_out = self.next.0.load(Ordering::SeqCst);
        self.lanes.iter().fold(handed_out, |lowest, lane| lowest.min(lane.0.at.load(Ordering::SeqCst)))
    }

    /// Takes the next record number for a thread that has acknowledged the one before. The thread will surely insert
    /// `wanted` records from this one on, at least 1.
    ///
    /// # Panics
    /// When there is no such thread.
    #[must_use]
    pub fn take(&self, thread: usize, wanted: u64) -> u64 {
        let lane = &self.lanes[thread].0;
        let at = lane.at.load(Ordering::Relaxed);
        if at != IDLE {
            return at;
        }
        let run = wanted.clamp(1, MOST_IN_RUN);
        lane.at.store(self.next.0.load(Ordering::SeqCst), Ordering::SeqCst);
        let first = self.next.0.fetch_add(run, Ordering::SeqCst);
        lane.at.store(first, Ordering::SeqCst);
        lane.end.store(first + run, Ordering::Relaxed);
        first
    }

    /// Says that the store has acknowledged the number that the thread took last.
    ///
    /// # Panics
    /// When there is no such thread.
    pub fn acknowledge(&self, thread: usize) {
        let lane = &self.lanes[thread].0;
        let next = lane.at.load(Ordering::Relaxed) + 1;
        let is_last = next == lane.end.load(Ordering::Relaxed);
        lane.at.store(if is_last { IDLE } else { next }, Ordering::Release);
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers here are small")]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::InsertSequence;

    #[test]
    fn a_gap_holds_the_counter_back_until_it_closes() {
        let sequence = InsertSequence::starting_at(10, 3);
        assert_eq!([0, 1, 2].map(|thread| sequence.take(thread, 1)), [10, 11, 12]);
        sequence.acknowledge(2);
        sequence.acknowledge(1);
        assert_eq!(sequence.acknowledged(), 10);
        sequence.acknowledge(0);
        assert_eq!(sequence.acknowledged(), 13);
    }

    #[test]
    fn a_run_is_acknowledged_number_by_number_and_others_take_what_comes_after_it() {
        let sequence = InsertSequence::starting_at(0, 2);
        assert_eq!((sequence.take(0, 3), sequence.take(1, 1)), (0, 3));
        sequence.acknowledge(1);
        for number in 0..3 {
            assert_eq!((sequence.take(0, 1), sequence.acknowledged()), (number, number));
            sequence.acknowledge(0);
        }
        assert_eq!((sequence.acknowledged(), sequence.take(0, 1000), sequence.take(1, 1)), (4, 4, 68));
    }

    #[test]
    fn all_that_many_threads_acknowledge_is_counted() {
        let sequence = InsertSequence::starting_at(5, 4);
        let finished: Vec<_> = (0..20_000 + 5).map(|_| AtomicBool::new(false)).collect();
        thread::scope(|scope| {
            for thread in 0..4 {
                let (sequence, finished) = (&sequence, &finished);
                scope.spawn(move || {
                    for left in (1..=5000).rev() {
                        let number = sequence.take(thread, if thread == 0 { 1 } else { left });
                        finished[number as usize].store(true, Ordering::SeqCst);
                        sequence.acknowledge(thread);
                        let newest = sequence.acknowledged() - 1;
                        assert!(newest < 5 || finished[newest as usize].load(Ordering::SeqCst));
                    }
                });
            }
        });
        assert_eq!(sequence.acknowledged(), 20_005);
    }
}
