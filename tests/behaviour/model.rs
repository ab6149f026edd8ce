//! Random operations, in a store and in a `BTreeMap`: the two never differ, across reopening, at all durabilities mixed.
//!
//! Openings have either kind of index. Values of up to 2 MiB in zones of 1 MiB, so that the collector and large values take part. A failure prints the
//! operations (proptest) or the seed (the long run) that lead to it.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rand::RngExt;
use rand::rngs::SmallRng;
use zonal::{Db, Durability, ErrorKind, IndexKind, WriteBatch};

use crate::support::{
    KIB, LEVELS, MIB, Model, Place, at, expect_bytes, expect_no_lost_zone, expect_same, seeded, some_length,
    stamped,
};

const KEY_COUNT: u8 = 40;

/// Keys that are prefixes of each other, binary, and long: every number is another one.
fn key_of(number: u8) -> Vec<u8> {
    match number % 8 {
        0 => vec![0xff; usize::from(number) + 1],
        1 => vec![number; 65_535],
        2 => [b"prefix/".as_slice(), &[number]].concat(),
        3 => [b"prefix/".as_slice(), &[number], b"/and more"].concat(),
        4 => vec![0, number],
        _ => format!("key {number:03}").into_bytes(),
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Put { key: u8, value: Content, level: Durability },
    Delete { key: u8, level: Durability },
    Batch { writes: Vec<(u8, Option<Content>)>, level: Durability },
    Swap { key: u8, is_expected: bool, new: Option<Content> },
    Get { key: u8 },
    MultiGet { keys: Vec<u8> },
    Walk { low: (u8, u8), high: (u8, u8), turns: Vec<bool> },
    Prefix { key: u8, len_bytes: usize, reverse: bool },
    Flush,
    Close,
    Drop,
}

/// A value by what it is made from, so that a failure's operations can be read.
#[derive(Clone, Copy, Debug)]
struct Content {
    stamp: u64,
    len_bytes: usize,
}

impl Content {
    fn bytes(self) -> Vec<u8> {
        stamped(self.stamp, self.len_bytes)
    }
}

/// The kinds of index that the openings of a store have, by turns.
type Kinds = &'static [IndexKind];

const ORDERED: Kinds = &[IndexKind::Ordered];
const HASH: Kinds = &[IndexKind::Hash];
const BY_TURNS: Kinds = &[IndexKind::Hash, IndexKind::Ordered];

/// A store, what it should hold, and how it is opened again.
struct Pair {
    place: Place,
    db: Option<Db>,
    model: Model,
    kinds: Kinds,
    opening_count: usize,
}

impl Pair {
    fn new(kinds: Kinds) -> Self {
        let mut pair = Self { place: Place::new(20), db: None, model: Model::new(), kinds, opening_count: 0 };
        pair.open();
        pair
    }

    fn kind(&self) -> IndexKind {
        self.kinds[self.opening_count % self.kinds.len()]
    }

    fn open(&mut self) {
        self.opening_count += 1;
        let options = self.place.options().index(self.kind());
        self.db = Some(Db::open(self.place.path(), options).expect("open the store"));
    }

    /// Without an order the keys that there may be are asked for one by one.
    fn expect_same(&self) {
        if self.kind() == IndexKind::Ordered {
            return expect_same(self.db(), &self.model);
        }
        self.multi_get(&(0..KEY_COUNT).collect::<Vec<_>>());
        assert_eq!(self.db().stats().keys, self.model.len() as u64);
    }

    /// Whether walks are refused, as they must be.
    fn refuses(&self, mut walk: zonal::Range) -> bool {
        if self.kind() == IndexKind::Ordered {
            return false;
        }
        let error = walk.next().expect("an error").expect_err("no order");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(walk.next().is_none() && walk.next_back().is_none());
        true
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("a store is open between operations")
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Put { key, value, level } => self.put(*key, *value, *level),
            Operation::Delete { key, level } => {
                self.db().delete_with(key_of(*key), at(*level)).expect("deletes succeed always");
                self.model.remove(&key_of(*key));
            }
            Operation::Batch { writes, level } => self.batch(writes, *level),
            Operation::Swap { key, is_expected, new } => self.swap(*key, *is_expected, *new),
            Operation::Get { key } => {
                let (key, found) = (key_of(*key), self.db().get(key_of(*key)).unwrap());
                expect_bytes(&key, found.as_deref(), self.model.get(&key));
                assert_eq!(self.db().contains_key(&key).unwrap(), self.model.contains_key(&key));
            }
            Operation::MultiGet { keys } => self.multi_get(keys),
            Operation::Walk { low, high, turns } => self.walk(bound(*low), bound(*high), turns),
            Operation::Prefix { key, len_bytes, reverse } => self.prefix(*key, *len_bytes, *reverse),
            Operation::Flush => self.db().flush().unwrap(),
            Operation::Close => self.reopen(|db| db.close().expect("close")),
            Operation::Drop => self.reopen(drop),
        }
    }

    fn put(&mut self, key: u8, value: Content, level: Durability) {
        let (key, value) = (key_of(key), value.bytes());
        if fitted(self.db().put_with(&key, &value, at(level))) {
            self.model.insert(key, value);
        }
    }

    fn batch(&mut self, writes: &[(u8, Option<Content>)], level: Durability) {
        let (mut batch, mut after) = (WriteBatch::new(), self.model.clone());
        for (key, content) in writes {
            let key = key_of(*key);
            match content.map(Content::bytes) {
                Some(value) => {
                    batch.put(&key, &value);
                    after.insert(key, value);
                }
                None => {
                    batch.delete(&key);
                    after.remove(&key);
                }
            }
        }
        if fitted(self.db().write_with(batch, at(level))) {
            self.model = after;
        }
    }

    fn swap(&mut self, key: u8, is_expected: bool, new: Option<Content>) {
        let (key, new) = (key_of(key), new.map(Content::bytes));
        let current = self.model.get(&key).cloned();
        let other = current.as_ref().map_or(Some(Vec::new()), |current| Some([current, &b"!"[..]].concat()));
        let expected = if is_expected { current.clone() } else { other };
        match self.db().compare_and_swap(&key, expected.as_ref(), new.as_ref()) {
            Ok(Ok(())) => {
                assert!(is_expected, "swapped in spite of another value");
                match new {
                    Some(new) => self.model.insert(key, new),
                    None => self.model.remove(&key),
                };
            }
            Ok(Err(found)) => {
                assert!(!is_expected, "not swapped though the value was as expected");
                expect_bytes(&key, found.as_deref(), current.as_ref());
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}"),
        }
    }

    fn multi_get(&self, keys: &[u8]) {
        let keys: Vec<Vec<u8>> = keys.iter().map(|&key| key_of(key)).collect();
        let values = self.db().multi_get(&keys).unwrap();
        for (key, value) in keys.iter().zip(&values) {
            expect_bytes(key, value.as_deref(), self.model.get(key));
        }
    }

    /// Takes from the front where a turn is true and from the back where it is false, over and over.
    fn walk(&self, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>, turns: &[bool]) {
        let mut range = self.db().range((low.clone(), high.clone()));
        // A range between bounds that leave nothing is empty whatever the index.
        let is_none = is_inverted(&low, &high);
        if !is_none && self.refuses(self.db().range((low.clone(), high.clone()))) {
            return;
        }
        let mut wanted = range_of(&self.model, low, high);
        let mut turns = turns.iter().cycle();
        loop {
            let front = *turns.next().expect("a cycle does not end");
            let item = if front { range.next() } else { range.next_back() };
            let expected = if front { wanted.next() } else { wanted.next_back() };
            let Some(item) = item else {
                assert!(expected.is_none(), "the walk ended early");
                return;
            };
            let ((key, value), (expected_key, expected_value)) = (item.unwrap(), expected.expect("an end"));
            assert_eq!(key.escape_ascii().to_string(), expected_key.escape_ascii().to_string());
            expect_bytes(&key, Some(&value), Some(expected_value));
        }
    }

    fn prefix(&self, key: u8, len_bytes: usize, reverse: bool) {
        let key = key_of(key);
        let prefix = &key[..len_bytes.min(key.len())];
        if self.refuses(self.db().prefix(prefix)) {
            return;
        }
        let range = self.db().prefix(prefix).map(|item| item.unwrap().0);
        let wanted = self.model.keys().filter(|key| key.starts_with(prefix)).cloned();
        let same = if reverse { range.rev().eq(wanted.rev()) } else { range.eq(wanted) };
        assert!(same, "prefix {}", prefix[..prefix.len().min(40)].escape_ascii());
    }

    fn reopen(&mut self, end: impl FnOnce(Db)) {
        expect_no_lost_zone(self.db());
        end(self.db.take().expect("a store is open between operations"));
        self.place.expect_sound();
        self.open();
        self.expect_same();
    }
}

/// Whether a write was made; the only excuse is that there was no room.
fn fitted(result: zonal::Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
            false
        }
    }
}

fn bound((kind, key): (u8, u8)) -> Bound<Vec<u8>> {
    match kind % 3 {
        0 => Unbounded,
        1 => Included(key_of(key)),
        _ => Excluded(key_of(key)),
    }
}

fn is_inverted(low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> bool {
    match (low, high) {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(low), Included(high)) => low > high,
        (Included(low) | Excluded(low), Included(high) | Excluded(high)) => low >= high,
    }
}

/// As `BTreeMap::range`, which panics where a range is inverted.
fn range_of(
    model: &Model,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
) -> std::collections::btree_map::Range<'_, Vec<u8>, Vec<u8>> {
    if is_inverted(&low, &high) {
        model.range::<Vec<u8>, _>((Unbounded, Excluded(Vec::new())))
    } else {
        model.range((low, high))
    }
}

fn content() -> impl Strategy<Value = Content> {
    let len_bytes = prop_oneof![
        1 => Just(0usize),
        12 => 1..600usize,
        4 => 600..40 * KIB,
        2 => 40 * KIB..200 * KIB,
        1 => 200 * KIB..2 * MIB,
    ];
    (any::<u32>(), len_bytes).prop_map(|(stamp, len_bytes)| Content { stamp: stamp.into(), len_bytes })
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = || 0..KEY_COUNT;
    let level = || prop::sample::select(LEVELS.to_vec());
    let write = (key(), prop::option::weighted(0.7, content()));
    prop_oneof![
        12 => (key(), content(), level()).prop_map(|(key, value, level)| Operation::Put { key, value, level }),
        4 => (key(), level()).prop_map(|(key, level)| Operation::Delete { key, level }),
        4 => (vec(write, 0..8), level()).prop_map(|(writes, level)| Operation::Batch { writes, level }),
        4 => (key(), any::<bool>(), prop::option::weighted(0.8, content()))
            .prop_map(|(key, is_expected, new)| Operation::Swap { key, is_expected, new }),
        4 => key().prop_map(|key| Operation::Get { key }),
        2 => vec(key(), 0..100).prop_map(|keys| Operation::MultiGet { keys }),
        3 => ((0..3u8, key()), (0..3u8, key()), vec(any::<bool>(), 1..6))
            .prop_map(|(low, high, turns)| Operation::Walk { low, high, turns }),
        2 => (key(), 0..12usize, any::<bool>())
            .prop_map(|(key, len_bytes, reverse)| Operation::Prefix { key, len_bytes, reverse }),
        1 => Just(Operation::Flush),
        1 => Just(Operation::Close),
        1 => Just(Operation::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_iters: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_and_a_map_agree_after_any_operations(
        kinds in prop::sample::select(vec![ORDERED, HASH, BY_TURNS]), operations in vec(operation(), 1..100),
    ) {
        let mut pair = Pair::new(kinds);
        for operation in &operations {
            pair.apply(operation);
        }
        pair.reopen(drop);
    }
}

fn random_content(random: &mut SmallRng) -> Content {
    let most = if random.random_ratio(1, 40) { 2 * MIB } else { 200 * KIB };
    Content { stamp: random.random(), len_bytes: some_length(random, most) }
}

fn random_operation(random: &mut SmallRng) -> Operation {
    let key = random.random_range(0..KEY_COUNT);
    let level = LEVELS[random.random_range(0..3)];
    let write = |random: &mut SmallRng| random.random_ratio(7, 10).then(|| random_content(random));
    match random.random_range(0..100) {
        0..45 => Operation::Put { key, value: random_content(random), level },
        45..55 => Operation::Delete { key, level },
        55..68 => {
            let count = random.random_range(0..10);
            let writes = (0..count).map(|_| (random.random_range(0..KEY_COUNT), write(random))).collect();
            Operation::Batch { writes, level }
        }
        68..80 => Operation::Swap { key, is_expected: random.random(), new: write(random) },
        80..88 => Operation::Get { key },
        88..91 => Operation::MultiGet { keys: (0..80).map(|_| random.random_range(0..KEY_COUNT)).collect() },
        91..95 => Operation::Walk {
            low: (random.random_range(0..3), random.random_range(0..KEY_COUNT)),
            high: (random.random_range(0..3), random.random_range(0..KEY_COUNT)),
            turns: (0..4).map(|_| random.random()).collect(),
        },
        95..97 => Operation::Prefix { key, len_bytes: random.random_range(0..12), reverse: random.random() },
        97..99 => Operation::Flush,
        _ => [Operation::Close, Operation::Drop][random.random_range(0..2)].clone(),
    }
}

#[test]
fn a_store_and_a_map_agree_over_a_long_life() {
    for (seed, kinds) in [(1, ORDERED), (2, HASH), (3, BY_TURNS)] {
        println!("seed {seed}");
        let (mut random, mut pair) = (seeded(seed), Pair::new(kinds));
        for _ in 0..2000 {
            pair.apply(&random_operation(&mut random));
        }
        pair.reopen(|db| db.close().expect("close"));
        assert!(pair.db().stats().zone_resets > 10, "the collector has taken part");
    }
}
