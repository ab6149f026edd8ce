//! Which zones lag behind the others in resets, because what they hold never changes.
//!
//! Zones that are emptied anyway take turns. A zone full of cold data is never emptied for its space; so now and then, when
//! it lags far behind, it is emptied for the sake of the others: its data move to a zone that has had more resets, and it
//! takes its share of what changes.

use crate::units::ZoneId;

/// One zone in so many that are emptied may be one that lags behind: that costs a fraction of a percent.
pub(super) const COLLECTIONS_A_TURN: u64 = 512;
/// Resets that a zone may lag behind the one that has had the most. Zones stand thousands of them.
const TOLERATED_LAG: u32 = 256;

/// A zone and how often it has been reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wear {
    pub(super) zone: ZoneId,
    pub(super) reset_count: u32,
}

/// Of the zones that may be emptied the one that has been reset least, if it lags too far behind `most`.
pub(super) fn straggler(may_be_emptied: impl Iterator<Item = Wear>, most: u32) -> Option<ZoneId> {
    let least = may_be_emptied.min_by_key(|wear| wear.reset_count)?;
    (most.saturating_sub(least.reset_count) > TOLERATED_LAG).then_some(least.zone)
}

#[cfg(test)]
mod tests {
    use super::{TOLERATED_LAG, Wear, ZoneId, straggler};

    #[test]
    fn the_zone_that_lags_furthest_behind_has_its_turn_and_a_tolerable_lag_is_tolerated() {
        let wear = |zone, reset_count| Wear { zone: ZoneId::new(zone), reset_count };
        let zones = [wear(1, 500), wear(2, 7), wear(3, 9)];
        assert_eq!(straggler(zones.into_iter(), 500), Some(ZoneId::new(2)));
        assert_eq!(straggler(zones.into_iter(), 7 + TOLERATED_LAG), None);
        assert_eq!(straggler(zones.into_iter(), 8 + TOLERATED_LAG), Some(ZoneId::new(2)));
        assert_eq!(straggler([].into_iter(), u32::MAX), None);
    }
}
