/* Runs in line: what a buffer brought in settling mode, and what mostly leaves before the next one
 * comes. See struct line. */
#include <string.h>

#include "tracker_batch_p.h"

static void wait_words(balloon_tracker *t, uint64_t lo, uint64_t hi)
{
    for (uint64_t w = lo / WORD_BITS; w <= (hi - 1) / WORD_BITS; w++)
        t->pending[w] |= bits_mask(w, lo, hi);
}

/* Runs that were in line were not taken. `wait`: they are pending still. */
static void not_taken(balloon_tracker *t, const uint32_t *edge, size_t count, bool wait)
{
    const region *r = t->regions;

    for (; count; count--, edge += 2) {
        uint32_t pages = edge[1] - edge[0];

        if (edge[0] < r->first || edge[0] >= r->end)
            r = bl_tracker_region_after(t, edge[0]);
        uint64_t lo = edge[0] + r->shift, hi = lo + pages;

        while (lo < hi) {
            uint64_t block = lo / BLOCK_PAGES, end = (block + 1) * BLOCK_PAGES;

            end = end < hi ? end : hi;
            t->in[block].returned = (uint16_t)(t->in[block].returned - (end - lo));
            if (wait) {
                t->pending_in[block] = (uint16_t)(t->pending_in[block] + (end - lo));
                wait_words(t, lo, end);
                summary_set(&t->ready, block);
                bl_tracker_more_pending(t, block);
            }
            lo = end;
        }
    }
}

void bl_tracker_join_pending(balloon_tracker *t)
{
    uint32_t edges[2 * LINE_RUNS], *line = bl_line_edges(t);
    size_t count = t->line.count - t->line.next;

    memcpy(edges, line + 2 * t->line.next + 1, 2 * count * sizeof(*edges));
    memset(line, 0, t->line.used * sizeof(*line));
    t->line.next = t->line.count = t->line.used = 0;
    t->line.mixed = false;
    not_taken(t, edges, count, true);
}

void bl_tracker_drop_line(balloon_tracker *t)
{
    not_taken(t, bl_line_edges(t) + 2 * t->line.next + 1, t->line.count - t->line.next, false);
    t->line.next = t->line.count = 0;
    t->line.mixed = false;
    t->pending_pages = t->ready_pages = 0;
}

/* The first runs of a line were taken, and so many pages with them. */
static inline size_t taken(balloon_tracker *t, size_t count, uint64_t pages)
{
    struct line *line = &t->line;

    t->returned_pages += pages;
    t->pending_pages -= pages;
    t->ready_pages -= pages;
    line->next += (uint32_t)count;
    if (line->next == line->count)
        line->next = line->count = 0;
    return count;
}

static NOINLINE size_t take_runs(balloon_tracker *t, const uint32_t *edge, size_t count,
                                 balloon_run *runs)
{
    const region *r = t->regions;
    uint64_t pages = 0;

    for (size_t i = 0, stop; i < count; i = stop) {
        r = region_with(t, r, edge[2 * i]);
        stop = edge[2 * count - 2] < r->end ? count : i + 1;
        bl_batch_code()->hand_out(edge + 2 * i, stop - i, r->id, runs + i);
    }
    /* All of them is the rule, and all that is pending. */
    if (count == t->line.count - t->line.next)
        return taken(t, count, t->pending_pages);
    for (size_t i = 0; i < count; i++)
        pages += edge[2 * i + 1] - edge[2 * i];
    return taken(t, count, pages);
}

size_t bl_tracker_take_line(balloon_tracker *t, balloon_run *runs, size_t max)
{
    const uint32_t *edge = bl_line_edges(t) + 2 * t->line.next + 1;
    size_t count;

    if (t->line.mixed)
        bl_batch_code()->order_line(t);
    count = t->line.count - t->line.next;
    if (count != 1 || !max)
        return take_runs(t, edge, count < max ? count : max, runs);
    runs[0].region = region_with(t, t->regions, edge[0])->id;
    runs[0].reserved = 0;
    runs[0].range = (balloon_range){edge[0], edge[1] - edge[0]};
    return taken(t, 1, t->pending_pages);
}
