//! What must hold of the layout's decoders, whatever the bytes: for fuzzing.

#![expect(clippy::missing_panics_doc, reason = "a panic is how they say that something is wrong")]

use super::layout::{ENTRY_BYTES, HEADER_BYTES, Header, KeptMark, SESSION_BYTES, Session, ZoneEntry};
use crate::decoders::put_crc;
use crate::device::Geometry;
use crate::units::ZoneId;

/// Runs a check on the first bytes as they are, and with their checksum put right.
fn twice<const LEN: usize>(bytes: &[u8], check: impl Fn(&[u8; LEN])) {
    let Some(&found) = bytes.first_chunk::<LEN>() else { return };
    check(&found);
    let mut mended = found;
    put_crc(&mut mended, LEN - 4..LEN, 0..LEN - 4);
    check(&mended);
}

/// The header of an emulated device.
pub fn device_header(bytes: &[u8]) {
    twice::<HEADER_BYTES>(bytes, |bytes| {
        let mut named = *bytes;
        named[..12].copy_from_slice(b"ZONALDEV\x01\0\0\0");
        put_crc(&mut named, HEADER_BYTES - 4..HEADER_BYTES, 0..HEADER_BYTES - 4);
        for bytes in [bytes, &named] {
            if let Ok(header) = Header::decode(bytes) {
                assert_eq!(Header::decode(&header.encode()), Ok(header));
            }
        }
    });
}

/// The session block, and the mark of the kept memory, which is as long.
pub fn session_block(bytes: &[u8]) {
    twice::<SESSION_BYTES>(bytes, |bytes| {
        if let Ok(session) = Session::decode(bytes) {
            assert_eq!(Session::decode(&session.encode()), Ok(session));
        }
        if let Some(mark) = KeptMark::decode(bytes) {
            assert_eq!(KeptMark::decode(&mark.encode()), Some(mark));
        }
    });
}

/// Entries of the zone table, one after another from zone 0 on.
pub fn zone_table(bytes: &[u8]) {
    const GEOMETRY: Geometry = Geometry {
        block_bytes: 4096,
        zone_size_bytes: 1 << 20,
        zone_capacity_bytes: 768 << 10,
        zone_count: 64,
        max_open_zones: 8,
        max_active_zones: 8,
        append_limit_bytes: 128 << 10,
        volatile_cache: true,
    };
    for (zone, entry) in GEOMETRY.zones().zip(bytes.chunks(ENTRY_BYTES)) {
        twice::<ENTRY_BYTES>(entry, |bytes| {
            let _ = ZoneEntry::reset_count_in(bytes);
            let Ok(entry) = ZoneEntry::decode(bytes, zone, &GEOMETRY) else { return };
            assert!(entry.write_pointer <= entry.bound && entry.bound.get() <= GEOMETRY.zone_capacity_bytes);
            assert_eq!(ZoneEntry::decode(&entry.encode(), zone, &GEOMETRY), Ok(entry));
            let other = ZoneId::new(zone.get() + 1);
            assert!(ZoneEntry::decode(bytes, other, &GEOMETRY).is_err(), "an entry in the wrong place");
        });
    }
}
