/* Pages back to the host: ready granules leave as runs, and what may not be discarded any more
 * is forgotten. */
#include <string.h>

#include "tracker_p.h"

/* First ready run that starts in a block; granules of up to one word. */
static bool run_of_words(const balloon_tracker *t, const region *r, uint64_t block, uint64_t *lo,
                         uint64_t *hi)
{
    uint64_t w = block * BLOCK_WORDS, stop = w + BLOCK_WORDS, x = 0;

    while (w < stop && !(x = bl_tracker_ready_word(t, r, w)))
        w++;
    if (w == stop)
        return false;
    unsigned first = bits_lowest(x);
    uint64_t after = ~x & bits_from(first);

    *lo = w * WORD_BITS + first;
    stop = (r->block + r->blocks) * BLOCK_WORDS;
    while (!after && ++w < stop)
        after = ~bl_tracker_ready_word(t, r, w);
    *hi = w * WORD_BITS + (after ? bits_lowest(after) : 0);
    return true;
}

/* The same for larger granules. One that is larger than a block is noted at its first block. */
static bool run_of_granules(const balloon_tracker *t, const region *r, uint64_t block, uint64_t *lo,
                            uint64_t *hi)
{
    uint64_t from = block * BLOCK_PAGES, stop = from + BLOCK_PAGES;

    if (from < r->whole_lo)
        from = r->whole_lo;
    /* Within a block all granules are aligned; a larger one must begin here. */
    if ((from - r->whole_lo) & (r->granule - 1))
        return false;
    if (stop > r->whole_hi)
        stop = r->whole_hi;
    while (from < stop && !bl_tracker_granule_ready(t, r, from))
        from += r->granule;
    if (from >= stop)
        return false;
    *lo = from;
    do
        from += r->granule;
    while (from < r->whole_hi && bl_tracker_granule_ready(t, r, from));
    *hi = from;
    return true;
}

/* After a run of reported pages was handed out: held pages of granules that are not wholly held
 * were not meant, and wait again for their granules. */
static void restore_held(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    for (; lo < hi; lo += r->granule) {
        if (bl_tracker_granule_held(t, r, lo))
            continue;
        for (uint64_t w = lo / WORD_BITS; w <= (lo + r->granule - 1) / WORD_BITS; w++)
            bl_tracker_put_pending(t, w, bits_mask(w, lo, lo + r->granule), t->held[w]);
    }
}

static void clear_pending(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    for (uint64_t at = lo; at < hi;) {
        uint64_t b = at / BLOCK_PAGES, end = (b + 1) * BLOCK_PAGES;

        end = end < hi ? end : hi;
        for (uint64_t w = at / WORD_BITS; w <= (end - 1) / WORD_BITS; w++)
            t->pending[w] &= ~bits_mask(w, at, end);
        t->pending_in[b] = (uint16_t)(t->pending_in[b] - (end - at));
        if (!t->pending_in[b]) {
            summary_clear(&t->waiting, b);
            summary_clear(&t->ready, b);
        }
        at = end;
    }
    t->pending_pages -= hi - lo;
    t->ready_pages -= hi - lo;
    if (t->gather && t->any_reported && r->granule > 1)
        restore_held(t, r, lo, hi);
}

size_t balloon_tracker_take(balloon_tracker *t, balloon_run *runs, size_t max)
{
    const region *r = NULL;
    uint64_t block = 0;
    size_t n = 0;

    while (n < max && t->ready_pages) {
        uint64_t lo = 0, hi = 0;
        bool found = false;

        block = summary_next(&t->ready, block, t->blocks);
        if (!r || block >= r->block + r->blocks)
            r = bl_tracker_region_of_block(t, block);
        found = r->granule <= WORD_BITS ? run_of_words(t, r, block, &lo, &hi)
                                        : run_of_granules(t, r, block, &lo, &hi);
        if (!found) {
            /* Cancelled meanwhile: it is cheaper to find that out here than at every deflate. */
            summary_clear(&t->ready, block);
            continue;
        }
        clear_pending(t, r, lo, hi);
        runs[n].region = r->id;
        runs[n].reserved = 0;
        runs[n].range.first = lo - r->shift;
        runs[n].range.count = hi - lo;
        n++;
    }
    return n;
}

uint64_t balloon_tracker_put_back(balloon_tracker *t, const balloon_run *run)
{
    const region *r = bl_tracker_region_after(t, run->range.first);
    uint64_t waiting = t->pending_pages, before = 0;

    if (!t->gather || r == t->regions + t->region_count || r->id != run->region ||
        run->range.first < r->first || run->range.count > r->end - run->range.first)
        return 0;

    uint64_t lo = run->range.first + r->shift, hi = lo + run->range.count;
    if (!bl_tracker_granules(r, &lo, &hi))
        return 0;
    before = bl_tracker_count_ready(t, r, lo, hi);
    for (uint64_t g = lo; g < hi; g += r->granule) {
        if (!bl_tracker_granule_held(t, r, g))
            continue;
        for (uint64_t w = g / WORD_BITS; w <= (g + r->granule - 1) / WORD_BITS; w++)
            bl_tracker_put_pending(t, w, bits_mask(w, g, g + r->granule), ~UINT64_C(0));
    }
    t->ready_pages += bl_tracker_count_ready(t, r, lo, hi) - before;
    bl_tracker_note_ready(t, r, lo, hi);
    return t->pending_pages - waiting;
}

/* Settling mode: nothing stays pending. */
static void settle_all(balloon_tracker *t)
{
    for (uint64_t b = 0; (b = summary_next(&t->waiting, b, t->blocks)) < t->blocks;) {
        memset(t->pending + b * BLOCK_WORDS, 0, BLOCK_WORDS * sizeof(uint64_t));
        t->pending_in[b] = 0;
        summary_clear(&t->waiting, b);
        summary_clear(&t->ready, b);
    }
    t->pending_pages = t->ready_pages = 0;
}

/* Gathering mode: what is pending without being held was only reported. */
static void settle_reported(balloon_tracker *t, uint64_t block)
{
    const region *r = bl_tracker_region_of_block(t, block);
    uint64_t lo = block * BLOCK_PAGES, hi = lo + BLOCK_PAGES;

    if (lo < region_lo(r))
        lo = region_lo(r);
    if (hi > region_hi(r))
        hi = region_hi(r);
    if (!bl_tracker_granules(r, &lo, &hi))
        return;
    uint64_t before = bl_tracker_count_ready(t, r, lo, hi);

    for (uint64_t w = lo / WORD_BITS; w <= (hi - 1) / WORD_BITS; w++)
        bl_tracker_put_pending(t, w, bits_mask(w, lo, hi), t->pending[w] & t->held[w]);
    t->ready_pages -= before - bl_tracker_count_ready(t, r, lo, hi);
    /* A granule larger than a block was done at once. */
    for (uint64_t b = block; b < hi / BLOCK_PAGES; b++)
        summary_clear(&t->reported, b);
}

void balloon_tracker_settle(balloon_tracker *t)
{
    if (!t->gather && t->pending_pages)
        settle_all(t);
    if (!t->any_reported)
        return;
    for (uint64_t b = 0; (b = summary_next(&t->reported, b, t->blocks)) < t->blocks;) {
        if (t->gather)
            settle_reported(t, b);
        summary_clear(&t->reported, b);
    }
    t->any_reported = false;
}

/* Pages of the edges of a region, lo..hi-1, are in no whole granule and wait for ever. */
static void regather_edge(balloon_tracker *t, uint64_t lo, uint64_t hi)
{
    for (uint64_t w = lo / WORD_BITS; lo < hi && w <= (hi - 1) / WORD_BITS; w++)
        bl_tracker_put_pending(t, w, bits_mask(w, lo, hi), t->held[w]);
}

void bl_tracker_regather(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t whole_lo = r->whole_lo, whole_hi = r->whole_hi;

    if (whole_lo >= whole_hi) {
        regather_edge(t, lo, hi);
        return;
    }
    regather_edge(t, lo, hi < whole_lo ? hi : whole_lo);
    regather_edge(t, lo > whole_hi ? lo : whole_hi, hi);
    if (!bl_tracker_granules(r, &lo, &hi))
        return;
    uint64_t before = bl_tracker_count_ready(t, r, lo, hi);

    for (uint64_t g = lo; g < hi; g += r->granule) {
        balloon_range granule = {g - r->shift, r->granule};

        if (bl_tracker_granule_held(t, r, g) &&
            !balloon_tracker_count(t, BALLOON_SET_PENDING, granule))
            continue;
        for (uint64_t w = g / WORD_BITS; w <= (g + r->granule - 1) / WORD_BITS; w++)
            bl_tracker_put_pending(t, w, bits_mask(w, g, g + r->granule), t->held[w]);
    }
    t->ready_pages += bl_tracker_count_ready(t, r, lo, hi) - before;
    bl_tracker_note_ready(t, r, lo, hi);
}

void balloon_tracker_set_gather(balloon_tracker *t, bool gather)
{
    if (t->gather == gather)
        return;
    t->gather = gather;
    if (!gather)
        balloon_tracker_settle(t); /* the promise for what gathered is over */
    else if (t->held_pages)
        for (const region *r = t->regions; r < t->regions + t->region_count; r++)
            bl_tracker_regather(t, r, region_lo(r), region_hi(r));
}
