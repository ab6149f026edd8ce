//! Which zones lag behind the others in resets, because what they hold never changes.
//!
//! Zones that are emptied anyway take turns. A zone full of cold data is never emptied for its space; so now and then, when
//! it lags far behind, it is emptied for the sake of the others: its data move to a zone that has had more resets, and it
//! takes its share of what changes.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::ZoneId;

/// After so many zones emptied it is looked whether one lags behind.
const COLLECTIONS_A_LOOK: u64 = 16;
/// Resets that a zone may lag behind the one that has had the most. Zones stand thousands of them.
const TOLERATED_LAG: u32 = 256;
/// Where a zone lags behind by more than that, one zone in so many that are emptied is the one that lags the most: that costs a
/// fraction of a percent. The farther it lags, the sooner its turn comes, by the fourth power: at twice the tolerated lag, as often as it is
/// looked. So the lag stays below that, however few zones take what changes.
const COLLECTIONS_A_TURN: u64 = 256;

/// A zone and how often it has been reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wear {
    /// The zone.
    pub zone: ZoneId,
    /// Its resets since the device was made.
    pub reset_count: u32,
}

/// Whose turn it is, over a run of the store. One thread's at a time.
#[derive(Debug, Default)]
pub struct Turns {
    /// How often a zone has been looked for to be emptied for its space.
    chosen_count: AtomicU64,
    /// What that was when a zone that lagged behind had its turn last.
    turn_at_count: AtomicU64,
}

impl Turns {
    /// Counts that a zone is about to be chosen; says whether to look first if one lags behind.
    pub fn is_time_to_look(&self) -> bool {
        let chosen_count = self.chosen_count.fetch_add(1, Ordering::Relaxed) + 1;
        chosen_count.is_multiple_of(COLLECTIONS_A_LOOK)
    }

    /// The zone that lags behind `most` resets, if its turn has come. It is to be emptied.
    pub fn take(&self, may_be_emptied: impl Iterator<Item = Wear>, most: u32) -> Option<ZoneId> {
        let chosen_count = self.chosen_count.load(Ordering::Relaxed);
        let since = chosen_count - self.turn_at_count.load(Ordering::Relaxed);
        let straggler = straggler(may_be_emptied, most, since);
        if straggler.is_some() {
            self.turn_at_count.store(chosen_count, Ordering::Relaxed);
        }
        straggler
    }
}

/// Of the zones that may be emptied the one that has been reset least, if it lags too far behind `most`, and so many have been
/// emptied since the last one had its turn that the next one's has come.
fn straggler(
    may_be_emptied: impl Iterator<Item = Wear>,
    most: u32,
    collections_since: u64,
) -> Option<ZoneId> {
    let least = may_be_emptied.min_by_key(|wear| wear.reset_count)?;
    let lag = most.saturating_sub(least.reset_count);
    (lag > TOLERATED_LAG && collections_since >= turn(lag)).then_some(least.zone)
}

/// How many zones are emptied between two turns.
fn turn(lag: u32) -> u64 {
    let times = f64::from(lag) / f64::from(TOLERATED_LAG);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and at most what a turn is"
    )]
    let collections = (COLLECTIONS_A_TURN as f64 / times.powi(4)) as u64;
    collections
}

#[cfg(test)]
mod tests {
    use super::{COLLECTIONS_A_LOOK, COLLECTIONS_A_TURN, TOLERATED_LAG, Turns, Wear, ZoneId, straggler};

    #[test]
    fn the_zone_that_lags_furthest_behind_has_its_turn_and_a_tolerable_lag_is_tolerated() {
        let wear = |zone, reset_count| Wear { zone: ZoneId::new(zone), reset_count };
        let zones = [wear(1, 500), wear(2, 7), wear(3, 9)];
        let straggler = |most| straggler(zones.into_iter(), most, COLLECTIONS_A_TURN);
        assert_eq!(straggler(500), Some(ZoneId::new(2)));
        assert_eq!(straggler(7 + TOLERATED_LAG), None);
        assert_eq!(straggler(8 + TOLERATED_LAG), Some(ZoneId::new(2)));
        assert_eq!(super::straggler([].into_iter(), u32::MAX, u64::MAX), None);
    }

    #[test]
    fn turns_come_the_sooner_the_farther_a_zone_lags() {
        let since = |lag| {
            let comes = |collections| {
                let zones = [Wear { zone: ZoneId::new(1), reset_count: 5 }];
                straggler(zones.into_iter(), 5 + lag, collections).is_some()
            };
            (0..=COLLECTIONS_A_TURN).find(|&collections| comes(collections))
        };
        assert_eq!(since(TOLERATED_LAG), None);
        assert_eq!(since(TOLERATED_LAG + 1), Some(COLLECTIONS_A_TURN - 4));
        assert_eq!(since(2 * TOLERATED_LAG), Some(COLLECTIONS_A_LOOK));
    }

    #[test]
    fn between_two_turns_so_many_zones_are_emptied_for_their_space() {
        let turns = Turns::default();
        let lags = || [Wear { zone: ZoneId::new(1), reset_count: 5 }].into_iter();
        let took_turn = |_: &u64| turns.is_time_to_look() && turns.take(lags(), 6 + TOLERATED_LAG).is_some();
        assert_eq!((0..8 * COLLECTIONS_A_TURN).filter(took_turn).count(), 8);
    }

    /// Of 200 zones all but a few hold what never changes, and those few take everything: the hardest there is.
    #[test]
    #[cfg_attr(miri, ignore = "so many numbers take it minutes, and there is no unsafe code to look at")]
    fn no_zone_has_many_more_resets_than_another_however_few_zones_take_all_writes() {
        for hot_count in [4, 20, 100] {
            let mut reset_counts = [0_u32; 200];
            let mut hot: Vec<usize> = (0..hot_count).collect();
            let (turns, mut turn_count) = (Turns::default(), 0_u64);
            let collections = 200_000_u64;
            for collection in 1..=collections {
                let most = *reset_counts.iter().max().expect("there are zones");
                let zones =
                    (0..).map(ZoneId::new).zip(reset_counts).filter(|(id, _)| !hot.contains(&id.index()));
                let cold = zones.map(|(zone, reset_count)| Wear { zone, reset_count });
                // Those that have their turns meet one after another.
                let place =
                    usize::try_from(collection / COLLECTIONS_A_LOOK + collection).unwrap() % hot_count;
                let victim = turns.is_time_to_look().then(|| turns.take(cold, most)).flatten();
                // What never changed goes to the zone that is free, and the straggler takes its place.
                if let Some(straggler) = victim {
                    hot[place] = straggler.index();
                    turn_count += 1;
                }
                reset_counts[hot[place]] += 1;
            }
            let most = *reset_counts.iter().max().expect("there are zones");
            let mean = collections / 200;
            assert!(
                u64::from(most) <= mean + 2 * u64::from(TOLERATED_LAG),
                "{hot_count} hot: {most}, mean {mean}"
            );
            // Not one at every look.
            assert!(turn_count < collections / 20, "{hot_count} hot: {turn_count} turns");
        }
    }
}
