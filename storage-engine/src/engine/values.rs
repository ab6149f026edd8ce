//! Values read from the device, cached under a byte budget.
//!
//! The key is a place in one filling of a zone, which holds one record for good: nothing in the cache can be stale.

use std::sync::Arc;

use foldhash::fast::FixedState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::index::Location;
use crate::units::Generation;

type Place = (u64, Generation);

/// What an entry costs beside the value's bytes.
const OVERHEAD_BYTES: u64 = 96;

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Place, Arc<[u8]>> for ByBytes {
    fn weight(&self, _: &Place, value: &Arc<[u8]>) -> u64 {
        value.len() as u64 + OVERHEAD_BYTES
    }
}

/// A cache of values by place.
#[derive(Debug)]
pub(super) struct ValueCache {
    cache: Cache<Place, Arc<[u8]>, ByBytes, FixedState>,
}

impl ValueCache {
    pub(super) fn new(budget_bytes: u64) -> Self {
        let expected_count = usize::try_from(budget_bytes / 1024).unwrap_or(usize::MAX).max(16);
        let lifecycle = DefaultLifecycle::default();
        let cache = Cache::with(expected_count, budget_bytes, ByBytes, FixedState::with_seed(0), lifecycle);
        Self { cache }
    }

    pub(super) fn value(&self, location: Location, generation: Generation) -> Option<Arc<[u8]>> {
        self.cache.get(&(location.pack(), generation))
    }

    pub(super) fn insert(&self, location: Location, generation: Generation, value: &Arc<[u8]>) {
        if value.len() as u64 + OVERHEAD_BYTES <= self.cache.capacity() / 16 {
            self.cache.insert((location.pack(), generation), Arc::clone(value));
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}
