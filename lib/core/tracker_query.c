/* Questions about sets of pages: how many, where is the next run, all of them as a bitmap. */
#include <string.h>

#include "tracker_p.h"

/* Word w of a set; not masked to the region, and as if all that is pending were meant. */
static uint64_t set_word(const balloon_tracker *t, balloon_set set, uint64_t w)
{
    uint64_t hinted = t->hinted ? t->hinted[w] : 0;

    switch (set) {
    case BALLOON_SET_HELD:
        return t->held[w];
    case BALLOON_SET_FREE:
        return ~t->held[w];
    case BALLOON_SET_PENDING:
        return t->pending[w];
    case BALLOON_SET_HINTED:
        return hinted;
    case BALLOON_SET_SKIP:
        /* In settling mode the guest may be using a held page before it says so. */
        return t->gather ? t->held[w] | hinted : hinted;
    }
    return 0;
}

/* What the counters say of a block without a look at its bits: the pages of a set in it, if that
 * settles the matter, or -1. Bits outside of the region are never held or pending, so a full
 * count is a whole block of guest memory. */
static int block_pages(const balloon_tracker *t, balloon_set set, uint64_t b)
{
    switch (set) {
    case BALLOON_SET_HELD:
        return t->in[b].held;
    case BALLOON_SET_FREE:
        return (int)BLOCK_PAGES - t->in[b].held;
    case BALLOON_SET_PENDING:
        return t->pending_in[b];
    case BALLOON_SET_HINTED:
    case BALLOON_SET_SKIP:
        break;
    }
    return -1;
}

static uint64_t count_part(const balloon_tracker *t, balloon_set set, uint64_t lo, uint64_t hi)
{
    uint64_t n = 0;

    for (uint64_t w = lo / WORD_BITS; lo < hi && w <= (hi - 1) / WORD_BITS;) {
        if (w % BLOCK_WORDS == 0 && w * WORD_BITS >= lo && hi - w * WORD_BITS >= BLOCK_PAGES) {
            int known = block_pages(t, set, w / BLOCK_WORDS);

            if (known >= 0) {
                n += (uint64_t)known;
                w += BLOCK_WORDS;
                lo = w * WORD_BITS;
                continue;
            }
        }
        n += bits_ones(set_word(t, set, w) & bits_mask(w, lo, hi));
        w++;
    }
    return n;
}

/* Pages among lo..hi-1 whose pending bits are set and not meant. */
static uint64_t count_masked(const balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t n = 0, first = 0;

    if (!bl_tracker_giants(r) || !t->gather)
        return 0;
    while (lo < hi) {
        bool whole = bl_tracker_granule_at(r, lo, &first);
        uint64_t end = first + r->granule < hi ? first + r->granule : hi;

        if (whole && *bl_giant_given(t, first))
            n += end - lo;
        lo = end;
    }
    return n;
}

uint64_t balloon_tracker_count(const balloon_tracker *t, balloon_set set, balloon_range range)
{
    uint64_t n = 0, stop = balloon_range_end(range);
    const region *end = t->regions + t->region_count;

    if (set == BALLOON_SET_PENDING)
        bl_tracker_leave_line(t);
    for (const region *r = bl_tracker_region_after(t, range.first); r < end && r->first < stop;
         r++) {
        uint64_t lo = (range.first > r->first ? range.first : r->first) + r->shift;
        uint64_t hi = (stop < r->end ? stop : r->end) + r->shift;

        n += count_part(t, set, lo, hi);
        if (set == BALLOON_SET_PENDING)
            n -= count_masked(t, r, lo, hi);
    }
    return n;
}

uint64_t bl_tracker_reported(const balloon_tracker *t)
{
    uint64_t n = 0;

    for (uint64_t b = 0; t->any_reported && b < t->blocks; b++) {
        b = summary_next(&t->reported, b, t->blocks);
        if (b == t->blocks || !t->pending_in[b])
            continue;
        for (uint64_t w = b * BLOCK_WORDS; w < (b + 1) * BLOCK_WORDS; w++)
            n += bits_ones(t->pending[w] & ~t->held[w]);
    }
    return n;
}

static uint64_t returned_of(const balloon_tracker *t, const region *r, uint64_t block)
{
    uint64_t first = 0;

    if (!bl_tracker_giants(r))
        return t->in[block].returned;
    return bl_tracker_granule_at(r, block * BLOCK_PAGES, &first) && *bl_giant_given(t, first)
               ? BLOCK_PAGES
               : 0;
}

bool bl_tracker_all_returned(const balloon_tracker *t, balloon_range range)
{
    uint64_t stop = balloon_range_end(range);
    const region *end = t->regions + t->region_count;

    bl_tracker_leave_line(t);
    for (const region *r = bl_tracker_region_after(t, range.first); r < end && r->first < stop;
         r++) {
        uint64_t lo = (range.first > r->first ? range.first : r->first) + r->shift;
        uint64_t hi = (stop < r->end ? stop : r->end) + r->shift;

        for (uint64_t b = lo / BLOCK_PAGES; b <= (hi - 1) / BLOCK_PAGES; b++)
            if (returned_of(t, r, b) + t->pending_in[b] != t->in[b].held)
                return false;
    }
    return true;
}

/* The first block from b on that may hold a page of the set, or one that may lack a page of it
 * if `lacks`; at most end. */
static uint64_t next_block(const balloon_tracker *t, balloon_set set, bool lacks, uint64_t b,
                           uint64_t end)
{
    switch (set) {
    case BALLOON_SET_HELD:
        return summary_next(lacks ? &t->room : &t->some, b, end);
    case BALLOON_SET_FREE:
        return summary_next(lacks ? &t->some : &t->room, b, end);
    case BALLOON_SET_PENDING:
        if (!lacks) {
            uint64_t waiting = summary_next(&t->waiting, b, end);

            return summary_next(&t->ready, b, waiting);
        }
        while (b < end && t->pending_in[b] == BLOCK_PAGES)
            b++;
        return b;
    case BALLOON_SET_HINTED:
    case BALLOON_SET_SKIP:
        break;
    }
    return b;
}

/* The first index in lo..hi-1 that is in the set, or that is not if `lacks`; or hi. */
static uint64_t next_index(const balloon_tracker *t, const region *r, balloon_set set, bool lacks,
                           uint64_t lo, uint64_t hi)
{
    uint64_t first = 0;

    while (lo < hi) {
        uint64_t end = hi;

        if (set == BALLOON_SET_PENDING && bl_tracker_giants(r)) {
            bool masked = bl_giant_masks(t, r, lo, &first);

            if (masked && lacks)
                return lo;
            end = first + r->granule < hi ? first + r->granule : hi;
            if (masked) {
                lo = end;
                continue;
            }
        }
        uint64_t w = lo / WORD_BITS, x = set_word(t, set, w);

        x = (lacks ? ~x : x) & bits_from(lo);
        if (x) {
            lo = w * WORD_BITS + bits_lowest(x);
            return lo < hi ? lo : hi;
        }
        lo = (w + 1) * WORD_BITS;
        if (lo < end && lo % BLOCK_PAGES == 0)
            lo = next_block(t, set, lacks, lo / BLOCK_PAGES, (end - 1) / BLOCK_PAGES + 1) *
                 BLOCK_PAGES;
    }
    return hi;
}

bool balloon_tracker_next(const balloon_tracker *t, balloon_set set, balloon_range range,
                          balloon_run *run)
{
    uint64_t stop = balloon_range_end(range);
    const region *end = t->regions + t->region_count;

    if (!range.count)
        return false;
    if (set == BALLOON_SET_PENDING)
        bl_tracker_leave_line(t);
    for (const region *r = bl_tracker_region_after(t, range.first); r < end && r->first < stop;
         r++) {
        uint64_t lo = (range.first > r->first ? range.first : r->first) + r->shift;
        uint64_t hi = (stop < r->end ? stop : r->end) + r->shift;

        lo = next_index(t, r, set, false, lo, hi);
        if (lo == hi)
            continue;
        hi = next_index(t, r, set, true, lo, hi);
        run->region = r->id;
        run->reserved = 0;
        run->range.first = lo - r->shift;
        run->range.count = hi - lo;
        return true;
    }
    return false;
}

/* --- bitmaps ------------------------------------------------------------------------------ */

static uint64_t meant_word(const balloon_tracker *t, const region *r, balloon_set set, uint64_t w)
{
    uint64_t first = 0;

    if (set == BALLOON_SET_PENDING && bl_giant_masks(t, r, w * WORD_BITS, &first))
        return 0;
    return set_word(t, set, w);
}

/* Up to 64 bits of a set from any index on; those past hi are 0. */
static uint64_t fetch(const balloon_tracker *t, const region *r, balloon_set set, uint64_t lo,
                      uint64_t hi)
{
    uint64_t w = lo / WORD_BITS, x = meant_word(t, r, set, w) >> (lo % WORD_BITS);
    uint64_t have = WORD_BITS - lo % WORD_BITS;

    if (have < WORD_BITS && lo + have < hi)
        x |= meant_word(t, r, set, w + 1) << have;
    return hi - lo < WORD_BITS ? x & ~(~UINT64_C(0) << (hi - lo)) : x;
}

balloon_status balloon_tracker_merge(const balloon_tracker *t, balloon_set set, balloon_range range,
                                     uint8_t *bits, size_t bytes)
{
    uint64_t stop = balloon_range_end(range);
    const region *end = t->regions + t->region_count;

    if (!bl_tracker_bitmap_fits(range, bytes))
        return BALLOON_ERR_NOSPACE;
    if (set == BALLOON_SET_PENDING)
        bl_tracker_leave_line(t);
    for (const region *r = bl_tracker_region_after(t, range.first); r < end && r->first < stop;
         r++) {
        uint64_t pfn = range.first > r->first ? range.first : r->first;
        uint64_t last = stop < r->end ? stop : r->end;

        while (pfn < last) {
            uint64_t to = pfn - range.first;
            /* From the first whole byte on, 64 pages make 8 bytes. */
            uint64_t n = to % 8 ? 8 - to % 8 : WORD_BITS;
            uint64_t upto = last - pfn < n ? last : pfn + n;
            uint64_t x = fetch(t, r, set, pfn + r->shift, upto + r->shift) << (to % 8);

            for (size_t i = (size_t)(to / 8); x; i++, x >>= 8)
                bits[i] |= (uint8_t)x;
            pfn = upto;
        }
    }
    return BALLOON_OK;
}

balloon_status balloon_tracker_export(const balloon_tracker *t, balloon_set set,
                                      balloon_range range, uint8_t *bits, size_t bytes)
{
    if (!bl_tracker_bitmap_fits(range, bytes))
        return BALLOON_ERR_NOSPACE;
    memset(bits, 0, (size_t)((range.count + 7) / 8));
    return balloon_tracker_merge(t, set, range, bits, bytes);
}
