#!/bin/sh
# Drives that are removed under load and, but for null_blk, whose contents go with it, come back. removal.sh TESTS
set -eu

tests=$1
run() { "$tests" --ignored --exact --nocapture "removal::$1"; }

for drive in "$ZONAL_TEST_NVME" "$ZONAL_TEST_NVME_BLOCK_2" "$ZONAL_TEST_SMR" "$ZONAL_TEST_NULL_BLK" \
    ${ZONAL_TEST_ZLOOP:-}; do
    kvctl create "$drive" --yes > /dev/null
done
kvctl create "$ZONAL_TEST_CONVENTIONAL" --yes --zone-size 4MiB --zone-capacity 3MiB > /dev/null
run a_store_whose_drive_is_removed_under_load_says_so_and_ends

echo 1 > /sys/bus/pci/rescan
for host in /sys/class/scsi_host/host*; do echo "- - -" > "$host/scan"; done
# shellcheck disable=SC1091
. /share/machine
# shellcheck source=tests/zns/machine/drives.sh
. /drives.sh
leave() { exit "$1"; }
[ -z "$zloop" ] || add_zloop 0 /zloop "$zloop"
# shellcheck disable=SC2034 # For name_drives.
null_blk=
name_drives
run a_drive_that_is_back_has_all_that_was_acknowledged_before_it_was_removed
