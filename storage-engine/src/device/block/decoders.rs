//! What must hold of what is made of the kernel's zone reports, whatever is in them: for fuzzing.

#![expect(clippy::missing_panics_doc, reason = "a panic is how they say that something is wrong")]

use super::ioctl::ReportedZone;
use super::zone::{KnownZone, is_conventional};
use crate::device::ZoneState;

/// A zone as the kernel reports it, first as one that was not known, then as one that was.
pub fn block_zone_report(bytes: &[u8]) {
    const CAPACITY_BYTES: u64 = 768 << 10;
    let number =
        |entry: &[u8; 34], at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("8 bytes"));
    let mut before = None;
    for entry in bytes.as_chunks::<34>().0 {
        let reported = ReportedZone {
            start_sector: number(entry, 0),
            size_sectors: number(entry, 8),
            write_pointer_sector: number(entry, 16),
            kind: entry[24],
            condition: entry[25],
            capacity_sectors: number(entry, 26),
            ..ReportedZone::default()
        };
        let Ok(known) = KnownZone::learn(&reported, CAPACITY_BYTES, before) else { continue };
        assert!(known.write_pointer.get() <= CAPACITY_BYTES, "a write pointer beyond the zone");
        assert_eq!(is_conventional(&reported), known.state == ZoneState::NotWritePointer);
        before = Some(known);
    }
}
