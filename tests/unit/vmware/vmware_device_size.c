/* The device of VMware: when the balloon counts as what was asked for, and when as short. */
#include "vmware_support.h"

TestSuite(vmware_device_size, .fini = vm_end);

/* Moves whole pages of 2 MiB, the first one on. */
static void move_large(balloon_device *device, balloon_vmware_command command, uint32_t first,
                       uint32_t count)
{
    balloon_pfn_t pfns[8];
    uint32_t statuses[8];

    for (uint32_t i = 0; i < count; i++)
        pfns[i] = (first + i) * BALLOON_VMWARE_LARGE_PAGE;
    cr_assert_eq(vmw_batch(device, command, pfns, count, statuses), BALLOON_VMWARE_SUCCESS);
    for (uint32_t i = 0; i < count; i++)
        cr_assert_eq(statuses[i], 0);
}

static void lock_large(balloon_device *device, uint32_t first, uint32_t count)
{
    move_large(device, BALLOON_VMWARE_BATCHED_2M_LOCK, first, count);
}

/* Linux locks whole pages of 2 MiB, and keeps what is less than one too many. */
Test(vmware_device_size, less_than_a_large_page_too_many_is_what_was_asked)
{
    balloon_device *device = vmw_started(0, 1, 1056);

    cr_assert_eq(vm_status(device).slack, BALLOON_VMWARE_SLACK);
    lock_large(device, 0, 2);
    cr_assert_not(vm_status(device).settled);
    lock_large(device, 2, 1);
    cr_assert_eq(vm_status(device).held, 1536);
    cr_assert(vm_status(device).settled);
    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    cr_assert_not(vm_status(device).settled, "a whole one too many");
}
