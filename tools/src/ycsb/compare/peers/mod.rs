//! The other stores. Each file says with which settings, and for which durability; docs/benchmarking.md says why.
//!
//! Every peer gets its cache budget as it counts it, compression off (values cannot be compressed) and otherwise its own
//! defaults, unless its documentation recommends others for a load of this kind.

#[cfg(feature = "peers-without-rocksdb")]
mod feoxdb;
#[cfg(feature = "peers-without-rocksdb")]
mod fjall;
#[cfg(feature = "peers-without-rocksdb")]
mod lmdb;
#[cfg(feature = "peers-without-rocksdb")]
mod peer;
#[cfg(feature = "peers-without-rocksdb")]
mod redb;
#[cfg(feature = "peers")]
mod rocksdb;
#[cfg(feature = "peers-without-rocksdb")]
mod sled;
#[cfg(feature = "peers-without-rocksdb")]
mod ticker;

use super::child::StoreResult;
use super::contestant::Contestant;
use crate::ycsb::resolve::Plan;

/// Runs the plan on a peer, if it was built in.
#[must_use]
pub fn run(contestant: Contestant, plan: &Plan) -> StoreResult {
    match contestant {
        #[cfg(feature = "peers")]
        Contestant::Rocksdb | Contestant::RocksdbBlob => peer::run::<rocksdb::RocksdbPeer>(contestant, plan),
        #[cfg(feature = "peers-without-rocksdb")]
        Contestant::Fjall | Contestant::FjallBlob => peer::run::<fjall::FjallPeer>(contestant, plan),
        #[cfg(feature = "peers-without-rocksdb")]
        Contestant::Lmdb => peer::run::<lmdb::LmdbPeer>(contestant, plan),
        #[cfg(feature = "peers-without-rocksdb")]
        Contestant::Redb => peer::run::<redb::RedbPeer>(contestant, plan),
        #[cfg(feature = "peers-without-rocksdb")]
        Contestant::Sled => peer::run::<sled::SledPeer>(contestant, plan),
        #[cfg(feature = "peers-without-rocksdb")]
        Contestant::Feoxdb => peer::run::<feoxdb::FeoxdbPeer>(contestant, plan),
        other => {
            let _ = plan;
            StoreResult::failed(other, format!("{} was not built in", other.name()))
        }
    }
}
