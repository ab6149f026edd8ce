//! The options of `ycsb compare`, as typed.

use std::path::PathBuf;

use clap::Args;

use super::contestant::Contestant;
use crate::size::parse_bytes;
use crate::ycsb::command_line::{Arguments, CoreWorkload};
use crate::ycsb::properties::Properties;
use crate::ycsb::resolve::describes_a_mix;

/// The options of `ycsb compare`: those of a run that loads first, and its own.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Stores to compare [default: all that were built in]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', help_heading = "Comparison")]
    pub stores: Vec<Contestant>,

    /// How often each store runs everything, on a fresh directory each time; the median counts
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Comparison")]
    pub rounds: u32,

    /// Give each store's process so much memory, page cache included, by a cgroup
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Comparison")]
    pub memory: Option<u64>,

    /// Give a store up after so long in one round
    #[arg(long, value_name = "SECONDS", help_heading = "Comparison")]
    pub timeout: Option<u64>,

    /// What a run shares with this; --path is a directory, in which each store gets one of its own
    #[command(flatten)]
    pub shared: Arguments,

    /// For the processes that compare starts itself: the store to run
    #[arg(long, hide = true)]
    pub child: Option<Contestant>,

    /// Where the child puts its store
    #[arg(long, hide = true)]
    pub child_path: Option<PathBuf>,

    /// Where the child puts its result
    #[arg(long, hide = true)]
    pub child_result: Option<PathBuf>,

    /// The cgroup that the child enters
    #[arg(long, hide = true)]
    pub child_group: Option<PathBuf>,
}

/// Every store's memory for cached data, where nothing else is asked for.
const DEFAULT_CACHE_BYTES: u64 = 256 << 20;

impl CompareArguments {
    /// All core workloads, in the order that YCSB recommends, and one cache budget for every store.
    pub fn fill_in_defaults(&mut self, given: &Properties) {
        use CoreWorkload::{A, B, C, D, E, F};
        self.shared.cache.get_or_insert(DEFAULT_CACHE_BYTES);
        if self.shared.workload.is_empty() && !describes_a_mix(&self.shared, given) {
            self.shared.workload = vec![A, B, C, F, D, E];
        }
    }
}
