#!/bin/bash
# QEMU 10.0.13 (Debian 13): after system_reset, query-balloon goes on with the size that the guest had
# before, although the device was reset, its pages are back and the guest uses all its memory.
#
# Seen: a guest of 256 MiB with a balloon of 128 MiB is reset and does not load the driver:
#     balloon 128: actual 128 MiB, 62 MiB available in the guest
#     after system_reset: actual 128 MiB, 189 MiB available in the guest
#     150 MiB in use in the guest: actual 128 MiB
# Why it surprises: qapi/machine.json defines actual as the RAM less the balloon, and no guest holds a
# balloon after a reset. Who adds up the guests of a host by it counts memory as free that is in use:
# for the time of a boot, and for ever when the next kernel has no balloon driver.
# shellcheck source=findings/common.bash
. "$(dirname "$0")/common.bash"
[ $# -gt 0 ] || set -- trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1 seabios=1.16.3-2 \
    busybox-static=1:1.37.0-6+b9 linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
packages "$@"

boot -m 256 -device virtio-balloon-pci,id=balloon0
guest 'insmod /virtio_balloon.ko'
balloon 128
until_actual 128 || cannot_tell "the guest does not inflate"
echo "balloon 128: actual $(actual) MiB, $(meminfo MemAvailable) MiB available in the guest"

qmp '{"execute": "system_reset"}' >/dev/null
ready
reset=$(actual) available=$(meminfo MemAvailable)
echo "after system_reset: actual $reset MiB, $available MiB available in the guest"
guest 'head -c 150m /dev/zero >/tmp/used' || cannot_tell "no memory in the guest"
used=$(actual)
echo "150 MiB in use in the guest: actual $used MiB"
holds "actual is what it was before the reset" test "$reset" -eq 128
holds "the guest has more than that" test "$available" -gt 128
holds "actual does not change when the guest uses it" test "$used" -eq 128
finish
