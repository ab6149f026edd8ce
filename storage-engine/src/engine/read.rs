//! Point reads, reads of many keys at once, and pages of a range.
//!
//! A lookup pins an epoch from the moment when it asks the index until it has the bytes: the collector resets no zone that
//! a pinned reader may have been sent to. Should bytes nevertheless not be the record that the index promised, the index
//! is asked again; only when it insists is that damage.

use std::cell::RefCell;
use std::ops::Bound;
use std::sync::Arc;

use super::Inner;
use crate::buffer::AlignedBuffer;
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::DecodeError;
use crate::format::record::{DecodedRecord, Record, RecordKind, encoded_bytes};
use crate::index::{Entry, LargeId, LargeValue, Location};
use crate::log::memory::UnitKey;
use crate::queue::{Outcome, Request, Wait};
use crate::sync::epoch;
use crate::units::{SeqNo, ZoneId, ZoneOffset};

/// A value, shared.
pub type Bytes = Arc<[u8]>;

/// Reads in flight at once for one call.
const READ_DEPTH: usize = 64;

/// Which way a range is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// Some keys and values of a range.
#[derive(Debug, Default)]
pub struct Page {
    /// Keys in order, each with its value or why that cannot be read.
    pub items: Vec<(Box<[u8]>, EngineResult<Bytes>)>,
    /// The last key looked at, from which to go on; `None` when the range is exhausted.
    pub last_key: Option<Box<[u8]>>,
}

/// Blocks on the device that hold a record, and where in them it begins.
#[derive(Clone, Copy, Debug)]
struct Extent {
    zone: ZoneId,
    start: ZoneOffset,
    len_bytes: usize,
    skip_bytes: usize,
}

/// What is known of a record before it is read.
#[derive(Clone, Copy)]
struct Wanted<'k> {
    location: Location,
    /// Empty for the later parts of a large value.
    key: &'k [u8],
    value_len: usize,
    kind: RecordKind,
    /// Of a part: later parts have no key to tell them by.
    seqno: Option<SeqNo>,
}

/// The value of a key, if it has one, or why that cannot be read.
type Found = EngineResult<Option<Bytes>>;

/// Where a record was found.
enum Source {
    Bytes(Bytes),
    Device(Extent),
}

crate::sync::local! {
    /// Every reading thread keeps one buffer, so that a point read allocates nothing but its value.
    static SCRATCH: RefCell<AlignedBuffer> = RefCell::new(AlignedBuffer::zeroed(64 << 10));
}

impl Inner {
    /// The value of a key.
    pub(super) fn value(&self, key: &[u8]) -> EngineResult<Option<Bytes>> {
        Ok(self.versioned_value(key)?.1)
    }

    /// The value of a key and the index entry that it was found by.
    pub(super) fn versioned_value(&self, key: &[u8]) -> EngineResult<(Option<Entry>, Option<Bytes>)> {
        let mut failed = None;
        loop {
            let _pinned = epoch::pin();
            let Some(entry) = self.catalog.index().lookup(key) else { return Ok((None, None)) };
            match self.read_entry(key, entry) {
                Ok(value) => return Ok((Some(entry), value)),
                // The same entry has failed twice in a row: nothing is moving, so it is damage.
                // But what is read after closing may be what others have written since.
                Err(error) if failed == Some(entry) || !error.may_be_a_race() => {
                    self.check_open()?;
                    return Err(error);
                }
                Err(_) => failed = Some(entry),
            }
        }
    }

    fn read_entry(&self, key: &[u8], entry: Entry) -> EngineResult<Option<Bytes>> {
        match entry {
            Entry::Tombstone { .. } => Ok(None),
            Entry::Value { location, value_len } => {
                let value_len = value_len as usize;
                let wanted = Wanted { location, key, value_len, kind: RecordKind::Put, seqno: None };
                self.read_record(wanted).map(Some)
            }
            Entry::Large { id } => match self.catalog.large().value(id) {
                Some(value) => self.read_large(key, id, &value).map(Some),
                // It has been overwritten since the index was asked.
                None => Err(EngineError::corruption(ZoneId::default(), ZoneOffset::START, stale())),
            },
        }
    }

    fn read_large(&self, key: &[u8], id: LargeId, value: &LargeValue) -> EngineResult<Bytes> {
        let mut whole = Vec::with_capacity(usize::try_from(value.len_bytes()).expect("64-bit sizes"));
        for (index, &(location, value_len)) in value.parts().iter().enumerate() {
            let key = if index == 0 { key } else { &[] };
            let (value_len, seqno) = (value_len as usize, Some(SeqNo::new(id.get() + index as u64)));
            let wanted = Wanted { location, key, value_len, kind: RecordKind::Part, seqno };
            match self.find(&wanted)? {
                Source::Bytes(part) => whole.extend_from_slice(&part),
                Source::Device(extent) => {
                    self.read_extent(extent, |bytes| {
                        self.decode(&wanted, bytes).map(|part| whole.extend(part))
                    })??;
                }
            }
        }
        Ok(whole.into())
    }

    fn read_record(&self, wanted: Wanted<'_>) -> EngineResult<Bytes> {
        match self.find(&wanted)? {
            Source::Bytes(value) => Ok(value),
            Source::Device(extent) => {
                let value: Bytes =
                    self.read_extent(extent, |bytes| self.decode(&wanted, bytes).map(Bytes::from))??;
                self.values.insert(
                    wanted.location,
                    self.zones.zone(wanted.location.zone).generation(),
                    &value,
                );
                Ok(value)
            }
        }
    }

    /// Finds a record in memory, or else where it lies on the device.
    fn find(&self, wanted: &Wanted<'_>) -> EngineResult<Source> {
        let Location { zone, unit, offset } = wanted.location;
        let generation = self.zones.zone(zone).generation();
        let key = UnitKey { zone, generation, unit };
        let copy =
            |bytes: &[u8]| self.decode_trusted(wanted, bytes.get(offset as usize..).unwrap_or_default());
        // A unit is filled, then in memory, then placed. Looking in that order twice cannot miss it on its way.
        for _ in 0..2 {
            if let Some(unit) = self.memory.unit(key) {
                self.counters.memory_hits.add(1);
                return copy(&unit).map(Source::Bytes);
            }
            if let Some(start) = self.zones.zone(zone).place(unit) {
                if let Some(value) = self.values.value(wanted.location, generation) {
                    self.counters.memory_hits.add(1);
                    return Ok(Source::Bytes(value));
                }
                return self.extent(wanted, start).map(Source::Device);
            }
            if let Some(copied) = self.log.as_ref().and_then(|log| log.read_open_unit(key, copy)) {
                self.counters.memory_hits.add(1);
                return copied.map(Source::Bytes);
            }
        }
        Err(EngineError::corruption(zone, ZoneOffset::START, stale()))
    }

    fn extent(&self, wanted: &Wanted<'_>, unit_start: ZoneOffset) -> EngineResult<Extent> {
        let geometry = self.device.geometry();
        let record_start = unit_start.forward(u64::from(wanted.location.offset)).get();
        // An entry may come from a checkpoint: it is input like other bytes of the device.
        if record_start >= geometry.zone_capacity_bytes {
            return Err(EngineError::corruption(wanted.location.zone, ZoneOffset::START, stale()));
        }
        // Whether the record carries a group extension is not known: allow for one, within the zone's written part.
        let record_end = record_start + encoded_bytes(wanted.key.len(), wanted.value_len, true) as u64;
        let start = geometry.round_down_to_block(record_start);
        let end = geometry.round_up_to_block(record_end).min(geometry.zone_capacity_bytes);
        Ok(Extent {
            zone: wanted.location.zone,
            start: ZoneOffset::new(start),
            len_bytes: usize::try_from(end - start).expect("a unit is at most 1 MiB"),
            skip_bytes: usize::try_from(record_start - start).expect("below a block"),
        })
    }

    fn read_extent<T>(&self, extent: Extent, read: impl FnOnce(&[u8]) -> T) -> EngineResult<T> {
        SCRATCH.with(|scratch| {
            let scratch = &mut *scratch.borrow_mut();
            if scratch.capacity_bytes() < extent.len_bytes {
                *scratch = AlignedBuffer::zeroed(extent.len_bytes);
            }
            scratch.set_len(extent.len_bytes);
            self.device.read(extent.zone, extent.start, scratch)?;
            Ok(read(&scratch[extent.skip_bytes..]))
        })
    }

    /// The value in bytes that never left memory: they need no checksum.
    fn decode_trusted(&self, wanted: &Wanted<'_>, bytes: &[u8]) -> EngineResult<Bytes> {
        let grouped = Record::is_grouped(bytes);
        let value_start = encoded_bytes(wanted.key.len(), 0, grouped);
        match bytes.get(value_start..value_start + wanted.value_len) {
            Some(value) if bytes[..value_start].ends_with(wanted.key) => Ok(value.into()),
            _ => Err(EngineError::corruption(wanted.location.zone, ZoneOffset::START, stale())),
        }
    }

    /// The value in bytes that come from the device, if they are the record that is wanted.
    fn decode<'b>(&self, wanted: &Wanted<'_>, bytes: &'b [u8]) -> EngineResult<&'b [u8]> {
        let checked = Record::decode(bytes).and_then(|decoded| {
            let DecodedRecord { record, value_check, .. } = decoded;
            if !fault::is_on(Fault::TrustValues) {
                value_check?;
            }
            let is_wanted = (record.key == wanted.key || fault::is_on(Fault::TrustKeys))
                && record.kind == wanted.kind
                && (wanted.seqno.is_none_or(|seqno| seqno == record.seqno)
                    || fault::is_on(Fault::TrustParts))
                && record.value.len() == wanted.value_len;
            if is_wanted { Ok(record.value) } else { Err(stale()) }
        });
        checked.map_err(|error| {
            let zone = self.zones.zone(wanted.location.zone);
            let unit_start = zone.place(wanted.location.unit).unwrap_or_default();
            let offset = unit_start.forward(u64::from(wanted.location.offset));
            self.corruption(wanted.location.zone, offset, &error)
        })
    }

    /// Damage, with its place on the device beside the one in the zone.
    fn corruption(&self, zone: ZoneId, offset: ZoneOffset, error: &DecodeError) -> EngineError {
        let what = match self.device.device_byte(zone, offset) {
            Some(at_bytes) => format!("{error} (byte {at_bytes} of the device)"),
            None => error.to_string(),
        };
        EngineError::Corruption { zone, offset, what }
    }

    /// The values of many keys, with their device reads in flight together.
    pub(super) fn values(&self, keys: &[&[u8]]) -> EngineResult<Vec<Option<Bytes>>> {
        let _pinned = epoch::pin();
        let entries = keys.iter().map(|key| self.catalog.index().lookup(key)).collect::<Vec<_>>();
        self.values_of(keys, &entries)?.into_iter().collect()
    }

    /// The values of index entries looked up under the same pin; those that do not fit are looked up again.
    ///
    /// A value that cannot be read does not stand in the way of the others.
    fn values_of(&self, keys: &[&[u8]], entries: &[Option<Entry>]) -> EngineResult<Vec<Found>> {
        let mut values: Vec<Found> = vec![Ok(None); keys.len()];
        let mut reads: Vec<(usize, Wanted<'_>, Extent)> = Vec::new();
        for (place, (&key, entry)) in keys.iter().zip(entries).enumerate() {
            match entry {
                None | Some(Entry::Tombstone { .. }) => {}
                Some(Entry::Large { .. }) => values[place] = self.value(key),
                Some(Entry::Value { location, value_len }) => {
                    let wanted = Wanted {
                        location: *location,
                        key,
                        value_len: *value_len as usize,
                        kind: RecordKind::Put,
                        seqno: None,
                    };
                    match self.find(&wanted) {
                        Ok(Source::Bytes(value)) => values[place] = Ok(Some(value)),
                        Ok(Source::Device(extent)) => reads.push((place, wanted, extent)),
                        Err(_) => values[place] = self.value(key),
                    }
                }
            }
        }
        if let [(place, wanted, _)] = reads[..] {
            values[place] = self.value(wanted.key);
            return Ok(values);
        }
        for some in reads.chunks(READ_DEPTH) {
            self.read_together(some, &mut values)?;
        }
        Ok(values)
    }

    fn read_together(&self, reads: &[(usize, Wanted<'_>, Extent)], values: &mut [Found]) -> EngineResult<()> {
        let queue = self.read_queues.take()?;
        for (user_data, (_, _, extent)) in (0u64..).zip(reads) {
            let into = AlignedBuffer::zeroed(extent.len_bytes);
            let request = Request::Read { zone: extent.zone, offset: extent.start, into, user_data };
            // A read that the queue refuses is done below, like one whose bytes do not fit.
            let _ = queue.submit(request);
        }
        let mut completions = Vec::with_capacity(reads.len());
        while queue.in_flight_count() > 0 {
            let reaped = queue.reap(Wait::ForOne, &mut completions);
            reaped.map_err(|error| EngineError::io("waiting for reads", error))?;
        }
        self.read_queues.give_back(queue);
        for completion in completions {
            let place = usize::try_from(completion.user_data).expect("an index");
            let (slot, wanted, extent) = &reads[place];
            if let Outcome::Read { result: Ok(()), into } = completion.outcome
                && let Ok(value) = self.decode(wanted, &into[extent.skip_bytes..])
            {
                let value = Bytes::from(value);
                self.values.insert(
                    wanted.location,
                    self.zones.zone(wanted.location.zone).generation(),
                    &value,
                );
                values[*slot] = Ok(Some(value));
            }
        }
        for (slot, wanted, _) in reads {
            if matches!(values[*slot], Ok(None)) {
                values[*slot] = self.value(wanted.key);
            }
        }
        Ok(())
    }

    /// Up to `limit` index entries of a range, with their values.
    pub(super) fn page(
        &self,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> EngineResult<Page> {
        let _pinned = epoch::pin();
        let mut entries = Vec::with_capacity(limit);
        match direction {
            Direction::Forward => self.catalog.index().ascend(low, limit, &mut entries),
            Direction::Backward => self.catalog.index().descend(high, limit, &mut entries),
        }
        let exhausted = entries.len() < limit;
        let found = entries.len();
        entries.retain(|(key, _)| match direction {
            Direction::Forward => is_below(key, high),
            Direction::Backward => is_above(key, low),
        });
        let left = entries.len() < found;
        let last_key = if exhausted || left { None } else { entries.last().map(|(key, _)| key.clone()) };
        let keys: Vec<&[u8]> = entries.iter().map(|(key, _)| &**key).collect();
        let found: Vec<Option<Entry>> = entries.iter().map(|(_, entry)| Some(*entry)).collect();
        let values = self.values_of(&keys, &found)?;
        // A closed store gives no values at all: that is not about any one key.
        self.check_open()?;
        let values = entries.into_iter().zip(values);
        let items = values.filter_map(|((key, _), value)| Some((key, value.transpose()?))).collect();
        Ok(Page { items, last_key })
    }
}

fn is_below(key: &[u8], high: Bound<&[u8]>) -> bool {
    match high {
        Bound::Unbounded => true,
        Bound::Included(high) => key <= high,
        Bound::Excluded(high) => key < high,
    }
}

fn is_above(key: &[u8], low: Bound<&[u8]>) -> bool {
    match low {
        Bound::Unbounded => true,
        Bound::Included(low) => key >= low,
        Bound::Excluded(low) => key > low,
    }
}

/// The bytes are a record, and another one than was wanted.
fn stale() -> DecodeError {
    DecodeError::Field { structure: "record", field: "identity", found: 0 }
}

impl EngineError {
    /// Whether asking the index again may help.
    fn may_be_a_race(&self) -> bool {
        matches!(self, Self::Corruption { .. } | Self::Device(_))
    }
}
