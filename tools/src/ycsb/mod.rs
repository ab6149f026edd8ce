//! The benchmark: the core workloads of the Yahoo! Cloud Serving Benchmark (Cooper, Silberstein, Tam, Ramakrishnan and
//! Sears, "Benchmarking cloud serving systems with YCSB", SoCC 2010) on a zonal store.
//!
//! Three layers: `command_line` and `properties` hold what was typed, `resolve` makes a checked [`resolve::Plan`] of
//! it, and `session` runs that, phase by phase. Under a phase, `worker` is one thread; it asks `chooser` for records,
//! `keys` and `values` for bytes, `inserts` for what may be read, and talks to a store through the trait in `store`.
//! `compare` runs the same on other stores.

pub mod chooser;
pub mod command_line;
pub mod compare;
pub mod failure;
pub mod html;
pub mod inserts;
pub mod keys;
pub mod latency;
pub mod phase;
pub mod progress;
pub mod properties;
pub mod report;
pub mod resolve;
pub mod sampler;
pub mod series;
pub mod session;
pub mod settings;
pub mod sizing;
pub mod store;
pub mod usage;
pub mod values;
pub mod worker;
pub mod workload;
pub mod zipfian;
pub mod zonal_store;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::exit;
use command_line::{Arguments, Command, CommandLine, with_ycsb_spellings};
use progress::Progress;
use properties::Properties;
use report::{Report, ReportFormat};
use resolve::{Plan, Task, resolve};
use usage::UsageError;

/// The whole program, from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = with_ycsb_spellings(std::env::args_os()).collect();
    let command_line = CommandLine::parse_from(&words);
    let code = match perform(command_line.command, &words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ycsb: {error}");
            exit::WRONG_USAGE
        }
    };
    ExitCode::from(code)
}

fn perform(command: Command, words: &[OsString]) -> Result<u8, UsageError> {
    match command {
        Command::Load(arguments) => execute(&plan(Task::Load, &arguments)?),
        Command::Run(run) if run.load => execute(&plan(Task::LoadAndRun, &run.shared)?),
        Command::Run(run) => execute(&plan(Task::Run, &run.shared)?),
        Command::Compare(mut arguments) => {
            let given = given_properties(&arguments.shared)?;
            arguments.fill_in_defaults(&given);
            let plan = resolve(Task::LoadAndRun, &arguments.shared, &given)?;
            // The first word is the program's name.
            compare::execute(&arguments, plan, &words[1..])
        }
    }
}

fn plan(task: Task, arguments: &Arguments) -> Result<Plan, UsageError> {
    resolve(task, arguments, &given_properties(arguments)?)
}

/// The properties of all files in order, then those of `-p`.
fn given_properties(arguments: &Arguments) -> Result<Properties, UsageError> {
    let mut given = Properties::default();
    for file in &arguments.property_files {
        given.overlay(&Properties::read_file(file)?);
    }
    for assignment in &arguments.properties {
        given.define(assignment)?;
    }
    Ok(given)
}

fn create_page(path: &Path) -> Result<File, UsageError> {
    File::create(path).map_err(|error| UsageError::new(format!("cannot write {}: {error}", path.display())))
}

fn execute(plan: &Plan) -> Result<u8, UsageError> {
    plan.tell_warnings();
    // Made before the run: after hours of it would be a bad time to learn that the file cannot be written.
    let page = plan.report.as_deref().map(create_page).transpose()?;
    let mut out = io::stdout().lock();
    let mut written = Report::of_plan(plan).write_beginning(plan.format, &mut out);
    let report = session::run(plan, &mut Progress::on_stderr(plan.show_progress), |phase| {
        written = std::mem::replace(&mut written, Ok(())).and_then(|()| phase.write(plan.format, &mut out));
    })?;
    let written = written
        .and_then(|()| report.write(plan.format, &mut out))
        .and_then(|()| page.map_or(Ok(()), |mut page| report.write(ReportFormat::Html, &mut page)));
    if let Some(failure) = &report.failure {
        eprintln!("ycsb: {failure}");
    }
    if let Err(error) = &written {
        eprintln!("ycsb: cannot write the results: {error}");
    }
    Ok(if report.failure.is_some() || written.is_err() { exit::FAILED } else { exit::DONE })
}
