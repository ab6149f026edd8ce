use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::{any, proptest};

use super::{Described, told};
use crate::device::nvme::command::IDENTIFY_BYTES;
use crate::device::nvme::identify::IdentifyData;
use crate::device::nvme::known::Told;
use crate::device::nvme::zone_report::{ReportedZone, report_bytes, zones_in};
use crate::device::{DeviceError, DeviceResult, Geometry, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

const KERNEL_LIMIT_BYTES: u64 = 126 * 4096;
const OFFLINE: u8 = 0xf;

/// A drive of 64 zones of 1024 blocks of 4 KiB, 768 of them usable, and what it would say of itself.
struct Drive {
    namespace: IdentifyData,
    zoned: IdentifyData,
    controller: IdentifyData,
    zoned_controller: IdentifyData,
    /// State and capacity of each zone.
    zones: Vec<(u8, u64)>,
    reports: Cell<u32>,
}

impl Drive {
    fn new() -> Self {
        let mut drive = Self {
            namespace: [0; IDENTIFY_BYTES],
            zoned: [0; IDENTIFY_BYTES],
            controller: [0; IDENTIFY_BYTES],
            zoned_controller: [0; IDENTIFY_BYTES],
            zones: vec![(1, 768); 64],
            reports: Cell::new(0),
        };
        drive.namespace[..8].copy_from_slice(&(64u64 * 1024).to_le_bytes());
        drive.namespace[130] = 12;
        drive.zoned[4..12].copy_from_slice(&[11, 0, 0, 0, 7, 0, 0, 0]);
        drive.zoned[2816..2824].copy_from_slice(&1024u64.to_le_bytes());
        drive.controller[77] = 7;
        drive.controller[525] = 1;
        drive.zoned_controller[0] = 5;
        drive
    }

    fn report(&self, start_lba: u64, into: &mut [u8]) {
        self.reports.set(self.reports.get() + 1);
        let first = usize::try_from(start_lba / 1024).expect("few zones");
        let count = zones_in(into.len()).min(self.zones.len() - first);
        into[..8].copy_from_slice(&(count as u64).to_le_bytes());
        for (number, entry) in (first..first + count).zip(into[64..].chunks_exact_mut(64)) {
            let (state, capacity) = self.zones[number];
            let start = number as u64 * 1024;
            (entry[0], entry[1]) = (2, state << 4);
            entry[8..16].copy_from_slice(&capacity.to_le_bytes());
            entry[16..24].copy_from_slice(&start.to_le_bytes());
            entry[24..32].copy_from_slice(&start.to_le_bytes());
        }
    }

    fn open(&self) -> DeviceResult<(Geometry, Vec<Told>, u32)> {
        let parsed = Described::parse(&self.namespace, &self.zoned, &self.controller, &self.zoned_controller);
        parsed.with_zones(KERNEL_LIMIT_BYTES, |start_lba, into| {
            self.report(start_lba, into);
            Ok(())
        })
    }

    fn geometry(&self) -> Geometry {
        self.open().expect("a good drive").0
    }

    fn complaint(&self) -> String {
        self.open().expect_err("not a drive to work with").to_string()
    }
}

#[test]
fn a_good_drive_gives_its_geometry_and_all_its_zones() {
    let (geometry, zones, transfer_limit_bytes) = Drive::new().open().expect("a good drive");
    let expected = Geometry {
        block_bytes: 4096,
        zone_size_bytes: 4 << 20,
        zone_capacity_bytes: 3 << 20,
        zone_count: 64,
        max_open_zones: 8,
        max_active_zones: 12,
        append_limit_bytes: 131_072,
        volatile_cache: true,
    };
    assert_eq!(geometry, expected);
    let empty = Told { state: ZoneState::Empty, write_pointer: Some(ZoneOffset::START) };
    assert_eq!(zones, vec![empty; 64]);
    assert_eq!(u64::from(transfer_limit_bytes), KERNEL_LIMIT_BYTES);
}

#[test]
fn an_append_is_limited_by_drive_controller_and_kernel_alike() {
    let limit = |append: u8, transfer: u8| {
        let mut drive = Drive::new();
        (drive.zoned_controller[0], drive.controller[77]) = (append, transfer);
        drive.geometry().append_limit_bytes
    };
    assert_eq!(limit(5, 7), 131_072);
    assert_eq!(limit(0, 4), 65_536, "no append limit: the controller's transfer limit");
    assert_eq!(u64::from(limit(0, 0)), KERNEL_LIMIT_BYTES, "no limit of the drive's: the kernel's");
    assert_eq!(u64::from(limit(9, 9)), KERNEL_LIMIT_BYTES);
}

#[test]
fn limits_that_are_none_are_the_number_of_zones() {
    let mut drive = Drive::new();
    drive.zoned[4..12].fill(0xff);
    assert_eq!((drive.geometry().max_active_zones, drive.geometry().max_open_zones), (64, 64));
    drive.zoned[4..8].copy_from_slice(&[11, 0, 0, 0]);
    let geometry = drive.geometry();
    assert_eq!((geometry.max_active_zones, geometry.max_open_zones), (12, 12), "what is open is active");
}

#[test]
fn a_drive_of_many_zones_is_asked_in_several_reports() {
    let mut drive = Drive::new();
    drive.zones = vec![(1, 768); 3000];
    drive.namespace[..8].copy_from_slice(&(3000u64 * 1024).to_le_bytes());
    let (geometry, zones, _) = drive.open().expect("a good drive");
    assert_eq!((geometry.zone_count, zones.len(), drive.reports.get()), (3000, 3000, 3));
}

#[test]
fn an_offline_zone_does_not_spoil_the_others() {
    let mut drive = Drive::new();
    drive.zones[9] = (OFFLINE, 0);
    let (_, zones, _) = drive.open().expect("a good drive");
    assert_eq!(zones[9], Told { state: ZoneState::Offline, write_pointer: None });
}

type Spoil<'a> = &'a dyn Fn(&mut Drive);

#[test]
fn what_this_program_cannot_work_with_is_named() {
    let broken = |spoil: Spoil<'_>| {
        let mut drive = Drive::new();
        spoil(&mut drive);
        drive.complaint()
    };
    let cases: [(&str, Spoil<'_>); 7] = [
        ("a block of 8192 bytes", &|drive| drive.namespace[130] = 13),
        ("a block of 4 GiB or more", &|drive| drive.namespace[130] = 32),
        ("8 bytes of metadata", &|drive| drive.namespace[128] = 8),
        ("zones of different capacities: 768 and 512", &|drive| drive.zones[5].1 = 512),
        ("no zone that is not offline", &|drive| drive.zones.fill((OFFLINE, 768))),
        ("0 zones", &|drive| drive.namespace[..8].fill(0)),
        ("exceeds the zone size", &|drive| drive.zones.fill((1, 1025))),
    ];
    for (expected, spoil) in cases {
        let text = broken(spoil);
        assert!(text.contains(expected), "{text:?} does not say {expected:?}");
    }
}

#[test]
fn a_drive_that_reports_fewer_zones_than_it_has_is_not_believed() {
    let mut drive = Drive::new();
    drive.zones.truncate(60);
    assert_eq!(drive.complaint(), "the drive reports 60 zones where there are 64");
}

#[test]
fn a_zone_that_does_not_fit_the_geometry_is_not_believed() {
    let geometry = Drive::new().geometry();
    let good = ReportedZone {
        state: ZoneState::Closed,
        start_lba: 2048,
        capacity_blocks: 768,
        write_pointer_lba: Some(2049),
    };
    let zone = ZoneId::new(2);
    let expected = Told { state: ZoneState::Closed, write_pointer: Some(ZoneOffset::new(4096)) };
    assert_eq!(told(&geometry, zone, &good).expect("it fits"), expected);
    let cases = [
        ("block 1024 instead of 2048 as the start of zone 2", ReportedZone { start_lba: 1024, ..good }),
        ("767 blocks instead of 768 as the capacity", ReportedZone { capacity_blocks: 767, ..good }),
        ("block 2047 as the write pointer", ReportedZone { write_pointer_lba: Some(2047), ..good }),
        ("block 2817 as the write pointer", ReportedZone { write_pointer_lba: Some(2817), ..good }),
    ];
    for (expected, reported) in cases {
        let text = told(&geometry, zone, &reported).expect_err("it does not fit").to_string();
        assert!(text.contains(expected), "{text:?} does not say {expected:?}");
    }
}

#[test]
fn reports_are_never_larger_than_what_one_command_moves() {
    let mut drive = Drive::new();
    drive.controller[77] = 1;
    let parsed = Described::parse(&drive.namespace, &drive.zoned, &drive.controller, &drive.zoned_controller);
    let opened = parsed.with_zones(KERNEL_LIMIT_BYTES, |start_lba, into| {
        assert!(into.len() <= 8192, "{} bytes", into.len());
        assert!(into.len() >= report_bytes(1));
        drive.report(start_lba, into);
        Ok(())
    });
    assert_eq!(opened.expect("a good drive").1.len(), 64);
}

proptest! {
    /// Whatever the answers are, the outcome is a geometry that keeps the rules, or an error.
    #[test]
    fn no_answer_of_a_drive_makes_opening_panic(
        noise in vec((0..IDENTIFY_BYTES, any::<u8>()), 0..40),
        which in 0..4usize,
        fields in vec((0..132usize, any::<u8>()), 0..10),
    ) {
        let mut drive = Drive::new();
        let data = match which {
            0 => &mut drive.namespace,
            1 => &mut drive.zoned,
            2 => &mut drive.controller,
            _ => &mut drive.zoned_controller,
        };
        noise.iter().chain(&fields).for_each(|&(at, byte)| data[at] = byte);
        let parsed =
            Described::parse(&drive.namespace, &drive.zoned, &drive.controller, &drive.zoned_controller);
        if parsed.zoned.zone_size_blocks == 0 {
            return Ok(());
        }
        let refuse = |_: u64, _: &mut [u8]| Err(DeviceError::Implausible { what: "nothing".to_owned() });
        parsed.with_zones(KERNEL_LIMIT_BYTES, refuse).expect_err("there are no zones");
    }
}
