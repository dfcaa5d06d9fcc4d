/* The region that a page or a block lies in, and what is known of one page. */
#include "tracker_p.h"

const region *bl_tracker_region_after(const balloon_tracker *t, balloon_pfn_t pfn)
{
    uint32_t lo = 0, hi = t->region_count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (t->regions[mid].end <= pfn)
            lo = mid + 1;
        else
            hi = mid;
    }
    return t->regions + lo;
}

const region *bl_tracker_region_of_block(const balloon_tracker *t, uint64_t block)
{
    uint32_t lo = 0, hi = t->region_count - 1;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo + 1) / 2;

        if (t->regions[mid].block <= block)
            lo = mid;
        else
            hi = mid - 1;
    }
    return t->regions + lo;
}

bool bl_tracker_has(const balloon_tracker *t, balloon_pfn_t pfn, bool *held)
{
    const region *r = bl_tracker_region_after(t, pfn);
    bool inside = r < t->regions + t->region_count && pfn >= r->first;
    uint64_t at = inside ? pfn + r->shift : 0;

    *held = inside && t->held[at / WORD_BITS] >> (at % WORD_BITS) & 1;
    return inside;
}
