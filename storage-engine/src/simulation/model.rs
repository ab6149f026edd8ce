//! What a store may hold: the calls that were made, in commit order, and which of them no crash may take.

use crate::device::simulated::Note;
use crate::engine::Durability;
use crate::seeded::mixed;
use crate::units::SeqNo;

/// A value, by what it was made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Value {
    number: u64,
    len: u32,
    print: Print,
}

/// What tells one value from another.
pub(super) type Print = u64;

impl Value {
    /// The value of a key with a number that no other value has.
    pub(super) fn new(number: u64, key: usize, len: u32) -> Self {
        let number = number << 8 | key as u64;
        let value = Self { number, len, print: 0 };
        Self { print: print_of(&value.bytes()), ..value }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let start = mixed(self.number);
        let words = (1..).map(|word| start.wrapping_add(word));
        let words = std::iter::once(self.number).chain(words).flat_map(u64::to_le_bytes);
        words.take(self.len as usize).collect()
    }

    /// Whether bytes may be a value of the key: it can be told, but for the shortest.
    pub(super) fn is_genuine(key: usize, bytes: &[u8]) -> bool {
        let Some(number) = bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else { return true };
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        number & 0xff == key as u64 && Self { number, len, print: 0 }.bytes() == bytes
    }

    pub(super) fn print(&self) -> Print {
        self.print
    }
}

pub(super) fn print_of(bytes: &[u8]) -> Print {
    u64::from(crc32fast::hash(bytes)) | (bytes.len() as u64) << 32
}

/// What a key is found to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Value(Option<Print>),
    /// Reading it gives damage.
    Damaged,
    /// Bytes that were never this key's.
    Foreign,
}

/// One call that writes.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Key numbers and what they get.
    pub(super) writes: Vec<(usize, Option<Value>)>,
    pub(super) durability: Durability,
    /// Once the store has told.
    pub(super) last_seqno: Option<SeqNo>,
}

/// The calls since the store was opened, on what it held then.
#[derive(Clone, Debug)]
pub(super) struct Model {
    base: Vec<Option<Print>>,
    calls: Vec<Call>,
    /// Calls up to which power cuts may take none.
    pub(super) durable_count: usize,
    /// Calls up to which kills may take none.
    pub(super) written_count: usize,
    /// Calls up to which everything has been acknowledged, at whatever level.
    pub(super) acknowledged_count: usize,
}

/// Which calls may be there after a crash: at least so many, at most so many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allowed {
    pub(super) least: usize,
    pub(super) most: usize,
    /// Of those that must be there, how many a power cut cannot take either.
    pub(super) durable: usize,
}

impl Allowed {
    /// What goes with images of the recovery itself.
    pub(super) fn note(self) -> Note {
        [self.most, self.durable, self.least]
    }
}

impl Model {
    pub(super) fn new(base: Vec<Option<Print>>) -> Self {
        Self { base, calls: Vec::new(), durable_count: 0, written_count: 0, acknowledged_count: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Notes a call that is about to be made; gives its number.
    pub(super) fn begin(&mut self, writes: Vec<(usize, Option<Value>)>, durability: Durability) -> usize {
        self.calls.push(Call { writes, durability, last_seqno: None });
        self.calls.len() - 1
    }

    pub(super) fn logged(&mut self, call: usize, last_seqno: SeqNo) {
        self.calls[call].last_seqno = Some(last_seqno);
    }

    /// The call that was begun last has not been logged.
    pub(super) fn forget_last(&mut self) {
        self.calls.pop();
    }

    /// A call has returned.
    pub(super) fn acknowledged(&mut self, call: usize) {
        self.committed(call + 1, self.calls[call].durability);
    }

    /// A call of a level has returned that stands for the first `count` calls: what changes nothing stands for those
    /// before it.
    pub(super) fn committed(&mut self, count: usize, durability: Durability) {
        self.acknowledged_count = self.acknowledged_count.max(count);
        match durability {
            Durability::Sync => self.durable_count = self.durable_count.max(count),
            Durability::Written => self.written_count = self.written_count.max(count),
            Durability::Buffered => {}
        }
    }

    /// A flush has returned: whatever was acknowledged before is durable.
    pub(super) fn flushed(&mut self) {
        self.durable_count = self.durable_count.max(self.acknowledged_count);
    }

    /// What is buffered has been appended.
    pub(super) fn appended(&mut self) {
        self.written_count = self.calls.len();
    }

    /// Has the value of a key that readers must find now, everything up to `durable` being durable. Seeing it is a promise
    /// as well.
    pub(super) fn visible(&mut self, key: usize, durable: SeqNo) -> Option<Print> {
        let is_visible = |call: &Call| {
            call.durability != Durability::Sync || call.last_seqno.is_some_and(|seqno| seqno <= durable)
        };
        let newest = self.calls.iter().enumerate().rev().filter(|(_, call)| is_visible(call)).find_map(
            |(number, call)| {
                let write = call.writes.iter().rev().find(|(written, _)| *written == key)?;
                Some((number, call.durability, write.1))
            },
        );
        let Some((number, durability, value)) = newest else { return self.base[key] };
        if durability == Durability::Sync {
            self.durable_count = self.durable_count.max(number + 1);
        }
        value.map(|value| value.print())
    }

    /// The value that a key gets when everything that was logged is visible; `None` where it is older than the calls.
    pub(super) fn newest(&self, key: usize) -> Option<Option<Value>> {
        let mut writes = self.calls.iter().rev().flat_map(|call| call.writes.iter().rev());
        writes.find(|(written, _)| *written == key).map(|(_, value)| *value)
    }

    /// What the store holds after its newest calls.
    pub(super) fn newest_state(&self) -> Vec<Option<Print>> {
        let mut state = self.base.clone();
        self.calls.iter().for_each(|call| apply(&mut state, call));
        state
    }

    /// Finds calls that lead to what was found: as many as `allowed`, and none left out.
    ///
    /// # Errors
    /// In words, when no number of calls leads there.
    pub(super) fn accept(&self, found: &[Found], allowed: Allowed) -> Result<usize, String> {
        let most = allowed.most.min(self.calls.len());
        let least = allowed.least.min(most);
        let mut state = self.base.clone();
        self.calls[..least].iter().for_each(|call| apply(&mut state, call));
        let mut count = least;
        let mut best = (usize::MAX, 0);
        loop {
            let wrong = wrong_keys(found, &state).count();
            if wrong == 0 {
                return Ok(count);
            }
            best = best.min((wrong, count));
            if count == most {
                return Err(self.explain(found, (least, most), best.1));
            }
            apply(&mut state, &self.calls[count]);
            count += 1;
        }
    }

    /// Who wrote a key: number, last seqno, value and level of each call, in words.
    pub(super) fn explain_key(&self, key: usize) -> String {
        let written = self.calls.iter().enumerate().filter_map(|(number, call)| {
            let (_, value) = call.writes.iter().rev().find(|(written, _)| *written == key)?;
            let seqno = call.last_seqno.map(SeqNo::get);
            Some((number, seqno, value.map(|value| value.print()), call.durability))
        });
        format!("{:?} on {:?}", written.collect::<Vec<_>>(), self.base[key])
    }

    fn explain(&self, found: &[Found], (least, most): (usize, usize), nearest: usize) -> String {
        let mut state = self.base.clone();
        let calls = &self.calls[..nearest];
        calls.iter().for_each(|call| apply(&mut state, call));
        let lines: Vec<String> = wrong_keys(found, &state)
            .map(|key| {
                let (found, state, written) = (found[key], state[key], self.explain_key(key));
                format!("key {key}: {found:?}, not {state:?}; written: {written}")
            })
            .collect();
        format!(
            "no prefix of {least} to {most} calls (durable {}, written {}); nearest {nearest}:\n  {}",
            self.durable_count,
            self.written_count,
            lines.join("\n  ")
        )
    }
}

fn apply(state: &mut [Option<Print>], call: &Call) {
    for (key, value) in &call.writes {
        state[*key] = value.map(|value| value.print());
    }
}

/// Keys that have neither what they should nor damage.
fn wrong_keys(found: &[Found], state: &[Option<Print>]) -> impl Iterator<Item = usize> {
    let wrong = |(found, expected): (&Found, &Option<Print>)| match found {
        Found::Damaged => false,
        Found::Value(value) => value != expected,
        Found::Foreign => true,
    };
    found
        .iter()
        .zip(state)
        .map(wrong)
        .enumerate()
        .filter_map(|(key, wrong)| wrong.then_some(key))
        .collect::<Vec<_>>()
        .into_iter()
}
