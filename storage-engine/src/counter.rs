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

/// The stripe of the calling thread, below 16: threads take them in turn.
pub(crate) fn own_stripe() -> usize {
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
        self.stripe().fetch_add(amount, Ordering::Relaxed);
    }

    /// The calling thread's own.
    fn stripe(&self) -> &AtomicI64 {
        &self.stripes[own_stripe()]
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

/// What a stripe of a [`RoughCounter`] may hold back, either way.
const HELD_BACK: i64 = 64 << 10;

/// A striped counter whose sum can be had from one cache line, if it need not be exact.
///
/// Each stripe holds back a little and passes it on now and then, as the per-CPU counters of Linux do.
#[derive(Debug, Default)]
pub struct RoughCounter {
    held_back: StripedCounter,
    passed_on: CachePadded<AtomicI64>,
}

impl RoughCounter {
    /// By how much [`RoughCounter::rough`] may be wrong while nobody adds, either way. Each thread that is adding may add
    /// what it adds to that.
    pub const ERROR: i64 = STRIPE_COUNT as i64 * HELD_BACK;

    /// Adds to the sum.
    pub fn add(&self, amount: i64) {
        let stripe = self.held_back.stripe();
        let held = stripe.fetch_add(amount, Ordering::Relaxed) + amount;
        if held.abs() >= HELD_BACK {
            self.passed_on.fetch_add(stripe.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The sum, give or take [`RoughCounter::ERROR`].
    #[must_use]
    pub fn rough(&self) -> i64 {
        self.passed_on.load(Ordering::Relaxed)
    }

    /// The sum, never below zero; what is being added or passed on meanwhile may or may not be in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.rough() + self.held_back.sum()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{RoughCounter, StripedCounter};

    /// How often each thread adds each amount. Miri takes its time.
    const ROUNDS: i64 = if cfg!(miri) { 5 } else { 1000 };
    const THREADS: i64 = if cfg!(miri) { 4 } else { 40 };

    #[test]
    fn a_rough_sum_is_never_further_off_than_stated_and_the_count_is_exact() {
        let counter = RoughCounter::default();
        let amounts = [1, 70_000, 65_535, -3, 9_999, 1 << 40, -(1 << 39)];
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    (0..ROUNDS).flat_map(|_| amounts).for_each(|amount| counter.add(amount));
                });
            }
        });
        let sum = THREADS * ROUNDS * amounts.iter().sum::<i64>();
        assert_eq!(counter.count(), u64::try_from(sum).unwrap());
        assert!((counter.rough() - sum).abs() <= RoughCounter::ERROR);
    }

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
