/* Drivers that look at the target only when they are told to, and how they come to it all the same.
 */
#include "vm.h"

TestSuite(device_nudge, .fini = vm_end);

#define S VM_SECOND

static void set_target(balloon_device *device, uint64_t pages, balloon_time_t now)
{
    cr_assert_eq(balloon_device_set_target(device, pages, now), BALLOON_OK);
}

/* The guest has named pages 0 to count, and claims them. */
static void inflate(balloon_device *device, uint32_t from, uint32_t count, balloon_time_t now)
{
    cr_assert_eq(vm_inflate(device, 1, from, count, now), BALLOON_OK);
    rig_write_config(device, 4, from + count);
    rig_drain(device, now);
}

/* --- when the driver comes -------------------------------------------------------------------- */

Test(device_nudge, a_target_that_waited_is_told_at_driver_ok)
{
    balloon_device *device = vm_simple(0);

    CHECK_POLL(device, 0, "");
    balloon_device_reset(device);
    set_target(device, 1600, 0);
    CHECK_POLL(device, 0, "");
    rig_start(device, 0, S);
    CHECK_POLL(device, S, "irq");
    CHECK_POLL(device, S, "");
    /* The guest boots again, and the target stays. */
    inflate(device, 0, 1600, S);
    balloon_device_reset(device);
    rig_start(device, 0, 2 * S);
    CHECK_POLL(device, 2 * S, "irq");
    balloon_device_reset(device);
    set_target(device, 0, 2 * S);
    rig_start(device, 0, 3 * S);
    CHECK_POLL(device, 3 * S, "");
}

/* --- the same target again -------------------------------------------------------------------- */

Test(device_nudge, the_same_target_is_told_again_while_the_size_is_not_there)
{
    balloon_device *device = vm_simple(BALLOON_F_DEFLATE_ON_OOM);

    set_target(device, 1600, 0);
    CHECK_POLL(device, 0, "irq");
    inflate(device, 0, 800, S);
    set_target(device, 1600, 2 * S - 1);
    CHECK_POLL(device, 2 * S - 1, "");
    set_target(device, 1600, 2 * S);
    CHECK_POLL(device, 2 * S, "irq");
    set_target(device, 1600, 3 * S - 1);
    CHECK_POLL(device, 3 * S - 1, "");
    set_target(device, 1600, 3 * S);
    CHECK_POLL(device, 3 * S, "irq");
    inflate(device, 800, 800, 3 * S);
    set_target(device, 1600, 9 * S);
    CHECK_POLL(device, 9 * S, "");
}

Test(device_nudge, the_same_target_changes_nothing_else)
{
    balloon_device *device = vm_simple(BALLOON_F_REPORTING);

    set_target(device, 1600, 0);
    CHECK_POLL(device, 0, "irq");
    set_target(device, 1600, 4 * S);
    CHECK_POLL(device, 4 * S, "irq");
    cr_assert_eq(balloon_device_explain(device, 5 * S, NULL), BALLOON_REASON_GUEST_SLOW);
    balloon_device_reset(device);
    set_target(device, 1600, 9 * S);
    CHECK_POLL(device, 9 * S, "");
}

/* --- by itself -------------------------------------------------------------------------------- */

Test(device_nudge, comes_by_itself_and_less_and_less_often)
{
    balloon_device *device = vm_simple(0);
    balloon_time_t now = 3 * S, wait = 10 * S;

    set_target(device, 1600, 0);
    CHECK_POLL(device, 0, "irq");
    inflate(device, 0, 100, now);
    for (int i = 0; i < 12; i++) {
        now += wait;
        cr_assert_eq(balloon_device_deadline(device), now);
        CHECK_POLL(device, now - 1, "");
        CHECK_POLL(device, now, "irq");
        wait = 2 * wait < 600 * S ? 2 * wait : 600 * S;
    }
    cr_assert_eq(wait, 600 * S);
    /* A page that comes is no new beginning, or a guest that goes back and forth would be driven.
     */
    inflate(device, 100, 1, now + S);
    cr_assert_eq(balloon_device_deadline(device), now + S + 600 * S);
    /* A new target is. */
    set_target(device, 1616, now + 2 * S);
    CHECK_POLL(device, now + 2 * S, "irq");
    cr_assert_eq(balloon_device_deadline(device), now + 12 * S);
}

Test(device_nudge, does_not_come_to_guests_that_are_there_or_believe_it)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    set_target(device, 1600, 0);
    CHECK_POLL(device, 0, "irq");
    cr_assert_eq(vm_inflate(device, 1, 0, 1600, 0), BALLOON_OK);
    rig_drain(device, 0);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    set_target(device, 1616, 0);
    CHECK_POLL(device, 0, "irq");
    rig_write_config(device, 4, 1616);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    rig_write_config(device, 4, 1600);
    cr_assert_eq(balloon_device_deadline(device), 10 * S);
    balloon_device_reset(device);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
}

Test(device_nudge, comes_for_a_balloon_that_is_too_large)
{
    balloon_device *device = vm_simple(0);

    set_target(device, 1600, 0);
    inflate(device, 0, 1600, 0);
    set_target(device, 800, S);
    CHECK_POLL(device, S, "irq");
    cr_assert_eq(vm_deflate(device, 1, 0, 100, 2 * S), BALLOON_OK);
    rig_write_config(device, 4, 1500);
    rig_drain(device, 2 * S);
    CHECK_POLL(device, 12 * S - 1, "");
    CHECK_POLL(device, 12 * S, "irq");
}

Test(device_nudge, begins_anew_where_a_guest_has_moved_to)
{
    balloon_device *from = vm_simple(0), *to = vm_simple(0);

    set_target(from, 1600, 0);
    CHECK_POLL(from, 0, "irq");
    inflate(from, 0, 100, 0);
    balloon_device_reset(to);
    cr_assert_eq(vm_move(from, 9 * S, to, 1000 * S), BALLOON_OK);
    CHECK_POLL(to, 1010 * S - 1, "");
    CHECK_POLL(to, 1010 * S, "irq");
}
