//! What a namespace is, who has it, and what is found again.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::{Bed, OTHER, ZONE, path, tagged};
use crate::device::emulated::Access;
use crate::device::nvme::NvmeDevice;
use crate::device::{CommandSet, DeviceError, Persistence, ZonedDevice};
use crate::queue::{Common, QueueKind, UringQueue, open_queue};

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn the_drive_says_what_it_is() {
    let bed = Bed::new();
    let geometry = bed.geometry();
    geometry.validate().expect("a good geometry");
    assert!(geometry.zone_count >= 20, "{geometry:?}");
    assert!((4..=16).contains(&geometry.max_active_zones), "{geometry:?}");
    assert_eq!(bed.device.kind(), "NVMe zoned namespace");
    assert!(bed.device.detail().starts_with("passthrough"), "{}", bed.device.detail());
    eprintln!("{}: {geometry:?}", bed.device.detail());
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn everything_is_found_again_at_the_next_opening() {
    let mut bed = Bed::new();
    let block = bed.block();
    bed.append(ZONE, tagged(block, 3)).expect("append");
    bed.device.finish(OTHER).expect("finish");
    let before = [ZONE, OTHER].map(|zone| bed.report(zone));
    bed.device.shut_down().expect("shut down");
    let changed = bed.device.reset(ZONE).expect_err("others may have it");
    assert!(matches!(changed, DeviceError::Io { .. }), "{changed}");
    // The old one's queue still has the file registered; that keeps nobody out.
    let reader = NvmeDevice::open(path(), Access::ReadOnly).expect("open to read");
    assert_eq!([ZONE, OTHER].map(|zone| reader.report(zone).expect("report")), before);
    assert!(matches!(reader.reset(ZONE), Err(DeviceError::ReadOnly { .. })));
    let start = bed.geometry().zone_start(ZONE);
    let begun = reader.begin_append(start, block as u64, Persistence::Volatile);
    assert!(matches!(begun, Err(DeviceError::ReadOnly { .. })));
    drop(reader);
    bed.device = Arc::new(NvmeDevice::open(path(), Access::ReadWrite).expect("open again"));
    bed.queue = open_queue(Arc::clone(&bed.device) as _, 64, QueueKind::Automatic).expect("a queue");
    assert_eq!(bed.read(ZONE, 0, block), tagged(block, 3)[..]);
    let sector = bed.append(ZONE, tagged(block, 4)).expect("append");
    assert_eq!(sector.offset().get(), block as u64);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn one_writer_or_many_readers_have_the_namespace_by_whichever_route() {
    let bed = Bed::new();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let error = NvmeDevice::open(path(), access).expect_err("a writer has it");
        assert!(error.to_string().contains("is in use by process"), "{error}");
    }
    let block_device = block_device();
    let exclusively =
        || OpenOptions::new().read(true).custom_flags(OFlags::EXCL.bits().cast_signed()).open(&block_device);
    exclusively().expect_err("held with the character device");
    bed.device.shut_down().expect("shut down");
    let by_block_route = exclusively().expect("free");
    let error = NvmeDevice::open(path(), Access::ReadWrite).expect_err("held by the other route");
    assert!(matches!(error, DeviceError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("exclusively"), "{error}");
    by_block_route.try_lock().expect("lock");
    let error = NvmeDevice::open(path(), Access::ReadOnly).expect_err("locked by the other route");
    assert!(error.to_string().contains("is in use by process"), "{error}");
    drop(by_block_route);
    let readers = [(); 2].map(|()| NvmeDevice::open(path(), Access::ReadOnly).expect("readers share"));
    let error = NvmeDevice::open(path(), Access::ReadWrite).expect_err("readers have it");
    assert!(matches!(error, DeviceError::Locked { .. }), "{error}");
    drop(readers);
}

/// The other route; the names agree in the virtual machines of the tests.
fn block_device() -> PathBuf {
    let path = std::fs::canonicalize(path()).expect("the namespace is there");
    let name = path.file_name().expect("a file").to_str().expect("ASCII").replacen("ng", "nvme", 1);
    path.with_file_name(name)
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn a_ring_of_the_wrong_shape_is_refused_and_the_right_one_is_chosen() {
    let bed = Bed::new();
    assert!(matches!(bed.device.command_set(), CommandSet::Nvme { .. }));
    assert_eq!(bed.queue.kind(), "io_uring passthrough");
    let refused = UringQueue::<Common>::new(Arc::clone(&bed.device) as _, 8).expect_err("the wrong shape");
    assert_eq!(refused.kind(), std::io::ErrorKind::Unsupported);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn what_is_no_zoned_namespace_is_refused_by_name() {
    let _bed = Bed::new();
    let complaint = |path: &str| {
        NvmeDevice::open(path, Access::ReadWrite).expect_err("not a zoned namespace").to_string()
    };
    assert!(complaint("/dev/null").contains("not an NVMe namespace"));
    assert!(complaint("/dev/nvme0").contains("controller"));
    assert!(complaint("/dev/ng99n99").contains("does not exist"));
    if let Some(conventional) = std::env::var_os("ZONAL_TEST_NVME_CONVENTIONAL") {
        let text = complaint(conventional.to_str().expect("ASCII"));
        assert!(text.contains("not a zoned one"), "{text}");
    }
}
