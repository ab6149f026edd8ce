//! The benchmark as users run it.

mod bench;
mod compare;
mod expected;
mod runs;
mod series;
