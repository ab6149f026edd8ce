//! Medians, ratios and what shows them.

use std::collections::BTreeMap;

use super::super::child::{PhaseResult, StoreResult};
use super::super::contestant::Contestant;
use super::super::{page, table};
use super::{Comparison, METRICS, Setting};

fn phase(workload: &str, ops_per_second: f64, cpu: f64) -> PhaseResult {
    PhaseResult {
        workload: workload.to_owned(),
        ops_per_second,
        cpu_us_per_operation: Some(cpu),
        written_bytes_per_operation: Some(0.0),
        read_bytes_per_operation: None,
        lowest_window_ratio: None,
        latency_us: BTreeMap::new(),
    }
}

fn result(store: Contestant, load: f64, reads: Option<f64>) -> StoreResult {
    let mut phases = vec![phase("load", load, 1e6 / load)];
    phases.extend(reads.map(|reads| phase("c", reads, 1e6 / reads)));
    let failure = reads.is_none().then(|| "it <broke>".to_owned());
    StoreResult {
        store,
        phases,
        peak_memory_bytes: Some(1 << 20),
        open_seconds: Some(0.5),
        disk_bytes: 2 << 20,
        failure,
    }
}

fn comparison() -> Comparison {
    use Contestant::{Lmdb, Redb, Zonal};
    let setting = Setting {
        durability: "written",
        records: 1000,
        value_bytes: 100,
        threads: 2,
        cache_bytes: Some(1 << 28),
        memory_bytes: None,
        seed: 1,
        processors: 2,
    };
    let rounds = vec![
        vec![result(Zonal, 100.0, Some(50.0)), result(Lmdb, 40.0, Some(200.0)), result(Redb, 50.0, None)],
        vec![result(Lmdb, 60.0, Some(100.0)), result(Redb, 90.0, None), result(Zonal, 300.0, Some(60.0))],
        vec![result(Redb, 80.0, None), result(Zonal, 200.0, Some(70.0)), result(Lmdb, 50.0, Some(120.0))],
    ];
    Comparison { version: "0.0.0", command: "compare", setting, rounds }
}

#[test]
fn the_middle_round_counts_for_each_store_and_phase() {
    let summary = comparison().summary();
    assert_eq!(summary.workloads, ["load", "c"]);
    let figures: Vec<_> = summary.stores.iter().map(|store| &store.figures["ops_per_second"][..]).collect();
    assert_eq!(figures, [&[Some(200.0), Some(60.0)][..], &[Some(50.0), Some(120.0)], &[Some(80.0), None]]);
    assert_eq!(summary.stores[2].failures.len(), 3);
    assert_eq!(summary.stores[2].open_seconds, None, "a store that failed has no figures of a whole run");
}

#[test]
fn a_ratio_is_to_the_best_peer_of_each_phase_and_above_one_where_zonal_is_better() {
    let summary = comparison().summary();
    assert_eq!(summary.ratio_to_best_peer["ops_per_second"], [Some(200.0 / 80.0), Some(60.0 / 120.0)]);
    let cpu = &summary.ratio_to_best_peer["cpu_us_per_operation"];
    assert!((cpu[0].unwrap() - 200.0 / 80.0).abs() < 1e-9, "less is better: {cpu:?}");
    assert_eq!(summary.ratio_to_best_peer["written_bytes_per_operation"], [Some(1.0), Some(1.0)]);
    assert_eq!(summary.ratio_to_best_peer["read_bytes_per_operation"], [None, None]);
    let mean = summary.mean_ratio(&METRICS[0]).unwrap();
    assert!((mean - (2.5_f64 * 0.5).sqrt()).abs() < 1e-9);
}

#[test]
fn table_and_page_say_where_a_peer_wins_and_what_failed() {
    let comparison = comparison();
    let summary = comparison.summary();
    let mut table = Vec::new();
    table::write(&summary, &mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    for part in ["zonal to best peer", "2.50", "0.50", "redb: it <broke>"] {
        assert!(table.contains(part), "{part} is not in:\n{table}");
    }
    let page = page::page(&comparison, &summary);
    for part in
        ["1 of 2", "did not finish", "redb: it &lt;broke&gt;", "<td class=\"best\">0.50</td>", "bar best"]
    {
        assert!(page.contains(part), "{part} is not in:\n{page}");
    }
}

#[test]
fn json_holds_every_round_and_the_summary() {
    let json = serde_json::to_value(comparison().with_summary()).unwrap();
    assert_eq!(json["rounds"][1][2]["store"], "zonal");
    assert_eq!(json["summary"]["ratio_to_best_peer"]["ops_per_second"][1], 0.5);
    assert_eq!(json["setting"]["durability"], "written");
}
