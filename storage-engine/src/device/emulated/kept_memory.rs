//! Memory that outlives the process: a range of the file, mapped. What is written to it is in the page cache at once, and
//! stays there when the process is killed. It is at the end of the file and goes when it is not needed any more.
//!
//! The range is allocated before it is mapped: a write to mapped memory that finds no room on the host kills the process.

#![expect(unsafe_code, reason = "mapping a file is unsafe; the use is proved at its place")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memmap2::{MmapMut, MmapOptions};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::EmulatedDevice;
use super::file::{Medium, length_bytes};
use super::layout::{KEPT_MEMORY_BYTES, KEPT_MEMORY_LEN, kept_memory_at_bytes};
use crate::device::{DeviceError, DeviceResult, KeptMemory, ZonedDevice};

/// The mapped range.
#[derive(Debug)]
struct MappedRange {
    map: MmapMut,
    file: File,
    at_bytes: u64,
    medium: Medium,
}

impl KeptMemory for MappedRange {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.map
    }

    fn give_back(self: Box<Self>) -> DeviceResult<()> {
        let Self { map, file, at_bytes, medium } = *self;
        drop(map);
        if medium == Medium::BlockDevice {
            return Ok(());
        }
        let action = "giving back the kept memory".to_owned();
        file.set_len(at_bytes).map_err(|source| DeviceError::Io { action, source })
    }
}

impl EmulatedDevice {
    /// `None` where the host has no room for it.
    pub(super) fn map_kept_memory(&self) -> DeviceResult<Option<Box<dyn KeptMemory>>> {
        self.begin_changes()?;
        let (file, medium) = (self.stable.file().locked(), self.stable.file().medium());
        let at_bytes = self.kept_memory_at_bytes();
        let mapped = || {
            allocate(file, medium, at_bytes)?;
            Ok(MappedRange { map: map(file, at_bytes)?, file: file.try_clone()?, at_bytes, medium })
        };
        match mapped() {
            Ok(range) => Ok(Some(Box::new(range))),
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOSPC | Errno::DQUOT)) => {
                Ok(None)
            }
            Err(source) => Err(self.kept_memory_error("mapping", source)),
        }
    }

    /// Empty where nobody has asked for it yet.
    pub(super) fn read_kept_memory(&self) -> DeviceResult<Vec<u8>> {
        let (file, at_bytes) = (self.stable.file(), self.kept_memory_at_bytes());
        let read = || {
            if length_bytes(file.locked())? < at_bytes + KEPT_MEMORY_BYTES {
                return Ok(Vec::new());
            }
            let mut bytes = vec![0; KEPT_MEMORY_LEN];
            file.read_metadata(at_bytes, &mut bytes).map(|()| bytes)
        };
        read().map_err(|source| self.kept_memory_error("reading", source))
    }

    fn kept_memory_at_bytes(&self) -> u64 {
        kept_memory_at_bytes(self.geometry().zone_count, self.geometry().zone_size_bytes)
    }

    fn kept_memory_error(&self, doing: &str, source: io::Error) -> DeviceError {
        DeviceError::Io { action: format!("{doing} the kept memory of {}", self.path().display()), source }
    }
}

fn map(file: &File, at_bytes: u64) -> io::Result<MmapMut> {
    // SAFETY: the memory is only ever seen as bytes, which may have any value, and any change of them by others is
    // harmless to the program: they are checksummed. Others could make the file shorter and have the process killed, as they
    // could by sending it a signal: the file belongs to the store, is locked, and is readable and writable by its owner only.
    unsafe { MmapOptions::new().offset(at_bytes).len(KEPT_MEMORY_LEN).map_mut(file) }
}

/// Makes the file long enough. A block device is as long as it is.
fn allocate(file: &File, medium: Medium, at_bytes: u64) -> io::Result<()> {
    let end_bytes = at_bytes + KEPT_MEMORY_BYTES;
    if medium == Medium::BlockDevice {
        let has_room = length_bytes(file)? >= end_bytes;
        return if has_room { Ok(()) } else { Err(Errno::NOSPC.into()) };
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), at_bytes, KEPT_MEMORY_BYTES) {
        // Not every file system can.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.write_all_at(&vec![0; KEPT_MEMORY_LEN], at_bytes),
        done => Ok(done?),
    }
}
