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

/* A guest that does not say what is available, but what is free and cached, and none is free. New
 * statistics raise its demand by what has come into use only. */
#define CACHES                                                                                     \
    ((uint32_t)BALLOON_KNOWS_FREE | (uint32_t)BALLOON_KNOWS_CACHES | (uint32_t)BALLOON_KNOWS_STALL)

static void set_caches(struct policy_desk *desk, uint64_t caches)
{
    desk->guests[0].known = CACHES | (uint32_t)BALLOON_KNOWS_SWAP;
    desk->guests[0].caches = caches;
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

/* 261120 by the probe. 87243 are free, 70859 more than a 16th, so 191285 would do: a 16th of the
 * 69835 between is 4364. Of what is free 2048 + 3 * 6553 are not used in any case. The rest is
 * 65536, a quarter and no more; see waterline_urgent.c for more. */
Test(waterline_demand, what_is_free_is_not_needed)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known |= BALLOON_KNOWS_FREE;
    desk.guests[0].free = 87243;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(261120 - 4364));
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

/* Used are 62144, and 16 MiB and a 32nd of the size more than that is the least: 4096 + 8192. By
 * 32nds of the way demand comes within 31 pages of it. Beyond 16 GiB it is a 128th. */
Test(waterline_demand, without_stall_times_demand_is_never_below_what_is_used)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    for (balloon_time_t t = 0; t < 1000; t++)
        desk_decide(&desk, t * SECOND);
    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, 1000 * SECOND);
    cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(62144 + 12288 + 31));
    desk_close(&desk);

    for (uint64_t size = 4 * GIB; size <= 64 * GIB; size *= 4) {
        uint64_t part = size <= 16 * GIB ? size / 32 : GIB / 2 + 48 * GIB / 128;

        open_proactive(&desk);
        desk.view.pool = desk.guests[0].max = 128 * GIB;
        set_use(&desk, 0, size, 0);
        desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
        for (balloon_time_t t = 0; t < 1000; t++) {
            desk_decide(&desk, t * SECOND);
            cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(size + 4096 + part));
        }
        desk_close(&desk);
    }
}

/* Almost waiting, nothing is looked for: 512ths of less than 512000 pages, and a thousandth of
 * that, are less than a page. So demand is the least when the first hold ends. */
static void pass_hold(struct policy_desk *desk)
{
    set_stall(desk, 0, 999);
    desk_decide(desk, 0);
    set_stall(desk, 0, 0);
}

/* All of it is in use, so the least is 12288 more, 274432, and demand begins with that. */
static void open_full(struct policy_desk *desk)
{
    open_proactive(desk);
    set_use(desk, 0, GIB, 0);
    set_caches(desk, 0);
    pass_hold(desk);
    cr_assert_eq(desk->wishes[0].target, WITH_QUARTER(274432));
}

Test(waterline_demand, cold_memory_in_use_is_found_out_slowly)
{
    struct policy_desk desk;

    open_full(&desk);
    /* 274432 - 536; 273896 - 534; 273362 - 533. */
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(273896));
    cr_assert_eq(demand_at(&desk, HOLD + 1), WITH_QUARTER(273362));
    cr_assert_eq(demand_at(&desk, HOLD + 2), WITH_QUARTER(272829));
    /* (511 / 512) ^ 354 is a half and a little. */
    for (balloon_time_t t = 3; t < 353; t++)
        desk_decide(&desk, (HOLD + t) * SECOND);
    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, (HOLD + 353) * SECOND);
    cr_assert_geq(desk.wishes[0].target, WITH_QUARTER(137216));
    cr_assert_leq(desk.wishes[0].target, WITH_QUARTER(137216 + 1372), "that is 1 % more");
    desk_close(&desk);
}

/* In use are 249356, so the least is 12288 more, 261644. A 256th down, 261120, would be below a
 * 512th under the least, 261644 - 511. */
Test(waterline_demand, demand_gets_slower_where_it_meets_what_is_used)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_caches(&desk, GIB - 249356);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(261133));
    /* 261133 - 510. */
    cr_assert_eq(demand_at(&desk, HOLD + 1), WITH_QUARTER(260623));
    desk_close(&desk);
}

Test(waterline_demand, cold_memory_is_looked_for_less_towards_the_threshold)
{
    /* A 512th of 274432 is 536. */
    static const uint32_t cases[][2] = {{0, 536}, {250, 402}, {500, 268}, {999, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_full(&desk);
        set_stall(&desk, 0, cases[i][0]);
        cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(274432 - cases[i][1]));
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
        CACHES,
    };
    struct policy_desk desk;

    for (size_t way = 0; way < sizeof(signals) / sizeof(signals[0]); way++) {
        open_full(&desk);
        desk.guests[0].known = signals[way];
        for (balloon_time_t t = HOLD; t < 100; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(274432));
        desk_close(&desk);
    }

    /* One that answered, and does not any more. */
    open_full(&desk);
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(273896));
    desk.guests[0].flags = BALLOON_GUEST_STALE;
    desk.view.state = BALLOON_HOST_SOFT;
    for (balloon_time_t t = HOLD + 1; t < 100; t++)
        cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(273896));
    desk_close(&desk);
}

Test(waterline_demand, cold_memory_is_not_looked_for_while_the_guest_waits)
{
    static const uint32_t stalls[] = {1000, 5000, 1000000};

    for (size_t i = 0; i < sizeof(stalls) / sizeof(stalls[0]); i++) {
        struct policy_desk desk;

        open_full(&desk);
        cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(273896));
        set_stall(&desk, 0, stalls[i]);
        /* It is the old measurement that it waits, so it is not raised either. */
        desk.same_stall = true;
        for (balloon_time_t t = HOLD + 1; t < 100; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(273896));
        desk_close(&desk);
    }
}

/* Raised by 10 of 256 parts to 272384. With little in use demand goes down from that by a 256th,
 * 1064, to 271320, and by a 16th of the 9176 that it is more than the size: 573. With 259712 in use
 * the least is 272000, and a 512th under that, 271469, is more. With all in use demand is the
 * least, 274432, and goes down by a 512th, 536. */
Test(waterline_demand, cold_memory_is_not_looked_for_during_the_hold)
{
    static const uint64_t cases[][3] = {
        /* The cache; a little of what is in use; that as slowly as it goes. */
        {0, 276480, 274572},
        {1536, 276480, 275429},
        {10000, 284432, 283877},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        /* Long after the first hold. */
        open_proactive(&desk);
        cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
        set_caches(&desk, 0);
        desk.guests[0].swapped = cases[i][0];
        set_stall(&desk, 0, 2000);
        cr_assert_eq(demand_at(&desk, 100), WITH_QUARTER(cases[i][1]));
        set_stall(&desk, 0, 0);
        for (balloon_time_t t = 101; t < 110; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(cases[i][1]));
        cr_assert_eq(demand_at(&desk, 110), WITH_QUARTER(cases[i][2]));
        desk_close(&desk);
    }
}

/* A guest that does not swap cannot do without what it uses. It is probed down to that: 62144 and
 * 12288 more. */
Test(waterline_demand, without_swap_statistics_demand_stays_at_use)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_caches(&desk, 200000);
    desk.guests[0].known = CACHES;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(262144 - 1024));
    desk.view.state = BALLOON_HOST_HARD;
    for (balloon_time_t t = HOLD + 1; t < 1000; t++) {
        desk_decide(&desk, t * SECOND);
        cr_assert_geq(desk.wishes[0].target, WITH_QUARTER(74432));
    }
    cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(74432));
    /* With them it goes on: 74432 - 145. */
    set_caches(&desk, 200000);
    desk_decide(&desk, 1000 * SECOND);
    cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(74432 - 145));
    desk_close(&desk);
}

/* In use are 252144, so the least is 264432. Demand is 264432 - 516 = 263916, then 263401. */
static void open_probed(struct policy_desk *desk)
{
    open_proactive(desk);
    set_caches(desk, 10000);
    pass_hold(desk);
    cr_assert_eq(demand_at(desk, HOLD), WITH_QUARTER(263916));
    cr_assert_eq(demand_at(desk, HOLD + 1), WITH_QUARTER(263401));
}

Test(waterline_demand, a_rise_of_use_is_followed_at_once)
{
    static const struct {
        uint64_t caches, swapped;
        uint32_t stall;
        uint64_t demand[2];
    } cases[] = {
        /* Nothing happens: 263401 - 514; 262887 - 513. */
        {10000, 0, 0, {262887, 262374}},
        /* 263401 + 5000 = 268401; less 524; less 523. It is added once. */
        {5000, 0, 0, {267877, 267354}},
        {10000, 5000, 0, {267877, 267354}},
        /* Both: 273401 - 533; 272868 - 532. */
        {5000, 5000, 0, {272868, 272336}},
        /* What is swapped out is not used as well. */
        {15000, 5000, 0, {262887, 262374}},
        /* Who waits is not probed. */
        {5000, 0, 1000, {268401, 268401}},
        {10000, 5000, 1000, {268401, 268401}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_probed(&desk);
        desk.guests[0].caches = cases[i].caches;
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
    /* 62144 + 250000, and what should be available. */
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(312144 + 12288));
    /* No more than its size is believed: 62144 + 262144. */
    desk.guests[0].swapped = 10 * GIB;
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(324288 + 12288));
    desk_close(&desk);

    /* Where waiting is measured, demand falls from 324432 by a 512th. */
    open_proactive(&desk);
    set_caches(&desk, 200000);
    desk.guests[0].swapped = 250000;
    pass_hold(&desk);
    cr_assert_eq(desk.wishes[0].target, WITH_QUARTER(324432));
    cr_assert_eq(demand_at(&desk, HOLD), WITH_QUARTER(324432 - 633));
    desk_close(&desk);
}

/* Use falls from 262144 to 62144; the average to 262144 - 6250. Without stall times demand goes by
 * a 32nd to what is left of it, 255894 + 12288 = 268182, from 274432. */
Test(waterline_demand, use_is_forgotten_slowly)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_use(&desk, 0, GIB, 0);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 + 12288));
    desk.guests[0].available = 200000;
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(274432 - 6250 / 32));
    desk_close(&desk);
}

Test(waterline_demand, without_stall_times_demand_goes_to_use)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    /* (262144 - 74432) / 32. */
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 - 5866));
    desk_close(&desk);
}

Test(waterline_demand, free_and_caches_will_do)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = (uint32_t)BALLOON_KNOWS_FREE | (uint32_t)BALLOON_KNOWS_CACHES;
    desk.guests[0].free = 50000;
    desk.guests[0].caches = 150000;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 - 5866));
    desk_close(&desk);
}

Test(waterline_demand, waiting_raises_demand_by_an_eighth_at_most)
{
    static const uint64_t cases[][2] = {
        /* The root of a fifth, in 256ths, is 114; 32 of these parts are 14. */
        {2000, 262144 * 270 / 256},
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

/* Of some hundred measurements one is above what is fine by chance. */
Test(waterline_demand, waiting_a_little_raises_demand_the_second_time)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_stall(&desk, 0, 1900);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    /* The average is 475 then: with 1525 more that is waiting all the same. */
    set_stall(&desk, 0, 1524);
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(262144));
    set_stall(&desk, 0, 1900);
    cr_assert_gt(demand_at(&desk, 2), WITH_QUARTER(262144));
    desk_close(&desk);
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

/* With more than a 32nd of 262144 free, 8192, besides the 2048 + 3 * 6553 that are not used in any
 * case, what was dropped comes back without more memory. */
Test(waterline_demand, who_waits_with_memory_free_does_not_need_more)
{
    struct policy_desk desk;

    for (uint64_t more = 0; more < 2; more++) {
        open_proactive(&desk);
        desk.guests[0].known |= (uint32_t)BALLOON_KNOWS_FREE;
        desk.guests[0].free = 8192 + 21707 + more;
        set_stall(&desk, 0, 10000);
        cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(more == 0 ? 294912 : 262144));
        desk_close(&desk);
    }

    /* Where the host measures what it uses, a 32nd is enough. */
    for (uint64_t more = 0; more < 2; more++) {
        open_proactive(&desk);
        desk.guests[0].known |= (uint32_t)BALLOON_KNOWS_FREE | (uint32_t)BALLOON_KNOWS_ACTIVE;
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
