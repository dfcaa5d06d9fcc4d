/* The driver of VMware: one test for each rule of what it asks, and of what answers do. */
#include "vmware_driver_support.h"

static struct vmk k;

static void end(void)
{
    vmk_end(&k);
}

TestSuite(vmware_driver, .fini = end);

#define BASIC   BALLOON_VMWARE_BASIC
#define BATCHED (BASIC | BALLOON_VMWARE_BATCHED)
#define LARGE   (BATCHED | BALLOON_VMWARE_BATCHED_2M)

static void make(uint32_t chunk_pages)
{
    balloon_driver_config config = {.chunk_pages = chunk_pages};

    vmk_make(&k, &config);
}

static balloon_status open_with(uint64_t capabilities, uint32_t guest, uint32_t context)
{
    balloon_vmware_driver_options options = {.size = sizeof(options),
                                             .capabilities = capabilities,
                                             .guest = guest,
                                             .context = context,
                                             .resource = 0x10001};

    return balloon_vmware_driver_open(k.driver, &options, 0);
}

/* Started, asks for the target at each second, and has it. */
static void start(uint32_t chunk_pages, uint64_t capabilities, uint64_t target)
{
    make(chunk_pages);
    cr_assert_eq(open_with(capabilities, 0, 0), BALLOON_OK);
    k.target = target;
    (void)vmk_run(&k, 0);
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), capabilities);
}

static bool was_asked(const char *what)
{
    return strstr(k.log, what) != NULL;
}

/* --- the session ------------------------------------------------------------------------------ */

Test(vmware_driver, options_have_limits)
{
    balloon_vmware_driver_options options = {.size = sizeof(options) - 1};

    make(0);
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
    cr_assert_eq(open_with(BASIC | 1, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(open_with(BASIC | 0x40, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(open_with(BASIC | BALLOON_VMWARE_BATCHED_2M, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(open_with(BALLOON_VMWARE_WIDE_TARGET, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(open_with(BASIC | BALLOON_VMWARE_DOORBELL, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(open_with(BASIC | BALLOON_VMWARE_DOORBELL, 0, 3), BALLOON_OK);
    cr_assert_eq(open_with(BASIC, 0, 0), BALLOON_ERR_STATE);
}

Test(vmware_driver, works_in_pages_of_4_kib_only)
{
    balloon_driver_config config = {.page_pages = 4};

    vmk_make(&k, &config);
    cr_assert_eq(balloon_vmware_driver_open(k.driver, NULL, 0), BALLOON_ERR_UNSUPPORTED);
}

Test(vmware_driver, says_hello_and_asks_once_a_second)
{
    make(0);
    cr_assert_eq(open_with(0, BALLOON_VMWARE_GUEST_BSD, 3), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start 3e | bell 3/10001 | guest 2 | target 16384");
    cr_assert_eq(balloon_driver_deadline(k.driver), VMK_SECOND);
    CHECK_CALLS(&k, VMK_SECOND, "target 16384");
    cr_assert_eq(balloon_driver_deadline(k.driver), 2 * VMK_SECOND);
    cr_assert_eq(vmk_counters(&k).messages, 5);
}

Test(vmware_driver, has_defaults)
{
    make(0);
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), 0);
    cr_assert_eq(balloon_vmware_driver_open(k.driver, NULL, 7), BALLOON_OK);
    cr_assert_eq(balloon_driver_deadline(k.driver), 7);
    CHECK_CALLS(&k, 7, "start 2e | target 16384");
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), 0x2e);
}

Test(vmware_driver, asks_at_once_when_the_doorbell_rings)
{
    make(0);
    balloon_vmware_driver_doorbell(k.driver, 0); /* no driver yet */
    cr_assert_eq(open_with(0, 0, 3), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start 3e | bell 3/10001 | target 16384");
    CHECK_CALLS(&k, 5, "");
    balloon_vmware_driver_doorbell(k.driver, 5);
    CHECK_CALLS(&k, 5, "target 16384");
    CHECK_CALLS(&k, VMK_SECOND, "");
    CHECK_CALLS(&k, VMK_SECOND + 5, "target 16384");
}

Test(vmware_driver, goes_on_without_a_doorbell_that_is_refused)
{
    make(0);
    cr_assert_eq(open_with(0, 1, 3), BALLOON_OK);
    k.status[BALLOON_VMWARE_SET_DOORBELL] = BALLOON_VMWARE_FAILURE;
    k.status[BALLOON_VMWARE_SET_GUEST] = BALLOON_VMWARE_CMD_INVALID;
    CHECK_CALLS(&k, 0, "start 3e | bell 3/10001 | guest 1 | target 16384");
    k.status[BALLOON_VMWARE_SET_DOORBELL] = 0;
}

Test(vmware_driver, tries_start_again_each_second)
{
    make(0);
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
    make(0);
    k.host = generous_host;
    k.grant = 0xffffffffffff003e;
    cr_assert_eq(open_with(BATCHED, 0, 0), BALLOON_OK);
    CHECK_CALLS(&k, 0, "target 16384");
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), BATCHED);
}

/* Bit 0 means the protocol that was never shipped, and its batches. */
Test(vmware_driver, does_not_take_version_3)
{
    make(0);
    k.host = generous_host;
    k.grant = 3;
    cr_assert_eq(open_with(BATCHED, 0, 0), BALLOON_OK);
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

    make(0);
    cr_assert_eq(balloon_vmware_driver_write(k.driver, BALLOON_CHANNEL_CONTROL, &frame, NULL, 0, 0),
                 BALLOON_ERR_STATE);
    cr_assert_eq(balloon_vmware_driver_reply(k.driver, &frame, NULL, 0, 0), BALLOON_ERR_STATE);
    cr_assert_eq(open_with(BATCHED, 0, 0), BALLOON_OK);
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

/* Poll up to a SEND with pages. */
static balloon_driver_action until_pages(void)
{
    balloon_driver_action action;

    for (;;) {
        cr_assert(balloon_driver_poll(k.driver, k.now, &action));
        if (action.type == BALLOON_DRIVER_SEND && action.channel != BALLOON_CHANNEL_CONTROL)
            return action;
        if (action.type == BALLOON_DRIVER_SEND)
            (void)!vmk_send(&k, &action);
        else if (action.type == BALLOON_DRIVER_ALLOC)
            vmk_alloc(&k, &action);
        else
            vmk_free(&k, &action);
    }
}

Test(vmware_driver, needs_the_batch_page_for_batches)
{
    balloon_vmware_frame frame;
    uint8_t page[4096];

    start(0, BATCHED, 0);
    k.target = 100;
    k.now = VMK_SECOND;

    balloon_driver_action action = until_pages();
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

    make(0);
    k.width = BALLOON_VMWARE_32_BIT;
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start e | target 16384");
    k.target = 8;
    k.now = VMK_SECOND;

    balloon_driver_action action = until_pages();
    cr_assert_eq(balloon_vmware_driver_write(k.driver, action.channel, &frame, k.page, 4096,
                                             (balloon_pfn_t)1 << 32),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
    cr_assert_eq(vmk_status(&k).held, 8);
}

/* --- pages ------------------------------------------------------------------------------------ */

Test(vmware_driver, moves_single_pages_with_an_old_host)
{
    start(0, BASIC, 3);
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
    start(1024, BATCHED, 0);
    k.target = 1500;
    (void)vmk_run(&k, VMK_SECOND);
    cr_assert_lt(k.calls, 20);
    cr_assert_eq(k.given, 1500);
    k.target = 100;
    k.calls = 0;
    (void)vmk_run(&k, 2 * VMK_SECOND);
    cr_assert(was_asked("out 512: 0"));
    cr_assert_eq(k.calls, 1 + 3);
    cr_assert_eq(vmk_status(&k).held, 100);
    cr_assert_eq(k.given, 100);
}

/* Large pages in messages of their own, up to 1 GiB. */
Test(vmware_driver, moves_large_pages)
{
    start(262144, LARGE, 0);
    k.owner[512] = VMK_USED;
    k.target = 5000;
    (void)vmk_run(&k, VMK_SECOND);
    cr_assert(was_asked("in2m 9: 0"));
    cr_assert_eq(vmk_status(&k).held, 5000);
    k.target = 512;
    (void)vmk_run(&k, 2 * VMK_SECOND);
    cr_assert(was_asked("out2m "));
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

        make(0);
        free(k.memory);
        cr_assert_eq(balloon_driver_layout(&config, &layout), BALLOON_OK);
        k.memory = malloc(layout.bytes);
        cr_assert_eq(balloon_driver_init(k.memory, layout.bytes, &config, &k.driver), BALLOON_OK);
        cr_assert_eq(open_with(BATCHED | (wide ? BALLOON_VMWARE_WIDE_TARGET : 0), 0, 0),
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
    cr_assert_eq(open_with(BATCHED, 0, 0), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start 6 | target 4294967295");
    vmk_end(&k);
    vmk_make(&k, &config);
    cr_assert_eq(open_with(BATCHED | BALLOON_VMWARE_WIDE_TARGET, 0, 0), BALLOON_OK);
    CHECK_CALLS(&k, 0, "start 26 | target 4294967301");
}

/* --- targets ---------------------------------------------------------------------------------- */

Test(vmware_driver, takes_the_target_from_answers_that_succeed)
{
    start(1024, BATCHED, 0);
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
    start(256, BATCHED, 0);
    k.host = shrinking_host;
    k.target = 5000;
    CHECK_CALLS(&k, VMK_SECOND, "target 16384 | in 32: 0 | in 8: 32");
    cr_assert_eq(vmk_status(&k).held, 40);
}

Test(vmware_driver, leaves_a_balloon_alone_that_is_a_little_too_large)
{
    start(4096, BATCHED, 1000);
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
    start(128, BATCHED, 2000);
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
    cr_assert_eq(open_with(BATCHED, 0, 0), BALLOON_OK);
    k.target = UINT64_MAX;
    (void)vmk_run(&k, 0);
    cr_assert_eq(vmk_status(&k).held, 384);
    cr_assert_eq(vmk_status(&k).target, UINT64_MAX);
}

/* --- refusals --------------------------------------------------------------------------------- */

Test(vmware_driver, frees_what_is_refused_and_keeps_what_is_not_let_go)
{
    start(128, BATCHED, 0);
    k.target = 16;
    k.entry_status[0] = BALLOON_VMWARE_PPN_PINNED;
    k.entry_status[5] = BALLOON_VMWARE_PPN_INVALID;
    k.entry_status[15] = BALLOON_VMWARE_PPN_LOCKED;
    k.now = VMK_SECOND;

    balloon_driver_action action = until_pages();
    cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
    cr_assert_eq(vmk_status(&k).held, 13);
    cr_assert_eq(vmk_counters(&k).refused, 3);
    memset(k.entry_status, 0, sizeof(k.entry_status));
    (void)vmk_run(&k, VMK_SECOND);
    cr_assert_eq(vmk_status(&k).held, 16);
    k.target = 0;
    k.entry_status[3] = BALLOON_VMWARE_PPN_UNLOCKED;
    k.entry_status[4] = 31;
    k.now = 2 * VMK_SECOND;
    action = until_pages();
    cr_assert_eq(action.channel, BALLOON_CHANNEL_DEFLATE);
    memset(k.page, 0, sizeof(k.page));
    k.entry_status[4] = BALLOON_VMWARE_BUSY;
    cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
    cr_assert_eq(vmk_status(&k).held, 2);
    cr_assert_eq(vmk_counters(&k).kept, 2);
    memset(k.entry_status, 0, sizeof(k.entry_status));
    CHECK_CALLS(&k, 2 * VMK_SECOND, "out 2: 3");
    cr_assert_eq(k.given, 0);
}

/* A host that refuses all it is offered is not asked for ever. */
Test(vmware_driver, gives_up_for_now_after_16_refusals)
{
    start(128, BASIC, 0);
    k.target = 1000;
    k.status[BALLOON_VMWARE_LOCK] = BALLOON_VMWARE_PPN_PINNED;
    k.calls = 0;
    (void)vmk_run(&k, VMK_SECOND);
    cr_assert_eq(k.calls, 1 + 16);
    cr_assert_eq(k.given, 0);
    for (uint64_t ms = 1; ms < 1000; ms++)
        (void)vmk_run(&k, VMK_SECOND + ms * VMK_MS);
    cr_assert_lt(k.calls, 1 + 16 + 5);
    k.status[BALLOON_VMWARE_LOCK] = 0;
    (void)vmk_run(&k, 8 * VMK_SECOND);
    cr_assert_eq(vmk_status(&k).held, 1000);
}

Test(vmware_driver, waits_when_the_host_needs_no_more)
{
    for (int batched = 0; batched < 2; batched++) {
        start(8, batched ? BATCHED : BASIC, 0);
        k.target = 1000;
        k.status[BALLOON_VMWARE_LOCK] = BALLOON_VMWARE_PPN_NOTNEEDED;
        k.entry_status[0] = BALLOON_VMWARE_PPN_NOTNEEDED;
        CHECK_CALLS(&k, VMK_SECOND, batched ? "target 16384 | in 1: 0" : "target 16384 | lock 0");
        cr_assert_eq(k.given, 0);
        cr_assert_eq(balloon_driver_deadline(k.driver), VMK_SECOND + 200 * VMK_MS);
        vmk_end(&k);
    }
}

Test(vmware_driver, waits_after_a_call_that_fails)
{
    for (int batched = 0; batched < 2; batched++) {
        start(2, batched ? BATCHED : BASIC, 0);
        k.target = 2;
        k.status[BALLOON_VMWARE_LOCK] = BALLOON_VMWARE_BUSY;
        k.status[BALLOON_VMWARE_BATCHED_LOCK] = BALLOON_VMWARE_FAILURE;
        CHECK_CALLS(&k, VMK_SECOND, batched ? "target 16384 | in 1: 0" : "target 16384 | lock 0");
        cr_assert_eq(k.given, 0);
        CHECK_CALLS(&k, VMK_SECOND + 199 * VMK_MS, "");
        k.status[BALLOON_VMWARE_LOCK] = k.status[BALLOON_VMWARE_BATCHED_LOCK] = 0;
        (void)vmk_run(&k, VMK_SECOND + 200 * VMK_MS);
        cr_assert_eq(vmk_status(&k).held, 2);
        k.target = 0;
        k.status[BALLOON_VMWARE_UNLOCK] = BALLOON_VMWARE_BUSY;
        k.status[BALLOON_VMWARE_BATCHED_UNLOCK] = BALLOON_VMWARE_FAILURE;
        CHECK_CALLS(&k, 2 * VMK_SECOND,
                    batched ? "target 16384 | out 2: 0" : "target 16384 | unlock 0");
        cr_assert_eq(vmk_status(&k).held, 2);
        k.status[BALLOON_VMWARE_UNLOCK] = k.status[BALLOON_VMWARE_BATCHED_UNLOCK] = 0;
        (void)vmk_run(&k, 3 * VMK_SECOND);
        cr_assert_eq(vmk_status(&k).held, 0);
        vmk_end(&k);
    }
}

Test(vmware_driver, tries_the_other_size_for_pages_that_were_refused)
{
    start(4096, LARGE, 0);
    k.target = 512;
    k.entry_status[0] = BALLOON_VMWARE_PPN_PINNED;
    k.now = VMK_SECOND;
    k.used = 0;

    balloon_driver_action action = until_pages();
    cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
    cr_assert(was_asked("in2m 1: 0"));
    memset(k.entry_status, 0, sizeof(k.entry_status));
    CHECK_CALLS(&k, VMK_SECOND, "in 512: 0");
    /* Out again they are tried small, then large. */
    k.entry_status[0] = BALLOON_VMWARE_PPN_UNLOCKED;
    k.target = 0;
    k.now = 2 * VMK_SECOND;
    action = until_pages();
    cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
    cr_assert_eq(vmk_status(&k).held, 1);
    memset(k.entry_status, 0, sizeof(k.entry_status));
    CHECK_CALLS(&k, 2 * VMK_SECOND, "out 1: 0");
    k.target = 1024;
    CHECK_CALLS(&k, 3 * VMK_SECOND, "target 16384 | in2m 2: 0");
}

/* --- RESET ------------------------------------------------------------------------------------ */

Test(vmware_driver, reset_frees_all_and_starts_again)
{
    for (int lists = 0; lists < 2; lists++) {
        balloon_driver_config config = {.chunk_pages = 256, .total_pages = lists ? VMK_PAGES : 0};

        vmk_make(&k, &config);
        cr_assert_eq(open_with(BATCHED, 1, 0), BALLOON_OK);
        k.target = 1000;
        (void)vmk_run(&k, 0);
        cr_assert_eq(vmk_status(&k).held, 1000);
        k.status[BALLOON_VMWARE_GET_TARGET] = BALLOON_VMWARE_RESET;
        k.target = 8;
        /* The last START is a second ago, the next one would come too early. */
        CHECK_CALLS(&k, VMK_SECOND, "target 16384 | start 6 | guest 1 | target 16384");
        cr_assert_eq(k.given, 0);
        cr_assert_eq(vmk_status(&k).held, 0);
        cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), 0);
        cr_assert_eq(vmk_counters(&k).resets, 2);
        CHECK_CALLS(&k, 2 * VMK_SECOND - 1, "");
        k.status[BALLOON_VMWARE_GET_TARGET] = 0;
        CHECK_CALLS(&k, 2 * VMK_SECOND, "start 6 | guest 1 | target 16384 | in 8: 0");
        vmk_end(&k);
    }
}

/* As the status of the call, or of an entry; while pages go in, or come out. */
Test(vmware_driver, reset_comes_with_any_answer)
{
    for (int how = 0; how < 16; how++) {
        bool out = how & 1, entry = how & 2, lists = how & 4, single = how & 8;
        balloon_vmware_command in_command =
            single ? BALLOON_VMWARE_LOCK : BALLOON_VMWARE_BATCHED_LOCK;
        balloon_driver_config config = {.chunk_pages = 64, .total_pages = lists ? VMK_PAGES : 0};

        if (entry && single)
            continue;
        vmk_make(&k, &config);
        cr_assert_eq(open_with(single ? BASIC : BATCHED, 0, 0), BALLOON_OK);
        k.target = 100;
        (void)vmk_run(&k, 0);
        cr_assert_eq(vmk_status(&k).held, 100);
        k.target = out ? 0 : 200;
        if (entry)
            k.entry_status[3] = BALLOON_VMWARE_RESET;
        else
            k.status[in_command + out] = BALLOON_VMWARE_RESET;
        (void)vmk_run(&k, VMK_SECOND / 2);
        balloon_vmware_driver_doorbell(k.driver, VMK_SECOND / 2);
        (void)vmk_run(&k, VMK_SECOND / 2);
        cr_assert_eq(k.given, 0);
        cr_assert_eq(k.starts, 1);
        cr_assert_eq(vmk_counters(&k).resets, 1);
        memset(k.status, 0, sizeof(k.status));
        memset(k.entry_status, 0, sizeof(k.entry_status));
        (void)vmk_run(&k, VMK_SECOND);
        cr_assert_eq(k.starts, 2);
        cr_assert_eq(vmk_status(&k).held, out ? 0 : 200);
        vmk_end(&k);
    }
}

Test(vmware_driver, a_storm_of_resets_is_one_start_a_second)
{
    start(0, BATCHED, 0);
    k.target = 1000;
    k.status[BALLOON_VMWARE_BATCHED_LOCK] = BALLOON_VMWARE_RESET;
    for (uint64_t i = 0; i < 1000; i++) {
        balloon_vmware_driver_doorbell(k.driver, i * 10 * VMK_MS);
        (void)vmk_run(&k, i * 10 * VMK_MS);
    }
    cr_assert_eq(k.starts, 10);
    cr_assert_lt(k.calls, 60);
    cr_assert_eq(k.given, 0);
}

/* --- migration, lack of memory, rest ---------------------------------------------------------- */

/* A LOCK at the target would not be needed. */
Test(vmware_driver, replaces_a_page_by_unlock_then_lock)
{
    start(0, BATCHED, 10);
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

    start(0, BATCHED, 100);
    cr_assert_eq(balloon_driver_oom(k.driver, 40, &coming, VMK_MS), BALLOON_OK);
    cr_assert_eq(coming, 40);
    CHECK_CALLS(&k, VMK_MS, "out 40: 0");
    CHECK_CALLS(&k, VMK_SECOND, "target 16384");
    (void)vmk_run(&k, 7 * VMK_SECOND);
    cr_assert_eq(vmk_status(&k).held, 100);
}

Test(vmware_driver, comes_to_rest_without_pages)
{
    make(0);
    cr_assert_eq(open_with(0, 0, 3), BALLOON_OK);
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
    cr_assert_eq(open_with(0, 0, 0), BALLOON_ERR_STATE);
    balloon_driver_reset(k.driver);
    cr_assert_eq(balloon_vmware_driver_capabilities(k.driver), 0);
    cr_assert_eq(open_with(0, 0, 0), BALLOON_OK);
    CHECK_CALLS(&k, 100 * VMK_SECOND, "start 2e | target 16384 | in 32: 0 | in 8: 32");
}

Test(vmware_driver, comes_to_rest_whatever_the_host_says)
{
    start(0, BATCHED, 40);
    for (int i = 0; i < 11; i++)
        k.status[i] = BALLOON_VMWARE_BUSY;
    cr_assert_eq(balloon_driver_suspend(k.driver, VMK_MS), BALLOON_OK);
    CHECK_CALLS(&k, VMK_MS, "out 40: 0 | start 0");
    cr_assert(k.suspended);
    cr_assert_eq(k.given, 0);
}

Test(vmware_driver, comes_to_rest_without_a_session)
{
    make(0);
    cr_assert_eq(open_with(BATCHED, 0, 0), BALLOON_OK);
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

    make(0);
    cr_assert_eq(open_with(BATCHED, 0, 0), BALLOON_OK);
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
    start(0, BATCHED, 40);
    balloon_driver_reset(k.driver);
    cr_assert_eq(open_with(0, 0, 0), BALLOON_ERR_BUSY);
    CHECK_CALLS(&k, 0, "");
    cr_assert_eq(k.given, 0);
    cr_assert_eq(open_with(0, 0, 0), BALLOON_OK);
}
