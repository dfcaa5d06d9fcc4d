#include <criterion/criterion.h>

#include "policy_desk.h"

Test(balance, edges)
{
    desk_check_edges(&balloon_policy_balance);
}

/* A guest of up to 4 GiB with 1 GiB, on a host of 2 GiB that keeps 100 MiB. */
static void open_one(struct policy_desk *desk, uint64_t guest_free, uint64_t guest_caches)
{
    cr_assert(desk_open(desk, &balloon_policy_balance, NULL, 1));
    desk->view.pool = 2 * GIB;
    desk->view.reserve = 100 * MIB;
    desk->guests[0].max = 4 * GIB;
    desk->guests[0].known = (uint32_t)BALLOON_KNOWS_FREE | (uint32_t)BALLOON_KNOWS_CACHES;
    desk->guests[0].free = guest_free;
    desk->guests[0].caches = guest_caches;
}

/* Guest: 600 + 200 - 400 = 400 MiB above critical. Host: 1024 - 100 = 924. Half of the difference
 * is 262. */
Test(balance, meets_in_the_middle)
{
    struct policy_desk desk;

    open_one(&desk, 600 * MIB, 200 * MIB);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, GIB + 262 * MIB);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);

    /* There, 662 above critical in both. */
    desk_follow(&desk);
    desk.guests[0].free += 262 * MIB;
    desk_decide(&desk, SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEAD_BAND);
    desk_close(&desk);
}

/* Guest: 1000 - 400 = 600. Host: 300 - 100 = 200 with a pool of 1324. */
Test(balance, takes_too)
{
    struct policy_desk desk;

    open_one(&desk, 1000 * MIB, 0);
    desk.view.pool = 1324 * MIB;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 824 * MIB);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_HOST_LOW);
    desk_close(&desk);
}

Test(balance, available_will_do)
{
    struct policy_desk desk;

    open_one(&desk, 0, 0);
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    desk.guests[0].available = 800 * MIB;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, GIB + 262 * MIB);
    desk.guests[0].known = 0;
    desk_decide(&desk, SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_STALE);
    desk_close(&desk);
}

/* Guest: 100 - 400 = -300. Host: 60 - 100 = -40. Half of the difference is -130, but the host must
 * not get more than 10 MiB below critical, and it is already: so the guest gives 30. */
Test(balance, never_takes_the_host_far_below_critical)
{
    struct policy_desk desk;

    open_one(&desk, 100 * MIB, 0);
    desk.view.pool = 1084 * MIB;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 994 * MIB);
    desk_close(&desk);
}

/* Guest: 380 - 400 = -20. Host: 824 - 1024 = -200 with a pool of 1848 and a reserve of 1024. Half
 * of the difference would be 90. */
Test(balance, the_host_comes_first_when_both_are_short)
{
    struct policy_desk desk;

    open_one(&desk, 380 * MIB, 0);
    desk.view.pool = 1848 * MIB;
    desk.view.reserve = 1024 * MIB;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, GIB - 190 * MIB);
    desk_close(&desk);
}

/* The host misses 199 MiB, and may miss 10: 189 of a guest that has 100. Then it misses 99. */
Test(balance, no_guest_can_give_more_than_it_has)
{
    struct policy_desk desk;

    cr_assert(desk_open(&desk, &balloon_policy_balance, NULL, 2));
    desk.view.pool = MIB;
    for (uint32_t i = 0; i < 2; i++) {
        desk_set_size(&desk, i, 100 * MIB);
        desk.guests[i].known = BALLOON_KNOWS_AVAILABLE;
    }
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 0);
    cr_assert_eq(desk.wishes[1].target, 11 * MIB);
    desk_close(&desk);
}

/* 600 MiB above critical in the guest, and in the host some more: of 611 2 % are 12, and half of
 * the 24 is not more; of 600 it is. */
Test(balance, less_than_two_percent_is_nothing)
{
    struct policy_desk desk;

    open_one(&desk, 1000 * MIB, 0);
    desk.view.pool = 1024 * MIB + 100 * MIB + 622 * MIB;
    desk_decide(&desk, 0);
    cr_assert(desk_is_still(&desk));
    desk.view.pool += 2 * MIB;
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].target, GIB + 12 * MIB);
    desk_close(&desk);
}

Test(balance, decides_every_second)
{
    struct policy_desk desk;

    open_one(&desk, 600 * MIB, 200 * MIB);
    desk_decide(&desk, 0);
    desk_decide(&desk, SECOND / 2);
    cr_assert(desk_is_still(&desk));
    desk_decide(&desk, SECOND - SECOND / 10);
    cr_assert_eq(desk.wishes[0].target, GIB + 262 * MIB, "a timer may be a little early");
    desk_close(&desk);
}

/* Of 4 GiB the balloon has 3 GiB, which is all that was ever seen: its level is not learnt. With
 * 2 GiB it is. */
Test(balance, learns_that_a_guest_lives_with_less)
{
    for (int large = 0; large < 2; large++) {
        struct policy_desk desk;

        open_one(&desk, 300 * MIB, 0);
        desk_set_size(&desk, 0, large ? GIB : 2 * GIB);
        desk.view.pool = desk.guests[0].size + 400 * MIB;
        desk_decide(&desk, 0);
        /* 300 - 400 = -100 against 300: -200. */
        cr_assert_eq(desk.wishes[0].target, desk.guests[0].size + 200 * MIB);
        desk_decide(&desk, SECOND);
        /* Learnt: 0 against 300, -150. */
        cr_assert_eq(desk.wishes[0].target, desk.guests[0].size + (large ? 200 : 150) * MIB);
        desk_close(&desk);
    }
}

Test(balance, learns_from_new_statistics_only)
{
    struct policy_desk desk;

    open_one(&desk, 300 * MIB, 0);
    desk_set_size(&desk, 0, 2 * GIB);
    desk.view.pool = desk.guests[0].size + 400 * MIB;
    desk_decide(&desk, 0);
    desk.silent = true;
    for (balloon_time_t t = 1; t < 10; t++) {
        desk_decide(&desk, t * SECOND);
        cr_assert_eq(desk.wishes[0].target, desk.guests[0].size + 200 * MIB);
    }
    desk.silent = false;
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[0].target, desk.guests[0].size + 150 * MIB);
    desk_close(&desk);
}

/* A guest with nothing available, and 200 MiB above critical in the host: -400 and 200 at first, 0
 * and 200 when that is what it is used to. */
Test(balance, can_learn_that_nothing_is_critical)
{
    struct policy_desk desk;

    open_one(&desk, 0, 0);
    desk_set_size(&desk, 0, 2 * GIB);
    desk.view.pool = 2 * GIB + 300 * MIB;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 2 * GIB + 210 * MIB, "as much as the host can spare");
    for (balloon_time_t t = 1; t < 4; t++) {
        desk_decide(&desk, t * SECOND);
        cr_assert_eq(desk.wishes[0].target, 2 * GIB + 100 * MIB);
    }
    desk_close(&desk);
}

/* What the first gets the second cannot have: 924 above critical in the host, and 400 in the first
 * guest: 262 for it. Then 662 and 400: 131. */
Test(balance, several_share_in_order)
{
    struct policy_desk desk;

    cr_assert(desk_open(&desk, &balloon_policy_balance, NULL, 2));
    desk.view.pool = 3 * GIB;
    desk.view.reserve = 100 * MIB;
    for (uint32_t i = 0; i < 2; i++) {
        desk.guests[i].max = 4 * GIB;
        desk.guests[i].known = BALLOON_KNOWS_AVAILABLE;
        desk.guests[i].available = 800 * MIB;
    }
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, GIB + 262 * MIB);
    cr_assert_eq(desk.wishes[1].target, GIB + 131 * MIB);
    desk_close(&desk);
}
