//! fjall.
//!
//! | durability | setting |
//! |---|---|
//! | Sync | each insert, then `persist(SyncData)`: the journal is fdatasynced |
//! | Written | its default: the journal is written to the operating system |
//! | Buffered | `manual_journal_persist`, and the journal written to the operating system every 5 ms |
//!
//! `cache_size` gets the cache budget; memtables come on top, as they are by default.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::peer::{Peer, PeerSettings};
use super::ticker::Ticker;
use crate::ycsb::settings::WriteDurability;
use crate::ycsb::store::StoreError;

/// Every value of some size goes to blob files.
const SEPARATION_THRESHOLD_BYTES: u32 = 256;

pub(super) struct FjallPeer {
    /// Dropped before the database, which it uses.
    _ticker: Option<Ticker>,
    db: Database,
    records: Keyspace,
    durability: WriteDurability,
}

impl Peer for FjallPeer {
    fn open(settings: &PeerSettings<'_>) -> Result<Self, StoreError> {
        let durability = settings.durability;
        let buffered = durability == WriteDurability::Buffered;
        let db = Database::builder(settings.directory)
            .cache_size(settings.cache_bytes)
            .manual_journal_persist(buffered)
            .open()?;
        let separation = settings
            .values_apart
            .then(|| KvSeparationOptions::default().separation_threshold(SEPARATION_THRESHOLD_BYTES));
        let records = db.keyspace("records", || {
            KeyspaceCreateOptions::default().manual_journal_persist(buffered).with_kv_separation(separation)
        })?;
        let ticker = buffered.then(|| {
            let db = db.clone();
            Ticker::start(move || db.persist(PersistMode::Buffer).is_ok())
        });
        Ok(Self { _ticker: ticker, db, records, durability })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.records.insert(key, value)?;
        if self.durability == WriteDurability::Sync {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError> {
        let value = self.records.get(key)?;
        let found = value.is_some();
        if let Some(value) = value {
            see(&value);
        }
        Ok(found)
    }

    fn scan(&self, start: &[u8], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        for item in self.records.range(start..).take(limit) {
            let (key, value) = item.into_inner()?;
            see(&key, &value);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(self.db.persist(PersistMode::SyncData)?)
    }
}
