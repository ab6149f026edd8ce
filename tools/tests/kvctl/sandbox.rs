//! A directory with stores in it, and kvctl running there.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

/// The zone size of the stores made here.
pub(crate) const ZONE_BYTES: u64 = 1 << 20;

pub(crate) struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A sandbox with the store `d.zonal` of 16 zones.
    pub(crate) fn with_store() -> Self {
        let sandbox = Self::new();
        sandbox.create("d.zonal", "16MiB");
        sandbox
    }

    pub(crate) fn create(&self, store: &str, capacity: &str) {
        self.done(&["create", store, "--capacity", capacity, "--zone-size", "1MiB"]);
    }

    /// Writes a store of 16 zones over, so often that its collector has something to do.
    pub(crate) fn churn(&self, store: &str) {
        let value = "v".repeat(10_000);
        let lines: String = (0..3000)
            .map(|number| format!("{{\"key\": \"{}\", \"value\": \"{value}\"}}\n", number % 50))
            .collect();
        self.done_with(&["load", store, "-", "--durability", "buffered"], lines.as_bytes());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// kvctl, about to run in the sandbox; nothing about it is a terminal.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
        command.args(words).current_dir(self.directory.path()).env_remove("COLUMNS");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs kvctl with something on its stdin.
    pub(crate) fn run_with(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        thread::scope(|scope| {
            // Fails where kvctl ends without having read everything.
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().unwrap()
        })
    }

    /// Runs a command that must succeed and have no message; gives what it wrote to stdout.
    pub(crate) fn done_bytes(&self, words: &[&str]) -> Vec<u8> {
        assert_done(words, self.run(words))
    }

    pub(crate) fn done(&self, words: &[&str]) -> String {
        String::from_utf8(self.done_bytes(words)).unwrap()
    }

    pub(crate) fn done_with(&self, words: &[&str], input: &[u8]) -> String {
        String::from_utf8(assert_done(words, self.run_with(words, input))).unwrap()
    }

    pub(crate) fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[words, &["--format", "json"]].concat())).unwrap()
    }

    /// Runs a command that must end with a code other than 0 and write no results; gives its message.
    pub(crate) fn refused(&self, words: &[&str], code: i32) -> String {
        let output = self.run(words);
        assert_eq!(text(&output.stdout), "", "{words:?}");
        message(words, &output, code)
    }
}

/// The message of a command that must have ended with `code`.
pub(crate) fn message(words: &[&str], output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_done(words: &[&str], output: Output) -> Vec<u8> {
    assert_eq!(text(&output.stderr), "", "{words:?}");
    assert_eq!(output.status.code(), Some(0), "{words:?}");
    output.stdout
}

/// A `kvctl load` of `d.zonal` that is fed line by line.
pub(crate) struct Writer {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    pub(crate) fn start(sandbox: &Sandbox, options: &[&str]) -> Self {
        let words = [&["load", "d.zonal", "-"], options].concat();
        let mut child = sandbox.command(&words).stdin(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout: BufReader::new(stdout).lines() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn line(&mut self, line: &[u8]) {
        self.stdin.write_all(line).unwrap();
    }

    /// The next acknowledgement; waits for it. `None` when there is none to come.
    pub(crate) fn acknowledgement(&mut self) -> Option<usize> {
        self.stdout.next().map(|line| line.unwrap().parse().unwrap())
    }

    /// Feeds all lines while `until` looks at acknowledgements, then kills with SIGKILL before the input has ended.
    /// Gives the last acknowledgement, those included that came before the end without having been looked at.
    pub(crate) fn feed_and_kill(mut self, lines: &[u8], until: impl Fn(usize) -> bool) -> usize {
        let mut last = 0;
        let mut stdin = self.stdin;
        thread::scope(|scope| {
            // Ends with an error when kvctl is killed. The input stays open until then.
            let feeder = scope.spawn(move || (stdin.write_all(lines), stdin));
            while !until(last) {
                last =
                    self.stdout.next().expect("kvctl goes on until it is killed").unwrap().parse().unwrap();
            }
            self.child.kill().unwrap();
            drop(feeder.join().unwrap());
        });
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
        self.stdout.map(|line| line.unwrap().parse().unwrap()).last().unwrap_or(last)
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(self) {
        self.feed_and_kill(b"", |_| true);
    }

    /// Ends its input and gives its exit code.
    pub(crate) fn finish(self) -> Option<i32> {
        drop(self.stdin);
        { self.child }.wait().unwrap().code()
    }
}
