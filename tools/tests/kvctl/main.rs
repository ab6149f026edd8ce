//! The admin tool as users run it: the real binary on stores in a directory of its own.

mod cleaning;
mod commands;
mod damage;
mod device;
mod expectation;
mod expected;
mod failures;
mod package_records;
mod queues;
mod round_trip;
mod sandbox;
#[path = "../../../storage-engine/src/queue/tests/seccomp.rs"]
mod seccomp;
#[path = "../../../tests/damage/structures.rs"]
#[expect(dead_code, reason = "shared with the tests of the store")]
mod structures;
mod untouched;
