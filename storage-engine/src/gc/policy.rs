//! Which zone to empty next. Pure: no I/O, no clock, no randomness.

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
    /// Bytes written to the store since the zone was sealed.
    pub age_bytes: u64,
}

/// Chooses victims.
pub trait Policy: Send + Sync + std::fmt::Debug {
    /// The zone to empty next, or `None` when emptying none would gain enough.
    fn choose(&self, candidates: &[Candidate]) -> Option<ZoneId>;
}

/// Cost-benefit: the free space gained, times its age, over the cost of reading and writing.
///
/// Score `(1 - u) x age / (1 + u)` with utilisation `u`; Rosenblum and Ousterhout, "The design and implementation of a
/// log-structured file system", SOSP '91, section 3.6.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CostBenefit;

/// A victim must give back at least this share of a zone: below it, the copies' own padding could eat the gain.
const LEAST_GAIN_SHARE: u64 = 32;

impl Policy for CostBenefit {
    fn choose(&self, candidates: &[Candidate]) -> Option<ZoneId> {
        let worthwhile = candidates.iter().filter(|candidate| {
            candidate.live_bytes + candidate.capacity_bytes / LEAST_GAIN_SHARE <= candidate.capacity_bytes
        });
        let best = worthwhile.max_by(|a, b| score(a).total_cmp(&score(b)))?;
        Some(best.zone)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a score needs no more than 53 bits")]
fn score(candidate: &Candidate) -> f64 {
    if candidate.live_bytes == 0 {
        // Nothing to copy: it costs nothing but the reset.
        return f64::INFINITY;
    }
    let utilisation = candidate.live_bytes as f64 / candidate.capacity_bytes as f64;
    (1.0 - utilisation) * (candidate.age_bytes as f64 + 1.0) / (1.0 + utilisation)
}

#[cfg(test)]
mod tests {
    use super::{Candidate, CostBenefit, Policy};
    use crate::units::ZoneId;

    fn candidate(zone: u32, live_bytes: u64, age_bytes: u64) -> Candidate {
        Candidate { zone: ZoneId::new(zone), capacity_bytes: 1000, live_bytes, age_bytes }
    }

    #[test]
    fn an_empty_zone_comes_first_however_young() {
        let choice = CostBenefit.choose(&[candidate(1, 100, 1_000_000), candidate(2, 0, 0)]);
        assert_eq!(choice, Some(ZoneId::new(2)));
    }

    #[test]
    fn at_equal_age_the_emptier_zone_and_at_equal_fill_the_older_one() {
        let emptier = CostBenefit.choose(&[candidate(1, 500, 10), candidate(2, 400, 10)]);
        assert_eq!(emptier, Some(ZoneId::new(2)));
        let older = CostBenefit.choose(&[candidate(1, 500, 20), candidate(2, 500, 10)]);
        assert_eq!(older, Some(ZoneId::new(1)));
    }

    #[test]
    fn an_old_zone_may_be_fuller_than_a_young_one() {
        let choice = CostBenefit.choose(&[candidate(1, 800, 10_000), candidate(2, 500, 100)]);
        assert_eq!(choice, Some(ZoneId::new(1)));
    }

    #[test]
    fn a_zone_that_gives_back_next_to_nothing_is_left_alone() {
        assert_eq!(CostBenefit.choose(&[candidate(1, 990, 10_000)]), None);
        assert_eq!(CostBenefit.choose(&[]), None);
    }
}
