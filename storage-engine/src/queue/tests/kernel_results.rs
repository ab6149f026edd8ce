//! Results that a good file never gives, taken from the kernel itself.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;

use super::device::TestDevice;
use super::{
    BLOCK, append_filled, append_of, complete_one, no_ring, place, queue_of, queue_on, read_of, read_outcome,
    refusal,
};
use crate::device::DeviceError;
use crate::queue::{IoQueue, QueueKind, Request};
use crate::units::ZoneId;

on_every_queue!(
    an_append_to_a_file_that_takes_nothing_reports_it_and_ends_its_ticket_once,
    an_append_through_a_descriptor_that_only_reads_reports_it,
    a_short_append_is_an_error_that_says_how_much_was_written,
    a_short_read_is_an_error_and_the_buffer_comes_back,
    a_failed_read_says_where_and_why_and_the_buffer_comes_back,
);

fn errno_of(error: &DeviceError) -> Option<Errno> {
    let source = error.source()?.downcast_ref::<io::Error>()?;
    Errno::from_io_error(source)
}

/// A file of `len_bytes` that takes no byte more.
fn file_that_cannot_grow(len_bytes: u64) -> OwnedFd {
    let file = memfd_create("cannot grow", MemfdFlags::ALLOW_SEALING).expect("make a file in memory");
    ftruncate(&file, len_bytes).expect("set its length");
    fcntl_add_seals(&file, SealFlags::GROW).expect("seal it");
    file
}

fn an_append_to_a_file_that_takes_nothing_reports_it_and_ends_its_ticket_once(kind: QueueKind) {
    let device = Arc::new(TestDevice::appending_to(file_that_cannot_grow(0)));
    let queue = &*queue_of(kind, &device, 8);
    let error = place(complete_one(queue, append_of(BLOCK, 1))).expect_err("the file takes nothing");
    assert_eq!(errno_of(&error), Some(Errno::PERM));
    assert_eq!(device.ended_results(), [-Errno::PERM.raw_os_error()]);
}

/// aio cannot write to `/dev/full` at all.
#[test]
fn an_append_to_a_full_device_reports_no_space() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("open /dev/full");
    let device = Arc::new(TestDevice::appending_to(full));
    let queue = &queue_on(&device, 8);
    let error = place(complete_one(queue, append_of(BLOCK, 1))).expect_err("/dev/full takes nothing");
    assert_eq!(errno_of(&error), Some(Errno::NOSPC));
    assert_eq!(device.ended_results(), [-Errno::NOSPC.raw_os_error()]);
}

fn an_append_through_a_descriptor_that_only_reads_reports_it(kind: QueueKind) {
    let read_only = File::open("/dev/null").expect("open /dev/null");
    let device = Arc::new(TestDevice::appending_to(read_only));
    let queue = &*queue_of(kind, &device, 8);
    let error = place(complete_one(queue, append_of(BLOCK, 1))).expect_err("the descriptor only reads");
    assert_eq!(errno_of(&error), Some(Errno::BADF));
    assert_eq!(device.ended_results(), [-Errno::BADF.raw_os_error()]);
}

fn a_short_append_is_an_error_that_says_how_much_was_written(kind: QueueKind) {
    let device = Arc::new(TestDevice::appending_to(file_that_cannot_grow(2 * BLOCK as u64)));
    let queue = &*queue_of(kind, &device, 8);
    match place(complete_one(queue, append_of(4 * BLOCK, 1))) {
        Err(DeviceError::ShortAppend { len_bytes, written_bytes, .. }) => {
            assert_eq!((len_bytes, written_bytes), (4 * BLOCK as u64, 2 * BLOCK as u64));
        }
        other => panic!("{other:?} where a short append was due"),
    }
    assert_eq!(device.begun_count(), 1, "the rest was not appended by itself");
}

fn a_short_read_is_an_error_and_the_buffer_comes_back(kind: QueueKind) {
    let device = Arc::new(TestDevice::new());
    let queue = &*queue_of(kind, &device, 8);
    place(complete_one(queue, append_filled(BLOCK, 7, 0))).expect("append");
    let (result, into) = read_outcome(complete_one(queue, read_of(0, 3 * BLOCK, 1)));
    match result {
        Err(DeviceError::ShortRead { len_bytes, read_bytes, .. }) => {
            assert_eq!((len_bytes, read_bytes), (3 * BLOCK as u64, BLOCK as u64));
        }
        other => panic!("{other:?} where a short read was due"),
    }
    assert_eq!(into.len(), 3 * BLOCK);
    assert!(into[..BLOCK].iter().all(|&byte| byte == 7));
}

fn a_failed_read_says_where_and_why_and_the_buffer_comes_back(kind: QueueKind) {
    let write_only = OpenOptions::new().write(true).open("/dev/null").expect("open /dev/null");
    let queue = &*queue_of(kind, &Arc::new(TestDevice::reading_from(write_only)), 8);
    let (result, into) = read_outcome(complete_one(queue, read_of(8192, BLOCK, 1)));
    let error = result.expect_err("the descriptor only writes");
    assert_eq!(errno_of(&error), Some(Errno::BADF));
    assert_eq!(error.to_string(), "reading 4096 bytes at byte 8192 of zone 0 failed");
    assert_eq!(into.len(), BLOCK);
}

#[test]
fn when_the_kernel_does_not_take_a_command_its_ticket_is_ended_and_later_requests_are_refused_whole() {
    let device = Arc::new(TestDevice::new());
    let queue = queue_on(&device, 8);
    queue.replace_ring_file(no_ring());

    let error = place(complete_one(&queue, append_of(BLOCK, 1))).expect_err("there is no ring");
    assert_eq!(errno_of(&error), Some(Errno::OPNOTSUPP));
    assert_eq!(device.ended_results(), [-Errno::OPNOTSUPP.raw_os_error()]);

    let refused = refusal(queue.submit(append_of(BLOCK, 2)));
    assert_eq!(errno_of(&refused.error), Some(Errno::OPNOTSUPP));
    assert!(matches!(*refused.request, Request::Append { user_data: 2, .. }));
    assert_eq!((device.begun_count(), device.write_pointer(ZoneId::new(0))), (1, BLOCK as u64));
}
