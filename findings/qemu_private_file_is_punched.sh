#!/bin/bash
# QEMU 10.0.13 (Debian 13): with RAM from a file that is mapped as private (memory-backend-file,
# share=off), ballooning punches holes into the file itself.
#
# Seen: a file of 256 MiB full of 0xff, a guest that writes 100 MiB, then a balloon of 128 MiB:
#     the guest wrote 100 MiB: 0 MiB of the file are zero, 256 MiB are allocated
#     balloon 128: 128 MiB of the file are zero, 128 MiB are allocated
#     QEMU: warning: ram_block_discard_range: Discarding RAM in private file mappings is possibly
#     dangerous, because it will modify the underlying file and will affect other users of the file
# Why it surprises: private means that the file stays as it is, and for all that the guest writes it
# does; docs/system/vm-templating.rst of QEMU says of share=off that modifications stay private. Yet
# what the guest gives back is lost for all that start from the same file. QEMU says so once, in its
# log, when the first page is gone. With readonly=on (the same document) the file is safe and nothing
# is freed.
# shellcheck source=findings/common.bash
. "$(dirname "$0")/common.bash"
[ $# -gt 0 ] || set -- trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1 seabios=1.16.3-2 \
    busybox-static=1:1.37.0-6+b9 linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
packages "$@"

size=$((256 << 20))
tr '\0' '\377' </dev/zero | head -c "$size" >"$work/ram" || true
fallocate -p -o 0 -l 4096 "$work/ram" || cannot_tell "no holes in files of ${TMPDIR:-/tmp}"
tr '\0' '\377' </dev/zero | dd of="$work/ram" bs=4096 count=1 conv=notrunc iflag=fullblock status=none || true
sync "$work/ram"
# MiB of the file that are no more what they were, and MiB that it has on its disk
zero() { echo $(($(tr -d '\377' <"$work/ram" | wc -c) >> 20)); }
allocated() { echo $(($(stat -c '%b * %B' "$work/ram") >> 20)); }

boot -m 256 -machine memory-backend=ram -device virtio-balloon-pci,id=balloon0 \
    -object "memory-backend-file,id=ram,size=$size,mem-path=$work/ram,share=off"
guest 'insmod /virtio_balloon.ko; head -c 100m /dev/zero >/tmp/used; rm /tmp/used'
zero_before=$(zero) allocated_before=$(allocated)
echo "the guest wrote 100 MiB: $zero_before MiB of the file are zero, $allocated_before MiB are allocated"
balloon 128
until_actual 128 || cannot_tell "the guest does not inflate"
zero_after=$(zero) allocated_after=$(allocated)
echo "balloon 128: $zero_after MiB of the file are zero, $allocated_after MiB are allocated"
sed 's/^[^:]*:/QEMU:/' "$work/log"
holds "what the guest writes stays private" test "$zero_before" -eq 0
holds "what it gives back is lost in the file" test "$zero_after" -ge 127
holds "the blocks are gone" test $((allocated_before - allocated_after)) -ge 127
holds "QEMU says so, afterwards" grep -q 'private file mappings' "$work/log"
finish
