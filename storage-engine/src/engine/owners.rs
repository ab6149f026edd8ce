//! Whose record an entry of the hash index is.
//!
//! The index cannot tell keys with one tag from each other, so that the record's own key decides. Before a write gets its
//! place in the log, `make_way` sees to it that publishing it replaces no other key's entry: under the key's latch, which all
//! keys with its tag share, and with no write of another one of them unpublished. From then until the write is published
//! nobody else can give the tag to a key; the collector and mending only move the entry that it has, or forget it.
//!
//! A record that cannot be read is nobody's: whether it is the key's own, which the write may replace, or another's, which it
//! must not touch, is not known. Then the write fails with what is wrong, and nothing has changed.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::Inner;
use super::read::{Extent, stale};
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::DecodeError;
use crate::format::record::{Record, RecordKind, encoded_bytes};
use crate::index::hash::{Found, Stroll};
use crate::index::{Entry, HashIndex, Location};
use crate::log::memory::UnitKey;
use crate::log::writer::LogWrite;
use crate::sync::epoch;
use crate::units::{SeqNo, ZoneId, ZoneOffset};

/// What is known of the tag of a key that is to be written.
#[derive(Debug)]
pub(super) enum Owner {
    /// No key with the tag has an entry.
    Nobody,
    /// The key itself has this entry.
    Asker(Entry),
    /// This other key has this entry.
    Another(Box<[u8]>, Entry),
    /// Keys with the tag are kept apart; this is the entry of the key.
    Apart(Option<Entry>),
}

impl Owner {
    /// The entry of the key that was asked about.
    pub(super) const fn own(&self) -> Option<Entry> {
        match self {
            Self::Asker(entry) | Self::Apart(Some(entry)) => Some(*entry),
            Self::Nobody | Self::Another(..) | Self::Apart(None) => None,
        }
    }
}

/// Whose the tags are of the keys that one call writes, in the order of its writes.
pub(super) type Owners = SmallVec<[Owner; 1]>;

/// What must be so of the record that an entry points at.
#[derive(Clone, Copy)]
struct Expected {
    location: Location,
    kind: RecordKind,
    value_len: Option<usize>,
    seqno: Option<SeqNo>,
}

/// Where the key of a record was found.
enum KeySource {
    Key(Box<[u8]>),
    /// In the unit that lies here in its zone.
    Device(ZoneOffset),
}

/// Keys that were read before the latches were taken. No zone is reset as long as this is there, so that an entry that is found
/// again stands for the same record.
pub(super) struct ReadAhead {
    _pinned: epoch::Guard,
    keys: HashMap<Entry, Box<[u8]>, FixedState>,
}

/// A key whose length nobody knows is mostly no longer than this, in bytes.
const COMMON_KEY_BYTES: usize = 64;

/// What an entry is that the index gives and that cannot be read as the record of the key that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Insisted {
    /// That key's.
    Damaged,
    /// Another key's, with the same tag, whose record is whole.
    OfAnother,
    /// The index gives another one by now.
    Superseded,
}

impl Inner {
    /// Whose the tags of these keys are. Reads records whose keys are not in memory, one for each key at most (two for keys
    /// longer than the one that is written).
    pub(super) fn owners(
        &self,
        index: &HashIndex,
        writes: &[LogWrite<'_>],
        ahead: Option<&ReadAhead>,
    ) -> EngineResult<Owners> {
        writes.iter().map(|write| self.owner_by(index, write.key, ahead)).collect()
    }

    /// Reads together what [`Inner::owners`] would read one after another, before the latches are taken.
    pub(super) fn read_ahead(&self, writes: &[LogWrite<'_>]) -> EngineResult<Option<ReadAhead>> {
        let Some(index) = self.catalog.index().hash().filter(|_| writes.len() > 1) else { return Ok(None) };
        let mut ahead = ReadAhead { _pinned: epoch::pin(), keys: HashMap::default() };
        let wanted = writes.iter().filter_map(|write| match index.find(write.key) {
            Found::OfTag(entry) => Some((entry, write.key.len())),
            Found::Vacant | Found::Apart(_) => None,
        });
        let mut reads = wanted.filter_map(|(entry, key_bytes)| self.head_to_read(entry, key_bytes));
        if let (Some(first), Some(second)) = (reads.next(), reads.next()) {
            self.read_together([first, second].into_iter().chain(reads), |(entry, expected), bytes| {
                let key = bytes.and_then(|bytes| expected.key_in(bytes).ok());
                ahead.keys.extend(key.map(|key| (entry, key)));
            })?;
        }
        Ok(Some(ahead))
    }

    /// Where on the device the head of an entry's record is, if it is not in memory.
    fn head_to_read(&self, entry: Entry, likely_key_bytes: usize) -> Option<((Entry, Expected), Extent)> {
        let expected = self.expected(entry).ok()?;
        match self.find_key(expected).ok()? {
            KeySource::Key(_) => None,
            KeySource::Device(start) => {
                let head_bytes = encoded_bytes(likely_key_bytes, 0, true);
                Some(((entry, expected), self.extent(expected.location, head_bytes, start).ok()?))
            }
        }
    }

    /// Sees to it that these writes can be published. The caller holds the latches, and no write of another key with one of
    /// the tags is unpublished.
    pub(super) fn make_way(
        &self,
        index: &HashIndex,
        writes: &[LogWrite<'_>],
        owners: Owners,
    ) -> EngineResult<()> {
        if fault::is_on(Fault::TrustTags) {
            return Ok(());
        }
        for (write, mut owner) in writes.iter().zip(owners) {
            while let Owner::Another(other, entry) = &owner {
                if index.set_apart(write.key, Some((other, *entry))) {
                    break;
                }
                // The collector has moved the entry meanwhile.
                owner = self.owner(index, write.key)?;
            }
        }
        if writes.len() > 1 {
            set_apart_within(index, writes);
        }
        Ok(())
    }

    /// Whose the tag of a key is.
    pub(super) fn owner(&self, index: &HashIndex, key: &[u8]) -> EngineResult<Owner> {
        self.owner_by(index, key, None)
    }

    fn owner_by(&self, index: &HashIndex, key: &[u8], ahead: Option<&ReadAhead>) -> EngineResult<Owner> {
        let mut failed = None;
        loop {
            let _pinned = epoch::pin();
            let entry = match index.find(key) {
                Found::Vacant => return Ok(Owner::Nobody),
                Found::Apart(entry) => return Ok(Owner::Apart(entry)),
                Found::OfTag(entry) => entry,
            };
            let read_before = ahead.filter(|_| failed.is_none()).and_then(|ahead| ahead.keys.get(&entry));
            match read_before.map_or_else(|| self.key_at(entry, key.len()), |key| Ok(key.clone())) {
                Ok(found) if *found == *key => return Ok(Owner::Asker(entry)),
                // What has another tag is not what the index points at, whole as it may be.
                Ok(found) if index.tag(&found) == index.tag(key) => return Ok(Owner::Another(found, entry)),
                Ok(_) if failed == Some(entry) => return Err(misplaced(entry)),
                Err(error) if failed == Some(entry) || !error.may_be_a_race() => {
                    self.check_open()?;
                    return Err(error);
                }
                Ok(_) | Err(_) => failed = Some(entry),
            }
        }
    }

    /// What an entry is that the index gave for a key and that could not be read as that key's. The caller is pinned since before
    /// it asked the index.
    ///
    /// # Errors
    /// That of the device, if it does not tell.
    pub(super) fn insisted(&self, key: &[u8], entry: Entry) -> EngineResult<Insisted> {
        let Some(index) = self.catalog.index().hash() else { return Ok(Insisted::Damaged) };
        match index.find(key) {
            Found::OfTag(found) if found == entry => {}
            Found::Apart(Some(found)) if found == entry => return Ok(Insisted::Damaged),
            _ => return Ok(Insisted::Superseded),
        }
        match self.key_at(entry, key.len()) {
            Ok(found) if *found != *key && index.tag(&found) == index.tag(key) => Ok(Insisted::OfAnother),
            Ok(_) | Err(EngineError::Corruption { .. }) => Ok(Insisted::Damaged),
            Err(error) => Err(error),
        }
    }

    /// Calls `see` for all entries of a hash index with their keys, in no order, or with why the key cannot be read. Nobody
    /// may write meanwhile.
    pub(super) fn each_owner(
        &self,
        index: &HashIndex,
        mut see: impl FnMut(EngineResult<Box<[u8]>>, Entry) -> EngineResult<()>,
    ) -> EngineResult<()> {
        let (mut next, mut entries) = (Some(Stroll::default()), Vec::new());
        while let Some(stroll) = next {
            next = index.walk(stroll, &mut entries);
            for (key, entry) in entries.drain(..) {
                let key = key.map_or_else(|| self.key_of_entry(index, entry), Ok);
                see(key, entry)?;
            }
        }
        Ok(())
    }

    fn key_of_entry(&self, index: &HashIndex, entry: Entry) -> EngineResult<Box<[u8]>> {
        let _pinned = epoch::pin();
        let read = || {
            let key = self.key_at(entry, COMMON_KEY_BYTES)?;
            if index.lookup(&key) == Some(entry) { Ok(key) } else { Err(misplaced(entry)) }
        };
        read().or_else(|_| read())
    }

    /// The key of the record that an entry points at. The caller is pinned since before it asked the index.
    fn key_at(&self, entry: Entry, likely_key_bytes: usize) -> EngineResult<Box<[u8]>> {
        let expected = self.expected(entry)?;
        match self.find_key(expected)? {
            KeySource::Key(key) => Ok(key),
            KeySource::Device(start) => self.key_on_device(expected, start, likely_key_bytes),
        }
    }

    /// Finds a record's key in memory, or else where its unit lies on the device.
    fn find_key(&self, expected: Expected) -> EngineResult<KeySource> {
        let Location { zone, unit, offset } = expected.location;
        let generation = self.zones.zone(zone).generation();
        let unit_key = UnitKey { zone, generation, unit };
        let in_unit = |unit: &[u8]| expected.key_in(unit.get(offset as usize..).unwrap_or_default());
        let in_memory = |found: Result<Box<[u8]>, DecodeError>| {
            let found = found.map_err(|error| EngineError::corruption(zone, ZoneOffset::START, error));
            found.map(KeySource::Key)
        };
        // As for values: a unit is filled, then in memory, then placed.
        for _ in 0..2 {
            if let Some(unit) = self.memory.unit(unit_key) {
                return in_memory(in_unit(&unit));
            }
            if let Some(start) = self.zones.zone(zone).place(unit) {
                let cached = self.values.key(expected.location, generation);
                return Ok(cached.map_or(KeySource::Device(start), |key| KeySource::Key((*key).into())));
            }
            if let Some(found) = self.log.as_ref().and_then(|log| log.read_open_unit(unit_key, in_unit)) {
                return in_memory(found);
            }
        }
        Err(EngineError::corruption(zone, ZoneOffset::START, stale()))
    }

    fn expected(&self, entry: Entry) -> EngineResult<Expected> {
        Ok(match entry {
            Entry::Value { location, value_len } => {
                let value_len = Some(value_len as usize);
                Expected { location, kind: RecordKind::Put, value_len, seqno: None }
            }
            Entry::Tombstone { location } => {
                Expected { location, kind: RecordKind::Delete, value_len: None, seqno: None }
            }
            Entry::Large { id } => {
                let first = self.catalog.large().value(id).and_then(|value| value.parts().first().copied());
                let gone = || EngineError::corruption(ZoneId::default(), ZoneOffset::START, stale());
                let (location, value_len) = first.ok_or_else(gone)?;
                let (value_len, seqno) = (Some(value_len as usize), Some(SeqNo::new(id.get())));
                Expected { location, kind: RecordKind::Part, value_len, seqno }
            }
        })
    }

    fn key_on_device(
        &self,
        expected: Expected,
        unit_start: ZoneOffset,
        likely_key_bytes: usize,
    ) -> EngineResult<Box<[u8]>> {
        let mut head_bytes = encoded_bytes(likely_key_bytes, 0, true);
        loop {
            let extent = self.extent(expected.location, head_bytes, unit_start)?;
            match self.read_extent(extent, |bytes| expected.key_in(bytes))? {
                // The key is longer than was thought.
                Err(DecodeError::CutShort { needed_bytes, .. }) if needed_bytes > head_bytes => {
                    head_bytes = needed_bytes;
                }
                Err(error) => {
                    let offset = unit_start.forward(u64::from(expected.location.offset));
                    return Err(self.corruption(expected.location.zone, offset, &error));
                }
                Ok(key) => return Ok(key),
            }
        }
    }
}

impl Expected {
    /// The key of the record at the start of some bytes, if it is the one that is expected as far as that can be told.
    fn key_in(&self, bytes: &[u8]) -> Result<Box<[u8]>, DecodeError> {
        let head = Record::decode_head(bytes)?;
        let is_expected = head.record.kind == self.kind
            && self.value_len.is_none_or(|len| len == head.value_bytes)
            && self.seqno.is_none_or(|seqno| seqno == head.record.seqno);
        if is_expected { Ok(head.record.key.into()) } else { Err(stale()) }
    }
}

/// Of different keys with one tag that a batch writes, the later ones would replace the earlier ones.
fn set_apart_within(index: &HashIndex, writes: &[LogWrite<'_>]) {
    let mut tagged: Vec<_> = writes.iter().map(|write| (index.tag(write.key), write.key)).collect();
    tagged.sort_unstable();
    tagged.dedup();
    for pair in tagged.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        // Where the tag has an entry, it is that of at most one of them, and for the other one it has been set apart.
        let key = pair[0].1;
        assert!(index.find(key) != Found::Vacant || index.set_apart(key, None), "the latch is held");
    }
}

fn misplaced(entry: Entry) -> EngineError {
    let zone = match entry {
        Entry::Value { location, .. } | Entry::Tombstone { location } => location.zone,
        Entry::Large { .. } => ZoneId::default(),
    };
    EngineError::corruption(zone, ZoneOffset::START, stale())
}
