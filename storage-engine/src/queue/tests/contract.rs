//! The lines of the append contract that a queue keeps, one test each.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use super::device::TestDevice;
use super::{
    BLOCK, append_filled, append_of, append_to, complete_one, place, queue_of, read_of, read_outcome,
    reap_all, refusal,
};
use crate::device::{DeviceError, Persistence, ZonedDevice};
use crate::queue::{AlignedBuffer, IoQueue, Outcome, QueueKind, Request, Wait};
use crate::units::{DevicePosition, ZoneId, ZoneSector};

on_every_queue!(
    a_completion_carries_the_user_data_and_the_place_in_512_byte_sectors,
    an_append_that_names_no_zone_start_is_refused_whole_and_writes_nothing,
    a_refused_read_gives_its_buffer_back,
    refusals_take_no_room_in_the_queue,
    an_append_is_not_split,
    a_read_brings_back_what_was_appended,
    a_durable_append_lands_like_any_other,
    appends_of_many_threads_to_one_zone_never_overlap_and_cover_what_the_write_pointer_moved,
    the_queue_says_what_it_is,
);

fn a_completion_carries_the_user_data_and_the_place_in_512_byte_sectors(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 8);
    let zone_start = device.geometry().zone_start(ZoneId::new(1));
    for (user_data, sector) in [(u64::MAX, 0), (0, 16), (1 << 40, 32)] {
        let request = append_to(zone_start, AlignedBuffer::zeroed(2 * BLOCK), user_data);
        let completion = complete_one(queue, request);
        assert_eq!(completion.user_data, user_data);
        assert_eq!(place(completion).expect("append"), ZoneSector::new(sector));
    }
}

fn an_append_that_names_no_zone_start_is_refused_whole_and_writes_nothing(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 8);
    let payload = Arc::new(AlignedBuffer::zeroed(BLOCK));
    let request = Request::Append {
        zone_start: DevicePosition::new(4096),
        payload: Arc::clone(&payload),
        persistence: Persistence::Durable,
        user_data: 5,
    };
    let refused = refusal(queue.submit(request));
    assert!(matches!(refused.error, DeviceError::NotAZoneStart { .. }));
    let Request::Append { zone_start, payload: returned, persistence, user_data } = *refused.request else {
        panic!("an append was refused, a read came back");
    };
    assert_eq!((zone_start.get(), persistence, user_data), (4096, Persistence::Durable, 5));
    assert!(Arc::ptr_eq(&returned, &payload));
    assert_eq!(
        (queue.in_flight_count(), device.begun_count(), device.write_pointer(ZoneId::new(0))),
        (0, 0, 0)
    );
}

fn a_refused_read_gives_its_buffer_back(kind: QueueKind) {
    let queue = &*queue_of(kind, &Arc::new(TestDevice::new()), 8);
    let refused = refusal(queue.submit(read_of(0, 100, 6)));
    assert!(matches!(refused.error, DeviceError::Unaligned { .. }));
    let Request::Read { into, user_data, .. } = *refused.request else {
        panic!("a read was refused, an append came back");
    };
    assert_eq!((into.len(), user_data), (100, 6));
}

fn refusals_take_no_room_in_the_queue(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 2);
    for _ in 0..10 {
        refusal(queue.submit(append_of(100, 0)));
    }
    place(complete_one(queue, append_of(BLOCK, 0))).expect("append");
}

fn an_append_is_not_split(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 8);
    let limit = device.geometry().append_limit_bytes as usize;
    place(complete_one(queue, append_filled(limit, 0xa5, 1))).expect("append of the limit");
    let raw = i32::try_from(limit).expect("the limit fits");
    assert_eq!(device.ended_results(), [raw]);
    let refused = refusal(queue.submit(append_filled(limit + BLOCK, 0xa5, 1)));
    assert!(matches!(refused.error, DeviceError::AppendTooLarge { .. }));
}

fn a_read_brings_back_what_was_appended(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 8);
    for byte in 1..=3 {
        place(complete_one(queue, append_filled(2 * BLOCK, byte, 0))).expect("append");
    }
    let completion = complete_one(queue, read_of(BLOCK as u64, 2 * BLOCK, 9));
    assert_eq!(completion.user_data, 9);
    let (result, into) = read_outcome(completion);
    result.expect("read");
    assert!(into[..BLOCK].iter().all(|&byte| byte == 1));
    assert!(into[BLOCK..].iter().all(|&byte| byte == 2));
}

fn a_durable_append_lands_like_any_other(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 8);
    let payload = Arc::new(AlignedBuffer::zeroed(BLOCK));
    let zone_start = DevicePosition::new(0);
    let request = Request::Append { zone_start, payload, persistence: Persistence::Durable, user_data: 3 };
    assert_eq!(place(complete_one(queue, request)).expect("append"), ZoneSector::new(0));
}

const THREAD_COUNT: u64 = 8;
const APPENDS_A_THREAD: u64 = 200;

/// The length differs from append to append, the user data say which it is.
fn length_of(user_data: u64) -> usize {
    BLOCK * (1 + usize::try_from(user_data % 5).expect("small"))
}

fn byte_of(user_data: u64) -> u8 {
    u8::try_from(user_data % 251).expect("less than 256")
}

/// Submits one thread's appends, reaping now and then whatever is there, its own or not.
fn append_many(queue: &dyn IoQueue, thread_number: u64) -> Vec<(u64, ZoneSector)> {
    let mut completions = Vec::new();
    for number in 0..APPENDS_A_THREAD {
        let user_data = thread_number * APPENDS_A_THREAD + number;
        queue.submit(append_filled(length_of(user_data), byte_of(user_data), user_data)).expect("submit");
        if number % 16 == thread_number {
            queue.reap(Wait::Never, &mut completions).expect("reap");
        }
    }
    while queue.in_flight_count() > 0 {
        queue.reap(Wait::ForOne, &mut completions).expect("reap");
    }
    let landed = |completion: crate::queue::Completion| match completion.outcome {
        Outcome::Append(result) => (completion.user_data, result.expect("append")),
        Outcome::Read { .. } => panic!("nothing was read"),
    };
    completions.into_iter().map(landed).collect()
}

fn appends_of_many_threads_to_one_zone_never_overlap_and_cover_what_the_write_pointer_moved(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 64);
    let mut landed: Vec<(u64, ZoneSector)> = thread::scope(|scope| {
        let spawn = |number| scope.spawn(move || append_many(queue, number));
        let threads: Vec<_> = (0..THREAD_COUNT).map(spawn).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("thread")).collect()
    });

    let by_user_data: HashMap<_, _> = landed.iter().copied().collect();
    assert_eq!(by_user_data.len() as u64, THREAD_COUNT * APPENDS_A_THREAD, "one completion for each append");
    assert_eq!(landed.len(), by_user_data.len(), "no completion twice");
    landed.sort_by_key(|&(_, sector)| sector);
    let mut end = 0;
    for (user_data, sector) in landed {
        assert_eq!(sector.offset().get(), end, "the extents join without gap or overlap");
        let mut found = vec![0; length_of(user_data)];
        device.file().read_exact_at(&mut found, end).expect("read the file");
        assert!(
            found.iter().all(|&byte| byte == byte_of(user_data)),
            "append {user_data} lies where it was said to"
        );
        end += found.len() as u64;
    }
    assert_eq!(end, device.write_pointer(ZoneId::new(0)));
}

fn the_queue_says_what_it_is(kind: QueueKind) {
    let queue = &*queue_of(kind, &Arc::new(TestDevice::new()), 8);
    let name =
        ["io_uring", "aio", "threads"][QueueKind::ALL.iter().position(|&it| it == kind).expect("one of all")];
    assert_eq!(queue.kind(), name);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    assert!(format!("{queue:?}").contains("in_flight_count: 1"));
    assert_eq!(reap_all(queue).len(), 1);
}
