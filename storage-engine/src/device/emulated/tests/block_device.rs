//! The emulated device on a block device: a loop device over a file. Where none can be had, the tests say so.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{KIB, MIB, SMALL, append, fill, read, refused, shape, zone};
use crate::device::emulated::{Access, DirectIo, EmulatedDevice, UnfinishedDevice};
use crate::device::{DeviceError, Place, ZoneState, ZonedDevice, open_device, place_at};

/// A loop device over a file of its own, gone at the end of the test.
struct LoopDevice {
    node: PathBuf,
    directory: TempDir,
}

impl LoopDevice {
    fn new(length_bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("medium");
        fs::File::create(&file).and_then(|file| file.set_len(length_bytes)).expect("a file");
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        match made {
            Ok(output) if output.status.success() => {
                let node = String::from_utf8(output.stdout).expect("a path").trim_end().into();
                Some(Self { node, directory })
            }
            answer => {
                eprintln!("skipped: no loop device can be had here ({answer:?})");
                None
            }
        }
    }

    fn format(&self) -> EmulatedDevice {
        let target = unless_locked(|| EmulatedDevice::claim_block_device(&self.node)).expect("claim");
        target.begin(&SMALL, DirectIo::Preferred).and_then(UnfinishedDevice::finish).expect("format");
        unless_locked(|| self.open(Access::ReadWrite)).expect("open")
    }

    fn open(&self, access: Access) -> Result<EmulatedDevice, DeviceError> {
        EmulatedDevice::open(&self.node, access, DirectIo::Preferred)
    }

    fn write(&self, at_bytes: u64, bytes: &[u8]) {
        let node = OpenOptions::new().write(true).open(&self.node).expect("open the loop device");
        node.write_all_at(bytes, at_bytes).and_then(|()| node.sync_all()).expect("write");
    }

    fn contents(&self) -> Option<String> {
        unless_locked(|| EmulatedDevice::claim_block_device(&self.node))
            .expect("claim")
            .contents()
            .expect("look")
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Whether it goes well is of no concern to the test.
        let _ = Command::new("losetup").arg("--detach").arg(&self.node).status();
    }
}

/// Tries again while it is locked: another test that starts a program holds all descriptors for a moment.
fn unless_locked<T>(open: impl Fn() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
    loop {
        match open() {
            Err(DeviceError::Locked { .. }) => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status().expect(program);
    assert!(status.success(), "{program}: {status}");
}

#[test]
fn a_block_device_that_nobody_formatted_is_refused_and_left_as_it_is() {
    let Some(medium) = LoopDevice::new(4 * MIB) else { return };
    assert_eq!(place_at(&medium.node).expect("look"), Place::ConventionalBlockDevice);
    let error = open_device(&medium.node, Access::ReadWrite, DirectIo::Preferred).expect_err("unformatted");
    assert!(matches!(error, DeviceError::NotOurs { .. }), "{error:?}");
    assert!(error.to_string().contains("`create` does that"), "{error}");
    assert_eq!(medium.contents(), None);
}

#[test]
fn zones_on_a_block_device_are_appended_to_read_reset_and_found_again() {
    let Some(medium) = LoopDevice::new(4 * MIB) else { return };
    let device = medium.format();
    assert_eq!(device.kind(), "emulated on a block device");
    fill(&device, zone(0), 1);
    append(&device, zone(1), 8 * KIB, 2).expect("append");
    device.flush().expect("flush");
    drop(device);
    let device = medium.open(Access::ReadWrite).expect("open");
    assert_eq!(shape(&device, zone(0)), (ZoneState::Full, 96 * KIB));
    assert_eq!(shape(&device, zone(1)), (ZoneState::Closed, 8 * KIB));
    assert_eq!(read(&device, zone(1), 0, 4096).expect("read"), [2; 4096]);
    device.reset(zone(0)).expect("reset");
    append(&device, zone(0), 4096, 3).expect("append");
    let found = read(&device, zone(0), 0, 8192).expect("read");
    assert!(found[..4096].iter().all(|&byte| byte == 3), "the new filling");
    assert!(
        found[4096..].iter().all(|&byte| byte == 0),
        "nothing of the earlier one, whatever a discard leaves"
    );
    assert_eq!(device.report(zone(0)).expect("report").reset_count, 1);
}

#[test]
fn a_reset_gives_the_blocks_back() {
    let Some(medium) = LoopDevice::new(4 * MIB) else { return };
    let device = medium.format();
    let used = || {
        use std::os::unix::fs::MetadataExt;
        device.flush().expect("flush");
        fs::metadata(medium.directory.path().join("medium")).expect("look").blocks() * 512
    };
    let before = used();
    fill(&device, zone(2), 1);
    assert!(used() >= before + 96 * KIB);
    device.reset(zone(2)).expect("reset");
    assert!(used() <= before + 4 * KIB, "a loop device hands a discard on to its file");
}

#[test]
fn a_block_device_in_use_is_refused_with_its_holder() {
    let Some(medium) = LoopDevice::new(4 * MIB) else { return };
    let device = medium.format();
    let error = medium.open(Access::ReadWrite).expect_err("held");
    assert!(error.to_string().contains("in use by process"), "{error}");
    refused!(EmulatedDevice::claim_block_device(&medium.node), DeviceError::Locked { .. });
    refused!(medium.open(Access::ReadOnly), DeviceError::Locked { .. });
    device.shut_down().expect("shut down");
    drop(device);
    let reader = medium.open(Access::ReadOnly).expect("a reader");
    medium.open(Access::ReadOnly).expect("another reader");
    refused!(medium.open(Access::ReadWrite), DeviceError::Locked { .. });
    drop(reader);
}

#[test]
fn a_mounted_device_is_refused_with_the_place_where_it_is() {
    let Some(medium) = LoopDevice::new(16 * MIB) else { return };
    run("mkfs.ext4", &["-q", "-F"], &medium.node);
    let place = medium.directory.path().join("mounted");
    fs::create_dir(&place).expect("a directory");
    let mounted = Command::new("mount").args([&medium.node, &place]).output();
    match mounted {
        Ok(output) if output.status.success() => {}
        answer => {
            eprintln!("skipped: nothing can be mounted here ({answer:?})");
            return;
        }
    }
    let error = EmulatedDevice::claim_block_device(&medium.node).expect_err("mounted");
    run("umount", &[], &place);
    let (text, place) = (error.to_string(), place.display().to_string());
    assert!(text.contains("a file system mounted at") && text.contains(&place), "{text}");
    assert_eq!(medium.contents().as_deref(), Some("it holds an ext2, ext3 or ext4 file system"));
}

#[test]
fn what_is_on_a_block_device_is_told_and_gone_after_formatting() {
    let Some(medium) = LoopDevice::new(4 * MIB) else { return };
    medium.write(0, b"XFSB");
    assert_eq!(medium.contents().as_deref(), Some("it holds an XFS file system"));
    medium.write(4 * MIB - 512, b"EFI PART");
    drop(medium.format());
    assert_eq!(medium.contents().as_deref(), Some("it holds an emulated zoned device of zonal"));
    medium.write(0, &[0; 16 * 1024]);
    assert_eq!(medium.contents(), None, "also the marks at its end are gone");
}

#[test]
fn as_many_zones_are_made_as_there_is_room_for() {
    let Some(medium) = LoopDevice::new(4 * MIB) else { return };
    let target = EmulatedDevice::claim_block_device(&medium.node).expect("claim");
    // One MiB is for the headers and the table.
    assert_eq!(target.capacity_bytes(&SMALL), 24 * SMALL.zone_capacity_bytes);
    let too_many = crate::device::Geometry { zone_count: 25, ..SMALL };
    let error = target.begin(&too_many, DirectIo::Preferred).expect_err("no room");
    assert!(error.to_string().contains("4325376 bytes"), "{error}");
    assert_eq!(medium.contents(), None, "what is refused writes nothing");
}

#[test]
fn a_block_device_that_has_become_shorter_is_refused() {
    let Some(medium) = LoopDevice::new(4 * MIB) else { return };
    drop(medium.format());
    let file = OpenOptions::new().write(true).open(medium.directory.path().join("medium")).expect("open");
    file.set_len(MIB + 128 * KIB).expect("shorten");
    run("losetup", &["--set-capacity"], &medium.node);
    refused!(medium.open(Access::ReadWrite), DeviceError::CutShort { .. });
}

#[test]
fn a_block_device_that_was_not_finished_is_told_from_others_and_made_anew_without_asking() {
    let Some(medium) = LoopDevice::new(4 * MIB) else { return };
    for before in [&b"XFSB"[..], b""] {
        medium.write(0, before);
        medium.write(64 * 1024, b"much else");
        let target = unless_locked(|| EmulatedDevice::claim_block_device(&medium.node)).expect("claim");
        let unfinished = target.begin(&SMALL, DirectIo::Preferred).expect("begin");
        append(&unfinished.device(), zone(0), 4096, 1).expect("append");
        drop(unfinished);
        let opened = unless_locked(|| medium.open(Access::ReadWrite));
        refused!(opened, DeviceError::NotOurs { why, .. } if why.contains("not finished"));
        assert_eq!(medium.contents(), None, "nothing on it is worth asking for");
    }
    drop(medium.format());
    unless_locked(|| medium.open(Access::ReadOnly)).expect("open");
    assert_eq!(medium.contents().as_deref(), Some("it holds an emulated zoned device of zonal"));
}
