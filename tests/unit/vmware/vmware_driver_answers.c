/* The driver of VMware: what it does when the host refuses pages, or resets it. */
#include "vmware_driver_support.h"

static struct vmk k;

static void end(void)
{
    vmk_end(&k);
}

TestSuite(vmware_driver_answers, .fini = end);

/* --- refusals --------------------------------------------------------------------------------- */

Test(vmware_driver_answers, frees_what_is_refused_and_keeps_what_is_not_let_go)
{
    vmk_start(&k, 128, BATCHED, 0);
    k.target = 16;
    k.entry_status[0] = BALLOON_VMWARE_PPN_PINNED;
    k.entry_status[5] = BALLOON_VMWARE_PPN_INVALID;
    k.entry_status[15] = BALLOON_VMWARE_PPN_LOCKED;
    k.now = VMK_SECOND;

    balloon_driver_action action = vmk_until_pages(&k);
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
    action = vmk_until_pages(&k);
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
Test(vmware_driver_answers, gives_up_for_now_after_16_refusals)
{
    vmk_start(&k, 128, BASIC, 0);
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

Test(vmware_driver_answers, waits_when_the_host_needs_no_more)
{
    for (int batched = 0; batched < 2; batched++) {
        vmk_start(&k, 8, batched ? BATCHED : BASIC, 0);
        k.target = 1000;
        k.status[BALLOON_VMWARE_LOCK] = BALLOON_VMWARE_PPN_NOTNEEDED;
        k.entry_status[0] = BALLOON_VMWARE_PPN_NOTNEEDED;
        CHECK_CALLS(&k, VMK_SECOND, batched ? "target 16384 | in 1: 0" : "target 16384 | lock 0");
        cr_assert_eq(k.given, 0);
        cr_assert_eq(balloon_driver_deadline(k.driver), VMK_SECOND + 200 * VMK_MS);
        vmk_end(&k);
    }
}

Test(vmware_driver_answers, waits_after_a_call_that_fails)
{
    for (int batched = 0; batched < 2; batched++) {
        vmk_start(&k, 2, batched ? BATCHED : BASIC, 0);
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

Test(vmware_driver_answers, tries_the_other_size_for_pages_that_were_refused)
{
    vmk_start(&k, 4096, LARGE, 0);
    k.target = 512;
    k.entry_status[0] = BALLOON_VMWARE_PPN_PINNED;
    k.now = VMK_SECOND;
    k.used = 0;

    balloon_driver_action action = vmk_until_pages(&k);
    cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
    cr_assert(vmk_was_asked(&k, "in2m 1: 0"));
    memset(k.entry_status, 0, sizeof(k.entry_status));
    CHECK_CALLS(&k, VMK_SECOND, "in 512: 0");
    /* Out again they are tried small, then large. */
    k.entry_status[0] = BALLOON_VMWARE_PPN_UNLOCKED;
    k.target = 0;
    k.now = 2 * VMK_SECOND;
    action = vmk_until_pages(&k);
    cr_assert_eq(vmk_send(&k, &action), BALLOON_OK);
    cr_assert_eq(vmk_status(&k).held, 1);
    memset(k.entry_status, 0, sizeof(k.entry_status));
    CHECK_CALLS(&k, 2 * VMK_SECOND, "out 1: 0");
    k.target = 1024;
    CHECK_CALLS(&k, 3 * VMK_SECOND, "target 16384 | in2m 2: 0");
}

/* --- RESET ------------------------------------------------------------------------------------ */

Test(vmware_driver_answers, reset_frees_all_and_starts_again)
{
    for (int lists = 0; lists < 2; lists++) {
        balloon_driver_config config = {.chunk_pages = 256, .total_pages = lists ? VMK_PAGES : 0};

        vmk_make(&k, &config);
        cr_assert_eq(vmk_open(&k, BATCHED, 1, 0), BALLOON_OK);
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
Test(vmware_driver_answers, reset_comes_with_any_answer)
{
    for (int how = 0; how < 16; how++) {
        bool out = how & 1, entry = how & 2, lists = how & 4, single = how & 8;
        balloon_vmware_command in_command =
            single ? BALLOON_VMWARE_LOCK : BALLOON_VMWARE_BATCHED_LOCK;
        balloon_driver_config config = {.chunk_pages = 64, .total_pages = lists ? VMK_PAGES : 0};

        if (entry && single)
            continue;
        vmk_make(&k, &config);
        cr_assert_eq(vmk_open(&k, single ? BASIC : BATCHED, 0, 0), BALLOON_OK);
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

Test(vmware_driver_answers, a_storm_of_resets_is_one_start_a_second)
{
    vmk_start(&k, 0, BATCHED, 0);
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
