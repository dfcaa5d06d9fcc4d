/* How much waterline moves in all, and from whom: nobody gives for nothing. */
#include <criterion/criterion.h>

#include "waterline_desk.h"

#define WAITS_FOR_MORE 2 /* the guest that should grow */

/* By shares alone, so that all should have the same: 95000 of 285000. The first two have 35000 and
 * 5000 more than that, most of it available. The third has 40000, and 15000 are free. Available
 * should stay 4096 and a 32nd: 8158, 7221 and 5346. */
static void open_unequal(struct policy_desk *desk)
{
    balloon_waterline_knobs knobs = {
        .size = sizeof(knobs), .tax = BALLOON_KNOB_OFF, .boost = BALLOON_KNOB_OFF, .shrink = 16};

    cr_assert(desk_open(desk, &balloon_policy_waterline, &knobs, 3));
    desk->view.pool = 285000;
    for (uint32_t i = 0; i < 3; i++)
        desk->guests[i].max = 200000;
    set_use(desk, 0, 130000, 120000);
    set_use(desk, 1, 100000, 90000);
    set_use(desk, 2, 40000, 30000);
}

static void check_kept(const struct policy_desk *desk, uint32_t guests, balloon_why why)
{
    for (uint32_t i = 0; i < guests; i++) {
        cr_assert_eq(desk->wishes[i].target, desk->guests[i].target, "guest %u", i);
        cr_assert_eq(desk->wishes[i].why, (uint32_t)why, "guest %u: %u", i, desk->wishes[i].why);
    }
}

/* Its share is more than it has, but it uses 10000 of 40000 and does not wait. */
Test(waterline_balance, nobody_shrinks_for_nothing)
{
    struct policy_desk desk;

    open_unequal(&desk);
    desk.view.pool = 270000; /* nothing is free, and 90000 for each */
    desk_decide(&desk, 0);
    check_kept(&desk, 2, BALLOON_WHY_HOLD);
    cr_assert_eq(desk.wishes[2].target, 90000, "it may have what is free");
    desk_close(&desk);
}

/* Who waits wants all of its share: 55000, of which 15000 are free. The others can give 40000, so
 * they go as fast as they may: by a part of what they do not need to have available, 120000 - 8158
 * and 90000 - 7221. That is more than all of 5000. */
Test(waterline_balance, who_waits_wants_its_share)
{
    struct policy_desk desk;

    open_unequal(&desk);
    set_stall(&desk, WAITS_FOR_MORE, 1000);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 130000 - (120000 - 8158) / CACHE_PART);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_SHARE);
    cr_assert_eq(desk.wishes[1].target, 100000 - 5000);
    cr_assert_eq(desk.wishes[2].target, 95000);
    cr_assert_eq(desk.wishes[2].why, (uint32_t)BALLOON_WHY_PRESSURE);
    desk_close(&desk);
}

/* Uses all it has, 11038 more are on its swap, and 5346 should be available: 16384 more. */
static void need_16384_more(struct policy_desk *desk)
{
    desk->guests[WAITS_FOR_MORE].known = BALLOON_KNOWS_AVAILABLE;
    desk->guests[WAITS_FOR_MORE].available = 0;
    desk->guests[WAITS_FOR_MORE].swapped = 11038;
}

/* Of 16384 more 15000 are free, and 1384 wanted from the others, of 40000 that they can give:
 * 35000 * 1384 / 40000 = 1211 from the first and 173 from the second. */
Test(waterline_balance, no_more_is_taken_than_is_needed)
{
    struct policy_desk desk;

    open_unequal(&desk);
    need_16384_more(&desk);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 130000 - 1211);
    cr_assert_eq(desk.wishes[1].target, 100000 - 173);
    cr_assert_eq(desk.wishes[2].target, 95000);
    desk_close(&desk);
}

/* It needs 16384 more, and so many are free, or one less: that is a part of nothing for each of
 * the others. */
Test(waterline_balance, what_is_free_is_taken_first)
{
    for (uint64_t less = 0; less < 2; less++) {
        struct policy_desk desk;

        open_unequal(&desk);
        desk.view.pool = 270000 + 16384 - less;
        need_16384_more(&desk);
        desk_decide(&desk, 0);
        check_kept(&desk, 2, less == 0 ? BALLOON_WHY_HOLD : BALLOON_WHY_DEMAND);
        desk_close(&desk);
    }
}

/* Half of the reserve is wanted though no guest wants it. The guest has 400000, so with 10000 free
 * nothing has to move. With 9900, 100 are wanted of the 10100 that are in the way of all of the
 * reserve. With 9000, 1000 are wanted of 11000, and a sixteenth of 11000, 687, is less. */
Test(waterline_balance, half_of_the_reserve_is_wanted_in_any_case)
{
    static const uint64_t cases[][2] = {{10000, 0}, {9900, 100}, {9000, 687}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        balloon_waterline_knobs knobs = {.size = sizeof(knobs), .shrink = 16};
        struct policy_desk desk;

        cr_assert(desk_open(&desk, &balloon_policy_waterline, &knobs, 1));
        set_use(&desk, 0, 400000, 390000);
        desk.guests[0].max = 400000;
        desk.view.reserve = 20000;
        desk.view.pool = 400000 + cases[i][0];
        desk_decide(&desk, 0);
        cr_assert_eq(desk.wishes[0].target, 400000 - cases[i][1]);
        cr_assert_eq(desk.wishes[0].why, (uint32_t)(i == 0 ? BALLOON_WHY_HOLD : BALLOON_WHY_SHARE));
        desk_close(&desk);
    }
}

/* What is not worth a change is neither wanted nor offered: of this size, and without a reserve,
 * 255 pages. */
Test(waterline_balance, small_changes_do_not_count)
{
    struct policy_desk desk;

    /* All of the third is in use, and it should have 95000. The second needs what it has. */
    for (uint64_t more = 0; more < 2; more++) {
        open_unequal(&desk);
        set_use(&desk, 0, 130255 + more, 120000);
        set_use(&desk, 1, 60000, 50000);
        set_use(&desk, 2, 94745 - more, 0);
        desk_decide(&desk, 0);
        cr_assert_eq(desk.wishes[0].target, more == 0 ? 130255 : 130256 - 256);
        cr_assert_eq(desk.wishes[0].why,
                     (uint32_t)(more == 0 ? BALLOON_WHY_HOLD : BALLOON_WHY_SHARE));
        desk_close(&desk);
    }

    /* 100000 for each. The third has 10734 on its swap and should have 4096 + 1554 available: it
     * needs 16384 more and 15000 are free: 1384, all from the first. */
    open_unequal(&desk);
    desk.view.pool = 300000;
    set_use(&desk, 0, 135000, 120000);
    set_use(&desk, 1, 100255, 90000);
    set_use(&desk, 2, 49745, 0);
    need_16384_more(&desk);
    desk.guests[WAITS_FOR_MORE].swapped = 10734;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 135000 - 1384);
    cr_assert_eq(desk.wishes[1].target, 100255);
    cr_assert_eq(desk.wishes[1].why, (uint32_t)BALLOON_WHY_DEAD_BAND);
    desk_close(&desk);
}

/* ---- From those that wait ------------------------------------------------------------------- */

/* 160000 and 40000 of 200000, by equal shares too much and too little. Both wait from the start,
 * the first 4000 millionths, of which the average takes a quarter: 1000 for 160001. The second is
 * to have more than 24 times that by page: 6000 / 40001 is 23.9996 times, 6001 is 24.0035. */
static void open_waiting(struct policy_desk *desk, uint32_t stall)
{
    balloon_waterline_knobs knobs = {
        .size = sizeof(knobs), .tax = BALLOON_KNOB_OFF, .boost = BALLOON_KNOB_OFF, .shrink = 16};

    cr_assert(desk_open(desk, &balloon_policy_waterline, &knobs, 2));
    desk->view.pool = 200000;
    for (uint32_t i = 0; i < 2; i++)
        desk->guests[i].max = 200000;
    set_use(desk, 0, 160000, 0);
    set_use(desk, 1, 40000, 0);
    set_stall(desk, 0, 4000);
    set_stall(desk, 1, stall);
    desk_decide(desk, 0);
    desk->same_stall = true;
}

/* What the first is asked to give, after its hold. A 64th of it is 2500. */
static uint64_t given(struct policy_desk *desk)
{
    uint64_t gives;

    desk_decide(desk, 2 * HOLD * SECOND);
    gives = desk->guests[0].target - desk->wishes[0].target;
    cr_assert_eq(desk->wishes[0].why,
                 (uint32_t)(gives == 0 ? BALLOON_WHY_PRESSURE : BALLOON_WHY_SHARE));
    desk_close(desk);
    return gives;
}

Test(waterline_balance, who_waits_gives_to_who_waits_much_more)
{
    struct policy_desk desk;

    open_waiting(&desk, 24000);
    cr_assert_eq(given(&desk), 0);
    open_waiting(&desk, 24004);
    cr_assert_eq(given(&desk), 2500);

    /* No more than that though much is available. */
    open_waiting(&desk, 24004);
    desk.guests[0].known |= (uint32_t)BALLOON_KNOWS_FREE;
    desk.guests[0].available = desk.guests[0].free = 100000;
    cr_assert_eq(given(&desk), 2500);
}

/* A page of one with twice the shares counts twice: 3000 is not enough, 3001 is. */
Test(waterline_balance, how_much_more_is_by_shares)
{
    for (uint32_t more = 0; more < 2; more++) {
        struct policy_desk desk;

        open_waiting(&desk, 12000 + 4 * more);
        desk.guests[1].shares = 2000;
        cr_assert_eq(given(&desk), more == 0 ? 0 : 2500);
    }
}

/* 3001, and a quarter of the way to 15000 is 6000, to 15001 it is 6001. */
Test(waterline_balance, how_much_more_is_of_an_average)
{
    struct policy_desk desk;

    for (uint32_t more = 0; more < 2; more++) {
        open_waiting(&desk, 12004);
        set_stall(&desk, 1, 15000 + more);
        desk.guests[1].stall_sample++;
        cr_assert_eq(given(&desk), more == 0 ? 0 : 2500);
    }

    /* It has waited, and does not any more. */
    open_waiting(&desk, 1000000);
    set_stall(&desk, 1, 999);
    desk.guests[1].stall_sample++;
    cr_assert_eq(given(&desk), 0);
}

/* 98 % of 408 hundreds are 39984, and 40000 are enough; of 409 they are 40082. */
Test(waterline_balance, who_is_growing_has_been_heard)
{
    static const uint64_t cases[][2] = {{40899, 2500}, {40900, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_waiting(&desk, 40000);
        desk.guests[1].target = cases[i][0];
        cr_assert_eq(given(&desk), cases[i][1]);
    }
}

/* A 32nd of 40000 is 1250, and 2048 + 3 * 1000 are not used in any case. */
Test(waterline_balance, who_waits_with_memory_free_gets_nothing_from_who_waits)
{
    static const uint64_t cases[][2] = {{6298, 2500}, {6299, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_desk desk;

        open_waiting(&desk, 40000);
        desk.guests[1].known |= (uint32_t)BALLOON_KNOWS_FREE;
        desk.guests[1].free = desk.guests[1].available = cases[i][0];
        cr_assert_eq(given(&desk), cases[i][1]);
    }
}

/* It has 60000 too much. If it did not wait it would give a part of what it does not need to have
 * available, 4096 and a 32nd. */
Test(waterline_balance, who_does_not_wait_gives_in_larger_steps)
{
    struct policy_desk desk;

    open_waiting(&desk, 40000);
    set_stall(&desk, 0, 0);
    desk.guests[0].available = 150000;
    cr_assert_eq(given(&desk), (150000 - 4096 - 5000) / CACHE_PART);
}
