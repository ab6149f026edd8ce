//! The system calls on the file of an emulated device, which may be a block device.
//!
//! Two descriptors: `metadata` goes through the page cache, so that what was written to it survives the process, and
//! holds the lock; `data` bypasses the page cache where the file system allows it. They never touch the same bytes.
//! This file knows nothing of zones: offsets are those of the file.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::{Access, DirectIo};
use crate::buffer::AlignedBuffer;
use crate::device::block::{device_bytes, discard};
use crate::device::direct::{CHUNK_BYTES, DIRECT_FLAG, read_by_way_of_aligned_memory, read_until_end};
use crate::device::presence::Presence;

/// What the file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Medium {
    /// A file in a file system, which knows of each block whether it is there.
    Regular,
    /// A block device: all its blocks are there.
    BlockDevice,
}

impl Medium {
    pub(super) fn of(metadata: &Metadata) -> Self {
        if metadata.file_type().is_block_device() { Self::BlockDevice } else { Self::Regular }
    }
}

/// Whether data go past the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum DataPath {
    /// Memory, lengths and places must be whole blocks of so many bytes.
    Direct {
        block_bytes: usize,
    },
    Buffered,
}

/// The open file of a device.
#[derive(Debug)]
pub(super) struct DeviceFile {
    metadata: File,
    data: File,
    data_path: DataPath,
    medium: Medium,
    presence: Presence,
}

impl DeviceFile {
    /// Adds a descriptor for data to an open and locked file.
    pub(super) fn new(
        metadata: File,
        path: &Path,
        access: Access,
        direct_io: DirectIo,
        block_bytes: u32,
    ) -> io::Result<Self> {
        let found = metadata.metadata()?;
        let (medium, presence) = (Medium::of(&found), Presence::of(path, &found));
        if direct_io == DirectIo::Preferred
            && let Some(data) = open_direct(&metadata, path, access)?
            && accepts_blocks(&data, block_bytes as usize)
        {
            let data_path = DataPath::Direct { block_bytes: block_bytes as usize };
            return Ok(Self { metadata, data, data_path, medium, presence });
        }
        let data = metadata.try_clone()?;
        Ok(Self { metadata, data, data_path: DataPath::Buffered, medium, presence })
    }

    /// The open file that the lock belongs to.
    pub(super) fn locked(&self) -> &File {
        &self.metadata
    }

    pub(super) fn medium(&self) -> Medium {
        self.medium
    }

    /// Whether it is still there.
    pub(super) fn presence(&self) -> &Presence {
        &self.presence
    }

    pub(super) fn uses_direct_io(&self) -> bool {
        self.data_path != DataPath::Buffered
    }

    /// The descriptor that data are read and written through.
    pub(super) fn data_fd(&self) -> RawFd {
        self.data.as_raw_fd()
    }

    /// Writes metadata into the page cache.
    pub(super) fn write_metadata(&self, at_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.metadata.write_all_at(bytes, at_bytes)
    }

    /// Reads metadata, as the page cache has them.
    pub(super) fn read_metadata(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.metadata.read_exact_at(into, at_bytes)
    }

    /// Puts everything written through either descriptor on stable media.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.metadata.sync_data()
    }

    /// Reads data into any memory; says how many bytes there were.
    pub(super) fn read_data(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<usize> {
        match self.data_path {
            DataPath::Direct { block_bytes } if !into.as_ptr().addr().is_multiple_of(block_bytes) => {
                read_by_way_of_aligned_memory(&self.data, at_bytes, into)
            }
            _ => read_until_end(&self.data, at_bytes, into),
        }
    }

    /// Writes zeros over a range of data, so that every block of it is allocated and written.
    pub(super) fn write_zeros(&self, at_bytes: u64, len_bytes: u64) -> io::Result<()> {
        let chunk_bytes = usize::try_from(len_bytes).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let zeros = AlignedBuffer::zeroed(chunk_bytes);
        for done_bytes in (0..len_bytes).step_by(chunk_bytes) {
            let left_bytes = usize::try_from(len_bytes - done_bytes).unwrap_or(chunk_bytes);
            self.data.write_all_at(&zeros[..chunk_bytes.min(left_bytes)], at_bytes + done_bytes)?;
        }
        Ok(())
    }

    /// Allocates a range of data, where the file system can.
    pub(super) fn allocate(&self, at_bytes: u64, len_bytes: u64) -> io::Result<()> {
        where_supported(rustix::fs::fallocate(&self.data, FallocateFlags::KEEP_SIZE, at_bytes, len_bytes))
    }

    /// Returns a range of data to the file system or the block device, where it takes it. What it holds then is anything.
    pub(super) fn give_back(&self, at_bytes: u64, len_bytes: u64) -> io::Result<()> {
        if self.medium == Medium::BlockDevice {
            return give_back_to_device(&self.metadata, at_bytes, len_bytes);
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        where_supported(rustix::fs::fallocate(&self.data, punch, at_bytes, len_bytes))
    }

    /// Whether every block of a range is written, as far as the file system tells.
    pub(super) fn is_written(&self, at_bytes: u64, len_bytes: u64) -> bool {
        // Nobody uses the position of a descriptor that this moves: all reads and writes name their place.
        let first_hole = rustix::fs::seek(&self.metadata, SeekFrom::Hole(at_bytes));
        first_hole.is_ok_and(|hole_at_bytes| hole_at_bytes >= at_bytes + len_bytes)
    }
}

/// Discards a range of a block device, where it can.
pub(super) fn give_back_to_device(device: &File, at_bytes: u64, len_bytes: u64) -> io::Result<()> {
    match discard(device, at_bytes, len_bytes) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => Ok(()),
        done => done,
    }
}

/// How long a file or block device is.
pub(super) fn length_bytes(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    match Medium::of(&metadata) {
        Medium::Regular => Ok(metadata.len()),
        Medium::BlockDevice => device_bytes(file),
    }
}

/// A descriptor of the same file that bypasses the page cache, or `None` where the file system refuses.
fn open_direct(metadata: &File, path: &Path, access: Access) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::ReadWrite).custom_flags(DIRECT_FLAG);
    let data = match options.open(path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => return Ok(None),
        opened => opened?,
    };
    if identity(metadata)? != identity(&data)? {
        return Err(io::Error::other("another file took its place meanwhile"));
    }
    Ok(Some(data))
}

/// Whether reads of one block, at one block, into memory aligned to one block, are possible.
fn accepts_blocks(data: &File, block_bytes: usize) -> bool {
    let mut memory = AlignedBuffer::zeroed(2 * block_bytes);
    data.read_at(&mut memory[block_bytes..], block_bytes as u64).is_ok()
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// What a file system cannot do with its blocks is left undone: it is about space and speed, never about contents.
fn where_supported(done: Result<(), Errno>) -> io::Result<()> {
    match done {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        done => Ok(done?),
    }
}
