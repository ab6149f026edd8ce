//! What makes a run fail.

use super::store::StoreError;
use super::values::WrongValue;

/// Why a phase was stopped. Each names the key that it happened at.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A record that was inserted, and never deleted, is not found.
    #[error(
        "{key} is missing, though record {record} was inserted (was the store loaded with fewer records, or in another \
         insertorder?)"
    )]
    Missing {
        /// The key asked for.
        key: String,
        /// Its record's number.
        record: u64,
    },
    /// A value is not what was written.
    #[error("the value read for {key} is wrong: {reason}")]
    Wrong {
        /// The key asked for, or met by a scan.
        key: String,
        /// What is wrong with it.
        reason: WrongValue,
    },
    /// A scan gave something other than the records from its start on in key order.
    #[error("a scan from {start} is wrong: {reason}")]
    WrongScan {
        /// Where the scan was to start.
        start: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store refused an operation.
    #[error("{operation} of {key} failed: {source}")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// On which key.
        key: String,
        /// The store's answer.
        source: StoreError,
    },
    /// The store could not be opened, flushed or closed.
    #[error("cannot {action} the store: {source}")]
    Whole {
        /// What was tried.
        action: &'static str,
        /// The store's answer.
        source: StoreError,
    },
}
