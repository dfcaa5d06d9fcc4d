/* The code for batches, compiled once for each version. What a version can do better than plain C
 * it defines before it includes this:
 *
 *   bool follow(v, n, step)        v[i] is v[0] + i * step, modulo 2^32; step 1 or UINT32_MAX
 *   bool between(v, n, first, last)
 *   uint32_t copy_run(to, peer, n) copies numbers of the peer, reading each once; n <= BATCH_PAGES.
 *                                  Returns 1 if they rise one by one, UINT32_MAX if they fall so,
 *                                  both modulo 2^32, else 0
 *   size_t starts(v, n, step, m)   bit i of m: v[i] != v[i - 1] + step, and bit 0;
 *                                  returns how many
 *   struct narrowed narrow(words, n, shift, one, to)  see bl_tracker_narrow()
 *   void block_words(map, words)   512 bytes of 0 or 1 become 8 words
 *   void ranks(v, n, rank)         of n <= RUNS_MAX numbers: how many are smaller; equal ones
 *                                  share. Both have room for RUNS_MAX
 *   void sort(v, n, to)            n <= BATCH_PAGES numbers; `to` has room for BATCH_PAGES
 *   unsigned ones(word)
 *   size_t edges(v, n, edge)       of n > 0 rising numbers the runs, from edge[1] on; edge[0] stays
 *   uint32_t *turns(word, at, to)  at + the number of each bit, lowest first; returns where they
 *                                  end. 8 more may be written
 *
 * Buffers of guests have a pattern mostly: one run up or down; some runs; pages of one block of
 * 2 MiB; and pages from all over memory. Each has its own way here, for regions of single pages.
 * What a way cannot do exactly, it leaves to the next before it has changed anything. */
#include <stdalign.h>

#include "tracker_shape_p.h"

#include "tracker_in_p.h"
#include "tracker_out_p.h"

/* The region that has the first page, if it is one of single pages. */
static inline const region *home(const balloon_tracker *t, const uint32_t *v)
{
    const region *r = region_with(t, t->regions, v[0]);

    return r && r->granule == 1 ? r : NULL;
}

/* Sorted pages of several regions are cut by these. Counts those before the next region, *from is
 * its first page; returns where it ends, or 0 at the end of the batch. */
static size_t cut(const balloon_tracker *t, const uint32_t *v, size_t n, size_t *from,
                  const region **region_out, balloon_tally *tally)
{
    const region *r = *from < n ? bl_tracker_region_after(t, v[*from]) : NULL;
    size_t end;

    if (!r)
        return 0;
    if (r == t->regions + t->region_count) {
        tally->outside += n - *from;
        return 0;
    }
    for (; *from < n && v[*from] < r->first; ++*from)
        tally->outside++;
    end = v[n - 1] < r->end ? n : *from;
    while (end < n && v[end] < r->end)
        end++;
    *region_out = r;
    return end;
}

static void inflate_mixed(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    bool line = way_in(t, n) == LINE;
    const region *r = NULL;
    uint32_t sorted[BATCH_PAGES];

    sort(v, n, sorted);
    for (size_t i = 0, end; (end = cut(t, sorted, n, &i, &r, tally)) != 0; i = end) {
        const uint32_t *part = sorted + i;

        if (r->granule > 1 && line) {
            bl_tracker_leave_line(t);
            line = false;
        }
        if (i == end)
            continue;
        if (r->granule > 1)
            bl_tracker_inflate_pages(t, r, part, end - i, tally);
        else
            (line ? inflate_sorted : inflate_unsorted)(t, r, part, end - i, tally);
    }
}

static void deflate_mixed(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    const region *r = NULL;
    uint32_t sorted[BATCH_PAGES];

    bl_tracker_leave_line(t);
    sort(v, n, sorted);
    for (size_t i = 0, end; (end = cut(t, sorted, n, &i, &r, tally)) != 0; i = end) {
        if (i == end)
            continue;
        if (r->granule > 1)
            bl_tracker_deflate_pages(t, r, sorted + i, end - i, tally);
        else
            deflate_pages(t, r, sorted + i, end - i, tally);
    }
}

/* What is not a run, and any run that is not all new. */
static NOINLINE void inflate_other(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                                   balloon_tally *tally)
{
    enum way way = way_in(t, n);
    struct runs runs;

    if (t->line.count && r && !in_one_block(r, v, n) && find_runs(r, v, n, &runs) &&
        queue_runs(t, r, &runs, n, tally))
        return;
    if (t->line.count || way == WAIT)
        bl_tracker_leave_line(t);
    way = way_in(t, n);
    if (t->any_reported) {
        bl_tracker_inflate_any(t, v, n, tally);
    } else if (r && in_one_block(r, v, n)) {
        inflate_block(t, r, v, n, tally);
    } else if (r && find_runs(r, v, n, &runs)) {
        if (way == WAIT)
            let_runs_wait(t, r, &runs, tally);
        else if (!line_up_runs(t, r, &runs, n, tally))
            inflate_mixed(t, v, n, tally);
    } else if (way == WAIT && r && all_inside(r, v, n)) {
        inflate_unsorted(t, r, v, n, tally);
    } else if (look_joined(v, n) && !(r && all_inside(r, v, n))) {
        bl_tracker_inflate_any(t, v, n, tally);
    } else {
        inflate_mixed(t, v, n, tally);
    }
}

static void inflate(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    const region *r = t->any_reported ? NULL : home(t, v);
    uint32_t first = 0;

    if (r && one_run(v, n, &first) && inflate_run(t, r, first, n, tally))
        return;
    inflate_other(t, r, v, n, tally);
}

static NOINLINE void deflate_other(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                                   balloon_tally *tally)
{
    struct runs runs;

    if (t->any_reported)
        bl_tracker_deflate_any(t, v, n, tally);
    else if (r && in_one_block(r, v, n))
        deflate_block(t, r, v, n, tally);
    else if (r && find_runs(r, v, n, &runs))
        deflate_runs(t, r, &runs, tally);
    else if (r && all_inside(r, v, n))
        deflate_pages(t, r, v, n, tally);
    else
        (look_joined(v, n) ? bl_tracker_deflate_any : deflate_mixed)(t, v, n, tally);
}

static void deflate(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    const region *r = t->any_reported ? NULL : home(t, v);
    uint32_t first = 0;

    if (t->line.count)
        bl_tracker_leave_line(t);
    if (r && one_run(v, n, &first) && deflate_run(t, r, first, (uint32_t)n, tally))
        return;
    deflate_other(t, r, v, n, tally);
}

/* --- the line -------------------------------------------------------------------------------- */

/* Runs have no page in common, so the first pages and the last ones may be sorted by themselves.
 * Those next to each other become one. */
static void order_line(balloon_tracker *t)
{
    uint32_t *edge = bl_line_edges(t) + 2 * t->line.next + 1;
    uint32_t v[BATCH_PAGES] = {0}, first[BATCH_PAGES], last[BATCH_PAGES];
    size_t n = t->line.count - t->line.next, k = 0;
    const region *r = t->regions;

    for (size_t i = 0; i < n; i++)
        v[i] = edge[2 * i];
    sort(v, n, first);
    for (size_t i = 0; i < n; i++)
        v[i] = edge[2 * i + 1] - 1;
    sort(v, n, last);
    for (size_t i = 0; i < n; i++) {
        bool next = k && first[i] == edge[2 * k - 1];

        if (next)
            r = region_with(t, r, first[i]);
        if (!next || first[i] == r->first)
            edge[2 * k++] = first[i];
        edge[2 * k - 1] = last[i] + 1;
    }
    t->line.count = t->line.next + (uint32_t)k;
    t->line.mixed = false;
}

/* --- from memory of the peer ------------------------------------------------------------------ */

/* Did copy_run() see one run, which is one only if it does not wrap? */
static inline bool is_run(const uint32_t *v, size_t n, uint32_t step, uint32_t *first)
{
    *first = step == 1 ? v[0] : v[n - 1];
    return step && *first <= UINT32_MAX - (n - 1);
}

static void inflate_from(balloon_tracker *t, const unsigned char *peer, size_t n,
                         balloon_tally *tally)
{
    alignas(64) uint32_t v[BATCH_PAGES]; /* a vector of it does not lie in two lines of a cache */
    uint32_t step = copy_run(v, peer, n), first;
    const region *r = t->any_reported ? NULL : home(t, v);

    if (!r || !is_run(v, n, step, &first) || !inflate_run(t, r, first, n, tally))
        inflate_other(t, r, v, n, tally);
}

static void deflate_from(balloon_tracker *t, const unsigned char *peer, size_t n,
                         balloon_tally *tally)
{
    alignas(64) uint32_t v[BATCH_PAGES];
    uint32_t step = copy_run(v, peer, n), first;
    const region *r = t->any_reported ? NULL : home(t, v);

    if (t->line.count)
        bl_tracker_leave_line(t);
    if (!r || !is_run(v, n, step, &first) || !deflate_run(t, r, first, (uint32_t)n, tally))
        deflate_other(t, r, v, n, tally);
}

/* --- all or nothing -------------------------------------------------------------------------- */

static bool inflate_all(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    const region *r = home(t, v);
    struct runs runs;

    if (!r)
        return false;
    if (one_run(v, n, &runs.first[0]))
        return inflate_run(t, r, runs.first[0], n, tally);
    if (in_one_block(r, v, n))
        return inflate_block_all(t, r, v, n, tally);
    return find_runs(r, v, n, &runs) && inflate_runs_all(t, r, &runs, tally);
}

static bool deflate_all(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    const region *r = home(t, v);
    struct runs runs;

    if (!r)
        return false;
    runs.count = 1;
    runs.pages[0] = (uint32_t)n;
    if (one_run(v, n, &runs.first[0]))
        return deflate_runs_all(t, r, &runs, tally);
    if (in_one_block(r, v, n))
        return deflate_block_all(t, r, v, n, tally);
    return find_runs(r, v, n, &runs) && deflate_runs_all(t, r, &runs, tally);
}
