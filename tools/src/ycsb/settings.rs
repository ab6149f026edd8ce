//! How the store under test is opened.

use std::path::PathBuf;

use clap::ValueEnum;
use zonal::{CleaningPolicy, QueueKind};

/// When a write counts as done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum WriteDurability {
    /// It survives power loss
    #[default]
    Sync,
    /// It survives a killed process
    Written,
    /// It is visible, and written within milliseconds
    Buffered,
}

impl WriteDurability {
    /// The name in options and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Written => "written",
            Self::Buffered => "buffered",
        }
    }
}

/// Kinds of index that the benchmark knows by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Index {
    /// Keys in order; scans work
    #[default]
    Ordered,
    /// No keys in memory: 15 to 16 bytes a key, no scans
    Hash,
}

impl Index {
    /// The name in options and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Hash => "hash",
        }
    }
}

/// How the store is opened. What is `None` is left to the store's own default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreSettings {
    /// Where it lies.
    pub path: PathBuf,
    /// Whether a missing store is created, or an error.
    pub create_if_missing: bool,
    /// The durability of every write.
    pub durability: WriteDurability,
    /// The kind of index.
    pub index: Index,
    /// How reads and appends reach the device.
    pub queue: QueueKind,
    /// Which records share a zone, and which zone is emptied next.
    pub cleaning_policy: CleaningPolicy,
    /// Memory for cached values.
    pub cache_bytes: Option<u64>,
    /// Capacity, on creation.
    pub capacity_bytes: Option<u64>,
    /// Zone size, on creation.
    pub zone_size_bytes: Option<u64>,
}
