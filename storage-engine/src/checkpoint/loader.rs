//! Loads a checkpoint: first what it says of zones, then, when it is known which of them are as they were, the entries.
//!
//! Several threads take the checkpoint's zones one by one. Every block is checked before anything of it is believed, and
//! all of them must be there: a checkpoint is used whole or not at all. Nothing here writes.

use std::collections::HashMap;
use std::convert::Infallible;

use foldhash::fast::FixedState;

use crate::device::{ZoneState, ZonedDevice};
use crate::fault::{self, Fault};
use crate::format::DecodeError;
use crate::format::checkpoint::{BlockHeader, BlockKind, EntryPage, PartsRow, ZoneRow};
use crate::format::manifest::CheckpointName;
use crate::format::unit::StoreId;
use crate::index::ordered::{KeyParts, LoadedLeaf};
use crate::index::{Entry, LargeId, Location, PackedEntry};
use crate::log::window::Window;
use crate::side_by_side;
use crate::units::{SeqNo, ZoneId, ZoneOffset};
use crate::zones::charge_bytes;

/// Why a checkpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The zone in which that showed.
    pub zone: ZoneId,
    /// Where in the zone.
    pub offset: ZoneOffset,
    /// What is wrong.
    pub what: String,
}

/// The zones that a checkpoint stands for and that are as they were when it was written, by number.
#[derive(Debug)]
pub struct Standing {
    rows: Vec<Option<ZoneRow>>,
    edge: SeqNo,
}

impl Standing {
    /// Of a device of `zone_count` zones.
    #[must_use]
    pub fn new(zone_count: u32, rows: Vec<ZoneRow>) -> Self {
        let mut by_zone: Vec<Option<ZoneRow>> = (0..zone_count).map(|_| None).collect();
        for row in rows {
            if let Some(place) = by_zone.get_mut(row.zone.index()) {
                *place = Some(row);
            }
        }
        Self { rows: by_zone, edge: SeqNo::ZERO }
    }

    /// Says up to which write the index knew everything when the checkpoint began. Nothing in these zones is newer.
    #[must_use]
    pub fn with_edge(self, edge: SeqNo) -> Self {
        Self { edge, ..self }
    }

    /// See [`Standing::with_edge`].
    #[must_use]
    pub fn edge(&self) -> SeqNo {
        self.edge
    }

    /// What is known of a zone, if it stands.
    #[must_use]
    pub fn row(&self, zone: ZoneId) -> Option<&ZoneRow> {
        self.rows.get(zone.index())?.as_ref()
    }

    /// All zones that stand.
    pub fn rows(&self) -> impl Iterator<Item = &ZoneRow> {
        self.rows.iter().flatten()
    }
}

/// What a checkpoint holds of the zones that stand.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The index, leaf by leaf, in order; large values are not in it.
    pub leaves: Vec<LoadedLeaf>,
    /// Keys of large values.
    pub large: Vec<(Box<[u8]>, LargeId)>,
    /// Where their parts lie, as far as that is in zones that stand, and how long they are.
    pub parts: HashMap<LargeId, LargeParts, FixedState>,
    /// By zone: bytes of the records that the leaves point at, and those of deletes among them.
    pub charges: Vec<(i64, i64)>,
    /// Keys with a value in the leaves, and deletes.
    pub counts: (i64, i64),
}

/// The parts of a large value, so far as they are known.
#[derive(Debug, Default)]
pub struct LargeParts {
    /// Bytes of the key.
    pub key_bytes: usize,
    /// The run of the store that wrote it first.
    pub incarnation: u32,
    /// How many parts there are.
    pub part_count: usize,
    /// Place and length of each.
    pub parts: Vec<Option<(Location, u32)>>,
}

/// A checkpoint that the manifest names.
#[derive(Clone, Copy, Debug)]
pub struct Loader<'a> {
    /// The device.
    pub device: &'a dyn ZonedDevice,
    /// The store.
    pub store: StoreId,
    /// What the manifest says.
    pub name: &'a CheckpointName,
}

impl<'a> Loader<'a> {
    /// Looks whether all zones of the checkpoint hold blocks of it, as far as their first ones tell.
    ///
    /// # Errors
    /// [`Unusable`], for the first zone that does not.
    pub fn check_first_blocks(&self) -> Result<(), Unusable> {
        for &(zone, reset_count) in &self.name.zones {
            let mut blocks = self.blocks(zone, reset_count)?;
            if blocks.next()?.is_none() {
                return Err(blocks.end());
            }
        }
        Ok(())
    }

    /// Where the items of each block end that can be read, in bytes from its zone's start, and where the block does.
    #[must_use]
    pub fn block_ends(&self) -> Vec<(ZoneId, u64, u64)> {
        let mut ends = Vec::new();
        for &(zone, reset_count) in &self.name.zones {
            let Ok(mut blocks) = self.blocks(zone, reset_count) else { continue };
            while let Ok(Some((offset, header, _))) = blocks.next() {
                ends.push((zone, offset.get() + header.block_bytes(), blocks.position_bytes));
            }
        }
        ends
    }

    /// What the checkpoint says of zones: the first of its blocks.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn zone_rows(&self) -> Result<Vec<ZoneRow>, Unusable> {
        let mut rows = Vec::new();
        for &(zone, reset_count) in &self.name.zones {
            let mut blocks = self.blocks(zone, reset_count)?;
            while let Some((offset, header, payload)) = blocks.next()? {
                if header.kind != BlockKind::Zones {
                    return Ok(rows);
                }
                let decoded = ZoneRow::decode_all(payload, &mut rows);
                decoded.map_err(|error| unusable(zone, offset, &error))?;
            }
        }
        Ok(rows)
    }

    /// Loads everything, on several threads.
    ///
    /// # Errors
    /// [`Unusable`].
    ///
    /// # Panics
    /// Never.
    pub fn load(&self, standing: &Standing, thread_count: usize) -> Result<Loaded, Unusable> {
        let zones = &self.name.zones;
        // All of them, also behind one that is unusable: the first of these is told.
        let Ok(parts) = side_by_side::each(thread_count, zones.len(), |(): &mut (), place| {
            let (zone, reset_count) = zones[place];
            Ok::<_, Infallible>(self.load_zone(zone, reset_count, standing))
        });
        self.join(parts.into_iter(), standing)
    }

    fn join(
        &self,
        parts: impl Iterator<Item = Result<ZonePart, Unusable>>,
        standing: &Standing,
    ) -> Result<Loaded, Unusable> {
        let mut whole = Loaded { charges: vec![(0, 0); standing.rows.len()], ..Loaded::default() };
        let mut block_count = 0;
        let mut end = Unusable {
            zone: ZoneId::default(),
            offset: ZoneOffset::START,
            what: format!("checkpoint {} has no zone", self.name.number),
        };
        for part in parts {
            let part = part?;
            if part.block_count == 0 {
                return Err(part.end);
            }
            if part.first_block != block_count {
                // The blocks of the zone before ended too early.
                return Err(end);
            }
            end = part.end;
            block_count += part.block_count;
            whole.leaves.extend(part.leaves);
            whole.large.extend(part.large);
            for (sum, charge) in whole.charges.iter_mut().zip(part.charges) {
                *sum = (sum.0 + charge.0, sum.1 + charge.1);
            }
            whole.counts.0 += part.counts.0;
            whole.counts.1 += part.counts.1;
            for (id, first, total, row) in part.parts {
                whole.add_parts(id, first, total, &row, standing).ok_or_else(|| end.clone())?;
            }
        }
        let is_complete =
            block_count == self.name.block_count || fault::is_on(Fault::BelieveIncompleteCheckpoints);
        if is_complete { Ok(whole) } else { Err(end) }
    }

    fn load_zone(&self, zone: ZoneId, reset_count: u32, standing: &Standing) -> Result<ZonePart, Unusable> {
        let mut blocks = self.blocks(zone, reset_count)?;
        let mut part = ZonePart::new(standing, blocks.end());
        while let Some((offset, header, payload)) = blocks.next()? {
            if part.block_count == 0 {
                part.first_block = header.block;
            }
            if header.block != part.first_block + part.block_count {
                let error = DecodeError::Field {
                    structure: "checkpoint block",
                    field: "number",
                    found: header.block.into(),
                };
                return Err(unusable(zone, offset, &error));
            }
            part.block_count += 1;
            part.add(header.kind, payload, standing).map_err(|error| unusable(zone, offset, &error))?;
        }
        part.end = blocks.end();
        Ok(part)
    }

    fn blocks(&self, zone: ZoneId, reset_count: u32) -> Result<Blocks<'a>, Unusable> {
        let refuse = |what: String| Unusable { zone, offset: ZoneOffset::START, what };
        if zone.get() >= self.device.geometry().zone_count {
            return Err(refuse("the device has no such zone".to_owned()));
        }
        let descriptor = self.device.report(zone).map_err(|error| refuse(error.to_string()))?;
        if descriptor.state == ZoneState::Offline || descriptor.reset_count != reset_count {
            return Err(refuse(format!("the zone does not hold checkpoint {} any more", self.name.number)));
        }
        let end_bytes = descriptor.write_pointer.get();
        Ok(Blocks {
            device: self.device,
            expected: (self.store, self.name.number, reset_count),
            block_count: self.name.block_count,
            zone,
            end_bytes,
            position_bytes: 0,
            refused: None,
            window: Window::new(self.device, zone, end_bytes),
        })
    }
}

/// The blocks of a zone, one after another.
struct Blocks<'a> {
    device: &'a dyn ZonedDevice,
    /// Store, checkpoint, reset count.
    expected: (StoreId, u64, u32),
    /// How many blocks the checkpoint has in all its zones.
    block_count: u32,
    zone: ZoneId,
    end_bytes: u64,
    position_bytes: u64,
    /// Why what lies at the end is no block of the checkpoint.
    refused: Option<String>,
    window: Window<'a>,
}

/// A block: where it lies, its header, and what it holds.
type Block<'a> = (ZoneOffset, BlockHeader, &'a [u8]);

impl Blocks<'_> {
    /// The next block. The blocks of a zone end where none follows: whether that is too early, their numbers tell.
    fn next(&mut self) -> Result<Option<Block<'_>>, Unusable> {
        let offset = ZoneOffset::new(self.position_bytes);
        if self.position_bytes >= self.end_bytes {
            return Ok(None);
        }
        let reached = self.window.reach(self.position_bytes);
        reached.map_err(|error| Unusable { zone: self.zone, offset, what: error.to_string() })?;
        let (header, payload) = match BlockHeader::decode(self.window.here(offset.get())) {
            Ok(block) => block,
            Err(error) => {
                self.refused = Some(error.to_string());
                return Ok(None);
            }
        };
        if (header.store, header.checkpoint, header.reset_count) != self.expected {
            self.refused = Some(format!("block {} of checkpoint {}", header.block, header.checkpoint));
            return Ok(None);
        }
        if header.block >= self.block_count {
            // One that an earlier run of the store began under this number. A power cut took it, and it has turned up since.
            self.refused = Some(format!("block {} of a checkpoint of {}", header.block, self.block_count));
            return Ok(None);
        }
        self.position_bytes += self.device.geometry().round_up_to_block(header.block_bytes());
        Ok(Some((offset, header, payload)))
    }

    /// Where the blocks end, and why: the reason if there should be more.
    fn end(&self) -> Unusable {
        let found = self.refused.as_deref().unwrap_or("the end of what is written");
        let what =
            format!("no block of checkpoint {} where the next one should be: {found}", self.expected.1);
        Unusable { zone: self.zone, offset: ZoneOffset::new(self.position_bytes), what }
    }
}

/// What one zone of a checkpoint gives.
struct ZonePart {
    /// Where its blocks end.
    end: Unusable,
    first_block: u32,
    block_count: u32,
    leaves: Vec<LoadedLeaf>,
    large: Vec<(Box<[u8]>, LargeId)>,
    /// Id, first part, number of parts of the value, what is known of them.
    parts: Vec<(LargeId, usize, usize, PartsRow)>,
    charges: Vec<(i64, i64)>,
    counts: (i64, i64),
}

impl ZonePart {
    fn new(standing: &Standing, end: Unusable) -> Self {
        Self {
            end,
            first_block: 0,
            block_count: 0,
            leaves: Vec::new(),
            large: Vec::new(),
            parts: Vec::new(),
            charges: vec![(0, 0); standing.rows.len()],
            counts: (0, 0),
        }
    }

    fn add(&mut self, kind: BlockKind, payload: &[u8], standing: &Standing) -> Result<(), DecodeError> {
        match kind {
            // They were read before everything else.
            BlockKind::Zones => Ok(()),
            BlockKind::Parts => PartsRow::decode_all(payload, |row, first, total| {
                self.parts.push((LargeId::new(row.id), first, total, row));
            }),
            BlockKind::Entries => self.add_entries(payload, standing),
        }
    }

    fn add_entries(&mut self, mut payload: &[u8], standing: &Standing) -> Result<(), DecodeError> {
        while let Some(page) = EntryPage::next(&mut payload)? {
            let leaf = LoadedLeaf::new(&page, |key, entry| self.keep(key, entry, standing))?;
            self.leaves.extend(leaf);
        }
        Ok(())
    }

    /// Keeps entries that point into zones that stand, and counts them.
    fn keep(
        &mut self,
        key: KeyParts<'_>,
        entry: PackedEntry,
        standing: &Standing,
    ) -> Result<bool, DecodeError> {
        let (location, value_len) = match Entry::from(entry) {
            Entry::Value { location, value_len } => (location, Some(value_len)),
            Entry::Tombstone { location } => (location, None),
            Entry::Large { id } => {
                self.large.push((key.to_boxed(), id));
                return Ok(false);
            }
        };
        let Some(row) = standing.row(location.zone) else {
            return Ok(fault::is_on(Fault::KeepFallenEntries));
        };
        if row.places.get(location.unit as usize).is_none_or(|&place| place == 0) {
            let found = u64::from(location.unit);
            return Err(DecodeError::Field { structure: "checkpoint page", field: "unit", found });
        }
        let bytes = charge_bytes(key.len(), value_len.unwrap_or(0) as usize);
        let charge = &mut self.charges[location.zone.index()];
        charge.0 += bytes;
        if value_len.is_some() {
            self.counts.0 += 1;
        } else {
            charge.1 += bytes;
            self.counts.1 += 1;
        }
        Ok(true)
    }
}

impl Loaded {
    /// `None` where parts before are missing: a number that is too high must not take all memory.
    fn add_parts(
        &mut self,
        id: LargeId,
        first: usize,
        total: usize,
        row: &PartsRow,
        standing: &Standing,
    ) -> Option<()> {
        let known = self.parts.entry(id).or_default();
        known.key_bytes = row.key_bytes as usize;
        known.incarnation = row.incarnation;
        known.part_count = total;
        if first > known.parts.len() {
            return None;
        }
        known.parts.resize(known.parts.len().max(first + row.parts.len()), None);
        for (place, &(packed, len_bytes)) in known.parts[first..].iter_mut().zip(&row.parts) {
            let location = Location::unpack(packed);
            *place = standing.row(location.zone).map(|_| (location, len_bytes));
        }
        Some(())
    }
}

fn unusable(zone: ZoneId, offset: ZoneOffset, error: &DecodeError) -> Unusable {
    Unusable { zone, offset, what: error.to_string() }
}
