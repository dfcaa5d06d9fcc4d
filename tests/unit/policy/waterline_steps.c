/* How waterline gets a guest to the size that it should have. */
#include <criterion/criterion.h>

#include "waterline_desk.h"

/* One guest that has all there is, of which half should be free: 200000 pages too many. A half of
 * that has to be free in any case, and so much is wanted; smaller steps are taken as they are. */
static void open_large(struct policy_desk *desk, const void *knobs, uint64_t available)
{
    /* With sixteenths the numbers are round. */
    balloon_waterline_knobs sixteenths = {.size = sizeof(sixteenths), .shrink = 16};

    cr_assert(desk_open(desk, &balloon_policy_waterline, knobs ? knobs : &sixteenths, 1));
    desk->view.pool = 400000;
    desk->view.reserve = 200000;
    desk->guests[0].max = 400000;
    set_use(desk, 0, 400000, available);
}

/* A 24th of 200000 is 8333. */
Test(waterline_steps, shrinks_in_steps_that_fit_the_hosts_state)
{
    static const uint64_t expected[] = {391667, 391667, 200000, 200000};
    static const balloon_why whys[] = {BALLOON_WHY_SHARE, BALLOON_WHY_HOST_LOW,
                                       BALLOON_WHY_HOST_CRITICAL, BALLOON_WHY_HOST_CRITICAL};

    for (int state = 0; state < 4; state++) {
        balloon_waterline_knobs defaults = {.size = sizeof(defaults)};
        struct policy_desk desk;

        open_large(&desk, &defaults, 390000);
        desk.view.state = (balloon_host_state)state;
        desk_decide(&desk, 0);
        cr_assert_eq(desk.wishes[0].target, expected[state]);
        cr_assert_eq(desk.wishes[0].why, (uint32_t)whys[state]);
        desk_close(&desk);
    }
}

/* All that is free goes at once, but for 2048 pages and 102 MiB, 28160, that are not used in any
 * case; and no more than the 100000 that are wanted. A sixteenth of the gap would be 12500. */
Test(waterline_steps, what_is_free_goes_at_once)
{
    static const uint64_t cases[][2] = {
        {28160, 12500},
        {28160 + 12501, 12501},
        {28160 + 99999, 99999},
        {28160 + 100001, 100000},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_large(&desk, NULL, 390000);
        desk.guests[0].known |= BALLOON_KNOWS_FREE;
        desk.guests[0].free = cases[i][0];
        desk_decide(&desk, 0);
        cr_assert_eq(desk.wishes[0].target, 400000 - cases[i][1]);
        desk_close(&desk);
    }
}

/* An eighth of 200000 free without a 16th of 400000: 21875. */
Test(waterline_steps, what_is_free_goes_by_eighths_where_the_host_measures)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 390000);
    desk.guests[0].known |= (uint32_t)BALLOON_KNOWS_FREE | (uint32_t)BALLOON_KNOWS_ACTIVE;
    desk.guests[0].free = 200000;
    desk.guests[0].active = 10000;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 400000 - 21875);
    desk_close(&desk);
}

Test(waterline_steps, the_step_is_a_knob)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .shrink = 4};
    struct policy_desk desk;

    open_large(&desk, &knobs, 390000);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 350000);
    desk_close(&desk);
}

/* Of 400000 pages 16 MiB and a 32nd should stay available, 16596 pages. */
Test(waterline_steps, takes_what_is_available_only)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 26596);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    desk_decide(&desk, 0);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
    desk_decide(&desk, HOLD * SECOND);
    cr_assert_eq(desk.wishes[0].target, 400000 - 10000);

    /* 6000 pages on their way out count. */
    desk.guests[0].target = 394000;
    desk_decide(&desk, (HOLD + 1) * SECOND);
    cr_assert_eq(desk.wishes[0].target, 394000 - 4000);

    desk_set_size(&desk, 0, 400000);
    desk.guests[0].available = 16596;
    desk_decide(&desk, (HOLD + 2) * SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);

    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, (HOLD + 3) * SECOND);
    cr_assert_eq(desk.wishes[0].target, 200000);
    desk_close(&desk);
}

/* Of 400000 pages 368000 are active and a 16th of these, 23000, stays too: 9000 may go. Of 376471
 * it is 23529, and none may. */
Test(waterline_steps, takes_what_is_not_active)
{
    static const uint32_t signals[] = {
        BALLOON_KNOWS_ACTIVE,
        (uint32_t)BALLOON_KNOWS_ACTIVE | CALM,
    };

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct policy_desk desk;

        open_large(&desk, NULL, 0);
        desk.guests[0].known = signals[i];
        desk.guests[0].active = 368000;
        desk_decide(&desk, 0);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
        desk_decide(&desk, HOLD * SECOND);
        cr_assert_eq(desk.wishes[0].target, 400000 - 9000);
        desk.guests[0].target = 391000;
        desk_decide(&desk, (HOLD + 1) * SECOND);
        cr_assert(desk_is_still(&desk), "it is on its way out");
        desk_set_size(&desk, 0, 400000);
        desk.guests[0].active = 376471;
        desk_decide(&desk, (HOLD + 2) * SECOND);
        cr_assert(desk_is_still(&desk), "a 128th of it is not cold");
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);
        /* What the guest says is available may go as well: all but 104 MiB and an eighth. */
        desk.guests[0].known |= (uint32_t)BALLOON_KNOWS_AVAILABLE;
        desk.guests[0].available = 26624 + 50000 + 1000;
        desk_decide(&desk, (HOLD + 3) * SECOND);
        cr_assert_eq(desk.wishes[0].target, 400000 - 1000);
        desk_close(&desk);
    }
}

/* Of 400000 pages that is 3125. */
Test(waterline_steps, a_128th_may_go_of_what_is_in_use_where_the_guest_can_tell)
{
    static const uint64_t cases[][2] = {
        {0, 3125},
        {16596, 3125},
        {16596 + 3125, 3125},
        {16596 + 3126, 3126},
    };
    struct policy_desk desk;

    for (int state = BALLOON_HOST_HIGH; state <= BALLOON_HOST_SOFT; state++)
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            open_large(&desk, NULL, cases[i][0]);
            desk.view.state = (balloon_host_state)state;
            desk_decide(&desk, 0);
            cr_assert(desk_is_still(&desk), "it cannot tell yet");
            cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
            desk_decide(&desk, HOLD * SECOND);
            cr_assert_eq(desk.wishes[0].target, 400000 - cases[i][1]);
            cr_assert_eq(
                desk.wishes[0].why,
                (uint32_t)(state == BALLOON_HOST_HIGH ? BALLOON_WHY_SHARE : BALLOON_WHY_HOST_LOW));
            desk_close(&desk);
        }

    /* A sixteenth of the way is less: 1250 of 20000. */
    open_large(&desk, NULL, 0);
    desk.view.reserve = 20000;
    desk_decide(&desk, 0);
    desk_decide(&desk, HOLD * SECOND);
    cr_assert_eq(desk.wishes[0].target, 400000 - 1250);
    desk_close(&desk);

    /* Not while it waits, and not soon after. */
    open_large(&desk, NULL, 0);
    desk_decide(&desk, 0);
    set_stall(&desk, 0, 2000);
    desk_decide(&desk, 100 * SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_PRESSURE);
    set_stall(&desk, 0, 0);
    desk_decide(&desk, 109 * SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
    desk_decide(&desk, 110 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 400000 - 3125);
    desk_close(&desk);
}

Test(waterline_steps, nothing_in_use_may_go_where_the_guest_cannot_tell)
{
    static const uint32_t signals[] = {
        BALLOON_KNOWS_AVAILABLE,
        (uint32_t)BALLOON_KNOWS_AVAILABLE | (uint32_t)BALLOON_KNOWS_SWAP,
        SWAPLESS,
    };

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct policy_desk desk;

        open_large(&desk, NULL, 16596);
        desk.guests[0].known = signals[i];
        desk_decide(&desk, 0);
        desk_decide(&desk, HOLD * SECOND);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);
        desk_close(&desk);
    }
}

/* 3125 pages are asked for, and no more until some have come. */
Test(waterline_steps, the_128th_does_not_add_up_while_the_balloon_does_not_move)
{
    struct policy_desk desk;

    for (int state = BALLOON_HOST_HIGH; state <= BALLOON_HOST_SOFT; state++) {
        open_large(&desk, NULL, 0);
        desk.view.state = (balloon_host_state)state;
        desk_decide(&desk, 0);
        for (balloon_time_t t = HOLD; t < 60; t++) {
            desk_decide(&desk, t * SECOND);
            cr_assert_eq(desk.wishes[0].target, 400000 - 3125);
            desk.guests[0].target = desk.wishes[0].target;
        }
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);

        /* 1000 came. A 128th of 399000 is 3117, and 2125 of that are on their way out. */
        desk.guests[0].size = 399000;
        desk_decide(&desk, 60 * SECOND);
        cr_assert_eq(desk.wishes[0].target, 396875 - 992);

        /* All came. A 128th of 396875 is 3100. */
        desk.guests[0].size = 396875;
        desk_decide(&desk, 61 * SECOND);
        cr_assert_eq(desk.wishes[0].target, 396875 - 3100);
        desk_close(&desk);
    }
}

/* They could not tell that it was too much. */
Test(waterline_steps, the_silent_are_shrunk_by_a_short_host_only)
{
    static const uint32_t signals[] = {0, BALLOON_KNOWS_AVAILABLE, CALM};

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct policy_desk desk;

        open_large(&desk, NULL, 390000);
        desk.guests[0].flags = BALLOON_GUEST_STALE;
        desk.guests[0].known = signals[i];
        desk_decide(&desk, 0);
        for (int state = BALLOON_HOST_HIGH; state <= BALLOON_HOST_SOFT; state++) {
            desk.view.state = (balloon_host_state)state;
            desk_decide(&desk, (HOLD + (balloon_time_t)state) * SECOND);
            cr_assert(desk_is_still(&desk));
            cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_STALE);
        }
        desk.view.state = BALLOON_HOST_HARD;
        desk_decide(&desk, 2 * HOLD * SECOND);
        cr_assert_eq(desk.wishes[0].target, 200000);
        desk_close(&desk);
    }
}

Test(waterline_steps, who_waits_is_shrunk_by_a_short_host_only)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 390000);
    set_stall(&desk, 0, 5000);
    for (int state = 0; state < 2; state++) {
        desk.view.state = (balloon_host_state)state;
        desk_decide(&desk, (balloon_time_t)state * SECOND);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_PRESSURE);
    }
    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, 2 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 200000);
    desk_close(&desk);
}

/* Less than a quarter of it is idle; it was seen at 0, and its first hold is over long before 100.
 */
static void open_seen(struct policy_desk *desk, const void *knobs)
{
    open_large(desk, knobs, 90000);
    desk_decide(desk, 0);
    cr_assert(desk_is_still(desk));
    cr_assert_eq(desk->wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
}

/* The second in which a guest is shrunk that waited at `second`. */
static balloon_time_t shrunk_after(struct policy_desk *desk, balloon_time_t second)
{
    set_stall(desk, 0, 5000);
    desk_decide(desk, second * SECOND);
    cr_assert_eq(desk->wishes[0].why, (uint32_t)BALLOON_WHY_PRESSURE);
    set_stall(desk, 0, 0);
    for (;;) {
        desk_decide(desk, ++second * SECOND);
        if (!desk_is_still(desk))
            return second;
        cr_assert_eq(desk->wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
    }
}

Test(waterline_steps, holds_after_pressure_and_longer_when_that_was_too_short)
{
    struct policy_desk desk;

    open_seen(&desk, NULL);
    cr_assert_eq(shrunk_after(&desk, 100), 110);
    cr_assert_eq(shrunk_after(&desk, 111), 111 + 20);
    cr_assert_eq(shrunk_after(&desk, 131 + 60), 191 + 40, "again within a minute");
    cr_assert_eq(shrunk_after(&desk, 232), 232 + 80);
    cr_assert_eq(shrunk_after(&desk, 313), 313 + 80, "that is the most");
    cr_assert_eq(shrunk_after(&desk, 393 + 61), 454 + 10, "a minute of peace");
    desk_close(&desk);
}

Test(waterline_steps, waiting_during_the_hold_extends_it)
{
    struct policy_desk desk;

    open_seen(&desk, NULL);
    set_stall(&desk, 0, 5000);
    for (balloon_time_t t = 100; t < 110; t++)
        desk_decide(&desk, t * SECOND);
    cr_assert_eq(shrunk_after(&desk, 110), 120);
    desk_close(&desk);
}

/* The first hold goes on when the guest waits in it, as any other. */
Test(waterline_steps, waiting_at_first_extends_the_first_hold)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 90000);
    cr_assert_eq(shrunk_after(&desk, 0), 10);
    desk_close(&desk);

    open_seen(&desk, NULL);
    cr_assert_eq(shrunk_after(&desk, 5), 15);
    desk_close(&desk);
}

Test(waterline_steps, the_hold_is_a_knob)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .hold = 3 * SECOND};
    struct policy_desk desk;

    open_seen(&desk, &knobs);
    for (balloon_time_t t = 1; t < 3; t++) {
        desk_decide(&desk, t * SECOND);
        cr_assert(desk_is_still(&desk), "that is the first hold");
    }
    desk_decide(&desk, 3 * SECOND);
    cr_assert_lt(desk.wishes[0].target, 400000);
    cr_assert_eq(shrunk_after(&desk, 100), 103);
    desk_close(&desk);
}

/* A quarter of 400000 pages is idle. All but 16596 of that may go, by a sixteenth of the way. */
Test(waterline_steps, a_hold_does_not_protect_idle_memory)
{
    struct policy_desk desk;

    for (int state = BALLOON_HOST_HIGH; state <= BALLOON_HOST_SOFT; state++) {
        open_large(&desk, NULL, 100000);
        desk.view.state = (balloon_host_state)state;
        desk_decide(&desk, 0);
        cr_assert_eq(desk.wishes[0].target, 400000 - 12500, "nor does the first");
        set_stall(&desk, 0, 5000);
        desk_decide(&desk, 100 * SECOND);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_PRESSURE);
        set_stall(&desk, 0, 0);
        desk_decide(&desk, 101 * SECOND);
        cr_assert_eq(desk.wishes[0].target, 400000 - 12500);

        desk.guests[0].available = 99999;
        desk_decide(&desk, 102 * SECOND);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);

        /* It does not say any more what is idle. */
        desk.guests[0].available = 100000;
        desk.guests[0].known = (uint32_t)BALLOON_KNOWS_STALL | (uint32_t)BALLOON_KNOWS_SWAP;
        desk_decide(&desk, 103 * SECOND);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);

        /* What it said before it fell silent does not count either. */
        desk.guests[0].known = CALM;
        desk.guests[0].flags = BALLOON_GUEST_STALE;
        desk_decide(&desk, 104 * SECOND);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_STALE);
        desk_close(&desk);
    }
}

/* A 32nd of 400000 is 12500; an eighth of the reserve is worth it in any case, but not less than a
 * MiB. First the change is one page less than that. */
Test(waterline_steps, small_changes_are_not_worth_it)
{
    static const uint64_t cases[][3] = {
        /* size, reserve, least change */
        {400000, 200000, 12500}, {400000, 100000, 12500}, {400000, 80000, 10000},
        {400000, 2056, 257},     {400000, 2000, 256},     {400000, 0, 256},
        {8000, 200000, 256},
    };
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .dead_band = BALLOON_KNOB_OFF};
    struct policy_desk desk;

    for (int way = 0; way < 2; way++)
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            uint64_t size = cases[i][0], least = cases[i][2];

            open_large(&desk, way == 0 ? NULL : &knobs, 0);
            desk_set_size(&desk, 0, size);
            desk.view.state = BALLOON_HOST_HARD;
            desk.view.reserve = cases[i][1];
            desk.view.pool = size - (least - 1) + desk.view.reserve;
            desk_decide(&desk, 0);
            cr_assert_eq(desk.wishes[0].target, way == 0 ? size : size - (least - 1));
            cr_assert_eq(desk.wishes[0].why,
                         (uint32_t)(way == 0 ? BALLOON_WHY_DEAD_BAND : BALLOON_WHY_HOST_CRITICAL));
            desk.view.pool--;
            desk_decide(&desk, SECOND);
            cr_assert_eq(desk.wishes[0].target, size - least);
            desk_close(&desk);
        }
}

/* Up, they are worth it for those that wait, and for the last bit. */
Test(waterline_steps, small_gifts_are_for_those_that_wait)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 0);
    desk.view.pool = 300000 + desk.view.reserve;
    desk_set_size(&desk, 0, 299000);
    desk_decide(&desk, 0);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEAD_BAND);
    set_stall(&desk, 0, 1000);
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].target, 300000);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_PRESSURE);
    set_stall(&desk, 0, 0);
    desk.guests[0].max = 300000;
    desk_decide(&desk, 2 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 300000);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_LIMIT);
    desk_close(&desk);
}

Test(waterline_steps, who_waits_longest_is_served_first_then_who_matters)
{
    struct policy_desk desk;

    cr_assert(desk_open(&desk, &balloon_policy_waterline, NULL, 4));
    desk.view.pool = 4 * GIB;
    for (uint32_t i = 0; i < 4; i++)
        set_use(&desk, i, GIB / 2, 0);
    desk.guests[0].priority = UINT32_MAX;
    desk.guests[1].priority = 3;
    set_stall(&desk, 2, 1000000);
    set_stall(&desk, 3, 1000);
    desk_decide(&desk, 0);
    cr_assert_gt(desk.wishes[2].urgency, desk.wishes[3].urgency);
    cr_assert_gt(desk.wishes[3].urgency, desk.wishes[0].urgency);
    cr_assert_gt(desk.wishes[0].urgency, desk.wishes[1].urgency);
    cr_assert_gt(desk.wishes[1].urgency, 0);
    desk_close(&desk);
}

Test(waterline_steps, decides_once_a_second_unless_the_host_is_short)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 390000);
    desk_decide(&desk, 0);
    desk_decide(&desk, SECOND / 2);
    cr_assert(desk_is_still(&desk));
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].target, 387500);
    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, SECOND + 1);
    cr_assert_eq(desk.wishes[0].target, 200000);
    desk_close(&desk);
}
