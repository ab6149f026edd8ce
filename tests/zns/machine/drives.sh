# shellcheck shell=dash disable=SC2154
#
# Finds the drives of the virtual machine and names them to programs, and makes those in files. For init.sh, and for jobs that
# make drives or remove them and have them come back; /share/machine says what there is to find: null_blk, smr, zloop,
# nvme_serials.
#
# Drives are found by what they say of themselves. The kernel's names follow the order in which drives turned up.

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
    [ -z "$zloop" ] || export "ZONAL_TEST_ZLOOP=/dev/$(wait_for zoned_drive zloop)"
}

# add_zloop NUMBER FOLDER SETTINGS: the drive whose zones are files in FOLDER/NUMBER, new or as it was left.
add_zloop() {
    mkdir -p "$2/$1"
    echo "add id=$1,base_dir=$2,$3" > /dev/zloop-control
}

# mount_ext4 DRIVE FOLDER: for add_zloop, with what the drive holds.
mount_ext4() {
    modprobe ext4
    mkdir -p "$2"
    mount -t ext4 "$1" "$2"
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

# nvme_drive SERIAL: the name of its block device, which is hidden where the kernel cannot use the drive.
nvme_drive() {
    for drive in /sys/class/nvme-generic/ng*; do
        # Padded with blanks to the length of its field.
        [ "$(tr -d ' ' 2> /dev/null < "$drive/device/serial")" = "$1" ] || continue
        generic=${drive##*/}
        name=nvme${generic#ng}
        [ -e "/dev/$generic" ] || return
        if [ -e "/dev/$name" ] || [ "$(cat "/sys/block/$name/hidden" 2> /dev/null)" = 1 ]; then echo "$name"; fi
        return
    done
}

# zoned_drive PREFIX
zoned_drive() {
    for drive in /sys/block/"$1"*; do
        [ "$(cat "$drive/queue/zoned" 2> /dev/null)" = host-managed ] && [ -e "/dev/${drive##*/}" ] && echo "${drive##*/}"
    done
}
