//! The storage engine of zonal: what lies between the embedded API and a zoned device.

pub mod device;
pub mod index;
pub mod queue;
pub mod units;
