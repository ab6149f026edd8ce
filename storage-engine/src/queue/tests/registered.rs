//! Registered buffers: the same appends and reads, by memory that the kernel has at hand.

use std::io;
use std::sync::Arc;

use super::device::TestDevice;
use super::{BLOCK, append_to, place, queue_of, queue_on, read_outcome, reap_all};
use crate::queue::registered::SLOT_COUNT;
use crate::queue::{AlignedBuffer, IoQueue, QueueKind, Request, UringQueue};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

/// A registered buffer with a capacity of two blocks, of which one is in use.
fn registered(queue: &UringQueue, byte: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(2 * BLOCK);
    buffer.set_len(BLOCK);
    buffer.fill(byte);
    queue.register(&mut buffer).expect("register");
    buffer
}

fn append_and_read_back(queue: &UringQueue, payload: AlignedBuffer, into: AlignedBuffer) -> AlignedBuffer {
    queue.submit(append_to(DevicePosition::new(0), payload, 1)).expect("submit");
    let sector = place(reap_all(queue).remove(0)).expect("append");
    let read = Request::Read { zone: ZoneId::new(0), offset: sector.offset(), into, user_data: 2 };
    queue.submit(read).expect("submit");
    let (result, into) = read_outcome(reap_all(queue).remove(0));
    result.expect("read");
    into
}

#[test]
fn a_registered_buffer_is_appended_and_read_into_like_any_other() {
    let queue = queue_on(&Arc::new(TestDevice::new()), 8);
    let into = append_and_read_back(&queue, registered(&queue, 7), registered(&queue, 0));
    assert_eq!(into[..], [7; BLOCK]);
}

/// Of a number that belongs to no buffer the kernel says `EFAULT`; so it is by the number that these went.
#[test]
fn commands_on_registered_buffers_go_by_their_numbers() {
    let queue = queue_on(&Arc::new(TestDevice::new()), 8);
    let buffer = registered(&queue, 7);
    queue.take_out_of_table(&buffer);
    queue.submit(append_to(DevicePosition::new(0), buffer, 1)).expect("submit");
    let error = place(reap_all(&queue).remove(0)).expect_err("there is nothing under its number");
    assert!(format!("{error:?}").contains("code: 14"), "{error:?}");
}

#[test]
fn on_another_queue_a_registered_buffer_is_one_like_any_other() {
    let device = Arc::new(TestDevice::new());
    let (queue, other) = (queue_on(&device, 8), queue_on(&device, 8));
    let into = append_and_read_back(&other, registered(&queue, 7), registered(&queue, 0));
    assert_eq!(into[..], [7; BLOCK]);
}

#[test]
fn a_buffer_may_outlive_the_queue_that_it_is_registered_on() {
    let device = Arc::new(TestDevice::new());
    let queue = queue_on(&device, 8);
    let buffer = registered(&queue, 7);
    drop(queue);
    let other = queue_on(&device, 8);
    let into = append_and_read_back(&other, buffer, AlignedBuffer::zeroed(BLOCK));
    assert_eq!(into[..], [7; BLOCK]);
}

#[test]
fn as_many_buffers_as_a_queue_has_numbers_for_and_each_number_again_after_its_buffer() {
    let queue = queue_on(&Arc::new(TestDevice::new()), 8);
    let mut buffers: Vec<_> = (0..SLOT_COUNT).map(|_| registered(&queue, 1)).collect();
    let mut one_more = AlignedBuffer::zeroed(BLOCK);
    let error = queue.register(&mut one_more).expect_err("no number is left");
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    assert!(error.to_string().contains("256"), "{error}");
    queue.register(&mut buffers[0]).expect("it is registered already");
    buffers.pop();
    let payload = registered(&queue, 9);
    let into = append_and_read_back(&queue, payload, buffers.pop().expect("many are left"));
    assert_eq!(into[..], [9; BLOCK]);
}

#[test]
fn a_payload_that_readers_still_share_keeps_its_registration() {
    let queue = queue_on(&Arc::new(TestDevice::new()), 8);
    let payload = Arc::new(registered(&queue, 3));
    for expected in [0, 8] {
        let request = Request::Append {
            zone_start: DevicePosition::new(0),
            payload: Arc::clone(&payload),
            persistence: crate::device::Persistence::Durable,
            user_data: 0,
        };
        queue.submit(request).expect("submit");
        assert_eq!(place(reap_all(&queue).remove(0)).expect("append"), ZoneSector::new(expected));
    }
    assert_eq!(payload[..], [3; BLOCK]);
    assert_eq!(ZoneSector::new(8).offset(), ZoneOffset::new(4096));
}

#[test]
fn queues_without_registered_buffers_say_so_and_the_buffer_is_usable_as_before() {
    for kind in [QueueKind::Aio, QueueKind::Threads] {
        let queue = queue_of(kind, &Arc::new(TestDevice::new()), 8);
        let mut buffer = AlignedBuffer::zeroed(BLOCK);
        let error = queue.register(&mut buffer).expect_err("there is no such thing");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let says = format!("{} has no registered buffers; io_uring has", queue.kind());
        assert_eq!(error.to_string(), says);
        queue.submit(append_to(DevicePosition::new(0), buffer, 1)).expect("submit");
        place(reap_all(&*queue).remove(0)).expect("append");
    }
}
