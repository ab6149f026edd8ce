//! Opening a zoned block device: who it is, who holds it, what its sizes and limits are. Changes nothing.
//!
//! Two descriptors. `claim` keeps others out: opened exclusively by a writer, so that the kernel refuses everybody else who
//! wants it for himself (a mount, a volume manager, another writer), and locked like an emulated device's file. `data`
//! bypasses the page cache, which would write in an order of its own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::ioctl::{self, ReportedZone};
use super::sysfs::{BlockNode, ZonedModel};
use super::zone::{KnownZone, is_conventional};
use crate::device::direct::DIRECT_FLAG;
use crate::device::emulated::Access;
use crate::device::presence::Presence;
use crate::device::{DeviceError, DeviceResult, Geometry, lock};
use crate::units::SECTOR_BYTES;

/// What the kernel maps of a write in one piece: so many pages, whatever the device could take.
const MAX_PAGES_A_WRITE: u64 = 256;
const PAGE_BYTES: u64 = 4096;

/// A zoned block device that was found in order.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) presence: Presence,
    pub(super) claim: File,
    pub(super) data: File,
    pub(super) geometry: Geometry,
    pub(super) zones: Vec<KnownZone>,
}

/// Opens the zoned block device at `path`.
pub(super) fn open(path: &Path, access: Access) -> DeviceResult<Opened> {
    let metadata = fs::metadata(path).map_err(failure("looking at", path))?;
    let not_ours = |why: &str| DeviceError::NotOurs { path: path.to_owned(), why: why.to_owned() };
    if !metadata.file_type().is_block_device() {
        return Err(not_ours("it is no block device"));
    }
    let node = BlockNode::new(path, &metadata);
    if node.is_partition() {
        return Err(not_ours("it is a partition of a zoned device; zones belong to the whole device"));
    }
    match node.zoned_model()? {
        ZonedModel::HostManaged => {}
        ZonedModel::HostAware => {
            return Err(not_ours("it is host-aware; host-managed devices are supported"));
        }
        ZonedModel::Conventional => return Err(not_ours("it is a block device without zones")),
    }
    let claim = claim(path, access, &node)?;
    let data = open_direct(path, access).map_err(failure("opening", path))?;
    check_same(path, &metadata, [&claim, &data])?;
    let reported = report_all(&data).map_err(failure("asking for the zones of", path))?;
    let geometry = geometry(&node, &data, &reported, path)?;
    let zones = learn_all(&reported, &geometry)?;
    Ok(Opened { presence: Presence::of(path, &metadata), claim, data, geometry, zones })
}

/// Opens a block device so that nobody else can have it, or, to read, so that no writer of ours can.
pub(in crate::device) fn claim(path: &Path, access: Access, node: &BlockNode) -> DeviceResult<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::ReadWrite);
    if access == Access::ReadWrite {
        options.custom_flags(EXCLUSIVE_FLAG);
    }
    let opened = options.open(path);
    if let Err(error) = &opened
        && Errno::from_io_error(error) == Some(Errno::BUSY)
    {
        return Err(who_holds(path, node));
    }
    let claim = opened.map_err(failure("opening", path))?;
    lock::take(&claim, path, access)?;
    Ok(claim)
}

/// A writer of ours is found by its lock, anybody else by what the kernel tells.
fn who_holds(path: &Path, node: &BlockNode) -> DeviceError {
    let ours = File::open(path).ok().and_then(|file| lock::take(&file, path, Access::ReadWrite).err());
    match ours {
        Some(locked @ DeviceError::Locked { .. }) => locked,
        _ => DeviceError::Locked { path: path.to_owned(), holder: node.holder(), holder_is_dying: false },
    }
}

#[expect(clippy::cast_possible_wrap, reason = "open flags are bits in a C int")]
const EXCLUSIVE_FLAG: i32 = OFlags::EXCL.bits() as i32;

fn open_direct(path: &Path, access: Access) -> io::Result<File> {
    OpenOptions::new().read(true).write(access == Access::ReadWrite).custom_flags(DIRECT_FLAG).open(path)
}

/// A node may be made to stand for another device between two openings.
fn check_same(path: &Path, looked_at: &fs::Metadata, opened: [&File; 2]) -> DeviceResult<()> {
    for file in opened {
        let metadata = file.metadata().map_err(failure("looking at", path))?;
        if metadata.rdev() != looked_at.rdev() {
            let source = io::Error::other("another device took its place meanwhile");
            return Err(failure("opening", path)(source));
        }
    }
    Ok(())
}

/// All zones of a device.
pub(super) fn report_all(device: &File) -> io::Result<Vec<ReportedZone>> {
    let zone_count = ioctl::zone_count(device)? as usize;
    let mut zones: Vec<ReportedZone> = Vec::with_capacity(zone_count);
    while zones.len() < zone_count {
        let from = zones.last().map_or(0, |zone| zone.start_sector + zone.size_sectors);
        let more = ioctl::report_zones(device, from, zone_count - zones.len())?;
        if more.is_empty() {
            let what = format!("the report ends after {} of {zone_count} zones", zones.len());
            return Err(io::Error::other(what));
        }
        zones.extend(more);
    }
    Ok(zones)
}

fn geometry(node: &BlockNode, device: &File, zones: &[ReportedZone], path: &Path) -> DeviceResult<Geometry> {
    let zone_sectors = ioctl::zone_sectors(device).map_err(failure("asking for the zone size of", path))?;
    let zone_count = regular_zone_count(zones, zone_sectors)?;
    let zone_capacity_bytes = zone_capacity_bytes(&zones[..zone_count as usize])?;
    let logical_bytes: u32 = node.number("logical_block_size")?;
    // Host-managed disks may want whole physical blocks.
    let block_bytes = node.number_if_known("zone_write_granularity")?.unwrap_or(0).max(logical_bytes);
    let no_limit = |limit: u32| if limit == 0 { zone_count } else { limit.min(zone_count) };
    let max_active_zones = no_limit(node.number_if_known("max_active_zones")?.unwrap_or(0));
    let max_open_zones = no_limit(node.number_if_known("max_open_zones")?.unwrap_or(0));
    let geometry = Geometry {
        block_bytes,
        zone_size_bytes: zone_sectors * SECTOR_BYTES,
        zone_capacity_bytes,
        zone_count,
        max_open_zones: max_open_zones.min(max_active_zones),
        max_active_zones,
        append_limit_bytes: append_limit_bytes(node, block_bytes)?,
        volatile_cache: node.has_volatile_cache()?,
    };
    geometry.validate()?;
    Ok(geometry)
}

/// The largest write that the kernel hands to the device in one piece.
fn append_limit_bytes(node: &BlockNode, block_bytes: u32) -> DeviceResult<u32> {
    let request_bytes = node.number::<u64>("max_sectors_kb")? * 1024;
    // Memory may be scattered: each of its pages may take a segment.
    let segments = node.number::<u64>("max_segments")?.min(MAX_PAGES_A_WRITE);
    let limit_bytes = request_bytes.min(segments * PAGE_BYTES);
    let whole_blocks = limit_bytes - limit_bytes % u64::from(block_bytes.max(1));
    Ok(u32::try_from(whole_blocks).expect("256 pages are 1 MiB"))
}

/// How many zones there are but for a shorter one at the end, which is left alone.
fn regular_zone_count(zones: &[ReportedZone], zone_sectors: u64) -> DeviceResult<u32> {
    let shorter = zones.last().is_some_and(|zone| zone.size_sectors < zone_sectors);
    let regular = &zones[..zones.len() - usize::from(shorter)];
    let mut starts = (0..).map(|number: u64| number * zone_sectors);
    let is_regular =
        |zone: &ReportedZone| Some(zone.start_sector) == starts.next() && zone.size_sectors == zone_sectors;
    if zone_sectors == 0 || !regular.iter().all(is_regular) {
        let what = format!("zones that are not all of {zone_sectors} sectors, one after another");
        return Err(DeviceError::InvalidGeometry { what });
    }
    u32::try_from(regular.len()).map_err(|_| DeviceError::InvalidGeometry {
        what: format!("{} zones; zone numbers have 32 bits", regular.len()),
    })
}

/// What each zone with a write pointer holds.
fn zone_capacity_bytes(zones: &[ReportedZone]) -> DeviceResult<u64> {
    let mut capacities =
        zones.iter().filter(|zone| !is_conventional(zone)).map(|zone| zone.capacity_sectors * SECTOR_BYTES);
    let Some(first) = capacities.next() else {
        return Err(DeviceError::InvalidGeometry { what: "no zone that has a write pointer".to_owned() });
    };
    match capacities.find(|&other| other != first) {
        None => Ok(first),
        Some(other) => Err(DeviceError::InvalidGeometry {
            what: format!("zones of {first} and of {other} bytes of capacity; all must hold the same"),
        }),
    }
}

fn learn_all(reported: &[ReportedZone], geometry: &Geometry) -> DeviceResult<Vec<KnownZone>> {
    let learn = |zone| KnownZone::learn(zone, geometry.zone_capacity_bytes, None);
    let zones = reported.iter().take(geometry.zone_count as usize).map(learn);
    zones.collect::<Result<_, _>>().map_err(|what| DeviceError::InvalidGeometry { what })
}

/// An error of the operating system; that there is nothing at the path has an error of its own.
fn failure<'path>(doing: &'static str, path: &'path Path) -> impl FnOnce(io::Error) -> DeviceError + 'path {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => DeviceError::NotFound { path: path.to_owned() },
        _ => match Errno::from_io_error(&source) {
            Some(Errno::NODEV | Errno::NXIO) => DeviceError::Gone { path: path.to_owned() },
            _ => DeviceError::Io { action: format!("{doing} {}", path.display()), source },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{ReportedZone, regular_zone_count, zone_capacity_bytes};

    const SIZE: u64 = 8192;

    fn zones(count: u64) -> Vec<ReportedZone> {
        let zone = |number| ReportedZone {
            start_sector: number * SIZE,
            size_sectors: SIZE,
            capacity_sectors: 6144,
            kind: 2,
            condition: 1,
            ..ReportedZone::default()
        };
        (0..count).map(zone).collect()
    }

    #[test]
    fn a_shorter_zone_at_the_end_is_left_alone() {
        let mut zones = zones(5);
        assert_eq!(regular_zone_count(&zones, SIZE).expect("regular"), 5);
        zones[4].size_sectors = 100;
        assert_eq!(regular_zone_count(&zones, SIZE).expect("regular but for the last"), 4);
    }

    #[test]
    fn zones_of_differing_size_or_with_gaps_are_refused() {
        let mut shorter = zones(5);
        shorter[2].size_sectors = 100;
        let mut gap = zones(5);
        gap.remove(2);
        for zones in [shorter, gap, Vec::new()] {
            let size = if zones.is_empty() { 0 } else { SIZE };
            let error = regular_zone_count(&zones, size).expect_err("irregular");
            assert!(error.to_string().contains("not all of"), "{error}");
        }
    }

    #[test]
    fn zones_must_hold_the_same_but_for_conventional_ones() {
        let mut zones = zones(4);
        (zones[0].kind, zones[0].capacity_sectors) = (1, SIZE);
        assert_eq!(zone_capacity_bytes(&zones).expect("equal"), 6144 * 512);
        zones[3].capacity_sectors = 4096;
        let error = zone_capacity_bytes(&zones).expect_err("unequal").to_string();
        assert!(error.contains("3145728") && error.contains("2097152"), "{error}");
        zones.iter_mut().for_each(|zone| zone.kind = 1);
        let error = zone_capacity_bytes(&zones).expect_err("conventional").to_string();
        assert!(error.contains("no zone that has a write pointer"), "{error}");
    }
}
