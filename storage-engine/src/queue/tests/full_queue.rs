//! More work than the queue has entries for.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use super::device::TestDevice;
use super::{BLOCK, append_of, place, queue_of, queue_on, read_of, read_outcome, reap_all};
use crate::queue::{IoQueue, QueueKind};

on_every_queue!(
    a_thread_that_does_not_reap_can_submit_more_than_the_queue_holds,
    a_queue_of_one_entry_serves_many_threads,
);

fn a_thread_that_does_not_reap_can_submit_more_than_the_queue_holds(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 4);
    for user_data in 0..400 {
        queue.submit(append_of(BLOCK, user_data)).expect("submit");
    }
    assert_eq!(queue.in_flight_count(), 400);
    let completions = reap_all(queue);
    let user_data: HashSet<u64> = completions.iter().map(|completion| completion.user_data).collect();
    assert_eq!((completions.len(), user_data.len()), (400, 400));
    assert!(completions.into_iter().all(|completion| place(completion).is_ok()));
    assert_eq!(queue.in_flight_count(), 0);
}

fn a_queue_of_one_entry_serves_many_threads(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope
                .spawn(|| (0..50).for_each(|number| queue.submit(append_of(BLOCK, number)).expect("submit")));
        }
    });
    assert_eq!(reap_all(queue).len(), 200);
    assert_eq!(device.ended_results(), vec![4096; 200]);
}

#[test]
fn submitting_to_a_full_queue_waits_until_the_kernel_is_done_with_one() {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    let queue = queue_on(&Arc::new(TestDevice::reading_from(reader)), 2);
    let queue = &queue;
    thread::scope(|scope| {
        // Nothing is in the pipe: the first two reads stay in the kernel, the third finds no room.
        scope.spawn(move || {
            (0..3).for_each(|number| queue.submit(read_of(0, BLOCK, number)).expect("submit"));
        });
        while !queue.has_kernel_sleeper() {
            thread::yield_now();
        }
        assert_eq!(queue.in_flight_count(), 2);
        writer.write_all(&[3; 3 * BLOCK]).expect("fill the pipe");
    });
    let completions = reap_all(queue);
    assert_eq!(completions.len(), 3);
    for completion in completions {
        let (result, into) = read_outcome(completion);
        result.expect("read");
        assert!(into.iter().all(|&byte| byte == 3));
    }
}

#[test]
fn as_many_entries_as_asked_for_are_used_though_the_kernel_rounds_up() {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    let queue = queue_on(&Arc::new(TestDevice::reading_from(reader)), 3);
    for user_data in 0..3 {
        queue.submit(read_of(0, BLOCK, user_data)).expect("submit");
    }
    assert_eq!(queue.in_flight_count(), 3);
    writer.write_all(&[0; 3 * BLOCK]).expect("fill the pipe");
    assert_eq!(reap_all(&queue).len(), 3);
}

#[test]
fn the_completion_ring_never_overflows() {
    let queue = queue_on(&Arc::new(TestDevice::new()), 4);
    for user_data in 0..400 {
        queue.submit(append_of(BLOCK, user_data)).expect("submit");
    }
    assert_eq!((reap_all(&queue).len(), queue.overflow_count()), (400, 0));
}
