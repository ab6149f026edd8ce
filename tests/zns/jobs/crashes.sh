#!/bin/sh
# One life of a machine that crashes again and again. The first makes the stores. crashes.sh TESTS
set -eu

if [ ! -e life ]; then
    for drive in "$ZONAL_TEST_NVME" "$ZONAL_TEST_NVME_BLOCK_2" "$ZONAL_TEST_CONVENTIONAL"; do
        kvctl create "$drive" --yes
    done
fi
exec "$1" --ignored --exact --nocapture crash::a_kernel_that_crashes_under_load_loses_nothing_acknowledged
