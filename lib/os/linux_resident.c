/* Residency: which pages of the balloon are in memory all the same. */
#include "os_p.h"

#ifdef __linux__

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <balloon/range.h>

#define DEFAULT_MOST ((uint64_t)1 << 16)

/* mincore() looks into a file's cache, and so sees the pages of all who map it; but only for those
 * who own the file or may write to it. To others it calls every page present. */
static bool cache_can_be_seen(const struct os_region *region)
{
    char path[64] = "/proc/self/fd/";
    char digits[16];
    struct stat st;
    size_t at = sizeof(digits) - 1;

    if (region->fd < 0)
        return bl_os_is_internal(region->device); /* All may write to what no mount shows. */
    if (fstat(region->fd, &st) == 0 && st.st_uid == geteuid())
        return true;
    digits[at] = '\0';
    for (int fd = region->fd; at == sizeof(digits) - 1 || fd; fd /= 10)
        digits[--at] = (char)('0' + fd % 10);
    strcat(path, digits + at);
    return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

static bool by_mincore(const struct os_region *region, balloon_range pages, uint64_t *resident)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *at = bl_os_region_host(region, pages);
    size_t left = bl_os_bytes(pages) / page;
    unsigned char present[1024];

    *resident = 0;
    while (left) {
        size_t n = left < sizeof(present) ? left : sizeof(present);

        if (mincore(at, n * page, present) < 0)
            return false;
        for (size_t i = 0; i < n; i++)
            *resident += (present[i] & 1) * (page >> BALLOON_PAGE_SHIFT);
        at += n * page;
        left -= n;
    }
    return true;
}

/* Add what is in memory of whole host pages. */
static bool look(const struct os_region *region, balloon_range pages, balloon_os_residency *found)
{
    bool cache = region->backing == BALLOON_OS_SHARED && cache_can_be_seen(region);
    struct os_pages tables;
    uint64_t resident;

    if (!cache && bl_os_pagemap(bl_os_region_host(region, pages), bl_os_bytes(pages), &tables)) {
        found->resident += tables.present;
        /* Of a private file, the cache is not the guest's. */
        if (region->backing == BALLOON_OS_PRIVATE_FILE)
            found->resident -= tables.file;
        found->swapped += tables.swapped;
        found->may_be_more |= region->shared;
        return true;
    }
    if (!by_mincore(region, pages, &resident))
        return false;
    found->resident += resident;
    /* The page of zeros is present, and so is all of a file that may not be looked at. */
    found->may_be_less |= !cache && region->backing != BALLOON_OS_HUGETLB_PRIVATE;
    found->may_be_more |= region->backing == BALLOON_OS_HUGETLB_SHARED;
    return true;
}

balloon_status balloon_os_resident(balloon_os *os, balloon_run *run, uint64_t most,
                                   balloon_os_residency *found)
{
    const struct os_region *region;
    balloon_range part, whole;

    if (!os || !run || !found || found->size < sizeof(*found))
        return BALLOON_ERR_INVALID;
    region = bl_os_region_find(os, run->region);
    if (!region || balloon_range_intersect(run->range, region->pages).count != run->range.count)
        return BALLOON_ERR_RANGE;
    if (!most)
        most = DEFAULT_MOST;
    if (most < region->unit)
        most = region->unit;

    /* Up to the last boundary of a host page, so that none is missed when it goes on. */
    part = run->range;
    if (part.count > most)
        part.count = most - (part.first + most) % region->unit;
    whole = balloon_range_inward(part, region->unit);
    if (whole.count && !look(region, whole, found))
        return BALLOON_ERR_SYSTEM;
    found->looked += whole.count;
    run->range.first += part.count;
    run->range.count -= part.count;
    return BALLOON_OK;
}

#endif
