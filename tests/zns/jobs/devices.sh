#!/bin/sh
# Each kind of drive by itself: the engine's tests that want one, which it leaves out elsewhere, and the append contract
# over every queue that the drive can have. devices.sh TESTS
set -eu

main() {
    # The character device of the drive without zones, to be refused.
    export ZONAL_TEST_NVME_CONVENTIONAL="/dev/ng${ZONAL_TEST_CONVENTIONAL#/dev/nvme}"
    # One at a time: each wants a drive for itself.
    "$1" --ignored --test-threads=1
    for drive in "$ZONAL_TEST_NVME_BLOCK" "$ZONAL_TEST_NULL_BLK" "$ZONAL_TEST_SMR"; do
        echo "== $drive"
        ZONAL_TEST_ZONED_BLOCK=$drive "$1" --test-threads=1 device::block::tests
    done
    kvctl create "$ZONAL_TEST_CONVENTIONAL" --yes --zone-size 4MiB --zone-capacity 3MiB > /dev/null
    kvctl device list
    check "$ZONAL_TEST_NVME" io_uring threads
    for drive in "$ZONAL_TEST_NVME_BLOCK" "$ZONAL_TEST_NULL_BLK" "$ZONAL_TEST_SMR" "$ZONAL_TEST_CONVENTIONAL"; do
        check "$drive" io_uring aio threads
    done
    kvctl device bench "$ZONAL_TEST_NVME" --yes --rounds 3 --appends 500
    without_io_uring
}

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
