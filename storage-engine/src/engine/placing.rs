//! Where writes are placed: which policy a device's limits allow, and what it is asked about a write.
//!
//! A write that its caller waits for is not placed by its history: all such writes go to one stream, so that whoever
//! commits them appends once. What is buffered is appended when units fill up, and can be spread over streams. That takes
//! a look into the index for each write, which is left out as long as there is nothing to clean.
//!
//! Active zones: two of the manifest, or one where there are only three in all; one of a checkpoint that is being written where
//! there are more than four; and one for each stream, or more where the limit allows that appends to the zone that a stream leaves and to the one that it
//! begins overlap.

use super::{Durability, Inner};
use crate::device::Geometry;
use crate::error::{EngineError, EngineResult};
use crate::gc::policy::streams::{self, METADATA_ZONES};
use crate::gc::policy::{Lifetime, Placement, Policy, PolicyKind, ZoneHistory};
use crate::index::Entry;
use crate::log::manifest_log::active_zones;
use crate::log::writer::{LogWrite, LogWriter};
use crate::sync::atomic::Ordering;

/// Active zones below which a store does not work: one for the manifest, one for new writes and one for copies.
pub(crate) const MIN_ACTIVE_ZONES: u32 = 3;
/// Active zones from which on there is room for checkpoints: one more than two for the manifest, and those above.
pub(crate) const MIN_ACTIVE_ZONES_FOR_CHECKPOINTS: u32 = 5;
/// Zones of a stream with appends in flight: more do not make appending quicker.
const MOST_ZONES_IN_FLIGHT: u32 = 3;

/// Active zones that are left to streams.
fn active_zones_for_streams(geometry: &Geometry) -> u32 {
    let limit = geometry.max_active_zones;
    let for_checkpoints = u32::from(limit >= MIN_ACTIVE_ZONES_FOR_CHECKPOINTS);
    limit.saturating_sub(active_zones(limit) + for_checkpoints)
}

/// The policy, with as many streams as fit a device that counts as one of so many zones. Copies have zones of their own in
/// the log, also where they share the policy's classes with writes.
///
/// # Errors
/// [`EngineError::InvalidArgument`] when it lets too few zones be active.
pub(super) fn policy_within(
    kind: PolicyKind,
    geometry: &Geometry,
    counted_zones: u32,
) -> EngineResult<Box<dyn Policy>> {
    let room =
        streams::room(Some(active_zones_for_streams(geometry).saturating_add(METADATA_ZONES)), counted_zones);
    let room = room.map_err(|error| EngineError::InvalidArgument(error.to_string()))?;
    let policy = kind.with_streams(room);
    Ok(if policy.streams().are_shared() { kind.with_streams(room / 2) } else { policy })
}

/// Streams that the log has with a policy.
pub(super) fn log_streams(policy: &dyn Policy) -> usize {
    policy.streams().writes().len() + policy.streams().copies().len()
}

/// How many zones of a stream may have appends in flight at the same time.
pub(super) fn zones_in_flight(geometry: &Geometry, stream_count: usize) -> u64 {
    let stream_count = u32::try_from(stream_count).expect("few streams");
    u64::from((active_zones_for_streams(geometry) / stream_count).clamp(1, MOST_ZONES_IN_FLIGHT))
}

/// How many zones may be active beyond all that the store ever fills at the same time.
pub(super) fn idle_active_zones(geometry: &Geometry, stream_count: usize) -> usize {
    let for_streams = zones_in_flight(geometry, stream_count) * stream_count as u64;
    let idle = u64::from(active_zones_for_streams(geometry)).saturating_sub(for_streams);
    usize::try_from(idle).expect("64-bit sizes")
}

impl Inner {
    /// In which stream writes go that are made as one. The first one speaks for all.
    pub(super) fn place(
        &self,
        log: &LogWriter,
        writes: &[LogWrite<'_>],
        durability: Durability,
    ) -> Placement {
        let new = log.place_new();
        if log.user_stream_count() == 1 || durability != Durability::Buffered {
            // Nothing is expected: their copies are placed by age.
            return Placement { expected: Lifetime::of_steps(0), ..new };
        }
        if !self.spreads_writes.load(Ordering::Relaxed) {
            return log.place_beside_others();
        }
        let (Some(collector), Some(first)) = (&self.collector, writes.first()) else {
            unreachable!("a store that is written to has a collector, and something is written")
        };
        collector.policy.place_write(new.written_at, self.history_of(first.key))
    }

    /// What the zone is like in which a key's record lies.
    fn history_of(&self, key: &[u8]) -> Option<ZoneHistory> {
        match self.catalog.index().lookup(key)? {
            Entry::Value { location, .. } | Entry::Tombstone { location } => {
                self.zones.zone(location.zone).history()
            }
            Entry::Large { .. } => None,
        }
    }

    /// Has writes spread over streams from the time on when that pays: when zones have been emptied, or will be soon.
    pub(super) fn watch_for_cleaning(&self) {
        let is_half_full = 2 * self.allocator.taken_count() > self.data_zone_count();
        if is_half_full || self.running.is_stepped() || self.life_counters().zone_resets > 0 {
            self.spreads_writes.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Geometry, PolicyKind, log_streams, policy_within, zones_in_flight};

    fn geometry(max_active_zones: u32) -> Geometry {
        Geometry {
            block_bytes: 4096,
            zone_size_bytes: 4 << 20,
            zone_capacity_bytes: 4 << 20,
            zone_count: 1024,
            max_open_zones: max_active_zones,
            max_active_zones,
            append_limit_bytes: 128 << 10,
            volatile_cache: true,
        }
    }

    #[test]
    fn streams_with_manifest_and_checkpoint_never_take_more_active_zones_than_there_are() {
        for kind in PolicyKind::ALL {
            for limit in [3, 4, 5, 7, 8, 11, 13, 14, 32, 1000] {
                let geometry = geometry(limit);
                let streams = log_streams(&*policy_within(kind, &geometry, 1024).unwrap());
                let metadata = u64::from(limit).min(5) - 2;
                let at_once = zones_in_flight(&geometry, streams);
                let active = metadata + streams as u64 * at_once;
                assert!(active <= u64::from(limit), "{kind:?}: {active} of {limit}");
                assert!(streams >= 2, "{kind:?}: copies have no stream of their own");
            }
        }
    }

    #[test]
    fn a_common_drive_with_14_active_zones_has_room_for_all_streams_of_the_default() {
        let policy = policy_within(PolicyKind::default(), &geometry(14), 1024).unwrap();
        assert_eq!((policy.streams().writes().len(), policy.streams().copies().len()), (5, 5));
    }

    #[test]
    fn a_small_store_has_one_stream_of_each_kind() {
        for kind in PolicyKind::ALL {
            let policy = policy_within(kind, &geometry(14), 59).unwrap();
            assert_eq!(log_streams(&*policy), 2, "{kind:?}");
        }
    }
}
