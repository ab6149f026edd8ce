//! Which keys lost writes were of, as far as a checkpoint of the index tells.
//!
//! A checkpoint says of each key where its newest record lay, in zones that were complete. Where such a zone still has the filling
//! that it had, a place without a record is that of a key that lost its newest write, unless it was written or copied again
//! since; and a key whose place is another one has lost nothing there.
//!
//! Only a checkpoint that can be read whole is believed. It is read block by block; what is kept are rows of the zones that lost
//! something, and keys that did.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use foldhash::fast::FixedState;

use super::choose::{Chosen, Kept, KeptValue};
use super::lost::Limits;
use super::scan::ZoneFound;
use super::source::{Source, Window};
use super::{DoubtfulKey, LostKey, LostWrites, Reason, SalvageOptions};
use crate::format::DecodeError;
use crate::format::checkpoint::{BlockHeader, BlockKind, EntryPage, PartsRow, ZoneRow};
use crate::format::manifest::{CheckpointName, Manifest};
use crate::index::{Entry, Location, PackedEntry};
use crate::units::{SECTOR_BYTES, SeqNo, ZoneId, ZoneOffset};

/// A block of a checkpoint and what follows it are read ahead as far as the largest block reaches.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// What a checkpoint tells of lost writes.
#[derive(Debug)]
pub(super) struct Named {
    /// Zones of which it knows all keys.
    zones: BTreeSet<ZoneId>,
    losses: Vec<Loss>,
    number: u64,
}

/// A key whose newest record, when the checkpoint was written, lay where none can be read.
#[derive(Debug)]
struct Loss {
    key: Box<[u8]>,
    zone: ZoneId,
    offset: ZoneOffset,
    is_delete: bool,
    /// The write was one of these.
    from: SeqNo,
    to: SeqNo,
}

impl Named {
    /// Whether it is known of which keys the writes were.
    pub(super) fn covers(&self, lost: &LostWrites) -> bool {
        self.zones.contains(&lost.zone)
    }
}

/// Looks into the newest checkpoint that can be read whole; `None` where there is none, or nothing that it could tell.
pub(super) fn find(
    source: &Source,
    manifest: Option<&Manifest>,
    zones: &[ZoneFound],
    lost: &[LostWrites],
    limits: &Limits,
) -> Option<Named> {
    let names = manifest.filter(|_| !lost.is_empty()).into_iter().flat_map(|it| it.checkpoints.iter().rev());
    names.filter(|name| limits.reaches(name.covered)).find_map(|name| {
        let reader = Reader { source, manifest: manifest?, name };
        reader.tell(zones, lost).ok().flatten()
    })
}

/// Reads one checkpoint.
struct Reader<'a> {
    source: &'a Source,
    manifest: &'a Manifest,
    name: &'a CheckpointName,
}

impl Reader<'_> {
    /// `None` where not all of it is there.
    fn tell(&self, zones: &[ZoneFound], lost: &[LostWrites]) -> Result<Option<Named>, DecodeError> {
        let mut rows = Vec::new();
        let block_count = self.for_each(BlockKind::Zones, |items| ZoneRow::decode_all(items, &mut rows))?;
        if block_count != self.name.block_count {
            return Ok(None);
        }
        let hit: BTreeSet<ZoneId> = lost.iter().map(|lost| lost.zone).collect();
        rows.retain(|row| hit.contains(&row.zone) && self.stands(row, zones));
        let places = Places::new(rows, zones);
        let mut large = BTreeMap::new();
        self.for_each(BlockKind::Parts, |items| {
            PartsRow::decode_all(items, |row, _, _| {
                let lost_part = row.parts.iter().find_map(|&(place, _)| places.lost(Location::unpack(place)));
                large.extend(lost_part.map(|place| (row.id, place)));
            })
        })?;
        let mut losses = Vec::new();
        self.for_each(BlockKind::Entries, |mut items| {
            while let Some(page) = EntryPage::next(&mut items)? {
                for (suffix, place, length) in page.entries() {
                    let Some(entry) = PackedEntry::from_parts(place, length) else { continue };
                    let (place, is_delete) = match Entry::from(entry) {
                        Entry::Value { location, .. } => (places.lost(location), false),
                        Entry::Tombstone { location } => (places.lost(location), true),
                        Entry::Large { id } => (large.get(&id.get()).copied(), false),
                    };
                    let key = || [page.prefix(), suffix].concat().into_boxed_slice();
                    losses.extend(place.map(|place| self.loss(key(), place, is_delete, (&places, lost))));
                }
            }
            Ok(())
        })?;
        let zones = places.rows.keys().copied().collect();
        Ok(Some(Named { zones, losses, number: self.name.number }))
    }

    fn loss(
        &self,
        key: Box<[u8]>,
        (zone, offset): (ZoneId, ZoneOffset),
        is_delete: bool,
        (places, lost): (&Places, &[LostWrites]),
    ) -> Loss {
        let is_there = |it: &&LostWrites| {
            let end = it.offset.get() + it.len_bytes;
            it.zone == zone && (it.offset.get()..end).contains(&offset.get())
        };
        let told = lost.iter().find(is_there).and_then(|it| it.seqnos);
        // A zone of copies has no order: all that is known is what the checkpoint covers.
        let of_zone = places.rows.get(&zone).filter(|row| row.first_seqno > SeqNo::ZERO);
        let of_zone = of_zone.map(|row| (row.first_seqno, row.newest_seqno.max(row.first_seqno)));
        let (from, to) = told.or(of_zone).unwrap_or((SeqNo::ZERO, self.name.covered));
        Loss { key, zone, offset, is_delete, from, to }
    }

    /// Whether a zone still has the filling that it had.
    fn stands(&self, row: &ZoneRow, zones: &[ZoneFound]) -> bool {
        let resets = self.source.reset_count(row.zone);
        let filling = zones.iter().find(|zone| zone.zone == row.zone && !zone.units.is_empty());
        match filling {
            Some(zone) => zone.generation == row.generation,
            // Nothing in it tells: the device does, or the manifest.
            None => {
                let is_named = |tail: &crate::format::manifest::Tail| tail.generation == row.generation;
                resets == Some(row.reset_count)
                    || resets.is_none() && self.manifest.tails.iter().any(is_named)
            }
        }
    }

    /// Hands over the items of all blocks of a kind, in order; gives the number of blocks of any kind.
    fn for_each(
        &self,
        kind: BlockKind,
        mut take: impl FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<u32, DecodeError> {
        let block_bytes = u64::from(self.source.sizes.block_bytes);
        let mut count = 0;
        for &(zone, reset_count) in &self.name.zones {
            let mut window = Window::new(self.source, zone);
            let mut at = 0;
            while at < window.end {
                let Ok((header, items)) = BlockHeader::decode(window.from(at, READ_AHEAD_BYTES)) else {
                    break;
                };
                let found = (header.store, header.checkpoint, header.reset_count, header.block);
                if found != (self.manifest.store, self.name.number, reset_count, count) {
                    break;
                }
                if header.kind == kind {
                    take(items)?;
                }
                count += 1;
                at = (at + header.block_bytes()).next_multiple_of(block_bytes);
            }
        }
        Ok(count)
    }
}

/// Where records should be and where they are, in the zones that lost something.
struct Places {
    rows: BTreeMap<ZoneId, ZoneRow>,
    found: HashSet<(ZoneId, u64), FixedState>,
}

impl Places {
    fn new(rows: Vec<ZoneRow>, zones: &[ZoneFound]) -> Self {
        let rows: BTreeMap<ZoneId, ZoneRow> = rows.into_iter().map(|row| (row.zone, row)).collect();
        let hit = zones.iter().filter(|zone| rows.contains_key(&zone.zone));
        let found = hit.flat_map(|zone| zone.versions.iter().map(|version| (version.zone, version.offset)));
        let found = found.collect();
        Self { rows, found }
    }

    /// The place of a record that is not there.
    fn lost(&self, location: Location) -> Option<(ZoneId, ZoneOffset)> {
        let place = *self.rows.get(&location.zone)?.places.get(location.unit as usize)?;
        let offset = u64::from(place.checked_sub(1)?) * SECTOR_BYTES + u64::from(location.offset);
        let is_found = self.found.contains(&(location.zone, offset));
        (!is_found).then_some((location.zone, ZoneOffset::new(offset)))
    }
}

/// What of a key was found, compared with the write that it lost.
enum Against {
    /// It was written or copied again.
    Newer,
    /// One of several writes, of which the lost one may be the last.
    Unclear,
    Older,
}

impl Loss {
    fn against(&self, found: SeqNo) -> Against {
        match found {
            found if found > self.to || self.from == self.to && found == self.to => Against::Newer,
            found if found >= self.from => Against::Unclear,
            _ => Against::Older,
        }
    }

    fn lost_key(&self, number: u64, older: Option<SeqNo>) -> LostKey {
        let what = if self.from == self.to {
            format!("its record cannot be read; checkpoint {number} tells that it was there")
        } else {
            format!(
                "its record, one of the writes from {} on, cannot be read; checkpoint {number} tells that it was there",
                self.from
            )
        };
        let key = self.key.clone();
        LostKey { key, seqno: self.to, zone: self.zone, offset: self.offset, what, older }
    }
}

/// Takes back what was chosen of keys whose newest write is gone, and names them.
pub(super) fn apply(named: &Named, options: &SalvageOptions, chosen: &mut Chosen) {
    let mut superseded: BTreeSet<Box<[u8]>> = BTreeSet::new();
    let known: BTreeSet<Box<[u8]>> = chosen.lost.iter().map(|lost| lost.key.clone()).collect();
    let mut doubted: BTreeSet<Box<[u8]>> = chosen.doubtful.iter().map(|it| it.key.clone()).collect();
    let mut doubt = |loss: &Loss, (seqno, zone, offset), reason, chosen: &mut Chosen| {
        let key = loss.key.clone();
        if doubted.insert(key.clone()) {
            chosen.doubtful.push(DoubtfulKey { key, seqno, zone, offset, reason, kept: true });
        }
    };
    for loss in named.losses.iter().filter(|loss| !known.contains(&loss.key)) {
        let deleted = chosen.deleted.binary_search_by(|(key, _)| key.cmp(&loss.key));
        let deleted = deleted.ok().map(|at| chosen.deleted[at].1);
        let kept = chosen.kept.binary_search_by(|kept| kept.key.cmp(&loss.key)).ok();
        let older = kept.and_then(|at| place_of(&chosen.kept[at]));
        let found = deleted.or(older.map(|(seqno, ..)| seqno));
        match (found.map_or(Against::Older, |found| loss.against(found)), older) {
            (Against::Newer, _) => {}
            (Against::Unclear, Some(older)) => doubt(loss, older, Reason::MaybeSuperseded, chosen),
            // Whether there is an older version or not, the key has no value.
            _ if loss.is_delete => drop(superseded.insert(loss.key.clone())),
            (_, older) => {
                chosen.lost.push(loss.lost_key(named.number, older.map(|(seqno, ..)| seqno)));
                match older {
                    Some(older) if options.older_versions => {
                        doubt(loss, older, Reason::NewerVersionLost, chosen);
                    }
                    _ => drop(superseded.insert(loss.key.clone())),
                }
            }
        }
    }
    chosen.kept.retain(|kept| !superseded.contains(&kept.key));
    chosen.doubtful.retain(|doubtful| !superseded.contains(&doubtful.key));
    chosen.lost.sort_by(|one, other| one.key.cmp(&other.key));
}

fn place_of(kept: &Kept) -> Option<(SeqNo, ZoneId, ZoneOffset)> {
    match &kept.value {
        KeptValue::Logged(pieces) => {
            pieces.first().map(|piece| (piece.seqno, piece.zone, ZoneOffset::new(piece.offset)))
        }
        KeptValue::Journaled(_) => None,
    }
}
