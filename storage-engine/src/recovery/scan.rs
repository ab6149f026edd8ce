//! Reads every zone and keeps what recovery needs of it: unit headers, record heads, gaps.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::device::{ZoneDescriptor, ZoneState, ZonedDevice};
use crate::error::EngineResult;
use crate::format::DecodeError;
use crate::format::record::{Record, RecordKind};
use crate::format::unit::{StoreId, StreamKind, UNIT_HEADER_BYTES, UnitHeader};
use crate::log::scanner::{Found, Scanner};
use crate::units::{Generation, SeqNo, ZoneOffset};

/// One zone as it lies on the device.
#[derive(Debug)]
pub(super) struct ZoneScan {
    pub(super) descriptor: ZoneDescriptor,
    /// The filling that the device holds; zero when no unit could be read.
    pub(super) generation: Generation,
    pub(super) stream: Option<StreamKind>,
    /// In the order in which they lie.
    pub(super) units: Vec<ScannedUnit>,
    pub(super) records: Vec<ScannedRecord>,
    /// The keys of the records, one after another.
    pub(super) keys: Vec<u8>,
    pub(super) gaps: Vec<(ZoneOffset, u64, DecodeError)>,
}

#[derive(Debug)]
pub(super) struct ScannedUnit {
    pub(super) header: UnitHeader,
    pub(super) offset: ZoneOffset,
    /// The first thing in it that does not pass its checks, with its offset in the unit.
    pub(super) flaw: Option<(u32, DecodeError)>,
    /// Whether the flaw is in a value, so that all records are known.
    pub(super) heads_whole: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ScannedRecord {
    pub(super) seqno: SeqNo,
    pub(super) group_first: SeqNo,
    pub(super) group_last: SeqNo,
    pub(super) kind: RecordKind,
    pub(super) key_start: usize,
    pub(super) key_len: u16,
    pub(super) value_len: u32,
    /// Index into [`ZoneScan::units`].
    pub(super) unit_index: u32,
    /// Offset in the unit, in bytes.
    pub(super) offset: u32,
    pub(super) part_index: u32,
    pub(super) part_count: u32,
    pub(super) value_flaw: Option<DecodeError>,
}

impl ZoneScan {
    pub(super) fn key(&self, record: &ScannedRecord) -> &[u8] {
        &self.keys[record.key_start..record.key_start + usize::from(record.key_len)]
    }

    /// Whether units with all numbers from `first` to the last one are there, none of them torn.
    pub(super) fn is_whole_from(&self, first: u32) -> bool {
        let after: Vec<&ScannedUnit> = self.units.iter().filter(|unit| unit.header.unit >= first).collect();
        let mut numbers: Vec<u32> = after.iter().map(|unit| unit.header.unit).collect();
        numbers.sort_unstable();
        let is_dense = numbers.into_iter().zip(first..).all(|(number, expected)| number == expected);
        is_dense && after.iter().all(|unit| unit.flaw.is_none())
    }
}

/// Scans zones on several threads.
pub(super) fn scan_zones(
    device: &dyn ZonedDevice,
    store: StoreId,
    descriptors: &[ZoneDescriptor],
    thread_count: usize,
) -> EngineResult<Vec<ZoneScan>> {
    let written: Vec<_> = descriptors
        .iter()
        .filter(|zone| zone.write_pointer > ZoneOffset::START && zone.state != ZoneState::Offline)
        .collect();
    let (next, scans) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(written.len())));
    let work = || -> EngineResult<()> {
        while let Some(descriptor) = written.get(next.fetch_add(1, Ordering::Relaxed)) {
            let scan = scan_zone(device, store, descriptor)?;
            scans.lock().push(scan);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..thread_count).map(|_| scope.spawn(work)).collect();
        let mine = work();
        let theirs = threads.into_iter().map(|thread| thread.join().expect("scanning does not panic"));
        theirs.fold(mine, Result::and)
    })?;
    let mut scans = scans.into_inner();
    scans.sort_by_key(|scan: &ZoneScan| scan.descriptor.zone);
    Ok(scans)
}

fn scan_zone(
    device: &dyn ZonedDevice,
    store: StoreId,
    descriptor: &ZoneDescriptor,
) -> EngineResult<ZoneScan> {
    let mut scan = ZoneScan {
        descriptor: *descriptor,
        generation: Generation::default(),
        stream: None,
        units: Vec::new(),
        records: Vec::new(),
        keys: Vec::new(),
        gaps: Vec::new(),
    };
    let mut scanner = Scanner::new(device, store, descriptor);
    while let Some(found) = scanner.advance()? {
        match found {
            Found::Gap { offset, len_bytes, error } => scan.gaps.push((offset, len_bytes, error)),
            Found::Unit { offset, header, body } => scan.add_unit(offset, header, body),
        }
    }
    Ok(scan)
}

impl ZoneScan {
    fn add_unit(&mut self, offset: ZoneOffset, header: UnitHeader, body: &[u8]) {
        if header.generation < self.generation {
            return;
        }
        if header.generation > self.generation {
            // What was read so far belongs to an earlier filling of the zone.
            self.generation = header.generation;
            self.stream = Some(header.stream);
            self.units.clear();
            self.records.clear();
            self.keys.clear();
        }
        let unit_index = u32::try_from(self.units.len()).expect("unit numbers are 20 bits");
        let mut unit = ScannedUnit { header, offset, flaw: None, heads_whole: true };
        let mut position = 0;
        for _ in 0..header.record_count {
            match Record::decode(&body[position..]) {
                Ok(decoded) => {
                    let at = u32::try_from(UNIT_HEADER_BYTES + position).expect("a unit is at most 1 MiB");
                    if let Err(error) = decoded.value_check {
                        unit.flaw.get_or_insert((at, error));
                    }
                    self.add_record(&decoded.record, unit_index, at, decoded.value_check.err());
                    position += decoded.encoded_bytes;
                }
                Err(error) => {
                    let at = u32::try_from(UNIT_HEADER_BYTES + position).expect("a unit is at most 1 MiB");
                    unit.flaw = Some((at, error));
                    unit.heads_whole = false;
                    break;
                }
            }
        }
        self.units.push(unit);
    }

    fn add_record(
        &mut self,
        record: &Record<'_>,
        unit_index: u32,
        offset: u32,
        value_flaw: Option<DecodeError>,
    ) {
        let group_first = record.group_first_seqno();
        let group_len = record.group.map_or(1, |group| group.len);
        let key_start = self.keys.len();
        self.keys.extend_from_slice(record.key);
        self.records.push(ScannedRecord {
            seqno: record.seqno,
            group_first,
            group_last: group_first.forward(u64::from(group_len)).back(1),
            kind: record.kind,
            key_start,
            key_len: u16::try_from(record.key.len()).expect("keys are at most 65,535 bytes"),
            value_len: u32::try_from(record.value.len()).expect("a unit is at most 1 MiB"),
            unit_index,
            offset,
            part_index: record.group.map_or(0, |group| group.part_index),
            part_count: record.group.map_or(0, |group| group.part_count),
            value_flaw,
        });
    }
}
