#!/bin/sh
# Runs under Miri what it can run: no files, no rings, few threads. Needs a nightly toolchain with the component miri.
# Arguments are filters of test names, in the place of the list below.
set -eu
cd "$(dirname "$0")/.."

[ $# != 0 ] || set -- units:: buffer:: counter:: format:: gc:: index:: zones:: log::company log::stream log::durable_pace \
    recovery::records recovery::scan side_by_side::tests \
    device::geometry device::transition device::emulated::word device::emulated::reckoning \
    device::nvme::identify device::nvme::zone_report device::nvme::command device::nvme::status device::block::zone

# Miri is a hundred times slower than the machine: few random cases. Leaks: crossbeam's epochs end with the process.
PROPTEST_CASES=${PROPTEST_CASES:-4} \
    MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks ${MIRIFLAGS:-}" \
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/miri" \
    cargo +nightly miri test -p zonal-engine --lib -- "$@"
