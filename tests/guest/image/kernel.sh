#!/bin/sh
# Have a kernel for guests in QEMU: kernel.sh DIRECTORY
#
# Where none is in /boot, as in a container, Debian's for virtual machines is unpacked into the
# directory. Nothing is installed by that, and this machine boots as before.
set -eu
out=$1
meta=linux-image-cloud-amd64

ls /boot/vmlinuz-* "$out"/boot/vmlinuz-* "$out"/usr/lib/modules/*/vmlinuz >/dev/null 2>&1 && exit 0
[ "$(uname -m)" = x86_64 ] || exit 0
package=$(apt-cache depends $meta 2>/dev/null | sed -n 's/.*Depends: \(linux-[a-z]*-[0-9].*\)$/\1/p' |
    head -n 1)
mkdir -p "$out"
if [ -z "$package" ] || ! (cd "$out" && apt-get download -qq "$package" 2>/dev/null); then
    echo "Left out, so demo-qemu will skip: a kernel ($meta)"
    exit 0
fi
# In newer suites a package of the files stands behind that of the name.
binary=$(apt-cache depends "$package" | sed -n 's/.*Depends: \(linux-binary-[0-9].*\)$/\1/p' | head -n 1)
[ -z "$binary" ] || (cd "$out" && apt-get download -qq "$binary" 2>/dev/null)
modules=$(apt-cache depends "$package" | sed -n 's/.*Depends: \(linux-modules-[0-9].*\)$/\1/p' | head -n 1)
[ -z "$modules" ] || (cd "$out" && apt-get download -qq "$modules" 2>/dev/null)
for deb in "$out"/*.deb; do
    dpkg -x "$deb" "$out"
    rm "$deb"
done
