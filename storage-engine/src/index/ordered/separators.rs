//! A sorted list of separators: which of some ranges, side by side, a key falls into.
//!
//! Each range begins at its separator. The first one also takes everything below its separator, so that no key is
//! without a range.
//!
//! Layout: the first 16 bytes of every separator as one big-endian number, in an array of their own, so that a search
//! compares numbers that lie side by side and follows a pointer only where 16 bytes do not decide. A number alone
//! cannot tell `a` from `a` and a zero byte: the length up to 16, and the bytes after them, settle that.

use std::cmp::Ordering;

use super::memory::{allocation_bytes, reserve_one, vec_bytes};

/// Bytes of a key that its head holds.
const HEAD_BYTES: usize = 16;

/// A key made ready for comparing with separators.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    head: u128,
    head_len: u8,
    rest: &'a [u8],
}

impl<'a> Probe<'a> {
    pub(super) fn new(key: &'a [u8]) -> Self {
        let (start, rest) = key.split_at(key.len().min(HEAD_BYTES));
        let mut padded = [0; HEAD_BYTES];
        padded[..start.len()].copy_from_slice(start);
        #[expect(clippy::cast_possible_truncation, reason = "at most HEAD_BYTES")]
        let head_len = start.len() as u8;
        Self { head: u128::from_be_bytes(padded), head_len, rest }
    }
}

/// Strictly ascending separators.
#[derive(Default)]
pub(super) struct Separators {
    heads: Vec<u128>,
    head_lens: Vec<u8>,
    rests: Vec<Box<[u8]>>,
}

impl Separators {
    /// The range of a key: the last that begins at or before it.
    pub(super) fn range_of(&self, probe: &Probe<'_>) -> usize {
        self.count(probe, Ordering::is_le).saturating_sub(1)
    }

    /// The range of the keys just below a key: the last that begins before it.
    pub(super) fn range_below(&self, probe: &Probe<'_>) -> usize {
        self.count(probe, Ordering::is_lt).saturating_sub(1)
    }

    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn key(&self, at: usize) -> Vec<u8> {
        let head = self.heads[at].to_be_bytes();
        [&head[..usize::from(self.head_lens[at])], &self.rests[at]].concat()
    }

    pub(super) fn insert(&mut self, at: usize, separator: &[u8]) {
        let probe = Probe::new(separator);
        reserve_one(&mut self.heads);
        reserve_one(&mut self.head_lens);
        reserve_one(&mut self.rests);
        self.heads.insert(at, probe.head);
        self.head_lens.insert(at, probe.head_len);
        self.rests.insert(at, probe.rest.into());
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.heads.remove(at);
        self.head_lens.remove(at);
        self.rests.remove(at);
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let upper = Self {
            heads: self.heads.split_off(at),
            head_lens: self.head_lens.split_off(at),
            rests: self.rests.split_off(at),
        };
        self.shrink();
        upper
    }

    pub(super) fn shrink(&mut self) {
        self.heads.shrink_to_fit();
        self.head_lens.shrink_to_fit();
        self.rests.shrink_to_fit();
    }

    /// What the arrays take, without the separators longer than 16 bytes.
    pub(super) const fn array_bytes(&self) -> usize {
        vec_bytes(&self.heads) + vec_bytes(&self.head_lens) + vec_bytes(&self.rests)
    }

    /// What one separator takes outside the arrays.
    pub(super) fn rest_bytes(&self, at: usize) -> usize {
        allocation_bytes(self.rests[at].len())
    }

    fn count(&self, probe: &Probe<'_>, counts: impl Fn(Ordering) -> bool) -> usize {
        let mut low = self.heads.partition_point(|head| *head < probe.head);
        if self.heads.get(low).is_none_or(|head| *head != probe.head) {
            return low;
        }
        let mut high = low + self.heads[low..].partition_point(|head| *head == probe.head);
        while low < high {
            let middle = usize::midpoint(low, high);
            if counts(self.compare_after_head(middle, probe)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn compare_after_head(&self, at: usize, probe: &Probe<'_>) -> Ordering {
        (self.head_lens[at], &*self.rests[at]).cmp(&(probe.head_len, probe.rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_assert_eq, prop_oneof, proptest};

    use super::{Probe, Separators};

    /// Keys that often agree in their first 16 bytes, or differ only in zeros at their end.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        let tails = || proptest::collection::vec(proptest::sample::select(vec![0u8, 1, 255]), 0..4);
        prop_oneof![tails(), (13usize..17, tails()).prop_map(|(len, tail)| [&[7; 16][..len], &tail].concat()),]
    }

    proptest! {
        #[test]
        fn a_key_falls_into_the_last_range_that_begins_at_or_before_it(
            separators in proptest::collection::btree_set(keys(), 1..30), key in keys(),
        ) {
            let sorted = separators.into_iter().collect::<Vec<_>>();
            let mut list = Separators::default();
            for (at, separator) in sorted.iter().enumerate() {
                list.insert(at, separator);
                prop_assert_eq!(&list.key(at), separator);
            }
            let at_most = sorted.iter().filter(|separator| **separator <= key).count();
            let below = sorted.iter().filter(|separator| **separator < key).count();
            prop_assert_eq!(list.range_of(&Probe::new(&key)), at_most.saturating_sub(1));
            prop_assert_eq!(list.range_below(&Probe::new(&key)), below.saturating_sub(1));
        }

        #[test]
        fn a_list_cut_in_two_is_the_same_list(
            separators in proptest::collection::btree_set(keys(), 2..30), cut: usize,
        ) {
            let sorted = separators.into_iter().collect::<Vec<_>>();
            let mut lower = Separators::default();
            for (at, separator) in sorted.iter().enumerate() {
                lower.insert(at, separator);
            }
            let upper = lower.split_off(cut % sorted.len());
            let all = |list: &Separators| (0..list.len()).map(|at| list.key(at)).collect::<Vec<_>>();
            prop_assert_eq!([all(&lower), all(&upper)].concat(), sorted);
        }
    }
}
