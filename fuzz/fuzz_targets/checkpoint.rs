#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zonal_fuzz_targets::target("checkpoint")(bytes));
