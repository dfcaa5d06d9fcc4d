/* What a device is made of: config, memory, regions that come and go, reset. */
#include <stdlib.h>

#include "vm.h"

TestSuite(device_setup, .fini = vm_end);

static const balloon_region ram[2] = {{0, 1024, 1}, {4096, 512, 16}};

static balloon_device_config two_regions(void)
{
    return (balloon_device_config){
        .size = sizeof(balloon_device_config), .regions = ram, .region_count = 2};
}

/* --- config and memory ------------------------------------------------------------------------ */

static void refused(balloon_device_config config, const char *what)
{
    balloon_layout layout = {77, 77};

    cr_assert_eq(balloon_device_layout(&config, &layout), BALLOON_ERR_INVALID, "%s", what);
    cr_assert_eq(layout.bytes, 77, "%s", what);
}

Test(device_setup, a_config_outside_of_its_limits_is_refused)
{
    static const balloon_region huge[2] = {{0, UINT64_MAX, 1}, {0, 2, 1}};
    const struct {
        const char *what;
        size_t offset, bytes;
        uint64_t value;
    } wrong[] = {
#define FIELD(name, value)                                                                         \
    {#name " " #value, offsetof(balloon_device_config, name),                                      \
     sizeof(((balloon_device_config *)0)->name), value}
        FIELD(size, 0),         FIELD(size, sizeof(balloon_device_config) - 1),
        FIELD(regions, 0),      FIELD(max_pages, (UINT64_C(1) << 40) + 1),
        FIELD(max_regions, 1),  FIELD(max_regions, 4097),
        FIELD(features, 0x40),  FIELD(target_align, 3),
        FIELD(run_batch, 1025), FIELD(max_buffers, 65537),
#undef FIELD
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        balloon_device_config config = two_regions();
        uint32_t narrow = (uint32_t)wrong[i].value;

        if (wrong[i].bytes == 4)
            memcpy((char *)&config + wrong[i].offset, &narrow, 4);
        else
            memcpy((char *)&config + wrong[i].offset, &wrong[i].value, 8);
        refused(config, wrong[i].what);
    }
    refused((balloon_device_config){.size = sizeof(balloon_device_config)}, "no pages");
    refused((balloon_device_config){.size = sizeof(balloon_device_config),
                                    .regions = huge,
                                    .region_count = 2,
                                    .max_pages = 16},
            "more pages than a number can say");
}

Test(device_setup, layout_needs_a_config_and_a_place_for_the_answer)
{
    balloon_device_config config = two_regions();
    balloon_layout layout;

    cr_assert_eq(balloon_device_layout(NULL, &layout), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_device_layout(&config, NULL), BALLOON_ERR_INVALID);
}

Test(device_setup, a_config_at_its_limits_is_accepted)
{
    balloon_device_config config = two_regions();
    balloon_layout layout;

    config.max_regions = 4096;
    config.features = BALLOON_F_ALL;
    config.target_align = UINT32_C(1) << 31;
    config.run_batch = 1024;
    config.max_buffers = 65536;
    config.max_buffer_bytes = UINT32_MAX;
    config.gather_pages = UINT64_MAX;
    config.gather_delay = UINT64_MAX;
    config.stats_timeout = UINT64_MAX;
    cr_assert_eq(balloon_device_layout(&config, &layout), BALLOON_OK);
    cr_assert_eq(layout.align & (layout.align - 1), 0);
    vm_device(&config);
}

Test(device_setup, init_needs_memory_that_is_large_enough_and_aligned)
{
    balloon_device_config config = two_regions();
    balloon_device *device = NULL;
    balloon_layout layout;

    cr_assert_eq(balloon_device_layout(&config, &layout), BALLOON_OK);
    char *memory = aligned_alloc(layout.align, (layout.bytes / layout.align + 2) * layout.align);

    cr_assert_eq(balloon_device_init(memory, layout.bytes - 1, &config, &device),
                 BALLOON_ERR_NOSPACE);
    for (size_t off = 1; off < layout.align; off++)
        cr_assert_eq(balloon_device_init(memory + off, layout.bytes, &config, &device),
                     BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_device_init(NULL, layout.bytes, &config, &device), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_device_init(memory, layout.bytes, NULL, &device), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_device_init(memory, layout.bytes, &config, NULL), BALLOON_ERR_INVALID);
    cr_assert_eq(device, NULL);
    cr_assert_eq(balloon_device_init(memory, layout.bytes, &config, &device), BALLOON_OK);
    cr_assert_neq(device, NULL);
    free(memory);
}

static balloon_status init_with(balloon_device_config config)
{
    balloon_device *device = NULL;
    balloon_layout layout;

    cr_assert_eq(balloon_device_layout(&config, &layout), BALLOON_OK);
    void *memory = aligned_alloc(layout.align, (layout.bytes / layout.align + 1) * layout.align);
    balloon_status status = balloon_device_init(memory, layout.bytes, &config, &device);

    free(memory);
    return status;
}

Test(device_setup, init_refuses_regions_that_cannot_be)
{
    const balloon_region overlap[2] = {{0, 100, 1}, {99, 100, 1}};
    const balloon_region odd[1] = {{0, 100, 3}};
    const balloon_region beyond[1] = {{UINT64_C(1) << 40, 16, 1}};
    balloon_device_config config = two_regions();

    config.regions = overlap;
    cr_assert_eq(init_with(config), BALLOON_ERR_INVALID);
    config.region_count = 1;
    config.regions = odd;
    cr_assert_eq(init_with(config), BALLOON_ERR_INVALID);
    config.regions = beyond;
    cr_assert_eq(init_with(config), BALLOON_ERR_INVALID);
    config = two_regions();
    config.max_pages = 1024;
    cr_assert_eq(init_with(config), BALLOON_ERR_INVALID);
}

Test(device_setup, the_config_and_its_regions_are_not_kept)
{
    balloon_region regions[2] = {ram[0], ram[1]};
    balloon_device_config config = two_regions();
    balloon_region found;

    config.regions = regions;
    balloon_device *device = vm_device(&config);
    memset(regions, 0xff, sizeof(regions));
    memset(&config, 0xff, sizeof(config));
    cr_assert_eq(balloon_tracker_region(balloon_device_tracker(device), 1, &found), BALLOON_OK);
    cr_assert_eq(found.first, 4096);
    cr_assert_eq(found.count, 512);
    cr_assert_eq(found.granule, 16);
    CHECK_POLL(device, 0, "");
}

Test(device_setup, a_new_device_is_idle)
{
    balloon_device_config config = two_regions();
    balloon_device *device = vm_device(&config);
    balloon_device_status status = vm_status(device);
    balloon_device_counters counters = vm_counters(device), none = {0};
    balloon_sample sample;
    const char *why = NULL;

    cr_assert_eq(status.guest_pages, 1536);
    cr_assert_eq(status.offered, BALLOON_F_DEFAULT);
    cr_assert_eq(status.target + status.actual + status.held + status.pending + status.ready +
                     status.hinted + status.negotiated + status.inhibited,
                 0);
    cr_assert_eq(status.hinting, BALLOON_HINTING_OFF);
    cr_assert_not(status.driver || status.settled || status.stats_late || status.pressure);
    cr_assert_eq(memcmp(&counters, &none, sizeof(none)), 0);
    cr_assert_not(balloon_device_sample(device, &sample));
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    CHECK_POLL(device, 0, "");
    cr_assert(balloon_device_check(device, &why));
    cr_assert(balloon_device_check(device, NULL));
    cr_assert_eq(why, NULL);
}

Test(device_setup, poll_leaves_the_action_alone_when_there_is_none)
{
    balloon_device *device = vm_simple(0);
    balloon_action action, before;

    memset(&action, 0x77, sizeof(action));
    before = action;
    cr_assert_not(balloon_device_poll(device, 5, &action));
    cr_assert_eq(memcmp(&action, &before, sizeof(action)), 0);
}

Test(device_setup, features_none_offers_nothing)
{
    balloon_device_config config = two_regions();

    config.features = BALLOON_F_NONE;
    cr_assert_eq(vm_status(vm_device(&config)).offered, 0);
    config.features = BALLOON_F_HINTING;
    cr_assert_eq(vm_status(vm_device(&config)).offered, BALLOON_F_HINTING);
}

Test(device_setup, all_ram_may_come_later)
{
    balloon_device_config config = {.size = sizeof(config), .max_pages = 1024};
    balloon_device *device = vm_device(&config);
    uint32_t id = 9;

    cr_assert_eq(vm_status(device).guest_pages, 0);
    cr_assert_eq(balloon_device_add_region(device, &ram[0], &id), BALLOON_OK);
    cr_assert_eq(id, 0);
    cr_assert_eq(vm_status(device).guest_pages, 1024);
}

Test(device_setup, eight_regions_by_default)
{
    balloon_device_config config = {.size = sizeof(config), .max_pages = 1024};
    balloon_device *device = vm_device(&config);
    balloon_region region = {0, 16, 1};

    for (uint32_t i = 0; i < 8; i++, region.first += 16)
        cr_assert_eq(balloon_device_add_region(device, &region, NULL), BALLOON_OK);
    cr_assert_eq(balloon_device_add_region(device, &region, NULL), BALLOON_ERR_NOSPACE);
}

Test(device_setup, more_than_eight_regions_at_start_are_the_limit)
{
    balloon_region nine[9];

    for (uint32_t i = 0; i < 9; i++)
        nine[i] = (balloon_region){i * 16, 16, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = nine, .region_count = 9, .max_pages = 1024};
    balloon_device *device = vm_device(&config);
    balloon_region tenth = {9 * 16, 16, 1};

    cr_assert_eq(balloon_device_add_region(device, &tenth, NULL), BALLOON_ERR_NOSPACE);
}

/* --- memory that is plugged in and out -------------------------------------------------------- */

Test(device_setup, plugged_ram_can_be_inflated_and_its_runs_name_it)
{
    balloon_device *device = vm_simple(0);
    balloon_region dimm = {8192, 4096, 16};
    uint32_t id = 9;

    cr_assert_eq(vm_inflate(device, 1, 8192, 16, 0), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(balloon_device_add_region(device, &dimm, &id), BALLOON_OK);
    cr_assert_eq(id, 1);
    cr_assert_eq(vm_inflate(device, 2, 8192, 16, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 1:8192+16 | ack inflate/2");
    cr_assert_eq(balloon_device_set_target(device, 8192, 0), BALLOON_OK);
}

Test(device_setup, plugging_needs_a_sound_region_and_room)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_add_region(device, &(balloon_region){4095, 2, 1}, NULL),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_device_add_region(device, &(balloon_region){4096, 0, 1}, NULL),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_device_add_region(device, &(balloon_region){UINT64_MAX, 1, 1}, NULL),
                 BALLOON_ERR_RANGE);
    cr_assert_eq(balloon_device_add_region(device, &(balloon_region){4096, 12289, 1}, NULL),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_device_add_region(device, &(balloon_region){4096, 12288, 1}, NULL),
                 BALLOON_OK);
}

Test(device_setup, unplugged_pages_are_forgotten)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);
    balloon_region dimm = {8192, 4096, 1};
    uint32_t id;

    cr_assert_eq(balloon_device_add_region(device, &dimm, &id), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 8192, 64, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 0, 8, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1 | ack inflate/2");
    cr_assert_eq(balloon_device_remove_region(device, id), BALLOON_OK);
    cr_assert_eq(vm_status(device).held, 8);
    cr_assert_eq(vm_status(device).guest_pages, 4096);
    balloon_device_flush(device);
    CHECK_POLL(device, 0, "discard 0+8");
    cr_assert_eq(balloon_device_remove_region(device, id), BALLOON_ERR_INVALID);
}

Test(device_setup, unplugging_held_pages_is_no_pressure_of_the_guest)
{
    balloon_device *device = vm_simple(BALLOON_F_DEFLATE_ON_OOM);
    balloon_region dimm = {8192, 4096, 1};
    uint32_t id;

    cr_assert_eq(balloon_device_add_region(device, &dimm, &id), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 128, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 8192, 64, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "irq | discard 0+64,1:8192+64 | ack inflate/1 | ack inflate/2");
    cr_assert_eq(balloon_device_remove_region(device, id), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 3, 100, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/3");
}

/* --- reset ------------------------------------------------------------------------------------ */

Test(device_setup, reset_gives_the_guest_its_pages_and_drops_the_driver)
{
    balloon_device *device = vm_simple(BALLOON_F_ALL);

    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    rig_write_config(device, 4, 64);
    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    balloon_device_reset(device);

    balloon_device_status status = vm_status(device);
    cr_assert_eq(status.held + status.pending + status.actual + status.negotiated, 0);
    cr_assert_eq(status.hinting, BALLOON_HINTING_OFF);
    cr_assert_not(status.driver);
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_eq(vm_inflate(device, 2, 0, 64, 0), BALLOON_ERR_STATE);
}

Test(device_setup, reset_keeps_target_inhibition_statistics_period_and_counters)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);

    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    balloon_device_set_stats_period(device, VM_SECOND, 0);
    balloon_device_inhibit(device);
    cr_assert_eq(vm_inflate(device, 1, 0, 8, 0), BALLOON_OK);
    balloon_device_reset(device);
    cr_assert_eq(vm_status(device).target, 64);
    cr_assert_eq(vm_status(device).inhibited, 1);
    cr_assert_eq(vm_counters(device).inflated, 8);
    cr_assert_eq(vm_counters(device).resets, 1);
    cr_assert_eq(rig_read_config(device, 0), 64);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);

    /* The period begins anew with the next driver. */
    rig_start(device, BALLOON_F_STATS, VM_SECOND);
    CHECK_POLL(device, VM_SECOND - 1, "irq");
    cr_assert_eq(balloon_device_deadline(device), VM_SECOND);
    cr_assert_eq(vm_stats(device, 2, BALLOON_STAT_FREE, 1, VM_SECOND), BALLOON_OK);
    CHECK_POLL(device, VM_SECOND, "stats | ack stats/2");
}

Test(device_setup, gathered_pages_are_not_discarded_after_a_reset)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_status(device).ready, 64);
    balloon_device_flush(device);
    balloon_device_reset(device);
    CHECK_POLL(device, VM_SECOND, "");
    rig_start(device, BALLOON_F_MUST_TELL, 2 * VM_SECOND);
    balloon_device_flush(device);
    CHECK_POLL(device, 10 * VM_SECOND, "");
    cr_assert_eq(vm_counters(device).discarded, 0);
}

Test(device_setup, buffers_that_wait_are_forgotten_by_a_reset)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);

    cr_assert_eq(vm_inflate(device, 1, 0, 64, 0), BALLOON_OK);
    cr_assert_eq(vm_stats(device, 2, BALLOON_STAT_FREE, 1, 0), BALLOON_OK);
    balloon_device_reset(device);
    rig_start(device, BALLOON_F_STATS, 0);
    cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
    balloon_sample sample;
    cr_assert_not(balloon_device_sample(device, &sample));
}
