/* Questions about sets of pages: how many, and where is the next run. */
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

/* Counters are added in lanes, of which compilers make vectors, but for size. A sum of so many does
 * not overflow the upper half of a lane. */
#define LANES       8u
#define LANE_COUNTS 64u

static uint64_t sum_held(const struct block_pages *in, uint64_t n)
{
    uint64_t sum = 0;
#ifndef __OPTIMIZE_SIZE__
    const struct block_pages all = {UINT16_MAX, 0};
    uint32_t mask;

    memcpy(&mask, &all, sizeof(mask)); /* which half it is, is the machine's affair */
    while (n >= LANES) {
        uint32_t lane[LANES] = {0};
        unsigned rounds = n / LANES < LANE_COUNTS ? (unsigned)(n / LANES) : LANE_COUNTS;

        n -= rounds * LANES;
        for (; rounds; rounds--, in += LANES) {
            for (unsigned i = 0; i < LANES; i++) {
                uint32_t both;

                memcpy(&both, &in[i], sizeof(both));
                lane[i] += both & mask;
            }
        }
        for (unsigned i = 0; i < LANES; i++)
            sum += mask & 1 ? lane[i] : lane[i] >> 16;
    }
#endif
    while (n--)
        sum += in++->held;
    return sum;
}

static uint64_t sum_pending(const uint16_t *in, uint64_t n)
{
    uint64_t sum = 0;

#ifndef __OPTIMIZE_SIZE__
    while (n >= LANES) {
        uint32_t lane[LANES] = {0};
        unsigned rounds = n / LANES < LANE_COUNTS ? (unsigned)(n / LANES) : LANE_COUNTS;

        n -= rounds * LANES;
        for (; rounds; rounds--, in += LANES)
            for (unsigned i = 0; i < LANES; i++)
                lane[i] += in[i];
        for (unsigned i = 0; i < LANES; i++)
            sum += lane[i];
    }
#endif
    while (n--)
        sum += *in++;
    return sum;
}

/* Do the counters of a block know a set? Bits outside of the region are never held or pending, so a
 * full count is a whole block of guest memory. */
static bool is_counted(balloon_set set)
{
    return set == BALLOON_SET_HELD || set == BALLOON_SET_FREE || set == BALLOON_SET_PENDING;
}

/* Pages of whole blocks of a region. */
static uint64_t count_blocks(const balloon_tracker *t, balloon_set set, uint64_t b, uint64_t end)
{
    if (b >= end)
        return 0;
    if (set == BALLOON_SET_PENDING)
        return sum_pending(t->pending_in + b, end - b);
    uint64_t held = sum_held(t->in + b, end - b);

    return set == BALLOON_SET_HELD ? held : (end - b) * BLOCK_PAGES - held;
}

static uint64_t count_words(const balloon_tracker *t, balloon_set set, uint64_t lo, uint64_t hi)
{
    uint64_t n = 0;

    for (uint64_t w = lo / WORD_BITS; lo < hi && w <= (hi - 1) / WORD_BITS; w++)
        n += bits_ones(set_word(t, set, w) & bits_mask(w, lo, hi));
    return n;
}

/* Pages lo..hi-1 of one block, or what its counter says without the others. */
static uint64_t count_in_block(const balloon_tracker *t, balloon_set set, uint64_t lo, uint64_t hi)
{
    uint64_t block = lo / BLOCK_PAGES, n = lo < hi ? count_blocks(t, set, block, block + 1) : 0;

    if (n == 0 || n == BLOCK_PAGES)
        return n ? hi - lo : 0;
    if (hi - lo <= BLOCK_PAGES / 2)
        return count_words(t, set, lo, hi);
    return n - count_words(t, set, block * BLOCK_PAGES, lo) -
           count_words(t, set, hi, (block + 1) * BLOCK_PAGES);
}

static uint64_t count_part(const balloon_tracker *t, balloon_set set, uint64_t lo, uint64_t hi)
{
    uint64_t from = (lo + BLOCK_PAGES - 1) / BLOCK_PAGES, end = hi / BLOCK_PAGES;

    if (!is_counted(set))
        return count_words(t, set, lo, hi);
    if (from > end)
        return count_in_block(t, set, lo, hi);
    return count_in_block(t, set, lo, from * BLOCK_PAGES) + count_blocks(t, set, from, end) +
           count_in_block(t, set, end * BLOCK_PAGES, hi);
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

/* The first block from b on that holds a page of the set, or one that lacks a page of it if
 * `lacks`; or end. Hints have no summary. */
static inline uint64_t next_block(const balloon_tracker *t, balloon_set set, bool lacks, uint64_t b,
                                  uint64_t end)
{
    switch (set) {
    case BALLOON_SET_HELD:
        return summary_next(lacks ? &t->room : &t->some, b, end);
    case BALLOON_SET_FREE:
        return summary_next(lacks ? &t->some : &t->room, b, end);
    case BALLOON_SET_PENDING:
        if (lacks)
            return summary_next(&t->calm, b, end);
        return summary_next(&t->ready, b, summary_next(&t->waiting, b, end));
    case BALLOON_SET_HINTED:
    case BALLOON_SET_SKIP:
        break;
    }
    return b;
}

/* The first index in lo..hi-1 that is in the set, or, after one that is, one that is not if
 * `lacks`; or hi. */
static uint64_t next_index(const balloon_tracker *t, const region *r, balloon_set set, bool lacks,
                           uint64_t lo, uint64_t hi)
{
    const uint64_t flip = lacks ? ~UINT64_C(0) : 0, end = (hi - 1) / BLOCK_PAGES + 1;
    uint64_t first = 0, near = lacks ? ~set_word(t, set, lo / WORD_BITS) & bits_from(lo) : 0;

    if (near) { /* a short run, and its word is at hand */
        lo = lo / WORD_BITS * WORD_BITS + bits_lowest(near);
        return lo < hi ? lo : hi;
    }
    while (lo < hi) {
        uint64_t block = next_block(t, set, lacks, lo / BLOCK_PAGES, end);

        if (block > lo / BLOCK_PAGES)
            lo = block * BLOCK_PAGES;
        if (lo >= hi || (lacks && set == BALLOON_SET_PENDING && bl_giant_masks(t, r, lo, &first)))
            break;
        for (uint64_t w = lo / WORD_BITS; w < (block + 1) * BLOCK_WORDS; w++) {
            uint64_t x = (set_word(t, set, w) ^ flip) & bits_from(lo);

            if (x) {
                lo = w * WORD_BITS + bits_lowest(x);
                return lo < hi ? lo : hi;
            }
            lo = (w + 1) * WORD_BITS;
        }
    }
    return lo < hi ? lo : hi;
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
