//! What must hold of every decoder, whatever the bytes: for fuzzing. Not part of the interface.
//!
//! None of these returns anything: a decoder that panics, or takes bytes for what it would not have written, does so here.
//! Checksums keep random bytes out of most of a decoder; so each is tried a second time with the checksum put right, as
//! somebody would who forges.

use crate::format::manifest::Manifest;
use crate::format::record::{RECORD_HEADER_BYTES, Record, encoded_bytes};
use crate::format::unit::{ContentsChecksum, UNIT_HEADER_BYTES, UnitHeader};

pub use crate::device::block::decoders::block_zone_report;
pub use crate::device::emulated::decoders::{device_header, session_block, zone_table};
pub use crate::device::nvme::decoders::{nvme_identify, nvme_zone_report};

/// The header of a unit.
pub fn unit_header(bytes: &[u8]) {
    try_unit_header(bytes);
    if let Some(mended) = mended_unit_header(bytes) {
        try_unit_header(&mended);
    }
}

fn try_unit_header(bytes: &[u8]) {
    let Ok(header) = UnitHeader::decode(bytes) else { return };
    // What else is asked of a header that was believed.
    let _ = (header.last_seqno(), header.unit_bytes());
    let mut again = [0; UNIT_HEADER_BYTES];
    header.encode(&mut again);
    assert_eq!(UnitHeader::decode(&again), Ok(header), "a header that was read is written differently");
}

fn mended_unit_header(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut mended = bytes.get(..UNIT_HEADER_BYTES)?.to_vec();
    mended[..4].copy_from_slice(b"ZUNT");
    mended[93] = crate::format::FORMAT_VERSION;
    put_crc(&mut mended, 4..8, 8..UNIT_HEADER_BYTES);
    Some(mended)
}

/// One record, in a group or not.
pub fn record(bytes: &[u8]) {
    try_record(bytes);
    if let Some(mended) = mended_record(bytes) {
        try_record(&mended);
    }
}

fn try_record(bytes: &[u8]) {
    let Ok(decoded) = Record::decode(bytes) else { return };
    let record = decoded.record;
    let _ = (record.barrier(), record.group_first_seqno(), record.first_part_seqno());
    let mut again = vec![0; record.encoded_bytes()];
    assert_eq!(record.encode(&mut again), decoded.encoded_bytes);
    let second = Record::decode(&again).expect("what was read can be written and read again");
    assert_eq!(second.record, record);
    assert_eq!(second.value_check, Ok(()));
}

fn mended_record(bytes: &[u8]) -> Option<Vec<u8>> {
    let key_bytes = usize::from(u16::from_le_bytes(bytes.get(20..22)?.try_into().ok()?));
    let head_bytes = encoded_bytes(key_bytes, 0, Record::is_grouped(bytes));
    let value_bytes = bytes.len().checked_sub(head_bytes)?;
    let mut mended = bytes.to_vec();
    mended[16..20].copy_from_slice(&u32::try_from(value_bytes).ok()?.to_le_bytes());
    put_crc(&mut mended, 4..8, head_bytes..bytes.len());
    put_crc(&mut mended, 0..4, 4..head_bytes);
    Some(mended)
}

/// A unit and the records in it, group after group.
pub fn unit(bytes: &[u8]) {
    unit_header(bytes);
    let Some(mut body) = bytes.get(UNIT_HEADER_BYTES..) else { return };
    let mut contents = ContentsChecksum::default();
    while let Ok(decoded) = Record::decode(body) {
        assert!(decoded.encoded_bytes >= RECORD_HEADER_BYTES, "a walk over records gets on");
        contents.add(body);
        body = &body[decoded.encoded_bytes..];
    }
    let _ = contents.finish();
}

/// A manifest.
pub fn manifest(bytes: &[u8]) {
    let reset_count =
        bytes.get(20..24).map_or(0, |count| u32::from_le_bytes(count.try_into().expect("4 bytes")));
    try_manifest(bytes, reset_count);
    if let Some(mended) = mended_manifest(bytes) {
        try_manifest(&mended, reset_count);
    }
}

fn try_manifest(bytes: &[u8], reset_count: u32) {
    const BLOCK_BYTES: usize = 512;
    let Ok((manifest, len_bytes)) = Manifest::decode(bytes, reset_count) else { return };
    assert!(len_bytes <= bytes.len());
    let again = manifest.encode(BLOCK_BYTES, reset_count);
    let (second, _) =
        Manifest::decode(&again, reset_count).expect("what was read can be written and read again");
    assert_eq!(second, manifest);
    assert!(Manifest::decode(bytes, reset_count.wrapping_add(1)).is_err(), "of another filling");
}

fn mended_manifest(bytes: &[u8]) -> Option<Vec<u8>> {
    const FRAME_BYTES: usize = 24;
    let body_bytes = bytes.len().checked_sub(FRAME_BYTES)?;
    let mut mended = bytes.to_vec();
    mended[..4].copy_from_slice(b"ZMAN");
    mended[8..12].copy_from_slice(&u32::try_from(body_bytes).ok()?.to_le_bytes());
    put_crc(&mut mended, 4..8, 8..bytes.len());
    Some(mended)
}

/// Puts the checksum of a range where it belongs.
pub(crate) fn put_crc(bytes: &mut [u8], at: std::ops::Range<usize>, of: std::ops::Range<usize>) {
    let crc = crc32fast::hash(&bytes[of]);
    bytes[at].copy_from_slice(&crc.to_le_bytes());
}
