/* The tracker's memory and regions, pages in and out, and ready granules. Its modes are in
 * tracker_modes.c, what it answers to questions about sets of pages in tracker_sets.c. */
#include <stdlib.h>

#include "tracker_support.h"

TestSuite(tracker, .init = make, .fini = drop);

/* --- memory ----------------------------------------------------------------------------------- */

Test(tracker, config_limits)
{
    const uint64_t most = UINT64_C(1) << 40;
    balloon_layout layout;
    const struct {
        balloon_tracker_config config;
        balloon_status status;
    } cases[] = {
        {{sizeof(balloon_tracker_config), 1, 0, 0}, BALLOON_OK},
        /* Its page map has 400 GiB. */
        {{sizeof(balloon_tracker_config), most, 4096, 1},
         SIZE_MAX > UINT32_MAX ? BALLOON_OK : BALLOON_ERR_INVALID},
        {{sizeof(balloon_tracker_config), most + 1, 0, 0}, BALLOON_ERR_INVALID},
        {{sizeof(balloon_tracker_config), 0, 0, 0}, BALLOON_ERR_INVALID},
        {{sizeof(balloon_tracker_config), 1, 4097, 0}, BALLOON_ERR_INVALID},
        {{sizeof(balloon_tracker_config) - 1, 1, 0, 0}, BALLOON_ERR_INVALID},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(balloon_tracker_layout(&cases[i].config, &layout), cases[i].status, "%zu", i);
    cr_assert_eq(balloon_tracker_layout(NULL, &layout), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_tracker_layout(&cases[0].config, NULL), BALLOON_ERR_INVALID);
}

Test(tracker, init_errors)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 1000}, none = {0};
    balloon_tracker *made = NULL;
    balloon_layout layout;

    cr_assert_eq(balloon_tracker_layout(&config, &layout), BALLOON_OK);
    char *memory = aligned_alloc(layout.align, (layout.bytes / layout.align + 2) * layout.align);

    cr_assert_eq(balloon_tracker_init(memory, layout.bytes - 1, &config, &made),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_tracker_init(memory + 1, layout.bytes, &config, &made),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_tracker_init(NULL, layout.bytes, &config, &made), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_tracker_init(memory, layout.bytes, NULL, &made), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_tracker_init(memory, layout.bytes, &config, NULL), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_tracker_init(memory, layout.bytes, &none, &made), BALLOON_ERR_INVALID);
    cr_assert_eq(made, NULL);
    cr_assert_eq(balloon_tracker_init(memory, layout.bytes, &config, &made), BALLOON_OK);
    cr_assert_eq(balloon_tracker_pages(made), 0);
    cr_assert(balloon_tracker_check(made, NULL));
    free(memory);
}

/* --- regions ---------------------------------------------------------------------------------- */

Test(tracker, regions_are_found_by_their_ids)
{
    balloon_region found = {77, 77, 77};

    cr_assert_eq(balloon_tracker_pages(tracker), 8192);
    cr_assert_eq(balloon_tracker_region(tracker, 2, &found), BALLOON_ERR_INVALID);
    cr_assert_eq(found.first, 77);
    cr_assert_eq(balloon_tracker_region(tracker, 0, &found), BALLOON_OK);
    cr_assert_eq(found.first, 0);
    cr_assert_eq(found.count, 4096);
    cr_assert_eq(found.granule, 1);
    cr_assert_eq(balloon_tracker_region(tracker, 1, &found), BALLOON_OK);
    cr_assert_eq(found.first, 8192);
    cr_assert_eq(found.granule, 16);
}

Test(tracker, regions_that_cannot_be_are_refused)
{
    const uint64_t end = UINT64_C(1) << 40;
    const struct {
        balloon_region region;
        balloon_status status;
    } cases[] = {
        {{4096, 0, 1}, BALLOON_ERR_INVALID},                  /* empty */
        {{4096, 16, 3}, BALLOON_ERR_INVALID},                 /* no power of two */
        {{4096, 16, UINT64_C(1) << 19}, BALLOON_ERR_INVALID}, /* granule too large */
        {{4095, 2, 1}, BALLOON_ERR_INVALID},                  /* overlaps the first region */
        {{8191, 2, 1}, BALLOON_ERR_INVALID},                  /* overlaps the second region */
        {{9000, 1, 1}, BALLOON_ERR_INVALID},                  /* inside the second region */
        {{end, 1, 1}, BALLOON_ERR_RANGE},
        {{end - 1, 2, 1}, BALLOON_ERR_RANGE},
        {{20000, 8193, 1}, BALLOON_ERR_NOSPACE}, /* more than max_pages */
        {{20000, 8192, 1}, BALLOON_OK},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(balloon_tracker_add_region(tracker, &cases[i].region, NULL), cases[i].status,
                     "case %zu", i);
}

Test(tracker, a_region_may_end_where_pages_end_and_have_the_largest_granule)
{
    balloon_region last = {(UINT64_C(1) << 40) - 1, 1, 1}, huge = {4096, 1, BALLOON_GRANULE_MAX};

    cr_assert_eq(balloon_tracker_add_region(tracker, &last, NULL), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &huge, NULL), BALLOON_OK);
    inflate(last.first, 5);
    check_take(RUNS({2, 0, {last.first, 1}}));
}

Test(tracker, no_more_regions_than_the_config_says)
{
    balloon_region region = {20000, 1, 1};
    uint32_t id;

    for (uint32_t i = 2; i < 4; i++, region.first++) {
        cr_assert_eq(balloon_tracker_add_region(tracker, &region, &id), BALLOON_OK);
        cr_assert_eq(id, i);
    }
    cr_assert_eq(balloon_tracker_add_region(tracker, &region, &id), BALLOON_ERR_NOSPACE);
}

Test(tracker, a_removed_region_takes_its_pages_along)
{
    balloon_range all = {0, 16384};

    inflate(0, 8);
    inflate(8192, 20);
    balloon_tracker_hint(tracker, (balloon_range){8192, 4}, NULL);
    cr_assert_eq(balloon_tracker_remove_region(tracker, 1), BALLOON_OK);
    cr_assert_eq(balloon_tracker_held(tracker), 8);
    cr_assert_eq(balloon_tracker_pending(tracker), 8);
    cr_assert_eq(balloon_tracker_hinted(tracker), 0);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_FREE, all), 4088);
    cr_assert_eq(balloon_tracker_remove_region(tracker, 1), BALLOON_ERR_INVALID);
    check_take(RUNS({0, 0, {0, 8}}));
}

Test(tracker, other_regions_keep_ids_and_state_and_a_free_id_is_used_again)
{
    balloon_region between = {6000, 100, 1};
    uint32_t id;

    inflate(8192, 32);
    cr_assert_eq(balloon_tracker_remove_region(tracker, 0), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &between, &id), BALLOON_OK);
    cr_assert_eq(id, 0);
    inflate(6000, 1);
    check_take(RUNS({0, 0, {6000, 1}}, {1, 0, {8192, 32}}));
}

/* --- in and out ------------------------------------------------------------------------------- */

Test(tracker, inflated_pages_are_held_and_pending)
{
    balloon_tally tally = {.changed = 100};

    balloon_tracker_inflate(tracker, PFNS(7, 3, 5, 3, 5000, 4), &tally);
    cr_assert_eq(tally.changed, 104);
    cr_assert_eq(tally.unchanged, 1);
    cr_assert_eq(tally.outside, 1);
    cr_assert_eq(tally.cancelled, 0);
    cr_assert_eq(balloon_tracker_held(tracker), 4);
    cr_assert_eq(balloon_tracker_pending(tracker), 4);
    cr_assert_eq(balloon_tracker_ready(tracker), 4);
    check_take(RUNS({0, 0, {3, 3}}, {0, 0, {7, 1}}));
    cr_assert_eq(balloon_tracker_held(tracker), 4);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
}

Test(tracker, descending_pages_are_a_run_too)
{
    uint32_t pfns[100];

    for (uint32_t i = 0; i < 100; i++)
        pfns[i] = 199 - i;
    balloon_tracker_inflate(tracker, pfns, 100, NULL);
    check_take(RUNS({0, 0, {100, 100}}));
}

Test(tracker, a_long_run_may_break_anywhere)
{
    for (uint32_t at = 60; at < 100; at++) {
        uint32_t pfns[120];

        for (uint32_t i = 0; i < 120; i++)
            pfns[i] = i < at ? i : 1000 + i;
        balloon_tracker_inflate(tracker, pfns, 120, NULL);
        check_take(RUNS({0, 0, {0, at}}, {0, 0, {1000 + at, 120 - at}}));
        balloon_tracker_deflate(tracker, pfns, 120, NULL);
        cr_assert_eq(balloon_tracker_held(tracker), 0);
    }
}

Test(tracker, pages_leave_full_blocks_one_by_one)
{
    inflate(0, 4096);
    balloon_tracker_deflate(tracker, PFNS(5, 600, 7, 5), NULL);
    cr_assert_eq(balloon_tracker_held(tracker), 4093);
    cr_assert(balloon_tracker_check(tracker, NULL));
    check_take(RUNS({0, 0, {0, 5}}, {0, 0, {6, 1}}, {0, 0, {8, 592}}, {0, 0, {601, 3495}}));
}

Test(tracker, page_numbers_at_the_ends_do_not_wrap)
{
    balloon_tally tally = {0};

    balloon_tracker_inflate(tracker, PFNS(UINT32_MAX - 1, UINT32_MAX, 0, 1), &tally);
    cr_assert_eq(tally.outside, 2);
    balloon_tracker_inflate(tracker, PFNS(3, 2, 1, 0, UINT32_MAX, UINT32_MAX - 1), &tally);
    cr_assert_eq(tally.outside, 4);
    cr_assert_eq(tally.changed, 4);
    check_take(RUNS({0, 0, {0, 4}}));
}

Test(tracker, a_range_may_cover_several_regions_and_what_lies_between)
{
    balloon_tally tally = {0};

    balloon_tracker_inflate_range(tracker, (balloon_range){4000, 10000}, &tally);
    cr_assert_eq(tally.changed, 96 + 4096);
    cr_assert_eq(tally.outside, 10000 - 96 - 4096);
    check_take(RUNS({0, 0, {4000, 96}}, {1, 0, {8192, 4096}}));
    balloon_tracker_deflate_range(tracker, (balloon_range){0, UINT64_MAX}, &tally);
    cr_assert_eq(tally.changed, 2 * (96 + 4096));
    cr_assert_eq(balloon_tracker_held(tracker), 0);
}

Test(tracker, a_range_past_the_end_of_the_numbers_is_counted)
{
    balloon_tally tally = {0};

    balloon_tracker_inflate_range(tracker, (balloon_range){UINT64_MAX, 10}, &tally);
    cr_assert_eq(tally.outside, 10);
    balloon_tracker_inflate_range(tracker, (balloon_range){5, 0}, &tally);
    cr_assert_eq(tally.changed + tally.unchanged, 0);
}

Test(tracker, deflated_pages_are_neither_held_nor_pending)
{
    balloon_tally tally = {0};

    inflate(0, 8);
    balloon_tracker_deflate(tracker, PFNS(2, 3, 9, 6000), &tally);
    cr_assert_eq(tally.changed, 2);
    cr_assert_eq(tally.cancelled, 2);
    cr_assert_eq(tally.unchanged, 1);
    cr_assert_eq(tally.outside, 1);
    check_take(RUNS({0, 0, {0, 2}}, {0, 0, {4, 4}}));
    balloon_tracker_deflate(tracker, PFNS(0, 1), &tally);
    cr_assert_eq(tally.changed, 4);
    cr_assert_eq(tally.cancelled, 2);
}

Test(tracker, nothing_in_is_nothing_done)
{
    balloon_tracker_inflate(tracker, NULL, 0, NULL);
    balloon_tracker_deflate(tracker, NULL, 0, NULL);
    cr_assert_eq(balloon_tracker_held(tracker), 0);
}

Test(tracker, a_tracker_without_regions_has_everything_outside)
{
    balloon_tally tally = {0};
    balloon_run run;

    cr_assert_eq(balloon_tracker_remove_region(tracker, 0), BALLOON_OK);
    cr_assert_eq(balloon_tracker_remove_region(tracker, 1), BALLOON_OK);
    balloon_tracker_inflate(tracker, PFNS(1, 2, 9), &tally);
    balloon_tracker_deflate(tracker, PFNS(5), &tally);
    cr_assert_eq(tally.outside, 4);
    cr_assert_eq(balloon_tracker_take(tracker, &run, 1), 0);
    balloon_tracker_settle(tracker);
    balloon_tracker_reset(tracker);
}

/* --- granules and taking ---------------------------------------------------------------------- */

Test(tracker, a_granule_is_ready_when_all_its_pages_are_pending)
{
    inflate(8192, 15);
    cr_assert_eq(balloon_tracker_pending(tracker), 15);
    cr_assert_eq(balloon_tracker_ready(tracker), 0);
    check_take(0, NULL);
    inflate(8207, 1);
    cr_assert_eq(balloon_tracker_ready(tracker), 16);
    check_take(RUNS({1, 0, {8192, 16}}));
}

Test(tracker, pages_at_the_edge_of_a_region_make_no_whole_granule)
{
    balloon_region ragged = {20000 + 8, 32, 16};

    cr_assert_eq(balloon_tracker_add_region(tracker, &ragged, NULL), BALLOON_OK);
    inflate(20008, 32);
    check_take(RUNS({2, 0, {20016, 16}}));
    cr_assert_eq(balloon_tracker_pending(tracker), 16);
    balloon_tracker_settle(tracker);
    balloon_tracker_report(tracker, (balloon_range){20000, 100}, NULL);
    check_take(RUNS({2, 0, {20016, 16}}));
}

Test(tracker, a_region_without_a_whole_granule_comes_and_goes)
{
    balloon_region ragged = {20008, 8, 16};
    uint32_t id;

    cr_assert_eq(balloon_tracker_add_region(tracker, &ragged, &id), BALLOON_OK);
    inflate(20008, 8);
    cr_assert_eq(balloon_tracker_remove_region(tracker, id), BALLOON_OK);
    cr_assert_eq(balloon_tracker_held(tracker), 0);
}

Test(tracker, granules_of_every_size)
{
    for (uint64_t granule = 1; granule <= 2048; granule *= 2) {
        balloon_tracker_config config = {.size = sizeof(config), .max_pages = 8192};
        balloon_region ram = {0, 8192, granule};
        balloon_tracker *t;
        balloon_run run;

        cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
        cr_assert_eq(balloon_tracker_add_region(t, &ram, NULL), BALLOON_OK);
        balloon_tracker_inflate_range(t, (balloon_range){2048, 2 * granule - 1}, NULL);
        cr_assert_eq(balloon_tracker_ready(t), granule > 1 ? granule : 1);
        balloon_tracker_inflate_range(t, (balloon_range){2048 + 2 * granule - 1, 1}, NULL);
        cr_assert_eq(balloon_tracker_take(t, &run, 1), 1);
        cr_assert_eq(run.range.first, 2048);
        cr_assert_eq(run.range.count, 2 * granule);
        cr_assert(balloon_tracker_check(t, NULL));
        balloon_tracker_destroy(t);
    }
}

Test(tracker, a_granule_larger_than_a_block_that_was_cancelled_is_not_taken)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 8192};
    balloon_region ram = {0, 8192, 1024};
    balloon_tracker *t;
    balloon_run runs[4];

    cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(t, &ram, NULL), BALLOON_OK);
    balloon_tracker_inflate_range(t, (balloon_range){0, 4096}, NULL);
    balloon_tracker_deflate_range(t, (balloon_range){1536, 1}, NULL);
    cr_assert_eq(balloon_tracker_ready(t), 3072);
    cr_assert_eq(balloon_tracker_take(t, runs, 4), 2);
    cr_assert_eq(runs[0].range.count, 1024);
    cr_assert_eq(runs[1].range.first, 2048);
    cr_assert_eq(runs[1].range.count, 2048);
    balloon_tracker_destroy(t);
}

/* Regions that come at lower addresses move the state of the others. */
Test(tracker, pages_that_wait_may_be_moved_by_a_new_region)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 16384};
    balloon_region ram = {8192, 4096 + 600, 1024}, lower = {0, 700, 16};
    balloon_tracker *t;
    balloon_run runs[3];

    cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(t, &ram, NULL), BALLOON_OK);
    balloon_tracker_set_gather(t, true);
    balloon_tracker_inflate_range(t, (balloon_range){8192 + 512, 512}, NULL); /* half a granule */
    balloon_tracker_inflate_range(t, (balloon_range){8192 + 2048, 1024}, NULL);
    balloon_tracker_inflate_range(t, (balloon_range){8192 + 4096, 600}, NULL); /* the edge */
    balloon_tracker_report(t, (balloon_range){8192 + 3072, 1024}, NULL);
    cr_assert_eq(balloon_tracker_add_region(t, &lower, NULL), BALLOON_OK);
    balloon_tracker_inflate_range(t, (balloon_range){670, 20}, NULL);
    balloon_tracker_report(t, (balloon_range){0, 700}, NULL);
    cr_assert(balloon_tracker_check(t, NULL));
    cr_assert_eq(balloon_tracker_ready(t), 688 + 2048);
    balloon_tracker_settle(t);
    cr_assert_eq(balloon_tracker_ready(t), 16 + 1024);
    cr_assert_eq(balloon_tracker_pending(t), 512 + 1024 + 600 + 20);
    cr_assert(balloon_tracker_check(t, NULL));
    cr_assert_eq(balloon_tracker_take(t, runs, 3), 2);
    cr_assert_eq(runs[0].region, 1);
    cr_assert_eq(runs[0].range.first, 672);
    cr_assert_eq(runs[1].region, 0);
    cr_assert_eq(runs[1].range.first, 8192 + 2048);
    balloon_tracker_destroy(t);
}

Test(tracker, large_granules_leave_when_there_is_room)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 16384};
    balloon_region ram = {0, 128 * 7 + 5, 128};
    balloon_tracker *t;
    balloon_run run;

    cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(t, &ram, NULL), BALLOON_OK);
    for (uint64_t i = 0; i < 7; i += 2)
        balloon_tracker_inflate_range(t, (balloon_range){128 * i, 128}, NULL);
    for (uint64_t i = 0; i < 7; i += 2) {
        cr_assert_eq(balloon_tracker_take(t, &run, 1), 1);
        cr_assert_eq(run.range.first, 128 * i);
        cr_assert_eq(run.range.count, 128);
    }
    cr_assert_eq(balloon_tracker_take(t, &run, 1), 0);
    balloon_tracker_destroy(t);
}

Test(tracker, take_gives_what_there_is_room_for)
{
    balloon_run runs[2];

    for (uint32_t i = 0; i < 5; i++)
        inflate(100 * i, 1 + i);
    cr_assert_eq(balloon_tracker_take(tracker, runs, 0), 0);
    cr_assert_eq(balloon_tracker_take(tracker, runs, 2), 2);
    cr_assert_eq(runs[1].range.first, 100);
    cr_assert_eq(balloon_tracker_ready(tracker), 3 + 4 + 5);
    cr_assert_eq(balloon_tracker_take(tracker, runs, 2), 2);
    cr_assert_eq(balloon_tracker_take(tracker, runs, 2), 1);
    cr_assert_eq(runs[0].range.first, 400);
    cr_assert_eq(balloon_tracker_take(tracker, runs, 2), 0);
}

Test(tracker, runs_end_where_a_region_ends)
{
    balloon_region next = {4096, 64, 1};

    cr_assert_eq(balloon_tracker_add_region(tracker, &next, NULL), BALLOON_OK);
    inflate(4090, 12);
    check_take(RUNS({0, 0, {4090, 6}}, {2, 0, {4096, 6}}));
}

/* Page numbers far apart take another way through large guests, one by one. */
Test(tracker, scattered_pages_of_a_large_guest)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = UINT64_C(1) << 24};
    balloon_region low = {0, UINT64_C(1) << 23, 1}, high = {UINT64_C(1) << 24, 4096, 1};
    balloon_tally tally = {0};
    balloon_tracker *t;
    uint32_t pfns[100];
    balloon_run run;

    cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(t, &low, NULL), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(t, &high, NULL), BALLOON_OK);
    for (uint32_t i = 0; i < 100; i++)
        pfns[i] = i % 10 ? i * 80000 : (1u << 24) + 2 * i;
    balloon_tracker_inflate(t, pfns, 100, &tally);
    balloon_tracker_inflate(t, pfns, 100, &tally);
    cr_assert_eq(tally.changed, 100);
    cr_assert_eq(tally.unchanged, 100);
    cr_assert(balloon_tracker_check(t, NULL));
    for (uint32_t i = 0; i < 100; i++)
        cr_assert_eq(balloon_tracker_count(t, BALLOON_SET_HELD, (balloon_range){pfns[i], 1}), 1);
    for (uint32_t i = 1; i < 100; i++) {
        cr_assert_eq(balloon_tracker_take(t, &run, 1), 1);
        cr_assert_eq(run.range.count, 1);
    }
    balloon_tracker_deflate(t, pfns, 100, &tally);
    cr_assert_eq(tally.changed, 200);
    cr_assert_eq(tally.cancelled, 1);
    cr_assert_eq(balloon_tracker_held(t), 0);
    cr_assert(balloon_tracker_check(t, NULL));
    balloon_tracker_destroy(t);
}
