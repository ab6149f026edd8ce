//! Checks a store against itself: device against index against ledger. For tests and for `kvctl check`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;

use super::{Engine, spare};
use crate::device::emulated::{Flaw, Inspected};
use crate::device::{Place, place_at};
use crate::error::{EngineError, EngineResult};
use crate::index::{Entry, HashIndex, Index, OrderedIndex};
use crate::recovery::Damage;
use crate::units::{ZoneId, ZoneOffset};
use crate::zones::charge_bytes;

/// How thoroughly to check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// What opening has seen anyway, and index against ledger.
    Shallow,
    /// Every live value is read from the device as well.
    Deep,
}

/// What a check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Keys looked at.
    pub key_count: u64,
    /// Values read.
    pub value_count: u64,
    /// Bytes that should be whole and are not.
    pub damages: Vec<Damage>,
    /// The same of bytes that nothing hangs on as long as there is no more damage: copies of the manifest, checkpoints, padding.
    pub harmless: Vec<Damage>,
    /// Zones whose live bytes are not what the index adds up to: zone, ledger, index. A fault of zonal, not of the media.
    pub wrong_ledger: Vec<(ZoneId, i64, i64)>,
}

impl VerifyReport {
    /// Whether nothing is lost or wrong. What is harmless may be what a crash has left of the last manifest.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty() && self.wrong_ledger.is_empty()
    }
}

/// What the entries of the index add up to.
#[derive(Debug, Default)]
struct Recount {
    live_bytes: BTreeMap<ZoneId, i64>,
    /// Zones with records of which it is not known what they count for.
    unknown: BTreeSet<ZoneId>,
}

/// Index entries looked at together.
const PAGE: usize = 256;

impl Engine {
    /// Checks the store. Nobody may write to it meanwhile, or the ledger seems wrong.
    ///
    /// `progress` is told the number of keys done. Blocks for as long as reading takes.
    ///
    /// # Errors
    /// The device's; damage is reported, not an error.
    pub fn verify(&self, depth: Depth, progress: &dyn Fn(u64)) -> EngineResult<VerifyReport> {
        self.inner.check_open()?;
        let mut report =
            VerifyReport { damages: self.inner.recovery.damages.clone(), ..VerifyReport::default() };
        let recount = match self.inner.catalog.index() {
            Index::Ordered(index) => self.verify_in_order(index, depth, progress, &mut report)?,
            Index::Hash(index) => self.verify_by_records(index, depth, progress, &mut report)?,
        };
        report.wrong_ledger = self.compare_ledger(&recount);
        let manifest = self.inner.manifest.lock().clone();
        report.harmless = spare::manifest_flaws(&*self.inner.device, &manifest)?;
        let unusable = &self.inner.recovery.unusable_checkpoints;
        report.harmless.extend(unusable.iter().map(Damage::of_checkpoint));
        if depth == Depth::Deep {
            report.harmless.extend(spare::padding_flaws(&*self.inner.device, &manifest)?);
            report.harmless.extend(spare::checkpoint_padding_flaws(&*self.inner.device, &manifest)?);
        }
        report.damages.sort_by_key(|damage| (damage.zone, damage.offset));
        report.damages.dedup_by_key(|damage| (damage.zone, damage.offset));
        Ok(report)
    }

    fn verify_in_order(
        &self,
        index: &OrderedIndex,
        depth: Depth,
        progress: &dyn Fn(u64),
        report: &mut VerifyReport,
    ) -> EngineResult<Recount> {
        let mut recount = Recount::default();
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let mut entries = Vec::with_capacity(PAGE);
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            index.ascend(from, PAGE, &mut entries);
            let Some((last, _)) = entries.last() else { return Ok(recount) };
            after = Some(last.clone());
            for (key, entry) in &entries {
                self.verify_key(key, *entry, depth, (&mut recount, report))?;
            }
            report.key_count += entries.len() as u64;
            progress(report.key_count);
        }
    }

    /// The index does not have the keys: they are read from the records. What a record whose head is damaged counts for cannot
    /// be told, and so its zone's sum cannot.
    fn verify_by_records(
        &self,
        index: &HashIndex,
        depth: Depth,
        progress: &dyn Fn(u64),
        report: &mut VerifyReport,
    ) -> EngineResult<Recount> {
        let mut recount = Recount::default();
        self.inner.each_owner(index, |key, entry| {
            report.key_count += 1;
            match key {
                Ok(key) => self.verify_key(&key, entry, depth, (&mut recount, report))?,
                Err(EngineError::Corruption { zone, offset, what }) => {
                    recount.unknown.extend(self.zones_of(entry));
                    let what = without_device_byte(what);
                    report.damages.push(Damage { zone, offset, what, confined: true });
                }
                Err(error) => return Err(error),
            }
            if report.key_count.is_multiple_of(PAGE as u64) {
                progress(report.key_count);
            }
            Ok(())
        })?;
        progress(report.key_count);
        Ok(recount)
    }

    fn verify_key(
        &self,
        key: &[u8],
        entry: Entry,
        depth: Depth,
        (recount, report): (&mut Recount, &mut VerifyReport),
    ) -> EngineResult<()> {
        self.count_live(key, entry, recount);
        if depth == Depth::Deep { self.read_back(key, report) } else { Ok(()) }
    }

    fn zones_of(&self, entry: Entry) -> Vec<ZoneId> {
        match entry {
            Entry::Value { location, .. } | Entry::Tombstone { location } => vec![location.zone],
            Entry::Large { id } => {
                let value = self.inner.catalog.large().value(id);
                value.iter().flat_map(|value| value.parts()).map(|(location, _)| location.zone).collect()
            }
        }
    }

    /// Damage to what a device at a path keeps of itself, beside its zones. A zoned drive keeps nothing that can be looked at.
    ///
    /// # Errors
    /// Those of opening it, but for damage.
    pub fn device_flaws(path: &Path) -> EngineResult<Vec<Flaw>> {
        match place_at(path)? {
            Place::ZonedBlockDevice | Place::CharacterDevice => Ok(Vec::new()),
            _ => Ok(Inspected::open(path)?.flaws().to_vec()),
        }
    }

    /// Where a place in a zone lies in the file or device.
    #[must_use]
    pub fn device_byte(&self, zone: ZoneId, offset: ZoneOffset) -> Option<u64> {
        self.inner.device.device_byte(zone, offset)
    }

    fn count_live(&self, key: &[u8], entry: Entry, recount: &mut Recount) {
        let mut count = |zone, bytes| *recount.live_bytes.entry(zone).or_default() += bytes;
        match entry {
            Entry::Value { location, value_len } => {
                count(location.zone, charge_bytes(key.len(), value_len as usize));
            }
            Entry::Tombstone { location } => count(location.zone, charge_bytes(key.len(), 0)),
            Entry::Large { id } => {
                let value = self.inner.catalog.large().value(id);
                for (index, (location, len)) in
                    value.iter().flat_map(|value| value.parts().iter().enumerate())
                {
                    let key_bytes = if index == 0 { key.len() } else { 0 };
                    count(location.zone, charge_bytes(key_bytes, *len as usize));
                }
            }
        }
    }

    fn read_back(&self, key: &[u8], report: &mut VerifyReport) -> EngineResult<()> {
        match self.inner.value(key) {
            Ok(value) => report.value_count += u64::from(value.is_some()),
            Err(EngineError::Corruption { zone, offset, what }) => {
                let what = without_device_byte(what);
                report.damages.push(Damage { zone, offset, what, confined: true });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn compare_ledger(&self, recount: &Recount) -> Vec<(ZoneId, i64, i64)> {
        let noted = self.inner.log.as_ref().map_or(Vec::new(), |log| log.noted_live());
        let noted_in =
            |zone| noted.iter().filter(|(noted, _)| *noted == zone).map(|(_, bytes)| bytes).sum::<i64>();
        let zones = self.inner.zones.iter();
        zones
            .map(|(id, zone)| {
                let counted = recount.live_bytes.get(&id).copied().unwrap_or(0);
                (id, zone.live_bytes_signed() + noted_in(id), counted)
            })
            .filter(|(id, ..)| !recount.unknown.contains(id))
            .filter(|(_, ledger, index)| ledger != index)
            .collect()
    }
}

/// The report has the place on the device in a field of its own.
fn without_device_byte(mut what: String) -> String {
    if let Some(at) = what.rfind(" (byte ") {
        what.truncate(at);
    }
    what
}
