//! One operation on its way through a queue: admitted by the device, turned into a kernel command, ended.
//!
//! Invariants:
//! - An operation owns the memory that its command names, from admission to completion.
//! - The ticket of an admitted append goes to [`ZonedDevice::end_append`] exactly once: [`Operation::finish`] consumes
//!   the operation, and nothing else takes a ticket out of it.
//!
//! An operation belongs to one thread at a time; whoever holds it may finish it, and finishing may block.

use std::sync::Arc;

use io_uring::squeue::Entry;
use io_uring::{opcode, types};

use super::transfer::{Target, Transfer, write_flags};
use super::{AlignedBuffer, Completion, Outcome, Refused, Request};
use crate::device::{
    AppendCommand, AppendTicket, DeviceError, DeviceResult, RawResult, ReadCommand, ZonedDevice,
};
use crate::units::{ZoneId, ZoneOffset};

/// The most that Linux moves in one command (`MAX_RW_COUNT`); it cuts anything longer, and we split nothing.
const COMMAND_LIMIT_BYTES: u32 = 0x7fff_f000;

/// Until a queue takes passthrough commands, no device names any.
const NO_PASSTHROUGH: &str = "no device names passthrough commands yet";

/// An operation that the device has admitted.
#[derive(Debug)]
pub(super) enum Operation {
    /// An append and the payload that the kernel reads.
    Append { ticket: AppendTicket, payload: Arc<AlignedBuffer>, user_data: u64 },
    /// A read and the buffer that the kernel fills.
    Read { command: ReadCommand, zone: ZoneId, offset: ZoneOffset, into: AlignedBuffer, user_data: u64 },
}

impl Operation {
    /// Asks the device; a refusal gives the request back whole.
    pub(super) fn admit(device: &dyn ZonedDevice, request: Request) -> Result<Self, Refused> {
        match request {
            Request::Append { zone_start, payload, persistence, user_data } => {
                let admitted = checked_length(device, payload.len())
                    .and_then(|len_bytes| device.begin_append(zone_start, u64::from(len_bytes), persistence));
                match admitted {
                    Ok(ticket) => Ok(Self::Append { ticket, payload, user_data }),
                    Err(error) => {
                        Err(refused(error, Request::Append { zone_start, payload, persistence, user_data }))
                    }
                }
            }
            Request::Read { zone, offset, into, user_data } => {
                let admitted = checked_length(device, into.len())
                    .and_then(|len_bytes| device.read_command(zone, offset, u64::from(len_bytes)));
                match admitted {
                    Ok(command) => Ok(Self::Read { command, zone, offset, into, user_data }),
                    Err(error) => Err(refused(error, Request::Read { zone, offset, into, user_data })),
                }
            }
        }
    }

    /// The command for the kernel. Its pointer is good for as long as the operation lives, wherever it is moved to.
    pub(super) fn entry(&mut self) -> Entry {
        match self {
            Self::Append { ticket, payload, .. } => append_entry(ticket, payload),
            Self::Read { command: ReadCommand::PositionedRead { fd, file_offset_bytes }, into, .. } => {
                let len_bytes = entry_length(into.len());
                opcode::Read::new(types::Fd(*fd), into.as_mut_ptr(), len_bytes)
                    .offset(*file_offset_bytes)
                    .build()
            }
            Self::Read { command: ReadCommand::Nvme(_), .. } => unreachable!("{NO_PASSTHROUGH}"),
        }
    }

    /// What the operation is to move. The memory is good for as long as the operation lives, wherever it is moved to.
    pub(super) fn transfer(&mut self) -> Transfer {
        match self {
            Self::Append { ticket, payload, .. } => {
                assert_same_length(ticket, payload);
                let target = match ticket.command {
                    AppendCommand::Nvme(command) => Target::Nvme(command),
                    AppendCommand::PositionedWrite { fd, file_offset_bytes, persistence } => {
                        Target::Write { fd, file_offset_bytes, persistence }
                    }
                };
                let memory = payload.as_ptr().cast_mut();
                Transfer { target, memory, len_bytes: entry_length(payload.len()) }
            }
            Self::Read { command, into, .. } => {
                let target = match *command {
                    ReadCommand::Nvme(command) => Target::Nvme(command),
                    ReadCommand::PositionedRead { fd, file_offset_bytes } => {
                        Target::Read { fd, file_offset_bytes }
                    }
                };
                Transfer { target, memory: into.as_mut_ptr(), len_bytes: entry_length(into.len()) }
            }
        }
    }

    /// Ends the operation with the kernel's raw result. May block for as long as a flush takes.
    pub(super) fn finish(self, device: &dyn ZonedDevice, result: RawResult) -> Completion {
        match self {
            Self::Append { ticket, payload, user_data } => {
                assert_within(result.result, payload.len());
                Completion { user_data, outcome: Outcome::Append(device.end_append(ticket, result)) }
            }
            Self::Read { zone, offset, into, user_data, .. } => {
                assert_within(result.result, into.len());
                let result = device.end_read(zone, offset, into.len() as u64, result);
                Completion { user_data, outcome: Outcome::Read { result, into } }
            }
        }
    }
}

fn refused(error: DeviceError, request: Request) -> Refused {
    Refused { error, request: Box::new(request) }
}

fn append_entry(ticket: &AppendTicket, payload: &AlignedBuffer) -> Entry {
    assert_same_length(ticket, payload);
    match ticket.command {
        AppendCommand::Nvme(_) => unreachable!("{NO_PASSTHROUGH}"),
        AppendCommand::PositionedWrite { fd, file_offset_bytes, persistence } => {
            opcode::Write::new(types::Fd(fd), payload.as_ptr(), entry_length(payload.len()))
                .offset(file_offset_bytes)
                .rw_flags(write_flags(persistence).bits().cast_signed())
                .build()
        }
    }
}

fn assert_same_length(ticket: &AppendTicket, payload: &AlignedBuffer) {
    assert_eq!(
        ticket.len_bytes,
        payload.len() as u64,
        "the device admitted another length than the payload's"
    );
}

fn entry_length(len_bytes: usize) -> u32 {
    u32::try_from(len_bytes).expect("admission refuses what exceeds COMMAND_LIMIT_BYTES")
}

/// The length as the kernel takes it, or why it cannot.
fn checked_length(device: &dyn ZonedDevice, len_bytes: usize) -> DeviceResult<u32> {
    u32::try_from(len_bytes).ok().filter(|&len_bytes| len_bytes <= COMMAND_LIMIT_BYTES).ok_or(
        DeviceError::Unsupported {
            operation: "one command of 2 GiB or more",
            device: device.kind(),
            remedy: "Linux cuts it short; ask for less at a time",
        },
    )
}

/// More bytes than the buffer has room for would mean that the kernel wrote, or read, beyond it.
fn assert_within(result: i32, len_bytes: usize) {
    let moved_bytes = usize::try_from(result).unwrap_or(0);
    assert!(moved_bytes <= len_bytes, "the kernel moved {moved_bytes} bytes of a command for {len_bytes}");
}

#[cfg(test)]
mod tests {
    use super::{COMMAND_LIMIT_BYTES, checked_length, write_flags};
    use crate::device::{DeviceError, Persistence};
    use crate::queue::tests::device::TestDevice;

    #[test]
    fn only_a_durable_append_asks_the_kernel_for_stable_media() {
        const RWF_DSYNC: u32 = 2;
        assert_eq!(write_flags(Persistence::Durable).bits(), RWF_DSYNC);
        assert_eq!(write_flags(Persistence::Volatile).bits(), 0);
    }

    #[test]
    fn a_length_that_linux_would_cut_short_is_refused_before_anything_is_written() {
        let device = TestDevice::new();
        let limit = COMMAND_LIMIT_BYTES as usize;
        assert_eq!(checked_length(&device, limit).expect("the limit itself is allowed"), COMMAND_LIMIT_BYTES);
        assert!(matches!(checked_length(&device, limit + 1), Err(DeviceError::Unsupported { .. })));
        assert!(matches!(checked_length(&device, 1 << 40), Err(DeviceError::Unsupported { .. })));
    }
}
