/* The driver of VMware under hosts that answer anything: no page has two owners, none is lost, and
 * the kernel is not kept busy. */
#include "vmware_driver_support.h"

static struct vmk k;

static void end(void)
{
    vmk_end(&k);
}

TestSuite(vmware_driver_hostile, .fini = end);

static struct prng prng;

static int32_t draw_status(void)
{
    static const int32_t likely[] = {0, 0, 0, 0, 2, 3, 4, 5, 6, 8, -1, 1};

    switch (prng_below(&prng, 40)) {
    case 0:
        return BALLOON_VMWARE_RESET;
    case 1:
        return (int32_t)(prng_next(&prng) & 0x7fffffff);
    default:
        return likely[prng_below(&prng, sizeof(likely) / sizeof(likely[0]))];
    }
}

/* Registers and page with anything in them, of which enough succeeds for pages to move. */
static void wild_host(struct vmk *kernel, balloon_vmware_frame *frame)
{
    balloon_vmware_request call;

    cr_assert_eq(balloon_vmware_read_request(frame, kernel->width, &call), BALLOON_OK);
    for (uint32_t i = 0; i < call.entries; i++)
        kernel->page[8 * i] |= (uint8_t)(draw_status() & 31);
    /* Numbers of other pages, as if it wanted these to be freed. */
    while (call.entries && prng_one_in(&prng, 4))
        kernel->page[prng_below(&prng, sizeof(kernel->page))] = (uint8_t)prng_next(&prng);
    frame->ax = prng_next(&prng) << 32 | (uint32_t)(prng_one_in(&prng, 3) ? draw_status() : 0);
    frame->bx = prng_one_in(&prng, 8) ? prng_next(&prng) : prng_below(&prng, VMK_PAGES);
    frame->cx = prng_next(&prng) & (prng_one_in(&prng, 4) ? UINT64_MAX : 0x3e);
    if (call.command == BALLOON_VMWARE_START && !prng_one_in(&prng, 3))
        frame->ax = BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES;
}

/* Whatever the host said: in the end the kernel has all its pages. */
static void leave(void)
{
    cr_assert_eq(balloon_driver_suspend(k.driver, k.now), BALLOON_OK);
    for (uint64_t i = 0; i < 100 && !k.suspended; i++)
        (void)vmk_run(&k, k.now + VMK_SECOND);
    cr_assert(k.suspended);
    cr_assert_eq(k.given, 0);
}

static void storm(uint64_t stream, const balloon_driver_config *config,
                  const balloon_vmware_driver_options *options)
{
    uint64_t seconds = prng_check_all() ? 20000 : 150;

    prng = prng_start(prng_seed(), stream);
    vmk_make(&k, config);
    k.width = options->width;
    k.host = wild_host;
    k.prng = &prng;
    cr_assert_eq(balloon_vmware_driver_open(k.driver, options, 0), BALLOON_OK);
    for (uint64_t i = 0; i < 4 * seconds; i++) {
        if (prng_one_in(&prng, 5))
            balloon_vmware_driver_doorbell(k.driver, k.now);
        if (prng_one_in(&prng, 50))
            (void)!balloon_driver_oom(k.driver, prng_below(&prng, 100), NULL, k.now);
        (void)vmk_run(&k, i * VMK_SECOND / 4);
    }
    cr_assert_leq(k.starts, seconds + 1);
    cr_assert_gt(vmk_counters(&k).inflated, seconds);
    cr_assert_gt(vmk_counters(&k).deflated, seconds / 4);
    cr_assert_gt(vmk_counters(&k).protocol_errors, 0);
    leave();
}

Test(vmware_driver_hostile, random_answers)
{
    balloon_driver_config config = {.chunk_pages = 700};
    balloon_vmware_driver_options options = {
        .size = sizeof(options), .guest = 1, .context = 3, .resource = 1};

    storm(1, &config, &options);
}

Test(vmware_driver_hostile, random_answers_to_32_bits)
{
    balloon_driver_config config = {.chunk_pages = 100, .chunk_runs = 7};
    balloon_vmware_driver_options options = {.size = sizeof(options),
                                             .width = BALLOON_VMWARE_32_BIT};

    storm(2, &config, &options);
}

Test(vmware_driver_hostile, random_answers_about_large_pages)
{
    balloon_driver_config config = {.chunk_pages = 8192};
    balloon_vmware_driver_options options = {.size = sizeof(options)};

    storm(3, &config, &options);
}

Test(vmware_driver_hostile, random_answers_to_a_kernel_with_lists)
{
    balloon_driver_config config = {.chunk_pages = 2048, .total_pages = VMK_PAGES};
    balloon_vmware_driver_options options = {.size = sizeof(options)};

    storm(4, &config, &options);
}

Test(vmware_driver_hostile, random_answers_to_single_pages)
{
    balloon_driver_config config = {.chunk_pages = 64};
    balloon_vmware_driver_options options = {.size = sizeof(options),
                                             .capabilities = BALLOON_VMWARE_BASIC};

    storm(5, &config, &options);
}

/* A host that names other pages than it was asked about frees none of them. */
static void renaming_host(struct vmk *kernel, balloon_vmware_frame *frame)
{
    balloon_vmware_request call;
    balloon_vmware_entry entries[BALLOON_VMWARE_BATCH_MAX];

    cr_assert_eq(balloon_vmware_read_request(frame, kernel->width, &call), BALLOON_OK);
    for (uint32_t i = 0; i < call.entries; i++)
        entries[i] = (balloon_vmware_entry){VMK_BATCH, 0};
    vmk_simple_host(kernel, frame);
    if (call.entries)
        (void)balloon_vmware_write_batch(entries, call.entries, kernel->page, 4096);
}

Test(vmware_driver_hostile, wrong_page_numbers_mean_nothing)
{
    balloon_driver_config config = {.chunk_pages = 256};

    vmk_make(&k, &config);
    k.host = renaming_host;
    cr_assert_eq(balloon_vmware_driver_open(k.driver, NULL, 0), BALLOON_OK);
    k.target = 100;
    (void)vmk_run(&k, 0);
    cr_assert_eq(vmk_status(&k).held, 100);
    k.target = 0;
    (void)vmk_run(&k, VMK_SECOND);
    cr_assert_eq(vmk_status(&k).held, 0);
    cr_assert_eq(k.given, 0);
    cr_assert_eq(vmk_counters(&k).protocol_errors, vmk_counters(&k).messages - 3);
}

/* Every status with every command: none is lost, and the driver can go on. */
Test(vmware_driver_hostile, every_status_in_every_place)
{
    for (int32_t status = BALLOON_VMWARE_FAILURE; status <= BALLOON_VMWARE_BUSY; status++) {
        for (int command = 0; command <= 10; command++) {
            balloon_driver_config config = {.chunk_pages = 1024,
                                            .total_pages = command % 2 ? 0 : VMK_PAGES};
            uint64_t capabilities = command == 2 || command == 3 ? BALLOON_VMWARE_BASIC : 0;
            balloon_vmware_driver_options options = {.size = sizeof(options),
                                                     .capabilities = capabilities,
                                                     .guest = 1,
                                                     .context = capabilities ? 0 : 9};

            vmk_make(&k, &config);
            cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_OK);
            k.target = command % 2 ? 40 : 600;
            (void)vmk_run(&k, 0);
            k.status[command] = status;
            for (uint64_t i = 1; i < 12; i++) {
                k.target = i % 2 ? 0 : 1300;
                (void)vmk_run(&k, i * VMK_SECOND);
            }
            k.status[command] = 0;
            k.target = 900;
            for (uint64_t i = 12; i < 40; i++)
                (void)vmk_run(&k, i * VMK_SECOND);
            cr_assert_eq(vmk_status(&k).held, 900, "status %d to %d", status, command);
            leave();
            vmk_end(&k);
        }
    }
}

/* The most pieces that one answer can leave: every other page of a batch, and all that was to
 * follow in pieces of one page. */
Test(vmware_driver_hostile, an_answer_in_many_pieces)
{
    for (int out = 0; out < 2; out++) {
        balloon_driver_config config = {.chunk_pages = 8192};
        balloon_vmware_driver_options options = {
            .size = sizeof(options), .capabilities = BALLOON_VMWARE_BASIC | BALLOON_VMWARE_BATCHED};

        vmk_make(&k, &config);
        for (uint64_t i = 512; i < VMK_BATCH; i += 2)
            k.owner[i] = VMK_USED;
        k.target = 1024;
        cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_OK);
        if (out)
            (void)vmk_run(&k, 0);
        cr_assert_eq(vmk_status(&k).held, out ? 1023 : 0);
        for (uint32_t i = 0; i < BALLOON_VMWARE_BATCH_MAX; i += 2)
            k.entry_status[i] = BALLOON_VMWARE_PPN_PINNED;
        if (out)
            k.target = 0;
        (void)vmk_run(&k, VMK_SECOND);
        cr_assert_eq(vmk_status(&k).held, out ? 767 : 256);
        cr_assert_eq(k.given, vmk_status(&k).held);
        vmk_end(&k);
    }
}

/* The call for the target was announced before the answer to pages ended the session, and is
 * written after it. */
Test(vmware_driver_hostile, a_call_of_a_session_that_is_over_is_not_made)
{
    balloon_vmware_driver_options options = {.size = sizeof(options)};
    balloon_driver_action in = {0}, control = {0};
    balloon_vmware_frame frame;

    vmk_make(&k, &(balloon_driver_config){.chunk_pages = 64});
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_OK);
    k.target = 100;
    /* Until the target has come, and pages are asked for; then it is asked for again. */
    do {
        cr_assert(balloon_driver_poll(k.driver, 0, &in));
        if (in.type == BALLOON_DRIVER_SEND)
            cr_assert_eq(vmk_send(&k, &in), BALLOON_OK);
    } while (in.type != BALLOON_DRIVER_ALLOC);
    balloon_vmware_driver_doorbell(k.driver, 0);
    cr_assert(balloon_driver_poll(k.driver, 0, &control));
    cr_assert_eq(control.channel, BALLOON_CHANNEL_CONTROL);
    vmk_alloc(&k, &in);
    cr_assert(balloon_driver_poll(k.driver, 0, &in));
    cr_assert_eq(in.channel, BALLOON_CHANNEL_INFLATE);
    k.status[BALLOON_VMWARE_BATCHED_LOCK] = k.status[BALLOON_VMWARE_BATCHED_2M_LOCK] =
        BALLOON_VMWARE_RESET;
    (void)!vmk_send(&k, &in);
    cr_assert_eq(vmk_counters(&k).resets, 1);
    cr_assert_eq(balloon_vmware_driver_write(k.driver, BALLOON_CHANNEL_CONTROL, &frame, NULL, 0, 0),
                 BALLOON_ERR_STATE);
    k.allocs = 0;
    (void)vmk_run(&k, 0);
    cr_assert_eq(k.allocs, 0);
    cr_assert_eq(k.given, 0);
}
