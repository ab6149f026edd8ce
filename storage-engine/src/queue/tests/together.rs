//! Several requests at once: handed over together, waited for together.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use super::device::TestDevice;
use super::{BLOCK, append_of, no_ring, queue_of, queue_on, read_of, reap_all};
use crate::device::DeviceError;
use crate::queue::{Completion, IoQueue, OneAtATimeQueue, QueueKind, Request, Wait};

on_every_queue!(
    more_requests_than_the_queue_holds_are_all_started,
    of_requests_submitted_together_only_the_refused_come_back,
    a_wait_for_several_ends_when_all_have_ended_that_are_in_flight,
);

fn appends(numbers: impl Iterator<Item = u64>) -> Vec<Request> {
    numbers.map(|number| append_of(BLOCK, number)).collect()
}

fn user_data_of(completions: &[Completion]) -> HashSet<u64> {
    completions.iter().map(|completion| completion.user_data).collect()
}

fn more_requests_than_the_queue_holds_are_all_started(kind: QueueKind) {
    let queue = &*queue_of(kind, &Arc::new(TestDevice::new()), 4);
    let mut requests = appends(0..100);
    assert!(queue.submit_all(&mut requests).is_empty());
    assert_eq!((requests.len(), queue.in_flight_count()), (0, 100));
    let completions = reap_all(queue);
    assert_eq!((completions.len(), user_data_of(&completions)), (100, (0..100).collect()));
}

fn of_requests_submitted_together_only_the_refused_come_back(kind: QueueKind) {
    let queue = &*queue_of(kind, &Arc::new(TestDevice::new()), 2);
    let lengths = [BLOCK, 100, BLOCK, BLOCK, 100];
    let mut requests: Vec<_> = (0..).zip(lengths).map(|(number, len)| append_of(len, number)).collect();
    let refused = queue.submit_all(&mut requests);
    let unaligned = |number: usize| match (&refused[number].error, &*refused[number].request) {
        (DeviceError::Unaligned { .. }, Request::Append { user_data, .. }) => *user_data,
        other => panic!("{other:?}"),
    };
    assert_eq!((refused.len(), unaligned(0), unaligned(1)), (2, 1, 4));
    assert_eq!(user_data_of(&reap_all(queue)), HashSet::from([0, 2, 3]));
}

fn a_wait_for_several_ends_when_all_have_ended_that_are_in_flight(kind: QueueKind) {
    let queue = &*queue_of(kind, &Arc::new(TestDevice::new()), 8);
    assert!(queue.submit_all(&mut appends(0..3)).is_empty());
    let mut completions = Vec::new();
    while completions.len() < 3 {
        assert!(queue.reap(Wait::ForSeveral(16), &mut completions).expect("reap") > 0);
    }
    assert_eq!(queue.reap(Wait::ForSeveral(16), &mut completions).expect("reap"), 0);
}

#[test]
fn a_thread_that_waits_for_several_is_given_as_many() {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    let queue = &queue_on(&Arc::new(TestDevice::reading_from(reader)), 8);
    let mut requests = (0..3).map(|number| read_of(0, BLOCK, number)).collect();
    assert!(queue.submit_all(&mut requests).is_empty());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| queue.reap(Wait::ForSeveral(2), &mut Vec::new()).expect("reap"));
        while !queue.has_kernel_sleeper() {
            thread::yield_now();
        }
        for _ in 0..2 {
            writer.write_all(&[0; BLOCK]).expect("fill the pipe");
            while rustix::io::ioctl_fionread(&writer).expect("look into the pipe") > 0 {
                thread::yield_now();
            }
        }
        assert_eq!(waiter.join().expect("waiter"), 2);
    });
    writer.write_all(&[0; BLOCK]).expect("fill the pipe");
    assert_eq!(reap_all(queue).len(), 1);
}

#[test]
fn requests_that_the_kernel_does_not_take_all_end_with_its_error() {
    let device = Arc::new(TestDevice::new());
    let queue = queue_on(&device, 8);
    let ring = queue.replace_ring_file(no_ring());
    assert!(queue.submit_all(&mut appends(0..3)).is_empty());
    queue.replace_ring_file(ring);
    let refused = queue.submit_all(&mut appends(3..5));
    assert_eq!(refused.len(), 2, "the queue is broken for good");
    assert_eq!(user_data_of(&reap_all(&queue)), (0..3).collect());
    assert!(device.ended_results().iter().all(|&result| result < 0));
    assert_eq!(device.file().metadata().expect("look at the file").len(), 0, "nothing was written");
}

#[test]
fn where_appends_go_one_at_a_time_reads_and_appends_can_still_be_submitted_together() {
    let device = Arc::new(TestDevice::new().one_at_a_time());
    let queue = OneAtATimeQueue::new(Arc::clone(&device) as _, Arc::new(queue_on(&device, 8)));
    assert!(queue.submit_all(&mut appends(0..3)).is_empty());
    assert_eq!(user_data_of(&reap_all(&queue)), (0..3).collect());
    let reads = (0..4).map(|number| read_of(0, if number == 1 { 100 } else { BLOCK }, number));
    assert_eq!(queue.submit_all(&mut reads.collect()).len(), 1);
    assert_eq!(queue.in_flight_count(), 3);
    assert_eq!(user_data_of(&reap_all(&queue)), HashSet::from([0, 2, 3]));
}
