//! Opening a namespace: is it one, is it zoned, is it free, and what are its sizes and limits.
//!
//! Nothing is written, to the drive or elsewhere. Whatever the drive answers, the outcome is a device that keeps the rules or
//! an error that says which one is broken.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::command::Identify;
use super::hold::{self, Hold};
use super::identify::{BlockFormat, Controller, IdentifyData, ZonedNamespace, append_limit_bytes};
use super::known::Told;
use super::namespace::{Failure, Namespace};
use super::status::Status;
use super::sysfs::{self, SYSFS};
use super::zone_report::{self, ReportedZone, report_bytes};
use crate::buffer::AlignedBuffer;
use crate::device::emulated::Access;
use crate::device::presence::Presence;
use crate::device::{DeviceError, DeviceResult, Geometry, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

/// Less than any kernel lets one command move; for where it does not say.
const CAUTIOUS_LIMIT_BYTES: u64 = 256 << 10;
/// A command counts its blocks, from zero, in 16 bits.
const COMMAND_LIMIT_BLOCKS: u64 = 1 << 16;
/// Linux performs no larger transfer in one piece (`MAX_RW_COUNT`).
const LINUX_LIMIT_BYTES: u64 = 0x7fff_f000;
/// How many zones are asked for at a time: 64 KiB.
const ZONES_A_REPORT: usize = 1023;

/// What was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) namespace: Namespace,
    pub(super) hold: Hold,
    pub(super) presence: Presence,
    pub(super) controller: Controller,
    pub(super) geometry: Geometry,
    /// The most that one command moves.
    pub(super) transfer_limit_bytes: u32,
    /// One a zone.
    pub(super) zones: Vec<Told>,
}

pub(super) fn open(path: &Path, access: Access) -> DeviceResult<Opened> {
    let (directory, namespace) = open_namespace(path, access)?;
    let metadata = namespace.file().metadata().map_err(|source| io_error("looking at", path, source))?;
    let presence = Presence::of(path, &metadata);
    let block = sysfs::block_side(&directory, namespace.identifier());
    let hold = hold::take(namespace.file(), path, access, block.as_ref())?;
    let described = Described::ask(&namespace, path)?;
    let kernel_limit_bytes =
        block.and_then(|block| block.transfer_limit_bytes).unwrap_or(CAUTIOUS_LIMIT_BYTES);
    let (geometry, zones, transfer_limit_bytes) =
        described.with_zones(kernel_limit_bytes, |start_lba, report| {
            namespace
                .report_zones(start_lba, report)
                .map_err(|failure| plain_error(failure, "Zone Management Receive", path))
        })?;
    let controller = described.controller;
    let path = path.to_owned();
    Ok(Opened { path, namespace, hold, presence, controller, geometry, transfer_limit_bytes, zones })
}

/// The namespace, and its directory in sysfs.
fn open_namespace(path: &Path, access: Access) -> DeviceResult<(PathBuf, Namespace)> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DeviceError::NotFound { path: path.to_owned() },
        _ => io_error("looking at", path, source),
    })?;
    let number = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let known = sysfs::character_device(Path::new(SYSFS), number);
    let directory = match known {
        Some((directory, subsystem))
            if metadata.file_type().is_char_device() && subsystem == "nvme-generic" =>
        {
            directory
        }
        Some((_, subsystem)) if subsystem == "nvme" => {
            return Err(not_ours(path, "it is an NVMe controller; name a namespace of it: /dev/ngXnY"));
        }
        _ => return Err(not_ours(path, "it is a character device, but not an NVMe namespace (/dev/ngXnY)")),
    };
    let file = OpenOptions::new().read(true).write(access == Access::ReadWrite).open(path);
    let namespace = file.and_then(Namespace::over).map_err(|source| io_error("opening", path, source))?;
    Ok((directory, namespace))
}

/// What a drive says of itself.
#[derive(Debug)]
struct Described {
    controller: Controller,
    append_limit_bytes: Option<u64>,
    format: BlockFormat,
    zoned: ZonedNamespace,
}

impl Described {
    fn ask(namespace: &Namespace, path: &Path) -> DeviceResult<Self> {
        let ask = |what| {
            namespace.identify(what).map_err(|failure| match failure {
                Failure::Status(
                    Status::INVALID_FIELD | Status::INVALID_NAMESPACE | Status::INVALID_COMMAND_SET,
                ) if what == Identify::ZonedNamespace => not_zoned(path),
                failure => plain_error(failure, "Identify", path),
            })
        };
        // First, so that a drive that is not zoned is not asked what it does not know.
        let zoned = ask(Identify::ZonedNamespace)?;
        let [namespace, controller, zoned_controller] =
            [Identify::Namespace, Identify::Controller, Identify::ZonedController].map(ask);
        let described = Self::parse(&*namespace?, &zoned, &*controller?, &*zoned_controller?);
        if described.zoned.zone_size_blocks == 0 { Err(not_zoned(path)) } else { Ok(described) }
    }

    fn parse(
        namespace: &IdentifyData,
        zoned: &IdentifyData,
        controller: &IdentifyData,
        zoned_controller: &IdentifyData,
    ) -> Self {
        let format = BlockFormat::parse(namespace);
        Self {
            controller: Controller::parse(controller),
            append_limit_bytes: append_limit_bytes(zoned_controller),
            zoned: ZonedNamespace::parse(zoned, &format),
            format,
        }
    }

    /// Geometry, zones and transfer limit, given a way to fill a buffer with the report of the zones from a block on.
    fn with_zones(
        &self,
        kernel_limit_bytes: u64,
        report: impl Fn(u64, &mut [u8]) -> DeviceResult<()>,
    ) -> DeviceResult<(Geometry, Vec<Told>, u32)> {
        let (mut geometry, transfer_limit_bytes) = self.sizes(kernel_limit_bytes)?;
        let zone_count = self.zone_count()?;
        let mut zones: Vec<ReportedZone> = Vec::new();
        let largest = ZONES_A_REPORT.min(zone_report::zones_in(transfer_limit_bytes as usize)).max(1);
        while zones.len() < zone_count as usize {
            let wanted = largest.min(zone_count as usize - zones.len());
            let mut buffer = AlignedBuffer::zeroed(report_bytes(wanted));
            report(zones.len() as u64 * self.zoned.zone_size_blocks, &mut buffer)?;
            let found = zone_report::parse(&buffer)?;
            if found.is_empty() {
                let what = format!("{} zones where there are {zone_count}", zones.len());
                return Err(DeviceError::Implausible { what });
            }
            zones.extend(found);
        }
        geometry.zone_capacity_bytes = common_capacity_bytes(&zones, geometry.block_bytes)?;
        geometry.zone_count = zone_count;
        let (active, open) = (self.zoned.max_active_zones, self.zoned.max_open_zones);
        geometry.max_active_zones = active.unwrap_or(zone_count).min(zone_count);
        geometry.max_open_zones = open.unwrap_or(zone_count).min(geometry.max_active_zones);
        geometry.validate()?;
        let zones: DeviceResult<Vec<Told>> =
            geometry.zones().zip(&zones).map(|(zone, found)| told(&geometry, zone, found)).collect();
        Ok((geometry, zones?, transfer_limit_bytes))
    }

    /// A geometry that lacks what only zones can tell, and the transfer limit.
    fn sizes(&self, kernel_limit_bytes: u64) -> DeviceResult<(Geometry, u32)> {
        let BlockFormat { block_bytes, metadata_bytes, .. } = self.format;
        let block_bytes = match block_bytes {
            Some(block_bytes @ (512 | 4096)) => block_bytes,
            Some(other) => return Err(invalid(&format!("a block of {other} bytes; it must be 512 or 4096"))),
            None => return Err(invalid("a block of 4 GiB or more; it must be 512 or 4096 bytes")),
        };
        if metadata_bytes > 0 {
            let what = "format the namespace without metadata";
            return Err(invalid(&format!("{metadata_bytes} bytes of metadata with each block; {what}")));
        }
        let zone_size_bytes = self.zoned.zone_size_blocks.checked_mul(u64::from(block_bytes));
        let zone_size_bytes = zone_size_bytes.ok_or_else(|| {
            invalid(&format!("a zone size of {} blocks of {block_bytes} bytes", self.zoned.zone_size_blocks))
        })?;
        let blocks_bytes = COMMAND_LIMIT_BLOCKS * u64::from(block_bytes);
        let general = [kernel_limit_bytes, blocks_bytes, LINUX_LIMIT_BYTES].into_iter();
        let transfer_limit = general.chain(self.controller.transfer_limit_bytes).min();
        let transfer_limit = whole_blocks(transfer_limit.unwrap_or(0), block_bytes);
        let append_limit = self
            .append_limit_bytes
            .map_or(transfer_limit, |limit| whole_blocks(limit.min(u64::from(transfer_limit)), block_bytes));
        let geometry = Geometry {
            block_bytes,
            zone_size_bytes,
            zone_capacity_bytes: 0,
            zone_count: 0,
            max_open_zones: 0,
            max_active_zones: 0,
            append_limit_bytes: append_limit,
            volatile_cache: self.controller.volatile_cache,
        };
        Ok((geometry, transfer_limit))
    }

    fn zone_count(&self) -> DeviceResult<u32> {
        let count = self.format.block_count / self.zoned.zone_size_blocks;
        u32::try_from(count).ok().filter(|&count| count > 0).ok_or_else(|| {
            let (blocks, size) = (self.format.block_count, self.zoned.zone_size_blocks);
            invalid(&format!("{blocks} blocks in zones of {size}: {count} zones"))
        })
    }
}

/// What a drive says of a zone, in our units.
///
/// # Errors
/// [`DeviceError::Implausible`] where it does not fit the geometry.
pub(super) fn told(geometry: &Geometry, zone: ZoneId, found: &ReportedZone) -> DeviceResult<Told> {
    let block_bytes = u64::from(geometry.block_bytes);
    let start_lba = geometry.zone_start(zone).get() / block_bytes;
    let implausible = |what: String| DeviceError::Implausible { what: format!("{what} of {zone}") };
    if found.start_lba != start_lba {
        return Err(implausible(format!("block {} instead of {start_lba} as the start", found.start_lba)));
    }
    let capacity_blocks = geometry.zone_capacity_bytes / block_bytes;
    if found.capacity_blocks != capacity_blocks && found.state != ZoneState::Offline {
        let what = format!("{} blocks instead of {capacity_blocks} as the capacity", found.capacity_blocks);
        return Err(implausible(what));
    }
    let write_pointer = match found.write_pointer_lba {
        None => None,
        Some(lba) if (start_lba..=start_lba + capacity_blocks).contains(&lba) => {
            Some(ZoneOffset::new((lba - start_lba) * block_bytes))
        }
        Some(lba) => return Err(implausible(format!("block {lba} as the write pointer"))),
    };
    Ok(Told { state: found.state, write_pointer })
}

/// The capacity that all zones have in common; those that are offline do not count.
fn common_capacity_bytes(zones: &[ReportedZone], block_bytes: u32) -> DeviceResult<u64> {
    let mut usable = zones.iter().filter(|zone| zone.state != ZoneState::Offline);
    let first = usable.next().ok_or_else(|| invalid("no zone that is not offline"))?;
    if let Some(other) = usable.find(|zone| zone.capacity_blocks != first.capacity_blocks) {
        let capacities = [first, other].map(|zone| zone.capacity_blocks);
        return Err(invalid(&format!(
            "zones of different capacities: {} and {} blocks",
            capacities[0], capacities[1]
        )));
    }
    let bytes = first.capacity_blocks.checked_mul(u64::from(block_bytes));
    bytes.ok_or_else(|| invalid(&format!("a zone capacity of {} blocks", first.capacity_blocks)))
}

fn whole_blocks(bytes: u64, block_bytes: u32) -> u32 {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    bytes - bytes % block_bytes
}

/// The error of a command that is about no zone in particular.
pub(super) fn plain_error(failure: Failure, command: &'static str, path: &Path) -> DeviceError {
    match failure {
        Failure::Status(status) => status.plain_error(command, None),
        Failure::Kernel(source) => {
            DeviceError::Io { action: format!("sending {command} to {}", path.display()), source }
        }
    }
}

fn invalid(what: &str) -> DeviceError {
    DeviceError::InvalidGeometry { what: format!("the drive has {what}") }
}

fn not_zoned(path: &Path) -> DeviceError {
    not_ours(path, "it is an NVMe namespace, but not a zoned one; its block device can hold an emulated one")
}

fn not_ours(path: &Path, why: &str) -> DeviceError {
    DeviceError::NotOurs { path: path.to_owned(), why: why.to_owned() }
}

fn io_error(doing: &str, path: &Path, source: io::Error) -> DeviceError {
    DeviceError::Io { action: format!("{doing} {}", path.display()), source }
}

#[cfg(test)]
mod tests;
