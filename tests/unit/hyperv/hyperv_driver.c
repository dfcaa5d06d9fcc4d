/* The Hyper-V binding of the driver: the handshake, pages, reports, suspend. */
#include "hyperv_driver_support.h"

TestSuite(hyperv_driver, .fini = hd_end);

/* --- setting up ------------------------------------------------------------------------------- */

Test(hyperv_driver, opens_once_and_with_sane_options)
{
    balloon_driver_config config = hd_config(false);
    balloon_hyperv_driver_options options = {.size = sizeof(options) - 1};

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, &options, 0), BALLOON_ERR_INVALID);
    options.size = sizeof(options);
    options.alignment = 16;
    cr_assert_eq(balloon_hyperv_driver_open(driver, &options, 0), BALLOON_ERR_INVALID);
    options.alignment = 15;
    cr_assert_eq(balloon_hyperv_driver_open(driver, &options, 0), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_driver_open(driver, &options, 0), BALLOON_ERR_STATE);
}

Test(hyperv_driver, needs_regions)
{
    balloon_driver_config config = {.size = sizeof(config), .total_pages = 4096};

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_ERR_UNSUPPORTED);
}

Test(hyperv_driver, without_a_channel_there_is_nothing_to_hear_or_say)
{
    balloon_driver_config config = hd_config(false);
    uint8_t bytes[64];
    size_t used;

    hd_make(&config);
    cr_assert_eq(hd_ask(16, 0), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_CONTROL, bytes, 64, 0, &used),
                 BALLOON_ERR_STATE);
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_CLOSED);
}

/* --- handshake -------------------------------------------------------------------------------- */

Test(hyperv_driver, offers_versions_from_the_latest_down)
{
    balloon_driver_config config = hd_config(false);

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(0), "version 20000");
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, false, false, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(0), "version 10000");
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, false, false, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(0), "version 3 last");
    cr_assert_eq(hd_session().version, 0);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(0), "can balloon hot_add 7");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_CAPABILITIES);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_CAPABILITIES_RESPONSE, true, false, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(0), "");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_IDLE);
    cr_assert_eq(hd_session().version, BALLOON_HYPERV_VERSION_0_3);
    cr_assert_eq(hd_counters().messages, 4);
}

Test(hyperv_driver, gives_up_when_all_is_refused)
{
    balloon_driver_config config = hd_config(false);

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    for (unsigned i = 0; i < 3; i++) {
        (void)hd_poll(0);
        cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, false, false, 0), BALLOON_OK);
    }
    CHECK_SAYS(hd_poll(0), "");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_FAILED);
    cr_assert_eq(balloon_driver_deadline(driver), BALLOON_TIME_NEVER);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(hd_ask(16, 0), BALLOON_ERR_PROTOCOL);
    CHECK_SAYS(hd_poll(0), "");
}

Test(hyperv_driver, gives_up_when_the_host_says_stop)
{
    balloon_driver_config config = hd_config(false);

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    (void)hd_poll(0);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 0), BALLOON_OK);
    (void)hd_poll(0);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_CAPABILITIES_RESPONSE, false, false, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(0), "");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_FAILED);
    cr_assert_eq(hd_session().version, 0);
}

Test(hyperv_driver, waits_5_seconds_for_each_step)
{
    balloon_driver_config config = hd_config(false);

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "version 20000");
    cr_assert_eq(balloon_driver_deadline(driver), 6 * SECOND);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, false, false, 5 * SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(6 * SECOND - 1), "version 10000");
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 6 * SECOND - 1),
                 BALLOON_OK);
    CHECK_SAYS(hd_poll(11 * SECOND - 2), "can balloon hot_add 7");
    CHECK_SAYS(hd_poll(11 * SECOND - 1), "");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_FAILED);
}

Test(hyperv_driver, an_offer_that_was_not_sent_in_time_is_not_sent)
{
    balloon_driver_config config = hd_config(false);

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(5 * SECOND), "");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_FAILED);
}

Test(hyperv_driver, answers_to_nothing_are_counted)
{
    balloon_driver_config config = hd_config(false);

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 0), BALLOON_ERR_PROTOCOL);
    CHECK_SAYS(hd_poll(0), "version 20000");
    cr_assert_eq(hd_answer(BALLOON_HYPERV_CAPABILITIES_RESPONSE, true, false, 0),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 0), BALLOON_OK);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(hd_counters().answers_unasked, 3);
}

Test(hyperv_driver, a_reset_gives_all_back_and_allows_a_new_start)
{
    hd_simple();
    cr_assert_eq(hd_ask(16, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 16 | take 0+16");
    balloon_driver_reset(driver);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, SECOND), BALLOON_ERR_BUSY);
    CHECK_SAYS(hd_poll(SECOND), "free 0+16");
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "version 20000");
}

/* --- pages for the host ----------------------------------------------------------------------- */

Test(hyperv_driver, gives_what_is_asked)
{
    hd_simple();
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_BALLOONING);
    cr_assert_eq(hd_status().target, 100);
    CHECK_SAYS(hd_poll(SECOND), "alloc 100 | take 0+100");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_IDLE);
    cr_assert_eq(hd_status().held, 100);
    cr_assert_eq(hd_ask(10, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 10 | take 100+10");
    cr_assert_eq(hd_status().held, 110);
    cr_assert_eq(hd_status().target, 110);
}

Test(hyperv_driver, says_when_more_is_to_come)
{
    hd_simple();
    cr_assert_eq(hd_ask(300, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 128 | take 0+128 ... | alloc 172 | take 128+172");
}

Test(hyperv_driver, a_message_has_510_ranges_at_the_most)
{
    balloon_driver_config config = hd_config(false);
    const char *said;

    config.chunk_pages = 4096;
    config.chunk_runs = 1000;
    hd_start(&config, NULL);
    kernel.step = 3;
    cr_assert_eq(hd_ask(512, SECOND), BALLOON_OK);
    said = hd_poll(SECOND);
    cr_assert(strstr(said, "alloc 512 | take 0+1,3+1,"));
    cr_assert(strstr(said, ",1527+1 ... | take 1530+1,1533+1"));
    cr_assert_str_eq(said + strlen(said) - 6, "1533+1");
    cr_assert_eq(hd_status().held, 512);
}

Test(hyperv_driver, keeps_the_floor)
{
    balloon_driver_config config = hd_config(false);

    config.floor_pages = 4000;
    hd_start(&config, NULL);
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 96 | take 0+96");
    cr_assert_eq(hd_counters().target_cut, 1);
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "take");
}

Test(hyperv_driver, keeps_the_floor_of_what_is_available)
{
    balloon_driver_config config = hd_config(true);

    config.floor_pages = 1000;
    hd_start(&config, NULL);
    kernel.available = 1060;
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "stats | alloc 60 | take 0+60");
    cr_assert_eq(hd_counters().target_cut, 1);
    kernel.available = 1000;
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "stats | take");
    kernel.available = 2000;
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "stats | alloc 100 | take 60+100");
    kernel.available = UINT64_MAX;
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "stats | alloc 100 | take 160+100");
}

Test(hyperv_driver, a_request_for_nothing_gets_nothing)
{
    hd_simple();
    cr_assert_eq(hd_ask(0, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "take");
}

Test(hyperv_driver, a_request_for_too_much_gets_what_there_is)
{
    hd_simple();
    kernel.left = 4096;
    cr_assert_eq(hd_ask(UINT32_MAX, SECOND), BALLOON_OK);
    cr_assert(strstr(hd_poll(SECOND), "alloc 128 | take 0+128 ... | alloc 256 | take 128+256 ..."));
    cr_assert_eq(hd_status().held, 4096);
}

Test(hyperv_driver, a_new_request_replaces_the_one_under_way)
{
    balloon_driver_action action;

    hd_simple();
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    cr_assert(balloon_driver_poll(driver, SECOND, &action));
    cr_assert_eq(action.type, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(hd_ask(120, SECOND), BALLOON_ERR_PROTOCOL);
    hd_answer_alloc(&action, SECOND);
    CHECK_SAYS(hd_poll(SECOND), "take 0+100 ... | alloc 20 | take 100+20");
    cr_assert_eq(hd_counters().protocol_errors, 1);
}

Test(hyperv_driver, kernels_with_larger_pages_give_none)
{
    balloon_driver_config config = hd_config(true);

    config.page_pages = 16;
    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    (void)hd_poll(0);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(0), "can hot_add 7");
    cr_assert_eq(hd_answer(BALLOON_HYPERV_CAPABILITIES_RESPONSE, true, false, 0), BALLOON_OK);
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "take");
}

Test(hyperv_driver, cannot_take_pages_back_by_itself)
{
    hd_simple();
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    (void)hd_poll(SECOND);
    cr_assert_eq(balloon_driver_oom(driver, 10, NULL, SECOND), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(balloon_driver_migrate(driver, 0, 200, SECOND), BALLOON_ERR_UNSUPPORTED);
    CHECK_SAYS(hd_poll(SECOND), "");
}

/* --- pages from the host ---------------------------------------------------------------------- */

Test(hyperv_driver, frees_what_the_host_returns_then_says_so)
{
    hd_simple();
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    (void)hd_poll(SECOND);
    cr_assert_eq(hd_return(false, RANGES({0, 10}, {50, 1})), BALLOON_OK);
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_UNBALLOONING);
    CHECK_SAYS(hd_poll(SECOND), "free 0+10,50+1 | returned");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_IDLE);
    cr_assert_eq(hd_status().held, 89);
    cr_assert_eq(hd_status().target, 89);
    cr_assert_eq(hd_counters().deflated, 11);
    CHECK_SAYS(hd_poll(SECOND), "");
}

Test(hyperv_driver, says_so_after_the_last_message_only)
{
    hd_simple();
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    (void)hd_poll(SECOND);
    cr_assert_eq(hd_return(true, RANGES({0, 10})), BALLOON_OK);
    cr_assert_eq(hd_return(false, RANGES({20, 10})), BALLOON_ERR_BUSY);
    cr_assert_eq(hd_ask(1, SECOND), BALLOON_ERR_BUSY);
    CHECK_SAYS(hd_poll(SECOND), "free 0+10");
    cr_assert_eq(hd_return(false, RANGES({20, 10})), BALLOON_OK);
    kernel.lazy = true;
    CHECK_SAYS(hd_poll(SECOND), "free 20+10 | -5");
    cr_assert_eq(hd_return(false, RANGES({30, 10})), BALLOON_ERR_BUSY);
    cr_assert_eq(hd_counters().protocol_errors, 0);
}

Test(hyperv_driver, an_empty_message_is_answered_as_well)
{
    hd_simple();
    cr_assert_eq(hd_return(false, NULL, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "returned");
}

/* What Linux does not check. */
Test(hyperv_driver, frees_only_what_is_in_the_balloon)
{
    hd_simple();
    kernel.next = 100;
    cr_assert_eq(hd_ask(10, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 10 | take 100+10");
    cr_assert_eq(
        hd_return(false, RANGES({90, 13}, {101, 3}, {0, 50},
                                {BALLOON_HYPERV_PFN_LIMIT - 1, BALLOON_HYPERV_RANGE_PAGES_MAX},
                                {108, 100}, {105, 0})),
        BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "free 100+4,108+2 | returned");
    cr_assert_eq(hd_status().held, 4);
    cr_assert_eq(hd_counters().foreign, 10 + 2 + 50 + 0xffffff + 98);
}

Test(hyperv_driver, takes_510_ranges_and_no_more)
{
    static balloon_range ranges[511];

    hd_simple();
    cr_assert_eq(hd_ask(1024, SECOND), BALLOON_OK);
    (void)hd_poll(SECOND);
    for (size_t i = 0; i < 511; i++)
        ranges[i] = (balloon_range){2 * i, 1};
    cr_assert_eq(hd_return(false, ranges, 511), BALLOON_ERR_PROTOCOL);
    CHECK_SAYS(hd_poll(SECOND), "");
    cr_assert_eq(hd_return(false, ranges, 510), BALLOON_OK);
    (void)hd_poll(SECOND);
    cr_assert_eq(hd_status().held, 1024 - 510);
}

Test(hyperv_driver, pages_that_come_back_end_a_request)
{
    balloon_driver_action action;

    hd_simple();
    cr_assert_eq(hd_ask(10, SECOND), BALLOON_OK);
    (void)hd_poll(SECOND);
    cr_assert_eq(hd_ask(500, SECOND), BALLOON_OK);
    cr_assert(balloon_driver_poll(driver, SECOND, &action));
    hd_answer_alloc(&action, SECOND);
    cr_assert_eq(hd_return(false, RANGES({0, 20})), BALLOON_OK);
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_BALLOONING);
    CHECK_SAYS(hd_poll(SECOND), "take 10+256 | free 0+20 | returned");
    cr_assert_eq(hd_status().held, 246);
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_IDLE);
    CHECK_SAYS(hd_poll(100 * SECOND), "");
}

Test(hyperv_driver, pages_that_come_back_end_a_request_before_it_began)
{
    balloon_driver_config config = hd_config(true);

    hd_start(&config, NULL);
    cr_assert_eq(hd_ask(10, SECOND), BALLOON_OK);
    cr_assert_eq(hd_return(false, NULL, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "returned | take | stats");
    cr_assert_eq(hd_status().target, 0);
}

/* --- sending ---------------------------------------------------------------------------------- */

Test(hyperv_driver, tells_of_a_message_once_and_writes_it_whenever)
{
    static const balloon_driver_channel nothing[] = {
        BALLOON_CHANNEL_INFLATE, BALLOON_CHANNEL_DEFLATE, BALLOON_CHANNEL_STATS,
        BALLOON_CHANNEL_HINT,    BALLOON_CHANNEL_REPORT,  BALLOON_CHANNEL_CONTROL};
    uint8_t bytes[32];
    size_t used;

    hd_simple();
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
        cr_assert_eq(balloon_hyperv_driver_write(driver, nothing[i], bytes, 32, 0, &used),
                     BALLOON_ERR_STATE);
    kernel.lazy = true;
    cr_assert_eq(hd_ask(10, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 10 | -0");
    CHECK_SAYS(hd_poll(SECOND), "");
    cr_assert_eq(
        balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_INFLATE, bytes, 23, SECOND, &used),
        BALLOON_ERR_NOSPACE);
    cr_assert_eq(used, 24);
    cr_assert_eq(hd_status().on_way_in, 10);
    cr_assert_eq(
        balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_INFLATE, bytes, 24, SECOND, &used),
        BALLOON_OK);
    cr_assert_eq(used, 24);
    cr_assert_eq(hd_status().held, 10);

    cr_assert_eq(hd_return(false, NULL, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "-5");
    CHECK_SAYS(hd_poll(SECOND), "");
    cr_assert_eq(
        balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_CONTROL, bytes, 7, SECOND, &used),
        BALLOON_ERR_NOSPACE);
    cr_assert_eq(used, 8);
    cr_assert_eq(
        balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_CONTROL, bytes, 8, SECOND, &used),
        BALLOON_OK);
}

Test(hyperv_driver, numbers_its_messages)
{
    balloon_driver_config config = hd_config(false);
    uint8_t bytes[64];
    size_t used;

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    for (uint8_t i = 1; i <= 3; i++) {
        cr_assert_eq(
            balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_CONTROL, bytes, 64, 0, &used),
            BALLOON_OK);
        cr_assert_eq(bytes[4], i);
        cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, false, false, 0), BALLOON_OK);
    }
}

/* --- status reports --------------------------------------------------------------------------- */

Test(hyperv_driver, reports_each_second_after_the_first_45)
{
    balloon_driver_config config = hd_config(true);

    config.floor_pages = 1000;
    hd_start(&config, NULL);
    kernel.available = 3000;
    kernel.committed = 500;
    cr_assert_eq(balloon_driver_deadline(driver), 45 * SECOND);
    CHECK_SAYS(hd_poll(45 * SECOND - 1), "");
    CHECK_SAYS(hd_poll(45 * SECOND), "stats | status 3000 of 1500");
    cr_assert_eq(balloon_driver_deadline(driver), 46 * SECOND);
    cr_assert_eq(hd_ask(100, 45 * SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(45 * SECOND), "stats | alloc 100 | take 0+100");
    CHECK_SAYS(hd_poll(46 * SECOND), "stats | status 3000 of 1600");
}

Test(hyperv_driver, reports_without_what_is_committed_count_what_is_not_available)
{
    balloon_driver_config config = hd_config(true);
    balloon_hyperv_driver_options options = {.size = sizeof(options), .report_delay = SECOND};

    hd_start(&config, &options);
    kernel.available = 3000;
    CHECK_SAYS(hd_poll(SECOND), "stats | status 3000 of 1096");
    kernel.available = 5000;
    CHECK_SAYS(hd_poll(2 * SECOND), "stats | status 5000 of 0");
    kernel.available = UINT64_MAX;
    CHECK_SAYS(hd_poll(3 * SECOND), "stats");
    kernel.available = 1;
    CHECK_SAYS(hd_poll(4 * SECOND), "stats | status 1 of 4095");
}

Test(hyperv_driver, a_report_that_waits_is_the_only_one)
{
    balloon_driver_config config = hd_config(true);
    uint8_t bytes[64];
    size_t used;

    hd_start(&config, NULL);
    kernel.available = 3000;
    kernel.lazy = true;
    CHECK_SAYS(hd_poll(45 * SECOND), "stats | -2");
    CHECK_SAYS(hd_poll(50 * SECOND), "");
    cr_assert_eq(balloon_driver_deadline(driver), BALLOON_TIME_NEVER);
    cr_assert_eq(balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_STATS, bytes, 47, 0, &used),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_STATS, bytes, 48, 0, &used),
                 BALLOON_OK);
    CHECK_SAYS(hd_poll(50 * SECOND), "stats | -2");
}

Test(hyperv_driver, does_not_report_what_the_host_does_not_read)
{
    balloon_driver_config config = hd_config(true);

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    (void)hd_poll(0);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 0), BALLOON_OK);
    (void)hd_poll(0);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_CAPABILITIES_RESPONSE, true, true, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(100 * SECOND), "");
    cr_assert_eq(balloon_driver_deadline(driver), BALLOON_TIME_NEVER);
}

/* --- suspend ---------------------------------------------------------------------------------- */

Test(hyperv_driver, rests_when_all_is_said)
{
    balloon_driver_config config = hd_config(true);
    balloon_driver_action action;

    hd_start(&config, NULL);
    kernel.available = 3000;
    cr_assert_eq(hd_ask(16, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "stats | alloc 16 | take 0+16");
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    cr_assert(balloon_driver_poll(driver, SECOND, &action));
    cr_assert_eq(action.type, BALLOON_DRIVER_STATS);
    cr_assert_eq(balloon_driver_suspend(driver, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "");
    hd_answer_stats(SECOND);
    CHECK_SAYS(hd_poll(SECOND), "take | rest");

    /* No reports, nothing for requests; what is returned is freed. */
    CHECK_SAYS(hd_poll(100 * SECOND), "");
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "take");
    cr_assert_eq(hd_return(false, RANGES({0, 4})), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "free 0+4 | returned");
    balloon_driver_reset(driver);
    CHECK_SAYS(hd_poll(SECOND), "free 4+12");
}
