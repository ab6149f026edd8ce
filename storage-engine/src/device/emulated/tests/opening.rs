//! Making devices, and recognising files that are none, or no longer whole.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process;

use super::{
    Access, DeviceError, DirectIo, EmulatedDevice, Geometry, KIB, Persistence, Place, SMALL, ZonedDevice,
    append, begin, fill, read, refused, shape, zone,
};
use crate::device::ZoneState;
use crate::device::emulated::layout::{HEADER_AT_BYTES, HEADER_BYTES, SESSION_AT_BYTES, entry_at_bytes};

/// Asserts that both ways of opening give an error that passes `check`, and leave every byte.
fn refused_and_unchanged(place: &Place, check: impl Fn(&DeviceError) -> bool) {
    let before = place.bytes();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        match place.try_open(access) {
            Err(error) if check(&error) => {}
            other => panic!("{access:?}: {other:?}"),
        }
    }
    assert!(place.bytes() == before, "opening changed the file");
}

#[test]
fn a_new_device_is_private_sparse_and_empty() {
    let place = Place::new();
    let device = place.create(&Geometry { zone_count: 1000, ..SMALL });
    let metadata = fs::metadata(place.path()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(metadata.len(), 1024 * KIB + 1000 * 128 * KIB);
    assert!(metadata.blocks() * 512 < 1024 * KIB, "{} sectors", metadata.blocks());
    assert!(device.geometry().zones().all(|zone| shape(&device, zone) == (ZoneState::Empty, 0)));
    assert_eq!(device.path(), place.path());
    assert_eq!(device.kind(), "emulated file");
}

#[test]
fn a_file_that_exists_is_not_made_into_a_device() {
    let place = Place::new();
    fs::write(place.path(), "precious").unwrap();
    let created = EmulatedDevice::create(place.path(), &SMALL, DirectIo::Off);
    refused!(created, DeviceError::AlreadyExists { path } if path == place.path());
    assert_eq!(place.bytes(), b"precious");
}

#[test]
fn a_device_that_cannot_be_made_leaves_nothing_behind() {
    let place = Place::new();
    let bad = Geometry { zone_count: 0, ..SMALL };
    let created = EmulatedDevice::create(place.path(), &bad, DirectIo::Off);
    refused!(created, DeviceError::InvalidGeometry { .. });
    assert!(!place.path().exists());
    let size = 1 << 40;
    let huge = Geometry { zone_count: 10_000, zone_size_bytes: size, zone_capacity_bytes: size, ..SMALL };
    // Some file systems do hold files of that length.
    if let Err(error) = EmulatedDevice::create(place.path(), &huge, DirectIo::Off) {
        assert!(matches!(error, DeviceError::Io { .. }), "{error:?}");
        assert!(!place.path().exists());
    }
}

#[test]
fn a_device_in_a_directory_that_is_not_there_says_which() {
    let place = Place::new();
    let created = EmulatedDevice::create(place.path().join("device"), &SMALL, DirectIo::Off);
    refused!(created, DeviceError::NotFound { path } if path == place.path());
}

#[test]
fn nothing_at_the_path_is_said_to_be_nothing() {
    let place = Place::new();
    refused!(place.try_open(Access::ReadWrite), DeviceError::NotFound { path } if path == place.path());
}

#[test]
fn a_file_of_another_kind_is_not_ours() {
    let place = Place::new();
    for content in [Vec::new(), b"short".to_vec(), vec![0; 9000], vec![b'x'; 2 << 20]] {
        fs::write(place.path(), content).unwrap();
        refused_and_unchanged(&place, |error| matches!(error, DeviceError::NotOurs { .. }));
    }
    let opened = EmulatedDevice::open(place.directory.path(), Access::ReadOnly, DirectIo::Off);
    refused!(opened, DeviceError::NotOurs { why, .. } if why.contains("regular"));
}

#[test]
fn a_file_cut_short_says_how_short() {
    let place = Place::new();
    drop(place.create(&SMALL));
    let whole_bytes = fs::metadata(place.path()).unwrap().len();
    for found in [whole_bytes - 1, 1024 * KIB, 5000, 100, 8] {
        OpenOptions::new().write(true).open(place.path()).unwrap().set_len(found).unwrap();
        refused_and_unchanged(
            &place,
            |error| matches!(error, DeviceError::CutShort { found_bytes, .. } if *found_bytes == found),
        );
    }
}

#[test]
fn either_good_copy_of_the_header_is_enough() {
    for at_bytes in HEADER_AT_BYTES {
        let place = Place::new();
        append(&place.create(&SMALL), zone(0), 4096, 1).unwrap();
        for flipped in [0, 8, 40, 124] {
            place.flip(at_bytes + flipped);
            assert_eq!(place.open().geometry(), &SMALL);
        }
        assert_eq!(read(&place.open(), zone(0), 0, 4096).unwrap(), [1; 4096]);
    }
}

#[test]
fn a_device_without_a_good_header_is_damaged() {
    let place = Place::new();
    drop(place.create(&SMALL));
    place.flip(HEADER_AT_BYTES[0] + 40);
    place.flip(HEADER_AT_BYTES[1] + 50);
    refused_and_unchanged(&place, |error| matches!(error, DeviceError::Damaged { at_bytes: 0, .. }));
    place.flip(HEADER_AT_BYTES[0]);
    refused_and_unchanged(&place, |error| matches!(error, DeviceError::Damaged { at_bytes: 0, .. }));
}

#[test]
fn a_damaged_session_block_is_named() {
    let place = Place::new();
    drop(place.create(&SMALL));
    place.flip(SESSION_AT_BYTES + 3);
    refused_and_unchanged(
        &place,
        |error| matches!(error, DeviceError::Damaged { what, at_bytes: SESSION_AT_BYTES, .. } if what.contains("session")),
    );
}

#[test]
fn a_damaged_zone_entry_is_named_with_its_zone_and_byte() {
    let place = Place::new();
    fill(&place.create(&SMALL), zone(5), 1);
    place.flip(entry_at_bytes(zone(5)) + 8);
    refused_and_unchanged(&place, |error| match error {
        DeviceError::Damaged { what, at_bytes, .. } => {
            what.contains("entry of zone 5") && *at_bytes == entry_at_bytes(zone(5))
        }
        _ => false,
    });
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let place = Place::new();
    drop(place.create(&SMALL));
    let mut header: Vec<u8> = place.bytes()[..HEADER_BYTES].to_vec();
    header[8] = 2;
    let crc = crc32fast::hash(&header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    for at_bytes in HEADER_AT_BYTES {
        place.overwrite(at_bytes, &header);
    }
    refused_and_unchanged(&place, |error| {
        matches!(error, DeviceError::UnknownVersion { found: 2, known: 1, .. })
    });
}

#[test]
fn a_second_opener_is_told_who_has_the_device() {
    let place = Place::new();
    let device = place.create(&SMALL);
    append(&device, zone(0), 4096, 1).unwrap();
    refused_and_unchanged(&place, |error| match error {
        DeviceError::Locked { holder, .. } => holder.contains(&format!("process {}", process::id())),
        _ => false,
    });
    drop(device);
    place.open();
}

#[test]
fn readers_share_a_device_and_keep_writers_out() {
    let place = Place::new();
    drop(place.create(&SMALL));
    let first = place.try_open(Access::ReadOnly).unwrap();
    let second = place.try_open(Access::ReadOnly).unwrap();
    refused!(place.try_open(Access::ReadWrite), DeviceError::Locked { .. });
    drop((first, second));
    place.open();
}

#[test]
fn a_killed_process_leaves_no_lock() {
    let place = Place::new();
    place.create(&SMALL).abandon();
    place.open();
}

#[test]
fn opening_without_a_change_changes_no_byte() {
    let place = Place::new();
    let device = place.create(&SMALL);
    device.open(zone(0)).unwrap();
    append(&device, zone(1), 4096, 1).unwrap();
    device.abandon();
    let before = place.bytes();
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let device = place.try_open(access).unwrap();
        read(&device, zone(1), 0, 8192).unwrap();
        begin(&device, zone(0), 1, Persistence::Volatile).unwrap_err();
        device.flush().unwrap();
        drop(device);
        assert!(place.bytes() == before, "{access:?}");
    }
}

#[test]
fn data_are_the_same_with_and_without_direct_io() {
    let place = Place::new();
    let device = place.create(&SMALL);
    append(&device, zone(0), 8192, 5).unwrap();
    drop(device);
    let device = EmulatedDevice::open(place.path(), Access::ReadWrite, DirectIo::Off).unwrap();
    assert!(!device.uses_direct_io());
    assert_eq!(read(&device, zone(0), 0, 8192).unwrap(), [5; 8192]);
    append(&device, zone(0), 4096, 6).unwrap();
    drop(device);
    assert_eq!(read(&place.open(), zone(0), 8192, 4096).unwrap(), [6; 4096]);
}
