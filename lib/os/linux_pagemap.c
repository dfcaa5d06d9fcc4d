/* What the process's own page tables say about pages: the PAGEMAP_SCAN call of /proc/self/pagemap,
 * in Linux 6.7 and later. */
#include "os_p.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As in <linux/fs.h>, which may be older than the kernel. */
#define SCAN_FILE    ((uint64_t)1 << 2)
#define SCAN_PRESENT ((uint64_t)1 << 3)
#define SCAN_SWAPPED ((uint64_t)1 << 4)
#define SCAN_ZERO    ((uint64_t)1 << 5)
#define SCAN_HUGE    ((uint64_t)1 << 6)

struct scan_region {
    uint64_t start, end, categories;
};

struct scan {
    uint64_t size, flags, start, end, walk_end;
    uint64_t regions, region_count, max_pages;
    uint64_t inverted, mask, any, wanted;
};

#define PAGEMAP_SCAN_CALL _IOWR('f', 16, struct scan)

static void add(const struct scan_region *r, struct os_pages *pages)
{
    uint64_t count = (r->end - r->start) >> BALLOON_PAGE_SHIFT;

    if (r->categories & SCAN_SWAPPED)
        pages->swapped += count;
    if (!(r->categories & SCAN_PRESENT) || r->categories & SCAN_ZERO)
        return;
    pages->present += count;
    if (r->categories & SCAN_FILE)
        pages->file += count;
    if (r->categories & SCAN_HUGE)
        pages->huge += count;
}

bool bl_os_pagemap(const unsigned char *host, size_t bytes, struct os_pages *pages)
{
    struct scan_region regions[128];
    struct scan scan = {.size = sizeof(scan),
                        .start = (uint64_t)(uintptr_t)host,
                        .end = (uint64_t)(uintptr_t)host + bytes,
                        .regions = (uint64_t)(uintptr_t)regions,
                        .region_count = sizeof(regions) / sizeof(*regions),
                        .any = SCAN_PRESENT | SCAN_SWAPPED,
                        .wanted = SCAN_FILE | SCAN_PRESENT | SCAN_SWAPPED | SCAN_ZERO | SCAN_HUGE};
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), found = 0;

    memset(pages, 0, sizeof(*pages));
    if (fd < 0)
        return false;
    while (scan.start < scan.end) {
        do {
            /* Not by ioctl(): its number is an int in musl, which this one does not fit. */
            found = (int)syscall(SYS_ioctl, fd, PAGEMAP_SCAN_CALL, &scan);
        } while (found < 0 && errno == EINTR);
        if (found < 0 || scan.walk_end <= scan.start)
            break;
        for (int i = 0; i < found; i++)
            add(&regions[i], pages);
        scan.start = scan.walk_end;
    }
    close(fd);
    return found >= 0 && scan.start >= scan.end;
}

#endif
