//! One life of a store, from its making on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::check::{Opened, abandoned, allowed, crash_at, reopen, rot_after_closing, state_of};
use super::model::{Allowed, Model, Print};
use super::plan::{Plan, Temper};
use super::session::{Going, Session, full};
use super::{Problem, Report};
use crate::device::simulated::{Crash, Faults, Image, SimulatedDevice};
use crate::engine::Engine;
use crate::seeded::{Seeded, mixed};

/// Lives the life that a seed decides.
///
/// # Errors
/// [`Problem`] when the store did something that it must not, panics included.
pub fn live(seed: u64) -> Result<Report, Problem> {
    let lived = catch_unwind(AssertUnwindSafe(|| live_unguarded(seed)));
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        Err(Problem::new(format!("a panic: {text}")))
    })
}

fn live_unguarded(seed: u64) -> Result<Report, Problem> {
    let mut random = Seeded::new(mixed(seed));
    let plan = Plan::new(&mut random);
    let mut report = Report { trace: seed, ..Report::default() };
    let device =
        SimulatedDevice::blank_with_kept_memory(plan.geometry, plan.kept_memory_bytes, random.number());
    let store = u128::from(random.number());
    Engine::create_simulated(&device, store, plan.space_use)
        .map_err(|error| Problem::new(format!("the store cannot be made: {}", full(&error))))?;
    let mut image = device.image();
    image.crash(Crash::PowerCut, &mut random);
    let mut model = Model::new(vec![None; plan.key_count]);
    let mut left = Allowed { least: 0, most: 0, durable: 0 };
    for run in 0..plan.runs {
        let opened = reopen(&plan, image, (&model, left), &mut random)
            .map_err(|problem| problem.during(format!("run {run}, opening")))?;
        // The opening may be interrupted anywhere.
        for snapshot in opened.device.take_snapshots() {
            crash_at(&plan, snapshot, &model, &mut random, (0, &mut report))
                .map_err(|problem| problem.during(format!("run {run}, opening")))?;
        }
        (image, model, left) = use_store(&plan, opened, &mut random, &mut report)
            .map_err(|problem| problem.during(format!("{:?}, run {run}", plan.faults)))?;
    }
    Ok(report)
}

/// Uses an open store until it is closed or crashes, and gives what is left.
fn use_store(
    plan: &Plan,
    opened: Opened,
    random: &mut Seeded,
    report: &mut Report,
) -> Result<(Image, Model, Allowed), Problem> {
    let Opened { device, engine, found } = opened;
    let state: Vec<Option<Print>> = state_of(&found);
    let mut session = Session::new(plan, device, engine, state, random.fork());
    session.set_faults(plan.faults);
    let mut going = Going::On;
    for action in 0..plan.actions {
        if going == Going::On {
            going = session.act().map_err(|problem| problem.during(format!("action {action}")))?;
        }
        crash_everywhere(&mut session, random, report)
            .map_err(|problem| problem.during(format!("action {action}")))?;
    }
    if random.chance(1, 3) {
        let closed = session.close()?;
        crash_everywhere(&mut session, random, report)
            .map_err(|problem| problem.during("closing".to_owned()))?;
        if closed == Going::On && going == Going::On {
            for _ in 0..6 {
                rot_after_closing((plan, session.device.image()), &session.model, random, report)?;
            }
        }
    }
    session.set_faults(Faults::NONE);
    report.io_count += session.device.io_count();
    report.trace = mixed(report.trace ^ session.device.trace());
    let mut image = session.device.image();
    let crash = if random.chance(1, 3) { Crash::Kill } else { Crash::PowerCut };
    let model = &session.model;
    let allowed = allowed([model.len(), model.durable_count, model.written_count], crash, &image);
    image.crash(crash, random);
    if plan.temper == Temper::Restless || random.chance(1, 3) {
        image.turn_up(random);
    }
    if random.chance(1, 16) {
        let _ = image.degrade(2, false, random);
    }
    let Session { model, engine, .. } = session;
    abandoned(engine);
    Ok((image, model, allowed))
}

fn crash_everywhere(
    session: &mut Session<'_>,
    random: &mut Seeded,
    report: &mut Report,
) -> Result<(), Problem> {
    for (io, snapshot) in session.device.take_snapshots().into_iter().enumerate() {
        if !random.chance(1, session.plan.ios_a_crash) {
            continue;
        }
        crash_at(session.plan, snapshot, &session.model, random, (0, report))
            .map_err(|problem| problem.during(format!("I/O {io} of it")))?;
    }
    Ok(())
}
