/* Free page reporting: pages that are free for the moment, discarded before the acknowledgement. */
#include "vm.h"

TestSuite(device_report, .fini = vm_end);

Test(device_report, is_discarded_and_then_acknowledged)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);
    balloon_virtio_span spans[2] = {{512 << 12, 512 << 12}, {2048 << 12, 1024 << 12}};

    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 3, spans, 2, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 512+512,2048+1024 | ack report/3");
    cr_assert_eq(vm_counters(device).reported, 1536);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(vm_status(device).pending, 0);
}

Test(device_report, may_come_again_for_the_same_pages)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 512+512 | ack report/1");
    cr_assert_eq(vm_report(device, 2, 512, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 512+512 | ack report/2");
}

Test(device_report, takes_whole_granules_only)
{
    balloon_device *device = vm_granules(BALLOON_F_REPORTING, 16);

    cr_assert_eq(vm_report(device, 1, 8, 48), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 16+32 | ack report/1");
    cr_assert_eq(vm_counters(device).reported, 32);
    cr_assert_eq(vm_counters(device).report_partial, 16);
    cr_assert_eq(vm_report(device, 2, 8, 8), BALLOON_OK);
    CHECK_POLL(device, 0, "ack report/2");
}

Test(device_report, outside_of_ram_is_counted)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(vm_report(device, 1, 4000, 200), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "discard 4000+96 | ack report/1");
    cr_assert_eq(vm_counters(device).report_outside, 104);
}

Test(device_report, a_span_past_the_end_of_the_address_space_is_nonsense)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);
    balloon_virtio_span span = {UINT64_MAX - 4095, 8192};

    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 1, &span, 1, 0),
                 BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "ack report/1");
}

Test(device_report, one_buffer_names_16_gib_at_the_most)
{
    balloon_region ram = {0, UINT64_C(1) << 23, 262144};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_device *device = vm_device(&config);
    balloon_virtio_span spans[2] = {{0, UINT64_C(32) << 30}, {0, 4096}};

    rig_start(device, BALLOON_F_REPORTING, 0);
    cr_assert_eq(vm_report(device, 0, 0, UINT64_C(16) << 18), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+4194304 | ack report/0");
    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 1, spans, 2, 0),
                 BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "discard 0+4194304 | ack report/1");
    cr_assert_eq(vm_counters(device).truncated_bytes, (UINT64_C(16) << 30) + 4096);
}

Test(device_report, of_readable_bytes_is_nonsense)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_REPORT, 1, "1234", 4, 0), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "ack report/1");
}

Test(device_report, held_pages_stay_held)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+8 | ack inflate/1");
    cr_assert_eq(vm_report(device, 2, 0, 16), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+16 | ack report/2");
    cr_assert_eq(vm_status(device).held, 8);
}

Test(device_report, while_inhibited_is_acknowledged_only)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    balloon_device_inhibit(device);
    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "ack report/1");
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_eq(vm_counters(device).report_withheld, 512);
    cr_assert_eq(vm_counters(device).reported, 0);
}

/* The pages were never in the balloon: nothing is to be said of it. */
static void inhibited_later(uint32_t features)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING | features);
    uint32_t reasons = 0;

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, 0, "discard 0+8 | ack inflate/1");
    cr_assert_eq(vm_report(device, 2, 512, 512), BALLOON_OK);
    balloon_device_inhibit(device);
    CHECK_POLL(device, 0, "ack report/2");
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    cr_assert_eq(vm_counters(device).reported, 512);
    cr_assert_eq(vm_counters(device).report_withheld, 512);
    cr_assert_eq(vm_counters(device).inflate_withheld, 0);
    (void)balloon_device_explain(device, VM_SECOND, &reasons);
    cr_assert_not(reasons >> BALLOON_REASON_PARTIAL & 1);
}

Test(device_report, inhibited_before_the_poll_is_withheld_as_reported)
{
    inhibited_later(0);
}

Test(device_report, under_must_tell_inhibited_before_the_poll_is_withheld_as_reported)
{
    inhibited_later(BALLOON_F_MUST_TELL);
}

/* One acknowledgement of pages of both kinds. */
Test(device_report, withheld_pages_are_told_from_those_of_the_balloon)
{
    balloon_device *device = vm_granules(BALLOON_F_REPORTING, 1024);

    cr_assert_eq(vm_inflate(device, 1, 8, 100, 0), BALLOON_OK);
    cr_assert_eq(vm_report(device, 2, 1024, 1024), BALLOON_OK);
    balloon_device_inhibit(device);
    CHECK_POLL(device, 0, "ack inflate/1 | ack report/2");
    cr_assert_eq(vm_counters(device).report_withheld, 1024);
    cr_assert_eq(vm_counters(device).inflate_withheld, 100);
}

Test(device_report, under_must_tell_while_inhibited_is_not_discarded_later_either)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING | BALLOON_F_MUST_TELL);

    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    balloon_device_inhibit(device);
    CHECK_POLL(device, 0, "ack report/1");
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, VM_SECOND, "");
}

Test(device_report, a_failed_discard_of_reported_pages_is_not_tried_again)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING | BALLOON_F_MUST_TELL);
    balloon_run run = {.range = {512, 512}};

    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    CHECK_STEP(device, 0, "discard 512+512");
    balloon_device_discard_failed(device, &run, 0);
    CHECK_POLL(device, 0, "ack report/1");
    CHECK_POLL(device, 60 * VM_SECOND, "");
    cr_assert_eq(vm_counters(device).discard_failed, 512);
}

/* --- pages that must keep a pattern ----------------------------------------------------------- */

#define POISON_AT 12

/* A driver that expects this in free pages. */
static balloon_device *poisoned(uint32_t value)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_REPORTING | BALLOON_F_POISON |
                                                         BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_OK);
    rig_write_config(device, POISON_AT, value);
    rig_start(device, BALLOON_F_REPORTING | BALLOON_F_POISON, 0);
    return device;
}

Test(device_report, a_pattern_of_zeros_survives_a_discard)
{
    balloon_device *device = poisoned(0);

    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 512+512 | ack report/1");
}

Test(device_report, any_other_pattern_does_not)
{
    balloon_device *device = poisoned(0xaaaaaaaa);

    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "ack report/1");
    cr_assert_eq(vm_counters(device).report_withheld, 512);
    /* A page in the balloon has no content to keep. */
    cr_assert_eq(vm_inflate(device, 2, 512, 512, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 512+512 | ack inflate/2");
}

Test(device_report, a_pattern_the_driver_has_not_told_yet_may_be_any)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING | BALLOON_F_POISON);

    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "ack report/1");
}

Test(device_report, after_a_reset_the_pattern_must_be_told_again)
{
    balloon_device *device = poisoned(0);

    balloon_device_reset(device);
    rig_start(device, BALLOON_F_REPORTING | BALLOON_F_POISON, 0);
    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "ack report/1");
}

Test(device_report, without_the_feature_a_pattern_means_nothing)
{
    balloon_device *device = poisoned(0xaaaaaaaa);

    balloon_device_reset(device);
    rig_start(device, BALLOON_F_REPORTING, 0);
    cr_assert_eq(rig_read_config(device, POISON_AT), 0);
    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 512+512 | ack report/1");
}

Test(device_report, the_pattern_is_fixed_while_there_is_a_driver)
{
    balloon_device *device = poisoned(0xaaaaaaaa);

    rig_write_config(device, POISON_AT, 0);
    cr_assert_eq(rig_read_config(device, POISON_AT), 0xaaaaaaaa);
    cr_assert_eq(vm_counters(device).protocol_errors, 1);
    cr_assert_eq(vm_report(device, 1, 512, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "ack report/1");
}
