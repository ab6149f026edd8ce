//! The storage engine of zonal: what lies between the embedded API and a zoned device.

pub mod buffer;
pub mod device;
pub mod error;
pub mod format;
pub mod log;
pub mod queue;
pub mod units;
pub mod zones;
