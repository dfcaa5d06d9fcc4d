/* A driver comes: options, features, the queues it has set up. */
#include "vm.h"

TestSuite(virtio_driver, .fini = vm_end);

static balloon_device *offering(uint32_t features)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = features ? features : BALLOON_F_NONE};

    return vm_device(&config);
}

/* --- options ---------------------------------------------------------------------------------- */

Test(virtio_driver, options_outside_of_their_enums_are_refused)
{
    balloon_device *device = offering(BALLOON_F_ALL);
    balloon_virtio_options options = {.size = sizeof(options)};

    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
    options.size--;
    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_ERR_INVALID);
    options.size++;
    options.numbering = (balloon_virtio_numbering)3;
    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_ERR_INVALID);
    options.numbering = BALLOON_QUEUES_FIXED;
    options.legacy_endian = (balloon_endian)2;
    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_ERR_INVALID);
}

Test(virtio_driver, options_are_fixed_while_there_is_a_driver)
{
    balloon_device *device = vm_simple(0);
    balloon_virtio_options options = {.size = sizeof(options)};

    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_ERR_STATE);
    balloon_device_reset(device);
    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
}

/* --- features --------------------------------------------------------------------------------- */

Test(virtio_driver, features_are_those_of_the_config_and_version_1)
{
    balloon_virtio_options legacy = {.size = sizeof(legacy), .legacy_only = true};
    balloon_device *device = offering(BALLOON_F_DEFAULT);

    cr_assert_eq(balloon_virtio_features(device), UINT64_C(0x100000037));
    cr_assert_eq(balloon_virtio_features(offering(0)), UINT64_C(0x100000000));
    cr_assert_eq(balloon_virtio_configure(device, &legacy), BALLOON_OK);
    cr_assert_eq(balloon_virtio_features(device), 0x37);
    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(balloon_virtio_set_features(device, 0x37), BALLOON_OK);
}

/* Each feature is absent, offered, or chosen. */
Test(virtio_driver, only_what_was_offered_can_be_chosen)
{
    for (uint32_t offered = 0; offered <= BALLOON_F_ALL; offered++) {
        balloon_device *device = offering(offered);

        for (uint32_t chosen = 0; chosen <= BALLOON_F_ALL; chosen++) {
            bool fine = (chosen & ~offered) == 0;

            cr_assert_eq(balloon_virtio_set_features(device, chosen),
                         fine ? BALLOON_OK : BALLOON_ERR_PROTOCOL);
            if (!fine)
                continue;
            cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
            cr_assert_eq(vm_status(device).negotiated, chosen);
            balloon_device_reset(device);
        }
        vm_end();
    }
}

Test(virtio_driver, features_of_transports_are_ignored)
{
    balloon_device *device = offering(BALLOON_F_STATS);

    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_STATS | UINT64_C(1) << 28 |
                                                         UINT64_C(1) << 33 |
                                                         BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).negotiated, BALLOON_F_STATS);
}

Test(virtio_driver, the_choice_may_change_until_the_driver_is_ready)
{
    balloon_device *device = offering(BALLOON_F_ALL);
    uint64_t v1 = BALLOON_VIRTIO_F_VERSION_1;

    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_ALL), BALLOON_OK);
    cr_assert_eq(vm_status(device).negotiated, 0);
    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_STATS | v1), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).negotiated, BALLOON_F_STATS);
    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_STATS | v1), BALLOON_OK);
    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_STATS), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_virtio_set_features(device, v1), BALLOON_ERR_STATE);
    cr_assert_eq(vm_status(device).negotiated, BALLOON_F_STATS);
}

Test(virtio_driver, a_driver_is_there_until_the_reset)
{
    balloon_device *device = offering(BALLOON_F_ALL);

    cr_assert_eq(vm_inflate(device, 1, 0, 1, 0), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_ERR_STATE);
    cr_assert_eq(vm_inflate(device, 1, 0, 1, 0), BALLOON_OK);
    balloon_device_reset(device);
    cr_assert_eq(vm_inflate(device, 1, 0, 1, 0), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
}

/* --- queues ----------------------------------------------------------------------------------- */

/* A driver that chose these features and has set up these queues. */
static balloon_device *with_queues(uint32_t offered, uint32_t chosen, uint32_t enabled)
{
    balloon_device *device = offering(offered);

    cr_assert_eq(balloon_virtio_set_features(device, chosen | BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, enabled, 0), BALLOON_OK);
    return device;
}

#define S BALLOON_F_STATS
#define H BALLOON_F_HINTING
#define R BALLOON_F_REPORTING

Test(virtio_driver, counts_queues_without_gaps_by_default)
{
    balloon_device *device = with_queues(S | R, S | R, 0);

    cr_assert_eq(balloon_virtio_queue_of(device, 0), BALLOON_QUEUE_INFLATE);
    cr_assert_eq(balloon_virtio_queue_of(device, 1), BALLOON_QUEUE_DEFLATE);
    cr_assert_eq(balloon_virtio_queue_of(device, 2), BALLOON_QUEUE_STATS);
    cr_assert_eq(balloon_virtio_queue_of(device, 3), BALLOON_QUEUE_REPORT);
    cr_assert_eq(balloon_virtio_queue_of(device, 4), BALLOON_QUEUE_NONE);
}

Test(virtio_driver, of_the_specifications_text_is_recognised_by_its_queues)
{
    balloon_device *device = with_queues(S | R, S | R, 0x17);

    cr_assert_eq(balloon_virtio_queue_of(device, 3), BALLOON_QUEUE_NONE);
    cr_assert_eq(balloon_virtio_queue_of(device, 4), BALLOON_QUEUE_REPORT);
    balloon_device_reset(device);
    cr_assert_eq(balloon_virtio_set_features(device, S | R), BALLOON_OK);
    cr_assert_eq(balloon_virtio_queue_of(device, 3), BALLOON_QUEUE_REPORT);
}

Test(virtio_driver, that_counts_what_it_chose_is_recognised_by_its_queues)
{
    balloon_device *device = with_queues(S | H | R, S | R, 0x0f);

    cr_assert_eq(balloon_virtio_queue_of(device, 3), BALLOON_QUEUE_REPORT);
    cr_assert_eq(balloon_virtio_queue_of(device, 4), BALLOON_QUEUE_NONE);
}

Test(virtio_driver, may_leave_queues_alone)
{
    /* No statistics queue, though the feature was chosen: nothing to recognise. */
    balloon_device *device = with_queues(S | H | R, S | H | R, 0x1b);

    cr_assert_eq(balloon_virtio_queue_of(device, 4), BALLOON_QUEUE_REPORT);
    cr_assert_eq(vm_inflate(device, 1, 0, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+1 | ack inflate/1");
}

Test(virtio_driver, with_queues_that_fit_no_rule_is_taken_as_configured)
{
    balloon_device *device = with_queues(R, R, 0xff);

    cr_assert_eq(balloon_virtio_queue_of(device, 2), BALLOON_QUEUE_REPORT);
    cr_assert_eq(balloon_virtio_queue_of(device, 3), BALLOON_QUEUE_NONE);
}

Test(virtio_driver, fixed_numbers_can_be_configured)
{
    balloon_virtio_options options = {.size = sizeof(options), .numbering = BALLOON_QUEUES_FIXED};
    balloon_device *device = offering(R);

    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
    rig_start(device, R, 0);
    cr_assert_eq(balloon_virtio_queue_of(device, 2), BALLOON_QUEUE_NONE);
    cr_assert_eq(balloon_virtio_queue_of(device, 4), BALLOON_QUEUE_REPORT);
    cr_assert_eq(vm_report(device, 1, 0, 16), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+16 | ack report/1");
}

Test(virtio_driver, finds_its_queue_by_any_rule)
{
    cr_assert_eq(balloon_virtio_queue_count(offering(0)), 2);
    cr_assert_eq(balloon_virtio_queue_count(offering(S)), 3);
    cr_assert_eq(balloon_virtio_queue_count(offering(S | R)), 5);
    cr_assert_eq(balloon_virtio_queue_count(offering(H)), 4);
    cr_assert_eq(balloon_virtio_queue_count(offering(BALLOON_F_ALL)), 5);
}
