//! The in-flight table: who owns what the kernel may touch, and the counts that say whether waiting can end.
//!
//! Invariants:
//! - As many slots as the queue has entries. A slot is free, reserved by a submitter, or holds an operation from before
//!   its command is submitted until its last completion entry has been taken. So the kernel never has more commands
//!   than there are slots, and the completion queue, which is at least as long, never overflows.
//! - `started >= handed_out`: what lies between is in flight, in the sense of `IoQueue::in_flight_count`.
//! - `entered` counts commands after the kernel has them, `taken` counts completion entries. A completion entry may be
//!   taken before its submitter has come round to counting, never the other way: `entered > taken` therefore proves
//!   that an entry is still to come, or lies in the completion queue. That is the only licence to sleep in the kernel.
//!
//! No locks here: the queue keeps the table behind one mutex. Nothing in here blocks or calls the kernel.

use std::mem;

use super::operation::Operation;
use crate::device::RawResult;

/// How often one command is submitted again before its error is believed. Only a bound: without it, a file that says
/// "again" for ever would show as a spin instead of an error.
const RESUBMISSION_LIMIT: u32 = 1000;

/// Names a slot: the user data of the kernel command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key(u32);

impl Key {
    pub(super) fn of(user_data: u64) -> Self {
        Self(u32::try_from(user_data).expect("every command carries a slot's key"))
    }

    pub(super) const fn user_data(self) -> u64 {
        self.0 as u64
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// An operation whose command is over, with the kernel's raw result.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) operation: Operation,
    pub(super) result: RawResult,
}

#[derive(Debug)]
enum Slot {
    Free,
    Reserved,
    Started { operation: Operation, resubmission_count: u32 },
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct InFlight {
    slots: Vec<Slot>,
    free: Vec<Key>,
    /// Taken from the kernel and not yet given to a reaper, in the order taken.
    backlog: Vec<Finished>,
    started_count: u64,
    entered_count: u64,
    taken_count: u64,
    handed_out_count: u64,
    /// Operations that some thread is ending right now, to hand them out.
    ending_count: usize,
    /// Whether a thread sleeps in the kernel. While it does, nobody takes completion entries.
    pub(super) kernel_sleeper: bool,
}

impl InFlight {
    /// A table of `slot_count` free slots.
    pub(super) fn new(slot_count: u32) -> Self {
        Self {
            slots: (0..slot_count).map(|_| Slot::Free).collect(),
            free: (0..slot_count).rev().map(Key).collect(),
            backlog: Vec::new(),
            started_count: 0,
            entered_count: 0,
            taken_count: 0,
            handed_out_count: 0,
            ending_count: 0,
            kernel_sleeper: false,
        }
    }

    /// Takes a slot for an operation that is about to start; `None` when all are in use.
    pub(super) fn reserve(&mut self) -> Option<Key> {
        let key = self.free.pop()?;
        self.slots[key.index()] = Slot::Reserved;
        Some(key)
    }

    /// Gives back a slot whose operation was refused.
    pub(super) fn release(&mut self, key: Key) {
        let slot = mem::replace(&mut self.slots[key.index()], Slot::Free);
        assert!(matches!(slot, Slot::Reserved), "released {key:?}, which holds {slot:?}");
        self.free.push(key);
    }

    /// Moves an operation into its slot, where its command can be made.
    pub(super) fn start(&mut self, key: Key, operation: Operation) -> &mut Operation {
        let slot = &mut self.slots[key.index()];
        assert!(matches!(slot, Slot::Reserved), "started {key:?}, which holds {slot:?}");
        *slot = Slot::Started { operation, resubmission_count: 0 };
        self.started_count += 1;
        self.operation(key)
    }

    /// An operation in its slot.
    pub(super) fn operation(&mut self, key: Key) -> &mut Operation {
        match &mut self.slots[key.index()] {
            Slot::Started { operation, .. } => operation,
            slot => panic!("{key:?} holds {slot:?} where an operation was due"),
        }
    }

    /// Counts commands that the kernel has taken.
    pub(super) fn entered(&mut self, count: usize) {
        self.entered_count += count as u64;
    }

    /// Ends a command that the kernel never took.
    pub(super) fn not_entered(&mut self, key: Key, errno: i32) {
        self.finish(key, RawResult::of(-errno));
    }

    /// Books one completion entry. Says whether the kernel merely put the command off, so that it is to be submitted again.
    pub(super) fn take(&mut self, key: Key, result: RawResult) -> bool {
        self.taken_count += 1;
        let again = self.is_to_be_tried_again(key, result.result);
        if !again {
            self.finish(key, result);
        }
        again
    }

    fn is_to_be_tried_again(&mut self, key: Key, result: i32) -> bool {
        let Slot::Started { operation, resubmission_count } = &mut self.slots[key.index()] else {
            panic!("a completion names {key:?}, where nothing was started");
        };
        if !operation.is_put_off(result) {
            return false;
        }
        *resubmission_count += 1;
        *resubmission_count <= RESUBMISSION_LIMIT
    }

    fn finish(&mut self, key: Key, result: RawResult) {
        let slot = mem::replace(&mut self.slots[key.index()], Slot::Free);
        let Slot::Started { operation, .. } = slot else {
            panic!("a completion names {key:?}, which holds {slot:?}");
        };
        self.free.push(key);
        self.backlog.push(Finished { operation, result });
    }

    /// Gives the backlog to a reaper, which ends the operations and then says [`Self::handed_out`].
    pub(super) fn take_backlog(&mut self) -> Vec<Finished> {
        self.ending_count += self.backlog.len();
        mem::take(&mut self.backlog)
    }

    /// Counts operations that a reaper has ended.
    pub(super) fn handed_out(&mut self, count: usize) {
        self.ending_count -= count;
        self.handed_out_count += count as u64;
    }

    /// How many operations have been handed out since the queue was made.
    pub(super) fn handed_out_count(&self) -> u64 {
        self.handed_out_count
    }

    /// How many operations have been started and not handed out.
    pub(super) fn in_flight_count(&self) -> u64 {
        self.started_count - self.handed_out_count
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether some thread is between taking operations and handing them out.
    pub(super) fn is_ending(&self) -> bool {
        self.ending_count > 0
    }

    /// Whether a completion entry is certain to come, or to be there already.
    pub(super) fn expects_completion(&self) -> bool {
        self.expected_count() > 0
    }

    /// How many completion entries are certain to come, or to be there already.
    pub(super) fn expected_count(&self) -> usize {
        // Of commands that their submitter has not counted yet some may have been taken.
        usize::try_from(self.entered_count.saturating_sub(self.taken_count))
            .expect("at most as many as slots")
    }

    /// Whether any operation is still owned by the table.
    pub(super) fn owns_operations(&self) -> bool {
        self.has_backlog() || self.slots.iter().any(|slot| matches!(slot, Slot::Started { .. }))
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::{InFlight, Key, RESUBMISSION_LIMIT};
    use crate::device::RawResult;
    use crate::queue::operation::Operation;
    use crate::queue::tests::append_of;
    use crate::queue::tests::device::TestDevice;

    fn started(table: &mut InFlight) -> Key {
        let request = append_of(4096, 7);
        let operation = Operation::admit(&TestDevice::new(), request).expect("the append fits");
        let key = table.reserve().expect("a slot is free");
        table.start(key, operation);
        table.entered(1);
        key
    }

    #[test]
    fn a_command_that_the_kernel_put_off_keeps_its_slot_and_is_submitted_again() {
        for errno in [Errno::CANCELED, Errno::AGAIN, Errno::INTR] {
            let mut table = InFlight::new(1);
            let key = started(&mut table);
            assert!(table.take(key, RawResult::of(-errno.raw_os_error())), "it is to be tried again");
            assert!(!table.has_room());
            assert!(!table.has_backlog());
            assert!(!table.expects_completion(), "until the command has entered the kernel again");
        }
    }

    #[test]
    fn a_command_that_is_put_off_for_ever_ends_with_its_error() {
        let mut table = InFlight::new(1);
        let key = started(&mut table);
        let put_off = RawResult::of(-Errno::AGAIN.raw_os_error());
        for _ in 0..RESUBMISSION_LIMIT {
            assert!(table.take(key, put_off));
        }
        assert!(!table.take(key, put_off));
        assert_eq!(table.take_backlog()[0].result, put_off);
    }

    #[test]
    fn an_operation_is_in_flight_from_its_start_until_it_is_handed_out() {
        let mut table = InFlight::new(2);
        let key = started(&mut table);
        assert_eq!((table.in_flight_count(), table.expects_completion()), (1, true));
        assert!(!table.take(key, RawResult::of(4096)));
        assert_eq!((table.in_flight_count(), table.expects_completion()), (1, false));
        let taken = table.take_backlog();
        assert_eq!((table.in_flight_count(), table.is_ending()), (1, true));
        table.handed_out(taken.len());
        assert_eq!((table.in_flight_count(), table.is_ending()), (0, false));
    }

    #[test]
    fn a_slot_of_a_refused_operation_can_be_reserved_again() {
        let mut table = InFlight::new(1);
        let key = table.reserve().expect("a slot is free");
        assert_eq!(table.reserve(), None);
        table.release(key);
        assert_eq!(table.reserve(), Some(key));
    }

    #[test]
    #[should_panic(expected = "a completion names")]
    fn a_completion_of_nothing_is_not_believed() {
        InFlight::new(1).take(Key::of(0), RawResult::of(4096));
    }
}
