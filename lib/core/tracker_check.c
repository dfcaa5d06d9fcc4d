/* The tracker's rules, checked the slow and obvious way. */
#include "tracker_p.h"

#define RULE(holds, words)                                                                         \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            *why = words;                                                                          \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

static bool bit(const uint64_t *map, uint64_t i)
{
    return map[i / WORD_BITS] >> (i % WORD_BITS) & 1;
}

static bool check_summary(const summary *s, uint64_t blocks)
{
    uint64_t words = (blocks + WORD_BITS - 1) / WORD_BITS;

    for (uint64_t w = 0; w < words; w++)
        if (bit(s->top, w) != (s->bit[w] != 0))
            return false;
    for (uint64_t w = 0; w * WORD_BITS < words; w++)
        if (bit(s->peak, w) != (s->top[w] != 0))
            return false;
    for (uint64_t b = blocks; b < words * WORD_BITS; b++)
        if (summary_has(s, b))
            return false;
    return true;
}

static bool check_regions(const balloon_tracker *t, const char **why)
{
    uint64_t pages = 0, blocks = 0, last = 0;

    for (uint32_t i = 0; i < t->region_count; i++) {
        const region *r = &t->regions[i];

        RULE(r->first < r->end && r->first >= last, "regions are sorted and do not overlap");
        RULE(r->block == blocks && region_lo(r) / BLOCK_PAGES == blocks,
             "rows of regions follow each other");
        RULE((region_hi(r) - 1) / BLOCK_PAGES == blocks + r->blocks - 1,
             "a row is as long as its region");
        last = r->end;
        blocks += r->blocks;
        pages += r->end - r->first;
    }
    RULE(blocks == t->blocks && blocks <= t->max_blocks, "rows fill the blocks in use");
    RULE(pages == t->pages && pages <= t->max_pages, "pages are the sum of the regions");
    return true;
}

static bool check_blocks(const balloon_tracker *t, const region *r, const char **why)
{
    for (uint64_t b = r->block; b < r->block + r->blocks; b++) {
        uint64_t lo = b * BLOCK_PAGES, hi = lo + BLOCK_PAGES, first = 0;
        unsigned pending = bl_giant_masks(t, r, lo, &first) ? 0 : t->pending_in[b];

        RULE(t->in[b].held == bits_count(t->held, lo, hi), "held pages of a block are counted");
        RULE(t->pending_in[b] == bits_count(t->pending, lo, hi),
             "pending pages of a block are counted");
        RULE(summary_has(&t->some, b) == (t->in[b].held > 0), "blocks with held pages are noted");
        RULE(summary_has(&t->room, b) == (t->in[b].held < BLOCK_PAGES),
             "blocks with room are noted");
        RULE((pending > 0) == (summary_has(&t->waiting, b) || summary_has(&t->ready, b)),
             "blocks with pending pages are noted");
        RULE((pending < BLOCK_PAGES) == summary_has(&t->calm, b),
             "blocks with pages that are not pending are noted");
        RULE(!summary_has(&t->reported, b) || t->any_reported, "reports are noted");
        RULE(bl_tracker_giants(r) ||
                 (t->in[b].returned <= t->in[b].held && (!t->gather || !t->in[b].returned)),
             "only what is held was given back");
        for (uint64_t w = lo / WORD_BITS; w < hi / WORD_BITS; w++) {
            RULE(summary_has(&t->reported, b) || !(t->pending[w] & ~t->held[w]),
                 "a pending page is held or reported");
        }
    }
    return true;
}

static bool check_giant(const balloon_tracker *t, const region *r, uint64_t lo, const char **why)
{
    uint64_t full = 0, given = *bl_giant_given(t, lo);

    for (uint64_t at = lo; at < lo + r->granule; at += BLOCK_PAGES)
        full += bits_count(t->pending, at, at + BLOCK_PAGES) == BLOCK_PAGES;
    RULE(*bl_giant_full(t, lo) == full, "blocks of a giant that wait as a whole are counted");
    RULE(!given || (given == 1 && bl_tracker_granule_held(t, r, lo)),
         "only giants that are held were given back");
    RULE(!given || !t->gather || full == r->granule / BLOCK_PAGES,
         "giants that were given back keep their pending bits");
    return true;
}

static bool check_granule(const balloon_tracker *t, const region *r, uint64_t lo, bool *ready,
                          const char **why)
{
    uint64_t held = bits_count(t->held, lo, lo + r->granule), first = 0;
    uint64_t pending = bits_count(t->pending, lo, lo + r->granule);
    bool reported = false;

    if (bl_tracker_giants(r) && !check_giant(t, r, lo, why))
        return false;
    if (bl_giant_masks(t, r, lo, &first))
        pending = 0;
    *ready = pending == r->granule;
    RULE(bl_tracker_granule_held(t, r, lo) == (held == r->granule), "complete granules are known");
    RULE(!*ready || summary_has(&t->ready, lo / BLOCK_PAGES), "ready granules are noted");
    for (uint64_t b = lo / BLOCK_PAGES; b <= (lo + r->granule - 1) / BLOCK_PAGES; b++)
        reported = reported || summary_has(&t->reported, b);
    if (!t->gather || reported)
        return true;
    RULE(held == r->granule || pending == held, "what is held of a granule waits for the rest");
    RULE(held < r->granule || pending == 0 || *ready, "a complete granule is ready or given back");
    return true;
}

static bool check_region(const balloon_tracker *t, const region *r, uint64_t *ready_pages,
                         const char **why)
{
    uint64_t row_lo = r->block * BLOCK_PAGES, row_hi = (r->block + r->blocks) * BLOCK_PAGES;
    const uint64_t *const maps[3] = {t->held, t->pending, t->hinted};

    for (int i = 0; i < 3; i++)
        RULE(!maps[i] || (!bits_count(maps[i], row_lo, region_lo(r)) &&
                          !bits_count(maps[i], region_hi(r), row_hi)),
             "no bit is set outside of a region");
    if (!check_blocks(t, r, why))
        return false;
    for (uint64_t g = r->whole_lo; g < r->whole_hi; g += r->granule) {
        bool ready = false;

        if (!check_granule(t, r, g, &ready, why))
            return false;
        *ready_pages += ready ? r->granule : 0;
    }
    return true;
}

/* Runs in line, before they leave it. */
static bool check_line(const balloon_tracker *t, const char **why)
{
    const struct line *line = &t->line;
    const uint32_t *edge = bl_line_edges(t);
    uint64_t pages = 0, last = 0;

    RULE(line->next < line->count || line->count == 0, "a line has runs or is empty");
    RULE(line->count <= line->max, "a line is short");
    RULE(!line->count || line->used >= 2 * line->count + 1, "what a line wrote is known");
    RULE(line->count || !line->mixed, "an empty line is in order");
    for (uint32_t i = line->next; i < line->count; i++) {
        uint32_t first = edge[2 * i + 1], n = edge[2 * i + 2] - first;
        const region *r = bl_tracker_region_after(t, first);

        RULE(n && r < t->regions + t->region_count && first >= r->first && n <= r->end - first,
             "a run in line lies in a region");
        RULE(r->granule == 1, "only single pages are in line");
        RULE(line->mixed || i == line->next || first > last || (first == last && first == r->first),
             "runs in line are sorted and maximal");
        RULE(bits_count(t->held, first + r->shift, first + r->shift + n) == n,
             "pages in line are held");
        last = first + (uint64_t)n;
        pages += n;
    }
    RULE(!pages || (!t->gather && !t->any_reported), "a line is for settling mode");
    RULE(!pages || (pages == t->pending_pages && pages == t->ready_pages),
         "nothing else is pending when a line is");
    return true;
}

bool balloon_tracker_check(const balloon_tracker *t, const char **why_out)
{
    const summary *const summaries[] = {&t->some,  &t->room, &t->waiting,
                                        &t->ready, &t->calm, &t->reported};
    const char *unused = NULL, **why = why_out ? why_out : &unused;
    uint64_t held = 0, pending = 0, hinted = 0, ready = 0, returned = 0;

    if (!check_regions(t, why) || !check_line(t, why))
        return false;
    bl_tracker_leave_line(t);
    for (size_t i = 0; i < sizeof(summaries) / sizeof(*summaries); i++)
        RULE(check_summary(summaries[i], t->blocks), "the levels of a summary agree");
    for (uint32_t i = 0; i < t->region_count; i++) {
        const region *r = &t->regions[i];

        if (!check_region(t, r, &ready, why))
            return false;
        for (uint64_t b = r->block; b < r->block + r->blocks && !bl_tracker_giants(r); b++)
            returned += t->in[b].returned;
        for (uint64_t g = r->whole_lo; g < r->whole_hi && bl_tracker_giants(r); g += r->granule) {
            returned += !t->gather && *bl_giant_given(t, g) ? r->granule : 0;
            pending -= t->gather && *bl_giant_given(t, g) ? r->granule : 0;
        }
        held += bits_count(t->held, region_lo(r), region_hi(r));
        pending += bits_count(t->pending, region_lo(r), region_hi(r));
        if (t->hinted)
            hinted += bits_count(t->hinted, region_lo(r), region_hi(r));
    }
    RULE(returned == t->returned_pages, "pages given back are counted");
    RULE(held == t->held_pages, "held pages are counted");
    RULE(pending == t->pending_pages, "pending pages are counted");
    RULE(hinted == t->hinted_pages, "hinted pages are counted");
    RULE(ready == t->ready_pages, "ready pages are counted");
    return true;
}
