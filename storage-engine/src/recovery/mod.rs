//! Recovery: from what lies in the zones to the state that the store goes on from.
//!
//! Steps, each in its module: `scan` reads every zone, in parallel; `prefix` decides up to which seqno the log is whole
//! and cuts there; `claims` tells damage from what a crash may leave; `rebuild` makes index and ledger.
//!
//! Nothing here writes. Recovery may be interrupted at any point and run again: it depends on the device alone. What was
//! cut is made void for good by the manifest that the engine appends before the first new write.

mod claims;
mod prefix;
mod rebuild;
mod scan;

use std::sync::Arc;

use crate::device::{ZoneDescriptor, ZonedDevice};
use crate::error::{EngineError, EngineResult};
use crate::format::manifest::{Cut, Manifest};
use crate::format::unit::{PreviousZone, StreamKind};
use crate::index::Catalog;
use crate::log::manifest_log::manifest_zones;
use crate::log::stream::StreamZone;
use crate::units::{Generation, SeqNo, ZoneId, ZoneOffset};
use crate::zones::ZoneTable;

/// Bytes that should be whole and are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The zone.
    pub zone: ZoneId,
    /// Where in the zone.
    pub offset: ZoneOffset,
    /// What is wrong.
    pub what: String,
    /// Whether it is known what was hit: a value whose key can be read, or a zone that has gone offline. Then the store
    /// can be used nevertheless.
    pub confined: bool,
}

impl Damage {
    /// The error that the damage is to somebody who needs these bytes.
    #[must_use]
    pub fn error(&self) -> EngineError {
        EngineError::Corruption { zone: self.zone, offset: self.offset, what: self.what.clone() }
    }
}

/// What recovery did, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the store had been closed in order.
    pub clean: bool,
    /// Zones scanned.
    pub zone_count: u32,
    /// Units believed.
    pub unit_count: u64,
    /// Records believed, superseded ones included.
    pub record_count: u64,
    /// Records after the cut, or void since an earlier one.
    pub void_record_count: u64,
    /// Damage found.
    pub damages: Vec<Damage>,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamEnd {
    /// The zone to go on in.
    pub zone: Option<StreamZone>,
    /// What was filled before, for the zone after.
    pub previous: PreviousZone,
}

/// The state that a store goes on from.
#[derive(Debug)]
pub struct Recovered {
    /// Index, large values and ledger.
    pub catalog: Arc<Catalog>,
    /// The zones.
    pub zones: Arc<ZoneTable>,
    /// The last write that counts.
    pub last_seqno: SeqNo,
    /// The last generation given out.
    pub generation: Generation,
    /// The generation of the zone that was opened first; the next one where none is filled.
    pub oldest_generation: Generation,
    /// Cuts of earlier recoveries that something on the device may still fall under.
    pub cuts: Vec<Cut>,
    /// Where new writes go on.
    pub user: StreamEnd,
    /// Where copies go on.
    pub relocation: StreamEnd,
    /// Zones partly written that no stream goes on in.
    pub abandoned: Vec<ZoneId>,
    /// What happened.
    pub report: RecoveryReport,
}

/// Reads a store.
///
/// Damage does not stop it: it is reported, and what can be read is recovered.
///
/// # Errors
/// The device's only.
#[expect(clippy::missing_panics_doc, reason = "a device has fewer zones than a u32 counts")]
pub fn recover(
    device: &dyn ZonedDevice,
    manifest: &Manifest,
    thread_count: usize,
) -> EngineResult<Recovered> {
    let for_manifest = manifest_zones(device)?;
    let descriptors: Vec<ZoneDescriptor> = device
        .geometry()
        .zones()
        .filter(|zone| !for_manifest.contains(zone))
        .map(|zone| device.report(zone))
        .collect::<Result<_, _>>()?;
    let oldest = manifest.oldest_generation;
    let scans = scan::scan_zones(device, (manifest.store, oldest), &descriptors, thread_count)?;
    let prefix = prefix::find(manifest, &scans);
    let mut damages = claims::verify(manifest, &descriptors, &scans, &prefix);
    let report = RecoveryReport {
        clean: manifest.clean,
        zone_count: u32::try_from(scans.len()).expect("zone numbers are 32 bits"),
        unit_count: scans.iter().map(|scan| scan.units.len() as u64).sum(),
        record_count: 0,
        void_record_count: 0,
        damages: Vec::new(),
    };
    let seen = scans.iter().map(|scan| scan.generation).fold(manifest.generation, Ord::max);
    // A power cut may hide that zones were opened since the last manifest: each at most once, for a reset writes one.
    let hidden_count = if manifest.clean { 0 } else { u64::from(device.geometry().zone_count) };
    let generation = seen.forward(hidden_count);
    let user = stream_end(device, &scans, StreamKind::User);
    let relocation = stream_end(device, &scans, StreamKind::Relocation);
    let filled = scans.iter().map(|scan| scan.generation).filter(|&filled| filled > Generation::default());
    let oldest_generation = filled.min().unwrap_or(generation.next());
    let cuts = prefix::cuts_still_needed(manifest, oldest_generation);
    let layout = rebuild::Layout { geometry: device.geometry(), for_manifest, descriptors: &descriptors };
    let rebuilt = rebuild::rebuild(&layout, &scans, &prefix, [&user, &relocation]);
    damages.extend(rebuilt.damages);
    damages.sort_by_key(|damage| (damage.zone, damage.offset));
    Ok(Recovered {
        catalog: Arc::new(rebuilt.catalog),
        zones: rebuilt.zones,
        last_seqno: prefix.last_seqno,
        generation,
        oldest_generation,
        cuts,
        user,
        relocation,
        abandoned: rebuilt.abandoned,
        report: RecoveryReport {
            record_count: rebuilt.record_count,
            void_record_count: rebuilt.void_record_count,
            damages,
            ..report
        },
    })
}

/// Finds the zone that a stream filled last and whether it can be filled further.
fn stream_end(device: &dyn ZonedDevice, scans: &[scan::ZoneScan], kind: StreamKind) -> StreamEnd {
    let of_stream = scans.iter().filter(|scan| scan.stream == Some(kind));
    let Some(last) = of_stream.max_by_key(|scan| scan.generation) else { return StreamEnd::default() };
    let newest = last.units.last().expect("a stream is known by a unit").header;
    let next_unit = last.next_unit(device.geometry().block_bytes);
    // Where units are missing or torn, earlier claims stay as they are and new ones begin behind them.
    let claim_first = newest.claim_first.max(last.whole_from(next_unit));
    let zone = StreamZone {
        zone: last.descriptor.zone,
        generation: last.generation,
        reset_count: last.descriptor.reset_count,
        used_bytes: last.descriptor.write_pointer.get(),
        next_unit,
        claim_first,
        previous: if is_whole(scans, newest.previous) { newest.previous } else { PreviousZone::default() },
    };
    let goes_on =
        last.descriptor.state.is_active() && zone.used_bytes < device.geometry().zone_capacity_bytes;
    let previous = PreviousZone { generation: zone.generation, claim_first, unit_count: next_unit };
    StreamEnd { zone: goes_on.then_some(zone), previous }
}

/// Whether a filled zone still has every unit that would be claimed: a crash may have taken its last ones.
fn is_whole(scans: &[scan::ZoneScan], zone: PreviousZone) -> bool {
    let found = scans.iter().find(|scan| scan.generation == zone.generation);
    found.is_some_and(|scan| scan.whole_from(zone.unit_count) <= zone.claim_first)
}
