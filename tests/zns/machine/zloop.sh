# shellcheck shell=dash disable=SC2154,SC2034
#
# The driver zloop for setup.sh. Debian's kernels leave it out (CONFIG_BLK_DEV_ZONED_LOOP), so it is built as a module: out of
# Debian's source of the same kernel, with the compiler and the headers that Debian has for it. These are not installed but
# unpacked into a folder, which is the root of the file system for the build alone.

# add_zloop UNPACKED: puts the driver among the modules of an unpacked kernel that has it not.
add_zloop() {
    [ -z "$(find "$1/lib/modules/" -name 'zloop.ko*')" ] || return 0
    driver=$place/zloop-$release.ko
    [ -f "$driver" ] || build_zloop
    install -D -m 644 "$driver" "$1/lib/modules/$release/updates/zloop.ko"
}

# Leaves $driver. Some 270 MB are downloaded for it, and 1.2 GB needed while it is built.
build_zloop() {
    workshop=$place/workshop
    rm -rf "$workshop"
    download_workshop
    say "unpacking what zloop is built with"
    for package in "$place"/apt/cache/archives/*.deb; do unpack "$package" "$workshop"; done
    prepare_source
    say "building zloop for Linux $release"
    in_workshop make -C "/usr/src/linux-headers-$release" M=/zloop modules >&2 || give_up "zloop cannot be built"
    mv "$workshop/zloop/zloop.ko" "$driver"
    rm -rf "$workshop" "$place/apt"
}

# A small Debian with make, the kernel's headers, which want its compiler, and its source.
download_workshop() {
    version=$(dpkg-deb --field "$place/packages/linux-image-$release"_*.deb Version)
    say "downloading headers, compiler and source of Linux $version"
    suites="${suite%-backports} $suite"
    apt get update -qq >&2 || give_up "no package lists from $mirror"
    # The package is named after the series.
    source=$(apt cache show "linux-source=$version" | sed -n 's/^Depends: \(linux-source-[^ ]*\).*/\1/p')
    [ -n "$source" ] || give_up "$suite has no source of Linux $version"
    apt get install -qq --yes --download-only --no-install-recommends '?essential' make \
        "linux-headers-$release=$version" "$source=$version" >&2 || give_up "what zloop is built with did not come"
}

# The driver's source by itself in /zloop.
prepare_source() {
    mkdir "$workshop/zloop"
    tar --extract --xz --file "$workshop/usr/src/$source.tar.xz" --directory "$workshop/zloop" --strip-components=3 \
        "$source/drivers/block/zloop.c" || give_up "$source has no zloop"
    echo 'obj-m := zloop.o' > "$workshop/zloop/Makefile"
    # What installing the package would do.
    [ -e "$workshop/usr/bin/awk" ] || ln -s mawk "$workshop/usr/bin/awk"
}

# in_workshop COMMAND...: the command with the workshop as its whole file system, but for /dev and /proc. Without privileges
# this takes the user namespaces that Linux has for everybody unless somebody switched them off.
in_workshop() {
    alone="--mount"
    [ "$(id -u)" = 0 ] || alone="$alone --map-root-user"
    # shellcheck disable=SC2016,SC2086 # The inner shell's variables, and words on purpose.
    unshare $alone sh -c '
        mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" && export PATH=/usr/bin:/usr/sbin \
            && exec chroot "$0" "$@"
    ' "$workshop" "$@"
}
