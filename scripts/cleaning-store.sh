#!/usr/bin/env bash
# Write amplification of a real store beside the simulator's, with the same keys drawn, overwrite for overwrite.
#
#   scripts/cleaning-store.sh [--directory DIRECTORY] [--zones 1024] [--overwrites 30] [--policy forecast] [WORKLOAD..]
#
# A workload is uniform, zipf, 80-20 or 90-10; without one, all four. The store lies in DIRECTORY (a temporary one), takes
# a little more than 1 MiB for each zone, and is 80 % full. A zone holds 256 records of 4 KiB, and 12 KiB for the headers of
# its units. Both are measured over the second half of the overwrites. The simulator is given as many zones that hold no
# data as the store kept: its manifest, its checkpoints, the collector's reserve and what is free or made ready.
#
# Needs jq and, in release builds, kvctl, ycsb and the example cleaning, which it has cargo build.
set -euo pipefail
cd "$(dirname "$0")/.."

directory="" zones=1024 overwrites=30 policy=forecast workloads=()
while [ $# -gt 0 ]; do
    case "$1" in
        --directory) directory=$2; shift ;;
        --zones) zones=$2; shift ;;
        --overwrites) overwrites=$2; shift ;;
        --policy) policy=$2; shift ;;
        uniform | zipf | 80-20 | 90-10) workloads+=("$1") ;;
        *) echo "cleaning-store.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done
[ ${#workloads[@]} -gt 0 ] || workloads=(uniform zipf 80-20 90-10)
[ -n "$directory" ] || { directory=$(mktemp -d); trap 'rm -rf "$directory"' EXIT; }

cargo build --quiet --release --locked -p zonal-tools --bins --example cleaning
release=${CARGO_TARGET_DIR:-target}/release
store=$directory/cleaning.zonal
zone_records=256 zone_bytes=$((1036 * 1024))
# 24 bytes of key and a header of 24 make 4096 in all.
value_bytes=4048 record_bytes=4096 user_bytes=4072
keys=$((zones * zone_records * 8 / 10))
half=$((overwrites / 2 * keys))

distribution() {
    case "$1" in
        uniform) echo --distribution uniform ;;
        zipf) echo --distribution zipfian-exact ;;
        80-20) echo --distribution hotspot -p hotspotdatafraction=0.2 -p hotspotopnfraction=0.8 ;;
        90-10) echo --distribution hotspot -p hotspotdatafraction=0.1 -p hotspotopnfraction=0.9 ;;
    esac
}

printf '%-9s %13s %10s %10s %18s %10s\n' workload store simulator difference 'zones without data' ops/s
for workload in "${workloads[@]}"; do
    rm -f "$store"
    "$release/kvctl" create "$store" --capacity $((zones * zone_bytes)) --zone-size $zone_bytes \
        --max-active 14 > /dev/null
    common=(--path "$store" --records "$keys" --value-bytes $value_bytes --durability buffered --cache 64MiB
        --cleaning-policy "$policy")
    "$release/ycsb" load "${common[@]}" --format json > /dev/null
    # shellcheck disable=SC2046
    run=$("$release/ycsb" run "${common[@]}" $(distribution "$workload") --update-proportion 1 \
        --warmup-operations $half --operations $half --format json)
    measured=$(jq ".phases[-1].store | 1 + .relocated_bytes / $record_bytes * $user_bytes / .user_bytes_written" <<< "$run")
    empty=$("$release/kvctl" zones "$store" --format json |
        jq '[.[] | select(.role == "free" or .role == "manifest" or .role == "checkpoint")] | length')
    simulated=$("$release/examples/cleaning" --policy "$policy" --workload "$workload" --zones "$zones" \
        --records $zone_records --overwrites "$overwrites" --active 12 --reserve "$empty" --format json |
        jq '.[0].write_amplification')
    ops=$(jq '.phases[-1].ops_per_second | floor' <<< "$run")
    printf '%-9s %13.3f %10.3f %+9.1f%% %18s %10s\n' "$workload" "$measured" "$simulated" \
        "$(jq -n "($measured / $simulated - 1) * 100")" "$empty" "$ops"
    rm -f "$store"
done
