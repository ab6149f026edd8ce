//! The append contract as a suite of checks that runs on any zoned device and any queue.
//!
//! Destructive: zones are reset, and left empty. Every line of the contract that applications are promised is a check with
//! a name; beside them stand the rules of zones that the engine builds on. A check passes, fails with a reason, or
//! does not apply with a reason. No zone is taken to be empty or writable at the start, no limit to have any value, and
//! a refusal may come when an append is submitted or as its completion.
//!
//! Threading: one thread runs the suite; the checks that need more start them. The device must be nobody else's
//! meanwhile.

mod at_pointer;
mod bench;
mod checks;
mod content;
mod interposed;
mod outcome;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Serialize;

pub use at_pointer::written_at_pointer;
pub use outcome::Verdict;

use self::bench::Bench;
use self::outcome::verdict_of;
use crate::device::{DeviceResult, ZonedDevice};
use crate::queue::QueueKind;

/// Where a check has its claim from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// A line of the append contract, counted from 1.
    Contract(u8),
    /// A rule of zones.
    Zones(ZoneRules),
}

/// The mark of checks of what zones do, whatever is appended how.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneRules {
    /// States, limits, reads and resets.
    Zones,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Contract(line) => write!(f, "{line}"),
            Self::Zones(_) => f.write_str("zones"),
        }
    }
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// Where the claim comes from.
    pub line: Line,
    /// The check's name; it stays.
    pub name: &'static str,
    /// What is claimed.
    pub claim: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The names and claims of all checks, in the order in which they run.
pub fn catalogue() -> impl Iterator<Item = (Line, &'static str, &'static str)> {
    checks::ALL.iter().map(|check| (check.line, check.name, check.claim))
}

/// Runs every check on `device` over queues of `kind`, and tells of each finding as it is made.
///
/// All zones that the suite may write, of a few hundred at most, are empty on return.
///
/// # Errors
/// The device's, when its zones cannot even be reported or reset before the first check.
pub fn run(
    device: &Arc<dyn ZonedDevice>,
    kind: QueueKind,
    tell: &mut dyn FnMut(&Finding),
) -> DeviceResult<Vec<Finding>> {
    run_some(device, kind, |_| true, tell)
}

/// Runs the checks whose names are `wanted`.
fn run_some(
    device: &Arc<dyn ZonedDevice>,
    kind: QueueKind,
    wanted: impl Fn(&str) -> bool,
    tell: &mut dyn FnMut(&Finding),
) -> DeviceResult<Vec<Finding>> {
    run_on(&Bench::new(Arc::clone(device), kind)?, wanted, tell)
}

fn run_on(
    bench: &Bench,
    wanted: impl Fn(&str) -> bool,
    tell: &mut dyn FnMut(&Finding),
) -> DeviceResult<Vec<Finding>> {
    let findings = checks::ALL.iter().filter(|check| wanted(check.name)).map(|check| {
        let verdict = verdict_of(bench.clear().map_err(Into::into).and_then(|()| (check.run)(bench)));
        let finding = Finding { line: check.line, name: check.name, claim: check.claim, verdict };
        tell(&finding);
        finding
    });
    let findings = findings.collect();
    bench.clear()?;
    Ok(findings)
}
