/* Page numbers one by one, where what a run costs beside its words is too much for a single page:
 * of a region of granules, and in their order up to one that cannot go. */
#include "tracker_batch_p.h"

/* A page that was not held came in: is its granule ready now? */
static inline void came_in(balloon_tracker *t, const region *r, uint64_t at)
{
    uint64_t first = 0, block = at / BLOCK_PAGES;

    if (!bl_tracker_granule_at(r, at, &first))
        return;
    if (r->granule <= WORD_BITS) {
        uint64_t granule = bits_mask(at / WORD_BITS, first, first + r->granule);

        if (~t->pending[at / WORD_BITS] & granule)
            return;
    } else {
        if (t->pending_in[block] < (r->granule < BLOCK_PAGES ? r->granule : BLOCK_PAGES))
            return;
        if (bl_tracker_giants(r))
            ++*bl_giant_full(t, first);
        if (!bl_tracker_granule_ready(t, r, first))
            return;
    }
    t->ready_pages += r->granule;
    summary_set(&t->ready, first / BLOCK_PAGES);
}

static inline bool inflate_page(balloon_tracker *t, const region *r, uint64_t at)
{
    uint64_t w = at / WORD_BITS, bit = UINT64_C(1) << (at % WORD_BITS), block = at / BLOCK_PAGES;
    unsigned held = t->in[block].held;

    if (t->held[w] & bit)
        return false;
    t->held[w] |= bit;
    t->pending[w] |= bit;
    if (!held)
        summary_set(&t->some, block);
    if (held + 1 == BLOCK_PAGES)
        summary_clear(&t->room, block);
    t->in[block].held++;
    if (!t->pending_in[block]++)
        summary_set(&t->waiting, block);
    bl_tracker_more_pending(t, block);
    t->pending_pages++;
    came_in(t, r, at);
    return true;
}

void bl_tracker_inflate_pages(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                              balloon_tally *tally)
{
    uint64_t fresh = 0;

    for (size_t i = 0; i < n; i++)
        fresh += inflate_page(t, r, v[i] + r->shift);
    t->held_pages += fresh;
    tally->changed += fresh;
    tally->unchanged += n - fresh;
}

/* Are all pages of the granule around a page of it in a set? Mostly a look at the page's word or
 * the count of its block tells that they are not. */
static inline bool may_be_all(const uint64_t *map, unsigned in_block, const region *r, uint64_t at,
                              uint64_t first)
{
    uint64_t w = at / WORD_BITS;

    if (r->granule <= WORD_BITS)
        return !(~map[w] & bits_mask(w, first, first + r->granule));
    return in_block >= (r->granule < BLOCK_PAGES ? r->granule : BLOCK_PAGES);
}

/* What bl_tracker_deflate_near() does for a range of one page. */
static inline bool deflate_page(balloon_tracker *t, const region *r, uint64_t at)
{
    uint64_t w = at / WORD_BITS, bit = UINT64_C(1) << (at % WORD_BITS), block = at / BLOCK_PAGES;
    uint64_t first = 0;
    bool whole = bl_tracker_granule_at(r, at, &first), ready = false, lost = false;

    if (!(t->held[w] & bit))
        return false;
    if (whole) {
        ready = may_be_all(t->pending, t->pending_in[block], r, at, first) &&
                bl_tracker_granule_ready(t, r, first);
        lost = !ready && may_be_all(t->held, t->in[block].held, r, at, first) &&
               bl_tracker_granule_held(t, r, first);
    }
    if (lost)
        bl_tracker_lose_granule(t, r, first);
    if (ready)
        t->ready_pages -= r->granule;
    if (whole && bl_tracker_giants(r) && t->pending_in[block] == BLOCK_PAGES)
        --*bl_giant_full(t, first);
    if (t->pending[w] & bit) {
        t->pending[w] &= ~bit;
        t->pending_pages--;
        t->pending_in[block]--;
        bl_tracker_fewer_pending(t, block, t->pending_in[block] + 1u);
        /* Of a granule that is lost, pages wait only for the moment. */
        t->cancelled += !(lost && t->gather);
    }
    t->held[w] &= ~bit;
    if (t->in[block].held == BLOCK_PAGES)
        summary_set(&t->room, block);
    if (!--t->in[block].held)
        summary_clear(&t->some, block);
    return true;
}

void bl_tracker_deflate_pages(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                              balloon_tally *tally)
{
    uint64_t gone = 0;

    for (size_t i = 0; i < n; i++)
        gone += deflate_page(t, r, v[i] + r->shift);
    t->held_pages -= gone;
    tally->changed += gone;
    tally->unchanged += n - gone;
}

/* --- up to the first that cannot go ----------------------------------------------------------- */

/* Pages of a region of single pages, up to one that is not its or is held. */
static size_t inflate_singles(balloon_tracker *t, const region *r, const uint32_t *v, size_t n)
{
    uint64_t *held = t->held, *pending = t->pending, first = r->first, pages = r->end - first;
    size_t i = 0;

    for (; i < n && v[i] - first < pages; i++) {
        uint64_t at = v[i] + r->shift, w = at / WORD_BITS, bit = UINT64_C(1) << (at % WORD_BITS);
        uint64_t was = held[w], block = at / BLOCK_PAGES;
        unsigned before = t->in[block].held;

        if (was & bit)
            break;
        held[w] = was | bit;
        pending[w] |= bit;
        t->in[block].held = (uint16_t)(before + 1);
        if (!before)
            summary_set(&t->some, block);
        if (before + 1 == BLOCK_PAGES)
            summary_clear(&t->room, block);
        if (!t->pending_in[block]++)
            summary_set(&t->ready, block);
        bl_tracker_more_pending(t, block);
    }
    t->held_pages += i;
    t->pending_pages += i;
    t->ready_pages += i;
    return i;
}

/* The same out of the balloon, up to one that is not held. */
static size_t deflate_singles(balloon_tracker *t, const region *r, const uint32_t *v, size_t n)
{
    uint64_t *held = t->held, *pending = t->pending, first = r->first, pages = r->end - first;
    uint64_t waited = 0;
    size_t i = 0;

    for (; i < n && v[i] - first < pages; i++) {
        uint64_t at = v[i] + r->shift, w = at / WORD_BITS, bit = UINT64_C(1) << (at % WORD_BITS);
        uint64_t was = held[w], block = at / BLOCK_PAGES;
        unsigned before = t->in[block].held;

        if (!(was & bit))
            break;
        held[w] = was & ~bit;
        if (pending[w] & bit) {
            pending[w] &= ~bit;
            t->pending_in[block]--;
            bl_tracker_fewer_pending(t, block, t->pending_in[block] + 1u);
            waited++;
        }
        t->in[block].held = (uint16_t)(before - 1);
        if (before == BLOCK_PAGES)
            summary_set(&t->room, block);
        if (before == 1)
            summary_clear(&t->some, block);
    }
    t->held_pages -= i;
    t->pending_pages -= waited;
    t->ready_pages -= waited;
    t->cancelled += waited;
    return i;
}

size_t bl_tracker_inflate_until(balloon_tracker *t, const uint32_t *v, size_t n,
                                balloon_tally *tally)
{
    const region *r = t->regions;
    size_t i = 0, went = 1;

    for (; went && i < n && (r = region_with(t, r, v[i])) != NULL; i += went) {
        if (r->granule == 1) {
            went = inflate_singles(t, r, v + i, n - i);
        } else {
            went = inflate_page(t, r, v[i] + r->shift);
            t->held_pages += went;
        }
    }
    tally->changed += i;
    return i;
}

size_t bl_tracker_deflate_until(balloon_tracker *t, const uint32_t *v, size_t n,
                                balloon_tally *tally)
{
    const region *r = t->regions;
    size_t i = 0, went = 1;

    for (; went && i < n && (r = region_with(t, r, v[i])) != NULL && r->granule == 1; i += went)
        went = deflate_singles(t, r, v + i, n - i);
    tally->changed += i;
    return i;
}
