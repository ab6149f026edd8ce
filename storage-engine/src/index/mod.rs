//! The in-memory index: where the newest write of each key lies on the device.
//!
//! Nothing here reads or writes a device. The index holds what the log tells it, and the collector moves entries with
//! conditional replaces, so that a relocation never overrules a newer write.

pub mod entry;
pub mod ordered;

pub use entry::{Entry, LargeId, Location, PackedEntry};
pub use ordered::OrderedIndex;
