//! The benchmark as users run it.

mod bench;
mod expected;
mod runs;
mod series;
