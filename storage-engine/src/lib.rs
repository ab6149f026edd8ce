//! The storage engine of zonal: what lies between the embedded API and a zoned device.
//!
//! Layers, lowest first; a lower one never imports a higher one: `units`, `error`, `buffer`, `counter`, `signal` · `device` ·
//! `queue` · `conformance` · `format` · `zones` · `index` · `log` · `checkpoint` · `gc`, `recovery`, `salvage` · `engine` · `simulation` (for tests).

pub mod buffer;
pub mod checkpoint;
pub mod conformance;
pub mod counter;
#[cfg(feature = "decoders")]
#[doc(hidden)]
pub mod decoders;
pub mod device;
pub mod engine;
pub mod error;
pub mod fault;
pub mod format;
pub mod gc;
pub mod index;
pub mod log;
mod patience;
mod pinned;
pub mod queue;
pub mod recovery;
pub mod salvage;
#[cfg(any(test, feature = "testing"))]
pub mod seeded;
mod side_by_side;
pub mod signal;
#[cfg(any(test, feature = "testing"))]
pub mod simulation;
mod sync;
pub mod units;
pub mod zones;
