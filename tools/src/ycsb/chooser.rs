//! Chooses the record that a request goes to, among those whose insertion has been acknowledged.
//!
//! One chooser belongs to one thread. `acknowledged` is how many records can be asked for at the moment: 0 to
//! `acknowledged` - 1. It only grows.

use rand::Rng;

use super::keys::fnv_hash;
use super::workload::{Distribution, Hotspot, OperationKind, ScanLengths, Workload};
use super::zipfian::{Zipfian, below, unit_interval};

/// Ranks that the scrambled distribution hashes over the records. YCSB has this number, so a record's share of the
/// requests is here what it is there.
const SCRAMBLED_RANKS: u64 = 10_000_000_000;

/// Chooses records by one distribution.
#[derive(Clone, Debug)]
pub enum RecordChooser {
    /// Every record as likely as any other.
    Uniform,
    /// Zipf ranks hashed over `records`, some of which may not be there yet.
    Scrambled {
        /// The ranks.
        ranks: Zipfian,
        /// The records that ranks are spread over. It stays as it is while records are inserted, for a hot record to
        /// stay hot.
        records: u64,
    },
    /// As many Zipf ranks as records, each of which has one.
    Exact {
        /// The ranks.
        ranks: Zipfian,
        /// Which record has which rank.
        spread: Spread,
    },
    /// Zipf ranks counted back from the newest record.
    Latest {
        /// The ranks.
        ranks: Zipfian,
    },
    /// Hot and cold records, all hot ones alike, and all cold ones.
    Hot {
        /// How many are hot: those with the lowest numbers.
        records: u64,
        /// How many there are, some of which may not be there yet.
        of_all: u64,
        /// The hot ones' share of the requests.
        request_share: f64,
    },
}

/// Spreads the numbers below a limit evenly over the same numbers: no two go to the same place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spread {
    step: u64,
    limit: u64,
}

impl Spread {
    /// Over the numbers 0 to `limit` - 1.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the limit")]
    pub fn over(limit: u64) -> Self {
        assert!(limit > 0, "nothing to spread over");
        // Neighbours come to lie a golden section apart, and so far from each other for long.
        let golden = (limit as f64 * 0.618_033_988_749_895) as u64;
        let step = (golden.max(1)..).find(|&step| common_divisor(step, limit) == 1).unwrap_or(1);
        Self { step, limit }
    }

    /// Where a number goes.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the limit")]
    pub fn place(self, number: u64) -> u64 {
        (u128::from(number) * u128::from(self.step) % u128::from(self.limit)) as u64
    }
}

fn common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { common_divisor(other, one % other) }
}

impl RecordChooser {
    /// The chooser for a phase that starts with `records` records and runs about `operations` operations.
    #[must_use]
    pub fn for_phase(workload: &Workload, records: u64, operations: Option<u64>) -> Self {
        let all = match workload.distribution {
            Distribution::Uniform | Distribution::Latest => records.max(1),
            _ => records.max(1) + insert_headroom(workload, records, operations),
        };
        Self::over(workload.distribution, all, workload.zipfian_constant, workload.hotspot)
    }

    /// The chooser among so many records.
    #[must_use]
    pub fn over(distribution: Distribution, records: u64, theta: f64, hotspot: Hotspot) -> Self {
        match distribution {
            Distribution::Uniform => Self::Uniform,
            Distribution::Zipfian => Self::Scrambled { ranks: Zipfian::new(SCRAMBLED_RANKS, theta), records },
            Distribution::ZipfianExact => {
                Self::Exact { ranks: Zipfian::new(records, theta), spread: Spread::over(records) }
            }
            Distribution::Latest => Self::Latest { ranks: Zipfian::new(records, theta) },
            Distribution::Hotspot => Self::Hot {
                records: hot_count(records, hotspot),
                of_all: records,
                request_share: hotspot.request_share,
            },
        }
    }

    /// Chooses one of the records 0 to `acknowledged` - 1.
    ///
    /// # Panics
    ///
    /// When there is no record to choose.
    pub fn choose(&mut self, random: &mut impl Rng, acknowledged: u64) -> u64 {
        assert!(acknowledged > 0, "no record to choose from");
        match self {
            Self::Uniform => below(acknowledged, random.next_u64()),
            Self::Scrambled { ranks, records } => loop {
                let record = fnv_hash(ranks.draw(random)) % *records;
                if record < acknowledged {
                    return record;
                }
            },
            Self::Exact { ranks, spread } => loop {
                let record = spread.place(ranks.draw(random));
                if record < acknowledged {
                    return record;
                }
            },
            Self::Hot { records, of_all, request_share } => loop {
                let record = if unit_interval(random.next_u64()) < *request_share {
                    below((*records).max(1), random.next_u64())
                } else {
                    (*records).min(*of_all - 1) + below((*of_all - *records).max(1), random.next_u64())
                };
                if record < acknowledged {
                    return record;
                }
            },
            Self::Latest { ranks } => {
                follow_growth(ranks, acknowledged);
                acknowledged - 1 - ranks.draw(random)
            }
        }
    }
}

/// How many of the records are hot.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the records")]
pub fn hot_count(records: u64, hotspot: Hotspot) -> u64 {
    ((records as f64 * hotspot.record_share).round() as u64).min(records)
}

/// Room for the records that a phase will insert: twice as many as expected, as in YCSB, but at most three times those
/// that are there (and a thousand), lest most draws hit records to come. Those beyond are inserted, but never asked for.
#[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates, and is cut below")]
fn insert_headroom(workload: &Workload, records: u64, operations: Option<u64>) -> u64 {
    let share = workload.mix.share(OperationKind::Insert);
    if share <= 0.0 {
        return 0;
    }
    let expected = operations.map_or(records, |operations| (operations as f64 * share * 2.0) as u64);
    expected.min(records.saturating_mul(3).saturating_add(1000))
}

/// Follows the growth of the records in steps of a thousandth: until the next step the very oldest ones are not drawn.
fn follow_growth(ranks: &mut Zipfian, acknowledged: u64) {
    if acknowledged > ranks.ranks() + ranks.ranks() / 1000 {
        ranks.resize(acknowledged);
    }
}

/// Chooses how many records a scan reads.
#[derive(Clone, Debug)]
pub struct ScanLengthChooser {
    lengths: ScanLengths,
    short_first: Option<Zipfian>,
}

impl ScanLengthChooser {
    /// The chooser for these lengths.
    #[must_use]
    pub fn new(lengths: ScanLengths, theta: f64) -> Self {
        let choices = lengths.max_records - lengths.min_records + 1;
        let short_first = lengths.favour_short.then(|| Zipfian::new(choices, theta));
        Self { lengths, short_first }
    }

    /// Chooses a length.
    pub fn choose(&self, random: &mut impl Rng) -> u64 {
        let ScanLengths { min_records, max_records, .. } = self.lengths;
        let beyond_min = match &self.short_first {
            Some(zipfian) => zipfian.draw(random),
            None => below(max_records - min_records + 1, random.next_u64()),
        };
        min_records + beyond_min
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers here are small")]
mod tests {
    use clap::ValueEnum;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::super::workload::{Distribution, Extent, Mix, ScanLengths, Workload};
    use super::super::zipfian::YCSB_CONSTANT;
    use super::{RecordChooser, ScanLengthChooser, Spread};

    const RECORDS: u64 = 1000;
    const DRAWS: u32 = 200_000;

    fn workload(distribution: Distribution, insert_share: f64) -> Workload {
        Workload {
            name: "test".to_owned(),
            mix: Mix::new([1.0 - insert_share, 0.0, insert_share, 0.0, 0.0]).unwrap(),
            distribution,
            zipfian_constant: YCSB_CONSTANT,
            hotspot: Default::default(),
            scan_lengths: ScanLengths { min_records: 1, max_records: 100, favour_short: false },
            key_order: Default::default(),
            value_bytes: 100,
            threads: 1,
            warmup_operations: 0,
            extent: Extent::default(),
        }
    }

    fn counts(distribution: Distribution) -> Vec<u32> {
        let mut chooser = RecordChooser::for_phase(&workload(distribution, 0.0), RECORDS, None);
        let mut random = SmallRng::seed_from_u64(9);
        let mut counts = vec![0; RECORDS as usize];
        for _ in 0..DRAWS {
            counts[chooser.choose(&mut random, RECORDS) as usize] += 1;
        }
        counts
    }

    #[test]
    fn uniform_requests_pass_a_chi_square_test() {
        let expected = f64::from(DRAWS) / RECORDS as f64;
        let chi_square: f64 = counts(Distribution::Uniform)
            .iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        // 999 degrees of freedom: mean 999, standard deviation 44.7.
        assert!((800.0..1200.0).contains(&chi_square), "chi-square {chi_square}");
    }

    #[test]
    fn the_hottest_scrambled_record_gets_the_share_of_the_top_rank_in_ycsb() {
        let counts = counts(Distribution::Zipfian);
        let hottest = f64::from(*counts.iter().max().unwrap()) / f64::from(DRAWS);
        let top_rank = 1.0 / 26.469_028;
        assert!((top_rank..top_rank * 1.1).contains(&hottest), "share {hottest} of the top record");
    }

    #[test]
    fn scrambled_hot_records_lie_far_apart() {
        let counts = counts(Distribution::Zipfian);
        let mut by_heat: Vec<usize> = (0..counts.len()).collect();
        by_heat.sort_by_key(|record| std::cmp::Reverse(counts[*record]));
        for part in 0..4 {
            let hot_here = by_heat[..40].iter().filter(|record| *record / 250 == part).count();
            assert!((3..=20).contains(&hot_here), "{hot_here} of the 40 hottest in part {part}");
        }
    }

    #[test]
    fn exact_ranks_give_each_record_the_share_of_its_rank() {
        let mut counts = counts(Distribution::ZipfianExact);
        counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
        let weight = |rank: u32| f64::from(rank).powf(-YCSB_CONSTANT);
        let all: f64 = (1..=RECORDS as u32).map(weight).sum();
        for (most, tolerated) in [(1, 0.03), (2, 0.03), (100, 0.03), (500, 0.02)] {
            let found = f64::from(counts[..most].iter().sum::<u32>()) / f64::from(DRAWS);
            let expected = (1..=most as u32).map(weight).sum::<f64>() / all;
            assert!((found - expected).abs() < tolerated, "the first {most}: {found}, not {expected}");
        }
        assert!(counts[RECORDS as usize - 1] > 0, "YCSB's own leaves records out; this one does not");
    }

    #[test]
    fn what_is_spread_comes_to_every_place_once() {
        for limit in (1..200).chain([1 << 16, 209_715]) {
            let spread = Spread::over(limit);
            let mut places: Vec<u64> = (0..limit).map(|number| spread.place(number)).collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(0..limit), "over {limit}");
        }
    }

    #[test]
    fn hot_records_get_their_share_and_are_alike() {
        let counts = counts(Distribution::Hotspot);
        let hot: u32 = counts[..200].iter().sum();
        assert!((f64::from(hot) / f64::from(DRAWS) - 0.8).abs() < 0.01, "{hot} of {DRAWS}");
        assert!(counts[..200].iter().all(|count| (600..1000).contains(count)), "{counts:?}");
        assert!(counts[200..].iter().all(|count| (10..110).contains(count)), "{counts:?}");
    }

    #[test]
    fn latest_favours_the_newest_and_falls_off() {
        let counts = counts(Distribution::Latest);
        let newest = counts[RECORDS as usize - 1];
        assert_eq!(counts.iter().max(), Some(&newest));
        let share = |records: &[u32]| f64::from(records.iter().sum::<u32>()) / f64::from(DRAWS);
        assert!(share(&counts[900..]) > 0.6, "newest tenth gets {}", share(&counts[900..]));
        assert!(share(&counts[..100]) < 0.05, "oldest tenth gets {}", share(&counts[..100]));
    }

    #[test]
    fn latest_follows_records_as_they_are_inserted() {
        let mut chooser = RecordChooser::for_phase(&workload(Distribution::Latest, 0.05), RECORDS, None);
        let mut random = SmallRng::seed_from_u64(9);
        for acknowledged in [RECORDS, RECORDS + 1, 2 * RECORDS, 20 * RECORDS] {
            let chosen: Vec<_> = (0..1000).map(|_| chooser.choose(&mut random, acknowledged)).collect();
            let newest = chosen.iter().filter(|record| **record == acknowledged - 1).count();
            let older_half = chosen.iter().filter(|record| **record < acknowledged / 2).count();
            assert!(newest > 60, "{newest} of 1000 to the newest of {acknowledged} records");
            assert!(older_half > 20, "{older_half} of 1000 to the older half of {acknowledged} records");
        }
    }

    #[test]
    fn no_chooser_asks_for_a_record_that_is_not_acknowledged() {
        for distribution in Distribution::value_variants() {
            let distribution = *distribution;
            let mut chooser = RecordChooser::for_phase(&workload(distribution, 0.5), 10, Some(1000));
            let mut random = SmallRng::seed_from_u64(9);
            for acknowledged in 1..1000 {
                // A phase starts with 10 records; fewer cannot happen, and the scrambled draw would take its time.
                let acknowledged = acknowledged.max(10);
                assert!(chooser.choose(&mut random, acknowledged) < acknowledged);
            }
        }
    }

    #[test]
    fn scan_lengths_cover_their_range() {
        let lengths = ScanLengths { min_records: 5, max_records: 8, favour_short: false };
        for favour_short in [false, true] {
            let chooser = ScanLengthChooser::new(ScanLengths { favour_short, ..lengths }, YCSB_CONSTANT);
            let mut random = SmallRng::seed_from_u64(9);
            let mut counts = [0_u32; 9];
            for _ in 0..4000 {
                counts[chooser.choose(&mut random) as usize] += 1;
            }
            assert_eq!(counts[..5].iter().sum::<u32>(), 0);
            assert!(counts[5..].iter().all(|count| *count > 300), "{counts:?}");
            assert_eq!(counts[5] > 1500, favour_short, "{counts:?}");
        }
    }
}
