//! zonal as a store under test.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use zonal::{Db, Durability, IndexKind, Options, Stats, WriteOptions};
use zonal_engine::format::record::encoded_bytes;

use super::settings::{Index, StoreSettings, WriteDurability};
use super::store::{Store, StoreError, StoreWindow};

/// What `stat` counts in, whatever the file system's blocks.
const STAT_BLOCK_BYTES: u64 = 512;

/// An open zonal store, and the durability of the writes to it.
pub struct ZonalStore {
    db: Db,
    durability: Durability,
    path: PathBuf,
}

impl ZonalStore {
    /// Opens the store; creates it only when told to.
    ///
    /// # Errors
    ///
    /// What `Db::open` fails with.
    pub fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let durability = match settings.durability {
            WriteDurability::Sync => Durability::Sync,
            WriteDurability::Written => Durability::Written,
            WriteDurability::Buffered => Durability::Buffered,
        };
        let mut options = Options::default()
            .create_if_missing(settings.create_if_missing)
            .durability(durability)
            .index(index_kind(settings.index))
            .queue(settings.queue)
            .cleaning_policy(settings.cleaning_policy);
        if let Some(bytes) = settings.cache_bytes {
            options = options.cache_bytes(bytes);
        }
        if let Some(bytes) = settings.capacity_bytes {
            options = options.capacity_bytes(bytes);
        }
        if let Some(bytes) = settings.zone_size_bytes {
            options = options.zone_size_bytes(bytes);
        }
        Ok(Self { db: Db::open(&settings.path, options)?, durability, path: settings.path.clone() })
    }

    /// How many keys the store holds.
    #[must_use]
    pub fn key_count(&self) -> u64 {
        self.db.stats().keys
    }

    /// What the store's file takes of its file system; `None` for a device.
    fn file_bytes(&self) -> Option<u64> {
        let metadata = std::fs::metadata(&self.path).ok().filter(std::fs::Metadata::is_file)?;
        Some(metadata.blocks() * STAT_BLOCK_BYTES)
    }

    /// Closes the store.
    ///
    /// # Errors
    ///
    /// What `Db::close` fails with.
    pub fn close(self) -> Result<(), StoreError> {
        Ok(self.db.close()?)
    }
}

/// zonal's index of this kind.
const fn index_kind(index: Index) -> IndexKind {
    match index {
        Index::Ordered => IndexKind::Ordered,
        Index::Hash => IndexKind::Hash,
    }
}

/// What a record takes in a zone, as long as its value is stored in one piece.
#[must_use]
pub const fn stored_record_bytes(key_bytes: usize, value_bytes: usize) -> u64 {
    encoded_bytes(key_bytes, value_bytes, false) as u64
}

impl Store for ZonalStore {
    type Counters = Stats;

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        Ok(self.db.put_with(key, value, WriteOptions::default().durability(self.durability))?)
    }

    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError> {
        let value = self.db.get(key)?;
        let found = value.is_some();
        if let Some(value) = value {
            see(&value);
        }
        Ok(found)
    }

    fn scan(&self, start: &[u8], limit: u64, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        for item in self.db.range(start..).take(limit) {
            let (key, value) = item?;
            see(&key, &value);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(self.db.flush()?)
    }

    fn counters(&self) -> Stats {
        self.db.stats()
    }

    fn difference(&self, earlier: &Stats, later: &Stats) -> serde_json::Value {
        serde_json::to_value(later.since(earlier)).unwrap_or(serde_json::Value::Null)
    }

    fn window(&self, earlier: &Stats, later: &Stats) -> StoreWindow {
        let Stats { user_bytes_written, write_amplification, .. } = later.since(earlier);
        StoreWindow {
            free_zones: Some(later.zones.empty),
            live_bytes: Some(later.live_bytes),
            file_bytes: self.file_bytes(),
            user_bytes_written: Some(user_bytes_written),
            device_bytes_written: Some(later.device_bytes_written - earlier.device_bytes_written),
            relocated_bytes: Some(later.relocated_bytes - earlier.relocated_bytes),
            write_amplification: (user_bytes_written > 0).then_some(write_amplification),
        }
    }
}
