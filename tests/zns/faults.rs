//! Drives that fail writes, and zones that turn read-only or offline, under load.
//!
//! After a failed write a store refuses writes until it is opened anew; these tests open it anew, as its user would, and
//! look for what was acknowledged. A zone that wears out is no failed write: the store must go on.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, iter};

use zonal::{Db, Depth, Error, ErrorKind, Zone, ZoneRole, ZoneState};

use crate::drive;
use crate::load::{KEYS, Numbers, THREADS, assert_known, assert_prefix, assert_sound, existing, write};

const SECTOR_BYTES: u64 = 512;
/// Acknowledgements after an event: so few that what the drive held then is not overwritten yet.
const AFTER_EVENT: u64 = 20;

/// A store under load, opened anew after each failure.
struct Patient {
    path: PathBuf,
    context: String,
    acknowledged: [AtomicU64; THREADS],
    failures: u64,
}

impl Patient {
    fn new(variable: &str) -> Self {
        let (path, context) = (drive(variable), variable.to_owned());
        Self { path, context, acknowledged: Default::default(), failures: 0 }
    }

    fn open(&self) -> Db {
        Db::open(&self.path, existing()).unwrap_or_else(|error| panic!("{}: {error}", self.context))
    }

    fn numbers(&self) -> Numbers {
        self.acknowledged.each_ref().map(|it| it.load(Ordering::Relaxed))
    }

    /// Writes until so many more calls are acknowledged, whatever fails on the way, and looks for all that were.
    fn write(&mut self, count: u64, event: &(dyn Fn(&Db) + Sync)) {
        self.write_from(count, event, &|it, db| assert_prefix(db, &it.numbers(), &it.context));
        assert_prefix(&self.open(), &self.numbers(), &self.context);
    }

    /// Writes until so many more calls are acknowledged. `done` says at each opening where the writers are, `event`
    /// happens shortly before the end.
    fn write_from(&mut self, count: u64, event: &(dyn Fn(&Db) + Sync), done: &dyn Fn(&Self, &Db) -> Numbers) {
        let written = AtomicU64::new(0);
        let goes_on = || written.load(Ordering::Relaxed) < count;
        while goes_on() {
            let db = self.open();
            let acknowledged = |thread: usize, number| {
                self.acknowledged[thread].store(number, Ordering::Relaxed);
                if written.fetch_add(1, Ordering::Relaxed) == count.saturating_sub(AFTER_EVENT) {
                    event(&db);
                }
            };
            if let Err(error) = write(&db, &done(self, &db), &goes_on, &acknowledged) {
                self.assert_refuses(&db, &error);
                self.failures += 1;
            }
        }
    }

    /// A store that has failed says so at each write until it is opened anew.
    fn assert_refuses(&self, db: &Db, error: &Error) {
        let context = &self.context;
        let causes = iter::successors(error.source(), |&cause| cause.source());
        println!("{context}: {error}{}", causes.map(|cause| format!(": {cause}")).collect::<String>());
        assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::WritesRefused), "{context}: {error:?}");
        assert!(self.failures < 50, "{context}: no end of failures");
        let refused = db.put("more", "").expect_err("a write has failed");
        assert_eq!(refused.kind(), ErrorKind::WritesRefused, "{context}: {refused}");
    }

    /// Demands that no write has failed so far.
    fn assert_went_on(&self) {
        assert_eq!(self.failures, 0, "{}: writing ended because a zone wore out", self.context);
    }

    /// Writes, and meanwhile puts one of the zones that `choose` likes into another state. Gives the zone as it was.
    fn write_while_turning(&mut self, switch: &str, choose: impl Fn(&Zone) -> bool + Sync) -> Zone {
        let turned = OnceLock::new();
        self.write(2000, &|db| {
            turned.set(turn(db, switch, &choose)).expect("once");
        });
        turned.into_inner().expect("the event has come")
    }
}

/// Puts the zone with most live bytes of those that `choose` likes into another state, by a switch of the null_blk drive.
fn turn(db: &Db, switch: &str, choose: &dyn Fn(&Zone) -> bool) -> Zone {
    let zones = db.zones().expect("zones");
    let chosen = zones.iter().filter(|zone| choose(zone)).max_by_key(|zone| zone.live_bytes);
    let chosen = *chosen.unwrap_or_else(|| panic!("no zone for {switch} among {zones:?}"));
    let sector = u64::from(chosen.zone) * db.info().zone_size_bytes / SECTOR_BYTES;
    println!("{switch} {chosen:?}");
    fs::write(drive("ZONAL_TEST_NULL_BLK_SWITCHES").join(switch), sector.to_string()).expect(switch);
    chosen
}

fn sealed(zone: &Zone) -> bool {
    zone.role == ZoneRole::User && !zone.open && zone.live_bytes > 0
}

fn open(zone: &Zone) -> bool {
    zone.role == ZoneRole::User && zone.open
}

fn free(zone: &Zone) -> bool {
    zone.role == ZoneRole::Free && zone.state == ZoneState::Empty
}

#[test]
#[ignore = "needs drives that fail writes: tests/zns/suite.sh faults"]
fn a_failed_write_that_leaves_a_hole_loses_nothing_acknowledged() {
    for variable in ["ZONAL_TEST_NVME", "ZONAL_TEST_NVME_BLOCK_2"] {
        let mut patient = Patient::new(variable);
        patient.write(5000, &|_| {});
        assert!(patient.failures > 0, "{variable}: the drive has not failed");
        assert!(patient.open().stats().zone_resets > 0, "{variable} was not overwritten");
        assert_sound(&patient.path, Depth::Deep, variable);
    }
}

#[test]
#[ignore = "needs a drive whose zones can be turned: tests/zns/suite.sh --kernel 6.12 wear"]
fn zones_that_turn_read_only_under_load_are_evacuated_and_nothing_is_lost() {
    let mut patient = Patient::new("ZONAL_TEST_NULL_BLK");
    patient.write(1000, &|_| {});
    let zones = [
        patient.write_while_turning("zone_readonly", sealed),
        patient.write_while_turning("zone_readonly", open),
    ];
    patient.write(3000, &|_| {});
    patient.assert_went_on();
    for zone in patient.open().zones().unwrap() {
        if zones.iter().any(|turned| turned.zone == zone.zone) {
            assert_eq!((zone.role, zone.live_bytes), (ZoneRole::Lost, 0), "{zone:?}");
        }
    }
    assert_sound(&patient.path, Depth::Deep, &patient.context);
}

#[test]
#[ignore = "needs a drive whose zones can be turned: tests/zns/suite.sh --kernel 6.12 wear"]
fn an_empty_zone_that_turns_offline_under_load_takes_nothing_with_it() {
    let mut patient = Patient::new("ZONAL_TEST_NULL_BLK");
    patient.write(1000, &|_| {});
    let turned = patient.write_while_turning("zone_offline", free);
    patient.write(3000, &|_| {});
    patient.assert_went_on();
    let zone = patient.open().zones().unwrap()[turned.zone as usize];
    assert_eq!((zone.state, zone.role), (ZoneState::Offline, ZoneRole::Lost));
    assert_sound(&patient.path, Depth::Deep, &patient.context);
}

#[test]
#[ignore = "needs a drive whose zones can be turned: tests/zns/suite.sh --kernel 6.12 wear"]
fn zones_of_the_manifest_that_turn_are_replaced_and_nothing_is_lost() {
    let is_well = |zone: &Zone| !matches!(zone.state, ZoneState::ReadOnly | ZoneState::Offline);
    let well = |zone: &Zone| zone.role == ZoneRole::Manifest && is_well(zone);
    let mut patient = Patient::new("ZONAL_TEST_NULL_BLK");
    let mut turned = Vec::new();
    for switch in ["zone_readonly", "zone_offline", "zone_readonly"] {
        turned.push(patient.write_while_turning(switch, well).zone);
        // Each run begins with a version of the manifest.
        let zones = patient.open().zones().expect("zones");
        assert_eq!(zones.iter().filter(|zone| well(zone)).count(), 2, "{switch}: {zones:?}");
    }
    patient.write(2000, &|_| {});
    patient.assert_went_on();
    turned.dedup();
    assert_eq!(turned.len(), 3, "{turned:?}");
    assert_sound(&patient.path, Depth::Deep, &patient.context);
}

#[test]
#[ignore = "needs a drive whose zones can be turned: tests/zns/suite.sh --kernel 6.12 wear"]
fn of_a_filled_zone_that_turns_offline_under_load_the_loss_is_told_and_the_rest_is_kept() {
    lose_a_zone(sealed);
}

#[test]
#[ignore = "needs a drive whose zones can be turned: tests/zns/suite.sh --kernel 6.12 wear"]
fn of_the_zone_being_filled_that_turns_offline_the_loss_is_told_and_the_rest_is_kept() {
    lose_a_zone(open);
}

fn lose_a_zone(which: fn(&Zone) -> bool) {
    let mut patient = Patient::new("ZONAL_TEST_NULL_BLK");
    patient.write(1000, &|_| {});
    let turned = OnceLock::new();
    let goes_on_at = |patient: &Patient, db: &Db| {
        assert_known(db, &patient.context);
        patient.numbers()
    };
    patient.write_from(1000, &|db| turned.set(turn(db, "zone_offline", &which)).expect("once"), &goes_on_at);
    patient.assert_went_on();
    let turned = turned.into_inner().expect("the event has come");
    let report = Db::check(&patient.path, &existing(), Depth::Deep, &|_| {}).unwrap();
    let told = report.damages.iter().any(|it| it.zone == turned.zone && it.what.contains("offline"));
    assert!(told, "a silent loss: {report:?}");
    // Each writer writes all its records anew, and they are all there again.
    patient.write_from(8 * THREADS as u64 * KEYS, &|_| {}, &goes_on_at);
    assert_prefix(&patient.open(), &patient.numbers(), &patient.context);
}
