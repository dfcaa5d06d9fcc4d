#!/bin/sh
# Build what the guest tests boot: build.sh DIRECTORY [uml|qemu]
#
# For user-mode Linux it leaves initramfs.gz and ptrace_shim.so there, for QEMU qemu.gz,
# count_discards.so and qemu.kernel, unless they are newer than all they are made of. Exit status 77 means that something is missing
# here, and says what.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
kind=${2:-uml}
cc=${GUEST_CC:-cc}

skip() {
    echo "$*"
    exit 77
}

newest() {
    ls -d "$@" 2>/dev/null | sort -V | tail -n 1
}

# Where the modules of a kernel are: beside its file, or where Debian puts those of /boot/vmlinuz-*.
modules_of() {
    for m in "${1%/*}" "${1%/boot/*}/lib/modules/${1##*/vmlinuz-}" \
        "${1%/boot/*}/usr/lib/modules/${1##*/vmlinuz-}"; do
        [ ! -d "$m/kernel" ] || { echo "$m"; return; }
    done
}

busybox=$(command -v busybox) || skip "busybox is missing (package busybox-static)"
! LC_ALL=C ldd "$busybox" >/dev/null 2>&1 || skip "busybox is not static (package busybox-static)"
command -v "$cc" >/dev/null || skip "$cc is missing"
case $kind in
uml)
    command -v linux.uml >/dev/null || skip "linux.uml is missing (package user-mode-linux)"
    modules=$(newest /usr/lib/uml/modules/*)
    names=virtio_balloon
    made="initramfs.gz ptrace_shim.so"
    ;;
qemu)
    kernel=${BALLOON_KERNEL:-$(newest /boot/vmlinuz-*)}
    kernel=${kernel:-$(newest /lib/modules/*/vmlinuz)}
    unpacked=$(cd "$here/../../.." && pwd)/build/kernel
    kernel=${kernel:-$(newest "$unpacked"/boot/vmlinuz-* "$unpacked"/usr/lib/modules/*/vmlinuz)}
    [ -r "$kernel" ] || skip "no kernel for QEMU (make deps unpacks one; or BALLOON_KERNEL)"
    modules=$(modules_of "$kernel")
    # Those that are built in are not there.
    names="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk virtio_balloon"
    made="qemu.gz count_discards.so qemu.kernel"
    ;;
esac
[ -n "$modules" ] || skip "no modules of the kernel"
files=
for name in $names; do
    files="$files $(find "$modules/kernel/drivers" -name "$name.ko*")"
done
case $files in
*/virtio_balloon.ko*) ;;
*) skip "virtio_balloon.ko is missing in $modules" ;;
esac

fresh=yes
for source in "$here"/* "$busybox" $files; do
    for m in $made; do
        [ $m = qemu.kernel ] || [ "$out/$m" -nt "$source" ] || fresh=no
    done
done
[ $kind = uml ] || [ "$(readlink "$out/qemu.kernel")" = "$kernel" ] || fresh=no
[ $fresh = no ] || exit 0

# Several tests may get here at once: each builds for itself, and the last one wins.
mkdir -p "$out"
root=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$root"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$root/image/bin" "$root/image/modules"
cp "$busybox" "$root/image/bin/busybox"
number=0
for file in $files; do
    name=${file##*/}
    to=$root/image/modules/$number-${name%.ko*}.ko
    number=$((number + 1))
    case $file in
    *.xz) xz -dc "$file" >"$to" || skip "xz is missing (package xz-utils)" ;;
    *.zst) zstd -dcq "$file" >"$to" || skip "zstd is missing (package zstd)" ;;
    *) cp "$file" "$to" ;;
    esac
done
mv "$to" "$root/image/virtio_balloon.ko"
cp "$here/init" "$root/image/init"
chmod 755 "$root/image/init"
for program in memwork pace; do
    "$cc" -std=gnu11 -O2 -Wall -static -o "$root/image/bin/$program" "$here/$program.c" ||
        skip "cannot link static programs (package libc6-dev)"
done
(cd "$root/image" && find . | "$busybox" cpio -o -H newc 2>/dev/null) | gzip -1 >"$root/${made%% *}"
shim=ptrace_shim
if [ $kind = qemu ]; then
    shim=count_discards
    ln -s "$kernel" "$root/qemu.kernel"
fi
"$cc" -std=gnu11 -D_GNU_SOURCE -O2 -Wall -fPIC -shared -o "$root/$shim.so" "$here/$shim.c"
for m in $made; do
    mv "$root/$m" "$out"
done
