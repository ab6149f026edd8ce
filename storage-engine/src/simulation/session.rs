//! One opening of a store, used by several clients at once, beside the model of what it must hold.
//!
//! The device keeps an image at every I/O, with a note of what the model knew: how many calls had begun, and how many no
//! power cut and no kill may take.

use std::ops::Bound;
use std::sync::Arc;

use super::Problem;
use super::model::{Found, Model, Print, Value, print_of};
use super::plan::{Plan, Temper};
use crate::device::simulated::{Faults, SimulatedDevice};
use crate::engine::{BackgroundStep, BegunWrite, Depth, Direction, Durability, Engine};
use crate::error::{EngineError, EngineResult};
use crate::log::writer::LogWrite;
use crate::seeded::Seeded;

pub(super) struct Session<'p> {
    pub(super) plan: &'p Plan,
    pub(super) device: Arc<SimulatedDevice>,
    pub(super) engine: Engine,
    pub(super) model: Model,
    pub(super) random: Seeded,
    faults: Faults,
    /// Whether a zone has worn out.
    worn: bool,
    /// Numbers of values: none is used twice.
    next_value: u64,
    clients: Vec<Option<Begun>>,
}

/// A write that a client waits for.
struct Begun {
    write: BegunWrite,
    /// Calls that have its level when it returns: up to its own.
    call_count: usize,
    durability: Durability,
}

/// How a session goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Going {
    On,
    /// A fault has ended writing.
    Failed,
}

impl<'p> Session<'p> {
    pub(super) fn new(
        plan: &'p Plan,
        device: Arc<SimulatedDevice>,
        engine: Engine,
        state: Vec<Option<Print>>,
        random: Seeded,
    ) -> Self {
        let mut random = random;
        let next_value = random.number() >> 16;
        let clients = (0..plan.client_count).map(|_| None).collect();
        let model = Model::new(state);
        let worn = device.image().has_worn_zones();
        let faults = Faults::NONE;
        let session = Self { plan, device, engine, model, random, faults, worn, next_value, clients };
        session.note();
        session
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.device.set_faults(faults);
    }

    /// Tells the device what goes with its snapshots.
    fn note(&self) {
        let model = &self.model;
        self.device.set_note([model.len(), model.durable_count, model.written_count]);
    }

    /// Does something. Whatever it is, the store must do it right.
    pub(super) fn act(&mut self) -> Result<Going, Problem> {
        self.device.allow_ios();
        if self.random.below(100) < self.plan.checkpoint_share {
            self.engine.request_checkpoint();
        }
        let going = if self.random.below(100) < self.plan.step_share {
            self.step()?
        } else {
            match self.random.below(100) {
                0..46 => self.write()?,
                46..60 => self.end_write()?,
                60..67 => self.compare_and_swap()?,
                67..72 => self.flush()?,
                72..84 => self.read_some()?,
                84..88 => self.read_many()?,
                88..93 => self.read_range()?,
                93..96 => self.verify()?,
                _ => self.compare_with_scan()?,
            }
        };
        self.note();
        if let Some(misuse) = self.device.misuse() {
            return Err(Problem::new(format!("the device refused: {misuse} {}", self.layout())));
        }
        if !self.worn && !self.faults.any() {
            self.check_zones()?;
        }
        Ok(going)
    }

    /// Where nothing fails no zone is given up, and each kind of writes keeps to its share of the active zones.
    fn check_zones(&self) -> Result<(), Problem> {
        let lost_count = self.engine.lost_zone_count();
        if lost_count > 0 {
            return Err(Problem::new(format!(
                "{lost_count} zones are given up that nothing has happened to"
            )));
        }
        let (counts, most) = (self.engine.active_zone_counts(), self.engine.most_active_zone_counts());
        let no_report = |error| Problem::new(format!("a report fails: {}", full(&error)));
        let (counts, most) = (counts.map_err(no_report)?, most.map_err(no_report)?);
        if counts.iter().zip(most).any(|(&count, most)| count > most) {
            return Err(Problem::new(format!("{counts:?} zones are active, of {most:?} at most")));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Going, Problem> {
        let step = if self.plan.temper == Temper::Churning && self.random.chance(3, 4) {
            BackgroundStep::Collect
        } else {
            BackgroundStep::ALL[self.random.index(BackgroundStep::ALL.len())]
        };
        // The housekeeper takes one step after another, mostly.
        let most = if step == BackgroundStep::Checkpoint { 1 + self.random.index(6) } else { 1 };
        let mut stepped = self.engine.step(step);
        for _ in 1..most {
            if matches!(stepped, Ok(true)) {
                stepped = self.engine.step(step);
            }
        }
        match stepped {
            Ok(_) => {
                if step == BackgroundStep::AppendBuffered && !self.has_failed() {
                    self.model.appended();
                }
                Ok(self.going())
            }
            Err(error) => self.failed(&error),
        }
    }

    fn has_failed(&self) -> bool {
        self.engine.has_failed().unwrap_or(true)
    }

    fn going(&self) -> Going {
        if self.has_failed() { Going::Failed } else { Going::On }
    }

    /// Whether an error is one that the faults explain.
    fn failed(&self, error: &EngineError) -> Result<Going, Problem> {
        let explained = match error {
            EngineError::NoSpace { .. } => true,
            EngineError::Corruption { .. } => self.faults.misdirected > 0,
            _ => self.faults != Faults::NONE,
        };
        if !explained {
            return Err(Problem::new(format!("an error without a fault: {}", full(error))));
        }
        Ok(self.going())
    }

    fn value(&mut self, key: usize) -> Value {
        self.next_value += 1;
        let len = match self.random.below(40) {
            0..4 => 0,
            4..8 => self.random.below(2 * self.plan.common_value_bytes + 3),
            8 => 900 + self.random.below(300),
            9 => self.random.below(9000),
            _ => self.plan.common_value_bytes,
        };
        Value::new(self.next_value, key, u32::try_from(len).expect("small"))
    }

    fn write_of_one_key(&mut self) -> (usize, Option<Value>) {
        // Some keys stay cold.
        let count = self.plan.key_count;
        let key = if self.random.chance(2, 3) {
            self.random.index(count / 3 + 1)
        } else {
            self.random.index(count)
        };
        let deletes = self.random.below(100) < self.plan.delete_share;
        (key, if deletes { None } else { Some(self.value(key)) })
    }

    fn durability(&mut self) -> Durability {
        if self.random.below(100) < self.plan.sync_share {
            return Durability::Sync;
        }
        if self.random.chance(1, 2) { Durability::Written } else { Durability::Buffered }
    }

    /// What one call writes: mostly one key, sometimes several; rarely so much at once that it takes many zones.
    fn writes(&mut self) -> Vec<(usize, Option<Value>)> {
        match self.random.below(40) {
            0 => (0..3 + self.random.index(8)).map(|_| self.large_write()).collect(),
            1..8 => (0..2 + self.random.index(5)).map(|_| self.write_of_one_key()).collect(),
            _ => vec![self.write_of_one_key()],
        }
    }

    fn large_write(&mut self) -> (usize, Option<Value>) {
        let key = self.random.index(self.plan.key_count);
        self.next_value += 1;
        let len = 900 + self.random.below(6000);
        (key, Some(Value::new(self.next_value, key, u32::try_from(len).expect("small"))))
    }

    /// A put, delete or batch; its client may wait for it later.
    fn write(&mut self) -> Result<Going, Problem> {
        let client = self.random.index(self.clients.len());
        if self.clients[client].is_some() {
            return self.end_write_of(client);
        }
        let writes = self.writes();
        let durability = self.durability();
        let keys: Vec<Vec<u8>> = writes.iter().map(|(key, _)| Plan::key(*key)).collect();
        let values: Vec<_> = writes.iter().map(|(_, value)| value.map(|value| value.bytes())).collect();
        let call = self.model.begin(writes, durability);
        self.note();
        let log_writes: Vec<LogWrite<'_>> =
            keys.iter().zip(&values).map(|(key, value)| LogWrite { key, value: value.as_deref() }).collect();
        let before = self.engine.last_seqno().ok();
        match self.engine.begin_write(&log_writes, durability) {
            Ok(write) => {
                match write.last_seqno() {
                    Some(seqno) => self.model.logged(call, seqno),
                    None => self.model.forget_last(),
                }
                self.clients[client] = Some(Begun { write, call_count: self.model.len(), durability });
                if durability == Durability::Buffered || self.random.chance(1, 2) {
                    return self.end_write_of(client);
                }
                Ok(Going::On)
            }
            Err(error) => self.not_written(values.iter().all(Option::is_none), before, &error),
        }
    }

    /// A write has given an error. Has it been logged? Then it may survive.
    fn not_written(
        &mut self,
        deletes: bool,
        before: Option<crate::units::SeqNo>,
        error: &EngineError,
    ) -> Result<Going, Problem> {
        let logged = self.engine.last_seqno().ok() != before;
        let is_full = matches!(error, EngineError::NoSpace { .. });
        if logged && is_full {
            return Err(Problem::new("a write without space was logged".to_owned()));
        }
        if is_full && deletes && !self.faults.any() && !self.worn {
            return Err(Problem::new(format!("there is no space for a delete {}", self.layout())));
        }
        if !logged {
            self.model.forget_last();
        } else if !self.has_failed() {
            return Err(Problem::new(format!("a failed write was logged: {}", full(error))));
        }
        self.failed(error)
    }

    fn end_write(&mut self) -> Result<Going, Problem> {
        let client = self.random.index(self.clients.len());
        self.end_write_of(client)
    }

    fn end_write_of(&mut self, client: usize) -> Result<Going, Problem> {
        let Some(begun) = self.clients[client].take() else { return Ok(Going::On) };
        match self.engine.end_write(begun.write) {
            Ok(()) => {
                self.model.committed(begun.call_count, begun.durability);
                Ok(Going::On)
            }
            Err(error) => self.failed(&error),
        }
    }

    fn compare_and_swap(&mut self) -> Result<Going, Problem> {
        // An older version that looks the same may be compared with, and either answer may come of that.
        if self.faults.misdirected > 0 {
            return Ok(Going::On);
        }
        let (key, new) = self.write_of_one_key();
        let durability = self.durability();
        let newest = self.model.newest(key);
        let present = self.model.newest_state()[key];
        // What is older than the calls is known by its print only: then nothing is expected, which is mostly wrong.
        let expected = newest.flatten().filter(|_| self.random.chance(3, 4));
        let matches = expected.map(|value| value.print()) == present;
        if matches {
            self.model.begin(vec![(key, new)], durability);
            self.note();
        }
        let call = self.model.len().wrapping_sub(1);
        let (expected, new) = (expected.map(|value| value.bytes()), new.map(|value| value.bytes()));
        let before = self.engine.last_seqno().ok();
        let swapped =
            self.engine.compare_and_swap(&Plan::key(key), expected.as_deref(), new.as_deref(), durability);
        match swapped {
            Ok(Ok(())) if matches => {
                match self.engine.last_seqno() {
                    Ok(seqno) if Some(seqno) != before => {
                        self.model.logged(call, seqno);
                        self.model.acknowledged(call);
                    }
                    _ => {
                        self.model.forget_last();
                        self.model.committed(self.model.len(), durability);
                    }
                }
                Ok(Going::On)
            }
            Ok(Err(found)) if !matches && found.as_deref().map(print_of) == present => Ok(Going::On),
            Ok(answer) => Err(Problem::new(format!(
                "compare-and-swap of key {key}: {present:?} is there, {:?} was expected, the answer is {:?}",
                expected.as_deref().map(print_of),
                answer.map_err(|found| found.as_deref().map(print_of))
            ))),
            Err(error) if matches => self.not_written(new.is_none(), before, &error),
            Err(error) => self.failed(&error),
        }
    }

    pub(super) fn flush(&mut self) -> Result<Going, Problem> {
        match self.engine.flush() {
            Ok(()) => {
                self.model.flushed();
                Ok(Going::On)
            }
            Err(error) => self.failed(&error),
        }
    }

    fn visible(&mut self, key: usize) -> Option<Print> {
        let durable = self.engine.durable_seqno().unwrap_or_default();
        let value = self.model.visible(key, durable);
        self.note();
        value
    }

    fn expect(&mut self, what: &str, key: usize, found: Option<&[u8]>) -> Result<(), Problem> {
        let is_genuine = found.is_none_or(|bytes| Value::is_genuine(key, bytes));
        let (found, expected) = (found.map(print_of), self.visible(key));
        // A misdirected read may hit an older version that looks the same: key, kind and length are all that is known of
        // what is wanted.
        if found == expected || is_genuine && self.faults.misdirected > 0 {
            return Ok(());
        }
        let (newest, layout) = (self.model.explain_key(key), self.layout());
        Err(Problem::new(format!(
            "{what} of key {key} gives {found:?} (genuine: {is_genuine}), not {expected:?}; written: {newest}; {layout}"
        )))
    }

    /// What lies on the device, if that is asked for.
    fn layout(&self) -> String {
        let asked = std::env::var_os("ZONAL_SIM_LAYOUT");
        asked.and_then(|_| self.engine.layout().ok()).unwrap_or_default()
    }

    fn read_some(&mut self) -> Result<Going, Problem> {
        let key = self.random.index(self.plan.key_count);
        match self.engine.value(&Plan::key(key)) {
            Ok(value) => self.expect("a read", key, value.as_deref())?,
            Err(error) => return self.failed(&error),
        }
        Ok(Going::On)
    }

    fn read_many(&mut self) -> Result<Going, Problem> {
        let numbers: Vec<usize> = (0..4).map(|_| self.random.index(self.plan.key_count)).collect();
        let keys: Vec<Vec<u8>> = numbers.iter().map(|number| Plan::key(*number)).collect();
        match self.engine.values(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>()) {
            Ok(values) => {
                for (key, value) in numbers.into_iter().zip(values) {
                    self.expect("a read of many keys", key, value.as_deref())?;
                }
            }
            Err(error) => return self.failed(&error),
        }
        Ok(Going::On)
    }

    fn read_range(&mut self) -> Result<Going, Problem> {
        let direction = if self.random.chance(1, 2) { Direction::Forward } else { Direction::Backward };
        let limit = 1 + self.random.index(40);
        match read_all(&self.engine, direction, limit, self.plan.key_count) {
            Ok(Ok(found)) => {
                for (key, print) in found.into_iter().enumerate() {
                    let expected = self.visible(key);
                    if print != expected && self.faults.misdirected == 0 {
                        let what = format!("key {key} in a range is {print:?}, not {expected:?}");
                        return Err(Problem::new(what));
                    }
                }
                Ok(Going::On)
            }
            Ok(Err(problem)) => Err(problem),
            Err(error) => self.failed(&error),
        }
    }

    fn verify(&mut self) -> Result<Going, Problem> {
        match self.engine.verify(Depth::Deep, &|_| {}) {
            Ok(report) if report.wrong_ledger.is_empty() => {
                let excused = self.faults.misdirected > 0 || self.faults.read > 0;
                if !report.damages.is_empty() && !excused {
                    return Err(Problem::new(format!("damage without a fault: {report:?}")));
                }
                Ok(Going::On)
            }
            Ok(report) => Err(Problem::new(format!("the ledger is wrong: {report:?}"))),
            Err(error) => self.failed(&error),
        }
    }

    fn compare_with_scan(&mut self) -> Result<Going, Problem> {
        if self.flush()? == Going::Failed || self.faults.misdirected > 0 {
            return Ok(self.going());
        }
        match self.engine.differences_from_scan() {
            Ok(differences) if differences.is_empty() => Ok(Going::On),
            Ok(differences) => {
                Err(Problem::new(format!("index and device differ: {differences:?} {}", self.layout())))
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Ends the use of the store in order, or so it seems to the store.
    pub(super) fn close(&mut self) -> Result<Going, Problem> {
        self.device.allow_ios();
        match self.engine.close() {
            Ok(()) => {
                self.model.flushed();
                self.note();
                Ok(Going::On)
            }
            Err(error) if self.faults != Faults::NONE => {
                let _ = error;
                Ok(Going::Failed)
            }
            Err(error) => Err(Problem::new(format!("closing fails: {}", full(&error)))),
        }
    }
}

/// What a store holds, by key numbers: by a range, where its index has an order.
pub(super) fn read_all(
    engine: &Engine,
    direction: Direction,
    limit: usize,
    key_count: usize,
) -> EngineResult<Result<Vec<Option<Print>>, Problem>> {
    let mut found = vec![None; key_count];
    if !engine.has_keys_in_order() {
        for (key, slot) in found.iter_mut().enumerate() {
            let value = engine.value(&Plan::key(key))?;
            if !value.as_ref().is_none_or(|value| Value::is_genuine(key, value)) {
                return Ok(Err(Problem::new(format!("key {key} has another key's bytes"))));
            }
            *slot = value.as_deref().map(print_of);
        }
        return Ok(Ok(found));
    }
    let mut last: Option<Box<[u8]>> = None;
    loop {
        let bound = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (low, high) = match direction {
            Direction::Forward => (bound, Bound::Unbounded),
            Direction::Backward => (Bound::Unbounded, bound),
        };
        let page = engine.page(low, high, direction, limit)?;
        for (key, value) in page.items {
            let number = Plan::key_number(&key);
            match number.and_then(|number| found.get_mut(number)) {
                Some(slot @ None) => {
                    let value = value?;
                    if !Value::is_genuine(number.unwrap_or_default(), &value) {
                        return Ok(Err(Problem::new(format!("{key:?} has another key's bytes in a range"))));
                    }
                    *slot = Some(print_of(&value));
                }
                other => {
                    return Ok(Err(Problem::new(format!(
                        "a key that was never written: {key:?}, {other:?}"
                    ))));
                }
            }
        }
        match page.last_key {
            Some(key) => last = Some(key),
            None => return Ok(Ok(found)),
        }
    }
}

/// What a store holds of each key, damage included.
pub(super) fn read_each(engine: &Engine, key_count: usize) -> EngineResult<Vec<Found>> {
    let read = |key| match engine.value(&Plan::key(key)) {
        Ok(Some(value)) if !Value::is_genuine(key, &value) => Ok(Found::Foreign),
        Ok(value) => Ok(Found::Value(value.as_deref().map(print_of))),
        Err(EngineError::Corruption { .. }) => Ok(Found::Damaged),
        Err(error) => Err(error),
    };
    (0..key_count).map(read).collect()
}

/// An error with its causes.
pub(super) fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
