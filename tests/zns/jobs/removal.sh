#!/bin/sh
# Drives that are removed under load and, but for null_blk, whose contents go with it, come back. removal.sh TESTS
set -eu

tests=$1

main() {
    # What there is, and how it is found and made.
    # shellcheck disable=SC1091
    . /share/machine
    # shellcheck source=tests/zns/machine/drives.sh
    . /drives.sh
    [ -z "$zloop" ] || forgets
    for drive in "$ZONAL_TEST_NVME" "$ZONAL_TEST_NVME_BLOCK_2" "$ZONAL_TEST_SMR" "$ZONAL_TEST_NULL_BLK" \
        ${ZONAL_TEST_ZLOOP:-}; do
        kvctl create "$drive" --yes > /dev/null
    done
    kvctl create "$ZONAL_TEST_CONVENTIONAL" --yes --zone-size 4MiB --zone-capacity 3MiB > /dev/null
    run a_store_whose_drive_is_removed_under_load_says_so_and_ends
    bring_back
    run a_drive_that_is_back_has_all_that_was_acknowledged_before_it_was_removed
}

run() { "$tests" --ignored --exact --nocapture "removal::$1"; }

leave() { exit "$1"; }

bring_back() {
    echo 1 > /sys/bus/pci/rescan
    for host in /sys/class/scsi_host/host*; do echo "- - -" > "$host/scan"; done
    [ -z "$zloop" ] || add_zloop 0 /zloop "$zloop"
    # shellcheck disable=SC2034 # For name_drives.
    null_blk=
    name_drives
}

# A zloop drive must have lost what was not flushed when it was removed: else the test of the store shows nothing. It cuts a
# zone to where it was at its last flush, but leaves alone a zone that was in use at none: so all were once.
forgets() {
    zone=2
    while [ $zone -lt 24 ]; do
        write $((zone * 1024)) ''
        zone=$((zone + 1))
    done
    write $((3 * 1024 + 1)) ,fsync
    kvctl device reset "$ZONAL_TEST_ZLOOP" --all --yes
    block=$((5 * 1024))
    write "$block" ,fsync
    write $((block + 1)) ''
    written 8192
    echo "remove id=0" > /dev/zloop-control
    add_zloop 0 /zloop "$zloop"
    wait_for zoned_drive zloop > /dev/null
    written 4096
}

# written BYTES: the zone holds so many.
written() {
    kvctl device report "$ZONAL_TEST_ZLOOP" > /tmp/report
    grep "^ *5 .* $1  *0 %" /tmp/report || { grep "^ *5 " /tmp/report; echo "zone 5 does not hold $1 bytes" >&2; exit 1; }
}

# write BLOCK CONVERSIONS: to the zloop drive.
write() {
    dd if=/dev/zero of="$ZONAL_TEST_ZLOOP" bs=4096 seek="$1" count=1 oflag=direct conv="notrunc$2" 2> /dev/null
}

main
