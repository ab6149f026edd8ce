//! The in-memory index: where the newest write of each key lies on the device.
//!
//! Nothing here reads or writes a device. The index holds what the log tells it, and the collector moves entries with
//! conditional replaces, so that a relocation never overrules a newer write.

mod any;
pub mod catalog;
pub mod entry;
pub mod hash;
pub mod large;
pub mod ordered;

pub use any::{Index, IndexKind};
pub use catalog::{Catalog, ZoneCharge};
pub use entry::{Entry, LargeId, Location, MAX_UNIT_BYTES, MAX_UNITS_PER_ZONE, MAX_ZONES, PackedEntry};
pub use hash::{HashIndex, HashShape};
pub use large::{LargeValue, LargeValues};
pub use ordered::OrderedIndex;
