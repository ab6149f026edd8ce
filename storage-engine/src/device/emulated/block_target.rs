//! Making an emulated device of a block device, which is explicit and destroys what was there.
//!
//! The device is held exclusively from before anything is looked at until it is an open emulated device.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use super::file::{give_back_to_device, length_bytes};
use super::layout::{Header, data_start_bytes, file_bytes};
use super::opening::{failure, load, present_boot_id, write_layout};
use super::{Access, DirectIo, EmulatedDevice};
use crate::device::block::{BlockNode, claim};
use crate::device::contents::{LOOKED_AT_BYTES, identify};
use crate::device::direct::read_until_end;
use crate::device::{DeviceError, DeviceResult, Geometry};

/// A block device that is to become an emulated one, held exclusively.
#[derive(Debug)]
pub struct BlockTarget {
    path: PathBuf,
    file: File,
    length_bytes: u64,
}

impl BlockTarget {
    pub(super) fn claim(path: &Path) -> DeviceResult<Self> {
        let metadata = fs::metadata(path).map_err(failure("looking at", path))?;
        if !metadata.file_type().is_block_device() {
            return Err(DeviceError::NotOurs {
                path: path.to_owned(),
                why: "it is no block device".to_owned(),
            });
        }
        let file = claim(path, Access::ReadWrite, &BlockNode::new(path, &metadata))?;
        let length_bytes = length_bytes(&file).map_err(failure("looking at", path))?;
        Ok(Self { path: path.to_owned(), file, length_bytes })
    }

    /// What as many zones as there is room for hold, if they are as large as `geometry` has them.
    #[must_use]
    pub fn capacity_bytes(&self, geometry: &Geometry) -> u64 {
        let most = self.length_bytes / geometry.zone_size_bytes;
        let mut zone_count = u32::try_from(most).unwrap_or(u32::MAX);
        while zone_count > 0 && self.needed_bytes(zone_count, geometry) > self.length_bytes {
            zone_count -= 1;
        }
        u64::from(zone_count) * geometry.zone_capacity_bytes
    }

    fn needed_bytes(&self, zone_count: u32, geometry: &Geometry) -> u64 {
        data_start_bytes(zone_count) + u64::from(zone_count) * geometry.zone_size_bytes
    }

    /// What is on the device, in words; `None` when nothing seems to be.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub fn contents(&self) -> DeviceResult<Option<String>> {
        let (first, last) = (self.read(0)?, self.read(self.last_at_bytes())?);
        Ok(identify(&first, &last).map(|what| format!("it holds {what}")))
    }

    /// Lays the emulated device out and opens it. What was on the block device is gone.
    ///
    /// # Errors
    /// [`DeviceError::InvalidGeometry`] when there is not room enough, [`DeviceError::Io`].
    pub fn format(self, geometry: &Geometry, direct_io: DirectIo) -> DeviceResult<EmulatedDevice> {
        let geometry = Geometry { volatile_cache: true, ..*geometry };
        geometry.validate()?;
        let needed_bytes = file_bytes(&geometry).map_err(|what| DeviceError::InvalidGeometry { what })?;
        if needed_bytes > self.length_bytes {
            let what = format!(
                "{} zones of {} bytes take {needed_bytes} bytes; {} has {}",
                geometry.zone_count,
                geometry.zone_size_bytes,
                self.path.display(),
                self.length_bytes
            );
            return Err(DeviceError::InvalidGeometry { what });
        }
        self.erase().map_err(failure("erasing", &self.path))?;
        let (header, boot_id) = (Header { device_id: rand::random(), geometry }, present_boot_id());
        write_layout(&self.file, &header, boot_id).map_err(failure("writing", &self.path))?;
        let stable = load(self.file, &self.path, Access::ReadWrite, direct_io, boot_id)?;
        Ok(EmulatedDevice::over(stable, Access::ReadWrite))
    }

    /// Erases what others would recognise the device by, and tells it that nothing is in use.
    fn erase(&self) -> std::io::Result<()> {
        give_back_to_device(&self.file, 0, self.length_bytes)?;
        let zeros = vec![0; LOOKED_AT_BYTES];
        for at_bytes in [0, self.last_at_bytes()] {
            let len_bytes = (self.length_bytes - at_bytes).min(LOOKED_AT_BYTES as u64);
            let len = usize::try_from(len_bytes).expect("1 MiB at most");
            self.file.write_all_at(&zeros[..len], at_bytes)?;
        }
        self.file.sync_all()
    }

    fn last_at_bytes(&self) -> u64 {
        self.length_bytes.saturating_sub(LOOKED_AT_BYTES as u64)
    }

    fn read(&self, at_bytes: u64) -> DeviceResult<Vec<u8>> {
        let mut bytes = vec![0; LOOKED_AT_BYTES];
        let count =
            read_until_end(&self.file, at_bytes, &mut bytes).map_err(failure("reading", &self.path))?;
        bytes.truncate(count);
        Ok(bytes)
    }
}
