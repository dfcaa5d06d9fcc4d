/* Configuration space, read and written at every offset and width a guest can think of. */
#include "prng.h"
#include "rig.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const balloon_region ram[] = {{0, 1024, 1}};

static balloon_device *make(void **memory, uint32_t features)
{
    balloon_device_config config = {
        .size = sizeof(config), .regions = ram, .region_count = 1, .features = features};
    return rig_make(&config, memory);
}

/* All that may change is `actual`; the model is a latch of four bytes. */
Test(config_space, random_writes)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 5000);
    static const uint32_t features[] = {BALLOON_F_NONE, BALLOON_F_HINTING, BALLOON_F_ALL};
    for (int f = 0; f < 3; f++) {
        void *memory;
        balloon_device *device = make(&memory, features[f]);
        cr_assert_eq(balloon_device_set_target(device, 512, 0), BALLOON_OK);
        rig_start(device, features[f] & BALLOON_F_ALL, 0);
        uint8_t before[16], latch[4] = {0};
        uint32_t actual = 0;
        balloon_virtio_config_read(device, 0, before, 16);
        for (int i = 0; i < 20000; i++) {
            uint8_t bytes[24];
            uint64_t offset = prng_below(&prng, 20);
            size_t count = (size_t)prng_below(&prng, 24);
            if (prng_one_in(&prng, 10))
                offset =
                    prng_one_in(&prng, 2) ? UINT64_MAX - prng_below(&prng, 24) : prng_next(&prng);
            for (size_t j = 0; j < count; j++) {
                bytes[j] = (uint8_t)prng_next(&prng);
                if (offset + j < offset) /* Past the end of all offsets, not back at the start. */
                    continue;
                if (offset + j >= 4 && offset + j < 8)
                    latch[offset + j - 4] = bytes[j];
                if (offset + j == 7)
                    actual = latch[0] | (uint32_t)latch[1] << 8 | (uint32_t)latch[2] << 16 |
                             (uint32_t)latch[3] << 24;
            }
            balloon_virtio_config_write(device, offset, bytes, count);
            balloon_device_status status;
            balloon_device_status_get(device, &status);
            cr_assert_eq(status.actual, actual, "BALLOON_SEED=%" PRIu64 " write %d", seed, i);
            cr_assert_eq(rig_read_config(device, 4), actual);
            uint8_t after[16];
            balloon_virtio_config_read(device, 0, after, 16);
            cr_assert(!memcmp(before, after, 4) && !memcmp(before + 8, after + 8, 8),
                      "BALLOON_SEED=%" PRIu64 " write %d changed something", seed, i);
            rig_drain(device, 0);
        }
        const char *why = NULL;
        cr_assert(balloon_device_check(device, &why), "%s", why);
        cr_assert_eq(balloon_tracker_held(balloon_device_tracker(device)), 0);
        free(memory);
    }
}

Test(config_space, reads_of_any_width)
{
    static const uint32_t features[] = {BALLOON_F_NONE, BALLOON_F_HINTING, BALLOON_F_POISON};
    for (size_t f = 0; f < 3; f++) {
        void *memory;
        balloon_device *device = make(&memory, features[f]);
        cr_assert_eq(balloon_virtio_config_bytes(device), 8 + 4 * f);
        cr_assert_eq(balloon_device_set_target(device, 0x120, 0), BALLOON_OK);
        uint8_t space[16];
        balloon_virtio_config_read(device, 0, space, 16);
        cr_assert(space[0] == 0x20 && space[1] == 1 && space[2] == 0 && space[3] == 0);
        for (size_t i = 8 + 4 * f; i < 16; i++)
            cr_assert_eq(space[i], 0xff);
        for (uint64_t offset = 0; offset < 20; offset++) {
            for (size_t count = 0; count < 20; count++) {
                uint8_t got[21];
                memset(got, 0x5a, sizeof(got));
                balloon_virtio_config_read(device, offset, got, count);
                for (size_t i = 0; i < count; i++)
                    cr_assert_eq(got[i], offset + i < 16 ? space[offset + i] : 0xff);
                cr_assert_eq(got[count], 0x5a);
            }
        }
        uint8_t far[8];
        balloon_virtio_config_read(device, UINT64_MAX - 3, far, 8);
        for (size_t i = 0; i < 8; i++)
            cr_assert_eq(far[i], 0xff, "an offset that wraps reads byte %zu of the space", i);
        free(memory);
    }
}

/* The pattern is fixed with DRIVER_OK, and gone after a reset. */
Test(config_space, poison_is_frozen)
{
    void *memory;
    balloon_device *device = make(&memory, BALLOON_F_ALL);
    rig_write_config(device, 12, 0x11111111);
    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_POISON), BALLOON_OK);
    rig_write_config(device, 12, 0xaaaaaaaa);
    cr_assert_eq(rig_read_config(device, 12), 0xaaaaaaaa);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    rig_write_config(device, 12, 0);
    cr_assert_eq(rig_read_config(device, 12), 0xaaaaaaaa);
    balloon_device_reset(device);
    cr_assert_eq(rig_read_config(device, 12), 0);
    free(memory);
}

/* A legacy driver writes `actual` byte by byte: no value in between is seen. */
Test(config_space, actual_byte_by_byte)
{
    static const uint8_t bytes[4] = {0xcd, 0xab, 0x01, 0x00};
    void *memory;
    balloon_device *device = make(&memory, BALLOON_F_ALL);
    rig_start(device, 0, 0);
    rig_write_config(device, 4, 0x20000);
    balloon_device_status status;
    for (uint64_t i = 0; i < 4; i++) {
        balloon_device_status_get(device, &status);
        cr_assert_eq(status.actual, 0x20000);
        balloon_virtio_config_write(device, 4 + i, bytes + i, 1);
    }
    balloon_device_status_get(device, &status);
    cr_assert_eq(status.actual, 0x1abcd);
    free(memory);
}
