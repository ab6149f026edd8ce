//! Zipf-distributed ranks: rank 0 is drawn most often, rank i in proportion to 1 / (i + 1)^theta.
//!
//! The method is that of Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly generating billion-record
//! synthetic databases" (SIGMOD 1994), section 4.2, which YCSB uses as well (Cooper et al., "Benchmarking cloud serving
//! systems with YCSB", SoCC 2010). A draw costs one power; no table is kept.

use rand::Rng;

/// The skew that YCSB uses everywhere.
pub const YCSB_CONSTANT: f64 = 0.99;

/// A generator of ranks below a number that may grow.
#[derive(Clone, Debug)]
pub struct Zipfian {
    ranks: u64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
    /// What ranks 0 and 1 weigh together.
    zeta_of_two: f64,
    /// What the first [`HEAD`] ranks weigh together: kept, so that growing is cheap.
    zeta_of_head: f64,
}

/// Ranks whose weights are summed one by one.
const HEAD: u64 = 100;

impl Zipfian {
    /// Ranks 0 to `ranks` - 1 with skew `theta`, 0 (none) to below 1.
    ///
    /// # Panics
    ///
    /// When there is no rank, or `theta` is outside its range.
    #[must_use]
    pub fn new(ranks: u64, theta: f64) -> Self {
        assert!(ranks > 0, "a Zipf distribution over no ranks");
        assert!((0.0..1.0).contains(&theta), "a Zipf skew of {theta} outside 0 to below 1");
        let zeta_of_two = zeta(2, theta);
        let zeta_of_head = zeta(HEAD, theta);
        let alpha = 1.0 / (1.0 - theta);
        let mut zipfian = Self { ranks: 0, theta, alpha, zeta: 0.0, eta: 0.0, zeta_of_two, zeta_of_head };
        zipfian.resize(ranks);
        zipfian
    }

    /// The number of ranks drawn from.
    #[must_use]
    pub fn ranks(&self) -> u64 {
        self.ranks
    }

    /// Draws from another number of ranks from now on. Costs a few powers.
    pub fn resize(&mut self, ranks: u64) {
        self.ranks = ranks;
        self.zeta = if ranks < HEAD {
            zeta(ranks, self.theta)
        } else {
            self.zeta_of_head + zeta_beyond_head(ranks, self.theta)
        };
        let two_of_all = (2.0 / ranks as f64).powf(1.0 - self.theta);
        self.eta = (1.0 - two_of_all) / (1.0 - self.zeta_of_two / self.zeta);
    }

    /// Draws a rank.
    #[expect(clippy::cast_possible_truncation, reason = "the product lies between 0 and the number of ranks")]
    pub fn draw(&self, random: &mut impl Rng) -> u64 {
        let uniform = unit_interval(random.next_u64());
        let weight = uniform * self.zeta;
        if weight < 1.0 {
            return 0;
        }
        if weight < self.zeta_of_two || self.ranks <= 2 {
            return 1.min(self.ranks - 1);
        }
        let spread = (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        ((self.ranks as f64 * spread) as u64).min(self.ranks - 1)
    }
}

/// The sum of 1 / i^theta for i from 1 to `count`.
#[must_use]
pub fn zeta(count: u64, theta: f64) -> f64 {
    let head: f64 = (1..=count.min(HEAD)).map(|i| (i as f64).powf(-theta)).sum();
    head + zeta_beyond_head(count.max(HEAD), theta)
}

/// The terms after the first [`HEAD`], by the Euler-Maclaurin formula, which is exact here to eleven digits: a
/// distribution over billions of ranks is made at once.
fn zeta_beyond_head(count: u64, theta: f64) -> f64 {
    if count == HEAD {
        return 0.0;
    }
    let (from, to) = ((HEAD + 1) as f64, count as f64);
    let integral = (to.powf(1.0 - theta) - from.powf(1.0 - theta)) / (1.0 - theta);
    let ends = (from.powf(-theta) + to.powf(-theta)) / 2.0;
    let slopes = theta * (from.powf(-theta - 1.0) - to.powf(-theta - 1.0)) / 12.0;
    integral + ends + slopes
}

/// A random word as a number from 0 to below 1.
#[must_use]
pub fn unit_interval(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// A random word as a whole number below `limit`, every one as likely but for a share of `limit` / 2^64.
#[must_use]
pub fn below(limit: u64, random: u64) -> u64 {
    ((u128::from(limit) * u128::from(random)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::{YCSB_CONSTANT, Zipfian, below, unit_interval, zeta};

    const DRAWS: usize = 200_000;

    fn counts(zipfian: &Zipfian, seed: u64) -> Vec<u32> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut counts = vec![0; usize::try_from(zipfian.ranks()).unwrap()];
        for _ in 0..DRAWS {
            counts[usize::try_from(zipfian.draw(&mut random)).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn zeta_agrees_with_the_plain_sum() {
        for (count, theta) in
            [(1_u32, 0.99), (100, 0.5), (101, 0.99), (10_000, 0.99), (10_000, 0.2), (5000, 0.0)]
        {
            let plain: f64 = (1..=count).map(|i| f64::from(i).powf(-theta)).sum();
            assert!((zeta(u64::from(count), theta) / plain - 1.0).abs() < 1e-10, "zeta({count}, {theta})");
        }
    }

    #[test]
    fn zeta_of_ten_billion_agrees_with_the_figure_that_ycsb_uses() {
        assert!((zeta(10_000_000_000, YCSB_CONSTANT) - 26.469_028_201_783_02).abs() < 1e-6);
    }

    #[test]
    fn the_top_ranks_get_their_share() {
        let zipfian = Zipfian::new(1000, YCSB_CONSTANT);
        let counts = counts(&zipfian, 1);
        for rank in [0_u32, 1] {
            let expected = DRAWS as f64 / f64::from(rank + 1).powf(YCSB_CONSTANT) / zeta(1000, YCSB_CONSTANT);
            let found = f64::from(counts[rank as usize]);
            assert!((found / expected - 1.0).abs() < 0.03, "rank {rank}: {found} draws, {expected} expected");
        }
    }

    #[test]
    fn the_first_tenth_of_the_ranks_gets_what_the_law_says() {
        let counts = counts(&Zipfian::new(1000, YCSB_CONSTANT), 2);
        let head = counts[..100].iter().sum::<u32>();
        let expected = zeta(100, YCSB_CONSTANT) / zeta(1000, YCSB_CONSTANT);
        assert!(
            (f64::from(head) / DRAWS as f64 - expected).abs() < 0.02,
            "{head} of {DRAWS}, expected {expected}"
        );
    }

    #[test]
    fn few_ranks_stay_in_range() {
        for ranks in 1..6 {
            let counts = counts(&Zipfian::new(ranks, YCSB_CONSTANT), 3);
            assert!(counts.is_sorted_by(|more, less| more >= less), "{ranks} ranks: {counts:?}");
            assert!(counts.iter().all(|count| *count > 0), "{ranks} ranks: {counts:?}");
        }
    }

    #[test]
    fn a_grown_distribution_equals_one_made_at_that_size() {
        let mut grown = Zipfian::new(10, YCSB_CONSTANT);
        grown.resize(1000);
        assert_eq!(counts(&grown, 4), counts(&Zipfian::new(1000, YCSB_CONSTANT), 4));
    }

    #[test]
    fn words_map_onto_whole_intervals() {
        assert_eq!((below(10, 0), below(10, u64::MAX)), (0, 9));
        assert!(unit_interval(u64::MAX) < 1.0);
        assert!(unit_interval(0) <= 0.0);
    }
}
