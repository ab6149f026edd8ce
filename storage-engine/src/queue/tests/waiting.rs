//! Waiting: that it ends when it should, whoever takes the completions, and that nobody leaves early.

use std::io::{self, PipeReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::device::TestDevice;
use super::{BLOCK, append_of, no_ring, place, queue_of, queue_on, read_of, reap_all};
use crate::queue::{IoQueue, QueueKind, UringQueue, Wait};

on_every_queue!(
    waiting_ends_at_once_when_nothing_is_in_flight,
    threads_that_poll_take_nothing_that_another_waits_for_in_the_kernel,
    threads_that_each_append_and_wait_all_finish,
    threads_that_exit_at_once_lose_none_of_their_appends,
    dropping_the_queue_ends_what_was_completed_and_never_reaped,
);

fn reap_count(queue: &dyn IoQueue, wait: Wait) -> usize {
    queue.reap(wait, &mut Vec::new()).expect("reap")
}

fn await_kernel_sleeper(queue: &UringQueue) {
    while !queue.has_kernel_sleeper() {
        thread::yield_now();
    }
}

fn waiting_ends_at_once_when_nothing_is_in_flight(kind: QueueKind) {
    let queue = &*queue_of(kind, &Arc::new(TestDevice::new()), 8);
    assert_eq!(reap_count(queue, Wait::ForOne), 0);
}

#[test]
fn reaping_without_waiting_does_not_wait() {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    let queue = queue_on(&Arc::new(TestDevice::reading_from(reader)), 8);
    queue.submit(read_of(0, BLOCK, 1)).expect("submit");
    assert_eq!(reap_count(&queue, Wait::Never), 0);
    writer.write_all(&[0; BLOCK]).expect("fill the pipe");
    assert_eq!(reap_all(&queue).len(), 1);
}

#[test]
fn a_thread_that_waits_in_the_kernel_holds_up_no_submitter() {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    let queue = queue_on(&Arc::new(TestDevice::reading_from(reader)), 8);
    queue.submit(read_of(0, BLOCK, 1)).expect("submit");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| reap_count(&queue, Wait::ForOne));
        await_kernel_sleeper(&queue);
        queue.submit(append_of(BLOCK, 2)).expect("submit past the waiter");
        assert_eq!(
            waiter.join().expect("waiter"),
            1,
            "the waiter has the append, the read is still in flight"
        );
    });
    writer.write_all(&[0; BLOCK]).expect("fill the pipe");
    assert_eq!(reap_all(&queue).len(), 1);
}

#[test]
fn one_completion_ends_the_wait_of_every_thread() {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    let queue = queue_on(&Arc::new(TestDevice::reading_from(reader)), 8);
    for _ in 0..200 {
        queue.submit(read_of(0, BLOCK, 1)).expect("submit");
        thread::scope(|scope| {
            let spawn = |_| scope.spawn(|| reap_count(&queue, Wait::ForOne));
            let waiters: Vec<_> = (0..4).map(spawn).collect();
            writer.write_all(&[0; BLOCK]).expect("fill the pipe");
            let counts = waiters.into_iter().map(|waiter| waiter.join().expect("waiter"));
            assert_eq!(counts.sum::<usize>(), 1);
        });
    }
}

#[test]
fn a_wait_ends_when_another_thread_is_handed_what_was_in_flight() {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    let device = Arc::new(TestDevice::reading_from(reader));
    let queue = queue_on(&device, 8);
    let gate = device.hold_ends();
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    thread::scope(|scope| {
        let ending = scope.spawn(|| reap_count(&queue, Wait::ForOne));
        while !queue.is_ending() {
            thread::yield_now();
        }
        // Nothing is in the pipe: a waiter that went to the kernel for this read would stay there.
        queue.submit(read_of(0, BLOCK, 2)).expect("submit");
        let waiting = scope.spawn(|| reap_count(&queue, Wait::ForOne));
        while !queue.disturb_sleeper() {
            assert!(!queue.has_kernel_sleeper(), "the waiter sleeps where nobody wakes it");
            thread::yield_now();
        }
        drop(gate);
        assert_eq!((ending.join().expect("ending"), waiting.join().expect("waiting")), (1, 0));
    });
    writer.write_all(&[0; BLOCK]).expect("fill the pipe");
    assert_eq!(reap_all(&queue).len(), 1);
}

fn threads_that_poll_take_nothing_that_another_waits_for_in_the_kernel(kind: QueueKind) {
    let queue = &*queue_of(kind, &Arc::new(TestDevice::new()), 8);
    let reaped_count = AtomicUsize::new(0);
    let reap = |wait| {
        while reaped_count.load(Ordering::SeqCst) < 2000 {
            reaped_count.fetch_add(reap_count(queue, wait), Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| reap(Wait::ForOne));
        scope.spawn(|| reap(Wait::ForOne));
        scope.spawn(|| reap(Wait::Never));
        (0..2000).for_each(|number| queue.submit(append_of(BLOCK, number)).expect("submit"));
    });
    assert_eq!(queue.in_flight_count(), 0);
}

fn threads_that_each_append_and_wait_all_finish(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 4);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..100 {
                    queue.submit(append_of(BLOCK, number)).expect("submit");
                    reap_count(queue, Wait::ForOne);
                }
            });
        }
    });
    reap_all(queue);
    assert_eq!(device.ended_results(), vec![4096; 800]);
}

/// Linux cancels what waits for a kernel worker when the thread that submitted it exits.
fn threads_that_exit_at_once_lose_none_of_their_appends(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 64);
    for _ in 0..10 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..16).for_each(|number| queue.submit(append_of(16 * BLOCK, number)).expect("submit"));
                });
            }
        });
        let completions = reap_all(queue);
        assert_eq!(completions.len(), 64);
        for completion in completions {
            place(completion).expect("append of a thread that is gone");
        }
    }
}

/// A queue with an append in flight that ends when the pipe is read from, not before.
fn held_up_append() -> (Arc<TestDevice>, UringQueue, PipeReader) {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    writer.write_all(&vec![0; 16 * BLOCK]).expect("fill the pipe");
    let device = Arc::new(TestDevice::appending_to(writer));
    let queue = queue_on(&device, 8);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    (device, queue, reader)
}

fn assert_that_dropping_waits(device: &TestDevice, queue: UringQueue, mut reader: PipeReader) {
    let dropping = AtomicBool::new(false);
    thread::scope(|scope| {
        let dropping = &dropping;
        scope.spawn(move || {
            dropping.store(true, Ordering::SeqCst);
            drop(queue);
            assert_eq!(device.ended_results(), [4096]);
        });
        while !dropping.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        // Gives a drop that does not wait the occasion to return; one that waits has all the time.
        (0..1000).for_each(|_| thread::yield_now());
        reader.read_exact(&mut [0; BLOCK]).expect("make room in the pipe");
    });
}

#[test]
fn dropping_the_queue_waits_for_what_is_in_flight() {
    let (device, queue, reader) = held_up_append();
    assert_that_dropping_waits(&device, queue, reader);
}

#[test]
fn dropping_the_queue_waits_even_where_the_kernel_lets_nobody_sleep() {
    let (device, queue, reader) = held_up_append();
    queue.replace_ring_file(no_ring());
    queue.reap(Wait::ForOne, &mut Vec::new()).expect_err("there is no ring to sleep on");
    assert_eq!(queue.in_flight_count(), 1, "what is in flight stays in flight");
    assert_that_dropping_waits(&device, queue, reader);
}

fn dropping_the_queue_ends_what_was_completed_and_never_reaped(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = queue_of(kind, &device, 2);
    (0..10).for_each(|number| queue.submit(append_of(BLOCK, number)).expect("submit"));
    drop(queue);
    assert_eq!((device.begun_count(), device.ended_results().len()), (10, 10));
}
