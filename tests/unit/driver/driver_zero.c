/* Pages that the host says read as zeros (experimental): which ones the kernel is told of. */
#include <stddef.h>

#include "driver_support.h"

#define INFLATE BALLOON_F_DEVICE_INIT_ON_INFLATE
#define REPORT  (BALLOON_F_REPORTING | BALLOON_F_DEVICE_INIT_REPORTED)
#define BOTH    ((uint32_t)(INFLATE | REPORT))

static uint64_t negotiate(balloon_driver *driver, uint64_t offered, uint64_t experimental)
{
    balloon_virtio_driver_options options = {.size = sizeof(options), .experimental = experimental};
    uint64_t chosen = 0;

    cr_assert_eq(balloon_virtio_driver_negotiate(driver, offered | BALLOON_VIRTIO_F_VERSION_1,
                                                 &options, &chosen),
                 BALLOON_OK);
    return chosen & ~BALLOON_VIRTIO_F_VERSION_1;
}

/* A driver at work that trusts the host, and a target. */
static balloon_driver *trusting(balloon_driver_config *config, uint32_t target)
{
    balloon_driver *driver = make(config);

    (void)negotiate(driver, BOTH, BALLOON_F_EXPERIMENTAL);
    cr_assert_eq(balloon_virtio_driver_start(driver, 0), BALLOON_OK);
    want(driver, target);
    return driver;
}

static balloon_virtio_message message_of(balloon_driver *driver, balloon_driver_channel channel,
                                         uint8_t *bytes, size_t room)
{
    balloon_virtio_message message;
    balloon_driver_action action = next(driver, 0, BALLOON_DRIVER_SEND);

    cr_assert_eq(action.channel, channel);
    cr_assert_leq(action.bytes, room);
    cr_assert_eq(balloon_virtio_driver_write(driver, channel, bytes, action.bytes, &message),
                 BALLOON_OK);
    return message;
}

/* The kernel gives these runs, and the host has them. */
static balloon_virtio_message give(balloon_driver *driver, const balloon_range *runs, size_t count)
{
    static uint8_t bytes[20000];

    next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, runs, count, 0), BALLOON_OK);
    return message_of(driver, BALLOON_CHANNEL_INFLATE, bytes, sizeof(bytes));
}

static void check_runs(balloon_driver *driver, balloon_driver_action_type type,
                       balloon_driver_channel channel, const balloon_range *runs, uint32_t count)
{
    balloon_driver_action action;

    cr_assert_leq(balloon_driver_deadline(driver), 0);
    action = next(driver, 0, type);
    cr_assert_eq(action.channel, channel);
    cr_assert_eq(action.run_count, count, "%u runs", (unsigned)action.run_count);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(action.runs[i].first, runs[i].first, "run %u", (unsigned)i);
        cr_assert_eq(action.runs[i].count, runs[i].count, "run %u", (unsigned)i);
    }
}

#define ZEROED(driver, channel, ...)                                                               \
    check_runs(driver, BALLOON_DRIVER_ZEROED, channel, (const balloon_range[]){__VA_ARGS__},       \
               sizeof((const balloon_range[]){__VA_ARGS__}) / sizeof(balloon_range))

/* --- features --------------------------------------------------------------------------------- */

Test(driver_zero, is_taken_only_by_who_asks_for_it)
{
    const uint32_t all = BALLOON_F_ALL | BALLOON_F_EXPERIMENTAL, bits = BALLOON_F_EXPERIMENTAL;
    balloon_driver_config reports = {.reporting = true}, silent = {0};
    balloon_driver_config zeros = {.reporting = true, .poisoned = true};
    balloon_driver_config pattern = {.reporting = true, .poisoned = true, .poison = 0xaa};
    uint64_t chosen = 0;

    cr_assert_eq(negotiate(make(&reports), all, 0) & bits, 0);
    cr_assert_eq(negotiate(make(&reports), BALLOON_F_ALL, bits) & bits, 0);
    cr_assert_eq(negotiate(make(&reports), all, bits) & bits, bits);
    cr_assert_eq(negotiate(make(&reports), all, INFLATE) & bits, INFLATE);
    cr_assert_eq(negotiate(make(&reports), all & ~BALLOON_F_REPORTING, bits) & bits, INFLATE);
    cr_assert_eq(negotiate(make(&silent), all, bits) & bits, INFLATE);
    cr_assert_eq(negotiate(make(&zeros), all, bits) & bits, bits);
    cr_assert_eq(negotiate(make(&pattern), all, bits) & bits, 0);
    cr_assert_eq(balloon_virtio_driver_negotiate(make(&reports), all | BALLOON_VIRTIO_F_VERSION_1,
                                                 NULL, &chosen),
                 BALLOON_OK);
    cr_assert_eq(chosen & bits, 0);
}

Test(driver_zero, options_of_earlier_versions_do_not_have_it)
{
    balloon_driver_config config = {.reporting = true};
    balloon_driver *driver = make(&config);
    balloon_virtio_driver_options options = {.size = sizeof(options),
                                             .experimental = (uint64_t)1 << 5};
    const uint32_t all = BALLOON_F_ALL | BALLOON_F_EXPERIMENTAL;
    uint64_t chosen = 0;

    cr_assert_eq(balloon_virtio_driver_negotiate(driver, all, &options, &chosen),
                 BALLOON_ERR_INVALID);
    options.experimental = BALLOON_F_EXPERIMENTAL;
    options.size = offsetof(balloon_virtio_driver_options, experimental);
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, all, &options, &chosen), BALLOON_OK);
    cr_assert_eq(chosen & BALLOON_F_EXPERIMENTAL, 0);
    options.size--;
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, all, &options, &chosen),
                 BALLOON_ERR_INVALID);
}

/* --- inflate ---------------------------------------------------------------------------------- */

/* The bytes of the draft: page numbers, then room for a bit each. */
Test(driver_zero, a_bitmap_follows_the_page_numbers)
{
    static const uint8_t sent[] = {0x05, 0x02, 0, 0, 0x00, 0x01, 0, 0, 0x01, 0x01, 0,
                                   0,    0x02, 1, 0, 0,    0x09, 0, 0, 0,    0,    0x55};
    balloon_driver_config config = {0};
    balloon_driver *driver = trusting(&config, PAGES);
    const balloon_range runs[] = {{0x205, 1}, {0x100, 3}, {9, 1}};
    balloon_virtio_message message;
    balloon_driver_action action;
    uint8_t bytes[22];

    next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, runs, 3, 0), BALLOON_OK);
    action = next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(action.bytes, 256 * 4 + 32);
    memset(bytes, 0x55, sizeof(bytes));
    cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_INFLATE, bytes, 20, &message),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(message.bytes + message.bitmap_bytes, 21);
    cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_INFLATE, bytes, 21, &message),
                 BALLOON_OK);
    cr_assert_eq(message.bytes, 20);
    cr_assert_eq(message.bitmap_bytes, 1);
    cr_assert_eq(message.span_count, 0);
    cr_assert_eq(memcmp(bytes, sent, sizeof(sent)), 0);

    /* The first page, the last two of the three, and the last. */
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 1, (const uint8_t[]){0x1d}, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_migrate(driver, 9, 10, 0), BALLOON_ERR_BUSY);
    ZEROED(driver, BALLOON_CHANNEL_INFLATE, {0x205, 1}, {0x101, 2}, {9, 1});
    cr_assert_eq(counters_of(driver).zeroed, 4);
    cr_assert_eq(counters_of(driver).inflated, 5);
    cr_assert_eq(counters_of(driver).zeroed_foreign, 0);
}

Test(driver_zero, messages_have_256_pages_at_the_most)
{
    balloon_driver_config config = {.chunk_pages = 4096, .chunk_runs = 4, .block_pages = 1};
    balloon_driver *driver = trusting(&config, 300);
    const balloon_range run = {512, 300};
    balloon_virtio_message message = give(driver, &run, 1);
    uint8_t all[32], bytes[20000];

    memset(all, 0xff, sizeof(all));
    cr_assert_eq(message.bytes, 1024);
    cr_assert_eq(message.bitmap_bytes, 32);
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 32, all, 0), BALLOON_OK);
    ZEROED(driver, BALLOON_CHANNEL_INFLATE, {512, 256});
    next(driver, 0, BALLOON_DRIVER_CONFIG);
    message = message_of(driver, BALLOON_CHANNEL_INFLATE, bytes, sizeof(bytes));
    cr_assert_eq(message.bytes, 44 * 4);
    cr_assert_eq(message.bitmap_bytes, 6);
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 6, all, 0), BALLOON_OK);
    ZEROED(driver, BALLOON_CHANNEL_INFLATE, {768, 44});
    cr_assert_eq(counters_of(driver).zeroed_foreign, 4);
    cr_assert_eq(counters_of(driver).zeroed, 300);
}

Test(driver_zero, less_is_believed_than_was_written_and_more_is_not)
{
    static const uint8_t all[] = {0xff, 0xff, 0xff, 0xff};
    static const struct {
        uint32_t bytes;
        const uint8_t *bitmap;
        uint64_t zeroed, errors, foreign;
    } cases[] = {{0, all, 0, 0, 0},     {1, all, 8, 0, 0},          {2, all, 16, 0, 0},
                 {3, all, 20, 0, 4},    {3, NULL, 0, 0, 0},         {4, all, 0, 1, 0},
                 {32, all, 0, 1, 0},    {UINT32_MAX, all, 0, 1, 0}, {UINT32_MAX, NULL, 0, 0, 0},
                 {3, all + 1, 20, 0, 4}};
    const balloon_range run = {100, 20};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        balloon_driver_config config = {.block_pages = 1};
        balloon_driver *driver = trusting(&config, 20);

        (void)give(driver, &run, 1);
        cr_assert_eq(balloon_virtio_driver_used(driver, 0, cases[i].bytes, cases[i].bitmap, 0),
                     BALLOON_OK);
        if (cases[i].zeroed)
            ZEROED(driver, BALLOON_CHANNEL_INFLATE, {100, cases[i].zeroed});
        cr_assert_eq(next(driver, 0, BALLOON_DRIVER_CONFIG).value, 20);
        cr_assert_eq(counters_of(driver).zeroed, cases[i].zeroed, "case %zu", i);
        cr_assert_eq(counters_of(driver).protocol_errors, cases[i].errors, "case %zu", i);
        cr_assert_eq(counters_of(driver).zeroed_foreign, cases[i].foreign, "case %zu", i);
    }
}

Test(driver_zero, a_page_of_the_guest_needs_all_its_bits)
{
    balloon_driver_config config = {.page_pages = 4, .block_pages = 1};
    balloon_driver *driver = trusting(&config, 16);
    const balloon_range runs[] = {{0x40, 8}, {0x20, 8}};

    (void)give(driver, runs, 2);
    /* 0x40 and 0x20 are whole, 0x44 lacks its first part, 0x24 its last. */
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 2, (const uint8_t[]){0xef, 0x7f}, 0),
                 BALLOON_OK);
    ZEROED(driver, BALLOON_CHANNEL_INFLATE, {0x40, 4}, {0x20, 4});
    cr_assert_eq(counters_of(driver).zeroed, 8);
    /* Nor is a part of it believed when the length ends within. */
    next(driver, 0, BALLOON_DRIVER_CONFIG);
    want(driver, 28);
    (void)give(driver, &(balloon_range){0x80, 12}, 1);
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 1, (const uint8_t[]){0xff}, 0), BALLOON_OK);
    ZEROED(driver, BALLOON_CHANNEL_INFLATE, {0x80, 8});
}

Test(driver_zero, drivers_without_regions_are_told_too)
{
    balloon_driver_config config = {.total_pages = PAGES, .block_pages = 1};
    balloon_driver *driver = trusting(&config, 8);

    (void)give(driver, &(balloon_range){40, 8}, 1);
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 1, (const uint8_t[]){0xf0}, 0), BALLOON_OK);
    ZEROED(driver, BALLOON_CHANNEL_INFLATE, {44, 4});
}

Test(driver_zero, a_page_that_takes_the_place_of_another_may_be_zero)
{
    balloon_driver_config config = {.block_pages = 1};
    balloon_driver *driver = trusting(&config, 8);
    uint8_t bytes[1100];
    balloon_virtio_message message;

    (void)give(driver, &(balloon_range){40, 8}, 1);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 0, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_CONFIG);
    cr_assert_eq(balloon_driver_migrate(driver, 41, 99, 0), BALLOON_OK);
    message = message_of(driver, BALLOON_CHANNEL_INFLATE, bytes, sizeof(bytes));
    cr_assert_eq(message.bitmap_bytes, 1);
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 1, (const uint8_t[]){1}, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_migrate(driver, 42, 98, 0), BALLOON_ERR_BUSY);
    ZEROED(driver, BALLOON_CHANNEL_INFLATE, {99, 1});
    next(driver, 0, BALLOON_DRIVER_CONFIG);
    message = message_of(driver, BALLOON_CHANNEL_DEFLATE, bytes, sizeof(bytes));
    cr_assert_eq(message.bitmap_bytes, 0);
    cr_assert_eq(balloon_virtio_driver_used(driver, 1, 0, NULL, 0), BALLOON_OK);
    check_runs(driver, BALLOON_DRIVER_FREE, BALLOON_CHANNEL_DEFLATE, &(balloon_range){41, 1}, 1);
}

Test(driver_zero, a_reset_comes_before_what_was_not_told)
{
    balloon_driver_config config = {.block_pages = 1};
    balloon_driver *driver = trusting(&config, 8);

    (void)give(driver, &(balloon_range){40, 8}, 1);
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 1, (const uint8_t[]){0xff}, 0), BALLOON_OK);
    balloon_driver_reset(driver);
    check_runs(driver, BALLOON_DRIVER_FREE, BALLOON_CHANNEL_DEFLATE, &(balloon_range){40, 8}, 1);
    nothing(driver, 0);
}

/* --- reports ---------------------------------------------------------------------------------- */

Test(driver_zero, a_report_is_zero_if_its_whole_length_is)
{
    static const struct {
        uint32_t bytes;
        bool zero;
        uint64_t errors;
    } cases[] = {{0, false, 0},
                 {1536 << 12, true, 0},
                 {1024 << 12, false, 0},
                 {(1536 << 12) - 1, false, 0},
                 {(1536 << 12) + 1, false, 1},
                 {UINT32_MAX, false, 1}};
    const balloon_range runs[2] = {{0, 512}, {1024, 1024}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        balloon_driver_config config = {.reporting = true, .report_delay = 1};
        balloon_driver *driver = trusting(&config, 0);

        next(driver, 1, BALLOON_DRIVER_ALLOC);
        cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_REPORT, runs, 2, 1), BALLOON_OK);
        next(driver, 1, BALLOON_DRIVER_SEND);
        cr_assert_eq(balloon_virtio_driver_used(driver, 2, cases[i].bytes, NULL, 1), BALLOON_OK);
        if (cases[i].zero)
            check_runs(driver, BALLOON_DRIVER_ZEROED, BALLOON_CHANNEL_REPORT, runs, 2);
        check_runs(driver, BALLOON_DRIVER_FREE, BALLOON_CHANNEL_REPORT, runs, 2);
        cr_assert_eq(counters_of(driver).zeroed, cases[i].zero ? 1536 : 0);
        cr_assert_eq(counters_of(driver).protocol_errors, cases[i].errors, "case %zu", i);
    }
}

/* --- off -------------------------------------------------------------------------------------- */

Test(driver_zero, without_it_lengths_and_bitmaps_mean_nothing)
{
    balloon_driver_config config = {.reporting = true, .report_delay = 1, .block_pages = 1};
    balloon_driver *driver = make(&config);
    const balloon_range run = {512, 512};
    const uint8_t all[] = {0xff};
    balloon_virtio_message message;
    balloon_driver_action action;
    uint8_t bytes[1024];

    start(driver, BALLOON_F_REPORTING | BALLOON_F_EXPERIMENTAL);
    want(driver, 8);
    action = next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(
        balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &(balloon_range){40, 8}, 1, 0),
        BALLOON_OK);
    action = next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(action.bytes, 1024);
    cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_INFLATE, bytes, 32, &message),
                 BALLOON_OK);
    cr_assert_eq(message.bitmap_bytes, 0);
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 1, all, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_CONFIG);
    next(driver, 1, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_REPORT, &run, 1, 1), BALLOON_OK);
    next(driver, 1, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_virtio_driver_used(driver, 2, 512 << 12, all, 1), BALLOON_OK);
    check_runs(driver, BALLOON_DRIVER_FREE, BALLOON_CHANNEL_REPORT, &run, 1);
    cr_assert_eq(counters_of(driver).zeroed, 0);
    cr_assert_eq(counters_of(driver).protocol_errors, 0);
    cr_assert_eq(balloon_virtio_driver_used(driver, 0, 1, all, 0), BALLOON_ERR_PROTOCOL);
}
