//! The structures of a store's file and where they lie. A structure is a row of [`STRUCTURES`]; a new one is a new row.
//!
//! Compiled into the tests of the tools as well.

use std::collections::BTreeMap;
use std::ops::Range;

use zonal_engine::format::checkpoint::{BLOCK_HEADER_BYTES, BlockHeader, BlockKind};
use zonal_engine::format::manifest::{CheckpointName, Manifest};
use zonal_engine::format::record::{Record, RecordKind};
use zonal_engine::format::unit::{StreamKind, UNIT_HEADER_BYTES, UnitHeader};

pub(crate) const ZONE_TABLE_AT: u64 = 12_288;
pub(crate) const ZONES_AT: u64 = 1 << 20;
const ZONE_TABLE_ENTRY: u64 = 64;

/// A record as it lies in the file.
#[derive(Clone, Debug)]
pub(crate) struct MappedRecord {
    pub(crate) seqno: u64,
    pub(crate) kind: RecordKind,
    pub(crate) is_grouped: bool,
    pub(crate) part_index: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) header: Range<u64>,
    pub(crate) key_at: Range<u64>,
    pub(crate) value_at: Range<u64>,
    pub(crate) in_relocation: bool,
    /// Whether it is what its key's value consists of.
    pub(crate) is_live: bool,
}

impl MappedRecord {
    pub(crate) fn bytes(&self) -> Range<u64> {
        self.header.start..self.value_at.end
    }
}

/// A unit as it lies in the file.
#[derive(Clone, Debug)]
pub(crate) struct MappedUnit {
    pub(crate) header: UnitHeader,
    /// Whole blocks.
    pub(crate) bytes: Range<u64>,
    pub(crate) records: Vec<MappedRecord>,
}

/// A block of a checkpoint that the newest manifest names, as it lies in the file.
#[derive(Clone, Debug)]
pub(crate) struct MappedBlock {
    pub(crate) header: BlockHeader,
    /// Whole blocks of the device.
    pub(crate) bytes: Range<u64>,
}

impl MappedBlock {
    fn header_at(&self) -> Range<u64> {
        self.bytes.start..self.bytes.start + BLOCK_HEADER_BYTES as u64
    }

    fn items_at(&self) -> Range<u64> {
        self.header_at().end..self.bytes.start + self.header.block_bytes()
    }

    fn padding_at(&self) -> Range<u64> {
        self.items_at().end..self.bytes.end
    }
}

/// What lies where.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) block: u64,
    pub(crate) zone_size: u64,
    pub(crate) units: Vec<MappedUnit>,
    /// Versions of the manifest, in the order of the file.
    pub(crate) manifests: Vec<(u64, Range<u64>)>,
    /// Blocks of checkpoints, the newest checkpoint's first, in the order of their numbers.
    pub(crate) blocks: Vec<MappedBlock>,
    /// Where the newest versions of the manifest name checkpoints.
    naming: Vec<Range<u64>>,
    file_len: u64,
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn at(place: u64) -> usize {
    usize::try_from(place).unwrap()
}

impl Map {
    /// Reads the file of a store that is whole and was closed in order.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let (block, zone_size, zone_count) =
            (number(bytes, 28, 4), number(bytes, 32, 8), number(bytes, 48, 4));
        let mut map = Self {
            block,
            zone_size,
            units: Vec::new(),
            manifests: Vec::new(),
            blocks: Vec::new(),
            naming: Vec::new(),
            file_len: bytes.len() as u64,
        };
        let mut newest = None;
        for zone in 0..zone_count {
            let entry = at(ZONE_TABLE_AT + zone * ZONE_TABLE_ENTRY);
            let resets = u32::try_from(number(bytes, entry + 24, 4)).unwrap();
            let start = ZONES_AT + zone * zone_size;
            let end = start + number(bytes, entry + 8, 8);
            if zone < 2 {
                let found = map.read_manifests(bytes, start..end, resets);
                newest =
                    [newest, found].into_iter().flatten().max_by_key(|manifest: &Manifest| manifest.version);
            } else {
                map.read_units(bytes, start..end, resets);
            }
        }
        for name in newest.iter().flat_map(|manifest| manifest.checkpoints.iter().rev()) {
            map.read_blocks(bytes, name);
        }
        map.mark_live();
        map
    }

    /// Notes the versions of a zone, and gives the newest one.
    fn read_manifests(&mut self, bytes: &[u8], zone: Range<u64>, resets: u32) -> Option<Manifest> {
        let (mut place, mut newest) = (zone.start, None);
        while place < zone.end {
            let (manifest, len) = Manifest::decode(&bytes[at(place)..], resets).unwrap();
            self.manifests.push((manifest.version, place..place + len as u64));
            place += (len as u64).next_multiple_of(self.block);
            newest = Some((manifest, len as u64));
        }
        let (manifest, len) = newest?;
        if !manifest.checkpoints.is_empty() {
            let place = &self.manifests.last().expect("one was read").1;
            self.naming.push(place.start + len_without_checkpoints(&manifest)..place.start + len);
        }
        Some(manifest)
    }

    fn read_blocks(&mut self, bytes: &[u8], name: &CheckpointName) {
        for (zone, _) in &name.zones {
            let mut place = ZONES_AT + u64::from(zone.get()) * self.zone_size;
            while let Ok((header, _)) = BlockHeader::decode(&bytes[at(place)..])
                && header.checkpoint == name.number
            {
                let end = place + header.block_bytes().next_multiple_of(self.block);
                self.blocks.push(MappedBlock { header, bytes: place..end });
                place = end;
            }
        }
    }

    fn read_units(&mut self, bytes: &[u8], zone: Range<u64>, resets: u32) {
        let mut place = zone.start;
        while place < zone.end {
            let header = match UnitHeader::decode(&bytes[at(place)..]) {
                Ok(header) if header.reset_count == resets => header,
                // The zone was finished before it was full.
                _ => break,
            };
            let end = place + header.unit_bytes().next_multiple_of(self.block);
            let mut records = Vec::new();
            let mut record = place + UNIT_HEADER_BYTES as u64;
            for _ in 0..header.record_count {
                let (found, after) = mapped(bytes, record, header.stream);
                records.push(found);
                record = after;
            }
            self.units.push(MappedUnit { header, bytes: place..end, records });
            place = end;
        }
    }

    fn mark_live(&mut self) {
        let mut newest: BTreeMap<Vec<u8>, (u64, RecordKind, u64)> = BTreeMap::new();
        for record in self.records().filter(|record| record.part_index == 0) {
            let found = (record.seqno, record.kind, record.seqno);
            let held = newest.entry(record.key.clone()).or_insert(found);
            if record.seqno > held.0 {
                *held = found;
            }
        }
        let firsts: BTreeMap<u64, Vec<u8>> =
            newest.iter().map(|(key, value)| (value.0, key.clone())).collect();
        for record in self.units.iter_mut().flat_map(|unit| &mut unit.records) {
            if let Some(key) = firsts.get(&(record.seqno - u64::from(record.part_index))) {
                record.is_live = true;
                record.key.clone_from(key);
            }
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &MappedRecord> {
        self.units.iter().flat_map(|unit| &unit.records)
    }

    /// Keys of which some live record lies in a range of the file.
    pub(crate) fn keys_hit(&self, range: &Range<u64>) -> Vec<Vec<u8>> {
        let hit = |record: &&MappedRecord| {
            let bytes = record.bytes();
            record.is_live && bytes.start < range.end && range.start < bytes.end
        };
        self.records().filter(hit).map(|record| record.key.clone()).collect()
    }

    /// The zone that a place of the file lies in.
    pub(crate) fn zone_of(&self, place: u64) -> Option<u64> {
        place.checked_sub(ZONES_AT).map(|place| place / self.zone_size)
    }

    fn live(&self, wanted: impl Fn(&MappedRecord) -> bool) -> Vec<&MappedRecord> {
        self.records().filter(|record| record.is_live && wanted(record)).collect()
    }
}

/// Bytes of a manifest up to where it names checkpoints.
fn len_without_checkpoints(manifest: &Manifest) -> u64 {
    let without = Manifest { checkpoints: Vec::new(), last_checkpoint: 0, ..manifest.clone() };
    Manifest::decode(&without.encode(512, 0), 0).unwrap().1 as u64
}

fn mapped(bytes: &[u8], place: u64, stream: StreamKind) -> (MappedRecord, u64) {
    let decoded = Record::decode(&bytes[at(place)..]).unwrap();
    let end = place + decoded.encoded_bytes as u64;
    let value = end - decoded.record.value.len() as u64;
    let key = value - decoded.record.key.len() as u64;
    let record = MappedRecord {
        seqno: decoded.record.seqno.get(),
        kind: decoded.record.kind,
        is_grouped: decoded.record.group.is_some(),
        part_index: decoded.record.group.map_or(0, |group| group.part_index),
        key: decoded.record.key.to_vec(),
        header: place..key,
        key_at: key..value,
        value_at: value..end,
        in_relocation: stream == StreamKind::Relocation,
        is_live: false,
    };
    (record, end)
}

/// A structure of a store.
pub(crate) struct Structure {
    pub(crate) name: &'static str,
    /// Where one of it lies, and another one like it to exchange it with.
    pub(crate) locate: fn(&Map) -> Vec<Range<u64>>,
    /// What a flipped bit in it costs, once it is salvaged.
    pub(crate) flipped: Loss,
    /// What zeros in its place cost.
    pub(crate) zeroed: Loss,
    /// Whether a check must find damage to it.
    pub(crate) is_checked: bool,
    /// Whether it is part of a checkpoint: no reader needs it.
    pub(crate) is_of_checkpoint: bool,
}

/// What damage costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// Nothing: salvage gives all, and is certain of it.
    Nothing,
    /// The value of the key that was hit; all others are certain.
    OneKey,
    /// What was hit; of others it may not be certain.
    WhatWasHit,
}

/// Every structure that there is.
pub(crate) const STRUCTURES: &[Structure] = &[
    row("device header, copy A", |_| vec![0..128, 4096..4224], Loss::Nothing, Loss::Nothing),
    row("device header, copy B", |_| vec![4096..4224, 0..128], Loss::Nothing, Loss::Nothing),
    row("session block", |_| std::iter::once(8192..8256).collect(), Loss::Nothing, Loss::Nothing),
    row("zone table entry", zone_table_entries, Loss::Nothing, Loss::Nothing),
    row("zone table entry of a manifest zone", |_| vec![entry(0), entry(1)], Loss::Nothing, Loss::Nothing),
    row("newest manifest, first copy", |map| newest_manifests(map, 0), Loss::Nothing, Loss::Nothing),
    row("newest manifest, second copy", |map| newest_manifests(map, 1), Loss::Nothing, Loss::Nothing),
    row("unit header", |map| unit_headers(map, StreamKind::User), Loss::Nothing, Loss::Nothing),
    row(
        "unit header of copies",
        |map| unit_headers(map, StreamKind::Relocation),
        Loss::Nothing,
        Loss::Nothing,
    ),
    row("last unit header", last_unit_header, Loss::Nothing, Loss::Nothing),
    row("record header", |map| headers(map, is_small_put), Loss::Nothing, Loss::Nothing),
    row("key", |map| keys(map, is_small_put), Loss::Nothing, Loss::WhatWasHit),
    row("value", |map| values(map, is_small_put), Loss::OneKey, Loss::OneKey),
    row(
        "first part of a large value",
        |map| values(map, |record| is_part(record, 0)),
        Loss::OneKey,
        Loss::OneKey,
    ),
    row(
        "later part of a large value",
        |map| values(map, |record| is_part(record, 1)),
        Loss::OneKey,
        Loss::OneKey,
    ),
    row(
        "header of a later part",
        |map| headers(map, |record| is_part(record, 1)),
        Loss::Nothing,
        Loss::WhatWasHit,
    ),
    row("header of a batch's record", |map| headers(map, is_batched), Loss::Nothing, Loss::WhatWasHit),
    row("value of a batch's record", |map| values(map, is_batched), Loss::OneKey, Loss::OneKey),
    row(
        "header of a copy",
        |map| headers(map, |record| record.in_relocation),
        Loss::Nothing,
        Loss::WhatWasHit,
    ),
    row(
        "value of a copy",
        |map| values(map, |record| record.in_relocation && is_small_put(record)),
        Loss::OneKey,
        Loss::OneKey,
    ),
    row("whole record", |map| whole(map, is_small_put), Loss::OneKey, Loss::WhatWasHit),
    row(
        "whole copy",
        |map| whole(map, |record| record.in_relocation && is_small_put(record)),
        Loss::OneKey,
        Loss::WhatWasHit,
    ),
    row("tombstone", tombstones, Loss::Nothing, Loss::WhatWasHit),
    row("padding", padding, Loss::Nothing, Loss::Nothing),
    of_checkpoint("checkpoint: first block's header", |map| block_headers(map, BlockKind::Zones)),
    of_checkpoint("checkpoint: header of a block of entries", |map| block_headers(map, BlockKind::Entries)),
    of_checkpoint("checkpoint: header of a block of parts", |map| block_headers(map, BlockKind::Parts)),
    of_checkpoint("checkpoint: zones", |map| block_items(map, BlockKind::Zones)),
    of_checkpoint("checkpoint: entries", |map| block_items(map, BlockKind::Entries)),
    of_checkpoint("checkpoint: parts", |map| block_items(map, BlockKind::Parts)),
    of_checkpoint("checkpoint: whole block of zones", |map| whole_blocks(map, BlockKind::Zones)),
    of_checkpoint("checkpoint: whole block of entries", |map| whole_blocks(map, BlockKind::Entries)),
    of_checkpoint("checkpoint: padding", block_paddings),
    of_checkpoint("manifest's names of checkpoints", |map| map.naming.clone()),
    Structure { is_checked: false, ..row("free space", free_space, Loss::Nothing, Loss::Nothing) },
];

const fn row(
    name: &'static str,
    locate: fn(&Map) -> Vec<Range<u64>>,
    flipped: Loss,
    zeroed: Loss,
) -> Structure {
    Structure { name, locate, flipped, zeroed, is_checked: true, is_of_checkpoint: false }
}

const fn of_checkpoint(name: &'static str, locate: fn(&Map) -> Vec<Range<u64>>) -> Structure {
    Structure { is_of_checkpoint: true, ..row(name, locate, Loss::Nothing, Loss::Nothing) }
}

fn entry(zone: u64) -> Range<u64> {
    let start = ZONE_TABLE_AT + zone * ZONE_TABLE_ENTRY;
    start..start + ZONE_TABLE_ENTRY
}

fn zone_table_entries(map: &Map) -> Vec<Range<u64>> {
    let zones = map.units.iter().filter_map(|unit| map.zone_of(unit.bytes.start));
    let mut zones: Vec<u64> = zones.collect();
    zones.dedup();
    zones.into_iter().map(entry).take(2).collect()
}

fn newest_manifests(map: &Map, copy: usize) -> Vec<Range<u64>> {
    let newest = map.manifests.iter().map(|(version, _)| *version).max();
    let mut copies: Vec<_> = map
        .manifests
        .iter()
        .filter(|(version, _)| Some(*version) == newest)
        .map(|(_, place)| place.clone())
        .collect();
    copies.rotate_left(copy);
    copies
}

fn unit_headers(map: &Map, stream: StreamKind) -> Vec<Range<u64>> {
    let holds_live = |unit: &&MappedUnit| unit.records.iter().filter(|record| record.is_live).count() > 1;
    let of_stream = map.units.iter().filter(|unit| unit.header.stream == stream).filter(holds_live);
    of_stream.map(|unit| unit.bytes.start..unit.bytes.start + UNIT_HEADER_BYTES as u64).collect()
}

fn last_unit_header(map: &Map) -> Vec<Range<u64>> {
    let last = map.units.iter().filter(|unit| unit.header.record_count > 0);
    let last = last.max_by_key(|unit| (unit.header.stream == StreamKind::User, unit.header.first_seqno));
    last.map(|unit| unit.bytes.start..unit.bytes.start + UNIT_HEADER_BYTES as u64).into_iter().collect()
}

fn is_small_put(record: &MappedRecord) -> bool {
    record.kind == RecordKind::Put && !record.is_grouped
}

fn is_batched(record: &MappedRecord) -> bool {
    record.kind == RecordKind::Put && record.is_grouped
}

fn is_part(record: &MappedRecord, part_index: u32) -> bool {
    record.kind == RecordKind::Part && record.part_index == part_index
}

fn headers(map: &Map, wanted: impl Fn(&MappedRecord) -> bool) -> Vec<Range<u64>> {
    of_same_length(map.live(wanted).iter().map(|record| record.header.clone()).collect())
}

fn keys(map: &Map, wanted: impl Fn(&MappedRecord) -> bool) -> Vec<Range<u64>> {
    of_same_length(map.live(wanted).iter().map(|record| record.key_at.clone()).collect())
}

fn values(map: &Map, wanted: impl Fn(&MappedRecord) -> bool) -> Vec<Range<u64>> {
    of_same_length(map.live(wanted).iter().map(|record| record.value_at.clone()).collect())
}

/// The first, and the others that it can be exchanged with.
fn of_same_length(all: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let len = all.first().map(|first| first.end - first.start);
    all.into_iter().filter(|range| Some(range.end - range.start) == len).collect()
}

fn whole(map: &Map, wanted: impl Fn(&MappedRecord) -> bool) -> Vec<Range<u64>> {
    of_same_length(map.live(wanted).iter().map(|record| record.bytes()).collect())
}

fn tombstones(map: &Map) -> Vec<Range<u64>> {
    let tombstones = map.live(|record| record.kind == RecordKind::Delete);
    of_same_length(tombstones.iter().map(|record| record.bytes()).collect())
}

fn padding(map: &Map) -> Vec<Range<u64>> {
    let ends = map.units.iter().map(|unit| {
        let end = unit.bytes.start + unit.header.unit_bytes();
        end..end.next_multiple_of(512)
    });
    of_same_length(ends.filter(|padding| padding.end - padding.start > 16).collect())
}

fn blocks_of(map: &Map, kind: BlockKind) -> impl Iterator<Item = &MappedBlock> {
    map.blocks.iter().filter(move |block| block.header.kind == kind)
}

fn block_headers(map: &Map, kind: BlockKind) -> Vec<Range<u64>> {
    blocks_of(map, kind).map(MappedBlock::header_at).collect()
}

/// As much of each as the shortest one has, so that they can be exchanged.
fn block_items(map: &Map, kind: BlockKind) -> Vec<Range<u64>> {
    let all: Vec<_> = blocks_of(map, kind).map(MappedBlock::items_at).collect();
    let shortest = all.iter().map(|items| items.end - items.start).min().unwrap_or(0);
    all.into_iter().map(|items| items.start..items.start + shortest).collect()
}

fn whole_blocks(map: &Map, kind: BlockKind) -> Vec<Range<u64>> {
    of_same_length(blocks_of(map, kind).map(|block| block.bytes.clone()).collect())
}

fn block_paddings(map: &Map) -> Vec<Range<u64>> {
    let paddings = map.blocks.iter().map(MappedBlock::padding_at);
    of_same_length(paddings.filter(|padding| padding.end - padding.start > 16).collect())
}

fn free_space(map: &Map) -> Vec<Range<u64>> {
    let used = map.units.iter().map(|unit| unit.bytes.end).max().unwrap_or(ZONES_AT);
    let zone_end = ZONES_AT + map.zone_of(used - 1).map_or(0, |zone| (zone + 1) * map.zone_size);
    let free = used.max(zone_end - map.zone_size / 8).min(map.file_len - 64);
    std::iter::once(free..free + 64).collect()
}
