/* The regions of a config, in words. */
#ifndef BL_REGIONS_H
#define BL_REGIONS_H

#include <stddef.h>

#include <balloon/types.h>

/* What balloon_tracker_add_region() would refuse. */
static inline const char *bl_regions_fault(const balloon_region *regions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const balloon_region *r = &regions[i];
        uint64_t end = UINT64_C(1) << 40;

        if (!r->count)
            return "regions: one has no pages";
        if (r->granule > BALLOON_GRANULE_MAX || (r->granule & (r->granule - 1)))
            return "regions: a granule is not a power of two of pages, or is too large";
        if (r->first >= end || r->count > end - r->first)
            return "regions: one ends above page 2^40; are these bytes?";
        for (size_t j = 0; j < i; j++)
            if (r->first < regions[j].first + regions[j].count &&
                regions[j].first < r->first + r->count)
                return "regions: two overlap";
    }
    return NULL;
}

#endif
