//! The index against a `BTreeMap`.

mod threads;

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::{MAX_KEY_BYTES, NOT_POISONED, OrderedIndex, Shape};
use crate::index::{Entry, LargeId, Location};
use crate::units::ZoneId;

type Model = BTreeMap<Vec<u8>, Entry>;
type Listing = Vec<(Box<[u8]>, Entry)>;

/// Small enough that a hundred keys make dozens of leaves and chunks.
const SMALL: Shape = Shape { leaf_entries: 8, leaf_suffix_bytes: 64, chunk_leaves: 5, visit_leaves: 2 };

fn entry(number: u64) -> Entry {
    match number % 3 {
        0 => Entry::Value { location: Location::unpack(number), value_len: 100 },
        1 => Entry::Tombstone { location: Location::new(ZoneId::new(1), 2, 3) },
        _ => Entry::Large { id: LargeId::new(number) },
    }
}

impl OrderedIndex {
    /// Checks every invariant that holds when nobody writes.
    fn verify(&self) {
        let mut bytes = 0;
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let mut directory = self.write_directory();
        bytes += directory.array_bytes();
        for at in 0..directory.chunks.len() {
            bytes += directory.chunk_bytes(at);
            let upper = (at + 1 < directory.chunks.len()).then(|| directory.separators.key(at + 1));
            let lower = (at > 0).then(|| directory.separators.key(at));
            directory.chunks[at].get_mut().expect(NOT_POISONED).verify(
                lower.as_deref(),
                upper.as_deref(),
                &self.shape,
                &mut keys,
            );
        }
        assert!(keys.is_sorted_by(|one, next| one < next), "keys must ascend over all leaves");
        assert_eq!(self.key_count(), keys.len());
        assert_eq!(self.memory_bytes(), bytes);
    }

    fn all(&self) -> Listing {
        let mut all = Vec::new();
        self.ascend(Bound::Unbounded, usize::MAX, &mut all);
        all
    }
}

impl super::directory::Chunk {
    fn verify(
        &mut self,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
        shape: &Shape,
        keys: &mut Vec<Box<[u8]>>,
    ) {
        assert!((1..=shape.chunk_leaves).contains(&self.leaves.len()));
        assert_eq!(self.separators.len(), self.leaves.len());
        for at in 0..self.leaves.len() {
            let own = (at > 0).then(|| self.separators.key(at));
            let next = (at + 1 < self.leaves.len()).then(|| self.separators.key(at + 1));
            let (from, to) = (own.as_deref().or(lower), next.as_deref().or(upper));
            let leaf = self.leaves[at].get_mut();
            assert!(leaf.len() <= shape.leaf_entries, "{} entries", leaf.len());
            let mut listing = Vec::new();
            leaf.ascend(Bound::Unbounded, usize::MAX, &mut listing);
            for (key, _) in listing {
                assert!(from.is_none_or(|from| from <= &*key), "a key below its leaf's range");
                assert!(to.is_none_or(|to| &*key < to), "a key above its leaf's range");
                keys.push(key);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(Vec<u8>, u64),
    Replace(Vec<u8>, Option<u64>, u64),
    Remove(Vec<u8>, Option<u64>),
    Ascend(Bound<Vec<u8>>, usize),
    Descend(Bound<Vec<u8>>, usize),
}

/// Few bytes, so that keys meet; zeros and 255s; prefixes of each other; long shared prefixes; the longest of all, which are
/// shorter under Miri: it takes seconds for an insert of one.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    let longest = if cfg!(miri) { 400 } else { MAX_KEY_BYTES };
    let tail = |len| proptest::collection::vec(proptest::sample::select(vec![0u8, 1, 97, 255]), len);
    prop_oneof![
        8 => tail(1..5),
        4 => (10usize..40, tail(0..3)).prop_map(|(len, tail)| [&[b'p'; 40][..len], &tail].concat()),
        4 => any::<u16>().prop_map(|number| number.to_be_bytes().to_vec()),
        1 => (longest - 5..=longest - 2, tail(2..3)).prop_map(|(len, tail)| [vec![b'p'; len], tail].concat()),
    ]
}

fn bounds() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        keys().prop_map(Bound::Included),
        keys().prop_map(Bound::Excluded),
        Just(Bound::Included(Vec::new())),
        Just(Bound::Excluded(Vec::new())),
    ]
}

fn limits() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..20, Just(usize::MAX)]
}

fn steps() -> impl Strategy<Value = Step> {
    // An expected entry of `None` means the one that is there, so that most conditions hold.
    let expected = || prop_oneof![3 => Just(None), 1 => any::<u64>().prop_map(Some)];
    prop_oneof![
        10 => (keys(), any::<u64>()).prop_map(|(key, number)| Step::Upsert(key, number)),
        2 => (keys(), expected(), any::<u64>()).prop_map(|(key, old, new)| Step::Replace(key, old, new)),
        4 => (keys(), expected()).prop_map(|(key, old)| Step::Remove(key, old)),
        2 => (bounds(), limits()).prop_map(|(from, limit)| Step::Ascend(from, limit)),
        2 => (bounds(), limits()).prop_map(|(below, limit)| Step::Descend(below, limit)),
    ]
}

fn expected_in(model: &Model, key: &[u8], expected: Option<u64>) -> Entry {
    expected.map(entry).or_else(|| model.get(key).copied()).unwrap_or(entry(0))
}

fn borrowed(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn listing<'a>(entries: impl Iterator<Item = (&'a Vec<u8>, &'a Entry)>, limit: usize) -> Listing {
    entries.take(limit).map(|(key, entry)| (key.clone().into_boxed_slice(), *entry)).collect()
}

/// Takes a step on both and compares what they say.
fn step_both(index: &OrderedIndex, model: &mut Model, step: Step) {
    match step {
        Step::Upsert(key, number) => {
            assert_eq!(index.upsert(&key, entry(number)), model.insert(key, entry(number)));
        }
        Step::Replace(key, old, new) => {
            let old = expected_in(model, &key, old);
            let replaced = model.get_mut(&key).filter(|held| **held == old).map(|held| *held = entry(new));
            assert_eq!(index.replace_if(&key, old, entry(new)), replaced.is_some());
        }
        Step::Remove(key, old) => {
            let old = expected_in(model, &key, old);
            let matches = model.get(&key) == Some(&old);
            assert_eq!(index.remove_if(&key, old), matches);
            if matches {
                model.remove(&key);
            }
        }
        Step::Ascend(from, limit) => {
            let mut found = Vec::new();
            index.ascend(borrowed(&from), limit, &mut found);
            assert_eq!(found, listing(model.range::<[u8], _>((borrowed(&from), Bound::Unbounded)), limit));
        }
        Step::Descend(below, limit) => {
            let mut found = Vec::new();
            index.descend(borrowed(&below), limit, &mut found);
            let range = model.range::<[u8], _>((Bound::Unbounded, borrowed(&below)));
            assert_eq!(found, listing(range.rev(), limit));
        }
    }
}

/// A walk over everything that lets go of the index after each visit, as every walk does, and then lets `between` act.
fn walk(index: &OrderedIndex, upwards: bool, mut between: impl FnMut()) -> Listing {
    let mut found = Vec::new();
    let mut visit = |from: Bound<&[u8]>| {
        if upwards {
            index.visit_upwards(from, usize::MAX, &mut found)
        } else {
            index.visit_downwards(from, usize::MAX, &mut found)
        }
    };
    let mut next = visit(Bound::Unbounded);
    while let Some(separator) = next {
        between();
        next = visit(if upwards { Bound::Included(&separator) } else { Bound::Excluded(&separator) });
    }
    found
}

/// How many keys or steps a case has: under Miri few.
const fn at_most(count: usize) -> usize {
    if cfg!(miri) { count / 10 } else { count }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn the_index_does_what_a_sorted_map_does(steps in proptest::collection::vec(steps(), 1..at_most(300))) {
        let index = OrderedIndex::with_shape(SMALL);
        let mut model = Model::new();
        for step in steps {
            step_both(&index, &mut model, step);
        }
        index.verify();
        prop_assert_eq!(index.all(), listing(model.iter(), usize::MAX));
        for key in model.keys() {
            prop_assert_eq!(index.lookup(key), model.get(key).copied());
        }
    }

    #[test]
    fn a_bulk_load_equals_inserts(
        model in proptest::collection::btree_map(keys(), any::<u64>().prop_map(entry), 0..at_most(200)),
        steps in proptest::collection::vec(steps(), 0..at_most(100)),
    ) {
        let index = OrderedIndex::from_sorted_with_shape(model.iter().map(|(key, entry)| (key, *entry)), SMALL);
        index.verify();
        prop_assert_eq!(index.all(), listing(model.iter(), usize::MAX));
        let mut model = model;
        for step in steps {
            step_both(&index, &mut model, step);
        }
        index.verify();
    }

    #[test]
    fn a_walk_misses_and_repeats_nothing_whatever_is_written_between_its_visits(
        permanent in proptest::collection::btree_set(keys(), 0..at_most(60)),
        mut writes in proptest::collection::vec(proptest::collection::vec(steps(), 0..at_most(40)), 1..at_most(30)),
        upwards: bool,
    ) {
        let index = OrderedIndex::with_shape(SMALL);
        let mut model = permanent.iter().map(|key| (key.clone(), entry(0))).collect::<Model>();
        for key in &permanent {
            index.upsert(key, entry(0));
        }
        let mut found = walk(&index, upwards, || {
            for step in writes.pop().unwrap_or_default() {
                if !matches!(&step, Step::Remove(key, _) if permanent.contains(key)) {
                    step_both(&index, &mut model, step);
                }
            }
        });
        if !upwards {
            found.reverse();
        }
        prop_assert!(found.is_sorted_by(|one, next| one.0 < next.0));
        let seen = found.iter().map(|(key, _)| key.to_vec()).filter(|key| permanent.contains(key));
        prop_assert!(seen.eq(permanent.iter().cloned()));
        index.verify();
    }

    #[test]
    fn an_index_emptied_in_any_order_gives_its_memory_back(
        (keys, order) in proptest::collection::btree_set(keys(), 1..at_most(200))
            .prop_flat_map(|keys| {
                let keys = keys.into_iter().collect::<Vec<_>>();
                (Just(keys.clone()), Just(keys).prop_shuffle())
            }),
    ) {
        let index = OrderedIndex::with_shape(SMALL);
        for (number, key) in (0..).zip(&keys) {
            index.upsert(key, entry(number));
        }
        for key in &order {
            let held = index.lookup(key).expect("not removed yet");
            prop_assert!(index.remove_if(key, held));
            prop_assert!(!index.remove_if(key, held));
        }
        index.verify();
        prop_assert_eq!(index.key_count(), 0);
        prop_assert_eq!(index.read_directory().chunks.len(), 1);
    }
}

/// Spreads numbers over all 64 bits, so that neighbours in time are not neighbours in order.
const fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

#[test]
#[cfg_attr(miri, ignore = "so many keys take hours there")]
fn the_default_shape_holds_many_keys_in_order() {
    let index = OrderedIndex::new();
    for number in 0..60_000 {
        assert_eq!(index.upsert(&scattered(number).to_be_bytes(), entry(number)), None);
    }
    index.verify();
    assert!(index.read_directory().chunks.len() > 1, "enough keys for several chunks");
    assert!(index.all().is_sorted_by(|one, next| one.0 < next.0));
    for number in 0..60_000 {
        assert_eq!(index.lookup(&scattered(number).to_be_bytes()), Some(entry(number)));
    }
}

#[test]
#[cfg_attr(miri, ignore = "so many keys take hours there")]
fn ascending_and_descending_loads_leave_full_leaves() {
    let (up, down) = (OrderedIndex::new(), OrderedIndex::new());
    for number in 0..64_000u64 {
        up.upsert(&number.to_be_bytes(), entry(number));
        down.upsert(&(64_000 - number).to_be_bytes(), entry(number));
    }
    for index in [up, down] {
        index.verify();
        let leaves = index
            .read_directory()
            .chunks
            .iter()
            .map(|chunk| chunk.read().expect(NOT_POISONED).leaves.len())
            .sum::<usize>();
        assert!(leaves <= 501, "{leaves} leaves for five hundred leaves' worth of keys");
    }
}

#[test]
fn keys_of_the_greatest_length_that_differ_at_either_end_live_side_by_side() {
    let index = OrderedIndex::new();
    let long = |first: u8, last: u8| [vec![first], vec![7; 65_533], vec![last]].concat();
    let keys = (0..100).flat_map(|n| [long(7, n), long(n, 7), vec![n]]).collect::<Vec<_>>();
    let model = (0..).zip(&keys).map(|(n, key)| (key.clone(), entry(n))).collect::<Model>();
    for (key, entry) in keys.iter().map(|key| (key, model[key])) {
        index.upsert(key, entry);
    }
    index.verify();
    assert_eq!(index.all(), listing(model.iter(), usize::MAX));
}

#[test]
fn an_empty_index_has_no_entries_in_either_direction() {
    let index = OrderedIndex::from_sorted(Vec::<(Vec<u8>, Entry)>::new());
    let mut found = Vec::new();
    index.ascend(Bound::Unbounded, 10, &mut found);
    index.descend(Bound::Unbounded, 10, &mut found);
    assert_eq!(found, []);
    assert_eq!(index.lookup(b""), None);
    index.verify();
}

#[test]
fn a_scan_adds_to_what_the_vector_holds() {
    let index = OrderedIndex::new();
    index.upsert(b"a", entry(1));
    let mut found = vec![(Box::from(&b"before"[..]), entry(0))];
    index.ascend(Bound::Unbounded, 1, &mut found);
    assert_eq!(found.len(), 2);
    assert_eq!(&*found[1].0, b"a");
}

#[test]
fn a_chunk_that_filled_again_before_its_tidying_stays() {
    let index = OrderedIndex::with_shape(Shape { chunk_leaves: 2, ..SMALL });
    for number in 0..100u64 {
        index.upsert(&number.to_be_bytes(), entry(number));
    }
    assert!(
        index.read_directory().chunks.iter().any(|chunk| chunk.read().expect(NOT_POISONED).leaves.len() == 1)
    );
    for number in 0..100u64 {
        index.write_directory().tidy(&number.to_be_bytes(), &index.tally);
    }
    index.verify();
    assert_eq!(index.all().len(), 100);
}

#[test]
#[should_panic(expected = "ascend strictly")]
fn a_bulk_load_out_of_order_is_refused() {
    let _ = OrderedIndex::from_sorted([(b"b", entry(0)), (b"a", entry(1))]);
}

#[test]
#[should_panic(expected = "a key of 65536 bytes")]
fn a_key_too_long_is_refused() {
    OrderedIndex::new().upsert(&vec![0; 65_536], entry(0));
}

#[test]
#[should_panic(expected = "a key of 0 bytes")]
fn an_empty_key_is_refused() {
    OrderedIndex::new().upsert(&[], entry(0));
}
