//! `zones`: all of them, as a list or as a picture.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;
use terminal_size::{Width, terminal_size};
use zonal::Zone;

use super::open_to_read;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::{Output, trimmed_lines};
use crate::kvctl::plan::StoreAt;
use crate::kvctl::zone_map::{Plot, picture};
use crate::size::{grouped, human_bytes};

/// Where nobody tells how wide lines may be.
const DEFAULT_WIDTH: usize = 80;

/// Lists the zones.
pub(super) fn list(store: &StoreAt, output: &mut Output) -> Result<(), Failure> {
    let zones = open_to_read(store)?.zones()?;
    output.result(&zones, || table(&zones))
}

/// Draws the zones.
pub(super) fn map(store: &StoreAt, width: Option<usize>, output: &mut Output) -> Result<(), Failure> {
    let db = open_to_read(store)?;
    let plots: Vec<Plot> = db.zones()?.iter().map(Plot::from).collect();
    let zone_size = human_bytes(db.info().zone_size_bytes);
    let heading = format!("{}: {} zones of {zone_size}", store.path.display(), grouped(plots.len() as u64));
    output.text(&picture(&heading, &plots, width.unwrap_or_else(|| terminal_width(output))))
}

fn terminal_width(output: &Output) -> usize {
    let width = terminal_size().filter(|_| output.is_terminal());
    width.map_or(DEFAULT_WIDTH, |(Width(columns), _)| columns.into())
}

fn table(zones: &[Zone]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["zone", "state", "role", "written", "", "live", "", "resets", "generation"]);
    for zone in zones {
        table.add_row(row(zone));
    }
    for column in table.column_iter_mut().filter(|column| ![1, 2].contains(&column.index)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    trimmed_lines(&table.to_string())
}

fn row(zone: &Zone) -> [String; 9] {
    let role = if zone.open { format!("{}, open", name(&zone.role)) } else { name(&zone.role) };
    [
        zone.zone.to_string(),
        name(&zone.state),
        role,
        human_bytes(zone.write_pointer),
        percent(zone.write_pointer, zone.capacity_bytes),
        human_bytes(zone.live_bytes),
        percent(zone.live_bytes, zone.capacity_bytes),
        zone.reset_count.to_string(),
        zone.generation.to_string(),
    ]
}

/// The name that JSON has for it.
pub(super) fn name(what: &impl serde::Serialize) -> String {
    match serde_json::to_value(what) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", part as f64 / whole.max(1) as f64 * 100.0)
}
