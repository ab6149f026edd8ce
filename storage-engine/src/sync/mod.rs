//! What threads share state by: locks, atomics, epochs, threads, the clock that they wait by.
//!
//! Everything above `device` and `queue` takes these from here. In all builds but one they are parking_lot's, the standard
//! library's and crossbeam's, by re-export. In tests with the feature `models` they are [`modelled`]: shuttle runs the
//! threads one at a time and chooses at every use of a lock or an atomic which one goes on, so that the engine's own code is
//! tried under schedules that a machine would hardly ever come upon (`crate::engine::models`).
//!
//! What counts only (statistics, striped sums) stays with the standard library: a choice there would find nothing.

#[cfg(all(test, feature = "models"))]
mod modelled;
#[cfg(not(all(test, feature = "models")))]
mod native;

#[cfg(all(test, feature = "models"))]
pub(crate) use modelled::{
    Condvar, Instant, Mutex, MutexGuard, RwLock, RwLockWriteGuard, ShardedLock, ShardedLockReadGuard,
    ShardedLockWriteGuard, atomic, epoch, hangs_up_soon, local, thread,
};
#[cfg(not(all(test, feature = "models")))]
pub(crate) use native::{
    Condvar, Instant, Mutex, MutexGuard, RwLock, RwLockWriteGuard, ShardedLock, ShardedLockReadGuard,
    ShardedLockWriteGuard, atomic, epoch, hangs_up_soon, local, thread,
};
