#include <criterion/criterion.h>

#include "policy_desk.h"

#define SWAPLESS ((uint32_t)BALLOON_KNOWS_AVAILABLE | (uint32_t)BALLOON_KNOWS_STALL)
#define CALM     (SWAPLESS | (uint32_t)BALLOON_KNOWS_SWAP)

Test(waterline, edges)
{
    desk_check_edges(&balloon_policy_waterline);
}

static bool is_near(uint64_t a, uint64_t b)
{
    return a <= b + 1 && b <= a + 1;
}

static void set_use(struct policy_desk *desk, uint32_t guest, uint64_t size, uint64_t available)
{
    desk_set_size(desk, guest, size);
    desk->guests[guest].known = CALM;
    desk->guests[guest].stall_new = 1;
    desk->guests[guest].available = available;
}

static void set_stall(struct policy_desk *desk, uint32_t guest, uint32_t stall)
{
    desk->guests[guest].stall = stall;
    desk->guests[guest].stall_new = 1;
}

/* ---- Demand, seen through the proactive mode: a quarter more than demand
 * ------------------------- */

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

Test(waterline, demand_begins_with_the_size_and_is_probed)
{
    struct policy_desk desk;

    open_proactive(&desk);
    /* 262144 - 1024; then 261120 - 1020. */
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(261120));
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(260100));
    desk_close(&desk);
}

Test(waterline, probes_get_shorter_towards_the_threshold)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_stall(&desk, 0, 500);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 - 512));
    desk_close(&desk);
}

/* Used are 62144, and 64 MiB more than that is the least; of more than 1 GiB it is a 16th. By 32nds
 * of the way demand comes within 31 pages of it. */
Test(waterline, without_stall_times_demand_is_never_below_what_is_used)
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

/* All of it is in use, so the least is 278528, and demand begins with that. */
static void open_full(struct policy_desk *desk)
{
    open_proactive(desk);
    set_use(desk, 0, GIB, 0);
}

Test(waterline, cold_memory_in_use_is_found_out_slowly)
{
    struct policy_desk desk;

    open_full(&desk);
    /* 278528 - 544; 277984 - 542; 277442 - 541. */
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(277984));
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(277442));
    cr_assert_eq(demand_at(&desk, 2), WITH_QUARTER(276901));
    /* (511 / 512) ^ 354 is a half and a little. */
    for (balloon_time_t t = 3; t < 353; t++)
        desk_decide(&desk, t * SECOND);
    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, 353 * SECOND);
    cr_assert_geq(desk.wishes[0].target, WITH_QUARTER(139264));
    cr_assert_leq(desk.wishes[0].target, WITH_QUARTER(139264 + 1393), "that is 1 % more");
    desk_close(&desk);
}

/* In use are 245260, so the least is 16384 more, 261644. A 256th down, 261120, would be below a
 * 512th under the least, 261644 - 511. */
Test(waterline, demand_gets_slower_where_it_meets_what_is_used)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_use(&desk, 0, GIB, GIB - 245260);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(261133));
    /* 261133 - 510. */
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(260623));
    desk_close(&desk);
}

Test(waterline, cold_memory_is_looked_for_less_towards_the_threshold)
{
    /* A 512th of 278528 is 544. */
    static const uint32_t cases[][2] = {{0, 544}, {250, 408}, {500, 272}, {999, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_full(&desk);
        set_stall(&desk, 0, cases[i][0]);
        cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(278528 - cases[i][1]));
        desk_close(&desk);
    }
}

Test(waterline, cold_memory_is_not_looked_for_without_an_answer)
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
        for (balloon_time_t t = 0; t < 100; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(278528));
        desk_close(&desk);
    }

    /* One that answered, and does not any more. */
    open_full(&desk);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(277984));
    desk.guests[0].flags = BALLOON_GUEST_STALE;
    desk.view.state = BALLOON_HOST_SOFT;
    for (balloon_time_t t = 1; t < 100; t++)
        cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(277984));
    desk_close(&desk);
}

Test(waterline, cold_memory_is_not_looked_for_while_the_guest_waits)
{
    static const uint32_t stalls[] = {1000, 5000, 1000000};

    for (size_t i = 0; i < sizeof(stalls) / sizeof(stalls[0]); i++) {
        struct policy_desk desk;

        open_full(&desk);
        cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(277984));
        set_stall(&desk, 0, stalls[i]);
        /* It is the old measurement that it waits, so it is not raised either. */
        desk.guests[0].stall_new = 0;
        for (balloon_time_t t = 1; t < 100; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(277984));
        desk_close(&desk);
    }
}

/* Raised by 10 of 256 parts to 272384. With little in use demand goes down from that by a 256th,
 * 1064. With 255616 in use the least is 272000, and a 512th under that, 271469, is more. With all
 * in use demand is the least, 278528, and goes down by a 512th, 544. */
Test(waterline, cold_memory_is_not_looked_for_during_the_hold)
{
    static const uint64_t cases[][3] = {
        {200000, 272384, 271320},
        {GIB - 255616, 272384, 271469},
        {0, 278528, 277984},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_proactive(&desk);
        set_use(&desk, 0, GIB, cases[i][0]);
        set_stall(&desk, 0, 1000);
        cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(cases[i][1]));
        set_stall(&desk, 0, 0);
        for (balloon_time_t t = 1; t < 10; t++)
            cr_assert_eq(demand_at(&desk, t), WITH_QUARTER(cases[i][1]));
        cr_assert_eq(demand_at(&desk, 10), WITH_QUARTER(cases[i][2]));
        desk_close(&desk);
    }
}

/* A guest that does not swap cannot do without what it uses. It is probed down to that: 62144 and
 * 64 MiB more. */
Test(waterline, without_swap_statistics_demand_stays_at_use)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = SWAPLESS;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 - 1024));
    desk.view.state = BALLOON_HOST_HARD;
    for (balloon_time_t t = 1; t < 1000; t++) {
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
    cr_assert_eq(demand_at(desk, 0), WITH_QUARTER(268004));
    cr_assert_eq(demand_at(desk, 1), WITH_QUARTER(267481));
}

Test(waterline, a_rise_of_use_is_followed_at_once)
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
        desk.guests[0].stall_new = 0;
        for (balloon_time_t t = 0; t < 2; t++)
            cr_assert_eq(demand_at(&desk, 2 + t), WITH_QUARTER(cases[i].demand[t]),
                         "case %u, second %u: %u", (unsigned)i, (unsigned)t,
                         (unsigned)desk.wishes[0].target);
        desk_close(&desk);
    }
}

/* Use is 62144, then 162144, and demand falls by 256ths as before: 262144 - 1024; 261120 - 1020. */
Test(waterline, a_rise_of_use_below_demand_makes_no_difference)
{
    struct policy_desk desk;

    open_proactive(&desk);
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(261120));
    desk.guests[0].available = 100000;
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(260100));
    desk_close(&desk);
}

Test(waterline, what_is_swapped_out_is_used)
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
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(331653 - 647));
    desk_close(&desk);
}

/* Use falls from 262144 to 62144; the average to 262144 - 6250. Without stall times demand goes by
 * a 32nd to what is left of it, 255894 + 16384 = 272278, from 278528. */
Test(waterline, use_is_forgotten_slowly)
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

Test(waterline, without_stall_times_demand_goes_to_use)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    /* (262144 - 78528) / 32. */
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 - 5738));
    desk_close(&desk);
}

Test(waterline, free_and_caches_will_do)
{
    struct policy_desk desk;

    open_proactive(&desk);
    desk.guests[0].known = (uint32_t)BALLOON_KNOWS_FREE | (uint32_t)BALLOON_KNOWS_CACHES;
    desk.guests[0].free = 50000;
    desk.guests[0].caches = 150000;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144 - 5738));
    desk_close(&desk);
}

Test(waterline, waiting_raises_demand_by_an_eighth_at_most)
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

Test(waterline, demand_is_raised_once_for_a_measurement_and_a_size)
{
    struct policy_desk desk;

    open_proactive(&desk);
    set_stall(&desk, 0, 10000);
    desk.guests[0].stall_new = 0;
    cr_assert_eq(demand_at(&desk, 0), WITH_QUARTER(262144));
    desk.guests[0].stall_new = 1;
    cr_assert_eq(demand_at(&desk, 1), WITH_QUARTER(294912));
    cr_assert_eq(demand_at(&desk, 2), WITH_QUARTER(294912), "it has not got there");
    /* 98 % of it will do. */
    desk.guests[0].size = 294912 / 100 * 98;
    cr_assert_eq(demand_at(&desk, 3), WITH_QUARTER(294912 / 8 * 9));
    desk_close(&desk);
}

Test(waterline, the_silent_need_what_they_have_while_there_is_enough)
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

/* ---- Entitlement
 * --------------------------------------------------------------------------------- */

/* In use are 100000 and 10000, so the least is 116384 and 26384, and demand a 512th less: 116157
 * and 26333. At a level y the first has y and the second 3/4 * 26333 + y / 4 = 19749.75 + y / 4; in
 * sum 120000 at y = 80200.2. */
static void open_two(struct policy_desk *desk, const void *knobs)
{
    cr_assert(desk_open(desk, &balloon_policy_waterline, knobs, 2));
    desk->view.pool = 120000;
    desk->view.state = BALLOON_HOST_HARD;
    desk->guests[0].max = desk->guests[1].max = 200000;
    set_use(desk, 0, 100000, 0);
    set_use(desk, 1, 20000, 10000);
}

Test(waterline, idle_memory_is_taxed)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk_decide(&desk, 0);
    cr_assert(is_near(desk.wishes[0].target, 80200), "%u", (unsigned)desk.wishes[0].target);
    cr_assert_eq(desk_wished(&desk), 120000);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_HOST_CRITICAL);
    cr_assert_eq(desk.wishes[1].why, (uint32_t)BALLOON_WHY_SHARE);
    desk_close(&desk);
}

Test(waterline, the_tax_is_a_knob)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .tax = BALLOON_KNOB_OFF};
    struct policy_desk desk;

    open_two(&desk, &knobs);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 60000);
    cr_assert_eq(desk.wishes[1].target, 60000);
    desk_close(&desk);
}

/* Five units of waiting are an offer; a quarter of the way to it is 1.25, each worth a quarter of
 * its shares: 1.3125 times as many. With z for the first, z + 19749.75 + z / 1.3125 / 4 = 120000:
 * 84210.2. Its demand is beyond that. */
Test(waterline, waiting_raises_the_price)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    set_stall(&desk, 0, 5000);
    desk_decide(&desk, 0);
    cr_assert(is_near(desk.wishes[0].target, 84210), "%u", (unsigned)desk.wishes[0].target);

    /* What is not new says nothing new: the price is the same. The demand of the second falls by 51
     * to 26282, so z + 19711.5 + z / 1.3125 / 4 = 120000: 84242.3. */
    desk.guests[0].stall_new = 0;
    desk_decide(&desk, SECOND);
    cr_assert(is_near(desk.wishes[0].target, 84242), "%u", (unsigned)desk.wishes[0].target);
    desk_close(&desk);
}

Test(waterline, without_a_boost_waiting_does_not_count)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .boost = BALLOON_KNOB_OFF};
    struct policy_desk desk;

    open_two(&desk, &knobs);
    set_stall(&desk, 0, 5000);
    desk_decide(&desk, 0);
    cr_assert(is_near(desk.wishes[0].target, 80200), "%u", (unsigned)desk.wishes[0].target);
    desk_close(&desk);
}

/* However long and much it waits, the price is six times its shares: 102857 and 17143, where none
 * of them has more than its demand; with a cap of 32 units nine times: 108000 and 12000. Later the
 * price is as at first. So that nothing but the price changes, a long hold keeps the demand of the
 * first at 116384, and the second does not measure how long it waits: its demand is 26384. So in
 * the end y + 3/4 * 26384 + y / 4 = 120000, and the second has 120000 - 80169.6. */
Test(waterline, the_price_has_a_cap_and_falls_again)
{
    static const uint32_t cases[][2] = {{0, 17143}, {20, 17143}, {32, 12000}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        balloon_waterline_knobs knobs = {
            .size = sizeof(knobs), .boost_cap = cases[i][0], .hold = 1000 * SECOND};
        struct policy_desk desk;
        uint64_t last;

        open_two(&desk, &knobs);
        desk.guests[1].known = BALLOON_KNOWS_AVAILABLE;
        for (balloon_time_t t = 0; t < 60; t++) {
            set_stall(&desk, 0, 1000000);
            desk_decide(&desk, t * SECOND);
        }
        last = desk.wishes[1].target;
        cr_assert(is_near(last, cases[i][1]), "%u", (unsigned)last);
        cr_assert_eq(desk_wished(&desk), 120000);
        set_stall(&desk, 0, 0);
        for (balloon_time_t t = 60; t < 200; t++) {
            desk_decide(&desk, t * SECOND);
            cr_assert_geq(desk.wishes[1].target, last);
            last = desk.wishes[1].target;
        }
        cr_assert(is_near(last, 39830), "%u", (unsigned)last);
        desk_close(&desk);
    }
}

Test(waterline, plenty_is_everybodys_maximum)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk.view.pool = 400000;
    desk.view.state = BALLOON_HOST_HIGH;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 200000);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_LIMIT);
    cr_assert_eq(desk.wishes[1].target, 200000);
    desk.view.reserve = 1;
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk_wished(&desk), 399999);
    desk_close(&desk);
}

Test(waterline, memory_of_guests_that_cannot_be_changed_is_not_given_away)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk.guests[0].flags = BALLOON_GUEST_BOOTING;
    desk.guests[0].target = 105000;
    desk.view.pool = 150000;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 105000);
    cr_assert_eq(desk.wishes[1].target, 45000);
    desk_close(&desk);
}

Test(waterline, uses_curves_when_all_have_one)
{
    static const balloon_curve_point steep[] = {{0, 1100000}, {100000, 100000}, {200000, 0}};
    static const balloon_curve_point gentle[] = {{0, 1000000}, {200000, 0}};
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .ignore_curves = true};

    for (int way = 0; way < 3; way++) {
        struct policy_desk desk;

        open_two(&desk, way == 1 ? &knobs : NULL);
        desk.guests[0].curve = (balloon_curve){steep, 3};
        desk.guests[1].curve = (balloon_curve){gentle, 2};
        for (uint32_t i = 0; i < (way == 2 ? 1 : 2); i++)
            desk.guests[i].known |= (uint32_t)BALLOON_KNOWS_CURVE;
        set_use(&desk, 0, 110000, 110000);
        desk.guests[0].known |= (uint32_t)BALLOON_KNOWS_CURVE;
        desk_decide(&desk, 0);
        if (way == 0) {
            /* 100000 pages save 10 each, then it is 1 against 5. */
            cr_assert_eq(desk.wishes[0].target, 100000);
            cr_assert_eq(desk.wishes[1].target, 20000);
        } else {
            cr_assert_neq(desk.wishes[0].target, 100000);
            cr_assert_gt(desk.wishes[1].target, 25000);
        }
        desk_close(&desk);
    }
}

/* Equal in all but their shares, guests are ordered by these. */
Test(waterline, sizes_are_ordered_like_shares)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0x0d3);
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .dead_band = BALLOON_KNOB_OFF};

    for (int round = 0; round < 200; round++) {
        struct policy_desk desk;
        uint64_t size = 1 + prng_below(&prng, GIB), available = prng_below(&prng, size);
        uint32_t stall = (uint32_t)prng_below(&prng, 20000);

        cr_assert(desk_open(&desk, &balloon_policy_waterline, &knobs, 5));
        desk.view.state = BALLOON_HOST_HARD;
        desk.view.pool = 1 + prng_below(&prng, 5 * size);
        for (uint32_t i = 0; i < 5; i++) {
            set_use(&desk, i, size, available);
            set_stall(&desk, i, stall);
            desk.guests[i].shares = (i + 1) * 700;
        }
        desk_decide(&desk, 0);
        for (uint32_t i = 1; i < 5; i++)
            cr_assert_leq(desk.wishes[i - 1].target, desk.wishes[i].target, "seed %llu, round %d",
                          (unsigned long long)seed, round);
        desk_close(&desk);
    }
}

Test(waterline, a_short_host_gets_all_of_it_at_once_and_nobody_more_than_there_is)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0x5033);
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .dead_band = BALLOON_KNOB_OFF};

    for (int round = 0; round < 300; round++) {
        struct policy_desk desk;
        uint64_t least = 0, most = 0;

        cr_assert(desk_open(&desk, &balloon_policy_waterline, &knobs, 6));
        desk_shuffle(&desk, &prng, UINT64_C(1) << (1 + prng_below(&prng, 40)));
        for (uint32_t i = 0; i < 6; i++) {
            least += desk.guests[i].min;
            most += desk.guests[i].max;
        }
        desk.view.pool = 1 + least + prng_below(&prng, 2 * most);
        desk.view.state = BALLOON_HOST_HARD;
        desk_decide(&desk, 0);
        cr_assert_eq(desk_wished(&desk), desk.view.pool < most ? desk.view.pool : most,
                     "seed %llu, round %d", (unsigned long long)seed, round);
        desk_close(&desk);
    }
}

/* ---- Steps
 * --------------------------------------------------------------------------------------- */

/* One guest with twice what there is: 200000 of 400000 pages too many. */
static void open_large(struct policy_desk *desk, const void *knobs, uint64_t available)
{
    cr_assert(desk_open(desk, &balloon_policy_waterline, knobs, 1));
    desk->view.pool = 200000;
    desk->guests[0].max = 400000;
    set_use(desk, 0, 400000, available);
}

Test(waterline, shrinks_in_steps_that_fit_the_hosts_state)
{
    static const uint64_t expected[] = {375000, 300000, 200000, 200000};
    static const balloon_why whys[] = {BALLOON_WHY_SHARE, BALLOON_WHY_HOST_LOW,
                                       BALLOON_WHY_HOST_CRITICAL, BALLOON_WHY_HOST_CRITICAL};

    for (int state = 0; state < 4; state++) {
        struct policy_desk desk;

        open_large(&desk, NULL, 390000);
        desk.view.state = (balloon_host_state)state;
        desk_decide(&desk, 0);
        cr_assert_eq(desk.wishes[0].target, expected[state]);
        cr_assert_eq(desk.wishes[0].why, (uint32_t)whys[state]);
        desk_close(&desk);
    }
}

Test(waterline, the_step_is_a_knob)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .shrink = 2};
    struct policy_desk desk;

    open_large(&desk, &knobs, 390000);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 300000);
    desk_close(&desk);
}

/* 400000 pages are 1562.5 MiB: 104 MiB and an eighth should stay available, 76624 pages. */
Test(waterline, takes_what_is_available_only)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 90000);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 400000 - 13376);

    /* 10000 pages on their way out count. */
    desk.guests[0].target = 390000;
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].target, 390000 - 3376);

    desk_set_size(&desk, 0, 400000);
    desk.guests[0].available = 76624;
    desk_decide(&desk, 2 * SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);

    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, 3 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 200000);
    desk_close(&desk);
}

/* Of 400000 pages that is 3125. */
Test(waterline, a_128th_may_go_of_what_is_in_use_where_the_guest_can_tell)
{
    static const uint64_t cases[][2] = {
        {0, 3125},
        {76624, 3125},
        {76624 + 3125, 3125},
        {76624 + 3126, 3126},
    };
    struct policy_desk desk;

    for (int state = BALLOON_HOST_HIGH; state <= BALLOON_HOST_SOFT; state++)
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            open_large(&desk, NULL, cases[i][0]);
            desk.view.state = (balloon_host_state)state;
            desk_decide(&desk, 0);
            cr_assert_eq(desk.wishes[0].target, 400000 - cases[i][1]);
            cr_assert_eq(
                desk.wishes[0].why,
                (uint32_t)(state == BALLOON_HOST_HIGH ? BALLOON_WHY_SHARE : BALLOON_WHY_HOST_LOW));
            desk_close(&desk);
        }

    /* An eighth of the way is less: 2500 of 20000. */
    open_large(&desk, NULL, 0);
    desk.view.pool = 380000;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 400000 - 2500);
    desk_close(&desk);

    /* Not while it waits, and not soon after. */
    open_large(&desk, NULL, 0);
    set_stall(&desk, 0, 1000);
    desk_decide(&desk, 0);
    cr_assert(desk_is_still(&desk));
    set_stall(&desk, 0, 0);
    desk_decide(&desk, 9 * SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 400000 - 3125);
    /* Not when it could not tell any more that this was too much. */
    desk.guests[0].flags = BALLOON_GUEST_STALE;
    desk.view.state = BALLOON_HOST_SOFT;
    desk_decide(&desk, 11 * SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);
    desk_close(&desk);
}

Test(waterline, nothing_in_use_may_go_where_the_guest_cannot_tell)
{
    static const uint32_t signals[] = {
        BALLOON_KNOWS_AVAILABLE,
        (uint32_t)BALLOON_KNOWS_AVAILABLE | (uint32_t)BALLOON_KNOWS_SWAP,
        SWAPLESS,
    };

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct policy_desk desk;

        open_large(&desk, NULL, 76624);
        desk.guests[0].known = signals[i];
        desk_decide(&desk, 0);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);
        desk_close(&desk);
    }
}

/* 3125 pages are asked for, and no more until some have come. */
Test(waterline, the_128th_does_not_add_up_while_the_balloon_does_not_move)
{
    struct policy_desk desk;

    for (int state = BALLOON_HOST_HIGH; state <= BALLOON_HOST_SOFT; state++) {
        open_large(&desk, NULL, 0);
        desk.view.state = (balloon_host_state)state;
        for (balloon_time_t t = 0; t < 60; t++) {
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

Test(waterline, the_silent_are_not_shrunk_while_there_is_enough)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 0);
    desk.guests[0].flags = BALLOON_GUEST_STALE;
    desk.guests[0].known = 0;
    desk_decide(&desk, 0);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_STALE);
    desk.view.state = BALLOON_HOST_SOFT;
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].target, 300000);
    desk_close(&desk);
}

Test(waterline, who_waits_is_shrunk_by_a_short_host_only)
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

Test(waterline, holds_after_pressure_and_longer_when_that_was_too_short)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 90000);
    cr_assert_eq(shrunk_after(&desk, 0), 10);
    cr_assert_eq(shrunk_after(&desk, 11), 11 + 20);
    cr_assert_eq(shrunk_after(&desk, 31 + 60), 91 + 40, "again within a minute");
    cr_assert_eq(shrunk_after(&desk, 132), 132 + 80);
    cr_assert_eq(shrunk_after(&desk, 213), 213 + 80, "that is the most");
    cr_assert_eq(shrunk_after(&desk, 293 + 61), 354 + 10, "a minute of peace");
    desk_close(&desk);
}

Test(waterline, waiting_during_the_hold_extends_it)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 90000);
    set_stall(&desk, 0, 5000);
    for (balloon_time_t t = 0; t < 10; t++)
        desk_decide(&desk, t * SECOND);
    cr_assert_eq(shrunk_after(&desk, 10), 20);
    desk_close(&desk);
}

Test(waterline, the_hold_is_a_knob)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .hold = 3 * SECOND};
    struct policy_desk desk;

    open_large(&desk, &knobs, 90000);
    cr_assert_eq(shrunk_after(&desk, 0), 3);
    desk_close(&desk);
}

/* A quarter of 400000 pages is idle. All but 76624 of that may go. */
Test(waterline, a_hold_does_not_protect_idle_memory)
{
    struct policy_desk desk;

    for (int state = BALLOON_HOST_HIGH; state <= BALLOON_HOST_SOFT; state++) {
        open_large(&desk, NULL, 100000);
        desk.view.state = (balloon_host_state)state;
        set_stall(&desk, 0, 5000);
        desk_decide(&desk, 0);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_PRESSURE);
        set_stall(&desk, 0, 0);
        desk_decide(&desk, SECOND);
        cr_assert_eq(desk.wishes[0].target, 400000 - 23376);

        desk.guests[0].available = 99999;
        desk_decide(&desk, 2 * SECOND);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);

        /* It does not say any more what is idle. */
        desk.guests[0].available = 100000;
        desk.guests[0].known = (uint32_t)BALLOON_KNOWS_STALL | (uint32_t)BALLOON_KNOWS_SWAP;
        desk_decide(&desk, 3 * SECOND);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
        desk_close(&desk);
    }

    /* What it said before it fell silent does not count either. */
    open_large(&desk, NULL, 100000);
    desk.view.state = BALLOON_HOST_SOFT;
    set_stall(&desk, 0, 5000);
    desk_decide(&desk, 0);
    desk.guests[0].flags = BALLOON_GUEST_STALE;
    desk_decide(&desk, SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_COOL_DOWN);
    desk_close(&desk);
}

/* A 32nd of 400000 is 12500. */
Test(waterline, small_changes_are_not_worth_it)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .dead_band = BALLOON_KNOB_OFF};
    struct policy_desk desk;

    for (int way = 0; way < 2; way++) {
        open_large(&desk, way == 0 ? NULL : &knobs, 390000);
        desk.view.state = BALLOON_HOST_HARD;
        desk.view.pool = 400000 - 12499;
        desk_decide(&desk, 0);
        cr_assert_eq(desk.wishes[0].target, way == 0 ? 400000 : 400000 - 12499);
        cr_assert_eq(desk.wishes[0].why,
                     (uint32_t)(way == 0 ? BALLOON_WHY_DEAD_BAND : BALLOON_WHY_HOST_CRITICAL));
        desk.view.pool = 400000 - 12500;
        desk_decide(&desk, SECOND);
        cr_assert_eq(desk.wishes[0].target, 400000 - 12500);
        desk_close(&desk);
    }
}

/* Up, they are worth it for those that wait, and for the last bit. */
Test(waterline, small_gifts_are_for_those_that_wait)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 0);
    desk.view.pool = 300000;
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

Test(waterline, who_waits_longest_is_served_first_then_who_matters)
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

Test(waterline, gives_a_reason_for_growing)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk.view.pool = 300000;
    set_use(&desk, 0, 90000, 0);
    desk_decide(&desk, 0);
    /* 90000 + 16384 - 207 is its demand, and it gets more. */
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_SHARE);
    desk.view.pool = 120000;
    set_use(&desk, 0, 70000, 0);
    desk.guests[0].available = 0;
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);
    desk_close(&desk);
}

Test(waterline, decides_once_a_second_unless_the_host_is_short)
{
    struct policy_desk desk;

    open_large(&desk, NULL, 390000);
    desk_decide(&desk, 0);
    desk_decide(&desk, SECOND / 2);
    cr_assert(desk_is_still(&desk));
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].target, 375000);
    desk.view.state = BALLOON_HOST_HARD;
    desk_decide(&desk, SECOND + 1);
    cr_assert_eq(desk.wishes[0].target, 200000);
    desk_close(&desk);
}

/* Four guests that use the same all the time, with statistics of the moment, of together 656250
 * pages. */
static const uint64_t steady_use[] = {200000, 100000, 30000, 150000};

static void open_steady(struct policy_desk *desk)
{
    cr_assert(desk_open(desk, &balloon_policy_waterline, NULL, 4));
    desk->view.pool = 700000;
    desk->view.reserve = 43750;
    for (uint32_t i = 0; i < 4; i++)
        set_use(desk, i, 164000, 0);
}

static void use_steadily(struct policy_desk *desk, uint32_t signals, balloon_time_t second)
{
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t size = desk->guests[i].size, used = steady_use[i];

        desk->guests[i].available = size > used ? size - used : 0;
        desk->guests[i].known = signals;
        if (signals & (uint32_t)BALLOON_KNOWS_STALL)
            set_stall(desk, i, size < used ? 20000 : 0);
    }
    desk_decide(desk, second * SECOND);
}

Test(waterline, comes_to_rest_without_an_answer)
{
    static const uint32_t signals[] = {BALLOON_KNOWS_AVAILABLE, SWAPLESS};

    for (size_t way = 0; way < sizeof(signals) / sizeof(signals[0]); way++) {
        struct policy_desk desk;

        open_steady(&desk);
        for (balloon_time_t t = 0; t < 700; t++) {
            use_steadily(&desk, signals[way], t);
            if (t >= 600)
                cr_assert(desk_is_still(&desk), "second %u", (unsigned)t);
            desk_follow(&desk);
        }
        for (uint32_t i = 0; i < 4; i++)
            cr_assert_geq(desk.guests[i].size, steady_use[i], "guest %u has %u", i,
                          (unsigned)desk.guests[i].size);
        desk_close(&desk);
    }
}

/* It goes on looking for cold memory, so it never rests. But it notices at once when there is none:
 * nobody lacks more than one step, a 128th of its size; nobody waits in more than one second of
 * 200; and little memory moves. */
Test(waterline, comes_near_rest_with_stall_times_and_swap)
{
    struct policy_desk desk;
    uint32_t waited[4] = {0};
    uint64_t moved = 0;

    open_steady(&desk);
    for (balloon_time_t t = 0; t < 3600; t++) {
        use_steadily(&desk, CALM, t);
        for (uint32_t i = 0; t >= 600 && i < 4; i++) {
            const balloon_guest_view *g = &desk.guests[i];
            uint64_t wish = desk.wishes[i].target;

            cr_assert_geq(g->size, steady_use[i] - steady_use[i] / 128,
                          "second %u: guest %u has %u", (unsigned)t, i, (unsigned)g->size);
            waited[i] += g->stall != 0;
            moved += wish > g->target ? wish - g->target : g->target - wish;
        }
        desk_follow(&desk);
    }
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_leq(waited[i], 3000 / 200, "guest %u waits for %u s", i, waited[i]);
    /* A 512th of it in a second. */
    cr_assert_leq(moved, UINT64_C(3000) * 656250 / 512, "%u pages", (unsigned)moved);
    desk_close(&desk);
}

Test(waterline, knobs_have_limits)
{
    static const balloon_waterline_knobs good[] = {
        {.size = sizeof(good[0])},
        {.size = sizeof(good[0]), .tax = 240, .boost = 12000, .boost_cap = 1, .threshold = 1000000},
        {.size = sizeof(good[0]), .boost = 1, .boost_cap = 12000, .threshold = 1},
        {.size = sizeof(good[0]), .boost = BALLOON_KNOB_OFF, .tax = BALLOON_KNOB_OFF},
    };
    static const balloon_waterline_knobs bad[] = {
        {.size = sizeof(bad[0]) - 1},
        {.size = sizeof(bad[0]), .tax = 241},
        {.size = sizeof(bad[0]), .boost = 12001, .boost_cap = 1},
        {.size = sizeof(bad[0]), .boost = 120, .boost_cap = 101},
        {.size = sizeof(bad[0]), .boost = BALLOON_KNOB_OFF, .boost_cap = 12001},
        {.size = sizeof(bad[0]), .boost_cap = BALLOON_KNOB_OFF},
        {.size = sizeof(bad[0]), .threshold = 1000001},
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        cr_assert(desk_accepts(&balloon_policy_waterline, &good[i]), "%u", (unsigned)i);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_not(desk_accepts(&balloon_policy_waterline, &bad[i]), "%u", (unsigned)i);
}
