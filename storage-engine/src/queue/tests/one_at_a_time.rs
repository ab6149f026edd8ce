//! Appends to devices that take one to a zone at a time: kept, submitted, reported, waited for.
//!
//! The device of these tests refuses a second append to a zone, so that every completed one was submitted in its turn.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, PipeReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::device::TestDevice;
use super::{BLOCK, append_of, append_to, place, queue_on, read_of, read_outcome, reap_all, refusal};
use crate::device::{AppendOrder, DeviceError, ZonedDevice};
use crate::queue::{
    AlignedBuffer, Completion, IoQueue, OneAtATimeQueue, Outcome, QueueKind, Request, Wait, open_queue,
};
use crate::units::{DevicePosition, ZoneId, ZoneSector};

fn one_at_a_time(device: &Arc<TestDevice>, entries: u32) -> OneAtATimeQueue {
    assert_eq!(device.append_order(), AppendOrder::OneAtATime);
    OneAtATimeQueue::new(Arc::clone(device) as _, Arc::new(queue_on(device, entries)))
}

fn device() -> Arc<TestDevice> {
    Arc::new(TestDevice::new().one_at_a_time())
}

/// A device whose appends end when the pipe is read from, a block for a block, and not before.
fn held_up() -> (Arc<TestDevice>, PipeReader) {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    writer.write_all(&vec![0; 16 * BLOCK]).expect("fill the pipe");
    (Arc::new(TestDevice::appending_to(writer).one_at_a_time()), reader)
}

fn let_go(reader: &mut PipeReader, blocks: usize) {
    reader.read_exact(&mut vec![0; blocks * BLOCK]).expect("make room in the pipe");
}

fn to_zone(zone: u32, len_bytes: usize, user_data: u64) -> Request {
    let start = TestDevice::new().geometry().zone_start(ZoneId::new(zone));
    append_to(start, AlignedBuffer::zeroed(len_bytes), user_data)
}

fn reap_count(queue: &OneAtATimeQueue, wait: Wait) -> usize {
    queue.reap(wait, &mut Vec::new()).expect("reap")
}

fn user_data_of(completions: &[Completion]) -> Vec<u64> {
    completions.iter().map(|completion| completion.user_data).collect()
}

#[test]
fn a_device_that_takes_one_append_at_a_time_gets_such_a_queue() {
    let device = device();
    let queue = open_queue(Arc::clone(&device) as _, 8, QueueKind::Automatic).expect("open a queue");
    (0..8).for_each(|number| queue.submit(append_of(BLOCK, number)).expect("submit"));
    assert_eq!(reap_all(&*queue).len(), 8);
    assert_eq!(device.ended_results(), [4096; 8]);
}

#[test]
fn an_append_is_kept_until_the_one_before_it_has_ended() {
    let (device, mut reader) = held_up();
    let queue = one_at_a_time(&device, 8);
    for user_data in [u64::MAX, 0, 7] {
        queue.submit(append_of(BLOCK, user_data)).expect("submit");
    }
    assert_eq!((device.begun_count(), queue.in_flight_count()), (1, 3));
    for (user_data, begun_count) in [(u64::MAX, 2), (0, 3), (7, 3)] {
        let_go(&mut reader, 1);
        let mut completions = Vec::new();
        assert_eq!(queue.reap(Wait::ForOne, &mut completions).expect("reap"), 1);
        assert_eq!((completions[0].user_data, device.begun_count()), (user_data, begun_count));
        place(completions.remove(0)).expect("append");
    }
    assert_eq!(queue.in_flight_count(), 0);
}

#[test]
fn a_busy_zone_holds_up_no_other() {
    let (device, mut reader) = held_up();
    let queue = one_at_a_time(&device, 8);
    for number in 0..4 {
        queue.submit(to_zone(0, BLOCK, number)).expect("submit");
    }
    queue.submit(to_zone(1, BLOCK, 9)).expect("submit");
    assert_eq!(device.begun_count(), 2, "one append to each zone is under way");
    let_go(&mut reader, 5);
    assert_eq!(reap_all(&queue).len(), 5);
}

#[test]
fn a_read_passes_appends_that_wait() {
    let (device, mut reader) = held_up();
    let queue = one_at_a_time(&device, 8);
    device.file().set_len(BLOCK as u64).expect("lengthen the file");
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    queue.submit(append_of(BLOCK, 2)).expect("submit");
    queue.submit(read_of(0, BLOCK, 2)).expect("submit");
    let mut completions = Vec::new();
    assert_eq!(queue.reap(Wait::ForOne, &mut completions).expect("reap"), 1);
    let completion = completions.remove(0);
    assert_eq!(completion.user_data, 2);
    read_outcome(completion).0.expect("read");
    let_go(&mut reader, 2);
    assert_eq!(user_data_of(&reap_all(&queue)), [1, 2]);
}

#[test]
fn a_kept_append_that_the_device_refuses_ends_with_the_refusal_and_holds_up_nobody() {
    let (device, mut reader) = held_up();
    let queue = one_at_a_time(&device, 8);
    for (len_bytes, user_data) in [(BLOCK, 1), (100, 2), (2 << 20, 3), (BLOCK, 4)] {
        queue.submit(append_of(len_bytes, user_data)).expect("the first is taken, the others are kept");
    }
    let_go(&mut reader, 2);
    let mut outcomes: HashMap<u64, _> =
        reap_all(&queue).into_iter().map(|completion| (completion.user_data, place(completion))).collect();
    assert!(matches!(outcomes.remove(&2), Some(Err(DeviceError::Unaligned { .. }))));
    assert!(matches!(outcomes.remove(&3), Some(Err(DeviceError::AppendTooLarge { .. }))));
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.into_values().all(|outcome| outcome.is_ok()));
}

#[test]
fn what_the_device_refuses_at_once_comes_back_whole_and_leaves_the_zone_free() {
    let device = device();
    let queue = one_at_a_time(&device, 8);
    for user_data in [3, u64::MAX] {
        let refused = refusal(queue.submit(append_of(100, user_data)));
        assert!(matches!(refused.error, DeviceError::Unaligned { .. }));
        let Request::Append { payload, user_data: returned, .. } = *refused.request else {
            panic!("an append was refused, a read came back")
        };
        assert_eq!((payload.len(), returned, queue.in_flight_count()), (100, user_data, 0));
    }
    let nowhere = append_to(DevicePosition::new(4096), AlignedBuffer::zeroed(BLOCK), 5);
    assert!(matches!(refusal(queue.submit(nowhere)).error, DeviceError::NotAZoneStart { .. }));
    assert_eq!(queue.in_flight_count(), 0);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    assert_eq!(user_data_of(&reap_all(&queue)), [1]);
}

#[test]
fn appends_behind_one_that_fails_are_submitted_all_the_same() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("open /dev/full");
    let device = Arc::new(TestDevice::appending_to(full).one_at_a_time());
    let queue = one_at_a_time(&device, 8);
    (0..5).for_each(|number| queue.submit(append_of(BLOCK, number)).expect("submit"));
    for completion in reap_all(&queue) {
        assert!(matches!(place(completion), Err(DeviceError::Io { .. })));
    }
    assert_eq!((device.begun_count(), device.ended_results().len()), (5, 5));
}

#[test]
fn waiting_ends_at_once_when_nothing_is_in_flight() {
    assert_eq!(reap_count(&one_at_a_time(&device(), 8), Wait::ForOne), 0);
}

#[test]
fn reaping_without_waiting_does_not_wait() {
    let (device, mut reader) = held_up();
    let queue = one_at_a_time(&device, 8);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    queue.submit(append_of(BLOCK, 2)).expect("submit");
    assert_eq!(reap_count(&queue, Wait::Never), 0);
    let_go(&mut reader, 2);
    assert_eq!(reap_all(&queue).len(), 2);
}

/// Each of many threads appends and reaps; every append must land once, in no other's place, and be reported once.
#[test]
fn many_threads_append_to_few_zones_and_each_append_is_reported_once() {
    const THREADS: u64 = 8;
    const APPENDS: u64 = 150;
    let device = device();
    let queue = one_at_a_time(&device, 4);
    let mut completions: Vec<Completion> = thread::scope(|scope| {
        let run = |thread: u64| {
            let queue = &queue;
            scope.spawn(move || {
                let mut mine = Vec::new();
                for number in 0..APPENDS {
                    let blocks = usize::try_from(1 + (thread + number) % 3).expect("small");
                    let zone = u32::try_from(number % 2).expect("small");
                    queue.submit(to_zone(zone, blocks * BLOCK, thread << 32 | number)).expect("submit");
                    queue.reap(Wait::ForOne, &mut mine).expect("reap");
                }
                mine
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("thread")).collect()
    });
    completions.extend(reap_all(&queue));
    assert_eq!(device.begun_count(), THREADS * APPENDS);
    let mut places: HashMap<(u64, ZoneSector), u64> = HashMap::new();
    let mut reported = user_data_of(&completions);
    for completion in completions {
        let user_data = completion.user_data;
        let at = place(completion).expect("append");
        assert_eq!(places.insert((user_data % 2, at), user_data), None, "two appends at one place");
    }
    reported.sort_unstable();
    let expected: Vec<u64> =
        (0..THREADS).flat_map(|thread| (0..APPENDS).map(move |number| thread << 32 | number)).collect();
    assert_eq!(reported, expected);
}

#[test]
fn threads_that_only_reap_are_never_left_asleep() {
    const APPENDS: usize = 1500;
    let device = device();
    let queue = one_at_a_time(&device, 4);
    let reaped_count = AtomicUsize::new(0);
    let reap = |wait| {
        while reaped_count.load(Ordering::SeqCst) < APPENDS {
            reaped_count.fetch_add(reap_count(&queue, wait), Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| reap(Wait::ForOne));
        scope.spawn(|| reap(Wait::ForOne));
        scope.spawn(|| reap(Wait::Never));
        for number in 0..APPENDS {
            let zone = u32::from(number % 2 == 0);
            queue.submit(to_zone(zone, BLOCK, number as u64)).expect("submit");
        }
    });
    assert_eq!((queue.in_flight_count(), device.ended_results().len()), (0, APPENDS));
}

#[test]
fn one_completion_ends_the_wait_of_every_thread_though_more_is_kept() {
    let (device, mut reader) = held_up();
    let queue = one_at_a_time(&device, 8);
    for _ in 0..50 {
        queue.submit(append_of(BLOCK, 1)).expect("submit");
        queue.submit(append_of(BLOCK, 2)).expect("submit");
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| reap_count(&queue, Wait::ForOne))).collect();
            let_go(&mut reader, 2);
            let counts = waiters.into_iter().map(|waiter| waiter.join().expect("waiter"));
            assert!((1..=2).contains(&counts.sum::<usize>()));
        });
        reap_all(&queue);
    }
    assert_eq!(device.begun_count(), 100);
}

#[test]
fn dropping_the_queue_performs_what_is_kept() {
    let (device, mut reader) = held_up();
    let queue = one_at_a_time(&device, 8);
    for number in 0..3 {
        queue.submit(to_zone(0, BLOCK, number)).expect("submit");
        queue.submit(to_zone(1, BLOCK, number)).expect("submit");
    }
    let dropping = AtomicBool::new(false);
    thread::scope(|scope| {
        let (dropping, device) = (&dropping, &device);
        scope.spawn(move || {
            dropping.store(true, Ordering::SeqCst);
            drop(queue);
            assert_eq!(device.ended_results(), [4096; 6]);
        });
        while !dropping.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        // Gives a drop that does not wait the occasion to return; one that waits has all the time.
        (0..1000).for_each(|_| thread::yield_now());
        let_go(&mut reader, 6);
    });
}

#[test]
fn kept_appends_land_whole_and_in_the_order_of_their_submission() {
    let device = device();
    let queue = one_at_a_time(&device, 8);
    for number in 0..3 {
        let mut payload = AlignedBuffer::zeroed(BLOCK);
        payload.fill(0x50 + number);
        queue.submit(append_to(DevicePosition::new(0), payload, number.into())).expect("submit");
    }
    reap_all(&queue);
    for number in 0..3u8 {
        queue.submit(read_of(u64::from(number) * 4096, BLOCK, 0)).expect("submit");
        let completion = reap_all(&queue).remove(0);
        let Outcome::Read { into, .. } = completion.outcome else { panic!("a read was submitted") };
        assert!(into.iter().all(|&byte| byte == 0x50 + number), "the order of appends is kept");
    }
}
