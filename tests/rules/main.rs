//! What a store keeps when processes die, media rot and zones are cleaned under readers and writers.
//!
//! - [`kill`]: processes that are killed while they write, clean and recover.
//! - [`rules`]: the rules that are easy to break, each with the tests that are named after it.
//!
//! Power cuts, failing appends and worn zones need a device of their own: they are tested inside the engine
//! (`storage-engine/src/engine/tests`). Random choices come from seeds, which are printed.

mod kill;
mod rules;
mod stores;
