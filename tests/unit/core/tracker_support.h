/* A tracker for each test of a suite, and the few lines those tests share. */
#ifndef TEST_TRACKER_SUPPORT_H
#define TEST_TRACKER_SUPPORT_H

#include <criterion/criterion.h>

#include <balloon/alloc.h>

#define PFNS(...) (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 4

static balloon_tracker *tracker;

/* Regions 0..4095 of single pages, and 8192..12287 of granules of 16. */
static inline void make(void)
{
    balloon_tracker_config config = {
        .size = sizeof(config), .max_pages = 16384, .max_regions = 4, .hints = 1};
    balloon_region single = {0, 4096, 0}, granules = {8192, 4096, 16};

    cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &single, NULL), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &granules, NULL), BALLOON_OK);
}

static inline void drop(void)
{
    const char *why = NULL;
    bool sound = balloon_tracker_check(tracker, &why);

    balloon_tracker_destroy(tracker);
    cr_assert(sound, "broken: %s", why);
}

/* Take all that is ready; the runs must be these. */
static inline void check_take(size_t count, const balloon_run *expected)
{
    balloon_run runs[16];

    cr_assert_eq(balloon_tracker_take(tracker, runs, 16), count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(runs[i].region, expected[i].region, "run %zu", i);
        cr_assert_eq(runs[i].reserved, 0);
        cr_assert_eq(runs[i].range.first, expected[i].range.first, "run %zu", i);
        cr_assert_eq(runs[i].range.count, expected[i].range.count, "run %zu", i);
    }
    cr_assert_eq(balloon_tracker_ready(tracker), 0);
}
#define RUNS(...)                                                                                  \
    sizeof((const balloon_run[]){__VA_ARGS__}) / sizeof(balloon_run), (const balloon_run[])        \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static inline void inflate(uint64_t first, uint64_t count)
{
    balloon_tracker_inflate_range(tracker, (balloon_range){first, count}, NULL);
}

static inline void deflate(uint64_t first, uint64_t count)
{
    balloon_tracker_deflate_range(tracker, (balloon_range){first, count}, NULL);
}

#endif
