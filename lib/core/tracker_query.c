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

/* Sums of counts are made in the halves of a word, two or four counts at a time; so many blocks do
 * not overflow them. */
#define SUM_BLOCKS UINT64_C(0x400000)
#define HALVES     UINT64_C(0x0000ffff0000ffff)

static uint64_t sum_held(const struct block_pages *in, uint64_t n)
{
    const struct block_pages ones[2] = {{1, 0}, {1, 0}};
    uint64_t sum = 0, two = 0;
    unsigned shift = 0;

    memcpy(&two, ones, sizeof(two));
    shift = two & 1 ? 0 : 16; /* where a count lies in it is the machine's affair */
    for (; n >= 2; n -= 2, in += 2) {
        memcpy(&two, in, sizeof(two));
        sum += two >> shift & HALVES;
    }
    return (sum >> 32) + (uint32_t)sum + (n ? in->held : 0);
}

static uint64_t sum_pending(const uint16_t *in, uint64_t n)
{
    uint64_t sum = 0, four = 0, rest = 0;

    for (; n >= 4; n -= 4, in += 4) {
        memcpy(&four, in, sizeof(four));
        sum += (four & HALVES) + (four >> 16 & HALVES);
    }
    while (n--)
        rest += *in++;
    return (sum >> 32) + (uint32_t)sum + rest;
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
    uint64_t n = 0;

    for (uint64_t part; b < end; b += part) {
        part = end - b < SUM_BLOCKS ? end - b : SUM_BLOCKS;
        n += set == BALLOON_SET_PENDING ? sum_pending(t->pending_in + b, part)
             : set == BALLOON_SET_HELD  ? sum_held(t->in + b, part)
                                        : part * BLOCK_PAGES - sum_held(t->in + b, part);
    }
    return n;
}

static uint64_t count_words(const balloon_tracker *t, balloon_set set, uint64_t lo, uint64_t hi)
{
    uint64_t n = 0;

    for (uint64_t w = lo / WORD_BITS; lo < hi && w <= (hi - 1) / WORD_BITS; w++)
        n += bits_ones(set_word(t, set, w) & bits_mask(w, lo, hi));
    return n;
}

static uint64_t count_part(const balloon_tracker *t, balloon_set set, uint64_t lo, uint64_t hi)
{
    uint64_t from = (lo + BLOCK_PAGES - 1) / BLOCK_PAGES, end = hi / BLOCK_PAGES;

    if (!is_counted(set) || from >= end)
        return count_words(t, set, lo, hi);
    return count_words(t, set, lo, from * BLOCK_PAGES) + count_blocks(t, set, from, end) +
           count_words(t, set, end * BLOCK_PAGES, hi);
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

/* The first block from b on that is not pending as a whole, or end. No summary knows, so this takes
 * time linear in the run. */
static uint64_t all_pending(const uint16_t *pending_in, uint64_t b, uint64_t end)
{
    const uint64_t all = BLOCK_PAGES * UINT64_C(0x0001000100010001);
    uint64_t eight[2];

    for (; b + 8 <= end; b += 8) {
        memcpy(eight, pending_in + b, sizeof(eight));
        if ((eight[0] ^ all) | (eight[1] ^ all))
            break;
    }
    while (b < end && pending_in[b] == BLOCK_PAGES)
        b++;
    return b;
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
        return all_pending(t->pending_in, b, end);
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
