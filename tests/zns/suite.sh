#!/bin/sh
# The tests on zoned drives, in virtual machines: suite.sh [--kernel 6.1|6.12|zloop] [GROUP...]
#
#   devices  the engine's own tests and the append contract on each kind of drive, over each queue
#   stores   kvctl, ycsb, fio and the embedded API in turns on each kind of drive
#   crashes  a kernel that crashes 20 times under load
#   faults   drives that fail writes
#   refusals drives that stores are not made on
#   removal  drives that are removed under load and come back
#   wear     zones that turn read-only and offline; not on 6.1, which has no switches for that
#
# All that the kernel has by default; on `zloop`, which is the newest kernel of Debian's backports with the driver of that
# name, those in which a zloop drive takes part. ZONAL_SKIP_ZNS=1 leaves them all out, ZONAL_SKIP_ZNS=6.12 those on that
# kernel.
# Exit status: 0 passed or left out, 1 failed, 2 wrong usage, 3 cannot be run here.
set -eu
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
logs=$target/zns/logs
kernel=6.1

# Small enough to be overwritten several times under emulation: 24 zones of 4 MiB that hold 3 MiB each.
small_nvme="size=96M"
zone_sectors=8192
small_null_blk="zoned=1 size=96 blocksize=4096 zone_size=4 zone_capacity=3 zone_nr_conv=2 zone_max_open=8 \
zone_max_active=12 memory_backed=1"
small_smr="zbc=host-managed dev_size_mb=96 sector_size=4096 zone_size_mb=4 zone_cap_mb=3 zone_nr_conv=2 \
zone_max_open=8 delay=0"
small_zloop="capacity_mb=96,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2,max_open_zones=8"
# Each of its flushes is one of a whole file system: it gets fewer writes than the others in the same time.
smaller_zloop="capacity_mb=48,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2,max_open_zones=8"

main() {
    if [ "${1:-}" = --kernel ]; then
        [ $# -gt 1 ] || usage
        kernel=$2
        shift 2
    fi
    case ${ZONAL_SKIP_ZNS:-0} in
        0) ;;
        6.1 | 6.12 | zloop) [ "$ZONAL_SKIP_ZNS" != "$kernel" ] || leave_out ;;
        *) leave_out ;;
    esac
    if [ $# = 0 ]; then
        case $kernel in
            6.1) set -- devices stores crashes faults refusals removal ;;
            zloop) set -- devices stores crashes removal ;;
            *) set -- devices stores crashes faults refusals removal wear ;;
        esac
    fi
    for group; do
        case $group in
            devices | stores | crashes | faults | refusals | removal) ;;
            wear) [ "$kernel" != 6.1 ] || usage ;;
            *) usage ;;
        esac
    done
    # shellcheck disable=SC2046 # Words on purpose.
    tests/zns/machine/setup.sh "$kernel" fio dmsetup $(zloop mkfs.ext4:e2fsprogs)
    release=$(cat "$target/zns/$kernel/release")
    build
    mkdir -p "$logs"
    failed=
    for group; do
        begun=$(date +%s)
        if "$group"; then outcome=passed; else outcome=FAILED failed="$failed $group"; fi
        say "$group on Linux $release: $outcome, $(($(date +%s) - begun)) s"
    done
    [ -z "$failed" ] || say "failed:$failed; the machines' consoles are in $logs"
    [ -z "$failed" ]
}

say() { printf 'zns: %s\n' "$*" >&2; }

leave_out() {
    say "left out on Linux $kernel, for ZONAL_SKIP_ZNS is set to $ZONAL_SKIP_ZNS"
    exit 0
}

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# The programs that cargo test has built anyway, as it says where they are.
build() {
    built=$(cargo test --workspace --locked --no-run 2>&1) || {
        echo "$built" >&2
        exit 1
    }
    tests=$(executable zns)
    engine_tests=$(executable zonal_engine)
    behaviour=$(executable behaviour)
    tools=${tests%/deps/*}
}

# executable NAME: where cargo says that it has put a test program.
executable() { echo "$built" | sed -n "s|.*Executable .*(\(.*/$1-[0-9a-f]*\))\$|\1|p"; }

# boot GROUP OPTIONS... COMMAND...
boot() {
    log=$logs/$kernel-$1
    shift
    tests/zns/machine/boot.sh --kernel "$kernel" --log "$log" "$@"
}

# zloop OPTIONS...: the options, where the kernel has that driver.
zloop() { if [ "$kernel" = zloop ]; then echo "$@"; fi; }

mkfs() { PATH=$PATH:/usr/sbin:/sbin command -v mkfs.ext4; }

# shellcheck disable=SC2046 # Words on purpose.
devices() {
    boot devices --timeout 900 --nvme default --plain 256 --null-blk default --smr default \
        $(zloop --zloop default --plain 256 --set "ZLOOP_ON_EXT4=$small_zloop" --file "$(mkfs)") \
        --file "$tools/kvctl" --file "$tools/ycsb" --file "$engine_tests" \
        --file tests/zns/jobs/devices.sh devices.sh "${engine_tests##*/}"
}

# shellcheck disable=SC2046 # Words on purpose.
stores() {
    boot stores --timeout 900 --nvme "$small_nvme" --nvme "$small_nvme" --null-blk "$small_null_blk" --smr "$small_smr" \
        $(zloop --zloop "$small_zloop") --file "$tools/kvctl" --file "$tools/ycsb" --file "$(command -v fio)" \
        --file "$behaviour" --file tests/zns/jobs/fio.sh --file tests/zns/jobs/stores.sh stores.sh "${behaviour##*/}"
}

# shellcheck disable=SC2046 # Words on purpose.
crashes() {
    boot crashes --timeout 1800 --survive-reboots --set ZONAL_TEST_LIVES=20 \
        --nvme size=64M --nvme size=64M --plain 64 \
        $(zloop --plain 128 --set "ZLOOP_ON_EXT4=$smaller_zloop" --file "$(mkfs)") \
        --file "$tools/kvctl" --file "$tests" --file tests/zns/jobs/crashes.sh crashes.sh "${tests##*/}"
}

faults() {
    rules=$(mktemp)
    # A block near the start of zone 3 for the engine's test, then the middle of zones that stores come by.
    for sector in $((3 * zone_sectors + 32)) $((4 * zone_sectors + 2048)) $((7 * zone_sectors + 2048)) \
        $((11 * zone_sectors + 2048)) $((16 * zone_sectors + 2048)); do
        write_error "$sector"
    done > "$rules"
    outcome=0
    boot failing-writes --nvme "$small_nvme,errors=$rules" --nvme "$small_nvme,errors=$rules" \
        --file "$tools/kvctl" --file "$tests" --file "$engine_tests" --file tests/zns/jobs/faults.sh \
        faults.sh writes "${tests##*/}" "${engine_tests##*/}" || outcome=$?
    rm "$rules"
    return $outcome
}

# write_error SECTOR: the rule by which QEMU's blkdebug fails one write to that sector.
write_error() {
    printf '[inject-error]\nevent = "none"\niotype = "write"\nerrno = "5"\nsector = "%s"\nonce = "on"\n' "$1"
}

refusals() {
    boot refusals --nvme "$small_nvme" --nvme "$small_nvme,block=8192" --nvme "$small_nvme,max_active=2,max_open=2" \
        --nvme size=24M --nvme "$small_nvme,zone_size=3M" --nvme size=64M --plain 64 --null-blk "zoned=1 size=96 blocksize=2048 \
        zone_size=4 memory_backed=1" --smr "$small_smr" --file "$tools/kvctl" --file "$tools/ycsb" \
        --file "$(command -v dmsetup)" --file "$(command -v addpart)" --file "$(command -v delpart)" \
        --file tests/zns/jobs/refusals.sh refusals.sh
}

# shellcheck disable=SC2046 # Words on purpose.
removal() {
    boot removal --nvme size=64M --nvme size=64M --plain 64 --null-blk "$small_null_blk" --smr "$small_smr" \
        $(zloop --zloop "$small_zloop,discard_write_cache") \
        --file "$tools/kvctl" --file "$tests" --file tests/zns/jobs/removal.sh removal.sh "${tests##*/}"
}

wear() {
    boot wear --timeout 900 --null-blk "$small_null_blk" \
        --file "$tools/kvctl" --file "$tests" --file tests/zns/jobs/faults.sh faults.sh zones "${tests##*/}"
}

main "$@"
