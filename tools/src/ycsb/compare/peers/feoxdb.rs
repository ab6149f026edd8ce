//! feoxdb.
//!
//! | durability | setting |
//! |---|---|
//! | Sync | each insert, then `flush_all` |
//! | Written, Buffered | its default, write-behind. Weaker: a killed process loses what was not written yet |
//!
//! It keeps all keys in memory and has no cache budget of its own; only `--memory` bounds it.

use feoxdb::{FeoxError, FeoxStore};

use super::peer::{Peer, PeerSettings};
use crate::ycsb::settings::WriteDurability;
use crate::ycsb::store::StoreError;

/// Records take whole blocks of 4 KiB in a file of a fixed size, which is sparse where nothing was written.
const FILE_BYTES_BY_DATA_BYTES: u64 = 12;
const MIN_FILE_BYTES: u64 = 4 << 30;
/// No key of the benchmark lies beyond.
const LAST_KEY: [u8; 1] = [0xFF];

pub(super) struct FeoxdbPeer {
    store: FeoxStore,
    durability: WriteDurability,
}

impl Peer for FeoxdbPeer {
    fn open(settings: &PeerSettings<'_>) -> Result<Self, StoreError> {
        let file = settings.directory.join("data.feox");
        let file_bytes = settings.data_bytes.saturating_mul(FILE_BYTES_BY_DATA_BYTES).max(MIN_FILE_BYTES);
        let store = FeoxStore::builder()
            .device_path(file.to_string_lossy().into_owned())
            .file_size(file_bytes)
            .no_memory_limit()
            .enable_caching(true)
            .build()?;
        Ok(Self { store, durability: settings.durability })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match self.store.insert(key, value) {
            // Another thread's write of the same key came later and is there already.
            Ok(_) | Err(FeoxError::OlderTimestamp) => {}
            Err(error) => return Err(error.into()),
        }
        if self.durability == WriteDurability::Sync {
            self.store.flush_all()?;
        }
        Ok(())
    }

    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError> {
        match self.store.get_bytes(key) {
            Ok(value) => see(&value),
            Err(FeoxError::KeyNotFound) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn scan(&self, start: &[u8], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        for (key, value) in self.store.range_query(start, &LAST_KEY, limit)? {
            see(&key, &value);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(self.store.flush_all()?)
    }
}
