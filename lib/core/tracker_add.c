/* Regions of any granule: one by one, or all that a guest starts with. */
#include "tracker_p.h"

balloon_status balloon_tracker_add_region(balloon_tracker *t, const balloon_region *wanted,
                                          uint32_t *id)
{
    return bl_tracker_add(t, wanted, &bl_tracker_granule_runs, id);
}

/* Sift down in a heap with the highest region on top. */
static void sift(region *heap, size_t at, size_t count)
{
    const region r = heap[at];

    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child].first < heap[child + 1].first)
            child++;
        if (heap[child].first <= r.first)
            break;
        heap[at] = heap[child];
    }
    heap[at] = r;
}

static void sort(region *regions, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift(regions, i, count);
    for (size_t i = count; i-- > 1;) {
        region highest = regions[0];

        regions[0] = regions[i];
        regions[i] = highest;
        sift(regions, 0, i);
    }
}

balloon_status bl_tracker_add_regions(balloon_tracker *t, const balloon_region *wanted,
                                      size_t count)
{
    uint64_t block = 0, pages = 0;

    if (count > t->max_regions)
        return BALLOON_ERR_NOSPACE;
    for (size_t i = 0; i < count; i++) {
        balloon_status status = bl_tracker_describe(&wanted[i], &t->regions[i]);

        if (status != BALLOON_OK)
            return status;
        if (wanted[i].count > t->max_pages - pages)
            return BALLOON_ERR_NOSPACE;
        pages += wanted[i].count;
        t->regions[i].id = (uint32_t)i;
    }
    sort(t->regions, count);
    for (size_t i = 0; i < count; i++) {
        if (i && t->regions[i - 1].end > t->regions[i].first)
            return BALLOON_ERR_INVALID;
        bl_tracker_place(&t->regions[i], block);
        block += t->regions[i].blocks;
    }
    t->granule_runs = &bl_tracker_granule_runs;
    t->region_count = (uint32_t)count;
    t->blocks = block;
    t->pages = pages;
    bl_tracker_rebuild(t, 0, block);
    return BALLOON_OK;
}
