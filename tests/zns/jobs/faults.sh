#!/bin/sh
# Drives that fail under load: those that fail writes, or the one whose zones turn.
# faults.sh writes TESTS ENGINE_TESTS, or faults.sh zones TESTS
set -eu

tests=$2
run() { "$tests" --ignored --exact --nocapture "faults::$1"; }

case $1 in
    writes)
        ZONAL_TEST_NVME_FAULTS=1 "$3" --ignored --test-threads=1 after_a_write_error | tee /tmp/engine
        grep -q "ok. 1 passed" /tmp/engine
        for drive in "$ZONAL_TEST_NVME" "$ZONAL_TEST_NVME_BLOCK_2"; do kvctl create "$drive" --yes; done
        run a_failed_write_that_leaves_a_hole_loses_nothing_acknowledged
        ;;
    zones)
        for test in \
            zones_that_turn_read_only_under_load_are_evacuated_and_nothing_is_lost \
            an_empty_zone_that_turns_offline_under_load_takes_nothing_with_it \
            zones_of_the_manifest_that_turn_are_replaced_and_nothing_is_lost \
            of_a_filled_zone_that_turns_offline_under_load_the_loss_is_told_and_the_rest_is_kept \
            of_the_zone_being_filled_that_turns_offline_the_loss_is_told_and_the_rest_is_kept; do
            # On what the test before has left of the drive.
            kvctl create "$ZONAL_TEST_NULL_BLK" --yes
            run $test
        done
        ;;
esac
