//! The hash index beside a map from whole keys, used as the engine uses it: whoever writes looks first whose the tag is.

use std::collections::HashMap;

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::{Found, HashIndex, HashShape, PAGE_SLOTS, Stroll};
use crate::index::{Entry, LargeId, Location};
use crate::units::ZoneId;

/// Keys that fill and split pages in all shards.
const MANY: u32 = if cfg!(miri) { 400 } else { 48_000 };

/// Each write has an entry of its own, as each record has a place of its own.
fn entry(number: u32, kind: u8) -> Entry {
    let location = Location::new(ZoneId::new(number), 0, 0);
    match kind {
        0 => Entry::Tombstone { location },
        1 => Entry::Large { id: LargeId::new(number.into()) },
        // No store writes such a long value in one record; what is read from a device may say so.
        2 => Entry::Value { location, value_len: (1 << 18) + number },
        _ => Entry::Value { location, value_len: number },
    }
}

/// An index, and what a store has beside it: the records that entries point at.
struct Store {
    index: HashIndex,
    records: HashMap<Entry, Vec<u8>>,
    model: HashMap<Vec<u8>, Entry>,
}

impl Store {
    fn new(shape: HashShape) -> Self {
        Self { index: HashIndex::new(shape), records: HashMap::new(), model: HashMap::new() }
    }

    fn put(&mut self, key: &[u8], entry: Entry) {
        if let Found::OfTag(present) = self.index.find(key) {
            let owner = &self.records[&present];
            if owner != key {
                assert!(self.index.set_apart(key, Some((owner, present))));
            }
        }
        let previous = self.index.upsert(key, entry);
        self.records.insert(entry, key.to_vec());
        assert_eq!(previous, self.model.insert(key.to_vec(), entry));
    }

    /// What a reader makes of what the index says.
    fn value(&self, key: &[u8]) -> Option<Entry> {
        match self.index.find(key) {
            Found::OfTag(entry) => Some(entry).filter(|entry| self.records[entry] == key),
            other => other.entry(),
        }
    }

    fn walked(&self) -> HashMap<Vec<u8>, Entry> {
        let (mut found, mut next) = (Vec::new(), Some(Stroll::default()));
        while let Some(stroll) = next {
            next = self.index.walk(stroll, &mut found);
        }
        let count = found.len();
        let key_of = |entry: &Entry, key: Option<Box<[u8]>>| {
            key.map_or_else(|| self.records[entry].clone(), Vec::from)
        };
        let walked: HashMap<_, _> =
            found.into_iter().map(|(key, entry)| (key_of(&entry, key), entry)).collect();
        assert_eq!(walked.len(), count, "no key is met twice");
        walked
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    /// As the collector does, with the right entry or another one.
    Move(u8, bool),
    Forget(u8, bool),
    SetApart(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = proptest::prop_oneof![
        4 => (any::<u8>(), 0u8..6).prop_map(|(key, kind)| Step::Put(key, kind)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(key, right)| Step::Move(key, right)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(key, right)| Step::Forget(key, right)),
        1 => any::<u8>().prop_map(Step::SetApart),
    ];
    proptest::collection::vec(step, 0..if cfg!(miri) { 50 } else { 400 })
}

proptest! {
    #[test]
    fn an_index_with_crowded_tags_is_a_map(steps in steps(), tag_bits in 1u32..8, seed: u64) {
        let mut store = Store::new(HashShape::crowded(tag_bits, seed));
        for (number, step) in (1u32..).zip(steps) {
            let wrong = entry(number + 1_000_000, 3);
            match step {
                Step::Put(key, kind) => store.put(&[key], entry(number, kind)),
                Step::Move(key, right) => {
                    let present = store.model.get(&[key][..]).copied();
                    let moved = entry(number, 3);
                    let does = store.index.replace_if(&[key], present.filter(|_| right).unwrap_or(wrong), moved);
                    prop_assert_eq!(does, right && present.is_some());
                    if does {
                        store.records.insert(moved, vec![key]);
                        store.model.insert(vec![key], moved);
                    }
                }
                Step::Forget(key, right) => {
                    let present = store.model.get(&[key][..]).copied();
                    let does = store.index.remove_if(&[key], present.filter(|_| right).unwrap_or(wrong));
                    prop_assert_eq!(does, right && present.is_some());
                    if does {
                        store.model.remove(&[key][..]);
                    }
                }
                Step::SetApart(key) => {
                    if store.index.find(&[key]) == Found::Vacant {
                        prop_assert!(store.index.set_apart(&[key], None));
                    }
                }
            }
            prop_assert_eq!(store.index.key_count(), store.model.len());
        }
        for key in 0..=u8::MAX {
            prop_assert_eq!(store.value(&[key]), store.model.get(&[key][..]).copied());
        }
        prop_assert_eq!(store.walked(), store.model);
    }

    #[test]
    fn full_pages_split_and_shrink_and_lose_nothing(
        count in 0..MANY / 8, page_slots in 2usize..=PAGE_SLOTS, keep in 1u32..9, seed: u64,
    ) {
        let shape = HashShape { shard_bits: 0, slice_bits: 1, tag_bits: 20, page_slots, seed: Some(seed) };
        let mut store = Store::new(shape);
        (0..count).for_each(|number| store.put(&number.to_be_bytes(), entry(number, 3)));
        for number in (0..count).filter(|number| number % keep != 0) {
            let key = number.to_be_bytes();
            prop_assert!(store.index.remove_if(&key, entry(number, 3)));
            store.model.remove(&key[..]);
        }
        prop_assert_eq!(store.walked(), store.model.clone());
        (0..count).for_each(|number| store.put(&number.to_be_bytes(), entry(number + count, 3)));
        prop_assert_eq!(store.walked(), store.model);
    }
}

#[test]
fn an_entry_that_has_changed_meanwhile_is_not_set_apart() {
    let mut store = Store::new(HashShape::DEFAULT);
    store.put(b"key", entry(1, 3));
    store.put(b"key", entry(2, 3));
    assert!(!store.index.set_apart(b"key", Some((b"key", entry(1, 3)))));
    assert!(!store.index.set_apart(b"key", None));
    assert_eq!(store.index.find(b"key"), Found::OfTag(entry(2, 3)));
}

#[test]
#[cfg_attr(miri, ignore = "it is so of many keys, which take hours there")]
fn memory_of_removed_keys_serves_new_ones() {
    let mut store = Store::new(HashShape { seed: Some(7), ..HashShape::DEFAULT });
    let mut bytes = Vec::new();
    for round in 0..4u32 {
        let numbers = round * MANY..(round + 1) * MANY;
        numbers.clone().for_each(|number| store.put(&number.to_be_bytes(), entry(number, 3)));
        bytes.push(store.index.memory_bytes());
        numbers.for_each(|number| assert!(store.index.remove_if(&number.to_be_bytes(), entry(number, 3))));
    }
    assert_eq!(store.index.key_count(), 0);
    assert!(bytes[3] < bytes[0] + bytes[0] / 5, "{bytes:?}");
}

#[test]
fn threads_that_write_side_by_side_lose_nothing() {
    let index = HashIndex::new(HashShape::DEFAULT);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let index = &index;
            scope.spawn(move || {
                for number in (thread..MANY).step_by(4) {
                    index.upsert(&number.to_be_bytes(), entry(number, 3));
                    assert_eq!(index.lookup(&number.to_be_bytes()), Some(entry(number, 3)));
                }
            });
        }
    });
    assert_eq!(index.key_count(), MANY as usize);
}
