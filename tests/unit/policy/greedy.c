#include <criterion/criterion.h>

#include "policy_desk.h"

#define EVERYTHING                                                                                 \
    ((uint32_t)BALLOON_KNOWS_AVAILABLE | (uint32_t)BALLOON_KNOWS_FREE |                            \
     (uint32_t)BALLOON_KNOWS_SWAP)

Test(greedy, edges)
{
    desk_check_edges(&balloon_policy_greedy);
}

/* Guests of 384 MiB RAM that have 200 of it, half of that available, and nothing free. */
static void open_guests(struct policy_desk *desk, uint32_t guests, uint64_t pool)
{
    cr_assert(desk_open(desk, &balloon_policy_greedy, NULL, guests));
    desk->view.pool = pool;
    for (uint32_t i = 0; i < guests; i++) {
        desk->guests[i].max = 384 * MIB;
        desk->guests[i].min = 64 * MIB;
        desk->guests[i].known = EVERYTHING;
        desk->guests[i].available = 100 * MIB;
        desk_set_size(desk, i, 200 * MIB);
    }
}

/* One guest in a pool that has all it can ask for: what it says, and what it then wants to have
 * beyond its 200 MiB. The first statistics begin; the second, a second later, are judged. */
Test(greedy, asks_by_this_table)
{
    static const struct {
        uint64_t swapped, then, in, available, free, more; /* pages */
    } table[] = {
        {0, 0, 0, 24 * MIB, 0, 0},
        {0, 0, 0, 24 * MIB - 1, 0, 64 * MIB},
        {0, 64, 0, 100 * MIB, 0, 0},
        {0, 65, 0, 100 * MIB, 0, 64 * MIB + 65},
        {1000, 1000, 64, 100 * MIB, 0, 0},
        {1000, 1000, 65, 100 * MIB, 0, 64 * MIB + 1000},
        /* 65 came back and nothing went; 63 in and 64 out; 64 in and 65 out. */
        {1000, 935, 65, 100 * MIB, 0, 64 * MIB + 935},
        {1000, 1001, 63, 100 * MIB, 0, 0},
        {1000, 1001, 64, 100 * MIB, 0, 64 * MIB + 1001},
        /* Out on swap for long: no reason to ask, but asked for when there is one. */
        {50 * MIB, 50 * MIB, 0, 100 * MIB, 0, 0},
        {50 * MIB, 50 * MIB, 0, 10 * MIB, 0, 114 * MIB},
        /* A 16th of 51200 pages is free. */
        {0, 65, 0, 100 * MIB, 3199, 64 * MIB + 65},
        {0, 65, 0, 100 * MIB, 3200, 0},
        {0, 0, 0, 20 * MIB, 3200, 0},
        /* No more than its RAM. */
        {200 * MIB, 200 * MIB, 0, 0, 0, 184 * MIB},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct policy_desk desk;

        open_guests(&desk, 1, GIB);
        desk.guests[0].swapped = table[i].swapped;
        desk_decide(&desk, 10 * SECOND);
        cr_assert(desk_is_still(&desk), "row %zu asks at once", i);
        desk.guests[0].swapped = table[i].then;
        desk.guests[0].swap_in_rate = table[i].in;
        desk.guests[0].available = table[i].available;
        desk.guests[0].free = table[i].free;
        desk_decide(&desk, 11 * SECOND);
        cr_assert_eq(desk.wishes[0].target - 200 * MIB, table[i].more, "row %zu: %llu", i,
                     (unsigned long long)(desk.wishes[0].target - 200 * MIB));
        desk_close(&desk);
    }
}

/* The rate is of the time between the statistics, not between decisions. */
Test(greedy, counts_what_went_in_since_the_statistics_before)
{
    struct policy_desk desk;

    open_guests(&desk, 1, GIB);
    desk_decide(&desk, 10 * SECOND);
    desk.silent = true;
    desk.guests[0].age = 4 * SECOND;
    desk_decide(&desk, 14 * SECOND);
    /* 13 pages a second for five seconds. */
    desk.silent = false;
    desk.guests[0].age = SECOND;
    desk.guests[0].swap_in_rate = 13;
    desk_decide(&desk, 16 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 264 * MIB);
    desk_close(&desk);
}

/* What it asks for is settled by its statistics: it does not go up with its size in between. It
 * ends 3 s after the last that asked. */
Test(greedy, asks_for_three_seconds)
{
    struct policy_desk desk;

    open_guests(&desk, 1, GIB);
    desk.guests[0].available = 0;
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 264 * MIB);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_PRESSURE);
    desk.silent = true;
    desk_set_size(&desk, 0, 230 * MIB);
    desk_decide(&desk, 13 * SECOND - 1);
    cr_assert_eq(desk.wishes[0].target, 264 * MIB);
    desk_decide(&desk, 13 * SECOND);
    cr_assert(desk_is_still(&desk));
    desk_close(&desk);
}

/* 616 MiB for three guests, of them 16 half of the reserve. All is given; the first one has 116 on
 * its swap. */
Test(greedy, takes_from_who_has_most_and_leaves_it_32)
{
    static const struct {
        uint64_t available[3], target[3]; /* MiB */
    } table[] = {
        /* It asks for 180. */
        {{0, 100, 90}, {380, 132, 142}},
        {{0, 90, 100}, {380, 142, 132}},
        {{0, 200, 100}, {380, 64, 156}},
        /* Nobody has more than 32. */
        {{0, 32, 24}, {380, 200, 200}},
        {{0, 33, 32}, {380, 199, 200}},
        /* Who asks gives nothing, whatever it has. */
        {{0, 0, 100}, {380, 264, 132}},
        /* Nobody asks, nobody gives. */
        {{100, 100, 100}, {200, 200, 200}},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct policy_desk desk;

        open_guests(&desk, 3, 616 * MIB);
        desk.view.reserve = 32 * MIB;
        desk.guests[0].swapped = 116 * MIB;
        for (int g = 0; g < 3; g++)
            desk.guests[g].available = table[i].available[g] * MIB;
        desk_decide(&desk, 10 * SECOND);
        for (int g = 0; g < 3; g++)
            cr_assert_eq(desk.wishes[g].target, table[i].target[g] * MIB, "row %zu, guest %d: %llu",
                         i, g, (unsigned long long)(desk.wishes[g].target / MIB));
        desk_close(&desk);
    }
}

/* What is free in the pool, or on its way into it, need not be taken. */
Test(greedy, takes_only_what_is_neither_free_nor_on_its_way)
{
    struct policy_desk desk;

    open_guests(&desk, 3, 664 * MIB);
    desk.guests[0].available = 0;
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk_wished(&desk), 664 * MIB);
    cr_assert_eq(desk.wishes[1].target, 200 * MIB);
    desk_close(&desk);

    open_guests(&desk, 3, 614 * MIB);
    desk.guests[0].available = 0;
    desk.guests[2].available = 99 * MIB;
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[1].target, 150 * MIB);
    /* The donor is on its way; the one that asks has what was free. */
    desk.guests[0].target = 214 * MIB;
    desk.guests[1].target = 150 * MIB;
    desk.silent = true;
    desk_decide(&desk, 10 * SECOND + SECOND / 10);
    cr_assert_eq(desk.wishes[0].target, 264 * MIB);
    cr_assert_eq(desk.wishes[1].target, 150 * MIB);
    cr_assert_eq(desk.wishes[2].target, 200 * MIB);
    desk_close(&desk);
}

/* A pool that is too small is the pool's business. */
Test(greedy, takes_no_more_than_is_asked)
{
    struct policy_desk desk;

    open_guests(&desk, 2, 100 * MIB);
    desk_decide(&desk, 10 * SECOND);
    cr_assert(desk_is_still(&desk));
    desk.guests[0].available = 0;
    desk_decide(&desk, 11 * SECOND);
    cr_assert_eq(desk.wishes[1].target, 136 * MIB);
    desk_close(&desk);
}

/* What was available before is not taken twice on the same statistics. */
Test(greedy, takes_what_is_available_once)
{
    struct policy_desk desk;

    open_guests(&desk, 2, 200 * MIB);
    desk.guests[0].available = 0;
    desk.guests[0].swapped = 100 * MIB;
    for (int i = 0; i < 20; i++) {
        desk_decide(&desk, 10 * SECOND + (uint64_t)i * SECOND / 10);
        cr_assert_eq(desk.wishes[1].target, 132 * MIB);
        desk_set_size(&desk, 1, 132 * MIB);
        desk.silent = true;
    }
    desk_close(&desk);
}

/* The heap against the plain rule, for many guests. */
Test(greedy, many_donors_give_by_what_they_have)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);

    for (int round = 0; round < 200; round++) {
        uint32_t count = 2 + (uint32_t)prng_below(&prng, 40);
        struct policy_desk desk;
        uint64_t given = 0, least = UINT64_MAX;

        open_guests(&desk, count, count * 200 * MIB);
        desk.guests[0].available = 0;
        for (uint32_t i = 1; i < count; i++) {
            desk.guests[i].available = 25 * MIB + prng_below(&prng, 40) * MIB;
            desk.guests[i].min = 150 * MIB;
        }
        desk_decide(&desk, 10 * SECOND);
        for (uint32_t i = 1; i < count; i++) {
            given += 200 * MIB - desk.wishes[i].target;
            if (desk.wishes[i].target < 200 * MIB && desk.guests[i].available < least)
                least = desk.guests[i].available;
        }
        cr_assert_leq(given, 64 * MIB, "seed %llu", (unsigned long long)seed);
        for (uint32_t i = 1; i < count; i++) {
            uint64_t spare =
                desk.guests[i].available < 32 * MIB ? 0 : desk.guests[i].available - 32 * MIB;

            /* Only the last one that was asked may have something left. */
            if (desk.guests[i].available > least || given < 64 * MIB)
                cr_assert_eq(200 * MIB - desk.wishes[i].target, spare, "seed %llu",
                             (unsigned long long)seed);
        }
        desk_close(&desk);
    }
}

/* Without available memory nothing is known; without swap, scarcity alone counts. */
Test(greedy, does_with_what_it_is_told)
{
    struct policy_desk desk;

    open_guests(&desk, 2, 300 * MIB);
    desk.guests[0].known = BALLOON_KNOWS_FREE;
    desk.guests[0].available = 0;
    desk.guests[1].known = BALLOON_KNOWS_AVAILABLE;
    desk.guests[1].available = 23 * MIB;
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 200 * MIB);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_STALE);
    cr_assert_eq(desk.wishes[1].target, 264 * MIB);
    desk_close(&desk);
}
