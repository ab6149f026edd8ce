//! A stream: the zones that one kind of writes goes to, one after another, and the unit being filled.
//!
//! A stream is a plain state machine behind its owner's lock; it does no I/O. Units that are to be appended come out as
//! [`SealedUnit`]s. A zone is always filled to its capacity, with a filler unit where the next record does not fit, so
//! that it never has to be finished while appends to it are in flight.

use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::device::Geometry;
use crate::fault::{self, Fault};
use crate::format::record::Record;
use crate::format::unit::{PreviousZone, StoreId, StreamKind, StreamName, UNIT_HEADER_BYTES, UnitHeader};
use crate::gc::policy::lifetime::HistorySum;
use crate::gc::policy::{Clock, Lifetime, Placement, StreamId, ZoneHistory};
use crate::index::{Location, MAX_UNITS_PER_ZONE};
use crate::log::memory::{UnitKey, UnitMemory};
use crate::log::unit_builder::UnitBuilder;
use crate::sync::Instant;
use crate::units::{Generation, SeqNo, ZoneId};

/// The zone that a stream appends to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamZone {
    /// Which zone.
    pub zone: ZoneId,
    /// Which filling of it.
    pub generation: Generation,
    /// The device's reset count of it.
    pub reset_count: u32,
    /// Bytes taken by sealed units.
    pub used_bytes: u64,
    /// Number of the next unit.
    pub next_unit: u32,
    /// First unit that claims may cover.
    pub claim_first: u32,
    /// What the stream filled before.
    pub previous: PreviousZone,
}

impl StreamZone {
    /// A unit without records, `len_bytes` long, as the next one; `next_seqno` is that of the next write.
    ///
    /// # Panics
    /// When a header does not fit, or the unit is longer than units can be.
    #[must_use]
    pub fn filler(
        &self,
        name: StreamName,
        next_seqno: SeqNo,
        facts: &SealFacts,
        len_bytes: usize,
    ) -> AlignedBuffer {
        let mut unit = AlignedBuffer::zeroed(len_bytes);
        let body_bytes = u32::try_from(len_bytes - UNIT_HEADER_BYTES).expect("a unit is at most 1 MiB");
        let header = self.header(name, filler_seqno(name, next_seqno), facts);
        UnitHeader { body_bytes, ..header }.encode(&mut unit);
        unit
    }

    /// Counts a unit that has been given to the device, or will be.
    pub fn count(&mut self, len_bytes: usize) {
        self.next_unit += 1;
        self.used_bytes += len_bytes as u64;
    }

    /// The header of the next unit, as if it had no records.
    fn header(&self, name: StreamName, first_seqno: SeqNo, facts: &SealFacts) -> UnitHeader {
        let claim_end = if facts.claim.generation == self.generation { facts.claim.unit_end } else { 0 };
        UnitHeader {
            store: facts.store,
            generation: self.generation,
            first_seqno,
            watermark: facts.watermark,
            incarnation: facts.incarnation,
            reset_count: self.reset_count,
            unit: self.next_unit,
            body_bytes: 0,
            record_count: 0,
            foreign_count: 0,
            claim_first: self.claim_first,
            claim_end: claim_end.max(self.claim_first),
            previous: self.previous,
            stream: name.kind,
            class: name.class,
            moved: false,
            contents_crc: 0,
        }
    }
}

/// A filler has the number of the write that follows it; among copies zero.
fn filler_seqno(name: StreamName, next_seqno: SeqNo) -> SeqNo {
    if name.kind == StreamKind::User { next_seqno } else { SeqNo::ZERO }
}

/// What a unit's header says beyond what the stream knows itself.
#[derive(Clone, Copy, Debug)]
pub struct SealFacts {
    /// The store.
    pub store: StoreId,
    /// The run of the store.
    pub incarnation: u32,
    /// All writes up to this one are on stable media.
    pub watermark: SeqNo,
    /// The unit number up to which a zone's units are on stable media.
    pub claim: Claim,
}

/// Units of one filling of one zone that are on stable media: all below `unit_end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Claim {
    /// Which filling.
    pub generation: Generation,
    /// One past the last unit.
    pub unit_end: u32,
}

/// A unit ready to be appended.
#[derive(Debug)]
pub struct SealedUnit {
    /// Which unit.
    pub key: UnitKey,
    /// Its bytes, whole blocks.
    pub payload: Arc<AlignedBuffer>,
    /// Which stream it belongs to.
    pub stream: StreamName,
    /// Its first write; in a filler the next one there will be; zero in a relocation unit.
    pub first_seqno: SeqNo,
    /// Its last write; that before its first one in a filler; zero in a relocation unit.
    pub last_seqno: SeqNo,
    /// Bytes of its records to be counted as live ([`Stream::note_live`]).
    pub live_bytes: i64,
    /// How many zones the stream has begun before the one that it goes to.
    pub zone_ordinal: u64,
}

/// A stream of one kind.
///
/// In this order in memory: what every write changes comes first, on as few cache lines as will hold it, since all of
/// them travel from one writing thread to the next.
#[derive(Debug)]
#[repr(C)]
pub struct Stream {
    unit: Option<OpenUnit>,
    zone: Option<StreamZone>,
    previous: PreviousZone,
    /// What the records of the present zone are like.
    history: HistorySum,
    /// Zones begun since the store was opened.
    begun_count: u64,
    name: StreamName,
    geometry: Geometry,
    unit_limit_bytes: usize,
}

/// Likewise.
#[derive(Debug)]
#[repr(C)]
struct OpenUnit {
    live_bytes: i64,
    last_seqno: SeqNo,
    /// What is expected of its records, times their bytes.
    expected: u64,
    builder: UnitBuilder,
    first_seqno: SeqNo,
    begun: Instant,
}

/// The most seqnos from the first record of a unit to its last, those of other streams' records included.
const MOST_SPAN: u64 = 1 << 16;

impl Stream {
    /// A stream that goes on in `zone`, or starts a zone with its first record.
    #[must_use]
    pub fn new(
        name: StreamName,
        geometry: Geometry,
        unit_limit_bytes: usize,
        zone: Option<StreamZone>,
        previous: PreviousZone,
    ) -> Self {
        let history = HistorySum::default();
        Self { name, geometry, unit_limit_bytes, zone, previous, history, begun_count: 0, unit: None }
    }

    /// Bytes left of the zone being filled; `None` where there is none.
    #[must_use]
    pub fn left_of_zone(&self) -> Option<u64> {
        let zone = self.zone.as_ref()?;
        let in_unit = self.unit.as_ref().map_or(0, |unit| unit.builder.filled().len());
        Some(self.left_bytes(zone).saturating_sub(in_unit) as u64)
    }

    /// How many zones it has begun since the store was opened.
    #[must_use]
    pub const fn begun_count(&self) -> u64 {
        self.begun_count
    }

    /// Which stream it is.
    #[must_use]
    pub const fn name(&self) -> StreamName {
        self.name
    }

    /// The zone being filled.
    #[must_use]
    pub fn zone(&self) -> Option<&StreamZone> {
        self.zone.as_ref()
    }

    /// The zone filled before the present one; before the next one, where none is present.
    #[must_use]
    pub fn previous(&self) -> PreviousZone {
        self.previous
    }

    /// Whether a unit holds records that are not sealed.
    #[must_use]
    pub fn has_open_unit(&self) -> bool {
        self.unit.is_some()
    }

    /// When the unit was begun that is being filled.
    #[must_use]
    pub fn open_unit_begun(&self) -> Option<Instant> {
        Some(self.unit.as_ref()?.begun)
    }

    /// Which unit is being filled, if any.
    #[must_use]
    pub fn open_unit(&self) -> Option<UnitKey> {
        self.unit.as_ref()?;
        let zone = self.zone.as_ref()?;
        Some(UnitKey { zone: zone.zone, generation: zone.generation, unit: zone.next_unit })
    }

    /// Bytes filled so far of the unit being filled, when it is this one.
    #[must_use]
    pub fn open_bytes(&self, key: UnitKey) -> Option<&[u8]> {
        (self.open_unit() == Some(key))
            .then(|| self.unit.as_ref().map(|unit| unit.builder.filled()))
            .flatten()
    }

    /// The first write in the unit being filled.
    #[must_use]
    pub fn open_first_seqno(&self) -> Option<SeqNo> {
        Some(self.unit.as_ref()?.first_seqno)
    }

    /// Whether the unit being filled can take records up to this seqno: a header counts so many and no more.
    #[must_use]
    pub fn spans(&self, last_seqno: SeqNo) -> bool {
        self.unit.as_ref().is_none_or(|unit| last_seqno.get() - unit.first_seqno.get() < MOST_SPAN)
    }

    /// What the records of the present zone are like, as far as they have been noted.
    #[must_use]
    pub fn history(&self) -> Option<ZoneHistory> {
        self.zone.as_ref()?;
        self.history.history()
    }

    /// How many ready zones records of these sizes need, if they are pushed in order.
    #[must_use]
    pub fn zones_needed(&self, record_bytes: impl Iterator<Item = usize>) -> usize {
        let mut rehearsal = Rehearsal {
            unit: self.unit.as_ref().map(|unit| (unit.builder.filled().len(), unit.builder.room_bytes())),
            left_bytes: self.zone.as_ref().map_or(0, |zone| self.left_bytes(zone)),
            next_unit: self.zone.as_ref().map_or(0, |zone| zone.next_unit),
            stream: self,
            zones: 0,
        };
        record_bytes.for_each(|bytes| rehearsal.push(bytes));
        rehearsal.zones
    }

    fn capacity_bytes(&self) -> usize {
        if fault::is_on(Fault::CountCapacityBySize) {
            return usize::try_from(self.geometry.zone_size_bytes).expect("64-bit sizes");
        }
        usize::try_from(self.geometry.zone_capacity_bytes).expect("64-bit sizes")
    }

    fn left_bytes(&self, zone: &StreamZone) -> usize {
        self.capacity_bytes() - usize::try_from(zone.used_bytes).expect("64-bit sizes")
    }

    fn unit_capacity(&self, left_bytes: usize) -> usize {
        left_bytes.min(self.unit_limit_bytes)
    }

    /// Whether a record fits into the unit being filled.
    #[must_use]
    pub fn fits(&self, record_bytes: usize) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.builder.room_bytes() >= record_bytes)
    }

    /// Whether the unit being filled can take a record with this seqno.
    #[must_use]
    pub fn takes(&self, record_bytes: usize, seqno: SeqNo) -> bool {
        self.fits(record_bytes) && self.spans(seqno)
    }

    /// Whether a fresh unit in the present zone could take a record.
    #[must_use]
    pub fn zone_fits(&self, record_bytes: usize) -> bool {
        self.zone
            .as_ref()
            .is_some_and(|zone| self.unit_fits(self.left_bytes(zone), zone.next_unit, record_bytes))
    }

    fn unit_fits(&self, left_bytes: usize, next_unit: u32, record_bytes: usize) -> bool {
        // One unit number is kept for the filler.
        next_unit + 1 < MAX_UNITS_PER_ZONE
            && self.unit_capacity(left_bytes) >= UNIT_HEADER_BYTES + record_bytes
    }

    /// Goes over to a zone; `reset_count` is the device's.
    ///
    /// # Panics
    /// When the present zone has not been filled.
    pub fn begin_zone(
        &mut self,
        (zone, reset_count): (ZoneId, u32),
        begin: impl FnOnce(ZoneId) -> Generation,
    ) {
        assert!(self.unit.is_none() && self.zone.is_none(), "{:?} is still being filled", self.zone);
        let generation = begin(zone);
        let previous = self.previous;
        self.begun_count += 1;
        self.history = HistorySum::default();
        self.zone = Some(StreamZone {
            zone,
            generation,
            reset_count,
            used_bytes: 0,
            next_unit: 0,
            claim_first: 0,
            previous,
        });
    }

    /// Starts a unit in the present zone; `first_seqno` is that of its first record (zero for copies).
    ///
    /// # Panics
    /// When a unit or no zone is being filled.
    pub fn begin_unit(&mut self, first_seqno: SeqNo, memory: &UnitMemory) {
        assert!(self.unit.is_none(), "a unit is being filled");
        let zone = self.zone.as_ref().expect("the caller has begun a zone");
        let capacity_bytes = self.unit_capacity(self.left_bytes(zone));
        let builder = UnitBuilder::new(memory.buffer(capacity_bytes));
        let (last_seqno, begun) = (first_seqno, Instant::now());
        self.unit = Some(OpenUnit { live_bytes: 0, builder, first_seqno, last_seqno, expected: 0, begun });
    }

    /// Adds a record to the unit being filled; it fits.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn push(&mut self, record: &Record<'_>, value_crc: u32, expected: Lifetime) -> Location {
        let unit = self.unit.as_mut().expect("a unit is being filled");
        unit.last_seqno = record.seqno;
        unit.expected += u64::from(expected.steps()) * record.encoded_bytes() as u64;
        let offset = unit.builder.push(record, value_crc);
        self.location(offset)
    }

    /// Adds a record that is encoded already; it fits.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn push_encoded(&mut self, record: &[u8], placement: Placement) -> Location {
        self.history.add(placement, record.len() as u64);
        let offset = self.unit.as_mut().expect("a unit is being filled").builder.push_encoded(record);
        self.location(offset)
    }

    /// Notes live bytes of the unit being filled, to be counted in when it is sealed.
    ///
    /// # Panics
    /// When no unit is being filled.
    pub fn note_live(&mut self, bytes: i64) {
        self.unit.as_mut().expect("a unit is being filled").live_bytes += bytes;
    }

    /// The zone being filled, and what was noted as live in it and is not counted in yet.
    #[must_use]
    pub fn noted_live(&self) -> Option<(ZoneId, i64)> {
        Some((self.zone.as_ref()?.zone, self.unit.as_ref()?.live_bytes))
    }

    fn location(&self, offset: u32) -> Location {
        let zone = self.zone.as_ref().expect("a unit lies in a zone");
        Location::new(zone.zone, zone.next_unit, offset)
    }

    /// Seals the unit being filled, if there is one.
    ///
    /// # Panics
    /// When it spans more seqnos than a header counts ([`Stream::spans`]).
    pub fn seal(&mut self, facts: &SealFacts, memory: &UnitMemory) -> Option<SealedUnit> {
        let OpenUnit { live_bytes, builder, first_seqno, last_seqno, expected, .. } = self.unit.take()?;
        if self.name.kind == StreamKind::User {
            // Records of a unit are written within moments of one another.
            let middle = first_seqno.get().midpoint(last_seqno.get());
            let bytes = (builder.filled().len() - UNIT_HEADER_BYTES) as u64;
            let steps = u16::try_from(expected / bytes.max(1)).unwrap_or(u16::MAX);
            let (written_at, expected) = (Clock::new(middle), Lifetime::of_steps(steps));
            let stream = StreamId::new(self.name.class);
            self.history.add(Placement { stream, written_at, expected }, bytes);
        }
        let span = last_seqno.get() - first_seqno.get() + 1;
        let foreign_count = match self.name.kind {
            StreamKind::User => span - u64::from(builder.record_count()),
            StreamKind::Relocation => 0,
        };
        let foreign_count = u16::try_from(foreign_count).expect("a unit is sealed before it spans too far");
        let header = UnitHeader { foreign_count, ..self.header(first_seqno, facts) };
        let unit = memory.shrink(builder.seal(header, self.geometry.block_bytes as usize));
        Some(SealedUnit { live_bytes, ..self.finish_unit(unit, (first_seqno, last_seqno), memory) })
    }

    /// Leaves the present zone, with a filler unit where something is left of it; gives the zone too.
    ///
    /// # Panics
    /// When a unit is being filled.
    pub fn leave_zone(
        &mut self,
        next_seqno: SeqNo,
        facts: &SealFacts,
        memory: &UnitMemory,
    ) -> Option<(ZoneId, Vec<SealedUnit>)> {
        assert!(self.unit.is_none(), "a unit is being filled");
        let zone = *self.zone.as_ref()?;
        let mut fillers = Vec::new();
        while let Some(filler) = self.filler(next_seqno, facts, memory) {
            fillers.push(filler);
        }
        let left = self.zone.take().expect("looked at above");
        self.previous = PreviousZone {
            generation: left.generation,
            claim_first: left.claim_first,
            unit_count: left.next_unit,
        };
        Some((zone.zone, fillers))
    }

    /// Whether a sealed unit of so many bytes has room in the present zone.
    #[must_use]
    pub fn zone_takes(&self, unit_bytes: usize) -> bool {
        self.zone.as_ref().is_some_and(|zone| {
            // One unit number is kept for the filler.
            self.left_bytes(zone) >= unit_bytes && zone.next_unit + 1 < MAX_UNITS_PER_ZONE
        })
    }

    /// Takes up a unit that was sealed for a zone that has worn out: gives it a number in the present zone and a header to
    /// match. The records stay where they are in the unit.
    ///
    /// # Panics
    /// When no zone, or a unit, is being filled; when `unit` was not sealed by a stream.
    pub fn take_up(&mut self, unit: &AlignedBuffer, facts: &SealFacts, memory: &UnitMemory) -> SealedUnit {
        assert!(self.unit.is_none(), "the unit being filled has the next number");
        let sealed = UnitHeader::decode(unit).expect("what a stream has sealed has a header");
        let UnitHeader { first_seqno, body_bytes, record_count, foreign_count, contents_crc, .. } = sealed;
        let header = self.header(first_seqno, facts);
        let mut moved = AlignedBuffer::zeroed(unit.len());
        moved.copy_from_slice(unit);
        UnitHeader { body_bytes, record_count, foreign_count, contents_crc, moved: true, ..header }
            .encode(&mut moved);
        self.finish_unit(moved, (first_seqno, sealed.last_seqno()), memory)
    }

    /// Leaves a zone that has worn out as it is, if it is being filled, and claims nothing of this filling any more: some of
    /// its units are not there. Gives the claim that can be made of it once its other units are durable.
    ///
    /// # Panics
    /// When a unit is being filled.
    pub fn give_up(&mut self, generation: Generation) -> Option<(u32, u32)> {
        assert!(self.unit.is_none(), "a unit is being filled");
        let left = self.zone.take_if(|zone| zone.generation == generation);
        let in_zone = self.zone.as_mut().map(|zone| &mut zone.previous);
        for previous in in_zone.into_iter().chain([&mut self.previous]) {
            if previous.generation == generation || left.is_some() {
                *previous = PreviousZone::default();
            }
        }
        left.map(|zone| (zone.claim_first, zone.next_unit))
    }

    fn filler(&mut self, next_seqno: SeqNo, facts: &SealFacts, memory: &UnitMemory) -> Option<SealedUnit> {
        let left_bytes = self.left_bytes(self.zone.as_ref()?);
        if left_bytes == 0 {
            return None;
        }
        let zone = self.zone.as_ref().expect("looked at above");
        let unit = zone.filler(self.name, next_seqno, facts, self.unit_capacity(left_bytes));
        let first_seqno = filler_seqno(self.name, next_seqno);
        Some(self.finish_unit(unit, (first_seqno, first_seqno.back(1)), memory))
    }

    fn header(&self, first_seqno: SeqNo, facts: &SealFacts) -> UnitHeader {
        self.zone.as_ref().expect("a unit lies in a zone").header(self.name, first_seqno, facts)
    }

    fn finish_unit(
        &mut self,
        unit: AlignedBuffer,
        (first_seqno, last_seqno): (SeqNo, SeqNo),
        memory: &UnitMemory,
    ) -> SealedUnit {
        let zone = self.zone.as_mut().expect("a unit lies in a zone");
        let key = UnitKey { zone: zone.zone, generation: zone.generation, unit: zone.next_unit };
        zone.count(unit.len());
        let payload = Arc::new(unit);
        memory.insert(key, Arc::clone(&payload));
        let (stream, zone_ordinal) = (self.name, self.begun_count);
        SealedUnit { key, payload, stream, first_seqno, last_seqno, live_bytes: 0, zone_ordinal }
    }
}

/// Plays through where records would go, step by step as it will happen, without moving anything.
struct Rehearsal<'a> {
    stream: &'a Stream,
    /// Bytes filled and bytes of room of the unit being filled.
    unit: Option<(usize, usize)>,
    /// What is left of the zone from the start of that unit.
    left_bytes: usize,
    next_unit: u32,
    zones: usize,
}

impl Rehearsal<'_> {
    fn push(&mut self, record_bytes: usize) {
        if self.unit.is_none_or(|(_, room)| room < record_bytes) {
            self.begin_unit(record_bytes);
        }
        let (filled, room) = self.unit.expect("just begun");
        self.unit = Some((filled + record_bytes, room - record_bytes));
    }

    fn begin_unit(&mut self, record_bytes: usize) {
        if let Some((filled, _)) = self.unit {
            self.left_bytes -= filled.next_multiple_of(self.stream.geometry.block_bytes as usize);
            self.next_unit += 1;
        }
        if !self.stream.unit_fits(self.left_bytes, self.next_unit, record_bytes) {
            self.zones += 1;
            self.left_bytes = self.stream.capacity_bytes();
            self.next_unit = 0;
        }
        let capacity = self.stream.unit_capacity(self.left_bytes);
        self.unit = Some((UNIT_HEADER_BYTES, capacity - UNIT_HEADER_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{RecordKind, value_crc};

    const UNIT: usize = 128 << 10;
    const FACTS: SealFacts = SealFacts {
        store: [1; 16],
        incarnation: 1,
        watermark: SeqNo::ZERO,
        claim: Claim { generation: Generation::new(0), unit_end: 0 },
    };

    fn geometry() -> Geometry {
        Geometry {
            block_bytes: 4096,
            zone_size_bytes: 1 << 20,
            zone_capacity_bytes: 300 << 10,
            zone_count: 8,
            max_open_zones: 8,
            max_active_zones: 8,
            append_limit_bytes: 1 << 20,
            volatile_cache: true,
        }
    }

    fn push(
        stream: &mut Stream,
        memory: &UnitMemory,
        seqno: u64,
        value: &[u8],
        (zones_begun, sealed): (&mut u32, &mut Vec<SealedUnit>),
    ) {
        let record =
            Record { seqno: SeqNo::new(seqno), kind: RecordKind::Put, group: None, key: b"k", value };
        let bytes = record.encoded_bytes();
        if !stream.fits(bytes) {
            sealed.extend(stream.seal(&FACTS, memory));
            if !stream.zone_fits(bytes) {
                if let Some((_, fillers)) = stream.leave_zone(SeqNo::new(seqno), &FACTS, memory) {
                    sealed.extend(fillers);
                }
                let zone = ZoneId::new(*zones_begun);
                *zones_begun += 1;
                stream.begin_zone((zone, 0), |zone| Generation::new(u64::from(zone.get()) + 1));
            }
            stream.begin_unit(SeqNo::new(seqno), memory);
        }
        stream.push(&record, value_crc(value), Lifetime::LONGEST);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes it longer than nine minutes: checksums of many megabytes")]
    fn zones_are_filled_to_their_capacity_and_as_many_are_needed_as_was_said() {
        let memory = UnitMemory::new(0, UNIT);
        for value_bytes in [1, 3000, 20_000, 31_000, 60_000, 100_000] {
            let mut stream =
                Stream::new(StreamName::user(0), geometry(), UNIT, None, PreviousZone::default());
            let mut zones_begun = 0;
            let count = 2_000_000 / (25 + value_bytes);
            let records = std::iter::repeat_n(25 + value_bytes, count);
            let (needed, mut sealed) = (stream.zones_needed(records), Vec::new());
            for seqno in 1..=count as u64 {
                push(&mut stream, &memory, seqno, &vec![7; value_bytes], (&mut zones_begun, &mut sealed));
            }
            assert_eq!(zones_begun as usize, needed, "{value_bytes}-byte values");
            sealed.extend(stream.seal(&FACTS, &memory));
            for zone in 0..u32::try_from(needed).unwrap() {
                let units: Vec<_> = sealed.iter().filter(|unit| unit.key.zone == ZoneId::new(zone)).collect();
                let used: usize = units.iter().map(|unit| unit.payload.len()).sum();
                let last = zone + 1 == u32::try_from(needed).unwrap();
                assert!(used == 300 << 10 || last && used <= 300 << 10, "zone {zone} holds {used} bytes");
                assert!(units.iter().zip(0..).all(|(unit, number)| unit.key.unit == number));
            }
        }
    }
}
