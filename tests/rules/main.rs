//! What a store keeps when zones are cleaned under readers and writers.
//!
//! - [`rules`]: the rules that are easy to break, each with the tests that are named after it.
//!
//! Processes that are killed are in `tests/processes`, media that rot in `tests/damage`. Power cuts, failing appends and worn zones need a device of their own: they are tested inside the engine
//! (`storage-engine/src/engine/tests`). Random choices come from seeds, which are printed.

mod rules;
mod stores;
