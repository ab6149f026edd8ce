#!/bin/sh
# Boots a virtual machine with zoned drives, runs a command in it, and exits with the command's status.
#
#   boot.sh [OPTIONS] COMMAND [ARGUMENTS...]
#
#   --kernel 6.1|6.12|zloop  which Linux [6.1]
#   --nvme SETTINGS       adds a ZNS drive; SETTINGS is `default` or a comma-separated list of those in nvme_drive below
#   --plain MIB           adds an NVMe drive without zones, of so many MiB
#   --null-blk SETTINGS   one null_blk drive; `default` or the names in /sys/kernel/config/nullb/NAME, each with =VALUE
#   --smr SETTINGS        one SMR disk (scsi_debug); `default` or that module's parameters
#   --zloop SETTINGS      one zloop drive, in files in the machine's memory; `default` or what that driver takes, with
#                         commas between. On the kernel zloop only
#   --file PATH           a program, script or other file that the command needs; may be given again. The libraries that
#                         a program is linked with come along
#   --share FOLDER        where files go in and come out [a temporary folder]
#   --set NAME=VALUE      an environment variable for the command
#   --append WORDS        more for the kernel's command line
#   --survive-reboots     a reboot inside the machine starts the command anew, and drives keep their zones; without, it ends
#                         the machine
#   --timeout SECONDS     for the whole run [300]
#   --log FILE            where the machine's console goes [target/zns/console]
#
# COMMAND is a program of the guest's busybox, or the file name of a PATH. It runs in the shared folder as root, and is
# told its drives by the environment: ZONAL_TEST_NVME (/dev/ngXnY of the first ZNS drive, _2 appended for the second ...),
# ZONAL_TEST_NVME_BLOCK (the same drive as /dev/nvmeXnY), ZONAL_TEST_CONVENTIONAL, ZONAL_TEST_NULL_BLK, ZONAL_TEST_SMR,
# ZONAL_TEST_ZLOOP; ZONAL_TEST_NULL_BLK_SWITCHES is the configfs folder of the null_blk drive. What it prints goes to
# standard output.
#
# Drives are blank at the start: the zones' states of an emulated NVMe drive live as long as its QEMU process.
#
# Exit status: the command's; 124 out of time, 125 the machine died four times without a word, 126 it could not be started;
# 119 to 123 are init.sh's: no zloop drive, no shared folder, no null_blk drive, no SMR disk, a drive that never turned up.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${CARGO_TARGET_DIR:-$(cd "$here/../../.." && pwd)/target}/zns

# Conventional zones, capacity below size, few active zones: what drives of the kind have.
null_blk_default="zoned=1 size=256 blocksize=4096 zone_size=4 zone_capacity=3 zone_nr_conv=2 zone_max_open=8 \
zone_max_active=12 memory_backed=1"
smr_default="zbc=host-managed dev_size_mb=256 sector_size=4096 zone_size_mb=4 zone_cap_mb=3 zone_nr_conv=2 \
zone_max_open=8 delay=0"
zloop_default="capacity_mb=256,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2,max_open_zones=8"

kernel=6.1 share='' log='' append='' timeout=300 reboots=-no-reboot
null_blk='' smr='' zloop='' serials='' drives='' zoned_count=0 plain_count=0

main() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT TERM
    : > "$scratch/environment"
    : > "$scratch/files"
    read_options "$@"
    shift "$options_read"
    [ $# -gt 0 ] || usage "no command"
    "$here/setup.sh" "$kernel" || exit 126
    fill_share "$@"
    # A machine under emulation hangs or dies at times before anything of ours has run, and may do so twice in a row; what is
    # ours dies each time.
    for attempt in 1 2 3 4; do
        status=0
        run_machine || status=$?
        [ "$status" = 125 ] || break
        echo "boot.sh: the machine died without a word, attempt $attempt of 4. Its console: $log.$attempt" >&2
        [ ! -e "$log" ] || cp "$log" "$log.$attempt"
    done
    exit "$status"
}

usage() {
    echo "boot.sh: $1; the options are at the head of $0" >&2
    exit 126
}

read_options() {
    options_read=0
    while [ $# -gt 0 ]; do
        case $1 in
            --survive-reboots)
                reboots=''
                shift
                options_read=$((options_read + 1))
                continue
                ;;
            --*) [ $# -gt 1 ] || usage "$1 wants a value" ;;
            *) return ;;
        esac
        case $1 in
            --kernel) kernel=$2 ;;
            --nvme) nvme_drive "$2" ;;
            --plain) plain_drive "$2" ;;
            --null-blk) if [ "$2" = default ]; then null_blk=$null_blk_default; else null_blk=$2; fi ;;
            --smr) if [ "$2" = default ]; then smr=$smr_default; else smr=$2; fi ;;
            --zloop) if [ "$2" = default ]; then zloop=$zloop_default; else zloop=$2; fi ;;
            --file) echo "$2" >> "$scratch/files" ;;
            --share) share=$2 ;;
            --set) printf "export %s=%s\n" "${2%%=*}" "$(quoted "${2#*=}")" >> "$scratch/environment" ;;
            --append) append=$2 ;;
            --timeout) timeout=$2 ;;
            --log) log=$2 ;;
            *) usage "unknown option $1" ;;
        esac
        shift 2
        options_read=$((options_read + 2))
    done
}

# nvme_drive SETTINGS: a ZNS drive. Sizes are in MiB or QEMU's notation; zasl is the power of two of 4 KiB that one
# append may have; errors is a file of rules for QEMU's blkdebug.
nvme_drive() {
    size=256M zone_size=4M zone_capacity=3M max_open=8 max_active=12 zasl=5 block=4096 errors=''
    if [ "$1" != default ]; then
        for setting in $(echo "$1" | tr , ' '); do
            case ${setting%%=*} in
                size | zone_size | zone_capacity | max_open | max_active | zasl | block | errors)
                    eval "${setting%%=*}=\${setting#*=}"
                    ;;
                *) usage "unknown setting $setting of --nvme" ;;
            esac
        done
    fi
    zoned_count=$((zoned_count + 1))
    image "zoned-$zoned_count" "$size" "$errors"
    drives="$drives -device nvme,id=$name,serial=$name,zoned.zasl=$zasl"
    drives="$drives -device nvme-ns,bus=$name,drive=$name-image,logical_block_size=$block,physical_block_size=$block"
    drives="$drives,zoned=true,zoned.zone_size=$zone_size,zoned.zone_capacity=$zone_capacity"
    drives="$drives,zoned.max_open=$max_open,zoned.max_active=$max_active"
}

# plain_drive MIB
plain_drive() {
    plain_count=$((plain_count + 1))
    image "plain-$plain_count" "${1}M" ''
    drives="$drives -device nvme,id=$name,serial=$name"
    drives="$drives -device nvme-ns,bus=$name,drive=$name-image,logical_block_size=4096,physical_block_size=4096"
}

# image NAME SIZE ERRORS: what a drive is made of. The host's disk need not take part: nothing outlives QEMU.
image() {
    name=$1
    serials="$serials $name"
    truncate -s "$2" "$scratch/$name"
    file=$scratch/$name
    [ -z "$3" ] || file=blkdebug:$3:$file
    drives="$drives -drive id=$name-image,file=$file,format=raw,if=none,cache=unsafe,discard=unmap"
}

quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

# fill_share COMMAND ARGUMENTS...
fill_share() {
    share=${share:-$scratch/share}
    mkdir -p "$share/bin"
    share=$(cd "$share" && pwd)
    log=${log:-$work/console}
    while read -r file; do bring "$file"; done < "$scratch/files"
    printf "null_blk='%s'\nsmr='%s'\nzloop='%s'\nnvme_serials='%s'\n" "$null_blk" "$smr" "$zloop" "$serials" > "$share/machine"
    {
        cat "$scratch/environment"
        printf exec
        for word in "$@"; do printf ' %s' "$(quoted "$word")"; done
        echo
    } > "$share/command"
}

# bring FILE: into the share, and the libraries that it is linked with under the names by which they are looked for.
bring() {
    strip --strip-debug -o "$share/bin/${1##*/}" "$1" 2> /dev/null || cp "$1" "$share/bin/"
    chmod +x "$share/bin/${1##*/}"
    { ldd "$1" 2> /dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$share/libraries${library%/*}"
        cp --dereference "$library" "$share/libraries$library"
    done
}

run_machine() {
    for drive in $serials; do
        # A second try must not find the first one's bytes.
        fallocate --punch-hole --offset 0 --length "$(stat -c %s "$scratch/$drive")" "$scratch/$drive"
    done
    # Emulated drives on a busy host take their time.
    patience="nvme_core.io_timeout=600 nvme_core.admin_timeout=600"
    exit_status=0
    # shellcheck disable=SC2086 # Words on purpose.
    timeout --kill-after=5 "$timeout" nice -n 5 qemu-system-x86_64 \
        -accel tcg,thread=multi -machine q35 -cpu max -smp 2 -m 1G \
        -nodefaults -no-user-config -display none $reboots \
        -chardev "stdio,id=console,signal=off,logfile=$log" -serial chardev:console \
        -device isa-debug-exit,iobase=0xf4,iosize=4 \
        -virtfs "local,id=share,path=$share,mount_tag=share,security_model=none" \
        $drives \
        -kernel "$work/$kernel/vmlinux" -initrd "$work/$kernel/initramfs" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable random.trust_cpu=on $patience $append" \
        < /dev/null || exit_status=$?
    [ $exit_status != 124 ] && [ $exit_status != 137 ] || return 124
    [ $((exit_status % 2)) = 1 ] || return 125
    return $((exit_status / 2))
}

main "$@"
