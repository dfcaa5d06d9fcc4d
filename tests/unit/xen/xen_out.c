/* Pages that are out from the start, at either end of Xen: guests that start below their maximum,
 * and memory that is plugged in for a guest to fill. */
#include "xen_support.h"

TestSuite(xen_out, .fini = vm_end);

#define SECOND UINT64_C(1000000000)
#define HALF   (XEN_PAGES / 2)

/* A guest with half of its maximum, before it runs. */
static balloon_device *half(void)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(balloon_device_declare_held(device, (balloon_range){HALF, HALF}, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, HALF, 0), BALLOON_OK);
    return device;
}

/* What mini-os does, which has no driver that the host could see. */
Test(xen_out, a_guest_populates_what_it_never_had)
{
    balloon_device *device = half();

    cr_assert_eq(vm_status(device).held, HALF);
    cr_assert_eq(vm_status(device).actual, HALF);
    cr_assert_not(vm_status(device).driver);
    cr_assert_eq(balloon_device_explain(device, 0, NULL), BALLOON_REASON_NO_DRIVER);
    /* They are discarded, whatever they were, and so known to be the host's. */
    CHECK_XEN(device, SECOND, "");
    CHECK_XEN(device, 2 * SECOND, "discard 2048+2048");
    CHECK_XEN(device, 2 * SECOND, "");
    cr_assert_eq(vm_status(device).returned, HALF);
    cr_assert_eq(balloon_device_set_target(device, 0, 0), BALLOON_OK);
    cr_assert_eq(xen_move(device, POPULATE, HALF, 100, BALLOON_OK, SECOND), 100);
    cr_assert_eq(xen_list(device, POPULATE, 9, XEN_LIST(3072, 3584), BALLOON_OK, SECOND), 2);
    cr_assert_eq(vm_status(device).held, HALF - 100 - 1024);
    cr_assert_eq(xen_move(device, POPULATE, 0, 1, BALLOON_ERR_PROTOCOL, SECOND), 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 1);
    cr_assert_not(vm_status(device).driver);
}

Test(xen_out, the_driver_comes_later)
{
    balloon_device *device = half();

    CHECK_XEN(device, 0, "");
    CHECK_XEN(device, SECOND, "discard 2048+2048");
    xen_watch(device, SECOND);
    cr_assert(vm_status(device).driver);
    cr_assert(vm_status(device).settled);
    cr_assert_eq(vm_status(device).held, HALF);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, "memory/target", NULL, 0), BALLOON_OK);
    CHECK_XEN(device, SECOND, "read/2 8192");
}

Test(xen_out, a_reset_gives_all_pages_to_the_guest)
{
    balloon_device *device = half();

    balloon_device_reset(device);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(vm_status(device).actual, 0);
    CHECK_XEN(device, 10 * SECOND, "");
    cr_assert_eq(balloon_device_declare_held(device, (balloon_range){HALF, HALF}, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).held, HALF);
    /* Another transport knows nothing of them. */
    cr_assert_eq(balloon_virtio_configure(
                     device, &(balloon_virtio_options){.size = sizeof(balloon_virtio_options)}),
                 BALLOON_OK);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert(balloon_device_check(device, NULL));
}

Test(xen_out, only_free_ram_can_be_declared)
{
    balloon_device *device = half();
    const balloon_range bad[] = {{0, 0},        {0, HALF + 1},  {HALF - 1, 2},
                                 {HALF + 5, 1}, {XEN_PAGES, 1}, {5, UINT64_MAX}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(balloon_device_declare_held(device, bad[i], 0), BALLOON_ERR_INVALID);
    cr_assert_eq(vm_status(device).held, HALF);
}

Test(xen_out, they_move_with_the_guest)
{
    balloon_device *device = half(), *to = xen_device(NULL);

    balloon_device_flush(device);
    cr_assert_eq(vm_move(device, SECOND, to, 5 * SECOND), BALLOON_OK);
    cr_assert_not(vm_status(to).driver);
    cr_assert_eq(vm_status(to).held, HALF);
    CHECK_XEN(to, 5 * SECOND, "discard 2048+2048");
    cr_assert_eq(xen_move(to, POPULATE, HALF, 100, BALLOON_OK, SECOND), 100);
}

/* Above static-max: the guest sees as much more, and what it leaves alone stays out. */
Test(xen_out, plugged_in_for_a_guest_that_runs)
{
    balloon_device *device = half(), *to;
    balloon_region more = {1 << 20, 512, 1};

    xen_watch(device, 0);
    cr_assert_eq(balloon_device_set_target(device, 0, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_add_region(device, &more, NULL), BALLOON_OK);
    cr_assert_eq(balloon_device_declare_held(device, (balloon_range){1 << 20, 512}, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 112, 0), BALLOON_OK);
    for (int moved = 0; moved < 2; moved++) {
        cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, "memory/target", NULL, SECOND),
                     BALLOON_OK);
        CHECK_TEXT(xen_poll(device, 0), "read/2 17984 | event memory/target token");
        cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 3, "memory/static-max", NULL, SECOND),
                     BALLOON_OK);
        CHECK_XEN(device, 0, "read/3 18432");
        to = xen_blank();
        cr_assert_eq(balloon_device_add_region(to, &more, NULL), BALLOON_OK);
        cr_assert_eq(
            balloon_xen_configure(to, &(balloon_xen_options){.size = sizeof(balloon_xen_options),
                                                             .static_max = XEN_PAGES}),
            BALLOON_OK);
        cr_assert_eq(vm_move(device, 0, to, 0), BALLOON_OK);
        device = to;
        if (!moved)
            cr_assert_eq(balloon_device_set_target(device, 96, 0), BALLOON_OK);
        cr_assert_eq(balloon_device_set_target(device, 112, 0), BALLOON_OK);
    }
    cr_assert_eq(xen_move(device, POPULATE, 1 << 20, 512, BALLOON_OK, SECOND), 512);
    balloon_device_reset(device);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, "memory/static-max", NULL, SECOND),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "read/2 16384");
}

static void check_offer(balloon_device *device, const char *target, const char *static_max)
{
    char text[64];

    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, "memory/target", NULL, SECOND), BALLOON_OK);
    snprintf(text, sizeof(text), "read/2 %s", target);
    CHECK_XEN(device, SECOND, text);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 3, "memory/static-max", NULL, SECOND),
                 BALLOON_OK);
    snprintf(text, sizeof(text), "read/3 %s", static_max);
    CHECK_XEN(device, SECOND, text);
}

static void plug(balloon_device *device, uint64_t first, uint64_t count, uint64_t out, uint32_t *id)
{
    cr_assert_eq(balloon_device_add_region(device, &(balloon_region){first, count, 1}, id),
                 BALLOON_OK);
    if (out)
        cr_assert_eq(balloon_device_declare_held(device, (balloon_range){first, out}, 0),
                     BALLOON_OK);
    balloon_device_flush(device);
    (void)xen_poll(device, SECOND);
}

static void unplug(balloon_device *device, uint32_t id, const char *event)
{
    cr_assert_eq(balloon_device_remove_region(device, id), BALLOON_OK);
    CHECK_XEN(device, SECOND, event);
}

#define EVENT "event memory/target token"

/* The guest is not offered what is gone, sees that, and can move. */
Test(xen_out, unplugged_again)
{
    balloon_device *device = xen_device(NULL), *to = xen_device(NULL);
    uint32_t id[3];

    xen_watch(device, SECOND);
    plug(device, 1 << 20, 512, 512, &id[0]);
    plug(device, 1 << 21, 1024, 1024, &id[1]);
    check_offer(device, "22528", "22528");
    cr_assert_eq(xen_move(device, POPULATE, 1 << 20, 100, BALLOON_OK, SECOND), 100);
    unplug(device, id[0], EVENT);
    check_offer(device, "20480", "20480");
    /* Of those that the guest has by itself none was offered. */
    plug(device, 1 << 22, 512, 0, &id[2]);
    check_offer(device, "20480", "20480");
    unplug(device, id[2], "");
    check_offer(device, "20480", "20480");
    unplug(device, id[1], EVENT);
    check_offer(device, "16384", "16384");
    cr_assert_eq(vm_move(device, 0, to, 0), BALLOON_OK);
    check_offer(to, "16384", "16384");
    /* Nor is there more than there is. */
    cr_assert_eq(balloon_device_declare_held(device, (balloon_range){5, 10}, 0), BALLOON_OK);
    check_offer(device, "16384", "16384");
    cr_assert_eq(balloon_device_remove_region(device, id[1]), BALLOON_ERR_INVALID);
}

/* Where static-max counts memory that is not here, or not all that is. */
Test(xen_out, unplugged_with_another_static_max)
{
    balloon_device *device = xen_device(&(balloon_xen_options){.static_max = XEN_PAGES + 2048});
    uint32_t id[2];

    xen_watch(device, SECOND);
    plug(device, 1 << 20, 512, 512, &id[0]);
    plug(device, 1 << 21, 4096, 4096, &id[1]);
    check_offer(device, "43008", "43008");
    unplug(device, id[0], EVENT);
    check_offer(device, "40960", "40960");
    unplug(device, id[1], EVENT);
    check_offer(device, "24576", "24576");
    device = xen_device(&(balloon_xen_options){.static_max = HALF});
    xen_watch(device, SECOND);
    cr_assert_eq(balloon_device_declare_held(device, (balloon_range){HALF, HALF}, 0), BALLOON_OK);
    check_offer(device, "16384", "16384");
}

/* Guests of other transports start with all their pages. */
Test(xen_out, elsewhere_there_must_be_a_driver)
{
    balloon_device *device = vm_simple(BALLOON_F_STATS);
    balloon_range range = {100, 50};

    cr_assert_eq(balloon_device_declare_held(device, range, 0), BALLOON_OK);
    /* It may use them at any time: held, and not given back. */
    cr_assert_eq(vm_status(device).held, 50);
    CHECK_POLL(device, SECOND, "");
    cr_assert_eq(vm_status(device).returned, 0);
    balloon_device_reset(device);
    cr_assert_eq(balloon_device_declare_held(device, range, 0), BALLOON_ERR_STATE);
    device = vm_simple(BALLOON_F_MUST_TELL);
    cr_assert_eq(balloon_device_declare_held(device, range, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "");
    CHECK_POLL(device, SECOND, "discard 100+50");
    cr_assert_eq(vm_status(device).returned, 50);
    cr_assert_eq(vm_status(device).actual, 0);
}
