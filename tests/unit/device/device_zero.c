/* What the guest is told reads as zeros (experimental): only what was discarded before its answer,
 * by discards that the embedder has confirmed. */
#include <stdio.h>
#include <stdlib.h>

#include "vm.h"

TestSuite(device_zero, .fini = vm_end);

#define INFLATE BALLOON_F_DEVICE_INIT_ON_INFLATE
#define REPORT  (BALLOON_F_REPORTING | BALLOON_F_DEVICE_INIT_REPORTED)
#define BOTH    (INFLATE | REPORT)

/* What the embedder does about a discard. */
enum way { CONFIRM, SAY_NOTHING, FAIL, FAIL_AND_CONFIRM, CONFIRM_AND_FAIL };

static void discard(balloon_device *device, const balloon_action *action, enum way way)
{
    balloon_run run = action->runs[0];

    run.range.count = 1;
    if (way == FAIL || way == FAIL_AND_CONFIRM)
        balloon_device_discard_failed(device, &run, 0);
    if (way != SAY_NOTHING && way != FAIL)
        balloon_device_discard_zeroed(device);
    if (way == CONFIRM_AND_FAIL)
        balloon_device_discard_failed(device, &run, 0);
}

/* Poll until there is nothing to do: what was discarded is in brackets, each answer has its cookie,
 * its used length, and the bits it brings. */
static const char *poll_all(balloon_device *device, enum way way)
{
    static char text[4096];
    size_t at = 0;
    const char *why = NULL;
    balloon_action a;

    text[0] = '\0';
    while (balloon_device_poll(device, 0, &a)) {
        cr_assert(balloon_device_check(device, &why), "%s", why);
        at += (size_t)snprintf(text + at, sizeof(text) - at, at ? " " : "");
        if (a.type == BALLOON_ACTION_DISCARD) {
            for (uint32_t i = 0; i < a.run_count; i++)
                at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u+%u", i ? "," : "[",
                                       (unsigned)a.runs[i].range.first,
                                       (unsigned)a.runs[i].range.count);
            at += (size_t)snprintf(text + at, sizeof(text) - at, "]");
            cr_assert_null(a.used);
            cr_assert_eq(a.used_bytes, 0);
            discard(device, &a, way);
        } else if (a.type == BALLOON_ACTION_ACK) {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%u:%u", (unsigned)a.cookie,
                                   (unsigned)a.used_bytes);
            for (uint32_t i = 0; a.used && i < a.used_bytes; i++)
                at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%02x", i ? "" : "=",
                                       a.used[i]);
        }
    }
    return text;
}

#define CHECK_ANSWERS(device, way, expected) CHECK_TEXT(poll_all(device, way), expected)

/* An inflate buffer, with room for so many bytes of bits. */
static balloon_status send(balloon_device *device, uint64_t cookie, const uint32_t *pfns,
                           size_t count, uint64_t room)
{
    static uint8_t bytes[16384];
    balloon_iov iov = {bytes, count * 4};
    balloon_virtio_span span = {UINT64_C(0x7f000000), room};
    balloon_virtio_buffer buffer = {.cookie = cookie,
                                    .readable = &iov,
                                    .readable_count = 1,
                                    .writable = &span,
                                    .writable_count = room ? 1 : 0};

    balloon_virtio_write_pfns(pfns, count, BALLOON_LITTLE_ENDIAN, bytes, sizeof(bytes));
    return balloon_virtio_receive(device, (uint32_t)rig_queue(device, BALLOON_QUEUE_INFLATE),
                                  &buffer, 0);
}

static balloon_status send_run(balloon_device *device, uint64_t cookie, uint32_t first,
                               uint32_t count, uint64_t room)
{
    static uint32_t pfns[4096];

    for (uint32_t i = 0; i < count; i++)
        pfns[i] = first + i;
    return send(device, cookie, pfns, count, room);
}

/* --- inflate ---------------------------------------------------------------------------------- */

Test(device_zero, each_page_that_was_discarded_has_its_bit)
{
    balloon_device *device = vm_simple(INFLATE);

    cr_assert_eq(send(device, 1, VM_PFNS(9, 5, 700, 6), 1), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[5+2,9+1,700+1] 1:1=0f");
    cr_assert_eq(vm_counters(device).zeroed, 4);
    cr_assert_eq(send_run(device, 2, 1000, 9, 2), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[1000+9] 2:2=ff01");
    cr_assert_eq(vm_counters(device).zeroed, 13);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
}

Test(device_zero, what_nobody_has_confirmed_is_not_claimed)
{
    balloon_device *device = vm_simple(INFLATE);

    cr_assert_eq(send_run(device, 1, 0, 8, 1), BALLOON_OK);
    CHECK_ANSWERS(device, SAY_NOTHING, "[0+8] 1:0");
    cr_assert_eq(vm_counters(device).zeroed, 0);
}

Test(device_zero, nor_what_has_failed_whatever_else_is_said)
{
    balloon_device *device = vm_simple(BOTH);
    const enum way ways[] = {FAIL, FAIL_AND_CONFIRM, CONFIRM_AND_FAIL};

    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(send(device, 1, VM_PFNS(2 + 100 * i, 3 + 100 * i), 1), BALLOON_OK);
        cr_assert_eq(vm_report(device, 2, 10 + 100 * i, 2), BALLOON_OK);
        (void)poll_all(device, ways[i]);
        cr_assert_eq(vm_counters(device).zeroed, 0, "way %d", (int)ways[i]);
    }
}

Test(device_zero, all_discards_of_a_buffer_must_be_confirmed)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = BOTH,
                                    .run_batch = 1};
    balloon_device *device = vm_device(&config);
    balloon_action action;

    rig_start(device, BOTH, 0);
    for (unsigned skipped = 0; skipped < 4; skipped++) {
        cr_assert_eq(send(device, 1, VM_PFNS(2 + 8 * skipped, 4 + 8 * skipped), 1), BALLOON_OK);
        cr_assert_eq(vm_report(device, 2, 1000, 1), BALLOON_OK);
        for (unsigned i = 0; i < 3; i++) {
            cr_assert(balloon_device_poll(device, 0, &action));
            cr_assert_eq(action.type, BALLOON_ACTION_DISCARD);
            if (i != skipped)
                balloon_device_discard_zeroed(device);
        }
        CHECK_ANSWERS(device, CONFIRM, skipped < 3 ? "1:0 2:0" : "1:1=03 2:4096");
    }
}

Test(device_zero, a_page_of_an_incomplete_granule_is_not_claimed)
{
    balloon_device *device = vm_granules(INFLATE, 4);

    cr_assert_eq(send(device, 1, VM_PFNS(7, 9, 5, 6, 4, 16), 1), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[4+4] 1:1=1d");
    /* Nor is it when the rest of it comes later: without MUST_TELL_HOST it is in use by then. */
    cr_assert_eq(send(device, 2, VM_PFNS(8, 10, 11), 1), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "2:1=00");
}

Test(device_zero, nor_are_pages_held_already_or_outside_of_ram)
{
    balloon_device *device = vm_simple(INFLATE);

    cr_assert_eq(send_run(device, 1, 10, 2, 1), BALLOON_OK);
    CHECK_ANSWERS(device, SAY_NOTHING, "[10+2] 1:0");
    cr_assert_eq(send(device, 2, VM_PFNS(10, 12, 4096, 12, UINT32_MAX), 1), BALLOON_ERR_PROTOCOL);
    CHECK_ANSWERS(device, CONFIRM, "[12+1] 2:1=0a");
}

Test(device_zero, the_room_for_bits_may_have_any_size)
{
    balloon_device *device = vm_simple(INFLATE);

    cr_assert_eq(send_run(device, 1, 0, 16, 0), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[0+16] 1:0");
    cr_assert_eq(send_run(device, 2, 16, 16, 1), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[16+16] 2:1=ff");
    cr_assert_eq(send_run(device, 3, 32, 3, UINT64_MAX), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[32+3] 3:1=07");
    cr_assert_eq(send_run(device, 4, 64, 0, 8), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "4:0");
    cr_assert_eq(vm_counters(device).zeroed, 11);

    /* In pieces whose lengths have no sum. */
    static const uint8_t bytes[] = {200, 0, 0, 0, 201, 0, 0, 0};
    balloon_iov iov = {bytes, sizeof(bytes)};
    balloon_virtio_span spans[] = {{0, 0}, {UINT64_MAX, UINT64_MAX}, {5, UINT64_MAX}};
    balloon_virtio_buffer buffer = {
        .cookie = 5, .readable = &iov, .readable_count = 1, .writable = spans, .writable_count = 3};

    cr_assert_eq(balloon_virtio_receive(device, 0, &buffer, 0), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[200+2] 5:1=03");
}

Test(device_zero, of_more_pages_than_256_the_first_have_bits)
{
    balloon_device *device = vm_simple(INFLATE);
    balloon_action action;

    cr_assert_eq(send_run(device, 1, 0, 1000, 125), BALLOON_OK);
    cr_assert(balloon_device_poll(device, 0, &action));
    balloon_device_discard_zeroed(device);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_ACK);
    cr_assert_eq(action.used_bytes, 32);
    for (unsigned i = 0; i < 32; i++)
        cr_assert_eq(action.used[i], 0xff);
    cr_assert_eq(vm_counters(device).zeroed, 256);
}

Test(device_zero, with_must_tell_host_a_buffer_with_room_for_bits_does_not_wait)
{
    balloon_device *device = vm_granules(INFLATE | BALLOON_F_MUST_TELL, 4);

    cr_assert_eq(send_run(device, 1, 0, 4, 0), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "1:0");
    cr_assert_eq(vm_status(device).ready, 4);
    /* What has waited goes with it; and what is not complete goes on waiting, not claimed. */
    cr_assert_eq(send_run(device, 2, 5, 4, 1), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[0+4] 2:1=00");
    cr_assert_eq(vm_status(device).pending, 4);
    cr_assert_eq(send(device, 3, VM_PFNS(4, 12), 1), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[4+4] 3:1=01");
    cr_assert_eq(vm_status(device).pending, 2);
    cr_assert_eq(vm_status(device).returned, 8);
}

Test(device_zero, of_several_buffers_that_wait_the_first_has_bits)
{
    balloon_device *device = vm_simple(INFLATE);

    cr_assert_eq(send_run(device, 1, 0, 4, 1), BALLOON_OK);
    cr_assert_eq(send_run(device, 2, 4, 4, 1), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[0+8] 1:1=0f 2:0");
    cr_assert_eq(send_run(device, 3, 8, 4, 1), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[8+4] 3:1=0f");
}

/* --- reports ---------------------------------------------------------------------------------- */

Test(device_zero, a_report_is_claimed_whole)
{
    balloon_device *device = vm_simple(REPORT);
    balloon_virtio_span spans[] = {{100 << 12, 4 << 12}, {0, 0}, {200 << 12, 1 << 12}};

    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 1, spans, 3, 0), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[100+4,200+1] 1:20480");
    cr_assert_eq(vm_counters(device).zeroed, 5);
    /* One buffer a range, as the draft of Linux has it. */
    for (uint64_t i = 0; i < 3; i++)
        cr_assert_eq(vm_report(device, i, 512 * i, 512), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[0+1536] 0:2097152 1:2097152 2:2097152");
    cr_assert_eq(vm_report(device, 7, 0, 512), BALLOON_OK);
    CHECK_ANSWERS(device, SAY_NOTHING, "[0+512] 7:0");
}

Test(device_zero, or_not_at_all)
{
    balloon_device *device = vm_granules(REPORT, 4);
    balloon_virtio_span odd[] = {{16 << 12, 4096 * 4 - 1}}, twice[] = {{0, 1 << 14}, {0, 1 << 14}};

    cr_assert_eq(vm_report(device, 1, 2, 8), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[4+4] 1:0");
    cr_assert_eq(vm_report(device, 2, 4092, 8), BALLOON_ERR_PROTOCOL);
    CHECK_ANSWERS(device, CONFIRM, "[4092+4] 2:0");
    (void)!rig_send_spans(device, BALLOON_QUEUE_REPORT, 3, odd, 1, 0);
    CHECK_ANSWERS(device, CONFIRM, "3:0");
    (void)!rig_send_spans(device, BALLOON_QUEUE_REPORT, 4, twice, 2, 0);
    CHECK_ANSWERS(device, CONFIRM, "[0+4] 4:0");
    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 5, NULL, 0, 0), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "5:0");
}

Test(device_zero, a_length_that_no_used_ring_can_say_is_not_claimed)
{
    balloon_region ram = {0, (UINT64_C(1) << 20) + 512, 512};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .features = REPORT};
    balloon_device *device = vm_device(&config);

    rig_start(device, REPORT, 0);
    cr_assert_eq(vm_report(device, 1, 0, ram.count), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[0+1049088] 1:0");
    cr_assert_eq(vm_report(device, 2, 512, (UINT64_C(1) << 20) - 512), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[512+1048064] 2:4292870144");
}

/* --- what comes between ----------------------------------------------------------------------- */

Test(device_zero, nothing_is_claimed_across_a_deflate)
{
    balloon_device *device = vm_simple(BOTH);
    balloon_action action;

    cr_assert_eq(send_run(device, 1, 0, 4, 1), BALLOON_OK);
    cr_assert_eq(vm_report(device, 2, 100, 4), BALLOON_OK);
    cr_assert(balloon_device_poll(device, 0, &action));
    balloon_device_discard_zeroed(device);
    cr_assert_eq(vm_deflate(device, 3, 2, 1, 0), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "1:0 2:0 3:0");
    /* A page that was reported and is deflated is not discarded, though nothing is left to do. */
    cr_assert_eq(vm_report(device, 4, 200, 2), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 5, 201, 1, 0), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[200+1] 4:0 5:0");
}

/* The answer of the first buffer forgets what is pending of all. */
Test(device_zero, nor_while_discards_are_inhibited)
{
    balloon_device *device = vm_simple(BOTH);

    cr_assert_eq(send_run(device, 1, 0, 4, 1), BALLOON_OK);
    cr_assert_eq(vm_report(device, 2, 100, 4), BALLOON_OK);
    cr_assert_eq(vm_report(device, 3, 200, 4), BALLOON_OK);
    balloon_device_inhibit(device);
    CHECK_ANSWERS(device, CONFIRM, "1:0 2:0 3:0");
    cr_assert_eq(vm_report(device, 4, 100, 4), BALLOON_OK);
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "4:0");
    cr_assert_eq(vm_counters(device).zeroed, 0);
}

Test(device_zero, nor_of_a_buffer_that_comes_while_a_discard_is_not_confirmed)
{
    balloon_device *device = vm_granules(BOTH, 4);
    balloon_action action;

    cr_assert_eq(vm_report(device, 1, 0, 4), BALLOON_OK);
    cr_assert(balloon_device_poll(device, 0, &action));
    /* The guest has written to its page meanwhile, and the granule is not complete now. */
    cr_assert_eq(send(device, 2, VM_PFNS(1), 1), BALLOON_OK);
    balloon_device_discard_zeroed(device);
    CHECK_ANSWERS(device, CONFIRM, "1:16384 2:0");
}

Test(device_zero, nor_after_a_reset_or_of_ram_that_is_gone)
{
    balloon_device *device = vm_simple(BOTH);
    balloon_action action;

    cr_assert_eq(send_run(device, 1, 0, 4, 1), BALLOON_OK);
    cr_assert(balloon_device_poll(device, 0, &action));
    balloon_device_reset(device);
    balloon_device_discard_zeroed(device);
    rig_start(device, BOTH, 0);
    cr_assert_eq(send_run(device, 2, 10, 4, 1), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[10+4] 2:1=0f");

    cr_assert_eq(send_run(device, 3, 20, 4, 1), BALLOON_OK);
    cr_assert_eq(vm_report(device, 4, 30, 4), BALLOON_OK);
    cr_assert_eq(balloon_device_remove_region(device, 0), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "3:0 4:0");
}

Test(device_zero, nor_by_a_device_that_was_loaded)
{
    balloon_device *from = vm_simple(BOTH), *to = vm_simple(BOTH);
    balloon_action action;

    cr_assert_eq(send_run(to, 9, 50, 4, 1), BALLOON_OK);
    cr_assert(balloon_device_poll(to, 0, &action));
    cr_assert_eq(send_run(from, 1, 0, 4, 1), BALLOON_OK);
    cr_assert_eq(vm_report(from, 2, 100, 4), BALLOON_OK);
    cr_assert(balloon_device_poll(from, 0, &action));
    balloon_device_discard_zeroed(from);
    cr_assert_eq(vm_move(from, 0, to, 0), BALLOON_OK);
    cr_assert_eq(send_run(to, 3, 200, 4, 1), BALLOON_OK);
    CHECK_ANSWERS(to, CONFIRM, "[200+4] 1:0 2:0 3:1=0f");
    CHECK_ANSWERS(from, CONFIRM, "1:1=0f 2:16384");
}

Test(device_zero, a_guest_whose_free_pages_hold_a_pattern_is_told_nothing)
{
    static const uint32_t patterns[] = {0xaaaaaaaa, 0};
    const uint32_t features = BOTH | BALLOON_F_POISON;

    for (unsigned i = 0; i < 3; i++) {
        balloon_device *device = vm_simple(features);

        balloon_device_reset(device);
        cr_assert_eq(balloon_virtio_set_features(device, features | BALLOON_VIRTIO_F_VERSION_1),
                     BALLOON_OK);
        if (i < 2)
            rig_write_config(device, 12, patterns[i]);
        cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
        cr_assert_eq(send_run(device, 1, 0, 4, 1), BALLOON_OK);
        cr_assert_eq(vm_report(device, 2, 100, 4), BALLOON_OK);
        CHECK_ANSWERS(device, CONFIRM, i == 1 ? "[0+4,100+4] 1:1=0f 2:16384" : "[0+4] 1:0 2:0");
    }
}

/* --- off -------------------------------------------------------------------------------------- */

static size_t bytes_for(uint32_t features)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .features = features};
    balloon_layout layout;

    cr_assert_eq(balloon_device_layout(&config, &layout), BALLOON_OK);
    return layout.bytes;
}

Test(device_zero, is_offered_only_when_it_is_asked_for)
{
    balloon_device *device = vm_simple(BALLOON_F_ALL & ~BALLOON_F_MUST_TELL);
    uint64_t none = balloon_virtio_features(device);

    cr_assert_eq(none & BALLOON_F_EXPERIMENTAL, 0);
    cr_assert_eq((BALLOON_F_DEFAULT | BALLOON_F_ALL) & BALLOON_F_EXPERIMENTAL, 0);
    cr_assert_eq(vm_status(vm_simple(0)).offered & BALLOON_F_EXPERIMENTAL, 0);
    cr_assert_eq(bytes_for(BALLOON_F_ALL), bytes_for(BALLOON_F_ALL | REPORT));
    cr_assert_leq(bytes_for(BALLOON_F_ALL | BOTH), bytes_for(BALLOON_F_ALL) + 1024 + 32 + 64);

    /* The bits are other proposals' to a driver that is not offered them. */
    balloon_device_reset(device);
    cr_assert_eq(balloon_virtio_set_features(device, none | BALLOON_F_EXPERIMENTAL), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).negotiated & BALLOON_F_EXPERIMENTAL, 0);
    cr_assert_eq(send_run(device, 1, 0, 4, 1), BALLOON_ERR_PROTOCOL);
    CHECK_ANSWERS(device, CONFIRM, "[0+4] 1:0");
    rig_write_config(device, 12, 0);
    cr_assert_eq(vm_report(device, 2, 100, 4), BALLOON_OK);
    cr_assert_not(strstr(poll_all(device, CONFIRM), "16384"));
}

Test(device_zero, a_driver_need_not_take_it)
{
    balloon_device *device = vm_simple(BOTH);

    balloon_device_reset(device);
    rig_start(device, BALLOON_F_REPORTING, 0);
    cr_assert_eq(send_run(device, 1, 0, 4, 0), BALLOON_OK);
    cr_assert_eq(vm_report(device, 2, 100, 4), BALLOON_OK);
    CHECK_ANSWERS(device, CONFIRM, "[0+4,100+4] 1:0 2:0");
    cr_assert_eq(send_run(device, 3, 10, 4, 1), BALLOON_ERR_PROTOCOL);
    CHECK_ANSWERS(device, CONFIRM, "[10+4] 3:0");
}

Test(device_zero, of_reports_needs_reports)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_DEVICE_INIT_REPORTED};
    balloon_layout layout;

    cr_assert_eq(balloon_device_layout(&config, &layout), BALLOON_ERR_INVALID);
    cr_assert_str_eq(balloon_device_config_check(&config),
                     "features: BALLOON_F_DEVICE_INIT_REPORTED without BALLOON_F_REPORTING");
    config.features = (uint32_t)1 << 8;
    cr_assert_str_eq(balloon_device_config_check(&config), "features: not BALLOON_F_*");
}
