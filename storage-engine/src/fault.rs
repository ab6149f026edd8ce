//! Faults that can be switched on in the engine, one at a time, to prove that the simulation finds them.
//!
//! Without the feature `deliberate-faults` every question is answered `false` at compile time, and nothing of this is left
//! in the program. With it, a fault is on for the thread that switched it on, so that tests do not disturb each other.

/// What the engine can be made to do wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[expect(missing_docs, reason = "the names say it; the places where they are asked say it exactly")]
pub enum Fault {
    AcknowledgeBeforeFlush,
    AcknowledgeFlushEarly,
    AcknowledgeWrittenEarly,
    ReopenWithoutFlush,
    ResetBeforeCopiesAreDurable,
    ResetWithoutWitness,
    IgnoreGeneration,
    IgnoreResetCount,
    IgnoreIncarnation,
    DropTombstonesAtOnce,
    ForgetBarriers,
    BelieveTornUnits,
    BelieveTornGroups,
    KeepWhatFollowsAGap,
    LeaveTheCutUnwritten,
    DropCutsEarly,
    KeepManifestVersionAfterCrash,
    PublishOutOfOrder,
    PublishBeforeDurable,
    NewSeqnoForCopies,
    OldestCopyWins,
    RelocateOverNewerWrites,
    IgnoreWritesInFlight,
    CountCapacityBySize,
    AddressByCapacity,
    GoOnAfterFailedAppend,
    RetryFailedFlush,
    WriteWhenReadOnly,
    TrustKeysOfRecords,
    TrustValues,
    LeakLiveBytes,
    ActivateTooMany,
    ResetReadOnlyZones,
    SkipManifestFlush,
    ForgetClaims,
    ClaimTooMuch,
}

#[cfg(feature = "deliberate-faults")]
mod switch {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static ON: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Whether the fault is on for this thread.
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
