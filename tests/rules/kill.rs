//! Processes that are killed while they write, clean and recover; what they were told is there is there afterwards.
//!
//! The test program runs itself: [`writer_process`] does nothing unless [`ROLE`] tells it what to be. It reports on its
//! standard error, one write(2) a report, after the store has acknowledged; the parent kills it after a random number of
//! reports and reads what was still reported before the end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use zonal::{Db, Durability, Options, WriteBatch, WriteOptions};

use crate::stores::{assert_sound, contents, small};

const ROLE: &str = "ZONAL_TEST_ROLE";
const STORE: &str = "ZONAL_TEST_STORE";
const FIRST: &str = "ZONAL_TEST_FIRST";
const ZONES: u64 = 14;
const KEYS: u64 = 60;
const THREADS: u64 = 4;

/// A process that writes until it is killed.
struct Writer {
    child: Child,
    reports: BufReader<ChildStderr>,
}

impl Writer {
    fn start(role: &str, store: &Path, first: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["--exact", "kill::writer_process", "--nocapture"])
            .env(ROLE, role)
            .env(STORE, store)
            .env(FIRST, first.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start a writer");
        let reports = BufReader::new(child.stderr.take().expect("it is piped"));
        Self { child, reports }
    }

    /// Kills the process after so many reports, and gives all that it reported.
    fn kill_after(mut self, count: u64) -> Vec<Report> {
        let mut reports = Vec::new();
        for _ in 0..count {
            reports.extend(self.report());
        }
        self.child.kill().expect("kill the writer");
        while let Some(report) = self.report() {
            reports.push(report);
        }
        self.child.wait().expect("wait for the writer");
        reports
    }

    fn report(&mut self) -> Option<Report> {
        let mut line = String::new();
        while self.reports.read_line(&mut line).expect("read a report") > 0 {
            // A report that the kill cut short was not given.
            if let Some(report) = line.strip_suffix('\n').and_then(Report::parse) {
                return Some(report);
            }
            assert!(!line.contains("panicked"), "the writer says: {line}");
            line.clear();
        }
        None
    }
}

/// What a writer was told by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    thread: u64,
    number: u64,
    level: Level,
}

/// What must be there after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// This write and all before it.
    Kept,
    /// Nothing yet.
    Buffered,
}

impl Report {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("report ")?.split(' ');
        let (thread, number) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let level = match words.next()? {
            "kept" => Level::Kept,
            "buffered" => Level::Buffered,
            _ => return None,
        };
        Some(Self { thread, number, level })
    }
}

fn report(thread: u64, number: u64, level: &str) {
    // One write(2), so that a report is there whole once the kernel has it.
    let line = format!("report {thread} {number} {level}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("report");
}

/// Not a test: the writers' entry, which returns at once when the tests are run.
#[test]
fn writer_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let variable = |name| std::env::var(name).expect("the parent sets it");
    let first = variable(FIRST).parse().expect("a number");
    let db = Db::open(variable(STORE), options()).expect("open");
    match role.as_str() {
        "calls" => make_calls(&db, first),
        "threads" => write_from_threads(&db, first),
        "opener" => report(0, 0, "kept"),
        role => panic!("unknown role {role}"),
    }
}

fn options() -> Options {
    small(ZONES)
}

fn value(number: u64, bytes: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(bytes).collect()
}

fn number_in(value: &[u8]) -> u64 {
    u64::from_le_bytes(*value.first_chunk().expect("a value begins with its number"))
}

fn durability_of(number: u64) -> Durability {
    match number % 11 {
        0 | 5 => Durability::Sync,
        1 | 2 | 6 | 7 | 9 => Durability::Written,
        _ => Durability::Buffered,
    }
}

/// The writes of a call: every call can be told from its number alone.
fn writes_of(number: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut random = StdRng::seed_from_u64(number);
    let mut key = || format!("key {:03}", random.random_range(0..KEYS)).into_bytes();
    let mark = (b"mark".to_vec(), Some(value(number, 8)));
    match number % 20 {
        0 => vec![(b"large".to_vec(), Some(value(number, 200_000))), mark],
        1..4 => vec![(key(), None), mark],
        4..7 => (0..6).map(|_| (key(), Some(value(number, 500)))).chain([mark]).collect(),
        _ => vec![(key(), Some(value(number, 3000)))],
    }
}

fn make_calls(db: &Db, first: u64) {
    for number in first.. {
        make_call(db, number);
    }
}

fn make_call(db: &Db, number: u64) {
    let mut batch = WriteBatch::new();
    for (key, value) in writes_of(number) {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
    }
    let durability = durability_of(number);
    db.write_with(batch, WriteOptions::default().durability(durability)).expect("write");
    if number.is_multiple_of(37) {
        db.flush().expect("flush");
        return report(0, number, "kept");
    }
    report(0, number, if durability == Durability::Buffered { "buffered" } else { "kept" });
}

/// The state after all calls up to and with `last`.
fn state_after(last: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = BTreeMap::new();
    for (key, value) in (1..=last).flat_map(writes_of) {
        match value {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    }
    state
}

/// Checks that the store is what some number of whole calls made it, and gives that number.
fn assert_prefix(store: &Path, acknowledged: u64, context: &str) -> u64 {
    assert_sound(store, context);
    let db = Db::open(store, options().read_only(true)).expect("open");
    let found = contents(&db);
    let last = found.values().map(|value| number_in(value)).max().unwrap_or(0);
    assert!(
        last >= acknowledged,
        "{context}: call {acknowledged} was acknowledged, {last} is the last there"
    );
    let expected = state_after(last);
    let wrong = expected.keys().chain(found.keys()).find(|key| expected.get(*key) != found.get(*key));
    assert_eq!(wrong, None, "{context}: not the state after call {last}");
    last
}

#[test]
fn a_killed_writer_leaves_a_prefix_of_its_calls_with_all_that_was_acknowledged() {
    let seed = 1;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let (mut first, mut resets) = (1, 0);
    for round in 0..25 {
        // A store that is killed while it is made is none yet; the first round lets it be made.
        let count = random.random_range(u64::from(round == 0)..400);
        let reports = Writer::start("calls", &store, first).kill_after(count);
        let acknowledged =
            reports.iter().filter(|report| report.level == Level::Kept).map(|report| report.number);
        let acknowledged = acknowledged.max().unwrap_or(first - 1);
        let context = format!("seed {seed}, round {round}");
        first = assert_prefix(&store, acknowledged, &context) + 1;
        resets = Db::open(&store, options().read_only(true)).unwrap().stats().zone_resets;
    }
    assert!(resets > 10, "the store was cleaned {resets} times only");
}

/// Each thread writes its own key 0, 1, 2 ... and, with it, the highest number of every other thread that it knows to be
/// committed. Both the order within a thread and the one that these tokens make must hold among the survivors.
fn write_from_threads(db: &Db, first: u64) {
    let committed: Vec<AtomicU64> = (0..THREADS).map(|_| AtomicU64::new(first - 1)).collect();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let committed = &committed;
            scope.spawn(move || {
                for number in first.. {
                    let seen: Vec<u64> =
                        committed.iter().map(|other| other.load(Ordering::Acquire)).collect();
                    let value: Vec<u8> =
                        [number].iter().chain(&seen).flat_map(|number| number.to_le_bytes()).collect();
                    let durability = durability_of(number + thread);
                    let mut batch = WriteBatch::new();
                    batch.put(format!("thread {thread}"), &value);
                    batch.put(format!("key {thread} {}", number % KEYS), value.repeat(50));
                    db.write_with(batch, WriteOptions::default().durability(durability)).expect("write");
                    // From here on whoever begins a write begins it after this one.
                    committed[usize::try_from(thread).unwrap()].store(number, Ordering::Release);
                    report(
                        thread,
                        number,
                        if durability == Durability::Buffered { "buffered" } else { "kept" },
                    );
                }
            });
        }
    });
}

#[test]
fn with_many_writers_no_later_write_survives_an_earlier_lost_one() {
    let seed = 2;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let mut first = 1;
    for round in 0..15 {
        let context = format!("seed {seed}, round {round}");
        let reports = Writer::start("threads", &store, first).kill_after(random.random_range(1..1200));
        assert_sound(&store, &context);
        let db = Db::open(&store, options().read_only(true)).unwrap();
        let survivors: Vec<Option<Vec<u64>>> = (0..THREADS)
            .map(|thread| {
                let value = db.get(format!("thread {thread}")).unwrap()?;
                let numbers = value.chunks(8).map(number_in).collect::<Vec<u64>>();
                let twin = db.get(format!("key {thread} {}", numbers[0] % KEYS)).unwrap();
                assert_eq!(twin.as_deref(), Some(&value.repeat(50)[..]), "{context}: a batch was torn");
                Some(numbers)
            })
            .collect();
        let last = |thread: u64| survivors[usize::try_from(thread).unwrap()].as_ref().map_or(0, |it| it[0]);
        for kept in reports.iter().filter(|report| report.level == Level::Kept) {
            assert!(last(kept.thread) >= kept.number, "{context}: {kept:?} is lost");
        }
        for numbers in survivors.iter().flatten() {
            for (thread, &seen) in (0..THREADS).zip(&numbers[1..]) {
                // A run begins with the numbers of the one before taken for committed, which some threads never reached.
                let seen = if seen < first { 0 } else { seen };
                assert!(last(thread) >= seen, "{context}: {numbers:?} survives {seen} of thread {thread}");
            }
        }
        first = (0..THREADS).map(last).max().unwrap() + 1;
    }
}

#[test]
fn recovery_may_be_killed_again_and_again() {
    let seed = 3;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let mut first = 1;
    for round in 0..4 {
        let reports = Writer::start("calls", &store, first).kill_after(300);
        let acknowledged =
            reports.iter().filter(|report| report.level == Level::Kept).map(|report| report.number);
        let acknowledged = acknowledged.max().unwrap();
        let context = format!("seed {seed}, round {round}");
        let last = assert_prefix(&store, acknowledged, &context);
        for attempt in 0..6 {
            let opener = Writer::start("opener", &store, 0);
            // Somewhere between the start of the process and the end of its recovery.
            (0..random.random_range(0..400_000)).for_each(|_| std::hint::spin_loop());
            opener.kill_after(u64::from(attempt == 5));
            let context = format!("{context}, attempt {attempt}");
            assert_eq!(
                assert_prefix(&store, last, &context),
                last,
                "{context}: recovery changed what counts"
            );
        }
        first = last + 1;
    }
}
