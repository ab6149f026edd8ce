//! What an emulated device promises, on real files.

mod block_device;
mod contract;
mod durability;
mod kept_memory;
mod layout;
mod limits;
mod opening;
mod space;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Access, DirectIo, EmulatedDevice};
use crate::device::{
    AppendCommand, AppendTicket, DeviceError, DeviceResult, Geometry, Persistence, RawResult, ZoneState,
    ZonedDevice,
};
use crate::units::{ZoneId, ZoneOffset, ZoneSector};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Small zones: 128 KiB, of which 96 KiB can be written.
const SMALL: Geometry = Geometry {
    block_bytes: 4096,
    zone_size_bytes: 128 * KIB,
    zone_capacity_bytes: 96 * KIB,
    zone_count: 8,
    max_open_zones: 2,
    max_active_zones: 4,
    append_limit_bytes: 64 * 1024,
    volatile_cache: true,
};

/// Zones in which the bound is moved several times.
const LARGE: Geometry = Geometry {
    zone_size_bytes: 16 * MIB,
    zone_capacity_bytes: 16 * MIB,
    append_limit_bytes: 1024 * 1024,
    ..SMALL
};

/// The boot that a machine is in after it went down.
const NEXT_BOOT: [u8; 16] = [7; 16];

/// A directory for one device, gone at the end of the test.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("device")
    }

    fn create(&self, geometry: &Geometry) -> EmulatedDevice {
        EmulatedDevice::create(self.path(), geometry, DirectIo::Preferred).unwrap()
    }

    fn open(&self) -> EmulatedDevice {
        self.try_open(Access::ReadWrite).unwrap()
    }

    fn try_open(&self, access: Access) -> DeviceResult<EmulatedDevice> {
        EmulatedDevice::open(self.path(), access, DirectIo::Preferred)
    }

    fn open_after_power_cut(&self) -> EmulatedDevice {
        let (access, direct_io) = (Access::ReadWrite, DirectIo::Preferred);
        EmulatedDevice::open_in_boot(&self.path(), access, direct_io, NEXT_BOOT).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn overwrite(&self, at_bytes: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        file.write_all_at(bytes, at_bytes).unwrap();
    }

    fn flip(&self, at_bytes: u64) {
        let byte = self.bytes()[usize::try_from(at_bytes).unwrap()];
        self.overwrite(at_bytes, &[byte ^ 0x10]);
    }
}

const fn zone(number: u32) -> ZoneId {
    ZoneId::new(number)
}

fn begin(
    device: &EmulatedDevice,
    zone: ZoneId,
    len_bytes: u64,
    persistence: Persistence,
) -> DeviceResult<AppendTicket> {
    device.begin_append(device.geometry().zone_start(zone), len_bytes, persistence)
}

/// Does what a queue does with the command of an append.
fn perform(ticket: &AppendTicket, byte: u8) {
    let AppendCommand::PositionedWrite { fd, file_offset_bytes, persistence } = ticket.command else {
        panic!("an emulated device names positioned writes");
    };
    let payload = vec![byte; usize::try_from(ticket.len_bytes).unwrap()];
    let path = Path::new("/proc/self/fd").join(fd.to_string());
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&payload, file_offset_bytes).unwrap();
    if persistence == Persistence::Durable {
        file.sync_data().unwrap();
    }
}

fn complete(device: &EmulatedDevice, ticket: AppendTicket) -> DeviceResult<ZoneSector> {
    let written = i32::try_from(ticket.len_bytes).unwrap();
    device.end_append(ticket, RawResult::of(written))
}

fn append(device: &EmulatedDevice, zone: ZoneId, len_bytes: u64, byte: u8) -> DeviceResult<ZoneOffset> {
    let ticket = begin(device, zone, len_bytes, Persistence::Volatile)?;
    perform(&ticket, byte);
    complete(device, ticket).map(ZoneSector::offset)
}

fn fill(device: &EmulatedDevice, zone: ZoneId, byte: u8) {
    let Geometry { zone_capacity_bytes, append_limit_bytes, .. } = *device.geometry();
    let mut left_bytes = zone_capacity_bytes;
    while left_bytes > 0 {
        let len_bytes = left_bytes.min(u64::from(append_limit_bytes));
        append(device, zone, len_bytes, byte).unwrap();
        left_bytes -= len_bytes;
    }
}

fn read(device: &EmulatedDevice, zone: ZoneId, offset: u64, len_bytes: u64) -> DeviceResult<Vec<u8>> {
    let mut bytes = vec![0xee; usize::try_from(len_bytes).unwrap()];
    device.read(zone, ZoneOffset::new(offset), &mut bytes).map(|()| bytes)
}

/// State and write pointer in bytes.
fn shape(device: &EmulatedDevice, zone: ZoneId) -> (ZoneState, u64) {
    let descriptor = device.report(zone).unwrap();
    (descriptor.state, descriptor.write_pointer.get())
}

fn states(device: &EmulatedDevice) -> Vec<ZoneState> {
    device.geometry().zones().map(|zone| device.report(zone).unwrap().state).collect()
}

/// Asserts that a result is an error of one kind.
macro_rules! refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            other => panic!("{other:?} instead of {}", stringify!($pattern)),
        }
    };
}
use refused;
