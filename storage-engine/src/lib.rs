//! The storage engine of zonal: what lies between the embedded API and a zoned device.
//!
//! Layers, lowest first; a lower one never imports a higher one: `units`, `error`, `buffer`, `counter`, `signal` · `device` ·
//! `queue` · `conformance` · `format` · `zones` · `index` · `log` · `gc`, `recovery` · `engine`.

pub mod buffer;
pub mod conformance;
pub mod counter;
#[cfg(feature = "decoders")]
#[doc(hidden)]
pub mod decoders;
pub mod device;
pub mod engine;
pub mod error;
pub mod format;
pub mod gc;
pub mod index;
pub mod log;
mod patience;
pub mod queue;
pub mod recovery;
pub mod signal;
mod sync;
pub mod units;
pub mod zones;
