//! `ycsb`: the core workloads of the Yahoo! Cloud Serving Benchmark on a zonal store.

use std::process::ExitCode;

fn main() -> ExitCode {
    zonal_tools::ycsb::main()
}
