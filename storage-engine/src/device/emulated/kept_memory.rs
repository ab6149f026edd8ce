//! Memory that outlives the process: a range of the file, mapped. What is written to it is in the page cache at once, and
//! stays there when the process is killed.
//!
//! The range is allocated before it is mapped: a write to mapped memory that finds no room on the host kills the process.

#![expect(unsafe_code, reason = "mapping a file is unsafe; the use is proved at its place")]

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::EmulatedDevice;
use super::layout::{KEPT_MEMORY_BYTES, kept_memory_at_bytes};
use crate::device::{DeviceError, DeviceResult, KeptMemory, ZonedDevice};

/// The mapped range.
#[derive(Debug)]
struct MappedRange {
    map: MmapMut,
}

impl KeptMemory for MappedRange {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

impl EmulatedDevice {
    /// `None` where the host has no room for it.
    pub(super) fn map_kept_memory(&self) -> DeviceResult<Option<Box<dyn KeptMemory>>> {
        self.begin_changes()?;
        match map(self.stable.file().locked(), self.kept_memory_at_bytes()) {
            Ok(map) => Ok(Some(Box::new(MappedRange { map }))),
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOSPC | Errno::DQUOT)) => {
                Ok(None)
            }
            Err(source) => Err(self.kept_memory_error("mapping", source)),
        }
    }

    pub(super) fn read_kept_memory(&self) -> DeviceResult<Vec<u8>> {
        let mut bytes = vec![0; len_bytes()];
        self.stable
            .file()
            .read_metadata(self.kept_memory_at_bytes(), &mut bytes)
            .map_err(|source| self.kept_memory_error("reading", source))?;
        Ok(bytes)
    }

    fn kept_memory_at_bytes(&self) -> u64 {
        kept_memory_at_bytes(self.geometry().zone_count)
    }

    fn kept_memory_error(&self, doing: &str, source: io::Error) -> DeviceError {
        DeviceError::Io { action: format!("{doing} the kept memory of {}", self.path().display()), source }
    }
}

fn len_bytes() -> usize {
    usize::try_from(KEPT_MEMORY_BYTES).expect("2 MiB")
}

fn map(file: &File, at_bytes: u64) -> io::Result<MmapMut> {
    allocate(file, at_bytes)?;
    // SAFETY: the memory is only ever seen as bytes, which may have any value, and any change of them by others is
    // harmless to the program: they are checksummed. Others could make the file shorter and have the process killed, as they
    // could by sending it a signal: the file belongs to the store, is locked, and is readable and writable by its owner only.
    unsafe { MmapOptions::new().offset(at_bytes).len(len_bytes()).map_mut(file) }
}

fn allocate(file: &File, at_bytes: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, at_bytes, KEPT_MEMORY_BYTES) {
        // Not every file system can, and block devices need not.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => {
            file.write_all_at(&vec![0; len_bytes()], at_bytes)
        }
        done => Ok(done?),
    }
}
