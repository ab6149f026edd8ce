//! Where the parts of large values lie: the index names such a value by its id only.
//!
//! The id is the seqno of the value's first part. A value is entered here when it is logged and leaves when another
//! write of its key becomes visible.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{LargeId, Location};
use crate::sync::RwLock;
use crate::units::ZoneId;
use crate::zones::charge_bytes;

/// One value in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeValue {
    key_bytes: usize,
    incarnation: u32,
    parts: Vec<(Location, u32)>,
}

impl LargeValue {
    /// A value of a key of `key_bytes`, first written by this run of the store, whose parts lie at these places and are so many
    /// bytes long.
    #[must_use]
    pub fn new(key_bytes: usize, incarnation: u32, parts: Vec<(Location, u32)>) -> Self {
        Self { key_bytes, incarnation, parts }
    }

    /// Bytes of the whole value.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.parts.iter().map(|&(_, bytes)| u64::from(bytes)).sum()
    }

    /// Places and lengths of the parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[(Location, u32)] {
        &self.parts
    }

    /// The run of the store that wrote it first: what its parts say.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Bytes of the key that a part's record carries: the first carries it, the others none.
    #[must_use]
    pub fn key_bytes_of_part(&self, part: usize) -> usize {
        if part == 0 { self.key_bytes } else { 0 }
    }

    /// What the value counts for in each zone.
    pub(super) fn charges(&self) -> impl Iterator<Item = (ZoneId, i64)> + '_ {
        (0..self.parts.len()).map(|part| (self.parts[part].0.zone, self.charge_of_part(part)))
    }

    fn charge_of_part(&self, part: usize) -> i64 {
        charge_bytes(self.key_bytes_of_part(part), self.parts[part].1 as usize)
    }
}

/// All values in parts.
#[derive(Debug, Default)]
pub struct LargeValues {
    values: RwLock<HashMap<LargeId, LargeValue, FixedState>>,
}

impl LargeValues {
    /// The value, as its parts lie now.
    #[must_use]
    pub fn value(&self, id: LargeId) -> Option<LargeValue> {
        self.values.read().get(&id).cloned()
    }

    /// How long the value is, in bytes.
    #[must_use]
    pub fn len_bytes(&self, id: LargeId) -> Option<u64> {
        self.values.read().get(&id).map(LargeValue::len_bytes)
    }

    /// Whether part `part` of the value lies at `location`.
    #[must_use]
    pub fn lies_at(&self, id: LargeId, part: u32, location: Location) -> bool {
        let values = self.values.read();
        values
            .get(&id)
            .and_then(|value| value.parts.get(part as usize))
            .is_some_and(|part| part.0 == location)
    }

    /// Enters a value.
    pub fn insert(&self, id: LargeId, value: LargeValue) {
        self.values.write().insert(id, value);
    }

    pub(crate) fn remove(&self, id: LargeId) -> Option<LargeValue> {
        self.values.write().remove(&id)
    }

    /// Moves a part; gives what it counts for, or `None` when it does not lie at `from`.
    pub(super) fn relocate(&self, id: LargeId, part: u32, from: Location, to: Location) -> Option<i64> {
        let mut values = self.values.write();
        let value = values.get_mut(&id)?;
        let place = value.parts.get_mut(part as usize)?;
        if place.0 != from {
            return None;
        }
        place.0 = to;
        Some(value.charge_of_part(part as usize))
    }
}
