//! A queue over anything that takes commands and gives their results later: what Linux aio and threads have in common.
//!
//! Invariants:
//! - Results are collected only under `in_flight`, and while a thread sleeps in the driver only by that thread.
//! - Memory named by a command is owned by the in-flight table from before the driver sees the command until its result
//!   has been collected. Dropping the queue waits for that.
//!
//! Threading: any number of threads submit and reap. No lock is held while sleeping in the driver, while handing it a
//! command, nor while the device begins or ends an operation.
//!
//! Why no wakeup is lost. At most one thread sleeps in the driver, the *kernel sleeper*; all others sleep on `progress`.
//! - The sleeper goes only when the table, under its lock, proves that a result is there or still to come
//!   (`InFlight::expects_completion`), and nobody else collects until it is back. So the result that it was promised ends
//!   its sleep, also when it arrives between the check and the sleep. It then notifies all others.
//! - The others sleep because there is a kernel sleeper, or a submitter that has not come round to counting its command,
//!   or a reaper that is ending operations. Each of the three takes the lock and notifies when it is done.
//! - A reaper that finds somebody ending operations does not go to the driver, where handing them out could not wake it.
#![expect(
    unsafe_code,
    reason = "commands name memory; who keeps it alive is proved where they are handed over"
)]

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::Errno;

use super::in_flight::{InFlight, Key};
use super::operation::Operation;
use super::transfer::Transfer;
use super::{Completion, IoQueue, Refused, Request, Wait};
use crate::device::{DeviceError, RawResult, ZonedDevice};

/// A way into the kernel.
pub(super) trait Driver: Send + Sync + fmt::Debug {
    /// The queue's name.
    const NAME: &'static str;

    /// Starts a command whose result [`Self::collect`] gives under the same key.
    ///
    /// # Errors
    /// The command was not taken; no result will come.
    ///
    /// # Safety
    /// The transfer's memory stays valid, in place and nobody else's until the result has been collected.
    unsafe fn enter(&self, key: Key, transfer: Transfer) -> Result<(), Errno>;

    /// Moves results into `into`. With [`Wait::ForOne`] sleeps until there is one, or a signal comes. Called by one thread
    /// at a time.
    ///
    /// # Errors
    /// Waiting itself failed; what was collected until then is in `into`.
    fn collect(&self, wait: Wait, into: &mut Vec<(Key, RawResult)>) -> io::Result<()>;
}

/// A queue over a driver. Submitting more than it has entries for, without reaping, keeps results for the next reap.
///
/// As with every queue, a reap that waits ends as soon as *any* thread has been handed a completion, possibly with none of
/// its own.
pub(super) struct DrivenQueue<D: Driver> {
    device: Arc<dyn ZonedDevice>,
    driver: D,
    /// The table, and the right to collect results.
    in_flight: Mutex<InFlight>,
    progress: Condvar,
}

/// What a thread sleeps for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Completion,
    Room,
}

impl<D: Driver> DrivenQueue<D> {
    /// A queue that has at most `entries` operations with the driver at once.
    ///
    /// # Errors
    /// `EINVAL` for no entries.
    pub(super) fn new(device: Arc<dyn ZonedDevice>, driver: D, entries: u32) -> io::Result<Self> {
        if entries == 0 {
            return Err(Errno::INVAL.into());
        }
        let (in_flight, progress) = (Mutex::new(InFlight::new(entries)), Condvar::new());
        Ok(Self { device, driver, in_flight, progress })
    }

    /// Takes a slot, waiting for one where there is none.
    fn reserve(&self) -> io::Result<Key> {
        let mut in_flight = self.in_flight.lock();
        loop {
            if let Some(key) = in_flight.reserve() {
                return Ok(key);
            }
            self.collect(&mut in_flight)?;
            if !in_flight.has_room() {
                self.sleep(&mut in_flight, Need::Room)?;
            }
        }
    }

    fn release(&self, key: Key) {
        self.in_flight.lock().release(key);
        self.progress.notify_all();
    }

    /// Hands a command to the driver and books what came of it.
    fn enter(&self, key: Key, transfer: Transfer) {
        // SAFETY: the memory is owned by the operation that the caller has moved into the in-flight table (buffers are heap
        // memory, which does not move with its owner). The table lets the operation go only when its result is booked or
        // the driver did not take the command, and `drop` waits for both. The table lends no read buffer out, and its
        // share in a payload's `Arc` keeps everybody from mutable access.
        let entered = unsafe { self.driver.enter(key, transfer) };
        let mut in_flight = self.in_flight.lock();
        match entered {
            Ok(()) => in_flight.entered(1),
            Err(errno) => in_flight.not_entered(key, errno.raw_os_error()),
        }
        // A kernel sleeper notifies everybody when it is back.
        if entered.is_err() || !in_flight.kernel_sleeper {
            self.progress.notify_all();
        }
    }

    /// Takes what is there into the backlog, if this thread may.
    fn collect(&self, in_flight: &mut MutexGuard<'_, InFlight>) -> io::Result<()> {
        if in_flight.kernel_sleeper || !in_flight.expects_completion() {
            return Ok(());
        }
        let mut results = Vec::new();
        let collected = self.driver.collect(Wait::Never, &mut results);
        self.book(in_flight, results);
        collected
    }

    /// Books results, and hands over again what was merely put off.
    fn book(&self, in_flight: &mut MutexGuard<'_, InFlight>, results: Vec<(Key, RawResult)>) {
        if results.is_empty() {
            return;
        }
        let mut again = Vec::new();
        for (key, result) in results {
            if in_flight.take(key, result) {
                again.push((key, in_flight.operation(key).transfer()));
            }
        }
        self.progress.notify_all();
        if !again.is_empty() {
            MutexGuard::unlocked(in_flight, || {
                again.into_iter().for_each(|(key, transfer)| self.enter(key, transfer));
            });
        }
    }

    /// Sleeps until something has changed, in the driver if this thread may; then takes what there is.
    fn sleep(&self, in_flight: &mut MutexGuard<'_, InFlight>, need: Need) -> io::Result<()> {
        let may_enter_driver = !in_flight.kernel_sleeper
            && in_flight.expects_completion()
            && (need == Need::Room || !in_flight.is_ending());
        if may_enter_driver {
            return self.sleep_as_kernel_sleeper(in_flight);
        }
        self.progress.wait(in_flight);
        self.collect(in_flight)
    }

    fn sleep_as_kernel_sleeper(&self, in_flight: &mut MutexGuard<'_, InFlight>) -> io::Result<()> {
        in_flight.kernel_sleeper = true;
        let mut results = Vec::new();
        let slept = MutexGuard::unlocked(in_flight, || self.driver.collect(Wait::ForOne, &mut results));
        in_flight.kernel_sleeper = false;
        self.book(in_flight, results);
        self.progress.notify_all();
        slept
    }
}

impl<D: Driver> IoQueue for DrivenQueue<D> {
    fn kind(&self) -> &'static str {
        D::NAME
    }

    fn submit(&self, request: Request) -> Result<(), Refused> {
        let key = match self.reserve() {
            Ok(key) => key,
            Err(source) => {
                let error = DeviceError::Io { action: format!("waiting for room in {}", D::NAME), source };
                return Err(Refused { error, request: Box::new(request) });
            }
        };
        let operation = Operation::admit(&*self.device, request).inspect_err(|_| self.release(key))?;
        let transfer = self.in_flight.lock().start(key, operation).transfer();
        self.enter(key, transfer);
        Ok(())
    }

    fn reap(&self, wait: Wait, into: &mut Vec<Completion>) -> io::Result<usize> {
        let mut in_flight = self.in_flight.lock();
        let handed_out_count = in_flight.handed_out_count();
        self.collect(&mut in_flight)?;
        while wait != Wait::Never
            && !in_flight.has_backlog()
            && in_flight.in_flight_count() > 0
            && in_flight.handed_out_count() == handed_out_count
        {
            self.sleep(&mut in_flight, Need::Completion)?;
        }
        let finished = in_flight.take_backlog();
        drop(in_flight);
        let handing_out = HandingOut { queue: self, count: finished.len() };
        into.extend(finished.into_iter().map(|end| end.operation.finish(&*self.device, end.result)));
        Ok(handing_out.count)
    }

    fn in_flight_count(&self) -> usize {
        usize::try_from(self.in_flight.lock().in_flight_count()).expect("each one in flight takes memory")
    }
}

/// Counts operations as handed out when it goes, also when the device panics: others wait for that.
struct HandingOut<'queue, D: Driver> {
    queue: &'queue DrivenQueue<D>,
    count: usize,
}

impl<D: Driver> Drop for HandingOut<'_, D> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.queue.in_flight.lock().handed_out(self.count);
            self.queue.progress.notify_all();
        }
    }
}

impl<D: Driver> Drop for DrivenQueue<D> {
    /// Waits for everything in flight, however long: the kernel owns the memory, the device awaits its tickets.
    fn drop(&mut self) {
        let mut completions = Vec::new();
        while self.in_flight.lock().owns_operations() {
            if self.reap(Wait::ForOne, &mut completions).is_err() {
                // Sleeping is impossible, but asking without it may still bring results.
                thread::yield_now();
            }
            completions.clear();
        }
    }
}

impl<D: Driver> fmt::Debug for DrivenQueue<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrivenQueue")
            .field("device", &self.device)
            .field("driver", &self.driver)
            .field("in_flight_count", &self.in_flight_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl<D: Driver> DrivenQueue<D> {
    pub(super) fn driver(&self) -> &D {
        &self.driver
    }

    /// Whether a thread has said that it goes to sleep in the driver.
    pub(super) fn has_kernel_sleeper(&self) -> bool {
        self.in_flight.lock().kernel_sleeper
    }

    /// Whether some thread is ending operations that it took.
    pub(super) fn is_ending(&self) -> bool {
        self.in_flight.lock().is_ending()
    }

    /// Makes a thread that sleeps on `progress` look again; whether there was one.
    pub(super) fn disturb_sleeper(&self) -> bool {
        self.progress.notify_one()
    }
}
