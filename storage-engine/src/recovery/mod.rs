//! Recovery: from what lies in the zones to the state that the store goes on from.
//!
//! Steps, each in its module: `scan` reads every zone, in parallel; `prefix` decides up to which seqno the log is whole
//! and cuts there; `claims` tells damage from what a crash may leave; `winners` chooses among the records of each key;
//! `rebuild` makes index and ledger.
//!
//! With a checkpoint of the index only the zones that it does not stand for are read (`base`). It is used whole, and only
//! where all is well: with whatever is amiss the older one is tried, and then everything is read.
//!
//! Nothing here writes. Recovery may be interrupted at any point and run again: it depends on the device alone. What was
//! cut is made void for good by the manifest that the engine appends before the first new write.

mod base;
mod claims;
mod prefix;
mod ranges;
mod rebuild;
mod records;
mod scan;
mod winners;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Base;

use crate::checkpoint::loader::{Loader, Standing, Unusable};
use crate::device::{ZoneDescriptor, ZonedDevice};
use crate::error::{EngineError, EngineResult};
use crate::format::manifest::{CheckpointName, Cut, Manifest};
use crate::format::unit::{PreviousZone, StreamName};
use crate::index::{Catalog, IndexKind};
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
    /// The checkpoint that was used.
    pub checkpoint: Option<UsedCheckpoint>,
    /// Why later checkpoints, or all, were not used. They are written anew in time; nothing is lost.
    pub unusable_checkpoints: Vec<Unusable>,
    /// Bytes of the zones scanned.
    pub scanned_bytes: u64,
    /// How long it all took.
    pub elapsed: Duration,
}

/// What a checkpoint contributed to a recovery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsedCheckpoint {
    /// Which one.
    pub number: u64,
    /// The last write that it covers.
    pub covered: SeqNo,
    /// Index entries that came from it.
    pub record_count: u64,
    /// Zones that were not scanned because of it.
    pub zone_count: u32,
}

/// What recovery may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rely {
    /// On checkpoints, where they are good.
    OnCheckpoints,
    /// On the log alone. Whether checkpoints are good is looked at all the same.
    OnLog,
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
    /// Where streams go on.
    pub streams: BTreeMap<StreamName, StreamEnd>,
    /// Zones partly written that no stream goes on in.
    pub abandoned: Vec<ZoneId>,
    /// Checkpoints that a later recovery may choose, as far as is known.
    pub checkpoints: Vec<CheckpointName>,
    /// Later ones than that which was used. A run that goes on without them may reset what only they point at, for the sake of a
    /// copy in a zone that they stand for: no later recovery must go back to them.
    pub passed_over: Vec<CheckpointName>,
    /// What happened.
    pub report: RecoveryReport,
}

/// Reads a store.
///
/// Damage does not stop it: it is reported, and what can be read is recovered.
///
/// # Errors
/// The device's only.
pub fn recover(
    device: &dyn ZonedDevice,
    manifest: &Manifest,
    thread_count: usize,
    (rely, index): (Rely, IndexKind),
) -> EngineResult<Recovered> {
    let began = Instant::now();
    let recovery = Recovery::prepare(device, manifest, (thread_count, index))?;
    let mut unusable = recovery.astray.clone();
    let (mut recovered, mut usable_count) = (None, 0);
    // A checkpoint has the keys in their order, which a hash index is not made of.
    if rely == Rely::OnCheckpoints && index == IndexKind::Ordered {
        for (index, name) in recovery.checkpoints.iter().enumerate().rev() {
            match recovery.by_checkpoint(name)? {
                Ok(found) => (recovered, usable_count) = (Some(found), index + 1),
                Err(reason) => unusable.push(reason),
            }
            if recovered.is_some() {
                break;
            }
        }
    }
    let mut recovered = match recovered {
        Some(recovered) => recovered,
        None => recovery.by_log()?,
    };
    if rely == Rely::OnLog {
        unusable.extend(recovery.checkpoints.iter().filter_map(|name| recovery.try_out(name).err()));
    }
    recovered.passed_over = recovered.checkpoints.split_off(usable_count);
    recovered.report.unusable_checkpoints = unusable;
    recovered.report.elapsed = began.elapsed();
    Ok(recovered)
}

/// What every attempt at a recovery begins with.
struct Recovery<'a> {
    device: &'a dyn ZonedDevice,
    manifest: &'a Manifest,
    thread_count: usize,
    index: IndexKind,
    for_manifest: Vec<ZoneId>,
    /// Checkpoints whose zones hold them, as far as their first blocks tell; the newest last.
    checkpoints: Vec<CheckpointName>,
    /// Why others do not count.
    astray: Vec<Unusable>,
    /// All zones but those of the manifest and of these checkpoints.
    descriptors: Vec<ZoneDescriptor>,
}

impl<'a> Recovery<'a> {
    fn prepare(
        device: &'a dyn ZonedDevice,
        manifest: &'a Manifest,
        (thread_count, index): (usize, IndexKind),
    ) -> EngineResult<Self> {
        let for_manifest = manifest_zones(device, manifest)?;
        // Zones that hold something else than the manifest says are zones like others: what is in them is looked at.
        let (mut checkpoints, mut astray) = (Vec::new(), Vec::new());
        for name in &manifest.checkpoints {
            match holds_its_zones(&Loader { device, store: manifest.store, name }, &for_manifest) {
                Ok(()) => checkpoints.push(name.clone()),
                Err(reason) => astray.push(reason),
            }
        }
        let taken = |zone| checkpoints.iter().any(|name| name.zones.iter().any(|&(held, _)| held == zone));
        let for_data = device.geometry().zones().filter(|zone| !for_manifest.contains(zone) && !taken(*zone));
        let descriptors = for_data.map(|zone| device.report(zone)).collect::<Result<_, _>>()?;
        Ok(Self { device, manifest, thread_count, index, for_manifest, checkpoints, astray, descriptors })
    }

    fn loader(&self, name: &'a CheckpointName) -> Loader<'a> {
        Loader { device: self.device, store: self.manifest.store, name }
    }

    /// Reads what the checkpoint does not stand for, and makes one state of both.
    fn by_checkpoint(&'a self, name: &'a CheckpointName) -> EngineResult<Result<Recovered, Unusable>> {
        let base = match base::load(self.loader(name), &self.descriptors, self.thread_count) {
            Ok(base) => base,
            Err(reason) => return Ok(Err(reason)),
        };
        let refuse = |zone, offset, what| Ok(Err(Unusable { zone, offset, what }));
        let at = name.zones.first().map_or(ZoneId::default(), |&(zone, _)| zone);
        let used = UsedCheckpoint {
            number: name.number,
            covered: name.covered,
            record_count: base.record_count(),
            zone_count: u32::try_from(base.standing.rows().count()).unwrap_or(u32::MAX),
        };
        let found = self.recover(Some(base))?;
        if found.last_seqno < name.covered {
            let what = format!("checkpoint {} is newer than the log", name.number);
            return refuse(at, ZoneOffset::START, what);
        }
        // Which of several damaged copies is the best one only a look at all of them tells.
        if let Some(damage) = found.report.damages.first() {
            return refuse(
                damage.zone,
                damage.offset,
                format!("with damage, everything is read: {}", damage.what),
            );
        }
        Ok(Ok(Recovered { report: RecoveryReport { checkpoint: Some(used), ..found.report }, ..found }))
    }

    fn by_log(&self) -> EngineResult<Recovered> {
        self.recover(None)
    }

    /// Loads a checkpoint only to see whether that is possible.
    fn try_out(&self, name: &CheckpointName) -> Result<(), Unusable> {
        let loader = Loader { device: self.device, store: self.manifest.store, name };
        let zone_count = self.device.geometry().zone_count;
        let standing = Standing::new(zone_count, loader.zone_rows()?);
        loader.load(&standing, self.thread_count).map(drop)
    }

    fn recover(&self, base: Option<Base>) -> EngineResult<Recovered> {
        let (device, manifest) = (self.device, self.manifest);
        let standing = base.as_ref().map(|base| &base.standing);
        let stands = |zone| standing.is_some_and(|standing| standing.row(zone).is_some());
        let to_scan: Vec<ZoneDescriptor> =
            self.descriptors.iter().filter(|descriptor| !stands(descriptor.zone)).copied().collect();
        let believed = scan::Believed::by(manifest);
        let mut scans = scan::scan_zones(device, &believed, &to_scan, readers(self.thread_count))?;
        let prefix = prefix::find(manifest, &scans);
        let mut damages = claims::verify(manifest, &self.descriptors, &mut scans, standing, &prefix);
        let report = RecoveryReport {
            clean: manifest.clean,
            zone_count: u32::try_from(scans.len()).expect("zone numbers are 32 bits"),
            unit_count: scans.iter().map(|scan| scan.units.len() as u64).sum(),
            scanned_bytes: scans.iter().map(|scan| scan.descriptor.write_pointer.get()).sum(),
            ..RecoveryReport::default()
        };
        let fillings = || {
            let standing = standing.into_iter().flat_map(Standing::rows).map(|row| row.generation);
            scans.iter().map(|scan| scan.generation).chain(standing)
        };
        let seen = fillings().fold(manifest.generation, Ord::max);
        // A power cut may hide that zones were opened since the last manifest: each at most once, for a reset writes one.
        let hidden_count = if manifest.clean { 0 } else { u64::from(device.geometry().zone_count) };
        let generation = seen.forward(hidden_count);
        let ends = StreamEnds { device, scans: &scans, standing };
        let names: BTreeSet<StreamName> = scans.iter().filter_map(scan::ZoneScan::stream_name).collect();
        let streams: BTreeMap<_, _> = names.into_iter().map(|name| (name, ends.find(name))).collect();
        let filled = fillings().filter(|&filled| filled > Generation::default());
        let oldest_generation = filled.min().unwrap_or(generation.next());
        let cuts = prefix::cuts_still_needed(manifest, oldest_generation);
        let layout = rebuild::Layout {
            geometry: device.geometry(),
            for_manifest: &self.for_manifest,
            checkpoints: &self.checkpoints,
            thread_count: self.thread_count,
            index: self.index,
            descriptors: &self.descriptors,
        };
        let rebuilt = rebuild::rebuild(&layout, &scans, &prefix, &streams, base);
        damages.extend(rebuilt.damages);
        damages.sort_by_key(|damage| (damage.zone, damage.offset));
        Ok(Recovered {
            catalog: Arc::new(rebuilt.catalog),
            zones: rebuilt.zones,
            last_seqno: prefix.last_seqno,
            generation,
            oldest_generation,
            cuts,
            streams,
            abandoned: rebuilt.abandoned,
            checkpoints: self.checkpoints.clone(),
            passed_over: Vec::new(),
            report: RecoveryReport {
                record_count: rebuilt.record_count,
                void_record_count: rebuilt.void_record_count,
                damages,
                ..report
            },
        })
    }
}

/// How many threads scan zones, so that the processors' threads always find something that the device has given.
///
/// Each has a few MiB of a zone in memory. One thread stays one: simulations and models must not have others.
fn readers(thread_count: usize) -> usize {
    const MOST: usize = 16;
    if thread_count == 1 { 1 } else { (4 * thread_count).min(MOST) }
}

/// Whether the zones that the manifest names for a checkpoint begin with blocks of it.
fn holds_its_zones(loader: &Loader<'_>, for_manifest: &[ZoneId]) -> Result<(), Unusable> {
    if let Some(&(zone, _)) = loader.name.zones.iter().find(|(zone, _)| for_manifest.contains(zone)) {
        let what = format!("checkpoint {} cannot lie in a zone of the manifest", loader.name.number);
        return Err(Unusable { zone, offset: ZoneOffset::START, what });
    }
    loader.check_first_blocks()
}

impl Damage {
    /// A checkpoint that cannot be used: all of it is in the log as well.
    pub(crate) fn of_checkpoint(unusable: &Unusable) -> Self {
        let Unusable { zone, offset, what } = unusable;
        Self {
            zone: *zone,
            offset: *offset,
            what: format!("a checkpoint of the index: {what}"),
            confined: true,
        }
    }
}

/// Finds where streams stand. The zone that a stream filled last is always read.
struct StreamEnds<'a> {
    device: &'a dyn ZonedDevice,
    scans: &'a [scan::ZoneScan],
    standing: Option<&'a Standing>,
}

impl StreamEnds<'_> {
    /// Finds the zone that a stream filled last and whether it can be filled further.
    fn find(&self, name: StreamName) -> StreamEnd {
        let device = self.device;
        let of_stream = self.scans.iter().filter(|scan| scan.stream_name() == Some(name));
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
            previous: if self.is_whole(newest.previous) { newest.previous } else { PreviousZone::default() },
        };
        let goes_on =
            last.descriptor.state.is_active() && zone.used_bytes < device.geometry().zone_capacity_bytes;
        let previous = PreviousZone { generation: zone.generation, claim_first, unit_count: next_unit };
        StreamEnd { zone: goes_on.then_some(zone), previous }
    }

    /// Whether a filled zone still has every unit that would be claimed: a crash may have taken its last ones.
    fn is_whole(&self, zone: PreviousZone) -> bool {
        let stands =
            self.standing.into_iter().flat_map(Standing::rows).find(|row| row.generation == zone.generation);
        if let Some(row) = stands {
            let covers = |&(first, end): &(u32, u32)| first <= zone.claim_first && end >= zone.unit_count;
            return row.claims.iter().any(covers);
        }
        let found = self.scans.iter().find(|scan| scan.generation == zone.generation);
        found.is_some_and(|scan| scan.whole_from(zone.unit_count) <= zone.claim_first)
    }
}
