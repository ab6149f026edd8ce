//! The catalog: index, large values and ledger, changed together.
//!
//! Invariant: a zone's live bytes are what the index (and the parts of the large values that it names) point at in it.
//! Each change counts the new place in before the old one is counted out, so that a zone is never thought emptier than
//! it is. Keys and tombstones are counted apart from that, when one is written or forgotten: moving them changes nothing.

use std::sync::Arc;

use super::large::LargeValues;
use super::{Entry, Index, LargeId, Location};
use crate::counter::StripedCounter;
use crate::fault::{self, Fault};
use crate::sync::epoch;
use crate::zones::{ZoneTable, charge_bytes};

/// When a value that is published is counted in with its zone.
///
/// Threads that write side by side would pass the zone's account to and fro with every record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneCharge {
    /// When it is published.
    Now,
    /// When the unit that holds it is sealed, by the log. Until then its zone is being filled, and nobody empties it.
    WithUnit,
}

/// Index, large values and ledger.
#[derive(Debug)]
pub struct Catalog {
    index: Index,
    large: LargeValues,
    zones: Arc<ZoneTable>,
    live_key_count: StripedCounter,
    tombstone_count: StripedCounter,
}

impl Catalog {
    /// A catalog of an index that recovery made; the ledger holds already what it points at.
    #[must_use]
    pub fn loaded(
        index: Index,
        large: LargeValues,
        zones: Arc<ZoneTable>,
        (live_key_count, tombstone_count): (i64, i64),
    ) -> Self {
        let catalog = Self {
            index,
            large,
            zones,
            live_key_count: StripedCounter::default(),
            tombstone_count: StripedCounter::default(),
        };
        catalog.live_key_count.add(live_key_count);
        catalog.tombstone_count.add(tombstone_count);
        catalog
    }

    /// The index, for looking.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Where large values lie.
    #[must_use]
    pub fn large(&self) -> &LargeValues {
        &self.large
    }

    /// How many keys have a value.
    #[must_use]
    pub fn live_key_count(&self) -> u64 {
        self.live_key_count.count()
    }

    /// How many deleted keys are remembered.
    #[must_use]
    pub fn tombstone_count(&self) -> u64 {
        self.tombstone_count.count()
    }

    /// Makes a write visible: it is the newest of its key. In a hash index the key's tag must be its own, or keys with it
    /// kept apart.
    pub fn publish(&self, key: &[u8], entry: Entry, zone_charge: ZoneCharge) {
        // The collector waits for whoever has changed the index and not yet the ledger.
        let _changing = epoch::pin();
        match (zone_charge, entry) {
            (ZoneCharge::WithUnit, Entry::Value { value_len, .. }) => {
                self.zones.charge_store(charge_bytes(key.len(), value_len as usize));
            }
            _ => self.charge(key, entry),
        }
        let old = self.index.upsert(key, entry);
        self.count(entry, 1);
        if let Some(old) = old {
            self.count(old, -1);
            if !fault::is_on(Fault::LeakLiveBytes) || !matches!(old, Entry::Tombstone { .. }) {
                self.discharge(key, old);
            }
        }
    }

    /// Takes in a write that recovery has read, if the key has no entry or one that `gives_way` to it.
    pub(crate) fn adopt(&self, key: &[u8], entry: Entry, gives_way: impl FnOnce(Entry) -> bool) {
        if self.index.lookup(key).is_none_or(gives_way) {
            self.publish(key, entry, ZoneCharge::Now);
        } else if let Entry::Large { id } = entry {
            self.large.remove(id);
        }
    }

    /// Points a key at a copy, unless it has been written meanwhile; says whether it did.
    pub fn relocate(&self, key: &[u8], from: Entry, to: Entry) -> bool {
        self.count_move(key, to, 1);
        let moved = self.index.replace_if(key, from, to);
        self.count_move(key, if moved { from } else { to }, -1);
        moved
    }

    /// Points one part of a large value at a copy, unless the value has gone meanwhile; says whether it did.
    pub fn relocate_part(&self, id: LargeId, part: u32, from: Location, to: Location) -> bool {
        let Some(bytes) = self.large.relocate(id, part, from, to) else { return false };
        self.zones.zone(to.zone).move_record(bytes);
        self.zones.zone(from.zone).move_record(-bytes);
        true
    }

    /// The same for a value that is logged and not published: it is not counted in yet.
    pub fn relocate_unpublished_part(&self, id: LargeId, part: u32, from: Location, to: Location) {
        let _counts_for = self.large.relocate(id, part, from, to);
    }

    /// Forgets a deleted key, unless it has been written meanwhile; says whether it did.
    pub fn forget_tombstone(&self, key: &[u8], tombstone: Entry) -> bool {
        let forgotten = self.index.remove_if(key, tombstone);
        if forgotten {
            self.count(tombstone, -1);
            self.discharge(key, tombstone);
        }
        forgotten
    }

    fn count(&self, entry: Entry, change: i64) {
        let count = match entry {
            Entry::Tombstone { .. } => &self.tombstone_count,
            Entry::Value { .. } | Entry::Large { .. } => &self.live_key_count,
        };
        count.add(change);
    }

    /// Counts an entry in or out of its zone. The sum over all zones stays: a put must not be refused for a copy.
    fn count_move(&self, key: &[u8], entry: Entry, sign: i64) {
        match entry {
            Entry::Value { location, value_len } => {
                let bytes = charge_bytes(key.len(), value_len as usize);
                self.zones.zone(location.zone).move_record(sign * bytes);
            }
            Entry::Tombstone { location } => {
                self.zones.zone(location.zone).move_tombstone(sign * charge_bytes(key.len(), 0));
            }
            Entry::Large { .. } => unreachable!("large values are moved part by part"),
        }
    }

    fn charge(&self, key: &[u8], entry: Entry) {
        match entry {
            Entry::Value { location, value_len } => {
                self.zones.charge(location.zone, charge_bytes(key.len(), value_len as usize));
            }
            Entry::Tombstone { location } => {
                self.zones.charge_tombstone(location.zone, charge_bytes(key.len(), 0));
            }
            Entry::Large { id } => {
                let value = self.large.value(id).expect("a large value is known before it is published");
                value.charges().for_each(|(zone, bytes)| self.zones.charge(zone, bytes));
            }
        }
    }

    fn discharge(&self, key: &[u8], entry: Entry) {
        match entry {
            Entry::Value { location, value_len } => {
                self.zones.charge(location.zone, -charge_bytes(key.len(), value_len as usize));
            }
            Entry::Tombstone { location } => {
                self.zones.charge_tombstone(location.zone, -charge_bytes(key.len(), 0));
            }
            Entry::Large { id } => {
                let value = self.large.remove(id).expect("a published large value is known");
                value.charges().for_each(|(zone, bytes)| self.zones.charge(zone, -bytes));
            }
        }
    }
}
