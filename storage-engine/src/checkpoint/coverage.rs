//! Which zones a checkpoint stands for: those that were complete, and of which the index knew everything, when it began.
//!
//! Of each stream these are the zones up to some generation, the zone filled last never among them: recovery reads that
//! to know where the stream goes on. All that is in them was written before the checkpoint began (its *edge*), and the
//! index knew by then every write up to the edge; recovery relies on that when it compares a record that it has read with
//! an entry of the checkpoint.
//!
//! Where a zone wore out while it was being filled, units of it lie in a later zone, among newer ones. Neither those two nor
//! what lies between them is covered, until the collector has emptied the later one.

use std::collections::BTreeSet;

use crate::device::ZonedDevice;
use crate::error::EngineResult;
use crate::fault::{self, Fault};
use crate::format::checkpoint::ZoneRow;
use crate::format::unit::{StreamKind, StreamName};
use crate::gc::policy::{Lifetime, ZoneHistory};
use crate::units::{Generation, SeqNo, ZoneId};
use crate::zones::{Role, Zone, ZoneClaims, ZoneTable};

/// A unit that was moved because its zone had worn out came from one of so many zones before: no more appends are in flight
/// at the same time.
const MOST_ZONES_IN_FLIGHT: usize = 16;

/// The zones that a checkpoint stands for.
#[derive(Debug)]
pub struct Coverage {
    /// By zone number: the filling; zero where the checkpoint does not stand for it.
    fillings: Vec<Generation>,
    /// The last write that was durable when the checkpoint began.
    edge: SeqNo,
}

/// A zone that holds something, as it was when it was looked at.
#[derive(Clone, Copy, Debug)]
struct Filled {
    zone: ZoneId,
    generation: Generation,
    stream: StreamName,
    /// Whether it is complete, and what is in it durable.
    is_ripe: bool,
    holds_moved_units: bool,
}

impl Coverage {
    /// Looks at all zones. `generation` is the last one given out, `durable` how far the log is durable, both asked for
    /// before; `is_quiet` tells whether no append to a zone is in flight.
    #[must_use]
    pub fn of(
        zones: &ZoneTable,
        generation: Generation,
        durable: SeqNo,
        is_quiet: impl Fn(ZoneId) -> bool,
    ) -> Self {
        let is_ripe = |id, zone: &Zone| {
            matches!(zone.role(), Role::Sealed(_) | Role::Lost)
                && zone.newest_seqno() <= durable
                && is_quiet(id)
                || fault::is_on(Fault::CoverZonesBeingFilled)
        };
        let filled = zones.iter().filter(|(_, zone)| zone.generation() > Generation::default());
        let filled: Vec<Filled> = filled
            .map(|(id, zone)| Filled {
                zone: id,
                generation: zone.generation(),
                stream: stream_of(zone),
                is_ripe: is_ripe(id, zone),
                holds_moved_units: zone.holds_moved_units(),
            })
            .collect();
        let mut fillings = vec![Generation::default(); zones.iter().count()];
        let streams: BTreeSet<StreamName> = filled.iter().map(|zone| zone.stream).collect();
        for stream in streams {
            let below = end_of_coverage(&filled, stream, generation);
            let covered = filled.iter().filter(|zone| zone.stream == stream && zone.generation < below);
            covered.for_each(|zone| fillings[zone.zone.index()] = zone.generation);
        }
        Self { fillings, edge: durable }
    }

    /// Whether an entry that points into a zone, as the zone is now, belongs into the checkpoint.
    #[must_use]
    pub fn covers(&self, zones: &ZoneTable, zone: ZoneId) -> bool {
        let filling = self.fillings[zone.index()];
        filling > Generation::default() && zones.zone(zone).generation() == filling
    }

    /// What a checkpoint says of the zones that it stands for.
    ///
    /// # Errors
    /// The device's.
    pub fn rows(&self, zones: &ZoneTable, device: &dyn ZonedDevice) -> EngineResult<Vec<ZoneRow>> {
        let covered = zones.iter().filter(|(id, _)| self.covers(zones, *id));
        covered
            .map(|(id, zone)| {
                let ZoneClaims { mut recovered, left } = zone.claims();
                recovered.extend(left.filter(|(first, end)| first < end));
                let age = |history: ZoneHistory| {
                    Lifetime::of_writes(self.edge.get().saturating_sub(history.written_at.get()))
                };
                Ok(ZoneRow {
                    zone: id,
                    reset_count: device.report(id)?.reset_count,
                    generation: zone.generation(),
                    first_seqno: zone.first_seqno(),
                    newest_seqno: match stream_of(zone).kind {
                        // A zone whose writes are all void has none. Zero would say that the row is of an earlier version.
                        StreamKind::User => zone.newest_seqno().max(SeqNo::new(1)),
                        StreamKind::Relocation => self.edge,
                    },
                    class: zone.class(),
                    expected_steps: zone.history().map_or(0, |history| history.expected.steps()),
                    age_steps: zone.history().map_or(0, |history| age(history).steps()),
                    claims: recovered,
                    places: zone.places(),
                })
            })
            .collect()
    }
}

/// The first generation of a stream that a checkpoint does not stand for.
fn end_of_coverage(filled: &[Filled], stream: StreamName, last_given_out: Generation) -> Generation {
    let of_stream = || filled.iter().filter(|zone| zone.stream == stream);
    let newest = of_stream().map(|zone| zone.generation).max().unwrap_or_default();
    let newest = if fault::is_on(Fault::CoverZonesBeingFilled) { newest.next() } else { newest };
    let unripe = of_stream().filter(|zone| !zone.is_ripe).map(|zone| zone.generation).min();
    let mixed = of_stream().filter(|zone| zone.holds_moved_units).map(|zone| zone.generation).min();
    let unmixed = mixed.map(|mixed| {
        let mut before: Vec<_> = of_stream().map(|zone| zone.generation).filter(|&it| it < mixed).collect();
        before.sort_unstable();
        let count = before.len().min(MOST_ZONES_IN_FLIGHT);
        before[before.len() - count..].first().copied().unwrap_or(mixed)
    });
    unripe.unwrap_or(newest).min(unmixed.unwrap_or(newest)).min(newest).min(last_given_out.next())
}

/// Zones that have worn out do not tell by their role. Every zone of new writes has a first one.
fn stream_of(zone: &Zone) -> StreamName {
    let kind = if zone.first_seqno() > SeqNo::ZERO { StreamKind::User } else { StreamKind::Relocation };
    StreamName { kind, class: zone.class() }
}

/// Which stream a zone was filled by, as a checkpoint tells.
#[must_use]
pub fn stream_of_row(row: &ZoneRow) -> StreamKind {
    if row.first_seqno > SeqNo::ZERO { StreamKind::User } else { StreamKind::Relocation }
}

#[cfg(test)]
mod tests {
    use super::{Coverage, Generation, Role, SeqNo, StreamKind, ZoneId, ZoneTable};

    const DURABLE: SeqNo = SeqNo::new(100);

    /// Zones with these generations, streams, and newest seqnos; those of seqno 0 are still open.
    fn zones(filled: &[(u64, StreamKind, u64)]) -> ZoneTable {
        let table = ZoneTable::new(u32::try_from(filled.len()).unwrap() + 1);
        for ((_, zone), &(generation, stream, newest)) in table.iter().zip(filled) {
            zone.begin(Generation::new(generation));
            zone.set_first_seqno(SeqNo::new(u64::from(stream == StreamKind::User)));
            zone.raise_newest_seqno(SeqNo::new(newest));
            zone.set_role(if newest == 0 { Role::Open(stream) } else { Role::Sealed(stream) });
        }
        table
    }

    fn covered(filled: &[(u64, StreamKind, u64)], is_quiet: impl Fn(ZoneId) -> bool) -> Vec<u64> {
        let table = zones(filled);
        let coverage = Coverage::of(&table, Generation::new(9), DURABLE, is_quiet);
        let covered = table.iter().filter(|(id, _)| coverage.covers(&table, *id));
        covered.map(|(_, zone)| zone.generation().get()).collect()
    }

    const USER: StreamKind = StreamKind::User;
    const COPIES: StreamKind = StreamKind::Relocation;

    #[test]
    fn of_each_stream_the_complete_zones_but_the_last_are_covered() {
        let filled =
            [(1, USER, 10), (2, COPIES, 1), (3, USER, 50), (4, COPIES, 1), (5, USER, 0), (6, COPIES, 0)];
        assert_eq!(covered(&filled, |_| true), [1, 2, 3, 4]);
        assert_eq!(covered(&filled[..4], |_| true), [1, 2], "the last zones of the streams are left out");
    }

    #[test]
    fn a_zone_behind_one_that_is_not_ripe_is_not_covered() {
        let filled = [(1, USER, 10), (2, USER, 101), (3, USER, 50), (4, USER, 0)];
        assert_eq!(covered(&filled, |_| true), [1]);
        let filled =
            [(1, COPIES, 1), (2, COPIES, 1), (3, COPIES, 1), (4, COPIES, 0), (5, USER, 9), (6, USER, 0)];
        assert_eq!(
            covered(&filled, |zone| zone != ZoneId::new(1)),
            [1, 5],
            "appends to zone 1 are in flight"
        );
    }

    #[test]
    fn a_zone_that_units_were_moved_to_is_not_covered_nor_are_those_they_may_come_from() {
        let filled: Vec<_> = (1..=40).map(|generation| (generation, USER, generation)).collect();
        let table = zones(&filled);
        let covered = |table: &ZoneTable| {
            let coverage = Coverage::of(table, Generation::new(99), DURABLE, |_| true);
            table.iter().filter(|(id, _)| coverage.covers(table, *id)).count()
        };
        assert_eq!(covered(&table), 39);
        table.zone(ZoneId::new(29)).set_holds_moved_units();
        assert_eq!(covered(&table), 13, "zones 14 to 29 may have lost units to zone 30");
        table.zone(ZoneId::new(29)).begin(Generation::new(41));
        table.zone(ZoneId::new(29)).set_first_seqno(SeqNo::new(41));
        assert_eq!(covered(&table), 39, "it has been emptied and is being filled anew");
    }

    #[test]
    fn zones_begun_after_the_look_around_are_not_covered() {
        let filled = [(8, USER, 10), (10, USER, 20), (11, USER, 0)];
        assert_eq!(covered(&filled, |_| true), [8]);
    }

    #[test]
    fn a_zone_that_was_filled_anew_is_not_covered_any_more() {
        let table = zones(&[(1, USER, 10), (2, USER, 0)]);
        let coverage = Coverage::of(&table, Generation::new(9), DURABLE, |_| true);
        assert!(coverage.covers(&table, ZoneId::new(0)));
        table.zone(ZoneId::new(0)).begin(Generation::new(3));
        assert!(!coverage.covers(&table, ZoneId::new(0)));
    }
}
