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

struct balloon_tracker {
    uint64_t *held, *pending, *hinted; /* a bit a page; hinted is NULL without hints */
    uint16_t *held_in, *pending_in;    /* pages of each block */
    /* Settling mode: pages of each block that were taken and are held since, at least. No bit tells
     * them from pages that came too late to be taken; see bl_tracker_lose(). */
    uint16_t *returned_in;

    /* A bit a block. */
    summary some;     /* holds a page */
    summary room;     /* has a bit that is not held */
    summary waiting;  /* has a pending page; where granules are single pages, `ready` says so */
    summary ready;    /* a ready granule starts or lies in it. This one and the one above may be
                         set for nothing, but never both be missing */
    summary reported; /* was reported since the last settle */

    region *regions; /* sorted by PFN */
    uint32_t region_count, max_regions;
    uint64_t blocks, max_blocks;
    uint64_t max_pages;

    uint64_t pages, held_pages, pending_pages, ready_pages, hinted_pages, returned_pages;
    uint64_t cancelled; /* pages ever deflated while they were pending */
    bool gather;
    bool any_reported;
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

/* The whole granules that lo..hi-1 touches; false when there are none. */
bool bl_tracker_granules(const region *r, uint64_t *lo, uint64_t *hi);

/* Are all pages of the granule at index lo held? */
bool bl_tracker_granule_held(const balloon_tracker *t, const region *r, uint64_t lo);

/* Pages of ready granules among the whole granules lo..hi-1. */
uint64_t bl_tracker_count_ready(const balloon_tracker *t, const region *r, uint64_t lo,
                                uint64_t hi);

/* Is the granule, of more than 64 pages, at index lo ready? */
bool bl_tracker_granule_ready(const balloon_tracker *t, const region *r, uint64_t lo);

/* Of a pending word of a region with granules of up to 64 pages: the pages of ready granules. */
uint64_t bl_tracker_ready_word(const region *r, uint64_t pending);

/* Give the masked bits of one pending word a new value, and keep its counters; ready_pages and
 * the ready summary are the caller's. */
void bl_tracker_put_pending(balloon_tracker *t, uint64_t w, uint64_t mask, uint64_t value);

/* Settling mode: that many pages of a block may have been given back and are the guest's again, or
 * were not taken by the host. Nobody knows which pages of the block were, so it is assumed of all
 * as long as there are any: returned_in is never more than the truth, and is the truth where all of
 * a block was given back, or nothing. */
static inline void bl_tracker_lose(balloon_tracker *t, uint64_t block, uint64_t pages)
{
    uint64_t lost = pages < t->returned_in[block] ? pages : t->returned_in[block];

    t->returned_in[block] = (uint16_t)(t->returned_in[block] - lost);
    t->returned_pages -= lost;
}

/* The same for a granule of any size, at index lo. */
void bl_tracker_lose_granule(balloon_tracker *t, const region *r, uint64_t lo);

/* Nothing was given back in settling mode. */
void bl_tracker_forget_returned(balloon_tracker *t);

/* Set the ready summary for the ready granules among lo..hi-1. */
void bl_tracker_note_ready(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi);

/* Ranges into or out of the balloon. *near, a region or one past the last, is where to look first,
 * and is set to where the last page was found. */
void bl_tracker_inflate_near(balloon_tracker *t, balloon_range range, balloon_tally *tally,
                             const region **near);
void bl_tracker_deflate_near(balloon_tracker *t, balloon_range range, balloon_tally *tally,
                             const region **near);

/* Hold pages of one region without making them pending. Returns the pages that were not held. */
uint64_t bl_tracker_hold(balloon_tracker *t, uint64_t lo, uint64_t hi);

/* Gathering mode: pages lo..hi-1 were held before or came in as given back. Make pending what is
 * held of incomplete granules; complete ones without anything pending are given back. */
void bl_tracker_regather(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi);

/* Word w of a set; not masked to the region. */
uint64_t bl_tracker_set_word(const balloon_tracker *t, balloon_set set, uint64_t w);

/* Rebuild the summaries of the blocks from..end-1 from the counters. */
void bl_tracker_rebuild(balloon_tracker *t, uint64_t from, uint64_t end);

#endif
