/* The driver of VMware: one test for each rule of what it asks, and when. What refusals and RESET
 * do is in vmware_driver_answers.c. */
#include "vmware_driver_support.h"

static struct vmk k;

static void end(void)
{
    vmk_end(&k);
}

TestSuite(vmware_driver, .fini = end);

/* --- the session ------------------------------------------------------------------------------ */

Test(vmware_driver, options_have_limits)
{
    balloon_vmware_driver_options options = {.size = sizeof(options) - 1};

    vmk_make_simple(&k, 0);
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_ERR_INVALID);
    options.size++;
    options.width = (balloon_vmware_width)2;
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_ERR_INVALID);
    options.width = BALLOON_VMWARE_32_BIT;
    options.capabilities = BASIC | BALLOON_VMWARE_WIDE_TARGET;
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_ERR_INVALID);
    options.context = BALLOON_VMWARE_NO_ID;
    options.capabilities = 0;
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_ERR_INVALID);
    options.context = 0;
    options.resource = BALLOON_VMWARE_NO_ID;
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(vmk_open(&k, BASIC | 1, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(vmk_open(&k, BASIC | 0x40, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(vmk_open(&k, BASIC | BALLOON_VMWARE_BATCHED_2M, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(vmk_open(&k, BALLOON_VMWARE_WIDE_TARGET, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(vmk_open(&k, BASIC | BALLOON_VMWARE_DOORBELL, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(vmk_open(&k, BASIC | BALLOON_VMWARE_DOORBELL, 0, 3), BALLOON_OK);
    cr_assert_eq(vmk_open(&k, BASIC, 0, 0), BALLOON_ERR_STATE);
}

Test(vmware_driver, works_in_pages_of_4_kib_only)
{
    balloon_driver_config config = {.page_pages = 4};

    vmk_make(&k, &config);
    cr_assert_eq(balloon_vmware_driver_open(k.driver, NULL, 0), BALLOON_ERR_UNSUPPORTED);
}

Test(vmware_driver, says_hello_and_asks_once_a_second)
{
    vmk_make_simple(&k, 0);
    cr_assert_eq(vmk_open(&k, 0, BALLOON_VMWARE_GUEST_BSD, 3), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start 3e | bell 3/10001 | guest 2 | target 16384");
    cr_assert_eq(balloon_driver_deadline(k.driver), VMK_SECOND);
    CHECK_CALLS(&k, VMK_SECOND, "target 16384");
    cr_assert_eq(balloon_driver_deadline(k.driver), 2 * VMK_SECOND);
    cr_assert_eq(vmk_counters(&k).messages, 5);
}

Test(vmware_driver, has_defaults)
{
    vmk_make_simple(&k, 0);
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), 0);
    cr_assert_eq(balloon_vmware_driver_open(k.driver, NULL, 7), BALLOON_OK);
    cr_assert_eq(balloon_driver_deadline(k.driver), 7);
    CHECK_CALLS(&k, 7, "start 2e | target 16384");
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), 0x2e);
}

Test(vmware_driver, asks_at_once_when_the_doorbell_rings)
{
    vmk_make_simple(&k, 0);
    balloon_vmware_driver_doorbell(k.driver, 0); /* no driver yet */
    cr_assert_eq(vmk_open(&k, 0, 0, 3), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start 3e | bell 3/10001 | target 16384");
    CHECK_CALLS(&k, 5, "");
    balloon_vmware_driver_doorbell(k.driver, 5);
    CHECK_CALLS(&k, 5, "target 16384");
    CHECK_CALLS(&k, VMK_SECOND, "");
    CHECK_CALLS(&k, VMK_SECOND + 5, "target 16384");
}

Test(vmware_driver, goes_on_without_a_doorbell_that_is_refused)
{
    vmk_make_simple(&k, 0);
    cr_assert_eq(vmk_open(&k, 0, 1, 3), BALLOON_OK);
    k.status[BALLOON_VMWARE_SET_DOORBELL] = BALLOON_VMWARE_FAILURE;
    k.status[BALLOON_VMWARE_SET_GUEST] = BALLOON_VMWARE_CMD_INVALID;
    CHECK_CALLS(&k, 0, "start 3e | bell 3/10001 | guest 1 | target 16384");
    k.status[BALLOON_VMWARE_SET_DOORBELL] = 0;
}

Test(vmware_driver, tries_start_again_each_second)
{
    vmk_make_simple(&k, 0);
    cr_assert_eq(balloon_vmware_driver_open(k.driver, NULL, 0), BALLOON_OK);
    k.status[BALLOON_VMWARE_START] = BALLOON_VMWARE_BUSY;
    CHECK_CALLS(&k, 0, "start 2e");
    balloon_vmware_driver_doorbell(k.driver, 5);
    CHECK_CALLS(&k, 5, "");
    CHECK_CALLS(&k, VMK_SECOND, "start 2e");
    k.status[BALLOON_VMWARE_START] = BALLOON_VMWARE_RESET;
    CHECK_CALLS(&k, 2 * VMK_SECOND, "start 2e");
    k.status[BALLOON_VMWARE_START] = 0;
    k.grant = BALLOON_VMWARE_WIDE_TARGET; /* nothing to work with */
    CHECK_CALLS(&k, 3 * VMK_SECOND, "start 2e");
    k.grant = 0;
    CHECK_CALLS(&k, 4 * VMK_SECOND, "start 2e");
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), 0);
    k.grant = BASIC;
    CHECK_CALLS(&k, 5 * VMK_SECOND, "start 2e | target 16384");
}

static void generous_host(struct vmk *kernel, balloon_vmware_frame *frame)
{
    if (frame->cx != BALLOON_VMWARE_START) {
        vmk_simple_host(kernel, frame);
        return;
    }
    frame->ax = BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES;
    frame->cx = kernel->grant;
}

Test(vmware_driver, uses_only_what_it_asked_for)
{
    vmk_make_simple(&k, 0);
    k.host = generous_host;
    k.grant = 0xffffffffffff003e;
    cr_assert_eq(vmk_open(&k, BATCHED, 0, 0), BALLOON_OK);
    CHECK_CALLS(&k, 0, "target 16384");
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), BATCHED);
}

/* Bit 0 means the protocol that was never shipped, and its batches. */
Test(vmware_driver, does_not_take_version_3)
{
    vmk_make_simple(&k, 0);
    k.host = generous_host;
    k.grant = 3;
    cr_assert_eq(vmk_open(&k, BATCHED, 0, 0), BALLOON_OK);
    CHECK_CALLS(&k, 0, "");
    cr_assert_eq(vmk_counters(&k).protocol_errors, 1);
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), 0);
    cr_assert_eq(balloon_driver_deadline(k.driver), VMK_SECOND);
}

/* --- writing and answers ---------------------------------------------------------------------- */

Test(vmware_driver, writes_only_what_is_to_be_sent)
{
    balloon_vmware_frame frame = {.ax = 77};
    balloon_driver_action action;

    vmk_make_simple(&k, 0);
    cr_assert_eq(balloon_vmware_driver_write(k.driver, BALLOON_CHANNEL_CONTROL, &frame, NULL, 0, 0),
                 BALLOON_ERR_STATE);
    cr_assert_eq(balloon_vmware_driver_reply(k.driver, &frame, NULL, 0, 0), BALLOON_ERR_STATE);
    cr_assert_eq(vmk_open(&k, BATCHED, 0, 0), BALLOON_OK);
    cr_assert_eq(balloon_vmware_driver_write(k.driver, BALLOON_CHANNEL_CONTROL, &frame, NULL, 0, 0),
                 BALLOON_ERR_STATE);
    cr_assert(balloon_driver_poll(k.driver, 0, &action));
    cr_assert_eq(action.channel, BALLOON_CHANNEL_CONTROL);
    cr_assert_eq(action.bytes, 0);
    cr_assert_eq(balloon_driver_deadline(k.driver), BALLOON_TIME_NEVER);
    cr_assert_eq(balloon_vmware_driver_reply(k.driver, &frame, NULL, 0, 0), BALLOON_ERR_STATE);
    cr_assert_eq(vmk_counters(&k).answers_unasked, 2);
    for (int channel = 0; channel < BALLOON_CHANNELS - 1; channel++)
        cr_assert_eq(balloon_vmware_driver_write(k.driver, (balloon_driver_channel)channel, &frame,
                                                 NULL, 0, 0),
                     BALLOON_ERR_STATE);
    cr_assert_eq(frame.ax, 77);
    for (int again = 0; again < 2; again++)
        cr_assert_eq(
            balloon_vmware_driver_write(k.driver, BALLOON_CHANNEL_CONTROL, &frame, NULL, 0, 0),
            BALLOON_OK);
    k.now = 0;
    vmk_simple_host(&k, &frame);
    cr_assert_eq(balloon_vmware_driver_reply(k.driver, &frame, NULL, 0, 0), BALLOON_OK);
    cr_assert_eq(balloon_vmware_driver_reply(k.driver, &frame, NULL, 0, 0), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), BATCHED);
}

Test(vmware_driver, needs_the_batch_page_for_batches)
{
    balloon_vmware_frame frame;
    uint8_t page[4096];

    vmk_start(&k, 0, BATCHED, 0);
    k.target = 100;
    k.now = VMK_SECOND;

    balloon_driver_action action = vmk_until_pages(&k);
    cr_assert_eq(action.channel, BALLOON_CHANNEL_INFLATE);
    cr_assert_eq(action.bytes, 4096);
    cr_assert_eq(
        balloon_vmware_driver_write(k.driver, action.channel, &frame, NULL, 4096, VMK_BATCH),
        BALLOON_ERR_NOSPACE);
    cr_assert_eq(
        balloon_vmware_driver_write(k.driver, action.channel, &frame, page, 4095, VMK_BATCH),
        BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_vmware_driver_write(k.driver, action.channel, &frame, page, 4096,
                                             BALLOON_VMWARE_PFN_END),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_vmware_driver_write(k.driver, BALLOON_CHANNEL_DEFLATE, &frame, page, 4096,
                                             VMK_BATCH),
                 BALLOON_ERR_STATE);
    cr_assert_eq(
        balloon_vmware_driver_write(k.driver, action.channel, &frame, page, 4096, VMK_BATCH),
        BALLOON_OK);
    frame.ax = 0;
    frame.bx = 100;
    cr_assert_eq(balloon_vmware_driver_reply(k.driver, &frame, NULL, 4096, k.now),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_vmware_driver_reply(k.driver, &frame, page, 4095, k.now),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_vmware_driver_reply(k.driver, &frame, page, 4096, k.now), BALLOON_OK);
    cr_assert_eq(vmk_status(&k).held, 64);
}

/* A batch page of a 32-bit guest has to be where EBX can name it. */
Test(vmware_driver, speaks_with_32_bits)
{
    balloon_vmware_driver_options options = {.size = sizeof(options),
                                             .width = BALLOON_VMWARE_32_BIT};
    balloon_vmware_frame frame;

    vmk_make_simple(&k, 0);
    k.width = BALLOON_VMWARE_32_BIT;
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start e | target 16384");
    k.target = 8;
    k.now = VMK_SECOND;

    balloon_driver_action action = vmk_until_pages(&k);
    cr_assert_eq(balloon_vmware_driver_write(k.driver, action.channel, &frame, k.page, 4096,
                                             (balloon_pfn_t)1 << 32),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
    cr_assert_eq(vmk_status(&k).held, 8);
}

/* --- pages ------------------------------------------------------------------------------------ */

Test(vmware_driver, moves_single_pages_with_an_old_host)
{
    vmk_start(&k, 0, BASIC, 3);
    cr_assert_eq(vmk_status(&k).held, 3);
    k.target = 5;
    CHECK_CALLS(&k, VMK_SECOND, "target 16384 | lock 4 | lock 5");
    k.target = 0;
    CHECK_CALLS(&k, 2 * VMK_SECOND,
                "target 16384 | unlock 0 | unlock 1 | unlock 2 | unlock 4 | unlock 5");
    cr_assert_eq(k.given, 0);
    cr_assert_eq(vmk_counters(&k).inflated, 5);
    cr_assert_eq(vmk_counters(&k).deflated, 5);
}

/* Up to 512 pages in one, from any number of runs. */
Test(vmware_driver, moves_batches)
{
    vmk_start(&k, 1024, BATCHED, 0);
    k.target = 1500;
    (void)vmk_run(&k, VMK_SECOND);
    cr_assert_lt(k.calls, 20);
    cr_assert_eq(k.given, 1500);
    k.target = 100;
    k.calls = 0;
    (void)vmk_run(&k, 2 * VMK_SECOND);
    cr_assert(vmk_was_asked(&k, "out 512: 0"));
    cr_assert_eq(k.calls, 1 + 3);
    cr_assert_eq(vmk_status(&k).held, 100);
    cr_assert_eq(k.given, 100);
}

/* Large pages in messages of their own, up to 1 GiB. */
Test(vmware_driver, moves_large_pages)
{
    vmk_start(&k, 262144, LARGE, 0);
    k.owner[512] = VMK_USED;
    k.target = 5000;
    (void)vmk_run(&k, VMK_SECOND);
    cr_assert(vmk_was_asked(&k, "in2m 9: 0"));
    cr_assert_eq(vmk_status(&k).held, 5000);
    k.target = 512;
    (void)vmk_run(&k, 2 * VMK_SECOND);
    cr_assert(vmk_was_asked(&k, "out2m "));
    cr_assert_eq(vmk_status(&k).held, 512);
    cr_assert_eq(k.given, 512);
}

Test(vmware_driver, has_no_page_from_2_to_the_32_without_wide_target)
{
    const balloon_region ram = {((balloon_pfn_t)1 << 32) - 8, 16, 1};
    balloon_driver_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .floor_pages = UINT64_MAX};
    const balloon_range low = {ram.first, 8}, high = {ram.first + 8, 8};

    for (int wide = 0; wide < 2; wide++) {
        balloon_layout layout;
        balloon_driver_action action = {0};

        vmk_make_simple(&k, 0);
        free(k.memory);
        cr_assert_eq(balloon_driver_layout(&config, &layout), BALLOON_OK);
        k.memory = malloc(layout.bytes);
        cr_assert_eq(balloon_driver_init(k.memory, layout.bytes, &config, &k.driver), BALLOON_OK);
        cr_assert_eq(vmk_open(&k, BATCHED | (wide ? BALLOON_VMWARE_WIDE_TARGET : 0), 0, 0),
                     BALLOON_OK);
        k.target = 16;
        while (action.type != BALLOON_DRIVER_ALLOC) {
            cr_assert(balloon_driver_poll(k.driver, 0, &action));
            if (action.type == BALLOON_DRIVER_SEND)
                cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
        }
        cr_assert_eq(balloon_driver_give(k.driver, action.channel, wide ? &high : &low, 1, 0),
                     BALLOON_OK);
        cr_assert(balloon_driver_poll(k.driver, 0, &action));
        cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
        cr_assert(balloon_driver_poll(k.driver, VMK_SECOND, &action));
        cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
        cr_assert(balloon_driver_poll(k.driver, VMK_SECOND, &action));
        cr_assert_eq(action.type, BALLOON_DRIVER_ALLOC);
        cr_assert_eq(balloon_driver_give(k.driver, action.channel, wide ? &low : &high, 1, 0),
                     wide ? BALLOON_OK : BALLOON_ERR_INVALID);
        cr_assert_eq(vmk_status(&k).held, 8);
        vmk_end(&k);
    }
}

/* A target that a host of this kind cannot mean as it is is cut as open-vm-tools does. */
Test(vmware_driver, says_a_limit_that_fits)
{
    balloon_driver_config config = {.total_pages = ((uint64_t)1 << 32) + 5};

    vmk_make(&k, &config);
    cr_assert_eq(vmk_open(&k, BATCHED, 0, 0), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start 6 | target 4294967295");
    vmk_end(&k);
    vmk_make(&k, &config);
    cr_assert_eq(vmk_open(&k, BATCHED | BALLOON_VMWARE_WIDE_TARGET, 0, 0), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start 26 | target 4294967301");
}

/* --- targets ---------------------------------------------------------------------------------- */

Test(vmware_driver, takes_the_target_from_answers_that_succeed)
{
    vmk_start(&k, 1024, BATCHED, 0);
    k.target = 1000;
    k.status[BALLOON_VMWARE_GET_TARGET] = BALLOON_VMWARE_BUSY;
    CHECK_CALLS(&k, VMK_SECOND, "target 16384");
    k.status[BALLOON_VMWARE_GET_TARGET] = 0;
    (void)vmk_run(&k, 2 * VMK_SECOND);
    cr_assert_eq(vmk_status(&k).held, 1000);
    cr_assert_eq(vmk_status(&k).target, 1000);
}

static void shrinking_host(struct vmk *kernel, balloon_vmware_frame *frame)
{
    if (frame->cx == BALLOON_VMWARE_BATCHED_LOCK)
        kernel->target = 40;
    vmk_simple_host(kernel, frame);
}

Test(vmware_driver, stops_where_an_answer_says)
{
    vmk_start(&k, 256, BATCHED, 0);
    k.host = shrinking_host;
    k.target = 5000;
    CHECK_CALLS(&k, VMK_SECOND, "target 16384 | in 32: 0 | in 8: 32");
    cr_assert_eq(vmk_status(&k).held, 40);
}

Test(vmware_driver, leaves_a_balloon_alone_that_is_a_little_too_large)
{
    vmk_start(&k, 4096, BATCHED, 1000);
    cr_assert_eq(vmk_status(&k).held, 1000);
    k.target = 489;
    CHECK_CALLS(&k, VMK_SECOND, "target 16384");
    CHECK_CALLS(&k, 2 * VMK_SECOND, "target 16384");
    k.target = 488;
    CHECK_CALLS(&k, 3 * VMK_SECOND, "target 16384 | out 512: 0");
    cr_assert_eq(vmk_status(&k).held, 488);
    k.target = 0;
    CHECK_CALLS(&k, 4 * VMK_SECOND, "target 16384 | out 488: 512");
}

/* On the way down, answers do not stop it within the slack. */
Test(vmware_driver, goes_down_to_the_target_itself)
{
    vmk_start(&k, 128, BATCHED, 2000);
    k.target = 1400;
    k.calls = 0;
    (void)vmk_run(&k, VMK_SECOND);
    cr_assert_eq(k.calls, 1 + 5);
    cr_assert_eq(vmk_status(&k).held, 1400);
}

Test(vmware_driver, keeps_the_floor)
{
    balloon_driver_config config = {.floor_pages = 16000, .chunk_pages = 1024};

    vmk_make(&k, &config);
    cr_assert_eq(vmk_open(&k, BATCHED, 0, 0), BALLOON_OK);
    k.target = UINT64_MAX;
    (void)vmk_run(&k, 0);
    cr_assert_eq(vmk_status(&k).held, 384);
    cr_assert_eq(vmk_status(&k).target, UINT64_MAX);
}

/* --- migration, lack of memory, rest ---------------------------------------------------------- */

/* A LOCK at the target would not be needed. */
Test(vmware_driver, replaces_a_page_by_unlock_then_lock)
{
    vmk_start(&k, 0, BATCHED, 10);
    cr_assert_eq(balloon_driver_migrate(k.driver, 3, 500, VMK_MS), BALLOON_OK);
    vmk_set_owner(&k, 500, 1, VMK_FREE, VMK_GIVEN);
    CHECK_CALLS(&k, VMK_MS, "out 1: 3 | in 1: 500");
    cr_assert_eq(k.owner[3], VMK_FREE);
    cr_assert_eq(vmk_counters(&k).migrated, 1);
    /* An old page that is kept. */
    k.entry_status[0] = BALLOON_VMWARE_BUSY;
    cr_assert_eq(balloon_driver_migrate(k.driver, 4, 501, VMK_MS), BALLOON_OK);
    vmk_set_owner(&k, 501, 1, VMK_FREE, VMK_GIVEN);
    CHECK_CALLS(&k, VMK_MS, "out 1: 4");
    cr_assert_eq(k.owner[501], VMK_FREE);
    cr_assert_eq(vmk_status(&k).held, 10);
    cr_assert_eq(vmk_counters(&k).migrated, 1);
}

Test(vmware_driver, gives_pages_back_when_memory_is_short)
{
    uint64_t coming = 0;

    vmk_start(&k, 0, BATCHED, 100);
    cr_assert_eq(balloon_driver_oom(k.driver, 40, &coming, VMK_MS), BALLOON_OK);
    cr_assert_eq(coming, 40);
    CHECK_CALLS(&k, VMK_MS, "out 40: 0");
    CHECK_CALLS(&k, VMK_SECOND, "target 16384");
    (void)vmk_run(&k, 7 * VMK_SECOND);
    cr_assert_eq(vmk_status(&k).held, 100);
}

Test(vmware_driver, comes_to_rest_without_pages)
{
    vmk_make_simple(&k, 0);
    cr_assert_eq(vmk_open(&k, 0, 0, 3), BALLOON_OK);
    k.target = 40;
    (void)vmk_run(&k, 0);
    cr_assert_eq(balloon_driver_suspend(k.driver, VMK_MS), BALLOON_OK);
    CHECK_CALLS(&k, VMK_MS, "out 40: 0 | bell ffffffff/ffffffff | start 0");
    cr_assert(k.suspended);
    cr_assert_eq(k.given, 0);
    CHECK_CALLS(&k, 99 * VMK_SECOND, "");
    balloon_vmware_driver_doorbell(k.driver, 99 * VMK_SECOND);
    CHECK_CALLS(&k, 99 * VMK_SECOND, "");
    /* And again. */
    cr_assert_eq(vmk_open(&k, 0, 0, 0), BALLOON_ERR_STATE);
    balloon_driver_reset(k.driver);
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), 0);
    cr_assert_eq(vmk_open(&k, 0, 0, 0), BALLOON_OK);
    CHECK_CALLS(&k, 100 * VMK_SECOND, "start 2e | target 16384 | in 32: 0 | in 8: 32");
}

Test(vmware_driver, comes_to_rest_whatever_the_host_says)
{
    vmk_start(&k, 0, BATCHED, 40);
    for (int i = 0; i < 11; i++)
        k.status[i] = BALLOON_VMWARE_BUSY;
    cr_assert_eq(balloon_driver_suspend(k.driver, VMK_MS), BALLOON_OK);
    CHECK_CALLS(&k, VMK_MS, "out 40: 0 | start 0");
    cr_assert(k.suspended);
    cr_assert_eq(k.given, 0);
}

Test(vmware_driver, comes_to_rest_without_a_session)
{
    vmk_make_simple(&k, 0);
    cr_assert_eq(vmk_open(&k, BATCHED, 0, 0), BALLOON_OK);
    k.status[BALLOON_VMWARE_START] = BALLOON_VMWARE_FAILURE;
    CHECK_CALLS(&k, 0, "start 6");
    cr_assert_eq(balloon_driver_suspend(k.driver, VMK_MS), BALLOON_OK);
    CHECK_CALLS(&k, VMK_MS, "");
    cr_assert(k.suspended);
}

/* The answer of a START that was on its way decides whether there is a session to leave. */
Test(vmware_driver, comes_to_rest_from_within_start)
{
    balloon_driver_action action;

    vmk_make_simple(&k, 0);
    cr_assert_eq(vmk_open(&k, BATCHED, 0, 0), BALLOON_OK);
    cr_assert(balloon_driver_poll(k.driver, 0, &action));
    cr_assert_eq(balloon_driver_suspend(k.driver, 0), BALLOON_OK);
    cr_assert_not(vmk_step(&k));
    cr_assert_not(k.suspended);
    cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start 0");
    cr_assert(k.suspended);
}

Test(vmware_driver, a_lost_host_leaves_all_pages_to_the_guest)
{
    vmk_start(&k, 0, BATCHED, 40);
    balloon_driver_reset(k.driver);
    cr_assert_eq(vmk_open(&k, 0, 0, 0), BALLOON_ERR_BUSY);
    CHECK_CALLS(&k, 0, "");
    cr_assert_eq(k.given, 0);
    cr_assert_eq(vmk_open(&k, 0, 0, 0), BALLOON_OK);
}
