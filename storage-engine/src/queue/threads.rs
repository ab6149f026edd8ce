//! Plain positioned I/O on a few threads: what is left where neither io_uring nor aio is to be had.
//!
//! Passthrough commands go by the ioctl `NVME_IOCTL_IO64_CMD`, which returns the place of a zone append in its 64-bit
//! result.
//!
//! Invariants:
//! - A command is in `jobs`, with one worker, or its result is in `results`; never in two of them.
//! - Workers are started when there is more work than idle workers, and only up to the limit: a queue that never has more
//!   than one command in flight has one thread.
//!
//! Threading: one lock for everything, never held while a command runs. Dropping waits for the workers.
#![expect(unsafe_code, reason = "commands name memory by address; each use is proved at its place")]

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::os::fd::BorrowedFd;
use std::slice;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

use super::driven::{DrivenQueue, Driver};
use super::in_flight::Key;
use super::passthrough_ioctl::submit_and_wait;
use super::transfer::{Target, Transfer, write_flags};
use super::{IoQueue, Wait};
use crate::device::{RawResult, ZonedDevice};

/// The most threads of one queue. More in flight than that wait their turn.
const WORKER_LIMIT: usize = 8;

/// Performs a command and waits for its end.
type Perform = fn(&Transfer) -> RawResult;

/// A queue over threads on `device`.
///
/// # Errors
/// `EINVAL` for no entries.
pub(super) fn threads_queue(device: Arc<dyn ZonedDevice>, entries: u32) -> io::Result<Arc<dyn IoQueue>> {
    Ok(Arc::new(DrivenQueue::new(device, Threads::new(perform), entries)?))
}

/// The workers and what they share with the queue.
#[derive(Debug)]
pub(super) struct Threads {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    perform: Perform,
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<(Key, Transfer)>,
    results: Vec<(Key, RawResult)>,
    workers: Vec<JoinHandle<()>>,
    idle_count: usize,
    ending: bool,
}

// SAFETY: the pointer is an address and a length of memory that is the command's alone until its result is collected:
// that is what whoever calls `Driver::enter` promises. So it may be used by whichever thread has the transfer.
unsafe impl Send for Transfer {}

impl Threads {
    pub(super) fn new(perform: Perform) -> Self {
        let (state, work, done) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self { shared: Arc::new(Shared { perform, state, work, done }) }
    }
}

impl Driver for Threads {
    const NAME: &'static str = "threads";

    unsafe fn enter(&self, key: Key, transfer: Transfer) -> Result<(), Errno> {
        let mut state = self.shared.state.lock();
        if state.idle_count <= state.jobs.len() && state.workers.len() < WORKER_LIMIT {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new().name("zonal I/O".to_owned()).spawn(move || shared.work()) {
                Ok(worker) => state.workers.push(worker),
                Err(error) if state.workers.is_empty() => {
                    return Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN));
                }
                // Those that there are will come round to it.
                Err(_) => {}
            }
        }
        state.jobs.push_back((key, transfer));
        self.shared.work.notify_one();
        Ok(())
    }

    fn collect(&self, wait: Wait, into: &mut Vec<(Key, RawResult)>) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        while wait == Wait::ForOne && state.results.is_empty() {
            self.shared.done.wait(&mut state);
        }
        into.append(&mut state.results);
        Ok(())
    }
}

impl Shared {
    /// What a worker does until the queue ends.
    fn work(&self) {
        let mut state = self.state.lock();
        while !state.ending {
            let Some((key, transfer)) = state.jobs.pop_front() else {
                state.idle_count += 1;
                self.work.wait(&mut state);
                state.idle_count -= 1;
                continue;
            };
            drop(state);
            let result = (self.perform)(&transfer);
            state = self.state.lock();
            state.results.push((key, result));
            self.done.notify_one();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let workers = {
            let mut state = self.shared.state.lock();
            state.ending = true;
            mem::take(&mut state.workers)
        };
        self.shared.work.notify_all();
        for worker in workers {
            // A worker that panicked has said so; here there is nobody to tell.
            let _ = worker.join();
        }
    }
}

/// Performs a command by system calls that wait for its end.
fn perform(transfer: &Transfer) -> RawResult {
    match transfer.target {
        Target::Nvme(command) => submit_and_wait(&command, transfer.memory, transfer.len_bytes),
        Target::Read { .. } | Target::Write { .. } => RawResult::of(match positioned(transfer) {
            Ok(moved_bytes) => i32::try_from(moved_bytes).expect("no command moves 2 GiB"),
            Err(errno) => -errno.raw_os_error(),
        }),
    }
}

fn positioned(transfer: &Transfer) -> Result<usize, Errno> {
    let len_bytes = transfer.len_bytes as usize;
    match transfer.target {
        Target::Write { fd, file_offset_bytes, persistence } => {
            // SAFETY: whoever made the transfer promises that its memory, `len_bytes` of it, is valid and not written to
            // until the result is collected, and that the file stays open as long; both are used before that.
            let (bytes, file) =
                unsafe { (slice::from_raw_parts(transfer.memory, len_bytes), BorrowedFd::borrow_raw(fd)) };
            pwritev2(file, &[IoSlice::new(bytes)], file_offset_bytes, write_flags(persistence))
        }
        Target::Read { fd, file_offset_bytes } => {
            // SAFETY: as above; and of a read nobody else touches the memory.
            let (bytes, file) = unsafe {
                (slice::from_raw_parts_mut(transfer.memory, len_bytes), BorrowedFd::borrow_raw(fd))
            };
            preadv2(file, &mut [IoSliceMut::new(bytes)], file_offset_bytes, ReadWriteFlags::empty())
        }
        Target::Nvme(_) => unreachable!("passthrough goes by ioctl"),
    }
}
