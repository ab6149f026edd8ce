//! What the benchmark needs of a store. Small, so that any ordered store fits in.

use serde::Serialize;

/// Why an operation failed, in the store's own words.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// How a store was at the end of a window of time, and what it did in it. `None` is what the store does not tell.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct StoreWindow {
    /// Zones without data, at the end.
    pub free_zones: Option<u64>,
    /// Bytes of live records, at the end.
    pub live_bytes: Option<u64>,
    /// What the store's files take on disk, at the end.
    pub file_bytes: Option<u64>,
    /// Keys and values handed in.
    pub user_bytes_written: Option<u64>,
    /// Everything written to the device.
    pub device_bytes_written: Option<u64>,
    /// Live records copied by cleaning.
    pub relocated_bytes: Option<u64>,
    /// Bytes written to the device by bytes handed in; `None` when none were.
    pub write_amplification: Option<f64>,
}

/// A store under test. One value serves all threads. How durable a put is when it returns was settled on opening.
pub trait Store: Sync {
    /// What the store counts: taken before and after a phase, and compared.
    type Counters;

    /// Writes one record.
    ///
    /// # Errors
    ///
    /// Whatever the store refuses with; the benchmark stops on it.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Reads one record and shows its value, wherever it lies, to `see`. Tells whether the record is there.
    ///
    /// # Errors
    ///
    /// Whatever the store fails with.
    fn read(&self, key: &[u8], see: impl FnOnce(&[u8])) -> Result<bool, StoreError>;

    /// Shows the records from `start` on, in key order, at most `limit` of them, to `see`.
    ///
    /// # Errors
    ///
    /// Whatever the store fails with.
    fn scan(&self, start: &[u8], limit: u64, see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError>;

    /// Makes everything written before durable.
    ///
    /// # Errors
    ///
    /// Whatever the store fails with.
    fn flush(&self) -> Result<(), StoreError>;

    /// What the store has counted so far.
    fn counters(&self) -> Self::Counters;

    /// What was counted from `earlier` to `later`, as an object for the report.
    fn difference(&self, earlier: &Self::Counters, later: &Self::Counters) -> serde_json::Value;

    /// The same for a window of the time series. Called while operations run, so it must be quick.
    fn window(&self, earlier: &Self::Counters, later: &Self::Counters) -> StoreWindow;
}
