//! A session as a page for a browser: for each phase its figures, its latencies and its time series.

use super::{PhaseReport, Report, WindowReport};
use crate::size::{grouped, human_bytes};
use crate::ycsb::html::{self, Cell, Line, LineChart, Point, Unit, escape};
use crate::ycsb::latency::LatencySummary;
use crate::ycsb::workload::OperationKind;

pub(super) fn page(report: &Report) -> String {
    let mut body = format!(
        "<p class=\"quiet\">ycsb {} of zonal {}, seed {}, {} index, cache {}</p>\n",
        report.command,
        report.version,
        report.seed,
        report.index,
        report.cache_bytes.map_or_else(|| "as the store has it".to_owned(), human_bytes)
    );
    if let Some(failure) = &report.failure {
        body.push_str(&format!("<p class=\"failure\">The run failed: {}</p>\n", escape(failure)));
    }
    report.phases.iter().for_each(|phase| body.push_str(&section(phase)));
    html::page(&report.path, &body)
}

fn section(phase: &PhaseReport) -> String {
    let distribution = phase.distribution.map_or_else(String::new, |name| format!(", {name}"));
    format!(
        "<h2>{}</h2>\n<p class=\"quiet\">{} operations in {} by {} threads, {}, {} records of {} bytes{distribution}</p>\n",
        escape(&phase.workload),
        grouped(phase.operations),
        Unit::Seconds.write(phase.seconds),
        phase.threads,
        phase.durability,
        grouped(phase.records),
        grouped(phase.value_bytes as u64),
    ) + &html::tiles(&tiles(phase))
        + &html::table(
            &["latency", "count", "mean", "p50", "p95", "p99", "p99.9", "max"],
            latency_rows(phase),
        )
        + &html::charts(charts(phase))
}

fn tiles(phase: &PhaseReport) -> Vec<(String, String)> {
    let tile = |figure: String, what: &str| (figure, what.to_owned());
    let windows = &phase.windows;
    let what = format!(
        "slowest window by median, {} windows of {} s",
        windows.complete_windows, windows.window_seconds
    );
    let store = |name: &str| phase.store.get(name).and_then(serde_json::Value::as_f64);
    [
        Some(tile(Unit::Number.write(phase.ops_per_second), "operations/s")),
        windows.lowest_window_ratio.map(|ratio| (format!("{ratio:.2}"), what)),
        store("write_amplification").map(|factor| tile(format!("{factor:.2}"), "write amplification")),
        store("relocated_bytes").map(|bytes| tile(Unit::Bytes.write(bytes), "relocated by cleaning")),
        store("live_bytes").map(|bytes| tile(Unit::Bytes.write(bytes), "live data")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn latency_rows(phase: &PhaseReport) -> Vec<Vec<Cell>> {
    let row = |kind: OperationKind| {
        let LatencySummary { count, mean, p50, p95, p99, p999, max, .. } =
            *phase.latency_us.get(kind.name())?;
        let figures = [mean, p50, p95, p99, p999, max].map(|us| Unit::Microseconds.write(us));
        let cells = [kind.name().to_owned(), grouped(count)].into_iter().chain(figures);
        Some(cells.map(Cell::from).collect())
    };
    OperationKind::ALL.into_iter().filter_map(row).collect()
}

fn charts(phase: &PhaseReport) -> Vec<String> {
    let shown = shown(phase);
    let mut charts =
        vec![chart(&shown, "Throughput", "operations/s", Unit::Number, |window| Some(window.ops_per_second))];
    charts.extend(phase.latency_us.keys().map(|kind| latency_chart(&shown, kind)));
    charts.extend([
        chart(&shown, "Write amplification", "written to the device by handed in", Unit::Number, |window| {
            window.store.write_amplification
        }),
        chart(&shown, "Relocated by cleaning", "a second", Unit::Bytes, |window| {
            window.store.relocated_bytes.map(|bytes| bytes as f64 / window.seconds)
        }),
        chart(&shown, "Free zones", "at the window's end", Unit::Number, |window| {
            window.store.free_zones.map(|zones| zones as f64)
        }),
        space_chart(&shown),
    ]);
    charts
}

/// The windows worth drawing: a rate over the last few milliseconds of a phase would mislead.
fn shown(phase: &PhaseReport) -> Vec<&WindowReport> {
    let long_enough = |window: &&WindowReport| window.seconds >= phase.windows.window_seconds / 2.0;
    if phase.series.len() == 1 {
        phase.series.iter().collect()
    } else {
        phase.series.iter().filter(long_enough).collect()
    }
}

fn points(windows: &[&WindowReport], figures: impl Fn(&WindowReport) -> Vec<Option<f64>>) -> Vec<Point> {
    let point = |window: &&WindowReport| Point {
        from: window.end_seconds - window.seconds,
        to: window.end_seconds,
        figures: figures(window),
    };
    windows.iter().map(point).collect()
}

fn chart(
    windows: &[&WindowReport],
    title: &'static str,
    subtitle: &str,
    unit: Unit,
    figure: impl Fn(&WindowReport) -> Option<f64>,
) -> String {
    let points = points(windows, |window| vec![figure(window)]);
    let lines = [Line { name: title }];
    LineChart { title, subtitle, unit, logarithmic: false, lines: &lines, points: &points }.render()
}

fn latency_chart(windows: &[&WindowReport], kind: &str) -> String {
    let points = points(windows, |window| {
        let of = |figure: fn(&LatencySummary) -> f64| window.latency_us.get(kind).map(figure);
        vec![of(|us| us.p50), of(|us| us.p99), of(|us| us.p999), of(|us| us.max)]
    });
    LineChart {
        title: &format!("Latency of {kind}"),
        subtitle: "powers of ten",
        unit: Unit::Microseconds,
        logarithmic: true,
        lines: &["p50", "p99", "p99.9", "max"].map(|name| Line { name }),
        points: &points,
    }
    .render()
}

fn space_chart(windows: &[&WindowReport]) -> String {
    let bytes = |count: Option<u64>| count.map(|count| count as f64);
    let points =
        points(windows, |window| vec![bytes(window.store.live_bytes), bytes(window.store.file_bytes)]);
    LineChart {
        title: "Space",
        subtitle: "at the window's end",
        unit: Unit::Bytes,
        logarithmic: false,
        lines: &["live data", "file on disk"].map(|name| Line { name }),
        points: &points,
    }
    .render()
}
