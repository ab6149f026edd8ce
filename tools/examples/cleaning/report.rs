//! Results for people and for programs.

use clap::{ValueEnum, builder::PossibleValue};
use serde_json::json;

use crate::run::{Outcome, Scenario};
use crate::workload::Distribution;

/// What the project has set itself: at most so much write amplification.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) workload: Distribution,
    pub(crate) utilisation: f64,
    pub(crate) at_most: f64,
}

const fn limit(workload: Distribution, utilisation: f64, at_most: f64) -> Limit {
    Limit { workload, utilisation, at_most }
}

/// With 1024 zones of 256 records, the reserve counted in.
pub(crate) const LIMITS: [Limit; 7] = [
    limit(Distribution::Uniform, 0.8, 2.8),
    limit(Distribution::Uniform, 0.9, 5.6),
    limit(Distribution::Zipf, 0.7, 1.65),
    limit(Distribution::Zipf, 0.8, 2.05),
    limit(Distribution::Zipf, 0.9, 3.3),
    limit(Distribution::EightyTwenty, 0.8, 2.4),
    limit(Distribution::NinetyTen, 0.8, 1.75),
];

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// One result.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    workload: String,
    utilisation: f64,
    policy: String,
    streams: String,
    outcome: Outcome,
    at_most: Option<f64>,
}

impl Line {
    pub(crate) fn new(scenario: &Scenario, outcome: &Outcome) -> Self {
        let value: Option<PossibleValue> = scenario.workload.to_possible_value();
        let (writes, copies) = (outcome.streams.writes().len(), outcome.streams.copies().len());
        let shared = outcome.streams.are_shared();
        let known = LIMITS.iter().find(|limit| {
            limit.workload == scenario.workload && (limit.utilisation - scenario.utilisation).abs() < 1e-9
        });
        Self {
            workload: value.map(|value| value.get_name().to_owned()).unwrap_or_default(),
            utilisation: scenario.utilisation,
            policy: scenario.decider.to_string(),
            streams: if shared { format!("{writes}") } else { format!("{writes}+{copies}") },
            outcome: *outcome,
            at_most: known.map(|limit| limit.at_most),
        }
    }

    fn json(&self) -> serde_json::Value {
        let resets = self.outcome.resets;
        json!({
            "workload": self.workload,
            "utilisation": self.utilisation,
            "policy": self.policy,
            "streams": self.streams,
            "write_amplification": self.outcome.write_amplification,
            "write_amplification_with_padding": self.outcome.with_padding,
            "victim_live_share": self.outcome.victim_live_share,
            "at_most": self.at_most,
            "resets": { "least": resets.least, "mean": resets.mean, "most": resets.most },
        })
    }
}

/// Where results go, one by one.
#[derive(Debug)]
pub(crate) struct Sink {
    format: Format,
    lines: Vec<serde_json::Value>,
}

impl Sink {
    pub(crate) fn new(format: Format) -> Self {
        if format == Format::Table {
            println!(
                "workload   util  policy            streams  amplification  at most  victims live  resets: least    mean    most"
            );
        }
        Self { format, lines: Vec::new() }
    }

    pub(crate) fn tell(&mut self, line: &Line) {
        match self.format {
            Format::Json => self.lines.push(line.json()),
            Format::Table => println!(
                "{:<9}  {:.2}  {:<16}  {:>7}  {:>13.3}  {:>7}  {:>12.3}  {:>13}  {:>6.0}  {:>6}",
                line.workload,
                line.utilisation,
                line.policy,
                line.streams,
                line.outcome.write_amplification,
                line.at_most.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.2}")),
                line.outcome.victim_live_share,
                line.outcome.resets.least,
                line.outcome.resets.mean,
                line.outcome.resets.most,
            ),
        }
    }

    pub(crate) fn end(self) {
        if self.format == Format::Json {
            println!("{}", serde_json::Value::Array(self.lines));
        }
    }
}
