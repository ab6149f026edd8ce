//! The storage engine of zonal: what lies between the embedded API and a zoned device.

pub mod buffer;
pub mod device;
pub mod queue;
pub mod units;
