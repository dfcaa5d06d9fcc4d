/* The driver in guests that start with less memory than they may have, by the figures of Linux
 * 6.12.117 on Xen 4.20: 200 MiB of 400. */
#include "xen_driver_support.h"

TestSuite(xen_driver_out, .fini = end);

#define START   51200u                   /* pages that the guest has */
#define MOST    102400u                  /* and may have */
#define SECTION 32768u                   /* what Linux plugs in at a time, */
#define ABOVE   ((balloon_pfn_t)1 << 20) /* from 4 GiB on */

static uint32_t id;

static balloon_xen_driver_session session(void)
{
    balloon_xen_driver_session session;

    balloon_xen_driver_session_get(driver, &session);
    return session;
}

static void start(uint64_t pages, bool pv, const char *static_max)
{
    balloon_region ram = {0, pages, 1};
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .max_pages = MOST + 2 * SECTION,
                                    .floor_pages = UINT64_MAX};

    make(&config);
    if (pages == MOST)
        cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){START, MOST - START}),
                     BALLOON_OK);
    open_with(&(balloon_xen_driver_options){.pv = pv});
    if (!pv) {
        greet(static_max, "204800");
        return;
    }
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    CHECK("read/2 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 2, "204800"), BALLOON_OK);
}

/* The host answers everything as it was asked; pages come. Returns how many. */
static uint64_t grow(void)
{
    uint64_t before = status_of().held;
    balloon_driver_action action;
    uint8_t list[512 * 8];
    balloon_xen_reservation r;
    uint32_t command;

    while (balloon_driver_poll(driver, 0, &action)) {
        cr_assert_neq(action.type, BALLOON_DRIVER_ALLOC);
        if (action.type != BALLOON_DRIVER_SEND)
            continue;
        cr_assert_eq(action.channel, BALLOON_CHANNEL_DEFLATE);
        cr_assert_eq(balloon_xen_driver_reservation(driver, list, sizeof(list), 0, &command, &r),
                     BALLOON_OK);
        cr_assert_eq(balloon_xen_driver_result(driver, (int64_t)r.extents, 0), BALLOON_OK);
    }
    return before - status_of().held;
}

/* The balloon has the pages of the memory map that have no memory. */
Test(xen_driver_out, a_pv_guest_whose_map_has_its_maximum_grows)
{
    start(MOST, true, NULL);
    cr_assert_eq(status_of().held, MOST - START);
    cr_assert_eq(status_of().target, MOST - START);
    CHECK("");
    next_target(3, "307200", BALLOON_OK);
    cr_assert_eq(status_of().target, MOST - 76800);
    cr_assert_eq(grow(), 76800 - START);
    next_target(4, "409600", BALLOON_OK);
    cr_assert_eq(grow(), MOST - 76800);
    cr_assert_eq(status_of().held, 0);
    cr_assert_eq(counters().inflated, 0);
    cr_assert_eq(counters().deflated, MOST - START);
}

/* Linux' way: the map ends where the memory does, and more is plugged in. */
Test(xen_driver_out, a_pv_guest_that_plugs_in_grows)
{
    balloon_region section = {ABOVE, SECTION, 1};

    start(START, true, NULL);
    CHECK("");
    cr_assert_eq(session().beyond, 0);
    next_target(3, "307200", BALLOON_OK);
    cr_assert_eq(status_of().target, 0);
    cr_assert_eq(session().beyond, 76800 - START);
    cr_assert_eq(balloon_driver_add_region(driver, &section, &id), BALLOON_OK);
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){ABOVE, SECTION}), BALLOON_OK);
    cr_assert_eq(session().beyond, 0);
    cr_assert_eq(status_of().target, START + SECTION - 76800);
    cr_assert_eq(grow(), 76800 - START);
    cr_assert_eq(status_of().total - status_of().held, 76800);
    /* And back. */
    next_target(3 + 1, "204800", BALLOON_OK);
    CHECK("alloc 64");
}

/* xl mem-max rewrites static-max in a guest that runs; what was read first goes on to count, as in
 * Linux, and the target may be above it. */
Test(xen_driver_out, a_guest_grows_beyond_the_static_max_it_has_read)
{
    balloon_region section = {ABOVE, SECTION, 1};

    start(START, false, "204800");
    next_target(4, "307200", BALLOON_OK);
    cr_assert_eq(session().static_max, START);
    cr_assert_eq(session().beyond, 76800 - START);
    cr_assert_eq(balloon_driver_add_region(driver, &section, &id), BALLOON_OK);
    cr_assert_eq(status_of().target, 0);
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){ABOVE, SECTION}), BALLOON_OK);
    cr_assert_eq(session().beyond, 0);
    cr_assert_eq(grow(), 76800 - START);
    cr_assert_eq(status_of().total - status_of().held, 76800);
}

/* A section that goes again was there for nothing else. */
Test(xen_driver_out, a_guest_that_unplugs_gives_no_more_for_it)
{
    balloon_region section = {ABOVE, SECTION, 1}, other = {ABOVE + SECTION, SECTION, 1};
    const uint64_t both = 2 * SECTION;
    uint32_t kept;

    start(START, false, "204800");
    cr_assert_eq(balloon_driver_add_region(driver, &section, &id), BALLOON_OK);
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){ABOVE, SECTION}), BALLOON_OK);
    cr_assert_eq(balloon_driver_add_region(driver, &other, &kept), BALLOON_OK);
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){other.first, SECTION}),
                 BALLOON_OK);
    next_target(4, "204800", BALLOON_OK);
    cr_assert_eq(status_of().target, both);
    next_target(5, "466944", BALLOON_OK); /* all of it */
    cr_assert_eq(grow(), both);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_OK);
    next_target(6, "335872", BALLOON_OK);
    cr_assert_eq(status_of().target, 0);
    cr_assert_eq(balloon_driver_remove_region(driver, kept, 0), BALLOON_OK);
    next_target(7, "204800", BALLOON_OK);
    cr_assert_eq(status_of().target, 0);
}

/* The map may have room for what comes later. */
Test(xen_driver_out, a_guest_declares_what_its_static_max_does_not_count)
{
    balloon_region ram = {0, MOST, 1};
    balloon_driver_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};

    make(&config);
    open_with(&(balloon_xen_driver_options){.pv = false});
    greet("204800", "204800");
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){START, MOST - START}),
                 BALLOON_OK);
    cr_assert_eq(status_of().target, MOST - START);
}

/* What is out at the start is a part of static-max. */
Test(xen_driver_out, an_hvm_guest_that_starts_below_its_maximum_grows)
{
    start(MOST, false, "409600");
    cr_assert_eq(status_of().target, MOST - START);
    CHECK("");
    next_target(4, "409600", BALLOON_OK);
    cr_assert_eq(grow(), MOST - START);
    cr_assert_eq(session().beyond, 0);
}

Test(xen_driver_out, only_what_the_kernel_has_can_be_declared)
{
    const balloon_range bad[] = {{0, 0},        {START, 1},      {START - 1, 2},
                                 {MOST - 1, 2}, {5, UINT64_MAX}, {ABOVE, 1}};

    start(MOST, true, NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(balloon_driver_declare_out(driver, bad[i]), BALLOON_ERR_INVALID, "%zu", i);
    cr_assert_eq(status_of().held, MOST - START);
    balloon_driver_reset(driver);
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){0, 1}), BALLOON_ERR_BUSY);
    CHECK("free 51200+51200");
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){0, 1}), BALLOON_OK);
}

/* The list is the kernel's, and the pages are on it. */
Test(xen_driver_out, a_kernel_that_keeps_the_list)
{
    balloon_driver_config config = {
        .size = sizeof(config), .total_pages = MOST, .page_pages = 4, .floor_pages = UINT64_MAX};

    make(&config);
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){0, MOST + 4}),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){0, 6}), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){START, MOST - START}),
                 BALLOON_OK);
    cr_assert_eq(status_of().held, MOST - START);
    cr_assert_eq(balloon_driver_declare_out(driver, (balloon_range){0, START + 4}),
                 BALLOON_ERR_INVALID);
}
