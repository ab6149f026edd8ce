//! One invocation: opens the store, runs the phases one after another, closes the store.

use super::failure::Failure;
use super::inserts::InsertSequence;
use super::phase::{PhaseSettings, run_phase};
use super::progress::Progress;
use super::report::{PhaseReport, Report};
use super::resolve::Plan;
use super::settings::WriteDurability;
use super::store::Store;
use super::usage::UsageError;
use super::values::{ValuePool, mix};
use super::workload::{OperationKind, Workload};
use super::zonal_store::ZonalStore;

/// Runs a plan on a zonal store. `finished` is shown each phase as it ends. A failure is told of in the report, beside
/// the phases that finished before it.
///
/// # Errors
///
/// When the store holds nothing to run on.
pub fn run(
    plan: &Plan,
    progress: &mut Progress,
    finished: impl FnMut(&PhaseReport),
) -> Result<Report, UsageError> {
    let mut report = Report::of_plan(plan);
    let store = match ZonalStore::open(&plan.store) {
        Ok(store) => store,
        Err(source) => {
            report.failure = Some(Failure::Whole { action: "open", source }.to_string());
            return Ok(report);
        }
    };
    let records = plan.records.unwrap_or_else(|| store.key_count());
    let outcome = match (&plan.load, records) {
        (None, 0) => Err(nothing_to_run_on(plan)),
        _ => Ok(run_phases(plan, &store, records, progress, &mut report, finished)),
    };
    let closed = store.close().map_err(|source| Failure::Whole { action: "close", source });
    report.failure = outcome?.and(closed).err().map(|failure| failure.to_string());
    Ok(report)
}

/// Runs a plan's phases on any store that holds so many records, adding each to the report.
///
/// # Errors
///
/// The first failure; the phases before it are in the report.
pub fn run_phases<S: Store>(
    plan: &Plan,
    store: &S,
    records: u64,
    progress: &mut Progress,
    report: &mut Report,
    finished: impl FnMut(&PhaseReport),
) -> Result<(), Failure> {
    Session { plan, store, pool: ValuePool::new(), finished }.run(records, progress, report)
}

fn nothing_to_run_on(plan: &Plan) -> UsageError {
    UsageError::new(format!(
        "{} holds no records; fill it by `ycsb load` first, or use `ycsb run --load`",
        plan.store.path.display()
    ))
}

struct Session<'a, S, F> {
    plan: &'a Plan,
    store: &'a S,
    pool: ValuePool,
    finished: F,
}

impl<S: Store, F: FnMut(&PhaseReport)> Session<'_, S, F> {
    fn run(mut self, records: u64, progress: &mut Progress, report: &mut Report) -> Result<(), Failure> {
        let workloads = self.plan.load.iter().map(|(workload, _)| workload).chain(&self.plan.phases);
        let threads = workloads.map(|workload| workload.threads).max().unwrap_or(1);
        let mut inserts = InsertSequence::starting_at(records, threads);
        if let Some((workload, count)) = &self.plan.load {
            inserts = InsertSequence::starting_at(0, threads);
            self.phase(workload, Some(*count), &inserts, progress, report)?;
        }
        for workload in &self.plan.phases {
            let operations = match (workload.extent.operations, workload.extent.time_limit) {
                (None, None) => Some(inserts.acknowledged()),
                (operations, _) => operations,
            };
            self.phase(workload, operations, &inserts, progress, report)?;
        }
        Ok(())
    }

    fn phase(
        &mut self,
        workload: &Workload,
        operations: Option<u64>,
        inserts: &InsertSequence,
        progress: &mut Progress,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let settings = PhaseSettings {
            workload,
            operations,
            time_limit: workload.extent.time_limit,
            window_length: self.plan.window_length,
            seed: mix(self.plan.seed ^ mix(report.phases.len() as u64)),
            flush_at_end: self.plan.store.durability != WriteDurability::Sync,
        };
        let records_before = inserts.acknowledged();
        let outcome = run_phase(self.store, &settings, inserts, &self.pool, progress)?;
        let loading = workload.mix.share(OperationKind::Insert) >= 1.0;
        let records = if loading { inserts.acknowledged() } else { records_before };
        let phase = PhaseReport::new(self.plan, workload, records, outcome);
        (self.finished)(&phase);
        report.phases.push(phase);
        Ok(())
    }
}
