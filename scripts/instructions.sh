#!/bin/sh
# Counts the instructions of the hot paths under Callgrind and fails where one takes a tenth more than benches/instructions.rs
# says. Installs valgrind by apt-get and gungraun-runner by cargo where they are missing. Arguments choose benchmarks.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s: %s\n' "$0" "$*" >&2; }

if ! command -v valgrind > /dev/null; then
    say "there is no valgrind: installing it"
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update
    # Callgrind finds its own functions by the C library's symbols.
    $as_root apt-get install --yes --no-install-recommends valgrind libc6-dbg
fi

# The runner must be of the library's very version.
version=$(cargo pkgid --locked gungraun | sed 's/.*[#@]//')
tools="$PWD/target/tools"
if [ "$("$tools/bin/gungraun-runner" --version 2> /dev/null)" != "gungraun-runner $version" ]; then
    say "cargo install gungraun-runner $version"
    cargo install --locked --quiet --root "$tools" --version "$version" gungraun-runner
fi

GUNGRAUN_RUNNER="$tools/bin/gungraun-runner" cargo bench --locked --package zonal --bench instructions -- "$@"
