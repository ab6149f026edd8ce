//! Garbage collection: which zone to empty, and how.
//!
//! - [`policy`] decides, and is pure.
//! - [`collector`] executes: it relocates what is live, makes the copies durable and resets the zone.

pub mod collector;
pub mod policy;
pub mod superseded;
mod tombstones;
pub mod wear;
