//! `device check`: the conformance suite, for people who want to know whether a drive or kernel breaks the rules.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use comfy_table::{Table, presets};
use serde::Serialize;
use zonal_engine::conformance::{Finding, Verdict, catalogue, run};
use zonal_engine::device::ZonedDevice;
use zonal_engine::queue::{QueueKind, open_queue};

use super::{failure, open_to_destroy};
use crate::kvctl::Answer;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::{Output, trimmed_lines};
use crate::kvctl::plan::DeviceTarget;
use crate::kvctl::progress::Progress;

/// What the suite found, with the names that JSON has.
#[derive(Debug, Serialize)]
struct Findings {
    conforms: bool,
    device: String,
    queue: &'static str,
    passed: usize,
    failed: usize,
    not_applicable: usize,
    checks: Vec<Finding>,
}

/// Runs the suite and tells of every check.
pub(super) fn check(target: &DeviceTarget, output: &mut Output) -> Result<Answer, Failure> {
    let Some(device) = open_to_destroy(target)? else { return Ok(Answer::No) };
    let path = &target.at.path;
    let findings = look(path, &device, target.at.queue)?;
    let answer = if findings.conforms { Answer::Yes } else { Answer::No };
    output.result(&findings, || text(path, &findings))?;
    Ok(answer)
}

fn look(path: &Path, device: &Arc<dyn ZonedDevice>, kind: QueueKind) -> Result<Findings, Failure> {
    // Which queue it is, and that there is one, is to be known before anything is destroyed.
    let queue = open_queue(Arc::clone(device), 8, kind).map_err(Failure::Queue)?.kind();
    let progress = Progress::of_checks("checking", catalogue().count() as u64);
    let checks = run(device, kind, &mut |_| progress.advance(1)).map_err(failure(path))?;
    let count = |is_it: fn(&Verdict) -> bool| checks.iter().filter(|finding| is_it(&finding.verdict)).count();
    let failed = count(|verdict| matches!(verdict, Verdict::Fail { .. }));
    Ok(Findings {
        conforms: failed == 0,
        device: device.kind().to_owned(),
        queue,
        passed: count(|verdict| *verdict == Verdict::Pass),
        failed,
        not_applicable: count(|verdict| matches!(verdict, Verdict::NotApplicable { .. })),
        checks,
    })
}

fn text(path: &Path, findings: &Findings) -> String {
    let Findings { conforms, device, queue, passed, failed, not_applicable, checks } = findings;
    let answer = if *conforms { "keeps the rules" } else { "BREAKS THE RULES" };
    let mut text = format!("{}: {answer} ({device}, {queue})\n\n{}\n", path.display(), table(checks));
    for finding in checks {
        // Writing to a string does not fail.
        let _ = match &finding.verdict {
            Verdict::Pass => Ok(()),
            Verdict::Fail { reason } => writeln!(text, "{} FAILED: {reason}", finding.name),
            Verdict::NotApplicable { reason } => writeln!(text, "{} does not apply: {reason}", finding.name),
        };
    }
    let _ = writeln!(text, "\n{passed} passed, {failed} failed, {not_applicable} not applicable");
    text
}

fn table(checks: &[Finding]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["line", "check", "verdict", "claim"]);
    for finding in checks {
        let verdict = match &finding.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail { .. } => "FAIL",
            Verdict::NotApplicable { .. } => "n/a",
        };
        table.add_row([&finding.line.to_string(), finding.name, verdict, finding.claim]);
    }
    trimmed_lines(&table.to_string())
}
