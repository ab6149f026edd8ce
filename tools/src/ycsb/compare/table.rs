//! A comparison as tables for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};

use super::summary::{METRICS, Metric, StoreSummary, Summary};
use crate::ycsb::html::Unit;

pub(super) fn write(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    for metric in &METRICS {
        writeln!(out, "{}\n{}\n", metric.title, metric_table(summary, metric))?;
    }
    writeln!(out, "The whole process\n{}", resources(summary))?;
    for store in &summary.stores {
        for failure in &store.failures {
            writeln!(out, "{}: {failure}", store.store.name())?;
        }
    }
    Ok(())
}

fn metric_table(summary: &Summary, metric: &Metric) -> Table {
    let mut table = new_table(std::iter::once("store").chain(summary.workloads.iter().map(String::as_str)));
    for store in &summary.stores {
        let figures = store.figures[metric.key].iter().map(|figure| written(*figure, metric.unit));
        table.add_row(std::iter::once(store.store.name().to_owned()).chain(figures));
    }
    let ratios = summary.ratio_to_best_peer[metric.key].iter();
    let ratios = ratios.map(|ratio| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
    table.add_row(std::iter::once(RATIO.to_owned()).chain(ratios));
    aligned(table)
}

/// What the row of ratios is called, here and on the page.
pub(super) const RATIO: &str = "zonal to best peer";

fn resources(summary: &Summary) -> Table {
    let mut table = new_table(["store", "peak memory", "open", "on disk"].into_iter());
    for StoreSummary { store, peak_memory_bytes, open_seconds, disk_bytes, .. } in &summary.stores {
        table.add_row([
            store.name().to_owned(),
            written(*peak_memory_bytes, Unit::Bytes),
            written(open_seconds.map(|seconds| seconds * 1e6), Unit::Microseconds),
            written(*disk_bytes, Unit::Bytes),
        ]);
    }
    aligned(table)
}

/// A figure, or a dash where there is none.
pub(super) fn written(figure: Option<f64>, unit: Unit) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| unit.write(figure))
}

fn new_table<'a>(head: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header(head);
    table
}

fn aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
