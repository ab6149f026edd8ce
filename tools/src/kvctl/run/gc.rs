//! `gc`.

use std::cell::Cell;

use zonal::{CleaningReport, Footprint};

use super::describe::{Row, bytes, count, table};
use super::open_to_write;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;
use crate::kvctl::plan::StoreAt;
use crate::kvctl::progress::Progress;

/// Cleans a store and shows what came of it.
pub(super) fn gc(store: &StoreAt, output: &mut Output) -> Result<(), Failure> {
    let db = open_to_write(store)?;
    let (progress, most) = (Progress::of_zones("cleaning", 0), Cell::new(0));
    let report = db.clean(&|now| show(&progress, &most, now))?;
    drop(progress);
    db.close()?;
    output.result(&report, || table(&rows(&report)))
}

/// The bar is as long as the most zones that there were to be gained at any time.
fn show(progress: &Progress, most: &Cell<u64>, now: &Footprint) {
    let left = now.zones.saturating_sub(now.target_zones);
    most.set(most.get().max(left));
    progress.reach_of(most.get() - left, most.get());
}

fn rows(report: &CleaningReport) -> Vec<Row> {
    vec![
        bytes("reclaimed_bytes", report.reclaimed_bytes),
        count("zones_emptied", report.zones_emptied),
        bytes("moved_bytes", report.moved_bytes),
        count("checkpoints_dropped", report.checkpoints_dropped),
        count("before.zones", report.before.zones),
        count("before.target_zones", report.before.target_zones),
        bytes("before.bytes", report.before.bytes),
        bytes("before.live_bytes", report.before.live_bytes),
        count("after.zones", report.after.zones),
        count("after.target_zones", report.after.target_zones),
        bytes("after.bytes", report.after.bytes),
        bytes("after.live_bytes", report.after.live_bytes),
    ]
}
