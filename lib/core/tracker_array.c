/* Arrays of PFNs, as buffers bring them: the hottest path. Long runs, ascending or descending, are
 * marked as ranges. Scattered pages and short runs are marked page by page, with the counters of a
 * block kept in registers as long as pages of that block follow each other. */
#include "tracker_p.h"

/* A run is worth marking as a range from this many pages on. */
#define RUN_MIN 8u

/* Pages compared at once, without a branch for each: compilers turn this into vector code. */
#define COMPARE_AT_ONCE 32u

/* From this many blocks on (32 GiB) the maps leave the caches, and scattered pages are fetched some
 * steps ahead. */
#define FETCH_BLOCKS 16384u
#define FETCH_AHEAD  32u

#define UP   UINT32_C(1)
#define DOWN UINT32_MAX

/* Length of the run v[0], v[0] + step, v[0] + 2 step ... */
static inline size_t run_length(const uint32_t *v, size_t n, uint32_t step)
{
    /* Page numbers do not wrap, though the arithmetic below does. */
    uint32_t room = step == UP ? UINT32_MAX - v[0] : v[0];
    size_t k = 1;

    if (n - 1 > room)
        n = (size_t)room + 1;
    while (n - k >= COMPARE_AT_ONCE) {
        uint32_t base = v[0] + (uint32_t)k * step, differ = 0;

        for (uint32_t j = 0; j < COMPARE_AT_ONCE; j++)
            differ |= v[k + j] ^ (base + j * step);
        if (differ)
            break;
        k += COMPARE_AT_ONCE;
    }
    while (k < n && v[k] == v[0] + (uint32_t)k * step)
        k++;
    return k;
}

/* Both ends are compared first: that they lie so far apart by chance is rare. */
static ALWAYS_INLINE bool long_run(const uint32_t *v, size_t n)
{
    if (n < RUN_MIN)
        return false;
    if (v[RUN_MIN - 1] - v[0] == RUN_MIN - 1)
        return run_length(v, RUN_MIN, UP) == RUN_MIN;
    return v[0] - v[RUN_MIN - 1] == RUN_MIN - 1 && run_length(v, RUN_MIN, DOWN) == RUN_MIN;
}

static ALWAYS_INLINE void fetch_page(const balloon_tracker *t, const region *r, uint32_t pfn)
{
    uint64_t i = pfn + r->shift;

    if (pfn < r->first || pfn >= r->end)
        return;
    PREFETCH(&t->held[i / WORD_BITS]);
    PREFETCH(&t->pending[i / WORD_BITS]);
    PREFETCH(&t->held_in[i / BLOCK_PAGES]);
    PREFETCH(&t->pending_in[i / BLOCK_PAGES]);
}

/* What was changed in one block and is not counted there yet. */
struct change {
    unsigned held, pending;
};

static ALWAYS_INLINE void inflate_page(balloon_tracker *t, uint64_t i, struct change *c)
{
    uint64_t w = i / WORD_BITS, was = t->held[w], waiting = t->pending[w];
    uint64_t add = UINT64_C(1) << (i % WORD_BITS) & ~was;

    t->held[w] = was | add;
    t->pending[w] = waiting | add;
    c->held += add != 0;
    c->pending += (add & ~waiting) != 0;
}

static ALWAYS_INLINE void inflated_block(balloon_tracker *t, uint64_t block, struct change c)
{
    unsigned held = t->held_in[block] + c.held;

    if (c.held) {
        t->held_in[block] = (uint16_t)held;
        summary_set(&t->some, block);
        if (held == BLOCK_PAGES)
            summary_clear(&t->room, block);
    }
    if (c.pending) {
        t->pending_in[block] = (uint16_t)(t->pending_in[block] + c.pending);
        summary_set(&t->ready, block);
    }
}

static ALWAYS_INLINE void deflate_page(balloon_tracker *t, uint64_t i, struct change *c)
{
    uint64_t w = i / WORD_BITS, was = t->held[w], waiting = t->pending[w];
    uint64_t bit = UINT64_C(1) << (i % WORD_BITS), gone = bit & was;

    t->held[w] = was & ~bit;
    c->held += gone != 0;
    if (waiting & bit) {
        t->pending[w] = waiting & ~bit;
        t->cancelled += gone != 0;
        c->pending++;
    }
}

static ALWAYS_INLINE void deflated_block(balloon_tracker *t, uint64_t block, struct change c)
{
    unsigned held = t->held_in[block];

    if (c.held) {
        t->held_in[block] = (uint16_t)(held - c.held);
        if (held == BLOCK_PAGES)
            summary_set(&t->room, block);
        summary_put(&t->some, block, held > c.held);
        if (t->returned_in[block])
            bl_tracker_lose(t, block, t->any_reported ? c.held : c.held - c.pending);
    }
    t->pending_in[block] = (uint16_t)(t->pending_in[block] - c.pending);
}

/* Pages of a region of single pages, until one is elsewhere or a long run begins; the first is
 * known to be there. Returns how many. */
static ALWAYS_INLINE size_t scattered(balloon_tracker *t, const region *r, const uint32_t *v,
                                      size_t n, balloon_tally *tally, bool inflate)
{
    uint64_t block = (v[0] + r->shift) / BLOCK_PAGES, held = 0, pending = 0;
    bool fetch = t->blocks >= FETCH_BLOCKS;
    struct change c = {0, 0};
    size_t k = 0;

    do {
        uint64_t i = v[k] + r->shift;

        if (fetch && n - k > FETCH_AHEAD)
            fetch_page(t, r, v[k + FETCH_AHEAD]);
        if (i / BLOCK_PAGES != block) {
            (inflate ? inflated_block : deflated_block)(t, block, c);
            held += c.held;
            pending += c.pending;
            c = (struct change){0, 0};
            block = i / BLOCK_PAGES;
        }
        (inflate ? inflate_page : deflate_page)(t, i, &c);
        k++;
    } while (k < n && v[k] >= r->first && v[k] < r->end && !long_run(v + k, n - k));
    (inflate ? inflated_block : deflated_block)(t, block, c);
    held += c.held;
    pending += c.pending;

    t->held_pages += inflate ? held : -held;
    t->pending_pages += inflate ? pending : -pending;
    t->ready_pages += inflate ? pending : -pending;
    tally->changed += held;
    tally->unchanged += k - held;
    return k;
}

static ALWAYS_INLINE void array(balloon_tracker *t, const uint32_t *pfns, size_t count,
                                balloon_tally *tally, bool inflate)
{
    const region *near = t->regions;
    bool fetch = t->blocks >= FETCH_BLOCKS;

    for (size_t i = 0; i < count;) {
        const uint32_t *v = pfns + i;
        size_t left = count - i, n = 1;
        balloon_range range = {v[0], 1};

        if (fetch && left > FETCH_AHEAD)
            fetch_page(t, near, v[FETCH_AHEAD]);
        if (near->granule == 1 && v[0] >= near->first && v[0] < near->end && !long_run(v, left)) {
            i += scattered(t, near, v, left, tally, inflate);
            continue;
        }
        if (left > 1 && v[1] == v[0] + UP) {
            n = run_length(v, left, UP);
        } else if (left > 1 && v[1] == v[0] + DOWN) {
            n = run_length(v, left, DOWN);
            range.first = v[n - 1];
        }
        range.count = n;
        (inflate ? bl_tracker_inflate_near : bl_tracker_deflate_near)(t, range, tally, &near);
        i += n;
    }
}

void balloon_tracker_inflate(balloon_tracker *t, const uint32_t *pfns, size_t count,
                             balloon_tally *tally)
{
    balloon_tally ignored = {0};

    if (t->region_count)
        array(t, pfns, count, tally ? tally : &ignored, true);
    else if (tally)
        tally->outside += count;
}

void balloon_tracker_deflate(balloon_tracker *t, const uint32_t *pfns, size_t count,
                             balloon_tally *tally)
{
    balloon_tally ignored = {0};
    uint64_t cancelled = t->cancelled;

    if (t->region_count)
        array(t, pfns, count, tally ? tally : &ignored, false);
    else if (tally)
        tally->outside += count;
    if (tally)
        tally->cancelled += t->cancelled - cancelled;
}
