//! What deletes cost, and which zones must be turned over so that they can go.
//!
//! A tombstone must stay as long as a zone is left that may hold an older version of its key: one of a generation up to
//! its barrier. Zones full of data that never change would keep it for ever, and with it all tombstones of a queue that
//! runs beside such data. So when tombstones weigh more than a share of what is live, the oldest zone is emptied, however
//! full: its contents move to a new generation. When all zones up to the barrier have had their turn, the tombstone goes.
//!
//! Turning over ends when nobody deletes: a tombstone gets its barrier when it is copied for the first time, no zone
//! begun later is up to it, and the zones begun earlier have their turns one after another, those being filled too.

use crate::units::{Generation, ZoneId};
use crate::zones::{Role, ZoneTable};

/// Tombstones may take one zone and this part of the live data.
const TOLERATED_PART: u64 = 8;

/// Whether tombstones are so many that it is worth copying data to get rid of them.
pub(super) fn are_heavy(zones: &ZoneTable, capacity_bytes: u64) -> bool {
    zones.tombstone_bytes() > capacity_bytes + zones.live_bytes() / TOLERATED_PART
}

/// The zones that hold anything, by age.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ages {
    oldest: Option<(Generation, ZoneId)>,
    second: Option<Generation>,
}

impl Ages {
    pub(super) fn of(zones: &ZoneTable) -> Self {
        let filled = zones.iter().filter(|(_, zone)| {
            matches!(zone.role(), Role::Open(_) | Role::Sealed(_) | Role::Lost) && zone.generation().get() > 0
        });
        filled.map(|(id, zone)| (zone.generation(), id)).fold(Self::default(), Self::with)
    }

    fn with(self, (generation, zone): (Generation, ZoneId)) -> Self {
        match self.oldest {
            Some((oldest, _)) if oldest < generation => {
                Self { second: Some(self.second.map_or(generation, |second| second.min(generation))), ..self }
            }
            older => Self { oldest: Some((generation, zone)), second: older.map(|(oldest, _)| oldest) },
        }
    }

    /// The zone that was begun first.
    pub(super) fn oldest(&self) -> Option<ZoneId> {
        self.oldest.map(|(_, zone)| zone)
    }

    /// The oldest filling of any zone but one: what was written before it is nowhere else.
    pub(super) fn oldest_generation_but(&self, zone: ZoneId) -> Generation {
        let generation = match self.oldest {
            Some((_, oldest)) if oldest == zone => self.second,
            other => other.map(|(oldest, _)| oldest),
        };
        generation.unwrap_or(Generation::new(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ages, Generation, Role, ZoneId, ZoneTable};
    use crate::format::unit::StreamKind;

    #[test]
    fn the_oldest_zone_but_one_is_found_whatever_the_order() {
        for generations in [[3, 5, 9], [9, 5, 3], [5, 9, 3], [3, 9, 5]] {
            let zones = ZoneTable::new(5);
            for (zone, generation) in (0..).map(ZoneId::new).zip(generations) {
                zones.zone(zone).begin(Generation::new(generation));
                zones.zone(zone).set_role(Role::Sealed(StreamKind::User));
            }
            zones.zone(ZoneId::new(3)).set_role(Role::Open(StreamKind::User));
            let place = generations.iter().position(|&generation| generation == 3).unwrap();
            let oldest = ZoneId::new(u32::try_from(place).unwrap());
            let ages = Ages::of(&zones);
            assert_eq!(ages.oldest(), Some(oldest));
            assert_eq!(ages.oldest_generation_but(oldest), Generation::new(5));
            assert_eq!(ages.oldest_generation_but(ZoneId::new(4)), Generation::new(3));
        }
    }

    #[test]
    fn where_nothing_is_filled_nothing_is_old() {
        let ages = Ages::of(&ZoneTable::new(2));
        assert_eq!(ages.oldest(), None);
        assert_eq!(ages.oldest_generation_but(ZoneId::new(0)), Generation::new(u64::MAX));
    }
}
