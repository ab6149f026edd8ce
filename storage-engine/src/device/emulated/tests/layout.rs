//! The bytes of the file: what is written is read back, and no flipped bit passes.

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::proptest;

use super::{KIB, SMALL};
use crate::device::emulated::layout::{
    ENTRY_BYTES, HEADER_BYTES, Header, LayoutError, SESSION_BYTES, Session, ZoneEntry, data_start_bytes,
    entry_at_bytes, file_bytes,
};
use crate::device::{Geometry, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

fn geometries() -> impl Strategy<Value = Geometry> {
    let block = prop_oneof![Just(512_u32), Just(4096)];
    (block, 1..1000_u64, 0..1000_u64, 1..100_000_u32, 1..20_u32, 0..20_u32).prop_map(
        |(block_bytes, capacity_blocks, beyond_blocks, zone_count, max_open_zones, more_active)| {
            let zone_capacity_bytes = capacity_blocks * u64::from(block_bytes);
            Geometry {
                block_bytes,
                zone_size_bytes: zone_capacity_bytes + beyond_blocks * u64::from(block_bytes),
                zone_capacity_bytes,
                zone_count,
                max_open_zones,
                max_active_zones: max_open_zones + more_active,
                append_limit_bytes: block_bytes * max_open_zones,
                volatile_cache: true,
            }
        },
    )
}

fn active_entries() -> impl Strategy<Value = ZoneEntry> {
    let state = prop_oneof![
        Just(ZoneState::ImplicitlyOpen),
        Just(ZoneState::ExplicitlyOpen),
        Just(ZoneState::Closed),
        Just(ZoneState::Full),
        Just(ZoneState::ReadOnly),
        Just(ZoneState::Offline),
    ];
    (0..8_u32, state, any::<bool>(), 0..=24_u64, 0..=24_u64, any::<u32>()).prop_map(
        |(number, state, blocks_written, some_blocks, other_blocks, reset_count)| ZoneEntry {
            zone: ZoneId::new(number),
            state,
            blocks_written,
            write_pointer: ZoneOffset::new(some_blocks.min(other_blocks) * 4096),
            bound: ZoneOffset::new(some_blocks.max(other_blocks) * 4096),
            reset_count,
        },
    )
}

/// Asserts that `decode` refuses the bytes with any one bit flipped.
fn no_flipped_bit_passes<const LENGTH: usize, T>(
    good: &[u8; LENGTH],
    decode: impl Fn(&[u8; LENGTH]) -> Result<T, LayoutError>,
) {
    for bit in 0..LENGTH * 8 {
        let mut bytes = *good;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&bytes).is_err(), "bit {bit} was flipped and nobody saw it");
    }
}

proptest! {
    #[test]
    fn a_header_is_read_back_and_every_flipped_bit_is_seen(geometry in geometries(), device_id: [u8; 16]) {
        let header = Header { device_id, geometry };
        let bytes: [u8; HEADER_BYTES] = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        no_flipped_bit_passes(&bytes, Header::decode);
    }

    #[test]
    fn a_session_block_is_read_back_and_every_flipped_bit_is_seen(boot_id: [u8; 16], clean: bool) {
        let session = Session { boot_id, clean };
        let bytes: [u8; SESSION_BYTES] = session.encode();
        assert_eq!(Session::decode(&bytes), Ok(session));
        no_flipped_bit_passes(&bytes, Session::decode);
    }

    #[test]
    fn a_zone_entry_is_read_back_and_every_flipped_bit_is_seen(entry in active_entries()) {
        let bytes: [u8; ENTRY_BYTES] = entry.encode();
        let decode = |bytes: &[u8; ENTRY_BYTES]| ZoneEntry::decode(bytes, entry.zone, &SMALL);
        assert_eq!(decode(&bytes), Ok(entry));
        no_flipped_bit_passes(&bytes, decode);
    }

    #[test]
    fn bytes_of_any_kind_are_refused_without_a_panic(bytes: [u8; ENTRY_BYTES], more: [u8; ENTRY_BYTES]) {
        assert!(ZoneEntry::decode(&bytes, ZoneId::new(0), &SMALL).is_err());
        assert!(Session::decode(&bytes).is_err());
        let mut header = [0; HEADER_BYTES];
        header[..ENTRY_BYTES].copy_from_slice(&bytes);
        header[ENTRY_BYTES..].copy_from_slice(&more);
        header[..8].copy_from_slice(b"ZONALDEV");
        assert!(matches!(Header::decode(&header), Err(LayoutError::Damaged(_))));
    }
}

#[test]
fn an_entry_that_contradicts_itself_or_its_place_is_damaged() {
    let empty = ZoneEntry::empty(ZoneId::new(3));
    let at = |bytes: u64| ZoneOffset::new(bytes);
    let closed = ZoneEntry { state: ZoneState::Closed, ..empty };
    let cases = [
        (ZoneEntry { zone: ZoneId::new(4), ..empty }, "entry of zone 4"),
        (ZoneEntry { bound: at(4096), ..empty }, "empty, with bound"),
        (ZoneEntry { write_pointer: at(8192), bound: at(4096), ..closed }, "bound byte 4096"),
        (ZoneEntry { write_pointer: at(100), bound: at(4096), ..closed }, "write pointer byte 100"),
        (ZoneEntry { bound: at(100 * KIB), ..closed }, "bound byte 102400"),
    ];
    for (entry, expected) in cases {
        match ZoneEntry::decode(&entry.encode(), ZoneId::new(3), &SMALL) {
            Err(LayoutError::Damaged(what)) => assert!(what.contains(expected), "{what:?}: {expected:?}"),
            other => panic!("{entry:?} gives {other:?}"),
        }
    }
}

#[test]
fn no_entry_crosses_a_sector_and_data_begin_after_the_table() {
    for number in 0..10_000 {
        let at_bytes = entry_at_bytes(ZoneId::new(number));
        assert_eq!(at_bytes / 512, (at_bytes + ENTRY_BYTES as u64 - 1) / 512);
    }
    assert_eq!(data_start_bytes(1), 1024 * KIB);
    assert_eq!(data_start_bytes((1024 - 12) * 16), 1024 * KIB);
    assert_eq!(data_start_bytes((1024 - 12) * 16 + 1), 2048 * KIB);
}

#[test]
fn a_device_of_too_many_zones_is_refused_and_the_largest_has_a_length() {
    let many = Geometry { zone_count: (1 << 20) + 1, ..SMALL };
    assert!(file_bytes(&many).unwrap_err().contains("at most 1048576"));
    let size = u64::from(u32::MAX) * 512;
    let largest = Geometry { zone_count: 1 << 20, zone_size_bytes: size, zone_capacity_bytes: size, ..SMALL };
    assert!(file_bytes(&largest).is_ok_and(|bytes| i64::try_from(bytes).is_ok()));
}
