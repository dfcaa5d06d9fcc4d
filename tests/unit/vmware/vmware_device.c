/* The device of VMware: one test for each rule of how calls are answered. */
#include "vmware_support.h"

TestSuite(vmware_device, .fini = vm_end);

/* --- setting up ------------------------------------------------------------------------------- */

static balloon_status configure(balloon_device *device, uint64_t capabilities)
{
    balloon_vmware_options options = {.size = sizeof(options), .capabilities = capabilities};

    return balloon_vmware_configure(device, &options);
}

Test(vmware_device, takes_capabilities_that_make_sense_only)
{
    balloon_device *device = vmw_blank(0, 1);
    balloon_vmware_options small = {.size = sizeof(small) - 1};

    cr_assert_eq(balloon_vmware_configure(device, &small), BALLOON_ERR_INVALID);
    cr_assert_eq(configure(device, 0x3f), BALLOON_ERR_INVALID);
    cr_assert_eq(configure(device, 0x40 | BALLOON_VMWARE_BASIC), BALLOON_ERR_INVALID);
    cr_assert_eq(configure(device, BALLOON_VMWARE_BATCHED), BALLOON_ERR_INVALID);
    cr_assert_eq(configure(device, BALLOON_VMWARE_BASIC | BALLOON_VMWARE_BATCHED_2M),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(configure(device, BALLOON_VMWARE_BASIC), BALLOON_OK);
    cr_assert_eq(configure(device, VMW_ALL), BALLOON_OK);
    (void)vmw_start(device, VMW_ALL);
    cr_assert_eq(configure(device, 0), BALLOON_ERR_STATE);
}

Test(vmware_device, needs_must_tell_host_on_offer)
{
    balloon_region ram = {0, 64, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .features = BALLOON_F_STATS};

    cr_assert_eq(configure(vm_device(&config), 0), BALLOON_ERR_INVALID);
}

Test(vmware_device, does_not_answer_for_another_transport)
{
    balloon_vmware_frame frame = {.ax = BALLOON_VMWARE_MAGIC, .dx = BALLOON_VMWARE_PORT};
    balloon_vmware_frame before = frame;

    cr_assert_eq(balloon_vmware_call(vm_simple(0), &frame, BALLOON_VMWARE_64_BIT, NULL, 0, 0),
                 BALLOON_ERR_STATE);
    cr_assert_eq(memcmp(&frame, &before, sizeof(frame)), 0);
}

Test(vmware_device, leaves_other_port_reads_alone)
{
    balloon_device *device = vmw_blank(0, 1);
    balloon_vmware_frame frame = {.ax = 0x564d5868, .dx = BALLOON_VMWARE_PORT}, before = frame;

    cr_assert_eq(balloon_vmware_call(device, &frame, BALLOON_VMWARE_64_BIT, NULL, 0, 0),
                 BALLOON_ERR_INVALID);
    frame.ax = BALLOON_VMWARE_MAGIC;
    frame.dx = 0x5658;
    before = frame;
    cr_assert_eq(balloon_vmware_call(device, &frame, BALLOON_VMWARE_64_BIT, NULL, 0, 0),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(memcmp(&frame, &before, sizeof(frame)), 0);
    cr_assert_eq(vm_counters(device).buffers, 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
}

Test(vmware_device, has_no_bound_of_16_tib)
{
    balloon_region ram = {(balloon_pfn_t)1 << 32, 4096, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(configure(device, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    (void)vmw_start(device, VMW_ALL);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, ram.first + 9), BALLOON_VMWARE_SUCCESS);
    CHECK_POLL(device, 0, "");
    CHECK_POLL(device, VM_SECOND, "discard 4294967305+1");
}

/* --- START ------------------------------------------------------------------------------------ */

Test(vmware_device, start_grants_what_both_ends_can)
{
    balloon_device *device = vmw_blank(0, 1);
    balloon_vmware_reply reply = vmw_start(device, VMW_ALL);

    cr_assert_eq(reply.status, BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES);
    cr_assert_eq(reply.capabilities, 0x2e);
    cr_assert_eq(vmw_session(device).capabilities, 0x2e);
    (void)vmw_get_target(device);
    cr_assert(vm_status(device).driver);
    cr_assert_eq(vm_status(device).negotiated, BALLOON_F_MUST_TELL);
    reply = vmw_start(device, BALLOON_VMWARE_BASIC | BALLOON_VMWARE_BATCHED_2M | 1 | 0x80);
    cr_assert_eq(reply.status, BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_session(device).capabilities, BALLOON_VMWARE_BASIC);
}

/* Nothing else than plain success would make a guest of Linux 3.x load its driver. */
Test(vmware_device, start_by_version_2_is_answered_as_it_was)
{
    balloon_device *device = vmw_blank(0, 1);
    balloon_vmware_frame frame = {.ax = BALLOON_VMWARE_MAGIC,
                                  .bx = BALLOON_VMWARE_VERSION_2,
                                  .cx = BALLOON_VMWARE_START,
                                  .dx = BALLOON_VMWARE_PORT};

    cr_assert_eq(balloon_vmware_call(device, &frame, BALLOON_VMWARE_32_BIT, NULL, 0, 0),
                 BALLOON_OK);
    cr_assert_eq(frame.ax, 0);
    cr_assert_eq(frame.bx, BALLOON_VMWARE_VERSION_2);
    cr_assert_eq(frame.cx, BALLOON_VMWARE_VERSION_2);
}

Test(vmware_device, start_forgets_all_pages)
{
    balloon_device *device = vmw_started(0, 1, 64);

    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vm_status(device).actual, 1);
    (void)vmw_start(device, VMW_ALL);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(vm_status(device).actual, 0);
    cr_assert_eq(vm_status(device).target, 64);
    /* What was about to be discarded is the guest's again. */
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_eq(vm_counters(device).discarded, 0);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_SUCCESS);
}

Test(vmware_device, start_without_capabilities_is_a_driver_that_leaves)
{
    balloon_device *device = vmw_started(0, 1, 64);

    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_SUCCESS);
    balloon_vmware_reply reply = vmw_start(device, 0);
    /* Linux would take success for a host without 2 MiB pages, and never finish freeing its own. */
    cr_assert_eq(reply.status, BALLOON_VMWARE_CMD_INVALID);
    cr_assert_eq(reply.capabilities, 0);
    cr_assert_not(vm_status(device).driver);
    cr_assert_eq(vm_status(device).held, 0);
    reply = vmw_get_target(device);
    cr_assert_eq(reply.status, BALLOON_VMWARE_RESET);
    cr_assert_eq(reply.target, 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
}

/* Whatever is about pages is refused in the same way by a device without a session: a guest that
 * has one with a device that forgot it starts again. */
Test(vmware_device, answers_reset_until_start)
{
    balloon_device *device = vmw_started(0, 1, 64);
    const balloon_vmware_command pages[] = {
        BALLOON_VMWARE_GET_TARGET,
        BALLOON_VMWARE_LOCK,
        BALLOON_VMWARE_UNLOCK,
        BALLOON_VMWARE_BATCHED_LOCK,
        BALLOON_VMWARE_BATCHED_UNLOCK,
        BALLOON_VMWARE_BATCHED_2M_LOCK,
        BALLOON_VMWARE_BATCHED_2M_UNLOCK,
    };
    uint8_t page[4096] = {0}, before[4096] = {0};

    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_SUCCESS);
    balloon_device_reset(device);
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        balloon_vmware_request request = {.command = pages[i], .entries = 1, .pfn = 7};
        balloon_vmware_reply reply =
            vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, page, 4096, 0);

        cr_assert_eq(reply.status, BALLOON_VMWARE_RESET, "command %d", (int)pages[i]);
        cr_assert_eq(reply.target, 0);
    }
    cr_assert_eq(memcmp(page, before, sizeof(page)), 0);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
    (void)vmw_start(device, VMW_ALL);
    cr_assert_eq(vmw_get_target(device).status, BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_get_target(device).target, 64);
}

/* --- other commands --------------------------------------------------------------------------- */

Test(vmware_device, tells_the_target_with_every_answer_about_pages)
{
    balloon_device *device = vmw_started(0, 1, 64);
    balloon_vmware_request lock = {.command = BALLOON_VMWARE_LOCK, .pfn = 1 << 20};
    balloon_vmware_reply reply = vmw_ask(device, lock);

    cr_assert_eq(reply.status, BALLOON_VMWARE_PPN_INVALID);
    cr_assert_eq(reply.target, 64);
    cr_assert_eq(balloon_device_set_target(device, 128, 0), BALLOON_OK);
    cr_assert_eq(vmw_get_target(device).target, 128);
    lock.command = BALLOON_VMWARE_UNLOCK;
    cr_assert_eq(vmw_ask(device, lock).target, 128);
}

Test(vmware_device, remembers_what_the_guest_says_of_itself)
{
    balloon_device *device = vmw_blank(VMW_ALL, 1);
    balloon_vmware_request guest = {.command = BALLOON_VMWARE_SET_GUEST, .guest = 99};
    balloon_vmware_session session = vmw_session(device);

    cr_assert_eq(session.capabilities, 0);
    cr_assert_eq(session.guest, BALLOON_VMWARE_GUEST_UNKNOWN);
    cr_assert_eq(session.context, BALLOON_VMWARE_NO_ID);
    cr_assert_eq(session.resource, BALLOON_VMWARE_NO_ID);
    (void)vmw_start(device, VMW_ALL);
    cr_assert_eq(vmw_ask(device, guest).status, BALLOON_VMWARE_SUCCESS);
    (void)vmw_get_target(device);
    cr_assert_eq(vmw_doorbell(device, 3, 0x10001), BALLOON_VMWARE_SUCCESS);
    session = vmw_session(device);
    cr_assert_eq(session.guest, 99);
    cr_assert_eq(session.limit, 4096);
    cr_assert_eq(session.context, 3);
    cr_assert_eq(session.resource, 0x10001);
    (void)vmw_start(device, VMW_ALL);
    session = vmw_session(device);
    cr_assert_eq(session.guest, 0);
    cr_assert_eq(session.limit, 0);
    cr_assert_eq(session.context, BALLOON_VMWARE_NO_ID);
}

/* The limit is a claim: one that is too small, or wrapped, changes nothing. */
Test(vmware_device, does_not_believe_the_limit)
{
    balloon_device *device = vmw_started(0, 1, 64);
    balloon_vmware_request ask = {.command = BALLOON_VMWARE_GET_TARGET, .limit = 1};

    cr_assert_eq(vmw_ask(device, ask).target, 64);
    ask.limit = UINT64_MAX;
    cr_assert_eq(vmw_ask(device, ask).target, 64);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 6), BALLOON_VMWARE_SUCCESS);
}

Test(vmware_device, refuses_what_was_not_agreed_on)
{
    balloon_device *device = vmw_started(0, 1, 64);
    uint8_t page[4096] = {0}, before[4096] = {0};

    (void)vmw_start(device, BALLOON_VMWARE_BASIC);
    for (uint32_t c = BALLOON_VMWARE_BATCHED_LOCK; c <= BALLOON_VMWARE_BATCHED_2M_UNLOCK; c++) {
        balloon_vmware_request request = {
            .command = (balloon_vmware_command)c, .pfn = VMW_BATCH, .entries = 1};
        balloon_vmware_reply reply =
            vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, page, 4096, 0);

        cr_assert_eq(reply.status, BALLOON_VMWARE_CMD_INVALID);
        cr_assert_eq(reply.target, 64);
    }
    cr_assert_eq(memcmp(page, before, sizeof(page)), 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 4);
    (void)vmw_start(device, BALLOON_VMWARE_BATCHED);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_CMD_INVALID);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_UNLOCK, 5), BALLOON_VMWARE_CMD_INVALID);
    cr_assert_eq(vm_counters(device).protocol_errors, 6);
    cr_assert_eq(vm_status(device).held, 0);
}

Test(vmware_device, refuses_what_cannot_be_read)
{
    balloon_device *device = vmw_started(0, 1, 64);
    balloon_vmware_frame frame;
    uint8_t page[4096] = {0};

    for (uint64_t command = 0; command < 65536; command++) {
        if (command <= BALLOON_VMWARE_SET_DOORBELL && command != 5)
            continue;
        frame =
            (balloon_vmware_frame){BALLOON_VMWARE_MAGIC, 9, command, BALLOON_VMWARE_PORT, 10, 11};
        cr_assert_eq(balloon_vmware_call(device, &frame, BALLOON_VMWARE_64_BIT, page, 4096, 0),
                     BALLOON_OK);
        cr_assert_eq(frame.ax, BALLOON_VMWARE_CMD_INVALID);
        cr_assert_eq(frame.bx, 9);
        cr_assert_eq(frame.cx, command);
    }
    cr_assert_eq(vm_counters(device).protocol_errors, 65536 - 10);
    for (uint64_t entries = 0; entries <= 513; entries += 513) {
        frame = (balloon_vmware_frame){BALLOON_VMWARE_MAGIC, VMW_BATCH, 6,
                                       BALLOON_VMWARE_PORT,  entries,   0};
        cr_assert_eq(balloon_vmware_call(device, &frame, BALLOON_VMWARE_64_BIT, page, 4096, 0),
                     BALLOON_OK);
        cr_assert_eq(frame.ax, BALLOON_VMWARE_CMD_INVALID);
    }
    cr_assert_eq(vm_counters(device).protocol_errors, 65536 - 8);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert(vm_status(device).driver);
}

Test(vmware_device, ignores_the_upper_halves_of_32_bit_guests)
{
    balloon_device *device = vmw_started(0, 1, 64);
    balloon_vmware_frame frame = {BALLOON_VMWARE_MAGIC,
                                  UINT64_C(0xdeadbeef00000005),
                                  BALLOON_VMWARE_LOCK,
                                  BALLOON_VMWARE_PORT,
                                  1,
                                  0};

    cr_assert_eq(balloon_vmware_call(device, &frame, BALLOON_VMWARE_32_BIT, NULL, 0, 0),
                 BALLOON_OK);
    cr_assert_eq(frame.ax, BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(frame.bx, 64);
    cr_assert(vmw_held(device, 5));
}

/* --- doorbell --------------------------------------------------------------------------------- */

Test(vmware_device, taking_the_doorbell_back_before_start_is_no_error)
{
    balloon_device *device = vmw_blank(0, 1);

    cr_assert_eq(vmw_doorbell(device, BALLOON_VMWARE_NO_ID, BALLOON_VMWARE_NO_ID),
                 BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_doorbell(device, 3, 0x10001), BALLOON_VMWARE_CMD_INVALID);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
    cr_assert_eq(vmw_session(device).context, BALLOON_VMWARE_NO_ID);
}

Test(vmware_device, a_doorbell_needs_its_capability)
{
    balloon_device *device = vmw_started(0, 1, 64);

    cr_assert_eq(vmw_doorbell(device, 3, 0x10001), BALLOON_VMWARE_CMD_INVALID);
    cr_assert_eq(vmw_session(device).context, BALLOON_VMWARE_NO_ID);
    cr_assert_eq(balloon_device_set_target(device, 128, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
}

Test(vmware_device, rings_the_doorbell_for_a_new_target)
{
    balloon_device *device = vmw_started(VMW_ALL, 1, 64);

    cr_assert_eq(balloon_device_set_target(device, 128, 0), BALLOON_OK);
    CHECK_POLL(device, 0, ""); /* none yet */
    cr_assert_eq(vmw_doorbell(device, 3, 0x10001), BALLOON_VMWARE_SUCCESS);
    CHECK_POLL(device, 0, "");
    cr_assert_eq(balloon_device_set_target(device, 256, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "irq");
    cr_assert_eq(balloon_device_set_target(device, 512, 0), BALLOON_OK);
    (void)vmw_get_target(device); /* it knows by now */
    CHECK_POLL(device, 0, "");
    cr_assert_eq(vmw_doorbell(device, 3, BALLOON_VMWARE_NO_ID), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
}

/* --- LOCK and UNLOCK -------------------------------------------------------------------------- */

Test(vmware_device, locks_and_unlocks)
{
    balloon_device *device = vmw_started(0, 1, 64);

    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 6), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 4), BALLOON_VMWARE_SUCCESS);
    CHECK_POLL(device, 0, "");
    CHECK_POLL(device, 10 * VM_MS, "discard 4+3");
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_UNLOCK, 5), BALLOON_VMWARE_SUCCESS);
    cr_assert_not(vmw_held(device, 5));
    cr_assert_eq(vm_status(device).actual, 2);
    cr_assert_eq(vm_counters(device).inflated, 3);
    cr_assert_eq(vm_counters(device).deflated, 1);
    cr_assert_eq(vm_counters(device).buffers, 6);
    cr_assert_eq(vm_counters(device).acks, 6);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
}

Test(vmware_device, an_unlock_in_time_cancels_the_discard)
{
    balloon_device *device = vmw_started(0, 1, 64);

    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_SUCCESS);
    CHECK_POLL(device, 0, "");
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_UNLOCK, 5), BALLOON_VMWARE_SUCCESS);
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_eq(vm_counters(device).cancelled, 1);
}

Test(vmware_device, pages_are_refused_for_a_reason)
{
    balloon_device *device = vmw_started(0, 1, 16);
    const balloon_vmware_command in = BALLOON_VMWARE_LOCK, out = BALLOON_VMWARE_UNLOCK;

    cr_assert_eq(vmw_page(device, in, 4096), BALLOON_VMWARE_PPN_INVALID);
    cr_assert_eq(vmw_page(device, in, BALLOON_VMWARE_PFN_END), BALLOON_VMWARE_PPN_INVALID);
    cr_assert_eq(vmw_page(device, in, UINT64_MAX), BALLOON_VMWARE_PPN_INVALID);
    cr_assert_eq(vmw_page(device, out, 4096), BALLOON_VMWARE_PPN_INVALID);
    cr_assert_eq(vmw_page(device, out, UINT64_MAX), BALLOON_VMWARE_PPN_INVALID);
    cr_assert_eq(vm_counters(device).protocol_errors, 5);
    cr_assert_eq(vm_counters(device).inflate_outside, 1);
    cr_assert_eq(vm_counters(device).deflate_outside, 1);
    cr_assert_eq(vmw_page(device, in, 5), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_page(device, in, 5), BALLOON_VMWARE_PPN_LOCKED);
    cr_assert_eq(vm_counters(device).inflate_duplicate, 1);
    cr_assert_eq(vmw_page(device, out, 6), BALLOON_VMWARE_PPN_UNLOCKED);
    cr_assert_eq(vm_counters(device).deflate_unheld, 1);
    balloon_device_inhibit(device);
    cr_assert_eq(vmw_page(device, in, 6), BALLOON_VMWARE_PPN_PINNED);
    cr_assert_eq(vmw_page(device, out, 5), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    for (balloon_pfn_t pfn = 0; pfn < 16; pfn++)
        cr_assert_eq(vmw_page(device, in, pfn), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_page(device, in, 16), BALLOON_VMWARE_PPN_NOTNEEDED);
    balloon_device_inhibit(device);
    cr_assert_eq(vmw_page(device, in, 16), BALLOON_VMWARE_PPN_NOTNEEDED);
    cr_assert_eq(vm_status(device).held, 16);
    cr_assert(vm_status(device).settled);
}

/* Linux moves a page of the balloon by UNLOCK of the old one and LOCK of the new one. */
Test(vmware_device, a_page_may_be_exchanged_at_the_target)
{
    balloon_device *device = vmw_started(0, 1, 16);

    for (balloon_pfn_t pfn = 0; pfn < 16; pfn++)
        cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, pfn), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_UNLOCK, 3), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 99), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vm_status(device).held, 16);
    CHECK_POLL(device, VM_SECOND, "");
    CHECK_POLL(device, 2 * VM_SECOND, "discard 0+3,4+12,99+1");
}

Test(vmware_device, tells_of_a_guest_that_takes_pages_back)
{
    balloon_device *device = vmw_started(0, 1, 32);

    for (balloon_pfn_t pfn = 0; pfn < 32; pfn++)
        cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, pfn), BALLOON_VMWARE_SUCCESS);
    for (balloon_pfn_t pfn = 0; pfn < 16; pfn++)
        cr_assert_eq(vmw_page(device, BALLOON_VMWARE_UNLOCK, pfn), BALLOON_VMWARE_SUCCESS);
    CHECK_POLL(device, 0, "pressure");
    cr_assert_eq(vm_counters(device).deflated_below, 16);
}
