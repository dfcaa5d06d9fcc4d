/* Save and load: the loading device goes on where the saving one was. */
#include <stdlib.h>

#include "vm.h"

TestSuite(device_save, .fini = vm_end);

/* Times at the saving and at the loading side: their clocks have nothing in common. */
#define THEN (1000 * VM_SECOND)
#define NOW  (5000 * VM_SECOND)

static balloon_device *blank(uint64_t granule)
{
    balloon_region ram = {0, 4096, granule};
    balloon_device_config config = {
        .size = sizeof(config),
        .regions = &ram,
        .region_count = 1,
        .max_pages = 16384,
        .features = BALLOON_F_ALL,
    };

    return vm_device(&config);
}

static balloon_device *started(uint64_t granule, uint32_t features)
{
    balloon_device *device = blank(granule);

    rig_start(device, features, THEN);
    return device;
}

/* A new device with what this one has saved. */
static balloon_device *moved(const balloon_device *device, uint64_t granule)
{
    balloon_device *to = blank(granule);

    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    cr_assert(balloon_device_check(to, NULL));
    return to;
}

/* Devices that save the same bytes are in the same state. */
static void check_same(const balloon_device *a, balloon_time_t when_a, const balloon_device *b,
                       balloon_time_t when_b)
{
    size_t bytes_a, bytes_b;
    void *saved_a = rig_save(a, when_a, &bytes_a), *saved_b = rig_save(b, when_b, &bytes_b);

    cr_assert_eq(bytes_a, bytes_b);
    cr_assert_eq(memcmp(saved_a, saved_b, bytes_a), 0);
    free(saved_a);
    free(saved_b);
}

/* Or the guest's page numbers would be read in another way than it writes them. */
Test(device_save, needs_the_same_options_at_the_other_side)
{
    balloon_virtio_options options = {.size = sizeof(options), .legacy_endian = BALLOON_BIG_ENDIAN};
    balloon_device *device = blank(1), *to = blank(1);

    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
    cr_assert_eq(balloon_virtio_set_features(device, 0), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, THEN), BALLOON_OK);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(balloon_virtio_configure(to, &options), BALLOON_OK);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    cr_assert(vm_status(to).driver);
}

Test(device_save, tells_the_bytes_it_needs)
{
    balloon_device *device = started(1, BALLOON_F_MUST_TELL);
    size_t used = 0;

    cr_assert_eq(vm_inflate(device, 1, 3, 1, THEN), BALLOON_OK);
    size_t needed = balloon_device_save_bytes(device);
    uint8_t *room = malloc(needed + 1);

    for (size_t bytes = 0; bytes <= needed; bytes++) {
        room[bytes] = 0x77;
        cr_assert_eq(balloon_device_save(device, THEN, room, bytes, &used),
                     bytes < needed ? BALLOON_ERR_NOSPACE : BALLOON_OK);
        cr_assert_eq(used, needed);
        cr_assert_eq(room[bytes], 0x77);
    }
    free(room);
}

Test(device_save, a_fresh_device)
{
    balloon_device *device = blank(1), *to = moved(device, 1);

    check_same(device, THEN, to, NOW);
    CHECK_POLL(to, NOW, "");
}

Test(device_save, target_actual_and_features)
{
    balloon_device *device = started(1, BALLOON_F_STATS | BALLOON_F_DEFLATE_ON_OOM);

    cr_assert_eq(balloon_device_set_target(device, 64, THEN), BALLOON_OK);
    rig_write_config(device, 4, 48);
    balloon_device *to = moved(device, 1);
    cr_assert_eq(vm_status(to).target, 64);
    cr_assert_eq(vm_status(to).actual, 48);
    cr_assert_eq(vm_status(to).negotiated, BALLOON_F_STATS | BALLOON_F_DEFLATE_ON_OOM);
    cr_assert(vm_status(to).driver);
    cr_assert_eq(rig_read_config(to, 0), 64);
    /* The interrupt that was due still is. */
    CHECK_POLL(to, NOW, "irq");
    cr_assert_eq(balloon_device_set_target(to, 128, NOW), BALLOON_OK);
}

Test(device_save, features_chosen_by_a_driver_that_is_not_ready_yet)
{
    balloon_device *device = blank(1);

    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_POISON | BALLOON_F_REPORTING |
                                                         BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_OK);
    rig_write_config(device, 12, 0);
    balloon_device *to = moved(device, 1);
    cr_assert_eq(balloon_virtio_driver_ok(to, 0, NOW), BALLOON_OK);
    cr_assert_eq(vm_report(to, 1, 0, 64), BALLOON_OK);
    CHECK_POLL(to, NOW, "discard 0+64 | ack report/1");
}

Test(device_save, a_pattern_of_free_pages)
{
    balloon_device *device = blank(1);

    cr_assert_eq(balloon_virtio_set_features(device, BALLOON_F_ALL | BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_OK);
    rig_write_config(device, 12, 0xaaaaaaaa);
    rig_start(device, BALLOON_F_ALL, THEN);
    balloon_device *to = moved(device, 1);
    cr_assert_eq(rig_read_config(to, 12), 0xaaaaaaaa);
    cr_assert_eq(vm_report(to, 1, 0, 64), BALLOON_OK);
    CHECK_POLL(to, NOW, "ack report/1");
}

Test(device_save, half_of_actual)
{
    balloon_device *device = started(1, 0);

    balloon_virtio_config_write(device, 4, "\xcd\xab", 2);
    balloon_device *to = moved(device, 1);
    balloon_virtio_config_write(to, 6, "\x01\x00", 2);
    cr_assert_eq(vm_status(to).actual, 0x1abcd);
}

Test(device_save, queue_numbers_that_were_found)
{
    balloon_device *device = blank(1);
    uint32_t features = BALLOON_F_STATS | BALLOON_F_REPORTING;

    /* Hints are not chosen, and reports are queue 3. */
    cr_assert_eq(balloon_virtio_set_features(device, features | BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0x0f, THEN), BALLOON_OK);
    balloon_device *to = moved(device, 1);
    cr_assert_eq(balloon_virtio_queue_of(to, 3), BALLOON_QUEUE_REPORT);
}

/* --- buffers and pages ------------------------------------------------------------------------ */

Test(device_save, buffers_that_wait_are_acknowledged_at_the_other_side)
{
    balloon_device *device = started(1, BALLOON_F_ALL);

    cr_assert_eq(vm_inflate(device, 7, 0, 8, THEN), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 8, 4, 2, THEN), BALLOON_OK);
    balloon_device *to = moved(device, 1);
    CHECK_POLL(to, NOW, "ack inflate/7 | ack deflate/8");
    cr_assert_eq(vm_status(to).held, 6);
    CHECK_POLL(to, NOW + 100 * VM_MS, "discard 0+4,6+2");
}

Test(device_save, buffers_of_a_ring_that_has_wrapped)
{
    balloon_device *device = started(1, 0);

    for (uint64_t i = 0; i < 200; i++)
        cr_assert_eq(vm_inflate(device, i, 0, 1, THEN), BALLOON_OK);
    rig_drain(device, THEN);
    for (uint64_t i = 0; i < 100; i++)
        cr_assert_eq(vm_deflate(device, i, 0, 1, THEN), BALLOON_OK);
    balloon_device *to = moved(device, 1);
    cr_assert_eq(rig_drain(to, NOW), 100);
}

Test(device_save, without_must_tell_pages_are_discarded_before_the_acknowledgement_there)
{
    balloon_device *device = started(1, 0);

    cr_assert_eq(vm_inflate(device, 7, 0, 8, THEN), BALLOON_OK);
    balloon_device *to = moved(device, 1);
    CHECK_POLL(to, NOW, "discard 0+8 | ack inflate/7");
}

Test(device_save, reported_pages_are_acknowledged_there_without_a_discard)
{
    balloon_device *device = started(1, BALLOON_F_REPORTING | BALLOON_F_MUST_TELL);

    cr_assert_eq(vm_report(device, 7, 0, 512), BALLOON_OK);
    CHECK_POLL(moved(device, 1), NOW, "ack report/7");
}

Test(device_save, held_pages_of_every_pattern)
{
    balloon_device *device = started(1, 0);
    balloon_region dimm = {8192 + 100, 1000, 1};
    balloon_device *to = blank(1);

    cr_assert_eq(balloon_device_add_region(device, &dimm, NULL), BALLOON_OK);
    cr_assert_eq(balloon_device_add_region(to, &dimm, NULL), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 512, THEN), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 1024, 511, THEN), BALLOON_OK);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 3,
                               VM_PFNS(2049, 2051, 4095, 8292, 9291), THEN),
                 BALLOON_OK);
    rig_drain(device, THEN);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    check_same(device, THEN, to, NOW);
    cr_assert_eq(vm_status(to).held, 512 + 511 + 5);
    cr_assert_eq(vm_status(to).pending, 0);
    CHECK_POLL(to, NOW, "");
}

Test(device_save, gathered_pages_leave_at_the_other_side)
{
    balloon_device *device = started(1, BALLOON_F_MUST_TELL);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, THEN), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, THEN, "discard 0+64 | ack inflate/1");
    cr_assert_eq(vm_inflate(device, 2, 64, 600, THEN), BALLOON_OK);
    CHECK_POLL(device, THEN, "ack inflate/2");
    balloon_device *to = moved(device, 1);
    cr_assert_eq(vm_status(to).pending, 600);
    CHECK_POLL(to, NOW, "");
    cr_assert_eq(balloon_device_deadline(to), NOW + 100 * VM_MS);
    CHECK_POLL(to, NOW + 100 * VM_MS, "discard 64+600");
}

Test(device_save, a_region_that_is_wholly_held_before_one_that_is_not)
{
    balloon_device *device = started(1, 0), *to = blank(1);
    balloon_region dimm = {8192, 4096, 1};

    cr_assert_eq(balloon_device_add_region(device, &dimm, NULL), BALLOON_OK);
    cr_assert_eq(balloon_device_add_region(to, &dimm, NULL), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 4096, THEN), BALLOON_OK);
    rig_drain(device, THEN);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    cr_assert_eq(vm_status(to).held, 4096);
    check_same(device, THEN, to, NOW);
}

Test(device_save, more_pages_than_the_other_side_lets_gather)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_ALL,
                                    .gather_pages = 64};
    balloon_device *device = started(1, BALLOON_F_MUST_TELL), *to = vm_device(&config);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, THEN), BALLOON_OK);
    CHECK_POLL(device, THEN, "ack inflate/1");
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    cr_assert_eq(balloon_device_deadline(to), 0);
    CHECK_POLL(to, NOW, "discard 0+64");
}

Test(device_save, a_flush_that_was_asked_for)
{
    balloon_device *device = started(1, BALLOON_F_MUST_TELL);

    cr_assert_eq(vm_inflate(device, 1, 0, 8, THEN), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(moved(device, 1), NOW, "discard 0+8 | ack inflate/1");
}

Test(device_save, granules_of_the_largest_size_are_given_back_once)
{
    static const uint64_t granules[] = {512, 1024, 4096};

    for (size_t i = 0; i < 3; i++) {
        balloon_device *device = started(granules[i], BALLOON_F_MUST_TELL);

        cr_assert_eq(vm_inflate(device, 1, 0, 4096, THEN), BALLOON_OK);
        balloon_device_flush(device);
        CHECK_POLL(device, THEN, "discard 0+4096 | ack inflate/1");
        balloon_device *to = moved(device, granules[i]);
        cr_assert_eq(vm_status(to).held, 4096);
        cr_assert_eq(vm_status(to).pending, 0);
    }
}

Test(device_save, a_host_with_larger_pages)
{
    balloon_device *device = started(1, BALLOON_F_MUST_TELL);

    cr_assert_eq(vm_inflate(device, 1, 0, 24, THEN), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, THEN, "discard 0+24 | ack inflate/1");
    balloon_device *to = moved(device, 16);
    cr_assert_eq(vm_status(to).held, 24);
    /* Pages 0 to 15 were given back; 16 to 23 are half a page of this host. */
    cr_assert_eq(vm_status(to).pending, 8);
    cr_assert_eq(vm_inflate(to, 2, 24, 8, NOW), BALLOON_OK);
    balloon_device_flush(to);
    CHECK_POLL(to, NOW, "discard 16+16 | ack inflate/2");
}

Test(device_save, a_host_with_smaller_pages)
{
    balloon_device *device = started(16, BALLOON_F_MUST_TELL);

    cr_assert_eq(vm_inflate(device, 1, 0, 24, THEN), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, THEN, "discard 0+16 | ack inflate/1");
    balloon_device *to = moved(device, 1);
    cr_assert_eq(vm_status(to).ready, 8);
    CHECK_POLL(to, NOW, "");
    CHECK_POLL(to, NOW + 100 * VM_MS, "discard 16+8");
}

/* --- statistics, hinting, pressure ------------------------------------------------------------ */

Test(device_save, a_held_statistics_buffer_and_the_last_sample)
{
    balloon_device *device = started(1, BALLOON_F_STATS);
    balloon_sample sample;
    uint64_t value = 0;

    cr_assert_eq(vm_stats(device, 7, BALLOON_STAT_FREE, 123, THEN - VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, THEN - VM_SECOND, "stats");
    balloon_device *to = moved(device, 1);
    cr_assert(balloon_device_sample(to, &sample));
    cr_assert(balloon_sample_get(&sample, BALLOON_STAT_FREE, &value));
    cr_assert_eq(value, 123);
    cr_assert_eq(sample.time, NOW - VM_SECOND);
    cr_assert_eq(balloon_device_request_stats(to, NOW), BALLOON_OK);
    CHECK_POLL(to, NOW, "ack stats/7");
}

Test(device_save, a_sample_that_was_not_told_yet)
{
    balloon_device *device = started(1, BALLOON_F_STATS);

    cr_assert_eq(vm_stats(device, 7, BALLOON_STAT_FREE, 123, THEN), BALLOON_OK);
    CHECK_POLL(moved(device, 1), NOW, "stats");
}

Test(device_save, a_request_under_way)
{
    balloon_device *device = started(1, BALLOON_F_STATS);

    cr_assert_eq(balloon_device_request_stats(device, THEN - 400 * VM_MS), BALLOON_OK);
    balloon_device *to = moved(device, 1);
    cr_assert_eq(balloon_device_request_stats(to, NOW), BALLOON_ERR_BUSY);
    cr_assert_eq(balloon_device_deadline(to), NOW + 600 * VM_MS);
    CHECK_POLL(to, NOW + 600 * VM_MS, "late");
    to = moved(to, 1);
    cr_assert(vm_status(to).stats_late);
}

Test(device_save, a_statistics_period)
{
    balloon_device *device = started(1, BALLOON_F_STATS);

    cr_assert_eq(vm_stats(device, 7, BALLOON_STAT_FREE, 123, THEN - VM_SECOND), BALLOON_OK);
    balloon_device_set_stats_period(device, 10 * VM_SECOND, THEN - VM_SECOND);
    CHECK_POLL(device, THEN - VM_SECOND, "stats | ack stats/7");
    cr_assert_eq(vm_stats(device, 8, BALLOON_STAT_FREE, 456, THEN), BALLOON_OK);
    CHECK_POLL(device, THEN, "stats");
    balloon_device *to = moved(device, 1);
    cr_assert_eq(balloon_device_deadline(to), NOW + 9 * VM_SECOND);
    CHECK_POLL(to, NOW + 9 * VM_SECOND, "ack stats/8");
}

Test(device_save, a_statistics_period_without_a_driver)
{
    balloon_device *device = started(1, BALLOON_F_STATS);

    balloon_device_set_stats_period(device, 10 * VM_SECOND, THEN);
    balloon_device_reset(device);
    balloon_device *to = moved(device, 1);
    rig_start(to, BALLOON_F_STATS, NOW);
    cr_assert_leq(balloon_device_deadline(to), NOW);
}

Test(device_save, a_statistics_period_without_end)
{
    balloon_device *device = started(1, BALLOON_F_STATS);

    balloon_device_set_stats_period(device, UINT64_MAX, THEN);
    CHECK_POLL(device, THEN, "");
    moved(device, 1);
}

Test(device_save, a_round_of_hints_is_finished_and_the_guest_told)
{
    for (unsigned stage = 0; stage < 5; stage++) {
        balloon_device *device = started(1, BALLOON_F_HINTING);

        cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
        CHECK_POLL(device, THEN, "irq");
        if (stage > 0)
            cr_assert_eq(vm_hint_command(device, 1, rig_read_config(device, 8)), BALLOON_OK);
        if (stage > 1)
            cr_assert_eq(vm_hint(device, 2, 0, 64), BALLOON_OK);
        if (stage == 3)
            cr_assert_eq(vm_hint_command(device, 3, BALLOON_VIRTIO_HINT_STOP), BALLOON_OK);
        if (stage == 4)
            cr_assert_eq(balloon_device_stop_hinting(device), BALLOON_OK);
        rig_drain(device, THEN);
        balloon_device *to = moved(device, 1);
        CHECK_POLL(to, NOW, "irq");
        cr_assert_eq(rig_read_config(to, 8), BALLOON_VIRTIO_HINT_DONE);
        cr_assert_eq(vm_status(to).hinting, BALLOON_HINTING_OFF);
        cr_assert_eq(vm_status(to).hinted, 0);
        /* Its id is not used again. */
        cr_assert_eq(balloon_device_start_hinting(to), BALLOON_OK);
        cr_assert_neq(rig_read_config(to, 8), UINT32_C(0x80000000));
    }
}

Test(device_save, pressure)
{
    balloon_device *device = started(1, BALLOON_F_DEFLATE_ON_OOM);
    const balloon_time_t before = THEN - 5 * VM_SECOND;

    /* Longer ago than what the host asks back may take. */
    cr_assert_eq(balloon_device_set_target(device, 256, before), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 256, before), BALLOON_OK);
    rig_drain(device, before);
    cr_assert_eq(vm_deflate(device, 2, 0, 64, THEN), BALLOON_OK);
    balloon_device *to = moved(device, 1);
    /* It might be on its way out. */
    CHECK_POLL(to, NOW, "ack deflate/2");
    CHECK_POLL(to, NOW + VM_SECOND, "pressure");
    cr_assert(vm_status(to).pressure);
    CHECK_POLL(moved(to, 1), NOW, "");
}

Test(device_save, a_guest_that_makes_no_progress)
{
    balloon_device *device = started(1, BALLOON_F_REPORTING);

    cr_assert_eq(balloon_device_set_target(device, 256, THEN - 3 * VM_SECOND), BALLOON_OK);
    balloon_device *to = moved(device, 1);
    cr_assert_eq(balloon_device_explain(to, NOW + VM_SECOND, NULL), BALLOON_REASON_NONE);
    cr_assert_eq(balloon_device_explain(to, NOW + 2 * VM_SECOND, NULL), BALLOON_REASON_GUEST_SLOW);
}

Test(device_save, a_target_above_what_is_left_after_an_unplug)
{
    balloon_device *device = started(1, 0);
    balloon_region dimm = {8192, 4096, 1};
    uint32_t id;

    cr_assert_eq(balloon_device_add_region(device, &dimm, &id), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 8192, THEN), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 8192, 4096, THEN), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 0, 4096, THEN), BALLOON_OK);
    rig_drain(device, THEN);
    cr_assert_eq(balloon_device_remove_region(device, id), BALLOON_OK);
    balloon_device *to = moved(device, 1);
    cr_assert_eq(vm_status(to).target, vm_status(device).target);
}

Test(device_save, a_target_from_before_ram_above_16_tib_came)
{
    balloon_device *device = started(1, 0), *to = blank(1);
    balloon_region high = {UINT64_C(1) << 32, 64, 1};

    cr_assert_eq(balloon_device_set_target(device, 64, THEN), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 32, THEN), BALLOON_OK);
    rig_drain(device, THEN);
    cr_assert_eq(balloon_device_add_region(device, &high, NULL), BALLOON_OK);
    cr_assert_eq(balloon_device_add_region(to, &high, NULL), BALLOON_OK);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    cr_assert_eq(vm_status(to).held, 32);
}

/* --- what load replaces and what it keeps ----------------------------------------------------- */

Test(device_save, load_replaces_all_that_was_there)
{
    balloon_device *device = started(1, 0), *to = started(1, BALLOON_F_ALL);

    cr_assert_eq(vm_inflate(to, 1, 0, 64, NOW), BALLOON_OK);
    cr_assert_eq(vm_stats(to, 2, BALLOON_STAT_FREE, 1, NOW), BALLOON_OK);
    cr_assert_eq(balloon_device_start_hinting(to), BALLOON_OK);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    check_same(device, THEN, to, NOW);
    CHECK_POLL(to, NOW + VM_SECOND, "");
}

Test(device_save, load_keeps_counters_and_inhibitions)
{
    balloon_device *device = started(1, 0), *to = blank(1);

    balloon_device_inhibit(device);
    cr_assert_eq(vm_inflate(device, 1, 0, 64, THEN), BALLOON_OK);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    cr_assert_eq(vm_status(to).inhibited, 0);
    cr_assert_eq(vm_counters(to).inflated, 0);
    balloon_device_inhibit(to);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    cr_assert_eq(vm_status(to).inhibited, 1);
    CHECK_POLL(to, NOW, "ack inflate/1");
}

Test(device_save, a_device_may_be_loaded_into_itself)
{
    balloon_device *device = started(16, BALLOON_F_ALL);

    cr_assert_eq(vm_inflate(device, 1, 0, 100, THEN), BALLOON_OK);
    cr_assert_eq(vm_stats(device, 2, BALLOON_STAT_FREE, 1, THEN), BALLOON_OK);
    balloon_device *before = moved(device, 16);
    cr_assert_eq(vm_move(device, THEN, device, NOW), BALLOON_OK);
    check_same(device, NOW, before, NOW);
}
