//! Writers whose every call can be told from its thread and number, and what must be there after they were killed.
//!
//! Each thread has keys of its own and makes its calls one after the other, so that the state of its keys is that after
//! some number of its calls, byte for byte. Batches carry, besides, how far the writer knew every thread to be when it
//! began: nothing that had returned by then may be missing if the batch is there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use zonal::{Db, Durability, Options, WriteBatch, WriteOptions};

use crate::child::{Task, tell};
use crate::stores::{assert_sound, contents, small};

/// Threads of a writer.
pub(crate) const THREADS: usize = 4;
const ZONES: u64 = 16;
const KEYS: u64 = 25;
/// Incremented by everybody through compare-and-swap.
const COUNTER: &[u8] = b"counter";
/// A call whose effect later ones have hidden: so many of them at most are tried one by one.
const HIDDEN_CALLS: u64 = 10;

/// What a call does. Whatever the store learns to do belongs here, so that it is killed while it does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Put,
    Delete,
    Batch,
    Large,
    /// Replaces the value that the thread's last call of this kind wrote.
    Swap,
    /// Increments the common counter.
    Count,
    Flush,
    /// One thread writes a checkpoint of the index; the others go on.
    Checkpoint,
}

/// In the order of the calls' numbers, again and again.
const OPERATIONS: [Operation; 17] = {
    use Operation::{Batch, Checkpoint, Count, Delete, Flush, Large, Put, Swap};
    [
        Put, Batch, Put, Delete, Put, Swap, Put, Count, Put, Batch, Large, Put, Put, Batch, Put, Checkpoint,
        Flush,
    ]
};

/// How far a thread knew the others to be, itself included.
type Seen = [u64; THREADS];

fn operation(number: u64) -> Operation {
    OPERATIONS[usize::try_from(number).expect("few calls") % OPERATIONS.len()]
}

pub(crate) fn options() -> Options {
    small(ZONES)
}

fn value(number: u64, bytes: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(bytes).collect()
}

fn number_in(value: &[u8]) -> u64 {
    u64::from_le_bytes(*value.first_chunk().expect("a value begins with its number"))
}

fn durability_of(thread: usize, number: u64) -> Durability {
    match (number + thread as u64) % 11 {
        0 | 5 => Durability::Sync,
        1 | 2 | 6 | 7 | 9 => Durability::Written,
        _ => Durability::Buffered,
    }
}

/// The writes of a call, but for what batches say of the other threads.
fn writes_of(thread: usize, number: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut random = StdRng::seed_from_u64(number * THREADS as u64 + thread as u64);
    let mut key = || format!("{thread} key {:03}", random.random_range(0..KEYS)).into_bytes();
    match operation(number) {
        Operation::Put => {
            let bytes = if number.is_multiple_of(3) { 8 } else { 3000 };
            vec![(key(), Some(value(number, bytes)))]
        }
        Operation::Delete => vec![(key(), None)],
        Operation::Batch => {
            let puts = (0..5).map(|_| (key(), Some(value(number, 500)))).collect::<Vec<_>>();
            puts.into_iter().chain([(key(), None), (mark(thread), Some(value(number, 8)))]).collect()
        }
        Operation::Large => vec![(format!("{thread} large").into(), Some(value(number, 200_000)))],
        Operation::Swap => vec![(swapped(thread), Some(value(number, 100)))],
        Operation::Count | Operation::Flush | Operation::Checkpoint => Vec::new(),
    }
}

fn mark(thread: usize) -> Vec<u8> {
    format!("{thread} mark").into()
}

fn swapped(thread: usize) -> Vec<u8> {
    format!("{thread} swapped").into()
}

/// Writes from many threads until the process is killed. The task's argument says how far each thread is.
pub(crate) fn write_for_ever(task: &Task) {
    let writer = Writer::new(&task.argument);
    let db = Db::open(&task.store, options()).expect("open");
    tell("opened");
    writer.run(&db, |_| true);
}

/// The same, and closes the store and opens it again every few calls.
pub(crate) fn write_and_close_for_ever(task: &Task) {
    let writer = Writer::new(&task.argument);
    for round in 1.. {
        let db = Db::open(&task.store, options()).expect("open");
        let begun = writer.committed();
        writer.run(&db, |number| number % 7 != round % 7 || begun.contains(&(number - 1)));
        db.close().expect("close");
        tell(&format!("flushed {}", joined(&writer.committed())));
    }
}

/// The threads' counts of calls that have returned.
pub(crate) struct Writer {
    committed: [AtomicU64; THREADS],
}

impl Writer {
    pub(crate) fn new(done: &str) -> Self {
        Self { committed: split(done).map(AtomicU64::new) }
    }

    fn committed(&self) -> Seen {
        std::array::from_fn(|thread| self.committed[thread].load(Ordering::Acquire))
    }

    /// Makes calls from all threads, each as long as `goes_on` says of the next number.
    pub(crate) fn run(&self, db: &Db, goes_on: impl Fn(u64) -> bool + Sync) {
        let outcome = self.try_run(db, &goes_on);
        outcome.expect("calls succeed");
    }

    /// The same, until a call fails.
    pub(crate) fn try_run(&self, db: &Db, goes_on: &(impl Fn(u64) -> bool + Sync)) -> zonal::Result<()> {
        std::thread::scope(|scope| {
            let run = |thread: usize| {
                let first = self.committed[thread].load(Ordering::Acquire) + 1;
                for number in (first..).take_while(|&number| goes_on(number)) {
                    self.call(db, thread, number)?;
                }
                Ok(())
            };
            // Where no more threads are to be had, fewer write.
            let spawn = |thread| std::thread::Builder::new().spawn_scoped(scope, move || run(thread)).ok();
            let threads: Vec<_> = (1..THREADS).map_while(spawn).collect();
            let mine = run(0);
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a writer panicked"))
                .fold(mine, Result::and)
        })
    }

    fn call(&self, db: &Db, thread: usize, number: u64) -> zonal::Result<()> {
        let seen = self.committed();
        let durability = durability_of(thread, number);
        let mut level = if durability == Durability::Buffered { "buffered" } else { "kept" };
        match operation(number) {
            Operation::Flush => {
                db.flush()?;
                tell(&format!("flushed {}", joined(&seen)));
            }
            Operation::Checkpoint => {
                if thread == 0 {
                    let _there_is_no_room_now_and_then = db.checkpoint()?;
                }
                level = "buffered";
            }
            Operation::Count => {
                tell(&format!("counted {}", count(db)?));
            }
            Operation::Swap => {
                let before = last_swap_before(number).map(|number| value(number, 100));
                let swapped =
                    db.compare_and_swap(swapped(thread), before.as_ref(), Some(value(number, 100)))?;
                assert!(swapped.is_ok(), "nobody else writes this key");
                level = "kept";
            }
            other => {
                // To delete what is not there writes nothing that could be kept.
                if other == Operation::Delete && !db.contains_key(&writes_of(thread, number)[0].0)? {
                    level = "buffered";
                }
                db.write_with(batch(thread, number, &seen), WriteOptions::default().durability(durability))?;
            }
        }
        // From here on whoever begins a write begins it after this one.
        self.committed[thread].store(number, Ordering::Release);
        tell(&format!("{level} {thread} {number}"));
        Ok(())
    }
}

fn batch(thread: usize, number: u64, seen: &Seen) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, value) in writes_of(thread, number) {
        match value {
            Some(value) if key == mark(thread) => {
                let seen = seen.iter().flat_map(|number| number.to_le_bytes());
                batch.put(key, value.into_iter().chain(seen).collect::<Vec<u8>>());
            }
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
    }
    batch
}

/// Increments the common counter and gives what it is then.
fn count(db: &Db) -> zonal::Result<u64> {
    let mut current = db.get(COUNTER)?;
    loop {
        let next = current.as_deref().map_or(0, number_in) + 1;
        match db.compare_and_swap(COUNTER, current.as_deref(), Some(next.to_le_bytes()))? {
            Ok(()) => return Ok(next),
            Err(other) => current = other,
        }
    }
}

fn last_swap_before(number: u64) -> Option<u64> {
    (1..number).rev().take(OPERATIONS.len()).find(|&earlier| operation(earlier) == Operation::Swap)
}

fn joined(numbers: &Seen) -> String {
    numbers.map(|number| number.to_string()).join(" ")
}

fn split(numbers: &str) -> Seen {
    let mut words = numbers.split(' ').map(|word| word.parse().expect("a number"));
    std::array::from_fn(|_| words.next().expect("a number for each thread"))
}

/// What writers have done so far, as far as it was found after the last of them ended.
#[derive(Default)]
pub(crate) struct History {
    done: Seen,
    state: [BTreeMap<Vec<u8>, Vec<u8>>; THREADS],
    /// What must be there, of each thread, and of the counter.
    acknowledged: Seen,
    counted: u64,
}

impl History {
    /// The argument for the next writer.
    pub(crate) fn argument(&self) -> String {
        joined(&self.done)
    }

    /// How many calls there have been.
    pub(crate) fn call_count(&self) -> u64 {
        self.done.iter().sum()
    }

    /// Takes down what a writer was told.
    pub(crate) fn take_down(&mut self, told: &[String]) {
        for line in told {
            let mut words = line.split(' ');
            match words.next().expect("a word") {
                "flushed" => {
                    let flushed = split(line.strip_prefix("flushed ").expect("just looked at"));
                    self.raise(flushed);
                }
                "counted" => {
                    let counted = words.next().and_then(|word| word.parse().ok()).expect("a count");
                    self.counted = self.counted.max(counted);
                }
                "kept" => {
                    let mut number = || words.next().expect("a number").parse::<u64>().expect("a number");
                    let (thread, number) = (usize::try_from(number()).expect("few"), number());
                    self.acknowledged[thread] = self.acknowledged[thread].max(number);
                }
                _ => {}
            }
        }
    }

    fn raise(&mut self, kept: Seen) {
        for (acknowledged, kept) in self.acknowledged.iter_mut().zip(kept) {
            *acknowledged = kept.max(*acknowledged);
        }
    }

    /// Checks that the store is sound and holds what it must, and takes that for the state from which writers go on.
    pub(crate) fn verify(&mut self, store: &Path, context: &str) {
        assert_sound(store, context);
        let db = Db::open(store, options().read_only(true)).expect("open");
        let mut found = contents(&db);
        let counted = found.remove(COUNTER).map_or(0, |value| number_in(&value));
        assert!(counted >= self.counted, "{context}: counted to {}, found {counted}", self.counted);
        let mut own: [BTreeMap<_, _>; THREADS] = std::array::from_fn(|_| BTreeMap::new());
        for (key, value) in found {
            let thread = usize::from(key[0] - b'0');
            own[thread].insert(key, value);
        }
        let mut seen = [None; THREADS];
        for (thread, mut own) in own.into_iter().enumerate() {
            seen[thread] = own.get_mut(&mark(thread)).map(take_seen);
            self.find(thread, &own, context);
        }
        for (thread, seen) in seen.into_iter().enumerate() {
            let Some(seen) = seen else { continue };
            (0..THREADS).for_each(|other| self.pass_over_calls_without_effect(other, seen[other]));
            let missing = seen.iter().zip(self.done).position(|(&seen, done)| seen > done);
            assert_eq!(missing, None, "{context}: thread {thread} saw {seen:?}, found was {:?}", self.done);
        }
        // What has been found stays.
        self.acknowledged = self.done;
        self.counted = counted;
    }

    /// Finds the call after which a thread's keys are as they are.
    fn find(&mut self, thread: usize, found: &BTreeMap<Vec<u8>, Vec<u8>>, context: &str) {
        let visible = found.values().map(|value| number_in(value)).max().unwrap_or(0);
        let at_least = visible.max(self.acknowledged[thread]).max(self.done[thread]);
        while self.done[thread] < at_least {
            self.advance(thread);
        }
        for _ in 0..HIDDEN_CALLS {
            if self.state[thread] == *found {
                return;
            }
            self.advance(thread);
        }
        panic!(
            "{context}: thread {thread} does not have its state after any call from {at_least} on (acknowledged {}, \
             the last one seen {visible})",
            self.acknowledged[thread]
        );
    }

    /// Takes calls for done, up to `to` at least, after which a thread's keys are as they are again: flushes, deletes of what is
    /// not there, puts of what the call behind them deletes.
    fn pass_over_calls_without_effect(&mut self, thread: usize, to: u64) {
        let (done, state) = (self.done[thread], self.state[thread].clone());
        while self.done[thread] < to + HIDDEN_CALLS {
            if self.done[thread] >= to && self.state[thread] == state {
                return;
            }
            self.advance(thread);
        }
        (self.done[thread], self.state[thread]) = (done, state);
    }

    fn advance(&mut self, thread: usize) {
        self.done[thread] += 1;
        for (key, value) in writes_of(thread, self.done[thread]) {
            match value {
                Some(value) => self.state[thread].insert(key, value),
                None => self.state[thread].remove(&key),
            };
        }
    }
}

/// Splits what a batch says of the other threads off its number.
fn take_seen(mark: &mut Vec<u8>) -> Seen {
    let seen = mark.split_off(8);
    std::array::from_fn(|thread| number_in(&seen[8 * thread..]))
}
