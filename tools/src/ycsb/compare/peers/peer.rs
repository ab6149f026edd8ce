//! What a peer must do to be measured, and what is the same for all of them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ycsb::compare::child::{StoreResult, run_on};
use crate::ycsb::compare::contestant::Contestant;
use crate::ycsb::compare::process::disk_bytes;
use crate::ycsb::keys::KEY_BYTES;
use crate::ycsb::resolve::Plan;
use crate::ycsb::settings::WriteDurability;
use crate::ycsb::store::{Store, StoreError, StoreWindow};

/// How a peer is to be opened.
pub(super) struct PeerSettings<'a> {
    /// The directory for its files.
    pub(super) directory: &'a Path,
    /// When its writes count as done.
    pub(super) durability: WriteDurability,
    /// Its memory for cached data.
    pub(super) cache_bytes: u64,
    /// Keys and values that are loaded, for peers that must reserve address space or a file.
    pub(super) data_bytes: u64,
    /// Whether values are kept apart from keys, where there is a choice.
    pub(super) values_apart: bool,
}

/// Another store.
pub(super) trait Peer: Sync + Sized {
    fn open(settings: &PeerSettings<'_>) -> Result<Self, StoreError>;
    /// Returns when the write is as durable as the settings ask.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError>;
    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError>;
    fn scan(&self, start: &[u8], limit: usize, see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError>;
    /// Puts everything written so far on stable media.
    fn flush(&self) -> Result<(), StoreError>;
}

/// Runs a plan on a peer.
pub(super) fn run<P: Peer>(contestant: Contestant, plan: &Plan) -> StoreResult {
    if let Err(error) = fs::create_dir_all(&plan.store.path) {
        return StoreResult::failed(
            contestant,
            format!("cannot make {}: {error}", plan.store.path.display()),
        );
    }
    let data_bytes = plan
        .load
        .as_ref()
        .map_or(0, |(workload, records)| records.saturating_mul((workload.value_bytes + KEY_BYTES) as u64));
    run_on(contestant, plan, || {
        let settings = PeerSettings {
            directory: &plan.store.path,
            durability: plan.store.durability,
            cache_bytes: plan.store.cache_bytes.unwrap_or_default(),
            data_bytes,
            values_apart: matches!(contestant, Contestant::RocksdbBlob | Contestant::FjallBlob),
        };
        Ok(Measured { peer: P::open(&settings)?, directory: plan.store.path.clone() })
    })
}

/// A peer as the benchmark sees it. Of its files' size only is known while it runs.
struct Measured<P> {
    peer: P,
    directory: PathBuf,
}

impl<P: Peer> Store for Measured<P> {
    type Counters = ();

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.peer.put(key, value)
    }

    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError> {
        self.peer.read(key, see)
    }

    fn scan(&self, start: &[u8], limit: u64, see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        self.peer.scan(start, usize::try_from(limit).unwrap_or(usize::MAX), see)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.peer.flush()
    }

    fn counters(&self) {}

    fn difference(&self, (): &(), (): &()) -> serde_json::Value {
        serde_json::json!({ "file_bytes": disk_bytes(&self.directory) })
    }

    fn window(&self, (): &(), (): &()) -> StoreWindow {
        StoreWindow::default()
    }
}
