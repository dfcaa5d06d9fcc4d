#!/bin/bash
# Linux 6.12.117 (Debian 13): of the two ways to ask which pages changed, one calls a discarded page
# unchanged and the other calls it written. Its content did change.
#
# Seen (1: changed), all pages being full of 0xaa before:
#     soft-dirty: kept 0, byte 0xaa; written 1, byte 0x1; discarded 0; discarded and read 0, byte 0
#     PAGEMAP_SCAN: kept 0, byte 0xaa; written 1, byte 0x1; discarded 1; discarded and read 1, byte 0
# Why it surprises: both are documented with the same words, a page was written to since the bits were
# cleared or the page protected (Documentation/admin-guide/mm/soft-dirty.rst, ioctl_pagemap_scan(2)).
# A copy of a guest that is brought up to date by soft-dirty keeps what a balloon has discarded, even
# where the guest has read zeros since; by PAGEMAP_SCAN, all that the balloon holds is copied again.
# shellcheck source=findings/common.bash
. "$(dirname "$0")/common.bash"
[ $# -gt 0 ] || set -- trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1 seabios=1.16.3-2 \
    busybox-static=1:1.37.0-6+b9 linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
packages "$@"

program dirty <<'END'
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What headers before Linux 6.7 do not have. */
#define WP_ASYNC (1 << 15)
#define WRITTEN 2
#define WRITE_PROTECT 1
struct scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any, give;
};
#define SCAN _IOWR('f', 16, struct scan)

enum { KEPT, CHANGED, DISCARDED, DISCARDED_READ, PAGES };

static unsigned char *memory;

static void fill(void)
{
    memory = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(memory, PAGES * 4096, MADV_NOHUGEPAGE);
    memset(memory, 0xaa, PAGES * 4096);
}

static int change(void)
{
    memory[CHANGED * 4096] = 1;
    madvise(memory + DISCARDED * 4096, 2 * 4096, MADV_DONTNEED);
    return *(volatile unsigned char *)(memory + DISCARDED_READ * 4096);
}

static void show(const char *name, const int *changed, int read)
{
    printf("%s: kept %d, byte %#x; written %d, byte %#x; ", name, changed[KEPT],
           memory[KEPT * 4096], changed[CHANGED], memory[CHANGED * 4096]);
    printf("discarded %d; discarded and read %d, byte %#x\n", changed[DISCARDED],
           changed[DISCARDED_READ], read);
}

int main(void)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY), changed[PAGES], read;

    fill();
    if (write(open("/proc/self/clear_refs", O_WRONLY), "4", 1) != 1)
        return 1;
    read = change();
    for (int i = 0; i < PAGES; i++) {
        uint64_t entry;
        if (pread(pagemap, &entry, 8, (off_t)((uintptr_t)memory / 4096 + (unsigned)i) * 8) != 8)
            return 2;
        changed[i] = (int)(entry >> 55 & 1);
    }
    show("soft-dirty", changed, read);

    fill();
    uint64_t start = (uintptr_t)memory, bytes = PAGES * 4096, region[3];
    int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API, .features = WP_ASYNC};
    struct uffdio_register wp = {.range = {start, bytes}, .mode = UFFDIO_REGISTER_MODE_WP};
    struct scan all = {.size = sizeof(all), .flags = WRITE_PROTECT, .start = start,
                       .end = start + bytes, .mask = WRITTEN, .give = WRITTEN};
    if (ioctl(faults, UFFDIO_API, &api) || ioctl(faults, UFFDIO_REGISTER, &wp) ||
        ioctl(pagemap, SCAN, &all) < 0)
        return 3;
    read = change();
    for (int i = 0; i < PAGES; i++) {
        struct scan one = {.size = sizeof(one), .start = start + (unsigned)i * 4096,
                           .end = start + ((unsigned)i + 1) * 4096, .vec = (uintptr_t)region,
                           .vec_len = 1, .mask = WRITTEN, .give = WRITTEN};
        changed[i] = ioctl(pagemap, SCAN, &one);
    }
    show("PAGEMAP_SCAN", changed, read);
    return 0;
}
END

boot -m 256
seen=$(guest /dirty) || cannot_tell "a system call is missing"
echo "$seen"
says='kept 0, byte 0xaa; written 1, byte 0x1; discarded'
holds "soft-dirty calls a discarded page unchanged" \
    grep -q "^soft-dirty: $says 0; discarded and read 0, byte 0\$" <<<"$seen"
holds "PAGEMAP_SCAN calls it written" \
    grep -q "^PAGEMAP_SCAN: $says 1; discarded and read 1, byte 0\$" <<<"$seen"
finish
