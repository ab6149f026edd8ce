//! One thread's share of a phase: picks operations, runs them, times them, and checks every byte that is read.
//!
//! What is timed is the store's call alone, with the check of what it gave inside it: a store that hands out mapped
//! memory pays there for bringing it in, as others pay for copying. Picking a record and making a value are not timed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::chooser::{RecordChooser, ScanLengthChooser};
use super::failure::Failure;
use super::inserts::InsertSequence;
use super::keys::{Key, number_of_key};
use super::latency::LatencyRecorder;
use super::series::Recording;
use super::store::{Store, StoreError};
use super::values::{ValuePool, mix};
use super::workload::{OperationKind, Workload};

/// What all threads of a phase share.
pub struct PhaseContext<'a, S> {
    /// The store under test.
    pub store: &'a S,
    /// What to do.
    pub workload: &'a Workload,
    /// The records that there are.
    pub inserts: &'a InsertSequence,
    /// Makes and checks values.
    pub pool: &'a ValuePool,
    /// Set when the phase has failed and every thread is to stop.
    pub stop: AtomicBool,
}

/// When a worker ends its pass.
#[derive(Clone, Copy, Debug)]
pub struct PassLimit {
    /// After this many operations.
    pub operations: u64,
    /// After this much time.
    pub time: Option<Duration>,
}

/// What a worker did in a pass.
#[derive(Clone, Copy, Debug)]
pub struct PassTally {
    /// Operations finished.
    pub operations: u64,
    /// When the first began.
    pub started: Instant,
    /// When the last ended.
    pub ended: Instant,
}

/// One operation that is over.
#[derive(Clone, Copy)]
struct Timed {
    kind: OperationKind,
    begun: Instant,
    ended: Instant,
}

impl Timed {
    fn since(kind: OperationKind, begun: Instant) -> Self {
        Self { kind, begun, ended: Instant::now() }
    }
}

/// The state of one thread.
pub struct Worker<'a, S> {
    context: &'a PhaseContext<'a, S>,
    number: usize,
    /// The most records that the store was seen to hold.
    acknowledged: u64,
    /// How many records the worker will surely insert, the one that is due included.
    inserts_left: u64,
    random: SmallRng,
    records: RecordChooser,
    scan_lengths: ScanLengthChooser,
    /// Of the window that the worker is in.
    latency: LatencyRecorder,
    value: Vec<u8>,
    version: u64,
}

impl<'a, S: Store> Worker<'a, S> {
    /// The `number`th worker, whose choices follow from `seed` alone, but for what other threads insert.
    #[must_use]
    pub fn new(context: &'a PhaseContext<'a, S>, number: usize, records: RecordChooser, seed: u64) -> Self {
        let workload = context.workload;
        Self {
            context,
            number,
            acknowledged: 0,
            inserts_left: 1,
            random: SmallRng::seed_from_u64(seed),
            records,
            scan_lengths: ScanLengthChooser::new(workload.scan_lengths, workload.zipfian_constant),
            latency: LatencyRecorder::new(&workload.mix),
            value: Vec::with_capacity(workload.value_bytes),
            version: mix(seed),
        }
    }

    /// Runs operations until the limit, publishing how many in `done` as it goes.
    ///
    /// # Errors
    ///
    /// The first failure of this worker; it has set the stop flag by then.
    pub fn run(
        &mut self,
        limit: PassLimit,
        recording: &Recording,
        done: &AtomicU64,
    ) -> Result<PassTally, Failure> {
        let started = recording.began();
        let mut position = recording.enter(self.number);
        let only_inserts = limit.time.is_none() && !self.context.workload.mix.needs_records();
        let mut tally = PassTally { operations: 0, started, ended: started };
        while tally.operations < limit.operations && !self.context.stop.load(Ordering::Relaxed) {
            if only_inserts {
                self.inserts_left = limit.operations - tally.operations;
            }
            let kind = self.context.workload.mix.pick(self.random.next_u64());
            let Timed { kind, begun, ended } =
                self.operate(kind).inspect_err(|_| self.context.stop.store(true, Ordering::Relaxed))?;
            if ended >= position.ends {
                position = recording.turn(position, &mut self.latency, ended);
            }
            self.latency.record(kind, ended - begun);
            tally.operations += 1;
            tally.ended = ended;
            done.store(tally.operations, Ordering::Relaxed);
            if limit.time.is_some_and(|time| ended - started >= time) {
                break;
            }
        }
        recording.leave(position, &mut self.latency);
        Ok(tally)
    }

    /// Runs one operation and says when it was.
    fn operate(&mut self, kind: OperationKind) -> Result<Timed, Failure> {
        match kind {
            OperationKind::Read => self.read(),
            OperationKind::Update => self.update(),
            OperationKind::Insert => self.insert(),
            OperationKind::Scan => self.scan(),
            OperationKind::ReadModifyWrite => self.read_modify_write(),
        }
    }

    fn read(&mut self) -> Result<Timed, Failure> {
        let (record, key) = self.choose();
        let begun = Instant::now();
        self.read_checked(record, &key)?;
        Ok(Timed::since(OperationKind::Read, begun))
    }

    fn update(&mut self) -> Result<Timed, Failure> {
        let (_, key) = self.choose();
        self.make_value(&key);
        let begun = Instant::now();
        self.put("update", &key)?;
        Ok(Timed::since(OperationKind::Update, begun))
    }

    fn insert(&mut self) -> Result<Timed, Failure> {
        let record = self.context.inserts.take(self.number, self.inserts_left);
        let key = Key::of_record(record, self.context.workload.key_order);
        self.make_value(&key);
        let begun = Instant::now();
        self.put("insert", &key)?;
        let timed = Timed::since(OperationKind::Insert, begun);
        self.context.inserts.acknowledge(self.number);
        Ok(timed)
    }

    fn read_modify_write(&mut self) -> Result<Timed, Failure> {
        let (record, key) = self.choose();
        self.make_value(&key);
        let begun = Instant::now();
        self.read_checked(record, &key)?;
        self.put("write after read", &key)?;
        Ok(Timed::since(OperationKind::ReadModifyWrite, begun))
    }

    fn scan(&mut self) -> Result<Timed, Failure> {
        let (record, start) = self.choose();
        let limit = self.scan_lengths.choose(&mut self.random);
        let mut check =
            ScanCheck { pool: self.context.pool, start: &start, last_number: None, failure: None };
        let begun = Instant::now();
        let scanned = self.context.store.scan(start.bytes(), limit, |key, value| check.see(key, value));
        let ScanCheck { last_number, failure, .. } = check;
        scanned.map_err(|source| store_failure("scan", &start, source))?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if last_number.is_none() {
            return Err(Failure::Missing { key: text(start.bytes()), record });
        }
        Ok(Timed::since(OperationKind::Scan, begun))
    }

    fn choose(&mut self) -> (u64, Key) {
        self.acknowledged = self.acknowledged.max(self.context.inserts.acknowledged());
        let record = self.records.choose(&mut self.random, self.acknowledged);
        (record, Key::of_record(record, self.context.workload.key_order))
    }

    fn make_value(&mut self, key: &Key) {
        self.version = self.version.wrapping_add(1);
        self.context.pool.fill(
            &mut self.value,
            self.context.workload.value_bytes,
            key.number(),
            self.version,
        );
    }

    fn put(&self, operation: &'static str, key: &Key) -> Result<(), Failure> {
        let put = self.context.store.put(key.bytes(), &self.value);
        put.map_err(|source| store_failure(operation, key, source))
    }

    fn read_checked(&self, record: u64, key: &Key) -> Result<(), Failure> {
        let mut verdict = Ok(());
        let found = self
            .context
            .store
            .read(key.bytes(), |value| verdict = self.context.pool.verify(key.number(), value))
            .map_err(|source| store_failure("read", key, source))?;
        if !found {
            return Err(Failure::Missing { key: text(key.bytes()), record });
        }
        verdict.map_err(|reason| Failure::Wrong { key: text(key.bytes()), reason })
    }
}

/// Checks what a scan shows: the record it starts at, then records of ours in key order, each with its own value.
struct ScanCheck<'a> {
    pool: &'a ValuePool,
    start: &'a Key,
    last_number: Option<u64>,
    failure: Option<Failure>,
}

impl ScanCheck<'_> {
    fn see(&mut self, key: &[u8], value: &[u8]) {
        if self.failure.is_none() {
            self.failure = self.check(key, value).err();
        }
    }

    fn check(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let wrong = |reason| Failure::WrongScan { start: text(self.start.bytes()), reason };
        let number =
            number_of_key(key).ok_or_else(|| wrong(format!("it met {}, no key of ycsb", text(key))))?;
        match self.last_number {
            None if number != self.start.number() => {
                return Err(wrong(format!("it began at {}", text(key))));
            }
            Some(last) if number <= last => return Err(wrong(format!("{} is out of order", text(key)))),
            _ => {}
        }
        self.last_number = Some(number);
        self.pool.verify(number, value).map_err(|reason| Failure::Wrong { key: text(key), reason })
    }
}

fn store_failure(operation: &'static str, key: &Key, source: StoreError) -> Failure {
    Failure::Store { operation, key: text(key.bytes()), source }
}

fn text(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
