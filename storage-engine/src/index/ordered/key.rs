//! A key in two pieces, as a leaf holds it: the prefix that the leaf's keys share, and the rest.

/// How many bytes two keys begin with.
pub(crate) fn common_len(one: &[u8], another: &[u8]) -> usize {
    // Word by word: bytes one by one are a tenth of what loading an index costs.
    let words = one.as_chunks::<8>().0.iter().zip(another.as_chunks::<8>().0);
    let alike = 8 * words.take_while(|(one, another)| one == another).count();
    alike + one[alike..].iter().zip(&another[alike..]).take_while(|(one, another)| one == another).count()
}

/// The bytes of `prefix`, then those of `suffix`.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    prefix: &'a [u8],
    suffix: &'a [u8],
}

impl<'a> KeyParts<'a> {
    pub(super) const fn new(prefix: &'a [u8], suffix: &'a [u8]) -> Self {
        Self { prefix, suffix }
    }

    pub(super) const fn whole(key: &'a [u8]) -> Self {
        Self { prefix: &[], suffix: key }
    }

    /// Bytes of the key.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no key is empty")]
    pub const fn len(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// The key without its first `count` bytes.
    pub(super) fn skip(&self, count: usize) -> Self {
        let from_prefix = count.min(self.prefix.len());
        Self { prefix: &self.prefix[from_prefix..], suffix: &self.suffix[count - from_prefix..] }
    }

    /// How many bytes both keys begin with.
    pub(super) fn common_len(&self, other: &Self) -> usize {
        if self.prefix.len() != other.prefix.len() {
            return self.bytes().zip(other.bytes()).take_while(|(one, another)| one == another).count();
        }
        match common_len(self.prefix, other.prefix) {
            all if all == self.prefix.len() => all + common_len(self.suffix, other.suffix),
            part => part,
        }
    }

    /// Writes the first bytes of the key, as many as `into` holds.
    pub(super) fn copy_start(&self, into: &mut [u8]) {
        let from_prefix = into.len().min(self.prefix.len());
        let (head, tail) = into.split_at_mut(from_prefix);
        head.copy_from_slice(&self.prefix[..from_prefix]);
        tail.copy_from_slice(&self.suffix[..tail.len()]);
    }

    pub(super) const fn suffix(&self) -> &'a [u8] {
        self.suffix
    }

    pub(super) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }

    /// The key in one piece.
    #[must_use]
    pub fn to_boxed(self) -> Box<[u8]> {
        [self.prefix, self.suffix].concat().into_boxed_slice()
    }

    fn bytes(&self) -> impl Iterator<Item = &'a u8> + use<'a> {
        self.prefix.iter().chain(self.suffix)
    }
}

/// The shortest key above `below` and at most `above`: what tells two neighbours apart.
pub(super) fn shortest_between(below: KeyParts<'_>, above: KeyParts<'_>) -> Box<[u8]> {
    let common = below.common_len(&above);
    assert!(common < above.len(), "the {} bytes below are not below the {} above", below.len(), above.len());
    let mut separator = vec![0; common + 1];
    above.copy_start(&mut separator);
    separator.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{KeyParts, common_len, shortest_between};

    proptest! {
        #[test]
        fn a_key_in_two_pieces_reads_as_one(key: Vec<u8>, cut: usize, skip: usize) {
            let (prefix, suffix) = key.split_at(cut % (key.len() + 1));
            let parts = KeyParts::new(prefix, suffix);
            let skip = skip % (key.len() + 1);
            prop_assert_eq!(parts.len(), key.len());
            prop_assert_eq!(&*parts.to_boxed(), &key[..]);
            prop_assert_eq!(&*parts.skip(skip).to_boxed(), &key[skip..]);
            let mut start = vec![0; skip];
            parts.copy_start(&mut start);
            prop_assert_eq!(start, &key[..skip]);
        }

        #[test]
        fn two_keys_begin_alike_as_far_as_their_bytes_say_wherever_they_are_cut(
            start in proptest::collection::vec(0u8..2, 0..30),
            ends in proptest::array::uniform2(proptest::collection::vec(0u8..2, 0..12)),
            cuts: [usize; 2],
        ) {
            let [one, another] = ends.map(|end| [&start[..], &end].concat());
            let alike = (0..one.len().min(another.len()))
                .find(|&at| one[at] != another[at])
                .unwrap_or(one.len().min(another.len()));
            prop_assert_eq!(common_len(&one, &another), alike);
            let [cut, other_cut] = cuts;
            for other_cut in [other_cut, cut] {
                let (prefix, suffix) = one.split_at(one.len().min(cut % 20));
                let (other_prefix, other_suffix) = another.split_at(another.len().min(other_cut % 20));
                let other = KeyParts::new(other_prefix, other_suffix);
                prop_assert_eq!(KeyParts::new(prefix, suffix).common_len(&other), alike);
            }
        }

        #[test]
        fn a_separator_lies_above_one_neighbour_and_not_above_the_other(
            one in proptest::collection::vec(0u8..2, 0..6),
            another in proptest::collection::vec(any::<u8>(), 0..6),
        ) {
            let (below, above) = if one < another { (one, another) } else { (another, one) };
            if below != above {
                let separator = shortest_between(KeyParts::whole(&below), KeyParts::whole(&above));
                prop_assert!(*below < *separator && *separator <= *above);
            }
        }
    }
}
