//! `info` and `stats`: what a store tells about itself. A row's name is its key in JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use zonal::{Checkpoint, CleaningStats, Collection, Info, Stats, StreamStats, ZoneCounts};

use super::checkpoint::zones;
use super::{cleaning, open_to_read};
use crate::kvctl::failure::Failure;
use crate::kvctl::output::{Output, trimmed_lines};
use crate::kvctl::plan::StoreAt;
use crate::size::{grouped, human_bytes};

/// Shows what does not change.
pub(super) fn info(store: &StoreAt, output: &mut Output) -> Result<(), Failure> {
    show_info(&open_to_read(store)?.info(), output)
}

/// All that `stats` shows, as it is in JSON.
#[derive(Serialize)]
struct AllStats {
    #[serde(flatten)]
    stats: Stats,
    streams: Vec<StreamStats>,
    collections: Vec<Collection>,
}

/// Shows counts and gauges.
pub(super) fn stats(store: &StoreAt, output: &mut Output) -> Result<(), Failure> {
    let db = open_to_read(store)?;
    let CleaningStats { streams, collections, .. } = db.cleaning_stats();
    let all = AllStats { stats: db.stats(), streams, collections };
    if output.is_json() {
        return output.json(&all);
    }
    output.text(&table(&stats_rows(&all.stats)))?;
    output.text(&cleaning::tables(&all.streams, &all.collections))
}

/// Shows a description in either format.
pub(super) fn show_info(info: &Info, output: &mut Output) -> Result<(), Failure> {
    output.result(info, || table(&info_rows(info)))
}

pub(super) type Row = (&'static str, String, String);

fn info_rows(info: &Info) -> Vec<Row> {
    let opening = &info.opening;
    vec![
        text("store_id", &info.store_id),
        text("device", &info.device),
        text("access", &info.access),
        text("queue", &info.queue),
        text("index", &info.index),
        count("format_version", info.format_version.into()),
        count("incarnation", info.incarnation.into()),
        bytes("block_bytes", info.block_bytes.into()),
        bytes("zone_size_bytes", info.zone_size_bytes),
        bytes("zone_capacity_bytes", info.zone_capacity_bytes),
        count("zone_count", info.zone_count.into()),
        bytes("capacity_bytes", info.capacity_bytes),
        count("max_open_zones", info.max_open_zones.into()),
        count("max_active_zones", info.max_active_zones.into()),
        bytes("append_limit_bytes", info.append_limit_bytes.into()),
        text("checkpoints", &checkpoints(&info.checkpoints)),
        text("keeps_journal", yes_or_no(info.keeps_journal)),
        count("opening.checkpoint", opening.checkpoint),
        count("opening.checkpoint_entries", opening.checkpoint_entries),
        count("opening.checkpoint_zones", opening.checkpoint_zones.into()),
        count("opening.unusable_checkpoints", opening.unusable_checkpoints.into()),
        count("opening.zones_read", opening.zones_read.into()),
        bytes("opening.bytes_read", opening.bytes_read),
        count("opening.records_read", opening.records_read),
        count("opening.microseconds", opening.microseconds),
        count("opening.journal_writes", opening.journal_writes),
        bytes("opening.journal_bytes", opening.journal_bytes),
        text("opening.journal_lost", yes_or_no(opening.journal_lost)),
    ]
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// Each with the last write that it covers and the zones that it is in.
fn checkpoints(checkpoints: &[Checkpoint]) -> String {
    let line = |checkpoint: &Checkpoint| {
        let (number, covered_seqno) = (checkpoint.number, checkpoint.covered_seqno);
        format!("{number} (up to seqno {covered_seqno}, in zones {})", zones(checkpoint))
    };
    if checkpoints.is_empty() {
        "none".to_owned()
    } else {
        checkpoints.iter().map(line).collect::<Vec<_>>().join("; ")
    }
}

fn stats_rows(stats: &Stats) -> Vec<Row> {
    let mut rows = vec![
        count("keys", stats.keys),
        count("tombstones", stats.tombstones),
        bytes("live_bytes", stats.live_bytes),
        bytes("live_limit_bytes", stats.live_limit_bytes),
        bytes("index_bytes", stats.index_bytes),
        bytes("cache_bytes", stats.cache_bytes),
        bytes("user_bytes_written", stats.user_bytes_written),
        bytes("device_bytes_written", stats.device_bytes_written),
        bytes("relocated_bytes", stats.relocated_bytes),
        ("write_amplification", format!("{:.2}", stats.write_amplification), String::new()),
        count("zone_resets", stats.zone_resets),
        bytes("device_bytes_read", stats.device_bytes_read),
        count("device_flushes", stats.device_flushes),
        count("puts", stats.puts),
        count("deletes", stats.deletes),
        count("gets", stats.gets),
        count("memory_hits", stats.memory_hits),
        bytes("bytes_since_checkpoint", stats.bytes_since_checkpoint),
    ];
    rows.extend(zone_rows(&stats.zones));
    rows
}

fn zone_rows(zones: &ZoneCounts) -> [Row; 8] {
    [
        count("zones.empty", zones.empty),
        count("zones.implicitly_open", zones.implicitly_open),
        count("zones.explicitly_open", zones.explicitly_open),
        count("zones.closed", zones.closed),
        count("zones.full", zones.full),
        count("zones.read_only", zones.read_only),
        count("zones.offline", zones.offline),
        count("zones.not_write_pointer", zones.not_write_pointer),
    ]
}

pub(super) fn text(name: &'static str, text: &str) -> Row {
    (name, text.to_owned(), String::new())
}

pub(super) fn count(name: &'static str, count: u64) -> Row {
    (name, grouped(count), String::new())
}

/// Small sizes are readable as they are.
pub(super) fn bytes(name: &'static str, bytes: u64) -> Row {
    let human = if bytes < 1024 { String::new() } else { human_bytes(bytes) };
    (name, grouped(bytes), human)
}

pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let numeric = rows.iter().all(|(name, ..)| *name != "store_id");
    for (name, exact, human) in rows {
        table.add_row([*name, exact, human]);
    }
    if let Some(column) = table.column_mut(1).filter(|_| numeric) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    trimmed_lines(&table.to_string())
}
