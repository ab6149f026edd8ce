//! Behaviour of queues, seen on a small device over real files and pipes, with the kernel's own results.

/// Makes a test of every function named, once for each kind of queue.
macro_rules! on_every_queue {
    ($($test:ident),* $(,)?) => {
        on_every_queue!(@ io_uring, IoUring, $($test),*);
        on_every_queue!(@ aio, Aio, $($test),*);
        on_every_queue!(@ threads, Threads, $($test),*);
    };
    (@ $module:ident, $kind:ident, $($test:ident),*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(crate::queue::QueueKind::$kind);
                }
            )*
        }
    };
}

mod contract;
pub(super) mod device;
mod driven;
mod full_queue;
mod kernel_results;
mod one_at_a_time;
mod passthrough;
mod registered;
mod seccomp;
mod switched_off;
mod together;
mod waiting;

use std::fs::File;
use std::sync::Arc;

use self::device::TestDevice;
use super::{
    AlignedBuffer, Completion, IoQueue, Outcome, QueueKind, Refused, Request, UringQueue, Wait, open_queue,
};
use crate::device::{DeviceResult, Persistence};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

const BLOCK: usize = 4096;

pub(super) fn queue_on(device: &Arc<TestDevice>, entries: u32) -> UringQueue {
    UringQueue::new(Arc::clone(device) as _, entries).expect("io_uring is available to the tests")
}

/// A queue of any kind.
fn queue_of(kind: QueueKind, device: &Arc<TestDevice>, entries: u32) -> Arc<dyn IoQueue> {
    open_queue(Arc::clone(device) as _, entries, kind).expect("every queue is available to the tests")
}

/// An append of zeros to zone 0.
pub(super) fn append_of(len_bytes: usize, user_data: u64) -> Request {
    append_to(DevicePosition::new(0), AlignedBuffer::zeroed(len_bytes), user_data)
}

/// An append to zone 0 in which every byte is `byte`.
fn append_filled(len_bytes: usize, byte: u8, user_data: u64) -> Request {
    let mut payload = AlignedBuffer::zeroed(len_bytes);
    payload.fill(byte);
    append_to(DevicePosition::new(0), payload, user_data)
}

fn append_to(zone_start: DevicePosition, payload: AlignedBuffer, user_data: u64) -> Request {
    Request::Append { zone_start, payload: Arc::new(payload), persistence: Persistence::Volatile, user_data }
}

pub(super) fn read_of(offset_bytes: u64, len_bytes: usize, user_data: u64) -> Request {
    let offset = ZoneOffset::new(offset_bytes);
    Request::Read { zone: ZoneId::new(0), offset, into: AlignedBuffer::zeroed(len_bytes), user_data }
}

/// A file to put in the place of a ring's.
pub(super) fn no_ring() -> File {
    File::open("/dev/null").expect("open /dev/null")
}

/// Reaps until nothing is in flight.
pub(super) fn reap_all(queue: &dyn IoQueue) -> Vec<Completion> {
    let mut completions = Vec::new();
    while queue.in_flight_count() > 0 {
        queue.reap(Wait::ForOne, &mut completions).expect("reap");
    }
    completions
}

fn complete_one(queue: &dyn IoQueue, request: Request) -> Completion {
    queue.submit(request).expect("submit");
    let mut completions = reap_all(queue);
    assert_eq!(completions.len(), 1);
    completions.remove(0)
}

fn place(completion: Completion) -> DeviceResult<ZoneSector> {
    match completion.outcome {
        Outcome::Append(result) => result,
        Outcome::Read { .. } => panic!("a read's completion where an append's was due"),
    }
}

fn read_outcome(completion: Completion) -> (DeviceResult<()>, AlignedBuffer) {
    match completion.outcome {
        Outcome::Read { result, into } => (result, into),
        Outcome::Append(_) => panic!("an append's completion where a read's was due"),
    }
}

fn refusal(result: Result<(), Refused>) -> Refused {
    result.expect_err("the request was to be refused")
}
