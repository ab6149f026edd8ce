//! Progress on stderr: a bar where it is a terminal, a line a second where it was asked for, else nothing.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::size::grouped;

/// Shows how far a phase is.
pub struct Progress {
    style: Style,
    label: String,
    operations: Option<u64>,
    time_limit: Option<Duration>,
    started: Instant,
    last: (Instant, u64),
    bar: ProgressBar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Hidden,
    Lines,
    Bar,
}

impl Progress {
    /// Time from one sign of progress to the next.
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Progress as fits where stderr goes; `asked_for` shows lines even where nobody looks at a terminal.
    #[must_use]
    pub fn on_stderr(asked_for: bool) -> Self {
        let style = match (stderr().is_terminal(), asked_for) {
            (true, _) => Style::Bar,
            (false, true) => Style::Lines,
            (false, false) => Style::Hidden,
        };
        Self::with_style(style)
    }

    /// No progress at all.
    #[must_use]
    pub fn hidden() -> Self {
        Self::with_style(Style::Hidden)
    }

    fn with_style(style: Style) -> Self {
        let now = Instant::now();
        let (label, bar) = (String::new(), ProgressBar::hidden());
        Self { style, label, operations: None, time_limit: None, started: now, last: (now, 0), bar }
    }

    /// Begins a pass of so many operations, or so much time, or both.
    pub fn start(&mut self, label: &str, operations: Option<u64>, time_limit: Option<Duration>) {
        let now = Instant::now();
        label.clone_into(&mut self.label);
        (self.operations, self.time_limit) = (operations, time_limit);
        (self.started, self.last) = (now, (now, 0));
        if self.style == Style::Bar {
            self.bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar.set_style(style);
            self.bar.set_prefix(label.to_owned());
        }
    }

    /// When the next sign of progress is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.last.0 + Self::INTERVAL
    }

    /// Shows that `done` operations are done.
    pub fn tick(&mut self, done: u64) {
        let now = Instant::now();
        let rate = (done - self.last.1) as f64 / (now - self.last.0).as_secs_f64().max(1e-9);
        self.last = (now, done);
        match self.style {
            Style::Hidden => {}
            Style::Lines => eprintln!("{}: {}", self.label, self.describe(done, rate)),
            Style::Bar => {
                self.bar.set_position(self.permille(done));
                self.bar.set_message(self.describe(done, rate));
            }
        }
    }

    /// Ends the pass and clears its bar away.
    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
    }

    fn describe(&self, done: u64, rate: f64) -> String {
        let seconds = self.started.elapsed().as_secs();
        let total = self.operations.map_or(String::new(), |all| format!(" of {}", grouped(all)));
        format!("{seconds} s, {}{total} operations, {rate:.0} ops/s", grouped(done))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of 0 to 1, times a thousand"
    )]
    fn permille(&self, done: u64) -> u64 {
        let by_operations = self.operations.map_or(0.0, |all| done as f64 / all.max(1) as f64);
        let by_time =
            self.time_limit.map_or(0.0, |all| self.started.elapsed().as_secs_f64() / all.as_secs_f64());
        (by_operations.max(by_time).min(1.0) * 1000.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Progress;

    #[test]
    fn progress_counts_whichever_limit_is_nearer() {
        let mut progress = Progress::hidden();
        progress.start("a", Some(200), Some(Duration::from_secs(1_000_000)));
        assert_eq!(progress.permille(50), 250);
        assert_eq!(progress.permille(400), 1000);
        assert!(progress.describe(50, 12.3).contains("50 of 200 operations, 12 ops/s"));
        progress.start("b", None, None);
        assert_eq!(progress.permille(50), 0);
    }
}
