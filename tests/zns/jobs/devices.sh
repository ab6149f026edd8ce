#!/bin/sh
# Each kind of drive by itself: the engine's tests that want one, which it leaves out elsewhere, and the append contract
# over every queue that the drive can have. devices.sh TESTS
set -eu

main() {
    # The character device of the drive without zones, to be refused.
    export ZONAL_TEST_NVME_CONVENTIONAL="/dev/ng${ZONAL_TEST_CONVENTIONAL#/dev/nvme}"
    # One at a time: each wants a drive for itself.
    "$1" --ignored --test-threads=1
    if [ -n "${ZONAL_TEST_ZLOOP:-}" ]; then zloop_on_ext4; fi
    zoned="$ZONAL_TEST_NVME_BLOCK $ZONAL_TEST_NULL_BLK $ZONAL_TEST_SMR ${ZONAL_TEST_ZLOOP:-} ${on_ext4:-}"
    for drive in $zoned; do
        echo "== $drive"
        ZONAL_TEST_ZONED_BLOCK=$drive "$1" --test-threads=1 device::block::tests
    done
    kvctl create "$ZONAL_TEST_CONVENTIONAL" --yes --zone-size 4MiB --zone-capacity 3MiB > /dev/null
    list
    check "$ZONAL_TEST_NVME" io_uring threads
    for drive in $zoned "$ZONAL_TEST_CONVENTIONAL"; do
        check "$drive" io_uring aio threads
    done
    kvctl device bench "$ZONAL_TEST_NVME" --yes --rounds 3 --appends 500
    without_io_uring
}

# A second drive in files: on a file system whose direct I/O is such, unlike that of the one in memory.
zloop_on_ext4() {
    # shellcheck source=tests/zns/machine/drives.sh
    . /drives.sh
    mkfs.ext4 -q "$ZONAL_TEST_CONVENTIONAL_2"
    mount_ext4 "$ZONAL_TEST_CONVENTIONAL_2" /tmp/ext4
    add_zloop 1 /tmp/ext4 "$ZLOOP_ON_EXT4"
    on_ext4=/dev/zloop1
}

# Each zoned drive with what boot.sh made it of by default, and one of them held by a process.
list() {
    sleep 600 3< "$ZONAL_TEST_NULL_BLK" &
    kvctl device list | tee /tmp/list
    kill $!
    listed "$ZONAL_TEST_NVME" "QEMU NVMe Ctrl *host-managed *64 *4.0 MiB *4096 *8 *12 *128.0 KiB *nobody"
    listed "$ZONAL_TEST_NULL_BLK" "host-managed *64 *4.0 MiB *4096 *8 *12 .*process $! (.*)"
    listed "$ZONAL_TEST_SMR" "scsi_debug *host-managed *64 *4.0 MiB *4096 *8 *no limit .*nobody"
    [ -z "${ZONAL_TEST_ZLOOP:-}" ] \
        || listed "$ZONAL_TEST_ZLOOP" "host-managed *64 *4.0 MiB *4096 *8 *no limit *1.0 MiB *nobody"
    # What has no zones is not.
    if grep -E "/(ng|nvme)${ZONAL_TEST_CONVENTIONAL#/dev/nvme} " /tmp/list; then return 1; fi
}

# listed DRIVE THE_REST_OF_ITS_LINE
listed() { grep -q "^$1 *$2 *\$" /tmp/list || { echo "device list does not say of $1: $2" >&2; exit 1; }; }

# check DRIVE QUEUE...
check() {
    drive=$1
    shift
    for queue; do
        echo "== $drive by $queue"
        kvctl device check "$drive" --yes --queue "$queue"
    done
}

# Where it is switched off, stores must do with what is left. Linux has the switch from 6.6 on.
without_io_uring() {
    [ -e /proc/sys/kernel/io_uring_disabled ] || return 0
    echo "== io_uring switched off"
    echo 2 > /proc/sys/kernel/io_uring_disabled
    for drive in "$ZONAL_TEST_NVME" "$ZONAL_TEST_NULL_BLK"; do
        kvctl device check "$drive" --yes
        kvctl create "$drive" --yes > /dev/null
        ycsb load --path "$drive" --records 500 --format json > /dev/null
        kvctl check "$drive" --deep
        kvctl info "$drive" | grep queue
    done
    if kvctl device check "$ZONAL_TEST_NVME" --yes --queue io_uring; then return 1; fi
}

main "$@"
