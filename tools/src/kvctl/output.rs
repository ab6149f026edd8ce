//! Results, on stdout.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write, stdout};

use serde::Serialize;

use super::command_line::Format;
use super::failure::Failure;

/// Where results go, and in which form. What has been written must be flushed in the end.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
}

impl Output {
    /// Results on stdout.
    pub(crate) fn on_stdout(format: Format) -> Self {
        Self { out: BufWriter::with_capacity(64 << 10, stdout().lock()), format }
    }

    /// Whether results are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether somebody looks at the results as they are.
    pub(crate) fn is_terminal(&self) -> bool {
        self.out.get_ref().is_terminal()
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(Failure::Results)
    }

    /// Writes something as JSON over several lines.
    pub(crate) fn json(&mut self, what: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(what);
        let json = json.map_err(|error| Failure::Results(io::Error::from(error)))?;
        self.text(&json)?;
        self.text("\n")
    }

    /// Writes a result: as JSON for programs, else as its text.
    pub(crate) fn result(
        &mut self,
        what: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.is_json() { self.json(what) } else { self.text(&text()) }
    }

    /// Hands everything to the operating system.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Results)
    }
}

/// A table's text without what pads its lines at either end, and with the end of its last line.
pub(crate) fn trimmed_lines(text: &str) -> String {
    text.lines().flat_map(|line| [line.strip_prefix(' ').unwrap_or(line).trim_end(), "\n"]).collect()
}
