/* Why is nothing reclaimed: each reason by itself, and their order. */
#include "vm.h"

TestSuite(device_explain, .fini = vm_end);

#define BIT(reason) (UINT32_C(1) << BALLOON_REASON_##reason)

static void check(const balloon_device *device, balloon_time_t now, balloon_reason first,
                  uint32_t expected)
{
    uint32_t all = 0;

    cr_assert_eq(balloon_device_explain(device, now, &all), first, "it says %s",
                 balloon_reason_text(balloon_device_explain(device, now, NULL)));
    cr_assert_eq(all, expected, "they are %#x", all);
}

Test(device_explain, nothing_stands_in_the_way)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    check(device, 0, BALLOON_REASON_NONE, 0);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    check(device, 0, BALLOON_REASON_NONE, 0);
}

Test(device_explain, no_driver)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    balloon_device_reset(device);
    check(device, 0, BALLOON_REASON_NO_DRIVER, BIT(NO_DRIVER));
}

Test(device_explain, inhibited)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING | BALLOON_F_MUST_TELL);

    balloon_device_inhibit(device);
    check(device, 0, BALLOON_REASON_INHIBITED, BIT(INHIBITED));
    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    check(device, 0, BALLOON_REASON_INHIBITED, BIT(INHIBITED));
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    check(device, 0, BALLOON_REASON_GATHERING, BIT(GATHERING));
}

Test(device_explain, addresses)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(
        balloon_device_add_region(device, &(balloon_region){UINT64_C(1) << 32, 16, 1}, NULL),
        BALLOON_OK);
    check(device, 0, BALLOON_REASON_ADDRESSES, BIT(ADDRESSES));
}

Test(device_explain, a_failed_discard_until_the_next_one)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING | BALLOON_F_MUST_TELL);
    balloon_run run = {.range = {0, 64}};

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_STEP(device, 0, "discard 0+64");
    check(device, 0, BALLOON_REASON_NONE, 0);
    balloon_device_discard_failed(device, &run, 0);
    CHECK_POLL(device, 0, "ack inflate/1");
    check(device, 0, BALLOON_REASON_DISCARD_FAILS, BIT(DISCARD_FAILS) | BIT(GATHERING));
    CHECK_POLL(device, VM_SECOND, "discard 0+64");
    check(device, VM_SECOND, BALLOON_REASON_NONE, 0);
}

Test(device_explain, no_target)
{
    balloon_device *device = vm_simple(0);

    check(device, 0, BALLOON_REASON_NO_TARGET, BIT(NO_TARGET) | BIT(REPORT_NOT_OFFERED));
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    check(device, 0, BALLOON_REASON_REPORT_NOT_OFFERED, BIT(REPORT_NOT_OFFERED));
}

Test(device_explain, pressure)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 2, 0, 32, 0), BALLOON_OK);
    rig_drain(device, 0);
    check(device, 0, BALLOON_REASON_PRESSURE, BIT(PRESSURE));
}

Test(device_explain, a_slow_guest)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(balloon_device_set_target(device, 64, VM_SECOND), BALLOON_OK);
    check(device, 6 * VM_SECOND - 1, BALLOON_REASON_NONE, 0);
    check(device, 6 * VM_SECOND, BALLOON_REASON_GUEST_SLOW, BIT(GUEST_SLOW));
    /* Each page that comes is progress. */
    cr_assert_eq(vm_inflate(device, 1, 0, 1, 6 * VM_SECOND), BALLOON_OK);
    rig_drain(device, 6 * VM_SECOND);
    check(device, 6 * VM_SECOND, BALLOON_REASON_NONE, 0);
    check(device, 11 * VM_SECOND, BALLOON_REASON_GUEST_SLOW, BIT(GUEST_SLOW));
    /* One that is there already is not. */
    cr_assert_eq(vm_inflate(device, 2, 0, 1, 11 * VM_SECOND), BALLOON_OK);
    rig_drain(device, 11 * VM_SECOND);
    check(device, 11 * VM_SECOND, BALLOON_REASON_GUEST_SLOW, BIT(GUEST_SLOW));
}

Test(device_explain, gathering_and_partial)
{
    balloon_device *device = vm_granules(BALLOON_F_REPORTING | BALLOON_F_MUST_TELL, 16);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    check(device, 0, BALLOON_REASON_PARTIAL, BIT(PARTIAL));
    cr_assert_eq(vm_inflate(device, 2, 8, 16, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/2");
    check(device, 0, BALLOON_REASON_GATHERING, BIT(GATHERING) | BIT(PARTIAL));
}

Test(device_explain, target_met)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    rig_drain(device, 0);
    check(device, 60 * VM_SECOND, BALLOON_REASON_TARGET_MET, BIT(TARGET_MET));
}

Test(device_explain, reports_refused)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    balloon_device_reset(device);
    rig_start(device, 0, 0);
    check(device, 0, BALLOON_REASON_NO_TARGET, BIT(NO_TARGET) | BIT(REPORT_REFUSED));
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    check(device, 0, BALLOON_REASON_REPORT_REFUSED, BIT(REPORT_REFUSED));
}

Test(device_explain, poison)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING | BALLOON_F_POISON);

    check(device, 0, BALLOON_REASON_POISON, BIT(POISON));
    balloon_device_reset(device);
    rig_start(device, BALLOON_F_REPORTING, 0);
    check(device, 0, BALLOON_REASON_NONE, 0);
}

/* RAM at 2 GiB that was given as if it began at 0: nothing of it comes back, and that is not the
 * guest's fault. */
Test(device_explain, regions_that_are_not_where_the_guest_has_its_ram)
{
    balloon_region wrong = {0, 4096, 1}, right = {0x80000, 4096, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &wrong,
                                    .region_count = 1,
                                    .max_pages = 8192,
                                    .features = BALLOON_F_REPORTING};
    balloon_device *device = vm_device(&config);

    rig_start(device, BALLOON_F_REPORTING, 0);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    check(device, 0, BALLOON_REASON_NONE, 0);
    cr_assert_eq(vm_inflate(device, 1, 0x80000, 64, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 0);
    balloon_virtio_config_write(device, 4, (const uint8_t[4]){64}, 4);
    uint32_t all;
    cr_assert_eq(balloon_device_explain(device, 0, &all), BALLOON_REASON_OUTSIDE);
    cr_assert(all & BIT(OUTSIDE));
    cr_assert_eq(balloon_device_explain(device, 60 * VM_SECOND, NULL), BALLOON_REASON_OUTSIDE);

    /* It is over with the driver, and when the region is there. */
    balloon_device_reset(device);
    rig_start(device, BALLOON_F_REPORTING, 0);
    check(device, 0, BALLOON_REASON_NONE, 0);
    cr_assert_eq(vm_inflate(device, 1, 0x80000, 1, 0), BALLOON_ERR_PROTOCOL);
    check(device, 0, BALLOON_REASON_OUTSIDE, BIT(OUTSIDE));
    cr_assert_neq(balloon_device_add_region(device, &wrong, NULL), BALLOON_OK);
    check(device, 0, BALLOON_REASON_OUTSIDE, BIT(OUTSIDE));
    cr_assert_eq(balloon_device_add_region(device, &right, NULL), BALLOON_OK);
    check(device, 0, BALLOON_REASON_NONE, 0);
}

Test(device_explain, reports_outside_of_the_regions)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(vm_report(device, 1, 0x80000, 64), BALLOON_ERR_PROTOCOL);
    check(device, 0, BALLOON_REASON_OUTSIDE, BIT(OUTSIDE));
}

Test(device_explain, late_statistics)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING | BALLOON_F_STATS);

    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    check(device, 0, BALLOON_REASON_NONE, 0);
    CHECK_POLL(device, VM_SECOND, "late");
    check(device, VM_SECOND, BALLOON_REASON_STATS_LATE, BIT(STATS_LATE));
}

Test(device_explain, the_weightiest_of_many_is_told)
{
    balloon_device *device = vm_granules(BALLOON_F_ALL, 16);

    cr_assert_eq(vm_inflate(device, 1, 0, 24, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(balloon_device_set_target(device, 16, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "irq");
    check(device, 0, BALLOON_REASON_GATHERING,
          BIT(GATHERING) | BIT(PARTIAL) | BIT(TARGET_MET) | BIT(POISON));
    balloon_device_inhibit(device);
    check(device, 0, BALLOON_REASON_INHIBITED,
          BIT(INHIBITED) | BIT(PARTIAL) | BIT(TARGET_MET) | BIT(POISON));
}

Test(device_explain, there_are_words_for_every_reason)
{
    for (unsigned i = 0; i <= BALLOON_REASON_GUEST_LEAVES; i++) {
        const char *text = balloon_reason_text((balloon_reason)i);

        cr_assert_gt(strlen(text), 10);
        cr_assert_str_neq(text, balloon_reason_text((balloon_reason)99));
        for (unsigned j = 0; j < i; j++)
            cr_assert_str_neq(text, balloon_reason_text((balloon_reason)j));
    }
    cr_assert_neq(balloon_reason_text((balloon_reason)-1), NULL);
}

/* Without MUST_TELL_HOST a granule whose pages come in different buffers stays. That memory does
 * not come back although the guest has given it must not look like success. */
Test(device_explain, granules_that_came_in_pieces)
{
    balloon_device *device = vm_granules(0, 16);
    uint32_t all = 0;

    for (uint32_t i = 0; i < 16; i++) {
        cr_assert_eq(vm_inflate(device, i, i, 1, 0), BALLOON_OK);
        vm_poll(device, 0);
    }
    cr_assert_eq(vm_counters(device).discarded, 0);
    cr_assert_eq(vm_counters(device).inflate_withheld, 16);
    balloon_device_explain(device, 0, &all);
    cr_assert(all >> BALLOON_REASON_PARTIAL & 1);
    cr_assert_eq(vm_deflate(device, 1, 0, 16, 0), BALLOON_OK);
    balloon_device_explain(device, 0, &all);
    cr_assert_not(all >> BALLOON_REASON_PARTIAL & 1);
}
