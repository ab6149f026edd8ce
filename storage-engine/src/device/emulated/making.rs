//! Making devices: everything is written and flushed before anybody can find the device.
//!
//! In a file: the file has no name until it is finished ([`Draft`]). On a block device, which is always there, both places
//! of the header say "unfinished" from before the first change until everything else is on stable media; what is found
//! so is no device, and may be made one anew without asking.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::draft::Draft;
use super::layout::{
    HEADER_AT_BYTES, HEADER_BYTES, Header, SESSION_AT_BYTES, Session, TABLE_AT_BYTES, ZoneEntry, file_bytes,
};
use super::opening::{failure, load_laid_out, present_boot_id};
use super::{Access, DirectIo, EmulatedDevice};
use crate::device::{DeviceError, DeviceResult, Geometry, lock};

/// A device that nobody can find yet. Dropped, it has never been, or on a block device it is marked as unfinished.
#[derive(Debug)]
pub struct UnfinishedDevice {
    device: Arc<EmulatedDevice>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(Draft),
    BlockDevice { file: File, path: PathBuf, header: Header },
}

impl UnfinishedDevice {
    /// Lays a device out in a file that will be at `path`. The geometry's `volatile_cache` is taken to be true.
    ///
    /// # Errors
    /// [`DeviceError::InvalidGeometry`], [`DeviceError::AlreadyExists`], [`DeviceError::NotFound`] for the directory,
    /// [`DeviceError::Locked`] when somebody else is making one there, [`DeviceError::Io`].
    pub fn in_file(path: impl AsRef<Path>, geometry: &Geometry) -> DeviceResult<Self> {
        let boot_id = present_boot_id();
        let (header, draft) = begin_in_file(path.as_ref(), geometry, boot_id)?;
        let file = draft.file().try_clone().map_err(failure("opening", draft.path()))?;
        let place = Place::File(draft);
        Self::over(file, path.as_ref(), (header, boot_id), DirectIo::Off, place)
    }

    /// Marks a block device as unfinished and lays a device out on it. What was there is gone.
    pub(super) fn on_block_device(
        file: File,
        path: &Path,
        header: Header,
        direct_io: DirectIo,
        erase: impl FnOnce() -> io::Result<()>,
    ) -> DeviceResult<Self> {
        let boot_id = present_boot_id();
        write_headers(&file, &header.encode_unfinished())
            .and_then(|()| erase())
            .and_then(|()| write_state(&file, &header, boot_id))
            .and_then(|()| file.sync_all())
            .map_err(failure("writing", path))?;
        let own = file.try_clone().map_err(failure("opening", path))?;
        let place = Place::BlockDevice { file, path: path.to_owned(), header };
        Self::over(own, path, (header, boot_id), direct_io, place)
    }

    fn over(
        file: File,
        path: &Path,
        (header, boot_id): (Header, [u8; 16]),
        direct_io: DirectIo,
        place: Place,
    ) -> DeviceResult<Self> {
        let stable = load_laid_out(file, path, &header.geometry, (Access::ReadWrite, direct_io), boot_id)?;
        Ok(Self { device: Arc::new(EmulatedDevice::over(stable, Access::ReadWrite)), place })
    }

    /// The device, to be written to and flushed.
    #[must_use]
    pub fn device(&self) -> Arc<EmulatedDevice> {
        Arc::clone(&self.device)
    }

    /// Ends the session and lets the device be found. On return it is on stable media, and free for others.
    ///
    /// # Errors
    /// [`DeviceError::AlreadyExists`] when something else is at the path by now; [`DeviceError::Io`].
    pub fn finish(self) -> DeviceResult<()> {
        self.device.stable.close()?;
        match self.place {
            Place::File(draft) => draft.publish().map(drop)?,
            Place::BlockDevice { file, path, header } => {
                write_headers(&file, &header.encode()).map_err(failure("writing", &path))?;
            }
        }
        // A process that is just being forked off has the descriptors, too.
        lock::give_up(self.device.stable.file().locked(), self.device.path())
    }
}

/// Makes a file with an empty device in it, whole but for its name.
pub(super) fn begin_in_file(
    path: &Path,
    geometry: &Geometry,
    boot_id: [u8; 16],
) -> DeviceResult<(Header, Draft)> {
    // Any file has the page cache of the host before it.
    let geometry = Geometry { volatile_cache: true, ..*geometry };
    geometry.validate()?;
    let length_bytes = file_bytes(&geometry).map_err(|what| DeviceError::InvalidGeometry { what })?;
    let header = Header { device_id: rand::random(), geometry };
    let draft = Draft::begin(path)?;
    let file = draft.file();
    file.set_len(length_bytes)
        .and_then(|()| write_state(file, &header, boot_id))
        .and_then(|()| write_headers(file, &header.encode()))
        .map_err(failure("writing", path))?;
    Ok((header, draft))
}

fn write_headers(file: &File, header: &[u8; HEADER_BYTES]) -> io::Result<()> {
    for at_bytes in HEADER_AT_BYTES {
        file.write_all_at(header, at_bytes)?;
    }
    file.sync_all()
}

/// Writes everything that an empty device consists of but the headers.
fn write_state(file: &File, header: &Header, boot_id: [u8; 16]) -> io::Result<()> {
    let table: Vec<u8> = header.geometry.zones().flat_map(|zone| ZoneEntry::empty(zone).encode()).collect();
    file.write_all_at(&table, TABLE_AT_BYTES)?;
    file.write_all_at(&Session { boot_id, clean: true }.encode(), SESSION_AT_BYTES)
}
