//! Taking locks that are held for less time than it takes to fall asleep and be woken.
//!
//! Some locks are held for a few hundred nanoseconds, for the packing of a record or a change of one leaf. A thread that
//! finds one taken tries again for a microsecond or two before it lets itself be parked: waking a parked thread costs
//! tens of microseconds, and more in a virtual machine. A holder that does take long is waited for asleep.

use crate::sync::{
    Mutex, MutexGuard, RwLock, RwLockWriteGuard, ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard,
};

/// How often a lock is tried: about two microseconds in all.
const TRIES: u32 = if cfg!(all(test, feature = "models")) { 1 } else { 64 };
/// Pauses between two tries, so that the holder keeps its cache line.
const PAUSES: u32 = 4;

fn try_for_a_while<T>(try_lock: impl Fn() -> Option<T>) -> Option<T> {
    for _ in 0..TRIES {
        if let Some(guard) = try_lock() {
            return Some(guard);
        }
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
    }
    None
}

/// Taking a lock that is soon free.
pub(crate) trait LockSoon<T> {
    /// Tries for a while, then sleeps.
    fn lock_soon(&self) -> MutexGuard<'_, T>;
}

impl<T> LockSoon<T> for Mutex<T> {
    fn lock_soon(&self) -> MutexGuard<'_, T> {
        try_for_a_while(|| self.try_lock()).unwrap_or_else(|| self.lock())
    }
}

/// Taking a lock for writing that is soon free.
pub(crate) trait WriteSoon<T> {
    /// Tries for a while, then sleeps.
    fn write_soon(&self) -> RwLockWriteGuard<'_, T>;
}

impl<T> WriteSoon<T> for RwLock<T> {
    fn write_soon(&self) -> RwLockWriteGuard<'_, T> {
        try_for_a_while(|| self.try_write()).unwrap_or_else(|| self.write())
    }
}

/// Taking a sharded lock that is soon free.
pub(crate) trait ShardedSoon<T> {
    /// Tries for a while, then sleeps.
    ///
    /// # Panics
    /// When a thread panicked while it held the lock for writing.
    fn read_soon(&self) -> ShardedLockReadGuard<'_, T>;

    /// The same for writing.
    ///
    /// # Panics
    /// When a thread panicked while it held the lock for writing.
    fn write_soon(&self) -> ShardedLockWriteGuard<'_, T>;
}

const NOT_POISONED: &str = "no thread panicked while it held the lock for writing";

impl<T> ShardedSoon<T> for ShardedLock<T> {
    fn read_soon(&self) -> ShardedLockReadGuard<'_, T> {
        try_for_a_while(|| self.try_read().ok()).unwrap_or_else(|| self.read().expect(NOT_POISONED))
    }

    fn write_soon(&self) -> ShardedLockWriteGuard<'_, T> {
        try_for_a_while(|| self.try_write().ok()).unwrap_or_else(|| self.write().expect(NOT_POISONED))
    }
}
