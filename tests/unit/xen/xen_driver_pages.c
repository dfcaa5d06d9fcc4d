/* The guest's end of a balloon on Xen: hypercalls, what becomes of their results, and what stays
 * over a restore. */
#include "xen_driver_support.h"

TestSuite(xen_driver_pages, .fini = end);

/* --- hypercalls ------------------------------------------------------------------------------- */

static void give(balloon_driver_channel channel, uint64_t first, uint64_t count)
{
    balloon_range run = {first, count};

    cr_assert_eq(balloon_driver_give(driver, channel, &run, 1, 0), BALLOON_OK);
}

Test(xen_driver_pages, pages_go_one_by_one)
{
    wanting(8);
    CHECK("alloc 8");
    balloon_range runs[] = {{40, 2}, {7, 1}, {100, 5}};

    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, runs, 3, 0), BALLOON_OK);
    CHECK("decrease 40,41,7,100,101,102,103,104");
    cr_assert_eq(balloon_xen_driver_result(driver, 8, 0), BALLOON_OK);
    CHECK("");
    cr_assert_eq(status_of().held, 8);
    next_target(4, "32744", BALLOON_OK);
    CHECK("populate 7,40");
    cr_assert_eq(balloon_xen_driver_result(driver, 2, 0), BALLOON_OK);
    CHECK("free 7+1 40+1");
    cr_assert_eq(status_of().held, 6);
}

/* Grows the window of the driver until it asks for so many pages. */
static void alloc_until(uint64_t pages, uint64_t *at)
{
    for (;;) {
        balloon_driver_action action;

        cr_assert(balloon_driver_poll(driver, 0, &action));
        if (action.type == BALLOON_DRIVER_ALLOC && action.pages >= pages)
            return;
        if (action.type == BALLOON_DRIVER_ALLOC) {
            give(BALLOON_CHANNEL_INFLATE, *at, action.pages);
            *at += action.pages;
        } else {
            cr_assert_eq(action.type, BALLOON_DRIVER_SEND);
            cr_assert_eq(balloon_xen_driver_result(driver, INT64_MAX, 0), BALLOON_ERR_PROTOCOL);
        }
    }
}

Test(xen_driver_pages, large_pages_go_as_such)
{
    uint64_t at = 4096;

    wanting(8000);
    alloc_until(1024, &at);
    balloon_range runs[] = {{512, 512}, {3, 2}, {1536, 510}};

    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, runs, 3, 0), BALLOON_OK);
    CHECK("decrease order 9 512");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    CHECK("decrease 3,4,1536,1537,1538,1539,1540,1541 and 504 more");
    cr_assert_eq(balloon_xen_driver_result(driver, 512, 0), BALLOON_OK);
    CHECK("alloc 1024");
}

Test(xen_driver_pages, large_pages_can_be_left_out)
{
    uint64_t at = 4096;

    make(NULL);
    open_with(&(balloon_xen_driver_options){.no_large = true, .extents = 100});
    greet("32768", "1024");
    alloc_until(1024, &at);
    give(BALLOON_CHANNEL_INFLATE, 512, 1024);
    CHECK("decrease 512,513,514,515,516,517,518,519 and 92 more");
    cr_assert_eq(balloon_xen_driver_result(driver, 100, 0), BALLOON_OK);
    CHECK("decrease 612,613,614,615,616,617,618,619 and 92 more");
}

Test(xen_driver_pages, pages_of_64_kib_have_an_order)
{
    balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .page_pages = 16,
                                    .floor_pages = UINT64_MAX};

    make(&config);
    open_with(NULL);
    greet("32768", "32640");
    CHECK("alloc 32");
    give(BALLOON_CHANNEL_INFLATE, 64, 32);
    CHECK("decrease order 4 64,80");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    CHECK("free 80+16");
    cr_assert_eq(status_of().held, 16);
}

Test(xen_driver_pages, what_is_not_taken_is_the_kernels_again)
{
    static const struct {
        int64_t result;
        uint64_t taken;
    } cases[] = {{8, 8}, {6, 6}, {4, 4}, {0, 0}, {-1, 0}, {-22, 0}, {INT64_MIN, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char want[64];

        wanting(8);
        CHECK("alloc 8");
        give(BALLOON_CHANNEL_INFLATE, 200, 8);
        CHECK("decrease 200,201,202,203,204,205,206,207");
        cr_assert_eq(balloon_xen_driver_result(driver, cases[i].result, 0), BALLOON_OK);
        cr_assert_eq(status_of().held, cases[i].taken);
        cr_assert_eq(status_of().on_way_in, 0);
        cr_assert_eq(counters().refused, 8 - cases[i].taken);
        snprintf(want, sizeof(want), "free %" PRIu64 "+%" PRIu64, 200 + cases[i].taken,
                 8 - cases[i].taken);
        CHECK(cases[i].taken < 8 ? want : "");
        /* And is tried again a second later. */
        CHECK_STEP_AT(SECOND - 1, "");
        snprintf(want, sizeof(want), "alloc %" PRIu64, 8 - cases[i].taken);
        CHECK_STEP_AT(SECOND, cases[i].taken < 8 ? want : "");
    }
}

Test(xen_driver_pages, what_is_not_given_back_stays_and_is_asked_for_later)
{
    balloon_time_t now = 0;

    wanting(8);
    CHECK("alloc 8");
    give(BALLOON_CHANNEL_INFLATE, 200, 8);
    CHECK("decrease 200,201,202,203,204,205,206,207");
    cr_assert_eq(balloon_xen_driver_result(driver, 8, 0), BALLOON_OK);
    next_target(4, "32768", BALLOON_OK);
    CHECK("populate 200,201,202,203,204,205,206,207");
    cr_assert_eq(balloon_xen_driver_result(driver, 3, 0), BALLOON_OK);
    CHECK("free 200+3");
    cr_assert_eq(status_of().held, 5);
    for (balloon_time_t wait = SECOND; wait <= 32 * SECOND; wait *= 2) {
        CHECK_STEP_AT(now + wait - 1, "");
        now += wait;
        CHECK_STEP_AT(now, "populate 203,204,205,206,207");
        cr_assert_eq(balloon_xen_driver_result(driver, -12, now), BALLOON_OK);
        cr_assert_eq(status_of().held, 5);
    }
    cr_assert_eq(counters().kept, 35);
}

Test(xen_driver_pages, results_of_more_than_was_asked)
{
    wanting(2);
    CHECK("alloc 2");
    give(BALLOON_CHANNEL_INFLATE, 10, 2);
    CHECK("decrease 10,11");
    cr_assert_eq(balloon_xen_driver_result(driver, 3, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(status_of().held, 2);
    cr_assert_eq(counters().protocol_errors, 1);
    cr_assert_eq(balloon_xen_driver_result(driver, 2, 0), BALLOON_ERR_STATE);
    cr_assert_eq(counters().answers_unasked, 1);
    cr_assert_eq(status_of().held, 2);
}

Test(xen_driver_pages, lists_need_room_and_an_address)
{
    balloon_xen_reservation reservation;
    uint8_t list[24];
    uint32_t command;

    make(NULL);
    open_with(&(balloon_xen_driver_options){.layout = BALLOON_XEN_32});
    greet("32768", "32752");
    CHECK("alloc 4");
    cr_assert_eq(
        balloon_xen_driver_reservation(driver, list, sizeof(list), 0, &command, &reservation),
        BALLOON_ERR_STATE);
    balloon_range high = {UINT64_C(1) << 32, 4};

    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &high, 1, 0),
                 BALLOON_ERR_INVALID);
    CHECK_STEP_AT(SECOND, "alloc 4");
    balloon_range run = {0x123456, 4};

    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &run, 1, 0),
                 BALLOON_ERR_INVALID);
    CHECK_STEP_AT(3 * SECOND, "alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 0x1234, 4);
    balloon_driver_action action;

    cr_assert(balloon_driver_poll(driver, 0, &action));
    cr_assert_eq(action.type, BALLOON_DRIVER_SEND);
    cr_assert_geq(action.bytes, 16);
    cr_assert_eq(balloon_xen_driver_reservation(driver, list, 15, 0x1000, &command, &reservation),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(
        balloon_xen_driver_reservation(driver, list, 16, UINT64_C(1) << 32, &command, &reservation),
        BALLOON_ERR_INVALID);
    cr_assert_eq(
        balloon_xen_driver_reservation(driver, list, 16, UINT32_MAX, &command, &reservation),
        BALLOON_OK);
    cr_assert_eq(command, BALLOON_XEN_DECREASE_RESERVATION);
    cr_assert_eq(reservation.extents, 4);
    cr_assert_eq(memcmp(list, "\x34\x12\0\0\x35\x12\0\0\x36\x12\0\0\x37\x12\0\0", 16), 0);
    /* The same again. */
    memset(list, 0, sizeof(list));
    cr_assert_eq(balloon_xen_driver_reservation(driver, list, 16, 0, &command, &reservation),
                 BALLOON_OK);
    cr_assert_eq(memcmp(list, "\x34\x12\0\0\x35\x12\0\0\x36\x12\0\0\x37\x12\0\0", 16), 0);
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
}

Test(xen_driver_pages, a_kernel_that_keeps_the_list_itself)
{
    balloon_driver_config config = {
        .size = sizeof(config), .total_pages = PAGES, .floor_pages = UINT64_MAX};

    make(&config);
    open_with(NULL);
    greet("32768", "32752");
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 70000, 4);
    CHECK("decrease 70000,70001,70002,70003");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    next_target(4, "32764", BALLOON_OK);
    CHECK("action 6"); /* TAKE */
    give(BALLOON_CHANNEL_DEFLATE, 70001, 3);
    CHECK("populate 70001,70002,70003");
    cr_assert_eq(balloon_xen_driver_result(driver, 2, 0), BALLOON_OK);
    CHECK("free 70001+2");
    cr_assert_eq(status_of().held, 2);
}

Test(xen_driver_pages, gives_back_when_the_kernel_is_out_of_memory)
{
    balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .floor_pages = UINT64_MAX,
                                    .deflate_on_oom = true};
    uint64_t coming;

    make(&config);
    open_with(NULL);
    greet("32768", "32752");
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 7, 4);
    CHECK("decrease 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_oom(driver, 3, &coming, 0), BALLOON_OK);
    cr_assert_eq(coming, 3);
    CHECK("populate 7,8,9");
    cr_assert_eq(balloon_xen_driver_result(driver, 3, 0), BALLOON_OK);
    CHECK("free 7+3");
}

/* The substitute goes first, so that the guest's size never passes what it may have. */
Test(xen_driver_pages, replaces_a_page)
{
    wanting(1);
    CHECK("alloc 1");
    give(BALLOON_CHANNEL_INFLATE, 7, 1);
    CHECK("decrease 7");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_migrate(driver, 7, 99, 0), BALLOON_OK);
    CHECK("decrease 99");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    CHECK("populate 7");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    CHECK("free 7+1");
    cr_assert_eq(status_of().held, 1);
    cr_assert_eq(counters().migrated, 1);
}

/* --- save and restore of the guest ------------------------------------------------------------ */

Test(xen_driver_pages, asks_and_watches_again_after_a_restore)
{
    balloon_xen_driver_session session;

    wanting(4);
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 7, 4);
    CHECK("decrease 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("read/4 memory/target");
    cr_assert_eq(balloon_xen_driver_resume(driver), BALLOON_OK);
    balloon_xen_driver_session_get(driver, &session);
    cr_assert(!session.watched && session.have_target);
    cr_assert_eq(status_of().held, 4);
    /* What the old store still had to say is not heard. */
    cr_assert_eq(reply(BALLOON_XEN_READ, 4, "4"), BALLOON_ERR_PROTOCOL);
    CHECK("watch/5 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 5, NULL), BALLOON_OK);
    CHECK("read/6 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 6, "32760"), BALLOON_OK);
    cr_assert_eq(status_of().target, 2);
    CHECK("populate 7,8");
}

Test(xen_driver_pages, a_restore_before_anything_was_answered)
{
    uint8_t bytes[128];
    size_t used;
    balloon_driver_action action;

    make(NULL);
    open_with(NULL);
    cr_assert(balloon_driver_poll(driver, 0, &action));
    cr_assert_eq(balloon_xen_driver_resume(driver), BALLOON_OK);
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, sizeof(bytes), &used), BALLOON_ERR_STATE);
    greet("32768", "32764");
    cr_assert_eq(status_of().target, 1);
    /* What was on its way is asked again. */
    make(NULL);
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    CHECK("read/2 memory/static-max");
    cr_assert_eq(balloon_xen_driver_resume(driver), BALLOON_OK);
    CHECK("watch/3 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 3, NULL), BALLOON_OK);
    CHECK("read/4 memory/static-max");
    /* Nor does it wait for what a failure made it wait for. */
    make(NULL);
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(fail(1, BALLOON_XEN_ENOMEM, 0), BALLOON_ERR_PROTOCOL);
    CHECK("");
    cr_assert_eq(balloon_xen_driver_resume(driver), BALLOON_OK);
    CHECK("watch/2 memory/target " TOKEN);
}

Test(xen_driver_pages, empties_the_balloon_before_it_goes)
{
    wanting(4);
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 7, 4);
    CHECK("decrease 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_suspend(driver, 0), BALLOON_OK);
    CHECK("populate 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    CHECK("free 7+4");
    CHECK("action 8"); /* SUSPENDED */
    balloon_driver_reset(driver);
    CHECK("");
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
}

Test(xen_driver_pages, opens_when_the_old_pages_are_back)
{
    wanting(4);
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 7, 4);
    CHECK("decrease 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    balloon_driver_reset(driver);
    cr_assert_eq(balloon_xen_driver_open(driver, NULL), BALLOON_ERR_BUSY);
    CHECK("free 7+4");
    cr_assert_eq(balloon_xen_driver_open(driver, NULL), BALLOON_OK);
}
