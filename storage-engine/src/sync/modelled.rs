//! The same things under shuttle's scheduler, with the interfaces of the real ones as far as the engine uses them.
//!
//! - Waiting for a time ends after giving way to others once: time does not matter to what must hold.
//! - The clock goes on by [`TICK`] whenever it is looked at, so that one seed gives one schedule.
//! - Epochs are crossbeam's own. Each modelled thread is a participant of its own, as a real one is; shuttle runs them all
//!   on one thread of the system, on which they would otherwise count as one.
//! - Memory is sequentially consistent: shuttle tries orders of steps, not of stores.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crossbeam::channel::{Receiver, TryRecvError};
use shuttle::sync as modelled;

pub(crate) use shuttle::sync::atomic;
pub(crate) use shuttle::sync::{
    RwLock as ShardedLock, RwLockReadGuard as ShardedLockReadGuard, RwLockWriteGuard,
    RwLockWriteGuard as ShardedLockWriteGuard,
};
pub(crate) use shuttle::thread_local as local;

const NOT_POISONED: &str = "a panic ends the run of a model";

/// A lock that one holds.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(modelled::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(modelled::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, held: Some(self.0.lock().expect(NOT_POISONED)) }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|held| MutexGuard { mutex: self, held: Some(held) })
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect(NOT_POISONED)
    }
}

/// The lock, held.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `None` only while the lock is let go for a time.
    held: Option<modelled::MutexGuard<'a, T>>,
}

impl<T> MutexGuard<'_, T> {
    /// Lets the lock go for as long as `act` takes.
    pub(crate) fn unlocked<R>(guard: &mut Self, act: impl FnOnce() -> R) -> R {
        guard.held = None;
        let result = act();
        guard.held = Some(guard.mutex.0.lock().expect(NOT_POISONED));
        result
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_deref().expect("held but for the time of a wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_deref_mut().expect("held but for the time of a wait")
    }
}

/// Where threads wait for a change of what a lock guards.
#[derive(Debug, Default)]
pub(crate) struct Condvar(modelled::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(modelled::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("held but for the time of a wait");
        guard.held = Some(self.0.wait(held).expect(NOT_POISONED));
    }

    #[expect(clippy::unused_self, reason = "as parking_lot has it")]
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _until: Instant) -> TimedOut {
        MutexGuard::unlocked(guard, thread::yield_now);
        TimedOut
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// What becomes of every wait for a time.
pub(crate) struct TimedOut;

impl TimedOut {
    #[expect(clippy::unused_self, reason = "as parking_lot has it")]
    pub(crate) fn timed_out(&self) -> bool {
        true
    }
}

/// A lock that one writes under or any number read under.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(modelled::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(modelled::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> modelled::RwLockReadGuard<'_, T> {
        self.0.read().expect(NOT_POISONED)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect(NOT_POISONED)
    }

    pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.0.try_write().ok()
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect(NOT_POISONED)
    }
}

/// How far the clock goes on when it is looked at.
const TICK: Duration = Duration::from_micros(10);

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A time of the clock that goes on when it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        NOW.set(NOW.get() + TICK);
        Self(NOW.get())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::now().0 - self.0
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

impl std::ops::Sub for Instant {
    type Output = Duration;

    fn sub(self, before: Self) -> Duration {
        self.0.saturating_sub(before.0)
    }
}

/// Threads; a model has one processor.
pub(crate) mod thread {
    pub(crate) use shuttle::thread::{Builder, JoinHandle, sleep, yield_now};

    pub(crate) fn available_parallelism() -> std::io::Result<std::num::NonZeroUsize> {
        Ok(std::num::NonZeroUsize::MIN)
    }
}

/// Epochs.
pub(crate) mod epoch {
    pub(crate) use crossbeam::epoch::Guard;
    use crossbeam::epoch::{Collector, LocalHandle};
    use shuttle::rand::{Rng, thread_rng};

    thread_local! {
        static COLLECTOR: Collector = Collector::new();
    }

    shuttle::thread_local! {
        static PARTICIPANT: LocalHandle = COLLECTOR.with(Collector::register);
    }

    /// Pins the epoch for the modelled thread that calls. Now and then it dawdles then: what pins are for is that others
    /// do not get too far ahead of it.
    pub(crate) fn pin() -> Guard {
        const LONG: usize = 400;
        let pinned = PARTICIPANT.with(LocalHandle::pin);
        if thread_rng().gen_ratio(1, 32) {
            (0..LONG).for_each(|_| super::thread::yield_now());
        }
        pinned
    }
}

/// Lets others go on; says whether all senders of a channel are dropped then.
pub(crate) fn hangs_up_soon(channel: &Receiver<()>) -> bool {
    thread::yield_now();
    channel.try_recv() == Err(TryRecvError::Disconnected)
}
