/* Questions about sets of pages: how many. */
#include "tracker_set_p.h"

/* Counters are added in lanes of 16 bits, of which compilers make vectors, but for size. There is
 * room for so many in a lane. */
#define LANES       16u
#define LANE_COUNTS 64u

/* Of n counters the sum of every `step`th, from the first on. These are BLOCK_PAGES at most. */
static ALWAYS_INLINE uint64_t sum_counters(const uint16_t *at, uint64_t n, const unsigned step)
{
    uint64_t sum = 0, i = 0;

#ifndef __OPTIMIZE_SIZE__
    while (n - i >= LANES) {
        uint64_t rounds = (n - i) / LANES < LANE_COUNTS ? (n - i) / LANES : LANE_COUNTS;
        uint16_t lane[LANES] = {0};

        for (; rounds; rounds--, i += LANES)
            for (unsigned k = 0; k < LANES; k++)
                lane[k] = (uint16_t)(lane[k] + at[i + k]);
        for (unsigned k = 0; k < LANES; k += step)
            sum += lane[k];
    }
#endif
    for (; i < n; i += step)
        sum += at[i];
    return sum;
}

/* Do the counters of a block know a set? Bits outside of the region are never held or pending, so a
 * full count is a whole block of guest memory. */
static bool is_counted(balloon_set set)
{
    return set == BALLOON_SET_HELD || set == BALLOON_SET_FREE || set == BALLOON_SET_PENDING;
}

/* Blocks b..end-1 share a word of the summaries. Is none of their pages held, or is each? *pages:
 * how many are, then. */
static inline bool are_alike(const balloon_tracker *t, uint64_t b, uint64_t end, uint64_t *pages)
{
    uint64_t w = b / WORD_BITS, mask = bits_mask(w, b, end);

    *pages = t->some.bit[w] & mask ? (end - b) * BLOCK_PAGES : 0;
    return !*pages || !(t->room.bit[w] & mask);
}

/* Pages that are held in some blocks. Where many are alike, the summaries tell. */
static uint64_t count_held(const balloon_tracker *t, uint64_t b, uint64_t end)
{
    uint64_t held = 0;

    for (uint64_t next, pages; b < end; b = next) {
        next = (b / WORD_BITS + 1) * WORD_BITS;
        next = next < end ? next : end;
        if (!are_alike(t, b, next, &pages))
            pages = sum_counters((const uint16_t *)(const void *)(t->in + b), 2 * (next - b), 2);
        held += pages;
    }
    return held;
}

/* Pages of whole blocks of a region. */
static uint64_t count_blocks(const balloon_tracker *t, balloon_set set, uint64_t b, uint64_t end)
{
    if (b >= end)
        return 0;
    if (set == BALLOON_SET_PENDING)
        return sum_counters(t->pending_in + b, end - b, 1);
    uint64_t held = count_held(t, b, end);

    return set == BALLOON_SET_HELD ? held : (end - b) * BLOCK_PAGES - held;
}

static uint64_t count_words(const balloon_tracker *t, balloon_set set, uint64_t lo, uint64_t hi)
{
    const struct set_maps m = set_maps_of(t, set);
    uint64_t n = 0;

    for (uint64_t w = lo / WORD_BITS; m.a && lo < hi && w <= (hi - 1) / WORD_BITS; w++)
        n += bits_ones(set_word(&m, w) & bits_mask(w, lo, hi));
    return n;
}

/* Are some pages of a block in a set and some not? */
static inline bool is_mixed(const balloon_tracker *t, balloon_set set, uint64_t block)
{
    if (set == BALLOON_SET_PENDING)
        return t->pending_in[block] % BLOCK_PAGES != 0;
    return summary_has(&t->some, block) && summary_has(&t->room, block);
}

/* Pages lo..hi-1 of one block. Where a range begins and ends nobody can predict, so no branch
 * depends on it. */
static uint64_t count_in_block(const balloon_tracker *t, balloon_set set, uint64_t lo, uint64_t hi)
{
    uint64_t block = lo / BLOCK_PAGES, words[BLOCK_WORDS], n = 0;
    unsigned first = lo / WORD_BITS % BLOCK_WORDS, last = (hi - 1) / WORD_BITS % BLOCK_WORDS;

    if (lo >= hi)
        return 0;
    if (!is_mixed(t, set, block))
        return count_blocks(t, set, block, block + 1) ? hi - lo : 0;
    const struct set_maps m = set_maps_of(t, set);

    for (unsigned i = 0; i < BLOCK_WORDS; i++)
        words[i] =
            (m.a[block * BLOCK_WORDS + i] ^ m.flip) & (0 - (uint64_t)((i >= first) & (i <= last)));
    words[first] &= bits_from(lo);
    words[last] &= ~UINT64_C(0) >> (WORD_BITS - 1 - (hi - 1) % WORD_BITS);
    for (unsigned i = 0; i < BLOCK_WORDS; i++)
        n += bits_ones(words[i]);
    return n;
}

/* Bring near the words of a block that are needed later. */
static inline void fetch_mixed(const balloon_tracker *t, balloon_set set, uint64_t at)
{
    const uint64_t *map = set == BALLOON_SET_PENDING ? t->pending : t->held;

    if (is_mixed(t, set, at / BLOCK_PAGES))
        PREFETCH(&map[at / WORD_BITS]);
}

static uint64_t count_part(const balloon_tracker *t, balloon_set set, uint64_t lo, uint64_t hi)
{
    uint64_t from = (lo + BLOCK_PAGES - 1) / BLOCK_PAGES, end = hi / BLOCK_PAGES;

    if (!is_counted(set))
        return count_words(t, set, lo, hi);
    if (from > end)
        return count_in_block(t, set, lo, hi);
    fetch_mixed(t, set, lo);
    fetch_mixed(t, set, hi - 1);
    return count_blocks(t, set, from, end) + count_in_block(t, set, lo, from * BLOCK_PAGES) +
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
