/* Pages back to the host: ready granules leave as runs, and what may not be discarded any more
 * is forgotten. */
#include <string.h>

#include "tracker_batch_p.h"

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

/* In settling mode what is pending was not given back before, and is held, unless it was reported:
 * where that may be, nothing is counted. */
static inline void remove_pending(balloon_tracker *t, uint64_t block, uint64_t pages)
{
    unsigned was = t->pending_in[block];

    if (!pages)
        return;
    if (!t->gather && !(t->any_reported && summary_has(&t->reported, block))) {
        t->in[block].returned = (uint16_t)(t->in[block].returned + pages);
        t->returned_pages += pages;
    }
    t->pending_in[block] = (uint16_t)(was - pages);
    t->pending_pages -= pages;
    t->ready_pages -= pages;
    bl_tracker_fewer_pending(t, block, was);
}

/* Hand out what is pending in a block of single pages, of numbers of 32 bits. False: no room. It is
 * faster than run by run where there are many. */
#define MANY_PENDING 160u
static bool take_singles(balloon_tracker *t, const region *r, uint64_t block, struct taker *k)
{
    uint64_t *pending = t->pending + block * BLOCK_WORDS, at = block * BLOCK_PAGES, taken = 0;
    uint32_t edge[BLOCK_PAGES + BLOCK_EDGES_SPARE], first = (uint32_t)(at - r->shift);
    size_t room = k->max - k->count, count = bl_batch_code()->find_edges(pending, first, edge) / 2;
    size_t joins = count && k->last == r && k->end == at + (edge[0] - first);
    size_t end = count - joins > room ? room + joins : count;

    if (joins)
        k->runs[k->count - 1].range.count += edge[1] - edge[0];
    bl_batch_code()->hand_out(edge + 2 * joins, end - joins, r->id, k->runs + k->count);
    k->count += end - joins;
    if (!end)
        return !count;
    k->last = r;
    k->end = at + (edge[2 * end - 1] - first);
    if (end == count) {
        taken = t->pending_in[block];
        memset(pending, 0, BLOCK_WORDS * sizeof(*pending));
    } else {
        unsigned w = 0;

        for (size_t i = 0; i < end; i++)
            taken += edge[2 * i + 1] - edge[2 * i];
        for (; k->end - at >= (w + 1) * WORD_BITS; w++)
            pending[w] = 0;
        pending[w] &= bits_from(k->end);
    }
    remove_pending(t, block, taken);
    return end == count;
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
        uint64_t ready = r->granule == 1 ? pending[i] : bl_tracker_full_granules(r, pending[i]);
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
    remove_pending(t, block, taken);
    return room;
}

/* A part of a block that is ready as a whole. */
static bool take_part(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi,
                      struct taker *k)
{
    if (!hand_out(k, r, lo, hi))
        return false;
    memset(&t->pending[lo / WORD_BITS], 0, (size_t)(hi - lo) / 8);
    remove_pending(t, lo / BLOCK_PAGES, hi - lo);
    return true;
}

/* Granules of more than a word, of up to a block. */
static bool take_granules(balloon_tracker *t, const region *r, uint64_t block, struct taker *k)
{
    uint64_t lo = block * BLOCK_PAGES, hi = lo + BLOCK_PAGES;

    if (!bl_tracker_granules(r, &lo, &hi))
        return true;
    for (; lo < hi; lo += r->granule)
        if (bl_tracker_granule_ready(t, r, lo) && !take_part(t, r, lo, lo + r->granule, k))
            return false;
    return true;
}

/* A giant, which is noted at its first block. */
static bool take_giant(balloon_tracker *t, const region *r, uint64_t block, struct taker *k)
{
    uint64_t lo = block * BLOCK_PAGES, hi = lo + r->granule, first = 0;

    if (!bl_tracker_granule_at(r, lo, &first) || first != lo || !bl_tracker_granule_ready(t, r, lo))
        return true;
    if (!hand_out(k, r, lo, hi))
        return false;
    t->ready_pages -= r->granule;
    if (t->gather) {
        if (bl_tracker_granule_held(t, r, lo)) {
            *bl_giant_given(t, lo) = 1;
            bl_giant_note(t, r, lo, false);
            t->pending_pages -= r->granule;
        } else {
            bl_tracker_wait_held(t, lo, hi, true);
            *bl_giant_full(t, lo) = (uint16_t)bl_tracker_full_blocks(t, lo, hi);
        }
        return true;
    }
    if (!*bl_giant_given(t, lo) && !(t->any_reported && summary_has(&t->reported, block))) {
        *bl_giant_given(t, lo) = 1;
        t->returned_pages += r->granule;
    }
    memset(&t->pending[lo / WORD_BITS], 0, (size_t)r->granule / 8);
    memset(&t->pending_in[block], 0, (size_t)(r->granule / BLOCK_PAGES) * sizeof(uint16_t));
    bl_giant_note(t, r, lo, false);
    t->pending_pages -= r->granule;
    *bl_giant_full(t, lo) = 0;
    return true;
}

static ALWAYS_INLINE bool take_block(balloon_tracker *t, const region *r, uint64_t block,
                                     struct taker *k)
{
    uint64_t lo = block * BLOCK_PAGES;

    if (t->pending_in[block] == BLOCK_PAGES && !bl_tracker_giants(r))
        return take_part(t, r, lo, lo + BLOCK_PAGES, k);
    if (r->granule == 1 && t->pending_in[block] >= MANY_PENDING && r->end <= UINT64_C(1) << 32)
        return take_singles(t, r, block, k);
    if (r->granule <= WORD_BITS)
        return take_words(t, r, block, k);
    return (bl_tracker_giants(r) ? take_giant : take_granules)(t, r, block, k);
}

/* After reported pages were handed out: held pages of granules that are not wholly held were not
 * meant, and wait again for their granules. Giants have seen to that. */
static void restore_held(balloon_tracker *t, const balloon_run *run)
{
    const region *r = bl_tracker_region_after(t, run->range.first);
    uint64_t lo = run->range.first + r->shift, hi = lo + run->range.count;

    while (lo < hi && r->granule > 1 && !bl_tracker_giants(r)) {
        uint64_t w = lo / WORD_BITS, block = w / BLOCK_WORDS, held = t->held[w];

        if (t->in[block].held == 0 || t->in[block].held == BLOCK_PAGES) {
            lo = (block + 1) * BLOCK_PAGES;
        } else if (r->granule <= WORD_BITS) {
            bl_tracker_put_pending(t, w, bits_mask(w, lo, hi),
                                   held & ~bl_tracker_full_granules(r, held));
            lo = (w + 1) * WORD_BITS;
        } else {
            if (!bl_tracker_granule_held(t, r, lo))
                bl_tracker_wait_held(t, lo, lo + r->granule, true);
            lo += r->granule;
        }
    }
}

static NOINLINE size_t take_ready(balloon_tracker *t, balloon_run *runs, size_t max)
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
        if (!take_block(t, r, block, &k))
            break;
        /* Also when nothing was found: what was ready has been cancelled, though other pages wait.
         * It is cheaper to find that out here than at every deflate. */
        if (t->pending_in[block])
            summary_clear(&t->ready, block);
    }
    if (t->gather && t->any_reported)
        for (size_t i = 0; i < k.count; i++)
            restore_held(t, &runs[i]);
    return k.count;
}

size_t balloon_tracker_take(balloon_tracker *t, balloon_run *runs, size_t max)
{
    return (t->line.count ? bl_tracker_take_line : take_ready)(t, runs, max);
}

uint64_t balloon_tracker_put_back(balloon_tracker *t, const balloon_run *run)
{
    const region *r = bl_tracker_region_after(t, run->range.first);
    uint64_t waiting = t->pending_pages, before = 0;

    bl_tracker_leave_line(t);
    if (r == t->regions + t->region_count || r->id != run->region || run->range.first < r->first ||
        run->range.count > r->end - run->range.first)
        return 0;

    uint64_t lo = run->range.first + r->shift, hi = lo + run->range.count;
    if (!bl_tracker_granules(r, &lo, &hi))
        return 0;
    if (t->gather)
        before = bl_tracker_count_ready(t, r, lo, hi);
    for (uint64_t g = lo; g < hi; g += r->granule)
        if (bl_tracker_granule_held(t, r, g))
            bl_tracker_lose_granule(t, r, g);
    if (!t->gather)
        return 0;
    t->ready_pages += bl_tracker_count_ready(t, r, lo, hi) - before;
    bl_tracker_note_ready(t, r, lo, hi);
    return t->pending_pages - waiting;
}

/* Forget what is pending in the blocks of a summary. */
static void forget(balloon_tracker *t, summary *blocks)
{
    const region *r = t->regions;
    uint64_t first = 0, b = 0;

    while ((b = summary_next(blocks, b, t->blocks)) < t->blocks) {
        uint64_t w = b / WORD_BITS;

        for (uint64_t left = summary_put_word(blocks, w, 0); left; left &= left - 1) {
            b = w * WORD_BITS + bits_lowest(left);
            if (b >= r->block + r->blocks)
                r = bl_tracker_region_of_block(t, b);
            if (bl_tracker_giants(r) && bl_tracker_granule_at(r, b * BLOCK_PAGES, &first))
                *bl_giant_full(t, first) = 0;
            for (unsigned i = 0; i < BLOCK_WORDS; i++)
                t->pending[b * BLOCK_WORDS + i] = 0;
            if (t->pending_in[b] == BLOCK_PAGES)
                summary_set(&t->calm, b);
            t->pending_in[b] = 0;
        }
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

    bl_tracker_wait_held(t, lo, hi, false);
    if (bl_tracker_giants(r))
        *bl_giant_full(t, lo) = (uint16_t)bl_tracker_full_blocks(t, lo, hi);
    t->ready_pages -= before - bl_tracker_count_ready(t, r, lo, hi);
    /* A giant was done at once. */
    for (uint64_t b = block; b < hi / BLOCK_PAGES; b++)
        summary_clear(&t->reported, b);
}

static NOINLINE void forget_all(balloon_tracker *t)
{
    forget(t, &t->waiting);
    forget(t, &t->ready);
    t->pending_pages = t->ready_pages = 0;
}

static NOINLINE void settle_all_reported(balloon_tracker *t)
{
    for (uint64_t b = 0; (b = summary_next(&t->reported, b, t->blocks)) < t->blocks;) {
        if (t->gather)
            settle_reported(t, b);
        summary_clear(&t->reported, b);
    }
    t->any_reported = false;
}

void balloon_tracker_settle(balloon_tracker *t)
{
    if (t->line.count)
        bl_tracker_drop_line(t);
    else if (!t->gather && t->pending_pages)
        forget_all(t);
    if (t->any_reported)
        settle_all_reported(t);
}
