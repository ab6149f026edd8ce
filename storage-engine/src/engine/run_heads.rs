//! Heads of a run: after a crash, a unit without records at the place from which each stream goes on in the zone that it was
//! filling.
//!
//! What an earlier run had lost may turn up behind that place later, under a number that this run has given anew, and
//! recovery tells it by the unit of a later run that lies before it in the zone. Were there only one such unit, and did
//! it rot, the older one would pass for it, and what was lost would not be told. The head is one more.
//!
//! Invariant: the heads are on stable media before this run writes anything else to those zones.

use std::collections::BTreeMap;

use super::Inner;
use super::opening::claim;
use crate::error::{EngineError, EngineResult};
use crate::format::unit::StreamName;
use crate::index::MAX_UNITS_PER_ZONE;
use crate::log::single_append;
use crate::log::stream::{SealFacts, StreamZone};
use crate::queue::IoQueue;
use crate::recovery::StreamEnd;
use crate::units::SeqNo;
use crate::zones::Role;

/// Appends the heads; durable with the next flush. A zone that wears out here is left as it is, and its stream begins another
/// one.
///
/// # Errors
/// The device's.
pub(super) fn append(
    inner: &mut Inner,
    queue: &dyn IoQueue,
    last_seqno: SeqNo,
    streams: &mut BTreeMap<StreamName, StreamEnd>,
) -> EngineResult<()> {
    let manifest = inner.manifest.get_mut();
    let (store, incarnation) = (manifest.store, manifest.incarnation);
    for (&name, end) in streams {
        let facts = SealFacts { store, incarnation, watermark: last_seqno, claim: claim(end) };
        let Some(zone) = &mut end.zone else { continue };
        match append_to(inner, queue, (name, zone), (last_seqno, &facts)) {
            Err(_) if inner.device.report(zone.zone)?.state.is_worn() => {
                let ledger = inner.zones.zone(zone.zone);
                ledger.set_role(Role::Lost);
                if ledger.live_bytes() > 0 {
                    inner.worn.lock().push(zone.zone);
                }
                end.zone = None;
            }
            appended => appended?,
        }
    }
    Ok(())
}

fn append_to(
    inner: &Inner,
    queue: &dyn IoQueue,
    (name, zone): (StreamName, &mut StreamZone),
    (last_seqno, facts): (SeqNo, &SealFacts),
) -> Result<(), EngineError> {
    // The last number is kept for the filler at the end of the zone, and nothing else can come after it.
    if zone.next_unit + 1 >= MAX_UNITS_PER_ZONE {
        return Ok(());
    }
    let geometry = inner.device.geometry();
    let unit = zone.filler(name, last_seqno.next(), facts, geometry.block_bytes as usize);
    let sector = single_append::append(queue, geometry.zone_start(zone.zone), &unit, geometry.block_bytes)?;
    let ledger = inner.zones.zone(zone.zone);
    ledger.set_place(zone.next_unit, sector);
    ledger.add_written(unit.len() as u64);
    zone.count(unit.len());
    inner.zones.count_written(name, unit.len() as u64);
    Ok(())
}
