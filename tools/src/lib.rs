//! What the binaries `kvctl` and `ycsb` are made of.

pub mod exit;
pub mod kvctl;
pub mod queue_name;
pub mod size;
pub mod ycsb;
