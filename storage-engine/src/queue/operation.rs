//! One operation on its way through a queue: admitted by the device, turned into a kernel command, ended.
//!
//! Invariants:
//! - An operation owns the memory that its command names, from admission to completion.
//! - The ticket of an admitted append goes to [`ZonedDevice::end_append`] exactly once: [`Operation::finish`] consumes
//!   the operation, and nothing else takes a ticket out of it.
//!
//! An operation belongs to one thread at a time; whoever holds it may finish it, and finishing may block.

use std::sync::Arc;

use io_uring::squeue::{Entry, Entry128};
use io_uring::{opcode, types};
use rustix::io::Errno;

use super::registered::{FILE_SLOT, Registered};
use super::transfer::{Target, Transfer, write_flags};
use super::{AlignedBuffer, Completion, Outcome, Refused, Request};
use crate::device::{
    AppendCommand, AppendTicket, DeviceError, DeviceResult, NvmeCommand, RawResult, ReadCommand, ZonedDevice,
};
use crate::units::{ZoneId, ZoneOffset};

/// The most that Linux moves in one command (`MAX_RW_COUNT`); it cuts anything longer, and we split nothing.
const COMMAND_LIMIT_BYTES: u32 = 0x7fff_f000;

/// `NVME_URING_CMD_IO` (linux/nvme_ioctl.h).
const NVME_COMMAND: u32 = 0xc048_4e80;

/// Why a command of the other set does not turn up here.
const WRONG_SET: &str = "a queue is not made on a device whose commands it does not carry";

/// An operation that the device has admitted.
#[derive(Debug)]
pub enum Operation {
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
                    Ok(ticket) => Ok(Self::Append { ticket, payload, user_data }.checked(device)),
                    Err(error) => {
                        Err(refused(error, Request::Append { zone_start, payload, persistence, user_data }))
                    }
                }
            }
            Request::Read { zone, offset, into, user_data } => {
                let admitted = checked_length(device, into.len())
                    .and_then(|len_bytes| device.read_command(zone, offset, u64::from(len_bytes)));
                match admitted {
                    Ok(command) => Ok(Self::Read { command, zone, offset, into, user_data }.checked(device)),
                    Err(error) => Err(refused(error, Request::Read { zone, offset, into, user_data })),
                }
            }
        }
    }

    /// Makes sure that a passthrough command is for as much as there is memory for: the kernel takes its word for it.
    fn checked(self, device: &dyn ZonedDevice) -> Self {
        let (nvme, len_bytes) = match &self {
            Self::Append { ticket, payload, .. } => (ticket.command.nvme(), payload.len()),
            Self::Read { command, into, .. } => (command.nvme(), into.len()),
        };
        if let Some(NvmeCommand { block_count, .. }) = nvme {
            let moved_bytes = u64::from(block_count) * u64::from(device.geometry().block_bytes);
            assert_eq!(moved_bytes, len_bytes as u64, "the device named a command of another length");
        }
        self
    }

    /// The command for the kernel. Its pointer is good for as long as the operation lives, wherever it is moved to.
    pub(super) fn entry(&mut self, registered: Registered) -> Entry {
        match self {
            Self::Append { ticket, payload, .. } => append_entry(ticket, payload, registered),
            Self::Read { command: ReadCommand::PositionedRead { fd, file_offset_bytes }, into, .. } => {
                let (fd, len_bytes) = (types::Fd(*fd), entry_length(into.len()));
                match into.slot_on(registered.ring) {
                    Some(slot) => opcode::ReadFixed::new(fd, into.as_mut_ptr(), len_bytes, slot)
                        .offset(*file_offset_bytes)
                        .build(),
                    None => {
                        opcode::Read::new(fd, into.as_mut_ptr(), len_bytes).offset(*file_offset_bytes).build()
                    }
                }
            }
            Self::Read { command: ReadCommand::Nvme(_), .. } => unreachable!("{WRONG_SET}"),
        }
    }

    /// The same for passthrough.
    pub(super) fn passthrough_entry(&mut self, registered: Registered) -> Entry128 {
        let (command, address, buffer) = match self {
            Self::Append { ticket, payload, .. } => {
                (ticket.command.nvme(), payload.as_ptr().expose_provenance(), &**payload)
            }
            Self::Read { command, into, .. } => {
                (command.nvme(), into.as_mut_ptr().expose_provenance(), &*into)
            }
        };
        let command = command.unwrap_or_else(|| unreachable!("{WRONG_SET}"));
        let bytes = command.for_ring(address as u64, entry_length(buffer.len()));
        let entry = if registered.fd == Some(command.fd) {
            opcode::UringCmd80::new(types::Fixed(FILE_SLOT), NVME_COMMAND)
        } else {
            opcode::UringCmd80::new(types::Fd(command.fd), NVME_COMMAND)
        };
        entry.cmd(bytes).buf_index(buffer.slot_on(registered.ring)).build()
    }

    /// Whether a result only says "not now", so that the command may be submitted again as it was.
    ///
    /// `ECANCELED` is what the kernel makes of commands waiting for a worker when the *thread* that submitted them exits;
    /// `EINTR` and `EAGAIN` are what a worker or a retry that was cut off by such an exit may give. A read may be repeated, and a
    /// positioned write goes to the same place. An append must not land twice: for passthrough `ECANCELED` and `EAGAIN` say
    /// that the command was never sent to the drive, but `EINTR` says that the driver gave it up, after a timeout or a reset of
    /// the controller, and what became of it there is unknown.
    pub(super) fn is_put_off(&self, result: i32) -> bool {
        let is = |errno: Errno| result < 0 && errno.raw_os_error() == -result;
        let is_nvme_append = matches!(self, Self::Append { ticket, .. } if ticket.command.nvme().is_some());
        is(Errno::CANCELED) || is(Errno::AGAIN) || (is(Errno::INTR) && !is_nvme_append)
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
                if ticket.command.nvme().is_none() {
                    assert_within(result.result, payload.len());
                }
                Completion { user_data, outcome: Outcome::Append(device.end_append(ticket, result)) }
            }
            Self::Read { command, zone, offset, into, user_data } => {
                if command.nvme().is_none() {
                    assert_within(result.result, into.len());
                }
                let result = device.end_read(zone, offset, into.len() as u64, result);
                Completion { user_data, outcome: Outcome::Read { result, into } }
            }
        }
    }
}

fn refused(error: DeviceError, request: Request) -> Refused {
    Refused { error, request: Box::new(request) }
}

fn append_entry(ticket: &AppendTicket, payload: &AlignedBuffer, registered: Registered) -> Entry {
    assert_same_length(ticket, payload);
    let write_flags = |persistence| write_flags(persistence).bits().cast_signed();
    match ticket.command {
        AppendCommand::Nvme(_) => unreachable!("{WRONG_SET}"),
        AppendCommand::PositionedWrite { fd, file_offset_bytes, persistence } => {
            let (fd, len_bytes) = (types::Fd(fd), entry_length(payload.len()));
            match payload.slot_on(registered.ring) {
                Some(slot) => opcode::WriteFixed::new(fd, payload.as_ptr(), len_bytes, slot)
                    .offset(file_offset_bytes)
                    .rw_flags(write_flags(persistence))
                    .build(),
                None => opcode::Write::new(fd, payload.as_ptr(), len_bytes)
                    .offset(file_offset_bytes)
                    .rw_flags(write_flags(persistence))
                    .build(),
            }
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
    use std::sync::Arc;

    use rustix::io::Errno;

    use super::{COMMAND_LIMIT_BYTES, Operation, checked_length, write_flags};
    use crate::device::{AppendCommand, AppendTicket, DeviceError, NvmeCommand, Persistence, ReadCommand};
    use crate::queue::AlignedBuffer;
    use crate::queue::tests::append_of;
    use crate::queue::tests::device::TestDevice;
    use crate::units::{ZoneId, ZoneOffset};

    const NVME: NvmeCommand = NvmeCommand {
        fd: 3,
        opcode: 0x7d,
        namespace: 1,
        start_lba: 0,
        block_count: 2,
        force_unit_access: false,
    };

    fn nvme_append(len_bytes: usize) -> Operation {
        let ticket = AppendTicket {
            command: AppendCommand::Nvme(NVME),
            zone: ZoneId::new(0),
            len_bytes: len_bytes as u64,
            place: ZoneOffset::START,
            needs_flush: false,
        };
        Operation::Append { ticket, payload: Arc::new(AlignedBuffer::zeroed(len_bytes)), user_data: 0 }
    }

    fn nvme_read() -> Operation {
        Operation::Read {
            command: ReadCommand::Nvme(NVME),
            zone: ZoneId::new(0),
            offset: ZoneOffset::START,
            into: AlignedBuffer::zeroed(8192),
            user_data: 0,
        }
    }

    fn put_off(operation: &Operation) -> [bool; 3] {
        [Errno::CANCELED, Errno::AGAIN, Errno::INTR].map(|errno| operation.is_put_off(-errno.raw_os_error()))
    }

    #[test]
    fn only_what_cannot_happen_twice_is_submitted_again() {
        let positioned = Operation::admit(&TestDevice::new(), append_of(4096, 7)).expect("the append fits");
        assert_eq!(put_off(&positioned), [true, true, true]);
        assert_eq!(put_off(&nvme_read()), [true, true, true]);
        assert_eq!(put_off(&nvme_append(8192)), [true, true, false], "the drive may have done it");
    }

    #[test]
    fn no_status_of_a_drive_is_taken_for_an_errno() {
        for operation in [nvme_append(8192), nvme_read()] {
            for result in [0, 4, 11, 125, 0x1b9, 0x4281] {
                assert!(!operation.is_put_off(result), "{result}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "a command of another length")]
    fn a_drive_is_never_told_to_move_more_than_there_is_memory_for() {
        let _ = nvme_append(4096).checked(&TestDevice::new());
    }

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
