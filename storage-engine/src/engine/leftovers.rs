//! Zones that an earlier run was filling and that no stream of this one goes on in.
//!
//! They are active, and so many zones a device allows. To finish one makes a drive write all that is left of it, so that is
//! for those that are full for the greater part, or where the limit leaves no choice:
//! - One in which no unit can be read is reset at once: what a crash has left of a first append, or of a checkpoint that was
//!   being written. It witnesses nothing.
//! - One of whose records none counts is reset when the new run has begun: its headers may be the only witnesses of the
//!   watermark before that. Its claims are forgotten first, as the collector does it.
//! - One that is less than half full stays as it is, while the limit allows it, until the collector empties it.
//!
//! Threading: nobody else uses the store yet.

use super::Inner;
use super::placing::idle_active_zones;
use crate::device::Geometry;
use crate::error::EngineResult;
use crate::log::manifest_log::active_zones;
use crate::units::{Generation, ZoneId};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Leftover {
    zone: ZoneId,
    written_bytes: u64,
    is_dead: bool,
}

/// How many zones the streams of a run take.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamZones {
    /// Streams in all.
    pub(super) stream_count: usize,
    /// Those that go on in a zone.
    pub(super) resumed_count: usize,
}

/// What becomes of them, those apart that are reset at once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Choice {
    finished: Vec<ZoneId>,
    /// Reset when the run has begun.
    emptied: Vec<ZoneId>,
}

/// The emptiest are spared, those first that are to be emptied: they stay active for a moment only.
fn choose(leftovers: &[Leftover], geometry: &Geometry, streams: StreamZones) -> Choice {
    let limit = geometry.max_active_zones as usize;
    let for_manifest = active_zones(geometry.max_active_zones) as usize;
    let mut room = limit.saturating_sub(for_manifest + streams.resumed_count);
    let mut room_for_long = idle_active_zones(geometry, streams.stream_count);
    let mut by_fill = leftovers.to_vec();
    by_fill.sort_by_key(|leftover| (leftover.written_bytes, leftover.zone));
    let mut choice = Choice::default();
    let (dead, live): (Vec<_>, Vec<_>) = by_fill.into_iter().partition(|leftover| leftover.is_dead);
    for Leftover { zone, .. } in dead {
        match room {
            0 => choice.finished.push(zone),
            _ => choice.emptied.push(zone),
        }
        room = room.saturating_sub(1);
    }
    for Leftover { zone, written_bytes, .. } in live {
        if room == 0 || room_for_long == 0 || 2 * written_bytes >= geometry.zone_capacity_bytes {
            choice.finished.push(zone);
            continue;
        }
        (room, room_for_long) = (room - 1, room_for_long - 1);
    }
    choice
}

impl Inner {
    /// Sees to it that there are active zones for the new run. Gives the zones to be emptied when it has begun.
    pub(super) fn tidy_leftovers(&self, zones: &[ZoneId], streams: StreamZones) -> EngineResult<Vec<ZoneId>> {
        let is_blank = |zone: &ZoneId| self.zones.zone(*zone).generation() == Generation::default();
        let (blank, filled): (Vec<ZoneId>, Vec<ZoneId>) = zones.iter().copied().partition(is_blank);
        self.empty_leftovers(&blank)?;
        let leftover = |zone| -> EngineResult<Leftover> {
            let written_bytes = self.device.report(zone)?.write_pointer.get();
            Ok(Leftover { zone, written_bytes, is_dead: self.zones.zone(zone).live_bytes_signed() == 0 })
        };
        let leftovers = filled.into_iter().map(leftover).collect::<EngineResult<Vec<_>>>()?;
        let Choice { finished, emptied } = choose(&leftovers, self.device.geometry(), streams);
        for zone in finished {
            self.device.finish(zone)?;
        }
        emptied.iter().for_each(|&zone| self.zones.zone(zone).forget_claims());
        Ok(emptied)
    }

    /// Resets zones that hold nothing that counts, and gives them back.
    pub(super) fn empty_leftovers(&self, zones: &[ZoneId]) -> EngineResult<()> {
        for &zone in zones {
            if self.reset_or_lose(zone)? {
                self.allocator.give_back(zone);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Leftover, StreamZones, choose};
    use crate::device::Geometry;
    use crate::units::ZoneId;

    fn geometry(max_active_zones: u32) -> Geometry {
        Geometry {
            block_bytes: 4096,
            zone_size_bytes: 1000 << 12,
            zone_capacity_bytes: 1000 << 12,
            zone_count: 1024,
            max_open_zones: max_active_zones,
            max_active_zones,
            append_limit_bytes: 128 << 10,
            volatile_cache: true,
        }
    }

    fn leftover(zone: u32, blocks: u64, is_dead: bool) -> Leftover {
        Leftover { zone: ZoneId::new(zone), written_bytes: blocks << 12, is_dead }
    }

    /// Zones finished, and zones emptied.
    fn chosen(leftovers: &[Leftover], max_active_zones: u32, streams: StreamZones) -> (Vec<u32>, Vec<u32>) {
        let numbers = |zones: Vec<ZoneId>| zones.into_iter().map(ZoneId::get).collect();
        let Choice { finished, emptied } = choose(leftovers, &geometry(max_active_zones), streams);
        (numbers(finished), numbers(emptied))
    }

    #[test]
    fn a_zone_that_is_nearly_empty_is_finished_only_where_the_limit_leaves_no_choice() {
        let streams = StreamZones { stream_count: 10, resumed_count: 10 };
        let leftovers = [leftover(1, 900, false), leftover(2, 30, false), leftover(3, 10, false)];
        assert_eq!(chosen(&leftovers, 100, streams), (vec![1], vec![]), "there is room for all");
        // Two of the manifest, one of a checkpoint, ten of streams: one is left.
        assert_eq!(chosen(&leftovers, 14, streams), (vec![2, 1], vec![]), "the emptiest is spared");
        assert_eq!(chosen(&leftovers, 13, streams), (vec![3, 2, 1], vec![]));
    }

    #[test]
    fn zones_without_live_records_are_emptied_when_the_run_has_begun_and_take_the_room_of_streams_that_rest()
    {
        let leftovers = [leftover(1, 900, true), leftover(2, 30, true), leftover(3, 10, false)];
        let streams = |resumed_count| StreamZones { stream_count: 10, resumed_count };
        assert_eq!(chosen(&leftovers, 14, streams(0)), (vec![], vec![2, 1]));
        assert_eq!(chosen(&leftovers, 13, streams(9)), (vec![3], vec![2, 1]));
        assert_eq!(chosen(&leftovers, 13, streams(10)), (vec![1, 3], vec![2]), "the manifest needs two");
    }
}
