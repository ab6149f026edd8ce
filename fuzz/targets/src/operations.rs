//! A sequence of operations on a store, with crashes: the store is compared with a model all along.
//!
//! A crash is a copy of the store's file, taken while the store is open, and opened in its place: what a killed process leaves. What
//! was acknowledged at `Written` or `Sync` must be there, of the rest a prefix, and no batch in part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use zonal::{Db, Depth, Durability, ErrorKind, Options, WriteBatch, WriteOptions};

/// Few, so that they are written again and again.
const KEYS: u8 = 16;
/// Longer sequences find nothing that several short ones do not.
const MOST_OPERATIONS: usize = 64;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Level {
    Sync,
    Written,
    Buffered,
}

impl Level {
    fn options(self) -> WriteOptions {
        WriteOptions::default().durability(match self {
            Self::Sync => Durability::Sync,
            Self::Written => Durability::Written,
            Self::Buffered => Durability::Buffered,
        })
    }

    fn survives_a_kill(self) -> bool {
        !matches!(self, Self::Buffered)
    }
}

#[derive(Arbitrary, Clone, Debug)]
enum Operation {
    Put {
        key: u8,
        kind: u8,
        level: Level,
    },
    Delete {
        key: u8,
        level: Level,
    },
    Batch {
        writes: Vec<(u8, Option<u8>)>,
        level: Level,
    },
    Swap {
        key: u8,
        is_expected: bool,
        kind: u8,
    },
    /// Enough writes of one key to fill zones, so that the collector has something to do.
    Churn {
        key: u8,
        level: Level,
    },
    Walk,
    Flush,
    Close,
    Crash,
}

/// Values by the numbers of their keys.
type Contents = BTreeMap<u8, Arc<[u8]>>;

fn key_of(number: u8) -> Vec<u8> {
    match number {
        0 => vec![0xff; 300],
        1 => vec![7; 65_535],
        key => vec![b'k', key],
    }
}

/// The store, and what it holds by the model after each write that a crash may take.
struct Pair {
    path: PathBuf,
    db: Option<Db>,
    /// The contents that a crash may leave, oldest first; the last is what is there now.
    states: Vec<Contents>,
    stamp: u64,
    crash_count: u32,
}

/// Takes the bytes for a sequence of operations, and does them.
///
/// # Panics
/// When the store does not do what the model does.
pub fn run(bytes: &[u8]) {
    let operations = operations_of(bytes);
    if operations.is_empty() {
        return;
    }
    let _told = TellOnPanic(&operations);
    let directory = tempfile::Builder::new().tempdir_in(memory_directory()).expect("a temporary directory");
    let path = directory.path().join("store.zonal");
    let db = Some(Db::open(&path, options()).expect("make a store"));
    let mut pair = Pair { path, db, states: vec![Contents::new()], stamp: 0, crash_count: 0 };
    operations.iter().for_each(|operation| pair.perform(operation));
    pair.close();
    pair.check_closed();
}

/// A failure says what led to it.
struct TellOnPanic<'a>(&'a [Operation]);

impl Drop for TellOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(|operation| eprintln!("{operation:?}"));
        }
    }
}

fn operations_of(bytes: &[u8]) -> Vec<Operation> {
    let mut input = Unstructured::new(bytes);
    let mut operations = Vec::new();
    while !input.is_empty() && operations.len() < MOST_OPERATIONS {
        let Ok(operation) = Operation::arbitrary(&mut input) else { break };
        operations.push(operation);
    }
    operations
}

/// Flushes cost nothing there.
fn memory_directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn options() -> Options {
    Options::default()
        .capacity_bytes(12 << 19)
        .zone_size_bytes(1 << 19)
        .zone_capacity_bytes(384 << 10)
        .unit_bytes(96 << 10)
        .cache_bytes(64 << 10)
        .queue(zonal::QueueKind::Threads)
}

impl Pair {
    fn db(&self) -> &Db {
        self.db.as_ref().expect("it is closed only between two operations")
    }

    fn now(&self) -> &Contents {
        self.states.last().expect("never empty")
    }

    /// A value that no other write has; its kind says how long it is.
    fn value(&mut self, kind: u8) -> Arc<[u8]> {
        self.stamp += 1;
        let len_bytes = [0, 1, 100, 4000, 20_000, 60_000][usize::from(kind) % 6];
        self.stamp.to_le_bytes().into_iter().cycle().take(len_bytes).collect()
    }

    fn perform(&mut self, operation: &Operation) {
        match operation {
            Operation::Put { key, kind, level } => {
                let value = self.value(*kind);
                self.write(&[(key % KEYS, Some(value))], *level);
            }
            Operation::Delete { key, level } => self.write(&[(key % KEYS, None)], *level),
            Operation::Batch { writes, level } => self.batch(writes, *level),
            Operation::Swap { key, is_expected, kind } => self.swap(key % KEYS, *is_expected, *kind),
            Operation::Churn { key, level } => {
                for _ in 0..12 {
                    let value = self.value(5);
                    self.write(&[(key % KEYS, Some(value))], *level);
                }
            }
            Operation::Walk => self.compare(),
            Operation::Flush => {
                self.db().flush().expect("flush");
                self.keep_only_now();
            }
            Operation::Close => {
                self.close();
                self.reopen();
                self.compare();
            }
            Operation::Crash => self.crash(),
        }
    }

    fn batch(&mut self, writes: &[(u8, Option<u8>)], level: Level) {
        const MOST_WRITES: usize = 6;
        let mut batch = Vec::new();
        for (key, kind) in writes.iter().take(MOST_WRITES) {
            let value = kind.map(|kind| self.value(kind));
            batch.push((key % KEYS, value));
        }
        self.write(&batch, level);
    }

    fn write(&mut self, writes: &[(u8, Option<Arc<[u8]>>)], level: Level) {
        let mut batch = WriteBatch::new();
        let mut next = self.now().clone();
        for (key, value) in writes {
            match value {
                Some(value) => {
                    batch.put(key_of(*key), value);
                    next.insert(*key, Arc::clone(value));
                }
                None => {
                    batch.delete(key_of(*key));
                    next.remove(key);
                }
            }
        }
        match self.db().write_with(batch, level.options()) {
            Ok(()) => self.states.push(next),
            Err(error) if error.kind() == ErrorKind::NoSpace => return,
            Err(error) => panic!("{error}"),
        }
        if level.survives_a_kill() {
            self.keep_only_now();
        }
    }

    fn swap(&mut self, key: u8, is_expected: bool, kind: u8) {
        let (new, before) = (self.value(kind), self.now().get(&key).cloned());
        let expected =
            if is_expected { before.clone() } else { Some(b"nobody writes this".as_slice().into()) };
        match self.db().compare_and_swap(key_of(key), expected.as_ref(), Some(&new)) {
            Ok(Ok(())) => {
                assert!(is_expected, "exchanged what was not there");
                let mut next = self.now().clone();
                next.insert(key, new);
                self.states.push(next);
                self.keep_only_now();
            }
            Ok(Err(found)) => {
                assert!(!is_expected, "refused what was there");
                assert_eq!(found.as_deref(), before.as_deref());
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}"),
        }
    }

    /// A crash can take nothing of what is there now.
    fn keep_only_now(&mut self) {
        self.states.drain(..self.states.len() - 1);
    }

    fn contents(&self) -> Contents {
        let numbers: BTreeMap<Vec<u8>, u8> = (0..KEYS).map(|number| (key_of(number), number)).collect();
        let items = self.db().iter().map(|item| item.expect("walk"));
        items.map(|(key, value)| (numbers[&key], value.to_vec().into())).collect()
    }

    fn compare(&self) {
        assert!(self.contents() == *self.now(), "the store differs from the model");
    }

    fn close(&mut self) {
        self.db.take().expect("it is open").close().expect("close");
        self.keep_only_now();
    }

    fn reopen(&mut self) {
        self.db = Some(Db::open(&self.path, options().create_if_missing(false)).expect("open"));
    }

    /// Goes on with what a kill at this point would leave.
    fn crash(&mut self) {
        self.crash_count += 1;
        let left = self.path.with_file_name(format!("left-{}.zonal", self.crash_count));
        self.copy_at_rest(&left);
        drop(self.db.take());
        std::fs::remove_file(&self.path).expect("remove what is not needed any more");
        self.path = left;
        self.reopen();
        let found = self.contents();
        assert!(self.states.contains(&found), "what a kill left is none of the {} states", self.states.len());
        // What recovery has decided stays decided.
        self.states = vec![found];
    }

    /// A copy takes time, in which the threads of the store go on: then it is no moment's state, and is made again.
    fn copy_at_rest(&self, to: &Path) {
        loop {
            let before = self.db().stats();
            std::fs::copy(&self.path, to).expect("copy");
            if self.db().stats() == before {
                return;
            }
        }
    }

    fn check_closed(&self) {
        let report = Db::check(&self.path, &options(), Depth::Deep, &|_| {}).expect("check");
        assert!(report.is_sound(), "{report:#?}");
    }
}
