//! `check`.

use std::fmt::Write;

use serde::Serialize;
use zonal::{CheckReport, Damage, Db, Depth, DeviceDamage, ErrorKind, Options};

use crate::kvctl::Answer;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;
use crate::kvctl::plan::StoreAt;
use crate::kvctl::progress::Progress;
use crate::size::grouped;

/// What has been found, with the names that JSON has.
#[derive(Debug, Serialize)]
struct Findings {
    sound: bool,
    deep: bool,
    /// Why the store cannot be opened at all.
    unreadable: Option<String>,
    #[serde(flatten)]
    report: CheckReport,
}

/// Looks for damage and tells of all of it.
pub(super) fn check(store: &StoreAt, depth: Depth, output: &mut Output) -> Result<Answer, Failure> {
    let findings = look(store, depth)?;
    let shown = output.result(&findings, || text(store, &findings));
    match shown.and_then(|()| output.flush()) {
        // The exit code still tells.
        Err(failure) if failure.is_a_reader_gone() => {}
        other => other?,
    }
    Ok(if findings.sound { Answer::Yes } else { Answer::No })
}

fn look(store: &StoreAt, depth: Depth) -> Result<Findings, Failure> {
    let progress = Progress::of_keys("checking", None);
    let checked =
        Db::check(&store.path, &Options::default().queue(store.queue), depth, &|keys| progress.reach(keys));
    let (report, unreadable) = match checked {
        Ok(report) => (report, None),
        // What is too damaged to be opened is damaged: that is an answer.
        Err(error) if error.kind() == ErrorKind::Corruption => {
            let mut report = CheckReport::default();
            report.device_damages = Db::check_device(&store.path)?;
            (report, Some(error.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    let sound = report.is_sound() && unreadable.is_none();
    Ok(Findings { sound, deep: depth == Depth::Deep, unreadable, report })
}

fn text(store: &StoreAt, findings: &Findings) -> String {
    let Findings { sound, deep, unreadable, report } = findings;
    let mut text = format!("{}: {}\n", store.path.display(), if *sound { "sound" } else { "DAMAGED" });
    let mut line = |line: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {line}");
    };
    if let Some(reason) = unreadable {
        line(format!("cannot be opened: {reason}"));
        report.device_damages.iter().map(device_damage_line).for_each(&mut line);
        return text;
    }
    line(format!("keys checked against their zones' accounts: {}", grouped(report.keys)));
    line(match deep {
        true => format!("values read back and their checksums verified: {}", grouped(report.values)),
        false => "values read back: none; --deep reads them all".to_owned(),
    });
    let void = grouped(report.void_records);
    line(format!("records found: {}; void since a crash: {void}", grouped(report.records)));
    line(match report.clean {
        true => "closed in order".to_owned(),
        false => "not closed in order; recovers when it is opened for writing".to_owned(),
    });
    report.device_damages.iter().map(device_damage_line).for_each(&mut line);
    report.damages.iter().map(damage_line).for_each(&mut line);
    report.harmless_damages.iter().map(harmless_line).for_each(&mut line);
    report
        .wrong_accounts
        .iter()
        .for_each(|account| line(format!("wrong account, a fault in zonal: {account}")));
    text
}

fn damage_line(damage: &Damage) -> String {
    let extent = if damage.confined { "the value of one key" } else { "what else is hit is unknown" };
    format!("damage in {}: {} ({extent})", place(damage), damage.what)
}

fn harmless_line(damage: &Damage) -> String {
    format!("damage in {}: {} (nothing is lost by it)", place(damage), damage.what)
}

fn place(damage: &Damage) -> String {
    let device = damage.device_offset.map_or(String::new(), |byte| format!(" (byte {byte} of the device)"));
    format!("zone {} at offset {}{device}", damage.zone, damage.offset)
}

fn device_damage_line(damage: &DeviceDamage) -> String {
    format!("damage at byte {} of the device: {}", damage.device_offset, damage.what)
}
