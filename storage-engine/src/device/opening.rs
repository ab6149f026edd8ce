//! From a path to a device: which kind lies there, and opening it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::Arc;

use super::block::{BlockNode, ZonedBlockDevice, ZonedModel};
use super::contents::{LOOKED_AT_BYTES, identify};
use super::emulated::{Access, DirectIo, EmulatedDevice};
use super::nvme::NvmeDevice;
use super::{DeviceError, DeviceResult, ZoneState, ZonedDevice};
use crate::buffer::AlignedBuffer;
use crate::units::{ZoneId, ZoneOffset};

/// What lies at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Nothing.
    Vacant,
    /// A regular file.
    File,
    /// A block device that can be written anywhere, or a partition of one.
    ConventionalBlockDevice,
    /// A block device with zones.
    ZonedBlockDevice,
    /// A character device: an NVMe namespace, maybe.
    CharacterDevice,
    /// Something else: a directory, a pipe.
    Other,
}

/// Tells what lies at a path, without opening it: that can have effects of its own.
///
/// # Errors
/// [`DeviceError::Io`]; [`DeviceError::NotOurs`] for a block device of an unknown kind.
pub fn place_at(path: &Path) -> DeviceResult<Place> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::Vacant),
        Err(source) => {
            return Err(DeviceError::Io { action: format!("looking at {}", path.display()), source });
        }
        Ok(metadata) => metadata,
    };
    let kind = metadata.file_type();
    if kind.is_block_device() {
        return Ok(match BlockNode::new(path, &metadata).zoned_model()? {
            ZonedModel::Conventional => Place::ConventionalBlockDevice,
            ZonedModel::HostAware | ZonedModel::HostManaged => Place::ZonedBlockDevice,
        });
    }
    Ok(match kind {
        kind if kind.is_file() => Place::File,
        kind if kind.is_char_device() => Place::CharacterDevice,
        _ => Place::Other,
    })
}

/// Opens the device at a path, whatever its kind.
///
/// # Errors
/// Those of the kind that is found there. Nothing is changed.
pub fn open_device(path: &Path, access: Access, direct_io: DirectIo) -> DeviceResult<Arc<dyn ZonedDevice>> {
    match place_at(path)? {
        Place::ZonedBlockDevice => Ok(Arc::new(ZonedBlockDevice::open(path, access)?)),
        Place::CharacterDevice => Ok(Arc::new(NvmeDevice::open(path, access)?)),
        // What is no device at all, the emulated one tells best.
        Place::Vacant | Place::File | Place::ConventionalBlockDevice | Place::Other => {
            Ok(Arc::new(EmulatedDevice::open(path, access, direct_io)?))
        }
    }
}

/// What the first bytes of a zoned device say is on it; `None` when they are all zeros.
///
/// # Errors
/// The device's.
pub fn identify_device(device: &dyn ZonedDevice) -> DeviceResult<Option<String>> {
    let first_zone = ZoneId::new(0);
    if device.report(first_zone)?.state == ZoneState::Offline {
        return Ok(None);
    }
    let mut first = AlignedBuffer::zeroed(looked_at_len(device));
    device.read(first_zone, ZoneOffset::START, &mut first)?;
    Ok(identify(&first, &[]))
}

fn looked_at_len(device: &dyn ZonedDevice) -> usize {
    usize::try_from(device.geometry().zone_size_bytes)
        .map_or(LOOKED_AT_BYTES, |size| size.min(LOOKED_AT_BYTES))
}

/// Overwrites with zeros what [`identify_device`] looks at, where it lies in a conventional zone: no reset does that.
///
/// # Errors
/// [`DeviceError::Io`]; the device's.
pub fn erase_leading_conventional(path: &Path, device: &dyn ZonedDevice) -> DeviceResult<()> {
    if device.report(ZoneId::new(0))?.state != ZoneState::NotWritePointer {
        return Ok(());
    }
    let zeros = vec![0; looked_at_len(device)];
    let erased = OpenOptions::new().write(true).open(path).and_then(|node| {
        node.write_all_at(&zeros, 0)?;
        node.sync_all()
    });
    erased.map_err(|source| DeviceError::Io {
        action: format!("erasing the start of {}", path.display()),
        source,
    })
}
