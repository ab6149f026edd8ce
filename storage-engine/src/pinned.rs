//! Waiting for those who are looking something up or publishing something: they are pinned in an epoch meanwhile.
//!
//! Whoever calls this must not be pinned itself, nor hold a lock that a pinned thread may want.

use crossbeam::channel::{TryRecvError, bounded};

use crate::sync::{epoch, hangs_up_soon};

/// Blocks until everybody has finished who was pinned when this was called.
pub(crate) fn wait_for_pinned() {
    let (sender, passed) = bounded::<()>(1);
    epoch::pin().defer(move || drop(sender));
    // Where nobody is pinned, a few flushes are enough and nothing is waited for.
    for _ in 0..8 {
        epoch::pin().flush();
        if passed.try_recv() == Err(TryRecvError::Disconnected) {
            return;
        }
    }
    loop {
        // Each flush lets the epoch go on by one, as far as pinned threads allow.
        epoch::pin().flush();
        if hangs_up_soon(&passed) {
            return;
        }
    }
}
