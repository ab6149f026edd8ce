//! Values read from the device, cached under a byte budget.
//!
//! The budget is that of recently written units too ([`crate::log::memory`]): what values take, units leave. A store whose
//! data fit the budget has them in units, as they were written, and reads no device; where data exceed it, values that
//! are read again and again take three quarters.
//!
//! The key is a place in one filling of a zone, which holds one record for good: nothing in the cache can be stale. Where the
//! index may send readers of one key to the place of another's record, the value is kept with the record's key.

use std::sync::Arc;

use foldhash::fast::FixedState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::index::Location;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::Generation;

type Place = (u64, Generation);

/// What an entry costs beside the value's bytes.
const OVERHEAD_BYTES: u64 = 96;

#[derive(Debug, Clone)]
struct ByBytes;

/// A value, and its key where that has to be looked at.
#[derive(Debug, Clone)]
struct Cached {
    key: Option<Arc<[u8]>>,
    value: Arc<[u8]>,
}

impl Cached {
    fn weight(&self) -> u64 {
        (self.value.len() + self.key.as_ref().map_or(0, |key| key.len())) as u64 + OVERHEAD_BYTES
    }
}

impl Weighter<Place, Cached> for ByBytes {
    fn weight(&self, _: &Place, cached: &Cached) -> u64 {
        cached.weight()
    }
}

/// A cache of values by place.
#[derive(Debug)]
pub(super) struct ValueCache {
    cache: Cache<Place, Cached, ByBytes, FixedState>,
    /// All that was ever put in.
    inserted_bytes: AtomicU64,
}

impl ValueCache {
    /// A cache for values and units of so many bytes together, of which values have three quarters at most.
    pub(super) fn sharing(whole_budget_bytes: u64) -> Self {
        let budget_bytes = whole_budget_bytes / 4 * 3;
        let expected_count = usize::try_from(budget_bytes / 1024).unwrap_or(usize::MAX).max(16);
        let lifecycle = DefaultLifecycle::default();
        let cache = Cache::with(expected_count, budget_bytes, ByBytes, FixedState::with_seed(0), lifecycle);
        Self { cache, inserted_bytes: AtomicU64::new(0) }
    }

    /// The value at a place, unless it is kept with another key.
    pub(super) fn value(&self, location: Location, generation: Generation, key: &[u8]) -> Option<Arc<[u8]>> {
        let Cached { key: kept, value } = self.cache.get(&(location.pack(), generation))?;
        kept.is_none_or(|kept| *kept == *key).then_some(value)
    }

    /// The key that the value at a place is kept with.
    pub(super) fn key(&self, location: Location, generation: Generation) -> Option<Arc<[u8]>> {
        self.cache.get(&(location.pack(), generation))?.key
    }

    /// Caches a value. Says now and then how much the values take, for that to be left to them.
    pub(super) fn insert(
        &self,
        location: Location,
        generation: Generation,
        key: Option<&[u8]>,
        value: &Arc<[u8]>,
    ) -> Option<u64> {
        let cached = Cached { key: key.map(Arc::from), value: Arc::clone(value) };
        let (bytes, most_bytes) = (cached.weight(), self.cache.capacity());
        if bytes > most_bytes / 16 {
            return None;
        }
        self.cache.insert((location.pack(), generation), cached);
        let step_bytes = most_bytes / 128 + 1;
        let before = self.inserted_bytes.fetch_add(bytes, Ordering::Relaxed);
        (before / step_bytes != (before + bytes) / step_bytes).then(|| self.bytes())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}
