/* Statistics: the device keeps one buffer of the guest, and returns it to ask for the next. */
#include "vm.h"

TestSuite(device_stats, .fini = vm_end);

static void check_free(const balloon_device *device, uint64_t expected, balloon_time_t time)
{
    balloon_sample sample;
    uint64_t value = 0;

    cr_assert(balloon_device_sample(device, &sample));
    cr_assert(balloon_sample_get(&sample, BALLOON_STAT_FREE, &value));
    cr_assert_eq(value, expected);
    cr_assert_eq(sample.time, time);
}

static balloon_status send_free(balloon_device *device, uint64_t cookie, uint64_t value,
                                balloon_time_t now)
{
    return vm_stats(device, cookie, BALLOON_STAT_FREE, value, now);
}

/* A guest whose first buffer, number 1, is held. */
static balloon_device *primed(void)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);

    cr_assert_eq(send_free(device, 1, 100, 5), BALLOON_OK);
    cr_assert_eq(balloon_device_deadline(device), 0);
    CHECK_POLL(device, 5, "stats");
    return device;
}

Test(device_stats, the_first_buffer_is_read_and_held)
{
    balloon_device *device = primed();

    check_free(device, 100, 5);
    CHECK_POLL(device, 60 * VM_SECOND, "");
    cr_assert_eq(vm_counters(device).buffers, 1);
    cr_assert_eq(vm_counters(device).acks, 0);
    cr_assert_eq(vm_counters(device).stats_received, 1);
}

Test(device_stats, a_request_returns_the_buffer_and_the_next_one_answers)
{
    balloon_device *device = primed();

    cr_assert_eq(balloon_device_request_stats(device, VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, VM_SECOND, "ack stats/1");
    check_free(device, 100, 5);
    cr_assert_eq(send_free(device, 2, 200, VM_SECOND + 7), BALLOON_OK);
    CHECK_POLL(device, VM_SECOND + 7, "stats");
    check_free(device, 200, VM_SECOND + 7);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
}

Test(device_stats, only_one_request_at_a_time)
{
    balloon_device *device = primed();

    cr_assert_eq(balloon_device_request_stats(device, 5), BALLOON_OK);
    cr_assert_eq(balloon_device_request_stats(device, 5), BALLOON_ERR_BUSY);
    CHECK_POLL(device, 5, "ack stats/1");
    cr_assert_eq(balloon_device_request_stats(device, 5), BALLOON_ERR_BUSY);
    cr_assert_eq(send_free(device, 2, 200, 5), BALLOON_OK);
    cr_assert_eq(balloon_device_request_stats(device, 5), BALLOON_OK);
    CHECK_POLL(device, 5, "stats | ack stats/2");
}

Test(device_stats, cannot_be_requested_without_driver_or_feature)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);

    balloon_device_reset(device);
    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_ERR_STATE);
    rig_start(device, 0, 0);
    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_ERR_STATE);
    /* Nor regularly. */
    balloon_device_set_stats_period(device, VM_SECOND, 0);
    CHECK_POLL(device, 10 * VM_SECOND, "");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
}

Test(device_stats, a_request_waits_for_the_first_buffer)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);

    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
    cr_assert_eq(send_free(device, 1, 100, 5), BALLOON_OK);
    CHECK_POLL(device, 5, "stats");
    check_free(device, 100, 5);
}

Test(device_stats, a_late_guest_is_told_of_once)
{
    balloon_device *device = primed();

    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack stats/1");
    cr_assert_eq(balloon_device_deadline(device), VM_SECOND);
    CHECK_POLL(device, VM_SECOND - 1, "");
    CHECK_POLL(device, VM_SECOND, "late");
    cr_assert(vm_status(device).stats_late);
    cr_assert_eq(vm_counters(device).stats_late, 1);
    CHECK_POLL(device, 60 * VM_SECOND, "");
    check_free(device, 100, 5);
}

Test(device_stats, a_late_answer_is_welcome)
{
    balloon_device *device = primed();

    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack stats/1");
    CHECK_POLL(device, VM_SECOND, "late");
    cr_assert_eq(send_free(device, 2, 200, 2 * VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, 2 * VM_SECOND, "stats");
    cr_assert_not(vm_status(device).stats_late);
    check_free(device, 200, 2 * VM_SECOND);
}

Test(device_stats, a_late_guest_can_be_asked_again)
{
    balloon_device *device = primed();

    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack stats/1");
    CHECK_POLL(device, VM_SECOND, "late");
    cr_assert_eq(balloon_device_request_stats(device, VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, 2 * VM_SECOND, "late");
    cr_assert_eq(vm_counters(device).stats_late, 2);
    cr_assert_eq(balloon_device_request_stats(device, 2 * VM_SECOND), BALLOON_OK);
    cr_assert_eq(send_free(device, 2, 200, 2 * VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, 2 * VM_SECOND, "stats");
}

Test(device_stats, the_timeout_is_that_of_the_config)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .stats_timeout = 3 * VM_MS};
    balloon_device *device = vm_device(&config);

    rig_start(device, BALLOON_F_STATS, 0);
    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 3 * VM_MS - 1, "");
    CHECK_POLL(device, 3 * VM_MS, "late");
}

/* --- regularly -------------------------------------------------------------------------------- */

Test(device_stats, a_period_requests_at_once_and_regularly)
{
    balloon_device *device = primed();

    balloon_device_set_stats_period(device, 5 * VM_SECOND, VM_SECOND);
    CHECK_POLL(device, VM_SECOND, "ack stats/1");
    cr_assert_eq(send_free(device, 2, 200, VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, VM_SECOND, "stats");
    cr_assert_eq(balloon_device_deadline(device), 6 * VM_SECOND);
    CHECK_POLL(device, 6 * VM_SECOND - 1, "");
    CHECK_POLL(device, 6 * VM_SECOND, "ack stats/2");
    cr_assert_eq(send_free(device, 3, 300, 6 * VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, 6 * VM_SECOND, "stats");

    balloon_device_set_stats_period(device, 0, 7 * VM_SECOND);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    CHECK_POLL(device, 60 * VM_SECOND, "");
}

Test(device_stats, a_period_shorter_than_the_answer_takes_does_not_pile_up)
{
    balloon_device *device = primed();

    balloon_device_set_stats_period(device, 100 * VM_MS, 0);
    CHECK_POLL(device, 0, "ack stats/1");
    CHECK_POLL(device, 100 * VM_MS, "");
    CHECK_POLL(device, 200 * VM_MS, "");
    cr_assert_eq(balloon_device_request_stats(device, 200 * VM_MS), BALLOON_ERR_BUSY);
    cr_assert_eq(send_free(device, 2, 200, 250 * VM_MS), BALLOON_OK);
    CHECK_POLL(device, 250 * VM_MS, "stats");
    CHECK_POLL(device, 300 * VM_MS, "ack stats/2");
}

Test(device_stats, a_period_set_early_begins_with_the_driver)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_device *device = vm_device(&config);

    balloon_device_set_stats_period(device, VM_SECOND, 0);
    CHECK_POLL(device, 10 * VM_SECOND, "");
    rig_start(device, BALLOON_F_STATS, 20 * VM_SECOND);
    CHECK_POLL(device, 20 * VM_SECOND, "");
    cr_assert_eq(send_free(device, 1, 100, 20 * VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, 20 * VM_SECOND, "stats");
    cr_assert_eq(balloon_device_deadline(device), 21 * VM_SECOND);
}

/* --- guests that are odd ---------------------------------------------------------------------- */

/* virtio-win fills its first buffer with 0xff. */
Test(device_stats, filler_in_the_first_buffer_is_no_sample)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);
    balloon_sample sample;
    uint8_t filler[100];

    memset(filler, 0xff, sizeof(filler));
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 1, filler, sizeof(filler), 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
    cr_assert_not(balloon_device_sample(device, &sample));
    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack stats/1");
    cr_assert_eq(send_free(device, 2, 200, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "stats");
    check_free(device, 200, 0);
}

/* A request that waits for the driver must not be answered by it. */
Test(device_stats, filler_does_not_answer_a_request_that_waits)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);
    uint8_t filler[100];

    memset(filler, 0xff, sizeof(filler));
    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 1, filler, sizeof(filler), 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack stats/1");
    cr_assert_eq(send_free(device, 2, 200, 1), BALLOON_OK);
    CHECK_POLL(device, 1, "stats");
    check_free(device, 200, 1);
}

Test(device_stats, nothing_is_due_at_the_end_of_time)
{
    balloon_device *device = primed();
    balloon_action action;

    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    cr_assert_not(balloon_device_poll(device, BALLOON_TIME_NEVER, &action));
}

Test(device_stats, an_answer_without_values_is_an_answer)
{
    balloon_device *device = primed();
    balloon_sample sample;

    cr_assert_eq(balloon_device_request_stats(device, 6), BALLOON_OK);
    CHECK_POLL(device, 6, "ack stats/1");
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 2, NULL, 0, 7), BALLOON_OK);
    CHECK_POLL(device, 7, "stats");
    cr_assert(balloon_device_sample(device, &sample));
    cr_assert_eq(sample.present, 0);
    cr_assert_eq(sample.time, 7);
}

Test(device_stats, the_first_buffer_of_a_legacy_driver_is_not_read)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);
    balloon_sample sample;

    balloon_device_reset(device);
    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_STATS), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    cr_assert_eq(send_free(device, 1, 100, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
    cr_assert_not(balloon_device_sample(device, &sample));
    cr_assert_eq(balloon_device_request_stats(device, 1), BALLOON_OK);
    CHECK_POLL(device, 1, "ack stats/1");
    cr_assert_eq(send_free(device, 2, 200, 2), BALLOON_OK);
    CHECK_POLL(device, 2, "stats");
    check_free(device, 200, 2);
}

Test(device_stats, a_second_buffer_sends_the_first_one_back)
{
    balloon_device *device = primed();

    cr_assert_eq(send_free(device, 2, 200, 6), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 6, "ack stats/1");
    cr_assert_eq(vm_counters(device).protocol_errors, 1);
    cr_assert_eq(vm_counters(device).stats_unasked, 1);
    check_free(device, 100, 5);
    /* The second one is held now, and serves the next request. */
    cr_assert_eq(balloon_device_request_stats(device, 7), BALLOON_OK);
    CHECK_POLL(device, 7, "ack stats/2");
}

Test(device_stats, a_flood_is_acknowledged_unread)
{
    balloon_device *device = primed();

    for (uint64_t i = 2; i < 1002; i++) {
        cr_assert_eq(send_free(device, i, i, 6), BALLOON_ERR_PROTOCOL);
        cr_assert_eq(rig_drain(device, 6), 1);
    }
    cr_assert_eq(vm_counters(device).stats_unasked, 1000);
    cr_assert_eq(vm_counters(device).stats_received, 1);
    check_free(device, 100, 5);
}

Test(device_stats, half_a_record_is_counted)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 1, "\4\0\1\0\0\0\0\0\0\0\5\0\1", 13, 0),
                 BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "stats");
    check_free(device, 1, 0);
    cr_assert_eq(vm_counters(device).tail_bytes, 3);
}

Test(device_stats, a_buffer_to_write_into_is_nonsense)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);
    balloon_virtio_span span = {0, 4096};

    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_STATS, 1, &span, 1, 0), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "");
    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack stats/1");
}

Test(device_stats, reset_forgets_sample_and_request)
{
    balloon_device *device = primed();
    balloon_sample sample;

    cr_assert_eq(balloon_device_request_stats(device, 5), BALLOON_OK);
    balloon_device_reset(device);
    cr_assert_not(balloon_device_sample(device, &sample));
    rig_start(device, BALLOON_F_STATS, 6);
    CHECK_POLL(device, 60 * VM_SECOND, "");
    cr_assert_eq(send_free(device, 2, 200, 60 * VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, 60 * VM_SECOND, "stats");
}

/* The first buffer comes before anybody asked: nanos sends 8 bytes of nothing. */
Test(device_stats, a_first_buffer_that_is_no_record_is_no_error)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);
    static const uint8_t filler[8] = {0};

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 1, filler, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
    cr_assert_eq(vm_counters(device).tail_bytes, 8);
    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack stats/1");
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 2, filler, 8, 0), BALLOON_ERR_PROTOCOL,
                 "an answer is made of whole records");
}
