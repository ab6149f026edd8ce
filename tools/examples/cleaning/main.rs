//! Write amplification of the engine's policies, simulated without I/O: the same policy code that the store runs.
//!
//! ```sh
//! cargo run --release -p zonal-tools --example cleaning -- --published
//! cargo run --release -p zonal-tools --example cleaning -- --policy sepbit --workload zipf --utilisation 0.8
//! ```
//!
//! What is told is what users wrote plus what was copied, over what users wrote, in the second half of all overwrites.
#![allow(clippy::cast_possible_truncation, reason = "sizes of a simulation that runs in seconds")]

mod judge;
mod report;
mod run;
mod store;
#[cfg(test)]
mod tests;
mod workload;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use zonal_engine::gc::policy::{PolicyKind, VictimRule};

use report::{Format, Line};
use run::{Decider, Scenario};
use workload::Distribution;

/// Simulates cleaning and tells the write amplification.
#[derive(Parser, Debug)]
struct Arguments {
    /// greedy, cost-benefit, separate-copies, sepbit, forecast, forecast-shared or oracle; several with commas.
    #[arg(long, value_delimiter = ',', default_value = "forecast")]
    policy: Vec<Decider>,
    /// How writes are spread over keys; several with commas.
    #[arg(long, value_delimiter = ',', default_value = "zipf")]
    workload: Vec<Distribution>,
    /// Live records over what all zones hold; several with commas.
    #[arg(long, value_delimiter = ',', default_value = "0.8")]
    utilisation: Vec<f64>,
    /// All workloads and utilisations that the project has set itself limits for, instead of those named.
    #[arg(long)]
    published: bool,
    /// Zones of the device.
    #[arg(long, default_value_t = 1024)]
    zones: usize,
    /// Records that fit into a zone.
    #[arg(long, default_value_t = 256)]
    records: usize,
    /// Zones that only copies may take.
    #[arg(long, default_value_t = 3)]
    reserve: usize,
    /// How often the data are overwritten.
    #[arg(long, default_value_t = 30)]
    overwrites: usize,
    /// Zones that may be active at once, that of the metadata included.
    #[arg(long)]
    active: Option<u32>,
    /// Streams for writes, where the policy lets one choose (sepbit, forecast, and forecast-shared, where copies share).
    #[arg(long)]
    write_streams: Option<u8>,
    /// Streams for copies, where the policy lets one choose.
    #[arg(long)]
    copy_streams: Option<u8>,
    /// Another rule for victims than the policy's own (sepbit, forecast, forecast-shared).
    #[arg(long)]
    victims: Option<Rule>,
    /// Padding that goes with each write, in records.
    #[arg(long, default_value_t = 0.0)]
    padding: f64,
    /// Records tell what was expected of them when they are copied or overwritten, at some bytes each.
    #[arg(long)]
    remember: bool,
    /// Spread resets over the zones, as the store does.
    #[arg(long)]
    wear: bool,
    /// The same seed gives the same figures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How results are written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// The formulas for victims, by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rule {
    Greedy,
    CostBenefit,
    AgeForCopies,
}

impl From<Rule> for VictimRule {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::Greedy => Self::Greedy,
            Rule::CostBenefit => Self::CostBenefit,
            Rule::AgeForCopies => Self::AgeForCopies,
        }
    }
}

impl Arguments {
    fn cells(&self) -> Vec<(Distribution, f64)> {
        if self.published {
            return report::LIMITS.iter().map(|limit| (limit.workload, limit.utilisation)).collect();
        }
        let all = self.workload.iter();
        all.flat_map(|&workload| self.utilisation.iter().map(move |&share| (workload, share))).collect()
    }

    fn scenario(&self, decider: Decider, workload: Distribution, utilisation: f64) -> Scenario {
        Scenario {
            decider,
            workload,
            utilisation,
            zone_count: self.zones,
            zone_records: self.records,
            reserve: self.reserve,
            overwrites: self.overwrites,
            active_limit: self.active,
            write_streams: self.write_streams,
            copy_streams: self.copy_streams,
            victims: self.victims.map(VictimRule::from),
            padding: self.padding,
            remembers: self.remember,
            spreads_resets: self.wear,
            seed: self.seed,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut sink = report::Sink::new(arguments.format);
    for (workload, utilisation) in arguments.cells() {
        for &decider in &arguments.policy {
            let scenario = arguments.scenario(decider, workload, utilisation);
            match scenario.run() {
                Ok(outcome) => sink.tell(&Line::new(&scenario, &outcome)),
                Err(refusal) => {
                    eprintln!("{decider} on {workload:?} at {utilisation}: {refusal}");
                    return ExitCode::from(3);
                }
            }
        }
    }
    sink.end();
    ExitCode::SUCCESS
}

impl Decider {
    const ORACLE: &'static str = "oracle";
}

impl std::str::FromStr for Decider {
    type Err = <PolicyKind as std::str::FromStr>::Err;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name == Self::ORACLE { Ok(Self::Oracle) } else { name.parse().map(Self::Policy) }
    }
}

impl std::fmt::Display for Decider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(kind) => f.write_str(kind.name()),
            Self::Oracle => f.write_str(Self::ORACLE),
        }
    }
}
