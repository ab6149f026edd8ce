//! What must hold of every decoder, whatever the bytes: for fuzzing. Not part of the interface.
//!
//! None of these returns anything: a decoder that panics, or takes bytes for what it would not have written, does so here.
//! Checksums keep random bytes out of most of a decoder; so each is tried a second time with the checksum put right, as
//! somebody would who forges.

use crate::format::checkpoint::{
    BLOCK_HEADER_BYTES, BlockBuilder, BlockHeader, BlockKind, BlockPlace, EntryPage, PartsRow, ZoneRow,
};
use crate::format::manifest::Manifest;
use crate::format::record::{RECORD_HEADER_BYTES, RawHeader, Record, encoded_bytes};
use crate::format::unit::{ContentsChecksum, UNIT_HEADER_BYTES, UnitHeader};
use crate::index::Entry;
use crate::index::ordered::LoadedLeaf;

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
    let header = RawHeader::read(bytes)?;
    let head_bytes = encoded_bytes(header.key_bytes.into(), 0, header.is_grouped());
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

/// A block of a checkpoint and the items in it, as items of each kind.
pub fn checkpoint(bytes: &[u8]) {
    try_checkpoint(bytes);
    for kind in [BlockKind::Zones, BlockKind::Parts, BlockKind::Entries] {
        if let Some(mended) = mended_checkpoint(bytes, kind) {
            try_checkpoint(&mended);
        }
    }
}

fn try_checkpoint(bytes: &[u8]) {
    let Ok((header, payload)) = BlockHeader::decode(bytes) else { return };
    assert_eq!(header.block_bytes(), (BLOCK_HEADER_BYTES + payload.len()) as u64);
    match header.kind {
        BlockKind::Zones => try_zone_rows(payload),
        BlockKind::Parts => try_parts_rows(payload),
        BlockKind::Entries => try_entry_pages(payload),
    }
}

fn sealed(block: BlockBuilder) -> Vec<u8> {
    let place = BlockPlace { store: [3; 16], checkpoint: 1, block: 0, reset_count: 0 };
    let bytes = block.seal(&place);
    let (header, payload) = BlockHeader::decode(&bytes).expect("what was written can be read");
    assert_eq!(header.block_bytes(), bytes.len() as u64);
    payload.to_vec()
}

fn try_zone_rows(payload: &[u8]) {
    let mut rows = Vec::new();
    if ZoneRow::decode_all(payload, &mut rows).is_err() {
        return;
    }
    let mut block = BlockBuilder::new(BlockKind::Zones);
    for row in &rows {
        assert_eq!(block.push_zone(row, 0, usize::MAX), row.places.len());
    }
    let mut again = Vec::new();
    ZoneRow::decode_all(&sealed(block), &mut again).expect("what was read can be written and read again");
    let counted = |row: &ZoneRow| (row.zone, row.generation, row.places.clone());
    assert!(again.iter().map(counted).eq(rows.iter().map(counted)), "a zone is written differently");
}

fn try_parts_rows(payload: &[u8]) {
    let mut rows = Vec::new();
    let decoded = PartsRow::decode_all(payload, |row, first, total| {
        assert!(first + row.parts.len() <= total, "no part lies behind the last one");
        rows.push(row);
    });
    if decoded.is_err() {
        return;
    }
    rows.retain(|row| !row.parts.is_empty());
    let mut block = BlockBuilder::new(BlockKind::Parts);
    for row in &rows {
        assert_eq!(block.push_parts(row, 0, usize::MAX), row.parts.len());
    }
    let mut again = Vec::new();
    PartsRow::decode_all(&sealed(block), |row, _, _| again.push(row))
        .expect("what was read can be written and read again");
    assert_eq!(again, rows);
}

fn try_entry_pages(mut payload: &[u8]) {
    let mut block = BlockBuilder::new(BlockKind::Entries);
    let mut written = Vec::new();
    while let Ok(Some(page)) = EntryPage::next(&mut payload) {
        // What an index makes of it: entries that cannot be are refused, all others can be looked at.
        let leaf = LoadedLeaf::new(&page, |key, entry| {
            let _ = (key.len(), Entry::from(entry));
            Ok(true)
        });
        drop(leaf);
        block.begin_page(page.prefix());
        page.entries().for_each(|(suffix, place, length)| block.push_entry(suffix, place, length));
        assert_eq!(block.end_page(), page.rows().len());
        written.push((page.prefix().to_vec(), page.suffixes().to_vec(), page.rows().to_vec()));
    }
    let bytes = sealed(block);
    let mut again = &bytes[..];
    for (prefix, suffixes, rows) in written {
        let page =
            EntryPage::next(&mut again).ok().flatten().expect("what was read can be written and read again");
        assert_eq!((page.prefix(), page.suffixes(), page.rows()), (&prefix[..], &suffixes[..], &rows[..]));
    }
}

fn mended_checkpoint(bytes: &[u8], kind: BlockKind) -> Option<Vec<u8>> {
    let payload_bytes = bytes.len().checked_sub(BLOCK_HEADER_BYTES)?;
    let empty = BlockPlace { store: [0; 16], checkpoint: 0, block: 0, reset_count: 0 };
    let mut mended = BlockBuilder::new(kind).seal(&empty);
    mended[8..40].copy_from_slice(&bytes[8..40]);
    mended.extend_from_slice(&bytes[BLOCK_HEADER_BYTES..]);
    mended[40..44].copy_from_slice(&u32::try_from(payload_bytes).ok()?.to_le_bytes());
    let end = mended.len();
    put_crc(&mut mended, 4..8, 8..end);
    Some(mended)
}

/// Puts the checksum of a range where it belongs.
pub(crate) fn put_crc(bytes: &mut [u8], at: std::ops::Range<usize>, of: std::ops::Range<usize>) {
    let crc = crc32fast::hash(&bytes[of]);
    bytes[at].copy_from_slice(&crc.to_le_bytes());
}
