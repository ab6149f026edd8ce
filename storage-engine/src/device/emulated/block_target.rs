//! Making an emulated device of a block device, which is explicit and destroys what was there.
//!
//! The device is held exclusively from before anything is looked at until it is an open emulated device.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use super::file::{give_back_to_device, length_bytes};
use super::layout::{
    HEADER_AT_BYTES, HEADER_BYTES, Header, KEPT_MEMORY_BYTES, LayoutError, data_start_bytes, file_bytes,
};
use super::making::UnfinishedDevice;
use super::opening::failure;
use super::{Access, DirectIo};
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
        let zones_bytes = u64::from(zone_count) * geometry.zone_size_bytes;
        // Kept memory, aligned, is worth it where it is less than a thousandth of the whole.
        let is_worth_it = self.length_bytes / 1000 > KEPT_MEMORY_BYTES;
        let kept_bytes = if is_worth_it { 2 * KEPT_MEMORY_BYTES } else { 0 };
        data_start_bytes(zone_count) + zones_bytes + kept_bytes
    }

    /// What is on the device, in words; `None` when nothing seems to be. A device whose making was not finished counts
    /// for nothing.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub fn contents(&self) -> DeviceResult<Option<String>> {
        let (first, last) = (self.read(0)?, self.read(self.last_at_bytes())?);
        if is_unfinished(&first) {
            return Ok(None);
        }
        Ok(identify(&first, &last).map(|what| format!("it holds {what}")))
    }

    /// Lays the emulated device out. What was on the block device is gone; it is a device when it has been finished.
    ///
    /// # Errors
    /// [`DeviceError::InvalidGeometry`] when there is not room enough, [`DeviceError::Io`].
    pub fn begin(self, geometry: &Geometry, direct_io: DirectIo) -> DeviceResult<UnfinishedDevice> {
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
        let header = Header { device_id: rand::random(), geometry };
        let file = self.file.try_clone().map_err(failure("opening", &self.path))?;
        UnfinishedDevice::on_block_device(file, &self.path, header, direct_io, || self.erase())
    }

    /// Erases what others would recognise the device by, and tells it that nothing is in use. The marks of the unfinished
    /// device stay.
    fn erase(&self) -> std::io::Result<()> {
        let head_bytes = self.length_bytes.min(LOOKED_AT_BYTES as u64);
        give_back_to_device(&self.file, head_bytes, self.length_bytes - head_bytes)?;
        let mut marked_end = 0;
        for at_bytes in HEADER_AT_BYTES {
            self.write_zeros(marked_end, at_bytes)?;
            marked_end = at_bytes + HEADER_BYTES as u64;
        }
        self.write_zeros(marked_end, head_bytes)?;
        self.write_zeros(self.last_at_bytes().max(head_bytes), self.length_bytes)?;
        self.file.sync_all()
    }

    fn write_zeros(&self, from_bytes: u64, to_bytes: u64) -> std::io::Result<()> {
        let len = usize::try_from(to_bytes - from_bytes).expect("1 MiB at most");
        self.file.write_all_at(&vec![0; len], from_bytes)
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

/// Whether the first bytes of a device are those of one that was being made.
fn is_unfinished(first: &[u8]) -> bool {
    let copies = HEADER_AT_BYTES.iter().filter_map(|&at_bytes| {
        let bytes = first.get(usize::try_from(at_bytes).ok()?..)?.first_chunk::<HEADER_BYTES>()?;
        Some(Header::decode(bytes))
    });
    let copies: Vec<_> = copies.collect();
    copies.contains(&Err(LayoutError::Unfinished)) && !copies.iter().any(Result::is_ok)
}
