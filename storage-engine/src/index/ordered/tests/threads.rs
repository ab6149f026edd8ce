//! The index under many threads.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{SMALL, entry};
use crate::index::{Entry, LargeId, OrderedIndex};

const WRITERS: u64 = 3;
/// Few, so that writers and scanners meet in the same leaves all the time.
const PERMANENT: u64 = 24;
/// Miri takes its time.
const SCANS: u32 = if cfg!(miri) { 5 } else { 5_000 };

/// Permanent keys have a number divisible by 8; between any two lie keys that writers put in and take out.
fn stress_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Each round puts in its share of what lies between the permanent keys, moves it and takes it out.
fn write_until(done: &AtomicBool, index: &OrderedIndex, writer: u64) {
    let own = || (0..PERMANENT * 8).filter(|number| number % 8 == writer + 1);
    while !done.load(Ordering::Acquire) {
        for number in own() {
            assert_eq!(index.upsert(&stress_key(number), entry(1)), None);
        }
        for number in own() {
            assert!(index.replace_if(&stress_key(number), entry(1), entry(2)));
        }
        for number in own() {
            assert!(index.remove_if(&stress_key(number), entry(2)));
        }
    }
}

fn assert_permanent_keys_in(found: &[(Box<[u8]>, Entry)]) {
    let permanent = found.iter().filter(|(key, _)| key[7].is_multiple_of(8)).map(|(key, _)| &key[..]);
    assert!(permanent.eq((0..PERMANENT).map(|n| stress_key(n * 8))), "each permanent key once, in order");
}

fn scan_both_ways(index: &OrderedIndex) {
    for _ in 0..SCANS {
        let mut found = index.all();
        assert!(found.is_sorted_by(|one, next| one.0 < next.0));
        assert_permanent_keys_in(&found);
        found.clear();
        index.descend(Bound::Unbounded, usize::MAX, &mut found);
        assert!(found.is_sorted_by(|one, next| one.0 > next.0));
        found.reverse();
        assert_permanent_keys_in(&found);
        assert!((0..PERMANENT).all(|n| index.lookup(&stress_key(n * 8)).is_some()));
    }
}

/// Tells the writers to stop, also when the scanner that holds it panics: they would go on for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn scans_miss_no_permanent_key_while_others_split_and_join_leaves() {
    let index = OrderedIndex::with_shape(SMALL);
    for number in 0..PERMANENT {
        index.upsert(&stress_key(number * 8), entry(number));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (done, index) = (&done, &index);
            scope.spawn(move || write_until(done, index, writer));
        }
        let _stop = StopOnDrop(&done);
        scan_both_ways(&index);
    });
    index.verify();
    assert_eq!(index.key_count(), usize::try_from(PERMANENT).expect("small"));
}

#[test]
fn upserts_of_one_key_from_many_threads_form_one_chain() {
    let index = OrderedIndex::with_shape(SMALL);
    let large = |number| Entry::Large { id: LargeId::new(number) };
    let mut replaced = std::thread::scope(|scope| {
        let threads = (0..4).map(|thread| {
            let index = &index;
            scope.spawn(move || {
                (0..1_000).filter_map(|n| index.upsert(b"one", large(thread * 1_000 + n))).collect::<Vec<_>>()
            })
        });
        let threads = threads.collect::<Vec<_>>();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(index.key_count(), 1);
    replaced.extend(index.lookup(b"one"));
    let mut ids = replaced
        .iter()
        .map(|entry| match entry {
            Entry::Large { id } => id.get(),
            other => panic!("{other:?} was never put"),
        })
        .collect::<Vec<_>>();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..4_000), "each entry is replaced by one other, but for the last");
    index.verify();
}
