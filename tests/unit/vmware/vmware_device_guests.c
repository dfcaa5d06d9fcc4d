/* The device of VMware with guests that go, or start again, as Linux 6.12 and open-vm-tools 1634dfb
 * do. */
#include "vmware_support.h"

TestSuite(vmware_device_guests, .fini = vm_end);

#define LARGE BALLOON_VMWARE_LARGE_PAGE

/* What a driver of open-vm-tools offers where it knows 2 MiB pages. */
#define OPEN_VM_TOOLS                                                                              \
    ((uint64_t)(BALLOON_VMWARE_BASIC | BALLOON_VMWARE_BATCHED | BALLOON_VMWARE_BATCHED_2M))

/* A guest of 7 pages of 2 MiB and 512 single ones, all free. It locks large pages as long as there
 * are any, and counts. */
struct guest {
    balloon_device *device;
    uint64_t size; /* of its balloon, as it believes */
    uint32_t large, small;
    bool exact; /* it counts a freed large page as 512, like Linux */
};

#define LARGE_PAGES 7u

static bool move_one(struct guest *g, balloon_vmware_command command, balloon_pfn_t pfn)
{
    uint32_t status;

    return vmw_batch(g->device, command, &pfn, 1, &status) == BALLOON_VMWARE_SUCCESS &&
           status == BALLOON_VMWARE_SUCCESS;
}

static void grow(struct guest *g, uint64_t target)
{
    while (g->size < target && g->large < LARGE_PAGES &&
           move_one(g, BALLOON_VMWARE_BATCHED_2M_LOCK, g->large * LARGE)) {
        g->large++;
        g->size += LARGE;
    }
    while (g->size < target && g->small < LARGE &&
           move_one(g, BALLOON_VMWARE_BATCHED_LOCK, LARGE_PAGES * LARGE + g->small)) {
        g->small++;
        g->size++;
    }
}

static void shrink(struct guest *g, uint64_t target)
{
    while (g->size > target && g->small &&
           move_one(g, BALLOON_VMWARE_BATCHED_UNLOCK, LARGE_PAGES * LARGE + g->small - 1)) {
        g->small--;
        g->size--;
    }
    while (g->size > target && g->large &&
           move_one(g, BALLOON_VMWARE_BATCHED_2M_UNLOCK, (g->large - 1) * LARGE)) {
        g->large--;
        g->size -= LARGE;
    }
}

/* Once a second: start again if it was told to, ask, adjust. */
static void tick(struct guest *g)
{
    balloon_vmware_reply reply = vmw_get_target(g->device);

    if (reply.status == BALLOON_VMWARE_RESET) {
        g->size -= g->small + (g->exact ? LARGE * g->large : g->large);
        g->small = g->large = 0;
        (void)vmw_start(g->device, OPEN_VM_TOOLS);
        reply = vmw_get_target(g->device);
    }
    cr_assert_eq(reply.status, BALLOON_VMWARE_SUCCESS);
    if (g->size < reply.target)
        grow(g, reply.target);
    else if (!reply.target || g->size > reply.target + LARGE - 1)
        shrink(g, reply.target);
}

static void follows(struct guest *g, uint64_t target)
{
    uint64_t held;

    cr_assert_eq(balloon_device_set_target(g->device, target, 0), BALLOON_OK);
    for (unsigned i = 0; i < 3; i++)
        tick(g);
    held = vm_status(g->device).held;
    cr_assert(held >= target && held < target + LARGE && (target || !held),
              "%llu of %llu, and the guest believes %llu", (unsigned long long)held,
              (unsigned long long)target, (unsigned long long)g->size);
}

static struct guest guest_of(uint64_t offered, bool exact)
{
    struct guest g = {.device = vmw_blank(0, 1), .exact = exact};

    (void)vmw_start(g.device, offered);
    return g;
}

/* It stayed short of its target for ever. */
Test(vmware_device_guests, one_that_miscounts_after_reset_gets_to_its_target)
{
    struct guest g = guest_of(OPEN_VM_TOOLS, false);

    follows(&g, 5 * LARGE);
    balloon_device_reset(g.device);
    follows(&g, 5 * LARGE);
    cr_assert_eq(g.size, 10 * LARGE - 5);
    follows(&g, 2 * LARGE);
    follows(&g, 6 * LARGE + 16);
    /* And again: what it does not count adds up. */
    balloon_device_reset(g.device);
    follows(&g, 3 * LARGE);
    follows(&g, 0);
    follows(&g, 7 * LARGE);
    follows(&g, 0);
    cr_assert_eq(vm_counters(g.device).protocol_errors, 0);
}

/* A driver that counts right offers the same, and is found out when it knows the target and goes on
 * locking. */
Test(vmware_device_guests, one_that_counts_right_is_found_out)
{
    struct guest g = guest_of(OPEN_VM_TOOLS, true);

    follows(&g, 5 * LARGE);
    balloon_device_reset(g.device);
    follows(&g, 5 * LARGE);
    cr_assert_eq(vmw_get_target(g.device).target, 5 * LARGE);
    follows(&g, 2 * LARGE);
    follows(&g, 0);
}

/* Linux has a doorbell or targets of 64 bits, and counts right. */
Test(vmware_device_guests, others_are_told_the_target_as_it_is)
{
    const uint64_t offers[] = {OPEN_VM_TOOLS | BALLOON_VMWARE_DOORBELL,
                               OPEN_VM_TOOLS | BALLOON_VMWARE_WIDE_TARGET, VMW_ALL};

    for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
        struct guest g = guest_of(offers[i], true);

        follows(&g, 5 * LARGE);
        balloon_device_reset(g.device);
        cr_assert_eq(vmw_get_target(g.device).status, BALLOON_VMWARE_RESET);
        (void)vmw_start(g.device, offers[i]);
        cr_assert_eq(vmw_get_target(g.device).target, 5 * LARGE);
    }
}

/* It counts from 0 whatever the last driver believed. */
Test(vmware_device_guests, a_new_driver_begins_to_count)
{
    struct guest g = guest_of(OPEN_VM_TOOLS, false);

    follows(&g, 5 * LARGE);
    balloon_device_reset(g.device); /* with the machine */
    (void)vmw_start(g.device, OPEN_VM_TOOLS);
    cr_assert_eq(vmw_get_target(g.device).target, 5 * LARGE);

    /* Told to start again, it cannot set up its batches, and is told again. */
    g.size = g.large = g.small = 0;
    follows(&g, 5 * LARGE);
    balloon_device_reset(g.device);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(vmw_get_target(g.device).status, BALLOON_VMWARE_RESET);
        (void)vmw_start(g.device, OPEN_VM_TOOLS);
        (void)vmw_start(g.device, 0);
    }
    follows(&g, 5 * LARGE);
    cr_assert_gt(vmw_get_target(g.device).target, 5 * LARGE);
}

/* What a guest believes moves with it. */
Test(vmware_device_guests, what_it_believes_is_saved)
{
    struct guest g = guest_of(OPEN_VM_TOOLS, false);
    balloon_device *to = vmw_blank(0, 1);

    follows(&g, 5 * LARGE);
    balloon_device_reset(g.device);
    follows(&g, 5 * LARGE);
    cr_assert_eq(vm_move(g.device, 0, to, 0), BALLOON_OK);
    g.device = to;
    follows(&g, 2 * LARGE);
    cr_assert_eq(vm_move(g.device, 0, to = vmw_blank(0, 1), 0), BALLOON_OK);
    balloon_device_reset(to);
    g.device = to;
    follows(&g, 6 * LARGE);
    follows(&g, 0);
}

/* It says START with all it can, frees its pages and is silent. */
Test(vmware_device_guests, open_vm_tools_leaves_by_start)
{
    struct guest g = guest_of(OPEN_VM_TOOLS, false);

    follows(&g, 5 * LARGE);
    cr_assert(vm_status(g.device).driver);
    (void)vmw_start(g.device, OPEN_VM_TOOLS);
    cr_assert_not(vm_status(g.device).driver);
    cr_assert_eq(balloon_device_explain(g.device, 0, NULL), BALLOON_REASON_NO_DRIVER);
    cr_assert_eq(vm_status(g.device).held, 0);
    cr_assert_eq(vm_move(g.device, 0, vmw_blank(0, 1), 0), BALLOON_OK);

    /* So does a new driver begin, which goes on at once. */
    g.size = g.large = g.small = 0;
    (void)vmw_start(g.device, OPEN_VM_TOOLS);
    follows(&g, 5 * LARGE);
    cr_assert(vm_status(g.device).driver);
}
