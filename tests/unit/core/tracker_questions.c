/* How many pages are in a set, and where the next run is, in guests of many blocks: empty ones,
 * full ones and all between, beside an answer that is found page by page. */
#include <criterion/criterion.h>
#include <string.h>

#include <balloon/alloc.h>
#include <balloon/tracker.h>

#include "prng.h"

#define BLOCK  512u
#define BLOCKS 300u
#define PAGES  (BLOCKS * BLOCK)
#define FIRST  200u               /* regions begin and end inside of blocks */
#define GAP    (130u * BLOCK + 7) /* ... */
#define GAP_TO (GAP + 90u)
#define END    (PAGES - 100u)

static struct prng random_pages;
static balloon_tracker *tracker;
static bool held[PAGES], pending[PAGES];

static void make_guest(bool gather)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = PAGES};
    balloon_region low = {FIRST, GAP - FIRST, 1}, high = {GAP_TO, END - GAP_TO, 1};

    random_pages = prng_start(prng_seed(), 7);
    cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &low, NULL), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &high, NULL), BALLOON_OK);
    balloon_tracker_set_gather(tracker, gather);
}

static bool is_ram(uint64_t page)
{
    return (page >= FIRST && page < GAP) || (page >= GAP_TO && page < END);
}

/* Blocks come in long stretches of one kind; within one, pages in short runs. */
static void fill(void)
{
    uint64_t kind = 0, stretch = 0;

    for (uint64_t block = 0; block < BLOCKS; block++) {
        if (!stretch) {
            kind = prng_below(&random_pages, 3);
            stretch = 1 + prng_below(&random_pages, 90);
        }
        stretch--;
        for (uint64_t i = 0, n; i < BLOCK; i += n) {
            n = kind < 2 ? BLOCK : 1 + prng_below(&random_pages, 9);
            n = n < BLOCK - i ? n : BLOCK - i;
            if (kind == 0 || (kind == 2 && prng_one_in(&random_pages, 2)))
                continue;
            balloon_tracker_inflate_range(tracker, (balloon_range){block * BLOCK + i, n}, NULL);
            for (uint64_t k = 0; k < n; k++)
                held[block * BLOCK + i + k] = is_ram(block * BLOCK + i + k);
        }
    }
}

/* Only some runs are taken; what is left waits. */
static void take(size_t max)
{
    balloon_run run;

    memcpy(pending, held, sizeof(held));
    for (; max && balloon_tracker_take(tracker, &run, 1); max--)
        memset(pending + run.range.first, false, run.range.count);
}

static bool is_in(balloon_set set, uint64_t page)
{
    return is_ram(page) && (set == BALLOON_SET_HELD   ? held[page]
                            : set == BALLOON_SET_FREE ? !held[page]
                                                      : pending[page]);
}

static void ask(balloon_set set, balloon_range range)
{
    uint64_t count = 0, first = range.first, end = range.first + range.count, last;
    balloon_run run = {.region = 0};
    bool found;

    for (uint64_t page = range.first; page < end; page++)
        count += is_in(set, page);
    cr_assert_eq(balloon_tracker_count(tracker, set, range), count);
    while (first < end && !is_in(set, first))
        first++;
    for (last = first; last < end && is_in(set, last);)
        last++;
    found = balloon_tracker_next(tracker, set, range, &run);
    cr_assert_eq(found, first < end);
    if (found)
        cr_assert(run.range.first == first && run.range.count == last - first);
}

static void ask_all(void)
{
    for (balloon_set set = BALLOON_SET_HELD; set <= BALLOON_SET_PENDING; set++) {
        ask(set, (balloon_range){0, PAGES});
        for (unsigned i = 0; i < 200; i++) {
            uint64_t first = prng_below(&random_pages, PAGES);
            uint64_t most = prng_one_in(&random_pages, 3) ? 2 * BLOCK : PAGES;

            most = most < PAGES - first ? most : PAGES - first;
            ask(set, (balloon_range){first, 1 + prng_below(&random_pages, most)});
        }
    }
}

Test(tracker_questions, pages_that_gathered)
{
    make_guest(true);
    fill();
    take(1000);
    ask_all();
    balloon_tracker_destroy(tracker);
}

/* Where blocks have counts of what the host was given, too. */
Test(tracker_questions, pages_that_were_given_back)
{
    make_guest(false);
    fill();
    take(1000);
    ask_all();
    balloon_tracker_settle(tracker); /* what was not taken waits no more */
    memset(pending, false, sizeof(pending));
    ask_all();
    balloon_tracker_destroy(tracker);
}

/* Of two granules of two blocks the host was given the second one, so what waits ends before it. */
Test(tracker_questions, a_run_ends_at_a_granule_that_was_given_back)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 4 * BLOCK};
    balloon_region ram = {0, 4 * BLOCK, 2 * BLOCK};
    balloon_run run;

    cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &ram, NULL), BALLOON_OK);
    balloon_tracker_set_gather(tracker, true);
    balloon_tracker_inflate_range(tracker, (balloon_range){2 * BLOCK, 2 * BLOCK}, NULL);
    cr_assert_eq(balloon_tracker_take(tracker, &run, 1), 1);
    balloon_tracker_inflate_range(tracker, (balloon_range){0, 2 * BLOCK}, NULL);
    cr_assert(
        balloon_tracker_next(tracker, BALLOON_SET_PENDING, (balloon_range){0, 4 * BLOCK}, &run));
    cr_assert(run.range.first == 0 && run.range.count == 2 * BLOCK);
    balloon_tracker_destroy(tracker);
}
