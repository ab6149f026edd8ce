#!/bin/sh
# Runs fuzz targets under libFuzzer: fuzz/run.sh SECONDS [TARGET...], without targets all of them in turn, each for so long.
# Needs a nightly toolchain, a C++ compiler and cargo-fuzz (cargo install cargo-fuzz). What is found on the way stays in
# target/fuzz; an input that fails is printed with how to run it again.
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# = 0 ] || shift
# Safe code, most of it: what a sanitizer would find there is little beside what it costs. ZONAL_FUZZ_SANITIZER=address has it.
sanitizer=${ZONAL_FUZZ_SANITIZER:-none}
[ $# != 0 ] || set -- $(cargo +nightly fuzz list)

cargo +nightly fuzz build --sanitizer "$sanitizer"
for target in "$@"; do
    printf '\n== %s\n' "$target"
    mkdir -p "target/fuzz/$target"
    cargo +nightly fuzz run --sanitizer "$sanitizer" "$target" "target/fuzz/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=60 -print_final_stats=1 2>&1 |
        grep -vE '^#[0-9]+[[:space:]]+(NEW|REDUCE|pulse)|NEW_FUNC' || true
    # The exit status is grep's: what failed has left its input behind.
    if [ -n "$(ls "fuzz/artifacts/$target" 2> /dev/null)" ]; then
        echo "$target found something: fuzz/artifacts/$target; put the input in fuzz/corpus/$target when it is mended" >&2
        exit 1
    fi
done
