/* Host granules in the map: which are complete, ready or given back. */
#include <string.h>

#include "tracker_p.h"

/* --- pending bits ------------------------------------------------------------------------- */

void bl_tracker_put_pending(balloon_tracker *t, uint64_t w, uint64_t mask, uint64_t value)
{
    uint64_t old = t->pending[w] & mask, block = w / BLOCK_WORDS;

    value &= mask;
    if (old == value)
        return;
    unsigned before = bits_ones(old), after = bits_ones(value);

    t->pending[w] ^= old ^ value;
    t->pending_pages = t->pending_pages + after - before;
    t->pending_in[block] = (uint16_t)(t->pending_in[block] + after - before);
    if (after < before) {
        bl_tracker_fewer_pending(t, block, t->pending_in[block] + before - after);
    } else {
        summary_set(&t->waiting, block);
        bl_tracker_more_pending(t, block);
    }
}

void bl_tracker_wait(balloon_tracker *t, uint64_t lo, uint64_t hi)
{
    while (lo < hi) {
        uint64_t w = lo / WORD_BITS, block = w / BLOCK_WORDS;

        if (lo % BLOCK_PAGES || hi - lo < BLOCK_PAGES) {
            bl_tracker_put_pending(t, w, bits_mask(w, lo, hi), ~UINT64_C(0));
            lo = (w + 1) * WORD_BITS;
            continue;
        }
        if (t->pending_in[block] < BLOCK_PAGES) {
            memset(&t->pending[w], 0xff, BLOCK_PAGES / 8);
            t->pending_pages += BLOCK_PAGES - t->pending_in[block];
            t->pending_in[block] = BLOCK_PAGES;
            summary_set(&t->waiting, block);
            summary_clear(&t->calm, block);
        }
        lo += BLOCK_PAGES;
    }
}

void bl_tracker_wait_held(balloon_tracker *t, uint64_t lo, uint64_t hi, bool all)
{
    while (lo < hi) {
        uint64_t w = lo / WORD_BITS, block = w / BLOCK_WORDS;
        unsigned held = t->in[block].held, waiting = t->pending_in[block];
        bool none_stays = waiting == 0 && (!all || held == 0);
        bool all_stay = held == BLOCK_PAGES && (!all || waiting == BLOCK_PAGES);

        if (none_stays || all_stay) {
            lo = (block + 1) * BLOCK_PAGES;
            continue;
        }
        bl_tracker_put_pending(t, w, bits_mask(w, lo, hi),
                               all ? t->held[w] : t->held[w] & t->pending[w]);
        lo = (w + 1) * WORD_BITS;
    }
}

/* --- granules ----------------------------------------------------------------------------- */

bool bl_tracker_granules(const region *r, uint64_t *lo, uint64_t *hi)
{
    uint64_t mask = r->granule - 1;

    if (*lo < r->whole_lo)
        *lo = r->whole_lo;
    if (*hi > r->whole_hi)
        *hi = r->whole_hi;
    if (*lo >= *hi)
        return false;
    *lo = r->whole_lo + ((*lo - r->whole_lo) & ~mask);
    *hi = r->whole_lo + ((*hi - r->whole_lo + mask) & ~mask);
    return true;
}

/* Is a granule of up to a block wholly in a set? */
static bool all_set(const uint64_t *map, unsigned in_block, const region *r, uint64_t lo)
{
    if (r->granule == BLOCK_PAGES)
        return in_block == BLOCK_PAGES;
    for (uint64_t w = lo / WORD_BITS; w <= (lo + r->granule - 1) / WORD_BITS; w++)
        if (~map[w] & bits_mask(w, lo, lo + r->granule))
            return false;
    return true;
}

bool bl_tracker_granule_held(const balloon_tracker *t, const region *r, uint64_t lo)
{
    uint64_t end = (lo + r->granule) / BLOCK_PAGES;

    if (bl_tracker_giants(r))
        return summary_next(&t->room, lo / BLOCK_PAGES, end) == end;
    return all_set(t->held, t->in[lo / BLOCK_PAGES].held, r, lo);
}

bool bl_tracker_granule_ready(const balloon_tracker *t, const region *r, uint64_t lo)
{
    if (bl_tracker_giants(r))
        return *bl_giant_full(t, lo) == r->granule / BLOCK_PAGES &&
               !(t->gather && *bl_giant_given(t, lo));
    return all_set(t->pending, t->pending_in[lo / BLOCK_PAGES], r, lo);
}

uint64_t bl_tracker_full_granules(const region *r, uint64_t word)
{
    uint64_t starts = 1, ones = ~UINT64_C(0) >> (WORD_BITS - r->granule);

    for (uint64_t n = 1; n < r->granule; n *= 2)
        word &= word >> n;
    if (!word)
        return 0;
    for (uint64_t n = r->granule; n < WORD_BITS; n *= 2)
        starts |= starts << n;
    return (word & starts) * ones;
}

/* Of granules of up to a block, in one block. */
static uint64_t ready_in_block(const balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    unsigned waiting = t->pending_in[lo / BLOCK_PAGES];
    uint64_t n = 0;

    if (waiting == BLOCK_PAGES)
        return hi - lo;
    if (waiting < r->granule)
        return 0;
    if (r->granule > WORD_BITS) {
        for (; lo < hi; lo += r->granule)
            n += all_set(t->pending, t->pending_in[lo / BLOCK_PAGES], r, lo) ? r->granule : 0;
        return n;
    }
    for (uint64_t w = lo / WORD_BITS; w <= (hi - 1) / WORD_BITS; w++)
        n += bits_ones(bl_tracker_full_granules(r, t->pending[w]) & bits_mask(w, lo, hi));
    return n;
}

uint64_t bl_tracker_count_ready(const balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t n = 0;

    while (lo < hi) {
        uint64_t end = (lo / BLOCK_PAGES + 1) * BLOCK_PAGES;

        if (bl_tracker_giants(r)) {
            end = lo + r->granule;
            n += bl_tracker_granule_ready(t, r, lo) ? r->granule : 0;
        } else {
            end = end < hi ? end : hi;
            n += ready_in_block(t, r, lo, end);
        }
        lo = end;
    }
    return n;
}

void bl_tracker_note_ready(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    if (!bl_tracker_giants(r)) {
        for (uint64_t b = lo / BLOCK_PAGES; b <= (hi - 1) / BLOCK_PAGES; b++)
            if (t->pending_in[b] >= r->granule)
                summary_set(&t->ready, b);
        return;
    }
    for (; lo < hi; lo += r->granule)
        if (bl_tracker_granule_ready(t, r, lo))
            summary_set(&t->ready, lo / BLOCK_PAGES);
}

/* --- given back --------------------------------------------------------------------------- */

void bl_tracker_lose_granule(balloon_tracker *t, const region *r, uint64_t lo)
{
    if (!bl_tracker_giants(r)) {
        if (t->gather)
            bl_tracker_wait_held(t, lo, lo + r->granule, true);
        else
            bl_tracker_lose(t, lo / BLOCK_PAGES, r->granule);
    } else if (*bl_giant_given(t, lo)) {
        *bl_giant_given(t, lo) = 0;
        if (t->gather) {
            t->pending_pages += r->granule;
            bl_giant_note(t, r, lo, true);
        } else {
            t->returned_pages -= r->granule;
        }
    }
}

void bl_tracker_forget_returned(balloon_tracker *t)
{
    for (const region *r = t->regions; r < t->regions + t->region_count; r++) {
        for (uint64_t b = r->block; !bl_tracker_giants(r) && b < r->block + r->blocks; b++)
            t->in[b].returned = 0;
        for (uint64_t g = r->whole_lo; bl_tracker_giants(r) && g < r->whole_hi; g += r->granule)
            *bl_giant_given(t, g) = 0;
    }
    t->returned_pages = 0;
}
