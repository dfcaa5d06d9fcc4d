#include <criterion/criterion.h>

#include "policy_desk.h"

#define STEP (100 * MIB)

Test(proxmox, edges)
{
    desk_check_edges(&balloon_policy_proxmox);
}

/* Two guests of 1 to 4 GiB with 2 GiB each, on 10 GiB: of 8 GiB to use, 4 are in use. */
static void open_two(struct policy_desk *desk, const void *knobs)
{
    cr_assert(desk_open(desk, &balloon_policy_proxmox, knobs, 2));
    desk->view.pool = 10 * GIB;
    for (uint32_t i = 0; i < 2; i++) {
        desk->guests[i].min = GIB;
        desk->guests[i].max = 4 * GIB;
        desk->guests[i].known = BALLOON_KNOWS_FREE;
        desk_set_size(desk, i, 2 * GIB);
    }
}

Test(proxmox, gives_a_hundred_mebibytes_a_round)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 2 * GIB + STEP);
    cr_assert_eq(desk.wishes[1].target, 2 * GIB + STEP);
    desk_follow(&desk);
    desk_decide(&desk, 5 * SECOND);
    cr_assert(desk_is_still(&desk), "it is not time");
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 2 * GIB + 2 * STEP);
    desk_close(&desk);
}

/* A quarter of the minimum is 256 MiB. */
Test(proxmox, gives_to_those_with_little_free_first)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk.guests[0].free = 256 * MIB;
    desk.guests[1].free = 256 * MIB + 1;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 2 * GIB + STEP);
    cr_assert_eq(desk.wishes[1].target, 2 * GIB);

    /* It has all it may have, so the others' turn has come. */
    desk_set_size(&desk, 0, 4 * GIB);
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 4 * GIB);
    cr_assert_eq(desk.wishes[1].target, 2 * GIB + STEP);
    desk_close(&desk);
}

/* 9 GiB used, 1 too many. Only the second has much free. */
Test(proxmox, takes_from_those_with_much_free_first)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk_set_size(&desk, 0, 4 * GIB);
    desk_set_size(&desk, 1, 5 * GIB);
    desk.guests[1].max = 5 * GIB;
    desk.guests[1].free = 2 * GIB;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 4 * GIB);
    cr_assert_eq(desk.wishes[1].target, 5 * GIB - STEP);
    cr_assert_eq(desk.wishes[1].why, (uint32_t)BALLOON_WHY_HOST_LOW);

    /* Nobody has. Above the minimums are 7 GiB less 1, by equal shares 3 for each: the first has
     * that. */
    desk.guests[1].flags = BALLOON_GUEST_STALE;
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 4 * GIB);
    cr_assert_eq(desk.wishes[1].target, 5 * GIB - STEP);

    /* With 1 to 3 shares it has too much, too. */
    desk.guests[1].shares = 3000;
    desk_decide(&desk, 20 * SECOND);
    cr_assert_eq(desk.wishes[0].target, 4 * GIB - STEP);
    cr_assert_eq(desk.wishes[1].target, 5 * GIB);
    desk_close(&desk);
}

/* To use: 4.8 GiB of 6. Above the minimums are 2 GiB and a goal of 0.8 GiB: 2.8 GiB by 1 to 3 is
 * 0.7 and 2.1 GiB, so the first gives while the second gets. */
Test(proxmox, moves_towards_shares_while_it_gives)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk.view.pool = 6 * GIB;
    desk.guests[1].shares = 3000;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 2 * GIB - STEP);
    cr_assert_eq(desk.wishes[1].target, 2 * GIB + STEP);
    desk_close(&desk);
}

/* To use: 8 GiB of 10, used 4.02. Above the minimums 2.02 GiB and 3.98: 6 GiB by equal shares is
 * 3 each, so the one at 1 + 2.98 GiB gets 0.02 GiB and is done; the other gets its 100 MiB. */
Test(proxmox, the_last_step_is_a_small_one)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk_set_size(&desk, 0, 4 * GIB - 20 * MIB);
    desk_set_size(&desk, 1, GIB);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 4 * GIB);
    cr_assert_eq(desk.wishes[1].target, GIB + STEP);
    desk_close(&desk);
}

/* 1024 pages above the goal of 10 MiB. */
Test(proxmox, leaves_ten_mebibytes_alone)
{
    struct policy_desk desk;

    open_two(&desk, NULL);
    desk.view.pool = 5 * GIB + 5 * 10 * MIB / 4;
    desk_decide(&desk, 0);
    cr_assert(desk_is_still(&desk));
    desk.view.pool += 100;
    desk_decide(&desk, 10 * SECOND);
    cr_assert_gt(desk.wishes[0].target, 2 * GIB);
    desk.view.pool = 5 * GIB - 5 * 10 * MIB / 4;
    desk_decide(&desk, 20 * SECOND);
    cr_assert(desk_is_still(&desk));
    desk.view.pool -= 100;
    desk_decide(&desk, 30 * SECOND);
    cr_assert_lt(desk.wishes[0].target, 2 * GIB);
    desk_close(&desk);
}

Test(proxmox, its_percentage_is_a_knob)
{
    balloon_proxmox_knobs knobs = {.size = sizeof(knobs), .percent = 40};
    struct policy_desk desk;

    open_two(&desk, &knobs);
    desk_decide(&desk, 0);
    cr_assert(desk_is_still(&desk), "4 of 10 GiB are used");
    desk_close(&desk);

    knobs.percent = 101;
    cr_assert_not(desk_accepts(&balloon_policy_proxmox, &knobs));
    knobs.percent = 0;
    cr_assert(desk_accepts(&balloon_policy_proxmox, &knobs));
    knobs.size = 0;
    cr_assert_not(desk_accepts(&balloon_policy_proxmox, &knobs));
}

Test(proxmox, no_step_is_too_long_and_nobody_grows_while_it_takes)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0x9408);

    for (int round = 0; round < 500; round++) {
        struct policy_desk desk;
        uint64_t goal;

        cr_assert(desk_open(&desk, &balloon_policy_proxmox, NULL, 6));
        desk_shuffle(&desk, &prng, 4 * GIB);
        desk.view.pool = 12 * GIB;
        desk_decide(&desk, 0);
        goal = desk.view.pool * 80 / 100;
        for (uint32_t i = 0; i < 6; i++) {
            uint64_t size = desk.guests[i].size, wish = desk.wishes[i].target;

            cr_assert(wish <= size + STEP && size <= wish + STEP, "seed %llu",
                      (unsigned long long)seed);
        }
        for (uint32_t i = 0; desk.view.used > goal && i < 6; i++)
            cr_assert_leq(desk.wishes[i].target, desk.guests[i].size, "seed %llu",
                          (unsigned long long)seed);
        desk_close(&desk);
    }
}
