#!/bin/sh
# One life of a machine that crashes again and again. The first makes the stores. crashes.sh TESTS
set -eu

# The drive in files lies on a file system, which at a crash goes back to what was flushed.
if [ -n "${ZLOOP_ON_EXT4:-}" ]; then
    # shellcheck source=tests/zns/machine/drives.sh
    . /drives.sh
    [ -e life ] || mkfs.ext4 -q "$ZONAL_TEST_CONVENTIONAL_2"
    mount_ext4 "$ZONAL_TEST_CONVENTIONAL_2" /tmp/ext4
    add_zloop 0 /tmp/ext4 "$ZLOOP_ON_EXT4"
    export ZONAL_TEST_ZLOOP=/dev/zloop0
fi
if [ ! -e life ]; then
    for drive in "$ZONAL_TEST_NVME" "$ZONAL_TEST_NVME_BLOCK_2" ${ZONAL_TEST_ZLOOP:-}; do kvctl create "$drive" --yes; done
    kvctl create "$ZONAL_TEST_CONVENTIONAL" --yes --zone-size 4MiB --zone-capacity 3MiB
fi
exec "$1" --ignored --exact --nocapture crash::a_kernel_that_crashes_under_load_loses_nothing_acknowledged
