/* The size that is asked for, and the size the guest claims. */
#include "vm.h"

TestSuite(device_target, .fini = vm_end);

Test(device_target, is_shown_to_the_guest_and_announced)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_set_target(device, 512, 0), BALLOON_OK);
    cr_assert_eq(rig_read_config(device, 0), 512);
    cr_assert_eq(balloon_device_deadline(device), 0);
    CHECK_POLL(device, 0, "irq");
}

Test(device_target, is_announced_once_for_several_changes)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_set_target(device, 512, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "irq");
    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
}

Test(device_target, waits_for_a_driver)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_device_set_target(device, 512, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
    rig_start(device, 0, 0);
    cr_assert_eq(rig_read_config(device, 0), 512);
    cr_assert_eq(vm_status(device).target, 512);
}

Test(device_target, is_rounded_down_to_what_every_guest_can_meet)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_set_target(device, 47, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).target, 32);
    cr_assert_eq(balloon_device_set_target(device, 15, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).target, 0);
}

Test(device_target, is_rounded_as_the_config_says)
{
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .target_align = 1};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_device_set_target(device, 47, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).target, 47);
    config.target_align = 512;
    device = vm_device(&config);
    cr_assert_eq(balloon_device_set_target(device, 1535, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).target, 1024);
}

Test(device_target, cannot_exceed_guest_ram)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_set_target(device, 4096, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 4097, 0), BALLOON_ERR_RANGE);
    cr_assert_eq(balloon_device_set_target(device, UINT64_MAX, 0), BALLOON_ERR_RANGE);
    cr_assert_eq(vm_status(device).target, 4096);
}

/* --- addresses above 16 TiB ------------------------------------------------------------------- */

static const balloon_region high = {UINT64_C(1) << 32, 64, 1};

Test(device_target, needs_ram_below_16_tib_only)
{
    balloon_device *device = vm_simple(0);
    balloon_region last = {(UINT64_C(1) << 32) - 64, 64, 1};
    uint32_t id;

    cr_assert_eq(balloon_device_add_region(device, &last, NULL), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_add_region(device, &high, &id), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 128, 0), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(balloon_device_set_target(device, 0, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_remove_region(device, id), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 128, 0), BALLOON_OK);
}

Test(device_target, with_ram_above_16_tib_nothing_is_inflated)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_add_region(device, &high, NULL), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 16, 0), BALLOON_ERR_PROTOCOL);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(vm_counters(device).inflate_outside, 16);
}

Test(device_target, what_was_inflated_before_such_ram_came_can_be_deflated)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);

    cr_assert_eq(vm_inflate(device, 1, 0, 16, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack inflate/1");
    cr_assert_eq(balloon_device_add_region(device, &high, NULL), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 2, 5, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/2");
    cr_assert_eq(vm_status(device).held, 15);
    CHECK_POLL(device, VM_SECOND, "discard 0+5,6+10");
}

Test(device_target, reports_reach_above_16_tib)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(balloon_device_add_region(device, &high, NULL), BALLOON_OK);
    cr_assert_eq(vm_report(device, 1, UINT64_C(1) << 32, 64), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 1:4294967296+64 | ack report/1");
}

/* --- what the guest claims -------------------------------------------------------------------- */

Test(device_target, actual_is_a_claim_and_changes_nothing_else)
{
    balloon_device *device = vm_simple(0);

    rig_write_config(device, 4, UINT32_MAX);
    cr_assert_eq(vm_status(device).actual, UINT32_MAX);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(rig_read_config(device, 4), UINT32_MAX);
    CHECK_POLL(device, 0, "");
}

/* 4096 pages and 4096 more, targets as they are asked for, and a driver. */
static balloon_device *vm_exact(void)
{
    const balloon_region ram[2] = {{0, 4096, 1}, {4096, 4096, 1}};
    const balloon_device_config config = {
        .size = sizeof(config), .regions = ram, .region_count = 2, .target_align = 1};
    balloon_device *device = vm_device(&config);

    rig_start(device, BALLOON_F_REPORTING, 0);
    return device;
}

/* The guest goes to this size, and says so. Is that what was asked? */
static bool has(balloon_device *device, uint32_t pages)
{
    uint32_t held = (uint32_t)vm_status(device).held;

    if (held < pages)
        cr_assert_eq(vm_inflate(device, 1, held, pages - held, 0), BALLOON_OK);
    else if (pages < held)
        cr_assert_eq(vm_deflate(device, 1, pages, held - pages, 0), BALLOON_OK);
    rig_write_config(device, 4, pages);
    (void)vm_poll(device, 0);
    return vm_status(device).settled;
}

Test(device_target, settled_allows_for_the_guests_own_page_size)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_set_target(device, 32, 0), BALLOON_OK);
    cr_assert_not(has(device, 31));
    cr_assert(has(device, 32));
    cr_assert(has(device, 47));
    cr_assert_not(has(device, 48));
    cr_assert(has(device, 32));
    balloon_device_reset(device);
    cr_assert_not(vm_status(device).settled);
}

/* A target that is no whole number of guest pages: Linux goes up, others down; not further. */
Test(device_target, settled_allows_for_rounding_either_way)
{
    balloon_device *device = vm_exact();

    cr_assert_eq(balloon_device_set_target(device, 4097, 0), BALLOON_OK);
    cr_assert(has(device, 4112) && has(device, 4096));
    cr_assert(has(device, 4100), "16 KiB, up");
    cr_assert_not(has(device, 4095));
    cr_assert_not(has(device, 4080));
    cr_assert_not(has(device, 4128));
    cr_assert_eq(balloon_device_set_target(device, 4111, 0), BALLOON_OK);
    cr_assert(has(device, 4096) && has(device, 4108));
    cr_assert_not(has(device, 4104), "no guest has pages of 32 KiB");
    cr_assert_eq(balloon_device_set_target(device, 5, 0), BALLOON_OK);
    cr_assert_not(has(device, 0), "it has given nothing");
    cr_assert_eq(balloon_device_set_target(device, 0, 0), BALLOON_OK);
    cr_assert_not(has(device, 1), "nobody rounds 0");
    cr_assert(has(device, 0));
}

/* nanos: whole MiB. */
Test(device_target, settled_allows_for_guests_that_move_whole_mib)
{
    balloon_device *device = vm_exact();

    cr_assert_eq(vm_status(device).slack, 256);
    cr_assert_eq(balloon_device_set_target(device, 1025, 0), BALLOON_OK);
    cr_assert(has(device, 1280));
    cr_assert_not(has(device, 1279), "so many pages too many, and not in whole MiB");
    cr_assert_not(has(device, 1536));
}

/* RAM was unplugged with pages of the balloon in it: the guest counts on. */
Test(device_target, settled_counts_pages_and_not_claims_alone)
{
    balloon_device *device = vm_exact();
    uint32_t all, differs = UINT32_C(1) << BALLOON_REASON_CLAIM_DIFFERS;

    cr_assert_eq(balloon_device_set_target(device, 5000, 0), BALLOON_OK);
    cr_assert(has(device, 5000));
    (void)balloon_device_explain(device, 0, &all);
    cr_assert_not(all & differs);
    cr_assert_eq(balloon_device_remove_region(device, 1), BALLOON_OK);
    cr_assert_eq(vm_status(device).held, 4096);
    cr_assert_not(vm_status(device).settled);
    cr_assert_eq(balloon_device_explain(device, 0, &all), BALLOON_REASON_CLAIM_DIFFERS);
    /* The guest is told a target that it can have, and names pages of it. */
    cr_assert_eq(balloon_device_set_target(device, 4000, 0), BALLOON_OK);
    (void)balloon_device_explain(device, 0, &all);
    cr_assert_not(all & differs, "it may be on its way");
    (void)balloon_device_explain(device, 5 * VM_SECOND, &all);
    cr_assert(all & differs, "it is not");
    cr_assert(has(device, 4000));
    (void)balloon_device_explain(device, 5 * VM_SECOND, &all);
    cr_assert_not(all & differs);
}

/* --- a guest that is short -------------------------------------------------------------------- */

/* A balloon of 256 pages that the guest has filled. */
static balloon_device *filled(void)
{
    balloon_device *device = vm_simple(BALLOON_F_DEFLATE_ON_OOM);

    cr_assert_eq(balloon_device_set_target(device, 256, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 256, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "irq | discard 0+256 | ack inflate/1");
    return device;
}

Test(device_target, pressure_is_told_once_until_the_balloon_is_back)
{
    balloon_device *device = filled();

    cr_assert_eq(vm_deflate(device, 2, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/2 | pressure");
    cr_assert(vm_status(device).pressure);
    cr_assert_eq(vm_deflate(device, 3, 64, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/3");
    cr_assert_eq(vm_counters(device).deflated_below, 128);

    cr_assert_eq(vm_inflate(device, 4, 0, 128, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+128 | ack inflate/4");
    cr_assert_not(vm_status(device).pressure);
    cr_assert_eq(vm_deflate(device, 5, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/5 | pressure");
}

Test(device_target, pressure_is_told_again_for_a_new_target)
{
    balloon_device *device = filled();

    cr_assert_eq(vm_deflate(device, 2, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/2 | pressure");
    cr_assert_eq(balloon_device_set_target(device, 128, 0), BALLOON_OK);
    cr_assert_not(vm_status(device).pressure);
    CHECK_POLL(device, 0, "irq");
    /* From 192 down to 128 is what was asked. */
    cr_assert_eq(vm_deflate(device, 3, 64, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/3");
    cr_assert_eq(vm_deflate(device, 4, 128, 16, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/4 | pressure");
    cr_assert_eq(vm_counters(device).deflated_below, 64 + 16);
}

Test(device_target, no_pressure_is_told_for_a_balloon_that_came_back_meanwhile)
{
    balloon_device *device = filled();

    cr_assert_eq(vm_deflate(device, 2, 0, 64, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 3, 0, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/2 | discard 0+64 | ack inflate/3");
}

Test(device_target, less_than_the_largest_guest_page_is_no_pressure)
{
    balloon_device *device = filled();

    cr_assert_eq(vm_deflate(device, 2, 0, 15, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/2");
    cr_assert_eq(vm_deflate(device, 3, 15, 1, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/3 | pressure");
}

/* Linux moves a balloon page by inflating a new one and then deflating the old one. */
Test(device_target, pages_that_move_are_no_pressure)
{
    balloon_device *device = filled();

    for (uint32_t i = 0; i < 64; i++) {
        cr_assert_eq(vm_inflate(device, 2, 1000 + i, 1, 0), BALLOON_OK);
        cr_assert_eq(vm_deflate(device, 3, i, 1, 0), BALLOON_OK);
        cr_assert_eq(strstr(vm_poll(device, 0), "pressure"), NULL);
    }
    cr_assert_eq(vm_status(device).held, 256);
}

Test(device_target, a_balloon_on_its_way_up_is_measured_by_what_it_was)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 100, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "irq | discard 0+100 | ack inflate/1");
    cr_assert_eq(vm_deflate(device, 2, 0, 10, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/2");
    cr_assert_eq(vm_deflate(device, 3, 10, 10, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "ack deflate/3 | pressure");
}
