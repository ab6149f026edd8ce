//! The journal of a run: a copy of what the log has not appended yet, in memory of the device that outlives the process.
//!
//! A put that is to survive the end of its process need not wait for its append then: the next opening takes from the
//! journal what the log lacks. This is for devices that are reached through memory of the operating system; there a
//! copy costs a fraction of an append.
//!
//! Invariants:
//! - Frames are written in the order of seqnos, under the lock of what the streams of new writes share, so that what is whole in the ring has no gaps but
//!   those that the log knows of (`LogWriter::unjournaled`).
//! - A frame is overwritten only after the append of its record, and of all before it, has completed.

use std::collections::VecDeque;

use super::commit::Commit;
use super::user_streams::Shared;
use super::writer::LogWriter;
use crate::device::KeptMemory;
use crate::error::EngineResult;
use crate::fault::{self, Fault};
use crate::format::journal::{JournalHeader, RING_AT_BYTES, encode_frame, frame_bytes};
use crate::format::record::{Record, RecordKind};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::units::SeqNo;

/// Frames are let go of in stretches of about so many bytes.
const STRETCH_BYTES: u64 = 16 << 10;

/// Units filled without anybody asking for [`Level::Written`](super::commit::Level) after which journaling is left off.
const IDLE_UNITS: u32 = 256;

/// What is known of the journal without a lock. `on` is written by who holds all streams of new writes, `unjournaled` by who
/// holds what they share.
#[derive(Debug, Default)]
pub(super) struct Journaling {
    /// Whether there may be a journal: what an earlier run left in it has been logged.
    allowed: AtomicBool,
    /// Whether writes are journaled.
    on: AtomicBool,
    /// Up to here the journal may have gaps.
    unjournaled: AtomicU64,
    /// Whether anybody has relied on the journal since the last unit was sealed.
    relied_on: AtomicBool,
}

/// A ring of frames.
#[derive(Debug)]
pub(super) struct Journal {
    memory: Box<dyn KeptMemory>,
    seed: u32,
    /// Positions on the endless tape: frames lie from `tail` to `head`.
    tail: u64,
    head: u64,
    stretches: VecDeque<Stretch>,
    /// Nobody asks for it: records are not taken in.
    paused: bool,
    idle_units: u32,
}

/// Neighbouring frames.
#[derive(Debug)]
struct Stretch {
    start: u64,
    last_seqno: SeqNo,
}

impl Journal {
    /// Begins the journal of a run; the memory's earlier content is gone.
    pub(super) fn begin(mut memory: Box<dyn KeptMemory>, header: JournalHeader) -> Self {
        let seed = header.encode(memory.bytes());
        memory.stored();
        Self { memory, seed, tail: 0, head: 0, stretches: VecDeque::new(), paused: false, idle_units: 0 }
    }

    /// Takes a record in; `false` when there is no room before more has been `written`.
    pub(super) fn take(&mut self, record: &Record<'_>, value_crc: u32, written: impl Fn() -> SeqNo) -> bool {
        let len_bytes = frame_bytes(record.encoded_bytes());
        let ring_bytes = self.memory.bytes().len() - RING_AT_BYTES;
        let Some(position) = self.place(len_bytes as u64, ring_bytes as u64, written) else { return false };
        let at = RING_AT_BYTES + usize::try_from(position % ring_bytes as u64).expect("within the ring");
        let into = &mut self.memory.bytes()[at..at + len_bytes];
        encode_frame(position, self.seed, record, value_crc, into);
        self.memory.stored();
        self.head = position + len_bytes as u64;
        self.note(position, record.seqno);
        true
    }

    /// Where the next frame goes.
    fn place(&mut self, len_bytes: u64, ring_bytes: u64, written: impl Fn() -> SeqNo) -> Option<u64> {
        let before_end = ring_bytes - self.head % ring_bytes;
        let position = if len_bytes <= before_end { self.head } else { self.head + before_end };
        if position + len_bytes - self.tail > ring_bytes {
            self.let_go(written());
        }
        (position + len_bytes - self.tail <= ring_bytes).then_some(position)
    }

    fn let_go(&mut self, written: SeqNo) {
        let too_much = fault::is_on(Fault::OverwriteJournal);
        while self.stretches.front().is_some_and(|stretch| stretch.last_seqno <= written || too_much) {
            self.stretches.pop_front();
        }
        self.tail = self.stretches.front().map_or(self.head, |stretch| stretch.start);
    }

    fn note(&mut self, start: u64, last_seqno: SeqNo) {
        let end = self.head;
        match self.stretches.back_mut() {
            Some(stretch) if end - stretch.start <= STRETCH_BYTES => stretch.last_seqno = last_seqno,
            _ => self.stretches.push_back(Stretch { start, last_seqno }),
        }
    }

    /// Ends the journal: everything in it has been appended.
    pub(super) fn end(mut self) -> EngineResult<()> {
        JournalHeader::erase(self.memory.bytes());
        self.memory.stored();
        Ok(self.memory.give_back()?)
    }
}

impl Journaling {
    /// Whether writes are journaled. Stays as it is for as long as the caller holds a stream.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// The log has a write that the journal lacks.
    pub(super) fn note_gap(&self, shared: &Shared, last_seqno: SeqNo) {
        if shared.journal.is_some() {
            self.unjournaled.store(last_seqno.get(), Ordering::Release);
        }
    }

    /// A unit has been sealed: leaves journaling off when nobody has asked for it in a long time.
    pub(super) fn pause_when_idle(&self, shared: &mut Shared) {
        let Some(journal) = shared.journal.as_mut().filter(|journal| !journal.paused) else { return };
        let is_idle = !self.relied_on.swap(false, Ordering::Relaxed);
        journal.idle_units = if is_idle { journal.idle_units + 1 } else { 0 };
        if journal.idle_units > IDLE_UNITS {
            journal.paused = true;
            self.on.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    /// Puts a record that has just been logged into the journal as well, where it can be.
    pub(super) fn journal(&mut self, record: &Record<'_>, value_crc: u32, commit: &Commit) -> bool {
        let journal = self.journal.as_mut().filter(|journal| !journal.paused);
        journal.is_some_and(|journal| {
            record.kind != RecordKind::Part && journal.take(record, value_crc, || commit.written())
        })
    }
}

impl LogWriter {
    /// Allows journaling: nothing that an earlier run has journaled is wanted any more.
    pub fn allow_journal(&self) {
        self.journaling.allowed.store(true, Ordering::Release);
    }

    /// Whether everything that the caller has logged outlives the process, appended or not. Where it does not, but later writes
    /// might, those are journaled from here on.
    ///
    /// # Errors
    /// The failure that has latched the store; the device's, when a journal could not be begun.
    pub(super) fn outlives_process(&self) -> EngineResult<bool> {
        self.commit.check()?;
        if !self.journaling.is_on() {
            self.begin_journal()?;
            return Ok(false);
        }
        // Written only when it changes: all threads read it.
        if !self.journaling.relied_on.load(Ordering::Relaxed) {
            self.journaling.relied_on.store(true, Ordering::Relaxed);
        }
        // A gap below the caller's write was noted before the write was logged, under the same lock.
        let unjournaled = SeqNo::new(self.journaling.unjournaled.load(Ordering::Acquire));
        Ok(self.commit.written() >= unjournaled || fault::is_on(Fault::ForgetJournalGaps))
    }

    fn begin_journal(&self) -> EngineResult<()> {
        if !self.journaling.allowed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut log = self.user.hold();
        match &mut log.shared.journal {
            Some(journal) => (journal.paused, journal.idle_units) = (false, 0),
            none => {
                // Once in a run, and under the lock: two holders would write over each other.
                let Some(memory) = self.parts.device.keep_memory()? else {
                    self.journaling.allowed.store(false, Ordering::Release);
                    return Ok(());
                };
                let header = JournalHeader { store: self.store, incarnation: self.incarnation };
                *none = Some(Journal::begin(memory, header));
            }
        }
        self.journaling.unjournaled.store(log.next_seqno().back(1).get(), Ordering::Release);
        self.journaling.on.store(true, Ordering::Release);
        Ok(())
    }

    /// Ends the journal; everything logged has been appended, and nothing more will be.
    ///
    /// # Errors
    /// The device's.
    pub fn end_journal(&self) -> EngineResult<()> {
        let journal = self.user.hold().shared.journal.take();
        self.journaling.allowed.store(false, Ordering::Release);
        self.journaling.on.store(false, Ordering::Release);
        journal.map_or(Ok(()), Journal::end)
    }
}

#[cfg(test)]
mod tests {
    use super::Journal;
    use crate::device::{DeviceResult, KeptMemory};
    use crate::format::journal::{JournalHeader, RING_AT_BYTES, frames};
    use crate::format::record::{Record, RecordKind, value_crc};
    use crate::units::SeqNo;

    #[derive(Debug)]
    struct Memory(Vec<u8>);

    impl KeptMemory for Memory {
        fn bytes(&mut self) -> &mut [u8] {
            &mut self.0
        }

        fn give_back(self: Box<Self>) -> DeviceResult<()> {
            Ok(())
        }
    }

    fn journal(ring_bytes: usize) -> Journal {
        let memory = Memory(vec![0; RING_AT_BYTES + ring_bytes]);
        Journal::begin(Box::new(memory), JournalHeader { store: [1; 16], incarnation: 1 })
    }

    fn take(journal: &mut Journal, seqno: u64, len: usize, written: u64) -> bool {
        let value = vec![0; len];
        let seqno = SeqNo::new(seqno);
        let record = Record { seqno, kind: RecordKind::Put, group: None, key: b"key", value: &value };
        journal.take(&record, value_crc(&value), || SeqNo::new(written))
    }

    fn seqnos(journal: &mut Journal) -> Vec<u64> {
        let seed = journal.seed;
        frames(&journal.memory.bytes()[RING_AT_BYTES..], seed).iter().map(|it| it.seqno.get()).collect()
    }

    #[test]
    fn nothing_is_overwritten_before_it_has_been_written() {
        // Lengths that do not divide the ring; appends complete now and then, a good way behind.
        let mut journal = journal(256 << 10);
        let (mut next, mut written, mut refused) = (1, 0, 0);
        let steps = if cfg!(miri) { 150 } else { 4000_u64 };
        for step in 0..steps {
            let len = usize::try_from(step * 7919 % 3001).unwrap();
            if take(&mut journal, next, len, written) {
                next += 1;
            } else {
                refused += 1;
                written = next - 1 - step % 20;
            }
            let kept = seqnos(&mut journal);
            let needed: Vec<u64> = (written + 1..next).collect();
            assert!(kept.ends_with(&needed), "step {step}: {kept:?} lacks some of {needed:?}");
        }
        assert!(cfg!(miri) || next > 2000 && refused > 5, "{next} taken, {refused} refused");
    }

    #[test]
    fn what_is_larger_than_the_ring_is_refused() {
        let mut journal = journal(16 << 10);
        assert!(!take(&mut journal, 1, 16 << 10, 0));
        assert!(take(&mut journal, 2, 8 << 10, 0));
        assert!(!take(&mut journal, 3, 8 << 10, 0));
        assert!(take(&mut journal, 3, 8 << 10, 2));
    }
}
