//! Setting up a ring, and what to say where io_uring is switched off.
//!
//! Invariant: "switched off" is told by the errno alone and always has the same kind, so that a caller can stand in with
//! another queue. Blocks only for the system calls of the setup.

use std::io;
use std::os::fd::RawFd;

use io_uring::{IoUring, cqueue, squeue};
use rustix::io::Errno;

/// A ring, or an error of kind [`io::ErrorKind::Unsupported`] where the machine lets nobody have one.
pub(super) fn new_ring<S, C>(entries: u32) -> io::Result<IoUring<S, C>>
where
    S: squeue::EntryMarker,
    C: cqueue::EntryMarker,
{
    IoUring::builder().build(entries).map_err(explain)
}

/// Has the ring keep a file under [`super::registered::FILE_SLOT`], so that the kernel need not look it up for each command. Gives the
/// file where the kernel did.
pub(super) fn register_file<S, C>(ring: &IoUring<S, C>, fd: RawFd) -> Option<RawFd>
where
    S: squeue::EntryMarker,
    C: cqueue::EntryMarker,
{
    ring.submitter().register_files(&[fd]).is_ok().then_some(fd)
}

fn explain(error: io::Error) -> io::Error {
    if !matches!(Errno::from_io_error(&error), Some(Errno::NOSYS | Errno::PERM)) {
        return error;
    }
    let text = format!(
        "io_uring is switched off here ({error}), by a container's seccomp profile or by the sysctl \
         kernel.io_uring_disabled; run the container with a profile that allows io_uring_setup, io_uring_enter and \
         io_uring_register (with Docker: --security-opt seccomp=FILE), or set kernel.io_uring_disabled to 0"
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::explain;

    #[test]
    fn where_io_uring_is_switched_off_the_error_says_so_and_what_to_do() {
        for errno in [Errno::NOSYS, Errno::PERM] {
            let error = explain(errno.into());
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let text = error.to_string();
            for part in ["switched off", "seccomp", "--security-opt", "kernel.io_uring_disabled to 0"] {
                assert!(text.contains(part), "{part} is missing from: {text}");
            }
        }
    }

    #[test]
    fn another_error_at_setup_stays_as_the_kernel_gave_it() {
        let error = explain(Errno::NOMEM.into());
        assert_eq!(error.raw_os_error(), Some(Errno::NOMEM.raw_os_error()));
    }
}
