//! Which key is written next: as `ycsb` draws, with its own code and its own names, and rates for the oracle.

use clap::ValueEnum;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use zonal_tools::ycsb::chooser::{RecordChooser, Spread, hot_count};
use zonal_tools::ycsb::workload::{self, Hotspot};
use zonal_tools::ycsb::zipfian::{YCSB_CONSTANT, Zipfian};

/// How writes are spread over keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Distribution {
    /// Every key alike.
    Uniform,
    /// Zipf with exponent 0.99, each key with a rank of its own: `zipfian-exact`.
    Zipf,
    /// As YCSB draws `zipfian`: ten billion ranks hashed onto the keys.
    YcsbZipf,
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

impl Distribution {
    fn hotspot(self) -> Hotspot {
        match self {
            Self::NinetyTen => Hotspot { record_share: 0.1, request_share: 0.9 },
            _ => Hotspot { record_share: 0.2, request_share: 0.8 },
        }
    }

    /// What `ycsb` calls it; `None` where keys are not chosen by what they are.
    fn chooser(self, key_count: u64) -> Option<RecordChooser> {
        let distribution = match self {
            Self::Uniform => workload::Distribution::Uniform,
            Self::Zipf => workload::Distribution::ZipfianExact,
            Self::YcsbZipf => workload::Distribution::Zipfian,
            Self::EightyTwenty | Self::NinetyTen => workload::Distribution::Hotspot,
            Self::Latest => return None,
        };
        Some(RecordChooser::over(distribution, key_count, YCSB_CONSTANT, self.hotspot()))
    }

    /// What each key weighs, where that is known and does not change.
    fn weights(self, key_count: u64) -> Option<Vec<f64>> {
        let mut weights = vec![1.0; key_count as usize];
        match self {
            Self::Uniform => {}
            Self::Zipf => {
                let spread = Spread::over(key_count);
                for rank in 0..key_count {
                    weights[spread.place(rank) as usize] = ((rank + 1) as f64).powf(-YCSB_CONSTANT);
                }
            }
            Self::EightyTwenty | Self::NinetyTen => {
                let Hotspot { record_share, request_share } = self.hotspot();
                let hot = hot_count(key_count, self.hotspot()) as usize;
                weights[..hot].fill(request_share / record_share);
                weights[hot..].fill((1.0 - request_share) / (1.0 - record_share));
            }
            Self::YcsbZipf | Self::Latest => return None,
        }
        Some(weights)
    }
}

/// Draws keys. The same seed draws the same ones.
#[derive(Debug)]
pub(crate) struct Workload {
    draws: Draws,
    /// By key: its share of all writes, where that is known and does not change.
    rates: Option<Vec<f64>>,
    random: SmallRng,
    key_count: u64,
}

#[derive(Debug)]
enum Draws {
    Chosen(RecordChooser),
    /// By the place behind the newest.
    Recent {
        ranks: Zipfian,
        newest: u64,
        drawn: u64,
    },
}

impl Workload {
    /// A distribution over so many keys.
    pub(crate) fn new(distribution: Distribution, key_count: usize, seed: u64) -> Self {
        let key_count = key_count as u64;
        let recent = || Draws::Recent { ranks: Zipfian::new(key_count, YCSB_CONSTANT), newest: 0, drawn: 0 };
        let draws = distribution.chooser(key_count).map_or_else(recent, Draws::Chosen);
        let rates = distribution.weights(key_count).map(|mut weights| {
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            weights
        });
        Self { draws, rates, random: SmallRng::seed_from_u64(seed), key_count }
    }

    /// Each key's share of the writes, if that does not change.
    pub(crate) fn rates(&self) -> Option<&[f64]> {
        self.rates.as_deref()
    }

    /// The key that is written next.
    pub(crate) fn draw(&mut self) -> usize {
        let (random, key_count) = (&mut self.random, self.key_count);
        match &mut self.draws {
            Draws::Chosen(chooser) => chooser.choose(random, key_count) as usize,
            Draws::Recent { ranks, newest, drawn } => {
                *drawn += 1;
                if drawn.is_multiple_of(WRITES_A_NEW_KEY) {
                    *newest = (*newest + 1) % key_count;
                    return *newest as usize;
                }
                ((*newest + key_count - ranks.draw(random)) % key_count) as usize
            }
        }
    }
}
