//! What a checkpoint contributes: zones that need not be read, and the entries that point into them.
//!
//! The checkpoint stands for a zone if the zone still has the filling that it had then. If it was reset since, whatever
//! lived in it was superseded, deleted or copied, and what tells so lies in zones that are read.
//!
//! Compared with a record that was read, an entry is the newer one, or the same, unless the record was written after the
//! checkpoint began: see `docs/adr/0039-checkpoint-edge.md`.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::buffer::AlignedBuffer;
use crate::checkpoint::loader::{LargeParts, Loaded, Loader, Standing, Unusable};
use crate::device::{DeviceError, ZoneDescriptor, ZoneState, ZonedDevice};
use crate::fault::{self, Fault};
use crate::format::checkpoint::ZoneRow;
use crate::format::unit::{StoreId, UnitHeader};
use crate::index::{Entry, LargeId};
use crate::log::scanner::{Found, Scanner};
use crate::units::{Generation, SeqNo, ZoneId, ZoneOffset};

/// A checkpoint, loaded.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) standing: Standing,
    pub(super) loaded: Loaded,
}

/// Keys of large values, and where the parts of each lie.
pub(super) type LargeOnes = (Vec<(Box<[u8]>, LargeId)>, HashMap<LargeId, LargeParts, FixedState>);

impl Base {
    /// Takes what is known of large values: keys, and where their parts lie.
    pub(super) fn take_large(&mut self) -> LargeOnes {
        (std::mem::take(&mut self.loaded.large), std::mem::take(&mut self.loaded.parts))
    }

    pub(super) fn record_count(&self) -> u64 {
        let (values, tombstones) = self.loaded.counts;
        u64::try_from(values + tombstones).unwrap_or(0) + self.loaded.large.len() as u64
    }
}

impl Standing {
    /// Whether a record that was read, and is not in a zone that stands, is at least as new as an entry of its key.
    pub(super) fn gives_way(&self, entry: Entry, to: SeqNo) -> bool {
        if fault::is_on(Fault::EntriesBeatRecords) || fault::is_on(Fault::RecordsBeatEntries) {
            return fault::is_on(Fault::RecordsBeatEntries);
        }
        match entry {
            Entry::Large { id } => to.get() >= id.get(),
            Entry::Value { location, .. } | Entry::Tombstone { location } => {
                self.row(location.zone).is_none_or(|_| to > self.edge())
            }
        }
    }
}

/// Loads a checkpoint, and finds out which of its zones stand.
pub(super) fn load(
    loader: Loader<'_>,
    descriptors: &[ZoneDescriptor],
    thread_count: usize,
) -> Result<Base, Unusable> {
    let by_zone: HashMap<ZoneId, &ZoneDescriptor> =
        descriptors.iter().map(|descriptor| (descriptor.zone, descriptor)).collect();
    let mut rows = Vec::new();
    let all_rows = loader.zone_rows()?;
    let edge = all_rows.iter().map(|row| row.newest_seqno).max().unwrap_or_default();
    if let Some(row) = all_rows.iter().find(|row| row.newest_seqno == SeqNo::ZERO) {
        let what = "it does not say when it was begun; later versions of zonal need that".to_owned();
        return Err(Unusable { zone: row.zone, offset: ZoneOffset::START, what });
    }
    for row in all_rows {
        // A zone of the manifest or of another checkpoint is none that data lie in: it was filled anew.
        let Some(descriptor) = by_zone.get(&row.zone) else { continue };
        if stands(&loader, &row, descriptor)? {
            rows.push(row);
        }
    }
    let standing = Standing::new(loader.device.geometry().zone_count, rows).with_edge(edge);
    let loaded = loader.load(&standing, thread_count)?;
    Ok(Base { standing, loaded })
}

/// Whether a zone still has the filling that it had.
fn stands(loader: &Loader<'_>, row: &ZoneRow, descriptor: &ZoneDescriptor) -> Result<bool, Unusable> {
    let refuse = |what: String| Unusable { zone: row.zone, offset: ZoneOffset::START, what };
    if descriptor.state == ZoneState::Offline {
        return Err(refuse("the zone has gone offline since".to_owned()));
    }
    if fault::is_on(Fault::BelieveRefilledZones) {
        return Ok(true);
    }
    if descriptor.reset_count != row.reset_count || descriptor.write_pointer == ZoneOffset::START {
        return Ok(false);
    }
    let failed = |error: DeviceError| refuse(error.to_string());
    // Of nearly every zone the first block tells.
    let found = match first_header(loader.device, loader.store, descriptor).map_err(failed)? {
        Some(header) if header.generation >= row.generation => header.generation,
        _ => generation_of(loader, descriptor).map_err(|error| refuse(error.to_string()))?,
    };
    if found < row.generation {
        return Err(refuse("what the zone held cannot be found".to_owned()));
    }
    Ok(found == row.generation)
}

fn first_header(
    device: &dyn ZonedDevice,
    store: StoreId,
    descriptor: &ZoneDescriptor,
) -> Result<Option<UnitHeader>, DeviceError> {
    let mut block = AlignedBuffer::zeroed(device.geometry().block_bytes as usize);
    device.read(descriptor.zone, ZoneOffset::START, &mut block)?;
    let header = UnitHeader::decode(&block).ok();
    Ok(header.filter(|it| it.store == store && it.reset_count == descriptor.reset_count))
}

/// The filling of a zone whose first unit cannot be read.
fn generation_of(
    loader: &Loader<'_>,
    descriptor: &ZoneDescriptor,
) -> Result<Generation, crate::error::EngineError> {
    let (mut generation, mut scanner) =
        (Generation::default(), Scanner::new(loader.device, loader.store, descriptor));
    while let Some(found) = scanner.advance()? {
        if let Found::Unit { header, .. } = found {
            generation = generation.max(header.generation);
        }
    }
    Ok(generation)
}
