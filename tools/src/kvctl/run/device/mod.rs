//! `device`: what lies below stores. Opens devices themselves, of whatever kind.

mod bench;
mod check;
mod list;
mod report;
mod reset;

use std::io::{Write, stderr, stdin};
use std::path::Path;
use std::sync::Arc;

use zonal::Error;
use zonal_engine::device::emulated::{Access, DirectIo};
use zonal_engine::device::{DeviceError, ZoneState, ZonedDevice, open_device};
use zonal_engine::log::manifest_log::ManifestLog;

use crate::kvctl::Answer;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;
use crate::kvctl::plan::{Consent, DeviceTarget, DeviceTask};

/// Does what the plan says with a device.
pub(super) fn run(task: DeviceTask, output: &mut Output) -> Result<Answer, Failure> {
    match task {
        DeviceTask::List { root } => list::list(&root, output).map(|()| Answer::Yes),
        DeviceTask::Report { path } => report::report(&path, output).map(|()| Answer::Yes),
        DeviceTask::Check(target) => check::check(&target, output),
        DeviceTask::Reset { target, zones } => reset::reset(&target, &zones, output),
        DeviceTask::Bench(bench) => bench::bench(&bench, output),
    }
}

/// What goes wrong with the device at a path, as the store's errors tell it.
fn failure(path: &Path) -> impl Fn(DeviceError) -> Failure {
    move |error| Failure::Store(Error::of_device(path, error))
}

fn open(path: &Path, access: Access) -> Result<Arc<dyn ZonedDevice>, Failure> {
    open_device(path, access, DirectIo::Preferred).map_err(failure(path))
}

/// Opens a device for writing where somebody agrees that what lies in its zones is destroyed; `None` where nobody does.
fn open_to_destroy(target: &DeviceTarget) -> Result<Option<Arc<dyn ZonedDevice>>, Failure> {
    let path = &target.at.path;
    let device = open(path, Access::ReadWrite)?;
    let contents = contents(&*device).map_err(failure(path))?;
    let agreed =
        target.consent == Consent::Given || contents.is_none_or(|contents| is_agreed(path, &contents));
    Ok(agreed.then_some(device))
}

/// What there is to lose; `None` where all zones are empty.
fn contents(device: &dyn ZonedDevice) -> Result<Option<String>, DeviceError> {
    let mut used_count = 0;
    for zone in device.geometry().zones() {
        used_count += u32::from(device.report(zone)?.state != ZoneState::Empty);
    }
    if used_count == 0 {
        return Ok(None);
    }
    let zone_count = device.geometry().zone_count;
    let zones = format!("{used_count} of its {zone_count} zones are in use");
    let is_store = zone_count >= 2 && !matches!(ManifestLog::read(device), Ok(None));
    Ok(Some(if is_store { format!("it holds a zonal store; {zones}") } else { zones }))
}

/// Asks whoever is at the other end of stdin.
fn is_agreed(path: &Path, contents: &str) -> bool {
    let path = path.display();
    // Where stderr is closed nobody sees the question, and nobody answers yes.
    let _ = write!(stderr(), "{path}: {contents}. What they hold is going to be lost. Type yes to go on: ");
    let mut answer = String::new();
    let agreed = stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes";
    if !agreed {
        let _ = writeln!(stderr(), "\nkvctl: nothing was changed; `--yes` goes on without asking");
    }
    agreed
}
