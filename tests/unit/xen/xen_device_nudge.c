/* A Xen guest that sleeps is woken. Linux, after a few failures, looks again only when it reads
 * another number than before. */
#include "xen_support.h"

TestSuite(xen_device_nudge, .fini = vm_end);

#define SECOND UINT64_C(1000000000)

/* A guest that was asked for 64 of its 4096 pages, and sleeps. */
static balloon_device *asleep(void)
{
    balloon_device *device = xen_device(NULL);

    xen_watch(device, 0);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    (void)xen_poll(device, 0);
    return device;
}

static const char *shown(balloon_device *device, balloon_time_t now)
{
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, "memory/target", NULL, now), BALLOON_OK);
    return xen_poll(device, now);
}

Test(xen_device_nudge, it_reads_another_number_each_time)
{
    balloon_device *device = asleep();

    CHECK_TEXT(shown(device, SECOND), "read/2 16128");
    cr_assert(*xen_poll(device, 11 * SECOND), "an event");
    CHECK_TEXT(shown(device, 11 * SECOND), "read/2 16096");
    cr_assert(*xen_poll(device, 40 * SECOND), "and another");
    CHECK_TEXT(shown(device, 40 * SECOND), "read/2 16128");
    /* The same for who asks for the same target again. */
    cr_assert_eq(balloon_device_set_target(device, 64, 45 * SECOND), BALLOON_OK);
    cr_assert(*xen_poll(device, 45 * SECOND));
    CHECK_TEXT(shown(device, 45 * SECOND), "read/2 16096");
}

Test(xen_device_nudge, the_number_beside_is_as_good)
{
    balloon_device *device = asleep();

    (void)xen_poll(device, 11 * SECOND);
    cr_assert_eq(xen_move(device, DECREASE, 0, 72, BALLOON_OK, 12 * SECOND), 72);
    cr_assert(vm_status(device).settled);
    /* It is left alone, and a new target is shown as it is. */
    (void)xen_poll(device, 13 * SECOND);
    CHECK_XEN(device, 14 * SECOND, "discard 0+72");
    CHECK_XEN(device, 1000 * SECOND, "");
    cr_assert_eq(balloon_device_set_target(device, 96, 1000 * SECOND), BALLOON_OK);
    (void)xen_poll(device, 1000 * SECOND);
    CHECK_TEXT(shown(device, 1000 * SECOND), "read/2 16000");
}

Test(xen_device_nudge, what_it_sees_moves_with_it)
{
    balloon_device *device = asleep(), *to = xen_device(NULL);

    (void)xen_poll(device, 11 * SECOND);
    cr_assert_eq(vm_move(device, 11 * SECOND, to, 0), BALLOON_OK);
    CHECK_TEXT(shown(to, 0), "read/2 16096");
}
