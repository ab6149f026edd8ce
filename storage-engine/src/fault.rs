//! Faults that can be switched on in the engine, one at a time, to prove that the simulation finds them.
//!
//! Without the feature `deliberate-faults` every question is answered `false` at compile time, and nothing of this is left
//! in the program. With it, a fault is on for the thread that switched it on, so that tests do not disturb each other.

/// What the engine can be made to do wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[expect(missing_docs, reason = "the names say it; the places where they are asked say it exactly")]
pub enum Fault {
    AcknowledgeBeforeFlush,
    AcknowledgeFlushAtOnce,
    AcknowledgeWrittenAtOnce,
    ReopenWithoutFlush,
    ResetBeforeCopiesAreDurable,
    ForgetWhatSuperseded,
    ResetWithoutWitness,
    BelieveEarlierFillings,
    BelieveEarlierRuns,
    DropTombstonesAtOnce,
    ForgetBarriers,
    BelieveTornUnits,
    BelieveTornGroups,
    KeepWhatFollowsAGap,
    LeaveTheCutUnwritten,
    DropCutsEarly,
    PublishOutOfOrder,
    PublishBeforeDurable,
    NewSeqnoForCopies,
    OldestWriteWins,
    IgnoreWritesInFlight,
    CountCapacityBySize,
    AddressByCapacity,
    GoOnAfterFailedAppend,
    RetryFailedFlush,
    WriteWhenReadingOnly,
    TrustKeys,
    TrustValues,
    LeakLiveBytes,
    ActivateTooMany,
    ResetWornZones,
    SkipManifestFlush,
    ForgetClaims,
    ClaimTooMuch,
    CollectBeforeDurable,
    SkipInsideTornUnits,
    ClaimCollectedZones,
    TakeTheReserve,
    NameBeforeDurable,
    CoverZonesBeingFilled,
    BeginBeforeDurable,
    BelieveRefilledZones,
    EntriesBeatRecords,
    RecordsBeatEntries,
    SkipReplay,
    ResetBeforeUnnamed,
    BelieveIncompleteCheckpoints,
    TrustCheckpointBlocks,
    KeepFallenEntries,
    TakeTheReserveForCheckpoints,
    ForgetStandingSeqnos,
    LeaveTombstonesOut,
    LeavePartsOut,
    TrustParts,
    ResetWornCheckpointZones,
    LeaveCheckpointZonesActive,
    ForgetWhatWasRecovered,
    SkipVainCommits,
    ForgetToldDamage,
    TakePaddingForGarbage,
    ForgetJournal,
    ForgetJournalGaps,
    OverwriteJournal,
    ReplayPastGaps,
    ReplayTwice,
    TrustTags,
    LatchKeysOfOneTagApart,
    OvertakeWritesOfOneTag,
}

impl Fault {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::AcknowledgeBeforeFlush,
        Self::AcknowledgeFlushAtOnce,
        Self::AcknowledgeWrittenAtOnce,
        Self::ReopenWithoutFlush,
        Self::ResetBeforeCopiesAreDurable,
        Self::ForgetWhatSuperseded,
        Self::ResetWithoutWitness,
        Self::BelieveEarlierFillings,
        Self::BelieveEarlierRuns,
        Self::DropTombstonesAtOnce,
        Self::ForgetBarriers,
        Self::BelieveTornUnits,
        Self::BelieveTornGroups,
        Self::KeepWhatFollowsAGap,
        Self::LeaveTheCutUnwritten,
        Self::DropCutsEarly,
        Self::PublishOutOfOrder,
        Self::PublishBeforeDurable,
        Self::NewSeqnoForCopies,
        Self::OldestWriteWins,
        Self::IgnoreWritesInFlight,
        Self::CountCapacityBySize,
        Self::AddressByCapacity,
        Self::GoOnAfterFailedAppend,
        Self::RetryFailedFlush,
        Self::WriteWhenReadingOnly,
        Self::TrustKeys,
        Self::TrustValues,
        Self::LeakLiveBytes,
        Self::ActivateTooMany,
        Self::ResetWornZones,
        Self::SkipManifestFlush,
        Self::ForgetClaims,
        Self::ClaimTooMuch,
        Self::CollectBeforeDurable,
        Self::SkipInsideTornUnits,
        Self::ClaimCollectedZones,
        Self::TakeTheReserve,
        Self::NameBeforeDurable,
        Self::CoverZonesBeingFilled,
        Self::BeginBeforeDurable,
        Self::BelieveRefilledZones,
        Self::EntriesBeatRecords,
        Self::RecordsBeatEntries,
        Self::SkipReplay,
        Self::ResetBeforeUnnamed,
        Self::BelieveIncompleteCheckpoints,
        Self::TrustCheckpointBlocks,
        Self::KeepFallenEntries,
        Self::TakeTheReserveForCheckpoints,
        Self::ForgetStandingSeqnos,
        Self::LeaveTombstonesOut,
        Self::LeavePartsOut,
        Self::TrustParts,
        Self::ResetWornCheckpointZones,
        Self::LeaveCheckpointZonesActive,
        Self::ForgetWhatWasRecovered,
        Self::SkipVainCommits,
        Self::ForgetToldDamage,
        Self::TakePaddingForGarbage,
        Self::ForgetJournal,
        Self::ForgetJournalGaps,
        Self::OverwriteJournal,
        Self::ReplayPastGaps,
        Self::ReplayTwice,
        Self::TrustTags,
        Self::LatchKeysOfOneTagApart,
        Self::OvertakeWritesOfOneTag,
    ];
}

#[cfg(feature = "deliberate-faults")]
mod switch {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static ON: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Whether the fault is on for this thread.
    #[must_use]
    pub fn is_on(fault: Fault) -> bool {
        ON.get() == Some(fault)
    }

    /// Switches one fault on for this thread, or all off.
    pub fn switch(fault: Option<Fault>) {
        ON.set(fault);
    }
}

#[cfg(feature = "deliberate-faults")]
pub use switch::{is_on, switch};

/// Whether the fault is on: it never is.
#[cfg(not(feature = "deliberate-faults"))]
#[inline(always)]
#[must_use]
pub(crate) const fn is_on(_: Fault) -> bool {
    false
}
