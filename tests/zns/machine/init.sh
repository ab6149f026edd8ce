#!/bin/busybox sh
# shellcheck shell=dash disable=SC2154
#
# The first program of the virtual machine: makes the drives that boot.sh asked for, runs the command that boot.sh left
# in the shared folder, and ends the machine with the command's exit status.

# How drives are found.
# shellcheck source=tests/zns/machine/drives.sh
. /drives.sh

main() {
    start_system
    # What the machine has: null_blk, smr, zloop, nvme_serials.
    # shellcheck disable=SC1091
    . /share/machine
    make_null_blk
    make_smr
    make_zloop
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

make_zloop() {
    # Jobs make such drives as well, of their own.
    modprobe -q zloop || [ -z "$zloop" ] || leave 119
    [ -n "$zloop" ] || return
    mkdir /zloop
    mount -t tmpfs zloop /zloop
    add_zloop 0 /zloop "$zloop" || leave 119
}

main
