/* What one session leaves behind and the next must not find: a driver comes, goes, and comes
 * again. */
#include "vm.h"

TestSuite(device_reset, .fini = vm_end);

static void again(balloon_device *device, uint32_t features, balloon_time_t now)
{
    balloon_device_reset(device);
    rig_start(device, features, now);
}

/* The wait for more pages began in the first session, and would be over in the second. */
Test(device_reset, gathering_begins_anew)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);

    for (uint64_t i = 0; i < 3; i++) {
        balloon_time_t now = i * 500 * VM_MS;

        cr_assert_eq(vm_inflate(device, i, 0, 64, now), BALLOON_OK);
        CHECK_STEP(device, now,
                   i == 0   ? "ack inflate/0"
                   : i == 1 ? "ack inflate/1"
                            : "ack inflate/2");
        CHECK_STEP(device, now, "");
        cr_assert_eq(balloon_device_deadline(device), now + 100 * VM_MS);
        again(device, BALLOON_F_MUST_TELL, now + 500 * VM_MS);
    }
}

Test(device_reset, a_flush_ends_with_the_session)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);

    balloon_device_inhibit(device);
    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    again(device, BALLOON_F_MUST_TELL, 0);
    cr_assert_eq(vm_inflate(device, 2, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/2");
}

/* Nor is there one to ask for without a driver. */
Test(device_reset, a_flush_between_sessions_is_none)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);

    balloon_device_reset(device);
    balloon_device_flush(device);
    rig_start(device, BALLOON_F_MUST_TELL, 0);
    cr_assert_eq(vm_inflate(device, 2, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/2");
}

Test(device_reset, the_wait_after_a_failed_discard_ends)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);
    balloon_run run = {.region = 0, .range = {0, 64}};

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, 0, "discard 0+64 | ack inflate/1");
    balloon_device_discard_failed(device, &run, 0);
    again(device, 0, 1);
    cr_assert_eq(vm_inflate(device, 2, 0, 64, 1), BALLOON_OK);
    CHECK_POLL(device, 1, "discard 0+64 | ack inflate/2");
}

Test(device_reset, a_guest_with_a_small_balloon_is_not_short)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);

    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 1024, 0), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, 0, "irq | discard 0+1024 | ack inflate/1");
    again(device, BALLOON_F_MUST_TELL, 0);
    cr_assert_eq(vm_inflate(device, 2, 0, 64, 0), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 3, 5, 1, 0), BALLOON_OK);
    cr_assert_not(vm_status(device).pressure);
}

Test(device_reset, a_shortage_is_over_and_not_told_any_more)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);

    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 1024, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "irq | ack inflate/1");
    cr_assert_eq(vm_deflate(device, 2, 0, 100, 6 * VM_SECOND), BALLOON_OK);
    while (!vm_status(device).pressure)
        cr_assert(*vm_step(device, 6 * VM_SECOND), "pressure is due");
    balloon_device_reset(device);
    cr_assert_not(vm_status(device).pressure);
    CHECK_POLL(device, 6 * VM_SECOND, "");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
}

Test(device_reset, nobody_is_interrupted)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);

    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    balloon_device_reset(device);
    CHECK_POLL(device, 0, "");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
}

Test(device_reset, a_finished_round_of_hints_is_not_told_any_more)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);

    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    CHECK_POLL(device, 0, "irq");
    uint32_t round = rig_read_config(device, 8);

    cr_assert_eq(vm_hint_command(device, 1, round), BALLOON_OK);
    cr_assert_eq(vm_hint_command(device, 2, 0), BALLOON_OK);
    balloon_device_reset(device);
    CHECK_POLL(device, 0, "");
    rig_start(device, BALLOON_F_HINTING, 0);
    cr_assert_eq(rig_read_config(device, 8), 0);
    CHECK_POLL(device, 0, "");
}

/* Without a balloon nothing is withheld; what was, is the guest's again. */
Test(device_reset, what_was_withheld_is_the_guests_again)
{
    balloon_device *device = vm_granules(BALLOON_F_STATS, 16);
    uint32_t reasons = 0;

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    (void)balloon_device_explain(device, 0, &reasons);
    cr_assert(reasons >> BALLOON_REASON_PARTIAL & 1);
    again(device, BALLOON_F_STATS, 0);
    cr_assert_eq(vm_inflate(device, 2, 0, 16, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+16 | ack inflate/2");
    (void)balloon_device_explain(device, 0, &reasons);
    cr_assert_not(reasons >> BALLOON_REASON_PARTIAL & 1);
}

/* A driver that chooses nothing gets nothing, whatever the last one chose. */
Test(device_reset, features_are_chosen_anew)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL | BALLOON_F_STATS);

    balloon_device_reset(device);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).negotiated, 0);
}

Test(device_reset, the_last_sample_is_of_another_guest)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);
    balloon_sample sample;

    cr_assert_eq(vm_stats(device, 1, BALLOON_STAT_FREE, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "stats");
    cr_assert(balloon_device_sample(device, &sample));
    again(device, BALLOON_F_STATS, 0);
    cr_assert_not(balloon_device_sample(device, &sample));
}
