//! LMDB, by heed. Each put is a transaction.
//!
//! | durability | setting |
//! |---|---|
//! | Sync | its default: a commit fsyncs |
//! | Written, Buffered | `NO_SYNC` and `WRITE_MAP`: a commit stores into the page cache, which a killed process leaves behind |
//!
//! It has no cache of its own: the page cache serves, without a budget unless `--memory` bounds it.

use std::fs;
use std::ops::Bound;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};

use super::peer::{Peer, PeerSettings};
use crate::ycsb::settings::WriteDurability;
use crate::ycsb::store::StoreError;

/// Address space, not disk: free pages and page ends take as much again as the data, at most.
const MAP_BYTES_BY_DATA_BYTES: u64 = 4;
const MIN_MAP_BYTES: u64 = 4 << 30;
/// As many as the benchmark has threads at most, and some.
const MAX_READERS: u32 = 1100;

pub(super) struct LmdbPeer {
    env: Env,
    records: Database<'static, Bytes, Bytes>,
}

impl Peer for LmdbPeer {
    fn open(settings: &PeerSettings<'_>) -> Result<Self, StoreError> {
        fs::create_dir_all(settings.directory)?;
        let map_bytes = settings.data_bytes.saturating_mul(MAP_BYTES_BY_DATA_BYTES).max(MIN_MAP_BYTES);
        let flags = match settings.durability {
            WriteDurability::Sync => EnvFlags::empty(),
            WriteDurability::Written | WriteDurability::Buffered => EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP,
        };
        let mut options = EnvOpenOptions::new();
        options.map_size(usize::try_from(map_bytes)?).max_readers(MAX_READERS);
        // SAFETY: `directory` was made for this process alone, which opens it once at a time and lets no other program
        // change or truncate the file under the mapping; it lies on a local file system. With WRITE_MAP a stray pointer
        // could damage the data: they are checked on every read, and nobody needs them afterwards.
        #[expect(unsafe_code, reason = "a mapped file is LMDB's way of reading; the caller owns the file")]
        let env = unsafe { options.flags(flags).open(settings.directory)? };
        let records = env
            .create_databases_and_commit(env.write_txn()?, |opener, transaction| {
                opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Self { env, records })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut transaction = self.env.write_txn()?;
        self.records.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError> {
        let transaction = self.env.read_txn()?;
        let value = self.records.get(&transaction, key)?;
        let found = value.is_some();
        if let Some(value) = value {
            see(value);
        }
        Ok(found)
    }

    fn scan(&self, start: &[u8], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let transaction = self.env.read_txn()?;
        let from = (Bound::Included(start), Bound::Unbounded);
        for item in self.records.range(&transaction, &from)?.take(limit) {
            let (key, value) = item?;
            see(key, value);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(self.env.force_sync()?)
    }
}
