//! The two shapes of an io_uring: the common one, and one with entries of twice the size, for NVMe passthrough.
//!
//! The kernel takes passthrough commands from 128-byte submission entries alone, and says where an append landed in the second half
//! of a 32-byte completion entry. Everything else about a ring is the same; what differs is here, decided at compile time.

use std::fmt::Debug;

use io_uring::{cqueue, squeue};

use super::operation::Operation;
use super::registered::Registered;
use crate::device::{CommandSet, RawResult};

/// What differs between rings.
pub trait RingShape: Debug + Send + Sync + 'static {
    /// What a command is put into.
    type Submission: squeue::EntryMarker + Send;
    /// What its end is told by.
    type Completion: cqueue::EntryMarker;

    /// The queue's name.
    const NAME: &'static str;

    /// Whether the ring carries the commands of a device.
    fn carries(commands: CommandSet) -> bool;

    /// The command of an operation, by number where the ring has its file or buffer registered.
    fn entry(operation: &mut Operation, registered: Registered) -> Self::Submission;

    /// What the kernel says.
    fn result(entry: &Self::Completion) -> RawResult;
}

/// For positioned reads and writes.
#[derive(Debug)]
pub enum Common {}

/// For NVMe passthrough.
#[derive(Debug)]
pub enum Large {}

impl RingShape for Common {
    type Submission = squeue::Entry;
    type Completion = cqueue::Entry;

    const NAME: &'static str = "io_uring";

    fn carries(commands: CommandSet) -> bool {
        matches!(commands, CommandSet::Positioned)
    }

    fn entry(operation: &mut Operation, registered: Registered) -> squeue::Entry {
        operation.entry(registered)
    }

    fn result(entry: &cqueue::Entry) -> RawResult {
        RawResult::of(entry.result())
    }
}

impl RingShape for Large {
    type Submission = squeue::Entry128;
    type Completion = cqueue::Entry32;

    const NAME: &'static str = "io_uring passthrough";

    fn carries(commands: CommandSet) -> bool {
        matches!(commands, CommandSet::Nvme { .. })
    }

    fn entry(operation: &mut Operation, registered: Registered) -> squeue::Entry128 {
        operation.passthrough_entry(registered)
    }

    fn result(entry: &cqueue::Entry32) -> RawResult {
        let [lba, _] = *entry.big_cqe();
        RawResult { result: entry.result(), lba }
    }
}
