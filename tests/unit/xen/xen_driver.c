/* The guest's end of a balloon on Xen: what it asks the store, and what it makes of the answers. */
#include "xen_driver_support.h"

TestSuite(xen_driver, .fini = end);

/* --- opening ---------------------------------------------------------------------------------- */

Test(xen_driver, options_have_limits)
{
    const balloon_xen_driver_options fine = {.size = sizeof(fine)};
    balloon_xen_driver_options options = fine;

    make(NULL);
    options.size--;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.layout = (balloon_xen_layout)2;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.extents = BALLOON_XEN_EXTENTS_MAX + 1;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.first_id = UINT32_MAX - 254;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_INVALID);
    options.first_id--;
    options.extents = BALLOON_XEN_EXTENTS_MAX;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_OK);
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_STATE);
    balloon_driver_reset(driver);
    cr_assert_eq(balloon_xen_driver_open(driver, NULL), BALLOON_OK);
    cr_assert_eq(status_of().state, BALLOON_DRIVER_ATTACHED);
}

Test(xen_driver, nothing_works_before_it_is_open)
{
    balloon_xen_reservation reservation;
    uint8_t bytes[128] = {BALLOON_XEN_READ};
    uint32_t command;
    size_t used;

    make(NULL);
    cr_assert_eq(balloon_xen_driver_resume(driver), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, sizeof(bytes), &used), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_xen_driver_receive(driver, bytes, 16, 0), BALLOON_ERR_STATE);
    cr_assert_eq(
        balloon_xen_driver_reservation(driver, bytes, sizeof(bytes), 0, &command, &reservation),
        BALLOON_ERR_STATE);
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_ERR_STATE);
    cr_assert_eq(counters().answers_unasked, 1);
    CHECK("");
}

/* --- requests --------------------------------------------------------------------------------- */

Test(xen_driver, watches_and_reads)
{
    balloon_xen_driver_session session;

    make(NULL);
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
    CHECK("");
    /* The event can come before the answer. */
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("");
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    balloon_xen_driver_session_get(driver, &session);
    cr_assert(session.watched && !session.have_target);
    CHECK("read/2 memory/static-max");
    cr_assert_eq(reply(BALLOON_XEN_READ, 2, "32768"), BALLOON_OK);
    CHECK("read/3 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 3, "32752"), BALLOON_OK);
    cr_assert_eq(status_of().target, 4);
    balloon_xen_driver_session_get(driver, &session);
    cr_assert(session.have_target);
    cr_assert_eq(session.target, 8188);
    cr_assert_eq(session.static_max, 8192);
    CHECK("alloc 4");
}

Test(xen_driver, makes_one_request_at_a_time)
{
    uint8_t bytes[128];
    size_t used;
    balloon_driver_action action;

    make(NULL);
    open_with(NULL);
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, sizeof(bytes), &used), BALLOON_ERR_STATE);
    cr_assert(balloon_driver_poll(driver, 0, &action));
    cr_assert_not(balloon_driver_poll(driver, 0, &action));
    for (size_t room = 0; room < 41; room++) {
        cr_assert_eq(balloon_xen_driver_write(driver, bytes, room, &used), BALLOON_ERR_NOSPACE);
        cr_assert_eq(used, 16 + 14 + 11);
    }
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, 41, &used), BALLOON_OK);
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, 41, &used), BALLOON_ERR_STATE);
    cr_assert_not(balloon_driver_poll(driver, 0, &action));
}

Test(xen_driver, says_that_it_can_balloon_if_asked_to)
{
    make(NULL);
    open_with(&(balloon_xen_driver_options){.feature = true});
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    CHECK("write/2 control/feature-balloon =1");
    /* libxl does not let it, and it does not try again. */
    cr_assert_eq(fail(2, BALLOON_XEN_EACCES, 0), BALLOON_OK);
    CHECK("read/3 memory/static-max");
    cr_assert_eq(reply(BALLOON_XEN_READ, 3, "32768"), BALLOON_OK);
    CHECK("read/4 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 4, "32768"), BALLOON_OK);
    CHECK("");
    cr_assert_eq(counters().protocol_errors, 0);
}

Test(xen_driver, a_watch_that_fails_is_set_later)
{
    balloon_time_t now = 0, wait = SECOND;
    char want[64];

    make(NULL);
    open_with(NULL);
    for (uint32_t i = 1; i <= 8; i++) {
        snprintf(want, sizeof(want), "watch/%u memory/target " TOKEN, i);
        CHECK_STEP_AT(now, want);
        cr_assert_eq(fail(i, BALLOON_XEN_ENOSPC, now), BALLOON_ERR_PROTOCOL);
        CHECK_STEP_AT(now + wait - 1, "");
        now += wait;
        wait = wait < 32 * SECOND ? 2 * wait : wait;
    }
    CHECK_STEP_AT(now, "watch/9 memory/target " TOKEN);
    /* It is there already: then no event comes by itself. */
    cr_assert_eq(fail(9, BALLOON_XEN_EEXIST, now), BALLOON_OK);
    CHECK_STEP_AT(now, "read/10 memory/static-max");
    cr_assert_eq(reply(BALLOON_XEN_READ, 10, "32768"), BALLOON_OK);
    CHECK_STEP_AT(now, "read/11 memory/target");
}

Test(xen_driver, events_while_reading_are_one_more_read)
{
    make(NULL);
    open_with(NULL);
    greet("32768", "32768");
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("read/4 memory/target");
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("");
    cr_assert_eq(reply(BALLOON_XEN_READ, 4, "32768"), BALLOON_OK);
    CHECK("read/5 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 5, "32768"), BALLOON_OK);
    CHECK("");
}

Test(xen_driver, numbers_of_requests_stay_in_their_range)
{
    make(NULL);
    open_with(NULL);
    greet("32768", "32768");
    for (uint32_t i = 4; i < 600; i++)
        next_target(i & 255, "32768", BALLOON_OK);
}

/* --- target ----------------------------------------------------------------------------------- */

Test(xen_driver, the_balloon_is_static_max_less_target)
{
    static const struct {
        const char *static_max, *target;
        uint64_t pages;
    } cases[] = {
        {"32768", "32768", 0},
        {"32768", "16384", 4096},
        {"32768", "16387", 4096}, /* KiB that are no page are not there. */
        {"32768", "16380", 4097},
        {"32768", "40000", 0},
        {"40000", "32768", 1808}, /* Video RAM and the like. */
        {"32768", "0", 8192},
        {"32768", "18446744073709551615", 0},
        {"18446744073709551615", "0", UINT64_MAX >> 2},
        {"0", "0", 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make(NULL);
        open_with(NULL);
        greet(cases[i].static_max, cases[i].target);
        cr_assert_eq(status_of().target, cases[i].pages, "case %zu", i);
        cr_assert_leq(status_of().goal, PAGES);
    }
}

Test(xen_driver, a_guest_keeps_its_floor)
{
    balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .floor_pages = 2048};

    make(&config);
    open_with(NULL);
    greet("32768", "4");
    cr_assert_eq(status_of().target, 8191);
    cr_assert_eq(status_of().goal, 6144);
}

Test(xen_driver, static_max_can_have_its_old_name)
{
    make(NULL);
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    CHECK("read/2 memory/static-max");
    cr_assert_eq(fail(2, BALLOON_XEN_ENOENT, 0), BALLOON_OK);
    CHECK("read/3 memory/memory_static_max");
    cr_assert_eq(reply(BALLOON_XEN_READ, 3, "32768"), BALLOON_OK);
    CHECK("read/4 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 4, "32764"), BALLOON_OK);
    cr_assert_eq(status_of().target, 1);
}

/* Neither is there, or neither is a number: the first target is what there was. */
Test(xen_driver, without_static_max_the_first_target_is_it)
{
    for (int broken = 0; broken < 2; broken++) {
        make(NULL);
        open_with(NULL);
        CHECK("watch/1 memory/target " TOKEN);
        cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
        for (uint32_t i = 2; i < 4; i++) {
            CHECK(i == 2 ? "read/2 memory/static-max" : "read/3 memory/memory_static_max");
            cr_assert_eq(broken ? reply(BALLOON_XEN_READ, i, "-1") : fail(i, BALLOON_XEN_ENOENT, 0),
                         broken ? BALLOON_ERR_PROTOCOL : BALLOON_OK);
        }
        CHECK("read/4 memory/target");
        cr_assert_eq(reply(BALLOON_XEN_READ, 4, "20000"), BALLOON_OK);
        cr_assert_eq(status_of().target, 0);
        next_target(5, "19960", BALLOON_OK);
        cr_assert_eq(status_of().target, 10);
    }
}

Test(xen_driver, pv_guests_know_their_size)
{
    balloon_xen_driver_session session;

    make(NULL);
    open_with(&(balloon_xen_driver_options){.pv = true});
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    CHECK("read/2 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 2, "32000"), BALLOON_OK);
    cr_assert_eq(status_of().target, 192);
    balloon_xen_driver_session_get(driver, &session);
    cr_assert_eq(session.static_max, 0);
}

Test(xen_driver, what_is_plugged_in_makes_the_balloon_of_a_pv_guest_larger)
{
    balloon_region ram = {0, PAGES, 1}, more = {PAGES, 100, 1};
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .max_pages = PAGES + 100,
                                    .floor_pages = UINT64_MAX};
    uint32_t id;

    for (int pv = 0; pv < 2; pv++) {
        make(&config);
        open_with(&(balloon_xen_driver_options){.pv = pv});
        if (!pv)
            greet("32768", "32000");
        cr_assert_eq(balloon_driver_add_region(driver, &more, &id), BALLOON_OK);
        cr_assert_eq(status_of().target, pv ? 0 : 192);
        cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_OK);
        if (!pv)
            continue;
        CHECK("watch/1 memory/target " TOKEN);
        cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
        CHECK("read/2 memory/target");
        cr_assert_eq(reply(BALLOON_XEN_READ, 2, "32000"), BALLOON_OK);
        cr_assert_eq(status_of().target, 192);
        cr_assert_eq(balloon_driver_add_region(driver, &more, &id), BALLOON_OK);
        cr_assert_eq(status_of().target, 292);
        cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_OK);
        cr_assert_eq(status_of().target, 192);
    }
}

Test(xen_driver, what_is_no_target_changes_nothing)
{
    static const char *const values[] = {"",     "-1",    "12a", "18446744073709551616",
                                         " 123", "0x100", "1 "};
    uint32_t id = 4;

    make(NULL);
    open_with(NULL);
    greet("32768", "30000");
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        next_target(id++, values[i], BALLOON_ERR_PROTOCOL);
        cr_assert_eq(status_of().target, 692);
    }
    cr_assert_eq(counters().protocol_errors, sizeof(values) / sizeof(values[0]));
    /* Absent is usual, in domain 0 at least. */
    next_target(id++, "28000", BALLOON_OK);
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    while (strncmp(step(0), "read", 4) != 0)
        cr_assert(*text != '\0');
    cr_assert_eq(fail(id++, BALLOON_XEN_ENOENT, 0), BALLOON_OK);
    cr_assert_eq(status_of().target, 1192);
    /* Other errors are not. */
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("read/13 memory/target");
    cr_assert_eq(fail(id++, BALLOON_XEN_EIO, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(status_of().target, 1192);
}

/* No event comes for what has not changed since. */
Test(xen_driver, a_target_that_cannot_be_read_is_read_later)
{
    balloon_time_t now = 0, wait = SECOND;
    char want[64];

    make(NULL);
    open_with(NULL);
    greet("32768", "32768");
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    for (uint32_t i = 4; i <= 11; i++) {
        uint8_t garbled[18] = {BALLOON_XEN_WRITE, [12] = 2};
        uint32_t id = FIRST + i;

        snprintf(want, sizeof(want), "read/%u memory/target", i);
        CHECK_STEP_AT(now, want);
        memcpy(garbled + 4, (uint8_t[]){(uint8_t)id, (uint8_t)(id >> 8)}, 2);
        cr_assert_eq(i & 1 ? balloon_xen_driver_receive(driver, garbled, sizeof(garbled), now)
                           : fail(i, BALLOON_XEN_EAGAIN, now),
                     BALLOON_ERR_PROTOCOL);
        CHECK_STEP_AT(now + wait - 1, "");
        now += wait;
        wait = wait < 32 * SECOND ? 2 * wait : wait;
    }
    /* It has changed: at once. */
    now -= 16 * SECOND;
    CHECK_STEP_AT(now, "");
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK_STEP_AT(now, "read/12 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 12, "32764"), BALLOON_OK);
    cr_assert_eq(status_of().target, 1);
    CHECK_STEP_AT(now, "alloc 1");
    /* And the doubling begins anew. */
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK_STEP_AT(now, "read/13 memory/target");
    cr_assert_eq(fail(13, BALLOON_XEN_EAGAIN, now), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(balloon_driver_deadline(driver), now + SECOND);
}

/* --- hostile stores --------------------------------------------------------------------------- */

Test(xen_driver, leaves_alone_what_is_not_its_own)
{
    uint8_t bytes[20] = {BALLOON_XEN_READ};

    make(NULL);
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(event("somebody"), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(event(TOKEN "x"), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(event("libballooN"), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(reply(BALLOON_XEN_READ, (uint32_t)-1, "1"), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(reply(BALLOON_XEN_READ, 256, "1"), BALLOON_ERR_UNSUPPORTED);
    for (size_t size = 0; size < 16; size++)
        cr_assert_eq(balloon_xen_driver_receive(driver, bytes, size, 0), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(counters().protocol_errors + counters().answers_unasked, 0);
    CHECK("");
}

Test(xen_driver, answers_to_nothing_are_dropped)
{
    make(NULL);
    open_with(NULL);
    for (uint32_t id = 0; id < 256; id++)
        cr_assert_eq(reply(BALLOON_XEN_READ, id, "4"), BALLOON_ERR_PROTOCOL);
    CHECK("watch/1 memory/target " TOKEN);
    for (uint32_t id = 0; id < 256; id++)
        if (id != 1)
            cr_assert_eq(reply(BALLOON_XEN_WATCH, id, NULL), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(counters().answers_unasked, 511);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_ERR_PROTOCOL);
    CHECK("read/2 memory/static-max");
}

/* Every type of answer to every request: the talk goes on, and no target comes of it. */
Test(xen_driver, answers_of_the_wrong_type)
{
    for (unsigned request = 0; request < 5; request++) {
        for (uint32_t type = 0; type < 30; type++) {
            uint8_t bytes[18] = {(uint8_t)type, [12] = 2, [16] = '8', [17] = 0};
            static const char *const asked[] = {"watch", "write", "read", "read", "read"};

            make(NULL);
            open_with(&(balloon_xen_driver_options){.feature = true});
            for (unsigned i = 0; i <= request; i++) {
                cr_assert_eq(strncmp(step(0), asked[i], 4), 0);
                if (i == request)
                    break;
                if (i == 2)
                    cr_assert_eq(fail(i + 1, BALLOON_XEN_ENOENT, 0), BALLOON_OK);
                else
                    cr_assert_eq(reply(i == 0   ? BALLOON_XEN_WATCH
                                       : i == 1 ? BALLOON_XEN_WRITE
                                                : BALLOON_XEN_READ,
                                       i + 1, i == 3 ? "32768" : NULL),
                                 BALLOON_OK);
            }
            uint32_t id = FIRST + request + 1;

            memcpy(bytes + 4, (uint8_t[]){(uint8_t)id, (uint8_t)(id >> 8), 0, 0}, 4);
            /* "8" and a zero is no number, either; and feature-balloon may meet any error. */
            bool fine = request == 1 && type == BALLOON_XEN_ERROR;

            cr_assert_eq(balloon_xen_driver_receive(driver, bytes, sizeof(bytes), 0),
                         fine ? BALLOON_OK : BALLOON_ERR_PROTOCOL, "request %u type %u", request,
                         type);
            cr_assert_eq(counters().protocol_errors, !fine);
            cr_assert_eq(status_of().target, 0);
            cr_assert_neq(*step(40 * SECOND), '\0');
        }
    }
}
