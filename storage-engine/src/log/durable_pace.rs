//! How close together durable writes come: whether a zone is worth preparing for them.
//!
//! Preparing a zone of an emulated device for durable appends writes the whole zone once. That pays where many small appends are
//! each waited for, and doubles what is written where one comes now and then: a flush, a checkpoint.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Durable writes that a zone has to see to be worth it.
const WORTHWHILE_PER_ZONE: u64 = 16;

/// Distance, in bytes logged, between the last durable writes.
#[derive(Debug)]
pub(super) struct DurablePace {
    near_bytes: u64,
    last_at_bytes: AtomicU64,
    were_near: AtomicBool,
}

impl DurablePace {
    /// `expected` is what to go by before the first durable write.
    pub(super) fn new(zone_capacity_bytes: u64, expected: bool) -> Self {
        Self {
            near_bytes: zone_capacity_bytes / WORTHWHILE_PER_ZONE,
            last_at_bytes: AtomicU64::new(0),
            were_near: AtomicBool::new(expected),
        }
    }

    /// A durable write at this time of the log's clock.
    pub(super) fn note(&self, now_bytes: u64) {
        // Many threads may come at once; any order of theirs will do.
        let last_bytes = self.last_at_bytes.swap(now_bytes, Ordering::Relaxed);
        self.were_near.store(now_bytes.saturating_sub(last_bytes) <= self.near_bytes, Ordering::Relaxed);
    }

    /// Whether the next zone is likely to be filled by durable writes.
    pub(super) fn is_dense(&self, now_bytes: u64) -> bool {
        let since_bytes = now_bytes.saturating_sub(self.last_at_bytes.load(Ordering::Relaxed));
        self.were_near.load(Ordering::Relaxed) && since_bytes <= self.near_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::DurablePace;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_expected_holds_until_much_has_been_written_without() {
        assert!(!DurablePace::new(16 * MIB, false).is_dense(0));
        let pace = DurablePace::new(16 * MIB, true);
        assert!(pace.is_dense(MIB));
        assert!(!pace.is_dense(2 * MIB));
    }

    #[test]
    fn one_flush_among_much_else_does_not_count_and_many_close_together_do() {
        let pace = DurablePace::new(16 * MIB, false);
        pace.note(5 * MIB);
        assert!(!pace.is_dense(5 * MIB));
        pace.note(5 * MIB + 4096);
        assert!(pace.is_dense(5 * MIB + 8192));
        assert!(!pace.is_dense(7 * MIB));
        pace.note(7 * MIB);
        assert!(!pace.is_dense(7 * MIB));
    }
}
