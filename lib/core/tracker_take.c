/* Pages back to the host: ready granules leave as runs, and what may not be discarded any more
 * is forgotten. */
#include <string.h>

#include "tracker_p.h"

/* Runs on their way out. */
struct taker {
    balloon_run *runs;
    size_t count, max;
    const region *last; /* of the last run */
    uint64_t end;       /* where the last run ends */
};

/* Append pages to the last run, or begin a new one. False: there is no room for it. */
static inline bool hand_out(struct taker *k, const region *r, uint64_t lo, uint64_t hi)
{
    if (k->last == r && k->end == lo) {
        k->runs[k->count - 1].range.count += hi - lo;
        k->end = hi;
        return true;
    }
    if (k->count == k->max)
        return false;

    balloon_run *run = &k->runs[k->count++];

    run->region = r->id;
    run->reserved = 0;
    run->range.first = lo - r->shift;
    run->range.count = hi - lo;
    k->last = r;
    k->end = hi;
    return true;
}

/* After reported pages were handed out: held pages of granules that are not wholly held were not
 * meant, and wait again for their granules. */
static void restore_held(balloon_tracker *t, const balloon_run *run)
{
    const region *r = bl_tracker_region_after(t, run->range.first);
    uint64_t lo = run->range.first + r->shift, hi = lo + run->range.count;

    if (r->granule == 1)
        return;
    for (; lo < hi; lo += r->granule) {
        if (bl_tracker_granule_held(t, r, lo))
            continue;
        for (uint64_t w = lo / WORD_BITS; w <= (lo + r->granule - 1) / WORD_BITS; w++)
            bl_tracker_put_pending(t, w, bits_mask(w, lo, lo + r->granule), t->held[w]);
    }
}

/* In settling mode what is pending was not given back before, and is held, unless it was reported:
 * where that may be, nothing is counted. */
static inline void remove_pending(balloon_tracker *t, uint64_t block, uint64_t pages, bool plain)
{
    if (!t->gather && !(t->any_reported && summary_has(&t->reported, block))) {
        t->returned_in[block] = (uint16_t)(t->returned_in[block] + pages);
        t->returned_pages += pages;
    }
    t->pending_in[block] = (uint16_t)(t->pending_in[block] - pages);
    t->pending_pages -= pages;
    t->ready_pages -= pages;
    if (!plain && !t->pending_in[block])
        summary_clear(&t->waiting, block);
}

/* Hand out what is ready in a block; granules of up to one word. False: no room. */
static bool take_words(balloon_tracker *t, const region *r, uint64_t block, struct taker *k)
{
    uint64_t *pending = t->pending + block * BLOCK_WORDS, first = block * BLOCK_PAGES, taken = 0;
    unsigned words = 0;
    bool room = true;

    /* Which words, without a branch for each: on a fragmented guest nobody can predict it. */
    for (unsigned i = 0; i < BLOCK_WORDS; i++)
        words |= (unsigned)(pending[i] != 0) << i;
    for (; room && words; words &= words - 1) {
        unsigned i = bits_lowest(words);
        uint64_t ready = r->granule == 1 ? pending[i] : bl_tracker_ready_word(r, pending[i]);
        uint64_t left = ready;
        uint64_t at = first + (uint64_t)i * WORD_BITS;

        while (left) {
            unsigned lo = bits_lowest(left);
            uint64_t after = ~left & bits_from(lo);
            unsigned hi = after ? bits_lowest(after) : WORD_BITS;

            room = hand_out(k, r, at + lo, at + hi);
            if (!room)
                break;
            taken += hi - lo;
            left = after ? left & bits_from(hi) : 0;
        }
        pending[i] &= ~(ready ^ left);
    }
    remove_pending(t, block, taken, r->granule == 1);
    return room;
}

/* The same for larger granules. One that is larger than a block is noted at its first block. */
static bool take_granules(balloon_tracker *t, const region *r, uint64_t block, struct taker *k)
{
    uint64_t lo = block * BLOCK_PAGES, stop = lo + BLOCK_PAGES;

    if (lo < r->whole_lo)
        lo = r->whole_lo;
    if (stop > r->whole_hi)
        stop = r->whole_hi;
    if ((lo - r->whole_lo) & (r->granule - 1))
        return true;
    for (; lo < stop; lo += r->granule) {
        if (!bl_tracker_granule_ready(t, r, lo))
            continue;
        if (!hand_out(k, r, lo, lo + r->granule))
            return false;
        for (uint64_t w = lo / WORD_BITS; w < (lo + r->granule) / WORD_BITS; w++) {
            t->pending[w] = 0;
            remove_pending(t, w / BLOCK_WORDS, WORD_BITS, false);
        }
    }
    return true;
}

size_t balloon_tracker_take(balloon_tracker *t, balloon_run *runs, size_t max)
{
    struct taker k = {.runs = runs, .max = max};
    const region *r = NULL;
    uint64_t block = 0, next = summary_next(&t->ready, 0, t->blocks);

    while (t->ready_pages) {
        block = next;
        next = summary_next(&t->ready, block + 1, t->blocks);
        PREFETCH(&t->pending[next * BLOCK_WORDS]);
        PREFETCH(&t->pending_in[next]);
        if (!r || block >= r->block + r->blocks)
            r = bl_tracker_region_of_block(t, block);
        if (!(r->granule <= WORD_BITS ? take_words : take_granules)(t, r, block, &k))
            break;
        /* Also when nothing was found: what was ready has been cancelled. It is cheaper to find
         * that out here than at every deflate. */
        summary_clear(&t->ready, block);
    }
    if (t->gather && t->any_reported)
        for (size_t i = 0; i < k.count; i++)
            restore_held(t, &runs[i]);
    return k.count;
}

uint64_t balloon_tracker_put_back(balloon_tracker *t, const balloon_run *run)
{
    const region *r = bl_tracker_region_after(t, run->range.first);
    uint64_t waiting = t->pending_pages, before = 0;

    if (r == t->regions + t->region_count || r->id != run->region || run->range.first < r->first ||
        run->range.count > r->end - run->range.first)
        return 0;

    uint64_t lo = run->range.first + r->shift, hi = lo + run->range.count;
    if (!bl_tracker_granules(r, &lo, &hi))
        return 0;
    if (t->gather)
        before = bl_tracker_count_ready(t, r, lo, hi);
    for (uint64_t g = lo; g < hi; g += r->granule) {
        if (!bl_tracker_granule_held(t, r, g))
            continue;
        if (!t->gather)
            bl_tracker_lose_granule(t, r, g);
        for (uint64_t w = g / WORD_BITS; t->gather && w <= (g + r->granule - 1) / WORD_BITS; w++)
            bl_tracker_put_pending(t, w, bits_mask(w, g, g + r->granule), ~UINT64_C(0));
    }
    if (!t->gather)
        return 0;
    t->ready_pages += bl_tracker_count_ready(t, r, lo, hi) - before;
    bl_tracker_note_ready(t, r, lo, hi);
    return t->pending_pages - waiting;
}

/* Forget what is pending in the blocks of a summary. */
static void forget(balloon_tracker *t, summary *blocks)
{
    for (uint64_t b = 0; (b = summary_next(blocks, b, t->blocks)) < t->blocks;) {
        memset(t->pending + b * BLOCK_WORDS, 0, BLOCK_WORDS * sizeof(uint64_t));
        t->pending_in[b] = 0;
        summary_clear(blocks, b);
    }
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
    if (!t->gather && t->pending_pages) {
        forget(t, &t->waiting);
        forget(t, &t->ready);
        t->pending_pages = t->ready_pages = 0;
    }
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

void bl_tracker_set_returned(balloon_tracker *t, balloon_range range)
{
    uint64_t stop = balloon_range_end(range);
    const region *end = t->regions + t->region_count;

    for (const region *r = bl_tracker_region_after(t, range.first); r < end && r->first < stop;
         r++) {
        uint64_t pages = r->granule < BLOCK_PAGES ? r->granule : BLOCK_PAGES;
        balloon_range part = {range.first > r->first ? range.first : r->first, 0};

        part.count = (stop < r->end ? stop : r->end) - part.first;
        part = balloon_range_inward(part, r->granule);
        for (uint64_t g = part.first; g < part.first + part.count; g += r->granule) {
            if (!bl_tracker_granule_held(t, r, g + r->shift) ||
                balloon_tracker_count(t, BALLOON_SET_PENDING, (balloon_range){g, r->granule}))
                continue;
            for (uint64_t at = g + r->shift; at < g + r->shift + r->granule; at += pages)
                t->returned_in[at / BLOCK_PAGES] =
                    (uint16_t)(t->returned_in[at / BLOCK_PAGES] + pages);
            t->returned_pages += r->granule;
        }
    }
}

void balloon_tracker_set_gather(balloon_tracker *t, bool gather)
{
    if (t->gather == gather)
        return;
    t->gather = gather;
    bl_tracker_forget_returned(t);
    if (!gather)
        balloon_tracker_settle(t); /* the promise for what gathered is over */
    else if (t->held_pages)
        for (const region *r = t->regions; r < t->regions + t->region_count; r++)
            bl_tracker_regather(t, r, region_lo(r), region_hi(r));
}
