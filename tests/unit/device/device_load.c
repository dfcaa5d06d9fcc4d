/* Loading bytes that no device has saved, or not one like this: refused, and nothing changes. */
#include <stdlib.h>

#include "vm.h"

TestSuite(device_load, .fini = vm_end);

static const balloon_region ram[2] = {{0, 1024, 1}, {4096, 100, 1}};

static balloon_device_config config(void)
{
    return (balloon_device_config){
        .size = sizeof(balloon_device_config),
        .regions = ram,
        .region_count = 2,
        .features = BALLOON_F_ALL,
    };
}

/* A device in which everything is under way that can be. */
static balloon_device *busy(void)
{
    balloon_device_config c = config();
    balloon_device *device = vm_device(&c);

    rig_start(device, BALLOON_F_ALL, 0);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    rig_write_config(device, 4, 32);
    cr_assert_eq(vm_inflate(device, 1, 0, 513, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 4096, 50, 0), BALLOON_OK);
    cr_assert_eq(vm_stats(device, 3, BALLOON_STAT_FREE, 5, 0), BALLOON_OK);
    balloon_device_set_stats_period(device, VM_SECOND, 0);
    return device;
}

struct saved {
    uint8_t *bytes;
    size_t count;
};

static struct saved save(const balloon_device *device)
{
    struct saved saved;

    saved.bytes = rig_save(device, 0, &saved.count);
    return saved;
}

/* Load and say the status; on an error the device must be as before. */
static balloon_status try_load(balloon_device *device, const void *bytes, size_t count)
{
    struct saved before = save(device), after;
    balloon_device_counters counters = vm_counters(device), counters_after;
    balloon_status status = balloon_device_load(device, 0, bytes, count);

    cr_assert(balloon_device_check(device, NULL));
    if (status != BALLOON_OK) {
        after = save(device);
        cr_assert_eq(before.count, after.count);
        cr_assert_eq(memcmp(before.bytes, after.bytes, before.count), 0);
        counters_after = vm_counters(device);
        cr_assert_eq(memcmp(&counters, &counters_after, sizeof(counters)), 0);
        free(after.bytes);
    }
    free(before.bytes);
    return status;
}

Test(device_load, refuses_every_shorter_or_longer_form)
{
    balloon_device *device = busy();
    struct saved saved = save(device);
    uint8_t *longer = calloc(1, saved.count + 1);

    for (size_t n = 0; n < saved.count; n++)
        cr_assert_eq(try_load(device, saved.bytes, n), BALLOON_ERR_PROTOCOL, "%zu bytes", n);
    memcpy(longer, saved.bytes, saved.count);
    cr_assert_eq(try_load(device, longer, saved.count + 1), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(try_load(device, longer, saved.count), BALLOON_OK);
    free(longer);
    free(saved.bytes);
}

/* Whatever a byte is changed to: refused without a trace, or a state that a device can be in. */
Test(device_load, survives_every_value_of_every_byte)
{
    balloon_device *device = busy();
    struct saved saved = save(device);
    unsigned refused = 0;

    for (size_t i = 0; i < saved.count; i++) {
        uint8_t right = saved.bytes[i];

        for (unsigned value = 0; value < 256; value += value < 4 ? 1 : 63) {
            saved.bytes[i] = (uint8_t)value;
            if (try_load(device, saved.bytes, saved.count) != BALLOON_OK)
                refused++;
        }
        saved.bytes[i] = right;
    }
    cr_assert_gt(refused, 100);
    cr_assert_eq(try_load(device, saved.bytes, saved.count), BALLOON_OK);
    free(saved.bytes);
}

Test(device_load, refuses_bytes_of_something_else)
{
    balloon_device *device = busy();
    struct saved saved = save(device);

    saved.bytes[0] ^= 1;
    cr_assert_eq(try_load(device, saved.bytes, saved.count), BALLOON_ERR_PROTOCOL);
    free(saved.bytes);
}

Test(device_load, does_not_know_newer_formats)
{
    balloon_device *device = busy();
    struct saved saved = save(device);

    saved.bytes[4] = 2;
    cr_assert_eq(try_load(device, saved.bytes, saved.count), BALLOON_ERR_UNSUPPORTED);
    /* Half a version says nothing. */
    cr_assert_eq(try_load(device, saved.bytes, 6), BALLOON_ERR_PROTOCOL);
    free(saved.bytes);
}

/* --- states that no device is in -------------------------------------------------------------- */

enum { DRIVER_AT = 16, FLUSH_AT = 20 };

/* The saved form of a device without buffers that wait, with one byte changed. */
static void refused_with(balloon_device *device, size_t at, uint8_t was, uint8_t value)
{
    rig_drain(device, 0);
    struct saved saved = save(device);

    cr_assert_eq(saved.bytes[at], was);
    saved.bytes[at] = value;
    cr_assert_eq(try_load(device, saved.bytes, saved.count), BALLOON_ERR_PROTOCOL);
    free(saved.bytes);
}

Test(device_load, refuses_held_pages_without_a_driver)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(vm_inflate(device, 1, 0, 1, 0), BALLOON_OK);
    refused_with(device, DRIVER_AT, 1, 0);
}

Test(device_load, refuses_a_held_buffer_without_a_driver)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);

    cr_assert_eq(vm_stats(device, 1, BALLOON_STAT_FREE, 1, 0), BALLOON_OK);
    refused_with(device, DRIVER_AT, 1, 0);
}

Test(device_load, refuses_a_flush_without_must_tell)
{
    refused_with(vm_simple(0), FLUSH_AT, 0, 1);
}

/* --- devices that differ ---------------------------------------------------------------------- */

static balloon_status load_into(const balloon_device_config *c)
{
    struct saved saved = save(busy());
    balloon_status status = try_load(vm_device(c), saved.bytes, saved.count);

    free(saved.bytes);
    return status;
}

Test(device_load, refuses_other_regions)
{
    const balloon_region shorter[2] = {{0, 1024, 1}, {4096, 99, 1}};
    const balloon_region elsewhere[2] = {{0, 1024, 1}, {4097, 100, 1}};
    const balloon_region more[3] = {{0, 1024, 1}, {4096, 100, 1}, {8192, 1, 1}};
    balloon_device_config c = config();

    cr_assert_eq(load_into(&c), BALLOON_OK);
    c.regions = shorter;
    cr_assert_eq(load_into(&c), BALLOON_ERR_PROTOCOL);
    c.regions = elsewhere;
    cr_assert_eq(load_into(&c), BALLOON_ERR_PROTOCOL);
    c.regions = more;
    c.region_count = 3;
    cr_assert_eq(load_into(&c), BALLOON_ERR_PROTOCOL);
    c.region_count = 1;
    cr_assert_eq(load_into(&c), BALLOON_ERR_PROTOCOL);
}

Test(device_load, takes_regions_in_any_order)
{
    const balloon_region swapped[2] = {{4096, 100, 16}, {0, 1024, 4}};
    balloon_device_config c = config();

    c.regions = swapped;
    cr_assert_eq(load_into(&c), BALLOON_OK);
}

Test(device_load, refuses_other_features)
{
    balloon_device_config c = config();

    c.features = BALLOON_F_DEFAULT;
    cr_assert_eq(load_into(&c), BALLOON_ERR_PROTOCOL);
}

Test(device_load, refuses_more_buffers_than_fit)
{
    balloon_device_config c = config();

    c.max_buffers = 2;
    cr_assert_eq(load_into(&c), BALLOON_OK);
    c.max_buffers = 1;
    cr_assert_eq(load_into(&c), BALLOON_ERR_PROTOCOL);
}

Test(device_load, refuses_a_modern_driver_where_only_legacy_ones_are_offered)
{
    balloon_virtio_options options = {.size = sizeof(options), .legacy_only = true};
    balloon_device_config c = config();
    balloon_device *device = vm_device(&c);
    struct saved saved = save(busy());

    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
    cr_assert_eq(try_load(device, saved.bytes, saved.count), BALLOON_ERR_PROTOCOL);
    free(saved.bytes);
}
