/* How long pages stay pending: settling, gathering, failed discards, reports; hints and reset. */
#include "tracker_support.h"

TestSuite(tracker_modes, .init = make, .fini = drop);

/* --- settling and gathering ------------------------------------------------------------------- */

Test(tracker_modes, settle_forgets_what_is_pending)
{
    inflate(0, 8);
    inflate(8192, 8);
    balloon_tracker_settle(tracker);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
    cr_assert_eq(balloon_tracker_held(tracker), 16);
    inflate(8200, 8);
    check_take(0, NULL);
}

Test(tracker_modes, in_gathering_mode_settle_keeps_what_is_held)
{
    balloon_tracker_set_gather(tracker, true);
    inflate(0, 8);
    inflate(8192, 8);
    balloon_tracker_settle(tracker);
    cr_assert_eq(balloon_tracker_pending(tracker), 16);
    inflate(8200, 8);
    check_take(RUNS({0, 0, {0, 8}}, {1, 0, {8192, 16}}));
}

/* Two blocks and a bit: runs end at and beside words, and one goes over from block to block. */
Test(tracker_modes, pages_that_gathered_leave_in_parts_of_any_length)
{
    enum { PAGES = 1100, STRIDE = 8, RUNS_ALL = 1 + (PAGES - 1) / STRIDE };

    balloon_tracker_set_gather(tracker, true);
    for (uint64_t offset = 0; offset < STRIDE; offset++)
        for (size_t room = 1; room <= RUNS_ALL; room++) {
            balloon_run runs[RUNS_ALL];
            size_t seen = 0, got;

            for (uint64_t at = offset; at < PAGES; at += STRIDE)
                inflate(at, 4);
            while ((got = balloon_tracker_take(tracker, runs, room)) > 0)
                for (size_t i = 0; i < got; i++, seen++) {
                    cr_assert_eq(runs[i].range.first, offset + STRIDE * seen, "room %zu", room);
                    cr_assert_eq(runs[i].range.count, 4);
                }
            cr_assert_eq(seen, (PAGES - offset + STRIDE - 1) / STRIDE);
            cr_assert_eq(balloon_tracker_pending(tracker), 0);
            cr_assert(balloon_tracker_check(tracker, NULL));
            deflate(0, PAGES + 4);
        }
}

Test(tracker_modes, leaving_the_mode_forgets_what_is_pending)
{
    balloon_tracker_set_gather(tracker, true);
    inflate(0, 8);
    balloon_tracker_set_gather(tracker, false);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
    cr_assert_eq(balloon_tracker_held(tracker), 8);
}

Test(tracker_modes, entering_the_mode_makes_incomplete_granules_pending)
{
    inflate(0, 8);
    inflate(8192, 24);
    balloon_tracker_settle(tracker);
    balloon_tracker_set_gather(tracker, true);
    balloon_tracker_set_gather(tracker, true);
    /* Complete granules count as given back. */
    cr_assert_eq(balloon_tracker_pending(tracker), 8);
    inflate(8216, 8);
    check_take(RUNS({1, 0, {8208, 16}}));
}

Test(tracker_modes, a_deflate_in_gathering_mode_reopens_the_granule)
{
    balloon_tally tally = {0};

    balloon_tracker_set_gather(tracker, true);
    inflate(8192, 16);
    check_take(RUNS({1, 0, {8192, 16}}));
    balloon_tracker_deflate(tracker, PFNS(8200), &tally);
    cr_assert_eq(tally.cancelled, 0);
    cr_assert_eq(balloon_tracker_pending(tracker), 15);
    inflate(8200, 1);
    check_take(RUNS({1, 0, {8192, 16}}));
}

Test(tracker_modes, a_failed_run_waits_again_in_gathering_mode_only)
{
    balloon_run run = {0, 0, {0, 8}}, part = {1, 0, {8192, 20}};

    inflate(0, 8);
    check_take(RUNS({0, 0, {0, 8}}));
    cr_assert_eq(balloon_tracker_put_back(tracker, &run), 0);

    balloon_tracker_set_gather(tracker, true);
    cr_assert_eq(balloon_tracker_put_back(tracker, &run), 8);
    inflate(8192, 48);
    check_take(RUNS({0, 0, {0, 8}}, {1, 0, {8192, 48}}));
    /* All granules that it touches. */
    cr_assert_eq(balloon_tracker_put_back(tracker, &part), 32);
    deflate(8192, 1);
    check_take(RUNS({1, 0, {8208, 16}}));
}

Test(tracker_modes, a_run_that_is_none_is_not_put_back)
{
    const balloon_run wrong[] = {
        {1, 0, {0, 8}},          /* of another region */
        {0, 0, {4090, 10}},      /* past its end */
        {0, 0, {5000, 1}},       /* between the regions */
        {0, 0, {50000, 1}},      /* past the last one */
        {0, 0, {0, UINT64_MAX}}, /* endless */
        {0, 0, {0, 0}},          /* empty */
    };

    balloon_tracker_set_gather(tracker, true);
    inflate(0, 4096);
    check_take(RUNS({0, 0, {0, 4096}}));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_assert_eq(balloon_tracker_put_back(tracker, &wrong[i]), 0, "run %zu", i);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
}

Test(tracker_modes, pages_that_were_deflated_are_not_put_back)
{
    balloon_run run = {1, 0, {8192, 32}};

    balloon_tracker_set_gather(tracker, true);
    inflate(8192, 32);
    check_take(RUNS({1, 0, {8192, 32}}));
    deflate(8192, 1);
    cr_assert_eq(balloon_tracker_put_back(tracker, &run), 16);
    check_take(RUNS({1, 0, {8208, 16}}));
}

Test(tracker_modes, large_granules_fail_wait_and_fill_up_again)
{
    static const uint64_t sizes[] = {128, 512, 1024};

    for (size_t i = 0; i < 3; i++) {
        uint64_t granule = sizes[i];
        balloon_tracker_config config = {.size = sizeof(config), .max_pages = 16384};
        balloon_region ram = {256, 8192, granule};
        uint64_t first = granule > 256 ? granule : 256;
        balloon_run run = {0, 0, {first, granule}}, got;
        balloon_tracker *t;

        cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
        cr_assert_eq(balloon_tracker_add_region(t, &ram, NULL), BALLOON_OK);
        balloon_tracker_set_gather(t, true);
        balloon_tracker_inflate_range(t, run.range, NULL);
        cr_assert_eq(balloon_tracker_take(t, &got, 1), 1);
        cr_assert_eq(balloon_tracker_put_back(t, &run), granule);
        cr_assert_eq(balloon_tracker_take(t, &got, 1), 1);
        cr_assert_eq(got.range.first, first);
        balloon_tracker_deflate_range(t, (balloon_range){first + 100, 1}, NULL);
        cr_assert_eq(balloon_tracker_put_back(t, &run), 0);
        cr_assert_eq(balloon_tracker_pending(t), granule - 1);
        /* A report of all of it hands it out, but what is held goes on waiting. */
        balloon_tracker_report(t, run.range, NULL);
        cr_assert_eq(balloon_tracker_take(t, &got, 1), 1);
        cr_assert_eq(balloon_tracker_pending(t), granule - 1);
        balloon_tracker_settle(t);
        balloon_tracker_inflate_range(t, (balloon_range){first + 100, 1}, NULL);
        cr_assert_eq(balloon_tracker_take(t, &got, 1), 1);
        cr_assert_eq(got.range.count, granule);
        cr_assert(balloon_tracker_check(t, NULL));
        balloon_tracker_destroy(t);
    }
}

Test(tracker_modes, a_deflate_reopens_many_blocks_of_granules)
{
    for (int gather = 0; gather < 2; gather++) {
        balloon_tracker_set_gather(tracker, gather);
        inflate(8192, 4096);
        balloon_run run;
        cr_assert_eq(balloon_tracker_take(tracker, &run, 1), 1);
        deflate(8192, 4096);
        cr_assert_eq(balloon_tracker_pending(tracker), 0);
        inflate(8192, 4000);
        deflate(8200, 3900);
        cr_assert_eq(balloon_tracker_pending(tracker), 100);
        cr_assert_eq(balloon_tracker_ready(tracker), 80);
        balloon_tracker_reset(tracker);
    }
}

Test(tracker_modes, pages_at_the_edge_of_a_region_come_and_go)
{
    balloon_region ragged = {20008, 8, 16};

    cr_assert_eq(balloon_tracker_add_region(tracker, &ragged, NULL), BALLOON_OK);
    balloon_tracker_set_gather(tracker, true);
    inflate(20000, 20);
    cr_assert_eq(balloon_tracker_pending(tracker), 8);
    cr_assert_eq(balloon_tracker_put_back(tracker, &(balloon_run){2, 0, {20008, 8}}), 0);
    deflate(20000, 20);
    cr_assert_eq(balloon_tracker_held(tracker), 0);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
}

Test(tracker_modes, pages_of_a_report_join_the_balloon_and_leave_it)
{
    balloon_tally tally = {0};

    balloon_tracker_report(tracker, (balloon_range){100, 100}, NULL);
    /* One by one, and as runs. */
    balloon_tracker_inflate(tracker, PFNS(110, 120, 130, 131, 132), &tally);
    cr_assert_eq(tally.changed, 5);
    cr_assert_eq(balloon_tracker_pending(tracker), 100);
    balloon_tracker_deflate(tracker, PFNS(110, 150, 131, 132), &tally);
    cr_assert_eq(tally.changed, 8);
    cr_assert_eq(tally.cancelled, 3);
    cr_assert_eq(balloon_tracker_pending(tracker), 96);
    check_take(RUNS({0, 0, {100, 10}}, {0, 0, {111, 20}}, {0, 0, {133, 17}}, {0, 0, {151, 49}}));
}

/* --- reports ---------------------------------------------------------------------------------- */

Test(tracker_modes, reported_pages_are_pending_until_settled)
{
    balloon_tally tally = {0};

    balloon_tracker_report(tracker, (balloon_range){100, 8}, &tally);
    cr_assert_eq(tally.changed, 8);
    cr_assert_eq(balloon_tracker_held(tracker), 0);
    cr_assert_eq(balloon_tracker_ready(tracker), 8);
    balloon_tracker_settle(tracker);
    check_take(0, NULL);
    balloon_tracker_report(tracker, (balloon_range){100, 8}, NULL);
    check_take(RUNS({0, 0, {100, 8}}));
    balloon_tracker_settle(tracker);
}

Test(tracker_modes, a_report_counts_whole_granules_of_ram)
{
    balloon_tally tally = {0};

    balloon_tracker_report(tracker, (balloon_range){8200, 32}, &tally);
    cr_assert_eq(tally.changed, 16);
    cr_assert_eq(tally.unchanged, 16);
    balloon_tracker_report(tracker, (balloon_range){12280, 16}, &tally);
    cr_assert_eq(tally.unchanged, 16 + 8);
    cr_assert_eq(tally.outside, 8);
    check_take(RUNS({1, 0, {8208, 16}}));
}

Test(tracker_modes, settling_a_report_in_gathering_mode_keeps_what_is_held)
{
    balloon_tracker_set_gather(tracker, true);
    inflate(8192, 4);
    balloon_tracker_report(tracker, (balloon_range){8192, 32}, NULL);
    cr_assert_eq(balloon_tracker_ready(tracker), 32);
    balloon_tracker_settle(tracker);
    cr_assert_eq(balloon_tracker_pending(tracker), 4);
    balloon_tracker_report(tracker, (balloon_range){8192, 32}, NULL);
    check_take(RUNS({1, 0, {8192, 32}}));
    cr_assert_eq(balloon_tracker_pending(tracker), 4);
    balloon_tracker_settle(tracker);
    cr_assert_eq(balloon_tracker_pending(tracker), 4);
    /* A granule that is wholly held and leaves together with a report is given back. */
    inflate(8224, 16);
    balloon_tracker_report(tracker, (balloon_range){8192, 16}, NULL);
    check_take(RUNS({1, 0, {8192, 16}}, {1, 0, {8224, 16}}));
    cr_assert_eq(balloon_tracker_pending(tracker), 4);
}

Test(tracker_modes, a_reported_granule_larger_than_a_block_is_settled_whole)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 8192};
    balloon_region ram = {0, 8192, 2048};
    balloon_tracker *t;

    cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(t, &ram, NULL), BALLOON_OK);
    balloon_tracker_set_gather(t, true);
    balloon_tracker_inflate_range(t, (balloon_range){3000, 100}, NULL);
    balloon_tracker_report(t, (balloon_range){0, 8192}, NULL);
    cr_assert_eq(balloon_tracker_ready(t), 8192);
    balloon_tracker_settle(t);
    cr_assert_eq(balloon_tracker_pending(t), 100);
    cr_assert(balloon_tracker_check(t, NULL));
    balloon_tracker_destroy(t);
}

Test(tracker_modes, a_report_of_an_edge_is_no_granule)
{
    balloon_region ragged = {20008, 8, 16};
    balloon_tally tally = {0};

    cr_assert_eq(balloon_tracker_add_region(tracker, &ragged, NULL), BALLOON_OK);
    balloon_tracker_report(tracker, (balloon_range){20008, 8}, &tally);
    cr_assert_eq(tally.unchanged, 8);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
}

/* --- hints and reset -------------------------------------------------------------------------- */

Test(tracker_modes, hinted_pages_are_only_noted)
{
    balloon_tally tally = {0};

    balloon_tracker_hint(tracker, (balloon_range){100, 100}, &tally);
    balloon_tracker_hint(tracker, (balloon_range){150, 100}, &tally);
    balloon_tracker_hint(tracker, (balloon_range){4095, 2}, &tally);
    cr_assert_eq(tally.changed, 151);
    cr_assert_eq(tally.unchanged, 50);
    cr_assert_eq(tally.outside, 1);
    cr_assert_eq(balloon_tracker_hinted(tracker), 151);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
    balloon_tracker_forget_hints(tracker);
    cr_assert_eq(balloon_tracker_hinted(tracker), 0);
}

Test(tracker_modes, without_hints_in_the_config_nothing_is_noted)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 8192};
    balloon_region ram = {0, 4096, 1};
    balloon_tracker *t;

    cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(t, &ram, NULL), BALLOON_OK);
    balloon_tracker_hint(t, (balloon_range){0, 16}, NULL);
    cr_assert_eq(balloon_tracker_hinted(t), 0);
    cr_assert_eq(balloon_tracker_count(t, BALLOON_SET_HINTED, (balloon_range){0, 16}), 0);
    balloon_tracker_forget_hints(t);
    cr_assert_eq(balloon_tracker_remove_region(t, 0), BALLOON_OK);
    balloon_tracker_destroy(t);
}

Test(tracker_modes, reset_forgets_pages_and_keeps_regions_and_mode)
{
    balloon_tracker_set_gather(tracker, true);
    inflate(0, 4096);
    balloon_tracker_report(tracker, (balloon_range){8192, 16}, NULL);
    balloon_tracker_hint(tracker, (balloon_range){0, 16}, NULL);
    balloon_tracker_reset(tracker);
    cr_assert_eq(balloon_tracker_held(tracker), 0);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
    cr_assert_eq(balloon_tracker_hinted(tracker), 0);
    check_take(0, NULL);
    cr_assert_eq(balloon_tracker_pages(tracker), 8192);
    inflate(0, 8);
    balloon_tracker_settle(tracker);
    cr_assert_eq(balloon_tracker_pending(tracker), 8);
}
