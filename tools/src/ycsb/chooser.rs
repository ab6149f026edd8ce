//! Chooses the record that a request goes to, among those whose insertion has been acknowledged.
//!
//! One chooser belongs to one thread. `acknowledged` is how many records can be asked for at the moment: 0 to
//! `acknowledged` - 1. It only grows.

use rand::Rng;

use super::keys::fnv_hash;
use super::workload::{Distribution, OperationKind, ScanLengths, Workload};
use super::zipfian::{Zipfian, below};

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
    /// Zipf ranks counted back from the newest record.
    Latest {
        /// The ranks.
        ranks: Zipfian,
    },
}

impl RecordChooser {
    /// The chooser for a phase that starts with `records` records and runs about `operations` operations.
    #[must_use]
    pub fn for_phase(workload: &Workload, records: u64, operations: Option<u64>) -> Self {
        let theta = workload.zipfian_constant;
        match workload.distribution {
            Distribution::Uniform => Self::Uniform,
            Distribution::Zipfian => Self::Scrambled {
                ranks: Zipfian::new(SCRAMBLED_RANKS, theta),
                records: records.max(1) + insert_headroom(workload, records, operations),
            },
            Distribution::Latest => Self::Latest { ranks: Zipfian::new(records.max(1), theta) },
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
            Self::Latest { ranks } => {
                follow_growth(ranks, acknowledged);
                acknowledged - 1 - ranks.draw(random)
            }
        }
    }
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
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::super::workload::{Distribution, Extent, Mix, ScanLengths, Workload};
    use super::super::zipfian::YCSB_CONSTANT;
    use super::{RecordChooser, ScanLengthChooser};

    const RECORDS: u64 = 1000;
    const DRAWS: u32 = 200_000;

    fn workload(distribution: Distribution, insert_share: f64) -> Workload {
        Workload {
            name: "test".to_owned(),
            mix: Mix::new([1.0 - insert_share, 0.0, insert_share, 0.0, 0.0]).unwrap(),
            distribution,
            zipfian_constant: YCSB_CONSTANT,
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
        for distribution in [Distribution::Uniform, Distribution::Zipfian, Distribution::Latest] {
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
