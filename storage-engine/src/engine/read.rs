//! Point reads, reads of many keys at once, and pages of a range.
//!
//! A lookup pins an epoch from the moment when it asks the index until it has the bytes: the collector resets no zone that
//! a pinned reader may have been sent to. Should bytes nevertheless not be the record that the index promised, the index
//! is asked again; only when it insists is that damage. A hash index may insist because it gave the entry of another key with
//! the same tag: then that key's record is there, whole, and the one that was asked for has no value.

use std::cell::{Cell, RefCell};
use std::ops::Bound;
use std::sync::Arc;

use prefetch_index::prefetch_index;

use super::Inner;
use super::owners::Insisted;
use crate::buffer::AlignedBuffer;
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::DecodeError;
use crate::format::record::{DecodedRecord, RawHeader, Record, RecordKind, encoded_bytes};
use crate::index::{Entry, LargeId, LargeValue, Location};
use crate::log::memory::UnitKey;
use crate::sync::epoch;
use crate::units::{SeqNo, ZoneId, ZoneOffset};

/// A value, shared.
pub type Bytes = Arc<[u8]>;

/// Records in memory found before the first of them is copied, so that the processor fetches them side by side.
const UNIT_DEPTH: usize = 16;

/// Why a store with a hash index walks no keys.
const NO_ORDER: &str = "the store is open with a hash index, which has no keys to walk: open it with IndexKind::Ordered for \
                        ranges, prefixes and iterators";

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
    /// Whether all values were in memory, so that there was nothing to wait for.
    pub was_in_memory: bool,
}

/// Blocks on the device that hold a record, and where in them it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) zone: ZoneId,
    pub(super) start: ZoneOffset,
    pub(super) len_bytes: usize,
    skip_bytes: usize,
}

impl Extent {
    #[cfg(test)]
    pub(super) fn of_blocks(zone: ZoneId, start: ZoneOffset, len_bytes: usize) -> Self {
        Self { zone, start, len_bytes, skip_bytes: 0 }
    }

    /// The record, and what comes behind it, in the blocks of the extent.
    pub(super) fn record_in<'b>(&self, blocks: &'b [u8]) -> &'b [u8] {
        &blocks[self.skip_bytes..]
    }
}

/// What is known of a record before it is read.
#[derive(Clone, Copy)]
struct Wanted<'k> {
    location: Location,
    /// Empty for the later parts of a large value.
    key: &'k [u8],
    value_len: usize,
    /// Of a part: later parts have no key to tell them by.
    part: Option<PartOf>,
}

/// What tells the parts of large values from each other: no two that were ever written have all of it in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PartOf {
    seqno: SeqNo,
    /// The run that wrote it first.
    incarnation: u32,
    /// Its number among the parts, and how many there are.
    place: (u32, u32),
}

impl PartOf {
    fn of(record: &Record<'_>) -> Option<Self> {
        let group = record.group.filter(|group| group.part_count > 0)?;
        let place = (group.part_index, group.part_count);
        Some(Self { seqno: record.seqno, incarnation: group.incarnation, place })
    }
}

/// The value of a key, if it has one, or why that cannot be read.
type Found = EngineResult<Option<Bytes>>;

/// Where a record was found.
enum Source {
    /// In a unit in memory; the processor has been told to fetch it.
    Unit(Arc<AlignedBuffer>),
    Bytes(Bytes),
    Device(Extent),
}

/// A record found in a unit in memory: whose place among the keys it is, what is wanted, and the unit.
type InUnit<'k> = (usize, Wanted<'k>, Arc<AlignedBuffer>);

/// Goes through keys with their index entries. What is in memory it puts among the values, what has to be read it gives.
struct Walk<'w, 'k, E> {
    inner: &'w Inner,
    entries: E,
    /// Found, and not copied yet.
    in_units: Vec<InUnit<'k>>,
    values: &'w [Cell<Found>],
}

impl<'k, E: Iterator<Item = (usize, (&'k [u8], Option<Entry>))>> Iterator for Walk<'_, 'k, E> {
    type Item = ((usize, Wanted<'k>), Extent);

    fn next(&mut self) -> Option<Self::Item> {
        for (place, (key, entry)) in self.entries.by_ref() {
            match entry {
                None | Some(Entry::Tombstone { .. }) => {}
                Some(Entry::Large { .. }) => self.values[place].set(self.inner.value(key)),
                Some(Entry::Value { location, value_len }) => {
                    let value_len = value_len as usize;
                    let wanted = Wanted { location, key, value_len, part: None };
                    match self.inner.find(&wanted) {
                        Ok(Source::Unit(unit)) => self.in_units.push((place, wanted, unit)),
                        Ok(Source::Bytes(value)) => self.values[place].set(Ok(Some(value))),
                        Ok(Source::Device(extent)) => return Some(((place, wanted), extent)),
                        Err(_) => self.values[place].set(self.inner.value(key)),
                    }
                }
            }
            if self.in_units.len() == UNIT_DEPTH {
                self.inner.copy_out_together(&mut self.in_units, self.values);
            }
        }
        self.inner.copy_out_together(&mut self.in_units, self.values);
        None
    }
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

    /// The value of a key and what the index says of the key.
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
                    match self.insisted(key, entry)? {
                        Insisted::Damaged => return Err(error),
                        Insisted::OfAnother => return Ok((Some(entry), None)),
                        Insisted::Superseded => failed = None,
                    }
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
                let wanted = Wanted { location, key, value_len, part: None };
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
        let part_count = u32::try_from(value.parts().len()).expect("values are at most 1 GiB");
        for (index, &(location, value_len)) in value.parts().iter().enumerate() {
            let key = if index == 0 { key } else { &[] };
            let number = u32::try_from(index).expect("values are at most 1 GiB");
            let part = Some(PartOf {
                seqno: SeqNo::new(id.get() + u64::from(number)),
                incarnation: value.incarnation(),
                place: (number, part_count),
            });
            let wanted = Wanted { location, key, value_len: value_len as usize, part };
            match self.find(&wanted)? {
                Source::Unit(unit) => whole.extend_from_slice(&self.copy_out(&wanted, &unit)?),
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
            Source::Unit(unit) => self.copy_out(&wanted, &unit),
            Source::Bytes(value) => Ok(value),
            Source::Device(extent) => {
                let value: Bytes =
                    self.read_extent(extent, |bytes| self.decode(&wanted, bytes).map(Bytes::from))??;
                self.cache(&wanted, &value);
                Ok(value)
            }
        }
    }

    /// Finds a record in memory, or else where it lies on the device.
    fn find(&self, wanted: &Wanted<'_>) -> EngineResult<Source> {
        let Location { zone, unit, offset } = wanted.location;
        let generation = self.zones.zone(zone).generation();
        let key = UnitKey { zone, generation, unit };
        // A unit is filled, then in memory, then placed. Looking in that order twice cannot miss it on its way.
        for _ in 0..2 {
            if let Some(unit) = self.memory.unit(key) {
                self.counters.memory_hits.add(1);
                prefetch(&unit, offset as usize, encoded_bytes(wanted.key.len(), wanted.value_len, true));
                return Ok(Source::Unit(unit));
            }
            if let Some(start) = self.zones.zone(zone).place(unit) {
                if let Some(value) = self.values.value(wanted.location, generation, wanted.key) {
                    self.counters.memory_hits.add(1);
                    return Ok(Source::Bytes(value));
                }
                // Whether the record carries a group extension is not known: allow for one.
                let record_bytes = encoded_bytes(wanted.key.len(), wanted.value_len, true);
                return self.extent(wanted.location, record_bytes, start).map(Source::Device);
            }
            let copy = |unit: &[u8]| self.copy_out(wanted, unit);
            if let Some(copied) = self.log.as_ref().and_then(|log| log.read_open_unit(key, copy)) {
                self.counters.memory_hits.add(1);
                return copied.map(Source::Bytes);
            }
        }
        Err(EngineError::corruption(zone, ZoneOffset::START, stale()))
    }

    /// The blocks of a record, or of its first bytes, as far as the zone's written part goes.
    pub(super) fn extent(
        &self,
        location: Location,
        record_bytes: usize,
        unit_start: ZoneOffset,
    ) -> EngineResult<Extent> {
        let geometry = self.device.geometry();
        let record_start = unit_start.forward(u64::from(location.offset)).get();
        // An entry may come from a checkpoint: it is input like other bytes of the device.
        if record_start >= geometry.zone_capacity_bytes {
            return Err(EngineError::corruption(location.zone, ZoneOffset::START, stale()));
        }
        let record_end = record_start + record_bytes as u64;
        let start = geometry.round_down_to_block(record_start);
        let end = geometry.round_up_to_block(record_end).min(geometry.zone_capacity_bytes);
        Ok(Extent {
            zone: location.zone,
            start: ZoneOffset::new(start),
            len_bytes: usize::try_from(end - start).expect("a unit is at most 1 MiB"),
            skip_bytes: usize::try_from(record_start - start).expect("below a block"),
        })
    }

    /// Keeps a value that was read. A hash index may send readers of another key to the same place.
    fn cache(&self, wanted: &Wanted<'_>, value: &Bytes) {
        let generation = self.zones.zone(wanted.location.zone).generation();
        let key = self.catalog.index().hash().map(|_| wanted.key);
        if let Some(bytes) = self.values.insert(wanted.location, generation, key, value) {
            self.memory.leave_to_values(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }

    pub(super) fn read_extent<T>(&self, extent: Extent, read: impl FnOnce(&[u8]) -> T) -> EngineResult<T> {
        SCRATCH.with(|scratch| {
            let scratch = &mut *scratch.borrow_mut();
            if scratch.capacity_bytes() < extent.len_bytes {
                *scratch = AlignedBuffer::zeroed(extent.len_bytes);
            }
            scratch.set_len(extent.len_bytes);
            self.device.read(extent.zone, extent.start, scratch)?;
            Ok(read(extent.record_in(scratch)))
        })
    }

    /// The value in a unit that never left memory: it needs no checksum.
    fn copy_out(&self, wanted: &Wanted<'_>, unit: &[u8]) -> EngineResult<Bytes> {
        let bytes = unit.get(wanted.location.offset as usize..).unwrap_or_default();
        let header = RawHeader::read(bytes);
        let grouped = header.is_some_and(|header| header.is_grouped());
        // Of another key that begins with this one the bytes up to here would be the same.
        let has_its_length = header.is_some_and(|header| usize::from(header.key_bytes) == wanted.key.len());
        let value_start = encoded_bytes(wanted.key.len(), 0, grouped);
        match bytes.get(value_start..value_start + wanted.value_len) {
            Some(value) if has_its_length && bytes[..value_start].ends_with(wanted.key) => Ok(value.into()),
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
                && record.kind != RecordKind::Delete
                && (wanted.part == PartOf::of(&record) || fault::is_on(Fault::TrustParts))
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
    pub(super) fn corruption(&self, zone: ZoneId, offset: ZoneOffset, error: &DecodeError) -> EngineError {
        let what = match self.device.device_byte(zone, offset) {
            Some(at_bytes) => format!("{error} (byte {at_bytes} of the device)"),
            None => error.to_string(),
        };
        EngineError::Corruption { zone, offset, what }
    }

    /// The values of many keys, with their device reads in flight together.
    pub(super) fn values(&self, keys: &[&[u8]]) -> EngineResult<Vec<Option<Bytes>>> {
        let _pinned = epoch::pin();
        let (values, _) = self.values_of(keys.iter().map(|&key| (key, self.catalog.index().lookup(key))))?;
        values.into_iter().collect()
    }

    /// The values of keys with their index entries, looked up under the same pin, and how many were read from the device; those
    /// that do not fit are looked up again.
    ///
    /// A value that cannot be read does not stand in the way of the others.
    fn values_of<'k>(
        &self,
        entries: impl ExactSizeIterator<Item = (&'k [u8], Option<Entry>)>,
    ) -> EngineResult<(Vec<Found>, usize)> {
        let mut values: Vec<Found> = vec![Ok(None); entries.len()];
        let read_count = self.fill(Cell::from_mut(&mut values[..]).as_slice_of_cells(), entries)?;
        Ok((values, read_count))
    }

    /// Puts the values of entries into their places; says how many were read from the device.
    fn fill<'k>(
        &self,
        values: &[Cell<Found>],
        entries: impl Iterator<Item = (&'k [u8], Option<Entry>)>,
    ) -> EngineResult<usize> {
        let in_units = Vec::with_capacity(values.len().min(UNIT_DEPTH));
        let mut walk = Walk { inner: self, entries: entries.enumerate(), in_units, values };
        match (walk.next(), walk.next()) {
            (None, _) => Ok(0),
            (Some(((place, wanted), _)), None) => {
                values[place].set(self.value(wanted.key));
                Ok(1)
            }
            (first, second) => self.read_values(first.into_iter().chain(second).chain(walk), values),
        }
    }

    /// Reads values from the device, in flight together; says how many.
    fn read_values<'k>(
        &self,
        reads: impl Iterator<Item = ((usize, Wanted<'k>), Extent)>,
        values: &[Cell<Found>],
    ) -> EngineResult<usize> {
        let (mut read_count, mut failed) = (0, Vec::new());
        self.read_together(reads, |(place, wanted), bytes| {
            read_count += 1;
            match bytes.map(|bytes| self.decode(&wanted, bytes)) {
                Some(Ok(value)) => {
                    let value = Bytes::from(value);
                    self.cache(&wanted, &value);
                    values[place].set(Ok(Some(value)));
                }
                Some(Err(_)) | None => failed.push((place, wanted)),
            }
        })?;
        for (place, wanted) in failed {
            values[place].set(self.value(wanted.key));
        }
        Ok(read_count)
    }

    /// Copies records that the processor was told to fetch when they were found.
    fn copy_out_together(&self, found: &mut Vec<InUnit<'_>>, values: &[Cell<Found>]) {
        for (place, wanted, unit) in found.drain(..) {
            values[place].set(match self.copy_out(&wanted, &unit) {
                Ok(value) => Ok(Some(value)),
                Err(_) => self.value(wanted.key),
            });
        }
    }

    /// Up to `limit` index entries of a range, with their values.
    pub(super) fn page(
        &self,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> EngineResult<Page> {
        let Some(index) = self.catalog.index().ordered() else {
            return Err(EngineError::InvalidArgument(NO_ORDER.to_owned()));
        };
        let _pinned = epoch::pin();
        let mut entries = Vec::with_capacity(limit);
        match direction {
            Direction::Forward => index.ascend(low, limit, &mut entries),
            Direction::Backward => index.descend(high, limit, &mut entries),
        }
        let exhausted = entries.len() < limit;
        let found = entries.len();
        entries.retain(|(key, _)| match direction {
            Direction::Forward => is_below(key, high),
            Direction::Backward => is_above(key, low),
        });
        let left = entries.len() < found;
        let last_key = if exhausted || left { None } else { entries.last().map(|(key, _)| key.clone()) };
        let (values, read_count) =
            self.values_of(entries.iter().map(|(key, entry)| (&**key, Some(*entry))))?;
        // A closed store gives no values at all: that is not about any one key.
        self.check_open()?;
        let values = entries.into_iter().zip(values);
        let items = values.filter_map(|((key, _), value)| Some((key, value.transpose()?))).collect();
        Ok(Page { items, last_key, was_in_memory: read_count == 0 })
    }
}

/// Has the processor fetch a stretch of memory. What is longer it sees coming by itself.
fn prefetch(memory: &[u8], start: usize, len_bytes: usize) {
    const LINE_BYTES: usize = 64;
    const MOST_BYTES: usize = 2048;
    let end = start + len_bytes.min(MOST_BYTES);
    (start..end).step_by(LINE_BYTES).for_each(|at| prefetch_index(memory, at));
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
pub(super) fn stale() -> DecodeError {
    DecodeError::Field { structure: "record", field: "identity", found: 0 }
}

impl EngineError {
    /// Whether asking the index again may help.
    pub(super) fn may_be_a_race(&self) -> bool {
        matches!(self, Self::Corruption { .. } | Self::Device(_))
    }
}
