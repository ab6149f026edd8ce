//! `ycsb compare`: zonal beside other embedded stores, with the same operations at the same durability.
//!
//! Each store runs in a process of its own, which is this binary once more: an allocator, a cache or a leftover thread of
//! one cannot touch another, and the kernel counts for each alone. The parent only starts them one after another, in an
//! order that moves on by one each round, and sums up: `contestant` names the stores, `peers` holds the others, `child` is
//! what runs in a process, `summary` takes medians and ratios, `table` and `page` show them.

pub mod arguments;
pub mod child;
pub mod contestant;
pub mod memory_group;
pub mod page;
pub mod peers;
pub mod process;
pub mod summary;
pub mod table;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::create_page;
use super::report::ReportFormat;
use super::resolve::Plan;
use super::usage::UsageError;
use crate::exit;
use arguments::CompareArguments;
use child::StoreResult;
use contestant::Contestant;
use memory_group::MemoryGroup;
use summary::Comparison;

const HOW_TO_GET_PEERS: &str = "this build has no other stores to compare with; get one that has by\n  \
    cargo run --release -p zonal-tools --features peers --bin ycsb -- compare --path DIRECTORY\n\
    It compiles RocksDB, which takes some ten minutes and wants clang (on Debian: apt-get install clang libclang-dev). \
    Without RocksDB: --features peers-without-rocksdb";

/// Runs the comparison, or one store of it when this process is such a child. `words` is the command line as typed.
///
/// # Errors
///
/// What was asked for wrongly; nothing has been run then.
pub fn execute(arguments: &CompareArguments, plan: Plan, words: &[OsString]) -> Result<u8, UsageError> {
    if let Some(contestant) = arguments.child {
        return run_child(contestant, arguments, plan);
    }
    let stores = stores(arguments)?;
    plan.tell_warnings();
    if plan.format == ReportFormat::Ycsb {
        return Err(UsageError::new("a comparison has no YCSB text; use --format table, json or html"));
    }
    let page = plan.report.as_deref().map(create_page).transpose()?;
    let directory = Scratch::create(&plan.store.path)?;
    let mut comparison = Comparison::new(&plan, arguments);
    for round in 0..arguments.rounds {
        let mut order = stores.clone();
        order.rotate_left(round as usize % stores.len());
        let run_one = |(place, contestant): (usize, &Contestant)| {
            eprintln!(
                "ycsb: round {} of {}, {} of {}: {}",
                round + 1,
                arguments.rounds,
                place + 1,
                order.len(),
                contestant.name()
            );
            run_in_process(*contestant, arguments, &directory.0, words)
        };
        comparison.rounds.push(order.iter().enumerate().map(run_one).collect::<Result<_, _>>()?);
    }
    let failed = comparison.rounds.iter().flatten().any(|result| result.failure.is_some());
    let written = show(&comparison, &plan, page);
    if let Err(error) = &written {
        eprintln!("ycsb: cannot write the results: {error}");
    }
    Ok(if failed || written.is_err() { exit::FAILED } else { exit::DONE })
}

fn stores(arguments: &CompareArguments) -> Result<Vec<Contestant>, UsageError> {
    let built_in = Contestant::all_built_in();
    if arguments.stores.is_empty() {
        return if built_in.len() > 1 { Ok(built_in) } else { Err(UsageError::new(HOW_TO_GET_PEERS)) };
    }
    match arguments.stores.iter().find(|store| !store.is_built_in()) {
        Some(missing) => Err(UsageError::new(format!("{}: {HOW_TO_GET_PEERS}", missing.name()))),
        None => Ok(arguments.stores.clone()),
    }
}

fn show(comparison: &Comparison, plan: &Plan, page: Option<File>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let summary = comparison.summary();
    match plan.format {
        ReportFormat::Json => writeln!(out, "{}", serde_json::to_string_pretty(&comparison.with_summary())?)?,
        ReportFormat::Html => out.write_all(page::page(comparison, &summary).as_bytes())?,
        ReportFormat::Table | ReportFormat::Ycsb => table::write(&summary, &mut out)?,
    }
    out.flush()?;
    page.map_or(Ok(()), |mut file| file.write_all(page::page(comparison, &summary).as_bytes()))
}

fn run_child(contestant: Contestant, arguments: &CompareArguments, mut plan: Plan) -> Result<u8, UsageError> {
    if let Some(group) = &arguments.child_group {
        memory_group::enter(group)?;
    }
    if let Some(path) = &arguments.child_path {
        plan.store.path.clone_from(path);
    }
    let result = child::run(contestant, &plan);
    let text = serde_json::to_vec(&result).unwrap_or_default();
    let written = arguments.child_result.as_ref().map_or(Ok(()), |path| fs::write(path, text));
    Ok(if written.is_ok() { exit::DONE } else { exit::FAILED })
}

/// Runs one store in a process of its own and removes what it leaves.
fn run_in_process(
    contestant: Contestant,
    arguments: &CompareArguments,
    directory: &Path,
    words: &[OsString],
) -> Result<StoreResult, UsageError> {
    let group = arguments.memory.map(MemoryGroup::create).transpose()?;
    let (store, result) = (directory.join(contestant.name()), directory.join("result.json"));
    let program = std::env::current_exe().map_err(|error| cannot("find this program", &error))?;
    let mut command = Command::new(program);
    command.args(words).arg("--child").arg(contestant.name());
    command.arg("--child-path").arg(&store).arg("--child-result").arg(&result);
    if let Some(group) = &group {
        command.arg("--child-group").arg(group.directory());
    }
    let mut child = command.spawn().map_err(|error| cannot("start a process", &error))?;
    let status = wait(&mut child, arguments.timeout.map(Duration::from_secs));
    let outcome = read_result(contestant, &result, status, arguments.timeout);
    remove(&store);
    remove(&result);
    Ok(outcome)
}

fn cannot(what: &str, error: &io::Error) -> UsageError {
    UsageError::new(format!("cannot {what}: {error}"))
}

/// Waits for a process; `None` when it took too long, and was ended.
fn wait(child: &mut Child, timeout: Option<Duration>) -> Option<ExitStatus> {
    let Some(timeout) = timeout else { return child.wait().ok() };
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(100));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn read_result(
    contestant: Contestant,
    path: &Path,
    status: Option<ExitStatus>,
    timeout: Option<u64>,
) -> StoreResult {
    let Some(status) = status else {
        let seconds = timeout.unwrap_or_default();
        return StoreResult::failed(contestant, format!("did not finish within {seconds} s"));
    };
    let read = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    read.unwrap_or_else(|| StoreResult::failed(contestant, format!("its process ended with {status}")))
}

/// The directory that stores are made in: removed at the end if it was made here.
struct Scratch(PathBuf, Option<PathBuf>);

impl Scratch {
    fn create(path: &Path) -> Result<Self, UsageError> {
        let made_here = !path.exists();
        let cannot_use =
            |error| UsageError::new(format!("cannot use {} as a directory: {error}", path.display()));
        fs::create_dir_all(path).map_err(cannot_use)?;
        let inside = path.join(format!("ycsb-compare-{}", std::process::id()));
        fs::create_dir(&inside).map_err(cannot_use)?;
        Ok(Self(inside, made_here.then(|| path.to_owned())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        if let Some(parent) = &self.1 {
            let _ = fs::remove_dir(parent);
        }
    }
}

/// A store is a file or a directory.
fn remove(path: &Path) {
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path);
}
