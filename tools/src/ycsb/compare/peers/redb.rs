//! redb. Each put is a transaction.
//!
//! | durability | setting |
//! |---|---|
//! | Sync | `Durability::Immediate` |
//! | Written, Buffered | `Durability::None`: weaker, a killed process loses what was committed since the last flush; redb has nothing in between |

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::peer::{Peer, PeerSettings};
use crate::ycsb::settings::WriteDurability;
use crate::ycsb::store::StoreError;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

pub(super) struct RedbPeer {
    db: Database,
    durability: Durability,
}

impl Peer for RedbPeer {
    fn open(settings: &PeerSettings<'_>) -> Result<Self, StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(usize::try_from(settings.cache_bytes)?);
        let db = builder.create(settings.directory.join("data.redb"))?;
        let durability = match settings.durability {
            WriteDurability::Sync => Durability::Immediate,
            WriteDurability::Written | WriteDurability::Buffered => Durability::None,
        };
        let transaction = db.begin_write()?;
        transaction.open_table(RECORDS)?;
        transaction.commit()?;
        Ok(Self { db, durability })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(self.durability)?;
        transaction.open_table(RECORDS)?.insert(key, value)?;
        Ok(transaction.commit()?)
    }

    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError> {
        let value = self.db.begin_read()?.open_table(RECORDS)?.get(key)?;
        let found = value.is_some();
        if let Some(value) = value {
            see(value.value());
        }
        Ok(found)
    }

    fn scan(&self, start: &[u8], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let table = self.db.begin_read()?.open_table(RECORDS)?;
        for item in table.range(start..)?.take(limit) {
            let (key, value) = item?;
            see(key.value(), value.value());
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        // An empty transaction that is durable makes those before it durable, too.
        Ok(self.db.begin_write()?.commit()?)
    }
}
