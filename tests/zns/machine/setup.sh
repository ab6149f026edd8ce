#!/bin/sh
# Prepares a Linux kernel and its first file system for boot.sh, once: setup.sh 6.1|6.12|zloop [TOOL...]
#
# `zloop` is the newest kernel of Debian's backports, with the driver of that name, which Debian leaves out.
#
# Leaves `vmlinux`, `initramfs` and the kernel's `release` in target/zns/KERNEL of the working tree. Only the tools (QEMU
# and the like) are installed in the system, and only where they are missing; TOOLs are further ones,
# COMMAND or COMMAND:PACKAGE. Kernels come out of Debian's packages, which are downloaded and unpacked but never installed; apt's
# own state and sources are not touched, so this works on Debian releases that do not carry the wanted kernel as well.
# Exit status: 0 ready, 2 wrong usage, 3 impossible here.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../../.." && pwd)
work=${CARGO_TARGET_DIR:-$tree/target}/zns
mirror=${ZONAL_DEBIAN_MIRROR:-http://deb.debian.org/debian}

# What init.sh loads, and what a device in a test may need.
modules="nvme null_blk scsi_debug sd_mod virtio_pci 9p 9pnet_virtio loop zonefs dm_mod"

# shellcheck source=tests/zns/machine/zloop.sh
. "$here/zloop.sh"

main() {
    zloop=no
    case ${1:-} in
        6.1) suite=bookworm ;;
        6.12) suite=bookworm-backports ;;
        zloop) suite=trixie-backports zloop=yes modules="$modules zloop ext4" ;;
        *)
            echo "usage: $0 6.1|6.12|zloop [TOOL...]" >&2
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
    recipe=$(cat "$0" "$here/init.sh" "$here/drives.sh" "$here/zloop.sh" | cksum)
    if [ "$(cat "$place/recipe" 2> /dev/null)" = "$recipe" ]; then return; fi
    rm -rf "$place/recipe" "$place/unpacked" "$place/apt"
    [ -d "$place/packages" ] || download_kernel
    say "unpacking the kernel"
    for package in "$place"/packages/*.deb; do unpack "$package" "$place/unpacked"; done
    # Where newer packages have them.
    [ -d "$place/unpacked/lib" ] || ln -s usr/lib "$place/unpacked/lib"
    release=$(ls "$place/unpacked/lib/modules")
    if [ $zloop = yes ]; then add_zloop "$place/unpacked"; fi
    extract_vmlinux "$(find "$place/unpacked/" -name 'vmlinuz*')" > "$place/vmlinux"
    build_initramfs "$place/unpacked" > "$place/initramfs"
    echo "$release" > "$place/release"
    rm -rf "$place/unpacked" "$place/apt"
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
$(for tool; do echo "${tool%:*} ${tool#*:}"; done)
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

# An apt of our own, for a machine with nothing on it, with $suites as its only sources: apt get|cache ARGUMENTS...
apt() {
    tool=apt-$1
    shift
    state=$place/apt
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/no-parts"
    : > "$state/status"
    for entry in $suites; do
        echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $entry main"
    done > "$state/sources.list"
    "$tool" -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts="$state/no-parts" \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts="$state/no-parts" \
        -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
        -o APT::Architecture=amd64 -o APT::Sandbox::User= -o Debug::NoLocking=true "$@"
}

# The packages of what linux-image-amd64 stands for in the suite, into $place/packages. Newer ones put the kernel and its
# modules into packages of their own, whose names end like that of the one that wants them.
download_kernel() {
    say "looking for a kernel in $suite at $mirror"
    suites=$suite
    apt get update -qq >&2 || give_up "no package lists from $mirror"
    image=$(dependencies linux-image-amd64 | grep '^linux-image-[0-9]' | head -n 1)
    [ -n "$image" ] || give_up "$suite has no linux-image-amd64"
    parts=$(dependencies "$image" | grep "^linux-.*-${image#linux-image-}\$" || true)
    rm -rf "$place/downloads"
    mkdir "$place/downloads"
    for package in $image $parts; do
        say "downloading $package"
        (cd "$place/downloads" && apt get download -qq "$package" >&2) || give_up "$package did not come"
    done
    mv "$place/downloads" "$place/packages"
}

# dependencies PACKAGE: what it depends on, a line each.
dependencies() { apt cache depends --important "$1" | sed -n 's/.*Depends: //p'; }

# unpack PACKAGE FOLDER
unpack() {
    mkdir -p "$2"
    dpkg-deb --fsys-tarfile "$1" | tar --extract --no-same-owner --directory "$2"
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
