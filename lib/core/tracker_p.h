/* Inside the tracker. Pages are addressed by *index*: each region owns a row of whole blocks of
 * 512 pages (2 MiB), the rows follow each other by rising PFN without gaps, and bits of a block
 * that lie outside of its region stay 0. */
#ifndef BALLOON_CORE_TRACKER_P_H
#define BALLOON_CORE_TRACKER_P_H

#include <balloon/range.h>
#include <balloon/tracker.h>

#include "bits.h"
#include "tracker_saved_p.h"

#define BLOCK_PAGES UINT64_C(512)
#define BLOCK_WORDS (BLOCK_PAGES / WORD_BITS)

#define MAX_PAGES   (UINT64_C(1) << 40)
#define MAX_REGIONS 4096u

typedef struct region {
    balloon_pfn_t first, end; /* its pages */
    uint64_t shift;           /* index of a page = PFN + shift, modulo 2^64 */
    uint64_t granule;
    uint64_t whole_lo, whole_hi; /* indices of its whole granules: only they can become ready */
    uint64_t block, blocks;      /* its row */
    uint32_t id;
} region;

/* What becomes of a run, lo..hi-1, in a region of granules of more than a page. Guests have none,
 * and are linked without it. Both return the pages that changed. */
struct granule_runs {
    uint64_t (*inflate)(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi);
    uint64_t (*deflate)(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi);
};
extern const struct granule_runs bl_tracker_granule_runs;

/* Counts of a block; they change together. */
struct block_pages {
    uint16_t held;
    /* Settling mode: pages that were taken and are held since, at least. No bit tells them from
     * pages that came too late to be taken; see bl_tracker_lose(). Pages in line count as if they
     * had been taken. Giant granules have something else here. */
    uint16_t returned;
};

/* Settling mode, single pages: the runs that the last buffers brought, by rising address, none next
 * to another, or as they came (`mixed`), to be sorted before they are taken. Most are taken before
 * anything else happens, so they are not put into the pending bits and counts: as long as a run is
 * in line these have nothing, and the line lies where the bits will be. Whoever looks at or changes
 * those calls bl_tracker_leave_line() first. */
#define LINE_RUNS 256u
struct line {
    uint32_t next, count; /* runs next..count-1 are in line */
    uint32_t max;         /* runs there is room for */
    uint32_t used;        /* numbers that were written, and are to be cleared before bits are set */
    bool mixed;
};

struct balloon_tracker {
    uint64_t *held, *pending, *hinted; /* a bit a page; hinted is NULL without hints */
    struct block_pages *in;            /* each block */
    uint16_t *pending_in;              /* pending pages of each block */

    /* A bit a block. */
    summary some;    /* holds a page */
    summary room;    /* has a bit that is not held */
    summary waiting; /* has a pending page; where granules are single pages, `ready` says so */
    summary ready;   /* a ready granule starts or lies in it. May be set for nothing where a page is
                        pending; there one of this and the one above is set, and nowhere else */
    summary calm;    /* has a bit that is not pending */
    summary reported; /* was reported since the last settle */

    region *regions; /* sorted by PFN */
    const struct granule_runs *granule_runs;
    uint32_t region_count, max_regions;
    uint64_t blocks, max_blocks;
    uint64_t max_pages;

    uint64_t pages, held_pages, pending_pages, ready_pages, hinted_pages, returned_pages;
    uint64_t cancelled; /* pages ever deflated while they were pending */
    bool gather;
    bool any_reported;
    struct line line;
};

static inline uint64_t region_lo(const region *r)
{
    return r->first + r->shift;
}

static inline uint64_t region_hi(const region *r)
{
    return r->end + r->shift;
}

/* The first region that ends after a PFN, or one past the last. */
const region *bl_tracker_region_after(const balloon_tracker *t, balloon_pfn_t pfn);

/* The region that owns a block in use. */
const region *bl_tracker_region_of_block(const balloon_tracker *t, uint64_t block);

/* Check a region and say what is known of it before it has a place. */
balloon_status bl_tracker_describe(const balloon_region *wanted, region *r);

/* Its row begins at a block. */
void bl_tracker_place(region *r, uint64_t block);

/* The whole granules that lo..hi-1 touches; false when there are none. */
bool bl_tracker_granules(const region *r, uint64_t *lo, uint64_t *hi);

/* Is the page at an index in a whole granule? *first: where that one begins. */
static inline bool bl_tracker_granule_at(const region *r, uint64_t at, uint64_t *first)
{
    *first = r->whole_lo + ((at - r->whole_lo) & ~(r->granule - 1));
    return at >= r->whole_lo && at < r->whole_hi;
}

/* --- the line ------------------------------------------------------------------------------- */

/* Run i: pages edge[2 i + 1] .. edge[2 i + 2] - 1, modulo 2^32. There is room for one number before
 * the first run and for LINE_SPARE behind the last. */
#define LINE_SPARE 10u
static inline uint32_t *bl_line_edges(const balloon_tracker *t)
{
    return (uint32_t *)(void *)t->pending;
}

static inline void bl_line_end(balloon_tracker *t, size_t runs)
{
    uint32_t used = 2 * (uint32_t)runs + 1 + LINE_SPARE;

    t->line.count = (uint32_t)runs;
    t->line.used = t->line.used > used ? t->line.used : used;
}

/* What is in line becomes pending as everything else is. */
void bl_tracker_join_pending(balloon_tracker *t);

/* Where it is written what is pending shows in no answer, so a question may change it. */
static inline void bl_tracker_leave_line(const balloon_tracker *t)
{
    if (t->line.used)
        bl_tracker_join_pending((balloon_tracker *)t);
}

/* What is in line may not be taken any more. */
void bl_tracker_drop_line(balloon_tracker *t);

/* Take the first runs of a line that is not empty. */
size_t bl_tracker_take_line(balloon_tracker *t, balloon_run *runs, size_t max);

/* --- giants: granules of more than a block ---------------------------------------------------
 * A page that comes or goes must not cost a walk over the blocks of its granule. A giant is given
 * back and lost whole, so it needs no `returned` for each block; the first two are: */

static inline bool bl_tracker_giants(const region *r)
{
    return r->granule > BLOCK_PAGES;
}

/* Of the giant at index lo: its blocks with all bits pending. */
static inline uint16_t *bl_giant_full(const balloon_tracker *t, uint64_t lo)
{
    return &t->in[lo / BLOCK_PAGES].returned;
}

/* And: was it given back, and has lost no page since? In gathering mode its pending bits stay set
 * and are not meant, so that they are right again at once when it loses a page. The summaries have
 * what is meant. */
static inline uint16_t *bl_giant_given(const balloon_tracker *t, uint64_t lo)
{
    return &t->in[lo / BLOCK_PAGES + 1].returned;
}

/* Is the page at an index in a giant whose pending bits are not meant? *first as above. */
static inline bool bl_giant_masks(const balloon_tracker *t, const region *r, uint64_t at,
                                  uint64_t *first)
{
    return bl_tracker_granule_at(r, at, first) && bl_tracker_giants(r) && t->gather &&
           *bl_giant_given(t, *first);
}

/* All bits of a giant are pending and meant, or none is. */
static inline void bl_giant_note(balloon_tracker *t, const region *r, uint64_t lo, bool pending)
{
    uint64_t from = lo / BLOCK_PAGES, end = from + r->granule / BLOCK_PAGES;

    summary_put_all(&t->waiting, from, end, pending);
    summary_put_all(&t->calm, from, end, !pending);
    if (!pending)
        summary_put_all(&t->ready, from, end, false);
}

/* Blocks with all bits pending among those that lo..hi-1 touches. */
static inline unsigned bl_tracker_full_blocks(const balloon_tracker *t, uint64_t lo, uint64_t hi)
{
    unsigned full = 0;

    for (uint64_t b = lo / BLOCK_PAGES; b <= (hi - 1) / BLOCK_PAGES; b++)
        full += t->pending_in[b] == BLOCK_PAGES;
    return full;
}

/* --- granules of any size ------------------------------------------------------------------- */

/* Are all pages of the granule at index lo held? */
bool bl_tracker_granule_held(const balloon_tracker *t, const region *r, uint64_t lo);

/* Is the granule at index lo ready? */
bool bl_tracker_granule_ready(const balloon_tracker *t, const region *r, uint64_t lo);

/* Of a word of a region with granules of up to 64 pages: the bits of granules with all bits set. */
uint64_t bl_tracker_full_granules(const region *r, uint64_t word);

/* Pages of ready granules among the whole granules lo..hi-1. */
uint64_t bl_tracker_count_ready(const balloon_tracker *t, const region *r, uint64_t lo,
                                uint64_t hi);

/* Set the ready summary for the ready granules among lo..hi-1. */
void bl_tracker_note_ready(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi);

/* The granule at index lo, all of it held, does not count as given back any more: in gathering mode
 * it waits again. */
void bl_tracker_lose_granule(balloon_tracker *t, const region *r, uint64_t lo);

/* Settling mode: that many pages of a block may have been given back and are the guest's again, or
 * were not taken by the host. Nobody knows which pages of the block were, so it is assumed of all
 * as long as there are any: `returned` is never more than the truth, and is the truth where all of
 * a block was given back, or nothing. */
static inline void bl_tracker_lose(balloon_tracker *t, uint64_t block, uint64_t pages)
{
    uint64_t lost = pages < t->in[block].returned ? pages : t->in[block].returned;

    t->in[block].returned = (uint16_t)(t->in[block].returned - lost);
    t->returned_pages -= lost;
}

/* Nothing was given back in settling mode. */
void bl_tracker_forget_returned(balloon_tracker *t);

/* --- pending bits; ready_pages, setting the ready summary and bl_giant_full() are the caller's */

/* Pages of a block wait no more; `was`, how many did before. */
static inline void bl_tracker_fewer_pending(balloon_tracker *t, uint64_t block, unsigned was)
{
    if (was == BLOCK_PAGES)
        summary_set(&t->calm, block);
    if (t->pending_in[block])
        return;
    summary_clear(&t->waiting, block);
    summary_clear(&t->ready, block);
}

/* More pages of a block wait. */
static inline void bl_tracker_more_pending(balloon_tracker *t, uint64_t block)
{
    if (t->pending_in[block] == BLOCK_PAGES)
        summary_clear(&t->calm, block);
}

/* Give the masked bits of one word a new value, and keep its counters. */
void bl_tracker_put_pending(balloon_tracker *t, uint64_t w, uint64_t mask, uint64_t value);

/* Pages lo..hi-1 wait. */
void bl_tracker_wait(balloon_tracker *t, uint64_t lo, uint64_t hi);

/* Pages lo..hi-1 that are not held wait no more. `all`: and all of the others do. */
void bl_tracker_wait_held(balloon_tracker *t, uint64_t lo, uint64_t hi, bool all);

/* Ranges into or out of the balloon. *near, a region or one past the last, is where to look first,
 * and is set to where the last page was found. */
void bl_tracker_inflate_near(balloon_tracker *t, balloon_range range, balloon_tally *tally,
                             const region **near);
void bl_tracker_deflate_near(balloon_tracker *t, balloon_range range, balloon_tally *tally,
                             const region **near);

/* Gathering mode: pages of a block, or of the granule at index lo that is larger than a word, are
 * held as before or came in as given back. What is held of incomplete granules becomes pending;
 * complete ones without anything pending are given back. The first is for granules of more than a
 * page, and looks at those of which pages are named, but not at giants. */
void bl_tracker_regather_block(balloon_tracker *t, const region *r, uint64_t block,
                               const uint64_t named[BLOCK_WORDS]);
void bl_tracker_regather(balloon_tracker *t, const region *r, uint64_t lo);

/* Does a bitmap for a range fit into that many bytes? */
static inline bool bl_tracker_bitmap_fits(balloon_range range, size_t bytes)
{
    return range.count / 8 + (range.count % 8 != 0) <= bytes;
}

/* Rebuild the summaries of the blocks from..end-1 from the counters. */
void bl_tracker_rebuild(balloon_tracker *t, uint64_t from, uint64_t end);

/* What is wrong with a config: 0 nothing, else a number for balloon_tracker_config_check(). */
unsigned bl_tracker_config_fault(const balloon_tracker_config *config);

#endif
