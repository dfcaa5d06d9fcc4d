/* What waterline does at once: who cannot wait for the next second is helped by what costs nobody
 * anything, and by a little cache each second. */
#include <criterion/criterion.h>

#include "waterline_desk.h"

#define GIVES 0 /* has 100000 too much */
#define NEEDS 1 /* has 100000 too little */
#define TENTH (SECOND / 10)

/* By shares alone, so that both should have 200000 of 400000, all of which they have. The first
 * uses 50000 of 300000. Available should stay 4096 and a 32nd, 13471, and of what is free 2048 and
 * 3 * 7500 are not used in any case, 24548. The second does well, with 50000 of 100000 available;
 * 4096 + 3125 should be, 7221. */
static void open_pair(struct policy_desk *desk)
{
    balloon_waterline_knobs knobs = {
        .size = sizeof(knobs), .tax = BALLOON_KNOB_OFF, .boost = BALLOON_KNOB_OFF, .shrink = 16};

    cr_assert(desk_open(desk, &balloon_policy_waterline, &knobs, 2));
    desk->view.pool = 400000;
    desk->guests[GIVES].max = desk->guests[NEEDS].max = 400000;
    set_use(desk, GIVES, 300000, 250000);
    set_use(desk, NEEDS, 100000, 50000);
}

/* It says that so many pages are free. */
static void set_free(struct policy_desk *desk, uint32_t guest, uint64_t pages)
{
    desk->guests[guest].known |= (uint32_t)BALLOON_KNOWS_FREE;
    desk->guests[guest].free = pages;
}

/* All that it has is in use, and it waits. */
static void starve(struct policy_desk *desk)
{
    desk->guests[NEEDS].available = 0;
    set_stall(desk, NEEDS, 1000);
}

/* What the first is asked to give, with a reason. */
static void check_given(const struct policy_desk *desk, uint64_t pages, balloon_why why)
{
    const balloon_wish *wish = &desk->wishes[GIVES];
    uint64_t given = desk->guests[GIVES].target - wish->target;

    cr_assert_eq(given, pages, "%u", (unsigned)given);
    cr_assert_eq(wish->why, (uint32_t)why, "%u", wish->why);
}

/* Everybody has been seen, and nobody wants anything. */
static void open_seen_pair(struct policy_desk *desk, uint64_t free)
{
    open_pair(desk);
    set_free(desk, GIVES, free);
    desk_decide(desk, 0);
    check_given(desk, 0, BALLOON_WHY_HOLD);
}

/* ---- Free memory ---------------------------------------------------------------------------- */

Test(waterline_urgent, what_is_free_is_given_in_one_step_between_two_seconds)
{
    struct policy_desk desk;

    open_seen_pair(&desk, 24548 + 60000);
    starve(&desk);
    desk_decide(&desk, TENTH);
    check_given(&desk, 60000, BALLOON_WHY_SHARE);
    cr_assert_eq(desk.wishes[NEEDS].target, 200000);
    cr_assert_eq(desk.wishes[NEEDS].why, (uint32_t)BALLOON_WHY_PRESSURE);

    /* It is on its way, and not asked for twice. */
    desk.guests[GIVES].target = 240000;
    desk.guests[NEEDS].target = 200000;
    desk_decide(&desk, 2 * TENTH);
    check_given(&desk, 0, BALLOON_WHY_DEMAND);

    /* 20000 came, and 1000 more have become free. */
    desk.guests[GIVES].size = 280000;
    desk.guests[GIVES].available = 230000;
    /* Of 280000, 2048 + 3 * 7000 are not used. */
    set_free(&desk, GIVES, 23048 + 41000);
    desk_decide(&desk, 3 * TENTH);
    check_given(&desk, 1000, BALLOON_WHY_SHARE);
    desk_close(&desk);
}

/* It does not wait yet. In use are 50000, 7221 should be available, and it grows by 40000 a second,
 * beyond a 32nd of its size; half as much again may come until it is seen: 117221. So 17221 are
 * wanted, of the 100000 that the other can give. */
Test(waterline_urgent, no_more_is_given_at_once_than_is_wanted)
{
    struct policy_desk desk;

    open_seen_pair(&desk, 200000);
    desk.guests[NEEDS].growth = 3125 + 40000;
    desk_decide(&desk, TENTH);
    check_given(&desk, 17221, BALLOON_WHY_SHARE);
    desk_close(&desk);
}

/* Statistics that were seen before, and a second that has not passed, are no news. */
Test(waterline_urgent, nothing_happens_on_statistics_that_were_seen)
{
    struct policy_desk desk;

    open_seen_pair(&desk, 24548 + 60000);
    starve(&desk);
    desk.silent = true;
    desk_decide(&desk, TENTH);
    cr_assert(desk_is_still(&desk));
    desk.silent = false;
    desk_decide(&desk, 2 * TENTH);
    check_given(&desk, 60000, BALLOON_WHY_SHARE);
    desk.silent = true;
    desk_decide(&desk, 3 * TENTH);
    cr_assert(desk_is_still(&desk));
    desk_close(&desk);
}

/* Half of the reserve is wanted, but nobody waits for it. */
Test(waterline_urgent, nothing_happens_between_two_seconds_when_nobody_is_urgent)
{
    struct policy_desk desk;

    open_seen_pair(&desk, 24548 + 40000);
    desk.view.reserve = 100000;
    for (balloon_time_t t = 1; t < 9; t++) {
        desk_decide(&desk, t * TENTH);
        cr_assert(desk_is_still(&desk));
    }
    desk_decide(&desk, SECOND);
    check_given(&desk, 40000, BALLOON_WHY_SHARE);
    desk_close(&desk);
}

/* ---- Who is urgent -------------------------------------------------------------------------- */

/* It has a quarter of what should be available less than that, 1805 of 7221, or almost. */
Test(waterline_urgent, a_quarter_of_the_margin_more_is_urgent)
{
    for (uint64_t more = 0; more < 2; more++) {
        struct policy_desk desk;

        open_seen_pair(&desk, 24548 + 60000);
        desk.guests[NEEDS].available = 7221 - 1805 + more;
        desk_decide(&desk, TENTH);
        if (more == 0)
            check_given(&desk, 1805, BALLOON_WHY_SHARE);
        else
            cr_assert(desk_is_still(&desk));
        desk_close(&desk);
    }
}

/* A 32nd of 100000 is 3125, and 2048 + 3 * 2500 are not used in any case. */
Test(waterline_urgent, who_waits_is_urgent_unless_memory_is_free)
{
    for (uint64_t more = 0; more < 2; more++) {
        struct policy_desk desk;

        open_seen_pair(&desk, 24548 + 60000);
        set_stall(&desk, NEEDS, 1000);
        set_free(&desk, NEEDS, 12673 + more);
        desk_decide(&desk, TENTH);
        if (more == 0)
            check_given(&desk, 60000, BALLOON_WHY_SHARE);
        else
            cr_assert(desk_is_still(&desk));
        desk_close(&desk);
    }
}

/* What the host measures is known before anybody waits. */
Test(waterline_urgent, a_measured_guest_is_not_urgent)
{
    struct policy_desk desk;

    open_seen_pair(&desk, 24548 + 60000);
    desk.guests[NEEDS].known |= (uint32_t)BALLOON_KNOWS_ACTIVE;
    desk.guests[NEEDS].active = 100000;
    starve(&desk);
    desk.guests[NEEDS].growth = 100000;
    desk_decide(&desk, TENTH);
    cr_assert(desk_is_still(&desk));
    desk_close(&desk);
}

/* In a second it gives an eighth of what is free beyond a 16th of its size, (84548 - 18750) / 8,
 * and no cache faster than a 16th of the way, 6250. */
Test(waterline_urgent, a_measured_guest_is_not_hurried)
{
    static const uint64_t cases[][2] = {{84548, 8224}, {0, 6250}, {0, 6250}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_seen_pair(&desk, cases[i][0]);
        if (i == 2) /* it does not say what is free */
            desk.guests[GIVES].known = CALM;
        desk.guests[GIVES].known |= (uint32_t)BALLOON_KNOWS_ACTIVE;
        desk.guests[GIVES].active = 50000;
        starve(&desk);
        desk_decide(&desk, TENTH);
        check_given(&desk, 0, BALLOON_WHY_DEMAND);
        desk_decide(&desk, SECOND);
        check_given(&desk, cases[i][1], BALLOON_WHY_SHARE);
        desk_close(&desk);
    }
}

/* ---- Cache ---------------------------------------------------------------------------------- */

/* Of 250000 that are available 13471 stay, and what is asked for and still there does not count. */
Test(waterline_urgent, cache_is_given_once_a_second)
{
    struct policy_desk desk;

    open_seen_pair(&desk, 0);
    starve(&desk);
    for (balloon_time_t t = 1; t < 9; t++) {
        desk_decide(&desk, t * TENTH);
        check_given(&desk, 0, BALLOON_WHY_DEMAND);
    }
    desk_decide(&desk, SECOND);
    check_given(&desk, (250000 - 13471) / CACHE_PART, BALLOON_WHY_SHARE);
    desk.guests[GIVES].target -= 10000;
    desk_decide(&desk, SECOND + TENTH);
    check_given(&desk, 0, BALLOON_WHY_DEMAND);
    desk_decide(&desk, 2 * SECOND);
    check_given(&desk, (250000 - 10000 - 13471) / CACHE_PART, BALLOON_WHY_SHARE);
    desk_close(&desk);
}

/* Half of the reserve is wanted in any case, so both should have 150000; a 16th of that way is
 * 9375. Somebody urgent makes it a part of what is available. */
Test(waterline_urgent, cache_is_hurried_only_while_somebody_is_urgent)
{
    struct policy_desk desk;

    open_seen_pair(&desk, 0);
    desk.view.reserve = 100000;
    desk_decide(&desk, SECOND);
    check_given(&desk, 9375, BALLOON_WHY_SHARE);
    starve(&desk);
    desk_decide(&desk, 2 * SECOND);
    check_given(&desk, (250000 - 13471) / CACHE_PART, BALLOON_WHY_SHARE);
    /* Nothing new is heard of it. */
    desk.silent = true;
    desk_decide(&desk, 3 * SECOND);
    check_given(&desk, (250000 - 13471) / CACHE_PART, BALLOON_WHY_SHARE);
    desk.silent = false;
    /* It has got all it asked for, 116384, and a little more. */
    set_use(&desk, NEEDS, 120000, 50000);
    set_stall(&desk, NEEDS, 0);
    desk_decide(&desk, 4 * SECOND);
    check_given(&desk, 9375, BALLOON_WHY_SHARE);
    desk_close(&desk);
}

/* ---- Demand, seen through the proactive mode: a quarter more -------------------------------- */

#define WITH_QUARTER(demand) ((uint64_t)(demand) + (uint64_t)(demand) / 4)

/* A guest of 1 GiB that may have 8, on a host with plenty that is said to be short, so that every
 * wish is the demand. 4096 + 8192 should be available, 12288. */
static void open_proactive(struct policy_desk *desk, uint64_t available)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .proactive = true};

    cr_assert(desk_open(desk, &balloon_policy_waterline, &knobs, 1));
    desk->view.pool = 8 * GIB;
    desk->view.state = BALLOON_HOST_HARD;
    desk->guests[0].max = 8 * GIB;
    set_use(desk, 0, GIB, available);
}

static void check_demand(struct policy_desk *desk, balloon_time_t now, uint64_t demand)
{
    desk_decide(desk, now);
    cr_assert_eq(desk->wishes[0].target, WITH_QUARTER(demand), "%u is not %u and a quarter",
                 (unsigned)desk->wishes[0].target, (unsigned)demand);
}

/* In use are 249856, and 12288 should be available: all it has. A 32nd of that, 8192, is noise; of
 * what it grows beyond that a second and a half count. */
Test(waterline_urgent, growth_is_anticipated)
{
    static const uint64_t cases[][2] = {
        {8192, 262144},
        {8192 + 2, 262144 + 3},
        {8192 + 10000, 262144 + 15000},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_proactive(&desk, 12288);
        check_demand(&desk, 0, 262144);
        desk.guests[0].growth = cases[i][0];
        desk.silent = true;
        check_demand(&desk, TENTH, 262144);
        desk.silent = false;
        check_demand(&desk, 2 * TENTH, cases[i][1]);
        desk_close(&desk);
    }
}

/* What it uses and has swapped out, and what should be available, is needed at once. */
Test(waterline_urgent, demand_is_what_is_used_at_once)
{
    struct policy_desk desk;

    open_proactive(&desk, 12288);
    check_demand(&desk, 0, 262144);
    desk.guests[0].available = 2288;
    check_demand(&desk, TENTH, 262144 + 10000);
    desk.guests[0].swapped = 5000;
    check_demand(&desk, 2 * TENTH, 262144 + 15000);
    /* No more than its size is believed. */
    desk.guests[0].swapped = UINT64_MAX;
    check_demand(&desk, 3 * TENTH, 262144 + 10000 + 262144);
    desk_close(&desk);
}

/* An eighth more, and of a small guest 64 MiB. With all available that should be, it asks for
 * nothing at once; nor does one that does not wait, but for what it lacks. */
Test(waterline_urgent, who_waits_with_nothing_left_asks_for_much_more)
{
    static const struct {
        uint64_t size, available;
        uint32_t stall;
        uint64_t demand;
    } cases[] = {
        {GIB, 12287, 1000, GIB + GIB / 8},   {GIB, 12288, 1000, GIB},
        {GIB, 12287, 999, GIB + 1},          {GIB / 2, 0, 1000, GIB / 2 + 16384},
        {GIB / 4, 0, 1000, GIB / 4 + 16384}, {4 * GIB, 0, 1000, 4 * GIB + GIB / 2},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_proactive(&desk, 0);
        set_use(&desk, 0, cases[i].size, cases[i].size / 4);
        check_demand(&desk, 0, cases[i].size);
        desk.guests[0].available = cases[i].available;
        set_stall(&desk, 0, cases[i].stall);
        check_demand(&desk, TENTH, cases[i].demand);
        desk_close(&desk);
    }
}

/* Asked for it, the guest gets it and waits on: it asks for an eighth of what it has then. */
Test(waterline_urgent, who_still_waits_with_nothing_left_asks_again)
{
    struct policy_desk desk;

    open_proactive(&desk, 12288);
    check_demand(&desk, 0, 262144);
    desk.guests[0].available = 0;
    set_stall(&desk, 0, 1000);
    check_demand(&desk, TENTH, 294912);
    check_demand(&desk, 2 * TENTH, 294912);
    desk_set_size(&desk, 0, 294912);
    check_demand(&desk, 3 * TENTH, 294912 + 36864);
    desk_close(&desk);
}

/* Of what is free 2048 + 3 * 6553 are not used in any case, 21707. */
Test(waterline_urgent, demand_falls_at_once_when_a_quarter_lies_idle)
{
    static const struct {
        uint64_t free, swapped;
        uint32_t stall;
        uint64_t demand;
    } cases[] = {
        {21707 + 65536, 0, 0, 262144},
        {21707 + 65537, 0, 0, 262144 - 65537},
        {21707 + 65537, 0, 999, 262144 - 65537},
        /* It waits, whatever for. */
        {21707 + 65537, 0, 1000, 262144},
        /* It uses 62144 and has 170000 on its swap, and 12288 should be available. */
        {200000, 170000, 0, 244432},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_proactive(&desk, 200000);
        desk.guests[0].swapped = cases[i].swapped;
        check_demand(&desk, 0, 262144);
        set_free(&desk, 0, cases[i].free);
        set_stall(&desk, 0, cases[i].stall);
        check_demand(&desk, TENTH, cases[i].demand);
        desk_close(&desk);
    }
}

/* It does not rise again because less is free. */
Test(waterline_urgent, what_was_idle_is_forgotten_until_it_is_used)
{
    struct policy_desk desk;

    open_proactive(&desk, 200000);
    set_free(&desk, 0, 21707 + 100000);
    check_demand(&desk, 0, 262144 - 100000);
    set_free(&desk, 0, 21707 + 80000);
    check_demand(&desk, TENTH, 262144 - 100000);
    set_free(&desk, 0, 21707 + 120000);
    check_demand(&desk, 2 * TENTH, 262144 - 120000);
    desk_close(&desk);
}

/* A 512th of 274432 is 536, then 534 of 273896. */
Test(waterline_urgent, new_statistics_of_the_same_use_do_not_make_cold_memory_needed)
{
    struct policy_desk desk;

    open_proactive(&desk, 0);
    set_stall(&desk, 0, 999);
    check_demand(&desk, 0, 274432);
    set_stall(&desk, 0, 0);
    check_demand(&desk, HOLD * SECOND, 273896);
    check_demand(&desk, (HOLD + 1) * SECOND, 273362);
    desk_close(&desk);
}

/* It fell silent, or was pinned, or the host measures what it uses: as if nobody was urgent.
 * Pinned, its 100000 leave 200000 for the other, and a sixteenth of the way is 6250. */
Test(waterline_urgent, who_is_not_heard_any_more_is_not_urgent)
{
    for (int way = 0; way < 3; way++) {
        struct policy_desk desk;

        open_seen_pair(&desk, 0);
        desk.view.reserve = 100000;
        starve(&desk);
        desk_decide(&desk, SECOND);
        check_given(&desk, (250000 - 13471) / CACHE_PART, BALLOON_WHY_SHARE);
        if (way == 0)
            desk.guests[NEEDS].flags = BALLOON_GUEST_STALE;
        else if (way == 1)
            desk.guests[NEEDS].flags = BALLOON_GUEST_PINNED;
        else
            desk.guests[NEEDS].known |= (uint32_t)BALLOON_KNOWS_ACTIVE;
        desk_decide(&desk, 2 * SECOND);
        check_given(&desk, way == 1 ? 6250 : 9375, BALLOON_WHY_SHARE);
        desk_close(&desk);
    }
}

/* It came after the last second, with a little less than a quarter available, and is left alone at
 * first, as all are. */
Test(waterline_urgent, a_new_guest_gives_nothing_before_its_hold_is_over)
{
    struct policy_desk desk;

    cr_assert(desk_open(&desk, &balloon_policy_waterline, NULL, 2));
    desk.view.pool = 400000;
    desk.guests[0].max = desk.guests[1].max = 400000;
    set_use(&desk, 0, 100000, 50000);
    set_use(&desk, 1, 300000, 74999);
    set_free(&desk, 1, 24548 + 40000);
    desk.view.guest_count = 1;
    desk_decide(&desk, 0);
    desk.view.guest_count = 2;
    desk.guests[0].available = 0;
    set_stall(&desk, 0, 1000);
    for (balloon_time_t now = TENTH; now < HOLD * SECOND; now += TENTH) {
        desk_decide(&desk, now);
        cr_assert_eq(desk.wishes[1].target, 300000);
        cr_assert_eq(desk.wishes[1].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
    }
    desk_close(&desk);
}
