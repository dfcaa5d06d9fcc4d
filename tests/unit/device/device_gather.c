/* Discards for a guest that tells before it uses a page again (MUST_TELL_HOST): they gather over
 * many buffers, and a deflate in time cancels them. */
#include "vm.h"

TestSuite(device_gather, .fini = vm_end);

/* Discards 64 pages at once, or after 10 ms, by two runs at the most. */
static balloon_device *small_window(uint64_t granule)
{
    balloon_region ram = {0, 4096, granule};
    balloon_device_config config = {
        .size = sizeof(config),
        .regions = &ram,
        .region_count = 1,
        .run_batch = 2,
        .gather_pages = 64,
        .gather_delay = 10 * VM_MS,
    };
    balloon_device *device = vm_device(&config);

    rig_start(device, BALLOON_F_MUST_TELL | BALLOON_F_REPORTING, 0);
    return device;
}

Test(device_gather, acknowledges_at_once_and_discards_100_ms_later)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);

    cr_assert_eq(vm_inflate(device, 1, 16, 8, 5), BALLOON_OK);
    CHECK_POLL(device, 5, "ack inflate/1");
    cr_assert_eq(vm_status(device).pending, 8);
    cr_assert_eq(vm_status(device).ready, 8);
    cr_assert_eq(balloon_device_deadline(device), 5 + 100 * VM_MS);
    CHECK_POLL(device, 4 + 100 * VM_MS, "");
    CHECK_POLL(device, 5 + 100 * VM_MS, "discard 16+8");
    cr_assert_eq(vm_status(device).pending, 0);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
}

Test(device_gather, discards_65536_pages_at_once_by_default)
{
    balloon_region ram = {0, 131072, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_device *device = vm_device(&config);

    rig_start(device, BALLOON_F_MUST_TELL, 0);
    cr_assert_eq(vm_inflate(device, 1, 0, 65535, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_inflate(device, 2, 65535, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+65536 | ack inflate/2");
}

Test(device_gather, merges_runs_over_buffers_and_polls)
{
    balloon_device *device = small_window(1);

    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(vm_inflate(device, i, 30 - 10 * i, 10, i), BALLOON_OK);
        cr_assert_eq(strncmp(vm_poll(device, i), "ack inflate/", 12), 0);
    }
    CHECK_POLL(device, 10 * VM_MS, "discard 0+40");
}

Test(device_gather, the_delay_begins_with_the_first_ready_page)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_inflate(device, 2, 10, 1, 9 * VM_MS), BALLOON_OK);
    CHECK_POLL(device, 9 * VM_MS, "ack inflate/2");
    cr_assert_eq(balloon_device_deadline(device), 10 * VM_MS);
    CHECK_POLL(device, 10 * VM_MS, "discard 0+1,10+1");
    cr_assert_eq(vm_inflate(device, 3, 20, 1, 11 * VM_MS), BALLOON_OK);
    CHECK_POLL(device, 11 * VM_MS, "ack inflate/3");
    cr_assert_eq(balloon_device_deadline(device), 21 * VM_MS);
}

Test(device_gather, once_begun_everything_ready_is_taken)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 62, 0), BALLOON_OK);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 2, VM_PFNS(70, 72, 74, 76), 0),
                 BALLOON_OK);
    CHECK_POLL(device, 0,
               "discard 0+62,70+1 | discard 72+1,74+1 | discard 76+1 | "
               "ack inflate/1 | ack inflate/2");
}

Test(device_gather, a_delay_of_1_ns_is_none)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .gather_delay = 1};
    balloon_device *device = vm_device(&config);

    rig_start(device, BALLOON_F_MUST_TELL, 0);
    cr_assert_eq(vm_inflate(device, 1, 0, 8, 7), BALLOON_OK);
    CHECK_POLL(device, 7, "ack inflate/1");
    cr_assert_eq(balloon_device_deadline(device), 8);
    CHECK_POLL(device, 8, "discard 0+8");
}

Test(device_gather, flush_does_not_wait)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    balloon_device_flush(device);
    cr_assert_eq(balloon_device_deadline(device), 0);
    CHECK_POLL(device, 0, "discard 0+8");
    balloon_device_flush(device);
    CHECK_POLL(device, 0, "");
    /* A flush is over with the poll: what comes later gathers again. */
    cr_assert_eq(vm_inflate(device, 2, 0, 16, 1), BALLOON_OK);
    CHECK_POLL(device, 1, "ack inflate/2");
}

Test(device_gather, a_flush_before_the_poll_counts_for_what_came_with_it)
{
    balloon_device *device = small_window(1);

    balloon_device_flush(device);
    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+8 | ack inflate/1");
}

Test(device_gather, a_request_for_statistics_may_be_due_earlier)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL | BALLOON_F_STATS);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    balloon_device_set_stats_period(device, VM_SECOND, 20 * VM_MS);
    cr_assert_eq(balloon_device_deadline(device), 20 * VM_MS);
    CHECK_POLL(device, 20 * VM_MS, "");
    cr_assert_eq(balloon_device_deadline(device), 100 * VM_MS);
    CHECK_POLL(device, 100 * VM_MS, "discard 0+8");
}

/* --- granules --------------------------------------------------------------------------------- */

Test(device_gather, a_granule_fills_up_over_many_buffers)
{
    balloon_device *device = small_window(16);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_status(device).pending, 8);
    cr_assert_eq(vm_status(device).ready, 0);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_eq(vm_inflate(device, 2, 8, 8, VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, VM_SECOND, "ack inflate/2");
    cr_assert_eq(vm_status(device).ready, 16);
    CHECK_POLL(device, VM_SECOND + 10 * VM_MS, "discard 0+16");
}

Test(device_gather, a_granule_that_lost_a_page_is_discarded_again_when_it_is_whole_again)
{
    balloon_device *device = small_window(16);

    cr_assert_eq(vm_inflate(device, 1, 0, 16, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    CHECK_POLL(device, 10 * VM_MS, "discard 0+16");
    cr_assert_eq(vm_deflate(device, 2, 3, 1, VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, VM_SECOND, "ack deflate/2");
    cr_assert_eq(vm_status(device).pending, 15);
    cr_assert_eq(vm_inflate(device, 3, 3, 1, VM_SECOND), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, VM_SECOND, "discard 0+16 | ack inflate/3");
}

/* --- cancelling ------------------------------------------------------------------------------- */

Test(device_gather, a_deflate_cancels_what_waits)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_deflate(device, 2, 2, 2, 1), BALLOON_OK);
    CHECK_POLL(device, 1, "ack deflate/2");
    CHECK_POLL(device, 10 * VM_MS, "discard 0+2,4+4");
    cr_assert_eq(vm_counters(device).cancelled, 2);
    cr_assert_eq(vm_counters(device).discarded, 6);
}

Test(device_gather, when_all_was_cancelled_there_is_no_deadline)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_deflate(device, 2, 0, 8, 1), BALLOON_OK);
    CHECK_POLL(device, 1, "ack deflate/2");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    /* The next pages wait as long as any. */
    cr_assert_eq(vm_inflate(device, 3, 0, 8, 9 * VM_MS), BALLOON_OK);
    CHECK_POLL(device, 9 * VM_MS, "ack inflate/3");
    CHECK_POLL(device, 19 * VM_MS - 1, "");
    CHECK_POLL(device, 19 * VM_MS, "discard 0+8");
}

/* --- inhibition ------------------------------------------------------------------------------- */

Test(device_gather, what_waits_while_inhibited_leaves_with_the_release)
{
    balloon_device *device = small_window(1);

    balloon_device_inhibit(device);
    cr_assert_eq(vm_inflate(device, 1, 0, 100, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    balloon_device_flush(device);
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    cr_assert_eq(vm_status(device).ready, 100);
    cr_assert_eq(vm_deflate(device, 2, 50, 1, VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, VM_SECOND, "ack deflate/2");
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    cr_assert_leq(balloon_device_deadline(device), VM_SECOND);
    CHECK_POLL(device, VM_SECOND, "discard 0+50,51+49");
}

/* --- failures --------------------------------------------------------------------------------- */

static void fail(balloon_device *device, uint64_t first, uint64_t count, balloon_time_t now)
{
    balloon_run run = {.range = {first, count}};

    balloon_device_discard_failed(device, &run, now);
}

Test(device_gather, a_failed_discard_is_tried_again_ever_more_rarely)
{
    static const uint64_t delays[] = {10,   20,   40,   80,    160,   320,  640,
                                      1280, 2560, 5120, 10000, 10000, 10000};
    balloon_device *device = small_window(1);
    balloon_time_t now = 10 * VM_MS;

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        CHECK_STEP(device, now, "discard 0+8");
        fail(device, 0, 8, now);
        cr_assert_eq(balloon_device_deadline(device), now + delays[i] * VM_MS, "after try %zu", i);
        CHECK_POLL(device, now, "");
        CHECK_POLL(device, now + delays[i] * VM_MS - 1, "");
        now += delays[i] * VM_MS;
    }
    CHECK_POLL(device, now, "discard 0+8");
    cr_assert_eq(vm_counters(device).discard_failed, 8 * 13);
}

Test(device_gather, after_a_success_the_next_failure_waits_briefly_again)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    CHECK_STEP(device, 0, "discard 0+64");
    fail(device, 0, 64, 0);
    CHECK_POLL(device, 0, "ack inflate/1");
    CHECK_STEP(device, 10 * VM_MS, "discard 0+64");
    fail(device, 0, 64, 10 * VM_MS);
    CHECK_POLL(device, 30 * VM_MS, "discard 0+64");
    /* This one works, the next does not. */
    cr_assert_eq(vm_inflate(device, 2, 64, 64, VM_SECOND), BALLOON_OK);
    CHECK_STEP(device, VM_SECOND, "discard 64+64");
    fail(device, 64, 64, VM_SECOND);
    CHECK_POLL(device, VM_SECOND, "ack inflate/2");
    cr_assert_eq(balloon_device_deadline(device), VM_SECOND + 10 * VM_MS);
}

Test(device_gather, acknowledgements_do_not_wait_for_a_retry)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    CHECK_STEP(device, 0, "discard 0+64");
    fail(device, 0, 64, 0);
    cr_assert_eq(vm_inflate(device, 2, 64, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1 | ack inflate/2");
    CHECK_POLL(device, 10 * VM_MS, "discard 0+128");
}

Test(device_gather, only_the_part_that_failed_is_tried_again)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    CHECK_STEP(device, 0, "discard 0+64");
    fail(device, 10, 4, 0);
    fail(device, 20, 4, 0);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(balloon_device_deadline(device), 10 * VM_MS);
    CHECK_POLL(device, 10 * VM_MS, "discard 10+4,20+4");
    cr_assert_eq(vm_counters(device).discard_failed, 8);
}

Test(device_gather, a_page_that_was_deflated_meanwhile_is_not_tried_again)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    CHECK_STEP(device, 0, "discard 0+64");
    cr_assert_eq(vm_deflate(device, 2, 0, 64, 0), BALLOON_OK);
    fail(device, 0, 64, 0);
    CHECK_POLL(device, 0, "ack inflate/1 | ack deflate/2");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    CHECK_POLL(device, VM_SECOND, "");
}

Test(device_gather, reset_ends_the_wait_after_a_failure)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    CHECK_STEP(device, 0, "discard 0+64");
    fail(device, 0, 64, 0);
    balloon_device_reset(device);
    rig_start(device, BALLOON_F_MUST_TELL, 0);
    cr_assert_eq(vm_inflate(device, 2, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+64 | ack inflate/2");
}

/* --- with reports ----------------------------------------------------------------------------- */

Test(device_gather, reported_pages_are_discarded_before_their_acknowledgement)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    cr_assert_eq(vm_report(device, 2, 100, 8), BALLOON_OK);
    /* What gathered leaves with them. */
    CHECK_POLL(device, 0, "ack inflate/1 | discard 0+8,100+8 | ack report/2");
    CHECK_POLL(device, VM_SECOND, "");
}

Test(device_gather, reported_pages_do_not_wait_for_a_retry)
{
    balloon_device *device = small_window(1);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    CHECK_STEP(device, 0, "discard 0+64");
    fail(device, 0, 64, 0);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_report(device, 2, 100, 8), BALLOON_OK);
    CHECK_POLL(device, 0, "ack report/2");
    CHECK_POLL(device, 10 * VM_MS, "discard 0+64");
}
