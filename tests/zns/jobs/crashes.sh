#!/bin/sh
# One life of a machine that crashes again and again. The first makes the stores. crashes.sh TESTS
set -eu

if [ ! -e life ]; then
    kvctl create "$ZONAL_TEST_NVME" --yes
    kvctl create "$ZONAL_TEST_NVME_BLOCK_2" --yes
    kvctl create "$ZONAL_TEST_CONVENTIONAL" --yes --zone-size 4MiB --zone-capacity 3MiB
fi
exec "$1" --ignored --exact --nocapture crash::a_kernel_that_crashes_under_load_loses_nothing_acknowledged
