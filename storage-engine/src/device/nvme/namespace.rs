//! Commands to a namespace by ioctl on its character device, one at a time, on the caller's thread.
//!
//! Invariant: the memory of a command is as long as the command says. Both come from one slice here, so that the drive never
//! writes beyond it.
//!
//! Threading: any number of threads; each call has a frame and memory of its own.
#![expect(unsafe_code, reason = "ioctl takes addresses; each use is proved at its place")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

use super::command::{Command, FRAME_BYTES, IDENTIFY_BYTES, Identify, ZoneAction};
use super::identify::IdentifyData;
use super::status::Status;
use crate::device::NvmeCommand;

/// `NVME_IOCTL_ID`: gives the namespace's identifier.
const NAMESPACE_IDENTIFIER: Opcode = opcode::none(b'N', 0x40);
/// `NVME_IOCTL_ADMIN64_CMD`.
const ADMIN_COMMAND: Opcode = opcode::read_write::<Frame>(b'N', 0x47);
/// `NVME_IOCTL_IO64_CMD`.
const IO_COMMAND: Opcode = opcode::read_write::<Frame>(b'N', 0x48);

const _: () = assert!(size_of::<Frame>() == 80 && ADMIN_COMMAND == 0xc050_4e47 && IO_COMMAND == 0xc050_4e48);

/// `struct nvme_passthru_cmd64`, laid out by [`Command::frame`].
#[repr(C, align(8))]
struct Frame([u8; FRAME_BYTES]);

/// Why a command did not do as told.
#[derive(Debug)]
pub(super) enum Failure {
    /// The drive refused it or failed.
    Status(Status),
    /// The kernel did.
    Kernel(io::Error),
}

/// The character device of a namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    file: File,
    identifier: u32,
}

impl Namespace {
    /// # Errors
    /// The kernel's: `ENOTTY` where the file is no NVMe namespace.
    pub(super) fn over(file: File) -> io::Result<Self> {
        // SAFETY: the request takes no argument and writes no memory; other drivers refuse its number or take none either.
        let identifier = unsafe { ioctl(&file, AskIdentifier) }?;
        Ok(Self { file, identifier })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    pub(super) fn identifier(&self) -> u32 {
        self.identifier
    }

    pub(super) fn identify(&self, what: Identify) -> Result<Box<IdentifyData>, Failure> {
        let mut data = Box::new([0; IDENTIFY_BYTES]);
        self.submit(ADMIN_COMMAND, &Command::identify(self.identifier, what), &mut data[..])?;
        Ok(data)
    }

    /// Reports as many zones, from the one that starts at a block on, as fit.
    pub(super) fn report_zones(&self, start_lba: u64, into: &mut [u8]) -> Result<(), Failure> {
        let command = Command::report_zones(self.identifier, start_lba, len_of(into));
        self.submit(IO_COMMAND, &command, into)
    }

    pub(super) fn manage_zone(&self, start_lba: u64, action: ZoneAction) -> Result<(), Failure> {
        self.submit(IO_COMMAND, &Command::manage_zone(self.identifier, start_lba, action), &mut [])
    }

    /// Fills `into`, which is whole blocks and no more than the transfer limit.
    pub(super) fn read(&self, start_lba: u64, block_bytes: u32, into: &mut [u8]) -> Result<(), Failure> {
        let block_count = len_of(into) / block_bytes;
        assert_eq!(block_count * block_bytes, len_of(into), "a read is of whole blocks");
        let command = NvmeCommand::read(self.fd(), self.identifier, start_lba, block_count);
        self.submit(IO_COMMAND, &Command::from(&command), into)
    }

    pub(super) fn flush(&self) -> Result<(), Failure> {
        self.submit(IO_COMMAND, &Command::flush(self.identifier), &mut [])
    }

    fn submit(&self, request: Opcode, command: &Command, memory: &mut [u8]) -> Result<(), Failure> {
        let address = if memory.is_empty() { 0 } else { memory.as_mut_ptr().expose_provenance() as u64 };
        let frame = Frame(command.frame(address, len_of(memory)));
        let passthrough = Passthrough { request, frame, memory: PhantomData };
        // SAFETY: the file is an NVMe namespace, which `over` has seen to; the numbers are those of its driver for the
        // structure in the frame, whose length is asserted above. The driver reads the frame, writes its result field
        // and, because every command of this type that moves data moves them to the host, writes to `memory`: at most
        // the length in the frame, which is that of the slice. The slice is borrowed mutably until the driver is done,
        // which is when the call returns: it waits without being interrupted.
        match unsafe { ioctl(&self.file, passthrough) } {
            Ok(result) => Status::of(result).map_or(Ok(()), |status| Err(Failure::Status(status))),
            Err(errno) => Err(Failure::Kernel(errno.into())),
        }
    }
}

fn len_of(memory: &[u8]) -> u32 {
    u32::try_from(memory.len()).expect("callers keep to the transfer limit, which is a u32")
}

struct AskIdentifier;

// SAFETY: the request has no argument, so the pointer is null, and nothing is read through it; its answer is the return value
// of the system call.
unsafe impl Ioctl for AskIdentifier {
    type Output = u32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        NAMESPACE_IDENTIFIER
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        Ok(output.cast_unsigned())
    }
}

struct Passthrough<'memory> {
    request: Opcode,
    frame: Frame,
    /// What the frame holds the address of.
    memory: PhantomData<&'memory mut [u8]>,
}

// SAFETY: the pointer is to the frame, which lies in `self` and is as long and as aligned as the driver's structure. It is
// declared as mutated, because the driver writes its result field. The answer is the return value of the system call: 0
// or an NVMe status.
unsafe impl Ioctl for Passthrough<'_> {
    type Output = i32;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.request
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.frame).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(output)
    }
}
