//! What the engine reports to its caller, each with what it was about.

use std::sync::Arc;

use thiserror::Error;

use crate::device::DeviceError;
use crate::format::DecodeError;
use crate::format::manifest::DeviceSizes;
use crate::units::{ZoneId, ZoneOffset};

/// Result of an engine operation.
pub type EngineResult<T> = Result<T, EngineError>;

/// What the engine reports to its caller. Cheap to clone: the first failed write is told to every later writer.
#[derive(Debug, Error, Clone)]
#[non_exhaustive]
pub enum EngineError {
    /// An argument is out of range; the text names the limit.
    #[error("{0}")]
    InvalidArgument(String),
    /// There is a device and no store on it.
    #[error("the device holds no zonal store")]
    NoStore,
    /// Live data fill the store.
    #[error(
        "the store is full: {live_bytes} bytes are live and at most {limit_bytes} fit; delete something or enlarge it"
    )]
    NoSpace {
        /// Bytes of live records.
        live_bytes: u64,
        /// How many of them fit.
        limit_bytes: u64,
    },
    /// Stored bytes do not pass their checks.
    #[error("damage in {zone} at {offset}: {what}")]
    Corruption {
        /// Where.
        zone: ZoneId,
        /// Where in the zone.
        offset: ZoneOffset,
        /// What is wrong.
        what: String,
    },
    /// The store's own description cannot be read or contradicts the device.
    #[error("the store's manifest is damaged: {0}")]
    ManifestDamaged(String),
    /// The device is not what it was when the store was made on it.
    #[error("the device has changed: the store was made on {recorded}; found were {found}")]
    DeviceChanged {
        /// The sizes that the store was made for.
        recorded: DeviceSizes,
        /// The sizes that there are.
        found: DeviceSizes,
    },
    /// There is no room left for the manifest: of its two zones one has worn out at least, and what is left of them is full.
    #[error(
        "the store can be read but not written any more: of {} and {}, which hold its manifest, {worn} has worn out, and \
         the other one is worn out or full; copy the store to another device", zones[0], zones[1]
    )]
    WornOut {
        /// The manifest zones.
        zones: [ZoneId; 2],
        /// The one that has worn out.
        worn: ZoneId,
    },
    /// The store was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// An earlier write or flush failed; reads go on, reopening recovers.
    #[error("writes are refused since a write or flush failed; reopen the store to recover")]
    WritesRefused(#[source] Arc<Self>),
    /// The device refused or failed.
    #[error(transparent)]
    Device(Arc<DeviceError>),
    /// The operating system refused a queue or a thread.
    #[error("{action} failed")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The error.
        source: Arc<std::io::Error>,
    },
}

impl EngineError {
    /// Stored bytes at a place fail to decode.
    pub(crate) fn corruption(zone: ZoneId, offset: ZoneOffset, error: DecodeError) -> Self {
        Self::Corruption { zone, offset, what: error.to_string() }
    }

    /// Whether the file system that holds the device has no room for another zone. Nothing was changed by that.
    pub(crate) fn is_full_host(&self) -> bool {
        matches!(self, Self::Device(error) if matches!(**error, DeviceError::HostFull { .. }))
    }

    /// The operating system refused something other than device I/O.
    pub(crate) fn io(action: &'static str, source: std::io::Error) -> Self {
        Self::Io { action, source: Arc::new(source) }
    }
}

impl From<DeviceError> for EngineError {
    fn from(error: DeviceError) -> Self {
        Self::Device(Arc::new(error))
    }
}
