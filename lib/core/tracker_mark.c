/* Pages in and out of the balloon, by ranges: cut into runs inside a region, runs into blocks, and
 * a block is changed by words, never by single bits. */
#include "tracker_p.h"

/* --- pending words and ready granules ----------------------------------------------------- */

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
    if (t->pending_in[block])
        summary_set(&t->waiting, block);
    else
        summary_clear(&t->waiting, block);
}

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

/* Is a granule of more than one word, at index lo, wholly in a set? Counters decide for blocks,
 * words for less. */
static bool granule_full(const uint64_t *map, const uint16_t *in_block, const region *r,
                         uint64_t lo)
{
    if (r->granule < BLOCK_PAGES) {
        for (uint64_t w = lo / WORD_BITS; w < (lo + r->granule) / WORD_BITS; w++)
            if (~map[w])
                return false;
        return true;
    }
    for (uint64_t b = lo / BLOCK_PAGES; b < (lo + r->granule) / BLOCK_PAGES; b++)
        if (in_block[b] != BLOCK_PAGES)
            return false;
    return true;
}

/* The bits of the granules, of up to 64 pages, that are wholly set in x. */
static uint64_t full_granules(uint64_t x, uint64_t granule)
{
    uint64_t starts = UINT64_C(1),
             ones = granule == WORD_BITS ? ~UINT64_C(0) : (UINT64_C(1) << granule) - 1;

    for (uint64_t n = granule; n < WORD_BITS; n *= 2)
        starts |= starts << n;
    for (uint64_t n = 1; n < granule; n *= 2)
        x &= x >> n;
    return (x & starts) * ones;
}

bool bl_tracker_granule_held(const balloon_tracker *t, const region *r, uint64_t lo)
{
    if (r->granule <= WORD_BITS) {
        uint64_t mask = bits_mask(lo / WORD_BITS, lo, lo + r->granule);

        return (t->held[lo / WORD_BITS] & mask) == mask;
    }
    return granule_full(t->held, t->held_in, r, lo);
}

uint64_t bl_tracker_ready_word(const region *r, uint64_t pending)
{
    return pending && r->granule > 1 ? full_granules(pending, r->granule) : pending;
}

bool bl_tracker_granule_ready(const balloon_tracker *t, const region *r, uint64_t lo)
{
    return granule_full(t->pending, t->pending_in, r, lo);
}

uint64_t bl_tracker_count_ready(const balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t n = 0;

    if (lo >= hi)
        return 0;
    if (r->granule <= WORD_BITS) {
        for (uint64_t w = lo / WORD_BITS; w <= (hi - 1) / WORD_BITS; w++)
            n += bits_ones(bl_tracker_ready_word(r, t->pending[w]) & bits_mask(w, lo, hi));
        return n;
    }
    for (; lo < hi; lo += r->granule)
        if (bl_tracker_granule_ready(t, r, lo))
            n += r->granule;
    return n;
}

void bl_tracker_note_ready(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    if (r->granule <= BLOCK_PAGES) {
        for (uint64_t b = lo / BLOCK_PAGES; b <= (hi - 1) / BLOCK_PAGES; b++)
            if (t->pending_in[b] >= r->granule)
                summary_set(&t->ready, b);
        return;
    }
    for (; lo < hi; lo += r->granule)
        if (t->pending_in[lo / BLOCK_PAGES] == BLOCK_PAGES)
            summary_set(&t->ready, lo / BLOCK_PAGES);
}

/* --- one run in one region ---------------------------------------------------------------- */

static ALWAYS_INLINE void add_held(balloon_tracker *t, uint64_t block, unsigned fresh)
{
    unsigned held = t->held_in[block] + fresh;

    t->held_in[block] = (uint16_t)held;
    t->held_pages += fresh;
    summary_set(&t->some, block);
    if (held == BLOCK_PAGES)
        summary_clear(&t->room, block);
}

static ALWAYS_INLINE void add_pending(balloon_tracker *t, uint64_t block, unsigned fresh,
                                      bool plain)
{
    t->pending_in[block] = (uint16_t)(t->pending_in[block] + fresh);
    t->pending_pages += fresh;
    t->ready_pages += plain ? fresh : 0;
    summary_set(plain ? &t->ready : &t->waiting, block);
}

/* Hold a part of one block; what was not held before waits, if `pend`. In a region of single
 * pages, `plain`, it is ready as well. Returns what was not held. */
static ALWAYS_INLINE unsigned hold_in_block(balloon_tracker *t, uint64_t lo, uint64_t hi, bool pend,
                                            bool plain)
{
    uint64_t block = lo / BLOCK_PAGES, w = lo / WORD_BITS;
    unsigned fresh = 0, waits = 0;

    while (lo < hi) {
        uint64_t end = (w + 1) * WORD_BITS, was = t->held[w], mask = 0, add = 0;

        end = end < hi ? end : hi;
        mask = bits_mask(w, lo, end);
        add = mask & ~was;
        /* The common case, nothing was held, needs no counting of bits. */
        unsigned n = add == mask ? (unsigned)(end - lo) : bits_ones(add);

        t->held[w] = was | mask;
        fresh += n;
        if (pend) {
            uint64_t waiting = t->pending[w];

            t->pending[w] = waiting | add;
            waits += waiting & add ? bits_ones(add & ~waiting) : n;
        }
        lo = end;
        w++;
    }
    if (fresh)
        add_held(t, block, fresh);
    if (waits)
        add_pending(t, block, waits, plain);
    return fresh;
}

static ALWAYS_INLINE uint64_t hold(balloon_tracker *t, uint64_t lo, uint64_t hi, bool pend,
                                   bool plain)
{
    uint64_t fresh = 0;

    while (lo < hi) {
        uint64_t end = (lo / BLOCK_PAGES + 1) * BLOCK_PAGES;

        end = end < hi ? end : hi;
        fresh += hold_in_block(t, lo, end, pend, plain);
        lo = end;
    }
    return fresh;
}

uint64_t bl_tracker_hold(balloon_tracker *t, uint64_t lo, uint64_t hi)
{
    return hold(t, lo, hi, false, false);
}

/* Granules of up to a word: counted word by word. */
static uint64_t inflate_small(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t glo = lo, ghi = hi;

    if (!bl_tracker_granules(r, &glo, &ghi))
        return hold(t, lo, hi, true, false);

    uint64_t before = bl_tracker_count_ready(t, r, glo, ghi);
    uint64_t fresh = hold(t, lo, hi, true, false);
    uint64_t after = bl_tracker_count_ready(t, r, glo, ghi);

    if (after != before) {
        t->ready_pages += after - before;
        bl_tracker_note_ready(t, r, glo, ghi);
    }
    return fresh;
}

/* Where the granule at or around index at ends, or the edge of the region that at lies in;
 * *whole: it is a whole granule, and begins at *first. */
static uint64_t granule_end(const region *r, uint64_t at, bool *whole, uint64_t *first)
{
    *whole = at >= r->whole_lo && at < r->whole_hi;
    if (!*whole)
        return at < r->whole_lo && r->whole_lo < r->whole_hi ? r->whole_lo : region_hi(r);
    *first = r->whole_lo + ((at - r->whole_lo) & ~(r->granule - 1));
    return *first + r->granule;
}

/* Is the large granule at first wholly in a set? The page at which it was touched is asked first,
 * then its block: a guest that never completes a granule must not have all of it looked at for
 * each page. */
static bool touched_granule(const uint64_t *map, const uint16_t *in_block, const region *r,
                            uint64_t first, uint64_t at)
{
    if (!(map[at / WORD_BITS] >> (at % WORD_BITS) & 1))
        return false;
    if (r->granule >= BLOCK_PAGES && in_block[at / BLOCK_PAGES] != BLOCK_PAGES)
        return false;
    return granule_full(map, in_block, r, first);
}

static uint64_t inflate_large(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t fresh = 0;

    while (lo < hi) {
        bool whole = false;
        uint64_t first = 0, end = granule_end(r, lo, &whole, &first), waiting = t->pending_pages;

        end = end < hi ? end : hi;
        fresh += hold(t, lo, end, true, false);
        /* A granule that was ready before has got no new pending page. */
        if (whole && t->pending_pages != waiting &&
            touched_granule(t->pending, t->pending_in, r, first, lo)) {
            t->ready_pages += r->granule;
            summary_set(&t->ready, first / BLOCK_PAGES);
        }
        lo = end;
    }
    return fresh;
}

static uint64_t inflate_run(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    if (r->granule == 1)
        return hold(t, lo, hi, true, true);
    return (r->granule <= WORD_BITS ? inflate_small : inflate_large)(t, r, lo, hi);
}

void bl_tracker_lose_granule(balloon_tracker *t, const region *r, uint64_t lo)
{
    uint64_t pages = r->granule < BLOCK_PAGES ? r->granule : BLOCK_PAGES;

    for (uint64_t at = lo; at < lo + r->granule; at += pages)
        bl_tracker_lose(t, at / BLOCK_PAGES, pages);
}

/* Pages leave the balloon and wait no more. In a region of single pages, `plain`, the host loses
 * those that did not wait, and any of them where waiting may mean reported. Returns what was held.
 */
static ALWAYS_INLINE uint64_t drop(balloon_tracker *t, uint64_t lo, uint64_t hi, bool plain)
{
    uint64_t gone_all = 0;

    while (lo < hi) {
        uint64_t w = lo / WORD_BITS, block = w / BLOCK_WORDS, end = (w + 1) * WORD_BITS;

        end = end < hi ? end : hi;
        uint64_t mask = bits_mask(w, lo, end), was = t->held[w], gone = was & mask;
        uint64_t waited = 0;

        if (t->pending[w] & mask) {
            waited = t->any_reported ? 0 : t->pending[w] & gone;
            t->cancelled += bits_ones(t->pending[w] & gone);
            bl_tracker_put_pending(t, w, mask, 0);
        }
        if (gone) {
            unsigned n = gone == mask ? (unsigned)(end - lo) : bits_ones(gone);
            unsigned in_block = t->held_in[block];

            t->held[w] = was & ~mask;
            t->held_in[block] = (uint16_t)(in_block - n);
            if (in_block == BLOCK_PAGES)
                summary_set(&t->room, block);
            if (in_block == n)
                summary_clear(&t->some, block);
            gone_all += n;
            if (plain && t->returned_in[block])
                bl_tracker_lose(t, block, waited ? bits_ones(gone & ~waited) : n);
        }
        lo = end;
    }
    t->held_pages -= gone_all;
    return gone_all;
}

/* A granule that was given back loses a page: the guest brings all of it back to memory, so what
 * is still held of it waits again. Only in gathering mode does the promise for it last. */
static void reopen_granule(balloon_tracker *t, const region *r, uint64_t first)
{
    uint64_t last = first + r->granule;

    for (uint64_t w = first / WORD_BITS; w <= (last - 1) / WORD_BITS; w++)
        bl_tracker_put_pending(t, w, bits_mask(w, first, last), t->held[w]);
}

static uint64_t deflate_granules(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t gone = 0;

    while (lo < hi) {
        bool whole = false, ready = false, complete = false;
        uint64_t first = 0, end = granule_end(r, lo, &whole, &first);

        end = end < hi ? end : hi;
        if (whole && r->granule > WORD_BITS) {
            ready = touched_granule(t->pending, t->pending_in, r, first, lo);
            complete = touched_granule(t->held, t->held_in, r, first, lo);
        } else if (whole) {
            uint64_t mask = bits_mask(first / WORD_BITS, first, first + r->granule);

            ready = (t->pending[first / WORD_BITS] & mask) == mask;
            complete = (t->held[first / WORD_BITS] & mask) == mask;
        }
        gone += drop(t, lo, end, false);
        if (ready)
            t->ready_pages -= r->granule;
        if (complete && t->gather)
            reopen_granule(t, r, first);
        else if (complete && (!ready || t->any_reported))
            bl_tracker_lose_granule(t, r, first);
        lo = end;
    }
    return gone;
}

static uint64_t deflate_run(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t waiting = t->pending_pages, gone = 0;

    if (r->granule > 1)
        return deflate_granules(t, r, lo, hi);
    gone = drop(t, lo, hi, true);
    t->ready_pages -= waiting - t->pending_pages;
    return gone;
}

static uint64_t report_run(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t waiting = t->pending_pages, before = 0;
    uint64_t mask = r->granule - 1;

    if (lo < r->whole_lo)
        lo = r->whole_lo;
    if (hi > r->whole_hi)
        hi = r->whole_hi;
    if (lo >= hi)
        return 0;
    lo = r->whole_lo + ((lo - r->whole_lo + mask) & ~mask);
    hi = r->whole_lo + ((hi - r->whole_lo) & ~mask);
    if (lo >= hi)
        return 0;
    before = bl_tracker_count_ready(t, r, lo, hi);
    for (uint64_t w = lo / WORD_BITS; w <= (hi - 1) / WORD_BITS; w++)
        bl_tracker_put_pending(t, w, bits_mask(w, lo, hi), ~UINT64_C(0));
    for (uint64_t b = lo / BLOCK_PAGES; b <= (hi - 1) / BLOCK_PAGES; b++)
        summary_set(&t->reported, b);
    t->any_reported = true;
    t->ready_pages += hi - lo - before;
    bl_tracker_note_ready(t, r, lo, hi);
    return t->pending_pages - waiting;
}

static uint64_t hint_run(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t fresh = 0;

    (void)r;
    if (!t->hinted)
        return 0;
    for (uint64_t w = lo / WORD_BITS; w <= (hi - 1) / WORD_BITS; w++) {
        uint64_t add = bits_mask(w, lo, hi) & ~t->hinted[w];

        t->hinted[w] |= add;
        fresh += bits_ones(add);
    }
    t->hinted_pages += fresh;
    return fresh;
}

/* --- ranges --------------------------------------------------------------------------------- */

typedef uint64_t run_function(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi);

/* Cut a range by the regions. *near is where to look first, and where the last page was found. */
static ALWAYS_INLINE void each_region(balloon_tracker *t, balloon_range range, balloon_tally *tally,
                                      run_function *run, const region **near)
{
    const region *end = t->regions + t->region_count, *r = *near;
    uint64_t pfn = range.first, stop = balloon_range_end(range);

    if (r == end || pfn < r->first || pfn >= r->end)
        r = bl_tracker_region_after(t, pfn);
    /* Pages past the end of the 64-bit space exist as little as those past the last region. */
    tally->outside += range.count - (stop - pfn);
    for (; pfn < stop; r++) {
        if (r == end || stop <= r->first) {
            tally->outside += stop - pfn;
            break;
        }
        if (pfn < r->first) {
            tally->outside += r->first - pfn;
            pfn = r->first;
        }
        uint64_t part = stop < r->end ? stop : r->end;
        uint64_t changed = run(t, r, pfn + r->shift, part + r->shift);

        tally->changed += changed;
        tally->unchanged += part - pfn - changed;
        *near = r;
        pfn = part;
    }
}

static void one_range(balloon_tracker *t, balloon_range range, balloon_tally *tally,
                      run_function *run)
{
    balloon_tally ignored = {0};
    const region *near = t->regions;

    each_region(t, range, tally ? tally : &ignored, run, &near);
}

void bl_tracker_inflate_near(balloon_tracker *t, balloon_range range, balloon_tally *tally,
                             const region **near)
{
    each_region(t, range, tally, inflate_run, near);
}

void bl_tracker_deflate_near(balloon_tracker *t, balloon_range range, balloon_tally *tally,
                             const region **near)
{
    each_region(t, range, tally, deflate_run, near);
}

void balloon_tracker_inflate_range(balloon_tracker *t, balloon_range range, balloon_tally *tally)
{
    one_range(t, range, tally, inflate_run);
}

void balloon_tracker_deflate_range(balloon_tracker *t, balloon_range range, balloon_tally *tally)
{
    uint64_t cancelled = t->cancelled;

    one_range(t, range, tally, deflate_run);
    if (tally)
        tally->cancelled += t->cancelled - cancelled;
}

void balloon_tracker_report(balloon_tracker *t, balloon_range range, balloon_tally *tally)
{
    one_range(t, range, tally, report_run);
}

void balloon_tracker_hint(balloon_tracker *t, balloon_range range, balloon_tally *tally)
{
    one_range(t, range, tally, hint_run);
}
