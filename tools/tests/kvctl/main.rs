//! The admin tool as users run it: the real binary on stores in a directory of its own.

mod commands;
mod expected;
mod failures;
mod package_records;
mod round_trip;
mod sandbox;
mod untouched;
