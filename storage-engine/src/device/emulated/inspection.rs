//! Reads the file of a device in spite of damage: each structure of it by itself, and then the bytes of its zones.
//!
//! Opening stops at the first thing that is wrong, because a device that is written to must be whole. This is for those
//! who look for damage or save what is left. Nothing is changed, and nothing that is found is counted on: what is damaged
//! is named, and what cannot be read is zeros.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use super::Access;
use super::file::{Medium, length_bytes};
use super::layout::{
    DATA_ALIGNMENT_BYTES, ENTRY_BYTES, HEADER_AT_BYTES, HEADER_BYTES, Header, KEPT_MEMORY_BYTES,
    KEPT_MEMORY_LEN, LayoutError, SESSION_AT_BYTES, SESSION_BYTES, Session, ZoneEntry, data_start_bytes,
    entry_at_bytes, file_bytes, kept_memory_at_bytes,
};
use super::opening::{failure, open_file, present_boot_id};
use super::reckoning::Trust;
use super::stay::with_stay;
use crate::device::direct::read_until_end;
use crate::device::{DeviceError, DeviceResult, Geometry};
use crate::units::ZoneId;

/// Something of the file, outside its zones, that is not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// Where, in bytes from the start of the file.
    pub at_bytes: u64,
    /// What is wrong.
    pub what: String,
}

/// A file that holds a device, or what is left of one.
#[derive(Debug)]
pub struct Inspected {
    file: File,
    path: PathBuf,
    medium: Medium,
    length_bytes: u64,
    geometry: Option<Geometry>,
    /// What of the zone table is to be believed; `None` where the session block does not tell.
    trust: Option<Trust>,
    flaws: Vec<Flaw>,
}

impl Inspected {
    /// Looks at everything but the zones.
    ///
    /// # Errors
    /// [`DeviceError::NotFound`], [`DeviceError::NotOurs`] for what is no file, [`DeviceError::UnknownVersion`],
    /// [`DeviceError::Locked`], [`DeviceError::Io`]. Damage is none.
    pub fn open(path: &Path) -> DeviceResult<Self> {
        let file = open_file(path, Access::ReadOnly)?;
        let metadata = file.metadata().map_err(failure("looking at", path))?;
        let length_bytes = length_bytes(&file).map_err(failure("looking at", path))?;
        let medium = Medium::of(&metadata);
        let path = path.to_owned();
        let mut found =
            Self { file, path, medium, length_bytes, geometry: None, trust: None, flaws: Vec::new() };
        found.geometry = found.look_at_headers()?;
        if let Some(geometry) = found.geometry {
            found.look_at_the_rest(&geometry, with_stay(present_boot_id(), &metadata));
        }
        Ok(found)
    }

    /// What is wrong outside the zones, in the order of the file.
    #[must_use]
    pub fn flaws(&self) -> &[Flaw] {
        &self.flaws
    }

    /// What a good copy of the header says; `None` where there is none.
    #[must_use]
    pub fn geometry(&self) -> Option<&Geometry> {
        self.geometry.as_ref()
    }

    /// How long the file is.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Where the first zone begins in a file of so many zones.
    #[must_use]
    pub fn first_zone_at_bytes(zone_count: u32) -> u64 {
        data_start_bytes(zone_count)
    }

    /// The alignment of the first zone.
    #[must_use]
    pub fn first_zone_alignment_bytes() -> u64 {
        DATA_ALIGNMENT_BYTES
    }

    /// What the memory holds that is kept behind so many zones; empty where there is none.
    #[must_use]
    pub fn kept_bytes(&self, zone_count: u32, zone_size_bytes: u64) -> Vec<u8> {
        let at_bytes = kept_memory_at_bytes(zone_count, zone_size_bytes);
        let mut bytes = vec![0; KEPT_MEMORY_LEN];
        let is_there = self.length_bytes >= at_bytes + KEPT_MEMORY_BYTES && self.read(at_bytes, &mut bytes);
        if is_there { bytes } else { Vec::new() }
    }

    /// How often a zone has been reset, where its entry in the zone table is whole.
    #[must_use]
    pub fn reset_count(&self, zone: ZoneId, geometry: &Geometry) -> Option<u32> {
        let bytes = self.array::<ENTRY_BYTES>(entry_at_bytes(zone));
        ZoneEntry::decode(&bytes, zone, geometry).ok().map(|entry| entry.reset_count)
    }

    /// How far a zone may have been written, where its entry in the zone table and the session block are whole.
    #[must_use]
    pub fn written_bytes(&self, zone: ZoneId, geometry: &Geometry) -> Option<u64> {
        let bytes = self.array::<ENTRY_BYTES>(entry_at_bytes(zone));
        let entry = ZoneEntry::decode(&bytes, zone, geometry).ok()?;
        Some(match self.trust? {
            Trust::WritePointers => entry.write_pointer.get(),
            Trust::Bounds => entry.bound.get(),
        })
    }

    /// Reads bytes of the file. What lies behind its end or cannot be read is zeros; false when something could not be.
    pub fn read(&self, at_bytes: u64, into: &mut [u8]) -> bool {
        into.fill(0);
        read_until_end(&self.file, at_bytes, into).is_ok()
    }

    /// The first byte, from a place on, that may be anything but zero: where the file system has blocks.
    #[must_use]
    pub fn next_data(&self, at_bytes: u64) -> u64 {
        if self.medium == Medium::BlockDevice || at_bytes >= self.length_bytes {
            return at_bytes;
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(at_bytes)) {
            Ok(data_at) => data_at,
            Err(rustix::io::Errno::NXIO) => self.length_bytes,
            Err(_) => at_bytes,
        }
    }

    fn array<const LENGTH: usize>(&self, at_bytes: u64) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        self.read(at_bytes, &mut bytes);
        bytes
    }

    fn note(&mut self, at_bytes: u64, what: String) {
        self.flaws.push(Flaw { at_bytes, what });
    }

    fn look_at_headers(&mut self) -> DeviceResult<Option<Geometry>> {
        let copies = HEADER_AT_BYTES.map(|at_bytes| Header::decode(&self.array::<HEADER_BYTES>(at_bytes)));
        for (at_bytes, name, copy) in HEADER_AT_BYTES
            .into_iter()
            .zip(["A", "B"])
            .zip(&copies)
            .map(|((at, name), copy)| (at, name, copy))
        {
            match copy {
                Ok(_) => {}
                // Somebody began to make another device here and was stopped before anything else was changed, or just before
                // the end: the other copy counts.
                Err(LayoutError::Unfinished) if copies.iter().any(Result::is_ok) => {}
                Err(LayoutError::Foreign) => {
                    self.note(at_bytes, format!("header, copy {name}: it does not begin as one"));
                }
                Err(error) => self.note(at_bytes, format!("header, copy {name}: {error}")),
            }
        }
        let good: Vec<&Header> = copies.iter().filter_map(|copy| copy.as_ref().ok()).collect();
        if let [first, second] = good[..]
            && first != second
        {
            self.note(HEADER_AT_BYTES[1], "header, copy B: it is another device's".to_owned());
        }
        let unknown = copies.iter().filter_map(|copy| copy.as_ref().err()).find_map(LayoutError::version);
        match (good.first(), unknown) {
            (Some(header), _) => Ok(Some(header.geometry)),
            (None, Some(found)) => Err(DeviceError::UnknownVersion {
                path: self.path.clone(),
                found,
                known: super::layout::FORMAT_VERSION,
            }),
            (None, None) => Ok(None),
        }
    }

    fn look_at_the_rest(&mut self, geometry: &Geometry, boot_id: [u8; 16]) {
        let session = Session::decode(&self.array::<SESSION_BYTES>(SESSION_AT_BYTES));
        self.trust = session.as_ref().ok().map(|session| Trust::after(session, boot_id));
        if let Err(error) = session {
            self.note(SESSION_AT_BYTES, format!("session block: {error}"));
        }
        for zone in geometry.zones() {
            let bytes = self.array::<ENTRY_BYTES>(entry_at_bytes(zone));
            // After a power cut an entry may be torn: opening takes the zone for one that may hold anything.
            if let Err(error) = ZoneEntry::decode(&bytes, zone, geometry)
                && self.trust != Some(Trust::Bounds)
            {
                self.note(entry_at_bytes(zone), format!("entry of {zone} in the zone table: {error}"));
            }
        }
        let expected_bytes = file_bytes(geometry).unwrap_or_default();
        if self.length_bytes < expected_bytes {
            let what = format!("the file ends here; {expected_bytes} bytes belong to it");
            self.note(self.length_bytes, what);
        }
    }
}
