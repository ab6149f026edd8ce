//! The queue over Linux io_uring.
//!
//! Invariants:
//! - The submission queue is empty whenever `submission` is free: who pushes commands also hands them to the kernel
//!   before letting go. What the kernel would not take stays behind; the queue then never submits again.
//! - Completion entries are taken only under `in_flight`, and while a thread sleeps in the kernel only by that thread.
//! - Memory named by a command is owned by the in-flight table from before the kernel sees the command until its last
//!   completion entry has been taken. Dropping the queue waits for that.
//!
//! Threading: any number of threads submit and reap. `submission` may be held while taking `in_flight`, never the other
//! way round. No lock is held while sleeping in the kernel, nor while the device begins or ends an operation.
//!
//! Why no wakeup is lost. At most one thread sleeps in the kernel, the *kernel sleeper*; all others sleep on `progress`.
//! - The sleeper goes only when the table, under its lock, proves that a completion entry is there or still to come
//!   (`InFlight::expects_completion`), and waits for no more of them than that proves (`InFlight::expected_count`); nobody else
//!   takes entries until it is back. So what it was promised ends its sleep, also when it arrives between the check and the system call. It then notifies all others.
//! - The others sleep because there is a kernel sleeper, or a submitter that has not come round to counting its command,
//!   or a reaper that is ending operations. Each of the three takes the lock and notifies when it is done.
//! - A reaper that finds somebody ending operations does not go to the kernel, where handing them out could not wake it:
//!   an operation that was in flight when `reap` was called ends its wait, whoever reaps it. (The exception is
//!   one that the kernel refused to take; the sleeper's own promised entry still ends its wait.)
#![expect(
    unsafe_code,
    reason = "io_uring's rings are shared with the kernel; each use is proved at its place"
)]

use std::fmt;
use std::io;
use std::iter;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use io_uring::cqueue::EntryMarker as _;
use io_uring::squeue::EntryMarker as _;
use io_uring::{EnterFlags, IoUring};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::Errno;

use super::in_flight::{InFlight, Key};
use super::operation::Operation;
use super::registered::{Buffers, Registered};
use super::ring_setup::{new_ring, register_file};
use super::ring_shape::{Common, RingShape};
use super::{AlignedBuffer, Completion, IoQueue, Refused, Request, Wait};
use crate::device::{CommandSet, DeviceError, ZonedDevice};

/// A queue over one io_uring instance.
///
/// A thread that waits for a particular operation loops around [`IoQueue::reap`] until its own condition holds: with
/// [`Wait::ForOne`] a reap ends as soon as *any* thread has been handed a completion, possibly with none of its own.
/// What the other thread does with that completion is between the two: the condition must be checked and set under a
/// lock of theirs, or one thread must reap for all.
///
/// Submitting more than the queue has entries for, without reaping, takes completions off the kernel and keeps them for
/// the next reap.
pub struct UringQueue<R: RingShape = Common> {
    device: Arc<dyn ZonedDevice>,
    ring: Arc<IoUring<R::Submission, R::Completion>>,
    buffers: Arc<Buffers<R>>,
    /// What commands may name by number.
    registered: Registered,
    /// The right to push commands and to hand them to the kernel.
    submission: Mutex<()>,
    /// The table, and the right to take completion entries.
    in_flight: Mutex<InFlight>,
    progress: Condvar,
    /// Why the kernel takes no more commands; 0 while it does. Set under `submission`.
    broken_errno: AtomicI32,
}

/// A command ready for the submission queue, and the slot that owns its memory.
struct Command<R: RingShape> {
    key: Key,
    entry: R::Submission,
}

/// Of commands that were handed over together the kernel took only the first ones, and will take none of the others.
struct NotTaken {
    before_count: usize,
    errno: i32,
}

/// What a thread sleeps for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Completions; so many of them, if as many are to come.
    Completions(usize),
    Room,
}

impl Need {
    fn count(self) -> usize {
        match self {
            Self::Completions(count) => count,
            Self::Room => 1,
        }
    }
}

impl<R: RingShape> UringQueue<R> {
    /// A queue on `device` that keeps at most `entries` operations in the kernel at once.
    ///
    /// # Errors
    /// Of kind [`io::ErrorKind::Unsupported`] where io_uring is switched off, with what to do about it, and for a device
    /// whose commands a ring of this shape does not carry; otherwise the kernel's, among them `EINVAL` for no entries or
    /// too many (the limit is 32,768).
    pub fn new(device: Arc<dyn ZonedDevice>, entries: u32) -> io::Result<Self> {
        if !R::carries(device.command_set()) {
            let text =
                format!("{} does not carry the commands of a device of kind {}", R::NAME, device.kind());
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let ring = new_ring::<R::Submission, R::Completion>(entries)?;
        let registered = Registered::new(match device.command_set() {
            CommandSet::Positioned => None,
            CommandSet::Nvme { fd } => register_file(&ring, fd),
        });
        // The kernel makes the completion queue longer than asked for; were it shorter, it would set the limit.
        let slot_count = entries.min(ring.params().cq_entries());
        let ring = Arc::new(ring);
        Ok(Self {
            device,
            buffers: Buffers::new(&ring, registered),
            registered,
            ring,
            submission: Mutex::new(()),
            in_flight: Mutex::new(InFlight::new(slot_count)),
            progress: Condvar::new(),
            broken_errno: AtomicI32::new(0),
        })
    }

    /// Takes a slot, waiting for one where there is none.
    fn reserve(&self) -> io::Result<Key> {
        let mut in_flight = self.in_flight.lock();
        loop {
            if let Some(key) = in_flight.reserve() {
                return Ok(key);
            }
            self.take_entries(&mut in_flight);
            if !in_flight.has_room() {
                self.sleep(&mut in_flight, Need::Room)?;
            }
        }
    }

    /// Takes up to so many slots, waiting only for the first.
    fn reserve_up_to(&self, count: usize) -> io::Result<Vec<Key>> {
        let mut keys = Vec::with_capacity(count);
        keys.push(self.reserve()?);
        let mut in_flight = self.in_flight.lock();
        keys.extend(iter::from_fn(|| in_flight.reserve()).take(count - 1));
        Ok(keys)
    }

    /// Starts as many requests as there are slots for them.
    fn submit_together(
        &self,
        keys: Vec<Key>,
        requests: impl Iterator<Item = Request>,
        refused: &mut Vec<Refused>,
    ) {
        let mut admitted = Vec::with_capacity(keys.len());
        for (key, request) in keys.into_iter().zip(requests) {
            match Operation::admit(&*self.device, request) {
                Ok(operation) => admitted.push((key, operation)),
                Err(refusal) => {
                    self.release(key);
                    refused.push(refusal);
                }
            }
        }
        let mut in_flight = self.in_flight.lock();
        let start = |(key, operation)| self.command(key, in_flight.start(key, operation));
        let commands: Vec<_> = admitted.into_iter().map(start).collect();
        drop(in_flight);
        self.enter(&commands);
    }

    fn release(&self, key: Key) {
        self.in_flight.lock().release(key);
        self.progress.notify_all();
    }

    /// The command of an operation in its slot.
    fn command(&self, key: Key, operation: &mut Operation) -> Command<R> {
        let mut entry = R::entry(operation, self.registered);
        entry.set_user_data(key.user_data());
        Command { key, entry }
    }

    /// Hands commands to the kernel, with one system call for all of them, and books what came of it.
    fn enter(&self, commands: &[Command<R>]) {
        let (entered_count, errno) = match self.push_and_submit(commands) {
            Ok(()) => (commands.len(), 0),
            Err(NotTaken { before_count, errno }) => (before_count, errno),
        };
        let mut in_flight = self.in_flight.lock();
        in_flight.entered(entered_count);
        let not_entered = &commands[entered_count..];
        not_entered.iter().for_each(|command| in_flight.not_entered(command.key, errno));
        // A kernel sleeper notifies everybody when it is back.
        if !not_entered.is_empty() || !in_flight.kernel_sleeper {
            self.progress.notify_all();
        }
    }

    fn push_and_submit(&self, commands: &[Command<R>]) -> Result<(), NotTaken> {
        let _submitting = self.submission.lock();
        self.working().map_err(|errno| NotTaken { before_count: 0, errno })?;
        // SAFETY: the submission queue is used by one thread at a time: every use of it lies in this function and in the one that it
        // calls, under the `submission` lock, and the view is gone before the kernel is asked to look. (The claims on registered
        // buffers share in the ring, but only to register.)
        let mut queue = unsafe { self.ring.submission_shared() };
        for command in commands {
            // SAFETY: the command's memory stays valid and in place until its completion: the caller has moved its owner into the
            // in-flight table (buffers are heap memory, which does not move with its owner), the table lets it go only when the
            // completion entry is taken or the kernel did not take the command, and `drop` waits for both. Nobody else writes to
            // that memory meanwhile: the table lends no read buffer out, and its share in a payload's `Arc` keeps everybody from
            // mutable access.
            let pushed = unsafe { queue.push(&command.entry) };
            assert!(pushed.is_ok(), "the submission queue was not empty, or is shorter than the table");
        }
        drop(queue);
        self.submit_pushed(commands.len())
    }

    /// Has the kernel take so many commands from the submission queue. Call it under `submission`.
    fn submit_pushed(&self, count: usize) -> Result<(), NotTaken> {
        let mut taken_count = 0;
        while taken_count < count {
            match self.ring.submit() {
                Ok(0) => thread::yield_now(),
                Ok(more) => taken_count += more,
                Err(error) => self
                    .retry_or_break(&error)
                    .map_err(|errno| NotTaken { before_count: taken_count, errno })?,
            }
        }
        Ok(())
    }

    /// Whether a failed submission is worth repeating. If not, the command stays in the submission queue, from where a
    /// later submission would take it: there must not be one.
    fn retry_or_break(&self, error: &io::Error) -> Result<(), i32> {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        if [Errno::AGAIN, Errno::BUSY, Errno::INTR].contains(&errno) {
            thread::yield_now();
            return Ok(());
        }
        self.broken_errno.store(errno.raw_os_error(), Ordering::Relaxed);
        Err(errno.raw_os_error())
    }

    fn working(&self) -> Result<(), i32> {
        match self.broken_errno.load(Ordering::Relaxed) {
            0 => Ok(()),
            errno => Err(errno),
        }
    }

    /// Takes what the kernel has completed into the backlog, and submits again what it put off.
    fn take_entries(&self, in_flight: &mut MutexGuard<'_, InFlight>) {
        if in_flight.kernel_sleeper {
            return;
        }
        let mut put_off = Vec::new();
        let mut taken_count = 0;
        // SAFETY: the completion queue is used by one thread at a time: every use of it lies in this function, under the
        // `in_flight` lock, and the view ends with the loop.
        for entry in unsafe { self.ring.completion_shared() } {
            let key = Key::of(entry.user_data());
            if in_flight.take(key, R::result(&entry)) {
                put_off.push(self.command(key, in_flight.operation(key)));
            }
            taken_count += 1;
        }
        if taken_count > 0 {
            self.progress.notify_all();
        }
        if !put_off.is_empty() {
            MutexGuard::unlocked(in_flight, || self.enter(&put_off));
        }
    }

    /// Sleeps until something has changed, in the kernel if this thread may; then takes what there is.
    fn sleep(&self, in_flight: &mut MutexGuard<'_, InFlight>, need: Need) -> io::Result<()> {
        let may_enter_kernel = !in_flight.kernel_sleeper
            && in_flight.expects_completion()
            && (matches!(need, Need::Room) || !in_flight.is_ending());
        if !may_enter_kernel {
            self.progress.wait(in_flight);
            self.take_entries(in_flight);
            return Ok(());
        }
        self.sleep_as_kernel_sleeper(in_flight, need.count())
    }

    /// Sleeps until so many commands have ended, or all that are sure to.
    fn sleep_as_kernel_sleeper(
        &self,
        in_flight: &mut MutexGuard<'_, InFlight>,
        count: usize,
    ) -> io::Result<()> {
        in_flight.kernel_sleeper = true;
        let count = in_flight.expected_count().min(count);
        let slept = MutexGuard::unlocked(in_flight, || self.sleep_in_kernel(count));
        in_flight.kernel_sleeper = false;
        self.take_entries(in_flight);
        self.progress.notify_all();
        slept
    }

    /// Sleeps until the completion queue has so many entries. Call it as the kernel sleeper only.
    fn sleep_in_kernel(&self, count: usize) -> io::Result<()> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // SAFETY: `enter` is unsafe for what its arguments may make the kernel do. These submit nothing (0), so no
        // command is touched that another thread is pushing, and pass no signal mask or other memory (`None`).
        let slept =
            unsafe { self.ring.submitter().enter::<()>(0, count, EnterFlags::GETEVENTS.bits(), None) };
        match slept {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            // A signal: the caller looks again and comes back.
            _ => Ok(()),
        }
    }
}

impl<R: RingShape> IoQueue for UringQueue<R> {
    fn kind(&self) -> &'static str {
        R::NAME
    }

    fn submit(&self, request: Request) -> Result<(), Refused> {
        let key = match self.working().map_err(io::Error::from_raw_os_error).and_then(|()| self.reserve()) {
            Ok(key) => key,
            Err(source) => return Err(not_taken(source, request)),
        };
        let operation = Operation::admit(&*self.device, request).inspect_err(|_| self.release(key))?;
        let command = self.command(key, self.in_flight.lock().start(key, operation));
        self.enter(slice::from_ref(&command));
        Ok(())
    }

    fn submit_all(&self, requests: &mut Vec<Request>) -> Vec<Refused> {
        let mut refused = Vec::new();
        let mut requests = requests.drain(..);
        while requests.len() > 0 {
            let working = self.working().map_err(io::Error::from_raw_os_error);
            match working.and_then(|()| self.reserve_up_to(requests.len())) {
                Ok(keys) => self.submit_together(keys, requests.by_ref(), &mut refused),
                Err(source) => refused.extend(requests.next().map(|request| not_taken(source, request))),
            }
        }
        refused
    }

    fn reap(&self, wait: Wait, into: &mut Vec<Completion>) -> io::Result<usize> {
        let mut in_flight = self.in_flight.lock();
        let handed_out_count = in_flight.handed_out_count();
        self.take_entries(&mut in_flight);
        let wanted_count = wait.count();
        while wanted_count > 0
            && !in_flight.has_backlog()
            && in_flight.in_flight_count() > 0
            && in_flight.handed_out_count() == handed_out_count
        {
            self.sleep(&mut in_flight, Need::Completions(wanted_count))?;
        }
        let finished = in_flight.take_backlog();
        drop(in_flight);
        let handing_out = HandingOut { queue: self, count: finished.len() };
        into.extend(finished.into_iter().map(|end| end.operation.finish(&*self.device, end.result)));
        Ok(handing_out.count)
    }

    fn register(&self, buffer: &mut AlignedBuffer) -> io::Result<()> {
        self.buffers.register(&self.ring, buffer)
    }

    fn in_flight_count(&self) -> usize {
        usize::try_from(self.in_flight.lock().in_flight_count()).expect("each one in flight takes memory")
    }
}

/// Counts operations as handed out when it goes, also when the device panics: others wait for that.
struct HandingOut<'queue, R: RingShape> {
    queue: &'queue UringQueue<R>,
    count: usize,
}

impl<R: RingShape> Drop for HandingOut<'_, R> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.queue.in_flight.lock().handed_out(self.count);
            self.queue.progress.notify_all();
        }
    }
}

impl<R: RingShape> Drop for UringQueue<R> {
    /// Waits for everything in flight, however long: the kernel owns the memory, the device awaits its tickets.
    fn drop(&mut self) {
        let mut completions = Vec::new();
        while self.in_flight.lock().owns_operations() {
            if self.reap(Wait::ForOne, &mut completions).is_err() {
                // Sleeping is impossible, but the completion queue is memory: entries still arrive there.
                thread::yield_now();
            }
            completions.clear();
        }
    }
}

impl<R: RingShape> fmt::Debug for UringQueue<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringQueue")
            .field("device", &self.device)
            .field("in_flight_count", &self.in_flight_count())
            .finish_non_exhaustive()
    }
}

fn not_taken(source: io::Error, request: Request) -> Refused {
    let action = "handing a command to io_uring".to_owned();
    Refused { error: DeviceError::Io { action, source }, request: Box::new(request) }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::mem::ManuallyDrop;
    use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
    use std::slice;
    use std::sync::Arc;
    use std::thread;

    use super::UringQueue;
    use crate::queue::operation::Operation;
    use crate::queue::tests::device::TestDevice;
    use crate::queue::tests::{append_of, no_ring, queue_on, read_of, reap_all};
    use crate::queue::{AlignedBuffer, IoQueue, Wait};

    impl UringQueue {
        /// Puts another file in the place of the ring's, so that every system call on the ring fails. Gives the ring's.
        pub(in crate::queue) fn replace_ring_file(&self, by: impl AsFd) -> OwnedFd {
            // SAFETY: the descriptor is open for as long as the ring, which is borrowed, and is not closed here.
            let mut ring = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(self.ring.as_raw_fd()) });
            let replaced = ring.try_clone().expect("duplicate the ring's descriptor");
            rustix::io::dup2(by, &mut ring).expect("replace the ring's descriptor");
            replaced
        }

        /// Empties the number of a registered buffer, so that commands that name it fail.
        pub(in crate::queue) fn take_out_of_table(&self, buffer: &AlignedBuffer) {
            self.buffers.take_out_of_table(buffer);
        }

        /// Whether a thread has said that it goes to sleep in the kernel.
        pub(in crate::queue) fn has_kernel_sleeper(&self) -> bool {
            self.in_flight.lock().kernel_sleeper
        }

        /// Whether some thread is ending operations that it took.
        pub(in crate::queue) fn is_ending(&self) -> bool {
            self.in_flight.lock().is_ending()
        }

        /// Makes a thread that sleeps on `progress` look again; whether there was one.
        pub(in crate::queue) fn disturb_sleeper(&self) -> bool {
            self.progress.notify_one()
        }

        /// Completions that the kernel found no room for.
        pub(in crate::queue) fn overflow_count(&self) -> u32 {
            let _table = self.in_flight.lock();
            // SAFETY: under the `in_flight` lock, as in `take_entries`.
            unsafe { self.ring.completion_shared() }.overflow()
        }
    }

    #[test]
    fn while_a_thread_sleeps_in_the_kernel_nobody_else_takes_what_it_was_promised() {
        let queue = queue_on(&Arc::new(TestDevice::new()), 8);
        queue.submit(append_of(4096, 1)).expect("submit");
        queue.in_flight.lock().kernel_sleeper = true;
        queue.sleep_in_kernel(1).expect("wait for the completion entry");
        assert_eq!(queue.reap(Wait::Never, &mut Vec::new()).expect("reap"), 0);
        queue.in_flight.lock().kernel_sleeper = false;
        assert_eq!(queue.reap(Wait::Never, &mut Vec::new()).expect("reap"), 1);
    }
    #[test]
    fn a_wait_that_the_kernel_refuses_leaves_no_other_thread_asleep() {
        let (reader, mut writer) = io::pipe().expect("make a pipe");
        let queue = queue_on(&Arc::new(TestDevice::reading_from(reader)), 8);
        queue.submit(read_of(0, 4096, 1)).expect("submit");
        let ring = queue.replace_ring_file(no_ring());
        for _ in 0..50 {
            queue.in_flight.lock().kernel_sleeper = true;
            thread::scope(|scope| {
                scope.spawn(|| queue.reap(Wait::ForOne, &mut Vec::new()).expect_err("there is no ring"));
                while !queue.disturb_sleeper() {
                    thread::yield_now();
                }
                let mut in_flight = queue.in_flight.lock();
                queue.sleep_as_kernel_sleeper(&mut in_flight, 1).expect_err("there is no ring");
            });
        }
        queue.replace_ring_file(ring);
        writer.write_all(&[0; 4096]).expect("fill the pipe");
        assert_eq!(reap_all(&queue).len(), 1);
    }

    #[test]
    fn a_command_that_the_kernel_did_not_take_is_never_submitted_with_a_later_one() {
        let device = Arc::new(TestDevice::new());
        let queue = queue_on(&device, 8);
        let ring = queue.replace_ring_file(no_ring());
        queue.submit(append_of(4096, 1)).expect("submit");
        queue.replace_ring_file(ring);

        // As a submitter would that looked before the queue broke.
        let key = queue.reserve().expect("there is room");
        let operation = Operation::admit(&*device, append_of(4096, 2)).expect("the append fits");
        let command = queue.command(key, queue.in_flight.lock().start(key, operation));
        queue.enter(slice::from_ref(&command));

        assert_eq!(reap_all(&queue).len(), 2);
        assert!(device.ended_results().iter().all(|&result| result < 0));
        assert_eq!(device.file().metadata().expect("look at the file").len(), 0, "nothing was written");
    }
}
