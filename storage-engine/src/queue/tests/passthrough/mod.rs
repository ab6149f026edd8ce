//! Appends and reads on a real namespace, emulated or of metal, by NVMe passthrough.
//!
//! These tests empty the namespace. They are left out unless asked for, and take it from an environment variable:
//! `ZONAL_TEST_NVME=/dev/ng0n1 cargo test -- --ignored passthrough --test-threads=1`. They want 20 zones and limits of 4 to
//! 16 active zones, as the virtual machines of the tests have them.

mod appends;
mod holding;
mod zones;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{append_to, place, refusal};
use crate::device::emulated::Access;
use crate::device::nvme::NvmeDevice;
use crate::device::{DeviceError, DeviceResult, Geometry, ZoneDescriptor, ZoneState, ZonedDevice};
use crate::queue::{AlignedBuffer, Completion, IoQueue, QueueKind, Wait, open_queue};
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
