//! What is known of one zone: the device's report of it, put into our words. Pure.
//!
//! The write pointer of a read-only or offline zone means nothing (ZBC 4.4.3, NVMe ZNS 2.1.1.2). Of a zone that was known
//! before it wore out, what was known still holds; of any other zone everything up to the capacity may have been written.

use super::ioctl::ReportedZone;
use crate::device::ZoneState;
use crate::units::{SECTOR_BYTES, ZoneOffset};

const CONVENTIONAL: u8 = 1;
const SEQUENTIAL_WRITE_REQUIRED: u8 = 2;
const EXPLICITLY_OPEN: u8 = 0x3;

/// State and write pointer of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct KnownZone {
    pub(super) state: ZoneState,
    pub(super) write_pointer: ZoneOffset,
}

impl KnownZone {
    /// What a report says of a zone of `capacity_bytes` that was known as `before`; or what is wrong with the report.
    pub(super) fn learn(
        reported: &ReportedZone,
        capacity_bytes: u64,
        before: Option<Self>,
    ) -> Result<Self, String> {
        let state = state_of(reported)?;
        let capacity = ZoneOffset::new(capacity_bytes);
        let write_pointer = match state {
            ZoneState::Empty | ZoneState::NotWritePointer => ZoneOffset::START,
            ZoneState::Full => capacity,
            ZoneState::ReadOnly => before.map_or(capacity, |known| known.write_pointer),
            ZoneState::Offline => before.map_or(ZoneOffset::START, |known| known.write_pointer),
            ZoneState::ImplicitlyOpen | ZoneState::ExplicitlyOpen | ZoneState::Closed => {
                written(reported, capacity)?
            }
        };
        Ok(Self { state, write_pointer })
    }
}

/// Whether the zone has no write pointer. That of a conventional zone which has worn out counts as well: it is a matter
/// of what the zone is for, and never changes.
pub(super) const fn is_conventional(reported: &ReportedZone) -> bool {
    reported.kind == CONVENTIONAL
}

/// Whether the zone was opened by command, and not by a write.
pub(super) const fn is_opened_by_command(reported: &ReportedZone) -> bool {
    reported.kind == SEQUENTIAL_WRITE_REQUIRED && reported.condition == EXPLICITLY_OPEN
}

fn state_of(reported: &ReportedZone) -> Result<ZoneState, String> {
    match (reported.kind, reported.condition) {
        (CONVENTIONAL, _) => Ok(ZoneState::NotWritePointer),
        (SEQUENTIAL_WRITE_REQUIRED, 0x1) => Ok(ZoneState::Empty),
        (SEQUENTIAL_WRITE_REQUIRED, 0x2) => Ok(ZoneState::ImplicitlyOpen),
        (SEQUENTIAL_WRITE_REQUIRED, EXPLICITLY_OPEN) => Ok(ZoneState::ExplicitlyOpen),
        (SEQUENTIAL_WRITE_REQUIRED, 0x4) => Ok(ZoneState::Closed),
        (SEQUENTIAL_WRITE_REQUIRED, 0xd) => Ok(ZoneState::ReadOnly),
        (SEQUENTIAL_WRITE_REQUIRED, 0xe) => Ok(ZoneState::Full),
        (SEQUENTIAL_WRITE_REQUIRED, 0xf) => Ok(ZoneState::Offline),
        (kind, condition) => Err(format!("a zone of type {kind} and condition {condition:#x}")),
    }
}

fn written(reported: &ReportedZone, capacity: ZoneOffset) -> Result<ZoneOffset, String> {
    let ReportedZone { start_sector, write_pointer_sector, .. } = *reported;
    let sectors = write_pointer_sector.checked_sub(start_sector);
    let bytes = sectors.and_then(|sectors| sectors.checked_mul(SECTOR_BYTES)).map(ZoneOffset::new);
    bytes.filter(|&bytes| bytes <= capacity).ok_or_else(|| {
        format!(
            "a zone that starts at sector {start_sector}, with its write pointer at sector {write_pointer_sector}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{CONVENTIONAL, KnownZone, SEQUENTIAL_WRITE_REQUIRED};
    use crate::device::ZoneState;
    use crate::device::block::ioctl::ReportedZone;
    use crate::units::ZoneOffset;

    const CAPACITY: u64 = 3 << 20;

    fn reported(kind: u8, condition: u8, write_pointer_sector: u64) -> ReportedZone {
        ReportedZone { start_sector: 8192, write_pointer_sector, kind, condition, ..ReportedZone::default() }
    }

    fn learn(kind: u8, condition: u8, write_pointer_sector: u64) -> Result<(ZoneState, u64), String> {
        KnownZone::learn(&reported(kind, condition, write_pointer_sector), CAPACITY, None)
            .map(|known| (known.state, known.write_pointer.get()))
    }

    #[test]
    fn a_write_pointer_counts_from_the_start_of_its_zone() {
        for (condition, state) in
            [(2, ZoneState::ImplicitlyOpen), (3, ZoneState::ExplicitlyOpen), (4, ZoneState::Closed)]
        {
            assert_eq!(learn(SEQUENTIAL_WRITE_REQUIRED, condition, 8200), Ok((state, 4096)));
        }
    }

    #[test]
    fn a_full_zone_is_written_to_its_capacity_wherever_its_write_pointer_is_said_to_be() {
        for write_pointer_sector in [8192 + 8192, u64::MAX, 8192] {
            let learnt = learn(SEQUENTIAL_WRITE_REQUIRED, 0xe, write_pointer_sector);
            assert_eq!(learnt, Ok((ZoneState::Full, CAPACITY)));
        }
    }

    #[test]
    fn of_a_worn_zone_what_was_known_before_holds() {
        let known = KnownZone { state: ZoneState::ImplicitlyOpen, write_pointer: ZoneOffset::new(4096) };
        for condition in [0xd, 0xf] {
            let worn = reported(SEQUENTIAL_WRITE_REQUIRED, condition, u64::MAX);
            let learnt = KnownZone::learn(&worn, CAPACITY, Some(known)).expect("a good report");
            assert_eq!(learnt.write_pointer, known.write_pointer);
        }
        assert_eq!(learn(SEQUENTIAL_WRITE_REQUIRED, 0xd, u64::MAX), Ok((ZoneState::ReadOnly, CAPACITY)));
        assert_eq!(learn(SEQUENTIAL_WRITE_REQUIRED, 0xf, u64::MAX), Ok((ZoneState::Offline, 0)));
    }

    #[test]
    fn a_conventional_zone_has_no_write_pointer_whatever_its_condition() {
        for condition in [0x0, 0xd, 0xf] {
            assert_eq!(learn(CONVENTIONAL, condition, u64::MAX), Ok((ZoneState::NotWritePointer, 0)));
        }
    }

    #[test]
    fn a_report_that_makes_no_sense_is_not_believed() {
        for (kind, condition, write_pointer_sector) in
            [(2, 0x7, 8192), (3, 0x1, 8192), (0, 0x1, 8192), (2, 0x2, 8191), (2, 0x4, 8192 + 6145)]
        {
            assert!(learn(kind, condition, write_pointer_sector).is_err(), "{kind}, {condition}");
        }
    }
}
