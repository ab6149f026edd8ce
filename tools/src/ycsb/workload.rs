//! What a phase of the benchmark does: which operations, in what shares, on which records.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use super::keys::KeyOrder;
use super::usage::UsageError;

/// One kind of operation; what is counted and timed apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OperationKind {
    /// Looks one record up.
    Read,
    /// Replaces the value of a record that is there.
    Update,
    /// Adds a record.
    Insert,
    /// Reads neighbouring records in key order.
    Scan,
    /// Reads a record, then writes it back changed. Counted and timed as one operation.
    ReadModifyWrite,
}

impl OperationKind {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Read, Self::Update, Self::Insert, Self::Scan, Self::ReadModifyWrite];

    /// The place of this kind in a table with one row a kind.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in options, tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Scan => "scan",
            Self::ReadModifyWrite => "rmw",
        }
    }

    /// The name in YCSB's text output.
    #[must_use]
    pub const fn ycsb_name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Update => "UPDATE",
            Self::Insert => "INSERT",
            Self::Scan => "SCAN",
            Self::ReadModifyWrite => "READ-MODIFY-WRITE",
        }
    }

    /// The YCSB property that gives this kind's share.
    #[must_use]
    pub const fn property(self) -> &'static str {
        match self {
            Self::Read => "readproportion",
            Self::Update => "updateproportion",
            Self::Insert => "insertproportion",
            Self::Scan => "scanproportion",
            Self::ReadModifyWrite => "readmodifywriteproportion",
        }
    }
}

/// The share that each kind of operation has. Shares sum to one.
#[derive(Clone, PartialEq, Debug)]
pub struct Mix {
    shares: [f64; 5],
    /// A random word below a kind's threshold, and not below that of the kind before, picks the kind.
    thresholds: [u64; 5],
    /// The last kind that occurs: it takes the words that rounding left over.
    last: OperationKind,
}

impl Mix {
    /// Shares in the order of [`OperationKind::ALL`]. They may be off one by a thousandth, as rounded thirds are.
    ///
    /// # Errors
    ///
    /// When a share lies outside 0 to 1, or they do not sum to 1.
    pub fn new(shares: [f64; 5]) -> Result<Self, UsageError> {
        for (kind, share) in OperationKind::ALL.iter().zip(shares) {
            if !(0.0..=1.0).contains(&share) {
                return Err(UsageError::new(format!(
                    "the {} proportion is {share}; a proportion lies between 0 and 1",
                    kind.name()
                )));
            }
        }
        let sum: f64 = shares.iter().sum();
        if (sum - 1.0).abs() > 0.001 {
            return Err(UsageError::new(format!(
                "the proportions sum to {sum}, not to 1: {}",
                describe(&shares)
            )));
        }
        Ok(Self::of_checked(shares.map(|share| share / sum)))
    }

    /// Nothing but operations of one kind.
    #[must_use]
    pub fn only(kind: OperationKind) -> Self {
        let mut shares = [0.0; 5];
        shares[kind.index()] = 1.0;
        Self::of_checked(shares)
    }

    fn of_checked(shares: [f64; 5]) -> Self {
        let last = OperationKind::ALL.into_iter().rfind(|kind| shares[kind.index()] > 0.0);
        Self { shares, thresholds: thresholds(&shares), last: last.unwrap_or(OperationKind::Read) }
    }

    /// The share of a kind, 0 to 1.
    #[must_use]
    pub fn share(&self, kind: OperationKind) -> f64 {
        self.shares[kind.index()]
    }

    /// The kinds that occur at all.
    pub fn kinds(&self) -> impl Iterator<Item = OperationKind> {
        OperationKind::ALL.into_iter().filter(|kind| self.share(*kind) > 0.0)
    }

    /// Whether any operation writes.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.kinds().any(|kind| !matches!(kind, OperationKind::Read | OperationKind::Scan))
    }

    /// Whether any operation needs a record that is there already.
    #[must_use]
    pub fn needs_records(&self) -> bool {
        self.kinds().any(|kind| kind != OperationKind::Insert)
    }

    /// The kind that a uniformly random word stands for.
    #[must_use]
    pub fn pick(&self, random: u64) -> OperationKind {
        let place = self.thresholds.iter().position(|threshold| random < *threshold);
        place.map_or(self.last, |place| OperationKind::ALL[place])
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe(&self.shares))
    }
}

fn describe(shares: &[f64; 5]) -> String {
    let named: Vec<_> = OperationKind::ALL
        .iter()
        .zip(shares)
        .filter(|(_, share)| **share != 0.0)
        .map(|(kind, share)| format!("{} {share}", kind.name()))
        .collect();
    if named.is_empty() { "all are 0".to_owned() } else { named.join(", ") }
}

/// Cumulative shares as fractions of all words. A kind without a share repeats the threshold before it and so is
/// never reached.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float beyond the range saturates, which is what is wanted"
)]
fn thresholds(shares: &[f64; 5]) -> [u64; 5] {
    let mut sum = 0.0;
    shares.map(|share| {
        sum += share;
        (sum * 2_f64.powi(64)) as u64
    })
}

/// How the records that requests go to are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Distribution {
    /// Every record as likely as any other
    Uniform,
    /// A few records get most requests, wherever they lie: as YCSB draws, over ranks hashed onto records
    Zipfian,
    /// The same with a rank for each record, so that the law holds for the records as well
    ZipfianExact,
    /// The newest records get most requests
    Latest,
    /// One part of the records gets one share of the requests, the rest the others
    Hotspot,
}

impl Distribution {
    /// The name in options, properties and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipfian => "zipfian",
            Self::ZipfianExact => "zipfian-exact",
            Self::Latest => "latest",
            Self::Hotspot => "hotspot",
        }
    }
}

/// The hot records of [`Distribution::Hotspot`]: YCSB's `hotspotdatafraction` and `hotspotopnfraction`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hotspot {
    /// Their part of the records, 0 to 1.
    pub record_share: f64,
    /// The requests that they get, 0 to 1.
    pub request_share: f64,
}

impl Default for Hotspot {
    /// As in YCSB.
    fn default() -> Self {
        Self { record_share: 0.2, request_share: 0.8 }
    }
}

/// How many records a scan reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanLengths {
    /// The shortest, at least 1.
    pub min_records: u64,
    /// The longest.
    pub max_records: u64,
    /// Whether short scans are preferred (Zipf) or every length is as likely.
    pub favour_short: bool,
}

/// When a phase ends: at whichever comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    /// After this many operations. With no time limit either, as many as there are records.
    pub operations: Option<u64>,
    /// After this much time.
    pub time_limit: Option<Duration>,
}

/// One phase of the benchmark, checked and complete.
#[derive(Clone, PartialEq, Debug)]
pub struct Workload {
    /// What reports call it: `a` to `f`, `load`, the name of a property file, or `custom`.
    pub name: String,
    /// The operations.
    pub mix: Mix,
    /// The records they go to.
    pub distribution: Distribution,
    /// The skew of the Zipf distributions, 0 (none) to below 1.
    pub zipfian_constant: f64,
    /// The hot records of the distribution of that name.
    pub hotspot: Hotspot,
    /// The lengths of scans.
    pub scan_lengths: ScanLengths,
    /// How keys are made.
    pub key_order: KeyOrder,
    /// Bytes in every value written.
    pub value_bytes: usize,
    /// Threads that issue operations.
    pub threads: usize,
    /// Operations run before measuring begins, over all threads.
    pub warmup_operations: u64,
    /// When it ends.
    pub extent: Extent,
}

#[cfg(test)]
mod tests {
    use super::{Mix, OperationKind};

    #[test]
    fn a_mix_picks_kinds_in_their_shares() {
        let mix = Mix::new([0.5, 0.3, 0.0, 0.2, 0.0]).unwrap();
        let mut counts = [0_u32; 5];
        for step in 0..1000_u64 {
            counts[mix.pick(step * (u64::MAX / 1000)).index()] += 1;
        }
        for (found, expected) in counts.into_iter().zip([500_u32, 300, 0, 200, 0]) {
            assert!(found.abs_diff(expected) <= 1, "{counts:?}");
        }
    }

    #[test]
    fn a_kind_without_a_share_is_never_picked() {
        for kind in OperationKind::ALL {
            let mix = Mix::only(kind);
            for random in [0, 1, u64::MAX / 2, u64::MAX] {
                assert_eq!(mix.pick(random), kind);
            }
        }
    }

    #[test]
    fn shares_that_do_not_sum_to_one_are_refused_and_listed() {
        let message = Mix::new([0.5, 0.0, 0.0, 0.2, 0.0]).unwrap_err().to_string();
        assert!(message.contains("0.7") && message.contains("read 0.5, scan 0.2"), "{message}");
        assert!(Mix::new([0.0; 5]).unwrap_err().to_string().contains("all are 0"));
        assert!(Mix::new([0.333, 0.333, 0.333, 0.0, 0.0]).is_ok(), "rounded thirds are meant to sum to 1");
    }

    #[test]
    fn a_share_outside_zero_to_one_is_refused_by_name() {
        for share in [-0.5, 1.5, f64::NAN] {
            let message = Mix::new([1.0, 0.0, 0.0, share, 0.0]).unwrap_err().to_string();
            assert!(message.contains("scan proportion"), "{message}");
        }
    }

    #[test]
    fn a_mix_knows_what_it_needs() {
        assert!(!Mix::only(OperationKind::Scan).writes());
        assert!(Mix::only(OperationKind::ReadModifyWrite).writes());
        assert!(!Mix::only(OperationKind::Insert).needs_records());
        assert!(Mix::new([0.95, 0.0, 0.05, 0.0, 0.0]).unwrap().needs_records());
    }
}
