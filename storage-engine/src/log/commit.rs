//! Commit: how far the log is written and durable, and who makes it so.
//!
//! There is no commit thread. A caller that waits becomes the *leader* when there is none: it seals the unit being
//! filled, waits for the appends, flushes, publishes the writes of everybody who waited, and wakes them. The others
//! follow. In the same way one waiting caller at a time *reaps* completions for all.
//!
//! Invariants:
//! - `written` and `durable` only grow, `durable <= written`, and both are without gaps: everything up to them has
//!   completed, or is on stable media. Writes of several streams lie between one another, so that a unit may have
//!   completed of which only a part counts as written, until units of other streams have completed as well.
//! - Deferred entries are published in seqno order, before `durable` passes them.
//! - After the first failure nothing grows any more; every waiting and later caller gets that failure.
//! - A unit whose zone has worn out before it was written stays in flight until it has been moved (`log::mending`) and
//!   written elsewhere, so that nobody takes it for written meanwhile.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::unit::{MOST_CLASSES, StreamKind, StreamName};
use crate::index::{Entry, LargeId};
use crate::log::memory::UnitKey;
use crate::log::mending::entry_in;
use crate::log::stream::{Claim, SealedUnit};
use crate::log::writer::Submission;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::units::{SeqNo, ZoneId};

/// A claim for each stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Claims {
    user: [Claim; MOST_CLASSES as usize],
    relocation: [Claim; MOST_CLASSES as usize],
}

impl Claims {
    /// That of a stream.
    #[must_use]
    pub fn of(&self, stream: StreamName) -> Claim {
        match stream.kind {
            StreamKind::User => self.user[usize::from(stream.class)],
            StreamKind::Relocation => self.relocation[usize::from(stream.class)],
        }
    }

    /// Sets that of a stream.
    pub fn set(&mut self, stream: StreamName, claim: Claim) {
        match stream.kind {
            StreamKind::User => self.user[usize::from(stream.class)] = claim,
            StreamKind::Relocation => self.relocation[usize::from(stream.class)] = claim,
        }
    }
}

/// An index change that waits until a crash can no longer take its write back.
#[derive(Debug)]
pub struct Deferred {
    /// The last seqno of its group.
    pub visible_at: SeqNo,
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
    /// In the order of seqnos.
    deferred: VecDeque<Deferred>,
    /// Everything up to here is in units that have been sealed.
    sealed: SeqNo,
    /// What could be claimed if no append were in flight.
    sealed_claims: Claims,
    written: SeqNo,
    durable: SeqNo,
    durable_claims: Claims,
    /// Zones of a stream that may have appends outstanding at the same time.
    zones_in_flight: u64,
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
    pub(super) stream: StreamName,
    /// `None` for a unit that was sealed for the zone and not submitted.
    error: Option<EngineError>,
}

impl Refused {
    /// A unit that was sealed for a zone already known to be worn.
    pub(super) fn never_submitted(token: u64, key: UnitKey, stream: StreamName) -> Self {
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
    stream: StreamName,
    first_seqno: SeqNo,
    zone_ordinal: u64,
    /// Whether its zone is known to take no appends any more.
    is_refused: bool,
}

impl InFlight {
    fn is_new_writes(&self) -> bool {
        self.stream.kind == StreamKind::User
    }
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
    /// Everything up to `durable` is on stable media, and so are the units claimed. Of each stream, appends to so many zones
    /// may be in flight at the same time.
    #[must_use]
    pub fn new(durable: SeqNo, claims: Claims, zones_in_flight: u64) -> Self {
        let state = State {
            next_token: 0,
            in_flight: HashMap::default(),
            deferred: VecDeque::new(),
            sealed: durable,
            sealed_claims: claims,
            written: durable,
            durable,
            durable_claims: claims,
            zones_in_flight,
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

    /// Of each stream, appends to so many zones may be in flight at the same time.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn zones_in_flight(&self) -> u64 {
        self.state.lock().zones_in_flight
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
    pub(super) fn facts(&self, stream: StreamName) -> (SeqNo, Claim) {
        let state = self.state.lock();
        (state.durable, state.durable_claims.of(stream))
    }

    /// What of each stream is on stable media.
    pub(super) fn durable_claims(&self) -> Claims {
        self.state.lock().durable_claims
    }

    /// Counts a sealed unit in, before it is submitted. Units of a stream come in the order of their numbers. Everything up
    /// to `sealed` is in units that have been counted in.
    ///
    /// Also says whether everything but this unit is durable, so that making it durable is all that is needed.
    pub(super) fn register(&self, unit: &SealedUnit, deferred: Vec<Deferred>, sealed: SeqNo) -> (u64, bool) {
        let &SealedUnit { key, stream, first_seqno, last_seqno, zone_ordinal, .. } = unit;
        let mut state = self.state.lock();
        let token = state.next_token;
        state.next_token += 1;
        // Units of other streams may have completed and not been flushed although nothing is in flight: their claims tell.
        let alone = !state.in_flight.values().any(InFlight::is_new_writes)
            && state.written == state.durable
            && state.sealed_claims.user == state.durable_claims.user
            && last_seqno <= sealed;
        let unit = InFlight { key, stream, first_seqno, zone_ordinal, is_refused: false };
        state.in_flight.insert(token, unit);
        state.sealed = state.sealed.max(sealed);
        let claim = Claim { generation: key.generation, unit_end: key.unit + 1 };
        state.sealed_claims.set(stream, claim);
        state.deferred.extend(deferred);
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
        if in_flight.is_new_writes() {
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
        let unit = state.in_flight.get_mut(&token).expect("what is refused was in flight");
        unit.is_refused = true;
        let InFlight { key, stream, .. } = *unit;
        state.refused.push(Refused { token, key, stream, error: Some(error) });
        self.changed.notify_all();
    }

    /// An append has ended without a place, and its unit stays in flight.
    pub(super) fn ended_without_place(&self) {
        self.state.lock().submitted_count -= 1;
    }

    /// Whether units of a kind wait to be moved; the caller, if it is told so, moves them and says
    /// [`Commit::mending_done`].
    pub(super) fn begin_mending(&self, stream: StreamKind) -> bool {
        let mut state = self.state.lock();
        let begins = !state.mender_active && state.refused.iter().any(|unit| unit.stream.kind == stream);
        state.mender_active |= begins;
        begins
    }

    /// Takes the units of a kind that are to be moved, in the order in which they were sealed.
    pub(super) fn take_refused(&self, stream: StreamKind) -> Vec<Refused> {
        let mut state = self.state.lock();
        let mut taken: Vec<Refused> =
            state.refused.extract_if(.., |unit| unit.stream.kind == stream).collect();
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
        let unit = state.in_flight.get_mut(&token).expect("a refused unit stays in flight");
        (unit.key, unit.zone_ordinal, unit.is_refused) = (to.key, to.zone_ordinal, false);
        for deferred in &mut state.deferred {
            deferred.entry = entry_in(deferred.entry, from, to.key);
        }
    }

    /// A unit without records need not be written elsewhere.
    pub(super) fn dropped(&self, token: u64) {
        let mut state = self.state.lock();
        state.in_flight.remove(&token).expect("a refused unit stays in flight");
        self.advance_written(&mut state);
        self.changed.notify_all();
    }

    /// How many units have been moved to another zone.
    pub(super) fn moved_count(&self) -> u64 {
        self.moved_count.load(Ordering::Acquire)
    }

    /// Values in parts that are logged and not published yet.
    pub(super) fn deferred_large(&self) -> HashSet<LargeId> {
        let state = self.state.lock();
        let entries = state.deferred.iter().map(|deferred| deferred.entry);
        let ids = entries.filter_map(|entry| match entry {
            Entry::Large { id } => Some(id),
            Entry::Value { .. } | Entry::Tombstone { .. } => None,
        });
        ids.collect()
    }

    /// What a flush that starts now will have covered when it has succeeded.
    pub(super) fn flush_covers(&self) -> (SeqNo, Claims) {
        let state = self.state.lock();
        (state.written, state.written_claims())
    }

    /// What will be claimed when a unit that is alone ([`Commit::register`]) is on stable media.
    pub(super) fn claims_with(&self, stream: StreamName, claim: Claim) -> Claims {
        let mut claims = self.state.lock().durable_claims;
        claims.set(stream, claim);
        claims
    }

    /// Publishes the deferred entries up to `durable` in order and moves the durable mark there.
    pub(super) fn advance_durable(&self, durable: SeqNo, claims: Claims, mut publish: impl FnMut(Deferred)) {
        loop {
            let mut state = self.state.lock();
            let count = state.deferred.iter().take_while(|deferred| deferred.visible_at <= durable).count();
            if count == 0 {
                // Less than the mark when another flush has been quicker.
                if durable >= state.durable {
                    state.durable = durable;
                    state.durable_claims = claims;
                    self.durable.store(durable.get(), Ordering::Release);
                }
                return;
            }
            let mut ripe: Vec<Deferred> = state.deferred.drain(..count).collect();
            drop(state);
            if fault::is_on(Fault::PublishOutOfOrder) {
                ripe.reverse();
            }
            ripe.into_iter().for_each(&mut publish);
        }
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

    /// Whether a unit may go to its zone without activating too many: all appends to zones well before it in its stream must
    /// have ended, also those that their thread has not come round to submitting.
    ///
    /// A zone that has worn out is not active. Writes wait for it all the same: whoever waits then moves its units.
    pub(super) fn may_activate(&self, stream: StreamName, zone_ordinal: u64) -> bool {
        let counts = |unit: &InFlight| unit.is_new_writes() || !unit.is_refused;
        let under_way = self.in_flight.values().filter(|unit| unit.stream == stream && counts(unit));
        // A unit that was moved has gone to a later zone than units behind it.
        let oldest = under_way.map(|unit| unit.zone_ordinal).min();
        oldest.is_none_or(|oldest| zone_ordinal < oldest + self.zones_in_flight)
    }

    /// What of each stream has been written: all units before the first one in flight.
    fn written_claims(&self) -> Claims {
        let mut claims = self.sealed_claims;
        for InFlight { key, stream, .. } in self.in_flight.values() {
            let claim = claims.of(*stream);
            if (key.generation, key.unit) < (claim.generation, claim.unit_end) {
                claims.set(*stream, Claim { generation: key.generation, unit_end: key.unit });
            }
        }
        claims
    }

    pub(super) fn in_flight_len(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn relocations_in_flight(&self) -> bool {
        self.in_flight.values().any(|append| append.stream.kind == StreamKind::Relocation)
    }

    /// What a waiting caller may do now, taken on.
    fn begin_work(&mut self, mends: Mends) -> Option<Work> {
        let may_mend = |stream| mends == Mends::All || stream == StreamKind::User;
        let refused = self.refused.iter().map(|unit| unit.stream.kind).find(|&stream| may_mend(stream));
        if let (Some(stream), false) = (refused, self.mender_active) {
            self.mender_active = true;
            return Some(Work::Mend(stream));
        }
        let submittable = |it: &Submission| self.may_activate(it.unit.stream, it.unit.zone_ordinal);
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
        let in_flight = self.in_flight.values().filter(|unit| unit.is_new_writes());
        let before_first = in_flight.map(|unit| unit.first_seqno.back(1)).min();
        let written = before_first.map_or(self.sealed, |before| before.min(self.sealed));
        self.written = self.written.max(written);
    }
}

#[cfg(test)]
mod tests {
    use crate::units::Generation;
    use std::sync::Arc;

    use super::{Claim, Claims, Commit};
    use crate::buffer::AlignedBuffer;
    use crate::error::EngineError;
    use crate::format::unit::{StreamKind, StreamName};
    use crate::log::memory::UnitKey;
    use crate::log::stream::SealedUnit;
    use crate::units::{SeqNo, ZoneId};

    const HOT: StreamName = StreamName::user(0);
    const COLD: StreamName = StreamName::user(1);

    fn unit(stream: StreamName, filling: u32, unit: u32, (first, last): (u64, u64)) -> SealedUnit {
        let generation = Generation::new(filling.into());
        SealedUnit {
            key: UnitKey { zone: ZoneId::new(filling), generation, unit },
            payload: Arc::new(AlignedBuffer::zeroed(4096)),
            stream,
            first_seqno: SeqNo::new(first),
            last_seqno: SeqNo::new(last),
            live_bytes: 0,
            zone_ordinal: filling.into(),
        }
    }

    fn commit() -> Commit {
        Commit::new(SeqNo::ZERO, Claims::default(), 3)
    }

    fn register(commit: &Commit, unit: &SealedUnit, sealed: u64) -> (u64, bool) {
        commit.register(unit, Vec::new(), SeqNo::new(sealed))
    }

    fn write(commit: &Commit, token: u64) {
        commit.submitted();
        commit.placed(token, commit.in_flight(token));
    }

    fn claim(filling: u64, unit_end: u32) -> Claim {
        Claim { generation: Generation::new(filling), unit_end }
    }

    fn covered(commit: &Commit, stream: StreamName) -> (u64, Claim) {
        let (written, claims) = commit.flush_covers();
        (written.get(), claims.of(stream))
    }

    /// Its number is higher than those of units behind it in the order of seqnos, which may not be written yet.
    #[test]
    fn a_unit_that_was_moved_claims_no_units_behind_it() {
        let commit = commit();
        let (first, _) = register(&commit, &unit(HOT, 1, 0, (1, 10)), 10);
        let (second, _) = register(&commit, &unit(HOT, 2, 0, (11, 20)), 20);
        commit.refuse(first, EngineError::Closed);
        let refused = commit.take_refused(StreamKind::User).remove(0);
        commit.moved(first, refused.key, &unit(HOT, 2, 1, (1, 10)));
        let (third, _) = register(&commit, &unit(HOT, 2, 2, (21, 30)), 30);
        write(&commit, first);
        assert_eq!(covered(&commit, HOT), (10, claim(2, 0)));
        write(&commit, third);
        assert_eq!(covered(&commit, HOT), (10, claim(2, 0)));
        write(&commit, second);
        assert_eq!(covered(&commit, HOT), (30, claim(2, 3)));
    }

    #[test]
    fn writes_count_as_written_up_to_the_first_that_is_not_in_whatever_stream_it_is() {
        let commit = commit();
        // 1 3 5 7 in one stream, 2 4 6 in the other.
        let (hot, _) = register(&commit, &unit(HOT, 1, 0, (1, 7)), 1);
        write(&commit, hot);
        assert_eq!(covered(&commit, HOT), (1, claim(1, 1)), "the other unit is still being filled");
        let (cold, _) = register(&commit, &unit(COLD, 2, 0, (2, 6)), 7);
        assert_eq!(covered(&commit, COLD), (1, claim(2, 0)));
        write(&commit, cold);
        assert_eq!(covered(&commit, COLD), (7, claim(2, 1)));
    }

    /// Flushing it through would not flush the other one.
    #[test]
    fn a_unit_is_not_alone_while_one_of_another_stream_has_not_been_flushed() {
        let commit = commit();
        let (hot, alone) = register(&commit, &unit(HOT, 1, 0, (2, 4)), 0);
        assert!(!alone, "the first write is in the other stream");
        write(&commit, hot);
        let (cold, alone) = register(&commit, &unit(COLD, 2, 0, (1, 3)), 4);
        assert!(!alone);
        write(&commit, cold);
        let (durable, claims) = commit.flush_covers();
        commit.advance_durable(durable, claims, |_| ());
        assert!(register(&commit, &unit(COLD, 2, 1, (5, 5)), 5).1);
    }

    #[test]
    fn each_stream_waits_for_its_own_zones_only() {
        let commit = Commit::new(SeqNo::ZERO, Claims::default(), 1);
        let copies = StreamName::relocation(0);
        register(&commit, &unit(HOT, 1, 0, (1, 1)), 1);
        let (copy, _) = register(&commit, &unit(copies, 1, 0, (0, 0)), 0);
        let may = |stream, ordinal| commit.state.lock().may_activate(stream, ordinal);
        assert!(may(HOT, 1) && !may(HOT, 2) && may(COLD, 2));
        assert!(!may(copies, 2));
        commit.refuse(copy, EngineError::Closed);
        assert!(may(copies, 2), "a zone that has worn out is not active");
    }
}
