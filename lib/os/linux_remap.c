/* REMAP: fresh anonymous memory over a private mapping of a file. MADV_DONTNEED would bring back
 * the file's bytes, where a guest may count on zeros.
 *
 * Each range far from the others cuts a mapping in three, and the kernel has room for
 * vm.max_map_count of them in a process, by default 65530. When they are used up, it cannot start a
 * thread. So they are counted, and half are left for others. Neighbours become one mapping again,
 * and what was replaced once is just MADV_DONTNEED afterwards; a bit for each page tells. */
#include "os_p.h"

#ifdef __linux__

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* At the bound, mappings are counted again after so many refusals. */
#define WAIT 1024u

#define FILLED_AT_ONCE ((size_t)2 << 20)

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#define LOCK_ON_FAULT 1 /* MLOCK_ONFAULT */

/* --- Which units are anonymous already --- */

bool bl_os_is_resident(unsigned char *host)
{
    unsigned char present = 0;

    return mincore(host, 1, &present) == 0 && (present & 1);
}

static size_t map_bytes(const struct os_region *region)
{
    return (size_t)((region->pages.count / region->unit + 7) / 8);
}

/* Whether mlockall(MCL_FUTURE) is on: a new mapping is filled at once. */
static bool new_memory_is_filled(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool filled = p != MAP_FAILED && bl_os_is_resident(p);

    if (p != MAP_FAILED)
        munmap(p, page);
    return filled;
}

balloon_status bl_os_remap_open(balloon_os *os, struct os_region *region)
{
    void *map = mmap(NULL, map_bytes(region), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (map == MAP_FAILED)
        return BALLOON_ERR_SYSTEM;
    region->fresh = map;
    os->fills = new_memory_is_filled();
    return BALLOON_OK;
}

void bl_os_remap_close(struct os_region *region)
{
    if (region->fresh)
        munmap(region->fresh, map_bytes(region));
    region->fresh = NULL;
}

static bool is_fresh(const struct os_region *region, uint64_t unit)
{
    return region->fresh[unit / 8] >> unit % 8 & 1;
}

/* How many units from first to last are fresh; those outside of the region are not. */
static uint64_t count_fresh(const struct os_region *region, uint64_t first, uint64_t last)
{
    uint64_t count = 0;

    for (uint64_t i = first; i <= last && i < region->pages.count / region->unit; i++)
        count += is_fresh(region, i);
    return count;
}

/* --- How many mappings there may be --- */

static bool count_again(struct os_mappings *m)
{
    uint64_t bound = m->limit / 2, now = bl_os_count_mappings(), spare;

    if (!now)
        now = m->made; /* Without /proc, at least our own. */
    spare = now < bound ? bound - now : 0;
    /* Others map, too, such as the balloons of other guests in this process: take a part only. */
    m->room = spare / 4 < m->limit / 32 ? spare / 4 : m->limit / 32;
    if (m->room >= m->limit / 256 && m->room >= 2)
        return true;
    m->room = 0;
    m->wait = WAIT;
    return false;
}

/* A range without neighbours makes two mappings more. */
static bool may_map(struct os_mappings *m)
{
    if (m->room < 2 && m->wait) {
        m->wait--;
        return false;
    }
    if (m->room < 2 && !count_again(m))
        return false;
    m->room -= 2;
    m->made += 2;
    return true;
}

/* --- One range --- */

static bool replace_piece(balloon_os *os, const struct os_region *region, unsigned char *host,
                          size_t bytes)
{
    if (os->calls->mmap(host, bytes, region->protection,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                        0) == MAP_FAILED)
        return false;
    if (region->no_huge)
        (void)madvise(host, bytes, MADV_NOHUGEPAGE);
    if (region->locked && syscall(SYS_mlock2, host, bytes, LOCK_ON_FAULT) < 0)
        return false;
    if (!bl_os_is_resident(host))
        return true;
    os->fills = true;
    if (os->calls->madvise(host, bytes, MADV_DONTNEED_LOCKED) == 0)
        return true;
    os->why = BALLOON_OS_REASON_LOCKED;
    return false;
}

/* Where new memory is filled at once, never much of it. */
static bool replace(balloon_os *os, const struct os_region *region, unsigned char *host,
                    size_t bytes)
{
    while (bytes) {
        size_t piece = os->fills && bytes > FILLED_AT_ONCE ? FILLED_AT_ONCE : bytes;

        if (!replace_piece(os, region, host, piece))
            return false;
        host += piece;
        bytes -= piece;
    }
    return true;
}

bool bl_os_remap(balloon_os *os, const struct os_region *region, balloon_range pages)
{
    uint64_t first = (pages.first - region->pages.first) / region->unit;
    uint64_t units = pages.count / region->unit;
    uint64_t inside = count_fresh(region, first, first + units - 1);
    unsigned char *host = bl_os_region_host(region, pages);
    size_t bytes = bl_os_bytes(pages);
    bool neighbour = inside || (first && is_fresh(region, first - 1)) ||
                     count_fresh(region, first + units, first + units);

    if (inside == units) {
        if (os->calls->madvise(host, bytes, MADV_DONTNEED) == 0)
            return true;
        return errno == EINVAL && os->calls->madvise(host, bytes, MADV_DONTNEED_LOCKED) == 0;
    }
    if (!neighbour && !may_map(&os->mappings)) {
        os->why = BALLOON_OS_REASON_MAPPINGS;
        errno = ENOMEM;
        return false;
    }
    if (!replace(os, region, host, bytes))
        return false;
    for (uint64_t i = first; i < first + units; i++)
        region->fresh[i / 8] |= (unsigned char)(1u << i % 8);
    return true;
}

#endif
