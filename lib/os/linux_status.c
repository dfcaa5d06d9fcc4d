/* What is known about a region, for those who ask. */
#include "os_p.h"

#ifdef __linux__

#include <string.h>

static uint32_t notes_of(const struct os_region *region, const balloon_os_region_status *s,
                         const struct os_smaps *smaps)
{
    uint32_t notes = 0;

    if (s->huge > region->granule)
        notes |= BALLOON_OS_NOTE_HUGE;
    if (region->backing == BALLOON_OS_HUGETLB_PRIVATE)
        notes |= BALLOON_OS_NOTE_RESERVED;
    if (region->shared)
        notes |= BALLOON_OS_NOTE_SIGBUS;
    if (region->method == BALLOON_OS_REMAP)
        notes |= BALLOON_OS_NOTE_MAPPINGS;
    if (smaps->locked)
        notes |= BALLOON_OS_NOTE_LOCKED;
    return notes;
}

balloon_status balloon_os_region_get(balloon_os *os, uint32_t id, balloon_os_region_status *status)
{
    struct os_region *region = os ? bl_os_region_find(os, id) : NULL;
    balloon_os_region_status s;
    struct os_smaps smaps;

    if (!region || !status || status->size < sizeof(*status))
        return BALLOON_ERR_INVALID;
    if (bl_os_smaps(region, &smaps) != BALLOON_OK)
        return BALLOON_ERR_SYSTEM;
    memset(&s, 0, sizeof(s));
    s.size = status->size;
    s.backing = region->backing;
    s.method = region->method;
    s.reason = region->reason;
    s.failures = region->failures;
    s.page = region->unit;
    s.huge = bl_os_huge_pages(region, &smaps);
    s.granule = s.huge > s.page ? s.huge : s.page;
    s.in_huge = smaps.huge_bytes >> BALLOON_PAGE_SHIFT;
    s.mappings = smaps.mappings;
    s.notes = notes_of(region, &s, &smaps);
    *status = s;
    return BALLOON_OK;
}

#endif
