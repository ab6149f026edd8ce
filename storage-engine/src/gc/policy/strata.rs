//! Where one class of lifetimes ends and the next begins, learnt from what is written.
//!
//! A histogram of expected lifetimes in half octaves is cut into classes with equal sums of the square roots of its
//! counts: the rule of Dalenius and Hodges ("Minimum variance stratification", JASA 1959), which keeps the lifetimes
//! in a class alike without leaving a class next to nothing to hold. It forgets old counts by and by.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::lifetime::Lifetime;

/// Buckets of half an octave.
const BUCKETS: usize = 128;
const STEPS_A_BUCKET: u16 = Lifetime::STEPS / 2;
/// Bounds are looked at anew after so many records.
const RECORDS_BETWEEN: u64 = 8192;
/// Then a count loses one in so many.
const FORGOTTEN_PART: u32 = 16;

/// Classes of lifetimes.
#[derive(Debug)]
pub struct Strata {
    counts: Box<[AtomicU32]>,
    added: AtomicU64,
    /// Where the next class begins, in steps, class by class.
    bounds: Box<[AtomicU16]>,
}

impl Strata {
    /// As many classes; until something is learnt everything is in the last.
    #[must_use]
    pub fn new(class_count: u8) -> Self {
        let bounds = 1..class_count.max(1);
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            added: AtomicU64::new(0),
            bounds: bounds.map(|_| AtomicU16::new(0)).collect(),
        }
    }

    /// The class of a lifetime, the shortest-lived being 0.
    #[must_use]
    pub fn class(&self, lifetime: Lifetime) -> u8 {
        self.bounds.iter().take_while(|bound| lifetime.steps() >= bound.load(Relaxed)).map(|_| 1).sum()
    }

    /// Takes a record with this lifetime into account.
    pub fn add(&self, lifetime: Lifetime) {
        let bucket = usize::from(lifetime.steps() / STEPS_A_BUCKET).min(BUCKETS - 1);
        // Overflow is out of reach: counts are cut down long before.
        self.counts[bucket].fetch_add(1, Relaxed);
        if (self.added.fetch_add(1, Relaxed) + 1).is_multiple_of(RECORDS_BETWEEN) {
            self.draw_bounds();
            self.forget();
        }
    }

    fn draw_bounds(&self) {
        let weights: Vec<f64> =
            self.counts.iter().map(|count| f64::from(count.load(Relaxed)).sqrt()).collect();
        let share = weights.iter().sum::<f64>() / (self.bounds.len() + 1) as f64;
        let mut bounds = self.bounds.iter();
        let mut target = share;
        let mut below = 0.0;
        for (bucket, &weight) in weights.iter().enumerate() {
            while below + weight >= target && weight > 0.0 {
                let Some(bound) = bounds.next() else { return };
                let place = bucket as f64 + (target - below) / weight;
                bound.store(steps(place), Relaxed);
                target += share;
            }
            below += weight;
        }
    }

    fn forget(&self) {
        for count in &self.counts {
            let seen = count.load(Relaxed);
            count.fetch_sub(seen / FORGOTTEN_PART, Relaxed);
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among 128 buckets")]
fn steps(place: f64) -> u16 {
    (place * f64::from(STEPS_A_BUCKET)) as u16
}
