/* What waterline thinks that a guest needs, seen through the proactive mode: a quarter more. */
#include <criterion/criterion.h>

#include "waterline_desk.h"

/* A guest of 1 GiB that may have 8 and uses 62144 pages, on a host with plenty. */
static void open_proactive(struct policy_desk *desk)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .proactive = true};

    cr_assert(desk_open(desk, &balloon_policy_waterline, &knobs, 1));
    desk->view.pool = 8 * GIB;
    desk->guests[0].max = 8 * GIB;
    set_use(desk, 0, GIB, 200000);
}

static uint64_t demand_at(struct policy_desk *desk, balloon_time_t second)
{
    desk_decide(desk, second * SECOND);
    cr_assert_gt(desk->wishes[0].target, GIB, "it shrinks, so the demand cannot be seen");
    return desk->wishes[0].target;
}

#define WITH_QUARTER(demand) ((uint64_t)(demand) + (uint64_t)(demand) / 4)

Test(waterline_demand, demand_begins_with_the_size_and_is_probed)
{
    struct policy_desk desk;

    open_proactive(&desk);
    for (balloon_time_t t = 0; t < HOLD; t++)
        cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(262144), "it cannot tell yet");
    /* 262144 - 1024; then 261120 - 1020. */
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(261120));
    cr_assert_eq(demand_at(&desk, HOLD + 1), WITH_QUARTER(260100));
    desk_close(&desk);
}

/* 261120 by the probe. 131072 are free, 114688 more than a 16th, so 147456 would do: a 16th of the
 * 113664 between is 7104. */
Test(waterline_demand, what_is_free_is_not_needed)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known |= BALLOON_KNOWS_FREE;
    desk.guests[0].free = GIB / 2;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(261120 - 7104));
    desk_close(&desk);
}

Test(waterline_demand, probes_get_shorter_towards_the_threshold)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_stall(&desk, 0, 500);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(262144 - 512));
    desk_close(&desk);
}

/* Used are 62144, and 64 MiB more than that is the least; of more than 1 GiB it is a 16th. By 32nds
 * of the way demand comes within 31 pages of it. */
Test(waterline_demand, without_stall_times_demand_is_never_below_what_is_used)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    for (balloon_time_t t = 0; t < 1000; t++)
        desk_decide(&desk, t * SECOND);
    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, 1000 * SECOND);
    cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(62144 + 16384 + 31));
    desk_close(&desk);

    open_proactive(&desk);
    set_use(&desk, 0, 4 * GIB, 0);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    for (balloon_time_t t = 0; t < 1000; t++) {
        desk_decide(&desk, t * SECOND);
        cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(4 * GIB + 4 * GIB / 16));
    }
    desk_close(&desk);
}

/* Almost waiting, nothing is looked for: 512ths of less than 512000 pages, and a thousandth of
 * that, are less than a page. So demand is the least when the first hold ends. */
static void pass_hold(struct policy_desk *desk)
{
    set_stall(desk, 0, 999);
    desk_decide(desk, 0);
    set_stall(desk, 0, 0);
}

/* All of it is in use, so the least is 278528, and demand begins with that. */
static void open_full(struct policy_desk *desk)
{
    open_proactive(desk);
    set_use(desk, 0, GIB, 0);
    pass_hold(desk);
    cr_assert_eq(desk->wishes[0].target, WITH_QUARTER(278528));
}

Test(waterline_demand, cold_memory_in_use_is_found_out_slowly)
{
    struct policy_desk desk;

    open_full(&desk);
    /* 278528 - 544; 277984 - 542; 277442 - 541. */
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(277984));
    cr_assert_eq(demand_at(&desk, HOLD + 1), WITH_QUARTER(277442));
    cr_assert_eq(demand_at(&desk, HOLD + 2), WITH_QUARTER(276901));
    /* (511 / 512) ^ 354 is a half and a little. */
    for (balloon_time_t t = 3; t < 353; t++)
        desk_decide(&desk, (HOLD + t) * SECOND);
    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, (HOLD + 353) * SECOND);
    cr_assert_geq(desk.wishes[0].target, WITH_QUARTER(139264));
    cr_assert_leq(desk.wishes[0].target, WITH_QUARTER(139264 + 1393), "that is 1 % more");
    desk_close(&desk);
}

/* In use are 245260, so the least is 16384 more, 261644. A 256th down, 261120, would be below a
 * 512th under the least, 261644 - 511. */
Test(waterline_demand, demand_gets_slower_where_it_meets_what_is_used)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_use(&desk, 0, GIB, GIB - 245260);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(261133));
    /* 261133 - 510. */
    cr_assert_eq(demand_at(&desk, HOLD + 1), WITH_QUARTER(260623));
    desk_close(&desk);
}

Test(waterline_demand, cold_memory_is_looked_for_less_towards_the_threshold)
{
    /* A 512th of 278528 is 544. */
    static const uint32_t cases[][2] = {{0, 544}, {250, 408}, {500, 272}, {999, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_full(&desk);
        set_stall(&desk, 0, cases[i][0]);
        cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(278528 - cases[i][1]));
        desk_close(&desk);
    }
}

Test(waterline_demand, cold_memory_is_not_looked_for_without_an_answer)
{
    static const uint32_t signals[] = {
        BALLOON_KNOWS_AVAILABLE,
        BALLOON_KNOWS_FREE,
        (uint32_t)BALLOON_KNOWS_AVAILABLE | (uint32_t)BALLOON_KNOWS_SWAP,
        SWAPLESS,
    };
    struct policy_desk desk;

    for (size_t way = 0; way < sizeof(signals) / sizeof(signals[0]); way++) {
        open_full(&desk);
        desk.guests[0].known = signals[way];
        for (balloon_time_t t = HOLD; t < 100; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(278528));
        desk_close(&desk);
    }

    /* One that answered, and does not any more. */
    open_full(&desk);
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(277984));
    desk.guests[0].flags = BALLOON_GUEST_STALE;
    desk.view.state = BALLOON_HOST_SOFT;
    for (balloon_time_t t = HOLD + 1; t < 100; t++)
        cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(277984));
    desk_close(&desk);
}

Test(waterline_demand, cold_memory_is_not_looked_for_while_the_guest_waits)
{
    static const uint32_t stalls[] = {1000, 5000, 1000000};

    for (size_t i = 0; i < sizeof(stalls) / sizeof(stalls[0]); i++) {
        struct policy_desk desk;

        open_full(&desk);
        cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(277984));
        set_stall(&desk, 0, stalls[i]);
        /* It is the old measurement that it waits, so it is not raised either. */
        desk.same_stall = true;
        for (balloon_time_t t = HOLD + 1; t < 100; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(277984));
        desk_close(&desk);
    }
}

/* Raised by 10 of 256 parts to 272384. With little in use demand goes down from that by a 256th,
 * 1064. With 255616 in use the least is 272000, and a 512th under that, 271469, is more. With all
 * in use demand is the least, 278528, and goes down by a 512th, 544. */
Test(waterline_demand, cold_memory_is_not_looked_for_during_the_hold)
{
    static const uint64_t cases[][3] = {
        {200000, 272384, 271320},
        {GIB - 255616, 272384, 271469},
        {0, 278528, 277984},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        /* Long after the first hold. */
        open_proactive(&desk);
        cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
        set_use(&desk, 0, GIB, cases[i][0]);
        set_stall(&desk, 0, 1000);
        cr_assert_eq(demand_at(&desk, 100), WITH_QUARTER(cases[i][1]));
        set_stall(&desk, 0, 0);
        for (balloon_time_t t = 101; t < 110; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(cases[i][1]));
        cr_assert_eq(demand_at(&desk, 110), WITH_QUARTER(cases[i][2]));
        desk_close(&desk);
    }
}

/* A guest that does not swap cannot do without what it uses. It is probed down to that: 62144 and
 * 64 MiB more. */
Test(waterline_demand, without_swap_statistics_demand_stays_at_use)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = SWAPLESS;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(262144 - 1024));
    desk.view.state = BALLOON_HOST_HARD;
    for (balloon_time_t t = HOLD + 1; t < 1000; t++) {
        desk_decide(&desk, t * SECOND);
        cr_assert_geq(desk.wishes[0].target, WITH_QUARTER(78528));
    }
    cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(78528));
    /* With them it goes on: 78528 - 153. */
    desk.guests[0].known = CALM;
    desk_decide(&desk, 1000 * SECOND);
    cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(78528 - 153));
    desk_close(&desk);
}

/* In use are 252144, so the least is 268528. Demand is 268528 - 524 = 268004, then 267481. */
static void open_probed(struct policy_desk *desk)
{
    open_proactive(desk);
    set_use(desk, 0, GIB, 10000);
    pass_hold(desk);
    cr_assert_eq(demand_at(desk, HOLD), WITH_QUARTER(268004));
    cr_assert_eq(demand_at(desk, HOLD + 1), WITH_QUARTER(267481));
}

Test(waterline_demand, a_rise_of_use_is_followed_at_once)
{
    static const struct {
        uint64_t available, swapped;
        uint32_t stall;
        uint64_t demand[2];
    } cases[] = {
        /* Nothing happens: 267481 - 522; 266959 - 521. */
        {10000, 0, 0, {266959, 266438}},
        /* 267481 + 5000 = 272481; less 532; less 531. It is added once. */
        {5000, 0, 0, {271949, 271418}},
        {10000, 5000, 0, {271949, 271418}},
        /* Both: 277481 - 541; 276940 - 540. */
        {5000, 5000, 0, {276940, 276400}},
        /* What is swapped out is not used as well. */
        {15000, 5000, 0, {266959, 266438}},
        /* Who waits is not probed. */
        {5000, 0, 1000, {272481, 272481}},
        {10000, 5000, 1000, {272481, 272481}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_probed(&desk);
        desk.guests[0].available = cases[i].available;
        desk.guests[0].swapped = cases[i].swapped;
        set_stall(&desk, 0, cases[i].stall);
        desk.same_stall = true;
        for (balloon_time_t t = 0; t < 2; t++)
            cr_assert_eq(demand_at(&desk, HOLD + 2 + t), WITH_QUARTER(cases[i].demand[t]),
                         "case %u, second %u: %u", (unsigned)i, (unsigned)t,
                         (unsigned)desk.wishes[0].target);
        desk_close(&desk);
    }
}

/* Use is 62144, then 162144, and demand falls by 256ths as before: 262144 - 1024; 261120 - 1020. */
Test(waterline_demand, a_rise_of_use_below_demand_makes_no_difference)
{
    struct policy_desk desk;

    open_proactive(&desk);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(261120));
    desk.guests[0].available = 100000;
    cr_assert_eq(demand_at(&desk, HOLD + 1), WITH_QUARTER(260100));
    desk_close(&desk);
}

Test(waterline_demand, what_is_swapped_out_is_used)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    desk.guests[0].swapped = 250000;
    /* 62144 + 250000, and a 16th. */
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(312144 + 19509));
    /* No more than its size is believed. */
    desk.guests[0].swapped = 10 * GIB;
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(324288 + 20268));
    desk_close(&desk);

    /* Where waiting is measured, demand falls from there by a 512th. */
    open_proactive(&desk);
    desk.guests[0].swapped = 250000;
    pass_hold(&desk);
    cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(331653));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(331653 - 647));
    desk_close(&desk);
}

/* Use falls from 262144 to 62144; the average to 262144 - 6250. Without stall times demand goes by
 * a 32nd to what is left of it, 255894 + 16384 = 272278, from 278528. */
Test(waterline_demand, use_is_forgotten_slowly)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_use(&desk, 0, GIB, 0);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 + 16384));
    desk.guests[0].available = 200000;
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(278528 - 6250 / 32));
    desk_close(&desk);
}

Test(waterline_demand, without_stall_times_demand_goes_to_use)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    /* (262144 - 78528) / 32. */
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 - 5738));
    desk_close(&desk);
}

Test(waterline_demand, free_and_caches_will_do)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = (uint32_t)BALLOON_KNOWS_FREE | (uint32_t)BALLOON_KNOWS_CACHES;
    desk.guests[0].free = 50000;
    desk.guests[0].caches = 150000;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 - 5738));
    desk_close(&desk);
}

Test(waterline_demand, waiting_raises_demand_by_an_eighth_at_most)
{
    static const uint64_t cases[][2] = {
        /* The root of a tenth, in 256ths, is 80; 32 of these parts are 10. */
        {1000, 262144 * 266 / 256},
        /* 181, 22. */
        {5000, 262144 * 278 / 256},
        {10000, 262144 / 8 * 9},
        {1000000, 262144 / 8 * 9},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_proactive(&desk);
        set_stall(&desk, 0, (uint32_t)cases[i][0]);
        cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(cases[i][1]));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_PRESSURE);
        desk_close(&desk);
    }
}

Test(waterline_demand, demand_is_raised_once_for_a_measurement_and_a_size)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_stall(&desk, 0, 10000);
    desk.same_stall = true;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    desk.same_stall = false;
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(294912));
    cr_assert_eq(demand_at(&desk, 2), WITH_QUARTER(294912), "it has not got there");
    /* 98 % of it will do. */
    desk.guests[0].size = 294912 / 100 * 98;
    cr_assert_eq(demand_at(&desk, 3), WITH_QUARTER(294912 / 8 * 9));
    desk_close(&desk);
}

Test(waterline_demand, the_silent_need_what_they_have_while_there_is_enough)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].flags = BALLOON_GUEST_STALE;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    desk.guests[0].size = 280000;
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(280000));
    desk.view.state = BALLOON_HOST_SOFT;
    desk.guests[0].size = 300000;
    cr_assert_eq(demand_at(&desk, 2), WITH_QUARTER(280000));
    desk_close(&desk);
}

/* With more than a 32nd of 262144 free, 8192, what was dropped comes back without more memory. */
Test(waterline_demand, who_waits_with_memory_free_does_not_need_more)
{
    struct policy_desk desk;

    for (uint64_t more = 0; more < 2; more++) {
        open_proactive(&desk);
        desk.guests[0].known |= (uint32_t)BALLOON_KNOWS_FREE;
        desk.guests[0].free = 8192 + more;
        set_stall(&desk, 0, 10000);
        cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(more == 0 ? 294912 : 262144));
        desk_close(&desk);
    }

    /* What it does not say is no reason. */
    open_proactive(&desk);
    desk.guests[0].free = 100000;
    set_stall(&desk, 0, 10000);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(294912));
    desk_close(&desk);
}

/* By what the guest says it uses all, and has as much on its swap. */
static void open_measured(struct policy_desk *desk, uint64_t active)
{
    open_proactive(desk);
    desk->guests[0].known |= (uint32_t)BALLOON_KNOWS_ACTIVE;
    desk->guests[0].available = 0;
    desk->guests[0].swapped = 262144;
    desk->guests[0].active = active;
}

/* 62144 and 64 MiB are 78528: demand falls from the size to that by 256ths, and ends there. */
Test(waterline_demand, what_the_host_measured_is_what_is_used)
{
    struct policy_desk desk;

    open_measured(&desk, 62144);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(261120));
    desk.view.state = BALLOON_HOST_HARD;
    for (balloon_time_t t = HOLD + 1; t < 1000; t++)
        desk_decide(&desk, t * SECOND);
    cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(78528));
    desk_close(&desk);
}

/* 262144 and a 16th, 278528, though stall times and swap would allow to look for less. */
Test(waterline_demand, what_the_host_measured_is_not_cold_and_not_more_than_the_size)
{
    static const uint64_t active[] = {262144, 10 * GIB, UINT64_MAX};

    for (size_t i = 0; i < sizeof(active) / sizeof(active[0]); i++) {
        struct policy_desk desk;

        open_measured(&desk, active[i]);
        for (balloon_time_t t = 0; t < 100; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(278528));
        desk_close(&desk);
    }
}
