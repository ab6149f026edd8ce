//! By which formula victims are compared.
//!
//! With `u` the live share of a zone and `age` the time since it was sealed:
//!
//! | rule | score |
//! |---|---|
//! | greedy | `1 - u` |
//! | cost-benefit | `(1 - u) x age / (1 + u)`: Rosenblum and Ousterhout, SOSP '91, section 3.6 |
//! | age for copies | `(1 - u) x age / u` |
//!
//! The last one leaves out the cost of reading, which the first log-structured file system on a disk had to pay and
//! write amplification does not. It is close to what is best for zones whose records die at a constant rate: a zone
//! should be emptied when what one more moment's waiting would save in copies, now and at all later collections of
//! those copies, no longer pays for the dead space that waits with it. `docs/adr/0029` derives it.

use crate::units::ZoneId;

/// A zone that may be emptied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Which zone.
    pub zone: ZoneId,
    /// What a zone can hold, in bytes.
    pub capacity_bytes: u64,
    /// Bytes of records that would have to be copied.
    pub live_bytes: u64,
    /// Time since the zone was sealed. Only ratios matter, so any clock will do that is the same for all zones.
    pub age: u64,
}

/// A formula for comparing victims.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum VictimRule {
    /// The emptiest zone.
    Greedy,
    /// Space gained times its age over the cost of reading and writing.
    CostBenefit,
    /// Space gained times its age over the cost of writing.
    #[default]
    AgeForCopies,
}

/// A victim must give back at least this share of a zone: below it, the copies' own padding could eat the gain.
pub const LEAST_GAIN_SHARE: u64 = 32;

impl VictimRule {
    /// The candidate with the highest score among those that give back enough; of equals, as zones without live records are, the
    /// oldest, so that all of them take turns.
    pub fn choose(self, candidates: impl Iterator<Item = Candidate>) -> Option<ZoneId> {
        let worthwhile = candidates.filter(Candidate::is_worthwhile);
        let best = worthwhile.map(|candidate| (self.score(&candidate), candidate));
        let best = best.max_by(|(a, one), (b, other)| a.total_cmp(b).then(one.age.cmp(&other.age)));
        best.map(|(_, candidate)| candidate.zone)
    }

    /// How much is to be said for emptying a zone: at least 0, never NaN; infinite where there is nothing to copy.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a score needs no more than 53 bits")]
    pub fn score(self, candidate: &Candidate) -> f64 {
        if candidate.live_bytes == 0 {
            return f64::INFINITY;
        }
        let live_share = (candidate.live_bytes as f64 / candidate.capacity_bytes.max(1) as f64).min(1.0);
        let (gain, age) = (1.0 - live_share, candidate.age as f64 + 1.0);
        match self {
            Self::Greedy => gain,
            Self::CostBenefit => gain * age / (1.0 + live_share),
            Self::AgeForCopies => gain * age / live_share,
        }
    }
}

impl Candidate {
    /// Whether emptying the zone gives back enough.
    #[must_use]
    pub const fn is_worthwhile(&self) -> bool {
        let gain_bytes = self.capacity_bytes.saturating_sub(self.live_bytes);
        gain_bytes > 0 && gain_bytes >= self.capacity_bytes / LEAST_GAIN_SHARE
    }
}
