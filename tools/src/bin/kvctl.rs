//! `kvctl`: looks into zonal stores and changes them, from a command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    zonal_tools::kvctl::main()
}
