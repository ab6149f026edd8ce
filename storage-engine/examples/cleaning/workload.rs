//! Which key is written next: distributions with known rates, drawn in constant time.

use clap::ValueEnum;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// How writes are spread over keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Distribution {
    /// Every key alike.
    Uniform,
    /// Zipf with exponent 0.99, scrambled.
    Zipf,
    /// 80 % of the writes to 20 % of the keys.
    #[value(name = "80-20")]
    EightyTwenty,
    /// 90 % to 10 %.
    #[value(name = "90-10")]
    NinetyTen,
    /// Zipf by recency: one write in twenty replaces the oldest key, which becomes the most popular.
    Latest,
}

/// A store in which everything changes has 95 % of its writes at keys that were popular already.
const WRITES_A_NEW_KEY: u64 = 20;
const ZIPF_EXPONENT: f64 = 0.99;

impl Distribution {
    /// What each rank weighs.
    fn weights(self, key_count: usize) -> Vec<f64> {
        match self {
            Self::Uniform => vec![1.0; key_count],
            Self::Zipf | Self::Latest => {
                (1..=key_count).map(|rank| (rank as f64).powf(-ZIPF_EXPONENT)).collect()
            }
            Self::EightyTwenty => hot_and_cold(key_count, 0.8, 0.2),
            Self::NinetyTen => hot_and_cold(key_count, 0.9, 0.1),
        }
    }
}

fn hot_and_cold(key_count: usize, write_share: f64, key_share: f64) -> Vec<f64> {
    let hot_count = (key_count as f64 * key_share).round() as usize;
    let (hot, cold) = (write_share / key_share, (1.0 - write_share) / (1.0 - key_share));
    (0..key_count).map(|rank| if rank < hot_count { hot } else { cold }).collect()
}

/// Draws keys. The same seed draws the same ones.
#[derive(Debug)]
pub(crate) struct Workload {
    /// By key: its share of all writes. With `latest`: by the place behind the newest.
    rates: Vec<f64>,
    table: AliasTable,
    random: SmallRng,
    drawn: u64,
    /// The newest key, where popularity moves.
    newest: Option<usize>,
}

impl Workload {
    /// A distribution over so many keys.
    pub(crate) fn new(distribution: Distribution, key_count: usize, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut rates = distribution.weights(key_count);
        let sum: f64 = rates.iter().sum();
        rates.iter_mut().for_each(|rate| *rate /= sum);
        let moves = distribution == Distribution::Latest;
        if !moves {
            rates.shuffle(&mut random);
        }
        let table = AliasTable::new(&rates);
        Self { rates, table, random, drawn: 0, newest: moves.then_some(0) }
    }

    /// Each key's share of the writes, if that does not change.
    pub(crate) fn rates(&self) -> Option<&[f64]> {
        self.newest.is_none().then_some(&self.rates[..])
    }

    /// The key that is written next.
    pub(crate) fn draw(&mut self) -> usize {
        let rank = self.table.draw(&mut self.random);
        let Some(newest) = self.newest else { return rank };
        let key_count = self.rates.len();
        self.drawn += 1;
        if !self.drawn.is_multiple_of(WRITES_A_NEW_KEY) {
            return (newest + key_count - rank) % key_count;
        }
        let next = (newest + 1) % key_count;
        self.newest = Some(next);
        next
    }
}

/// Walker's alias method: two table look-ups a draw.
#[derive(Debug)]
struct AliasTable {
    /// How often the column gives its own number, and which number it gives otherwise.
    columns: Vec<(f32, u32)>,
}

impl AliasTable {
    fn new(shares: &[f64]) -> Self {
        let count = shares.len();
        let mut heights: Vec<f64> = shares.iter().map(|share| share * count as f64).collect();
        let mut columns: Vec<(f32, u32)> = (0..count as u32).map(|own| (1.0, own)).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) = (0..count).partition(|&i| heights[i] < 1.0);
        while let (Some(&lower), Some(&higher)) = (low.last(), high.last()) {
            low.pop();
            columns[lower] = (heights[lower] as f32, higher as u32);
            heights[higher] -= 1.0 - heights[lower];
            if heights[higher] < 1.0 {
                high.pop();
                low.push(higher);
            }
        }
        Self { columns }
    }

    fn draw(&self, random: &mut SmallRng) -> usize {
        let column = random.random_range(0..self.columns.len());
        let (height, alias) = self.columns[column];
        if random.random::<f32>() < height { column } else { alias as usize }
    }
}
