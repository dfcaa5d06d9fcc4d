#!/bin/bash
# Linux 6.12.117 (Debian 13): a transparent huge page of which 511 of 512 pages are discarded gives
# nothing back; RSS falls by all of them at once.
#
# Seen, with 64 MiB in huge pages, in a cgroup of its own:
#     touched: RSS 65596 KiB, charged 66040 KiB
#     511 of 512 pages discarded: RSS 192 KiB, charged 66036 KiB
#     the last ones, too: RSS 64 KiB, charged 500 KiB
# Why it surprises: each call succeeds, and madvise(2) speaks of a delay only for shared mappings; RSS,
# which is what one looks at, says that the memory is back. It is in use until the last page goes or
# until the kernel itself is short and splits the page (Documentation/mm/transhuge.rst, for developers
# of the kernel, has it under partial unmap): a limit of a cgroup and other guests do not gain anything.
# A guest that gives back scattered pages of 4 KiB, on a host with huge pages, gives back nothing.
# shellcheck source=findings/common.bash
. "$(dirname "$0")/common.bash"
[ $# -gt 0 ] || set -- trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1 seabios=1.16.3-2 \
    busybox-static=1:1.37.0-6+b9 linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
packages "$@"

program thp <<'END'
#include "guest.h"
#include <sys/mman.h>
#include <unistd.h>

#define HUGE 0x200000UL
#define COUNT 32

int main(void)
{
    char *memory = aligned_alloc(HUGE, COUNT * HUGE);

    memset(memory, 1, COUNT * HUGE);
    show("touched");
    for (int i = 0; i < COUNT; i++)
        madvise(memory + i * HUGE + 4096, HUGE - 4096, MADV_DONTNEED);
    sleep(2);
    show("511 of 512 pages discarded");
    for (int i = 0; i < COUNT; i++)
        madvise(memory + i * HUGE, 4096, MADV_DONTNEED);
    sleep(2);
    show("the last ones, too");
    return 0;
}
END

boot -m 640 # with less, the kernel turns huge pages off
own_cgroup
guest 'cd /sys/kernel/mm/transparent_hugepage && grep -q "\[always\]" enabled' ||
    cannot_tell "no huge pages by default"
guest 'echo 1000000 >khugepaged/scan_sleep_millisecs' # another story
seen=$(guest 'in_cgroup /thp')
echo "$seen"
figures() { sed -n "s/^$1.*: RSS \([0-9]*\) KiB, charged \([0-9]*\) KiB/\1 \2/p" <<<"$seen"; }
read -r rss charged < <(figures touched)
read -r rss_part charged_part < <(figures 511)
read -r _ charged_all < <(figures 'the last')
holds "RSS falls by all that is discarded" test $((rss - rss_part)) -gt 65000
holds "nothing of it is given back" test $((charged - charged_part)) -lt 1024
holds "it is with the last page" test $((charged - charged_all)) -gt 65000
holds "RSS and charge agree before" test $((charged - rss)) -lt 1024
finish
