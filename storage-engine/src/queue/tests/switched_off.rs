//! Machines that have not every queue: system calls are really taken away, and a queue is found all the same (that stores work on it, the tests of kvctl show).

use std::io;
use std::sync::Arc;

use libc::{ENOSYS, EPERM, SYS_io_setup, SYS_io_uring_setup, c_long};

use super::device::TestDevice;
use super::seccomp::without;
use super::{BLOCK, append_of, complete_one, place};
use crate::queue::{QueueKind, open_queue};

const SETUP_CALLS: [c_long; 2] = [SYS_io_uring_setup, SYS_io_setup];

fn kind_of(kind: QueueKind) -> io::Result<&'static str> {
    let queue = open_queue(Arc::new(TestDevice::new()), 8, kind)?;
    place(complete_one(&*queue, append_of(BLOCK, 1))).expect("append");
    Ok(queue.kind())
}

#[test]
fn the_best_queue_that_the_machine_has_is_taken() {
    assert_eq!(kind_of(QueueKind::Automatic).expect("io_uring"), "io_uring");
    for errno in [EPERM, ENOSYS] {
        let found = without(&SETUP_CALLS[..1], errno, || kind_of(QueueKind::Automatic));
        assert_eq!(found.expect("without io_uring"), "aio");
        let found = without(&SETUP_CALLS, errno, || kind_of(QueueKind::Automatic));
        assert_eq!(found.expect("without io_uring and aio"), "threads");
    }
}

#[test]
fn a_queue_that_is_asked_for_and_not_to_be_had_is_an_error_that_says_what_to_do() {
    for (kind, says) in
        [(QueueKind::IoUring, "io_uring is switched off"), (QueueKind::Aio, "aio is switched off")]
    {
        let error = without(&SETUP_CALLS, EPERM, || kind_of(kind)).expect_err("it is switched off");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains(says), "{error}");
    }
    let found = without(&SETUP_CALLS, EPERM, || kind_of(QueueKind::Threads));
    assert_eq!(found.expect("threads"), "threads");
}

#[test]
fn an_error_that_is_not_about_having_a_queue_is_not_passed_over() {
    let opened = open_queue(Arc::new(TestDevice::new()), 0, QueueKind::Automatic);
    assert_eq!(opened.expect_err("no entries").kind(), io::ErrorKind::InvalidInput);
}
