//! Phases on a store in memory, sound and broken in several ways.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::failure::Failure;
use super::super::inserts::InsertSequence;
use super::super::keys::KeyOrder;
use super::super::progress::Progress;
use super::super::store::{Store, StoreError, StoreWindow};
use super::super::values::ValuePool;
use super::super::workload::{Distribution, Extent, Mix, OperationKind, ScanLengths, Workload};
use super::super::zipfian::YCSB_CONSTANT;
use super::{PhaseOutcome, PhaseSettings, run_phase, shares};

const RECORDS: u64 = 500;
const THREADS: usize = 3;
const WINDOW_LENGTH: Duration = Duration::from_millis(10);

#[derive(Default)]
struct MemoryStore {
    records: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    puts: AtomicU64,
    flushes: AtomicU64,
    fault: Fault,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Fault {
    #[default]
    None,
    FlipsABit,
    AnswersWithTheFirstRecord,
    LosesEverySeventhPut,
    RefusesPuts,
    SkipsTheStartOfScans,
    ScansBackwards,
}

impl Store for MemoryStore {
    type Counters = u64;

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::RefusesPuts => return Err("the store is full".into()),
            Fault::LosesEverySeventhPut if number % 7 == 6 => return Ok(()),
            _ => {}
        }
        self.records.lock().unwrap().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError> {
        let records = self.records.lock().unwrap();
        let value = match self.fault {
            Fault::AnswersWithTheFirstRecord => records.values().next().cloned(),
            _ => records.get(key).cloned(),
        };
        let Some(mut value) = value else { return Ok(false) };
        if self.fault == Fault::FlipsABit {
            *value.last_mut().unwrap() ^= 1;
        }
        see(&value);
        Ok(true)
    }

    fn scan(&self, start: &[u8], limit: u64, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let records = self.records.lock().unwrap();
        let range = records.range(start.to_vec()..);
        let skipped = usize::from(self.fault == Fault::SkipsTheStartOfScans);
        let mut found: Vec<_> = range.skip(skipped).take(usize::try_from(limit).unwrap()).collect();
        if self.fault == Fault::ScansBackwards && found.len() > 2 {
            found[1..].reverse();
        }
        found.into_iter().for_each(|(key, value)| see(key, value));
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn counters(&self) -> u64 {
        self.puts.load(Ordering::Relaxed)
    }

    fn difference(&self, earlier: &u64, later: &u64) -> serde_json::Value {
        serde_json::json!({ "puts": later - earlier })
    }

    fn window(&self, earlier: &u64, later: &u64) -> StoreWindow {
        StoreWindow { user_bytes_written: Some((later - earlier) * 100), ..StoreWindow::default() }
    }
}

fn workload(shares: [f64; 5]) -> Workload {
    Workload {
        name: "test".to_owned(),
        mix: Mix::new(shares).unwrap(),
        distribution: Distribution::Zipfian,
        zipfian_constant: YCSB_CONSTANT,
        hotspot: Default::default(),
        scan_lengths: ScanLengths { min_records: 5, max_records: 20, favour_short: false },
        key_order: KeyOrder::Hashed,
        value_bytes: 100,
        threads: THREADS,
        warmup_operations: 0,
        extent: Extent::default(),
    }
}

fn run(
    store: &MemoryStore,
    workload: &Workload,
    inserts: &InsertSequence,
    operations: u64,
) -> Result<PhaseOutcome, Failure> {
    let settings = PhaseSettings {
        workload,
        operations: Some(operations),
        time_limit: None,
        window_length: WINDOW_LENGTH,
        seed: 1,
        flush_at_end: true,
    };
    run_phase(store, &settings, inserts, &ValuePool::new(), &mut Progress::hidden())
}

fn loaded(fault: Fault) -> (MemoryStore, InsertSequence) {
    let mut store = MemoryStore::default();
    let inserts = InsertSequence::starting_at(0, THREADS);
    run(&store, &workload([0.0, 0.0, 1.0, 0.0, 0.0]), &inserts, RECORDS).unwrap();
    store.fault = fault;
    (store, inserts)
}

fn failure_of(fault: Fault, shares: [f64; 5]) -> String {
    let (store, inserts) = loaded(fault);
    match run(&store, &workload(shares), &inserts, 2000) {
        Ok(_) => panic!("the fault went unnoticed"),
        Err(failure) => failure.to_string(),
    }
}

#[test]
fn loading_inserts_every_record_once() {
    let (store, inserts) = loaded(Fault::None);
    assert_eq!(inserts.acknowledged(), RECORDS);
    assert_eq!(store.records.lock().unwrap().len() as u64, RECORDS);
    assert_eq!(store.puts.load(Ordering::Relaxed), RECORDS);
}

#[test]
fn every_operation_is_counted_and_timed() {
    let (store, inserts) = loaded(Fault::None);
    let outcome = run(&store, &workload([0.3, 0.2, 0.2, 0.1, 0.2]), &inserts, 2000).unwrap();
    assert_eq!(outcome.operations, 2000);
    let counts: Vec<_> = outcome.latency.summaries().map(|(kind, summary)| (kind, summary.count)).collect();
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 2000);
    assert_eq!(counts.len(), OperationKind::ALL.len());
    let inserted = counts[OperationKind::Insert.index()].1;
    assert_eq!(inserts.acknowledged(), RECORDS + inserted);
    let writes =
        inserted + counts[OperationKind::Update.index()].1 + counts[OperationKind::ReadModifyWrite.index()].1;
    assert_eq!(outcome.store["puts"], writes);
}

#[test]
fn every_distribution_reads_only_what_is_there_while_others_insert() {
    for distribution in [Distribution::Uniform, Distribution::Zipfian, Distribution::Latest] {
        let (store, inserts) = loaded(Fault::None);
        let workload = Workload { distribution, ..workload([0.5, 0.0, 0.5, 0.0, 0.0]) };
        assert!(run(&store, &workload, &inserts, 5000).is_ok(), "{distribution:?}");
    }
}

#[test]
fn warm_up_operations_are_done_and_not_counted() {
    let (store, inserts) = loaded(Fault::None);
    let workload = Workload { warmup_operations: 70, ..workload([0.0, 1.0, 0.0, 0.0, 0.0]) };
    let outcome = run(&store, &workload, &inserts, 100).unwrap();
    assert_eq!(outcome.operations, 100);
    assert_eq!(outcome.latency.summaries().map(|(_, summary)| summary.count).sum::<u64>(), 100);
    assert_eq!(outcome.store["puts"], 100);
    assert_eq!(store.puts.load(Ordering::Relaxed), RECORDS + 170);
}

#[test]
fn a_time_limit_ends_a_phase_that_has_no_other_end() {
    let (store, inserts) = loaded(Fault::None);
    let workload = workload([1.0, 0.0, 0.0, 0.0, 0.0]);
    let settings = PhaseSettings {
        workload: &workload,
        operations: None,
        time_limit: Some(Duration::from_millis(2)),
        window_length: WINDOW_LENGTH,
        seed: 1,
        flush_at_end: true,
    };
    let outcome = run_phase(&store, &settings, &inserts, &ValuePool::new(), &mut Progress::hidden()).unwrap();
    assert!(outcome.operations > 0);
    assert!(outcome.elapsed >= Duration::from_millis(2));
}

#[test]
fn the_time_series_accounts_for_every_operation_and_every_put() {
    let (store, inserts) = loaded(Fault::None);
    let workload = Workload { warmup_operations: 70, ..workload([0.5, 0.5, 0.0, 0.0, 0.0]) };
    let outcome = run(&store, &workload, &inserts, 5000).unwrap();
    assert_eq!(outcome.windows.iter().map(|window| window.done.operations).sum::<u64>(), 5000);
    let written = outcome.windows.iter().filter_map(|window| window.store.user_bytes_written).sum::<u64>();
    assert_eq!(written, outcome.store["puts"].as_u64().unwrap() * 100);
    let (last, others) = outcome.windows.split_last().unwrap();
    assert!(others.iter().all(|window| window.length == WINDOW_LENGTH));
    assert_eq!(last.ended_after, outcome.elapsed);
}

#[test]
fn only_a_phase_that_wrote_is_flushed() {
    let (store, inserts) = loaded(Fault::None);
    let after_load = store.flushes.load(Ordering::Relaxed);
    assert_eq!(after_load, 1);
    run(&store, &workload([1.0, 0.0, 0.0, 0.0, 0.0]), &inserts, 10).unwrap();
    assert_eq!(store.flushes.load(Ordering::Relaxed), after_load);
}

#[test]
fn a_damaged_value_fails_the_phase_and_names_its_key() {
    let failure = failure_of(Fault::FlipsABit, [1.0, 0.0, 0.0, 0.0, 0.0]);
    assert!(failure.contains("value read for user") && failure.contains("bytes differ"), "{failure}");
}

#[test]
fn another_keys_value_fails_the_phase() {
    for shares in [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]] {
        let failure = failure_of(Fault::AnswersWithTheFirstRecord, shares);
        assert!(failure.contains("value of the key number"), "{failure}");
    }
}

#[test]
fn a_lost_insertion_fails_the_phase_and_names_its_record() {
    let failure = failure_of(Fault::LosesEverySeventhPut, [0.5, 0.0, 0.5, 0.0, 0.0]);
    assert!(failure.contains("is missing, though record 5"), "{failure}");
}

#[test]
fn a_refused_write_fails_the_phase_with_the_stores_words() {
    for (shares, operation) in [([0.0, 1.0, 0.0, 0.0, 0.0], "update"), ([0.0, 0.0, 1.0, 0.0, 0.0], "insert")]
    {
        let failure = failure_of(Fault::RefusesPuts, shares);
        assert!(failure.starts_with(operation) && failure.ends_with("the store is full"), "{failure}");
    }
}

#[test]
fn a_record_counts_as_there_only_once_its_write_is_acknowledged() {
    let (store, inserts) = loaded(Fault::RefusesPuts);
    assert!(run(&store, &workload([0.0, 0.0, 1.0, 0.0, 0.0]), &inserts, 10).is_err());
    assert_eq!(inserts.acknowledged(), RECORDS);
}

#[test]
fn a_scan_that_skips_or_reorders_fails_the_phase() {
    let failure = failure_of(Fault::SkipsTheStartOfScans, [0.0, 0.0, 0.0, 1.0, 0.0]);
    assert!(failure.contains("it began at user"), "{failure}");
    let failure = failure_of(Fault::ScansBackwards, [0.0, 0.0, 0.0, 1.0, 0.0]);
    assert!(failure.contains("out of order"), "{failure}");
}

#[test]
fn shares_of_the_threads_add_up() {
    assert_eq!(shares(Some(10), 4), [3, 3, 2, 2]);
    assert_eq!(shares(Some(2), 3), [1, 1, 0]);
    assert_eq!(shares(None, 2), [u64::MAX, u64::MAX]);
}

#[test]
fn one_thread_and_one_seed_give_one_sequence_of_operations() {
    let final_records = || {
        let (store, inserts) = (MemoryStore::default(), InsertSequence::starting_at(0, THREADS));
        for shares in [[0.0, 0.0, 1.0, 0.0, 0.0], [0.2, 0.4, 0.2, 0.0, 0.2]] {
            run(&store, &Workload { threads: 1, ..workload(shares) }, &inserts, RECORDS).unwrap();
        }
        store.records.into_inner().unwrap()
    };
    assert_eq!(final_records(), final_records());
}
