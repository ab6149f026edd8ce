//! What a command moves, in terms that every way into the kernel understands.
//!
//! A transfer names memory that it does not own: it is good for as long as the operation that it was made of.

use std::os::fd::RawFd;

use rustix::io::ReadWriteFlags;

use crate::device::{NvmeCommand, Persistence};

/// Bytes to move between memory and a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) target: Target,
    /// Where the bytes come from or go to. Of an append nobody writes to it.
    pub(super) memory: *mut u8,
    pub(super) len_bytes: u32,
}

/// The command that moves them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// A positioned write.
    Write { fd: RawFd, file_offset_bytes: u64, persistence: Persistence },
    /// A positioned read.
    Read { fd: RawFd, file_offset_bytes: u64 },
    /// A command that only passthrough can carry.
    Nvme(NvmeCommand),
}

/// The flags of a positioned write.
pub(super) fn write_flags(persistence: Persistence) -> ReadWriteFlags {
    match persistence {
        Persistence::Volatile => ReadWriteFlags::empty(),
        Persistence::Durable => ReadWriteFlags::DSYNC,
    }
}
