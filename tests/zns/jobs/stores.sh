#!/bin/sh
# A store's life on each drive, by the tools that a user has: made, filled, put to all of YCSB's core workloads,
# overwritten until zones have been reset, used by fio, and made again; and by the embedded API on each drive that is a block
# device. stores.sh TESTS
set -eu

main() {
    block="$ZONAL_TEST_NVME_BLOCK_2 $ZONAL_TEST_NULL_BLK $ZONAL_TEST_SMR ${ZONAL_TEST_ZLOOP:-}"
    for drive in "$ZONAL_TEST_NVME" $block; do
        echo "== $drive"
        create_and_use "$drive"
        overwrite "$drive"
        fio.sh "$drive"
        kvctl create "$drive" --yes
        ycsb load --path "$drive" --records 500 --durability buffered --format json > /dev/null
        kvctl check "$drive" --deep
    done
    for drive in $block; do
        echo "== $drive by the API"
        ZONAL_TEST_ZONED_BLOCK=$drive "$1" --exact devices::a_zoned_block_device_holds_a_store
    done
}

create_and_use() {
    kvctl create "$1" --yes
    kvctl info "$1"
    ycsb load --path "$1" --records 2500 --value-bytes 2000 --threads 4 --durability buffered
    ycsb run --path "$1" --workload a,b,c,f,d,e --operations 3000 --value-bytes 2000 --threads 4 --durability written
    kvctl check "$1" --deep
}

# Six times all records, in zones that hold thrice as much.
overwrite() {
    ycsb run --path "$1" --update-proportion 1 --read-proportion 0 --operations 15000 --value-bytes 8000 --threads 4 \
        --durability buffered
    kvctl check "$1" --deep
    resets=$(kvctl stats "$1" --format json | sed -n 's/.*"zone_resets": *\([0-9]*\).*/\1/p')
    echo "$1: $resets zones reset"
    [ "$resets" -gt 20 ]
}

main "$@"
