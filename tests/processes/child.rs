//! Child processes: this very program in another role. What they have to say they write to their standard error, one
//! write(2) a line, so that a line is there whole once the kernel has it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ROLE: &str = "ZONAL_TEST_ROLE";
const STORE: &str = "ZONAL_TEST_STORE";
const ARGUMENT: &str = "ZONAL_TEST_ARGUMENT";
/// What lines begin with that are meant for the parent.
const MARK: &str = "tell ";

/// What a child process is to do.
pub(crate) struct Task {
    pub(crate) role: String,
    pub(crate) store: PathBuf,
    pub(crate) argument: String,
}

impl Task {
    /// The task of this process, if it is a child.
    pub(crate) fn given() -> Option<Self> {
        let role = std::env::var(ROLE).ok()?;
        let store = std::env::var_os(STORE).expect("the parent names the store").into();
        Some(Self { role, store, argument: std::env::var(ARGUMENT).expect("the parent gives it") })
    }
}

/// Tells the parent something.
pub(crate) fn tell(what: &str) {
    let line = format!("{MARK}{what}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("tell the parent");
}

/// Blocks until the parent says a word, or is gone.
pub(crate) fn hear() {
    std::io::stdin().read_line(&mut String::new()).expect("hear from the parent");
}

/// A command that runs this program in a role.
pub(crate) fn command(role: &str, store: &Path, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", "child_process", "--nocapture"]);
    set_task(&mut command, role, store, argument);
    command
}

/// The same by way of another program, which is given the command line as its arguments.
pub(crate) fn command_through(mut outer: Command, role: &str, store: &Path, argument: &str) -> Command {
    outer.arg(std::env::current_exe().expect("this program has a path"));
    outer.args(["--exact", "child_process", "--nocapture"]);
    set_task(&mut outer, role, store, argument);
    outer
}

fn set_task(command: &mut Command, role: &str, store: &Path, argument: &str) {
    command.env(ROLE, role).env(STORE, store).env(ARGUMENT, argument);
}

/// A running child.
pub(crate) struct Child {
    process: Process,
    lines: BufReader<ChildStderr>,
    stdin: Option<ChildStdin>,
    /// What it said that was not for the parent: panics, and what the allocator says at the end.
    pub(crate) noise: String,
}

impl Child {
    pub(crate) fn start(role: &str, store: &Path, argument: &str) -> Self {
        Self::run(&mut command(role, store, argument))
    }

    pub(crate) fn run(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("start a child");
        let lines = BufReader::new(process.stderr.take().expect("it is piped"));
        let stdin = process.stdin.take();
        Self { process, lines, stdin, noise: String::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next thing it tells; `None` when it has ended.
    pub(crate) fn told(&mut self) -> Option<String> {
        let mut line = String::new();
        // What is not UTF-8 or not ended by a newline was cut short by the kill, and was not told.
        while self.lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if let Some(told) = line.strip_prefix(MARK).and_then(|line| line.strip_suffix('\n')) {
                return Some(told.to_owned());
            }
            self.noise.push_str(&line);
            line.clear();
        }
        None
    }

    /// The next thing it tells. It must not have ended.
    pub(crate) fn tells(&mut self) -> String {
        self.told().unwrap_or_else(|| panic!("the child has ended: {}", self.noise))
    }

    /// Says a word to it.
    pub(crate) fn say(&mut self) {
        let stdin = self.stdin.as_mut().expect("it has not been let go");
        stdin.write_all(b"\n").expect("speak to the child");
    }

    /// Kills it, and gives all that it told and nobody has read yet.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("kill the child");
        let told = std::iter::from_fn(|| self.told()).collect();
        self.process.wait().expect("wait for the child");
        assert!(!self.noise.contains("panicked"), "the child says: {}", self.noise);
        told
    }

    /// Lets it go and waits for its end; gives what it told, what else it said, and how it ended.
    pub(crate) fn end(mut self) -> (Vec<String>, String, ExitStatus) {
        drop(self.stdin.take());
        let told = std::iter::from_fn(|| self.told()).collect();
        let status = self.process.wait().expect("wait for the child");
        (told, self.noise, status)
    }
}

/// Lets some time pass, mostly little, so that a kill that follows hits any moment of what takes anything from microseconds
/// to a tenth of a second.
pub(crate) fn dawdle(random: &mut StdRng) {
    let most = 1_u64 << random.random_range(0..23);
    (0..random.random_range(0..most)).for_each(|_| std::hint::spin_loop());
}

/// A fresh seed, or the one that is to be repeated; printed, which the test's output shows when it fails.
pub(crate) fn seeded() -> (u64, StdRng) {
    let given = std::env::var("ZONAL_KILL_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("ZONAL_KILL_SEED is a number"));
    println!("ZONAL_KILL_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}

/// How many rounds a test takes, of which it takes `usual` in CI: its share of what was asked for.
pub(crate) fn rounds(usual: u64) -> u64 {
    let asked = std::env::var("ZONAL_KILL_ROUNDS").ok();
    let asked = asked.map(|rounds| rounds.parse::<u64>().expect("ZONAL_KILL_ROUNDS is a number"));
    asked.map_or(usual, |asked| (asked * usual / USUAL_ROUNDS).max(1))
}

/// About what the tests take together in CI.
const USUAL_ROUNDS: u64 = 500;

/// A directory in memory where there is one: a killed process leaves the same there, in less time.
pub(crate) fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}
