#!/bin/bash
# QEMU 10.0.13 and Linux 6.12.117 (Debian 13): what a guest takes out of its balloon because it is out
# of memory (deflate-on-oom=on) never goes back, until the host gives its next balloon command.
#
# Seen: target 128 MiB of 256; 100 MiB are written and removed in the guest:
#     balloon 128: actual 128 MiB, 62 MiB available in the guest
#     100 MiB written and removed: actual 170 MiB; 20 s later: 170 MiB, 105 MiB available
#     balloon 128 once more: actual 128 MiB
# Why it surprises: QEMU still tells the guest the target of 128 MiB, and VIRTIO 1.3, 5.5.6.1 says that
# the driver SHOULD supply pages when num_pages is greater than the size of its balloon; only the need
# itself MAY be served from it. Linux looks at the target only when it is told that the configuration
# changed, so a host that waits waits for ever, and one that sends what it sent before gets all of it.
# shellcheck source=findings/common.bash
. "$(dirname "$0")/common.bash"
[ $# -gt 0 ] || set -- trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1 seabios=1.16.3-2 \
    busybox-static=1:1.37.0-6+b9 linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
packages "$@"

boot -m 256 -device virtio-balloon-pci,id=balloon0,deflate-on-oom=on
guest 'insmod /virtio_balloon.ko'
balloon 128
until_actual 128 || cannot_tell "the guest does not inflate"
echo "balloon 128: actual $(actual) MiB, $(meminfo MemAvailable) MiB available in the guest"

guest 'head -c 100m /dev/zero >/tmp/want && rm /tmp/want' || cannot_tell "no memory in the guest"
after=$(actual)
sleep 20
later=$(actual) available=$(meminfo MemAvailable)
echo "100 MiB written and removed: actual $after MiB; 20 s later: $later MiB, $available MiB available"
holds "a guest in need takes memory out of its balloon" test "$after" -gt 130
holds "it does not put it back" test "$later" -eq "$after"
holds "it has more than enough to do so" test "$available" -gt $((later - 128 + 20))

balloon 128
until_actual 128 || true
echo "balloon 128 once more: actual $(actual) MiB"
holds "the same command again makes it" test "$(actual)" -eq 128
finish
