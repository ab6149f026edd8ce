//! What is done with arbitrary bytes: one function a fuzz target.
//!
//! libFuzzer calls them by way of `fuzz/fuzz_targets`, on a nightly toolchain. The tests of this crate call the same ones on
//! any, with the corpus and with random bytes.

pub mod operations;

/// A fuzz target: panics where something is wrong.
pub type Target = fn(&[u8]);

/// All targets by their names, which are those of their folders in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 14] = [
    ("unit_header", zonal_engine::decoders::unit_header),
    ("unit", zonal_engine::decoders::unit),
    ("record", zonal_engine::decoders::record),
    ("manifest", zonal_engine::decoders::manifest),
    ("checkpoint", zonal_engine::decoders::checkpoint),
    ("device_header", zonal_engine::decoders::device_header),
    ("session_block", zonal_engine::decoders::session_block),
    ("zone_table", zonal_engine::decoders::zone_table),
    ("nvme_zone_report", zonal_engine::decoders::nvme_zone_report),
    ("nvme_identify", zonal_engine::decoders::nvme_identify),
    ("block_zone_report", zonal_engine::decoders::block_zone_report),
    ("dump_line", zonal_tools::kvctl::decoders::dump_line),
    ("size", zonal_tools::kvctl::decoders::size),
    ("operations", operations::run),
];

/// The target of a name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn target(name: &str) -> Target {
    TARGETS.iter().find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no target {name}")).1
}
