//! The counts behind [`DeviceActivity`].

use std::sync::atomic::{AtomicU64, Ordering};

use super::DeviceActivity;

/// What a device counts as it goes.
#[derive(Debug, Default)]
pub(super) struct ActivityCounters {
    pub(super) flush_count: AtomicU64,
    pub(super) reset_count: AtomicU64,
    pub(super) appended_bytes: AtomicU64,
    pub(super) read_bytes: AtomicU64,
}

impl ActivityCounters {
    /// The counts so far.
    pub(super) fn activity(&self) -> DeviceActivity {
        let Self { flush_count, reset_count, appended_bytes, read_bytes } = self;
        DeviceActivity {
            flush_count: flush_count.load(Ordering::Relaxed),
            reset_count: reset_count.load(Ordering::Relaxed),
            appended_bytes: appended_bytes.load(Ordering::Relaxed),
            read_bytes: read_bytes.load(Ordering::Relaxed),
        }
    }
}
