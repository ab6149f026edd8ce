//! Linux aio: asynchronous positioned reads and writes where io_uring is switched off.
//!
//! The kernel runs a command asynchronously on files opened for direct I/O; on others `io_submit` returns when it is done.
//! There is no passthrough, and there are no registered buffers.
//!
//! Invariant: a context never holds more commands than it was made for, because the in-flight table of the queue above has
//! no more slots, and a slot is free again only when its event has been collected.
//!
//! Threading: commands may be handed over by any number of threads; events are collected by one at a time.
#![expect(unsafe_code, reason = "aio has no safe interface; each system call is proved at its place")]

use std::io;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::thread;

use libc::{c_long, c_ulong};
use rustix::io::Errno;

use super::driven::{DrivenQueue, Driver};
use super::in_flight::Key;
use super::transfer::{Target, Transfer, write_flags};
use super::{IoQueue, Wait};
use crate::device::{CommandSet, RawResult, ZonedDevice};

/// `IOCB_CMD_PREAD` and `IOCB_CMD_PWRITE` of `linux/aio_abi.h`.
const COMMAND_READ: u16 = 0;
const COMMAND_WRITE: u16 = 1;

/// Events taken in one system call.
const EVENTS_AT_ONCE: usize = 32;

/// `struct io_event` of `linux/aio_abi.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    user_data: u64,
    control_block: u64,
    result: i64,
    second_result: i64,
}

/// A context of the kernel's, ended when it is dropped.
#[derive(Debug)]
pub(super) struct Aio {
    context: c_ulong,
}

/// A queue over aio on `device`.
///
/// # Errors
/// Of kind [`io::ErrorKind::Unsupported`] where the device speaks passthrough only or the machine has no aio, with what to
/// do about it; otherwise the kernel's.
pub(super) fn aio_queue(device: Arc<dyn ZonedDevice>, entries: u32) -> io::Result<Arc<dyn IoQueue>> {
    if device.command_set() != CommandSet::Positioned {
        let text = "Linux aio cannot carry passthrough commands, and this device takes nothing else; \
                    io_uring and threads can";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let driver = Aio::new(entries)?;
    Ok(Arc::new(DrivenQueue::new(device, driver, entries)?))
}

impl Aio {
    fn new(entries: u32) -> io::Result<Self> {
        let mut context: c_ulong = 0;
        // SAFETY: io_setup(nr_events, ctxp) writes one `aio_context_t`, an unsigned long, through `ctxp`, and wants it to be
        // 0 before.
        check(unsafe { libc::syscall(libc::SYS_io_setup, c_ulong::from(entries), &raw mut context) })
            .map_err(explain)?;
        Ok(Self { context })
    }

    /// Gives how many events were taken; none when a signal came.
    fn take_events(&self, wait: Wait, events: &mut [Event; EVENTS_AT_ONCE]) -> io::Result<usize> {
        let min_count = c_long::from(wait == Wait::ForOne);
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout: *const libc::timespec =
            if wait == Wait::ForOne { ptr::null() } else { &raw const at_once };
        // SAFETY: io_getevents(ctx, min_nr, nr, events, timeout) writes at most `nr` events to `events`, which has room for
        // as many, and reads the timeout, which outlives the call, where there is one. The context lives as long as `self`.
        let taken = check(unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                min_count,
                EVENTS_AT_ONCE as c_long,
                events.as_mut_ptr(),
                timeout,
            )
        });
        match taken {
            Err(Errno::INTR) => Ok(0),
            other => Ok(usize::try_from(other?).expect("errors are told apart before")),
        }
    }
}

impl Driver for Aio {
    const NAME: &'static str = "aio";

    unsafe fn enter(&self, key: Key, transfer: Transfer) -> Result<(), Errno> {
        let mut control_block = control_block(key, transfer).ok_or(Errno::OPNOTSUPP)?;
        let mut list = [&raw mut control_block];
        loop {
            // SAFETY: io_submit(ctx, nr, iocbpp) reads `nr` pointers, and the control block behind each, before it returns,
            // and keeps neither. The memory that the block names is the caller's promise. The context lives as long
            // as `self`.
            let taken =
                check(unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1, list.as_mut_ptr()) });
            match taken {
                Ok(1..) => return Ok(()),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => thread::yield_now(),
                Err(errno) => return Err(errno),
            }
        }
    }

    fn collect(&self, mut wait: Wait, into: &mut Vec<(Key, RawResult)>) -> io::Result<()> {
        let mut events = [Event::default(); EVENTS_AT_ONCE];
        loop {
            let count = self.take_events(wait, &mut events)?;
            into.extend(events[..count].iter().map(|event| (Key::of(event.user_data), raw_result(event))));
            if count < EVENTS_AT_ONCE {
                return Ok(());
            }
            wait = Wait::Never;
        }
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: io_destroy(ctx) ends the context that `new` made; nobody uses it afterwards. It waits for what is in flight,
        // and the queue above has waited for that before.
        let ended = check(unsafe { libc::syscall(libc::SYS_io_destroy, self.context) });
        debug_assert!(ended.is_ok(), "ending an aio context: {ended:?}");
    }
}

/// The kernel's form of a command; `None` for those that aio has no word for.
fn control_block(key: Key, transfer: Transfer) -> Option<libc::iocb> {
    // SAFETY: `iocb` is plain integers, for which zeros are values, and the defaults that the kernel expects.
    let mut block: libc::iocb = unsafe { mem::zeroed() };
    let (opcode, fd, file_offset_bytes) = match transfer.target {
        Target::Read { fd, file_offset_bytes } => (COMMAND_READ, fd, file_offset_bytes),
        Target::Write { fd, file_offset_bytes, persistence } => {
            block.aio_rw_flags = write_flags(persistence).bits().cast_signed();
            (COMMAND_WRITE, fd, file_offset_bytes)
        }
        Target::Nvme(_) => return None,
    };
    block.aio_data = key.user_data();
    block.aio_lio_opcode = opcode;
    block.aio_fildes = fd.cast_unsigned();
    block.aio_buf = transfer.memory.expose_provenance() as u64;
    block.aio_nbytes = u64::from(transfer.len_bytes);
    block.aio_offset = i64::try_from(file_offset_bytes).ok()?;
    Some(block)
}

fn raw_result(event: &Event) -> RawResult {
    RawResult::of(i32::try_from(event.result).expect("no command moves 2 GiB, no errno is as large"))
}

/// The result of a system call.
fn check(result: c_long) -> Result<c_long, Errno> {
    if result < 0 {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(result)
    }
}

fn explain(errno: Errno) -> io::Error {
    let text = match errno {
        Errno::NOSYS | Errno::PERM => format!(
            "Linux aio is switched off here ({errno}), by a container's seccomp profile or in the kernel itself \
             (CONFIG_AIO); use the queue of threads"
        ),
        Errno::AGAIN => "the machine's limit of asynchronous operations is used up; raise the sysctl fs.aio-max-nr, or use the \
                         queue of threads"
            .to_owned(),
        other => return other.into(),
    };
    io::Error::new(io::ErrorKind::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::{Event, explain};

    #[test]
    fn an_event_is_as_large_as_the_kernels() {
        assert_eq!(size_of::<Event>(), 32);
        assert_eq!(size_of::<libc::iocb>(), 64);
    }

    #[test]
    fn where_aio_is_not_to_be_had_the_error_says_why_and_what_to_do() {
        for (errno, parts) in [
            (Errno::NOSYS, ["switched off", "seccomp", "threads"]),
            (Errno::PERM, ["switched off", "CONFIG_AIO", "threads"]),
            (Errno::AGAIN, ["limit", "fs.aio-max-nr", "threads"]),
        ] {
            let error = explain(errno);
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{part}: {error}"));
        }
        assert_eq!(explain(Errno::NOMEM).raw_os_error(), Some(Errno::NOMEM.raw_os_error()));
    }
}
