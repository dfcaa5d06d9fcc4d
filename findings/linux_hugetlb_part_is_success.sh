#!/bin/bash
# Linux 6.12.117 (Debian 13): MADV_DONTNEED of a part of a hugetlb page succeeds and does nothing when
# it starts where the page starts, and fails when it does not.
#
# Seen, with a page of 2 MiB full of 0xaa:
#     first 4 KiB: errno 0, huge pages freed 0, first byte then 0xaa
#     second 4 KiB: errno 22, huge pages freed 0, first byte then 0xaa
#     all but the last 4 KiB: errno 0, huge pages freed 0, first byte then 0xaa
#     the whole page: errno 0, huge pages freed 1, first byte then 0
# Why it surprises: madvise(2) (man-pages 6.03) says that the length is rounded up to a multiple of the
# huge page, so the first call should free all of it, and that pages are filled with zeros after a
# success. It is rounded down, to nothing. A balloon that discards 4 KiB at a time, as a guest names
# them, sees one success in 512 calls and never frees a byte.
# shellcheck source=findings/common.bash
. "$(dirname "$0")/common.bash"
[ $# -gt 0 ] || set -- trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1 seabios=1.16.3-2 \
    busybox-static=1:1.37.0-6+b9 linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
packages "$@"

program hugetlb <<'END'
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE 0x200000UL

static int free_pages(void)
{
    char line[128];
    int pages = -1;
    FILE *file = fopen("/proc/meminfo", "r");

    while (fgets(line, sizeof(line), file))
        sscanf(line, "HugePages_Free: %d", &pages);
    fclose(file);
    return pages;
}

static void discard(unsigned char *huge, const char *name, unsigned long first, unsigned long bytes)
{
    memset(huge, 0xaa, HUGE);
    int before = free_pages();
    int error = madvise(huge + first, bytes, MADV_DONTNEED) ? errno : 0;
    int freed = free_pages() - before;

    printf("%s: errno %d, huge pages freed %d, ", name, error, freed);
    printf("first byte then %#x\n", huge[0]);
}

int main(void)
{
    unsigned char *huge = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

    if (huge == MAP_FAILED)
        return 1;
    discard(huge, "first 4 KiB", 0, 0x1000);
    discard(huge, "second 4 KiB", 0x1000, 0x1000);
    discard(huge, "all but the last 4 KiB", 0, HUGE - 0x1000);
    discard(huge, "the whole page", 0, HUGE);
    return 0;
}
END

boot -m 256
guest 'echo 4 >/proc/sys/vm/nr_hugepages'
seen=$(guest /hugetlb) || cannot_tell "no huge pages in the guest"
echo "$seen"
nothing='errno 0, huge pages freed 0, first byte then 0xaa'
holds "4 KiB are discarded with success, and nothing happens" grep -q "^first 4 KiB: $nothing" <<<"$seen"
holds "2 MiB less 4 KiB as well" grep -q "^all but the last 4 KiB: $nothing" <<<"$seen"
holds "4 KiB that start elsewhere are EINVAL" grep -q '^second 4 KiB: errno 22,' <<<"$seen"
holds "the whole page can be discarded" \
    grep -q '^the whole page: errno 0, huge pages freed 1, first byte then 0$' <<<"$seen"
finish
