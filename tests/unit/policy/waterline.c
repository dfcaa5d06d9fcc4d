/* What waterline thinks that guests are entitled to, and where that leads. */
#include <criterion/criterion.h>

#include "waterline_desk.h"

Test(waterline, edges)
{
    desk_check_edges(&balloon_policy_waterline);
}

static bool is_near(uint64_t a, uint64_t b)
{
    return a <= b + 1 && b <= a + 1;
}

/* In use are 100000 and 10000. The first should have 4096 and a 32nd of it available, 7221, so it
 * needs 107221. For the second 10000 and 4096 + 625 would do, but its demand begins with its size,
 * 20000. At a level y the first has y and the second 3/4 * 20000 + y / 4 = 15000 + y / 4; in sum
 * 120000 at y = 84000. */
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
    cr_assert(is_near(desk.wishes[0].target, 84000), "%u", (unsigned)desk.wishes[0].target);
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
 * its shares: 1.3125 times as many. With z for the first, z + 15000 + z / 1.3125 / 4 = 120000:
 * 88200. Its demand is beyond that. */
Test(waterline, waiting_raises_the_price)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    set_stall(&desk, 0, 5000);
    desk_decide(&desk, 0);
    cr_assert(is_near(desk.wishes[0].target, 88200), "%u", (unsigned)desk.wishes[0].target);

    /* What is not new says nothing new: the price is the same. So is the demand of the second in
     * its first hold; after that it falls by a 256th, 78, to 19922, so
     * z + 14941.5 + z / 1.3125 / 4 = 120000: 88249.1. */
    desk.same_stall = true;
    desk_decide(&desk, SECOND);
    cr_assert(is_near(desk.wishes[0].target, 88200), "%u", (unsigned)desk.wishes[0].target);
    desk_decide(&desk, HOLD * SECOND);
    cr_assert(is_near(desk.wishes[0].target, 88249), "%u", (unsigned)desk.wishes[0].target);
    desk_close(&desk);
}

/* As above, with a 32nd of 100000 pages free, 3125, and 2048 + 3 * 2500 that are not used in any
 * case, or one more: then it is as if it did not wait. It uses less, but its demand is its size, or
 * more, as it was before. */
Test(waterline, who_waits_with_memory_free_does_not_pay_more)
{
    static const uint64_t cases[][2] = {{12673, 88200}, {12674, 84000}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_two(&desk, NULL);
        desk.guests[0].known |= (uint32_t)BALLOON_KNOWS_FREE;
        desk.guests[0].free = desk.guests[0].available = cases[i][0];
        set_stall(&desk, 0, 5000);
        desk_decide(&desk, 0);
        cr_assert(is_near(desk.wishes[0].target, cases[i][1]), "%u",
                  (unsigned)desk.wishes[0].target);
        desk_close(&desk);
    }
}

Test(waterline, without_a_boost_waiting_does_not_count)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .boost = BALLOON_KNOB_OFF};
    struct policy_desk desk;

    open_two(&desk, &knobs);
    set_stall(&desk, 0, 5000);
    desk_decide(&desk, 0);
    cr_assert(is_near(desk.wishes[0].target, 84000), "%u", (unsigned)desk.wishes[0].target);
    desk_close(&desk);
}

/* However long and much it waits, the price is six times its shares: 102857 and 17143, where none
 * of them has more than its demand; with a cap of 32 units nine times: 108000 and 12000. Later the
 * price is as at first. So that nothing but the price changes, a long hold keeps the demand of the
 * first at 116384, 64 MiB more than it has, since it waits with nothing left; and the second uses
 * all it has and does not measure how long it waits: its demand is 20000 + 4721. So in the end
 * y + 3/4 * 24721 + y / 4 = 120000, and the second has 120000 - 81167.4. */
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
        desk.guests[1].available = 0;
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
        cr_assert(is_near(last, 38833), "%u", (unsigned)last);
        desk_close(&desk);
    }
}

/* A quarter of 100000 pages is free beyond 9548 that are in any case, and a page. */
Test(waterline, who_has_a_quarter_idle_has_no_price)
{
    static const uint64_t cases[][2] = {{34548, 16837}, {34549, 38027}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_two(&desk, NULL);
        for (balloon_time_t t = 0; t < 60; t++) {
            set_stall(&desk, 0, 1000000);
            desk_decide(&desk, t * SECOND);
        }
        set_stall(&desk, 0, 0);
        desk.guests[0].known |= (uint32_t)BALLOON_KNOWS_FREE;
        desk.guests[0].free = desk.guests[0].available = cases[i][0];
        desk_decide(&desk, 60 * SECOND);
        cr_assert(is_near(desk.wishes[1].target, cases[i][1]), "%u",
                  (unsigned)desk.wishes[1].target);
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

Test(waterline, gives_a_reason_for_growing)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk.view.pool = 300000;
    set_use(&desk, 0, 90000, 0);
    desk_decide(&desk, 0);
    /* 90000 + 4096 + 2812 is its demand, and it gets more. */
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_SHARE);
    desk.view.pool = 120000;
    set_use(&desk, 0, 70000, 0);
    desk.guests[0].available = 0;
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);
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
