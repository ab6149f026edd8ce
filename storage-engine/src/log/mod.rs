//! The log: records in, units on the device, and knowledge of how far they are written and durable.
//!
//! - [`unit_builder`]: fills one unit's buffer.
//! - [`stream`]: the zones that one kind of writes goes to, one after another.
//! - `user_streams`: those of new writes, side by side.
//! - [`memory`]: units whose bytes are still in memory, in flight or kept for readers.
//! - [`commit`]: watermarks, group commit with leader and followers, the latch after a failed write.
//! - `company`: lets those who commit together wait for each other.
//! - `durable_pace`: whether zones are worth preparing for durable writes.
//! - [`writer`]: puts them together.
//! - `mending`: moves units whose zone wears out while it is being filled.
//! - `journal`: a copy of what is not appended yet, in memory that outlives the process.
//! - [`manifest_log`]: where the store describes itself.
//! - [`scanner`]: reads a zone from start to write pointer, by way of a `window`.
//! - [`read_ahead`]: what follows is read while the reader of a zone works.
//! - `single_append`: appends of metadata.
//!
//! Lock order: a stream, then the commit state. No lock is held over device I/O, but the one of
//! [`read_ahead`], which only the collector takes.

pub mod commit;
mod company;
mod durable_pace;
mod journal;
pub mod manifest_log;
pub mod memory;
mod mending;
pub mod read_ahead;
pub mod scanner;
pub(crate) mod single_append;
pub mod stream;
pub mod unit_builder;
mod user_streams;
pub(crate) mod window;
pub mod writer;
