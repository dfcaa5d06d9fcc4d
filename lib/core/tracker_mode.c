/* State that no buffer brings: what a change of mode makes of the pages that are held, and of pages
 * that come from a saved device or another host. */
#include "tracker_p.h"

/* The giant at index lo came in whole, and counts as given back. */
static void give_giant(balloon_tracker *t, const region *r, uint64_t lo)
{
    if (*bl_giant_given(t, lo))
        return;
    *bl_giant_given(t, lo) = 1;
    if (!t->gather) {
        t->returned_pages += r->granule;
        return;
    }
    bl_tracker_wait(t, lo, lo + r->granule);
    *bl_giant_full(t, lo) = (uint16_t)(r->granule / BLOCK_PAGES);
    bl_giant_note(t, r, lo, false);
    t->pending_pages -= r->granule;
}

/* Of a granule that is larger than a word: is any page pending, and meant? */
static bool any_waits(const balloon_tracker *t, const region *r, uint64_t lo)
{
    uint64_t from = lo / BLOCK_PAGES, end = from + r->granule / BLOCK_PAGES;

    if (!bl_tracker_giants(r))
        return bits_count(t->pending, lo, lo + r->granule) != 0;
    return summary_next(&t->waiting, from, end) < end || summary_next(&t->ready, from, end) < end;
}

void bl_tracker_regather(balloon_tracker *t, const region *r, uint64_t lo)
{
    bool complete = bl_tracker_granule_held(t, r, lo) && !any_waits(t, r, lo), was, is;

    if (complete && bl_tracker_giants(r))
        give_giant(t, r, lo);
    if (complete)
        return;
    was = bl_tracker_granule_ready(t, r, lo);
    bl_tracker_wait_held(t, lo, lo + r->granule, true);
    if (bl_tracker_giants(r))
        *bl_giant_full(t, lo) = (uint16_t)bl_tracker_full_blocks(t, lo, lo + r->granule);
    is = bl_tracker_granule_ready(t, r, lo);
    t->ready_pages += (is ? r->granule : 0) - (was ? r->granule : 0);
    if (is)
        summary_set(&t->ready, lo / BLOCK_PAGES);
}

/* The pages of a word that lie in whole granules. */
static uint64_t whole_in(const region *r, uint64_t w)
{
    uint64_t lo = w * WORD_BITS, hi = lo + WORD_BITS;

    lo = lo > r->whole_lo ? lo : r->whole_lo;
    hi = hi < r->whole_hi ? hi : r->whole_hi;
    return lo < hi ? bits_mask(w, lo, hi) : 0;
}

/* Of a word of granules of up to 64 pages: those wholly held of which nothing waits. */
static uint64_t given_back(const balloon_tracker *t, const region *r, uint64_t w)
{
    return bl_tracker_full_granules(r, t->held[w]) & bl_tracker_full_granules(r, ~t->pending[w]);
}

/* Granules of up to 64 pages, all of a word at once. */
static void regather_word(balloon_tracker *t, const region *r, uint64_t w, uint64_t named)
{
    uint64_t whole = whole_in(r, w), was = t->pending[w];
    uint64_t touched = ~bl_tracker_full_granules(r, ~named) & whole;
    uint64_t mask = (touched & ~given_back(t, r, w)) | (named & ~whole), ready;

    if (!(mask & (was ^ t->held[w])))
        return;
    bl_tracker_put_pending(t, w, mask, t->held[w]);
    ready = bl_tracker_full_granules(r, t->pending[w]) & whole;
    t->ready_pages += bits_ones(ready);
    t->ready_pages -= bits_ones(bl_tracker_full_granules(r, was) & whole);
    if (ready)
        summary_set(&t->ready, w / BLOCK_WORDS);
}

void bl_tracker_regather_block(balloon_tracker *t, const region *r, uint64_t block,
                               const uint64_t named[BLOCK_WORDS])
{
    const uint64_t step = r->granule < BLOCK_PAGES ? r->granule / WORD_BITS : BLOCK_WORDS;
    uint64_t first = block * BLOCK_WORDS;

    if (r->granule <= WORD_BITS) {
        for (uint64_t i = 0; i < BLOCK_WORDS; i++)
            if (named[i])
                regather_word(t, r, first + i, named[i]);
        return;
    }
    for (uint64_t i = 0; i < BLOCK_WORDS; i += step) {
        uint64_t any = 0;

        for (uint64_t k = i; k < i + step; k++)
            any |= named[k];
        if (any && !whole_in(r, first + i))
            for (uint64_t k = i; k < i + step; k++)
                bl_tracker_put_pending(t, first + k, named[k], t->held[first + k]);
        else if (any && !bl_tracker_giants(r))
            bl_tracker_regather(t, r, (first + i) * WORD_BITS);
    }
}

static void regather_region(balloon_tracker *t, const region *r)
{
    uint64_t all[BLOCK_WORDS];

    for (uint64_t i = 0; i < BLOCK_WORDS; i++)
        all[i] = ~UINT64_C(0);
    for (uint64_t b = r->block; r->granule > 1 && b < r->block + r->blocks; b++)
        if (t->in[b].held || t->pending_in[b])
            bl_tracker_regather_block(t, r, b, all);
    for (uint64_t g = r->whole_lo; bl_tracker_giants(r) && g < r->whole_hi; g += r->granule)
        bl_tracker_regather(t, r, g);
}

/* The pages lo..hi-1 of whole granules of up to 64. */
static void set_returned_words(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    for (uint64_t w = lo / WORD_BITS; lo < hi; lo = ++w * WORD_BITS) {
        struct block_pages *in = &t->in[w / BLOCK_WORDS];
        unsigned n = in->held ? bits_ones(given_back(t, r, w) & bits_mask(w, lo, hi)) : 0;

        in->returned = (uint16_t)(in->returned + n);
        t->returned_pages += n;
    }
}

void bl_tracker_set_returned(balloon_tracker *t, balloon_range range)
{
    uint64_t stop = balloon_range_end(range);
    const region *end = t->regions + t->region_count;

    bl_tracker_leave_line(t);
    for (const region *r = bl_tracker_region_after(t, range.first); r < end && r->first < stop;
         r++) {
        balloon_range part = {range.first > r->first ? range.first : r->first, 0};

        part.count = (stop < r->end ? stop : r->end) - part.first;
        part = balloon_range_inward(part, r->granule);
        uint64_t g = part.first + r->shift, hi = g + part.count;

        if (r->granule <= WORD_BITS) {
            set_returned_words(t, r, g, hi);
            continue;
        }
        for (; g < hi; g += r->granule) {
            bool returned = bl_tracker_granule_held(t, r, g) && !any_waits(t, r, g);

            if (returned && bl_tracker_giants(r)) {
                give_giant(t, r, g);
            } else if (returned) {
                t->in[g / BLOCK_PAGES].returned =
                    (uint16_t)(t->in[g / BLOCK_PAGES].returned + r->granule);
                t->returned_pages += r->granule;
            }
        }
    }
}

void balloon_tracker_set_gather(balloon_tracker *t, bool gather)
{
    if (t->gather == gather)
        return;
    bl_tracker_leave_line(t);
    if (!gather)
        for (const region *r = t->regions; r < t->regions + t->region_count; r++)
            for (uint64_t g = r->whole_lo; bl_tracker_giants(r) && g < r->whole_hi; g += r->granule)
                bl_tracker_lose_granule(t, r, g); /* its bits are to be cleared */
    t->gather = gather;
    bl_tracker_forget_returned(t);
    if (!gather)
        balloon_tracker_settle(t); /* the promise for what gathered is over */
    else if (t->held_pages)
        for (const region *r = t->regions; r < t->regions + t->region_count; r++)
            regather_region(t, r);
}
