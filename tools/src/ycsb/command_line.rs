//! The command line as typed. Nothing here is checked against anything else; that is `resolve`'s part.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use zonal::CleaningPolicy;

use super::compare::arguments::CompareArguments;
use super::report::ReportFormat;
use super::settings::{Index, WriteDurability};
use super::workload::Distribution;
use crate::queue_name::QueueName;
use crate::size::parse_bytes;

const EXAMPLES: &str = "\
Examples:
  Load 100,000 records into a new store, run workload A on it, and show both:
    ycsb run --load --path /tmp/bench.zonal --records 100000 --durability buffered

  All six core workloads for ten seconds each, four threads, as JSON:
    ycsb load --path /tmp/bench.zonal --records 1000000 --durability buffered
    ycsb run --path /tmp/bench.zonal --workload a,b,c,f,d,e --seconds 10 \\
      --threads 4 --format json

  As YCSB itself is called:
    ycsb load --path /tmp/bench.zonal -P workloads/workloada \\
      -p recordcount=1000000 -threads 4
    ycsb run --path /tmp/bench.zonal -P workloads/workloada \\
      -p operationcount=1000000 -threads 4 --format ycsb

  Cleaning under updates alone, the store 80 % full, by second, as a page with charts:
    ycsb run --load --path /tmp/bench.zonal --records 1000000 \\
      --utilisation 0.8 --update-proportion 1 --distribution zipfian \\
      --threads 2 --seconds 180 --durability written --report page.html

  A mix of your own:
    ycsb run --path /tmp/bench.zonal --read-proportion 0.8 --rmw-proportion 0.2 \\
      --distribution zipfian

Every value read is compared with what was written for its key.
Exit code 0: done; 2: wrong usage; 3: a value was missing or wrong, or the store failed.";

/// Paragraphs without line breaks of their own, for clap to wrap.
const DETAILS: &str = "\
Settings come from the core workload, then from -P files in order, then -p, then options; later ones win.

Properties understood: recordcount, operationcount, maxexecutiontime, threadcount, fieldcount, fieldlength, \
readproportion, updateproportion, insertproportion, scanproportion, readmodifywriteproportion, requestdistribution, \
minscanlength, maxscanlength, scanlengthdistribution, insertorder, zipfianconstant, hotspotdatafraction, \
hotspotopnfraction. A value is one blob of fieldcount times fieldlength bytes, always read and written whole.

JSON output: an object with 'phases', a list of objects with 'workload', 'threads', 'operations', 'seconds', \
'ops_per_second', 'warmup_operations', 'flush_seconds', 'durability', 'value_bytes', 'records', 'distribution', \
'proportions', 'latency_us' (an object for each of read, update, insert, scan, rmw that occurred, with 'count', \
'mean', 'min', 'p50', 'p95', 'p99', 'p999', 'max' in microseconds), 'store' (the store's own counters over the \
phase, among them 'write_amplification'), 'series' and 'windows'. 'series' is a list of windows of time, without a gap, \
each with 'end_seconds' (since the phase began), 'seconds' (its length), 'complete' (false for the last one, which the \
phase's end cut short, and where a thread had nothing left to do), 'operations', 'ops_per_second', 'latency_us', as \
they were at the window's end 'free_zones', 'live_bytes' and 'file_bytes', and of the window itself \
'user_bytes_written', 'device_bytes_written', 'relocated_bytes' and 'write_amplification' (null when nothing was handed \
in). 'windows' sums the complete ones up: 'window_seconds', 'complete_windows', 'lowest_ops_per_second', \
'median_ops_per_second' and 'lowest_window_ratio', lowest by median. Beside 'phases': 'version', 'command', 'path', 'seed', 'index', \
'cache_bytes', 'capacity_bytes' and 'zone_size_bytes' of a new store (null is the store's default), and 'failure', which is null or says why the run failed.";

const COMPARE_EXAMPLES: &str = "\
Examples:
  Everything that was built in, all core workloads, medians of three rounds:
    ycsb compare --path /data/bench --records 1000000 --threads 2 \\
      --durability written --report comparison.html

  Durable writes only, two stores:
    ycsb compare --path /data/bench --stores zonal,fjall --durability sync \\
      --update-proportion 1 --distribution zipfian --threads 16 --seconds 10

  Data four times the memory (as root):
    ycsb compare --path /data/bench --records 2000000 --memory 600MiB \\
      --durability written --timeout 600

Exit code 0: done; 2: wrong usage; 3: a store failed, which the results say.";

const COMPARE_DETAILS: &str = "\
Other stores are compiled in by the cargo feature 'peers', which needs clang for RocksDB, or by \
'peers-without-rocksdb'. Which setting of each store stands for which durability is in docs/benchmarking.md.

JSON output: an object with 'version', 'command', 'setting', 'rounds' (for each round a list of the stores' results in the \
order in which they ran) and 'summary': 'workloads', 'stores' (for each the medians as 'figures', in the order of \
'workloads', 'peak_memory_bytes', 'open_seconds', 'disk_bytes' and 'failures') and 'ratio_to_best_peer', above 1 where \
zonal is better.";

/// Measures a zonal store with the workloads of the Yahoo! Cloud Serving Benchmark.
///
/// `ycsb load` fills a store with records; `ycsb run` issues a mix of operations on them and reports how many a second
/// it got done, how long each took, and what the store wrote and read for it.
#[derive(Debug, Parser)]
#[command(name = "ycsb", version, after_help = EXAMPLES)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Insert records into a store, creating it if need be
    #[command(after_help = EXAMPLES, after_long_help = format!("{DETAILS}\n\n{EXAMPLES}"))]
    Load(Box<Arguments>),
    /// Run workloads on the records that a store holds
    #[command(after_help = EXAMPLES, after_long_help = format!("{DETAILS}\n\n{EXAMPLES}"))]
    Run(Box<RunArguments>),
    /// Run the same on zonal and on other embedded stores, each in a process of its own
    #[command(after_help = COMPARE_EXAMPLES, after_long_help = format!("{COMPARE_DETAILS}\n\n{COMPARE_EXAMPLES}"))]
    Compare(Box<CompareArguments>),
}

/// The options of `ycsb run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Load the records first, creating the store if need be, and report that phase as well
    #[arg(long)]
    pub load: bool,

    /// The options it shares with `ycsb load`.
    #[command(flatten)]
    pub shared: Arguments,
}

/// The options of both commands, so that one command line serves for both by changing a word.
#[derive(Debug, Default, Args)]
pub struct Arguments {
    /// The store: a file, or a zoned device
    #[arg(long, value_name = "STORE")]
    pub path: PathBuf,

    /// Core workloads, one phase each, in this order; `load` takes the first one's settings [default: a]
    #[arg(long, value_name = "A,B,..", value_delimiter = ',', ignore_case = true, help_heading = "Workload")]
    pub workload: Vec<CoreWorkload>,

    /// Property file in YCSB's format; may be given again
    #[arg(short = 'P', value_name = "FILE", help_heading = "Workload")]
    pub property_files: Vec<PathBuf>,

    /// One property; may be given again
    #[arg(short = 'p', value_name = "NAME=VALUE", help_heading = "Workload")]
    pub properties: Vec<String>,

    /// Records to load, or that were loaded [default: load 100000, run all that the store holds]
    #[arg(long, value_name = "COUNT", help_heading = "Workload")]
    pub records: Option<u64>,

    /// Operations in each phase of a run [default: as many as there are records, or without end with --seconds]
    #[arg(long, value_name = "COUNT", help_heading = "Workload")]
    pub operations: Option<u64>,

    /// End each phase after this time (with `run --load`, the loading is not cut short)
    #[arg(long, value_name = "SECONDS", help_heading = "Workload")]
    pub seconds: Option<f64>,

    /// Operations before each phase of a run that are not measured [default: 0]
    #[arg(long, value_name = "COUNT", help_heading = "Workload")]
    pub warmup_operations: Option<u64>,

    /// Bytes in each value, for example 1000 or 16KiB [default: 1000]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Workload")]
    pub value_bytes: Option<u64>,

    /// Which records requests go to [default: the workload's own, else uniform]
    #[arg(long, help_heading = "Workload")]
    pub distribution: Option<Distribution>,

    /// Share of operations that look a record up, 0 to 1
    #[arg(long, value_name = "SHARE", help_heading = "Workload")]
    pub read_proportion: Option<f64>,

    /// Share of operations that replace a record
    #[arg(long, value_name = "SHARE", help_heading = "Workload")]
    pub update_proportion: Option<f64>,

    /// Share of operations that add a record
    #[arg(long, value_name = "SHARE", help_heading = "Workload")]
    pub insert_proportion: Option<f64>,

    /// Share of operations that read neighbouring records
    #[arg(long, value_name = "SHARE", help_heading = "Workload")]
    pub scan_proportion: Option<f64>,

    /// Share of operations that read a record, change it and write it back
    #[arg(long, value_name = "SHARE", help_heading = "Workload")]
    pub rmw_proportion: Option<f64>,

    /// Threads that issue operations; YCSB's -threads works too [default: 1]
    #[arg(long, value_name = "COUNT", help_heading = "Workload")]
    pub threads: Option<usize>,

    /// Number that all random choices follow from
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Workload")]
    pub seed: u64,

    /// When a write counts as done
    #[arg(long, default_value = "sync", help_heading = "Store")]
    pub durability: WriteDurability,

    /// Kind of index
    #[arg(long, default_value = "ordered", help_heading = "Store")]
    pub index: Index,

    /// How reads and appends reach the device
    #[arg(long, value_name = "QUEUE", default_value = "auto", help_heading = "Store")]
    pub queue: QueueName,

    /// Which records share a zone and which zone is emptied next: greedy, cost-benefit, separate-copies, sepbit, forecast or
    /// forecast-shared
    #[arg(long, value_name = "POLICY", default_value = "forecast", help_heading = "Store")]
    pub cleaning_policy: CleaningPolicy,

    /// Memory for cached values, for example 256MiB [default: the store's own]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Store")]
    pub cache: Option<u64>,

    /// Capacity of a store that is created, for example 4GiB [default: the store's own]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Store")]
    pub capacity: Option<u64>,

    /// Zone size of a store that is created, for example 16MiB [default: the store's own; with --utilisation, halved until there
    /// are 256 zones and the share can be reached]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Store")]
    pub zone_size: Option<u64>,

    /// Capacity of a store that is created, as what makes the loaded records fill this share of its zones, reserve
    /// included, for example 0.8; refused where the reserve does not leave so much
    #[arg(long, value_name = "SHARE", conflicts_with = "capacity", help_heading = "Store")]
    pub utilisation: Option<f64>,

    /// How results are written to stdout
    #[arg(long, default_value = "table", help_heading = "Output")]
    pub format: ReportFormat,

    /// Write a page with tables and charts as well: one file that any browser shows, offline too
    #[arg(long, value_name = "FILE.html", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// Length of the windows of the time series
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, help_heading = "Output")]
    pub interval: f64,

    /// Show progress on stderr every second even when it is no terminal
    #[arg(short = 's', long, help_heading = "Output")]
    pub progress: bool,
}

/// The core workloads of YCSB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum CoreWorkload {
    /// Half reads, half updates
    #[value(alias = "workloada")]
    A,
    /// 95 % reads, 5 % updates
    #[value(alias = "workloadb")]
    B,
    /// Reads only
    #[value(alias = "workloadc")]
    C,
    /// 95 % reads of the latest records, 5 % inserts
    #[value(alias = "workloadd")]
    D,
    /// 95 % scans of 1 to 100 records, 5 % inserts
    #[value(alias = "workloade")]
    E,
    /// Half reads, half read-modify-writes
    #[value(alias = "workloadf")]
    F,
}

/// Spells YCSB's own `-threads N` the way that clap reads long options.
pub fn with_ycsb_spellings(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.map(|argument| if argument == "-threads" { "--threads".into() } else { argument })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Command, CommandLine, CoreWorkload, with_ycsb_spellings};

    #[test]
    fn the_options_do_not_contradict_each_other() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn threads_may_be_written_as_ycsb_does() {
        let words = ["ycsb", "run", "--path", "x", "-threads", "4", "--workload", "a,workloadF"];
        let words = with_ycsb_spellings(words.into_iter().map(Into::into));
        let Command::Run(run) = CommandLine::try_parse_from(words).unwrap().command else {
            panic!("not run")
        };
        assert_eq!(run.shared.threads, Some(4));
        assert_eq!(run.shared.workload, [CoreWorkload::A, CoreWorkload::F]);
    }

    #[test]
    fn the_store_must_be_named() {
        assert!(CommandLine::try_parse_from(["ycsb", "load"]).is_err());
    }
}
