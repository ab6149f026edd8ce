//! Zone reports: what a drive says of its zones.
//!
//! Pure. A report is a header of 64 bytes, which begins with a count, and as many descriptors of 64 bytes (NVMe Zoned Namespace
//! Command Set Specification, Zone Management Receive). Bytes of a drive are input: what makes no sense is an error.

use super::bytes::u64_at;
use crate::device::{DeviceError, DeviceResult, ZoneState};

/// How long the header and each descriptor are.
const ENTRY_BYTES: usize = 64;

const SEQUENTIAL_WRITE_REQUIRED: u8 = 2;

/// One zone in a report. Addresses are in blocks from the start of the namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReportedZone {
    pub(super) state: ZoneState,
    pub(super) start_lba: u64,
    pub(super) capacity_blocks: u64,
    /// Where the next append goes; `None` in states where it goes nowhere.
    pub(super) write_pointer_lba: Option<u64>,
}

/// How long a report of `zone_count` zones is.
pub(super) const fn report_bytes(zone_count: usize) -> usize {
    ENTRY_BYTES * (zone_count + 1)
}

/// How many zones fit in a report of a length.
pub(super) const fn zones_in(report_bytes: usize) -> usize {
    (report_bytes / ENTRY_BYTES).saturating_sub(1)
}

/// The zones in a report.
///
/// # Errors
/// [`DeviceError::Implausible`] naming what makes no sense.
pub(super) fn parse(report: &[u8]) -> DeviceResult<Vec<ReportedZone>> {
    let mut entries = report.chunks_exact(ENTRY_BYTES);
    let header =
        entries.next().ok_or_else(|| implausible(format!("a zone report of {} bytes", report.len())))?;
    let count = u64_at(header, 0);
    if count > entries.len() as u64 {
        let room = entries.len();
        return Err(implausible(format!("a zone report of {count} zones where {room} fit")));
    }
    // Never more than there are, by the check above.
    entries.take(usize::try_from(count).unwrap_or(usize::MAX)).map(parse_zone).collect()
}

fn parse_zone(entry: &[u8]) -> DeviceResult<ReportedZone> {
    let start_lba = u64_at(entry, 16);
    let kind = entry[0] & 0xf;
    if kind != SEQUENTIAL_WRITE_REQUIRED {
        let what = format!("a zone of type {kind} at block {start_lba}, where every zone is to be of type 2");
        return Err(implausible(what));
    }
    let number = entry[1] >> 4;
    let state = state_of(number)
        .ok_or_else(|| implausible(format!("a zone in state {number:#x} at block {start_lba}")))?;
    let has_write_pointer = !matches!(state, ZoneState::Full | ZoneState::ReadOnly | ZoneState::Offline);
    let write_pointer_lba = has_write_pointer.then(|| u64_at(entry, 24));
    Ok(ReportedZone { state, start_lba, capacity_blocks: u64_at(entry, 8), write_pointer_lba })
}

const fn state_of(number: u8) -> Option<ZoneState> {
    Some(match number {
        0x1 => ZoneState::Empty,
        0x2 => ZoneState::ImplicitlyOpen,
        0x3 => ZoneState::ExplicitlyOpen,
        0x4 => ZoneState::Closed,
        0xd => ZoneState::ReadOnly,
        0xe => ZoneState::Full,
        0xf => ZoneState::Offline,
        _ => return None,
    })
}

fn implausible(what: String) -> DeviceError {
    DeviceError::Implausible { what }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::{ReportedZone, parse, report_bytes, zones_in};
    use crate::device::ZoneState;

    /// A report with the given count that holds the given zones: type, state, start, capacity, write pointer.
    fn report_of(count: u64, zones: &[(u8, u8, u64, u64, u64)]) -> Vec<u8> {
        let mut report = vec![0; report_bytes(zones.len())];
        report[..8].copy_from_slice(&count.to_le_bytes());
        for (entry, &(kind, state, start, capacity, write_pointer)) in
            report[64..].chunks_exact_mut(64).zip(zones)
        {
            (entry[0], entry[1]) = (kind, state << 4);
            entry[8..16].copy_from_slice(&capacity.to_le_bytes());
            entry[16..24].copy_from_slice(&start.to_le_bytes());
            entry[24..32].copy_from_slice(&write_pointer.to_le_bytes());
        }
        report
    }

    fn complaint(report: &[u8]) -> String {
        parse(report).expect_err("the report makes no sense").to_string()
    }

    #[test]
    fn every_state_has_its_number_and_some_have_no_write_pointer() {
        let cases = [
            (0x1, ZoneState::Empty, Some(1030)),
            (0x2, ZoneState::ImplicitlyOpen, Some(1030)),
            (0x3, ZoneState::ExplicitlyOpen, Some(1030)),
            (0x4, ZoneState::Closed, Some(1030)),
            (0xd, ZoneState::ReadOnly, None),
            (0xe, ZoneState::Full, None),
            (0xf, ZoneState::Offline, None),
        ];
        for (number, state, write_pointer_lba) in cases {
            let zones = parse(&report_of(1, &[(2, number, 1024, 768, 1030)])).expect("a good report");
            let expected = ReportedZone { state, start_lba: 1024, capacity_blocks: 768, write_pointer_lba };
            assert_eq!(zones, [expected]);
        }
    }

    #[test]
    fn a_report_longer_than_its_zones_gives_just_these() {
        let report = report_of(1, &[(2, 1, 0, 768, 0), (0, 0, 0, 0, 0)]);
        assert_eq!(parse(&report).expect("a good report").len(), 1);
        assert_eq!(parse(&report_of(0, &[])).expect("a good report"), []);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert!(complaint(&[]).contains("report of 0 bytes"));
        assert!(complaint(&report_of(2, &[(2, 1, 0, 768, 0)])).contains("2 zones where 1 fit"));
        assert!(complaint(&report_of(u64::MAX, &[])).contains("where 0 fit"));
        assert!(complaint(&report_of(1, &[(1, 1, 9, 768, 0)])).contains("type 1 at block 9"));
        assert!(complaint(&report_of(1, &[(2, 0, 9, 768, 0)])).contains("state 0x0 at block 9"));
    }

    #[test]
    fn lengths_and_counts_of_zones_fit_each_other() {
        for count in [0, 1, 63, 1000] {
            assert_eq!(zones_in(report_bytes(count)), count);
        }
        assert_eq!((zones_in(0), zones_in(127)), (0, 0));
    }

    proptest! {
        #[test]
        fn whatever_a_drive_sends_is_parsed_without_a_panic(
            count in 0..20u64,
            noise in vec(any::<u8>(), 0..1000),
        ) {
            let mut report = noise;
            if let Some(field) = report.first_chunk_mut() {
                *field = count.to_le_bytes();
            }
            if let Ok(zones) = parse(&report) {
                assert_eq!(zones.len() as u64, count);
            }
        }

        #[test]
        fn a_report_comes_back_as_it_was_written(
            places in vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..40),
        ) {
            let zones: Vec<_> =
                places.iter().map(|&(start, capacity, pointer)| (2, 2, start, capacity, pointer)).collect();
            let found = parse(&report_of(zones.len() as u64, &zones)).expect("a good report");
            let expected = places.iter().map(|&(start_lba, capacity_blocks, pointer)| ReportedZone {
                state: ZoneState::ImplicitlyOpen,
                start_lba,
                capacity_blocks,
                write_pointer_lba: Some(pointer),
            });
            assert!(found.into_iter().eq(expected));
        }
    }
}
