#!/bin/bash
# QEMU 10.0.13 (Debian 13): the statistics of a guest are filled when its driver starts, although nobody
# enabled polling, and stay as they are; and what is not there is 2^64-1, not -1.
#
# Seen (the rest of the 16 alike):
#     before the driver: "stat-available-memory": 18446744073709551615, "last-update": 0
#     driver loaded: "stat-available-memory": 198762496, "last-update": 1796011173
#     120 MiB in use, 10 s later: "stat-available-memory": 198762496, "last-update": 1796011173
# Why it surprises: docs/interop/virtio-balloon-stats.rst says that polling has to be enabled first and
# that a value that is missing is -1. A program that takes a last-update other than 0 for a sign that
# polling is on reads the memory of a guest that had just booted, days later. And -1 never comes: the
# largest unsigned number does, which a JSON reader with floating point makes 18446744073709552000.
# shellcheck source=findings/common.bash
. "$(dirname "$0")/common.bash"
[ $# -gt 0 ] || set -- trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1 seabios=1.16.3-2 \
    busybox-static=1:1.37.0-6+b9 linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
packages "$@"

stats() {
    qmp '{"execute": "qom-get", "arguments": {"path": "/machine/peripheral/balloon0",
        "property": "guest-stats"}}' | grep -oE '"(stat-available-memory|last-update)": *-?[0-9]+' |
        paste -sd , | sed 's/,/, /'
}

boot -m 256 -device virtio-balloon-pci,id=balloon0
unset=$(stats)
echo "before the driver: $unset"
guest 'insmod /virtio_balloon.ko'
sleep 3
first=$(stats)
echo "driver loaded: $first"
guest 'head -c 120m /dev/zero >/tmp/used'
sleep 10
later=$(stats)
echo "120 MiB in use, 10 s later: $later"
holds "what is unset is 2^64-1" \
    test "$unset" = '"stat-available-memory": 18446744073709551615, "last-update": 0'
holds "there are statistics without polling" grep -q '"last-update": [1-9]' <<<"$first"
holds "with the memory that the guest has" grep -q '"stat-available-memory": 1[0-9]\{8\},' <<<"$first"
holds "they stay as they are" test "$first" = "$later"
holds "the guest does not" test "$(meminfo MemAvailable)" -lt 90
finish
