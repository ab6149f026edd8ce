//! Where salvaged bytes come from: the zones of a device, whatever state its own structures are in.
//!
//! Of a file all zones are read to their capacity, whatever the zone table says of write pointers: what was written counts,
//! and which filling of a zone it belongs to is told by its units. A zoned drive keeps its write pointers itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::device::emulated::{Access, DirectIo, Flaw, Inspected};
use crate::device::{Geometry, Place, ZoneState, ZonedDevice, open_device, place_at};
use crate::error::{EngineError, EngineResult};
use crate::format::manifest::{DeviceSizes, Manifest};
use crate::units::{ZoneId, ZoneOffset};

/// Sizes that somebody knows of a device that no longer tells them itself. Those that are `None` are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownSizes {
    /// The smallest unit of reading and appending.
    pub block_bytes: Option<u32>,
    /// From one zone start to the next.
    pub zone_size_bytes: Option<u64>,
    /// What can be written in a zone.
    pub zone_capacity_bytes: Option<u64>,
    /// How many zones there are.
    pub zone_count: Option<u32>,
}

/// A device to be read.
#[derive(Debug)]
pub(super) struct Source {
    medium: Medium,
    pub(super) sizes: DeviceSizes,
    /// All that is known of the device, where its header is whole.
    pub(super) geometry: Option<Geometry>,
    /// How it is known what the sizes are, where that is not from the device itself.
    pub(super) sizes_from: Option<&'static str>,
}

#[derive(Debug)]
enum Medium {
    File { file: Inspected, first_zone_at_bytes: u64 },
    Device(Arc<dyn ZonedDevice>),
}

/// Bytes searched for a manifest where nothing else tells the sizes: all places at which the first zone may begin.
const SEARCHED_BYTES: u64 = 72 << 20;
const MANIFEST_MAGIC: &[u8] = b"ZMAN";

impl Source {
    pub(super) fn open(path: &Path, known: &KnownSizes) -> EngineResult<Self> {
        match place_at(path)? {
            Place::ZonedBlockDevice | Place::CharacterDevice => {
                Ok(Self::of_device(open_device(path, Access::ReadOnly, DirectIo::Off)?))
            }
            _ => Self::of_file(Inspected::open(path)?, known),
        }
    }

    pub(super) fn of_device(device: Arc<dyn ZonedDevice>) -> Self {
        let geometry = *device.geometry();
        let sizes = DeviceSizes::of(&geometry);
        Self { medium: Medium::Device(device), sizes, geometry: Some(geometry), sizes_from: None }
    }

    fn of_file(file: Inspected, known: &KnownSizes) -> EngineResult<Self> {
        let geometry = file.geometry().copied();
        let (sizes, sizes_from) = match geometry {
            Some(geometry) => (DeviceSizes::of(&geometry), None),
            None => find_sizes(&file, known)?,
        };
        let first_zone_at_bytes = Inspected::first_zone_at_bytes(sizes.zone_count);
        Ok(Self { medium: Medium::File { file, first_zone_at_bytes }, sizes, geometry, sizes_from })
    }

    /// What the device holds in memory that outlives processes.
    pub(super) fn kept_bytes(&self) -> Vec<u8> {
        match &self.medium {
            Medium::File { file, .. } => file.kept_bytes(self.sizes.zone_count, self.sizes.zone_size_bytes),
            // Only emulated devices have any, and those are read as files.
            Medium::Device(_) => Vec::new(),
        }
    }

    pub(super) fn flaws(&self) -> &[Flaw] {
        match &self.medium {
            Medium::File { file, .. } => file.flaws(),
            Medium::Device(_) => &[],
        }
    }

    pub(super) fn zones(&self) -> impl Iterator<Item = ZoneId> + use<> {
        (0..self.sizes.zone_count).map(ZoneId::new)
    }

    /// How often the device says that a zone has been reset; `None` where it does not know.
    pub(super) fn reset_count(&self, zone: ZoneId) -> Option<u32> {
        match &self.medium {
            Medium::File { file, .. } => file.reset_count(zone, self.geometry.as_ref()?),
            Medium::Device(device) => device.report(zone).ok().map(|report| report.reset_count),
        }
    }

    /// How far a zone has been written according to the device; `None` where it does not know.
    pub(super) fn written_bytes(&self, zone: ZoneId) -> Option<u64> {
        match &self.medium {
            Medium::File { file, .. } => file.written_bytes(zone, self.geometry.as_ref()?),
            Medium::Device(_) => Some(self.end_bytes(zone)),
        }
    }

    /// How far a zone may be written.
    pub(super) fn end_bytes(&self, zone: ZoneId) -> u64 {
        match &self.medium {
            Medium::File { .. } => self.sizes.zone_capacity_bytes,
            Medium::Device(device) => match device.report(zone) {
                Ok(report) if matches!(report.state, ZoneState::Offline | ZoneState::NotWritePointer) => 0,
                Ok(report) => report.write_pointer.get(),
                Err(_) => 0,
            },
        }
    }

    /// The zones that may hold the manifest.
    pub(super) fn manifest_zones(&self) -> Vec<ZoneId> {
        let has_pointer = |zone: &ZoneId| match &self.medium {
            Medium::File { .. } => true,
            Medium::Device(device) => {
                device.report(*zone).is_ok_and(|report| report.state != ZoneState::NotWritePointer)
            }
        };
        self.zones().filter(has_pointer).take(2).collect()
    }

    /// The place in the file or device, for people who look there with other tools.
    pub(super) fn device_byte(&self, zone: ZoneId, offset: ZoneOffset) -> Option<u64> {
        match &self.medium {
            Medium::File { first_zone_at_bytes, .. } => {
                Some(first_zone_at_bytes + u64::from(zone.get()) * self.sizes.zone_size_bytes + offset.get())
            }
            Medium::Device(device) => device.device_byte(zone, offset),
        }
    }

    /// The first place in a zone, from one on, that may hold anything but zeros.
    fn next_data(&self, zone: ZoneId, offset: u64) -> u64 {
        match &self.medium {
            Medium::File { file, first_zone_at_bytes } => {
                let start = first_zone_at_bytes + u64::from(zone.get()) * self.sizes.zone_size_bytes;
                file.next_data(start + offset) - start
            }
            Medium::Device(_) => offset,
        }
    }

    /// Reads whole blocks; those that cannot be read are zeros. False when there are such.
    fn read(&self, zone: ZoneId, offset: u64, into: &mut [u8]) -> bool {
        match &self.medium {
            Medium::File { file, first_zone_at_bytes } => {
                let start = first_zone_at_bytes + u64::from(zone.get()) * self.sizes.zone_size_bytes;
                file.read(start + offset, into)
            }
            Medium::Device(device) => {
                let read = device.read(zone, ZoneOffset::new(offset), into);
                if read.is_err() {
                    into.fill(0);
                }
                read.is_ok()
            }
        }
    }
}

/// The sizes of a file without a header: as given, or as its manifest has them.
fn find_sizes(file: &Inspected, known: &KnownSizes) -> EngineResult<(DeviceSizes, Option<&'static str>)> {
    let KnownSizes { block_bytes, zone_size_bytes, zone_capacity_bytes, zone_count } = *known;
    let found = sizes_in_manifest(file);
    let source = if found.is_some() { "a manifest" } else { "the options" };
    let pick = || {
        let zone_size_bytes = zone_size_bytes.or(found.map(|found| found.zone_size_bytes))?;
        Some(DeviceSizes {
            block_bytes: block_bytes.or(found.map(|found| found.block_bytes)).unwrap_or(4096),
            zone_size_bytes,
            zone_capacity_bytes: zone_capacity_bytes
                .or(found.map(|found| found.zone_capacity_bytes))
                .unwrap_or(zone_size_bytes),
            zone_count: zone_count
                .or(found.map(|found| found.zone_count))
                .or_else(|| count_zones(file, zone_size_bytes))?,
        })
    };
    let sizes = pick().ok_or_else(|| {
        let what = "neither a header nor a manifest can be read, so the sizes of the device are not known; give the zone \
                    size, and the zone capacity and block size where they are not the default";
        EngineError::ManifestDamaged(what.to_owned())
    })?;
    check_sizes(&sizes)?;
    Ok((sizes, Some(source)))
}

fn check_sizes(sizes: &DeviceSizes) -> EngineResult<()> {
    let geometry = Geometry {
        block_bytes: sizes.block_bytes,
        zone_size_bytes: sizes.zone_size_bytes,
        zone_capacity_bytes: sizes.zone_capacity_bytes,
        zone_count: sizes.zone_count,
        max_open_zones: 1,
        max_active_zones: 1,
        append_limit_bytes: sizes.block_bytes,
        volatile_cache: true,
    };
    geometry.validate().map_err(|error| EngineError::InvalidArgument(error.to_string()))
}

fn count_zones(file: &Inspected, zone_size_bytes: u64) -> Option<u32> {
    let zone_bytes = file.length_bytes().checked_sub(Inspected::first_zone_alignment_bytes())?;
    u32::try_from(zone_bytes.div_ceil(zone_size_bytes.max(1))).ok().filter(|&count| count > 0)
}

fn sizes_in_manifest(file: &Inspected) -> Option<DeviceSizes> {
    let alignment = Inspected::first_zone_alignment_bytes();
    let mut chunk = vec![0; usize::try_from(alignment).ok()?];
    let end = file.length_bytes().min(SEARCHED_BYTES);
    let mut at_bytes = alignment;
    while at_bytes < end {
        file.read(at_bytes, &mut chunk);
        for from in (0..chunk.len()).step_by(512).filter(|&from| chunk[from..].starts_with(MANIFEST_MAGIC)) {
            let found = decode_manifest(&chunk[from..]).and_then(|manifest| manifest.device);
            if found.is_some() {
                return found;
            }
        }
        at_bytes = file.next_data(at_bytes + alignment).max(at_bytes + alignment) / alignment * alignment;
    }
    None
}

/// A manifest, whatever filling of its zone it is of.
pub(super) fn decode_manifest(from: &[u8]) -> Option<Manifest> {
    let written_after = u32::from_le_bytes(*from.get(20..24)?.first_chunk()?);
    Manifest::decode(from, written_after).ok().map(|(manifest, _)| manifest)
}

/// A zone's bytes, read ahead.
#[derive(Debug)]
pub(super) struct Window<'a> {
    source: &'a Source,
    pub(super) zone: ZoneId,
    pub(super) end: u64,
    memory: AlignedBuffer,
    start: u64,
    len: usize,
    /// Places of blocks that the device fails to read.
    unreadable: BTreeSet<u64>,
}

/// Runs of blocks that the device fails to read.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    pub(super) runs: Vec<UnreadableRun>,
}

impl Unreadable {
    /// Adds what a window has come across.
    pub(super) fn add(&mut self, window: &Window<'_>) {
        let block_bytes = u64::from(window.source.sizes.block_bytes);
        for &place in &window.unreadable {
            match self.runs.last_mut() {
                Some(run) if run.zone == window.zone && run.offset.get() + run.len_bytes == place => {
                    run.len_bytes += block_bytes;
                }
                _ => self.runs.push(UnreadableRun {
                    zone: window.zone,
                    offset: ZoneOffset::new(place),
                    len_bytes: block_bytes,
                }),
            }
        }
    }
}

/// Blocks that the device fails to read. What was in them counts as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableRun {
    /// The zone.
    pub zone: ZoneId,
    /// Where in the zone.
    pub offset: ZoneOffset,
    /// How many bytes.
    pub len_bytes: u64,
}

/// Read at once; the largest unit fits behind any place in the first half.
const WINDOW_BYTES: usize = 4 << 20;

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a Source, zone: ZoneId) -> Self {
        let end = source.end_bytes(zone);
        let memory =
            AlignedBuffer::zeroed(usize::try_from(end).map_or(WINDOW_BYTES, |end| end.min(WINDOW_BYTES)));
        Self { source, zone, end, memory, start: 0, len: 0, unreadable: BTreeSet::new() }
    }

    /// The bytes from a block on, `ahead` of them or up to the end of the zone.
    pub(super) fn from(&mut self, at: u64, ahead: usize) -> &[u8] {
        let wanted_end = self.end.min(at + ahead as u64);
        if at < self.start || wanted_end > self.start + self.len as u64 {
            self.fill(at);
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX).min(self.len);
        &self.memory[from..self.len]
    }

    /// The first block, from one on, that may hold anything.
    pub(super) fn next_data(&self, at: u64) -> u64 {
        let block = u64::from(self.source.sizes.block_bytes);
        (self.source.next_data(self.zone, at) / block * block).clamp(at, self.end.max(at))
    }

    fn fill(&mut self, at: u64) {
        let left = self.end.saturating_sub(at);
        self.start = at;
        self.len = usize::try_from(left).map_or(self.memory.len(), |left| left.min(self.memory.len()));
        let into = &mut self.memory[..self.len];
        if self.source.read(self.zone, at, into) {
            return;
        }
        let block = self.source.sizes.block_bytes as usize;
        for (place, into) in (at..).step_by(block).zip(into.chunks_mut(block)) {
            if !self.source.read(self.zone, place, into) {
                self.unreadable.insert(place);
            }
        }
    }
}
