//! What heap memory costs, and the running count of what the index holds.

use crate::counter::StripedCounter;

/// What an allocation of `bytes` takes from a common 64-bit allocator: a word of its own, in steps of 16.
pub(super) const fn allocation_bytes(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let stepped = (bytes + size_of::<usize>()).next_multiple_of(16);
    if stepped < 32 { 32 } else { stepped }
}

/// What a vector's allocation takes.
pub(super) const fn vec_bytes<T>(vec: &Vec<T>) -> usize {
    allocation_bytes(vec.capacity() * size_of::<T>())
}

/// Makes room for one more, an eighth more at a time: doubling would leave a quarter of all memory idle.
pub(super) fn reserve_one<T>(vec: &mut Vec<T>) {
    if vec.len() == vec.capacity() {
        vec.reserve_exact(vec.len() / 8 + 4);
    }
}

/// Counts of entries and bytes, kept apart from the locks so that counting does not slow down locking.
#[derive(Default)]
pub(super) struct Tally {
    keys: StripedCounter,
    bytes: StripedCounter,
}

impl Tally {
    pub(super) fn add_keys(&self, count: usize) {
        self.keys.add(count.cast_signed() as i64);
    }

    pub(super) fn drop_key(&self) {
        self.keys.add(-1);
    }

    /// Something that took `before` bytes takes `after` now.
    pub(super) fn resize(&self, before: usize, after: usize) {
        if before != after {
            self.bytes.add(after.cast_signed() as i64 - before.cast_signed() as i64);
        }
    }

    pub(super) fn keys(&self) -> usize {
        count(&self.keys)
    }

    pub(super) fn bytes(&self) -> usize {
        count(&self.bytes)
    }
}

fn count(counter: &StripedCounter) -> usize {
    usize::try_from(counter.count()).expect("what lies in memory can be counted")
}
