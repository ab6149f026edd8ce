//! The lower part of `stats`: how cleaning goes, by stream and by collection. A column's name is its key in JSON.

use comfy_table::{CellAlignment, Table, presets};
use zonal::{Collection, StreamStats};

use super::zones::{name, percent};
use crate::kvctl::output::trimmed_lines;
use crate::size::{grouped, human_bytes};

/// Both tables, those left out that would be empty.
pub(super) fn tables(streams: &[StreamStats], collections: &[Collection]) -> String {
    let mut text = String::new();
    if !streams.is_empty() {
        let rows = streams.iter().map(stream_row);
        text += &titled(
            "streams",
            &["kind", "class", "zones", "live_bytes", "live_share", "written_bytes"],
            rows,
        );
    }
    if !collections.is_empty() {
        let header = [
            "zone",
            "kind",
            "class",
            "age_bytes",
            "live_bytes",
            "live_share",
            "moved_records",
            "moved_bytes",
            "microseconds",
            "freed",
        ];
        text += &titled("collections", &header, collections.iter().map(collection_row));
    }
    text
}

fn titled<const COLUMNS: usize>(
    title: &str,
    header: &[&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    rows.for_each(|row| {
        table.add_row(row);
    });
    for (column, _) in table.column_iter_mut().zip(header).filter(|(_, name)| **name != "kind") {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{title}\n{}", trimmed_lines(&table.to_string()))
}

fn stream_row(stream: &StreamStats) -> [String; 6] {
    [
        name(&stream.kind),
        stream.class.to_string(),
        stream.zones.to_string(),
        human_bytes(stream.live_bytes),
        percent(stream.live_bytes, stream.capacity_bytes),
        human_bytes(stream.written_bytes),
    ]
}

fn collection_row(collection: &Collection) -> [String; 10] {
    [
        collection.zone.to_string(),
        name(&collection.kind),
        collection.class.to_string(),
        human_bytes(collection.age_bytes),
        human_bytes(collection.live_bytes),
        format!("{:.0} %", collection.live_share * 100.0),
        grouped(collection.moved_records),
        human_bytes(collection.moved_bytes),
        grouped(collection.microseconds),
        if collection.freed { "yes" } else { "no" }.to_owned(),
    ]
}
