//! What a killed process had journaled and not appended: it is logged again when the store is opened.
//!
//! The log ends at a seqno, whatever was lost; the journal goes on from there or not at all. A crash in between leaves the
//! journal as it was: what has been logged of it by then is in the log, under the same seqnos, and is not logged twice.
//! A store that is opened for reading only is left as it is: the index points into memory for what is in the journal.

use std::sync::Arc;

use smallvec::smallvec;

use super::owners::Owner;
use super::write::Durability;
use super::{Engine, Inner};
use crate::buffer::AlignedBuffer;
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::journal::{self, JournalHeader};
use crate::format::record::{Record, RecordKind};
use crate::format::unit::StoreId;
use crate::gc::collector::Witness;
use crate::index::hash::Found;
use crate::index::{Entry, HashIndex, Location, MAX_UNIT_BYTES, ZoneCharge};
use crate::log::commit::Level;
use crate::log::manifest_log::home_zones;
use crate::log::memory::UnitKey;
use crate::log::writer::{AppendFailure, Entries, Fit, LogWrite, LogWriter, Visibility};
use crate::units::{SeqNo, ZoneId};
use crate::zones::Purpose;

/// What opening found of the journal of a process that had been killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundJournal {
    /// Writes in it that the log lacked. They are logged when a store is opened for writing.
    pub write_count: u64,
    /// Bytes of their records.
    pub byte_count: u64,
    /// There was a journal, and it is gone: writes that were acknowledged as `Written` may be lost.
    pub is_lost: bool,
}

impl FoundJournal {
    fn count(&mut self, group: &[Record<'_>]) {
        self.write_count += group.len() as u64;
        self.byte_count += group.iter().map(|record| record.encoded_bytes() as u64).sum::<u64>();
    }
}

impl Engine {
    /// Logs what the journal has beyond the log's end, then clears the journal. Durable on return.
    pub(super) fn replay_journal(&self) -> EngineResult<FoundJournal> {
        let log = self.inner.log()?;
        let mut found =
            FoundJournal { is_lost: self.inner.device.lacks_kept_memory(), ..FoundJournal::default() };
        let bytes = self.inner.device.kept_bytes()?;
        if JournalHeader::decode(&bytes).is_some() || found.is_lost {
            let store = self.inner.manifest.lock().store;
            let groups = groups_after(&bytes, store, log.last_seqno());
            for group in &groups {
                found.count(group);
                let writes: Vec<LogWrite<'_>> = group.iter().map(write_of).collect();
                self.log_again(log, &writes)?;
            }
            if !groups.is_empty() {
                log.commit_to(log.last_seqno(), Level::Durable)?;
                // It claims them: what rots of them from here on is told from what a crash takes.
                self.inner.testify()?;
            }
            self.clear_journal()?;
        }
        log.allow_journal();
        Ok(found)
    }

    /// Logs writes that were acknowledged before: whatever room is left to puts, they may take that kept for deletes as well, and
    /// where a zone has gone and the collector can free no other, its own. Nobody else writes yet.
    fn log_again(&self, log: &LogWriter, writes: &[LogWrite<'_>]) -> EngineResult<()> {
        let (inner, mut entries) = (&self.inner, Entries::new());
        if let Some(index) = inner.catalog.index().hash() {
            inner.make_way(index, writes, inner.owners(index, writes, None)?)?;
        }
        let mut purpose = Purpose::Delete;
        loop {
            let seen = inner.allocator.events();
            // In any stream that has room: what was acknowledged comes before where it would lie best.
            let place = (inner.place(log, writes, Durability::Buffered), Fit::AnyStream);
            let how = (purpose, Visibility::Immediate);
            match inner.log_and_show(log, writes, how, place, &mut entries) {
                Ok(appended) => return log.submit(appended.submissions),
                Err(AppendFailure::Error(error)) => return Err(error),
                Err(AppendFailure::NoZone) => {}
            }
            match (inner.wait_for_space(seen), purpose) {
                (Err(EngineError::NoSpace { .. }), Purpose::Delete) => purpose = Purpose::LastDelete,
                (Err(EngineError::NoSpace { .. }), Purpose::LastDelete) => purpose = Purpose::Relocation,
                (waited, _) => waited?,
            }
        }
    }

    /// Makes readers see what the journal has beyond the log's end.
    pub(super) fn show_journal(&self) -> EngineResult<FoundJournal> {
        let inner = &self.inner;
        let mut found = FoundJournal { is_lost: inner.device.lacks_kept_memory(), ..FoundJournal::default() };
        let bytes = inner.device.kept_bytes()?;
        let store = inner.manifest.lock().store;
        let groups = groups_after(&bytes, store, inner.last_recovered);
        if groups.is_empty() {
            return Ok(found);
        }
        groups.iter().for_each(|group| found.count(group));
        let mut shown = Shown::new(inner)?;
        groups.iter().flatten().try_for_each(|record| shown.show(record))?;
        shown.end_unit();
        Ok(found)
    }

    /// What is in it must not be taken for a part of what is written from here on, not even after a power cut.
    fn clear_journal(&self) -> EngineResult<()> {
        let mut memory = self.inner.device.keep_memory()?;
        if let Some(memory) = &mut memory {
            JournalHeader::erase(memory.bytes());
            memory.stored();
        }
        self.inner.device.flush()?;
        Ok(memory.map_or(Ok(()), |memory| memory.give_back())?)
    }
}

/// Records shown as if they lay in units, of which only the memory exists. They are given a place in a zone that has no records:
/// the manifest's.
struct Shown<'a> {
    inner: &'a Inner,
    zone: ZoneId,
    unit: u32,
    buffer: AlignedBuffer,
    filled_bytes: usize,
}

impl<'a> Shown<'a> {
    fn new(inner: &'a Inner) -> EngineResult<Self> {
        let zone = home_zones(&*inner.device)?[0];
        Ok(Self {
            inner,
            zone,
            unit: 0,
            buffer: AlignedBuffer::zeroed(MAX_UNIT_BYTES as usize),
            filled_bytes: 0,
        })
    }

    fn show(&mut self, record: &Record<'_>) -> EngineResult<()> {
        if let Some(index) = self.inner.catalog.index().hash() {
            self.make_way(index, record)?;
        }
        if self.filled_bytes + record.encoded_bytes() > self.buffer.len() {
            self.end_unit();
        }
        let offset = u32::try_from(self.filled_bytes).expect("within a unit");
        self.filled_bytes += record.encode(&mut self.buffer[self.filled_bytes..]);
        let location = Location::new(self.zone, self.unit, offset);
        let value_len = u32::try_from(record.value.len()).expect("within a unit");
        let entry = match record.kind {
            RecordKind::Delete => Entry::Tombstone { location },
            _ => Entry::Value { location, value_len },
        };
        self.inner.catalog.publish(record.key, entry, ZoneCharge::Now);
        Ok(())
    }

    /// As for any write; what was shown last is not in memory yet where others look for it.
    fn make_way(&self, index: &HashIndex, record: &Record<'_>) -> EngineResult<()> {
        let writes = [write_of(record)];
        let owners = match index.find(record.key) {
            Found::OfTag(entry) => match self.key_shown_at(entry) {
                Some(key) if *key == *record.key => return Ok(()),
                Some(key) => smallvec![Owner::Another(key.into(), entry)],
                None => self.inner.owners(index, &writes, None)?,
            },
            Found::Vacant | Found::Apart(_) => return Ok(()),
        };
        self.inner.make_way(index, &writes, owners)
    }

    /// The key of a record in the unit that is being filled.
    fn key_shown_at(&self, entry: Entry) -> Option<&[u8]> {
        let (Entry::Value { location, .. } | Entry::Tombstone { location }) = entry else { return None };
        let bytes = self.buffer.get(location.offset as usize..self.filled_bytes)?;
        let is_here = (location.zone, location.unit) == (self.zone, self.unit);
        is_here.then(|| Record::decode_head(bytes).ok()).flatten().map(|head| head.record.key)
    }

    fn end_unit(&mut self) {
        let generation = self.inner.zones.zone(self.zone).generation();
        let key = UnitKey { zone: self.zone, generation, unit: self.unit };
        let next = AlignedBuffer::zeroed(self.buffer.len());
        self.inner.memory.insert(key, Arc::new(std::mem::replace(&mut self.buffer, next)));
        (self.unit, self.filled_bytes) = (self.unit + 1, 0);
    }
}

/// The writes in a journal that follow a seqno without a gap: whole groups, in their order.
fn groups_after(area: &[u8], store: StoreId, after: SeqNo) -> Vec<Vec<Record<'_>>> {
    let mut expected = after.next();
    let mut groups = journal::groups(area, store);
    if fault::is_on(Fault::ForgetJournal) {
        return Vec::new();
    }
    groups.retain(|group| group[0].seqno > after || fault::is_on(Fault::ReplayTwice));
    let mut follows = |group: &[Record<'_>]| {
        let is_next = group[0].seqno == expected;
        expected = expected.forward(group.len() as u64);
        is_next || fault::is_on(Fault::ReplayPastGaps) || fault::is_on(Fault::ReplayTwice)
    };
    let count = groups.iter().take_while(|group| follows(group)).count();
    groups.truncate(count);
    groups
}

fn write_of<'a>(record: &Record<'a>) -> LogWrite<'a> {
    let value = (record.kind != RecordKind::Delete).then_some(record.value);
    LogWrite { key: record.key, value }
}
