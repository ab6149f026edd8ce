//! Does what a plan says: one file a group of commands, each from an opened store to results on stdout.

mod check;
mod checkpoint;
mod cleaning;
mod create;
mod describe;
mod device;
mod dump;
mod gc;
mod load;
mod salvage;
mod scan;
mod values;
mod zones;

use std::io::{Write, stderr};

use clap::CommandFactory;
use clap_complete::Shell;
use zonal::{Db, Options, Value};

use super::Answer;
use super::command_line::CommandLine;
use super::escape::escaped;
use super::failure::Failure;
use super::output::Output;
use super::plan::{Plan, StoreAt, Task};

/// Does what the plan says. All results are with the operating system on return.
pub(crate) fn run(plan: Plan) -> Result<Answer, Failure> {
    let mut output = Output::on_stdout(plan.format);
    let answer = task(plan.task, &mut output)?;
    output.flush()?;
    Ok(answer)
}

fn task(task: Task, output: &mut Output) -> Result<Answer, Failure> {
    let done = match task {
        Task::Get { store, key } => return values::get(&store, &key, output),
        Task::Delete { store, key, durability } => return values::delete(&store, &key, durability),
        Task::Device(task) => return device::run(task, output),
        Task::Scan(scan) => return scan::scan(scan, output),
        Task::Dump { store, destination } => return dump::dump(&store, destination.as_deref(), output),
        Task::Salvage(plan) => return salvage::salvage(&plan, output),
        Task::Check { store, depth } => return check::check(&store, depth, output),
        Task::Checkpoint { store } => return checkpoint::checkpoint(&store, output),
        Task::Gc { store } => gc::gc(&store, output),
        Task::Create { store, options } => create::create(&store, options, output),
        Task::Put { store, key, value, durability } => values::put(&store, &key, &value, durability),
        Task::Info { store } => describe::info(&store, output),
        Task::Stats { store } => describe::stats(&store, output),
        Task::Zones { store } => zones::list(&store, output),
        Task::ZoneMap { store, width } => zones::map(&store, width, output),
        Task::Load(plan) => load::load(&plan, output),
        Task::Completions(shell) => completions(shell, output),
    };
    done.map(|()| Answer::Yes)
}

fn completions(shell: Shell, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "kvctl", &mut script);
    output.bytes(&script)
}

/// A key and its value; `None` where the value cannot be read, which is said on stderr.
fn readable(item: zonal::Result<(Vec<u8>, Value)>) -> Result<Option<(Vec<u8>, Value)>, Failure> {
    match item {
        Ok(found) => Ok(Some(found)),
        Err(error) => {
            let Some(key) = error.key().map(escaped) else { return Err(error.into()) };
            // Where stderr is closed, the exit code has to be enough.
            let _ = writeln!(stderr(), "kvctl: the value of {key} cannot be read and is left out: {error}");
            Ok(None)
        }
    }
}

/// Opens a store so that not a byte of it changes.
fn open_to_read(store: &StoreAt) -> Result<Db, Failure> {
    let db = Db::open(&store.path, Options::default().queue(store.queue).read_only(true))?;
    warn_of_lost_journal(&db);
    Ok(db)
}

/// Opens a store that is there.
fn open_to_write(store: &StoreAt) -> Result<Db, Failure> {
    let db = Db::open(&store.path, Options::default().queue(store.queue).create_if_missing(false))?;
    warn_of_lost_journal(&db);
    Ok(db)
}

/// The store is whole without it: what is said is for whoever counts on the last writes.
fn warn_of_lost_journal(db: &Db) {
    if db.info().opening.journal_lost {
        // Where stderr is closed, there is nobody to tell.
        let _ = writeln!(
            stderr(),
            "kvctl: the journal of a process that was killed is gone, perhaps because the file was cut: the last writes \
             that it acknowledged as written may be lost"
        );
    }
}
