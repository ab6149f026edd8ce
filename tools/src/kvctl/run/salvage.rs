//! `salvage`.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};
use zonal::{Db, Doubt, DoubtfulKey, LostKey, LostWrites, Salvage, SalvageReport};

use crate::kvctl::Answer;
use crate::kvctl::escape::escaped;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;
use crate::kvctl::plan::SalvageInto;
use crate::kvctl::progress::Progress;
use crate::kvctl::record::named_bytes;
use crate::size::grouped;

/// Keys that a table shows of those that are lost or doubtful; JSON has all of them.
const SHOWN_KEYS: usize = 20;

/// Saves what can be read of a store, and tells what is gone.
pub(super) fn salvage(plan: &SalvageInto, output: &mut Output) -> Result<Answer, Failure> {
    let reading = Progress::of_bytes("reading", Some(0));
    let salvage =
        Salvage::open(&plan.store.path, &plan.options, &|done, total| reading.reach_of(done, total))?;
    drop(reading);
    let report = salvage.report();
    if let Some(into) = &plan.into {
        let options = plan.adjust(salvage.like_the_original());
        let db = Db::open(into, options.queue(plan.store.queue))?;
        let copying = Progress::of_keys("copying", Some(report.keys));
        salvage.copy_into(&db, &|keys| copying.reach(keys))?;
        db.close()?;
    }
    let shown = if output.is_json() {
        output.json(&document(plan, report))
    } else {
        output.text(&text(plan, report))
    };
    match shown.and_then(|()| output.flush()) {
        // The exit code still tells.
        Err(failure) if failure.is_a_reader_gone() => {}
        other => other?,
    }
    Ok(if report.is_complete() { Answer::Yes } else { Answer::No })
}

fn document(plan: &SalvageInto, report: &SalvageReport) -> Value {
    json!({
        "complete": report.is_complete(),
        "into": plan.into.as_ref().map(|into| into.display().to_string()),
        "keys": report.keys,
        "records": report.records,
        "void_records": report.void_records,
        "mended_records": report.mended_records,
        "device_damages": report.device_damages,
        "unreadable": report.unreadable,
        "notes": report.notes,
        "lost_keys": report.lost_keys.iter().map(lost_key).collect::<Vec<_>>(),
        "lost_writes": report.lost_writes,
        "torn_batches": report.torn_batches,
        "doubtful_keys": report.doubtful_keys.iter().map(doubtful_key).collect::<Vec<_>>(),
    })
}

/// Fields beside the key, which is named as in a dump.
fn with_key(key: &[u8], fields: &impl Serialize) -> Value {
    let mut object = serde_json::Map::new();
    let (name, value) = named_bytes("key", key);
    object.insert(name, Value::String(value));
    if let Ok(Value::Object(fields)) = serde_json::to_value(fields) {
        object.extend(fields);
    }
    Value::Object(object)
}

fn lost_key(lost: &LostKey) -> Value {
    let LostKey { key, seqno, zone, offset, device_offset, what, older_seqno, .. } = lost;
    let fields = json!({
        "seqno": seqno, "zone": zone, "offset": offset, "device_offset": device_offset, "what": what,
        "older_seqno": older_seqno,
    });
    with_key(key, &fields)
}

fn doubtful_key(found: &DoubtfulKey) -> Value {
    let DoubtfulKey { key, seqno, zone, offset, doubt, kept, .. } = found;
    with_key(key, &json!({ "seqno": seqno, "zone": zone, "offset": offset, "doubt": doubt, "kept": kept }))
}

fn text(plan: &SalvageInto, report: &SalvageReport) -> String {
    let path = plan.store.path.display();
    let outcome = if report.is_complete() { "everything can be read" } else { "NOT EVERYTHING can be read" };
    let mut text = format!("{path}: {outcome}\n");
    let mut line = |line: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {line}");
    };
    let keys = grouped(report.keys);
    line(match &plan.into {
        Some(into) => format!("keys copied into {}: {keys}", into.display()),
        None => format!("keys that can be read: {keys}; --into copies them to a new store"),
    });
    line(format!(
        "records found: {}; put right: {}; void since a crash: {}",
        grouped(report.records),
        grouped(report.mended_records),
        grouped(report.void_records)
    ));
    for damage in &report.device_damages {
        line(format!("damage at byte {} of the device: {}", damage.device_offset, damage.what));
    }
    for found in &report.unreadable {
        let place = place(found.zone, found.offset, found.device_offset);
        line(format!("the device fails to read {} bytes: {place}", grouped(found.len_bytes)));
    }
    report.notes.iter().cloned().for_each(&mut line);
    report.lost_writes.iter().map(lost_writes_line).for_each(&mut line);
    for batch in &report.torn_batches {
        let last = batch.first_seqno + u64::from(batch.writes) - 1;
        line(format!(
            "of the batch of writes {} to {last} something is gone, the rest is kept",
            batch.first_seqno
        ));
    }
    shown(&report.lost_keys, lost_key_line).into_iter().for_each(&mut line);
    shown(&report.doubtful_keys, doubtful_key_line).into_iter().for_each(&mut line);
    text
}

/// Lines for the first of many.
fn shown<T>(all: &[T], line: fn(&T) -> String) -> Vec<String> {
    let mut lines: Vec<String> = all.iter().take(SHOWN_KEYS).map(line).collect();
    if all.len() > SHOWN_KEYS {
        let more = grouped((all.len() - SHOWN_KEYS) as u64);
        lines.push(format!("and {more} more keys like these; --format json lists all"));
    }
    lines
}

fn place(zone: u32, offset: u64, device_offset: Option<u64>) -> String {
    let device = device_offset.map_or(String::new(), |byte| format!(" (byte {byte} of the device)"));
    format!("zone {zone} at offset {offset}{device}")
}

fn lost_writes_line(lost: &LostWrites) -> String {
    let place = place(lost.zone, lost.offset, lost.device_offset);
    let which = match (lost.first_seqno, lost.last_seqno) {
        (Some(first), Some(last)) if first == last => format!("write {first} is gone"),
        (Some(first), Some(last)) => format!("writes {first} to {last} are gone"),
        _ => "writes are gone, it is not known which".to_owned(),
    };
    format!("{which}, of unknown keys: {place}: {}", lost.what)
}

fn lost_key_line(lost: &LostKey) -> String {
    let place = place(lost.zone, lost.offset, lost.device_offset);
    let older = match lost.older_seqno {
        Some(seqno) => format!("; an older version, write {seqno}, can be read (--older-versions)"),
        None => String::new(),
    };
    format!(
        "the value of {} is gone: write {}, {place}: {}{older}",
        escaped(&lost.key),
        lost.seqno,
        lost.what
    )
}

fn doubtful_key_line(found: &DoubtfulKey) -> String {
    let why = match found.doubt {
        Doubt::NewerVersionLost => "is an older one, the newest is damaged",
        Doubt::MaybeSuperseded => "may be an older one, later writes are gone",
        _ => "may be one that no longer counted",
    };
    let kept = if found.kept { "kept" } else { "left out" };
    format!("the value of {} {why}; {kept}: write {}", escaped(&found.key), found.seqno)
}
