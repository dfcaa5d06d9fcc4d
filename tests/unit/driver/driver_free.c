/* Pages that are free for the moment: reported to the host, or hinted to it. */
#include "driver_support.h"

/* Linux: a guest that checks free pages for a pattern cannot have them back as zeros. */
Test(driver, does_not_report_pages_with_a_pattern_the_host_does_not_know)
{
    static const struct {
        bool poisoned;
        uint32_t poison, offered, chosen;
    } cases[] = {
        {false, 0, BALLOON_F_REPORTING, BALLOON_F_REPORTING},
        {true, 0, BALLOON_F_REPORTING, BALLOON_F_REPORTING},
        {true, 0xaa, BALLOON_F_REPORTING, 0},
        {true, 0xaa, BALLOON_F_REPORTING | BALLOON_F_POISON,
         BALLOON_F_REPORTING | BALLOON_F_POISON},
        {false, 0, BALLOON_F_REPORTING | BALLOON_F_POISON, BALLOON_F_REPORTING},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        balloon_driver_config config = {
            .poisoned = cases[i].poisoned, .poison = cases[i].poison, .reporting = true};
        balloon_driver *driver = make(&config);
        balloon_driver_action action;
        uint64_t chosen = 0;

        cr_assert_eq(balloon_virtio_driver_negotiate(driver, cases[i].offered, NULL, &chosen),
                     BALLOON_OK);
        cr_assert_eq(chosen, cases[i].chosen, "case %zu", i);
        if (chosen & BALLOON_F_POISON) {
            action = next(driver, 0, BALLOON_DRIVER_CONFIG);
            cr_assert_eq(action.offset, 12);
            cr_assert_eq(action.value, 0xaa);
        }
        nothing(driver, 0);
    }
}

Test(driver, reports_free_pages_and_gives_them_back)
{
    balloon_driver_config config = {.reporting = true, .report_delay = 1000 * MS};
    balloon_driver *driver = make(&config);
    const balloon_range runs[2] = {{0, 512}, {1024, 1024}};
    balloon_virtio_message message;
    balloon_driver_action action;

    start(driver, BALLOON_F_REPORTING);
    nothing(driver, 0);
    cr_assert_eq(balloon_driver_deadline(driver), 1000 * MS);
    action = next(driver, 1000 * MS, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(action.channel, BALLOON_CHANNEL_REPORT);
    cr_assert_eq(action.block, 512);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_REPORT, runs, 2, 0), BALLOON_OK);
    cr_assert_eq(status_of(driver).reporting, 1536);
    next(driver, 1000 * MS, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_REPORT, NULL, 0, &message),
                 BALLOON_OK);
    cr_assert_eq(message.span_count, 2);
    cr_assert_eq(message.spans[1].first, 1024);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 2, 1000 * MS), BALLOON_OK);
    action = next(driver, 1000 * MS, BALLOON_DRIVER_FREE);
    cr_assert_eq(action.channel, BALLOON_CHANNEL_REPORT);
    cr_assert_eq(action.run_count, 2);
    /* There may be more; when there is none, the next round is later. */
    next(driver, 1000 * MS, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_REPORT, NULL, 0, 1000 * MS),
                 BALLOON_OK);
    nothing(driver, 1000 * MS);
    cr_assert_eq(balloon_driver_deadline(driver), 2000 * MS);
}

Test(driver, hints_until_nothing_is_free_and_keeps_the_pages_until_told)
{
    balloon_driver_config config = {.hinting = true};
    balloon_driver *driver = make(&config);
    const balloon_range run = {512, 512};
    balloon_virtio_message message;
    balloon_driver_action action;
    unsigned char bytes[4];

    start(driver, BALLOON_F_HINTING);
    hint_id(driver, 9);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_HINT, bytes, 4, &message),
                 BALLOON_OK);
    cr_assert_eq(message.bytes, 4);
    cr_assert_eq(bytes[0], 9);
    cr_assert_eq(balloon_virtio_driver_acked(driver, message.queue, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_HINT, &run, 1, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_virtio_driver_acked(driver, message.queue, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_HINT, NULL, 0, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_HINT, bytes, 4, &message),
                 BALLOON_OK);
    cr_assert_eq(bytes[0], BALLOON_VIRTIO_HINT_STOP);
    cr_assert_eq(balloon_virtio_driver_acked(driver, message.queue, 0), BALLOON_OK);
    nothing(driver, 0);
    cr_assert_eq(status_of(driver).hinted, 512);
    /* Short of memory, the kernel has hinted pages back without asking anybody. */
    cr_assert_eq(balloon_driver_oom(driver, 100, NULL, 0), BALLOON_OK);
    action = next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(action.channel, BALLOON_CHANNEL_HINT);
    cr_assert_eq(action.pages, 100);
    hint_id(driver, BALLOON_VIRTIO_HINT_DONE);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_FREE).pages, 412);
    nothing(driver, 0);
}
