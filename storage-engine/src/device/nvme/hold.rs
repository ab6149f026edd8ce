//! Who has a namespace: one writer or many readers, whichever of its two device files they came by.
//!
//! Locks of flock(2) lie on both the character device and the block device. A writer also opens the block device exclusively, which
//! fails where it is mounted or belongs to a stacked device, and keeps it from becoming either.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::sysfs::BlockSide;
use crate::device::emulated::Access;
use crate::device::mounts::mounted_at;
use crate::device::{DeviceError, DeviceResult, lock};

/// The hold on the block device of a namespace; the character device is held by its lock alone.
#[derive(Debug)]
pub(super) struct Hold {
    block: Option<(File, PathBuf)>,
}

/// Takes a namespace whose character device is `file` at `path`.
///
/// # Errors
/// [`DeviceError::Locked`] naming who has it; [`DeviceError::Io`].
pub(super) fn take(
    file: &File,
    path: &Path,
    access: Access,
    block: Option<&BlockSide>,
) -> DeviceResult<Hold> {
    lock::take(file, path, access)?;
    // Where the node is missing, as in a container that was given the character device alone, there is nothing to hold.
    let block = block.and_then(|block| node_of(block, path).map(|node| (block, node)));
    let block = block.map(|(block, node)| take_block_device(block, node, path, access)).transpose()?;
    Ok(Hold { block })
}

impl Hold {
    /// Lets others have the namespace.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub(super) fn give_up(&mut self, file: &File, path: &Path) -> DeviceResult<()> {
        let block = self.block.take().map_or(Ok(()), |(block, node)| lock::give_up(&block, &node));
        // By command, not by closing: a ring that has the file registered closes it later.
        lock::give_up(file, path).and(block)
    }
}

fn take_block_device(
    block: &BlockSide,
    node: PathBuf,
    path: &Path,
    access: Access,
) -> DeviceResult<(File, PathBuf)> {
    let exclusively = match access {
        Access::ReadWrite => OFlags::EXCL,
        Access::ReadOnly => OFlags::empty(),
    };
    let file = match open_with(&node, exclusively) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
            return Err(busy(block, &node, path));
        }
        other => other.map_err(|source| io_error("opening", &node, source))?,
    };
    lock::take(&file, &node, access)?;
    Ok((file, node))
}

fn open_with(node: &Path, flags: OFlags) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(node)
}

/// Says who holds a block device that could not be opened exclusively, as well as it can be told.
fn busy(block: &BlockSide, node: &Path, path: &Path) -> DeviceError {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let device = node.display();
    let (major, minor) = block.number;
    let holder = if let Some(place) = mounted_at(&mountinfo, &format!("{major}:{minor}")) {
        format!("the mount of {device} at {place}")
    } else if let [first, ..] = &block.holders[..] {
        format!("{first}, which is stacked on {device}")
    } else {
        let locked = open_with(node, OFlags::empty())
            .map_err(|source| io_error("opening", node, source))
            .and_then(|file| lock::take(&file, node, Access::ReadOnly));
        match locked {
            Err(locked @ DeviceError::Locked { .. }) => return locked,
            _ => format!("another program, which holds {device} exclusively"),
        }
    };
    DeviceError::Locked { path: path.to_owned(), holder, holder_is_dying: false }
}

/// The file in /dev, or beside the character device's, that is the block device.
fn node_of(block: &BlockSide, path: &Path) -> Option<PathBuf> {
    let is_it = |node: &PathBuf| {
        fs::metadata(node).is_ok_and(|metadata| {
            let number = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            metadata.file_type().is_block_device() && number == block.number
        })
    };
    [Path::new("/dev").join(&block.name), path.with_file_name(&block.name)].into_iter().find(is_it)
}

fn io_error(doing: &str, path: &Path, source: io::Error) -> DeviceError {
    DeviceError::Io { action: format!("{doing} {}", path.display()), source }
}
