//! The stores that can be compared.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A store, and how it is set up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// This store
    Zonal,
    /// RocksDB, values in the tree
    Rocksdb,
    /// RocksDB, values in blob files
    RocksdbBlob,
    /// fjall, values in the tree
    Fjall,
    /// fjall, values apart
    FjallBlob,
    /// LMDB, by heed
    Lmdb,
    /// redb
    Redb,
    /// sled
    Sled,
    /// feoxdb
    Feoxdb,
}

impl Contestant {
    /// The name in options and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zonal => "zonal",
            Self::Rocksdb => "rocksdb",
            Self::RocksdbBlob => "rocksdb-blob",
            Self::Fjall => "fjall",
            Self::FjallBlob => "fjall-blob",
            Self::Lmdb => "lmdb",
            Self::Redb => "redb",
            Self::Sled => "sled",
            Self::Feoxdb => "feoxdb",
        }
    }

    /// Whether this binary has it.
    #[must_use]
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::Zonal => true,
            Self::Rocksdb | Self::RocksdbBlob => cfg!(feature = "peers"),
            _ => cfg!(feature = "peers-without-rocksdb"),
        }
    }

    /// Those that this binary has, this store first.
    #[must_use]
    pub fn all_built_in() -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|contestant| contestant.is_built_in()).collect()
    }
}
