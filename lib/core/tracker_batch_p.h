/* A batch: up to BATCH_PAGES page numbers of a buffer, in any order. There are several versions of
 * the code for it, of which one is chosen when the first batch comes. All do the same. */
#ifndef BALLOON_CORE_TRACKER_BATCH_P_H
#define BALLOON_CORE_TRACKER_BATCH_P_H

#include "tracker_p.h"

#define BATCH_PAGES 256u

/* So many runs of a batch are worth more than its pages; a whole number of vectors. */
#define RUNS_MAX 48u

/* find_edges() writes so many more than there are pages. */
#define BLOCK_EDGES_SPARE 9u

struct batch_code {
    const char *name;
    /* Of the pages that are set in the words of a block, whose first page is `at`: where runs begin
     * and end, in turn, modulo 2^32. Returns how many such edges. */
    size_t (*find_edges)(const uint64_t *words, uint32_t at, uint32_t *edge);
    /* Runs of a line, all in one region; see tracker_line.c. */
    void (*hand_out)(const uint32_t *edge, size_t count, uint32_t id, balloon_run *runs);
    void (*inflate)(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally);
    void (*deflate)(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally);
    /* Gathering mode, nothing reported: all of the batch goes in, or out, if its pattern tells
     * before anything is changed that each page can. Else nothing does. */
    bool (*inflate_all)(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally);
    bool (*deflate_all)(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally);
    /* The same as inflate and deflate of numbers that lie in memory of the peer, as this machine
     * has them. */
    void (*inflate_from)(balloon_tracker *t, const unsigned char *peer, size_t n,
                         balloon_tally *tally);
    void (*deflate_from)(balloon_tracker *t, const unsigned char *peer, size_t n,
                         balloon_tally *tally);
    /* The runs of a line that is mixed are brought into order. */
    void (*order_line)(balloon_tracker *t);
    /* bl_tracker_narrow() */
    struct narrowed (*narrow)(const uint64_t *words, size_t n, unsigned shift, uint32_t one,
                              uint32_t *to);
};

/* Plain C; the others are measured by it. */
extern const struct batch_code bl_batch_portable;

/* For AVX2 machines; not in freestanding builds, nor in those for size. */
#if defined(__x86_64__) && defined(__GNUC__) && __STDC_HOSTED__ && !defined(__OPTIMIZE_SIZE__)
#define BATCH_AVX2
extern const struct batch_code bl_batch_avx2;
#endif

/* The one that is in use. */
const struct batch_code *bl_batch_code(void);

/* The versions that this machine can run, best first; NULL behind the last. */
const struct batch_code *bl_batch_version(unsigned i);

/* For tests and benchmarks: one of them for all batches from now on, in all trackers. */
void bl_batch_use(const struct batch_code *code);

/* Runs of sorted pages: edge[1] and edge[2] of the first, and so on. */
struct edges {
    uint32_t *edge; /* behind the first page of the run that is growing */
    uint64_t end;   /* of that run */
};

/* Where a run begins nobody can predict. */
static inline void edges_add(struct edges *e, uint32_t page)
{
    e->edge[0] = (uint32_t)e->end;
    e->edge[1] = page;
    e->edge += 2 * (e->end != page);
    e->end = page + UINT64_C(1);
}

/* The region that has a page, mostly the near one, or NULL. */
static inline const region *region_with(const balloon_tracker *t, const region *near, uint32_t pfn)
{
    if (pfn >= near->first && pfn < near->end)
        return near;
    near = bl_tracker_region_after(t, pfn);
    return near < t->regions + t->region_count && pfn >= near->first ? near : NULL;
}

/* Page numbers one by one and run by run, whatever is in them: what batches without a pattern
 * that is worth more come to. */
void bl_tracker_inflate_any(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally);
void bl_tracker_deflate_any(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally);

/* Pages of one region of granules, while none are reported and no line is. */
void bl_tracker_inflate_pages(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                              balloon_tally *tally);
void bl_tracker_deflate_pages(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                              balloon_tally *tally);

/* Pages in their order, up to the first that cannot go, or leaves a region of granules: what is
 * cancelled then depends on which pages leave together. Gathering mode, nothing reported. Return
 * how many went. */
size_t bl_tracker_inflate_until(balloon_tracker *t, const uint32_t *v, size_t n,
                                balloon_tally *tally);
size_t bl_tracker_deflate_until(balloon_tracker *t, const uint32_t *v, size_t n,
                                balloon_tally *tally);

#endif
