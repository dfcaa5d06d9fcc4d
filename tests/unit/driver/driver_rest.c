/* The driver on its way to rest, and at rest, with requests to the kernel still open. */
#include "driver_support.h"

static void ack(balloon_driver *driver, balloon_driver_channel channel)
{
    balloon_virtio_message message;
    unsigned char bytes[256];

    cr_assert_eq(balloon_virtio_driver_write(driver, channel, bytes, sizeof(bytes), &message),
                 BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_acked(driver, message.queue, 0), BALLOON_OK);
}

/* A round of hints in which the kernel is asked for pages. */
static balloon_driver *asked_for_hints(balloon_driver_config *config)
{
    balloon_driver *driver = make(config);

    start(driver, BALLOON_F_HINTING);
    hint_id(driver, 9);
    next(driver, 0, BALLOON_DRIVER_SEND);
    ack(driver, BALLOON_CHANNEL_HINT);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_ALLOC).channel, BALLOON_CHANNEL_HINT);
    return driver;
}

Test(driver_rest, hints_that_come_too_late_go_straight_back)
{
    balloon_driver_config config = {.hinting = true};
    balloon_driver *driver = asked_for_hints(&config);
    const balloon_range run = {512, 512};
    balloon_driver_action action;

    cr_assert_eq(balloon_driver_suspend(driver, 0), BALLOON_OK);
    nothing(driver, 0);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_HINT, &run, 1, 0), BALLOON_OK);
    action = next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(action.channel, BALLOON_CHANNEL_HINT);
    cr_assert_eq(action.pages, 512);
    next(driver, 0, BALLOON_DRIVER_SUSPENDED);
    cr_assert_eq(status_of(driver).hinted, 0);
    nothing(driver, 0);
    cr_assert_eq(balloon_driver_deadline(driver), BALLOON_TIME_NEVER);
}

Test(driver_rest, a_report_that_comes_too_late_goes_straight_back)
{
    balloon_driver_config config = {.reporting = true, .report_delay = MS};
    balloon_driver *driver = make(&config);
    const balloon_range run = {512, 512};
    balloon_driver_action action;

    start(driver, BALLOON_F_REPORTING);
    next(driver, MS, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_suspend(driver, MS), BALLOON_OK);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_REPORT, &run, 1, MS), BALLOON_OK);
    action = next(driver, MS, BALLOON_DRIVER_FREE);
    cr_assert_eq(action.channel, BALLOON_CHANNEL_REPORT);
    cr_assert_eq(action.run_count, 1);
    cr_assert_eq(action.runs[0].first, 512);
    next(driver, MS, BALLOON_DRIVER_SUSPENDED);
    cr_assert_eq(status_of(driver).reporting, 0);
    nothing(driver, 1000 * MS);
}

/* Both are due at the same time; the second one has not been asked for yet. */
Test(driver_rest, what_was_not_asked_for_is_not_asked_for)
{
    balloon_driver_config config = {.reporting = true, .hinting = true, .report_delay = MS};
    balloon_driver *driver = make(&config);

    start(driver, BALLOON_F_REPORTING | BALLOON_F_HINTING);
    hint_id(driver, 9);
    next(driver, 0, BALLOON_DRIVER_SEND);
    ack(driver, BALLOON_CHANNEL_HINT);
    cr_assert_eq(next(driver, MS, BALLOON_DRIVER_ALLOC).channel, BALLOON_CHANNEL_HINT);
    cr_assert_eq(balloon_driver_suspend(driver, MS), BALLOON_OK);
    nothing(driver, MS);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_HINT, NULL, 0, MS), BALLOON_OK);
    next(driver, MS, BALLOON_DRIVER_SUSPENDED);
    nothing(driver, MS);
}

Test(driver_rest, no_hints_are_begun)
{
    balloon_driver_config config = {.hinting = true};
    balloon_driver *driver = make(&config);

    start(driver, BALLOON_F_HINTING);
    cr_assert_eq(balloon_driver_suspend(driver, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_SUSPENDED);
    hint_id(driver, 9);
    nothing(driver, 0);
    cr_assert_eq(balloon_driver_deadline(driver), BALLOON_TIME_NEVER);
}

Test(driver_rest, no_statistics_are_collected)
{
    balloon_driver_config config = {.stats = true};
    balloon_driver *driver = make(&config);
    balloon_sample sample = {0};

    start(driver, BALLOON_F_STATS);
    next(driver, 0, BALLOON_DRIVER_STATS);
    cr_assert_eq(balloon_driver_give_stats(driver, &sample, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_driver_suspend(driver, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_SUSPENDED);
    ack(driver, BALLOON_CHANNEL_STATS);
    nothing(driver, 0);
    cr_assert_eq(balloon_driver_deadline(driver), BALLOON_TIME_NEVER);
}

Test(driver_rest, statistics_that_come_too_late_are_not_sent)
{
    balloon_driver_config config = {.stats = true};
    balloon_driver *driver = make(&config);
    balloon_sample sample = {0};

    start(driver, BALLOON_F_STATS);
    next(driver, 0, BALLOON_DRIVER_STATS);
    cr_assert_eq(balloon_driver_suspend(driver, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_SUSPENDED);
    cr_assert_eq(balloon_driver_give_stats(driver, &sample, 0), BALLOON_OK);
    nothing(driver, 0);
    cr_assert_eq(balloon_driver_deadline(driver), BALLOON_TIME_NEVER);
}

/* kvmtool takes ten statistics at the most, what Linux up to 6.11 sends. */
Test(driver_rest, statistics_have_a_bound)
{
    balloon_driver_config config = {.stats = true};
    balloon_virtio_driver_options options = {.size = sizeof(options)};
    const uint32_t tags[] = {0, 3, BALLOON_VIRTIO_STAT_TAGS};
    balloon_virtio_message message;
    balloon_sample sample = {0};
    unsigned char bytes[256];
    uint64_t chosen;

    for (unsigned i = 0; i < BALLOON_STAT_COUNT; i++)
        balloon_sample_set(&sample, (balloon_stat)i, i);
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        balloon_driver *driver = make(&config);

        options.stat_tags = tags[i];
        cr_assert_eq(balloon_virtio_driver_negotiate(driver, BALLOON_F_STATS, &options, &chosen),
                     BALLOON_OK);
        cr_assert_eq(balloon_virtio_driver_start(driver, 0), BALLOON_OK);
        next(driver, 0, BALLOON_DRIVER_STATS);
        cr_assert_eq(balloon_driver_give_stats(driver, &sample, 0), BALLOON_OK);
        cr_assert_geq(next(driver, 0, BALLOON_DRIVER_SEND).bytes, 160);
        cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_STATS, bytes,
                                                 sizeof(bytes), &message),
                     BALLOON_OK);
        cr_assert_eq(message.bytes, 10 * (tags[i] ? tags[i] : 10));
    }
    balloon_driver *driver = make(&config);

    options.stat_tags = BALLOON_VIRTIO_STAT_TAGS + 1;
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, BALLOON_F_STATS, &options, &chosen),
                 BALLOON_ERR_INVALID);
    /* Callers of earlier versions do not know the field. */
    options.size = offsetof(balloon_virtio_driver_options, stat_tags);
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, BALLOON_F_STATS, &options, &chosen),
                 BALLOON_OK);
}
