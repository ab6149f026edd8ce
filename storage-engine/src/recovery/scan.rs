//! Reads every zone and keeps what recovery needs of it: unit headers, record heads, gaps.

use std::collections::{BTreeMap, BTreeSet};

use super::records::{Records, Sorting};
use crate::device::{ZoneDescriptor, ZoneState, ZonedDevice};
use crate::error::EngineResult;
use crate::fault::{self, Fault};
use crate::format::DecodeError;
use crate::format::manifest::Manifest;
use crate::format::record::Record;
use crate::format::unit::{ContentsChecksum, StoreId, StreamKind, StreamName, UNIT_HEADER_BYTES, UnitHeader};
use crate::log::scanner::{Found, Scanner};
use crate::side_by_side;
use crate::units::{Generation, ZoneId, ZoneOffset};

/// One zone as it lies on the device.
#[derive(Debug)]
pub(super) struct ZoneScan {
    pub(super) descriptor: ZoneDescriptor,
    /// The filling that the device holds; zero when no unit could be read.
    pub(super) generation: Generation,
    pub(super) stream: Option<StreamKind>,
    /// In the order in which they lie.
    pub(super) units: Vec<ScannedUnit>,
    /// In the order of their keys.
    pub(super) records: Records,
    pub(super) gaps: Vec<(ZoneOffset, u64, DecodeError)>,
}

#[derive(Debug)]
pub(super) struct ScannedUnit {
    pub(super) header: UnitHeader,
    pub(super) offset: ZoneOffset,
    /// The first thing in it that does not pass its checks, with its offset in the unit.
    pub(super) flaw: Option<(u32, DecodeError)>,
    /// Whether the flaw is in a value, so that all records are known. Otherwise none of them is believed.
    pub(super) heads_whole: bool,
    /// Whether it was on stable media as it should be, so that the flaw is damage and nothing that a crash has left.
    pub(super) is_damaged: bool,
    /// Whether nothing of it counts.
    pub(super) is_void: bool,
}

impl ScannedUnit {
    fn is_sound(&self) -> bool {
        self.flaw.is_none() && !self.is_void
    }
}

impl ZoneScan {
    pub(super) fn new(descriptor: ZoneDescriptor, records: Records) -> Self {
        Self {
            descriptor,
            generation: Generation::default(),
            stream: None,
            units: Vec::new(),
            records,
            gaps: Vec::new(),
        }
    }

    /// Which stream filled the zone, if a unit tells.
    pub(super) fn stream_name(&self) -> Option<StreamName> {
        Some(self.units.last()?.header.stream_name())
    }

    /// The number of the next unit: higher than that of any unit that may lie unseen in a gap.
    ///
    /// Such a unit may be seen by a later recovery. It is void then; its number must not be another unit's as well.
    pub(super) fn next_unit(&self, block_bytes: u32) -> u32 {
        let seen = self.units.iter().map(|unit| unit.header.unit + 1).max().unwrap_or(0);
        let gap_blocks =
            self.gaps.iter().map(|&(_, len_bytes, _)| len_bytes / u64::from(block_bytes)).sum::<u64>();
        seen.saturating_add(u32::try_from(gap_blocks).unwrap_or(u32::MAX))
    }

    /// Of each unit whether a later run has written one of the same number.
    ///
    /// What a run has lost may turn up in a place that a later one has lost in its turn. That one gave the number anew, and
    /// it is its unit that is claimed, and that entries of the index mean. The run saw nothing of the earlier one and did
    /// without: what was copied into it lies elsewhere as well.
    pub(super) fn have_later_namesakes(&self) -> Vec<bool> {
        let incarnations = || self.units.iter().map(|unit| unit.header.incarnation);
        if fault::is_on(Fault::BelieveEarlierRuns) || incarnations().min() == incarnations().max() {
            return vec![false; self.units.len()];
        }
        let mut latest = BTreeMap::new();
        for unit in &self.units {
            let incarnation: &mut u32 = latest.entry(unit.header.unit).or_default();
            *incarnation = unit.header.incarnation.max(*incarnation);
        }
        self.units.iter().map(|unit| latest[&unit.header.unit] > unit.header.incarnation).collect()
    }

    /// Ranges of numbers, end exclusive, of the units that are to be claimed from now on: those that are whole, and those
    /// that should be, or else what is damage now would pass for something torn at the next opening.
    ///
    /// What is void is nobody's loss. It may be all that is seen of a filling, and another one come to light in its place.
    pub(super) fn ranges_to_claim(&self) -> Vec<(u32, u32)> {
        self.ranges(|unit| unit.is_sound() || unit.is_damaged && !fault::is_on(Fault::ForgetToldDamage))
    }

    fn ranges(&self, is_in: impl Fn(&ScannedUnit) -> bool) -> Vec<(u32, u32)> {
        let numbers = self.units.iter().filter(|unit| is_in(unit)).map(|unit| unit.header.unit);
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for number in numbers.collect::<BTreeSet<u32>>() {
            match ranges.last_mut() {
                Some((_, end)) if *end == number => *end += 1,
                _ => ranges.push((number, number + 1)),
            }
        }
        ranges
    }

    /// The first number from which on all units up to `end` are there, none of them torn or void; `end` if the last is not.
    pub(super) fn whole_from(&self, end: u32) -> u32 {
        let covers = |&(first, behind): &(u32, u32)| first < end && behind >= end;
        let whole = self.ranges(ScannedUnit::is_sound);
        whole.into_iter().find(covers).map_or(end, |(first, _)| first)
    }
}

/// What of a unit's records does not pass its checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FlawedPart {
    /// A value; whose it is, is known.
    Value,
    /// A head, or which records there are.
    Head,
}

/// Which units are believed.
#[derive(Debug)]
pub(super) struct Believed {
    store: StoreId,
    oldest: Generation,
    /// What the run that wrote the manifest saw in each zone that it claims something of.
    claimed: BTreeMap<ZoneId, Filling>,
}

impl Believed {
    /// Those that a manifest knows of, and later ones.
    ///
    /// A filling that was lost, and not seen by the run that claims an earlier one, may turn up behind that.
    pub(super) fn by(manifest: &Manifest) -> Self {
        let incarnation = manifest.incarnation.saturating_sub(1);
        let mut claimed = BTreeMap::<ZoneId, Filling>::new();
        for tail in manifest.tails.iter().filter(|tail| tail.claim_first < tail.unit_count) {
            let filling =
                claimed.entry(tail.zone).or_insert(Filling { generation: tail.generation, incarnation });
            filling.generation = filling.generation.max(tail.generation);
        }
        Self { store: manifest.store, oldest: manifest.oldest_generation, claimed }
    }
}

/// Scans zones on several threads.
pub(super) fn scan_zones(
    device: &dyn ZonedDevice,
    believed: &Believed,
    descriptors: &[ZoneDescriptor],
    thread_count: usize,
) -> EngineResult<Vec<ZoneScan>> {
    let written: Vec<_> = descriptors
        .iter()
        .filter(|zone| zone.write_pointer > ZoneOffset::START && zone.state != ZoneState::Offline)
        .collect();
    side_by_side::each(thread_count, written.len(), |memory, at| {
        scan_zone(device, believed, written[at], memory)
    })
}

/// Memory of a thread that scans, kept from one zone to the next: to ask for it anew each time takes as long as to fill it.
#[derive(Default)]
struct Memory {
    arriving: Records,
    sorting: Sorting,
}

fn scan_zone(
    device: &dyn ZonedDevice,
    believed: &Believed,
    descriptor: &ZoneDescriptor,
    memory: &mut Memory,
) -> EngineResult<ZoneScan> {
    let mut overruling = believed.claimed.get(&descriptor.zone).copied();
    loop {
        memory.arriving.clear();
        let mut scan = ZoneScan::new(*descriptor, std::mem::take(&mut memory.arriving));
        let overruled = scan_filling((device, believed), &mut scan, overruling)?;
        memory.arriving = std::mem::take(&mut scan.records);
        match overruled {
            // Each time by a later run: this ends.
            Some(by) => overruling = Some(by),
            None => {
                scan.records = memory.arriving.sorted(&mut memory.sorting);
                return Ok(scan);
            }
        }
    }
}

/// A filling that a run has gone on in.
#[derive(Clone, Copy, Debug)]
struct Filling {
    generation: Generation,
    incarnation: u32,
}

/// Reads a zone. Where a unit of a later run belongs to another filling than that which was read so far, it gives that
/// filling: the later run did not see what seemed to be a newer one.
fn scan_filling(
    (device, &Believed { store, oldest, .. }): (&dyn ZonedDevice, &Believed),
    scan: &mut ZoneScan,
    only: Option<Filling>,
) -> EngineResult<Option<Filling>> {
    let mut scanner = Scanner::new(device, store, &scan.descriptor);
    while let Some(found) = scanner.advance()? {
        match found {
            Found::Gap { offset, len_bytes, error } => scan.gaps.push((offset, len_bytes, error)),
            Found::Unit { offset, header, body } => {
                if let Some(by) = scan.overruled_by(&header, only) {
                    return Ok(Some(by));
                }
                let is_whole = match scan.check_unit(oldest, &header, only) {
                    Ok(()) => scan.add_unit(offset, header, body),
                    Err(error) => {
                        scan.gaps.push((offset, device.geometry().block_bytes.into(), error));
                        false
                    }
                };
                // Nothing says whether a filler is whole: it has no records to be checked.
                let is_filler = header.record_count == 0;
                if (!is_whole || is_filler) && !fault::is_on(Fault::SkipInsideTornUnits) {
                    scanner.look_inside();
                }
            }
        }
    }
    Ok(None)
}

impl ZoneScan {
    /// Whether a unit is what its place in the zone is for.
    ///
    /// After a power cut the write pointer may stand before appends that the cut had cost their zone table entry. What of
    /// them is not written over comes to light when the write pointer passes it: units of an earlier run behind those of a
    /// later one, or of a generation that has no zone any more.
    fn check_unit(
        &self,
        oldest: Generation,
        header: &UnitHeader,
        only: Option<Filling>,
    ) -> Result<(), DecodeError> {
        let refuse = |field, found| Err(DecodeError::Field { structure: "unit header", field, found });
        if only.is_some_and(|only| only.generation != header.generation) {
            return refuse("generation", header.generation.get());
        }
        let believes = fault::is_on(Fault::BelieveEarlierFillings);
        if header.generation < self.generation.max(oldest) && !believes {
            return refuse("generation", header.generation.get());
        }
        match self.units.last() {
            Some(last)
                if header.generation == self.generation
                    && header.incarnation < last.header.incarnation
                    && !fault::is_on(Fault::BelieveEarlierRuns) =>
            {
                refuse("incarnation", u64::from(header.incarnation))
            }
            _ => Ok(()),
        }
    }

    /// The filling that a unit tells of, if it proves that the one seen so far is not what the zone holds.
    ///
    /// A zone that a power cut has emptied is filled again without a reset. When the next cut takes that filling in its turn,
    /// the head of its first unit may be left, with the write pointer inside the unit. The next run does not see that
    /// head and goes on in the older filling, should a unit of it have turned up. Generations do not tell which filling is the
    /// zone's, then; the run that wrote last does.
    fn overruled_by(&self, header: &UnitHeader, only: Option<Filling>) -> Option<Filling> {
        let &UnitHeader { generation, incarnation, .. } = header;
        let (seen, by) = match only {
            Some(only) => (only.generation, only.incarnation),
            None => (self.generation, self.units.iter().map(|unit| unit.header.incarnation).max()?),
        };
        let is_other = if only.is_some() { generation != seen } else { generation < seen };
        (is_other && incarnation > by).then_some(Filling { generation, incarnation })
    }

    /// Says whether the unit is whole.
    fn add_unit(&mut self, offset: ZoneOffset, header: UnitHeader, body: &[u8]) -> bool {
        if header.generation > self.generation {
            // What was read so far belongs to an earlier filling of the zone.
            self.generation = header.generation;
            self.stream = Some(header.stream);
            self.units.clear();
            self.records.clear();
        }
        let unit_index = u32::try_from(self.units.len()).expect("unit numbers are 20 bits");
        let before = self.records.mark();
        let mut flaw = self.add_records(&header, unit_index, body);
        if fault::is_on(Fault::BelieveTornUnits) {
            flaw = None;
        }
        let heads_whole = flaw.is_none_or(|(_, part)| part == FlawedPart::Value);
        if !heads_whole {
            // Which of its records are this unit's and which an earlier filling's cannot be told.
            self.records.back_to(before);
        }
        let flaw = flaw.map(|(at_and_error, _)| at_and_error);
        self.units.push(ScannedUnit { header, offset, flaw, heads_whole, is_damaged: false, is_void: false });
        flaw.is_none()
    }

    /// Takes the records of a unit, and gives the worst flaw among them.
    fn add_records(
        &mut self,
        header: &UnitHeader,
        unit_index: u32,
        body: &[u8],
    ) -> Option<((u32, DecodeError), FlawedPart)> {
        let (mut position, mut contents, mut flaw) = (0, ContentsChecksum::default(), None);
        for _ in 0..header.record_count {
            let at = u32::try_from(UNIT_HEADER_BYTES + position).expect("a unit is at most 1 MiB");
            let decoded = match Record::decode(&body[position..]) {
                Ok(decoded) => decoded,
                Err(error) => return Some(((at, error), FlawedPart::Head)),
            };
            if let Err(error) = decoded.value_check {
                flaw.get_or_insert(((at, error), FlawedPart::Value));
            }
            contents.add(&body[position..]);
            self.records.push(&decoded.record, unit_index, at, decoded.value_check.is_err());
            position += decoded.encoded_bytes;
        }
        let (found, expected) = (contents.finish(), header.contents_crc);
        if found != expected {
            let error = DecodeError::Checksum { structure: "unit contents", found, expected };
            return Some(((0, error), FlawedPart::Head));
        }
        flaw
    }
}

#[cfg(test)]
mod tests {
    use super::{Filling, Records, ZoneScan};
    use crate::buffer::AlignedBuffer;
    use crate::device::{ZoneDescriptor, ZoneState};
    use crate::format::record::{Record, RecordKind, value_crc};
    use crate::format::unit::{UNIT_HEADER_BYTES, UnitHeader};
    use crate::log::unit_builder::UnitBuilder;
    use crate::units::{Generation, SeqNo, ZoneId, ZoneOffset};

    fn unit(first_seqno: u64) -> (UnitHeader, AlignedBuffer) {
        let header = UnitHeader { first_seqno: SeqNo::new(first_seqno), ..UnitHeader::of_a_first_unit() };
        let mut builder = UnitBuilder::new(AlignedBuffer::zeroed(8192));
        for seqno in first_seqno..first_seqno + 4 {
            let (seqno, kind, value) = (SeqNo::new(seqno), RecordKind::Put, &[7; 1000][..]);
            let record = Record { seqno, kind, group: None, key: b"key", value };
            builder.push(&record, value_crc(value));
        }
        let unit = builder.seal(header, 4096);
        (UnitHeader::decode(&unit).unwrap(), unit)
    }

    fn scan(header: UnitHeader, unit: &[u8]) -> ZoneScan {
        let (zone, write_pointer) = (ZoneId::new(2), ZoneOffset::new(8192));
        let descriptor = ZoneDescriptor { zone, state: ZoneState::Closed, write_pointer, reset_count: 0 };
        let mut scan = ZoneScan::new(descriptor, Records::default());
        scan.add_unit(ZoneOffset::START, header, &unit[UNIT_HEADER_BYTES..]);
        scan
    }

    /// The head of a lost filling hid what a later run had written behind it: seed 7,000,507 of the simulation, as it was then.
    #[test]
    fn of_two_fillings_the_one_that_the_later_run_wrote_is_the_zones() {
        let (mut header, block) = unit(1);
        (header.generation, header.incarnation) = (Generation::new(2), 3);
        let scan = scan(header, &block);
        let by = |generation, incarnation| {
            let generation = Generation::new(generation);
            let found = scan.overruled_by(&UnitHeader { generation, incarnation, ..header }, None);
            found.map(|filling| (filling.generation.get(), filling.incarnation))
        };
        assert_eq!(by(1, 4), Some((1, 4)), "a later run has gone on in the older filling");
        assert_eq!(by(1, 2), None, "what an earlier run left");
        assert_eq!(by(3, 4), None, "a newer filling");
    }

    /// Seed 1,795,445,000,000,120 of the simulation, as it was then: a run had seen the earlier filling of a zone, and claimed it,
    /// and did not open any more when a later one came to light that another run had lost.
    #[test]
    fn a_later_filling_that_the_run_of_the_manifest_did_not_see_is_not_the_zones() {
        let (mut header, block) = unit(1);
        (header.generation, header.incarnation) = (Generation::new(2), 5);
        let scan = scan(header, &block);
        let claimed = Some(Filling { generation: Generation::new(2), incarnation: 6 });
        let later = |incarnation| UnitHeader { generation: Generation::new(3), incarnation, ..header };
        let oldest = Generation::new(1);
        assert!(scan.check_unit(oldest, &header, claimed).is_ok());
        assert!(scan.overruled_by(&later(6), claimed).is_none(), "lost by a run before that of the manifest");
        assert!(scan.check_unit(oldest, &later(6), claimed).is_err());
        assert!(scan.overruled_by(&later(7), claimed).is_some(), "by the run of the manifest");
        assert!(scan.overruled_by(&header, claimed).is_none());
    }

    /// The simulation found it in a zone whose end two runs had lost: in place of the second one's last append the head of the
    /// first one's came to light, torn, and the store did not open.
    #[test]
    fn a_unit_has_a_namesake_where_a_later_run_gave_its_number_anew() {
        let (header, block) = unit(1);
        let mut scan = scan(UnitHeader { incarnation: 5, ..header }, &block);
        let later = UnitHeader { incarnation: 7, ..header };
        scan.add_unit(ZoneOffset::new(4096), later, &block[UNIT_HEADER_BYTES..]);
        let found = scan.have_later_namesakes();
        assert_eq!(found, [true, false]);
    }

    /// Tearing used to go unnoticed when the zone's earlier filling had records of the same size at the same places.
    #[test]
    fn a_torn_unit_is_not_completed_by_records_of_an_earlier_filling() {
        let ((header, mut torn), (_, earlier)) = (unit(100), unit(10));
        let whole = scan(header, &torn);
        assert!(whole.units[0].flaw.is_none() && whole.records.heads().len() == 4);
        let second_half = UNIT_HEADER_BYTES + 2 * (24 + 3 + 1000);
        torn[second_half..].copy_from_slice(&earlier[second_half..]);
        let scan = scan(header, &torn);
        assert!(scan.units[0].flaw.is_some() && !scan.units[0].heads_whole);
        assert!(scan.records.heads().is_empty());
    }

    /// Another filling may come to light where it lies: then the store did not open.
    #[test]
    fn what_is_void_is_not_claimed() {
        let (header, block) = unit(1);
        let mut scan = scan(header, &block);
        scan.add_unit(ZoneOffset::new(4096), UnitHeader { unit: 1, ..header }, &block[UNIT_HEADER_BYTES..]);
        assert_eq!((scan.ranges_to_claim(), scan.whole_from(2)), (vec![(0, 2)], 0));
        scan.units[1].is_void = true;
        assert_eq!((scan.ranges_to_claim(), scan.whole_from(2)), (vec![(0, 1)], 2));
        scan.units[1].is_damaged = true;
        assert_eq!(scan.ranges_to_claim(), [(0, 2)], "what was told goes on being told");
    }

    #[test]
    fn a_flawed_value_leaves_the_other_records_of_its_unit_believed() {
        let (header, mut torn) = unit(100);
        torn[UNIT_HEADER_BYTES + 24 + 3 + 500] ^= 1;
        let scan = scan(header, &torn);
        assert!(scan.units[0].flaw.is_some() && scan.units[0].heads_whole);
        assert_eq!(scan.records.heads().iter().filter(|record| record.is_flawed).count(), 1);
    }
}
