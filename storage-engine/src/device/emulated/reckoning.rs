//! Which write pointers to believe when a device is opened. Pure.
//!
//! The exact write pointers on the file are written through the page cache: they are right unless the machine went down
//! with the file open, or the disk was taken out. Then each zone's bound holds, which was on stable media before any append up to it was reported
//! durable: the write pointer is taken to be there, at or after every flushed append, with holes below.

use super::layout::{Session, ZoneEntry};
use crate::device::{Geometry, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

/// What of the zone table is to be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trust {
    /// Exact write pointers: the device was closed in order, or only a process died.
    WritePointers,
    /// Bounds: the machine went down, or the disk was away.
    Bounds,
}

impl Trust {
    /// What to believe after `session`, when the machine now runs under `boot_id`, which counts the stays of disks as well.
    pub(super) fn after(session: &Session, boot_id: [u8; 16]) -> Self {
        if session.clean || session.boot_id == boot_id { Self::WritePointers } else { Self::Bounds }
    }
}

/// The zones as they are taken to be; none of them is open.
pub(super) fn reckon(found: &[ZoneEntry], trust: Trust, geometry: &Geometry) -> Vec<ZoneEntry> {
    let mut zones: Vec<ZoneEntry> = found.iter().map(|entry| reckon_one(entry, trust, geometry)).collect();
    if trust == Trust::Bounds {
        finish_surplus(&mut zones, geometry);
    }
    zones
}

/// What a zone is taken for whose entry was torn when the machine went down.
///
/// A sector may be on its way to the media while its page is written to again. All that is known of such a zone is
/// that it was written to, so that anything may be in it. Its reset count is in one word, which both versions of the
/// sector share unless the zone was being reset; then either of them is right.
pub(super) fn torn(zone: ZoneId, reset_count: u32, geometry: &Geometry) -> ZoneEntry {
    let capacity = ZoneOffset::new(geometry.zone_capacity_bytes);
    ZoneEntry {
        state: ZoneState::Full,
        write_pointer: capacity,
        bound: capacity,
        reset_count,
        ..ZoneEntry::empty(zone)
    }
}

fn reckon_one(entry: &ZoneEntry, trust: Trust, geometry: &Geometry) -> ZoneEntry {
    if !entry.state.is_active() {
        return *entry;
    }
    let write_pointer = match trust {
        Trust::WritePointers => entry.write_pointer,
        Trust::Bounds => entry.bound,
    };
    let (state, bound) = match write_pointer.get() {
        0 => (ZoneState::Empty, ZoneOffset::START),
        pointer if pointer == geometry.zone_capacity_bytes => (ZoneState::Full, entry.bound),
        _ => (ZoneState::Closed, entry.bound),
    };
    ZoneEntry { state, write_pointer, bound, ..*entry }
}

/// Finishes the fullest zones where more seem active than can have been.
///
/// Table sectors reach the media in any order: a zone may be found active that was full before another was opened.
fn finish_surplus(zones: &mut [ZoneEntry], geometry: &Geometry) {
    let mut active: Vec<&mut ZoneEntry> = zones.iter_mut().filter(|zone| zone.state.is_active()).collect();
    let surplus_count = active.len().saturating_sub(geometry.max_active_zones as usize);
    active.sort_by_key(|zone| std::cmp::Reverse(zone.write_pointer));
    for zone in active.into_iter().take(surplus_count) {
        zone.state = ZoneState::Full;
    }
}

#[cfg(test)]
mod tests {
    use super::{Trust, reckon, torn};
    use crate::device::emulated::layout::{Session, ZoneEntry};
    use crate::device::{Geometry, ZoneState};
    use crate::units::{ZoneId, ZoneOffset};

    const GEOMETRY: Geometry = Geometry {
        block_bytes: 512,
        zone_size_bytes: 8192,
        zone_capacity_bytes: 4096,
        zone_count: 4,
        max_open_zones: 1,
        max_active_zones: 2,
        append_limit_bytes: 512,
        volatile_cache: true,
    };

    fn entry(zone: u32, state: ZoneState, write_pointer: u64, bound: u64) -> ZoneEntry {
        let (write_pointer, bound) = (ZoneOffset::new(write_pointer), ZoneOffset::new(bound));
        ZoneEntry { state, write_pointer, bound, ..ZoneEntry::empty(ZoneId::new(zone)) }
    }

    fn shape(zones: &[ZoneEntry]) -> Vec<(ZoneState, u64)> {
        zones.iter().map(|zone| (zone.state, zone.write_pointer.get())).collect()
    }

    #[test]
    fn only_a_machine_that_went_down_makes_write_pointers_doubtful() {
        let (then, now) = ([1; 16], [2; 16]);
        let after = |clean, boot_id| Trust::after(&Session { boot_id, clean }, now);
        assert_eq!(after(true, then), Trust::WritePointers);
        assert_eq!(after(false, now), Trust::WritePointers);
        assert_eq!(after(false, then), Trust::Bounds);
    }

    #[test]
    fn open_zones_are_found_closed_or_empty() {
        let found = [
            entry(0, ZoneState::ExplicitlyOpen, 0, 0),
            entry(1, ZoneState::ImplicitlyOpen, 512, 1024),
            entry(2, ZoneState::Full, 512, 512),
            entry(3, ZoneState::ReadOnly, 512, 1024),
        ];
        let expected = [
            (ZoneState::Empty, 0),
            (ZoneState::Closed, 512),
            (ZoneState::Full, 512),
            (ZoneState::ReadOnly, 512),
        ];
        assert_eq!(shape(&reckon(&found, Trust::WritePointers, &GEOMETRY)), expected);
    }

    #[test]
    fn after_a_power_cut_active_zones_are_written_up_to_their_bounds() {
        let found = [
            entry(0, ZoneState::ExplicitlyOpen, 0, 0),
            entry(1, ZoneState::ImplicitlyOpen, 512, 1024),
            entry(2, ZoneState::Closed, 512, 4096),
            entry(3, ZoneState::Full, 512, 1024),
        ];
        let expected = [
            (ZoneState::Empty, 0),
            (ZoneState::Closed, 1024),
            (ZoneState::Full, 4096),
            (ZoneState::Full, 512),
        ];
        assert_eq!(shape(&reckon(&found, Trust::Bounds, &GEOMETRY)), expected);
    }

    #[test]
    fn after_a_power_cut_no_more_zones_are_active_than_can_have_been() {
        let found = [
            entry(0, ZoneState::Closed, 512, 512),
            entry(1, ZoneState::ImplicitlyOpen, 512, 2048),
            entry(2, ZoneState::Closed, 512, 1024),
            entry(3, ZoneState::Empty, 0, 0),
        ];
        let expected = [
            (ZoneState::Closed, 512),
            (ZoneState::Full, 2048),
            (ZoneState::Closed, 1024),
            (ZoneState::Empty, 0),
        ];
        assert_eq!(shape(&reckon(&found, Trust::Bounds, &GEOMETRY)), expected);
    }

    #[test]
    fn a_torn_entry_stands_for_a_zone_that_may_hold_anything() {
        let entry = torn(ZoneId::new(1), 7, &GEOMETRY);
        assert_eq!(shape(&[entry]), [(ZoneState::Full, 4096)]);
        assert_eq!(entry.reset_count, 7, "the zone's units would not be believed under another reset count");
    }
}
