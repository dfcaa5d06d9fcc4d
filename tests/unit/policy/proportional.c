#include <criterion/criterion.h>

#include "policy_desk.h"

#define HOST_FREE (9 * MIB)

Test(proportional, edges)
{
    desk_check_edges(&balloon_policy_proportional);
}

/* 1 GiB for two guests, used 131072 + 65536, so free 65536.
 * Freeable: 131072 - 16384 - 2 = 114686 and 65536 - 16384 - 2 = 49150.
 * Surplus: 65536 + 114686 + 49150 - 2304 = 227068 of a range of 114688 + 245760 = 360448.
 * Targets: 16384 + floor(227068 * 7 / 22) = 16384 + 72248 and 16384 + floor(227068 * 15 / 22) =
 * 16384 + 154819. */
static void open_two(struct policy_desk *desk)
{
    cr_assert(desk_open(desk, &balloon_policy_proportional, NULL, 2));
    desk->view.pool = GIB;
    desk->guests[0].min = desk->guests[1].min = 64 * MIB;
    desk->guests[0].max = 512 * MIB;
    desk->guests[1].max = 1024 * MIB;
    desk_set_size(desk, 0, 512 * MIB);
    desk_set_size(desk, 1, 256 * MIB);
}

Test(proportional, lets_shrink_first_and_grow_then)
{
    struct policy_desk desk;

    open_two(&desk);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 88632);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_SHARE);
    cr_assert_eq(desk.wishes[1].target, 65536);
    cr_assert_eq(desk.wishes[1].why, (uint32_t)BALLOON_WHY_BUDGET);

    /* Half of the way: the surplus is the same. */
    desk.guests[0].target = 88632;
    desk.guests[0].size = 100000;
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].target, 88632);
    cr_assert_eq(desk.wishes[1].target, 65536);

    desk.guests[0].size = 88632;
    desk_decide(&desk, 2 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 88632);
    cr_assert_eq(desk.wishes[1].target, 171203);
    cr_assert_leq(desk_wished(&desk), desk.view.pool - HOST_FREE);
    desk_close(&desk);
}

Test(proportional, begins_every_ten_seconds)
{
    struct policy_desk desk;

    open_two(&desk);
    desk_set_size(&desk, 0, 88632);
    desk_set_size(&desk, 1, 171203);
    desk_decide(&desk, 0);
    cr_assert(desk_is_still(&desk));

    /* The first guest takes some back, which nobody sees before the time comes. */
    desk.guests[0].size = 89000;
    desk_decide(&desk, 5 * SECOND);
    cr_assert(desk_is_still(&desk));
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 88632);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_HOLD, "it was asked for that already");
    desk_close(&desk);
}

Test(proportional, begins_when_limits_change)
{
    struct policy_desk desk;

    open_two(&desk);
    desk_set_size(&desk, 0, 88632);
    desk_set_size(&desk, 1, 171203);
    desk_decide(&desk, 0);
    desk.guests[1].min = 128 * MIB;
    desk_decide(&desk, SECOND);
    /* Surplus: 2309 + (88632 - 16386) + (171203 - 32770) - 2304 = 210684 of 114688 + 229376 =
     * 344064, which is 1 to 2: 16384 + 70228 for the first. */
    cr_assert_eq(desk.wishes[0].target, 86612);
    desk_close(&desk);
}

Test(proportional, a_page_off_is_there)
{
    struct policy_desk desk;

    open_two(&desk);
    desk_set_size(&desk, 0, 88633);
    desk_set_size(&desk, 1, 171202);
    desk_decide(&desk, 0);
    cr_assert(desk_is_still(&desk));
    desk_close(&desk);
}

Test(proportional, more_than_all_can_use_is_everybodys_maximum)
{
    struct policy_desk desk;

    open_two(&desk);
    desk.view.pool = 4 * GIB;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, desk.guests[0].max);
    cr_assert_eq(desk.wishes[1].target, desk.guests[1].max);
    desk_close(&desk);
}

Test(proportional, short_of_memory_all_go_to_their_minimum)
{
    struct policy_desk desk;

    open_two(&desk);
    desk.view.pool = 129 * MIB;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 64 * MIB);
    cr_assert_eq(desk.wishes[1].target, 64 * MIB);
    desk_close(&desk);
}

Test(proportional, the_inactive_neither_give_nor_get)
{
    struct policy_desk desk;

    open_two(&desk);
    desk.guests[0].flags = BALLOON_GUEST_INACTIVE;
    desk_decide(&desk, 0);
    /* 16384 + (65536 free + 49150 - 2304). */
    cr_assert_eq(desk.wishes[1].target, 128766);
    desk_close(&desk);
}

Test(proportional, stays_within_the_pool_and_comes_to_rest)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0x5917);

    for (int round = 0; round < 300; round++) {
        struct policy_desk desk;
        balloon_time_t t = 0;
        uint64_t least = 0;

        cr_assert(desk_open(&desk, &balloon_policy_proportional, NULL, 5));
        desk_shuffle(&desk, &prng, 4 * GIB);
        for (uint32_t i = 0; i < 5; i++) {
            desk_set_size(&desk, i, desk.guests[i].min);
            least += desk.guests[i].min;
        }
        desk.view.pool = least + HOST_FREE + 20 + prng_below(&prng, 4 * GIB);
        desk.view.reserve = prng_below(&prng, 10);
        for (; t < 4; t++) {
            desk_decide(&desk, t * SECOND);
            cr_assert_leq(desk_wished(&desk), desk.view.pool - HOST_FREE - desk.view.reserve,
                          "seed %llu", (unsigned long long)seed);
            desk_follow(&desk);
        }
        desk_decide(&desk, t * SECOND);
        cr_assert(desk_is_still(&desk), "seed %llu", (unsigned long long)seed);
        desk_close(&desk);
    }
}
