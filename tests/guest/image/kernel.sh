#!/bin/sh
# Have a kernel for guests in QEMU: kernel.sh DIRECTORY
#
# Where none is in /boot, as in a container, Debian's for virtual machines is unpacked into the
# directory. Nothing is installed by that, and this machine boots as before.
set -eu
out=$1
meta=linux-image-cloud-amd64

for kernel in /boot/vmlinuz-* "$out"/boot/vmlinuz-* "$out"/usr/lib/modules/*/vmlinuz; do
    [ ! -e "$kernel" ] || exit 0
done
[ "$(uname -m)" = x86_64 ] || exit 0

# fetch PACKAGE: into the directory; what cannot be had is left out.
fetch() {
    (cd "$out" && apt-get download -qq "$1" 2>/dev/null) ||
        echo "Left out, so demo-qemu will skip: a kernel ($1)"
}

# needs PACKAGE PATTERN: the first package that it depends on and that is named so.
needs() {
    apt-cache depends "$1" 2>/dev/null | sed -n "s/.*Depends: \($2[0-9].*\)\$/\1/p" | head -n 1
}

package=$(needs $meta 'linux-[a-z]*-')
mkdir -p "$out"
[ -n "$package" ] || package=$meta
fetch "$package"
# In newer suites packages of the files stand behind that of the name.
for part in 'linux-binary-' 'linux-modules-'; do
    behind=$(needs "$package" "$part")
    [ -z "$behind" ] || fetch "$behind"
done
for deb in "$out"/*.deb; do
    [ -e "$deb" ] || continue
    dpkg -x "$deb" "$out"
    rm "$deb"
done
