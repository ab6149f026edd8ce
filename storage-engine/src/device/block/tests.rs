//! What a zoned block device promises, on a real one: `ZONAL_TEST_ZONED_BLOCK` names it. Everything on it is destroyed.
//!
//! Without the variable these tests say that they were skipped. `ZONAL_TEST_NULL_BLK_SWITCHES` may name the configfs directory
//! of the null_blk device: then, if that is the same device, zones are made read-only and offline through it, for good.

use std::env;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::ZonedBlockDevice;
use crate::buffer::AlignedBuffer;
use crate::device::direct::DIRECT_FLAG;
use crate::device::emulated::Access;
use crate::device::{
    AppendCommand, AppendOrder, DeviceError, DeviceResult, Geometry, Persistence, RawResult, ZoneState,
    ZonedDevice,
};
use crate::queue::{Outcome, QueueKind, Request, Wait, open_queue};
use crate::units::{ZoneId, ZoneOffset, ZoneSector};

/// The tests share the device: one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A device whose zones are empty, open for writing, and the turn to use it.
struct Bed {
    device: Arc<ZonedBlockDevice>,
    path: PathBuf,
    /// Zones with a write pointer that can be written.
    zones: Vec<ZoneId>,
    _turn: MutexGuard<'static, ()>,
}

fn bed() -> Option<Bed> {
    let Some(path) = env::var_os("ZONAL_TEST_ZONED_BLOCK").map(PathBuf::from) else {
        eprintln!(
            "skipped: ZONAL_TEST_ZONED_BLOCK names no zoned block device whose contents may be destroyed"
        );
        return None;
    };
    let turn = TURN.lock();
    let device = Arc::new(ZonedBlockDevice::open(&path, Access::ReadWrite).expect("open the device"));
    let mut zones = Vec::new();
    for zone in device.geometry().zones() {
        match device.report(zone).expect("report").state {
            ZoneState::NotWritePointer | ZoneState::ReadOnly | ZoneState::Offline => continue,
            ZoneState::Empty => {}
            _ => device.reset(zone).expect("reset"),
        }
        zones.push(zone);
    }
    Some(Bed { device, path, zones, _turn: turn })
}

impl Bed {
    fn geometry(&self) -> Geometry {
        *self.device.geometry()
    }

    fn block(&self) -> u64 {
        self.geometry().block_bytes.into()
    }

    fn begin(&self, zone: ZoneId, len_bytes: u64) -> DeviceResult<crate::device::AppendTicket> {
        self.device.begin_append(self.geometry().zone_start(zone), len_bytes, Persistence::Durable)
    }

    /// Appends through a positioned write of this thread.
    fn append(&self, zone: ZoneId, len_bytes: u64, byte: u8) -> DeviceResult<ZoneOffset> {
        let ticket = self.begin(zone, len_bytes)?;
        let AppendCommand::PositionedWrite { file_offset_bytes, .. } = ticket.command else {
            panic!("a block device names positioned writes");
        };
        let result = self.write(file_offset_bytes, len_bytes, byte);
        self.device.end_append(ticket, RawResult::of(result)).map(ZoneSector::offset)
    }

    /// A write beside the device, past the page cache: its raw result.
    fn write(&self, at_bytes: u64, len_bytes: u64, byte: u8) -> i32 {
        let file = OpenOptions::new().write(true).custom_flags(DIRECT_FLAG).open(&self.path).expect("open");
        let mut payload = AlignedBuffer::zeroed(usize::try_from(len_bytes).expect("small"));
        payload.fill(byte);
        match file.write_at(&payload, at_bytes) {
            Ok(count) => i32::try_from(count).expect("small"),
            Err(error) => -error.raw_os_error().expect("the kernel's"),
        }
    }

    fn fill(&self, zone: ZoneId) {
        let Geometry { zone_capacity_bytes, append_limit_bytes, .. } = self.geometry();
        let mut left = zone_capacity_bytes;
        while left > 0 {
            left -= self
                .append(zone, left.min(append_limit_bytes.into()), 1)
                .map(|_| left.min(append_limit_bytes.into()))
                .expect("append");
        }
    }

    fn shape(&self, zone: ZoneId) -> (ZoneState, u64) {
        let found = self.device.report(zone).expect("report");
        (found.state, found.write_pointer.get())
    }

    fn read(&self, zone: ZoneId, offset: u64, len_bytes: u64) -> DeviceResult<Vec<u8>> {
        let mut bytes = vec![0xee; usize::try_from(len_bytes).expect("small")];
        self.device.read(zone, ZoneOffset::new(offset), &mut bytes).map(|()| bytes)
    }
}

/// Asserts that a result is an error of one kind.
macro_rules! refused {
    ($result:expr, $pattern:pat) => {
        match $result {
            Err($pattern) => {}
            other => panic!("{other:?} instead of {}", stringify!($pattern)),
        }
    };
}

#[test]
fn sizes_and_limits_are_those_of_the_kernel() {
    let Some(bed) = bed() else { return };
    let name = fs::canonicalize(&bed.path).expect("a path").file_name().expect("a name").to_owned();
    let queue = PathBuf::from("/sys/block").join(name).join("queue");
    let number = |attribute: &str| -> u64 {
        fs::read_to_string(queue.join(attribute)).expect(attribute).trim().parse().expect("a number")
    };
    let geometry = bed.geometry();
    geometry.validate().expect("valid");
    assert_eq!(u64::from(geometry.zone_count), number("nr_zones"));
    assert_eq!(geometry.zone_size_bytes, number("chunk_sectors") * 512);
    assert!(u64::from(geometry.append_limit_bytes) <= number("max_sectors_kb") * 1024);
    let limit = |attribute| match number(attribute) {
        0 => geometry.zone_count,
        limit => u32::try_from(limit).expect("32 bits"),
    };
    assert_eq!(geometry.max_active_zones, limit("max_active_zones"));
    assert_eq!(geometry.max_open_zones, limit("max_open_zones").min(geometry.max_active_zones));
    assert_eq!(bed.device.append_order(), AppendOrder::OneAtATime);
}

#[test]
fn many_appends_to_several_zones_land_one_behind_another_and_are_read_back() {
    let Some(bed) = bed() else { return };
    let device: Arc<dyn ZonedDevice> = bed.device.clone();
    let queue = open_queue(Arc::clone(&device), 16, QueueKind::Automatic).expect("a queue");
    let zones = &bed.zones[..3];
    let mut completions = Vec::new();
    for number in 0..60u64 {
        let zone = zones[usize::try_from(number % 3).expect("small")];
        let blocks = usize::try_from(1 + number % 4).expect("small");
        let mut payload = AlignedBuffer::zeroed(blocks * bed.geometry().block_bytes as usize);
        payload.fill(u8::try_from(number).expect("small"));
        let (zone_start, persistence) = (bed.geometry().zone_start(zone), Persistence::Volatile);
        let payload = Arc::new(payload);
        let append = Request::Append { zone_start, payload, persistence, user_data: number };
        queue.submit(append).expect("submit");
    }
    while queue.in_flight_count() > 0 {
        queue.reap(Wait::ForOne, &mut completions).expect("reap");
    }
    let mut written = [0; 3];
    assert_eq!(completions.len(), 60);
    for completion in completions {
        let Outcome::Append(result) = completion.outcome else { panic!("an append was submitted") };
        let (number, offset) = (completion.user_data, result.expect("append").offset());
        let len_bytes = (1 + number % 4) * bed.block();
        let zone = zones[usize::try_from(number % 3).expect("small")];
        written[usize::try_from(number % 3).expect("small")] += len_bytes;
        let expected = vec![u8::try_from(number).expect("small"); usize::try_from(len_bytes).expect("small")];
        assert!(bed.read(zone, offset.get(), len_bytes).expect("read") == expected, "append {number}");
    }
    for (zone, written) in zones.iter().zip(written) {
        assert_eq!(
            bed.shape(*zone),
            (ZoneState::ImplicitlyOpen, written),
            "places cover what the pointer moved"
        );
    }
}

#[test]
fn what_was_not_written_reads_as_zeros_and_is_refused_to_a_queue() {
    let Some(bed) = bed() else { return };
    let (zone, block) = (bed.zones[0], bed.block());
    bed.append(zone, block, 7).expect("append");
    let found = bed.read(zone, 0, 4 * block).expect("read");
    assert!(found[..bed.geometry().block_bytes as usize].iter().all(|&byte| byte == 7));
    assert!(found[bed.geometry().block_bytes as usize..].iter().all(|&byte| byte == 0));
    let size_bytes = bed.geometry().zone_size_bytes;
    assert!(bed.read(zone, size_bytes - block, block).expect("read").iter().all(|&byte| byte == 0));
    refused!(
        bed.device.read_command(zone, ZoneOffset::START, 2 * block),
        DeviceError::BeyondWritePointer { .. }
    );
    refused!(bed.read(zone, size_bytes, block), DeviceError::BeyondWritePointer { .. });
}

#[test]
fn zones_go_through_their_states_by_command() {
    let Some(bed) = bed() else { return };
    let (zone, device, block) = (bed.zones[1], &bed.device, bed.block());
    let capacity = bed.geometry().zone_capacity_bytes;
    device.open(zone).expect("open");
    assert_eq!(bed.shape(zone), (ZoneState::ExplicitlyOpen, 0));
    device.close(zone).expect("close");
    assert_eq!(bed.shape(zone), (ZoneState::Empty, 0), "nothing was written to it");
    device.open(zone).expect("open again");
    bed.append(zone, block, 1).expect("append");
    assert_eq!(bed.shape(zone), (ZoneState::ExplicitlyOpen, block));
    device.close(zone).expect("close");
    assert_eq!(bed.shape(zone), (ZoneState::Closed, block));
    refused!(device.close(bed.zones[2]), DeviceError::BadTransition { state: ZoneState::Empty, .. });
    bed.append(zone, block, 2).expect("append");
    assert_eq!(bed.shape(zone), (ZoneState::ImplicitlyOpen, 2 * block));
    device.finish(zone).expect("finish");
    assert_eq!(bed.shape(zone), (ZoneState::Full, capacity));
    refused!(bed.begin(zone, block), DeviceError::ZoneFull { .. });
    device.reset(zone).expect("reset");
    assert_eq!(bed.shape(zone), (ZoneState::Empty, 0));
    assert!(bed.read(zone, 0, block).expect("read").iter().all(|&byte| byte == 0));
}

#[test]
fn an_append_beyond_what_is_left_is_refused_and_leaves_the_zone_as_it_was() {
    let Some(bed) = bed() else { return };
    let (zone, block) = (bed.zones[0], bed.block());
    let Geometry { zone_capacity_bytes: capacity, append_limit_bytes, .. } = bed.geometry();
    bed.append(zone, block, 1).expect("append");
    let mut at = block;
    while capacity - at > block {
        let len_bytes = (capacity - at - block).min(append_limit_bytes.into());
        at = bed.append(zone, len_bytes, 2).expect("append").get() + len_bytes;
    }
    refused!(bed.begin(zone, 2 * block), DeviceError::ZoneBoundary { .. });
    assert_eq!(bed.shape(zone), (ZoneState::ImplicitlyOpen, capacity - block));
    assert_eq!(bed.append(zone, block, 3).expect("append").get(), capacity - block);
    assert_eq!(bed.shape(zone), (ZoneState::Full, capacity));
    refused!(bed.begin(zone, block), DeviceError::ZoneFull { .. });
}

#[test]
fn appends_that_no_device_takes_are_refused() {
    let Some(bed) = bed() else { return };
    let (geometry, block, zone) = (bed.geometry(), bed.block(), bed.zones[0]);
    let limit = u64::from(geometry.append_limit_bytes);
    refused!(bed.begin(zone, limit + block), DeviceError::AppendTooLarge { .. });
    refused!(bed.begin(zone, block + 1), DeviceError::Unaligned { .. });
    refused!(bed.begin(zone, 0), DeviceError::Unaligned { .. });
    refused!(bed.begin(ZoneId::new(geometry.zone_count), block), DeviceError::NoSuchZone { .. });
    let inside = geometry.position(zone, ZoneOffset::new(block));
    let append = bed.device.begin_append(inside, block, Persistence::Volatile);
    refused!(append, DeviceError::NotAZoneStart { .. });
    assert_eq!(bed.shape(zone), (ZoneState::Empty, 0));
}

#[test]
fn a_conventional_zone_can_be_read_and_takes_no_command() {
    let Some(bed) = bed() else { return };
    let conventional = bed.geometry().zones().find(|&zone| bed.shape(zone).0 == ZoneState::NotWritePointer);
    let Some(zone) = conventional else {
        eprintln!("skipped: the device has no conventional zone");
        return;
    };
    refused!(bed.begin(zone, bed.block()), DeviceError::Unsupported { .. });
    for refusal in
        [bed.device.reset(zone), bed.device.open(zone), bed.device.close(zone), bed.device.finish(zone)]
    {
        refused!(refusal, DeviceError::BadTransition { state: ZoneState::NotWritePointer, .. });
    }
    bed.read(zone, 0, bed.block()).expect("read");
}

#[test]
fn while_an_append_is_in_flight_its_zone_takes_nothing_else() {
    let Some(bed) = bed() else { return };
    let (zone, block) = (bed.zones[0], bed.block());
    let ticket = bed.begin(zone, block).expect("the first");
    refused!(bed.begin(zone, block), DeviceError::AppendInFlight { .. });
    refused!(bed.device.reset(zone), DeviceError::AppendInFlight { .. });
    refused!(bed.device.finish(zone), DeviceError::AppendInFlight { .. });
    bed.append(bed.zones[1], block, 1).expect("another zone");
    let result = bed.write(bed.geometry().zone_start(zone).get(), block, 1);
    bed.device.end_append(ticket, RawResult::of(result)).expect("append");
    bed.append(zone, block, 2).expect("the next");
}

#[test]
fn after_a_failed_append_the_zone_goes_on_where_the_device_says() {
    let Some(bed) = bed() else { return };
    let (zone, block) = (bed.zones[0], bed.block());
    let start = bed.geometry().zone_start(zone).get();
    bed.append(zone, block, 1).expect("append");
    assert_eq!(bed.write(start + block, block, 9), i32::try_from(block).expect("small"), "a foreign write");
    let error = bed.append(zone, block, 2).expect_err("the write pointer stands elsewhere");
    assert!(matches!(error, DeviceError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains(&(2 * block).to_string()), "{error}");
    assert_eq!(bed.append(zone, block, 3).expect("append").get(), 2 * block);
    assert_eq!(bed.shape(zone).1, 3 * block);
}

#[test]
fn a_write_of_unknown_outcome_is_looked_into_before_the_zone_is_used_again() {
    let Some(bed) = bed() else { return };
    let (zone, block) = (bed.zones[0], bed.block());
    let start = bed.geometry().zone_start(zone).get();
    for (number, lost) in [(0, RawResult::of(-5)), (1, RawResult::of(512))] {
        let ticket = bed.begin(zone, block).expect("begin");
        bed.write(start + number * block, block, 1);
        bed.device.end_append(ticket, lost).expect_err("reported as failed");
        assert_eq!(bed.shape(zone).1, (number + 1) * block, "the device had it all the same");
    }
    assert_eq!(bed.append(zone, block, 2).expect("append").get(), 2 * block);
}

#[test]
fn one_active_zone_too_many_is_refused_by_the_limit_s_name() {
    let Some(bed) = bed() else { return };
    let Geometry { max_active_zones, max_open_zones, zone_count, .. } = bed.geometry();
    let active = max_active_zones as usize;
    if max_active_zones < zone_count {
        for &zone in &bed.zones[..active] {
            bed.append(zone, bed.block(), 1).expect("as many as may be active");
        }
        refused!(bed.append(bed.zones[active], bed.block(), 1), DeviceError::TooManyActive { .. });
        assert_eq!(bed.shape(bed.zones[active]), (ZoneState::Empty, 0));
        bed.zones[..active].iter().for_each(|&zone| bed.device.reset(zone).expect("reset"));
    }
    if max_open_zones < zone_count {
        let open = max_open_zones as usize;
        bed.zones[..open].iter().for_each(|&zone| bed.device.open(zone).expect("as many as may be open"));
        refused!(bed.device.open(bed.zones[open]), DeviceError::TooManyOpen { .. });
        assert_eq!(bed.shape(bed.zones[open]), (ZoneState::Empty, 0));
    }
}

#[test]
fn the_device_is_its_opener_s_alone() {
    let Some(bed) = bed() else { return };
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let error = ZonedBlockDevice::open(&bed.path, access).expect_err("held");
        assert!(matches!(error, DeviceError::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains("in use by process"), "{error}");
    }
    bed.device.shut_down().expect("shut down");
    refused!(bed.begin(bed.zones[0], bed.block()), DeviceError::Io { .. });
    let first = ZonedBlockDevice::open(&bed.path, Access::ReadOnly).expect("a reader");
    ZonedBlockDevice::open(&bed.path, Access::ReadOnly).expect("another reader");
    refused!(ZonedBlockDevice::open(&bed.path, Access::ReadWrite), DeviceError::Locked { .. });
    refused!(first.reset(bed.zones[0]), DeviceError::ReadOnly { .. });
    refused!(
        first.begin_append(bed.geometry().zone_start(bed.zones[0]), bed.block(), Persistence::Volatile),
        DeviceError::ReadOnly { .. }
    );
    first.flush().expect("nothing to flush");
}

#[test]
fn states_and_write_pointers_are_found_again() {
    let Some(bed) = bed() else { return };
    let block = bed.block();
    bed.append(bed.zones[0], block, 1).expect("append");
    bed.fill(bed.zones[1]);
    bed.device.finish(bed.zones[2]).expect("finish");
    bed.device.flush().expect("flush");
    bed.device.shut_down().expect("shut down");
    let again = ZonedBlockDevice::open(&bed.path, Access::ReadOnly).expect("open");
    let shape = |zone: ZoneId| {
        let found = again.report(zone).expect("report");
        (found.state, found.write_pointer.get())
    };
    let capacity = bed.geometry().zone_capacity_bytes;
    let (state, pointer) = shape(bed.zones[0]);
    assert!(state.is_active() && pointer == block, "{state:?}, {pointer}");
    assert_eq!(shape(bed.zones[1]), (ZoneState::Full, capacity));
    assert_eq!(shape(bed.zones[2]), (ZoneState::Full, capacity));
    assert_eq!(shape(bed.zones[3]), (ZoneState::Empty, 0));
}

#[test]
fn a_zone_that_wears_out_under_an_append_says_so() {
    let Some(bed) = bed() else { return };
    let directory = env::var_os("ZONAL_TEST_NULL_BLK_SWITCHES").map(PathBuf::from);
    let is_null_blk = bed.path.starts_with("/dev") && bed.path.to_string_lossy().contains("nullb");
    let Some(directory) = directory.filter(|it| is_null_blk && it.join("zone_readonly").exists()) else {
        eprintln!(
            "skipped: ZONAL_TEST_NULL_BLK_SWITCHES names no switches that wear out zones of this device"
        );
        return;
    };
    let wear = |attribute: &str, zone: ZoneId| {
        let sector = bed.geometry().zone_start(zone).get() / 512;
        fs::write(directory.join(attribute), sector.to_string()).expect("wear a zone out");
    };
    let (read_only, offline, block) =
        (bed.zones[bed.zones.len() - 1], bed.zones[bed.zones.len() - 2], bed.block());
    for zone in [read_only, offline] {
        bed.append(zone, block, 5).expect("append");
    }
    wear("zone_readonly", read_only);
    wear("zone_offline", offline);
    refused!(bed.append(read_only, block, 6), DeviceError::ZoneReadOnly { .. });
    refused!(bed.append(offline, block, 6), DeviceError::ZoneOffline { .. });
    assert_eq!(bed.shape(read_only), (ZoneState::ReadOnly, block));
    assert_eq!(bed.shape(offline).0, ZoneState::Offline);
    assert!(bed.read(read_only, 0, block).expect("read").iter().all(|&byte| byte == 5));
    refused!(bed.read(offline, 0, block), DeviceError::ZoneOffline { .. });
    refused!(bed.begin(read_only, block), DeviceError::ZoneReadOnly { .. });
    refused!(bed.device.reset(offline), DeviceError::BadTransition { state: ZoneState::Offline, .. });
}

#[test]
fn what_is_no_zoned_block_device_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    refused!(ZonedBlockDevice::open(&missing, Access::ReadWrite), DeviceError::NotFound { .. });
    fs::write(&missing, b"a file").expect("write");
    refused!(ZonedBlockDevice::open(&missing, Access::ReadWrite), DeviceError::NotOurs { .. });
    refused!(ZonedBlockDevice::open("/dev/null", Access::ReadWrite), DeviceError::NotOurs { .. });
}
