#!/bin/sh
# Prepares a Linux kernel and its first file system for boot.sh, once: setup.sh 6.1|6.12 [TOOL...]
#
# Leaves `vmlinux` and `initramfs` in target/zns/KERNEL of the working tree. Only the tools (QEMU and the like) are
# installed in the system, and only where they are missing; TOOLs are further ones, by the name of command and package. Kernels come out of Debian's packages, which are downloaded
# and unpacked but never installed; apt's own state and sources are not touched, so this works on Debian releases that
# do not carry the wanted kernel as well.
# Exit status: 0 ready, 2 wrong usage, 3 impossible here.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../../.." && pwd)
work=${CARGO_TARGET_DIR:-$tree/target}/zns
mirror=${ZONAL_DEBIAN_MIRROR:-http://deb.debian.org/debian}

# What init.sh loads, and what a device in a test may need.
modules="nvme null_blk scsi_debug sd_mod virtio_pci 9p 9pnet_virtio loop zonefs dm_mod"

main() {
    case ${1:-} in
        6.1) suite=bookworm ;;
        6.12) suite=bookworm-backports ;;
        *)
            echo "usage: $0 6.1|6.12 [TOOL...]" >&2
            exit 2
            ;;
    esac
    place=$work/$1
    shift
    install_tools "$@"
    prepare
}

say() { printf 'zns set-up: %s\n' "$*" >&2; }

give_up() {
    say "$*"
    say "Tests on zoned drives need an x86-64 Debian machine with QEMU. To leave them out: ZONAL_SKIP_ZNS=1"
    exit 3
}

prepare() {
    mkdir -p "$place"
    exec 9> "$place/lock"
    flock 9
    recipe=$(cat "$0" "$here/init.sh" "$here/drives.sh" | cksum)
    if [ "$(cat "$place/recipe" 2> /dev/null)" = "$recipe" ]; then return; fi
    rm -rf "$place/recipe" "$place/unpacked"
    [ -f "$place/kernel.deb" ] || download_kernel
    say "unpacking the kernel"
    dpkg-deb -x "$place/kernel.deb" "$place/unpacked"
    extract_vmlinux "$place"/unpacked/boot/vmlinuz-* > "$place/vmlinux"
    build_initramfs "$place/unpacked" > "$place/initramfs"
    rm -rf "$place/unpacked"
    echo "$recipe" > "$place/recipe"
    say "ready: $place"
}

install_tools() {
    missing=
    while read -r tool package; do
        [ -z "$tool" ] || PATH=$PATH:/usr/sbin:/sbin command -v "$tool" > /dev/null || missing="$missing $package"
    done << END
qemu-system-x86_64 qemu-system-x86
busybox busybox-static
cpio cpio
modprobe kmod
xz xz-utils
zstd zstd
$(for tool; do echo "$tool $tool"; done)
END
    # A busybox that needs libraries does not run in the machine.
    if [ -z "$missing" ] && ! is_static "$(command -v busybox)"; then missing=busybox-static; fi
    [ -n "$missing" ] || return 0
    [ "$(uname -m)" = x86_64 ] || give_up "this machine is not x86-64"
    command -v apt-get > /dev/null || give_up "missing and not to be had without apt-get:$missing"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null || give_up "only root may install what is missing:$missing"
        as_root=sudo
    fi
    say "installing$missing"
    # shellcheck disable=SC2086 # Words on purpose.
    { $as_root apt-get update -qq && $as_root apt-get install -qq --yes --no-install-recommends $missing; } >&2 \
        || give_up "apt-get could not install$missing"
}

is_static() { ! ldd "$1" > /dev/null 2>&1; }

# An apt of our own, with the suite as its only source: apt get|cache ARGUMENTS...
apt() {
    tool=apt-$1
    shift
    state=$work/apt/$suite
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/no-parts"
    echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
        > "$state/sources.list"
    "$tool" -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts="$state/no-parts" \
        -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" -o APT::Architecture=amd64 \
        -o APT::Sandbox::User= "$@"
}

# The package that linux-image-amd64 stands for in the suite, as $place/kernel.deb.
download_kernel() {
    say "looking for a kernel in $suite at $mirror"
    apt get update -qq >&2 || give_up "no package lists from $mirror"
    package=$(apt cache depends --important linux-image-amd64 | sed -n 's/.*Depends: //p' | head -n 1)
    [ -n "$package" ] || give_up "$suite has no linux-image-amd64"
    say "downloading $package"
    (cd "$place" && apt get download -qq "$package" >&2) || give_up "$package did not come"
    mv "$place/$package"_*.deb "$place/kernel.deb"
    rm -rf "$state"
}

# QEMU starts an ELF kernel directly, which spares the emulated processor the unpacking: seconds at each boot.
# The places come from the boot protocol (Documentation/arch/x86/boot.rst): setup_sects, payload_offset, payload_length.
# The payload's last four bytes are its unpacked length, which is not part of the compressed stream.
extract_vmlinux() {
    setup_sectors=$(number_at "$1" 497 1)
    [ "$setup_sectors" != 0 ] || setup_sectors=4
    offset=$(((setup_sectors + 1) * 512 + $(number_at "$1" 584 4)))
    length=$(number_at "$1" 588 4)
    case $(number_at "$1" "$offset" 4) in
        4247762216) unpack="zstd --decompress --stdout --quiet" ;;
        *) unpack="xz --decompress --stdout --single-stream" ;;
    esac
    tail -c "+$((offset + 1))" "$1" | head -c "$((length - 4))" | $unpack
}

# number_at FILE OFFSET BYTES
number_at() { od -A n -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '; }

# build_initramfs UNPACKED: busybox, the modules with what they depend on, and init.
build_initramfs() {
    release=$(ls "$1/lib/modules")
    depmod=$(PATH=$PATH:/usr/sbin:/sbin command -v depmod)
    modprobe=$(PATH=$PATH:/usr/sbin:/sbin command -v modprobe)
    "$depmod" --basedir "$1" "$release"
    root=$1/initramfs
    mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/share"
    cp "$(command -v busybox)" "$root/bin/busybox"
    install -m 755 "$here/init.sh" "$root/init"
    cp "$here/drives.sh" "$root/drives.sh"
    for module in $modules; do
        "$modprobe" --dirname "$1" --set-version "$release" --show-depends "$module"
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r file; do
        inside=$root/lib/modules/$release/${file#*"/modules/$release/"}
        mkdir -p "$(dirname "$inside")"
        case $file in
            *.xz) xz --decompress --stdout "$file" > "${inside%.xz}" ;;
            *) cp "$file" "$inside" ;;
        esac
    done
    cp "$1/lib/modules/$release"/modules.builtin* "$1/lib/modules/$release/modules.order" "$root/lib/modules/$release"
    "$depmod" --basedir "$root" "$release"
    (cd "$root" && find . | cpio --create --format newc --quiet)
}

main "$@"
