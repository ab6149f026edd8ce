//! RocksDB.
//!
//! | durability | setting |
//! |---|---|
//! | Sync | `WriteOptions::sync`: the log is fsynced |
//! | Written | its default: the log is written to the operating system |
//! | Buffered | `manual_wal_flush`, and the log written to the operating system every 5 ms |
//!
//! The block cache (blob cache included) gets the cache budget; memtables come on top, as they are by default. Bloom
//! filters of 10 bits, background threads as many as processors: both as its tuning guide begins.

use std::sync::Arc;
use std::thread;

use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, Options, WriteOptions};

use super::peer::{Peer, PeerSettings};
use super::ticker::Ticker;
use crate::ycsb::settings::WriteDurability;
use crate::ycsb::store::StoreError;

/// Every value of some size goes to blob files.
const MIN_BLOB_BYTES: u64 = 256;

pub(super) struct RocksdbPeer {
    /// Dropped before the database, which it uses.
    _ticker: Option<Ticker>,
    db: Arc<DB>,
    write: WriteOptions,
}

impl Peer for RocksdbPeer {
    fn open(settings: &PeerSettings<'_>) -> Result<Self, StoreError> {
        let db = Arc::new(DB::open(&options(settings)?, settings.directory)?);
        let mut write = WriteOptions::default();
        write.set_sync(settings.durability == WriteDurability::Sync);
        let ticker = (settings.durability == WriteDurability::Buffered).then(|| {
            let db = Arc::clone(&db);
            Ticker::start(move || db.flush_wal(false).is_ok())
        });
        Ok(Self { _ticker: ticker, db, write })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        Ok(self.db.put_opt(key, value, &self.write)?)
    }

    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError> {
        let value = self.db.get_pinned(key)?;
        let found = value.is_some();
        if let Some(value) = value {
            see(&value);
        }
        Ok(found)
    }

    fn scan(&self, start: &[u8], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let mut iterator = self.db.raw_iterator();
        iterator.seek(start);
        for _ in 0..limit {
            let Some((key, value)) = iterator.item() else { break };
            see(key, value);
            iterator.next();
        }
        Ok(iterator.status()?)
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(self.db.flush_wal(true)?)
    }
}

fn options(settings: &PeerSettings<'_>) -> Result<Options, StoreError> {
    let cache = Cache::new_lru_cache(usize::try_from(settings.cache_bytes)?);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    blocks.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::None);
    options.increase_parallelism(i32::try_from(thread::available_parallelism()?.get())?);
    options.set_manual_wal_flush(settings.durability == WriteDurability::Buffered);
    if settings.values_apart {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(MIN_BLOB_BYTES);
        options.set_blob_compression_type(DBCompressionType::None);
        options.set_enable_blob_gc(true);
        options.set_blob_cache(&cache);
    }
    Ok(options)
}
