//! How a queue waits for its driver, seen with a driver that gives results when a test says so.
#![expect(unsafe_code, reason = "the driver's trait has an unsafe method; this one touches no memory")]

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

use super::device::TestDevice;
use super::{BLOCK, append_of, place, reap_all};
use crate::device::RawResult;
use crate::queue::driven::{DrivenQueue, Driver};
use crate::queue::in_flight::Key;
use crate::queue::transfer::Transfer;
use crate::queue::{IoQueue, Wait};

/// Performs nothing: what is entered stays until the test gives it a result.
#[derive(Debug, Default)]
struct Held {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entered: VecDeque<(Key, Transfer)>,
    results: Vec<(Key, RawResult)>,
    refusal: Option<Errno>,
    waiting_fails: bool,
}

impl Held {
    /// Ends the operation that was entered first, with a result or as if all of it had been done.
    fn end_first(&self, result: Option<i32>) {
        let mut state = self.state.lock();
        let (key, transfer) = state.entered.pop_front().expect("something is with the driver");
        let whole = i32::try_from(transfer.len_bytes).expect("small");
        state.results.push((key, RawResult::of(result.unwrap_or(whole))));
        self.done.notify_all();
    }

    fn entered_count(&self) -> usize {
        self.state.lock().entered.len()
    }
}

impl Driver for Arc<Held> {
    const NAME: &'static str = "held";

    unsafe fn enter(&self, key: Key, transfer: Transfer) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if let Some(errno) = state.refusal {
            return Err(errno);
        }
        state.entered.push_back((key, transfer));
        Ok(())
    }

    fn collect(&self, wait: Wait, into: &mut Vec<(Key, RawResult)>) -> io::Result<()> {
        let mut state = self.state.lock();
        if wait == Wait::ForOne && state.waiting_fails {
            return Err(Errno::BADF.into());
        }
        while wait == Wait::ForOne && state.results.is_empty() {
            self.done.wait(&mut state);
        }
        into.append(&mut state.results);
        Ok(())
    }
}

fn held_queue(entries: u32) -> (Arc<TestDevice>, DrivenQueue<Arc<Held>>) {
    let device = Arc::new(TestDevice::new());
    let queue =
        DrivenQueue::new(Arc::clone(&device) as _, Arc::<Held>::default(), entries).expect("make a queue");
    (device, queue)
}

fn reap_count(queue: &dyn IoQueue, wait: Wait) -> usize {
    queue.reap(wait, &mut Vec::new()).expect("reap")
}

fn await_sleeper(queue: &DrivenQueue<Arc<Held>>) {
    while !queue.has_kernel_sleeper() {
        thread::yield_now();
    }
}

#[test]
fn a_queue_of_no_entries_is_refused() {
    let made = DrivenQueue::new(Arc::new(TestDevice::new()), Arc::<Held>::default(), 0);
    assert_eq!(made.expect_err("no entries").raw_os_error(), Some(Errno::INVAL.raw_os_error()));
}

#[test]
fn reaping_without_waiting_does_not_wait() {
    let (_, queue) = held_queue(8);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    assert_eq!(reap_count(&queue, Wait::Never), 0);
    queue.driver().end_first(None);
    assert_eq!(reap_count(&queue, Wait::Never), 1);
}

#[test]
fn a_thread_that_waits_holds_up_no_submitter() {
    let (_, queue) = held_queue(8);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| reap_count(&queue, Wait::ForOne));
        await_sleeper(&queue);
        queue.submit(append_of(BLOCK, 2)).expect("submit past the waiter");
        assert_eq!(queue.driver().entered_count(), 2);
        queue.driver().end_first(None);
        assert_eq!(waiter.join().expect("waiter"), 1);
    });
    queue.driver().end_first(None);
    assert_eq!(reap_all(&queue).len(), 1);
}

#[test]
fn one_completion_ends_the_wait_of_every_thread() {
    let (_, queue) = held_queue(8);
    for _ in 0..200 {
        queue.submit(append_of(BLOCK, 1)).expect("submit");
        thread::scope(|scope| {
            let spawn = |_| scope.spawn(|| reap_count(&queue, Wait::ForOne));
            let waiters: Vec<_> = (0..4).map(spawn).collect();
            queue.driver().end_first(None);
            let counts = waiters.into_iter().map(|waiter| waiter.join().expect("waiter"));
            assert_eq!(counts.sum::<usize>(), 1);
        });
    }
}

#[test]
fn while_a_thread_sleeps_in_the_driver_nobody_else_takes_what_it_was_promised() {
    let (_, queue) = held_queue(8);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| reap_count(&queue, Wait::ForOne));
        await_sleeper(&queue);
        for _ in 0..1000 {
            assert_eq!(reap_count(&queue, Wait::Never), 0);
        }
        queue.driver().end_first(None);
        let polled = reap_count(&queue, Wait::Never);
        assert_eq!(waiter.join().expect("waiter") + polled, 1);
    });
}

#[test]
fn a_wait_ends_when_another_thread_is_handed_what_was_in_flight() {
    let (device, queue) = held_queue(8);
    let gate = device.hold_ends();
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    queue.driver().end_first(None);
    thread::scope(|scope| {
        let ending = scope.spawn(|| reap_count(&queue, Wait::ForOne));
        while !queue.is_ending() {
            thread::yield_now();
        }
        // The driver has no result for this one: a waiter that slept there would stay.
        queue.submit(append_of(BLOCK, 2)).expect("submit");
        let waiting = scope.spawn(|| reap_count(&queue, Wait::ForOne));
        while !queue.disturb_sleeper() {
            assert!(!queue.has_kernel_sleeper(), "the waiter sleeps where nobody wakes it");
            thread::yield_now();
        }
        drop(gate);
        assert_eq!((ending.join().expect("ending"), waiting.join().expect("waiting")), (1, 0));
    });
    queue.driver().end_first(None);
    assert_eq!(reap_all(&queue).len(), 1);
}

#[test]
fn submitting_to_a_full_queue_waits_until_the_driver_is_done_with_one() {
    let (_, queue) = held_queue(2);
    thread::scope(|scope| {
        scope.spawn(|| (0..3).for_each(|number| queue.submit(append_of(BLOCK, number)).expect("submit")));
        await_sleeper(&queue);
        assert_eq!((queue.in_flight_count(), queue.driver().entered_count()), (2, 2));
        queue.driver().end_first(None);
    });
    queue.driver().end_first(None);
    queue.driver().end_first(None);
    assert_eq!(reap_all(&queue).len(), 3);
}

#[test]
fn what_was_merely_put_off_is_entered_again() {
    let (device, queue) = held_queue(2);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    for errno in [Errno::AGAIN, Errno::INTR] {
        queue.driver().end_first(Some(-errno.raw_os_error()));
        assert_eq!(reap_count(&queue, Wait::Never), 0);
        assert_eq!(queue.driver().entered_count(), 1);
    }
    queue.driver().end_first(None);
    assert_eq!(reap_count(&queue, Wait::ForOne), 1);
    assert_eq!(device.ended_results(), [4096], "one ticket, ended once");
}

#[test]
fn a_command_that_the_driver_does_not_take_ends_its_ticket() {
    let (device, queue) = held_queue(2);
    queue.driver().state.lock().refusal = Some(Errno::OPNOTSUPP);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    let completion = reap_all(&queue).remove(0);
    place(completion).expect_err("it was not taken");
    assert_eq!(device.ended_results(), [-Errno::OPNOTSUPP.raw_os_error()]);
}

#[test]
fn a_wait_that_fails_leaves_everything_in_flight() {
    let (_, queue) = held_queue(2);
    queue.submit(append_of(BLOCK, 1)).expect("submit");
    queue.driver().state.lock().waiting_fails = true;
    queue.reap(Wait::ForOne, &mut Vec::new()).expect_err("waiting fails");
    assert_eq!(queue.in_flight_count(), 1);
    queue.driver().end_first(None);
    assert_eq!(reap_count(&queue, Wait::ForOne), 1);
}

#[test]
fn dropping_the_queue_waits_for_what_is_in_flight_even_where_waiting_fails() {
    for waiting_fails in [false, true] {
        let (device, queue) = held_queue(2);
        queue.submit(append_of(BLOCK, 1)).expect("submit");
        queue.driver().state.lock().waiting_fails = waiting_fails;
        let driver = Arc::clone(queue.driver());
        let dropping = AtomicBool::new(false);
        thread::scope(|scope| {
            let (dropping, device) = (&dropping, &device);
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
            assert_eq!(device.ended_results(), [0_i32; 0]);
            driver.end_first(None);
        });
    }
}
