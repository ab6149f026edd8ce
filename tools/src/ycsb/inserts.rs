//! Hands out record numbers to insert, and says up to where all of them have been acknowledged.
//!
//! Many threads insert at once and finish in any order, while readers ask for the newest record: they may ask only for
//! numbers below [`InsertSequence::acknowledged`], every one of which a store has acknowledged. The idea is YCSB's
//! acknowledged counter. Here each thread says in a lane of its own which number it is inserting, so that threads which
//! insert at once share nothing but the counter of numbers: what they shared would be measured with the store.
//!
//! Invariant: no number at or above `acknowledged` was ever said to be there, and none below it is missing: a lane is
//! marked before its number is taken, and freed after it has been acknowledged.
//! Threading: any number of threads, each lane used by one. All accesses are sequentially consistent: who sees that a
//! number has been handed out also sees the mark in the lane of its taker.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the lane of a thread holds that is inserting nothing.
const IDLE: u64 = u64::MAX;

/// A number on a cache line of its own, lest threads that use one slow down those that use its neighbour.
#[repr(align(128))]
#[derive(Debug)]
struct Padded(AtomicU64);

/// The sequence of records inserted into a store.
#[derive(Debug)]
pub struct InsertSequence {
    next: Padded,
    /// By thread: the number that it is inserting, or a lower one while it takes one.
    lanes: Box<[Padded]>,
}

impl InsertSequence {
    /// The sequence for a store that holds the records 0 to `records` - 1, for threads 0 to `threads` - 1.
    #[must_use]
    pub fn starting_at(records: u64, threads: usize) -> Self {
        Self {
            next: Padded(AtomicU64::new(records)),
            lanes: (0..threads).map(|_| Padded(AtomicU64::new(IDLE))).collect(),
        }
    }

    /// How many records the store surely holds: 0 to this number - 1.
    ///
    /// What it once gave stays true, but the next call may give a little less, while a thread takes a number.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        // The counter first: whoever took a number below it has marked its lane.
        let handed_out = self.next.0.load(Ordering::SeqCst);
        self.lanes.iter().fold(handed_out, |lowest, lane| lowest.min(lane.0.load(Ordering::SeqCst)))
    }

    /// Takes the next record number for a thread that has acknowledged the one before.
    ///
    /// # Panics
    /// When there is no such thread.
    #[must_use]
    pub fn take(&self, thread: usize) -> u64 {
        let lane = &self.lanes[thread].0;
        lane.store(self.next.0.load(Ordering::SeqCst), Ordering::SeqCst);
        let number = self.next.0.fetch_add(1, Ordering::SeqCst);
        lane.store(number, Ordering::SeqCst);
        number
    }

    /// Says that the store has acknowledged the number that the thread took last.
    ///
    /// # Panics
    /// When there is no such thread.
    pub fn acknowledge(&self, thread: usize) {
        self.lanes[thread].0.store(IDLE, Ordering::SeqCst);
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
        assert_eq!([0, 1, 2].map(|thread| sequence.take(thread)), [10, 11, 12]);
        sequence.acknowledge(2);
        sequence.acknowledge(1);
        assert_eq!(sequence.acknowledged(), 10);
        sequence.acknowledge(0);
        assert_eq!(sequence.acknowledged(), 13);
    }

    #[test]
    fn all_that_many_threads_acknowledge_is_counted() {
        let sequence = InsertSequence::starting_at(5, 4);
        let finished: Vec<_> = (0..20_000 + 5).map(|_| AtomicBool::new(false)).collect();
        thread::scope(|scope| {
            for thread in 0..4 {
                let (sequence, finished) = (&sequence, &finished);
                scope.spawn(move || {
                    for _ in 0..5000 {
                        let number = sequence.take(thread);
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
