#!/bin/sh
# What stores are not made on, with the reason in plain words and nothing written; and a namespace that the kernel itself
# cannot use, on which they are.
# The drives: 1 as others are, 2 with blocks of 8 KiB, 3 with few active zones, 4 with few zones, 5 with zones whose size
# is no power of two, 6 smaller than 1.
set -eu

main() {
    unknown_sizes
    held
    partitions
    what_is_there
    changed
    without_block_device
}

# refused EXPECTED COMMAND...: it fails, says so, and does not die.
refused() {
    expected=$1
    shift
    status=0
    said=$("$@" 2>&1) || status=$?
    echo "$* -> $status: $said"
    [ $status = 2 ] || [ $status = 3 ] || { echo "not refused" >&2; exit 1; }
    case $said in *"$expected"*) ;; *) echo "it does not say: $expected" >&2; exit 1 ;; esac
}

# blank DRIVE: nothing is in its zones.
blank() {
    kvctl device report "$1" | grep -q "^  [0-9]* empty$" && return
    kvctl device report "$1" | grep -q "^  [0-9]* conventional, [0-9]* empty$" && return
    kvctl device report "$1" | head -n 5
    exit 1
}

unknown_sizes() {
    refused "a block of 8192 bytes; it must be 512 or 4096" kvctl create "$ZONAL_TEST_NVME_2" --yes
    refused "2048" kvctl create "$ZONAL_TEST_NULL_BLK" --yes
    refused "2 active zones; a store needs at least 3" kvctl create "$ZONAL_TEST_NVME_3" --yes
    refused "6 zones; a store needs at least 8" kvctl create "$ZONAL_TEST_NVME_4" --yes
    for drive in "$ZONAL_TEST_NVME_3" "$ZONAL_TEST_NVME_BLOCK_3" "$ZONAL_TEST_NVME_4"; do blank "$drive"; done
}

# A zoned drive that is mounted, and one that another drive lies on, by both routes.
held() {
    drive=$ZONAL_TEST_NVME_BLOCK
    modprobe zonefs
    zonefs_header > /tmp/zonefs
    dd if=/tmp/zonefs of="$drive" bs=4096 count=1 oflag=direct 2> /dev/null
    refused "a zonefs file system" kvctl create "$drive"
    mkdir /tmp/mounted
    mount -t zonefs "$drive" /tmp/mounted || { dmesg | tail -n 5; exit 1; }
    refused "mounted at /tmp/mounted" kvctl create "$drive" --yes
    refused "$drive at /tmp/mounted" kvctl create "$ZONAL_TEST_NVME" --yes
    kvctl device list | grep "^$ZONAL_TEST_NVME .* mounted at /tmp/mounted *$"
    umount /tmp/mounted
    modprobe dm_mod
    sectors=$(cat "/sys/block/${drive#/dev/}/size")
    dmsetup create stacked --table "0 $sectors linear $drive 0" > /dev/null
    refused "dm-" kvctl create "$drive" --yes
    refused "dm-" kvctl create "$ZONAL_TEST_NVME" --yes
    kvctl device list | grep "^$ZONAL_TEST_NVME .* device dm-0 *$"
    dmsetup remove stacked
    # It is as it was: the header, and nothing else.
    kvctl device report "$drive" | grep -w "23 empty"
    dd if="$drive" bs=4096 count=1 2> /dev/null | cmp - /tmp/zonefs
    kvctl device reset "$drive" --all --yes > /dev/null
}

# What mkzonefs writes, with the identifier 0101...: magic, checksum, no name, identifier, no features.
zonefs_header() {
    printf 'SFOZ\310\222\022\115'
    head -c 64 /dev/zero
    printf '\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001'
    head -c 4008 /dev/zero
}

# Linux refuses parts of zoned drives; those of others are taken like whole ones, after create was told so.
partitions() {
    for drive in "$ZONAL_TEST_NVME_BLOCK" "$ZONAL_TEST_SMR"; do
        if addpart "$drive" 1 0 65536; then echo "a zoned drive in parts" >&2; exit 1; fi
    done
    drive=$ZONAL_TEST_CONVENTIONAL
    addpart "$drive" 1 8 98304
    refused "is not a zonal device" kvctl put "${drive}p1" key value
    kvctl create "${drive}p1" --yes --zone-size 4MiB
    kvctl put "${drive}p1" key value
    [ "$(kvctl get "${drive}p1" key)" = value ]
    kvctl check "${drive}p1" --deep
    delpart "$drive" 1
}

# A store by one route is a store by the other, and neither is destroyed without a word; nor is one of another drive's kind
# taken for one.
what_is_there() {
    kvctl create "$ZONAL_TEST_NVME" --yes > /dev/null
    kvctl put "$ZONAL_TEST_NVME" key value
    for drive in "$ZONAL_TEST_NVME" "$ZONAL_TEST_NVME_BLOCK"; do
        refused "it holds a zonal store" kvctl create "$drive"
        [ "$(kvctl get "$drive" key)" = value ]
    done
}

# The drive that a store was made on has become a smaller one.
changed() {
    for zone in 0 1; do
        dd if="$ZONAL_TEST_NVME_BLOCK" of="$ZONAL_TEST_NVME_BLOCK_6" bs=65536 skip=$((zone * 64)) seek=$((zone * 64)) \
            count=48 conv=notrunc oflag=direct 2> /dev/null
    done
    kvctl device report "$ZONAL_TEST_NVME_6" > /tmp/before
    expected="the store was made on 24 zones of 4194304 bytes that hold 3145728 each, in blocks of 4096; found were 16"
    refused "$expected" kvctl put "$ZONAL_TEST_NVME_6" key value
    refused "$expected" kvctl get "$ZONAL_TEST_NVME_BLOCK_6" key
    kvctl device report "$ZONAL_TEST_NVME_6" | cmp - /tmp/before
}

without_block_device() {
    drive=$ZONAL_TEST_NVME_5
    [ ! -e "$ZONAL_TEST_NVME_BLOCK_5" ]
    kvctl device list | tee /tmp/list
    grep -q "^$drive .* host-managed  *32  *3.0 MiB " /tmp/list
    kvctl create "$drive" --yes
    ycsb load --path "$drive" --records 500 --durability buffered --format json > /dev/null
    kvctl check "$drive" --deep
}

main
