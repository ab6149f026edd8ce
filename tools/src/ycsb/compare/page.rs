//! A comparison as a page for a browser.

use super::contestant::Contestant;
use super::summary::{Comparison, METRICS, Metric, Setting, StoreSummary, Summary};
use super::table::{RATIO, written};
use crate::size::{grouped, human_bytes};
use crate::ycsb::html::{self, Bar, BarChart, Cell, Emphasis, Unit, escape};

pub(super) fn page(comparison: &Comparison, summary: &Summary) -> String {
    let mut body = circumstances(comparison) + &html::tiles(&tiles(summary));
    for metric in &METRICS {
        body.push_str(&format!("<h2>{}</h2>\n", escape(metric.title)));
        body.push_str(&metric_table(summary, metric));
        body.push_str(&html::charts((0..summary.workloads.len()).map(|place| chart(summary, metric, place))));
    }
    body.push_str("<h2>The whole process</h2>\n");
    body.push_str(&resources(summary));
    for store in &summary.stores {
        for failure in &store.failures {
            body.push_str(&format!("<p class=\"failure\">{}: {}</p>\n", store.store.name(), escape(failure)));
        }
    }
    html::page("zonal beside other embedded stores", &body)
}

fn circumstances(comparison: &Comparison) -> String {
    let Setting { durability, records, value_bytes, threads, cache_bytes, memory_bytes, processors, .. } =
        comparison.setting;
    format!(
        "<p class=\"quiet\">zonal {}, {} records of {} bytes, {threads} threads on {processors} processors, durability \
         {durability}, cache {}, memory {}; medians of {} rounds. Each store in a process of its own, compression off, the \
         page cache kept between the phases. Blue is zonal, orange the best of the others.</p>\n",
        comparison.version,
        grouped(records),
        grouped(value_bytes as u64),
        cache_bytes.map_or_else(|| "as each has it".to_owned(), human_bytes),
        memory_bytes.map_or_else(|| "not bounded".to_owned(), human_bytes),
        comparison.rounds.len(),
    )
}

/// In how many phases zonal is ahead, and by how much, for each metric.
fn tiles(summary: &Summary) -> Vec<(String, String)> {
    let throughput = &METRICS[0];
    let ratios: Vec<_> = summary.ratio_to_best_peer[throughput.key].iter().flatten().collect();
    let ahead = ratios.iter().filter(|ratio| ***ratio >= 1.0).count();
    let mut tiles =
        vec![(format!("{ahead} of {}", ratios.len()), "phases in which zonal is the fastest".to_owned())];
    let mean = summary.mean_ratio(throughput);
    tiles.extend(mean.map(|mean| {
        (format!("{mean:.2}"), "throughput to the best peer of each phase, geometric mean".to_owned())
    }));
    tiles
}

fn metric_table(summary: &Summary, metric: &Metric) -> String {
    let head: Vec<_> = std::iter::once("store").chain(summary.workloads.iter().map(String::as_str)).collect();
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for store in &summary.stores {
        let figures = store.figures[metric.key].iter().enumerate();
        let cells = figures.map(|(place, figure)| Cell {
            text: written(*figure, metric.unit),
            emphasis: emphasis(summary, metric, place, store),
        });
        rows.push(std::iter::once(Cell::from(store.store.name().to_owned())).chain(cells).collect());
    }
    let ratios = summary.ratio_to_best_peer[metric.key].iter().map(|ratio| Cell {
        text: ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        emphasis: match ratio {
            Some(ratio) if *ratio >= 1.0 => Emphasis::Own,
            Some(_) => Emphasis::Best,
            None => Emphasis::None,
        },
    });
    rows.push(std::iter::once(Cell::from(RATIO.to_owned())).chain(ratios).collect());
    html::table(&head, rows)
}

fn emphasis(summary: &Summary, metric: &Metric, place: usize, store: &StoreSummary) -> Emphasis {
    let figure = store.figures[metric.key][place];
    if store.store == Contestant::Zonal {
        Emphasis::Own
    } else if figure.is_some() && figure == summary.best_peer(metric, place) {
        Emphasis::Best
    } else {
        Emphasis::None
    }
}

/// The stores from the best down; those that did not finish at the end.
fn chart(summary: &Summary, metric: &Metric, place: usize) -> String {
    let mut stores: Vec<_> = summary.stores.iter().collect();
    stores.sort_by(|left, right| {
        let (left, right) = (left.figures[metric.key][place], right.figures[metric.key][place]);
        let by_figure = left.unwrap_or(0.0).total_cmp(&right.unwrap_or(0.0));
        let best_first = if metric.more_is_better { by_figure.reverse() } else { by_figure };
        left.is_none().cmp(&right.is_none()).then(best_first)
    });
    let bars: Vec<_> = stores
        .into_iter()
        .map(|store| Bar {
            name: store.store.name().to_owned(),
            figure: store.figures[metric.key][place],
            note: if store.figures[metric.key][place].is_none() { "did not finish" } else { "" }.to_owned(),
            emphasis: emphasis(summary, metric, place, store),
        })
        .collect();
    let subtitle = if metric.more_is_better { "longer is better" } else { "shorter is better" };
    BarChart { title: &summary.workloads[place], subtitle, unit: metric.unit, bars: &bars }.render()
}

fn resources(summary: &Summary) -> String {
    let row = |store: &StoreSummary| {
        vec![
            Cell::from(store.store.name().to_owned()),
            written(store.peak_memory_bytes, Unit::Bytes).into(),
            written(store.open_seconds.map(|seconds| seconds * 1e6), Unit::Microseconds).into(),
            written(store.disk_bytes, Unit::Bytes).into(),
        ]
    };
    let head =
        ["store", "peak memory, mapped files included", "open, out of the page cache", "on disk at the end"];
    html::table(&head, summary.stores.iter().map(row).collect())
}
