#!/bin/sh
# Build what the guest tests boot: build.sh DIRECTORY
#
# Leaves initramfs.gz and ptrace_shim.so there, unless they are newer than all they are made of.
# Exit status 77 means that something is missing here, and says what.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
cc=${GUEST_CC:-cc}

skip() {
    echo "$*"
    exit 77
}

command -v linux.uml >/dev/null || skip "linux.uml is missing (package user-mode-linux)"
busybox=$(command -v busybox) || skip "busybox is missing (package busybox-static)"
! LC_ALL=C ldd "$busybox" >/dev/null 2>&1 || skip "busybox is not static (package busybox-static)"
command -v "$cc" >/dev/null || skip "$cc is missing"
module=
for m in /usr/lib/uml/modules/*/kernel/drivers/virtio/virtio_balloon.ko; do
    [ ! -f "$m" ] || module=$m
done
[ -n "$module" ] || skip "virtio_balloon.ko is missing (package user-mode-linux)"

fresh=yes
for source in "$here"/* "$busybox" "$module"; do
    [ "$out/initramfs.gz" -nt "$source" ] && [ "$out/ptrace_shim.so" -nt "$source" ] || fresh=no
done
[ $fresh = no ] || exit 0

# Several tests may get here at once: each builds for itself, and the last one wins.
mkdir -p "$out"
root=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/image/bin"
cp "$busybox" "$root/image/bin/busybox"
cp "$module" "$root/image/virtio_balloon.ko"
cp "$here/init" "$root/image/init"
chmod 755 "$root/image/init"
"$cc" -std=gnu11 -O2 -Wall -static -o "$root/image/bin/memwork" "$here/memwork.c" ||
    skip "cannot link static programs (package libc6-dev)"
(cd "$root/image" && find . | "$busybox" cpio -o -H newc 2>/dev/null) | gzip -1 >"$root/initramfs.gz"
"$cc" -std=gnu11 -D_GNU_SOURCE -O2 -Wall -fPIC -shared -o "$root/ptrace_shim.so" "$here/ptrace_shim.c"
mv "$root/ptrace_shim.so" "$root/initramfs.gz" "$out"
