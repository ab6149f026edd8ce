//! The admin tool as users run it: the real binary on stores in a directory of its own.

mod commands;
mod device;
mod expected;
mod failures;
mod package_records;
mod queues;
mod round_trip;
mod sandbox;
#[path = "../../../storage-engine/src/queue/tests/seccomp.rs"]
mod seccomp;
mod untouched;
