//! What is done with each image of a crash: it is opened, looked at in every way, and crashed again.

use std::sync::Arc;

use super::model::{Allowed, Found, Model, Print};
use super::plan::Plan;
use super::session::{Session, full, read_all, read_each};
use super::{Problem, Report};
use crate::device::simulated::{Changes, Crash, Faults, Image, Note, SimulatedDevice, Snapshot};
use crate::engine::{Depth, Direction, Engine, OpenOptions};
use crate::error::EngineError;
use crate::seeded::Seeded;

/// Crashes after crashes in one check.
const DEEPEST: u32 = 3;

/// What happened to the media beside the crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hurt {
    Nothing,
    /// A zone has gone read-only.
    ReadOnlyZone,
    /// A zone has gone offline: what it held is lost, which is told.
    OfflineZone,
    /// A bit has flipped in what no later unit may have vouched for.
    Rot,
    /// A bit has flipped in a store that had been closed in order, or after a recovery: everything survives, or the loss
    /// is told.
    RotOfWhatIsVouchedFor,
}

/// A crash to be recovered from.
pub(super) struct Ruin<'m> {
    pub(super) plan: &'m Plan,
    pub(super) image: Image,
    pub(super) model: &'m Model,
    pub(super) allowed: Allowed,
    pub(super) hurt: Hurt,
    pub(super) depth: u32,
}

/// An opened store and what it was found to hold.
pub(super) struct Opened {
    pub(super) device: Arc<SimulatedDevice>,
    pub(super) engine: Engine,
    pub(super) found: Vec<Found>,
}

/// Which calls a crash leaves, at least and at most.
pub(super) fn allowed(note: Note, crash: Crash, image: &Image) -> Allowed {
    let [most, durable, written] = note;
    // After a failed flush what had been written may not have reached the media.
    let least = match crash {
        Crash::Kill if !image.has_failed_to_flush() => durable.max(written),
        _ => durable,
    };
    Allowed { least, most, durable }
}

/// Crashes at a snapshot and recovers, again and again.
pub(super) fn crash_at(
    plan: &Plan,
    snapshot: Snapshot<Note>,
    model: &Model,
    random: &mut Seeded,
    (depth, report): (u32, &mut Report),
) -> Result<(), Problem> {
    let Snapshot { mut image, note } = snapshot;
    let crash = if random.chance(1, 4) { Crash::Kill } else { Crash::PowerCut };
    let allowed = allowed(note, crash, &image);
    image.crash(crash, random);
    let hurt = hurt(&mut image, random);
    Ruin { plan, image, model, allowed, hurt, depth }
        .recover(random, report)
        .map_err(|problem| problem.during(format!("{crash:?} (depth {depth}, {hurt:?}, {allowed:?})")))
}

fn hurt(image: &mut Image, random: &mut Seeded) -> Hurt {
    match random.below(64) {
        0 => image.rot(random).map_or(Hurt::Nothing, |_| Hurt::Rot),
        1 => image.degrade(2, true, random).map_or(Hurt::Nothing, |_| Hurt::OfflineZone),
        2 => image.degrade(2, false, random).map_or(Hurt::Nothing, |_| Hurt::ReadOnlyZone),
        _ => Hurt::Nothing,
    }
}

impl Ruin<'_> {
    fn recover(mut self, random: &mut Seeded, report: &mut Report) -> Result<(), Problem> {
        report.recovery_count += 1;
        if random.chance(1, 8) {
            self.look(random)?;
        }
        let device = SimulatedDevice::over(self.image.clone(), random.number(), Changes::Allowed);
        device.keep_snapshots();
        device.set_note(self.allowed.note());
        let Some(opened) = self.open(&device, random)? else { return Ok(()) };
        report.checkpoint_count += u64::from(opened.engine.recovery().checkpoint.is_some());
        let snapshots = opened.device.take_snapshots();
        if self.hurt == Hurt::Nothing || self.hurt == Hurt::ReadOnlyZone {
            self.judge(&opened).map_err(|problem| self.lay_out(problem))?;
        } else {
            self.judge_mildly(&opened).map_err(|problem| self.lay_out(problem))?;
            return self.open_again(opened, random);
        }
        if self.depth < DEEPEST && random.chance(1, 3) && !snapshots.is_empty() {
            self.crash_inside(snapshots, random, report)?;
        }
        if self.depth < DEEPEST && self.hurt == Hurt::Nothing && random.chance(1, 8) {
            self.rot_what_was_recovered(&opened, random, report)?;
        }
        if self.depth < DEEPEST && self.hurt == Hurt::Nothing && random.chance(1, 6) {
            self.go_on(opened, random, report)?;
        }
        Ok(())
    }

    /// A bit flips, and the store crashes before it has done anything: what has been recovered is there, or its loss is told.
    fn rot_what_was_recovered(
        &self,
        opened: &Opened,
        random: &mut Seeded,
        report: &mut Report,
    ) -> Result<(), Problem> {
        let count = self.accept(&opened.found)?;
        let allowed = Allowed { least: count, most: count, durable: count };
        rot((self.plan, opened.device.image()), (self.model, allowed), random, report)
            .map_err(|problem| problem.during("a bit flipped after recovery".to_owned()))
    }

    /// Opens for reading only: not a byte changes.
    fn look(&self, random: &mut Seeded) -> Result<(), Problem> {
        let device = SimulatedDevice::over(self.image.clone(), random.number(), Changes::Forbidden);
        let options = OpenOptions { read_only: true, ..self.plan.options.clone() };
        let engine = match Engine::open_simulated(&device, &options) {
            Ok(engine) => engine,
            Err(error) => return self.excuse(&error),
        };
        let found = read_each(&engine, self.plan.key_count).map_err(|error| unreadable(&error))?;
        if self.hurt == Hurt::Nothing {
            self.accept(&found).map_err(|problem| problem.during("reading only".to_owned()))?;
        }
        drop(engine);
        if let Some(misuse) = device.misuse() {
            return Err(Problem::new(format!("opening for reading only was to change something: {misuse}")));
        }
        if !device.image().is_same(&self.image) {
            return Err(Problem::new("opening for reading only has changed the device".to_owned()));
        }
        Ok(())
    }

    /// None where it is right that the store does not open.
    fn open(
        &mut self,
        device: &Arc<SimulatedDevice>,
        random: &mut Seeded,
    ) -> Result<Option<Opened>, Problem> {
        if random.chance(1, 32) {
            // Reads fail for a while; what cannot be opened then can be later.
            device.set_faults(Faults { read: 2 << 10, flush: 2 << 10, append: 2 << 10, ..Faults::NONE });
            let opened = Engine::open_simulated(device, &self.plan.options_of(self.allowed.least));
            device.set_faults(Faults::NONE);
            match opened {
                Ok(engine) => abandoned(engine),
                Err(EngineError::Corruption { .. } | EngineError::ManifestDamaged(_))
                    if self.hurt == Hurt::Nothing =>
                {
                    return Err(Problem::new("an I/O error is taken for damage".to_owned()));
                }
                Err(_) => {}
            }
            let mut image = device.image();
            if image.has_failed_to_flush() {
                self.allowed.least = self.allowed.durable;
            }
            image.crash(Crash::Kill, random);
            let device = SimulatedDevice::over(image, random.number(), Changes::Allowed);
            device.keep_snapshots();
            device.set_note(self.allowed.note());
            return self.open_surely(&device);
        }
        self.open_surely(device)
    }

    fn open_surely(&self, device: &Arc<SimulatedDevice>) -> Result<Option<Opened>, Problem> {
        match Engine::open_simulated(device, &self.plan.options_of(self.allowed.most)) {
            Ok(engine) => {
                let found = read_each(&engine, self.plan.key_count).map_err(|error| unreadable(&error))?;
                Ok(Some(Opened { device: Arc::clone(device), engine, found }))
            }
            Err(error) => self.excuse(&error).map(|()| None).map_err(|problem| self.lay_out(problem)),
        }
    }

    fn excuse(&self, error: &EngineError) -> Result<(), Problem> {
        let told = matches!(error, EngineError::Corruption { .. } | EngineError::ManifestDamaged(_));
        match self.hurt {
            Hurt::Rot | Hurt::RotOfWhatIsVouchedFor | Hurt::OfflineZone if told => Ok(()),
            _ => Err(Problem::new(format!("the store does not open: {}", full(error)))),
        }
    }

    fn accept(&self, found: &[Found]) -> Result<usize, Problem> {
        self.model.accept(found, self.allowed).map_err(Problem::new)
    }

    /// Says what lay on the device, if that was asked for.
    fn lay_out(&self, problem: Problem) -> Problem {
        if std::env::var_os("ZONAL_SIM_LAYOUT").is_none() {
            return problem;
        }
        let device = SimulatedDevice::over(self.image.clone(), 0, Changes::Forbidden);
        let options = OpenOptions { read_only: true, in_spite_of_damage: true, ..self.plan.options.clone() };
        let layout = Engine::open_simulated(&device, &options)
            .and_then(|engine| Ok(format!("{:?}\n{}", engine.recovery(), engine.layout()?)));
        problem.during(layout.unwrap_or_else(|error| full(&error)))
    }

    /// Everything must be as if nothing had happened, but for calls that may be lost.
    fn judge(&self, opened: &Opened) -> Result<(), Problem> {
        let Opened { device, engine, found } = opened;
        if found.contains(&Found::Damaged) {
            return Err(Problem::new("damage where no media was hurt".to_owned()));
        }
        self.accept(found)?;
        let unusable = &engine.recovery().unusable_checkpoints;
        if !unusable.is_empty() {
            return Err(Problem::new(format!("a checkpoint is not there: {unusable:?}")));
        }
        let report = engine.verify(Depth::Deep, &|_| {}).map_err(|error| unreadable(&error))?;
        if !report.is_sound() {
            return Err(Problem::new(format!("not sound: {report:?}")));
        }
        let listed = read_all(engine, Direction::Forward, 16, self.plan.key_count);
        let listed = listed.map_err(|error| unreadable(&error))??;
        if listed != state_of(found) {
            return Err(Problem::new(format!("a range gives {listed:?}, reads give {found:?}")));
        }
        if self.hurt == Hurt::Nothing {
            let differences = engine.differences_from_scan().map_err(|error| unreadable(&error))?;
            if !differences.is_empty() {
                return Err(Problem::new(format!("index and device differ: {differences:?}")));
            }
        }
        device.misuse().map_or(Ok(()), |misuse| Err(Problem::new(format!("the device refused: {misuse}"))))
    }

    /// What is lost is told; nothing is wrong that is not.
    fn judge_mildly(&self, opened: &Opened) -> Result<(), Problem> {
        let found = &opened.found;
        if self.hurt == Hurt::RotOfWhatIsVouchedFor {
            return self.accept(found).map(drop);
        }
        // Where a zone is lost, the older version of a key may be seen; bytes of another key never are.
        match found.iter().position(|found| *found == Found::Foreign) {
            Some(key) => Err(Problem::new(format!("key {key} has another one's bytes"))),
            None => Ok(()),
        }
    }

    /// What one opening tells the next one tells as well.
    fn open_again(&self, opened: Opened, random: &Seeded) -> Result<(), Problem> {
        if self.hurt != Hurt::RotOfWhatIsVouchedFor {
            return Ok(());
        }
        let (mut image, mut random) = (opened.device.image(), random.clone());
        abandoned(opened.engine);
        image.crash(Crash::PowerCut, &mut random);
        let device = SimulatedDevice::over(image, random.number(), Changes::Allowed);
        let again = self.open_surely(&device)?;
        let judged = again.map_or(Ok(()), |opened| self.judge_mildly(&opened));
        judged.map_err(|problem| problem.during("opened once more".to_owned()))
    }

    /// Recovery itself is interrupted.
    fn crash_inside(
        &self,
        mut snapshots: Vec<Snapshot<Note>>,
        random: &mut Seeded,
        report: &mut Report,
    ) -> Result<(), Problem> {
        let snapshot = snapshots.swap_remove(random.index(snapshots.len()));
        report.interrupted_count += 1;
        crash_at(self.plan, snapshot, self.model, random, (self.depth + 1, report))
            .map_err(|problem| problem.during("interrupted recovery".to_owned()))
    }

    /// The store is used for a while and crashes once more.
    fn go_on(&self, opened: Opened, random: &mut Seeded, report: &mut Report) -> Result<(), Problem> {
        let Opened { device, engine, found } = opened;
        let mut session = Session::new(self.plan, device, engine, state_of(&found), random.fork());
        for _ in 0..1 + random.index(12) {
            session.act().map_err(|problem| problem.during("going on".to_owned()))?;
        }
        let mut snapshots = session.device.take_snapshots();
        if !snapshots.is_empty() {
            let snapshot = snapshots.swap_remove(random.index(snapshots.len()));
            let model = session.model.clone();
            crash_at(self.plan, snapshot, &model, random, (self.depth + 1, report))
                .map_err(|problem| problem.during("going on".to_owned()))?;
        }
        abandoned(session.engine);
        Ok(())
    }
}

/// Flips a bit in a store that was closed in order, and looks at it.
pub(super) fn rot_after_closing(
    (plan, image): (&Plan, Image),
    model: &Model,
    random: &mut Seeded,
    report: &mut Report,
) -> Result<(), Problem> {
    let allowed = Allowed { least: model.durable_count, most: model.len(), durable: model.durable_count };
    rot((plan, image), (model, allowed), random, report)
        .map_err(|problem| problem.during("a bit flipped after closing".to_owned()))
}

/// Flips a bit where all that is there is vouched for.
fn rot(
    (plan, mut image): (&Plan, Image),
    (model, allowed): (&Model, Allowed),
    random: &mut Seeded,
    report: &mut Report,
) -> Result<(), Problem> {
    image.crash(Crash::PowerCut, random);
    let Some((zone, at)) = image.rot(random) else { return Ok(()) };
    let ruin = Ruin { plan, image, model, allowed, hurt: Hurt::RotOfWhatIsVouchedFor, depth: DEEPEST };
    ruin.recover(random, report).map_err(|problem| problem.during(format!("in {zone} at {at}")))
}

/// Ends the use of an engine without letting it close the store in order.
pub(super) fn abandoned(engine: Engine) {
    engine.abandon();
}

/// What was found, where no damage is.
pub(super) fn state_of(found: &[Found]) -> Vec<Option<Print>> {
    let value = |found: &Found| match found {
        Found::Value(value) => *value,
        Found::Damaged | Found::Foreign => None,
    };
    found.iter().map(value).collect()
}

fn unreadable(error: &EngineError) -> Problem {
    Problem::new(format!("an error without a fault: {}", full(error)))
}

/// Opens the store on an image that nothing but a crash has happened to, for going on with it.
pub(super) fn reopen(
    plan: &Plan,
    image: Image,
    (model, allowed): (&Model, Allowed),
    random: &mut Seeded,
) -> Result<Opened, Problem> {
    let ruin = Ruin { plan, image, model, allowed, hurt: Hurt::Nothing, depth: DEEPEST };
    let device = SimulatedDevice::over(ruin.image.clone(), random.number(), Changes::Allowed);
    device.keep_snapshots();
    device.set_note(allowed.note());
    let opened = ruin.open_surely(&device)?.expect("nothing is excused");
    let checked = ruin.accept(&opened.found).and_then(|_| ruin.judge(&opened));
    checked.map(|()| opened)
}
