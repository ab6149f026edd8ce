#!/bin/busybox sh
# shellcheck shell=dash disable=SC2154
#
# The first program of the virtual machine: makes the drives that boot.sh asked for, runs the command that boot.sh left
# in the shared folder, and ends the machine with the command's exit status.
#
# Drives are found by what they say of themselves. The kernel's names follow the order in which drives turned up.

main() {
    start_system
    # What the machine has: null_blk, smr, nvme_serials.
    # shellcheck disable=SC1091
    . /share/machine
    make_null_blk
    make_smr
    name_drives
    cd /share || leave 120
    # Running out of memory, programs do not fetch their pages one by one from the host.
    cp -r /share/bin /tmp/bin
    [ ! -d /share/libraries ] || cp -r /share/libraries/. /
    # By way of a pipe: a terminal would make programs draw progress bars.
    mkfifo /tmp/output
    cat /tmp/output &
    status=0
    PATH=/tmp/bin:/bin sh /share/command > /tmp/output 2>&1 || status=$?
    wait
    leave $status
}

start_system() {
    /bin/busybox --install -s /bin
    export PATH=/bin HOME=/tmp
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mount -t tmpfs tmpfs /tmp
    ln -s /proc/self/fd /dev/fd
    ip link set lo up
    # Buffers that the kernel keeps count as locked memory.
    ulimit -l unlimited
    # Each by itself: modprobe stops at the first that fails.
    for module in virtio_pci 9pnet_virtio 9p nvme; do modprobe "$module"; done
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /share || leave 120
}

# The machine's end. QEMU exits with 2 * STATUS + 1, so that an end that nobody told it has an even status.
leave() {
    [ "$1" = 0 ] || echo "exit status $1" >&2
    sync
    # shellcheck disable=SC2059
    printf "\\x$(printf %02x "$1")" | dd of=/dev/port bs=1 seek=244 conv=notrunc 2> /dev/null
    poweroff -f
}

make_null_blk() {
    [ -n "$null_blk" ] || return
    # A drive made through configfs, unlike one of the module's parameters, has switches for each zone.
    modprobe null_blk nr_devices=0
    mount -t configfs configfs /sys/kernel/config
    drive=/sys/kernel/config/nullb/nullb0
    mkdir $drive
    for setting in $null_blk; do echo "${setting#*=}" > "$drive/${setting%%=*}" || leave 121; done
    echo 1 > $drive/power || leave 121
    export ZONAL_TEST_NULL_BLK_SWITCHES=$drive
}

make_smr() {
    [ -n "$smr" ] || return
    # shellcheck disable=SC2086 # Words on purpose.
    modprobe scsi_debug $smr || leave 122
    modprobe sd_mod
}

# The variables by which programs know the drives.
name_drives() {
    for serial in $nvme_serials; do
        drive=$(wait_for nvme_drive "$serial")
        number=${serial#*-}
        suffix=
        [ "$number" = 1 ] || suffix=_$number
        case $serial in
            zoned-*)
                export "ZONAL_TEST_NVME$suffix=/dev/ng${drive#nvme}"
                export "ZONAL_TEST_NVME_BLOCK$suffix=/dev/$drive"
                ;;
            plain-*) export "ZONAL_TEST_CONVENTIONAL$suffix=/dev/$drive" ;;
        esac
    done
    [ -z "$null_blk" ] || export "ZONAL_TEST_NULL_BLK=/dev/$(wait_for zoned_drive null)"
    [ -z "$smr" ] || export "ZONAL_TEST_SMR=/dev/$(wait_for zoned_drive sd)"
}

# wait_for FINDER ARGUMENT: what the finder prints, as soon as it prints something.
wait_for() {
    tries=0
    until found=$("$@") && [ -n "$found" ]; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { ls /sys/block >&2; echo "no drive: $*" >&2; leave 123; }
        usleep 50000
    done
    echo "$found"
}

# nvme_drive SERIAL
nvme_drive() {
    for drive in /sys/block/nvme*; do
        # Padded with blanks to the length of its field.
        [ "$(tr -d ' ' 2> /dev/null < "$drive/device/serial")" = "$1" ] || continue
        name=${drive##*/}
        [ -e "/dev/$name" ] && [ -e "/dev/ng${name#nvme}" ] && echo "$name"
        return
    done
}

# zoned_drive PREFIX
zoned_drive() {
    for drive in /sys/block/"$1"*; do
        [ "$(cat "$drive/queue/zoned" 2> /dev/null)" = host-managed ] && [ -e "/dev/${drive##*/}" ] && echo "${drive##*/}"
    done
}

main
