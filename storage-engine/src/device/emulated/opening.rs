//! Opening the file of a device, and recognising one.
//!
//! Recognising changes nothing: whatever is wrong with a file is said with an error of its own, and its bytes stay.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::file::{DeviceFile, Medium, length_bytes};
use super::layout::{
    DATA_ALIGNMENT_BYTES, ENTRY_BYTES, FORMAT_VERSION, HEADER_AT_BYTES, HEADER_BYTES, Header, LayoutError,
    SESSION_AT_BYTES, SESSION_BYTES, Session, TABLE_AT_BYTES, ZoneEntry, entry_at_bytes, file_bytes,
};
use super::making::begin_in_file;
use super::reckoning::{Trust, reckon, torn};
use super::stable::StableTable;
use super::stay::with_stay;
use super::table::Table;
use super::{Access, DirectIo};
use crate::device::block::{BlockNode, claim};
use crate::device::direct::read_until_end;
use crate::device::{DeviceError, DeviceResult, Geometry, lock};
use crate::units::ZoneId;

/// Makes a new device and opens it for writing; what was made goes away again when that fails.
pub(super) fn create(
    path: &Path,
    geometry: &Geometry,
    direct_io: DirectIo,
    boot_id: [u8; 16],
) -> DeviceResult<StableTable> {
    let (_, draft) = begin_in_file(path, geometry, boot_id)?;
    let made = load(draft.publish()?, path, Access::ReadWrite, direct_io, boot_id);
    if made.is_err() {
        // The first error is the one worth telling.
        let _ = fs::remove_file(path);
    }
    made
}

/// Opens a device that is there.
pub(super) fn open(
    path: &Path,
    access: Access,
    direct_io: DirectIo,
    boot_id: [u8; 16],
) -> DeviceResult<StableTable> {
    load(open_file(path, access)?, path, access, direct_io, boot_id)
}

/// Opens and locks what may hold a device, without a look at what is in it.
pub(super) fn open_file(path: &Path, access: Access) -> DeviceResult<File> {
    // Opening a pipe or a drive can have effects of its own, so look before opening.
    let metadata = fs::metadata(path)
        .map_err(|error| missing_target(path).unwrap_or_else(|| failure("looking at", path)(error)))?;
    if metadata.file_type().is_block_device() {
        return claim(path, access, &BlockNode::new(path, &metadata));
    }
    if !metadata.is_file() {
        return Err(DeviceError::NotOurs { path: path.to_owned(), why: "it is no regular file".to_owned() });
    }
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::ReadWrite);
    let file = options.open(path).map_err(failure("opening", path))?;
    lock::take(&file, path, access)?;
    Ok(file)
}

/// What to say of a symbolic link that leads nowhere.
fn missing_target(path: &Path) -> Option<DeviceError> {
    let target = fs::read_link(path).ok()?;
    let why = format!("it is a symbolic link to {}, where nothing is", target.display());
    Some(DeviceError::NotOurs { path: path.to_owned(), why })
}

/// The boot that the machine runs under; a number of its own where the system does not tell.
pub(super) fn present_boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_or_else(|_| rand::random(), u128::to_be_bytes)
}

pub(super) fn load(
    file: File,
    path: &Path,
    access: Access,
    direct_io: DirectIo,
    boot_id: [u8; 16],
) -> DeviceResult<StableTable> {
    let image = Image { file: &file, path };
    let geometry = image.read_header()?.geometry;
    load_laid_out(file, path, &geometry, (access, direct_io), boot_id)
}

/// The same where the header is known already.
pub(super) fn load_laid_out(
    file: File,
    path: &Path,
    geometry: &Geometry,
    (access, direct_io): (Access, DirectIo),
    boot_id: [u8; 16],
) -> DeviceResult<StableTable> {
    let (image, geometry) = (Image { file: &file, path }, *geometry);
    let boot_id = with_stay(boot_id, &file.metadata().map_err(failure("looking at", path))?);
    image.check_length(&geometry)?;
    let trust = Trust::after(&image.read_session()?, boot_id);
    let found = image.read_entries(&geometry, trust)?;
    let whole = |(zone, entry): (ZoneId, &Result<ZoneEntry, TornEntry>)| {
        entry.unwrap_or_else(|TornEntry { reset_count }| torn(zone, reset_count, &geometry))
    };
    let whole: Vec<ZoneEntry> = geometry.zones().zip(&found).map(whole).collect();
    let found = found.into_iter().map(Result::ok).collect();
    let table = Table::new(geometry, &reckon(&whole, trust, &geometry));
    let file = DeviceFile::new(file, path, access, direct_io, geometry.block_bytes)
        .map_err(failure("opening for data", path))?;
    Ok(StableTable::new(path.to_owned(), file, table, found, boot_id))
}

/// What is left of an entry of the zone table that was torn.
#[derive(Clone, Copy)]
struct TornEntry {
    reset_count: u32,
}

/// A file that may hold a device.
struct Image<'file> {
    file: &'file File,
    path: &'file Path,
}

impl Image<'_> {
    fn read_header(&self) -> DeviceResult<Header> {
        let mut copies = Vec::new();
        for at_bytes in HEADER_AT_BYTES {
            copies.push(Header::decode(&self.read_array::<HEADER_BYTES>(at_bytes)?));
        }
        if let Some(header) = copies.iter().find_map(|copy| copy.as_ref().ok()) {
            return Ok(*header);
        }
        Err(self.name_bad_header(&copies)?)
    }

    /// Tells what a file is that has no good header.
    fn name_bad_header(&self, copies: &[Result<Header, LayoutError>]) -> DeviceResult<DeviceError> {
        let path = self.path.to_owned();
        let found_bytes = self.length_bytes()?;
        let known = FORMAT_VERSION;
        let mut errors = copies.iter().filter_map(|copy| copy.as_ref().err());
        if copies.contains(&Err(LayoutError::Unfinished)) {
            let why = "making a store on it was begun and not finished; `create` does it anew";
            return Ok(DeviceError::NotOurs { path, why: why.to_owned() });
        }
        if let Some(found) = errors.clone().find_map(LayoutError::version) {
            return Ok(DeviceError::UnknownVersion { path, found, known });
        }
        let Some(damage) = errors.find_map(LayoutError::damage) else {
            let metadata = self.file.metadata().map_err(failure("looking at", self.path))?;
            let why = match Medium::of(&metadata) {
                Medium::BlockDevice => {
                    "it is a block device that has not been made a store; `create` does that"
                }
                Medium::Regular if found_bytes == 0 => "it is empty",
                Medium::Regular => "it does not begin as one",
            };
            return Ok(DeviceError::NotOurs { path, why: why.to_owned() });
        };
        if found_bytes < DATA_ALIGNMENT_BYTES {
            let expected_bytes = DATA_ALIGNMENT_BYTES;
            return Ok(DeviceError::CutShort { path, found_bytes, expected_bytes });
        }
        Ok(self.damaged(format!("no copy of the header is good: {damage}"), HEADER_AT_BYTES[0]))
    }

    fn check_length(&self, geometry: &Geometry) -> DeviceResult<()> {
        let expected_bytes = file_bytes(geometry).map_err(|what| self.damaged(what, HEADER_AT_BYTES[0]))?;
        let found_bytes = self.length_bytes()?;
        if found_bytes >= expected_bytes {
            return Ok(());
        }
        Err(DeviceError::CutShort { path: self.path.to_owned(), found_bytes, expected_bytes })
    }

    fn read_session(&self) -> DeviceResult<Session> {
        let bytes = self.read_array::<SESSION_BYTES>(SESSION_AT_BYTES)?;
        Session::decode(&bytes)
            .map_err(|error| self.damaged(format!("session block: {error}"), SESSION_AT_BYTES))
    }

    /// The entries of all zones, or what is left of those that were torn when the machine went down.
    fn read_entries(
        &self,
        geometry: &Geometry,
        trust: Trust,
    ) -> DeviceResult<Vec<Result<ZoneEntry, TornEntry>>> {
        let mut table = vec![0; geometry.zone_count as usize * ENTRY_BYTES];
        self.read(TABLE_AT_BYTES, &mut table)?;
        let (entries, _) = table.as_chunks::<ENTRY_BYTES>();
        let decode = |(zone, bytes): (ZoneId, &[u8; ENTRY_BYTES])| match (
            ZoneEntry::decode(bytes, zone, geometry),
            trust,
        ) {
            (Ok(entry), _) => Ok(Ok(entry)),
            (Err(_), Trust::Bounds) => Ok(Err(TornEntry { reset_count: ZoneEntry::reset_count_in(bytes) })),
            (Err(error), Trust::WritePointers) => {
                Err(self.damaged(format!("entry of {zone}: {error}"), entry_at_bytes(zone)))
            }
        };
        geometry.zones().zip(entries).map(decode).collect()
    }

    fn damaged(&self, what: String, at_bytes: u64) -> DeviceError {
        DeviceError::Damaged { path: self.path.to_owned(), what, at_bytes }
    }

    fn length_bytes(&self) -> DeviceResult<u64> {
        length_bytes(self.file).map_err(failure("looking at", self.path))
    }

    /// Reads a structure; bytes beyond the end of the file are zeros.
    fn read_array<const LENGTH: usize>(&self, at_bytes: u64) -> DeviceResult<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        self.read(at_bytes, &mut bytes)?;
        Ok(bytes)
    }

    fn read(&self, at_bytes: u64, into: &mut [u8]) -> DeviceResult<()> {
        read_until_end(self.file, at_bytes, into).map(|_| ()).map_err(failure("reading", self.path))
    }
}

/// An error of the operating system; that there is nothing at the path has an error of its own.
pub(super) fn failure<'path>(
    doing: &'static str,
    path: &'path Path,
) -> impl FnOnce(io::Error) -> DeviceError + 'path {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => DeviceError::NotFound { path: path.to_owned() },
        _ => DeviceError::Io { action: format!("{doing} {}", path.display()), source },
    }
}
