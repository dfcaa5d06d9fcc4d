/* A host that lets some pages out of the balloon and never others: the others must not be in the
 * way.
 */
#include "vmware_driver_support.h"

static struct vmk k;

static void end(void)
{
    vmk_end(&k);
}

TestSuite(vmware_driver_refused, .fini = end);

enum { HELD = 1000 };

static uint64_t stuck; /* pages below are not unlocked */

static void host(struct vmk *vm, balloon_vmware_frame *frame)
{
    balloon_vmware_request call;
    balloon_vmware_entry entries[BALLOON_VMWARE_BATCH_MAX];

    cr_assert_eq(balloon_vmware_read_request(frame, vm->width, &call), BALLOON_OK);
    memset(vm->entry_status, 0, sizeof(vm->entry_status));
    vm->status[BALLOON_VMWARE_UNLOCK] = BALLOON_VMWARE_SUCCESS;
    if (call.command == BALLOON_VMWARE_UNLOCK && call.pfn < stuck)
        vm->status[BALLOON_VMWARE_UNLOCK] = BALLOON_VMWARE_PPN_PINNED;
    if (call.command == BALLOON_VMWARE_BATCHED_UNLOCK) {
        cr_assert_eq(balloon_vmware_read_batch(vm->page, 4096, call.entries, entries), BALLOON_OK);
        for (uint32_t i = 0; i < call.entries; i++)
            vm->entry_status[i] = entries[i].pfn < stuck ? BALLOON_VMWARE_PPN_PINNED : 0;
    }
    vmk_simple_host(vm, frame);
}

static bool lists; /* the kernel keeps the list of pages */

static void start(uint64_t capabilities, uint64_t held, uint64_t refused)
{
    balloon_driver_config config = {
        .chunk_pages = 256, .block_pages = 1, .total_pages = lists ? VMK_PAGES : 0};
    balloon_vmware_driver_options options = {.size = sizeof(options), .capabilities = capabilities};

    vmk_make(&k, &config);
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &options, 0), BALLOON_OK);
    stuck = refused;
    k.host = host;
    k.target = held;
    (void)vmk_run(&k, 0);
    cr_assert_eq(vmk_status(&k).held, held);
}

static void run_until(balloon_time_t end_at)
{
    for (balloon_time_t at; (at = balloon_driver_deadline(k.driver)) <= end_at;)
        (void)vmk_run(&k, at > k.now ? at : k.now);
}

static void all_others_leave(uint64_t capabilities, uint64_t refused)
{
    start(capabilities, HELD, refused);
    k.target = 0;
    run_until(600 * VMK_SECOND);
    cr_assert_eq(vmk_status(&k).held, refused);
    stuck = 0;
    run_until(700 * VMK_SECOND);
    cr_assert_eq(vmk_status(&k).held, 0);
}

Test(vmware_driver_refused, pages_in_a_batch_are_passed_over)
{
    all_others_leave(BALLOON_VMWARE_BASIC | BALLOON_VMWARE_BATCHED, 300);
}

Test(vmware_driver_refused, single_pages_are_passed_over)
{
    all_others_leave(BALLOON_VMWARE_BASIC, 16);
}

Test(vmware_driver_refused, pages_for_lack_of_memory_come_in_their_place)
{
    uint64_t coming = 0;

    start(BALLOON_VMWARE_BASIC | BALLOON_VMWARE_BATCHED, HELD, 100);
    cr_assert_eq(balloon_driver_oom(k.driver, 50, &coming, k.now), BALLOON_OK);
    cr_assert_eq(coming, 50);
    run_until(4 * VMK_SECOND);
    cr_assert_eq(vmk_status(&k).held, HELD - 50);
}

/* They were named for a TAKE once, and are in the list still. */
Test(vmware_driver_refused, pages_stay_in_the_list_of_the_kernel)
{
    lists = true;
    for (int lost = 0; lost < 2; lost++) {
        start(BALLOON_VMWARE_BASIC, 64, 10);
        k.target = 0;
        run_until(2 * VMK_SECOND);
        cr_assert_eq(vmk_status(&k).held, 10);
        cr_assert_eq(k.given, 10);
        stuck = 0;
        if (lost)
            balloon_driver_reset(k.driver);
        run_until(60 * VMK_SECOND);
        (void)vmk_run(&k, k.now);
        cr_assert_eq(vmk_status(&k).held, 0);
        cr_assert_eq(k.given, 0);
        vmk_end(&k);
    }
}
