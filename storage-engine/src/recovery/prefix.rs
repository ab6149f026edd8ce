//! Decides up to which seqno the log is whole, and what counts.
//!
//! The highest watermark found says what was durable for certain; above it, writes must follow one another without a gap,
//! whatever streams they were placed in.
//! The log is cut at the first missing seqno, and before the group that it would tear. What lies after the cut, or fell
//! under a cut of an earlier recovery, is void.

use super::scan::{ScannedUnit, ZoneScan};
use crate::fault::{self, Fault};
use crate::format::manifest::{Cut, Manifest};
use crate::format::unit::StreamKind;
use crate::units::{Generation, SeqNo};

/// What of the log counts.
#[derive(Debug)]
pub(super) struct Prefix {
    cuts: Vec<Cut>,
    /// Everything up to here was on stable media.
    pub(super) watermark: SeqNo,
    /// The last write that counts.
    pub(super) last_seqno: SeqNo,
}

impl Prefix {
    /// All up to a write, whichever run wrote it.
    #[cfg(test)]
    pub(super) fn up_to(last_seqno: SeqNo) -> Self {
        Self { cuts: Vec::new(), watermark: SeqNo::ZERO, last_seqno }
    }

    /// The last seqno that may count in a unit of a run of the store: earlier recoveries may have cut it.
    fn limit(&self, incarnation: u32) -> SeqNo {
        limit(&self.cuts, incarnation)
    }

    /// The last seqno that counts in a unit.
    pub(super) fn limit_of(&self, unit: &ScannedUnit) -> SeqNo {
        self.last_seqno.min(self.limit(unit.header.incarnation))
    }

    /// Whether a unit of new writes lies behind all that counts of its run.
    pub(super) fn is_void(&self, unit: &ScannedUnit) -> bool {
        let header = &unit.header;
        // A filler has the number of the write that follows it.
        let first = if header.record_count == 0 { header.first_seqno.back(1) } else { header.first_seqno };
        header.stream == StreamKind::User && first > self.limit_of(unit)
    }

    /// Whether all of a unit of new writes was on stable media for certain.
    pub(super) fn was_durable(&self, unit: &ScannedUnit) -> bool {
        let covered = self.watermark.min(self.limit(unit.header.incarnation));
        unit.header.stream == StreamKind::User && unit.header.last_seqno() <= covered
    }
}

fn limit(cuts: &[Cut], incarnation: u32) -> SeqNo {
    let later = cuts.iter().filter(|cut| cut.incarnation > incarnation);
    later.map(|cut| cut.after).min().unwrap_or(SeqNo::new(u64::MAX))
}

/// Cuts that something in a zone of `oldest` or a later generation may still fall under.
///
/// Whether it can be seen now does not matter: an append that a crash took may turn up at a later recovery.
pub(super) fn cuts_still_needed(manifest: &Manifest, oldest: Generation) -> Vec<Cut> {
    let early = fault::is_on(Fault::DropCutsEarly);
    manifest.cuts.iter().copied().filter(|cut| oldest <= cut.generation && !early).collect()
}

/// Finds the prefix of the log that is whole.
pub(super) fn find(manifest: &Manifest, scans: &[ZoneScan]) -> Prefix {
    let cuts = manifest.cuts.clone();
    let units = || scans.iter().flat_map(|scan| &scan.units);
    let said = units().map(|unit| unit.header.watermark.min(limit(&cuts, unit.header.incarnation)));
    let watermark = said.fold(manifest.watermark, Ord::max);
    let is_whole = |unit: &ScannedUnit| {
        unit.header.stream == StreamKind::User && unit.header.record_count > 0 && unit.flaw.is_none()
    };
    let runs = units().filter(|unit| is_whole(unit) && unit.header.foreign_count == 0).map(|unit| {
        let last = unit.header.last_seqno().min(limit(&cuts, unit.header.incarnation));
        (unit.header.first_seqno, last)
    });
    let mut whole: Vec<(SeqNo, SeqNo)> = runs.collect();
    // Of a unit whose seqnos lie between those of other units' each record counts by itself.
    let counts_by_records = |unit: &ScannedUnit| {
        is_whole(unit) && unit.header.foreign_count > 0 && unit.header.last_seqno() > watermark
    };
    for scan in scans.iter().filter(|scan| scan.units.iter().any(counts_by_records)) {
        let above = scan.records.heads().iter().filter(|record| record.seqno > watermark);
        whole.extend(above.filter_map(|record| {
            let unit = &scan.units[record.unit_index as usize];
            let last = record.seqno.min(limit(&cuts, unit.header.incarnation));
            counts_by_records(unit).then_some((record.seqno, last))
        }));
    }
    whole.retain(|(first, last)| first <= last);
    whole.sort_unstable();
    let last = whole.into_iter().fold(watermark, |end, (first, last)| {
        let follows = first <= end.next() || fault::is_on(Fault::KeepWhatFollowsAGap);
        if follows { end.max(last) } else { end }
    });
    let prefix = Prefix { cuts, watermark, last_seqno: last };
    if fault::is_on(Fault::BelieveTornGroups) {
        return prefix;
    }
    Prefix { last_seqno: before_torn_group(&prefix, scans), ..prefix }
}

/// The last seqno before a group that the cut would tear.
fn before_torn_group(prefix: &Prefix, scans: &[ZoneScan]) -> SeqNo {
    let end = prefix.last_seqno;
    let grouped =
        scans.iter().flat_map(|scan| scan.records.grouped().iter().map(move |record| (scan, record)));
    let torn = grouped.filter(|(scan, record)| {
        let unit = &scan.units[record.unit_index as usize];
        record.seqno <= end && record.last() > end && record.seqno <= prefix.limit_of(unit)
    });
    torn.map(|(_, record)| record.first().back(1)).min().unwrap_or(end)
}
