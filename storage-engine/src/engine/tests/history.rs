//! What has been written to a store, in commit order, and which state of it must be found after a crash.

use std::collections::BTreeMap;
use std::ops::Bound;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::engine::{Bytes, Depth, Direction, Durability, Engine};
use crate::error::EngineResult;
use crate::log::writer::LogWrite;
use crate::units::SeqNo;

const KEY_COUNT: u32 = 120;

/// Keys with their values.
pub(super) type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// One call that wrote.
#[derive(Debug, Clone)]
struct Call {
    number: u64,
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// All calls that count so far, in commit order. Numbers of calls are never used twice, so that every value tells when
/// it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    base: State,
    calls: Vec<Call>,
    next_number: u64,
    /// The last call that is known to be durable.
    durable: u64,
}

impl History {
    /// Makes a random call, and notes it.
    pub(super) fn call(&mut self, engine: &Engine, random: &mut StdRng) {
        self.try_call(engine, random).expect("write");
    }

    /// Makes a random call, and notes it also where it fails: then it may survive or not.
    pub(super) fn try_call(&mut self, engine: &Engine, random: &mut StdRng) -> EngineResult<()> {
        let durability = match random.random_range(0..10) {
            0..2 => Durability::Sync,
            2..7 => Durability::Written,
            _ => Durability::Buffered,
        };
        self.write(engine, random, durability)?;
        if random.random_range(0..60) == 0 {
            engine.flush()?;
            self.durable = self.next_number;
        }
        Ok(())
    }

    /// Makes a random call that the next power cut may take.
    pub(super) fn write_volatile(&mut self, engine: &Engine, random: &mut StdRng) {
        self.write(engine, random, Durability::Written).expect("write");
    }

    fn write(&mut self, engine: &Engine, random: &mut StdRng, durability: Durability) -> EngineResult<()> {
        self.next_number += 1;
        let writes = self.writes(random);
        self.calls.push(Call { number: self.next_number, writes: writes.clone() });
        let log_writes: Vec<LogWrite<'_>> =
            writes.iter().map(|(key, value)| LogWrite { key, value: value.as_deref() }).collect();
        let before = last_seqno(engine);
        engine.write(&log_writes, durability)?;
        // A delete of what is nowhere is not logged: it makes nothing durable.
        if durability == Durability::Sync && last_seqno(engine) > before {
            self.durable = self.next_number;
        }
        Ok(())
    }

    fn writes(&self, random: &mut StdRng) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut put = |value_bytes| (key(random), Some(self.value(value_bytes)));
        match self.next_number % 40 {
            // Two thirds of all records have one size, so that records of two fillings of a zone lie at the same places.
            0..26 => vec![put(1000)],
            26..30 => (0..5).map(|_| put(1000)).collect(),
            30..32 => vec![put(150_000)],
            32..34 => vec![put(90_000), put(10), put(40_000)],
            34..37 => vec![(key(random), None)],
            _ => (0..4)
                .map(|_| (key(random), None))
                .chain([(b"mark".to_vec(), Some(self.value(20)))])
                .collect(),
        }
    }

    fn value(&self, value_bytes: usize) -> Vec<u8> {
        let number = self.next_number.to_le_bytes();
        number.iter().copied().cycle().take(value_bytes).collect()
    }

    /// Everything so far is durable.
    pub(super) fn all_durable(&mut self) {
        self.durable = self.next_number;
    }

    /// Checks that a recovered store holds a prefix of the calls with all durable ones, and forgets what was cut.
    pub(super) fn accept(&mut self, found: &State, context: &str) {
        let newest = found.values().filter_map(|value| value.first_chunk()).map(|it| u64::from_le_bytes(*it));
        let newest = newest.max().unwrap_or(0).max(self.durable);
        let mut state = self.base.clone();
        let mut calls = self.calls.iter().peekable();
        while let Some(call) = calls.next_if(|call| call.number <= newest) {
            call.apply(&mut state);
        }
        // A delete leaves no value to tell that it is there.
        let mut last = newest;
        while state != *found {
            let next = calls.next_if(|call| call.writes.iter().all(|(_, value)| value.is_none()));
            let Some(call) = next else { panic!("{context}: {}", self.difference(found, newest)) };
            call.apply(&mut state);
            last = call.number;
        }
        self.calls.clear();
        self.base = state;
        self.durable = last;
    }

    fn difference(&self, found: &State, newest: u64) -> String {
        let mut state = self.base.clone();
        self.calls.iter().filter(|call| call.number <= newest).for_each(|call| call.apply(&mut state));
        let number = |value: Option<&Vec<u8>>| {
            value.map(|value| (value.first_chunk().map(|it| u64::from_le_bytes(*it)), value.len()))
        };
        let keys = state.keys().chain(found.keys()).filter(|key| state.get(*key) != found.get(*key));
        let lines: Vec<String> = keys
            .map(|key| {
                let (expected, found) = (number(state.get(key)), number(found.get(key)));
                format!("{}: expected {expected:?}, found {found:?}", String::from_utf8_lossy(key))
            })
            .collect();
        format!("durable up to {}, newest found {newest} of {}: {lines:?}", self.durable, self.next_number)
    }
}

impl Call {
    fn apply(&self, state: &mut State) {
        for (key, value) in &self.writes {
            match value {
                Some(value) => state.insert(key.clone(), value.clone()),
                None => state.remove(key),
            };
        }
    }
}

fn key(random: &mut StdRng) -> Vec<u8> {
    // Half of all writes go to a tenth of the keys; the rest stays cold.
    let below = if random.random() { KEY_COUNT } else { KEY_COUNT / 10 };
    format!("key {:04}", random.random_range(0..below)).into_bytes()
}

fn last_seqno(engine: &Engine) -> SeqNo {
    engine.inner.log.as_ref().map_or(SeqNo::ZERO, |log| log.last_seqno())
}

/// All that a store holds.
pub(super) fn state_of(engine: &Engine) -> State {
    let mut state = State::new();
    let mut after: Option<Box<[u8]>> = None;
    loop {
        let low = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let page = engine.page(low, Bound::Unbounded, Direction::Forward, 64).expect("read a page");
        let whole = |(key, value): (Box<[u8]>, EngineResult<Bytes>)| {
            (key.into_vec(), value.expect("read a value").to_vec())
        };
        state.extend(page.items.into_iter().map(whole));
        match page.last_key {
            Some(last) => after = Some(last),
            None => return state,
        }
    }
}

/// Checks index, ledger and every value of a store that nobody writes to.
pub(super) fn assert_sound(engine: &Engine, context: &str) {
    let report = engine.verify(Depth::Deep, &|_| {}).expect("verify");
    assert!(report.is_sound(), "{context}: {report:?}");
}
