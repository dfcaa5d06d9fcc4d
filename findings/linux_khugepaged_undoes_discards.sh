#!/bin/bash
# Linux 6.12.117 (Debian 13): what was discarded comes back by itself. With the settings that the kernel
# starts with, khugepaged fills the holes of huge pages again, and nobody touches them.
#
# Seen, with 64 MiB of which one page of 4 KiB in 2 MiB is left; the program sleeps:
#     discarded: RSS 188 KiB, charged 632 KiB
#     later: RSS 65608 KiB, charged 66040 KiB
# Why it surprises: madvise(2) says that discarded pages are filled on demand, and here nothing demands
# them. khugepaged/max_ptes_none is 511 by default: one page that is left and was used makes a huge page
# of its 2 MiB (Documentation/admin-guide/mm/transhuge.rst speaks of more memory, not of memory that a
# program gave back before). What a balloon took is gone a minute later, and no counter of it says so.
# shellcheck source=findings/common.bash
. "$(dirname "$0")/common.bash"
[ $# -gt 0 ] || set -- trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1 seabios=1.16.3-2 \
    busybox-static=1:1.37.0-6+b9 linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
packages "$@"

program holes <<'END'
#include "guest.h"
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define HUGE 0x200000UL
#define COUNT 32

int main(void)
{
    char *memory = aligned_alloc(HUGE, COUNT * HUGE);

    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* as when no huge page is free for a while */
    memset(memory, 1, COUNT * HUGE);
    for (int i = 0; i < COUNT; i++)
        madvise(memory + i * HUGE + 4096, HUGE - 4096, MADV_DONTNEED);
    show("discarded");
    prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
    *(volatile char *)aligned_alloc(HUGE, HUGE) = 1; /* elsewhere; khugepaged looks at its users only */
    for (int i = 0; i < 200 && rss() < 65000; i++)
        sleep(1);
    show("later");
    return 0;
}
END

boot -m 640 # with less, the kernel turns huge pages off
own_cgroup
guest 'cd /sys/kernel/mm/transparent_hugepage && grep -H . enabled khugepaged/max_ptes_none'
seen=$(guest 'in_cgroup /holes')
echo "$seen"
figures() { sed -n "s/^$1: RSS \([0-9]*\) KiB, charged \([0-9]*\) KiB/\1 \2/p" <<<"$seen"; }
read -r rss charged < <(figures discarded)
read -r rss_later charged_later < <(figures later)
holds "the discard frees what it should" test $((rss + charged)) -lt 3000
holds "it is all there again, untouched" test "$rss_later" -gt 65000
holds "and charged" test $((charged_later - charged)) -gt 64000
finish
