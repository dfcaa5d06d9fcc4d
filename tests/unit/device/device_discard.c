/* Discards for a guest that does not promise to tell before it uses a page again: all of them
 * happen before the acknowledgement, or never. */
#include "vm.h"

TestSuite(device_discard, .fini = vm_end);

Test(device_discard, comes_before_the_acknowledgement)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, 7, 16, 2, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_deadline(device), 0);
    CHECK_STEP(device, 0, "discard 16+2");
    CHECK_STEP(device, 0, "ack inflate/7");
    CHECK_STEP(device, 0, "");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
}

Test(device_discard, is_done_by_maximal_runs_whatever_the_order)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(
        rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, VM_PFNS(9, 3, 8, 2, 2, 40, 10, 1, 9), 0),
        BALLOON_OK);
    CHECK_POLL(device, 0, "discard 1+3,8+3,40+1 | ack inflate/1");
    cr_assert_eq(vm_counters(device).inflated, 7);
    cr_assert_eq(vm_counters(device).inflate_duplicate, 2);
    cr_assert_eq(vm_counters(device).discarded, 7);
    cr_assert_eq(vm_counters(device).discard_runs, 3);
}

Test(device_discard, runs_of_buffers_between_two_polls_merge)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, 1, 100, 10, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 110, 10, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 100+20 | ack inflate/1 | ack inflate/2");
}

Test(device_discard, buffers_are_acknowledged_in_the_order_they_came)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, UINT64_MAX, 0, 1, 0), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 5, 9, 1, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 0, 4, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0,
               "discard 0+1,4+1 | ack inflate/18446744073709551615 | ack deflate/5 | "
               "ack inflate/0");
    cr_assert_eq(vm_counters(device).buffers, 3);
    cr_assert_eq(vm_counters(device).acks, 3);
}

Test(device_discard, an_empty_buffer_is_acknowledged)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, 1, 0, 0, 0), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 2, 0, 0, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1 | ack deflate/2");
}

Test(device_discard, is_cut_into_batches)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .run_batch = 2};
    balloon_device *device = vm_device(&config);

    rig_start(device, 0, 0);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, VM_PFNS(2, 4, 6, 8, 10), 0),
                 BALLOON_OK);
    CHECK_POLL(device, 0, "discard 2+1,4+1 | discard 6+1,8+1 | discard 10+1 | ack inflate/1");
}

Test(device_discard, a_batch_has_256_runs_by_default)
{
    balloon_device *device = vm_simple(0);
    balloon_action action;

    for (uint32_t i = 0; i < 257; i++)
        cr_assert_eq(
            rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, VM_PFNS(2 * i, 1000 + 2 * i), 0),
            i < 256 ? BALLOON_OK : BALLOON_ERR_BUSY);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_DISCARD);
    cr_assert_eq(action.run_count, 256);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_DISCARD);
    cr_assert_eq(action.run_count, 256);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_ACK);
}

/* --- host pages of more than 4 KiB ------------------------------------------------------------ */

Test(device_discard, takes_whole_granules_only)
{
    balloon_device *device = vm_granules(0, 16);

    cr_assert_eq(vm_inflate(device, 1, 8, 48, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 16+32 | ack inflate/1");
    cr_assert_eq(vm_status(device).held, 48);
    cr_assert_eq(vm_status(device).pending, 0);
}

Test(device_discard, a_granule_in_any_order_of_pages_is_taken)
{
    balloon_device *device = vm_granules(0, 4);

    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, VM_PFNS(6, 100, 4, 7, 101, 5), 0),
                 BALLOON_OK);
    CHECK_POLL(device, 0, "discard 4+4 | ack inflate/1");
}

Test(device_discard, a_granule_may_be_completed_by_another_buffer_before_the_acknowledgement)
{
    balloon_device *device = vm_granules(0, 16);

    cr_assert_eq(vm_inflate(device, 1, 0, 15, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 15, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+16 | ack inflate/1 | ack inflate/2");
}

Test(device_discard, a_granule_that_was_incomplete_then_is_never_taken)
{
    balloon_device *device = vm_granules(0, 16);

    cr_assert_eq(vm_inflate(device, 1, 0, 15, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    /* The guest may be using pages 0 to 14 by now. */
    cr_assert_eq(vm_inflate(device, 2, 15, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/2");
    balloon_device_flush(device);
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_eq(vm_status(device).held, 16);
}

Test(device_discard, each_region_has_its_own_granule)
{
    balloon_region regions[2] = {{0, 64, 1}, {64, 64, 16}};
    balloon_device_config config = {.size = sizeof(config), .regions = regions, .region_count = 2};
    balloon_device *device = vm_device(&config);

    rig_start(device, 0, 0);
    cr_assert_eq(vm_inflate(device, 1, 60, 30, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 60+4,1:64+16 | ack inflate/1");
}

/* --- pages that come back --------------------------------------------------------------------- */

Test(device_discard, is_cancelled_by_a_deflate_before_the_poll)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 2, 3, 2, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+3,5+3 | ack inflate/1 | ack deflate/2");
    cr_assert_eq(vm_counters(device).cancelled, 2);
    cr_assert_eq(vm_counters(device).deflated, 2);
}

Test(device_discard, is_not_repeated_for_a_page_that_is_held_already)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+8 | ack inflate/1");
    cr_assert_eq(vm_inflate(device, 2, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/2");
    cr_assert_eq(vm_counters(device).inflate_duplicate, 8);
}

Test(device_discard, is_repeated_for_a_page_that_was_out_meanwhile)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+8 | ack inflate/1");
    cr_assert_eq(vm_deflate(device, 2, 0, 4, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 3, 0, 4, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/2 | discard 0+4 | ack inflate/3");
}

Test(device_discard, pages_outside_of_ram_are_counted_and_nothing_else)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, 1, 4090, 10, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_deflate(device, 2, 4095, 2, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_deflate(device, 3, 0, 2, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 4090+5 | ack inflate/1 | ack deflate/2 | ack deflate/3");
    cr_assert_eq(vm_counters(device).inflate_outside, 4);
    cr_assert_eq(vm_counters(device).deflate_outside, 1);
    cr_assert_eq(vm_counters(device).deflate_unheld, 2);
    cr_assert_eq(vm_counters(device).protocol_errors, 2);
}

/* --- inhibition ------------------------------------------------------------------------------- */

Test(device_discard, does_not_happen_while_inhibited_nor_later)
{
    balloon_device *device = vm_simple(0);

    balloon_device_inhibit(device);
    cr_assert_eq(vm_status(device).inhibited, 1);
    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_eq(vm_status(device).held, 8);
    cr_assert_eq(vm_inflate(device, 2, 8, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 8+8 | ack inflate/2");
}

Test(device_discard, happens_when_released_before_the_poll)
{
    balloon_device *device = vm_simple(0);

    balloon_device_inhibit(device);
    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+8 | ack inflate/1");
}

Test(device_discard, inhibitions_are_counted)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_release(device), BALLOON_ERR_STATE);
    balloon_device_inhibit(device);
    balloon_device_inhibit(device);
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    cr_assert_eq(balloon_device_release(device), BALLOON_ERR_STATE);
}

/* --- failures --------------------------------------------------------------------------------- */

Test(device_discard, that_failed_is_not_tried_again_since_the_guest_may_use_the_pages)
{
    balloon_device *device = vm_simple(0);
    balloon_run run = {.range = {0, 8}};

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_STEP(device, 0, "discard 0+8");
    balloon_device_discard_failed(device, &run, 0);
    CHECK_POLL(device, 0, "ack inflate/1");
    CHECK_POLL(device, 60 * VM_SECOND, "");
    cr_assert_eq(vm_counters(device).discard_failed, 8);
    cr_assert_eq(vm_status(device).held, 8);
    /* Nor does it hold up those that come later. */
    cr_assert_eq(vm_inflate(device, 2, 8, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 8+8 | ack inflate/2");
}

Test(device_discard, flush_has_nothing_to_do)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, 0, "discard 0+8 | ack inflate/1");
}
