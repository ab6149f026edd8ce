//! The real things.

use std::time::Duration;

pub(crate) use std::sync::atomic;
pub(crate) use std::thread;
pub(crate) use std::thread_local as local;
pub(crate) use std::time::Instant;

pub(crate) use crossbeam::epoch;
pub(crate) use crossbeam::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard};

use crossbeam::channel::{Receiver, RecvTimeoutError};

/// Waits a moment for all senders of a channel to be dropped; says whether they are.
pub(crate) fn hangs_up_soon(channel: &Receiver<()>) -> bool {
    const MOMENT: Duration = Duration::from_micros(50);
    channel.recv_timeout(MOMENT) == Err(RecvTimeoutError::Disconnected)
}
