//! Salvage: everything that can be read of a damaged store, and what is gone.
//!
//! Recovery answers what a store holds, and refuses when it cannot be sure. Salvage takes whatever passes its own checksums
//! and says of each key how sure it is. Nothing is written, and nothing that was damaged is changed.
//!
//! Steps, each in its module: `source` reads zones without counting on what the device says of itself; `scan` finds records,
//! also where headers are gone, with `records` for those of one unit; `mending` puts damaged record heads right where that can be proven; `lost` finds out what
//! must have been there and is not; `choose` takes the newest version of each key, and `journal`
//! what a killed process had not appended yet.
//!
//! Invariants:
//! - What is kept was written to that key at some time, and passes its checksum again when it is copied.
//! - A key whose newest version is known to be damaged has no value, unless its older version is asked for.
//! - A key of which a newer version may have been lost is kept and named.

mod choose;
mod journal;
mod lost;
mod mending;
mod records;
mod scan;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

pub use self::source::{KnownSizes, UnreadableRun};

use self::choose::{Chooser, Kept, KeptValue};
use self::lost::{Claims, Fillings, Limits};
use self::scan::{Version, ZoneFound, scan_zone};
use self::source::{Source, Unreadable, Window};
use crate::device::Geometry;
use crate::device::emulated::Flaw;
use crate::error::{EngineError, EngineResult};
use crate::format::manifest::{DeviceSizes, Manifest};
use crate::format::unit::StoreId;
use crate::units::{SeqNo, ZoneId, ZoneOffset};

/// What to do where it is not certain.
#[derive(Clone, Debug, Default)]
pub struct SalvageOptions {
    /// Keep the older version of a key whose newest one is damaged.
    pub older_versions: bool,
    /// Leave out keys of which a newer version may have been lost.
    pub only_certain: bool,
    /// Sizes of the device, where its header and manifest are gone.
    pub sizes: KnownSizes,
}

/// A key whose value is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostKey {
    /// The key.
    pub key: Box<[u8]>,
    /// The write that is gone.
    pub seqno: SeqNo,
    /// The zone of what was hit.
    pub zone: ZoneId,
    /// Where in the zone.
    pub offset: ZoneOffset,
    /// What is wrong there.
    pub what: String,
    /// An older version that can be read.
    pub older: Option<SeqNo>,
}

/// Why it is not certain that a value is the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The newest version is damaged; this older one was asked for.
    NewerVersionLost,
    /// Writes of unknown keys were lost that came after it.
    MaybeSuperseded,
    /// It lies where nothing tells whether it still counts.
    MaybeLeftOver,
}

/// A key whose value may not be the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubtfulKey {
    /// The key.
    pub key: Box<[u8]>,
    /// The write that was found.
    pub seqno: SeqNo,
    /// Its zone.
    pub zone: ZoneId,
    /// Where in the zone.
    pub offset: ZoneOffset,
    /// Why.
    pub reason: Reason,
    /// Whether it is kept.
    pub kept: bool,
}

/// Writes that are gone, and nobody knows of which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostWrites {
    /// The zone.
    pub zone: ZoneId,
    /// Where in the zone.
    pub offset: ZoneOffset,
    /// How many bytes are concerned.
    pub len_bytes: u64,
    /// What is wrong there.
    pub what: String,
    /// The first and last write that was there, where that is known.
    pub seqnos: Option<(SeqNo, SeqNo)>,
    /// No write that was there is newer.
    pub at_most: SeqNo,
}

/// A batch of which something is gone. What is left of it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornBatch {
    /// Its first write.
    pub first: SeqNo,
    /// How many writes it has.
    pub len: u32,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Damage outside the zones.
    pub flaws: Vec<Flaw>,
    /// Blocks that the device failed to read.
    pub unreadable: Vec<UnreadableRun>,
    /// What could not be read and how that was made up for.
    pub notes: Vec<String>,
    /// Keys that have a value.
    pub key_count: u64,
    /// Records that were found, old ones included.
    pub record_count: u64,
    /// Records that an earlier recovery has cut off.
    pub void_record_count: u64,
    /// Damaged record heads that were put right.
    pub mended_count: u64,
    /// Keys whose value is gone.
    pub lost_keys: Vec<LostKey>,
    /// Writes that are gone.
    pub lost_writes: Vec<LostWrites>,
    /// Batches of which something is gone.
    pub torn_batches: Vec<TornBatch>,
    /// Keys whose value may not be the present one.
    pub doubtful_keys: Vec<DoubtfulKey>,
}

impl Findings {
    /// Whether everything that the store held was found.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost_keys.is_empty() && self.lost_writes.is_empty() && self.doubtful_keys.is_empty()
    }
}

/// What can be read of a store.
#[derive(Debug)]
pub struct Salvage {
    source: Source,
    kept: Vec<Kept>,
    findings: Findings,
}

impl Salvage {
    /// Reads all that there is at a path. `progress` is told bytes done and bytes in all.
    ///
    /// # Errors
    /// Those of opening a device, but for damage; [`EngineError::NoStore`] where no part of a store can be found;
    /// [`EngineError::ManifestDamaged`] where the device's sizes are known neither from it nor from the options.
    pub fn read(path: &Path, options: &SalvageOptions, progress: &dyn Fn(u64, u64)) -> EngineResult<Self> {
        Self::of(Source::open(path, &options.sizes)?, options, progress)
    }

    /// The same of a device that has been opened.
    #[cfg(test)]
    pub(crate) fn of_device(
        device: std::sync::Arc<dyn crate::device::ZonedDevice>,
        options: &SalvageOptions,
    ) -> EngineResult<Self> {
        Self::of(Source::of_device(device), options, &|_, _| {})
    }

    fn of(source: Source, options: &SalvageOptions, progress: &dyn Fn(u64, u64)) -> EngineResult<Self> {
        let mut findings = Findings { flaws: source.flaws().to_vec(), ..Findings::default() };
        let mut unreadable = Unreadable::default();
        let manifest = newest_manifest(&source, &mut unreadable);
        note_sources(&source, manifest.as_ref(), &mut findings.notes);
        let mut zones = scan_zones(&source, manifest.as_ref(), &mut unreadable, progress);
        findings.unreadable = unreadable.runs;
        let store = manifest.as_ref().map(|manifest| manifest.store).or_else(|| most_frequent(&zones));
        zones.retain(|zone| zone.store == store && zone.store.is_some() || zone.store.is_none());
        if store.is_none() && zones.iter().all(|zone| zone.versions.is_empty()) {
            return Err(EngineError::NoStore);
        }
        let fillings = Fillings::new(manifest.as_ref(), &source);
        zones.retain(|zone| fillings.is_present(zone));
        zones.iter_mut().for_each(|zone| fillings.name(zone));
        mend_by_keys(&mut zones);
        let limits = Limits::find(manifest.as_ref(), &zones);
        let claims = Claims::collect(manifest.as_ref(), &zones);
        lost::forget_leftovers(manifest.as_ref(), &claims, &mut zones);
        lost::prove(&claims, &mut zones, &limits);
        findings.lost_writes = lost::find(manifest.as_ref(), &source, (&zones, &claims), &limits);
        findings.torn_batches = lost::torn_batches(&zones, &findings.lost_writes);
        let lost_up_to = findings.lost_writes.iter().map(|lost| lost.at_most).max().unwrap_or(SeqNo::ZERO);
        let mut chosen = Chooser::new(&zones, options, lost_up_to).choose(|version| limits.counts(version));
        let journaled = store.map_or(0, |store| journal::take(&source.kept_bytes(), store, &mut chosen));
        if journaled > 0 {
            let what =
                format!("the newest writes of {journaled} keys are taken from a killed process's journal");
            findings.notes.push(what);
        }
        findings.key_count = chosen.kept.len() as u64;
        let versions = || zones.iter().flat_map(|zone| &zone.versions);
        findings.record_count = versions().count() as u64;
        findings.void_record_count = versions().filter(|version| !limits.counts(version)).count() as u64;
        findings.mended_count = zones.iter().map(|zone| zone.mended_count).sum();
        findings.lost_keys = chosen.lost;
        findings.doubtful_keys = chosen.doubtful;
        Ok(Self { source, kept: chosen.kept, findings })
    }

    /// What was found.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The sizes of the device.
    #[must_use]
    pub fn sizes(&self) -> DeviceSizes {
        self.source.sizes
    }

    /// Sizes and limits of the device, where it tells them itself.
    #[must_use]
    pub fn geometry(&self) -> Option<&Geometry> {
        self.source.geometry.as_ref()
    }

    /// The place of an offset in a zone in the file or device.
    #[must_use]
    pub fn device_byte(&self, zone: ZoneId, offset: ZoneOffset) -> Option<u64> {
        self.source.device_byte(zone, offset)
    }

    /// Hands over every key with its value, in the order of the keys.
    ///
    /// # Errors
    /// Those of `take`; [`EngineError::Corruption`] when a value is not what it was a moment ago.
    pub fn for_each<E: From<EngineError>>(
        &self,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut windows: BTreeMap<ZoneId, Window<'_>> = BTreeMap::new();
        let mut value = Vec::new();
        for kept in &self.kept {
            value.clear();
            match &kept.value {
                KeptValue::Journaled(journaled) => value.extend_from_slice(journaled),
                KeptValue::Logged(pieces) => {
                    for piece in pieces {
                        self.read_piece(piece, &mut windows, &mut value)?;
                    }
                }
            }
            take(&kept.key, &value)?;
        }
        Ok(())
    }

    fn read_piece<'s>(
        &'s self,
        version: &Version,
        windows: &mut BTreeMap<ZoneId, Window<'s>>,
        value: &mut Vec<u8>,
    ) -> EngineResult<()> {
        if windows.len() >= MAX_WINDOWS && !windows.contains_key(&version.zone) {
            windows.clear();
        }
        let window = windows.entry(version.zone).or_insert_with(|| Window::new(&self.source, version.zone));
        let block = u64::from(self.source.sizes.block_bytes);
        let start = version.value_at / block * block;
        let skip = usize::try_from(version.value_at - start).expect("below a block");
        let len = version.value_len as usize;
        let found = window.from(start, skip + len).get(skip..skip + len);
        let found = found.filter(|found| crc32fast::hash(found) == version.value_crc);
        let found = found.ok_or_else(|| EngineError::Corruption {
            zone: version.zone,
            offset: ZoneOffset::new(version.offset),
            what: "the value changed while it was salvaged".to_owned(),
        })?;
        value.extend_from_slice(found);
        Ok(())
    }
}

/// Zones whose bytes are held at once while values are copied.
const MAX_WINDOWS: usize = 16;

/// The version of the manifest with the highest number, wherever in its zones it lies.
fn newest_manifest(source: &Source, unreadable: &mut Unreadable) -> Option<Manifest> {
    let mut newest: Option<Manifest> = None;
    for zone in source.manifest_zones() {
        let mut window = Window::new(source, zone);
        let mut at = window.next_data(0);
        while at < window.end {
            let found = source::decode_manifest(window.from(at, 1 << 20));
            let counts =
                |manifest: &Manifest| newest.as_ref().is_none_or(|newest| manifest.version > newest.version);
            if let Some(manifest) = found.filter(counts) {
                newest = Some(manifest);
            }
            at = window.next_data(at + u64::from(source.sizes.block_bytes));
        }
        unreadable.add(&window);
    }
    newest
}

fn note_sources(source: &Source, manifest: Option<&Manifest>, notes: &mut Vec<String>) {
    if let Some(from) = source.sizes_from {
        notes.push(format!("no copy of the device's header is good; its sizes are taken from {from}"));
    }
    if manifest.is_none() {
        notes.push(
            "no version of the manifest can be read: what an earlier recovery has cut off is told by the units alone, and \
             missing units at the end of the log are not noticed"
                .to_owned(),
        );
        if source.zones().any(|zone| source.reset_count(zone).is_none()) {
            notes.push(
                "neither manifest nor zone table tells which zones have been reset: deleted keys may be back"
                    .to_owned(),
            );
        }
    }
}

fn scan_zones(
    source: &Source,
    manifest: Option<&Manifest>,
    unreadable: &mut Unreadable,
    progress: &dyn Fn(u64, u64),
) -> Vec<ZoneFound> {
    let for_manifest = source.manifest_zones();
    let all: Vec<ZoneId> = source.zones().filter(|zone| !for_manifest.contains(zone)).collect();
    let total: u64 = all.iter().map(|&zone| source.end_bytes(zone)).sum();
    let mut done = 0;
    let mut zones = Vec::new();
    for zone in all {
        let store = manifest.map(|manifest| manifest.store);
        let found = scan_zone(source, zone, store, source.reset_count(zone), unreadable);
        if !found.units.is_empty() || !found.versions.is_empty() || !found.gaps.is_empty() {
            zones.push(found);
        }
        done += source.end_bytes(zone);
        progress(done, total);
    }
    zones
}

fn most_frequent(zones: &[ZoneFound]) -> Option<StoreId> {
    let mut counts: BTreeMap<StoreId, usize> = BTreeMap::new();
    zones.iter().filter_map(|zone| zone.store).for_each(|store| *counts.entry(store).or_default() += 1);
    counts.into_iter().max_by_key(|&(_, count)| count).map(|(store, _)| store)
}

/// Puts records right whose key was hit, by the keys of all others.
fn mend_by_keys(zones: &mut [ZoneFound]) {
    let mended: Vec<(usize, usize, Vec<u8>)> = zones
        .iter()
        .enumerate()
        .flat_map(|(zone_index, zone)| {
            zone.holes.iter().enumerate().map(move |(index, hole)| (zone_index, index, hole))
        })
        .filter_map(|(zone_index, index, hole)| {
            let torn = hole.torn.as_ref()?;
            let keys = zones.iter().flat_map(|zone| zone.versions.iter().map(|version| zone.key(version)));
            keys.filter_map(|key| torn.mend_with_key(key)).next().map(|bytes| (zone_index, index, bytes))
        })
        .collect();
    for (zone_index, index, bytes) in mended.into_iter().rev() {
        let (offset, incarnation) = {
            let hole = &zones[zone_index].holes[index];
            (hole.offset, hole.header.incarnation)
        };
        if zones[zone_index].add_mended(&bytes, offset, incarnation) {
            zones[zone_index].holes.remove(index);
        }
    }
}
