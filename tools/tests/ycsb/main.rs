//! The benchmark as users run it.

mod bench;
mod compare;
#[path = "../kvctl/expectation.rs"]
mod expectation;
mod expected;
mod runs;
mod series;
