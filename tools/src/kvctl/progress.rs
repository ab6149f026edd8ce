//! How far long work is: a bar on stderr where that is a terminal, else nothing.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that goes away when the work ends.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// No bar at all: for work whose results appear on the terminal meanwhile.
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Work of so many bytes; `None` where nobody knows.
    pub(crate) fn of_bytes(label: &'static str, total: Option<u64>) -> Self {
        let known = "{prefix} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        Self::new(label, total, known, "{prefix} {spinner} {bytes}, {bytes_per_sec}")
    }

    /// Work on so many keys; `None` where nobody knows.
    pub(crate) fn of_keys(label: &'static str, total: Option<u64>) -> Self {
        let known = "{prefix} {wide_bar} {human_pos} of {human_len} keys, {eta} left";
        Self::new(label, total, known, "{prefix} {spinner} {human_pos} keys")
    }

    /// So many steps, all alike.
    pub(crate) fn of_checks(label: &'static str, total: u64) -> Self {
        Self::new(label, Some(total), "{prefix} {wide_bar} {human_pos} of {human_len}", "")
    }

    /// Work on so many zones.
    pub(crate) fn of_zones(label: &'static str, total: u64) -> Self {
        Self::new(label, Some(total), "{prefix} {wide_bar} {human_pos} of {human_len} zones, {eta} left", "")
    }

    fn new(label: &'static str, total: Option<u64>, known: &str, unknown: &str) -> Self {
        // A draw target on stderr hides itself where stderr is no terminal.
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = if total.is_some() { known } else { unknown };
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_prefix(label);
        Self { bar }
    }

    /// So much more is done.
    pub(crate) fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// So much is done, of so much in all.
    pub(crate) fn reach_of(&self, position: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(position);
    }

    /// So much is done all told.
    pub(crate) fn reach(&self, position: u64) {
        self.bar.set_position(position);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
