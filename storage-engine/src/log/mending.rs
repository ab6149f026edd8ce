//! Mending: units that were to go to a zone that has worn out meanwhile go to another one.
//!
//! A unit that the device has not written stays in flight, and in memory, where readers find it. Order of what is done to
//! it, by one thread at a time:
//! 1. Under its stream's lock the unit being filled is sealed, the zone is given up as it is, and every refused unit gets a
//!    number in the zone that the stream goes on in. Its header says so; the records, with their seqnos and their offsets
//!    in the unit, stay. Deferred entries are told the new place.
//! 2. Whoever has logged a write and not yet published it is waited for (an epoch passes). So an entry is in the index or
//!    deferred, and what is deferred cannot be published before the unit is written.
//! 3. The index is pointed at the new place.
//! 4. Readers that may hold the old place are waited for (an epoch passes); then the old unit is forgotten.
//! 5. The units are handed to the commit state to be submitted. Not before: the collector might empty the new zone and find nothing in it that is live.
//!
//! To recovery the order of units in zones means nothing, only the seqnos do. Should a refused append have been written
//! after all, at least in part, there are two copies of the same writes, of which one will do. A crash in between leaves
//! what a crash leaves that took the units in flight.
//!
//! What is claimed: of the worn zone, by its numbers, nothing more; when all that landed in it is durable, the housekeeper
//! claims just that ([`crate::zones`]). Of a unit that was moved, nothing by itself: the units sealed after it in its new
//! zone claim it along, since it comes before them in the order of seqnos.
//!
//! A zone that the device, asked again, does not call read-only or offline is not worn: then the failure latches the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::device::Persistence;
use crate::error::{EngineError, EngineResult};
use crate::format::record::{Record, RecordKind};
use crate::format::unit::{StreamKind, StreamName, UNIT_HEADER_BYTES, UnitHeader};
use crate::index::{Entry, LargeId, Location};
use crate::log::commit::Refused;
use crate::log::memory::UnitKey;
use crate::log::stream::Stream;
use crate::log::user_streams::UserLog;
use crate::log::writer::{CopyLog, LogWriter, Ready, Submission};
use crate::pinned::wait_for_pinned;
use crate::sync::atomic::Ordering;
use crate::units::{Generation, SeqNo, ZoneId};
use crate::zones::{Purpose, Role};

/// A unit that has a place in another zone.
#[derive(Debug)]
struct Moved {
    from: UnitKey,
    to: UnitKey,
    unit: Arc<AlignedBuffer>,
}

/// What has been done under the stream's lock.
#[derive(Debug, Default)]
struct Rehoused {
    moved: Vec<Moved>,
    submissions: Vec<Submission>,
}

/// The entry as it is when the unit `from` has become the unit `to`.
pub(super) fn entry_in(entry: Entry, from: UnitKey, to: UnitKey) -> Entry {
    let moved = |location: Location| {
        let concerned = (location.zone, location.unit) == (from.zone, from.unit);
        if concerned { Location::new(to.zone, to.unit, location.offset) } else { location }
    };
    match entry {
        Entry::Value { location, value_len } => Entry::Value { location: moved(location), value_len },
        Entry::Tombstone { location } => Entry::Tombstone { location: moved(location) },
        Entry::Large { id } => Entry::Large { id },
    }
}

impl LogWriter {
    /// Moves the refused units of a stream. The caller has been told to by the commit state.
    pub(super) fn mend(&self, kind: StreamKind) {
        match self.move_refused(kind) {
            Ok(moved) => self.commit.mending_done(moved),
            Err(error) => self.commit.fail(error),
        }
    }

    fn move_refused(&self, kind: StreamKind) -> EngineResult<Vec<Submission>> {
        let refused = self.commit.take_refused(kind);
        let worn = self.check_worn(&refused)?;
        let Rehoused { moved, submissions } = match kind {
            StreamKind::User => self.move_writes(&worn, refused),
            StreamKind::Relocation => self.move_copies(&worn, refused),
        }?;
        wait_for_pinned();
        moved.iter().for_each(|moved| self.point_at(moved));
        wait_for_pinned();
        for Moved { from, .. } in moved {
            self.parts.memory.forget(from);
        }
        self.parts.worn.lock().extend(worn.into_values());
        self.parts.housekeeping.raise();
        Ok(submissions)
    }

    /// The fillings that have worn out: the device, asked again, must say so.
    fn check_worn(&self, refused: &[Refused]) -> EngineResult<BTreeMap<Generation, ZoneId>> {
        let mut worn = BTreeMap::new();
        for unit in refused {
            let key = unit.key;
            if worn.contains_key(&key.generation) {
                continue;
            }
            if !self.parts.device.report(key.zone)?.state.is_worn() {
                return Err(unit.error());
            }
            worn.insert(key.generation, key.zone);
        }
        Ok(worn)
    }

    fn move_writes(
        &self,
        worn: &BTreeMap<Generation, ZoneId>,
        mut refused: Vec<Refused>,
    ) -> EngineResult<Rehoused> {
        let mut log = self.user.hold();
        let mut rehoused = Rehoused::default();
        for StreamName { class, .. } in streams_of(&refused) {
            let class = usize::from(class);
            let sealed = self.seal_user(&mut log, class, Persistence::Volatile);
            rehoused.take_sealed(sealed, worn, &mut refused);
            let next_seqno = log.next_seqno();
            let UserLog { streams, shared, .. } = &mut log;
            let stream = (&mut *streams[class], &mut shared.ready);
            self.rehouse(stream, next_seqno, (worn, &refused), &mut rehoused)?;
        }
        Ok(rehoused)
    }

    fn move_copies(
        &self,
        worn: &BTreeMap<Generation, ZoneId>,
        mut refused: Vec<Refused>,
    ) -> EngineResult<Rehoused> {
        let mut copies = self.relocation.lock();
        let CopyLog { streams, ready } = &mut *copies;
        let mut rehoused = Rehoused::default();
        for StreamName { class, .. } in streams_of(&refused) {
            let stream = &mut streams[usize::from(class)];
            let sealed = self.seal_relocation(stream);
            rehoused.take_sealed(sealed, worn, &mut refused);
            self.rehouse((stream, &mut *ready), SeqNo::ZERO, (worn, &refused), &mut rehoused)?;
        }
        Ok(rehoused)
    }

    /// Gives every refused unit of a stream a place behind what the stream has filled.
    fn rehouse(
        &self,
        (stream, ready): (&mut Stream, &mut Ready),
        next_seqno: SeqNo,
        (worn, refused): (&BTreeMap<Generation, ZoneId>, &[Refused]),
        rehoused: &mut Rehoused,
    ) -> EngineResult<()> {
        let name = stream.name();
        let mine = || refused.iter().filter(|unit| unit.stream == name);
        let fillings: BTreeSet<Generation> = mine().map(|unit| unit.key.generation).collect();
        fillings.iter().for_each(|generation| self.give_up(stream, worn[generation], *generation));
        for unit in mine() {
            let bytes = self.parts.memory.unit(unit.key).expect("a unit in flight is in memory");
            if is_filler(&bytes) {
                self.commit.dropped(unit.token);
                self.parts.memory.forget(unit.key);
                continue;
            }
            if !stream.zone_takes(bytes.len()) {
                rehoused.submissions.extend(self.leave(stream, next_seqno));
                self.begin_another_zone((stream, ready), next_seqno)?;
            }
            let sealed = stream.take_up(&bytes, &self.facts(name), &self.parts.memory);
            self.count_moved(unit.key, sealed.key, sealed.payload.len() as u64);
            self.commit.moved(unit.token, unit.key, &sealed);
            rehoused.moved.push(Moved { from: unit.key, to: sealed.key, unit: bytes });
            let (token, persistence) = (unit.token, Persistence::Volatile);
            rehoused.submissions.push(Submission { token, unit: sealed, persistence });
        }
        Ok(())
    }

    fn give_up(&self, stream: &mut Stream, zone: ZoneId, generation: Generation) {
        let ledger = self.parts.zones.zone(zone);
        if let Some((claim_first, unit_end)) = stream.give_up(generation) {
            ledger.set_sealed_at_bytes(self.clock_bytes());
            ledger.set_left_claim(claim_first, unit_end);
        }
        ledger.set_role(Role::Lost);
    }

    /// What was acknowledged must be written: the collector's reserve may be taken for it.
    fn begin_another_zone(
        &self,
        (stream, ready): (&mut Stream, &mut Ready),
        next_seqno: SeqNo,
    ) -> EngineResult<()> {
        let kind = stream.name().kind;
        let purposes: &[Purpose] = match kind {
            StreamKind::User => &[Purpose::Put, Purpose::Relocation],
            StreamKind::Relocation => &[Purpose::Relocation],
        };
        for &purpose in purposes {
            if ready.is_empty() {
                self.take_ready(ready, kind, purpose)?;
            }
        }
        if ready.is_empty() {
            let live_bytes = self.parts.zones.live_bytes();
            return Err(EngineError::NoSpace { live_bytes, limit_bytes: live_bytes });
        }
        let _ = self.begin_next_zone((stream, ready), next_seqno);
        Ok(())
    }

    /// The new zone is not ripe for collection before the old one would have been.
    fn count_moved(&self, from: UnitKey, to: UnitKey, len_bytes: u64) {
        let (old, new) = (self.parts.zones.zone(from.zone), self.parts.zones.zone(to.zone));
        new.add_written(len_bytes);
        new.set_holds_moved_units();
        new.raise_newest_seqno(old.newest_seqno());
        new.raise_tombstone_barrier(old.tombstone_barrier());
        if let Some(history) = old.history() {
            new.set_history(history);
        }
        self.clock_bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }

    /// Points the index at the records of a unit in its new place, where it pointed at them in the old one.
    fn point_at(&self, moved: &Moved) {
        let unpublished = self.commit.deferred_large();
        let header = UnitHeader::decode(&moved.unit).expect("a unit in memory is whole");
        let mut position = UNIT_HEADER_BYTES;
        for _ in 0..header.record_count {
            let decoded = Record::decode(&moved.unit[position..]).expect("a unit in memory is whole");
            let offset = u32::try_from(position).expect("a unit is at most 1 MiB");
            match decoded.record.kind {
                RecordKind::Put | RecordKind::Delete => self.point_key_at(moved, &decoded.record, offset),
                RecordKind::Part => {
                    let id = LargeId::new(decoded.record.first_part_seqno().get());
                    let part = decoded.record.group.map_or(0, |group| group.part_index);
                    let [from, to] =
                        [moved.from, moved.to].map(|key| Location::new(key.zone, key.unit, offset));
                    if unpublished.contains(&id) {
                        self.parts.catalog.relocate_unpublished_part(id, part, from, to);
                    } else {
                        self.parts.catalog.relocate_part(id, part, from, to);
                    }
                }
            }
            position += decoded.encoded_bytes;
        }
    }

    fn point_key_at(&self, moved: &Moved, record: &Record<'_>, offset: u32) {
        let Some(entry) = self.parts.catalog.index().lookup(record.key) else { return };
        let (Entry::Value { location, .. } | Entry::Tombstone { location }) = entry else { return };
        if location == Location::new(moved.from.zone, moved.from.unit, offset) {
            self.parts.catalog.relocate(record.key, entry, entry_in(entry, moved.from, moved.to));
        }
    }
}

impl Rehoused {
    /// A unit that was being filled goes the way of the refused ones if it was for a worn zone, and else its own.
    fn take_sealed(
        &mut self,
        sealed: Option<Submission>,
        worn: &BTreeMap<Generation, ZoneId>,
        refused: &mut Vec<Refused>,
    ) {
        match sealed {
            Some(Submission { token, unit, .. }) if worn.contains_key(&unit.key.generation) => {
                refused.push(Refused::never_submitted(token, unit.key, unit.stream));
            }
            sealed => self.submissions.extend(sealed),
        }
    }
}

/// The streams that the refused units belong to, each once.
fn streams_of(refused: &[Refused]) -> BTreeSet<StreamName> {
    refused.iter().map(|unit| unit.stream).collect()
}

fn is_filler(unit: &[u8]) -> bool {
    UnitHeader::decode(unit).expect("a unit in memory is whole").record_count == 0
}
