//! Commit: how far the log is written and durable, and who makes it so.
//!
//! There is no commit thread. A caller that waits becomes the *leader* when there is none: it seals the unit being
//! filled, waits for the appends, flushes, publishes the writes of everybody who waited, and wakes them. The others
//! follow. In the same way one waiting caller at a time *reaps* completions for all.
//!
//! Invariants:
//! - `written` and `durable` only grow, `durable <= written`, and both are without gaps: everything up to them has
//!   completed, or is on stable media.
//! - Deferred entries are published in seqno order, before `durable` passes them.
//! - After the first failure nothing grows any more; every waiting and later caller gets that failure.
//! - A unit whose zone has worn out before it was written stays in flight until it has been moved (`log::mending`) and
//!   written elsewhere, so that nobody takes it for written meanwhile.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::unit::StreamKind;
use crate::index::{Entry, LargeId};
use crate::log::memory::UnitKey;
use crate::log::mending::entry_in;
use crate::log::stream::{Claim, SealedUnit};
use crate::log::writer::Submission;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::units::{SeqNo, ZoneId};

/// Zones of new writes that may have appends outstanding at the same time: with those of the collector and of the
/// manifest they are the active zones of the device.
const ZONES_IN_FLIGHT: u64 = 3;

/// An index change that waits until a crash can no longer take its write back.
#[derive(Debug)]
pub struct Deferred {
    /// The key.
    pub key: Box<[u8]>,
    /// What the index is to say of it.
    pub entry: Entry,
}

/// How far a write must be before its caller goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Its append and all before it have completed.
    Written,
    /// It and all before it are on stable media.
    Durable,
}

/// The state that committing callers share.
#[derive(Debug)]
pub struct Commit {
    state: Mutex<State>,
    changed: Condvar,
    /// Copy of `State::durable`, for looking without the lock.
    durable: AtomicU64,
    /// Copy of `State::written`, likewise; never ahead of it.
    written: AtomicU64,
    failed: AtomicBool,
    /// How many units have been moved to another zone. Every durable write looks at it, without the lock.
    moved_count: AtomicU64,
}

#[derive(Debug)]
pub(super) struct State {
    next_token: u64,
    in_flight: HashMap<u64, InFlight, FixedState>,
    /// Units of new writes in seqno order, from the first that has not completed.
    pending: VecDeque<PendingUnit>,
    deferred: VecDeque<(SeqNo, Vec<Deferred>)>,
    written: SeqNo,
    written_claim: Claim,
    durable: SeqNo,
    user_claim: Claim,
    relocation_claim: Claim,
    /// Appends that the queue has and that have not been reaped; below zero for a moment when one is reaped before its
    /// submitter has counted it.
    submitted_count: i64,
    leader_active: bool,
    reaper_active: bool,
    /// Units in flight whose zone takes no appends any more.
    refused: Vec<Refused>,
    mender_active: bool,
    /// Units that have been moved and wait for being submitted: by whoever waits for anything, since one who waited in the
    /// middle of submitting others would wait for those.
    moved: Vec<Submission>,
    failure: Option<Arc<EngineError>>,
}

/// A unit in flight that the device has not written, because its zone has worn out.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) token: u64,
    pub(super) key: UnitKey,
    stream: StreamKind,
    /// `None` for a unit that was sealed for the zone and not submitted.
    error: Option<EngineError>,
}

impl Refused {
    /// A unit that was sealed for a zone already known to be worn.
    pub(super) fn never_submitted(token: u64, key: UnitKey, stream: StreamKind) -> Self {
        Self { token, key, stream, error: None }
    }

    /// What the device said.
    pub(super) fn error(&self) -> EngineError {
        self.error.clone().unwrap_or(EngineError::Closed)
    }
}

/// What a waiting caller can do so that its wait ends.
#[derive(Debug)]
pub(super) enum Work {
    /// Take completions from the queue.
    Reap,
    /// Move the refused units of a stream; ends with [`Commit::mending_done`].
    Mend(StreamKind),
    /// Hand a unit that was moved to the queue.
    Submit(Submission),
}

/// Which refused units a waiting caller may move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mends {
    /// Those of new writes.
    User,
    /// Copies too: for who makes copies, and holds no place of one that the index does not have yet.
    All,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) key: UnitKey,
    stream: StreamKind,
}

#[derive(Debug)]
struct PendingUnit {
    token: u64,
    last_seqno: SeqNo,
    zone_ordinal: u64,
    /// What can be claimed when it and all before it have completed; `None` where its number does not tell.
    claim: Option<Claim>,
    completed: bool,
}

/// What a round of commit has found to do.
pub(super) enum Turn<'a> {
    /// The level is reached.
    Reached,
    /// The caller leads; it must call [`Commit::leader_done`].
    Lead,
    /// Somebody else leads; the state is locked, so that its end cannot be missed.
    Follow(MutexGuard<'a, State>),
}

impl Commit {
    /// Everything up to `durable` is on stable media.
    #[must_use]
    pub fn new(durable: SeqNo, user_claim: Claim, relocation_claim: Claim) -> Self {
        let state = State {
            next_token: 0,
            in_flight: HashMap::default(),
            pending: VecDeque::new(),
            deferred: VecDeque::new(),
            written: durable,
            written_claim: user_claim,
            durable,
            user_claim,
            relocation_claim,
            submitted_count: 0,
            leader_active: false,
            reaper_active: false,
            refused: Vec::new(),
            mender_active: false,
            moved: Vec::new(),
            failure: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            durable: AtomicU64::new(durable.get()),
            written: AtomicU64::new(durable.get()),
            failed: AtomicBool::new(false),
            moved_count: AtomicU64::new(0),
        }
    }

    /// Everything up to here is on stable media and visible.
    #[must_use]
    pub fn durable(&self) -> SeqNo {
        SeqNo::new(self.durable.load(Ordering::Acquire))
    }

    /// The appends of everything up to here have completed.
    #[must_use]
    pub fn written(&self) -> SeqNo {
        SeqNo::new(self.written.load(Ordering::Acquire))
    }

    /// Whether a write or flush has failed.
    ///
    /// # Errors
    /// [`EngineError::WritesRefused`] with the first failure.
    pub fn check(&self) -> EngineResult<()> {
        if self.failed.load(Ordering::Acquire) { self.state.lock().check() } else { Ok(()) }
    }

    /// Refuses all further writes.
    pub fn fail(&self, error: EngineError) {
        let mut state = self.state.lock();
        state.failure.get_or_insert_with(|| Arc::new(error));
        self.failed.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// What the next unit's header may say: the watermark and the claim of its stream.
    pub(super) fn facts(&self, stream: StreamKind) -> (SeqNo, Claim) {
        let state = self.state.lock();
        let claim = match stream {
            StreamKind::User => state.user_claim,
            StreamKind::Relocation => state.relocation_claim,
        };
        (state.durable, claim)
    }

    /// Counts a sealed unit in, before it is submitted. Units of new writes come in seqno order.
    ///
    /// Also says whether everything before this unit is durable, so that making it durable is all that is needed.
    pub(super) fn register(
        &self,
        stream: StreamKind,
        unit: &SealedUnit,
        deferred: Vec<Deferred>,
    ) -> (u64, bool) {
        let &SealedUnit { key, last_seqno, zone_ordinal, .. } = unit;
        let mut state = self.state.lock();
        let token = state.next_token;
        state.next_token += 1;
        state.in_flight.insert(token, InFlight { key, stream });
        let alone = state.pending.is_empty()
            && state.written == state.durable
            && state.written_claim == state.user_claim;
        if stream == StreamKind::User {
            let claim = Some(Claim { generation: key.generation, unit_end: key.unit + 1 });
            state.pending.push_back(PendingUnit { token, last_seqno, zone_ordinal, claim, completed: false });
            if !deferred.is_empty() {
                state.deferred.push_back((last_seqno, deferred));
            }
        }
        (token, alone)
    }

    /// The queue has taken an append.
    pub(super) fn submitted(&self) {
        let mut state = self.state.lock();
        state.submitted_count += 1;
        self.changed.notify_all();
    }

    /// What an append that has completed was, so that its place can be noted.
    pub(super) fn in_flight(&self, token: u64) -> InFlight {
        let state = self.state.lock();
        *state.in_flight.get(&token).expect("a completion carries the token of an append in flight")
    }

    /// The place of a completed append has been noted: moves the written mark.
    pub(super) fn placed(&self, token: u64, in_flight: InFlight) {
        let mut state = self.state.lock();
        state.in_flight.remove(&token);
        state.submitted_count -= 1;
        if in_flight.stream == StreamKind::User {
            let unit = state.pending.iter_mut().find(|unit| unit.token == token);
            unit.expect("a unit stays pending until it has completed").completed = true;
            self.advance_written(&mut state);
        }
        self.changed.notify_all();
    }

    fn advance_written(&self, state: &mut State) {
        state.advance_written();
        self.written.store(state.written.get(), Ordering::Release);
    }

    /// Whether appends to a zone are in flight.
    pub(super) fn appends_to(&self, zone: ZoneId) -> bool {
        self.state.lock().has_appends_to(zone)
    }

    /// Finds out what a caller that waits for `target` has to do.
    pub(super) fn turn(&self, target: SeqNo, level: Level) -> EngineResult<Turn<'_>> {
        let state = self.state.lock();
        let reached = match level {
            Level::Written => state.written,
            Level::Durable => state.durable,
        };
        if reached >= target {
            return Ok(Turn::Reached);
        }
        Self::lead_or_follow(state)
    }

    /// The same for a caller that has to flush whatever has been reached.
    pub(super) fn turn_to_flush(&self) -> EngineResult<Turn<'_>> {
        Self::lead_or_follow(self.state.lock())
    }

    fn lead_or_follow(mut state: MutexGuard<'_, State>) -> EngineResult<Turn<'_>> {
        state.check()?;
        if state.leader_active {
            return Ok(Turn::Follow(state));
        }
        state.leader_active = true;
        Ok(Turn::Lead)
    }

    /// Waits for the state to change.
    pub(super) fn follow(&self, mut state: MutexGuard<'_, State>) {
        self.changed.wait(&mut state);
    }

    /// The leader's round is over.
    pub(super) fn leader_done(&self) {
        self.state.lock().leader_active = false;
        self.changed.notify_all();
    }

    /// Blocks until `done` says so; `work` is called, without the lock, by one caller at a time for each kind of work.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn wait_until(
        &self,
        mends: Mends,
        done: impl Fn(&State) -> bool,
        mut work: impl FnMut(Work),
    ) -> EngineResult<()> {
        let mut state = self.state.lock();
        loop {
            if done(&state) {
                return Ok(());
            }
            state.check()?;
            match state.begin_work(mends) {
                None => self.changed.wait(&mut state),
                Some(Work::Reap) => {
                    MutexGuard::unlocked(&mut state, || work(Work::Reap));
                    state.reaper_active = false;
                    self.changed.notify_all();
                }
                Some(other) => MutexGuard::unlocked(&mut state, || work(other)),
            }
        }
    }

    /// The queue or the device has refused an append because its zone has worn out.
    pub(super) fn refuse(&self, token: u64, error: EngineError) {
        let mut state = self.state.lock();
        let InFlight { key, stream } = state.in_flight[&token];
        state.refused.push(Refused { token, key, stream, error: Some(error) });
        self.changed.notify_all();
    }

    /// An append has ended without a place, and its unit stays in flight.
    pub(super) fn ended_without_place(&self) {
        self.state.lock().submitted_count -= 1;
    }

    /// Whether units of a stream wait to be moved; the caller, if it is told so, moves them and says
    /// [`Commit::mending_done`].
    pub(super) fn begin_mending(&self, stream: StreamKind) -> bool {
        let mut state = self.state.lock();
        let begins = !state.mender_active && state.refused.iter().any(|unit| unit.stream == stream);
        state.mender_active |= begins;
        begins
    }

    /// Takes the units of a stream that are to be moved, in the order in which they were sealed.
    pub(super) fn take_refused(&self, stream: StreamKind) -> Vec<Refused> {
        let mut state = self.state.lock();
        let mut taken: Vec<Refused> = state.refused.extract_if(.., |unit| unit.stream == stream).collect();
        taken.sort_unstable_by_key(|unit| unit.token);
        taken
    }

    /// The mender's work is over; these units are to be submitted.
    pub(super) fn mending_done(&self, moved: Vec<Submission>) {
        let mut state = self.state.lock();
        state.mender_active = false;
        state.moved.extend(moved);
        self.changed.notify_all();
    }

    /// A unit in flight goes to another zone: its deferred entries say so from now on.
    ///
    /// It cannot be published before it is submitted again, so that nobody sees the change happen.
    pub(super) fn moved(&self, token: u64, from: UnitKey, to: &SealedUnit) {
        let mut state = self.state.lock();
        self.moved_count.fetch_add(1, Ordering::AcqRel);
        state.in_flight.get_mut(&token).expect("a refused unit stays in flight").key = to.key;
        if let Some(unit) = state.pending.iter_mut().find(|unit| unit.token == token) {
            // Units with lower numbers may come after it in the order of seqnos: those behind claim it along.
            (unit.claim, unit.zone_ordinal) = (None, to.zone_ordinal);
        }
        for deferred in state.deferred.iter_mut().flat_map(|(_, deferred)| deferred) {
            deferred.entry = entry_in(deferred.entry, from, to.key);
        }
    }

    /// A unit without records need not be written elsewhere.
    pub(super) fn dropped(&self, token: u64) {
        let mut state = self.state.lock();
        state.in_flight.remove(&token).expect("a refused unit stays in flight");
        if let Some(unit) = state.pending.iter_mut().find(|unit| unit.token == token) {
            (unit.claim, unit.completed) = (None, true);
            self.advance_written(&mut state);
        }
        self.changed.notify_all();
    }

    /// How many units have been moved to another zone.
    pub(super) fn moved_count(&self) -> u64 {
        self.moved_count.load(Ordering::Acquire)
    }

    /// Values in parts that are logged and not published yet.
    pub(super) fn deferred_large(&self) -> HashSet<LargeId> {
        let state = self.state.lock();
        let entries = state.deferred.iter().flat_map(|(_, deferred)| deferred).map(|deferred| deferred.entry);
        let ids = entries.filter_map(|entry| match entry {
            Entry::Large { id } => Some(id),
            Entry::Value { .. } | Entry::Tombstone { .. } => None,
        });
        ids.collect()
    }

    /// What a flush that starts now will have covered when it has succeeded.
    pub(super) fn flush_covers(&self) -> (SeqNo, Claim) {
        let state = self.state.lock();
        (state.written, state.written_claim)
    }

    /// Publishes the deferred entries up to `durable` in order and moves the durable mark there.
    pub(super) fn advance_durable(
        &self,
        durable: SeqNo,
        claim: Claim,
        mut publish: impl FnMut(SeqNo, Deferred),
    ) {
        loop {
            let mut state = self.state.lock();
            if fault::is_on(Fault::PublishOutOfOrder) {
                let count = state.deferred.iter().take_while(|(last, _)| *last <= durable).count();
                state.deferred.make_contiguous()[..count].reverse();
            }
            match state.deferred.front() {
                Some((last, _)) if *last <= durable => {
                    let (last, entries) = state.deferred.pop_front().expect("looked at above");
                    drop(state);
                    entries.into_iter().for_each(|deferred| publish(last, deferred));
                }
                _ => {
                    if durable > state.durable {
                        state.durable = durable;
                        state.user_claim = claim;
                        self.durable.store(durable.get(), Ordering::Release);
                    }
                    return;
                }
            }
        }
    }

    /// All copies made so far are on stable media.
    pub(super) fn claim_relocations(&self, claim: Claim) {
        self.state.lock().relocation_claim = claim;
    }
}

impl State {
    pub(super) fn check(&self) -> EngineResult<()> {
        match &self.failure {
            None => Ok(()),
            Some(first) => Err(EngineError::WritesRefused(Arc::clone(first))),
        }
    }

    pub(super) fn written(&self) -> SeqNo {
        self.written
    }

    /// Whether a unit of new writes may go to its zone without activating too many: all appends to zones well before it
    /// must have ended, also those that their thread has not come round to submitting.
    pub(super) fn may_activate(&self, zone_ordinal: u64) -> bool {
        // A unit that was moved has gone to a later zone than units behind it.
        let under_way = self.pending.iter().filter(|unit| !unit.completed);
        let oldest = under_way.map(|unit| unit.zone_ordinal).min();
        oldest.is_none_or(|oldest| zone_ordinal < oldest + ZONES_IN_FLIGHT)
    }

    pub(super) fn in_flight_len(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn relocations_in_flight(&self) -> bool {
        self.in_flight.values().any(|append| append.stream == StreamKind::Relocation)
    }

    /// What a waiting caller may do now, taken on.
    fn begin_work(&mut self, mends: Mends) -> Option<Work> {
        let may_mend = |stream| mends == Mends::All || stream == StreamKind::User;
        let refused = self.refused.iter().map(|unit| unit.stream).find(|&stream| may_mend(stream));
        if let (Some(stream), false) = (refused, self.mender_active) {
            self.mender_active = true;
            return Some(Work::Mend(stream));
        }
        let submittable = |unit: &Submission| {
            unit.kind == StreamKind::Relocation || self.may_activate(unit.unit.zone_ordinal)
        };
        if let Some(index) = self.moved.iter().position(submittable) {
            return Some(Work::Submit(self.moved.remove(index)));
        }
        if self.reaper_active || self.submitted_count <= 0 {
            return None;
        }
        self.reaper_active = true;
        Some(Work::Reap)
    }

    pub(super) fn has_appends_to(&self, zone: ZoneId) -> bool {
        self.in_flight.values().any(|append| append.key.zone == zone)
    }

    fn advance_written(&mut self) {
        while let Some(unit) = self.pending.front().filter(|unit| unit.completed) {
            assert!(unit.last_seqno >= self.written, "{} after {}", unit.last_seqno, self.written);
            self.written = unit.last_seqno;
            self.written_claim = unit.claim.unwrap_or(self.written_claim);
            self.pending.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::units::Generation;
    use std::sync::Arc;

    use super::{Claim, Commit};
    use crate::buffer::AlignedBuffer;
    use crate::error::EngineError;
    use crate::format::unit::StreamKind;
    use crate::log::memory::UnitKey;
    use crate::log::stream::SealedUnit;
    use crate::units::{SeqNo, ZoneId};

    fn unit(filling: u32, unit: u32, last_seqno: u64) -> SealedUnit {
        let generation = Generation::new(filling.into());
        SealedUnit {
            key: UnitKey { zone: ZoneId::new(filling), generation, unit },
            payload: Arc::new(AlignedBuffer::zeroed(4096)),
            last_seqno: SeqNo::new(last_seqno),
            live_bytes: 0,
            zone_ordinal: filling.into(),
        }
    }

    fn write(commit: &Commit, token: u64) {
        commit.submitted();
        commit.placed(token, commit.in_flight(token));
    }

    /// Its number is higher than those of units behind it in the order of seqnos, which may not be written yet.
    #[test]
    fn a_unit_that_was_moved_claims_no_units_behind_it() {
        let commit = Commit::new(SeqNo::ZERO, Claim::default(), Claim::default());
        let (first, _) = commit.register(StreamKind::User, &unit(1, 0, 10), Vec::new());
        let (second, _) = commit.register(StreamKind::User, &unit(2, 0, 20), Vec::new());
        commit.refuse(first, EngineError::Closed);
        let refused = commit.take_refused(StreamKind::User).remove(0);
        commit.moved(first, refused.key, &unit(2, 1, 10));
        let (third, _) = commit.register(StreamKind::User, &unit(2, 2, 30), Vec::new());
        write(&commit, first);
        assert_eq!(commit.flush_covers(), (SeqNo::new(10), Claim::default()));
        write(&commit, third);
        assert_eq!(commit.flush_covers(), (SeqNo::new(10), Claim::default()));
        write(&commit, second);
        let all = Claim { generation: Generation::new(2), unit_end: 3 };
        assert_eq!(commit.flush_covers(), (SeqNo::new(30), all));
    }
}
