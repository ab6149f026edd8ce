//! Results that a good file never gives, taken from the kernel itself.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::device::TestDevice;
use super::{
    BLOCK, append_filled, append_of, complete_one, no_ring, place, queue_on, read_of, read_outcome, refusal,
};
use crate::device::DeviceError;
use crate::queue::{IoQueue, Request};
use crate::units::ZoneId;

fn errno_of(error: &DeviceError) -> Option<Errno> {
    let source = error.source()?.downcast_ref::<io::Error>()?;
    Errno::from_io_error(source)
}

fn non_blocking(fd: impl AsFd) {
    rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK).expect("set O_NONBLOCK");
}

/// A pipe that takes `room_bytes` more (whole pages) and then no more.
fn pipe_with_room(room_bytes: usize) -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    non_blocking(&writer);
    let page = [0; BLOCK];
    let mut written_bytes = 0;
    while let Ok(more_bytes) = writer.write(&page) {
        written_bytes += more_bytes;
    }
    let mut taken = vec![0; room_bytes];
    io::Read::read_exact(&mut &reader, &mut taken).expect("make room in the pipe");
    assert!(written_bytes > room_bytes);
    (reader, writer)
}

#[test]
fn an_append_to_a_full_device_reports_no_space_and_ends_its_ticket_once() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("open /dev/full");
    let device = Arc::new(TestDevice::appending_to(full));
    let queue = queue_on(&device, 8);
    let error = place(complete_one(&queue, append_of(BLOCK, 1))).expect_err("/dev/full takes nothing");
    assert_eq!(errno_of(&error), Some(Errno::NOSPC));
    assert_eq!(device.ended_results(), [-Errno::NOSPC.raw_os_error()]);
}

#[test]
fn an_append_through_a_descriptor_that_only_reads_reports_it() {
    let read_only = File::open("/dev/null").expect("open /dev/null");
    let device = Arc::new(TestDevice::appending_to(read_only));
    let queue = queue_on(&device, 8);
    let error = place(complete_one(&queue, append_of(BLOCK, 1))).expect_err("the descriptor only reads");
    assert_eq!(errno_of(&error), Some(Errno::BADF));
    assert_eq!(device.ended_results(), [-Errno::BADF.raw_os_error()]);
}

#[test]
fn a_short_append_is_an_error_that_says_how_much_was_written() {
    let (_reader, writer) = pipe_with_room(2 * BLOCK);
    let device = Arc::new(TestDevice::appending_to(writer));
    let queue = queue_on(&device, 8);
    match place(complete_one(&queue, append_of(4 * BLOCK, 1))) {
        Err(DeviceError::ShortAppend { len_bytes, written_bytes, .. }) => {
            assert_eq!((len_bytes, written_bytes), (4 * BLOCK as u64, 2 * BLOCK as u64));
        }
        other => panic!("{other:?} where a short append was due"),
    }
    assert_eq!(device.begun_count(), 1, "the rest was not appended by itself");
}

#[test]
fn a_short_read_is_an_error_and_the_buffer_comes_back() {
    let device = Arc::new(TestDevice::new());
    let queue = queue_on(&device, 8);
    place(complete_one(&queue, append_filled(BLOCK, 7, 0))).expect("append");
    let (result, into) = read_outcome(complete_one(&queue, read_of(0, 3 * BLOCK, 1)));
    match result {
        Err(DeviceError::ShortRead { len_bytes, read_bytes, .. }) => {
            assert_eq!((len_bytes, read_bytes), (3 * BLOCK as u64, BLOCK as u64));
        }
        other => panic!("{other:?} where a short read was due"),
    }
    assert_eq!(into.len(), 3 * BLOCK);
    assert!(into[..BLOCK].iter().all(|&byte| byte == 7));
}

#[test]
fn a_failed_read_says_where_and_why_and_the_buffer_comes_back() {
    let write_only = OpenOptions::new().write(true).open("/dev/null").expect("open /dev/null");
    let queue = queue_on(&Arc::new(TestDevice::reading_from(write_only)), 8);
    let (result, into) = read_outcome(complete_one(&queue, read_of(8192, BLOCK, 1)));
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
