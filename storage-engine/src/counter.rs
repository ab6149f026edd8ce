//! A counter that many threads add to without waiting for each other's cache lines.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;

const STRIPE_COUNT: usize = 16;

/// A sum kept in stripes: each thread adds to its own, reading adds them up.
#[derive(Debug, Default)]
pub struct StripedCounter {
    stripes: [CachePadded<AtomicI64>; STRIPE_COUNT],
}

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The stripe of the calling thread: threads take them in turn.
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            stripe.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPE_COUNT);
        }
        stripe.get()
    })
}

impl StripedCounter {
    /// Adds to the sum.
    pub fn add(&self, amount: i64) {
        self.stripes[own_stripe()].fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum; what is being added meanwhile may or may not be in it.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.stripes.iter().map(|stripe| stripe.load(Ordering::Relaxed)).sum()
    }

    /// The sum of a counter that does not fall below zero, but for the moment in which it is read.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.sum()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::StripedCounter;

    #[test]
    fn what_many_threads_add_is_all_in_the_sum() {
        let counter = StripedCounter::default();
        std::thread::scope(|scope| {
            for thread in 0..40 {
                let counter = &counter;
                scope.spawn(move || (0..100).for_each(|_| counter.add(thread - 10)));
            }
        });
        assert_eq!(counter.sum(), (0..40).map(|thread| 100 * (thread - 10)).sum::<i64>());
    }

    #[test]
    fn a_sum_below_zero_counts_nothing() {
        let counter = StripedCounter::default();
        counter.add(-5);
        assert_eq!((counter.sum(), counter.count()), (-5, 0));
    }
}
