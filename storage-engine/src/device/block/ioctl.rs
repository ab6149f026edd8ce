//! The ioctls of zoned block devices (`linux/blkzoned.h`): the only system calls of this folder that are not in `std`.
//!
//! Addresses and lengths are in sectors of 512 bytes, whatever the block size. Nothing here is interpreted.
#![expect(unsafe_code, reason = "ioctls pass memory to the kernel; each use is proved at its place")]

use std::fs::File;
use std::io;
use std::mem::size_of;

use rustix::ioctl::{self, Direction, Getter, Opcode, Setter, Updater, opcode};

/// The ioctl group of block devices.
const GROUP: u8 = 0x12;
const DISCARD: Opcode = opcode::none(GROUP, 119);
const DEVICE_BYTES: Opcode = opcode::read::<usize>(GROUP, 114);
const REPORT_ZONES: Opcode =
    opcode::from_components(Direction::ReadWrite, GROUP, 130, size_of::<ReportHeader>());
const RESET_ZONE: Opcode = opcode::write::<SectorRange>(GROUP, 131);
const ZONE_SECTORS: Opcode = opcode::read::<u32>(GROUP, 132);
const ZONE_COUNT: Opcode = opcode::read::<u32>(GROUP, 133);
const OPEN_ZONE: Opcode = opcode::write::<SectorRange>(GROUP, 134);
const CLOSE_ZONE: Opcode = opcode::write::<SectorRange>(GROUP, 135);
const FINISH_ZONE: Opcode = opcode::write::<SectorRange>(GROUP, 136);

/// In a report's flags: the capacities in it are valid (`BLK_ZONE_REP_CAPACITY`).
const HAS_CAPACITIES: u32 = 1;
/// Zones asked for at once.
const ZONES_A_REPORT: usize = 256;

/// One zone of a report (`struct blk_zone`).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct ReportedZone {
    pub(super) start_sector: u64,
    pub(super) size_sectors: u64,
    pub(super) write_pointer_sector: u64,
    pub(super) kind: u8,
    pub(super) condition: u8,
    pub(super) non_sequential_writes: u8,
    pub(super) reset_recommended: u8,
    pub(super) reserved: [u8; 4],
    pub(super) capacity_sectors: u64,
    pub(super) reserved_end: [u8; 24],
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct ReportHeader {
    sector: u64,
    zone_count: u32,
    flags: u32,
}

/// `struct blk_zone_report` with room for zones behind it.
#[repr(C)]
struct Report {
    header: ReportHeader,
    zones: [ReportedZone; ZONES_A_REPORT],
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct SectorRange {
    sector: u64,
    sector_count: u64,
}

const _: () = assert!(size_of::<ReportedZone>() == 64, "the kernel's struct blk_zone has 64 bytes");
const _: () = assert!(size_of::<ReportHeader>() == 16, "the kernel's struct blk_zone_report has 16 bytes");

/// What is to be done to a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Management {
    Reset,
    Open,
    Close,
    Finish,
}

/// From one zone start to the next, in sectors; 0 for a device without zones.
pub(super) fn zone_sectors(device: &File) -> io::Result<u64> {
    // SAFETY: BLKGETZONESZ writes one u32 to the place that the pattern provides for it.
    let sectors = unsafe { ioctl::ioctl(device, Getter::<ZONE_SECTORS, u32>::new()) }?;
    Ok(u64::from(sectors))
}

/// How many zones there are, a shorter one at the end included.
pub(super) fn zone_count(device: &File) -> io::Result<u32> {
    // SAFETY: BLKGETNRZONES writes one u32 to the place that the pattern provides for it.
    Ok(unsafe { ioctl::ioctl(device, Getter::<ZONE_COUNT, u32>::new()) }?)
}

/// How long a block device is.
pub(in crate::device) fn device_bytes(device: &File) -> io::Result<u64> {
    // SAFETY: BLKGETSIZE64 writes one u64, whatever size its opcode names, to the place that the pattern provides.
    Ok(unsafe { ioctl::ioctl(device, Getter::<DEVICE_BYTES, u64>::new()) }?)
}

/// Gives a range of bytes back to a block device: what it holds afterwards is anything.
pub(in crate::device) fn discard(device: &File, at_bytes: u64, len_bytes: u64) -> io::Result<()> {
    // SAFETY: BLKDISCARD reads two u64 from memory that the pattern owns: start and length.
    Ok(unsafe { ioctl::ioctl(device, Setter::<DISCARD, [u64; 2]>::new([at_bytes, len_bytes])) }?)
}

/// Reports zones from the one that holds `sector` on: up to `limit` of them, at least one, as many as the kernel gives.
pub(super) fn report_zones(device: &File, sector: u64, limit: usize) -> io::Result<Vec<ReportedZone>> {
    let asked = limit.clamp(1, ZONES_A_REPORT);
    let zone_count = u32::try_from(asked).expect("a few hundred");
    let header = ReportHeader { sector, zone_count, flags: 0 };
    let mut report = Box::new(Report { header, zones: [ReportedZone::default(); ZONES_A_REPORT] });
    // SAFETY: BLKREPORTZONE reads the header and writes it and as many zones behind it as the header asks for, of which
    // `Report` has room for all: both are laid out as the kernel's, which the assertions above hold to.
    unsafe { ioctl::ioctl(device, Updater::<REPORT_ZONES, Report>::new(&mut report)) }?;
    let found = (report.header.zone_count as usize).min(asked);
    let mut zones = report.zones[..found].to_vec();
    if report.header.flags & HAS_CAPACITIES == 0 {
        zones.iter_mut().for_each(|zone| zone.capacity_sectors = zone.size_sectors);
    }
    Ok(zones)
}

/// Has the device do something to the zone of `sector_count` sectors that starts at `sector`.
pub(super) fn manage_zone(
    device: &File,
    management: Management,
    sector: u64,
    sector_count: u64,
) -> io::Result<()> {
    let range = SectorRange { sector, sector_count };
    // SAFETY: each of these reads one `struct blk_zone_range`, two u64, from memory that the pattern owns. None of them
    // touches memory of the process; what they do to the device is what the caller asks for.
    let done = unsafe {
        match management {
            Management::Reset => ioctl::ioctl(device, Setter::<RESET_ZONE, SectorRange>::new(range)),
            Management::Open => ioctl::ioctl(device, Setter::<OPEN_ZONE, SectorRange>::new(range)),
            Management::Close => ioctl::ioctl(device, Setter::<CLOSE_ZONE, SectorRange>::new(range)),
            Management::Finish => ioctl::ioctl(device, Setter::<FINISH_ZONE, SectorRange>::new(range)),
        }
    };
    Ok(done?)
}
