//! sled.
//!
//! | durability | setting |
//! |---|---|
//! | Sync | each insert, then `flush` |
//! | Written, Buffered | its default: written and synced by a thread every 200 ms. Weaker: a killed process loses what it had not reached |

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sled::{Config, Db};

use super::peer::{Peer, PeerSettings};
use crate::ycsb::settings::WriteDurability;
use crate::ycsb::store::StoreError;

/// Records in a leaf: what sled's own examples use.
const LEAF_FANOUT: usize = 1024;
/// The level that costs the least: sled cannot leave compression out.
const ZSTD_LEVEL: i32 = 1;

thread_local! {
    /// A handle is for one thread: each has its own. Threads of the benchmark end with their phase, and their handles
    /// with them, so that the store is closed when the peer is dropped.
    static HANDLE: RefCell<Option<Db<LEAF_FANOUT>>> = const { RefCell::new(None) };
}

pub(super) struct SledPeer {
    /// What threads clone their handles from.
    db: Mutex<Db<LEAF_FANOUT>>,
    durability: WriteDurability,
}

impl SledPeer {
    fn own_handle<T>(
        &self,
        act: impl FnOnce(&Db<LEAF_FANOUT>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        HANDLE.with_borrow_mut(|handle| act(handle.get_or_insert_with(|| self.lock().clone())))
    }

    fn lock(&self) -> MutexGuard<'_, Db<LEAF_FANOUT>> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer for SledPeer {
    fn open(settings: &PeerSettings<'_>) -> Result<Self, StoreError> {
        let db = Config::new()
            .path(settings.directory)
            .cache_capacity_bytes(usize::try_from(settings.cache_bytes)?)
            .zstd_compression_level(ZSTD_LEVEL)
            .open()?;
        Ok(Self { db: Mutex::new(db), durability: settings.durability })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.own_handle(|db| {
            db.insert(key, value)?;
            if self.durability == WriteDurability::Sync {
                db.flush()?;
            }
            Ok(())
        })
    }

    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError> {
        self.own_handle(|db| {
            let value = db.get(key)?;
            let found = value.is_some();
            if let Some(value) = value {
                see(&value);
            }
            Ok(found)
        })
    }

    fn scan(&self, start: &[u8], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        self.own_handle(|db| {
            for item in db.range(start..).take(limit) {
                let (key, value) = item?;
                see(&key, &value);
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.lock().flush()?;
        Ok(())
    }
}
