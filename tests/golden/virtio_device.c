/* Bytes as guests of the field put them into their buffers, and what a device does about them. */
#include "vm.h"

TestSuite(golden_device, .fini = vm_end);

#define ALL_SPECIFIED (BALLOON_F_ALL & ~BALLOON_F_MUST_TELL)

/* 8 GiB of RAM without a hole. */
static balloon_device *guest(uint64_t granule, const balloon_virtio_options *options,
                             uint64_t features)
{
    balloon_region ram = {0, UINT64_C(8) << 18, granule};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .features = ALL_SPECIFIED};
    balloon_device *device = vm_device(&config);

    if (options)
        cr_assert_eq(balloon_virtio_configure(device, options), BALLOON_OK);
    cr_assert_eq(balloon_virtio_set_features(device, features), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    return device;
}

static balloon_device *modern(void)
{
    return guest(1, NULL, ALL_SPECIFIED | BALLOON_VIRTIO_F_VERSION_1);
}

static balloon_device *big_endian(void)
{
    balloon_virtio_options options = {.size = sizeof(options), .legacy_endian = BALLOON_BIG_ENDIAN};

    return guest(1, &options, ALL_SPECIFIED);
}

static const uint8_t vector_01[] = {0x00, 0x01, 0x00, 0x00, 0x01, 0x01,
                                    0x00, 0x00, 0x45, 0x23, 0x01, 0x00};

Test(golden_device, vector_01_inflate)
{
    balloon_device *device = modern();
    balloon_action action;

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, vector_01, 12, 0), BALLOON_OK);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_DISCARD);
    cr_assert_eq(action.run_count, 2);
    cr_assert_eq(action.runs[0].range.first << BALLOON_PAGE_SHIFT, 0x100000);
    cr_assert_eq(action.runs[0].range.count << BALLOON_PAGE_SHIFT, 0x2000);
    cr_assert_eq(action.runs[1].range.first << BALLOON_PAGE_SHIFT, 0x12345000);
    cr_assert_eq(action.runs[1].range.count << BALLOON_PAGE_SHIFT, 0x1000);
    CHECK_POLL(device, 0, "ack inflate/1");
}

Test(golden_device, vector_02_inflate_of_a_big_endian_legacy_guest)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0x23, 0x45, 0x00, 0x01, 0x23, 0x46};
    balloon_device *device = big_endian();

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, bytes, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 74565+2 | ack inflate/1"); /* 0x12345 */
    device = modern();
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, bytes, 8, 0), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "ack inflate/1");
}

Test(golden_device, vector_03_inflate_of_one_64_kib_page)
{
    balloon_device *device = guest(16, NULL, BALLOON_VIRTIO_F_VERSION_1);
    uint8_t bytes[64];

    for (unsigned i = 0; i < 16; i++)
        memcpy(bytes + i * 4, (uint8_t[]){(uint8_t)i, 0x00, 0x04, 0x00}, 4);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, bytes, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 262144+16 | ack inflate/1"); /* at 0x40000000 */
}

Test(golden_device, vector_04_inflate_with_an_odd_tail)
{
    balloon_device *device = modern();

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, vector_01, 6, 0), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "discard 256+1 | ack inflate/1");
    cr_assert_eq(vm_counters(device).tail_bytes, 2);
}

Test(golden_device, vector_05_the_last_page_that_32_bits_can_name)
{
    balloon_region last = {UINT32_MAX, 1, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &last, .region_count = 1};
    balloon_device *device = modern();

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, "\xff\xff\xff\xff", 4, 0),
                 BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_counters(device).inflate_outside, 1);
    device = vm_device(&config);
    rig_start(device, 0, 0);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, "\xff\xff\xff\xff", 4, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 4294967295+1 | ack inflate/1");
}

Test(golden_device, vector_06_inflate_with_a_duplicate)
{
    static const uint8_t bytes[] = {0x00, 0x05, 0x00, 0x00, 0x00, 0x05,
                                    0x00, 0x00, 0x01, 0x05, 0x00, 0x00};
    balloon_device *device = modern();

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, bytes, 12, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 1280+2 | ack inflate/1");
    cr_assert_eq(vm_status(device).held, 2);
    cr_assert_eq(vm_counters(device).inflate_duplicate, 1);
}

static const uint8_t vector_07[] = {0xb3, 0xa2, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
                                    0xb4, 0xa2, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00};

Test(golden_device, vector_07_inflate_of_a_64_bit_windows_guest)
{
    balloon_virtio_options options = {.size = sizeof(options), .windows_pfns = true};
    balloon_device *device = guest(1, &options, BALLOON_VIRTIO_F_VERSION_1);

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, vector_07, 16, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 107187+2 | ack inflate/1"); /* 0x1a2b3 */
    /* Read as 32-bit numbers, page 0 is among them, twice. */
    device = modern();
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, vector_07, 16, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+1,107187+2 | ack inflate/1");
}

Test(golden_device, vector_08_a_number_in_two_descriptors)
{
    balloon_iov iov[] = {{vector_01, 2}, {vector_01 + 2, 2}};
    balloon_virtio_buffer buffer = {.cookie = 1, .readable = iov, .readable_count = 2};
    balloon_device *device = modern();

    cr_assert_eq(balloon_virtio_receive(device, 0, &buffer, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 256+1 | ack inflate/1");
}

Test(golden_device, vector_09_a_page_of_the_balloon_moves)
{
    balloon_device *device = modern();

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, vector_01, 4, 0), BALLOON_OK);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 2, "\0\2\0\0", 4, 0), BALLOON_OK);
    rig_drain(device, 0);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_DEFLATE, 3, vector_01, 4, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/3");
    cr_assert_eq(vm_status(device).held, 1);
    cr_assert_eq(balloon_tracker_count(balloon_device_tracker(device), BALLOON_SET_HELD,
                                       (balloon_range){0x200, 1}),
                 1);
}

Test(golden_device, vector_10_configuration_space)
{
    static const uint8_t expected[] = {0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x02, 0x00,
                                       0x01, 0x00, 0x00, 0x80, 0xaa, 0xaa, 0xaa, 0xaa};
    balloon_device *device = modern();
    uint8_t bytes[16];

    balloon_device_reset(device);
    cr_assert_eq(balloon_virtio_set_features(device, ALL_SPECIFIED | BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_OK);
    balloon_virtio_config_write(device, 12, expected + 12, 4);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 0x40000, 0), BALLOON_OK);
    balloon_virtio_config_write(device, 4, expected + 4, 4);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    balloon_virtio_config_read(device, 0, bytes, sizeof(bytes));
    cr_assert_eq(memcmp(bytes, expected, sizeof(bytes)), 0);
}

Test(golden_device, vector_11_a_legacy_driver_writes_actual_byte_by_byte)
{
    static const uint8_t bytes[] = {0xcd, 0xab, 0x01, 0x00};
    balloon_device *device = big_endian();

    rig_write_config(device, 4, 0x20000);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(vm_status(device).actual, 0x20000);
        balloon_virtio_config_write(device, 4 + i, &bytes[i], 1);
    }
    cr_assert_eq(vm_status(device).actual, 0x1abcd);
}

/* --- statistics ------------------------------------------------------------------------------- */

static balloon_sample sample_of(balloon_device *device, const uint8_t *bytes, size_t count,
                                balloon_status expected)
{
    balloon_sample sample;

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 1, bytes, count, 42), expected);
    CHECK_POLL(device, 42, "stats");
    cr_assert(balloon_device_sample(device, &sample));
    cr_assert_eq(sample.time, 42);
    return sample;
}

static const uint8_t vector_12[] = {0x04, 0x00, 0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0x00, 0x00,
                                    0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00};

Test(golden_device, vector_12_statistics)
{
    balloon_sample sample = sample_of(modern(), vector_12, 20, BALLOON_OK);

    cr_assert_eq(sample.value[BALLOON_STAT_FREE], 0x12345678);
    cr_assert_eq(sample.value[BALLOON_STAT_TOTAL], 0x200000000);
}

Test(golden_device, vector_13_statistics_of_a_big_endian_legacy_guest)
{
    static const uint8_t bytes[] = {0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x12, 0x34, 0x56, 0x78,
                                    0x00, 0x05, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00};
    balloon_device *device = big_endian();

    /* A legacy driver's first buffer is only kept, to be returned for the next. */
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 9, bytes, 20, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_request_stats(device, 1), BALLOON_OK);
    CHECK_POLL(device, 1, "ack stats/9");

    balloon_sample sample = sample_of(device, bytes, 20, BALLOON_OK);

    cr_assert_eq(sample.value[BALLOON_STAT_FREE], 0x12345678);
    cr_assert_eq(sample.value[BALLOON_STAT_TOTAL], 0x200000000);
}

Test(golden_device, vector_14_an_unknown_statistic)
{
    static const uint8_t bytes[] = {0xff, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                    0x06, 0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00};
    balloon_sample sample = sample_of(modern(), bytes, 20, BALLOON_OK);

    cr_assert_eq(sample.ignored, 1);
    cr_assert_eq(sample.value[BALLOON_STAT_AVAILABLE], 0x40000000);
}

Test(golden_device, vector_15_the_statistics_of_linux_6_12)
{
    static const uint8_t bytes[] = {0x0a, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                    0x0f, 0x00, 0x00, 0x70, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
    balloon_sample sample = sample_of(modern(), bytes, 20, BALLOON_OK);

    cr_assert_eq(sample.value[BALLOON_STAT_OOM_KILL], 3);
    cr_assert_eq(sample.value[BALLOON_STAT_DIRECT_RECLAIM], 0x7000);
}

Test(golden_device, vector_16_the_first_statistics_of_windows)
{
    balloon_device *device = modern();
    balloon_sample sample;
    uint8_t bytes[100];

    memset(bytes, 0xff, sizeof(bytes));
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 1, bytes, 100, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
    cr_assert_not(balloon_device_sample(device, &sample));
}

Test(golden_device, vector_17_statistics_with_half_a_record)
{
    balloon_device *device = modern();
    balloon_sample sample = sample_of(device, vector_12, 12, BALLOON_ERR_PROTOCOL);

    cr_assert_eq(sample.present, 1u << BALLOON_STAT_FREE);
    cr_assert_eq(vm_counters(device).tail_bytes, 2);
}

/* --- hints and reports ------------------------------------------------------------------------ */

Test(golden_device, vectors_18_and_19_a_round_of_hints)
{
    static const uint8_t begin[2][4] = {{0x01, 0x00, 0x00, 0x80}, {0x80, 0x00, 0x00, 0x01}};
    balloon_virtio_span block = {0x7fc00000, 4 << 20};
    balloon_device *const devices[2] = {modern(), big_endian()};

    for (unsigned i = 0; i < 2; i++) {
        balloon_device *device = devices[i];

        cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
        cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
        cr_assert_eq(rig_read_config(device, 8), 0x80000001);
        cr_assert_eq(rig_send(device, BALLOON_QUEUE_HINT, 1, begin[i], 4, 0), BALLOON_OK);
        cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_HINT, 2, &block, 1, 0), BALLOON_OK);
        cr_assert_eq(rig_send(device, BALLOON_QUEUE_HINT, 3, "\0\0\0", 4, 0), BALLOON_OK);
        CHECK_POLL(device, 0, "irq | ack hint/1 | ack hint/2 | ack hint/3 | hinted");
        cr_assert_eq(balloon_tracker_count(balloon_device_tracker(device), BALLOON_SET_HINTED,
                                           (balloon_range){0x7fc00, 1024}),
                     1024);
    }
}

Test(golden_device, vector_20_a_report_of_two_blocks)
{
    balloon_virtio_span blocks[] = {{0x10000000, 2 << 20}, {0x2fe00000, 2 << 20}};
    balloon_device *device = guest(1, NULL, BALLOON_F_REPORTING | BALLOON_VIRTIO_F_VERSION_1);

    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 1, blocks, 2, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 65536+512,196096+512 | ack report/1");
}

Test(golden_device, vector_21_hints_of_two_rounds)
{
    balloon_device *device = modern();
    const balloon_tracker *tracker = balloon_device_tracker(device);
    balloon_run run;

    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    cr_assert_eq(vm_hint_command(device, 1, 0x80000001), BALLOON_OK);
    cr_assert_eq(vm_hint(device, 2, 0x1000, 1024), BALLOON_OK); /* X */
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_SKIP, (balloon_range){0x1000, 1024}),
                 1024);
    cr_assert_eq(balloon_device_stop_hinting(device), BALLOON_OK);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    cr_assert_eq(rig_read_config(device, 8), 0x80000002);
    cr_assert_eq(vm_hint(device, 3, 0x2000, 1024), BALLOON_OK); /* Y, of the old round */
    cr_assert_eq(vm_hint_command(device, 4, 0), BALLOON_OK);    /* its stop */
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_REQUESTED);
    cr_assert_eq(vm_hint_command(device, 5, 0x80000002), BALLOON_OK);
    cr_assert_eq(vm_hint(device, 6, 0x3000, 1024), BALLOON_OK); /* Z */
    cr_assert_eq(vm_hint_command(device, 7, 0), BALLOON_OK);
    CHECK_POLL(device, 0,
               "irq | ack hint/1 | ack hint/2 | ack hint/3 | ack hint/4 | ack hint/5 | "
               "ack hint/6 | ack hint/7 | hinted");
    cr_assert(balloon_tracker_next(tracker, BALLOON_SET_HINTED, (balloon_range){0, 1 << 20}, &run));
    cr_assert_eq(run.range.first, 0x3000);
    cr_assert_eq(vm_status(device).hinted, 1024);
    cr_assert_eq(balloon_device_finish_hinting(device), BALLOON_OK);
    cr_assert_eq(rig_read_config(device, 8), BALLOON_VIRTIO_HINT_DONE);
}

Test(golden_device, vector_22_reports_of_a_guest_with_a_pattern_in_free_pages)
{
    static const uint8_t patterns[2][4] = {{0x00, 0x00, 0x00, 0x00}, {0xaa, 0xaa, 0xaa, 0xaa}};
    static const char *const answers[2] = {"discard 65536+512 | ack report/1", "ack report/1"};

    for (unsigned i = 0; i < 2; i++) {
        balloon_device *device = modern();

        balloon_device_reset(device);
        cr_assert_eq(
            balloon_virtio_set_features(device, ALL_SPECIFIED | BALLOON_VIRTIO_F_VERSION_1),
            BALLOON_OK);
        balloon_virtio_config_write(device, 12, patterns[i], 4);
        cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
        cr_assert_eq(vm_report(device, 1, 0x10000, 512), BALLOON_OK);
        CHECK_POLL(device, 0, answers[i]);
    }
}

/* As in the drafts of 2026: four page numbers, then room for a byte; the used length is 1. */
Test(golden_device, draft_inflate_with_room_for_bits)
{
    static const uint8_t little[] = {0x00, 0x10, 0, 0, 0x01, 0x10, 0, 0,
                                     0x02, 0x10, 0, 0, 0x00, 0x20, 0, 0};
    static const uint8_t big[] = {0, 0, 0x10, 0x00, 0, 0, 0x10, 0x01,
                                  0, 0, 0x10, 0x02, 0, 0, 0x20, 0x00};
    balloon_region ram = {0, 16384, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_DEVICE_INIT_ON_INFLATE};
    balloon_virtio_options options = {.size = sizeof(options), .legacy_endian = BALLOON_BIG_ENDIAN};

    for (unsigned legacy = 0; legacy < 2; legacy++) {
        balloon_device *device = vm_device(&config);
        balloon_iov iov = {legacy ? big : little, 16};
        balloon_virtio_span bits = {0x7000, 1};
        balloon_virtio_buffer buffer = {.cookie = 1,
                                        .readable = &iov,
                                        .readable_count = 1,
                                        .writable = &bits,
                                        .writable_count = 1};
        balloon_action action;

        cr_assert_eq(balloon_virtio_features(device), 0x100000080);
        cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
        cr_assert_eq(
            balloon_virtio_set_features(device, 0x80 | (legacy ? 0 : BALLOON_VIRTIO_F_VERSION_1)),
            BALLOON_OK);
        cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
        cr_assert_eq(balloon_virtio_receive(device, 0, &buffer, 0), BALLOON_OK);
        cr_assert(balloon_device_poll(device, 0, &action));
        cr_assert_eq(action.run_count, 2);
        cr_assert_eq(action.runs[0].range.first, 0x1000);
        balloon_device_discard_zeroed(device);
        cr_assert(balloon_device_poll(device, 0, &action));
        cr_assert_eq(action.type, BALLOON_ACTION_ACK);
        cr_assert_eq(action.used_bytes, 1);
        cr_assert_eq(action.used[0], 0x0f);
    }
}

/* One page of 4 KiB at 0x1000000: the used length is 4096. */
Test(golden_device, draft_report_that_is_zero)
{
    balloon_region ram = {0, 8192, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features =
                                        BALLOON_F_REPORTING | BALLOON_F_DEVICE_INIT_REPORTED};
    balloon_device *device = vm_device(&config);
    balloon_action action;

    cr_assert_eq(balloon_virtio_features(device), 0x100000060);
    rig_start(device, 0x60, 0);
    cr_assert_eq(vm_report(device, 1, 0x1000, 1), BALLOON_OK);
    cr_assert(balloon_device_poll(device, 0, &action));
    balloon_device_discard_zeroed(device);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_ACK);
    cr_assert_eq(action.queue, 2);
    cr_assert_eq(action.used_bytes, 4096);
    cr_assert_null(action.used);
}

Test(golden_device, vector_24_empty_buffers)
{
    balloon_device *device = modern();
    balloon_sample sample;

    cr_assert_eq(rig_send(device, BALLOON_QUEUE_INFLATE, 1, NULL, 0, 0), BALLOON_OK);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_DEFLATE, 2, NULL, 0, 0), BALLOON_OK);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 3, NULL, 0, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1 | ack deflate/2");
    cr_assert_not(balloon_device_sample(device, &sample));
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
}
