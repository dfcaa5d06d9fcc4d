/* Does balloon_tracker_check() see it when a rule is broken? A validator that finds nothing would
 * make every test that relies on it worthless, so here the state is broken on purpose, one thing at
 * a time. This file and device_check.c alone look inside. */
#include <criterion/criterion.h>
#include <string.h>

#include <balloon/alloc.h>

#include "../../../lib/core/tracker_p.h"

static balloon_tracker *tracker;

/* Held, given back: 0..511 and granule 8192. Pending: 600..699, and half of granule 8208. */
static void make(void)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 16384, .hints = 1};
    balloon_region single = {0, 4090, 1}, granules = {8192, 4096, 16};
    balloon_run runs[4];

    cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &single, NULL), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &granules, NULL), BALLOON_OK);
    balloon_tracker_set_gather(tracker, true);
    balloon_tracker_inflate_range(tracker, (balloon_range){0, 512}, NULL);
    balloon_tracker_inflate_range(tracker, (balloon_range){8192, 16}, NULL);
    cr_assert_eq(balloon_tracker_take(tracker, runs, 4), 2);
    balloon_tracker_inflate_range(tracker, (balloon_range){600, 100}, NULL);
    balloon_tracker_inflate_range(tracker, (balloon_range){8208, 8}, NULL);
    balloon_tracker_hint(tracker, (balloon_range){2000, 10}, NULL);
    cr_assert(balloon_tracker_check(tracker, NULL));
}

static void drop(void)
{
    balloon_tracker_destroy(tracker);
}

TestSuite(tracker_check, .init = make, .fini = drop);

static void check_broken(const char *rule)
{
    const char *why = "nothing";

    cr_assert_not(balloon_tracker_check(tracker, &why), "not seen: %s", rule);
    cr_assert(strcmp(why, rule) == 0, "seen: %s\nnot: %s", why, rule);
    cr_assert_not(balloon_tracker_check(tracker, NULL));
}

/* Break a field, see that it is found, and mend it. */
#define BREAK(field, value, rule)                                                                  \
    do {                                                                                           \
        __typeof__(field) was_ = field;                                                            \
        field = (__typeof__(field))(value);                                                        \
        check_broken(rule);                                                                        \
        field = was_;                                                                              \
        cr_assert(balloon_tracker_check(tracker, NULL));                                           \
    } while (0)

static uint64_t word_of(balloon_pfn_t pfn)
{
    const region *r = bl_tracker_region_after(tracker, pfn);

    return (pfn + r->shift) / WORD_BITS;
}

Test(tracker_check, totals)
{
    BREAK(tracker->held_pages, tracker->held_pages + 1, "held pages are counted");
    BREAK(tracker->pending_pages, 0, "pending pages are counted");
    BREAK(tracker->hinted_pages, 0, "hinted pages are counted");
    BREAK(tracker->ready_pages, 0, "ready pages are counted");
    BREAK(tracker->pages, 1, "pages are the sum of the regions");
    BREAK(tracker->max_pages, 1, "pages are the sum of the regions");
    BREAK(tracker->blocks, 1, "rows fill the blocks in use");
    BREAK(tracker->max_blocks, 1, "rows fill the blocks in use");
}

Test(tracker_check, regions)
{
    region *second = &tracker->regions[1];

    BREAK(second->first, 0, "regions are sorted and do not overlap");
    BREAK(second->end, second->first, "regions are sorted and do not overlap");
    BREAK(second->block, second->block + 1, "rows of regions follow each other");
    BREAK(second->shift, second->shift + BLOCK_PAGES, "rows of regions follow each other");
    BREAK(second->blocks, second->blocks + 1, "a row is as long as its region");
}

Test(tracker_check, counters_of_blocks)
{
    BREAK(tracker->in[0].held, 511, "held pages of a block are counted");
    BREAK(tracker->pending_in[1], 0, "pending pages of a block are counted");
}

Test(tracker_check, bits)
{
    uint64_t beyond = (4090 + tracker->regions[0].shift) / WORD_BITS;

    BREAK(tracker->held[beyond], UINT64_C(1) << 63, "no bit is set outside of a region");
    BREAK(tracker->pending[beyond], UINT64_C(1) << 63, "no bit is set outside of a region");
    BREAK(tracker->hinted[beyond], UINT64_C(1) << 63, "no bit is set outside of a region");
    BREAK(tracker->held[word_of(0)], 0, "held pages of a block are counted");
    BREAK(tracker->hinted[word_of(2000)], 0, "hinted pages are counted");
}

Test(tracker_check, a_pending_page_that_is_not_held)
{
    uint64_t w = word_of(600);

    /* The same number of bits, so that the counters agree. */
    BREAK(tracker->pending[w], tracker->pending[w] >> 24 | tracker->pending[w] << 40,
          "a pending page is held or reported");
}

Test(tracker_check, granules_in_gathering_mode)
{
    uint64_t given_back = word_of(8192), half = word_of(8208), block = half / BLOCK_WORDS;
    uint64_t pending = tracker->pending[half];

    cr_assert_eq(given_back, half);
    /* One page of the granule that was given back waits, instead of one of the half granule. */
    tracker->pending[half] = (pending & (pending - 1)) | 1;
    check_broken("a complete granule is ready or given back");
    /* One page of the half granule does not wait. */
    tracker->pending[half] = pending & (pending - 1);
    tracker->pending_in[block]--;
    check_broken("what is held of a granule waits for the rest");
    /* Without the promise it need not. */
    tracker->gather = false;
    tracker->pending_pages--;
    cr_assert(balloon_tracker_check(tracker, NULL));
}

/* A whole check takes runs out of line, so there are new ones for each. */
static void line_up(void)
{
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, (const uint32_t[]){1000, 1001, 1010}, 3, NULL);
    cr_assert_eq(tracker->line.count, 2);
}

Test(tracker_check, runs_in_line)
{
    struct line *line = &tracker->line;
    uint32_t *edge = bl_line_edges(tracker);

    balloon_tracker_set_gather(tracker, false);
    BREAK(line->mixed, true, "an empty line is in order");
#define BREAK_LINE(field, value, rule)                                                             \
    line_up();                                                                                     \
    BREAK(field, value, rule)
    BREAK_LINE(line->next, 2, "a line has runs or is empty");
    BREAK_LINE(line->count, LINE_RUNS + 1, "a line is short");
    BREAK_LINE(line->used, 1, "what a line wrote is known");
    BREAK_LINE(edge[2], 5000, "a run in line lies in a region");
    BREAK_LINE(edge[3], 1002, "runs in line are sorted and maximal");
    BREAK_LINE(edge[4], 1012, "pages in line are held");
    BREAK_LINE(tracker->gather, true, "a line is for settling mode");
    BREAK_LINE(tracker->pending_pages, 4, "nothing else is pending when a line is");
    BREAK_LINE(tracker->regions[0].granule, 16, "only single pages are in line");
}

Test(tracker_check, summaries)
{
    uint64_t used = 0, pending = 1, empty = 3;

    summary_clear(&tracker->some, used);
    check_broken("blocks with held pages are noted");
    summary_set(&tracker->some, used);
    summary_set(&tracker->some, empty);
    check_broken("blocks with held pages are noted");
    summary_clear(&tracker->some, empty);

    summary_clear(&tracker->room, empty);
    check_broken("blocks with room are noted");
    summary_set(&tracker->room, empty);

    summary_set(&tracker->reported, empty);
    check_broken("reports are noted");
    summary_clear(&tracker->reported, empty);

    summary_clear(&tracker->waiting, pending);
    summary_clear(&tracker->ready, pending);
    check_broken("blocks with pending pages are noted");
    summary_set(&tracker->waiting, pending);
    check_broken("ready granules are noted");
    summary_set(&tracker->ready, pending);
    summary_set(&tracker->waiting, empty);
    check_broken("blocks with pending pages are noted");
    summary_clear(&tracker->waiting, empty);

    summary_clear(&tracker->calm, empty);
    check_broken("blocks with pages that are not pending are noted");
    summary_set(&tracker->calm, empty);

    BREAK(tracker->calm.peak[0], 0, "the levels of a summary agree");
    BREAK(tracker->some.top[0], 0, "the levels of a summary agree");
    summary_set(&tracker->ready, tracker->blocks);
    check_broken("the levels of a summary agree");
}
