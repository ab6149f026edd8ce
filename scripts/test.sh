#!/bin/sh
# Runs all tests. Needs Rust; installs a C linker by apt-get where there is none, and for the tests on zoned drives, which
# run in virtual machines, QEMU. ZONAL_SKIP_ZNS=1 leaves the latter out, ZONAL_SKIP_ZNS=6.12 those on the newer of two kernels,
# and so does any argument: those are cargo test's.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s: %s\n' "$0" "$*" >&2; }

if ! command -v cargo > /dev/null; then
    say "Rust is not installed. On Debian 13: apt-get install rustup && rustup default stable; elsewhere: https://rustup.rs"
    exit 1
fi

if ! command -v cc > /dev/null; then
    say "there is no C linker: installing gcc"
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update
    $as_root apt-get install --yes --no-install-recommends gcc libc6-dev
fi

say "cargo test --workspace --locked"
cargo test --workspace --locked "$@"

if [ $# = 0 ]; then
    say "tests/zns/suite.sh"
    tests/zns/suite.sh
    say "tests/zns/suite.sh --kernel 6.12 wear"
    tests/zns/suite.sh --kernel 6.12 wear
fi
