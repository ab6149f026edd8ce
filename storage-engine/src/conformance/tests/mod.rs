//! The suite over emulated devices and every queue, and proof that each check can fail.

mod faults;
mod faulty;

use std::sync::Arc;

use tempfile::TempDir;

use super::{Finding, Verdict, catalogue, run};
use crate::device::emulated::{Degraded, DirectIo, EmulatedDevice};
use crate::device::{Geometry, ZoneState, ZonedDevice};
use crate::queue::QueueKind;
use crate::units::ZoneId;

/// Small limits, and zones that hold less than their size.
pub(super) const GEOMETRY: Geometry = Geometry {
    block_bytes: 4096,
    zone_size_bytes: 1 << 20,
    zone_capacity_bytes: 768 << 10,
    zone_count: 12,
    max_open_zones: 3,
    max_active_zones: 5,
    append_limit_bytes: 16 << 10,
    volatile_cache: true,
};

pub(super) fn device(geometry: &Geometry) -> (TempDir, Arc<EmulatedDevice>) {
    let directory = tempfile::tempdir().expect("make a directory");
    let device = EmulatedDevice::create(directory.path().join("device"), geometry, DirectIo::Preferred);
    (directory, Arc::new(device.expect("make a device")))
}

fn findings(device: &Arc<EmulatedDevice>, kind: QueueKind) -> Vec<Finding> {
    let device: Arc<dyn ZonedDevice> = Arc::clone(device) as _;
    run(&device, kind, &mut |_| {}).expect("run the suite")
}

/// Names of the checks that did not pass, with why; those that do not apply among them.
fn rest(findings: &[Finding]) -> Vec<(&'static str, &Verdict)> {
    let passed = |finding: &&Finding| finding.verdict != Verdict::Pass;
    findings.iter().filter(passed).map(|finding| (finding.name, &finding.verdict)).collect()
}

fn names_of_rest(findings: &[Finding]) -> Vec<&'static str> {
    let rest = rest(findings);
    let failed = rest.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Fail { .. }));
    assert_eq!(failed.count(), 0, "{rest:?}");
    rest.into_iter().map(|(name, _)| name).collect()
}

/// What no healthy emulated device says anything about.
const NOT_EMULATED: [&str; 4] = ["conventional-zone", "unaligned-memory", "read-only-zone", "offline-zone"];

#[test]
fn the_emulated_device_keeps_the_contract_on_every_queue() {
    for kind in QueueKind::ALL {
        for block_bytes in [512, 4096] {
            let (_directory, device) = device(&Geometry { block_bytes, ..GEOMETRY });
            let found = findings(&device, kind);
            assert_eq!(found.len(), catalogue().count());
            assert_eq!(names_of_rest(&found), NOT_EMULATED, "{kind:?}, blocks of {block_bytes}");
        }
    }
}

#[test]
fn a_device_without_reachable_limits_and_with_large_appends_keeps_the_contract() {
    let large = Geometry {
        zone_capacity_bytes: GEOMETRY.zone_size_bytes,
        max_open_zones: 14,
        max_active_zones: 14,
        append_limit_bytes: 1 << 20,
        ..GEOMETRY
    };
    let (_directory, device) = device(&large);
    let mut expected = NOT_EMULATED.to_vec();
    expected.extend(["active-limit", "open-limit", "implicit-opens"]);
    let mut found = names_of_rest(&findings(&device, QueueKind::Automatic));
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn the_least_device_there_can_be_fails_nothing() {
    let least = Geometry {
        zone_size_bytes: 32 << 10,
        zone_capacity_bytes: 32 << 10,
        zone_count: 1,
        max_open_zones: 1,
        max_active_zones: 1,
        append_limit_bytes: 4096,
        ..GEOMETRY
    };
    for geometry in [least, Geometry { zone_size_bytes: 4096, zone_capacity_bytes: 4096, ..least }] {
        let (_directory, device) = device(&geometry);
        names_of_rest(&findings(&device, QueueKind::Automatic));
    }
}

/// Nothing is taken for granted about how the zones stand: some are in use, some are worn.
#[test]
fn a_device_that_is_in_use_and_partly_worn_is_checked_all_the_same() {
    let (_directory, device) = device(&GEOMETRY);
    for zone in [0, 3, 4].map(ZoneId::new) {
        device.open(zone).expect("open");
    }
    device.finish(ZoneId::new(2)).expect("finish");
    device.degrade(ZoneId::new(1), Degraded::ReadOnly).expect("wear out");
    device.degrade(ZoneId::new(11), Degraded::Offline).expect("wear out");
    let found = names_of_rest(&findings(&device, QueueKind::Automatic));
    assert_eq!(found, ["conventional-zone", "unaligned-memory"]);
    for zone in GEOMETRY.zones() {
        let expected = match zone.get() {
            1 => ZoneState::ReadOnly,
            11 => ZoneState::Offline,
            _ => ZoneState::Empty,
        };
        assert_eq!(device.report(zone).expect("report").state, expected, "{zone} after the suite");
    }
}

#[test]
fn every_finding_is_told_when_it_is_made_and_names_are_told_apart() {
    let (_directory, device) = device(&GEOMETRY);
    let device: Arc<dyn ZonedDevice> = device;
    let mut told = Vec::new();
    let found = run(&device, QueueKind::Threads, &mut |finding| told.push(finding.clone())).expect("run");
    assert_eq!(told, found);
    let mut names: Vec<_> = catalogue().map(|(_, name, _)| name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for line in 1..=7 {
        assert!(catalogue().any(|(of, ..)| of == super::Line::Contract(line)), "no check of line {line}");
    }
}
