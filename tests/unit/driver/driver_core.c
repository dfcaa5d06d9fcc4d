/* The driver by what its caller sees: configs, answers that cannot be used, the kernel's own list,
 * pauses, the order of answers, suspend. The host is a script on virtio. */
#include "driver_support.h"

Test(driver, config_limits)
{
    balloon_layout layout;
    const balloon_driver_config good = {.size = sizeof(good), .regions = &ram, .region_count = 1};
    balloon_driver_config c;

#define BAD(change)                                                                                \
    do {                                                                                           \
        c = good;                                                                                  \
        change;                                                                                    \
        cr_assert_eq(balloon_driver_layout(&c, &layout), BALLOON_ERR_INVALID, #change);            \
    } while (0)
    BAD(c.size--);
    BAD(c.regions = NULL);
    BAD(c.region_count = 0);
    BAD((c.regions = NULL, c.region_count = 0));
    BAD(c.page_pages = 2);
    BAD(c.page_pages = 32);
    BAD((c.page_pages = 16, c.chunk_pages = 15));
    BAD(c.chunk_pages = (1u << 20) + 1);
    BAD(c.chunk_runs = 4097);
    BAD(c.block_pages = 3);
    BAD(c.report_block = 3);
    BAD(c.retry_delay = BALLOON_TIME_NEVER);
    BAD(c.oom_delay = BALLOON_TIME_NEVER);
    cr_assert_eq(balloon_driver_layout(NULL, &layout), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_layout(&good, NULL), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_layout(&good, &layout), BALLOON_OK);
}

Test(driver, init_errors)
{
    const balloon_region odd = {0, PAGES, 3};
    balloon_driver_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_driver *driver = NULL;
    balloon_layout layout;

    cr_assert_eq(balloon_driver_layout(&config, &layout), BALLOON_OK);
    cr_assert_eq(balloon_driver_init(memory, layout.bytes - 1, &config, &driver),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_driver_init(memory + 1, layout.bytes, &config, &driver),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_init(NULL, layout.bytes, &config, &driver), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_init(memory, layout.bytes, &config, NULL), BALLOON_ERR_INVALID);
    config.regions = &odd;
    cr_assert_eq(balloon_driver_init(memory, sizeof(memory), &config, &driver),
                 BALLOON_ERR_INVALID);
    cr_assert_null(driver);
}

/* 16 MiB keep half and 8 MiB: nothing may go. 64 MiB: 40. 1 GiB: 232. 4 GiB: 488. 32 GiB: 1512. */
Test(driver, keeps_the_floor_of_linux_under_hyperv_by_default)
{
    static const struct {
        uint64_t mib, floor;
    } cases[] = {{16, 16}, {64, 40}, {256, 104}, {1024, 232}, {4096, 488}, {32768, 1512}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        balloon_driver_config config = {.size = sizeof(config), .total_pages = cases[i].mib * 256};
        balloon_driver *driver = NULL;

        cr_assert_eq(balloon_driver_init(memory, sizeof(memory), &config, &driver), BALLOON_OK);
        start(driver, 0);
        want(driver, UINT32_MAX);
        cr_assert_eq(status_of(driver).goal, (cases[i].mib - cases[i].floor) * 256);
        cr_assert_eq(counters_of(driver).target_cut, 1);
    }
}

Test(driver, refuses_pages_that_it_cannot_use_all_or_none)
{
    static const struct {
        balloon_range runs[2];
        size_t count;
    } bad[] = {
        {{{0, 8}, {4, 8}}, 2},          /* twice */
        {{{0, 8}, {PAGES - 4, 8}}, 2},  /* beyond RAM */
        {{{0, 8}, {UINT64_MAX, 4}}, 2}, /* beyond everything */
        {{{0, 8}, {17, 4}}, 2},         /* not a page of 16 KiB */
        {{{0, 8}, {16, 0}}, 2},         /* nothing */
        {{{0, 8}, {16, 1024}}, 2},      /* more than asked */
        {{{256, 8}, {0, 8}}, 2},        /* in the balloon */
    };
    balloon_driver_config config = {.page_pages = 4, .retry_delay = MS};
    balloon_driver *driver = make(&config);
    balloon_time_t now = 0;

    start(driver, 0);
    want(driver, 1024);
    inflate(driver, (balloon_range){256, 32});
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        now += 1000 * MS;
        next(driver, now, BALLOON_DRIVER_ALLOC);
        cr_assert_eq(
            balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, bad[i].runs, bad[i].count, now),
            BALLOON_ERR_INVALID, "case %zu", i);
        cr_assert_eq(status_of(driver).on_way_in, 0);
        cr_assert_eq(status_of(driver).held, 32);
        cr_assert_eq(counters_of(driver).alloc_unusable, i + 1);
        cr_assert(balloon_driver_check(driver, NULL));
    }
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, bad[0].runs, 1, now),
                 BALLOON_ERR_STATE);
}

Test(driver, pauses_twice_as_long_each_time_and_asks_for_half)
{
    balloon_driver_config config = {.chunk_pages = 256, .retry_delay = 200 * MS};
    balloon_driver *driver = make(&config);
    balloon_time_t now = 0, pause = 200 * MS;

    start(driver, 0);
    want(driver, 1024);
    for (uint64_t window = 32; window > 1; window /= 2) {
        cr_assert_eq(next(driver, now, BALLOON_DRIVER_ALLOC).pages, window);
        cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, NULL, 0, now),
                     BALLOON_OK);
        nothing(driver, now + pause - 1);
        cr_assert_eq(balloon_driver_deadline(driver), now + pause);
        now += pause;
        pause *= 2;
    }
    /* A success ends the doubling, and the window grows by an eighth of a chunk. */
    const balloon_range one = {7, 1};

    cr_assert_eq(next(driver, now, BALLOON_DRIVER_ALLOC).pages, 1);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &one, 1, now), BALLOON_OK);
    cr_assert_eq(status_of(driver).window, 33);
}

Test(driver, frees_after_the_answer_only)
{
    balloon_driver_config config = {0};
    balloon_driver *driver = make(&config);
    balloon_driver_action action;

    start(driver, 0); /* not even MUST_TELL_HOST */
    want(driver, 8);
    inflate(driver, (balloon_range){100, 8});
    want(driver, 3);
    action = next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(action.channel, BALLOON_CHANNEL_DEFLATE);
    cr_assert_eq(status_of(driver).on_way_out, 5);
    cr_assert_eq(status_of(driver).held, 8);
    nothing(driver, 1000000 * MS);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 1, 0), BALLOON_OK);
    action = next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(action.run_count, 1);
    cr_assert_eq(action.runs[0].first, 100);
    cr_assert_eq(action.runs[0].count, 5);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_CONFIG).value, 3);
    nothing(driver, 0);
}

/* Nor is the message, written as often as the kernel likes, an answer. */
Test(driver, frees_nothing_because_a_message_was_written)
{
    balloon_driver_config config = {0};
    balloon_virtio_message message;
    balloon_driver *driver = make(&config);
    unsigned char bytes[64];

    start(driver, 0);
    want(driver, 8);
    inflate(driver, (balloon_range){100, 8});
    want(driver, 3);
    next(driver, 0, BALLOON_DRIVER_SEND);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_DEFLATE, bytes,
                                                 sizeof(bytes), &message),
                     BALLOON_OK);
        cr_assert_eq(message.bytes, 20);
        nothing(driver, 1000000 * MS);
        cr_assert_eq(status_of(driver).held, 8);
        cr_assert_eq(status_of(driver).on_way_out, 5);
    }
    cr_assert_eq(balloon_virtio_driver_acked(driver, message.queue, 0), BALLOON_OK);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_FREE).runs[0].count, 5);
}

Test(driver, counts_answers_to_nothing)
{
    balloon_driver_config config = {.stats = true, .hinting = true, .reporting = true};
    balloon_driver *driver = make(&config);

    cr_assert_eq(balloon_virtio_driver_acked(driver, 0, 0), BALLOON_ERR_STATE);
    start(driver, BALLOON_F_ALL);
    for (uint32_t queue = 0; queue < 7; queue++)
        cr_assert_eq(balloon_virtio_driver_acked(driver, queue, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(counters_of(driver).answers_unasked, 7);
    want(driver, 8);
    next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 0, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(status_of(driver).held, 0);
}

Test(driver, works_with_a_list_of_the_kernel)
{
    balloon_driver_config config = {.total_pages = PAGES};
    balloon_driver *driver = make(&config);
    const balloon_range in = {40, 8}, out[2] = {{41, 2}, {46, 1}};
    balloon_driver_action action;

    cr_assert_null(balloon_driver_tracker(driver));
    start(driver, 0);
    want(driver, 8);
    inflate(driver, in);
    want(driver, 5);
    action = next(driver, 0, BALLOON_DRIVER_TAKE);
    cr_assert_eq(action.pages, 3);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_DEFLATE, out, 2, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 1, 0), BALLOON_OK);
    action = next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(action.run_count, 2);
    cr_assert_eq(action.runs[1].first, 46);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_CONFIG).value, 5);

    /* A list that has nothing to name is asked again later. */
    want(driver, 0);
    next(driver, 0, BALLOON_DRIVER_TAKE);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_DEFLATE, NULL, 0, 0), BALLOON_OK);
    nothing(driver, 0);
    next(driver, 200 * MS, BALLOON_DRIVER_TAKE);

    /* Lost: what is on its way by name, the list as a whole. */
    balloon_driver_reset(driver);
    action = next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(action.channel, BALLOON_CHANNEL_INFLATE);
    cr_assert_eq(action.run_count, 0);
    cr_assert_eq(status_of(driver).held, 0);
    nothing(driver, 0);
}

Test(driver, gives_a_list_back_what_was_on_its_way)
{
    balloon_driver_config config = {.total_pages = PAGES};
    balloon_driver *driver = make(&config);
    const balloon_range in = {40, 8};
    balloon_driver_action action;

    start(driver, 0);
    want(driver, 8);
    next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &in, 1, 0), BALLOON_OK);
    balloon_driver_reset(driver);
    action = next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(action.run_count, 1);
    cr_assert_eq(action.runs[0].first, 40);
    nothing(driver, 0);
}

Test(driver, regions_come_and_go)
{
    const balloon_region more = {8192, 64, 1};
    balloon_driver_config config = {.max_pages = PAGES + 64};
    balloon_driver *driver = make(&config);
    uint32_t id = 0;

    cr_assert_eq(balloon_driver_add_region(driver, &more, &id), BALLOON_OK);
    cr_assert_eq(balloon_driver_add_region(driver, &more, &id), BALLOON_ERR_INVALID);
    cr_assert_eq(status_of(driver).total, PAGES + 64);
    start(driver, 0);
    want(driver, 8);
    inflate(driver, (balloon_range){8192, 8});
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_ERR_BUSY);
    cr_assert_eq(balloon_driver_remove_region(driver, 7, 0), BALLOON_ERR_INVALID);
    balloon_driver_reset(driver);
    next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_OK);
    cr_assert_eq(status_of(driver).total, PAGES);
}

Test(driver, a_list_comes_and_goes_by_its_size)
{
    const balloon_region more = {0, 64, 1}, none = {0, 0, 1};
    balloon_driver_config config = {.total_pages = 64};
    balloon_driver *driver = make(&config);

    cr_assert_eq(balloon_driver_add_region(driver, &more, NULL), BALLOON_OK);
    cr_assert_eq(balloon_driver_add_region(driver, &none, NULL), BALLOON_ERR_INVALID);
    start(driver, 0);
    want(driver, 32);
    inflate(driver, (balloon_range){0, 32});
    cr_assert_eq(balloon_driver_remove_region(driver, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_remove_region(driver, 0, 129), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_remove_region(driver, 0, 100), BALLOON_ERR_BUSY);
    cr_assert_eq(balloon_driver_remove_region(driver, 0, 64), BALLOON_OK);
    cr_assert_eq(status_of(driver).total, 64);
}

Test(driver, out_of_memory_gives_back_and_waits_longer_each_time)
{
    balloon_driver_config config = {.deflate_on_oom = true, .oom_delay = 1000 * MS};
    balloon_driver *driver = make(&config);
    uint64_t coming = 0;

    cr_assert_eq(balloon_driver_oom(driver, 5, &coming, 0), BALLOON_ERR_STATE);
    start(driver, BALLOON_F_DEFLATE_ON_OOM);
    want(driver, 8);
    inflate(driver, (balloon_range){100, 8});
    cr_assert_eq(balloon_driver_oom(driver, 5, &coming, 0), BALLOON_OK);
    cr_assert_eq(coming, 5);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 1, 0), BALLOON_OK);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_FREE).runs[0].count, 5);
    next(driver, 0, BALLOON_DRIVER_CONFIG);
    nothing(driver, 1000 * MS - 1);
    cr_assert_eq(balloon_driver_oom(driver, UINT64_MAX, &coming, 0), BALLOON_OK);
    cr_assert_eq(coming, 3);
    cr_assert_eq(status_of(driver).pause_until, 2000 * MS);
}

Test(driver, out_of_memory_is_refused_where_the_host_does_not_allow_it)
{
    balloon_driver_config config = {.deflate_on_oom = true};
    balloon_driver *driver = make(&config);

    start(driver, 0);
    want(driver, 8);
    inflate(driver, (balloon_range){100, 8});
    cr_assert_eq(balloon_driver_oom(driver, 5, NULL, 0), BALLOON_ERR_UNSUPPORTED);
    nothing(driver, 0);
}

Test(driver, out_of_memory_ends_inflation_even_where_nothing_may_come_back)
{
    balloon_driver_config config = {.deflate_on_oom = true, .oom_delay = 1000 * MS};
    balloon_driver *driver = make(&config);

    start(driver, 0);
    want(driver, 64);
    inflate(driver, (balloon_range){100, 32});
    cr_assert_eq(balloon_driver_oom(driver, 5, NULL, 0), BALLOON_ERR_UNSUPPORTED);
    nothing(driver, 1000 * MS - 1);
    cr_assert_eq(status_of(driver).pause_until, 1000 * MS);
    next(driver, 1000 * MS, BALLOON_DRIVER_ALLOC);
}

Test(driver, replaces_a_page)
{
    balloon_driver_config config = {0};
    balloon_driver *driver = make(&config);

    cr_assert_eq(balloon_driver_migrate(driver, 100, 500, 0), BALLOON_ERR_STATE);
    start(driver, 0);
    want(driver, 8);
    inflate(driver, (balloon_range){100, 8});
    cr_assert_eq(balloon_driver_migrate(driver, 99, 500, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_migrate(driver, 100, 101, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_migrate(driver, 100, PAGES, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_migrate(driver, 100, 500, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_migrate(driver, 101, 501, 0), BALLOON_ERR_BUSY);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_SEND).channel, BALLOON_CHANNEL_INFLATE);
    nothing(driver, 0);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 0, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_CONFIG);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_SEND).channel, BALLOON_CHANNEL_DEFLATE);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 1, 0), BALLOON_OK);
    balloon_driver_action action = next(driver, 0, BALLOON_DRIVER_FREE);

    cr_assert_eq(action.runs[0].first, 100);
    cr_assert_eq(action.runs[0].count, 1);
    cr_assert_eq(status_of(driver).held, 8);
    cr_assert_eq(counters_of(driver).migrated, 1);
}

Test(driver, rests_with_an_empty_balloon)
{
    balloon_driver_config config = {0};
    balloon_driver *driver = make(&config);

    cr_assert_eq(balloon_driver_suspend(driver, 0), BALLOON_ERR_STATE);
    start(driver, 0);
    want(driver, 8);
    inflate(driver, (balloon_range){100, 8});
    cr_assert_eq(balloon_driver_suspend(driver, 0), BALLOON_OK);
    cr_assert_eq(status_of(driver).state, BALLOON_DRIVER_SUSPENDING);
    next(driver, 0, BALLOON_DRIVER_SEND);
    nothing(driver, 0);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 1, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_CONFIG).value, 0);
    next(driver, 0, BALLOON_DRIVER_SUSPENDED);
    cr_assert_eq(status_of(driver).state, BALLOON_DRIVER_RESTING);
    want(driver, 16);
    nothing(driver, 0);
    balloon_driver_reset(driver);
    start(driver, 0);
    want(driver, 16);
    next(driver, 0, BALLOON_DRIVER_ALLOC);
}

Test(driver, answers_statistics_once)
{
    balloon_driver_config config = {.stats = true};
    balloon_driver *driver = make(&config);
    balloon_virtio_message message;
    unsigned char bytes[200];
    balloon_sample sample = {0};

    cr_assert_eq(balloon_driver_give_stats(driver, &sample, 0), BALLOON_ERR_STATE);
    start(driver, BALLOON_F_STATS);
    next(driver, 0, BALLOON_DRIVER_STATS);
    balloon_sample_set(&sample, BALLOON_STAT_FREE, 77);
    cr_assert_eq(balloon_driver_give_stats(driver, &sample, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_give_stats(driver, &sample, 0), BALLOON_ERR_STATE);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_SEND).channel, BALLOON_CHANNEL_STATS);
    cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_STATS, bytes, 9, &message),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(
        balloon_virtio_driver_write(driver, BALLOON_CHANNEL_STATS, bytes, sizeof(bytes), &message),
        BALLOON_OK);
    cr_assert_eq(message.bytes, 10);
    cr_assert_eq(message.queue, 2);
    nothing(driver, 0);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 2, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_STATS);
}

Test(driver, takes_no_page_that_virtio_cannot_name)
{
    const balloon_region high = {(UINT64_C(1) << 32) - 8, 16, 1};
    balloon_driver_config config = {.regions = &high, .region_count = 1};
    balloon_driver *driver = make(&config);
    const balloon_range below = {(UINT64_C(1) << 32) - 8, 4}, above = {UINT64_C(1) << 32, 4};

    start(driver, 0);
    want(driver, 4);
    next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &above, 1, 0),
                 BALLOON_ERR_INVALID);
    next(driver, 1000 * MS, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &below, 1, 0), BALLOON_OK);
}

Test(driver, negotiation_errors)
{
    balloon_virtio_driver_options options = {.size = sizeof(options)};
    balloon_driver_config config = {0};
    balloon_driver *driver = make(&config);
    uint64_t chosen;

    cr_assert_eq(balloon_virtio_driver_start(driver, 0), BALLOON_ERR_STATE);
    options.size--;
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, 0, &options, &chosen),
                 BALLOON_ERR_INVALID);
    options.size++;
    options.numbering = (balloon_virtio_numbering)3;
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, 0, &options, &chosen),
                 BALLOON_ERR_INVALID);
    options.numbering = BALLOON_QUEUES_FIXED;
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, 0, &options, &chosen), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_start(driver, 0), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_start(driver, 0), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, 0, &options, &chosen), BALLOON_ERR_STATE);
    want(driver, 8);
    inflate(driver, (balloon_range){100, 8});
    balloon_driver_reset(driver);
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, 0, &options, &chosen), BALLOON_ERR_BUSY);
    next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, 0, &options, &chosen), BALLOON_OK);
}

/* Linux rounds a target up to whole pages of its own (07622bd41563). What the floor or RAM leaves
 * is the most all the same. */
Test(driver, goes_up_to_whole_pages_of_its_own)
{
    static const struct {
        uint32_t target, goal;
    } cases[] = {{1, 16}, {15, 16}, {16, 16}, {17, 32}, {PAGES - 15, PAGES}, {PAGES + 1, PAGES}};
    balloon_driver_config config = {.page_pages = 16, .chunk_pages = PAGES};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        balloon_driver *driver = make(&config);

        start(driver, 0);
        want(driver, cases[i].target);
        while (status_of(driver).held < cases[i].goal) {
            const uint64_t held = status_of(driver).held;
            const uint64_t pages = next(driver, 0, BALLOON_DRIVER_ALLOC).pages;
            const balloon_range run = {held, pages};

            cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &run, 1, 0),
                         BALLOON_OK);
            next(driver, 0, BALLOON_DRIVER_SEND);
            cr_assert_eq(balloon_virtio_driver_acked(driver, 0, 0), BALLOON_OK);
            next(driver, 0, BALLOON_DRIVER_CONFIG);
        }
        cr_assert_eq(status_of(driver).held, cases[i].goal);
        nothing(driver, 0);
    }
    config.floor_pages = PAGES - 31;
    balloon_driver *driver = make(&config);

    start(driver, 0);
    want(driver, 20);
    inflate(driver, (balloon_range){0, 16});
    nothing(driver, 0);
}
