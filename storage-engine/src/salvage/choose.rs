//! Which version of each key is the newest one that was not lost, and what can be said for it. Pure.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::scan::{Proof, Version, ZoneFound};
use super::{DoubtfulKey, LostKey, Reason, SalvageOptions};
use crate::format::record::RecordKind;
use crate::units::{SeqNo, ZoneOffset};

/// A version of the scan: zone's index and version's index.
type Handle = (u32, u32);

/// A key with the version that is to be kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) key: Box<[u8]>,
    pub(super) value: KeptValue,
}

/// Where a value is.
#[derive(Debug)]
pub(super) enum KeptValue {
    /// In the zones: the records that it consists of, in order.
    Logged(Vec<Version>),
    /// It was in the journal.
    Journaled(Box<[u8]>),
}

/// What becomes of the keys.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) kept: Vec<Kept>,
    pub(super) lost: Vec<LostKey>,
    pub(super) doubtful: Vec<DoubtfulKey>,
    /// Keys whose newest write is a delete.
    pub(super) deleted: Vec<(Box<[u8]>, SeqNo)>,
}

/// Chooses among the versions that count.
pub(super) struct Chooser<'a> {
    pub(super) zones: &'a [ZoneFound],
    pub(super) options: &'a SalvageOptions,
    /// The newest write of an unknown key that was lost, if any was.
    pub(super) lost_up_to: SeqNo,
    parts: HashMap<u64, Vec<Handle>, FixedState>,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(zones: &'a [ZoneFound], options: &'a SalvageOptions, lost_up_to: SeqNo) -> Self {
        Self { zones, options, lost_up_to, parts: HashMap::default() }
    }

    fn version(&self, (zone, version): Handle) -> &'a Version {
        &self.zones[zone as usize].versions[version as usize]
    }

    fn key(&self, handle: Handle) -> &'a [u8] {
        self.zones[handle.0 as usize].key(self.version(handle))
    }

    /// Decides for all keys, of those versions that `counts` says count.
    pub(super) fn choose(mut self, counts: impl Fn(&Version) -> bool) -> Chosen {
        let mut heads: Vec<Handle> = Vec::new();
        for (zone_index, zone) in (0u32..).zip(self.zones) {
            for (index, version) in (0u32..).zip(&zone.versions).filter(|(_, version)| counts(version)) {
                let part = version.group.map_or(0, |group| group.part_index);
                if version.kind == RecordKind::Part {
                    self.parts.entry(large_id(version)).or_default().push((zone_index, index));
                }
                if part == 0 {
                    heads.push((zone_index, index));
                }
            }
        }
        heads.sort_unstable_by(|&a, &b| {
            self.key(a).cmp(self.key(b)).then_with(|| self.preference(a).cmp(&self.preference(b)))
        });
        let mut chosen = Chosen::default();
        for same_key in heads.chunk_by(|&a, &b| self.key(a) == self.key(b)) {
            self.choose_one(same_key, &mut chosen);
        }
        chosen
    }

    /// Later writes first; of copies of one write an undamaged and a proven one.
    fn preference(&self, handle: Handle) -> impl Ord + use<> {
        let version = self.version(handle);
        let is_proven = version.proof == Proof::Proven;
        let generation = self.zones[handle.0 as usize].generation;
        std::cmp::Reverse((version.seqno, version.value_flaw.is_none(), is_proven, generation))
    }

    /// Decides for one key; its versions are in the order of preference.
    fn choose_one(&self, versions: &[Handle], chosen: &mut Chosen) {
        let newest = self.version(versions[0]);
        let key = self.key(versions[0]);
        if newest.kind == RecordKind::Delete {
            chosen.deleted.push((key.into(), newest.seqno));
            return;
        }
        match self.pieces(newest) {
            Ok(pieces) => self.keep(key, newest, pieces, self.reason_for_doubt(newest), chosen),
            Err((flawed, what)) => {
                let older = self.older(versions);
                chosen.lost.push(LostKey {
                    key: key.into(),
                    seqno: newest.seqno,
                    zone: flawed.zone,
                    offset: ZoneOffset::new(flawed.offset),
                    what,
                    older: older.as_ref().map(|(older, _)| older.seqno),
                });
                if let Some((older, pieces)) = older
                    && self.options.older_versions
                {
                    self.keep(key, older, pieces, Some(Reason::NewerVersionLost), chosen);
                }
            }
        }
    }

    fn keep(
        &self,
        key: &[u8],
        version: &Version,
        pieces: Vec<Version>,
        doubt: Option<Reason>,
        chosen: &mut Chosen,
    ) {
        let kept =
            doubt.is_none_or(|reason| reason == Reason::NewerVersionLost || !self.options.only_certain);
        if let Some(reason) = doubt {
            chosen.doubtful.push(DoubtfulKey {
                key: key.into(),
                seqno: version.seqno,
                zone: version.zone,
                offset: ZoneOffset::new(version.offset),
                reason,
                kept,
            });
        }
        if kept {
            chosen.kept.push(Kept { key: key.into(), value: KeptValue::Logged(pieces) });
        }
    }

    fn reason_for_doubt(&self, version: &Version) -> Option<Reason> {
        if version.proof == Proof::Likely {
            return Some(Reason::MaybeLeftOver);
        }
        (version.seqno < self.lost_up_to).then_some(Reason::MaybeSuperseded)
    }

    /// The next older version that can be read, if the key was not deleted in between.
    fn older(&self, versions: &[Handle]) -> Option<(&'a Version, Vec<Version>)> {
        let newest = self.version(versions[0]).seqno;
        let older =
            versions.iter().map(|&handle| self.version(handle)).filter(|version| version.seqno < newest);
        for version in older {
            if version.kind == RecordKind::Delete {
                return None;
            }
            if let Ok(pieces) = self.pieces(version) {
                return Some((version, pieces));
            }
        }
        None
    }

    /// Where the value of a version lies, or what of it is damaged.
    fn pieces(&self, version: &'a Version) -> Result<Vec<Version>, (&'a Version, String)> {
        if version.kind != RecordKind::Part {
            return match version.value_flaw {
                None => Ok(vec![*version]),
                Some(error) => Err((version, error.to_string())),
            };
        }
        let count = version.group.map_or(0, |group| group.part_count);
        let mut found: Vec<Option<Handle>> = vec![None; count as usize];
        for &handle in self.parts.get(&large_id(version)).into_iter().flatten() {
            let index = self.version(handle).group.map_or(0, |group| group.part_index) as usize;
            let better = |held: Handle| self.preference(handle) < self.preference(held);
            if let Some(place) = found.get_mut(index)
                && place.is_none_or(better)
            {
                *place = Some(handle);
            }
        }
        let mut pieces = Vec::with_capacity(found.len());
        for (number, handle) in (1..).zip(found) {
            let Some(handle) = handle else {
                return Err((version, format!("part {number} of {count} of the value cannot be found")));
            };
            let part = self.version(handle);
            if let Some(error) = part.value_flaw {
                return Err((part, format!("part {number} of {count} of the value: {error}")));
            }
            pieces.push(*part);
        }
        Ok(pieces)
    }
}

fn large_id(version: &Version) -> u64 {
    version.seqno.back(version.group.map_or(0, |group| u64::from(group.part_index))).get()
}
