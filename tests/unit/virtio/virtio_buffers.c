/* Buffers as they come from queues: sizes, pieces, byte orders, and what does not belong in them.
 */
#include "vm.h"

TestSuite(virtio_buffers, .fini = vm_end);

Test(virtio_buffers, are_not_taken_without_a_driver_or_from_no_queue)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);
    balloon_virtio_buffer empty = {.cookie = 1};

    cr_assert_eq(balloon_virtio_receive(device, 3, &empty, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_virtio_receive(device, UINT32_MAX, &empty, 0), BALLOON_ERR_INVALID);
    balloon_device_reset(device);
    cr_assert_eq(balloon_virtio_receive(device, 0, &empty, 0), BALLOON_ERR_STATE);
    cr_assert_eq(vm_counters(device).buffers, 0);
    CHECK_POLL(device, 0, "");
}

/* The guest's mistake, not the VMM's: it is told apart, counted, and the buffer comes back. */
Test(virtio_buffers, of_a_feature_that_was_not_chosen_come_back_unread)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS | BALLOON_F_REPORTING);
    balloon_virtio_span page = {0, 4096};
    balloon_virtio_buffer buffer = {.cookie = 9, .writable = &page, .writable_count = 1};
    uint32_t count = balloon_virtio_queue_count(device);

    balloon_device_reset(device);
    rig_start(device, 0, 0);
    cr_assert_eq(vm_stats(device, 1, BALLOON_STAT_FREE, 1, 0), BALLOON_ERR_INVALID, "no queue 99");
    for (uint32_t queue = 2; queue < count; queue++) {
        cr_assert_eq(balloon_virtio_receive(device, queue, &buffer, 0), BALLOON_ERR_PROTOCOL);
        cr_assert_eq(vm_counters(device).protocol_errors, queue - 1);
        balloon_action action;
        cr_assert(balloon_device_poll(device, 0, &action));
        cr_assert_eq(action.type, BALLOON_ACTION_ACK);
        cr_assert_eq(action.queue, queue);
        cr_assert_eq(action.cookie, 9u);
        cr_assert_not(balloon_device_poll(device, 0, &action));
    }
    cr_assert_eq(vm_counters(device).reported, 0);
    cr_assert_eq(balloon_virtio_receive(device, count, &buffer, 0), BALLOON_ERR_INVALID);
}

Test(virtio_buffers, beyond_max_buffers_wait_for_a_poll)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .max_buffers = 2};
    balloon_device *device = vm_device(&config);

    rig_start(device, BALLOON_F_STATS, 0);
    cr_assert_eq(vm_inflate(device, 1, 0, 1, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 2, 1, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 3, 4, 1, 0), BALLOON_ERR_BUSY);
    cr_assert_eq(vm_stats(device, 4, BALLOON_STAT_FREE, 1, 0), BALLOON_ERR_BUSY);
    cr_assert_eq(vm_counters(device).inflated, 2);
    cr_assert_eq(vm_counters(device).buffers, 2);
    CHECK_POLL(device, 0, "discard 0+1,2+1 | ack inflate/1 | ack inflate/2");
    cr_assert_eq(vm_inflate(device, 3, 4, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 4+1 | ack inflate/3");
}

Test(virtio_buffers, one_acknowledgement_makes_room_for_one)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .max_buffers = 3};
    balloon_device *device = vm_device(&config);

    rig_start(device, 0, 0);
    for (uint64_t i = 0; i < 3; i++)
        cr_assert_eq(vm_deflate(device, i, 0, 0, 0), BALLOON_OK);
    for (uint64_t i = 3; i < 20; i++) {
        cr_assert_eq(vm_deflate(device, i, 0, 0, 0), BALLOON_ERR_BUSY);
        cr_assert_eq(strncmp(vm_step(device, 0), "ack deflate/", 12), 0);
        cr_assert_eq(vm_deflate(device, i, 0, 0, 0), BALLOON_OK);
    }
    CHECK_POLL(device, 0, "ack deflate/17 | ack deflate/18 | ack deflate/19");
}

Test(virtio_buffers, are_read_up_to_max_buffer_bytes)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .max_buffer_bytes = 8};
    balloon_device *device = vm_device(&config);

    rig_start(device, 0, 0);
    cr_assert_eq(vm_inflate(device, 1, 0, 2, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 10, 5, 0), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "discard 0+2,10+2 | ack inflate/1 | ack inflate/2");
    cr_assert_eq(vm_counters(device).truncated_bytes, 12);
    cr_assert_eq(vm_counters(device).tail_bytes, 0);
}

Test(virtio_buffers, are_read_up_to_1_mib_by_default)
{
    balloon_device *device = vm_simple(0);
    static uint8_t zeros[(1 << 20) + 4];

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, zeros, 1 << 20, 0), BALLOON_OK);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 2, zeros, sizeof(zeros), 0),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_counters(device).truncated_bytes, 4);
    cr_assert_eq(vm_counters(device).inflate_duplicate, 2 * (1 << 18) - 1);
}

/* A descriptor chain may add up to more than any number. None of it is read beyond the limit. */
Test(virtio_buffers, of_absurd_lengths_are_counted_without_overflow)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .max_buffer_bytes = 4};
    balloon_device *device = vm_device(&config);
    balloon_iov iov[3] = {{"\x05\0\0", 4}, {"", SIZE_MAX}, {"", SIZE_MAX}};
    balloon_virtio_buffer buffer = {.cookie = 1, .readable = iov, .readable_count = 3};

    rig_start(device, 0, 0);
    cr_assert_eq(balloon_virtio_receive(device, 0, &buffer, 0), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "discard 5+1 | ack inflate/1");
    /* Where a size has 32 bits the sum still fits. */
    cr_assert_eq(vm_counters(device).truncated_bytes,
                 SIZE_MAX > UINT32_MAX ? UINT64_MAX - 4 : UINT64_C(2) * SIZE_MAX);
}

Test(virtio_buffers, may_be_cut_into_pieces_anywhere)
{
    static const uint8_t bytes[12] = {5, 0, 0, 0, 6, 0, 0, 0, 9, 0, 0, 0};

    for (size_t a = 0; a <= 12; a++) {
        for (size_t b = a; b <= 12; b++) {
            balloon_device *device = vm_simple(0);
            balloon_iov iov[4] = {{bytes, a}, {NULL, 0}, {bytes + a, b - a}, {bytes + b, 12 - b}};
            balloon_virtio_buffer buffer = {.cookie = 1, .readable = iov, .readable_count = 4};

            cr_assert_eq(balloon_virtio_receive(device, 0, &buffer, 0), BALLOON_OK);
            CHECK_POLL(device, 0, "discard 5+2,9+1 | ack inflate/1");
            vm_end();
        }
    }
}

Test(virtio_buffers, with_an_odd_tail_are_read_up_to_it)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, "\5\0\0\0\6\0\0", 7, 0),
                 BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "discard 5+1 | ack inflate/1");
    cr_assert_eq(vm_counters(device).tail_bytes, 3);
    cr_assert_eq(vm_counters(device).protocol_errors, 1);
}

Test(virtio_buffers, of_inflate_and_deflate_have_nothing_to_write_into)
{
    balloon_device *device = vm_simple(0);
    balloon_virtio_span span = {0, 4096};

    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_INFLATE, 1, &span, 1, 0),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_DEFLATE, 2, &span, 1, 0),
                 BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "ack inflate/1 | ack deflate/2");
    cr_assert_eq(vm_status(device).held, 0);
}

/* --- byte orders ------------------------------------------------------------------------------ */

static balloon_device *legacy(balloon_endian endian)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .features = BALLOON_F_ALL};
    balloon_virtio_options options = {.size = sizeof(options), .legacy_endian = endian};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_STATS | BALLOON_F_HINTING),
                 BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    return device;
}

Test(virtio_buffers, of_a_big_endian_legacy_guest)
{
    balloon_device *device = legacy(BALLOON_BIG_ENDIAN);
    balloon_sample sample;

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, "\0\0\1\2", 4, 0), BALLOON_OK);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_DEFLATE, 2, "\0\0\1\2", 4, 0), BALLOON_OK);
    cr_assert_eq(vm_counters(device).cancelled, 1);
    CHECK_POLL(device, 0, "ack inflate/1 | ack deflate/2");
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 3, "", 0, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack stats/3");
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 3, "\0\4\0\0\0\0\0\0\1\2", 10, 0),
                 BALLOON_OK);
    cr_assert(balloon_device_sample(device, &sample));
    cr_assert_eq(sample.value[BALLOON_STAT_FREE], 0x102);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_HINT, 4, "\x80\0\0\0", 4, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_RUNNING);
    /* Configuration space is little-endian for all. */
    rig_write_config(device, 4, 0x1234);
    cr_assert_eq(vm_status(device).actual, 0x1234);
}

Test(virtio_buffers, of_a_little_endian_legacy_guest)
{
    balloon_device *device = legacy(BALLOON_LITTLE_ENDIAN);

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, "\2\1\0\0", 4, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 258+1 | ack inflate/1");
}

Test(virtio_buffers, of_a_modern_guest_are_little_endian_whatever_is_configured)
{
    balloon_device *device = legacy(BALLOON_BIG_ENDIAN);

    balloon_device_reset(device);
    rig_start(device, 0, 0);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, "\2\1\0\0", 4, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 258+1 | ack inflate/1");
}

/* --- 64-bit page numbers ---------------------------------------------------------------------- */

static balloon_device *windows(uint32_t features)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_virtio_options options = {.size = sizeof(options), .windows_pfns = true};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
    rig_start(device, features, 0);
    return device;
}

static balloon_status send64(balloon_device *device, balloon_virtio_queue queue, uint64_t cookie,
                             const uint64_t *pfns, size_t count)
{
    uint8_t bytes[4096];

    for (size_t i = 0; i < 8 * count; i++)
        bytes[i] = (uint8_t)(pfns[i / 8] >> 8 * (i % 8));
    return rig_send(device, queue, cookie, bytes, 8 * count, 0);
}

Test(virtio_buffers, of_windows_guests_have_64_bit_numbers)
{
    balloon_device *device = windows(0);
    static const uint64_t in[] = {7, 8, 9, 100, 99}, out[] = {8, 9};

    cr_assert_eq(send64(device, BALLOON_QUEUE_INFLATE, 1, in, 5), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 7+3,99+2 | ack inflate/1");
    cr_assert_eq(send64(device, BALLOON_QUEUE_DEFLATE, 2, out, 2), BALLOON_OK);
    cr_assert_eq(vm_status(device).held, 3);
    cr_assert_eq(vm_counters(device).deflated, 2);
}

Test(virtio_buffers, of_windows_guests_may_be_longer_than_the_devices_own)
{
    balloon_device *device = windows(0);
    uint64_t pfns[512];

    for (size_t i = 0; i < 512; i++)
        pfns[i] = i;
    cr_assert_eq(send64(device, BALLOON_QUEUE_INFLATE, 1, pfns, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+512 | ack inflate/1");
}

Test(virtio_buffers, with_64_bit_numbers_beyond_all_memory)
{
    static const uint64_t wild[] = {UINT64_MAX, 0, UINT64_C(1) << 32, UINT64_MAX - 1, UINT64_MAX};
    balloon_device *device = windows(0);

    cr_assert_eq(send64(device, BALLOON_QUEUE_INFLATE, 1, wild, 5), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "discard 0+1 | ack inflate/1");
    cr_assert_eq(vm_counters(device).inflate_outside, 4);
    cr_assert_eq(send64(device, BALLOON_QUEUE_DEFLATE, 2, wild, 5), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(vm_counters(device).deflate_outside, 4);
}

Test(virtio_buffers, with_64_bit_numbers_do_not_inflate_beside_ram_above_16_tib)
{
    balloon_region ram[2] = {{0, 4096, 1}, {UINT64_C(1) << 32, 64, 1}};
    balloon_device_config config = {.size = sizeof(config), .regions = ram, .region_count = 2};
    balloon_virtio_options options = {.size = sizeof(options), .windows_pfns = true};
    balloon_device *device = vm_device(&config);
    static const uint64_t pfns[] = {5, 6, 9};

    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
    rig_start(device, 0, 0);
    cr_assert_eq(send64(device, BALLOON_QUEUE_INFLATE, 1, pfns, 3), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_counters(device).inflate_outside, 3);
}
