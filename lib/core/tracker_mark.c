/* Pages in and out of the balloon, by ranges: cut into runs inside a region, runs into blocks, and
 * a block is changed by words, never by single bits. */
#include "tracker_p.h"

/* --- one run in one region ---------------------------------------------------------------- */

static ALWAYS_INLINE void add_held(balloon_tracker *t, uint64_t block, unsigned fresh)
{
    unsigned held = t->in[block].held + fresh;

    t->in[block].held = (uint16_t)held;
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
    bl_tracker_more_pending(t, block);
}

/* Hold a part of one block; what was not held before waits. In a region of single pages, `plain`,
 * it is ready as well. Returns what was not held. */
static ALWAYS_INLINE unsigned hold_in_block(balloon_tracker *t, uint64_t lo, uint64_t hi,
                                            bool plain)
{
    uint64_t block = lo / BLOCK_PAGES, w = lo / WORD_BITS;
    unsigned fresh = 0, waits = 0;

    if (t->in[block].held == BLOCK_PAGES)
        return 0;
    while (lo < hi) {
        uint64_t end = (w + 1) * WORD_BITS, was = t->held[w], mask = 0, add = 0;

        end = end < hi ? end : hi;
        mask = bits_mask(w, lo, end);
        add = mask & ~was;
        /* The common case, nothing was held, needs no counting of bits. */
        unsigned n = add == mask ? (unsigned)(end - lo) : bits_ones(add);
        uint64_t waiting = t->pending[w];

        t->held[w] = was | mask;
        t->pending[w] = waiting | add;
        fresh += n;
        waits += waiting & add ? bits_ones(add & ~waiting) : n;
        lo = end;
        w++;
    }
    if (fresh)
        add_held(t, block, fresh);
    if (waits)
        add_pending(t, block, waits, plain);
    return fresh;
}

static ALWAYS_INLINE uint64_t hold(balloon_tracker *t, uint64_t lo, uint64_t hi, bool plain)
{
    uint64_t fresh = 0;

    while (lo < hi) {
        uint64_t end = (lo / BLOCK_PAGES + 1) * BLOCK_PAGES;

        end = end < hi ? end : hi;
        fresh += hold_in_block(t, lo, end, plain);
        lo = end;
    }
    return fresh;
}

/* Granules of more than one page share one copy of the loop. */
static uint64_t hold_granules(balloon_tracker *t, uint64_t lo, uint64_t hi)
{
    return hold(t, lo, hi, false);
}

/* Granules of up to a word: counted word by word. */
static uint64_t inflate_small(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t glo = lo, ghi = hi;

    if (!bl_tracker_granules(r, &glo, &ghi))
        return hold_granules(t, lo, hi);

    uint64_t before = bl_tracker_count_ready(t, r, glo, ghi);
    uint64_t fresh = hold_granules(t, lo, hi);
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
    *whole = bl_tracker_granule_at(r, at, first);
    if (*whole)
        return *first + r->granule;
    return at < r->whole_lo && r->whole_lo < r->whole_hi ? r->whole_lo : region_hi(r);
}

/* May the granule that page i lies in be wholly set, by a look at the page and its block? */
static inline bool may_be_full(const uint64_t *map, unsigned in_block, const region *r, uint64_t i)
{
    return map[i / WORD_BITS] >> (i % WORD_BITS) & 1 &&
           (r->granule < BLOCK_PAGES || in_block == BLOCK_PAGES);
}

static uint64_t inflate_large(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t fresh = 0;

    while (lo < hi) {
        bool whole = false;
        uint64_t first = 0, end = granule_end(r, lo, &whole, &first), waiting = t->pending_pages;

        end = end < hi ? end : hi;
        bool giant = whole && bl_tracker_giants(r);
        unsigned full = giant ? bl_tracker_full_blocks(t, lo, end) : 0;

        fresh += hold_granules(t, lo, end);
        if (giant)
            *bl_giant_full(t, first) += (uint16_t)(bl_tracker_full_blocks(t, lo, end) - full);
        /* A granule that was ready before has got no new pending page. */
        if (whole && t->pending_pages != waiting &&
            may_be_full(t->pending, t->pending_in[lo / BLOCK_PAGES], r, lo) &&
            bl_tracker_granule_ready(t, r, first)) {
            t->ready_pages += r->granule;
            summary_set(&t->ready, first / BLOCK_PAGES);
        }
        lo = end;
    }
    return fresh;
}

static uint64_t inflate_granules(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    return (r->granule <= WORD_BITS ? inflate_small : inflate_large)(t, r, lo, hi);
}

static uint64_t inflate_run(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    if (r->granule > 1)
        return t->granule_runs->inflate(t, r, lo, hi);
    return hold(t, lo, hi, true);
}

/* Pages of one block leave the balloon and wait no more. In a region of single pages, `plain`, the
 * host loses those that did not wait, and any of them where waiting may mean reported. Returns what
 * was held. */
static ALWAYS_INLINE unsigned drop_in_block(balloon_tracker *t, uint64_t lo, uint64_t hi,
                                            bool plain)
{
    uint64_t block = lo / BLOCK_PAGES;
    unsigned gone_all = 0, in_block = t->in[block].held;

    if (!in_block && !t->pending_in[block])
        return 0;
    while (lo < hi) {
        uint64_t w = lo / WORD_BITS, end = (w + 1) * WORD_BITS;

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

            t->held[w] = was & ~mask;
            gone_all += n;
            if (plain && t->in[block].returned)
                bl_tracker_lose(t, block, waited ? bits_ones(gone & ~waited) : n);
        }
        lo = end;
    }
    if (gone_all) {
        t->in[block].held = (uint16_t)(in_block - gone_all);
        if (in_block == BLOCK_PAGES)
            summary_set(&t->room, block);
        if (in_block == gone_all)
            summary_clear(&t->some, block);
    }
    return gone_all;
}

static ALWAYS_INLINE uint64_t drop(balloon_tracker *t, uint64_t lo, uint64_t hi, bool plain)
{
    uint64_t gone = 0;

    while (lo < hi) {
        uint64_t end = (lo / BLOCK_PAGES + 1) * BLOCK_PAGES;

        end = end < hi ? end : hi;
        gone += drop_in_block(t, lo, end, plain);
        lo = end;
    }
    t->held_pages -= gone;
    return gone;
}

static uint64_t drop_granules(balloon_tracker *t, uint64_t lo, uint64_t hi)
{
    return drop(t, lo, hi, false);
}

/* A granule that was given back and loses a page is lost as a whole: the guest brings all of it
 * back to memory. In gathering mode what is still held of it waits again, since the promise for it
 * lasts. */

/* The whole granules, of up to a word, that lo..hi-1 of word w touches. */
static inline uint64_t touched_in(const region *r, uint64_t w, uint64_t lo, uint64_t hi)
{
    lo = lo > r->whole_lo ? lo & ~(r->granule - 1) : r->whole_lo;
    hi = hi < r->whole_hi ? (hi + r->granule - 1) & ~(r->granule - 1) : r->whole_hi;
    return lo < hi ? bits_mask(w, lo, hi) : 0;
}

/* Of these, those with all bits set. `one`: there is one at most, as where a single page goes. */
static inline uint64_t full_of(const region *r, uint64_t touched, uint64_t word, bool one)
{
    word &= touched;
    if (word == touched)
        return touched;
    return one ? 0 : bl_tracker_full_granules(r, word);
}

/* Granules of up to a word, word by word. */
static uint64_t deflate_small(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t gone = 0;

    while (lo < hi) {
        uint64_t w = lo / WORD_BITS, block = w / BLOCK_WORDS, end = (w + 1) * WORD_BITS;
        uint64_t held = t->held[w], pending = t->pending[w];

        if (!t->in[block].held && !t->pending_in[block]) {
            lo = (block + 1) * BLOCK_PAGES;
            continue;
        }
        end = end < hi ? end : hi;
        uint64_t mask = bits_mask(w, lo, end), touched = touched_in(r, w, lo, end);
        bool one = (lo ^ (end - 1)) < r->granule;
        uint64_t ready = full_of(r, touched, pending, one), lost = full_of(r, touched, held, one);

        if (t->gather || !t->any_reported)
            lost &= ~ready;
        gone += drop_granules(t, lo, end);
        t->ready_pages -= bits_ones(ready);
        if (!t->gather)
            bl_tracker_lose(t, block, bits_ones(lost));
        else if (lost & ~mask)
            bl_tracker_put_pending(t, w, lost & ~mask, ~UINT64_C(0));
        lo = end;
    }
    return gone;
}

static uint64_t deflate_large(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t gone = 0;

    while (lo < hi) {
        bool whole = false, ready = false, lost = false;
        uint64_t first = 0, end = granule_end(r, lo, &whole, &first), cancelled = t->cancelled;

        end = end < hi ? end : hi;
        if (whole) {
            ready = may_be_full(t->pending, t->pending_in[lo / BLOCK_PAGES], r, lo) &&
                    bl_tracker_granule_ready(t, r, first);
            lost = (!ready || (!t->gather && t->any_reported)) &&
                   may_be_full(t->held, t->in[lo / BLOCK_PAGES].held, r, lo) &&
                   bl_tracker_granule_held(t, r, first);
        }
        if (lost)
            bl_tracker_lose_granule(t, r, first);
        if (whole && bl_tracker_giants(r))
            *bl_giant_full(t, first) -= (uint16_t)bl_tracker_full_blocks(t, lo, end);
        gone += drop_granules(t, lo, end);
        if (ready)
            t->ready_pages -= r->granule;
        if (lost && t->gather)
            t->cancelled = cancelled; /* they waited only for the moment */
        lo = end;
    }
    return gone;
}

static uint64_t deflate_granules(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    return (r->granule <= WORD_BITS ? deflate_small : deflate_large)(t, r, lo, hi);
}

const struct granule_runs bl_tracker_granule_runs = {inflate_granules, deflate_granules};

static uint64_t deflate_run(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t waiting = t->pending_pages, gone = 0;

    if (r->granule > 1)
        return t->granule_runs->deflate(t, r, lo, hi);
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
    for (uint64_t g = lo; bl_tracker_giants(r) && g < hi; g += r->granule) {
        if (t->gather)
            bl_tracker_lose_granule(t, r, g);
        *bl_giant_full(t, g) = (uint16_t)(r->granule / BLOCK_PAGES);
    }
    bl_tracker_wait(t, lo, hi);
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

    bl_tracker_leave_line(t);
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
    balloon_tally ignored = {0};
    const region *near = t->regions;

    bl_tracker_inflate_near(t, range, tally ? tally : &ignored, &near);
}

void balloon_tracker_deflate_range(balloon_tracker *t, balloon_range range, balloon_tally *tally)
{
    balloon_tally ignored = {0};
    uint64_t cancelled = t->cancelled;
    const region *near = t->regions;

    bl_tracker_deflate_near(t, range, tally ? tally : &ignored, &near);
    if (tally)
        tally->cancelled += t->cancelled - cancelled;
}

void balloon_tracker_report(balloon_tracker *t, balloon_range range, balloon_tally *tally)
{
    balloon_tally ignored = {0};
    const region *near = t->regions;

    each_region(t, range, tally ? tally : &ignored, report_run, &near);
}

void balloon_tracker_hint(balloon_tracker *t, balloon_range range, balloon_tally *tally)
{
    balloon_tally ignored = {0};
    const region *near = t->regions;

    each_region(t, range, tally ? tally : &ignored, hint_run, &near);
}
