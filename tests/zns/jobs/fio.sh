#!/bin/sh
# fio's word on the drives: writes zones at random places in zoned mode and verifies what it wrote. fio.sh DRIVE...
set -eu

for drive; do
    case $drive in
        /dev/ng*) engine="--ioengine=io_uring_cmd --cmd_type=nvme" ;;
        *) engine="--ioengine=libaio --direct=1" ;;
    esac
    # More than the zones taken hold, so that fio resets some.
    # shellcheck disable=SC2086 # Words on purpose.
    fio --name="$drive" --filename="$drive" --zonemode=zbd --rw=randwrite --bs=64k --offset=16M --size=16M --io_size=24M \
        --max_open_zones=3 --iodepth=8 --verify=crc32c --do_verify=1 --verify_fatal=1 $engine --output-format=terse \
        --terse-version=3 | cut -d ';' -f 3,5,6,46,47
done
