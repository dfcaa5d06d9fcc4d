/* The code for batches, compiled once for each version. What a version can do better than plain C
 * it defines before it includes this:
 *
 *   bool follow(v, n, step, mask)  v[i] is v[0] + i * step in all bits of the mask
 *   bool between(v, n, first, last)
 *   size_t joined(v, n, step, m)   bit i of m: v[i + 1] == v[i] + step; returns how many
 *   void block_words(map, words)   512 bytes of 0 or 1 become 8 words
 *   void ranks(v, n, rank)         of n <= RUNS_MAX numbers: how many are smaller; equal ones share
 *   void sort(v, n, to)            n <= BATCH_PAGES numbers; `to` has room for BATCH_PAGES
 *   unsigned ones(word)
 *
 * Buffers of guests have a pattern mostly: one run up or down; some runs; pages of one block of
 * 2 MiB; and pages from all over memory. Each has its own way here, for regions of single pages.
 * What a way cannot do exactly, it leaves to the next before it has changed anything. */
#include "tracker_shape_p.h"

#include "tracker_in_p.h"
#include "tracker_out_p.h"

/* The region that has the first page, if it is one of single pages. */
static inline const region *home(const balloon_tracker *t, const uint32_t *v)
{
    const region *r = t->regions;

    if (v[0] < r->first || v[0] >= r->end)
        r = bl_tracker_region_after(t, v[0]);
    return r < t->regions + t->region_count && r->granule == 1 && v[0] >= r->first ? r : NULL;
}

/* What is not a run, and any run that is not all new. */
static NOINLINE void inflate_other(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                                   balloon_tally *tally)
{
    uint32_t sorted[BATCH_PAGES];
    struct runs runs;

    if (t->line.count || way_in(t, n) == WAIT)
        bl_tracker_leave_line(t);
    if (!r || !all_inside(r, v, n)) {
        bl_tracker_inflate_any(t, v, n, tally);
    } else if (in_one_block(v, n)) {
        inflate_block(t, r, v, n, tally);
    } else if (find_runs(v, n, &runs) && inflate_runs(t, r, &runs, n, tally)) {
        return;
    } else if (way_in(t, n) == LINE) {
        sort(v, n, sorted);
        inflate_sorted(t, r, sorted, n, tally);
    } else {
        inflate_unsorted(t, r, v, n, tally);
    }
}

static void inflate(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    const region *r = t->any_reported ? NULL : home(t, v);

    if (r && is_up(v, n) && inflate_run(t, r, v[0], n, tally))
        return;
    if (r && is_down(v, n) && inflate_run(t, r, v[n - 1], n, tally))
        return;
    inflate_other(t, r, v, n, tally);
}

static NOINLINE void deflate_other(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                                   balloon_tally *tally)
{
    struct runs runs;

    if (!r || !all_inside(r, v, n))
        bl_tracker_deflate_any(t, v, n, tally);
    else if (in_one_block(v, n))
        deflate_block(t, r, v, n, tally);
    else if (find_runs(v, n, &runs))
        deflate_runs(t, r, &runs, tally);
    else
        deflate_pages(t, r, v, n, tally);
}

static void deflate(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    const region *r = t->any_reported ? NULL : home(t, v);

    if (t->line.count)
        bl_tracker_leave_line(t);
    if (r && is_up(v, n) && deflate_run(t, r, v[0], (uint32_t)n, tally))
        return;
    if (r && is_down(v, n) && deflate_run(t, r, v[n - 1], (uint32_t)n, tally))
        return;
    deflate_other(t, r, v, n, tally);
}
