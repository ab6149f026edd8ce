//! Appends and reads on a real namespace, emulated or of metal, by NVMe passthrough.
//!
//! These tests empty the namespace. They are left out unless asked for, and take it from an environment variable:
//! `ZONAL_TEST_NVME=/dev/ng0n1 cargo test -- --ignored passthrough --test-threads=1`. They want 20 zones and limits of 4 to
//! 16 active zones, as the virtual machines of the tests have them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::OFlags;

use super::{append_to, place, refusal};
use crate::device::emulated::Access;
use crate::device::nvme::NvmeDevice;
use crate::device::{
    CommandSet, DeviceError, DeviceResult, Geometry, Persistence, ZoneDescriptor, ZoneState, ZonedDevice,
};
use crate::queue::{
    AlignedBuffer, Common, Completion, IoQueue, Large, Outcome, QueueKind, Request, UringQueue, Wait,
    open_queue,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

const ZONE: ZoneId = ZoneId::new(3);
const OTHER: ZoneId = ZoneId::new(4);

/// The tests share one namespace.
static TURN: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    std::env::var_os("ZONAL_TEST_NVME").expect("ZONAL_TEST_NVME names a zoned NVMe namespace").into()
}

/// An empty namespace and a queue on it.
struct Bed {
    queue: Arc<dyn IoQueue>,
    device: Arc<NvmeDevice>,
    _turn: MutexGuard<'static, ()>,
}

impl Bed {
    fn new() -> Self {
        let turn = TURN.lock();
        let device = Arc::new(NvmeDevice::open(path(), Access::ReadWrite).expect("open the namespace"));
        for zone in device.geometry().zones() {
            if device.report(zone).expect("report").state != ZoneState::Empty {
                device.reset(zone).expect("reset");
            }
        }
        let queue = open_queue(Arc::clone(&device) as _, 64, QueueKind::Automatic).expect("set up a queue");
        Self { queue, device, _turn: turn }
    }

    fn geometry(&self) -> &Geometry {
        self.device.geometry()
    }

    fn block(&self) -> usize {
        self.geometry().block_bytes as usize
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.geometry().zone_capacity_bytes).expect("it fits")
    }

    fn submit_append(&self, zone: ZoneId, payload: AlignedBuffer, user_data: u64) {
        let zone_start = self.geometry().zone_start(zone);
        self.queue.submit(append_to(zone_start, payload, user_data)).expect("submit");
    }

    /// Appends and waits for the end.
    fn append(&self, zone: ZoneId, payload: AlignedBuffer) -> DeviceResult<ZoneSector> {
        self.submit_append(zone, payload, 0);
        place(self.reap_all().remove(0))
    }

    fn reap_all(&self) -> Vec<Completion> {
        let mut completions = Vec::new();
        while self.queue.in_flight_count() > 0 {
            self.queue.reap(Wait::ForOne, &mut completions).expect("reap");
        }
        completions
    }

    fn refuses(&self, zone_start: DevicePosition, len_bytes: usize) -> DeviceError {
        refusal(self.queue.submit(append_to(zone_start, AlignedBuffer::zeroed(len_bytes), 0))).error
    }

    fn read(&self, zone: ZoneId, offset_bytes: u64, len_bytes: usize) -> Vec<u8> {
        let mut into = vec![0xee; len_bytes];
        self.device.read(zone, ZoneOffset::new(offset_bytes), &mut into).expect("read");
        into
    }

    fn report(&self, zone: ZoneId) -> ZoneDescriptor {
        self.device.report(zone).expect("report")
    }

    fn state(&self, zone: ZoneId) -> ZoneState {
        self.report(zone).state
    }

    fn fill_but(&self, zone: ZoneId, left_bytes: u64) {
        let mut left = self.capacity() - usize::try_from(left_bytes).expect("it fits");
        while left > 0 {
            let len_bytes = left.min(self.geometry().append_limit_bytes as usize);
            self.append(zone, AlignedBuffer::zeroed(len_bytes)).expect("append");
            left -= len_bytes;
        }
    }
}

/// Bytes that say which payload they are of, and where in it they belong.
fn tagged(len_bytes: usize, tag: u64) -> AlignedBuffer {
    let mut payload = AlignedBuffer::zeroed(len_bytes);
    for (number, word) in (0u64..).zip(payload.chunks_exact_mut(8)) {
        word.copy_from_slice(&(tag << 32 | number).to_le_bytes());
    }
    payload
}

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
fn an_append_lands_where_its_completion_says() {
    let bed = Bed::new();
    let block = bed.block();
    for (first, blocks) in [(0, 1), (1, 1), (2, 3)] {
        let sector = bed.append(ZONE, tagged(blocks * block, 9)).expect("append");
        assert_eq!(sector.offset().get(), first * block as u64);
        assert_eq!(bed.read(ZONE, sector.offset().get(), blocks * block), tagged(blocks * block, 9)[..]);
    }
    assert_eq!(bed.report(ZONE).write_pointer.get(), 5 * block as u64);
    assert_eq!(bed.device.activity().appended_bytes, 5 * block as u64);
}

/// Appends `count` payloads with up to `depth` in flight and gives tag by place.
fn append_many(
    bed: &Bed,
    queue: &dyn IoQueue,
    first_tag: u64,
    count: u64,
    depth: usize,
) -> Vec<(ZoneSector, u64)> {
    let (mut landed, mut completions) = (Vec::new(), Vec::new());
    let zone_start = bed.geometry().zone_start(ZONE);
    for tag in first_tag..first_tag + count {
        while queue.in_flight_count() >= depth {
            queue.reap(Wait::ForOne, &mut completions).expect("reap");
        }
        queue.submit(append_to(zone_start, tagged(bed.block(), tag), tag)).expect("submit");
    }
    while queue.in_flight_count() > 0 {
        queue.reap(Wait::ForOne, &mut completions).expect("reap");
    }
    for completion in completions {
        let tag = completion.user_data;
        landed.push((place(completion).expect("append"), tag));
    }
    landed
}

fn assert_unique_contiguous_and_readable(bed: &Bed, landed: Vec<(ZoneSector, u64)>) {
    let (count, block) = (landed.len(), bed.block());
    let by_place: BTreeMap<u64, u64> =
        landed.into_iter().map(|(sector, tag)| (sector.offset().get(), tag)).collect();
    assert_eq!(by_place.len(), count, "two appends share a place");
    for (number, (&offset_bytes, &tag)) in by_place.iter().enumerate() {
        assert_eq!(offset_bytes, (number * block) as u64, "there is a gap");
        assert!(
            bed.read(ZONE, offset_bytes, block) == tagged(block, tag)[..],
            "another append's bytes lie there"
        );
    }
    assert_eq!(bed.report(ZONE).write_pointer.get(), (count * block) as u64);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn two_threads_with_queues_of_their_own_keep_32_appends_each_in_flight_to_one_zone() {
    let bed = Bed::new();
    let landed = thread::scope(|scope| {
        let threads = [1u64 << 16, 2 << 16].map(|first_tag| {
            let bed = &bed;
            scope.spawn(move || {
                let queue = UringQueue::<Large>::new(Arc::clone(&bed.device) as _, 32).expect("a queue");
                append_many(bed, &queue, first_tag, 256, 32)
            })
        });
        threads.map(|thread| thread.join().expect("no panic")).concat()
    });
    assert_eq!(landed.len(), 512);
    assert_unique_contiguous_and_readable(&bed, landed);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn threads_that_share_a_queue_are_each_told_their_own_places() {
    let bed = Bed::new();
    let completions = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for first_tag in [1u64 << 16, 2 << 16, 3 << 16] {
            let (bed, completions) = (&bed, &completions);
            scope.spawn(move || {
                for tag in first_tag..first_tag + 100 {
                    bed.submit_append(ZONE, tagged(bed.block(), tag), tag);
                    let mut mine = Vec::new();
                    bed.queue.reap(Wait::Never, &mut mine).expect("reap");
                    completions.lock().extend(mine);
                }
            });
        }
    });
    let mut completions = completions.into_inner();
    completions.extend(bed.reap_all());
    let landed: Vec<_> = completions
        .into_iter()
        .map(|completion| {
            let tag = completion.user_data;
            (place(completion).expect("append"), tag)
        })
        .collect();
    assert_eq!(landed.len(), 300);
    assert_unique_contiguous_and_readable(&bed, landed);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn what_the_drive_would_surely_refuse_is_refused_at_once_and_changes_nothing() {
    let bed = Bed::new();
    let (block, start) = (bed.block(), bed.geometry().zone_start(ZONE));
    bed.fill_but(ZONE, block as u64);
    let before = bed.report(ZONE);
    let limit = bed.geometry().append_limit_bytes as usize;
    let inside = DevicePosition::new(start.get() + block as u64);
    assert!(matches!(bed.refuses(start, limit + block), DeviceError::AppendTooLarge { .. }));
    assert!(matches!(bed.refuses(start, block / 2), DeviceError::Unaligned { .. }));
    assert!(matches!(bed.refuses(inside, block), DeviceError::NotAZoneStart { .. }));
    let beyond = DevicePosition::new(bed.geometry().zone_size_bytes * u64::from(bed.geometry().zone_count));
    assert!(matches!(bed.refuses(beyond, block), DeviceError::NoSuchZone { .. }));
    assert!(matches!(bed.refuses(start, 2 * block), DeviceError::ZoneBoundary { .. }));
    assert_eq!(bed.report(ZONE), before);
    bed.append(ZONE, AlignedBuffer::zeroed(block)).expect("the last block");
    assert_eq!(bed.report(ZONE).state, ZoneState::Full);
    assert!(matches!(bed.refuses(start, block), DeviceError::ZoneFull { zone: ZONE }));
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn what_the_drive_itself_refuses_is_told_by_its_own_error_and_the_zone_is_usable_again() {
    let bed = Bed::new();
    let block = bed.block();
    bed.fill_but(ZONE, block as u64);
    bed.device.take_for_empty(ZONE);
    let boundary = bed.append(ZONE, AlignedBuffer::zeroed(2 * block)).expect_err("more than is left");
    assert!(matches!(boundary, DeviceError::ZoneBoundary { zone: ZONE, .. }), "{boundary}");
    bed.append(ZONE, AlignedBuffer::zeroed(block)).expect("the zone is as it was, and known again");
    bed.device.take_for_empty(ZONE);
    let full = bed.append(ZONE, AlignedBuffer::zeroed(block)).expect_err("full");
    assert!(matches!(full, DeviceError::ZoneFull { zone: ZONE }), "{full}");
    let start = bed.geometry().zone_start(ZONE);
    assert!(matches!(bed.refuses(start, block), DeviceError::ZoneFull { .. }), "known again");
}

/// A drive may move the write pointer of a zone although an append to it failed: a hole. On a drive without faults, which an
/// injected write error makes one with, this shows only that nothing fails. `ZONAL_TEST_NVME_FAULTS=1` demands a failure.
#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn after_a_write_error_the_zone_is_reported_and_appends_go_on_behind_the_hole() {
    let bed = Bed::new();
    let block = bed.block();
    let mut failures = 0;
    for tag in 0..12 {
        let before = bed.report(ZONE).write_pointer;
        match bed.append(ZONE, tagged(block, tag)) {
            Ok(sector) => {
                assert_eq!(sector.offset(), before);
                assert_eq!(bed.read(ZONE, before.get(), block), tagged(block, tag)[..]);
            }
            Err(error) => {
                failures += 1;
                assert!(
                    error.to_string().contains("zone 3 ended with NVMe status 0x280: write fault"),
                    "{error}"
                );
                // Known from the report that the next use makes, not from this one's.
                let start = bed.geometry().zone_start(ZONE);
                let rest = bed.capacity() - usize::try_from(before.get()).expect("it fits");
                let limit = bed.geometry().append_limit_bytes as usize;
                assert!(rest > limit, "there is room for one more in any case");
                bed.queue.submit(append_to(start, tagged(block, tag), tag)).expect("submit");
                let sector = place(bed.reap_all().remove(0)).expect("append");
                assert!(sector.offset() >= before, "{sector} is before {before}");
                assert_eq!(bed.report(ZONE).write_pointer, sector.offset().forward(block as u64));
            }
        }
    }
    if std::env::var_os("ZONAL_TEST_NVME_FAULTS").is_some() {
        assert_eq!(failures, 1);
    }
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn one_active_zone_too_many_is_refused_whether_opened_or_appended_to() {
    let bed = Bed::new();
    let limit = bed.geometry().max_active_zones;
    for number in 0..limit {
        bed.append(ZoneId::new(number), AlignedBuffer::zeroed(bed.block())).expect("within the limit");
    }
    let one_more = ZoneId::new(limit);
    let appended = bed.append(one_more, AlignedBuffer::zeroed(bed.block())).expect_err("too many");
    assert!(
        matches!(appended, DeviceError::TooManyActive { limit: told, .. } if told == limit),
        "{appended}"
    );
    let opened = bed.device.open(one_more).expect_err("too many");
    assert!(matches!(opened, DeviceError::TooManyActive { .. }), "{opened}");
    assert_eq!(bed.state(one_more), ZoneState::Empty);
    bed.device.reset(ZoneId::new(0)).expect("reset");
    bed.append(one_more, AlignedBuffer::zeroed(bed.block())).expect("within the limit again");
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn one_explicitly_open_zone_too_many_is_refused() {
    let bed = Bed::new();
    let limit = bed.geometry().max_open_zones;
    (0..limit).for_each(|number| bed.device.open(ZoneId::new(number)).expect("within the limit"));
    let refused = bed.device.open(ZoneId::new(limit)).expect_err("too many");
    assert!(matches!(refused, DeviceError::TooManyOpen { limit: told, .. } if told == limit), "{refused}");
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn zones_go_through_their_states_by_command() {
    let bed = Bed::new();
    let device = &bed.device;
    let refused = |result: DeviceResult<()>| result.expect_err("the state forbids it").to_string();
    assert_eq!(refused(device.close(ZONE)), "zone 3 is Empty: it cannot be closed");
    device.open(ZONE).expect("open");
    assert_eq!(bed.state(ZONE), ZoneState::ExplicitlyOpen);
    device.close(ZONE).expect("close");
    assert_eq!(bed.state(ZONE), ZoneState::Empty, "nothing was written");
    bed.append(ZONE, AlignedBuffer::zeroed(bed.block())).expect("append");
    assert_eq!(bed.state(ZONE), ZoneState::ImplicitlyOpen);
    device.open(ZONE).expect("open");
    assert_eq!(bed.state(ZONE), ZoneState::ExplicitlyOpen);
    device.close(ZONE).expect("close");
    assert_eq!(bed.state(ZONE), ZoneState::Closed);
    device.finish(ZONE).expect("finish");
    let full = bed.report(ZONE);
    assert_eq!((full.state, full.write_pointer.get()), (ZoneState::Full, bed.geometry().zone_capacity_bytes));
    assert_eq!(refused(device.open(ZONE)), "zone 3 is Full: it cannot be opened");
    assert_eq!(refused(device.close(ZONE)), "zone 3 is Full: it cannot be closed");
    device.finish(ZONE).expect("finish what is full");
    device.reset(ZONE).expect("reset");
    assert_eq!((bed.state(ZONE), bed.report(ZONE).write_pointer), (ZoneState::Empty, ZoneOffset::START));
    device.reset(ZONE).expect("reset what is empty");
    device.finish(OTHER).expect("finish what is empty");
    assert_eq!(bed.state(OTHER), ZoneState::Full);
    let nowhere = ZoneId::new(bed.geometry().zone_count);
    assert!(matches!(device.report(nowhere), Err(DeviceError::NoSuchZone { .. })));
    assert!(matches!(device.reset(nowhere), Err(DeviceError::NoSuchZone { .. })));
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn a_reset_zone_is_filled_from_its_start_and_shows_nothing_of_before() {
    let bed = Bed::new();
    let block = bed.block();
    for tag in 0..4 {
        bed.append(ZONE, tagged(block, tag)).expect("append");
    }
    bed.device.reset(ZONE).expect("reset");
    assert!(bed.read(ZONE, 0, 4 * block).iter().all(|&byte| byte == 0));
    let sector = bed.append(ZONE, tagged(block, 9)).expect("append");
    assert_eq!(sector, ZoneSector::new(0));
    assert_eq!(bed.read(ZONE, 0, block), tagged(block, 9)[..]);
    assert!(bed.device.activity().reset_count > 0);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn durable_appends_and_flushes_are_taken_and_counted() {
    let bed = Bed::new();
    let before = bed.device.activity().flush_count;
    let request = Request::Append {
        zone_start: bed.geometry().zone_start(ZONE),
        payload: Arc::new(tagged(bed.block(), 1)),
        persistence: Persistence::Durable,
        user_data: 0,
    };
    bed.queue.submit(request).expect("submit");
    assert_eq!(place(bed.reap_all().remove(0)).expect("append"), ZoneSector::new(0));
    bed.device.flush().expect("flush");
    let durable_appends = u64::from(bed.geometry().volatile_cache);
    assert_eq!(bed.device.activity().flush_count, before + 1 + durable_appends);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn what_lies_at_and_after_the_write_pointer_reads_as_zeros_and_a_queue_refuses_it() {
    let bed = Bed::new();
    let block = bed.block();
    bed.append(ZONE, tagged(block, 5)).expect("append");
    let mut both = tagged(block, 5).to_vec();
    both.resize(2 * block, 0);
    assert_eq!(bed.read(ZONE, 0, 2 * block), both);
    let read = |offset_bytes: u64, len_bytes: usize| Request::Read {
        zone: ZONE,
        offset: ZoneOffset::new(offset_bytes),
        into: AlignedBuffer::zeroed(len_bytes),
        user_data: 1,
    };
    let beyond = refusal(bed.queue.submit(read(0, 2 * block))).error;
    assert!(matches!(beyond, DeviceError::BeyondWritePointer { .. }), "{beyond}");
    let size_bytes = bed.geometry().zone_size_bytes;
    let mut into = vec![0; 2 * block];
    let past_end = bed.device.read(ZONE, ZoneOffset::new(size_bytes - block as u64), &mut into);
    assert!(matches!(past_end, Err(DeviceError::BeyondWritePointer { .. })));
    bed.queue.submit(read(0, block)).expect("submit");
    let Outcome::Read { result, into } = bed.reap_all().remove(0).outcome else { panic!("it was a read") };
    result.expect("read");
    assert_eq!(into[..], tagged(block, 5)[..]);
}

/// Also at an address that is no multiple of anything.
#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn a_read_larger_than_one_command_comes_in_pieces() {
    let bed = Bed::new();
    let limit = bed.geometry().append_limit_bytes as usize;
    let whole = tagged(limit, 7);
    let count = bed.capacity() / limit;
    for _ in 0..count {
        bed.append(ZONE, tagged(limit, 7)).expect("append");
    }
    let mut into = vec![0xee; count * limit + 1];
    bed.device.read(ZONE, ZoneOffset::START, &mut into[1..]).expect("read");
    assert!(into[1..].chunks(limit).all(|piece| piece == &whole[..]));
    let into = AlignedBuffer::zeroed(count * limit);
    let request = Request::Read { zone: ZONE, offset: ZoneOffset::START, into, user_data: 0 };
    let refused = refusal(bed.queue.submit(request)).error;
    assert!(matches!(refused, DeviceError::ReadTooLarge { .. }), "{refused}");
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
fn registered_buffers_are_appended_and_read_into_many_in_flight() {
    let bed = Bed::new();
    let block = bed.block();
    for tag in 0..32 {
        let mut payload = tagged(block, tag);
        bed.queue.register(&mut payload).expect("register");
        bed.submit_append(ZONE, payload, tag);
    }
    let landed: Vec<_> = bed.reap_all().into_iter().map(|end| (end.user_data, place(end))).collect();
    for (tag, sector) in landed {
        let mut into = AlignedBuffer::zeroed(block);
        bed.queue.register(&mut into).expect("register");
        let offset = sector.expect("append").offset();
        bed.queue.submit(Request::Read { zone: ZONE, offset, into, user_data: tag }).expect("submit");
        let Outcome::Read { result, into } = bed.reap_all().remove(0).outcome else {
            panic!("it was a read")
        };
        result.expect("read");
        assert_eq!(into[..], tagged(block, tag)[..]);
    }
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
