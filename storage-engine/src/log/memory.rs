//! Units whose bytes are in memory: those in flight, and the most recent ones, kept for readers under a budget.
//!
//! What was written last is what is read first; keeping whole units costs writers nothing, since the bytes are there
//! already. A unit leaves when the budget is exceeded, oldest first, and never while its append is in flight. The budget is
//! shared with values read from the device: units have what those leave ([`UnitMemory::leave_to_values`]).
//!
//! Invariant: a unit is found here from before it can be looked up in its stream no more until after its place is known.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;

use crate::buffer::AlignedBuffer;
use crate::queue::IoQueue;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::units::{Generation, ZoneId};

const SHARD_COUNT: usize = 16;
/// Most spare buffers that are kept for reuse.
const SPARE_COUNT: usize = 32;

/// Which unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UnitKey {
    /// The zone it was or will be appended to.
    pub zone: ZoneId,
    /// Which filling of the zone.
    pub generation: Generation,
    /// Its number in the zone.
    pub unit: u32,
}

type Shard = RwLock<std::collections::HashMap<UnitKey, Arc<AlignedBuffer>, FixedState>>;

/// The units in memory.
#[derive(Debug)]
pub struct UnitMemory {
    shards: Box<[Shard]>,
    kept: Mutex<Kept>,
    budget_bytes: usize,
    /// What of the budget others have taken.
    left_bytes: AtomicUsize,
    unit_limit_bytes: usize,
    /// Where units are appended, once that is known.
    queue: OnceLock<Arc<dyn IoQueue>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Units whose place is known, oldest first.
    queue: VecDeque<(UnitKey, usize)>,
    bytes: usize,
    spare: Vec<AlignedBuffer>,
}

impl Kept {
    /// Takes out the oldest units beyond so many bytes.
    fn beyond(&mut self, most_bytes: usize) -> Vec<UnitKey> {
        let mut evicted = Vec::new();
        while self.bytes > most_bytes {
            let Some((oldest, bytes)) = self.queue.pop_front() else { break };
            self.bytes -= bytes;
            evicted.push(oldest);
        }
        evicted
    }
}

impl UnitMemory {
    /// Keeps up to `budget_bytes` of units that are no longer in flight; a unit takes at most `unit_limit_bytes`.
    #[must_use]
    pub fn new(budget_bytes: usize, unit_limit_bytes: usize) -> Self {
        Self {
            shards: (0..SHARD_COUNT).map(|_| RwLock::default()).collect(),
            kept: Mutex::default(),
            budget_bytes,
            left_bytes: AtomicUsize::new(0),
            unit_limit_bytes,
            queue: OnceLock::new(),
        }
    }

    /// Units will be appended through this queue: new buffers are registered with it, which spares the kernel the work of
    /// finding their pages for each append.
    pub fn append_through(&self, queue: &Arc<dyn IoQueue>) {
        // A second queue would do nothing worse than take the buffers as they are.
        let _ = self.queue.set(Arc::clone(queue));
    }

    fn shard(&self, key: UnitKey) -> &Shard {
        let hash = FixedState::with_seed(0).hash_one(key);
        &self.shards[(hash >> 32) as usize % SHARD_COUNT]
    }

    /// A buffer for a unit of up to `len_bytes`; its content is arbitrary.
    #[must_use]
    pub fn buffer(&self, len_bytes: usize) -> AlignedBuffer {
        let spare = self.kept.lock().spare.pop();
        let mut buffer = spare.unwrap_or_else(|| self.new_buffer());
        buffer.set_len(len_bytes);
        buffer
    }

    fn new_buffer(&self) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::zeroed(self.unit_limit_bytes);
        if let Some(queue) = self.queue.get() {
            // Not everywhere, not for ever more of them, and not without a limit on locked memory: then it is a buffer like
            // any other.
            let _ = queue.register(&mut buffer);
        }
        buffer
    }

    /// A sealed unit in memory of its own size: a small one must not hold a large buffer for as long as it is kept.
    #[must_use]
    pub fn shrink(&self, unit: AlignedBuffer) -> AlignedBuffer {
        if unit.len() * 2 > unit.capacity_bytes() {
            return unit;
        }
        let mut small = AlignedBuffer::zeroed(unit.len());
        small.copy_from_slice(&unit);
        self.recycle(unit);
        small
    }

    fn recycle(&self, mut buffer: AlignedBuffer) {
        if buffer.capacity_bytes() != self.unit_limit_bytes {
            return;
        }
        buffer.set_len(self.unit_limit_bytes);
        let mut kept = self.kept.lock();
        if kept.spare.len() < SPARE_COUNT {
            kept.spare.push(buffer);
        }
    }

    /// Makes a sealed unit known to readers. It stays at least until [`UnitMemory::placed`].
    pub fn insert(&self, key: UnitKey, unit: Arc<AlignedBuffer>) {
        self.shard(key).write().insert(key, unit);
    }

    /// The unit's bytes, when they are in memory.
    #[must_use]
    pub fn unit(&self, key: UnitKey) -> Option<Arc<AlignedBuffer>> {
        self.shard(key).read().get(&key).cloned()
    }

    /// The unit's place is known: from now on it is kept only as far as the budget goes.
    pub fn placed(&self, key: UnitKey) {
        let Some(len_bytes) = self.shard(key).read().get(&key).map(|unit| unit.capacity_bytes()) else {
            return;
        };
        {
            let mut kept = self.kept.lock();
            kept.queue.push_back((key, len_bytes));
            kept.bytes += len_bytes;
        }
        self.evict();
    }

    /// From now on so many bytes of the budget are taken by cached values.
    pub fn leave_to_values(&self, bytes: usize) {
        self.left_bytes.store(bytes, Ordering::Relaxed);
        self.evict();
    }

    fn evict(&self) {
        let most_bytes = self.budget_bytes.saturating_sub(self.left_bytes.load(Ordering::Relaxed));
        let evicted = self.kept.lock().beyond(most_bytes);
        evicted.into_iter().for_each(|oldest| self.forget(oldest));
    }

    /// Forgets what is kept of a zone that is about to be reset.
    pub fn forget_zone(&self, zone: ZoneId, generation: Generation) {
        let of_zone = |key: &UnitKey| key.zone == zone && key.generation == generation;
        let mut dropped = Vec::new();
        {
            let mut kept = self.kept.lock();
            let mut freed_bytes = 0;
            kept.queue.retain(|(key, bytes)| {
                if of_zone(key) {
                    dropped.push(*key);
                    freed_bytes += bytes;
                }
                !of_zone(key)
            });
            kept.bytes -= freed_bytes;
        }
        for key in dropped {
            self.forget(key);
        }
    }

    /// Forgets a unit that is not looked for any more.
    pub fn forget(&self, key: UnitKey) {
        let removed = self.shard(key).write().remove(&key);
        // A reader may hold the unit for the moment of a copy; then its memory is simply freed afterwards.
        if let Some(buffer) = removed.and_then(Arc::into_inner) {
            self.recycle(buffer);
        }
    }

    /// Bytes of units kept, those in flight not counted.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.kept.lock().bytes as u64
    }
}
