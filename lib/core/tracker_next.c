/* Questions about sets of pages: where is the next run. */
#include "tracker_set_p.h"

/* Where pages of a set are, and where not. */
struct view {
    struct set_maps maps;
    /* Blocks that have a page of the set, those in `also` too, and blocks that lack one. Hints have
     * no summary. */
    const summary *some, *also, *lack;
};

static inline struct view view_of(const balloon_tracker *t, balloon_set set)
{
    struct view v = {.maps = set_maps_of(t, set)};

    switch (set) {
    case BALLOON_SET_HELD:
        v.some = &t->some;
        v.lack = &t->room;
        break;
    case BALLOON_SET_FREE:
        v.some = &t->room;
        v.lack = &t->some;
        break;
    case BALLOON_SET_PENDING:
        v.some = &t->waiting;
        v.also = &t->ready;
        v.lack = &t->calm;
        break;
    case BALLOON_SET_HINTED:
    case BALLOON_SET_SKIP:
        break;
    }
    return v;
}

/* The first index from lo on, of its block, whose bit differs from `flip`; or the end of the block.
 */
static inline uint64_t find_in_block(const struct set_maps *m, uint64_t flip, uint64_t lo)
{
    uint64_t w = lo / WORD_BITS, end = (lo / BLOCK_PAGES + 1) * BLOCK_WORDS;
    uint64_t x = (set_word(m, w) ^ flip) & bits_from(lo);

    while (!x && ++w < end)
        x = set_word(m, w) ^ flip;
    return x ? w * WORD_BITS + bits_lowest(x) : end * WORD_BITS;
}

/* The first index in lo..hi-1 that is in the set; or hi. *whole: so is the rest of its block. */
static inline uint64_t find_first(const struct view *v, uint64_t lo, uint64_t hi, bool *whole)
{
    uint64_t block = lo / BLOCK_PAGES, end = (hi - 1) / BLOCK_PAGES + 1;

    for (*whole = false;; block++) {
        if (v->some) {
            uint64_t stop = v->also ? summary_next(v->also, block, end) : end;

            block = summary_next(v->some, block, stop);
        }
        lo = lo > block * BLOCK_PAGES ? lo : block * BLOCK_PAGES;
        if (lo >= hi)
            return hi;
        *whole = v->lack && !summary_has(v->lack, block);
        if (*whole)
            return lo;
        lo = find_in_block(&v->maps, 0, lo);
        if (lo / BLOCK_PAGES == block)
            return lo < hi ? lo : hi;
    }
}

/* Where a run ends that has the page at lo: the first index in lo..hi-1 that is not in the set; or
 * hi. */
static inline uint64_t find_end(const balloon_tracker *t, const region *r, const struct view *v,
                                uint64_t lo, uint64_t hi, bool whole)
{
    uint64_t block = lo / BLOCK_PAGES, end = (hi - 1) / BLOCK_PAGES + 1, first = 0;

    if (!whole)
        lo = find_in_block(&v->maps, ~UINT64_C(0), lo);
    while (whole || lo / BLOCK_PAGES > block) {
        whole = false;
        block = v->lack ? summary_next(v->lack, block + 1, end) : block + 1;
        lo = block * BLOCK_PAGES;
        if (lo >= hi || (v->also && bl_giant_masks(t, r, lo, &first)))
            break;
        lo = find_in_block(&v->maps, ~UINT64_C(0), lo);
    }
    return lo < hi ? lo : hi;
}

bool balloon_tracker_next(const balloon_tracker *t, balloon_set set, balloon_range range,
                          balloon_run *run)
{
    uint64_t stop = balloon_range_end(range);
    const region *end = t->regions + t->region_count;

    if (set == BALLOON_SET_PENDING)
        bl_tracker_leave_line(t);
    const struct view v = view_of(t, set);

    if (!range.count || !v.maps.a)
        return false;
    for (const region *r = bl_tracker_region_after(t, range.first); r < end && r->first < stop;
         r++) {
        uint64_t lo = (range.first > r->first ? range.first : r->first) + r->shift;
        uint64_t hi = (stop < r->end ? stop : r->end) + r->shift;
        bool whole;

        lo = find_first(&v, lo, hi, &whole);
        if (lo == hi)
            continue;
        hi = find_end(t, r, &v, lo, hi, whole);
        run->region = r->id;
        run->reserved = 0;
        run->range.first = lo - r->shift;
        run->range.count = hi - lo;
        return true;
    }
    return false;
}
