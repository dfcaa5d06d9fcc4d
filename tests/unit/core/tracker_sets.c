/* What the tracker answers to questions about sets of pages: counts, runs, bitmaps. */
#include <string.h>

#include <criterion/criterion.h>

#include <balloon/alloc.h>

static balloon_tracker *tracker;
static const balloon_range everything = {0, UINT64_MAX};

/* Regions 3..4095 of single pages and 8192..12287 of granules of 16. Held are 10..19, 600..1899
 * and 8192..8215, of which 8192..8207 are given back; 15..24 and 2000..2599 are hinted. */
static void make(void)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 16384, .hints = 1};
    balloon_region single = {3, 4093, 1}, granules = {8192, 4096, 16};
    balloon_run runs[8];

    cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &single, NULL), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &granules, NULL), BALLOON_OK);
    balloon_tracker_set_gather(tracker, true);
    balloon_tracker_inflate_range(tracker, (balloon_range){8192, 24}, NULL);
    cr_assert_eq(balloon_tracker_take(tracker, runs, 8), 1);
    balloon_tracker_inflate_range(tracker, (balloon_range){10, 10}, NULL);
    balloon_tracker_inflate_range(tracker, (balloon_range){600, 1300}, NULL);
    balloon_tracker_hint(tracker, (balloon_range){15, 10}, NULL);
    balloon_tracker_hint(tracker, (balloon_range){2000, 600}, NULL);
}

static void drop(void)
{
    const char *why = NULL;
    bool sound = balloon_tracker_check(tracker, &why);

    balloon_tracker_destroy(tracker);
    cr_assert(sound, "broken: %s", why);
}

TestSuite(tracker_sets, .init = make, .fini = drop);

static uint64_t count(balloon_set set, uint64_t first, uint64_t pages)
{
    return balloon_tracker_count(tracker, set, (balloon_range){first, pages});
}

Test(tracker_sets, count_of_everything)
{
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_HELD, everything), 1334);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_FREE, everything), 8189 - 1334);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_PENDING, everything), 1318);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_HINTED, everything), 610);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_SKIP, everything), 1334 + 605);
    cr_assert_eq(balloon_tracker_count(tracker, (balloon_set)99, everything), 0);
}

Test(tracker_sets, count_of_a_part)
{
    cr_assert_eq(count(BALLOON_SET_HELD, 12, 3), 3);
    cr_assert_eq(count(BALLOON_SET_HELD, 15, 600), 20);
    cr_assert_eq(count(BALLOON_SET_FREE, 0, 20), 7);
    cr_assert_eq(count(BALLOON_SET_PENDING, 8192, 24), 8);
    cr_assert_eq(count(BALLOON_SET_SKIP, 10, 15), 15);
    cr_assert_eq(count(BALLOON_SET_HELD, 4096, 4096), 0);
    cr_assert_eq(count(BALLOON_SET_FREE, 4096, 4096), 0);
    cr_assert_eq(count(BALLOON_SET_HELD, 10, 0), 0);
    cr_assert_eq(count(BALLOON_SET_FREE, 50000, 10), 0);
}

/* Walk a set as the header says, and compare with pages first,count,first,count... */
static void check_walk(balloon_set set, const uint64_t *expected, size_t runs)
{
    balloon_range rest = everything;
    balloon_run run;

    for (size_t i = 0; i < runs; i++) {
        cr_assert(balloon_tracker_next(tracker, set, rest, &run), "run %zu is missing", i);
        cr_assert_eq(run.range.first, expected[2 * i], "run %zu", i);
        cr_assert_eq(run.range.count, expected[2 * i + 1], "run %zu", i);
        cr_assert_eq(run.region, run.range.first >= 8192 ? 1 : 0);
        cr_assert_eq(run.reserved, 0);
        rest.first = run.range.first + run.range.count;
    }
    cr_assert_not(balloon_tracker_next(tracker, set, rest, &run));
}

Test(tracker_sets, walk)
{
    check_walk(BALLOON_SET_HELD, (const uint64_t[]){10, 10, 600, 1300, 8192, 24}, 3);
    check_walk(BALLOON_SET_FREE, (const uint64_t[]){3, 7, 20, 580, 1900, 2196, 8216, 4072}, 4);
    check_walk(BALLOON_SET_PENDING, (const uint64_t[]){10, 10, 600, 1300, 8208, 8}, 3);
    check_walk(BALLOON_SET_HINTED, (const uint64_t[]){15, 10, 2000, 600}, 2);
    check_walk(BALLOON_SET_SKIP, (const uint64_t[]){10, 15, 600, 1300, 2000, 600, 8192, 24}, 4);
}

/* Without the promise of gathering, the guest may be writing to a page of the balloon already. */
Test(tracker_sets, skip_has_the_balloon_only_while_gathering)
{
    balloon_tracker_set_gather(tracker, false);
    check_walk(BALLOON_SET_SKIP, (const uint64_t[]){15, 10, 2000, 600}, 2);
}

Test(tracker_sets, next_stays_in_its_range)
{
    balloon_run run = {7, 7, {7, 7}};

    cr_assert(balloon_tracker_next(tracker, BALLOON_SET_HELD, (balloon_range){12, 3}, &run));
    cr_assert_eq(run.range.first, 12);
    cr_assert_eq(run.range.count, 3);
    cr_assert_not(balloon_tracker_next(tracker, BALLOON_SET_HELD, (balloon_range){20, 580}, &run));
    cr_assert_not(balloon_tracker_next(tracker, BALLOON_SET_HELD, (balloon_range){12, 0}, &run));
    cr_assert_not(
        balloon_tracker_next(tracker, BALLOON_SET_FREE, (balloon_range){4096, 4096}, &run));
    cr_assert_eq(run.range.first, 12);
}

Test(tracker_sets, next_ends_at_a_region)
{
    balloon_region beside = {4096, 4096, 1};
    balloon_run run;

    cr_assert_eq(balloon_tracker_add_region(tracker, &beside, NULL), BALLOON_OK);
    balloon_tracker_inflate_range(tracker, (balloon_range){4000, 200}, NULL);
    cr_assert(balloon_tracker_next(tracker, BALLOON_SET_HELD, (balloon_range){3000, 3000}, &run));
    cr_assert_eq(run.range.first, 4000);
    cr_assert_eq(run.range.count, 96);
}

/* Large guests are searched by blocks of 512 pages, and by summaries of those. */
Test(tracker_sets, next_in_a_large_guest)
{
    const uint64_t block = 512, last = 4095 * block;
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 8192 * block};
    balloon_region ram = {0, 8192 * block, 1};
    balloon_range empty[] = {{0, 10 * block},           {1, 199 * block},
                             {201 * block, 100},        {last - 5, block + 5},
                             {last - block, 2 * block}, {300 * block, 3796 * block}};
    balloon_tracker *t;
    balloon_run run;

    cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(t, &ram, NULL), BALLOON_OK);
    balloon_tracker_inflate_range(t, (balloon_range){200 * block + 7, 3}, NULL);
    balloon_tracker_inflate_range(t, (balloon_range){8191 * block + 511, 1}, NULL);
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
        cr_assert_not(balloon_tracker_next(t, BALLOON_SET_HELD, empty[i], &run), "range %zu", i);
    cr_assert(balloon_tracker_next(t, BALLOON_SET_HELD, everything, &run));
    cr_assert_eq(run.range.first, 200 * block + 7);
    cr_assert(balloon_tracker_next(t, BALLOON_SET_HELD, (balloon_range){last, 8192 * block}, &run));
    cr_assert_eq(run.range.first, 8191 * block + 511);
    balloon_tracker_destroy(t);
}

/* --- bitmaps ---------------------------------------------------------------------------------- */

/* Counters are added by many at a time: no sum of full blocks spills into its neighbour, whichever
 * half of a word it is in. */
Test(tracker_sets, count_in_a_large_guest_that_is_full)
{
    const uint64_t pages = UINT64_C(1) << 22;
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = pages};
    balloon_region all = {0, pages, 1};
    balloon_tracker *large = NULL;

    cr_assert_eq(balloon_tracker_create(&config, &large), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(large, &all, NULL), BALLOON_OK);
    balloon_tracker_set_gather(large, true);
    balloon_tracker_inflate_range(large, (balloon_range){0, pages}, NULL);
    for (uint64_t from = 0; from < pages; from += pages / 16 + 77) {
        balloon_range part = {from, pages - 1 - from};

        cr_assert_eq(balloon_tracker_count(large, BALLOON_SET_HELD, part), part.count);
        cr_assert_eq(balloon_tracker_count(large, BALLOON_SET_PENDING, part), part.count);
        cr_assert_eq(balloon_tracker_count(large, BALLOON_SET_FREE, part), 0);
    }
    balloon_tracker_destroy(large);
}

Test(tracker_sets, export_writes_the_whole_bitmap)
{
    uint8_t bits[6];

    memset(bits, 0xff, sizeof(bits));
    cr_assert_eq(balloon_tracker_export(tracker, BALLOON_SET_HELD, (balloon_range){0, 36}, bits, 5),
                 BALLOON_OK);
    cr_assert_eq(memcmp(bits, "\x00\xfc\x0f\x00\x00\xff", 6), 0);
    cr_assert_eq(balloon_tracker_export(tracker, BALLOON_SET_SKIP, (balloon_range){9, 9}, bits, 2),
                 BALLOON_OK);
    cr_assert_eq(memcmp(bits, "\xfe\x01", 2), 0);
    cr_assert_eq(balloon_tracker_export(tracker, BALLOON_SET_FREE, (balloon_range){0, 12}, bits, 2),
                 BALLOON_OK);
    cr_assert_eq(memcmp(bits, "\xf8\x03", 2), 0);
    cr_assert_eq(
        balloon_tracker_export(tracker, BALLOON_SET_HINTED, (balloon_range){8, 16}, bits, 2),
        BALLOON_OK);
    cr_assert_eq(memcmp(bits, "\x80\xff", 2), 0);
    cr_assert_eq(
        balloon_tracker_export(tracker, BALLOON_SET_PENDING, (balloon_range){8200, 16}, bits, 2),
        BALLOON_OK);
    cr_assert_eq(memcmp(bits, "\x00\xff", 2), 0);
}

Test(tracker_sets, export_over_a_gap_between_regions)
{
    uint8_t bits[513];

    cr_assert_eq(
        balloon_tracker_export(tracker, BALLOON_SET_FREE, (balloon_range){4093, 4104}, bits, 513),
        BALLOON_OK);
    cr_assert_eq(bits[0], 0x07);
    for (size_t i = 1; i < 513; i++)
        cr_assert_eq(bits[i], 0, "byte %zu", i);
    cr_assert_eq(
        balloon_tracker_export(tracker, BALLOON_SET_HELD, (balloon_range){4093, 4104}, bits, 513),
        BALLOON_OK);
    cr_assert_eq(bits[512], 0xf8);
}

Test(tracker_sets, merge_keeps_the_bits_that_are_set)
{
    uint8_t bits[3] = {0x01, 0x02, 0x40};

    cr_assert_eq(balloon_tracker_merge(tracker, BALLOON_SET_HELD, (balloon_range){0, 24}, bits, 3),
                 BALLOON_OK);
    cr_assert_eq(memcmp(bits, "\x01\xfe\x4f", 3), 0);
}

Test(tracker_sets, import_takes_pages_into_the_balloon_as_given_back)
{
    balloon_tally tally = {0};

    cr_assert_eq(balloon_tracker_import(tracker, (balloon_range){0, 24},
                                        (const uint8_t *)"\x82\x04\x10", 3, &tally),
                 BALLOON_OK);
    cr_assert_eq(tally.changed, 2);   /* 7 and 20 */
    cr_assert_eq(tally.unchanged, 1); /* 10 */
    cr_assert_eq(tally.outside, 1);   /* 1 */
    cr_assert_eq(count(BALLOON_SET_HELD, 0, 24), 12);
    cr_assert_eq(count(BALLOON_SET_PENDING, 0, 24), 10);
}

/* What has no page number is outside, as other pages that nobody has. */
Test(tracker_sets, import_ends_where_page_numbers_end)
{
    balloon_tally tally = {0};
    uint64_t held = balloon_tracker_held(tracker);

    cr_assert_eq(balloon_tracker_import(tracker, (balloon_range){UINT64_MAX - 7, 16},
                                        (const uint8_t *)"\xff\xa0", 2, &tally),
                 BALLOON_OK);
    cr_assert_eq(balloon_tracker_held(tracker), held);
    cr_assert_eq(tally.changed, 0);
    cr_assert_eq(tally.outside, 10);
}

Test(tracker_sets, import_of_what_was_exported)
{
    static uint8_t bits[2048];
    balloon_range range = {0, 16384};

    cr_assert_eq(balloon_tracker_export(tracker, BALLOON_SET_HELD, range, bits, sizeof(bits)),
                 BALLOON_OK);
    balloon_tracker_reset(tracker);
    cr_assert_eq(balloon_tracker_import(tracker, range, bits, sizeof(bits), NULL), BALLOON_OK);
    check_walk(BALLOON_SET_HELD, (const uint64_t[]){10, 10, 600, 1300, 8192, 24}, 3);
    /* In gathering mode half a granule waits for its other half. */
    check_walk(BALLOON_SET_PENDING, (const uint64_t[]){8208, 8}, 1);
}

Test(tracker_sets, import_that_completes_a_granule_of_which_pages_wait)
{
    cr_assert_eq(
        balloon_tracker_import(tracker, (balloon_range){8216, 8}, (const uint8_t *)"\xff", 1, NULL),
        BALLOON_OK);
    cr_assert_eq(count(BALLOON_SET_PENDING, 8192, 64), 16);
}

Test(tracker_sets, import_in_settling_mode_makes_nothing_pending)
{
    balloon_tracker_set_gather(tracker, false);
    cr_assert_eq(
        balloon_tracker_import(tracker, (balloon_range){9000, 8}, (const uint8_t *)"\xff", 1, NULL),
        BALLOON_OK);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
    cr_assert_eq(count(BALLOON_SET_HELD, 9000, 8), 8);
}

Test(tracker_sets, import_of_the_edges_of_a_region)
{
    balloon_region ragged = {20008, 40, 16}, small = {30008, 16, 16};
    uint8_t bits[5] = {0xff, 0xff, 0xff, 0xff, 0xff};

    cr_assert_eq(balloon_tracker_add_region(tracker, &ragged, NULL), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &small, NULL), BALLOON_OK);
    cr_assert_eq(balloon_tracker_import(tracker, (balloon_range){20008, 8}, bits, 1, NULL),
                 BALLOON_OK);
    cr_assert_eq(balloon_tracker_import(tracker, (balloon_range){20008, 40}, bits, 5, NULL),
                 BALLOON_OK);
    cr_assert_eq(balloon_tracker_import(tracker, (balloon_range){30008, 16}, bits, 2, NULL),
                 BALLOON_OK);
    /* The edges are in no whole granule, and wait without end. */
    cr_assert_eq(count(BALLOON_SET_PENDING, 20008, 40), 8);
    cr_assert_eq(count(BALLOON_SET_PENDING, 30008, 16), 16);
    cr_assert_eq(count(BALLOON_SET_PENDING, 20016, 32), 0);
}

Test(tracker_sets, bitmaps_need_room)
{
    uint8_t bits[2] = {0x55, 0x55};
    balloon_range range = {0, 17};

    cr_assert_eq(balloon_tracker_export(tracker, BALLOON_SET_HELD, range, bits, 2),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_tracker_merge(tracker, BALLOON_SET_HELD, range, bits, 2),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_tracker_import(tracker, range, bits, 2, NULL), BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_tracker_export(tracker, BALLOON_SET_HELD, everything, bits, 2),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(bits[0], 0x55);
    cr_assert_eq(balloon_tracker_held(tracker), 1334);
}
