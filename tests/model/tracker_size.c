/* How large the state is, and the granules that are too large for the random tests. */
#include "model.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

#define GIB (UINT64_C(1) << 18) /* In pages. */

static void *make(uint64_t max_pages, uint32_t max_regions, balloon_tracker **tracker)
{
    balloon_tracker_config config = {
        .size = sizeof(config), .max_pages = max_pages, .max_regions = max_regions};
    balloon_layout layout;
    cr_assert_eq(balloon_tracker_layout(&config, &layout), BALLOON_OK);
    void *memory =
        aligned_alloc(layout.align, (layout.bytes + layout.align - 1) & ~(layout.align - 1));
    cr_assert_not_null(memory);
    cr_assert_eq(balloon_tracker_init(memory, layout.bytes, &config, tracker), BALLOON_OK);
    return memory;
}

Test(tracker_size, at_most_71_kib_for_a_gib_of_guest)
{
    static const uint64_t gib[] = {1, 4, 1024};
    for (int i = 0; i < 3; i++) {
        balloon_tracker_config config = {.size = sizeof(config), .max_pages = gib[i] * GIB};
        balloon_layout layout;
        cr_assert_eq(balloon_tracker_layout(&config, &layout), BALLOON_OK);
        cr_assert_leq(layout.bytes, gib[i] * 71 * 1024, "%zu bytes for %" PRIu64 " GiB",
                      layout.bytes, gib[i]);
        config.hints = 1;
        cr_assert_eq(balloon_tracker_layout(&config, &layout), BALLOON_OK);
        cr_assert_leq(layout.bytes, gib[i] * 100 * 1024 + 4096, "%zu bytes for %" PRIu64 " GiB",
                      layout.bytes, gib[i]);
    }
}

Test(tracker_size, bad_configs_and_small_memory_are_refused)
{
    balloon_layout layout;
    balloon_tracker *tracker = NULL;
    static _Alignas(64) uint8_t memory[65536];
    balloon_tracker_config bad[] = {
        {.size = sizeof(bad[0])},
        {.size = 4, .max_pages = 1},
        {.max_pages = 1},
        {.size = sizeof(bad[0]), .max_pages = (UINT64_C(1) << 40) + 1},
        {.size = sizeof(bad[0]), .max_pages = UINT64_MAX},
        {.size = sizeof(bad[0]), .max_pages = 1, .max_regions = 4097},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        cr_assert_eq(balloon_tracker_layout(&bad[i], &layout), BALLOON_ERR_INVALID, "%zu", i);
        cr_assert_eq(balloon_tracker_init(memory, sizeof(memory), &bad[i], &tracker),
                     BALLOON_ERR_INVALID, "%zu", i);
    }
    balloon_tracker_config good = {.size = sizeof(good), .max_pages = 1000};
    cr_assert_eq(balloon_tracker_layout(&good, &layout), BALLOON_OK);
    cr_assert_leq(layout.bytes + 64, sizeof(memory));
    cr_assert_eq(balloon_tracker_init(memory, layout.bytes - 1, &good, &tracker),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_tracker_init(memory + 1, layout.bytes, &good, &tracker),
                 BALLOON_ERR_INVALID);
    cr_assert_null(tracker);
    cr_assert_eq(balloon_tracker_init(memory, layout.bytes, &good, &tracker), BALLOON_OK);
    cr_assert(balloon_tracker_check(tracker, NULL));
}

#ifdef __linux__
static long resident(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long all = 0, pages = 0;
    cr_assert(file && fscanf(file, "%ld %ld", &all, &pages) == 2);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Memory that the system has only promised stays a promise until pages come. */
Test(tracker_size, a_tib_of_guest_costs_little_before_pages_come)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 1024 * GIB};
    balloon_region region = {.first = 0, .count = 1024 * GIB, .granule = 1};
    balloon_layout layout;
    balloon_tracker *tracker;
    cr_assert_eq(balloon_tracker_layout(&config, &layout), BALLOON_OK);
    void *memory = mmap(NULL, layout.bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    (void)madvise(memory, layout.bytes, MADV_NOHUGEPAGE);
    long before = resident();
    cr_assert_eq(balloon_tracker_init(memory, layout.bytes, &config, &tracker), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &region, NULL), BALLOON_OK);
    cr_assert_lt(resident() - before, 1024 * 1024, "%ld bytes", resident() - before);
    munmap(memory, layout.bytes);
}
#endif

/* Regions of one page each, at the worst places, still fit when the sum does. */
Test(tracker_size, max_pages_can_be_had_in_any_pieces)
{
    enum { regions = 64 };
    balloon_tracker *tracker;
    void *memory = make(regions * 3, regions, &tracker);
    for (uint64_t i = 0; i < regions; i++) {
        /* Three pages around a 2 MiB border. */
        balloon_region region = {.first = (i + 1) * 5120 - 1, .count = 3, .granule = 1};
        uint32_t id;
        cr_assert_eq(balloon_tracker_add_region(tracker, &region, &id), BALLOON_OK);
    }
    balloon_region more = {.first = 0, .count = 1, .granule = 1};
    cr_assert_eq(balloon_tracker_add_region(tracker, &more, NULL), BALLOON_ERR_NOSPACE);
    balloon_tally tally = {0};
    balloon_tracker_inflate_range(tracker, (balloon_range){0, UINT64_C(1) << 40}, &tally);
    cr_assert_eq(tally.changed, regions * 3);
    balloon_run runs[regions + 1];
    cr_assert_eq(balloon_tracker_take(tracker, runs, regions + 1), regions);
    cr_assert(balloon_tracker_check(tracker, NULL));
    free(memory);
}

/* 1 GiB granules: a granule is ready exactly with its last page, whichever that is, and an
 * incomplete one at the edge of a region never is. */
Test(tracker_size, granules_of_one_gib)
{
    const uint64_t granule = BALLOON_GRANULE_MAX, missing[] = {0, 511, 99999, granule - 1};
    balloon_tracker *tracker;
    void *memory = make(3 * granule, 0, &tracker);
    balloon_region region = {
        .first = granule - 100, .count = 2 * granule + 200, .granule = granule};
    cr_assert_eq(balloon_tracker_add_region(tracker, &region, NULL), BALLOON_OK);
    balloon_tracker_set_gather(tracker, true);
    for (int i = 0; i < 4; i++) {
        uint32_t last = (uint32_t)(2 * granule + missing[i]);
        balloon_run run[2];
        balloon_tally tally = {0};
        balloon_tracker_inflate_range(tracker, (balloon_range){0, last}, &tally);
        balloon_tracker_inflate_range(tracker, (balloon_range){(uint64_t)last + 1, 4 * granule},
                                      &tally);
        cr_assert_eq(tally.changed, region.count - 1);
        cr_assert_eq(balloon_tracker_ready(tracker), granule);
        cr_assert_eq(balloon_tracker_pending(tracker), region.count - 1);
        cr_assert_eq(balloon_tracker_take(tracker, run, 2), 1);
        cr_assert_eq(run[0].range.first, granule);
        cr_assert_eq(run[0].range.count, granule);
        cr_assert_eq(balloon_tracker_take(tracker, run, 2), 0);
        balloon_tracker_inflate(tracker, &last, 1, &tally);
        cr_assert_eq(balloon_tracker_ready(tracker), granule);
        cr_assert_eq(balloon_tracker_take(tracker, run, 2), 1);
        cr_assert_eq(run[0].range.first, 2 * granule);
        cr_assert_eq(run[0].range.count, granule);
        cr_assert_eq(balloon_tracker_pending(tracker), 200);
        cr_assert_eq(balloon_tracker_held(tracker), region.count);

        /* One page out and the granule waits whole again; back in and it leaves whole. */
        balloon_tracker_deflate(tracker, &last, 1, &tally);
        cr_assert_eq(balloon_tracker_ready(tracker), 0);
        cr_assert_eq(balloon_tracker_pending(tracker), 200 + granule - 1);
        balloon_tracker_inflate(tracker, &last, 1, &tally);
        cr_assert_eq(balloon_tracker_ready(tracker), granule);
        cr_assert_eq(balloon_tracker_put_back(
                         tracker, &(balloon_run){.region = 0, .range = {granule, granule}}),
                     granule);
        cr_assert_eq(balloon_tracker_take(tracker, run, 2), 1);
        cr_assert_eq(run[0].range.count, 2 * granule);
        const char *why = NULL;
        cr_assert(balloon_tracker_check(tracker, &why), "%s", why);
        balloon_tracker_reset(tracker);
    }
    free(memory);
}

/* What is pending of granules of more than 2 MiB, as runs: what was given back keeps its bits, and
 * is no part of any. */
Test(tracker_size, runs_of_giants)
{
    const uint64_t granule = 4096, pages = 64 * granule;
    balloon_tracker *tracker;
    void *memory = make(pages + 1000, 0, &tracker);
    balloon_region region = {.first = granule, .count = pages - 100, .granule = granule};
    cr_assert_eq(balloon_tracker_add_region(tracker, &region, NULL), BALLOON_OK);
    balloon_tracker_set_gather(tracker, true);
    balloon_tracker_inflate_range(tracker, (balloon_range){0, 2 * pages}, NULL);
    balloon_run run[2];
    cr_assert_eq(balloon_tracker_take(tracker, run, 2), 1);
    cr_assert_eq(run[0].range.count, 63 * granule);
    /* Pages of giants 3 and 4 leave, so these two wait; all others are given back. */
    balloon_tracker_deflate_range(tracker, (balloon_range){4 * granule + 700, 1}, NULL);
    balloon_tracker_deflate_range(tracker, (balloon_range){6 * granule - 1, 1}, NULL);
    const uint64_t expected[][2] = {
        {4 * granule, 700}, {4 * granule + 701, 2 * granule - 702}, {64 * granule, granule - 100}};
    for (int moved = 0; moved < 2; moved++) {
        balloon_range rest = {0, UINT64_MAX};
        for (int i = 0; i < 3; i++) {
            cr_assert(balloon_tracker_next(tracker, BALLOON_SET_PENDING, rest, run), "run %d", i);
            cr_assert_eq(run->range.first, expected[i][0], "run %d", i);
            cr_assert_eq(run->range.count, expected[i][1], "run %d", i);
            rest.first = run->range.first + run->range.count;
            rest.count = UINT64_MAX - rest.first;
        }
        cr_assert_not(balloon_tracker_next(tracker, BALLOON_SET_PENDING, rest, run));
        const char *why = NULL;
        cr_assert(balloon_tracker_check(tracker, &why), "%s", why);
        /* Memory that comes below moves all of it. */
        balloon_region lower = {.first = 0, .count = 1000, .granule = 1};
        cr_assert_eq(balloon_tracker_add_region(tracker, &lower, NULL),
                     moved ? BALLOON_ERR_INVALID : BALLOON_OK);
    }
    free(memory);
}

/* Page numbers around 2^32 are not cut: a guest of more than 16 TiB, ranges only. */
Test(tracker_size, pages_above_32_bits)
{
    const uint64_t top = UINT64_C(1) << 32;
    balloon_tracker *tracker;
    void *memory = make(2048, 0, &tracker);
    cr_assert_eq(
        balloon_tracker_add_region(
            tracker, &(balloon_region){.first = top - 1024, .count = 2048, .granule = 1}, NULL),
        BALLOON_OK);
    balloon_tally tally = {0};
    uint32_t low[] = {0, UINT32_MAX, 1};
    balloon_tracker_inflate(tracker, low, 3, &tally);
    cr_assert_eq(tally.changed, 1);
    cr_assert_eq(tally.outside, 2);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_HELD, (balloon_range){top, 1024}), 0);
    balloon_tracker_inflate_range(tracker, (balloon_range){top, 2}, &tally);
    balloon_run run;
    cr_assert_eq(balloon_tracker_take(tracker, &run, 1), 1);
    cr_assert_eq(run.range.first, top - 1);
    cr_assert_eq(run.range.count, 3);
    free(memory);
}
