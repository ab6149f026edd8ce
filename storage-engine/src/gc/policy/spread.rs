//! Whether lifetimes differ by more than chance.
//!
//! Keys that are all written at the same rate have lives of different lengths too: they are exponentially distributed, and the
//! logarithm of such a length has a variance of pi squared over six, whatever the rate is. Keys of different rates have more.
//! So the variance over the lives that end tells whether there is anything to separate, however records are placed at the time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::lifetime::Lifetime;

/// Lives that one look at the variance takes in.
const LIVES_A_LOOK: u64 = 1 << 15;
/// The variance of the logarithm to base 2 of exponentially distributed lives: that of the natural one is pi^2 / 6.
const BY_CHANCE: f64 = 1.644_934 / (std::f64::consts::LN_2 * std::f64::consts::LN_2);
/// Above so many times that, lifetimes differ;
const DIFFERENT_TIMES: f64 = 1.25;
/// below so many times, they do not. In between it stays as it was.
const ALIKE_TIMES: f64 = 1.1;

/// Looks at lives as they end.
#[derive(Debug, Default)]
pub struct Spread {
    count: AtomicU64,
    /// Sums of logarithms, in steps, and of their squares.
    sum: AtomicU64,
    sum_of_squares: AtomicU64,
    differ: AtomicBool,
}

impl Spread {
    /// Whether lifetimes differ, by what has been seen. At first they do not.
    #[must_use]
    pub fn differ(&self) -> bool {
        self.differ.load(Relaxed)
    }

    /// Takes a life into account that has ended.
    pub fn add(&self, life: Lifetime) {
        let steps = u64::from(life.steps());
        self.sum.fetch_add(steps, Relaxed);
        self.sum_of_squares.fetch_add(steps * steps, Relaxed);
        if self.count.fetch_add(1, Relaxed) + 1 == LIVES_A_LOOK {
            self.look();
        }
    }

    /// What others add meanwhile is lost, or counts for one look more: some lives of many thousands.
    fn look(&self) {
        let count = self.count.swap(0, Relaxed).max(1) as f64;
        let octave = f64::from(Lifetime::STEPS);
        let mean = self.sum.swap(0, Relaxed) as f64 / count / octave;
        let mean_square = self.sum_of_squares.swap(0, Relaxed) as f64 / count / (octave * octave);
        let times = (mean_square - mean * mean) / BY_CHANCE;
        if times > DIFFERENT_TIMES {
            self.differ.store(true, Relaxed);
        } else if times < ALIKE_TIMES {
            self.differ.store(false, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::{LIVES_A_LOOK, Lifetime, Spread};

    /// Lives that end when keys with these rates, as many of each, are written at random.
    fn live(spread: &Spread, rates: &[f64], looks: u64) {
        let mut random = SmallRng::seed_from_u64(1);
        let total: f64 = rates.iter().sum();
        for _ in 0..looks * LIVES_A_LOOK {
            let mut chosen = random.random::<f64>() * total;
            let rate = rates.iter().find(|&&rate| {
                chosen -= rate;
                chosen < 0.0
            });
            let life = -random.random::<f64>().max(1e-12).ln() / rate.unwrap_or(&rates[0]);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a life in writes")]
            spread.add(Lifetime::of_writes(life as u64));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "so many numbers take it minutes, and there is no unsafe code to look at")]
    fn lives_of_keys_with_one_rate_do_not_differ_whatever_the_rate_is() {
        for rate in [1e-3, 1e-5, 1e-8] {
            let spread = Spread::default();
            live(&spread, &[rate], 4);
            assert!(!spread.differ(), "{rate}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "so many numbers take it minutes, and there is no unsafe code to look at")]
    fn lives_of_hot_and_cold_keys_differ_and_that_is_forgotten_when_it_ends() {
        let spread = Spread::default();
        // Four writes of five go to one key of five.
        let skewed = [16e-6, 1e-6, 1e-6, 1e-6, 1e-6];
        live(&spread, &skewed, 1);
        assert!(spread.differ());
        live(&spread, &[1e-5], 1);
        assert!(!spread.differ());
        live(&spread, &skewed, 1);
        assert!(spread.differ());
    }
}
