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

static void fill(balloon_device *device, uint32_t large)
{
    lock_large(device, 0, large);
    balloon_device_flush(device);
    (void)vm_poll(device, 0);
    cr_assert(vm_status(device).settled);
}

/* Linux gives 2 MiB back at a time, also where that is more than the host wants to give. */
Test(vmware_device_size, a_large_page_too_few_is_no_pressure)
{
    balloon_device *device = vmw_started(0, 1, 3040);

    fill(device, 6);
    cr_assert_eq(balloon_device_set_target(device, 2592, 0), BALLOON_OK);
    move_large(device, BALLOON_VMWARE_BATCHED_2M_UNLOCK, 0, 1);
    CHECK_POLL(device, 0, "");
    cr_assert_eq(vm_status(device).held, 2560);
    CHECK_POLL(device, 60 * VM_SECOND, "");
    cr_assert_not(vm_status(device).pressure);
    /* What it takes back by itself from there is. */
    move_large(device, BALLOON_VMWARE_BATCHED_2M_UNLOCK, 1, 1);
    CHECK_POLL(device, 61 * VM_SECOND, "pressure");
}

/* open-vm-tools gives all of it, and takes the rest again in the next second. */
Test(vmware_device_size, what_comes_again_is_no_pressure)
{
    balloon_device *device = vmw_started(0, 1, 3072);

    fill(device, 6);
    cr_assert_eq(balloon_device_set_target(device, 2560, 0), BALLOON_OK);
    move_large(device, BALLOON_VMWARE_BATCHED_2M_UNLOCK, 0, 6);
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_not(vm_status(device).pressure);
    lock_large(device, 0, 5);
    balloon_device_flush(device);
    CHECK_POLL(device, 2 * VM_SECOND, "discard 0+2560");
    CHECK_POLL(device, 60 * VM_SECOND, "");
    cr_assert_not(vm_status(device).pressure);
}

Test(vmware_device_size, what_does_not_come_again_in_five_seconds_is)
{
    balloon_device *device = vmw_started(0, 1, 3072);

    fill(device, 6);
    cr_assert_eq(balloon_device_set_target(device, 2560, 0), BALLOON_OK);
    move_large(device, BALLOON_VMWARE_BATCHED_2M_UNLOCK, 0, 6);
    CHECK_POLL(device, VM_SECOND, "");
    cr_assert_eq(balloon_device_deadline(device), 6 * VM_SECOND);
    CHECK_POLL(device, 6 * VM_SECOND, "pressure");
}

/* Whenever it moves on the way. */
static balloon_device *moved(const balloon_device *from, balloon_time_t then)
{
    balloon_device *to = vmw_started(0, 1, 0);

    cr_assert_eq(vm_move(from, then, to, then), BALLOON_OK);
    return to;
}

Test(vmware_device_size, what_comes_again_is_no_pressure_after_a_move)
{
    for (unsigned when = 0; when < 3; when++) {
        balloon_device *device = vmw_started(0, 1, 3072);

        fill(device, 6);
        device = moved(device, VM_SECOND);
        cr_assert_eq(balloon_device_set_target(device, 2560, 60 * VM_SECOND), BALLOON_OK);
        if (when == 0)
            device = moved(device, 60 * VM_SECOND);
        move_large(device, BALLOON_VMWARE_BATCHED_2M_UNLOCK, 0, 6);
        if (when == 1)
            device = moved(device, 61 * VM_SECOND);
        CHECK_POLL(device, 61 * VM_SECOND, "");
        if (when == 2)
            device = moved(device, 61 * VM_SECOND);
        cr_assert_eq(balloon_device_deadline(device), 66 * VM_SECOND);
        CHECK_POLL(device, 62 * VM_SECOND, "");
        lock_large(device, 0, 4);
        balloon_device_flush(device);
        CHECK_POLL(device, 66 * VM_SECOND - 1, "discard 0+2048");
        CHECK_POLL(device, 66 * VM_SECOND, "pressure"); /* not all of it came */
        vm_end();
    }
}

/* And so may what a large page is off. */
Test(vmware_device_size, a_large_page_too_few_is_no_pressure_after_a_move)
{
    balloon_device *device = vmw_started(0, 1, 3040);

    fill(device, 6);
    cr_assert_eq(balloon_device_set_target(device, 2592, 0), BALLOON_OK);
    move_large(device, BALLOON_VMWARE_BATCHED_2M_UNLOCK, 0, 1);
    device = moved(device, VM_SECOND);
    CHECK_POLL(device, 60 * VM_SECOND, "");
    cr_assert_not(vm_status(device).pressure);
}

/* Nothing was asked back here. */
Test(vmware_device_size, a_guest_that_takes_back_by_itself_is_short_at_once)
{
    balloon_device *device = vmw_started(0, 1, 3072);

    fill(device, 6);
    move_large(device, BALLOON_VMWARE_BATCHED_2M_UNLOCK, 0, 1);
    CHECK_POLL(device, VM_SECOND, "pressure");
}
