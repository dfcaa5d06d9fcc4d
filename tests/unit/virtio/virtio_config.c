/* Configuration space, as drivers read and write it. */
#include "vm.h"

TestSuite(virtio_config, .fini = vm_end);

enum { TARGET = 0, ACTUAL = 4, HINT = 8, POISON = 12 };

static balloon_device *offering(uint32_t features)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .features = features};

    return vm_device(&config);
}

Test(virtio_config, is_as_long_as_the_features_offered_need)
{
    cr_assert_eq(balloon_virtio_config_bytes(offering(BALLOON_F_NONE)), 8);
    cr_assert_eq(balloon_virtio_config_bytes(offering(BALLOON_F_STATS)), 8);
    cr_assert_eq(balloon_virtio_config_bytes(offering(BALLOON_F_HINTING)), 12);
    cr_assert_eq(balloon_virtio_config_bytes(offering(BALLOON_F_POISON)), 16);
    cr_assert_eq(balloon_virtio_config_bytes(offering(BALLOON_F_ALL)), 16);
}

/* A device whose every byte of configuration space is known. */
static balloon_device *known(void)
{
    balloon_device *device = offering(BALLOON_F_ALL);

    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_ALL | BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_OK);
    rig_write_config(device, POISON, 0xd4c3b2a1);
    cr_assert_eq(balloon_device_set_target(device, 0x0ef0, 0), BALLOON_OK);
    rig_write_config(device, ACTUAL, 0x44332211);
    rig_start(device, BALLOON_F_ALL, 0);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    return device;
}

static const uint8_t known_bytes[24] = {
    0xf0, 0x0e, 0x00, 0x00, 0x11, 0x22, 0x33, 0x44, 0x00, 0x00, 0x00, 0x80,
    0xa1, 0xb2, 0xc3, 0xd4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
};

Test(virtio_config, reads_at_any_offset_and_width)
{
    balloon_device *device = known();

    for (size_t offset = 0; offset < sizeof(known_bytes); offset++) {
        for (size_t count = 0; count <= sizeof(known_bytes) - offset; count++) {
            uint8_t bytes[sizeof(known_bytes) + 1];

            memset(bytes, 0x77, sizeof(bytes));
            balloon_virtio_config_read(device, offset, bytes, count);
            cr_assert_eq(memcmp(bytes, known_bytes + offset, count), 0, "%zu at %zu", count,
                         offset);
            cr_assert_eq(bytes[count], 0x77);
        }
    }
}

Test(virtio_config, reads_ones_far_outside)
{
    balloon_device *device = known();
    uint8_t bytes[4];
    static const uint64_t far[] = {16, UINT32_MAX, UINT64_MAX - 3, UINT64_MAX};

    for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        memset(bytes, 0, sizeof(bytes));
        balloon_virtio_config_read(device, far[i], bytes, sizeof(bytes));
        cr_assert_eq(memcmp(bytes, "\xff\xff\xff\xff", 4), 0);
    }
}

Test(virtio_config, a_short_space_does_not_show_what_is_not_offered)
{
    balloon_device *device = offering(BALLOON_F_STATS);

    cr_assert_eq(rig_read_config(device, HINT), UINT32_MAX);
    cr_assert_eq(rig_read_config(device, POISON), UINT32_MAX);
}

Test(virtio_config, actual_takes_effect_with_its_last_byte)
{
    static const uint8_t bytes[4] = {0xcd, 0xab, 0x01, 0x00};
    balloon_device *device = vm_simple(0);

    rig_write_config(device, ACTUAL, 0x20000);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(vm_status(device).actual, 0x20000);
        cr_assert_eq(rig_read_config(device, ACTUAL), 0x20000);
        balloon_virtio_config_write(device, ACTUAL + i, &bytes[i], 1);
    }
    cr_assert_eq(vm_status(device).actual, 0x1abcd);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
}

Test(virtio_config, a_write_over_several_fields_takes_the_part_that_may_be_written)
{
    balloon_device *device = known();
    uint8_t bytes[16];

    memset(bytes, 0x55, sizeof(bytes));
    balloon_virtio_config_write(device, 0, bytes, sizeof(bytes));
    cr_assert_eq(vm_status(device).actual, 0x55555555);
    cr_assert_eq(rig_read_config(device, TARGET), 0x0ef0);
    cr_assert_eq(rig_read_config(device, HINT), 0x80000000);
    cr_assert_eq(rig_read_config(device, POISON), 0xd4c3b2a1);
    cr_assert_eq(vm_counters(device).protocol_errors, 1);
}

Test(virtio_config, writes_elsewhere_are_counted_and_change_nothing)
{
    static const uint64_t offsets[] = {0, 8, 12, 15, 16, 100, UINT64_MAX};
    balloon_device *device = known();
    uint8_t before[24], after[24];

    balloon_virtio_config_read(device, 0, before, sizeof(before));
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        balloon_virtio_config_write(device, offsets[i], "\x55\x55\x55\x55", 4);
        balloon_virtio_config_read(device, 0, after, sizeof(after));
        cr_assert_eq(memcmp(before, after, sizeof(after)), 0, "offset %llu",
                     (unsigned long long)offsets[i]);
        cr_assert_eq(vm_counters(device).protocol_errors, i + 1);
    }
    balloon_virtio_config_write(device, 0, NULL, 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 7);
}

Test(virtio_config, poison_is_written_by_any_width_before_the_driver_is_ready)
{
    balloon_device *device = offering(BALLOON_F_POISON);

    rig_write_config(device, POISON, 1);
    cr_assert_eq(rig_read_config(device, POISON), 0, "the feature was not chosen yet");
    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_POISON), BALLOON_OK);
    balloon_virtio_config_write(device, POISON, "\x11\x22\x33\x44", 4);
    balloon_virtio_config_write(device, POISON + 1, "\xaa\xbb", 2);
    cr_assert_eq(rig_read_config(device, POISON), 0x44bbaa11);
    balloon_device_reset(device);
    cr_assert_eq(rig_read_config(device, POISON), 0);
}

Test(virtio_config, half_of_actual_is_forgotten_by_a_reset)
{
    balloon_device *device = vm_simple(0);

    balloon_virtio_config_write(device, ACTUAL, "\x11\x22\x33", 3);
    balloon_device_reset(device);
    balloon_virtio_config_write(device, ACTUAL + 3, "\x44", 1);
    cr_assert_eq(vm_status(device).actual, 0x44000000);
}

/* QEMU's vhost-user passes on the pattern when it is written, but the features only when the driver
 * is ready. */
Test(virtio_config, poison_that_comes_before_the_features_waits_for_them)
{
    static const uint32_t patterns[] = {0, 0xaaaaaaaa};

    for (unsigned i = 0; i < 2; i++) {
        balloon_device *device = offering(BALLOON_F_POISON | BALLOON_F_REPORTING);
        uint32_t all;

        rig_write_config(device, POISON, patterns[i]);
        rig_start(device, BALLOON_F_POISON | BALLOON_F_REPORTING, 0);
        cr_assert_eq(rig_read_config(device, POISON), patterns[i]);
        balloon_device_explain(device, 0, &all);
        cr_assert_eq((all >> BALLOON_REASON_POISON) & 1, patterns[i] != 0);
        cr_assert_eq(vm_counters(device).protocol_errors, 0);
        vm_end();
    }
}

/* The features may come more than once before the driver is ready; a legacy driver has none but its
 * own. */
Test(virtio_config, poison_is_forgotten_by_features_without_it)
{
    static const uint64_t without[] = {BALLOON_F_REPORTING | BALLOON_VIRTIO_F_VERSION_1,
                                       BALLOON_F_REPORTING, BALLOON_VIRTIO_F_VERSION_1};

    for (unsigned i = 0; i < 3; i++) {
        balloon_device *device = offering(BALLOON_F_POISON | BALLOON_F_REPORTING);

        rig_write_config(device, POISON, 0xaaaaaaaa);
        cr_assert_eq(balloon_virtio_set_features(device, without[i]), BALLOON_OK);
        cr_assert_eq(rig_read_config(device, POISON), 0);
        rig_write_config(device, POISON, 0xaaaaaaaa);
        cr_assert_eq(vm_counters(device).protocol_errors, 1, "it was not chosen");
        cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_POISON), BALLOON_OK);
        cr_assert_eq(rig_read_config(device, POISON), 0);
        rig_write_config(device, POISON, 0xbbbbbbbb);
        cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
        cr_assert_eq(rig_read_config(device, POISON), 0xbbbbbbbb);
        cr_assert_eq(vm_counters(device).protocol_errors, 1);
        vm_end();
    }
}

Test(virtio_config, a_front_end_may_write_the_whole_space_for_one_field)
{
    balloon_device *device = known();
    uint8_t bytes[24];

    balloon_virtio_config_read(device, 0, bytes, sizeof(bytes));
    bytes[ACTUAL] = 0x99;
    balloon_virtio_config_write(device, 0, bytes, sizeof(bytes));
    cr_assert_eq(vm_status(device).actual, 0x44332299);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);

    /* Each byte that cannot be written is an error when it is another one. */
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        uint64_t errors = vm_counters(device).protocol_errors;

        bytes[i] ^= 0x10;
        balloon_virtio_config_write(device, 0, bytes, sizeof(bytes));
        bytes[i] ^= 0x10;
        cr_assert_eq(vm_counters(device).protocol_errors - errors, i / 4 == 1 ? 0 : 1, "byte %u",
                     i);
    }
}
