#include <criterion/criterion.h>

#include "policy_desk.h"

#define SIZE UINT64_C(100000)

Test(stall, edges)
{
    desk_check_edges(&balloon_policy_stall);
}

static void open_one(struct policy_desk *desk, const void *knobs)
{
    cr_assert(desk_open(desk, &balloon_policy_stall, knobs, 1));
    desk->guests[0].max = 10 * SIZE;
    desk->guests[0].known = BALLOON_KNOWS_STALL;
    desk->same_stall = false;
    desk_set_size(desk, 0, SIZE);
}

/* What it wishes after six quiet seconds, of which the last one has that much waiting. */
static uint64_t wish_after(uint32_t stall)
{
    struct policy_desk desk;
    uint64_t wish;

    open_one(&desk, NULL);
    for (balloon_time_t t = 0; t < 6; t++) {
        desk_decide(&desk, t * SECOND);
        cr_assert(desk_is_still(&desk));
    }
    desk.guests[0].stall = stall;
    desk_decide(&desk, 6 * SECOND);
    wish = desk.wishes[0].target;
    desk_close(&desk);
    return wish;
}

Test(stall, no_waiting_takes_a_hundredth)
{
    cr_assert_eq(wish_after(0), SIZE - SIZE / 100);
    /* A tenth of the budget of 10 ms, in one second, is as good as none. */
    cr_assert_eq(wish_after(1000), SIZE - SIZE / 100);
}

Test(stall, waiting_makes_probes_smaller)
{
    /* 2 ms of 10: (10 / 2 / 10)^2 of a hundredth. */
    cr_assert_eq(wish_after(2000), SIZE - 250);
    /* 10 ms of 10: a hundredth of a hundredth. One less, since 0.1 has no end in binary. */
    cr_assert_eq(wish_after(10000), SIZE - 9);
}

Test(stall, waiting_beyond_the_budget_gives_at_once)
{
    /* (100 / 10 / 20)^2. */
    cr_assert_eq(wish_after(100000), SIZE + SIZE / 4);
    /* (50 / 10 / 20)^2. */
    cr_assert_eq(wish_after(50000), SIZE + SIZE / 16);
    /* Twenty times the budget, and more. */
    cr_assert_eq(wish_after(200000), 2 * SIZE);
    cr_assert_eq(wish_after(1000000), 2 * SIZE);
}

Test(stall, probes_every_six_seconds)
{
    struct policy_desk desk;
    uint64_t last = SIZE;

    open_one(&desk, NULL);
    for (balloon_time_t t = 0; t < 30; t++) {
        desk_decide(&desk, t * SECOND);
        /* Six seconds of grace at first, as in the source, so the seventh tick is the first. */
        cr_assert_eq(desk.wishes[0].target != last, t > 0 && t % 6 == 0, "second %u", (unsigned)t);
        desk_follow(&desk);
        last = desk.wishes[0].target;
    }
    desk_close(&desk);
}

Test(stall, a_slow_caller_gets_the_same_beat)
{
    struct policy_desk desk;

    open_one(&desk, NULL);
    desk_decide(&desk, 0);
    desk_decide(&desk, 5 * SECOND);
    cr_assert(desk_is_still(&desk));
    desk_decide(&desk, 10 * SECOND);
    cr_assert_eq(desk.wishes[0].target, SIZE - SIZE / 100);
    desk_close(&desk);
}

Test(stall, waiting_is_counted_as_long_as_it_was_measured)
{
    struct policy_desk desk;

    open_one(&desk, NULL);
    desk_decide(&desk, 0);
    /* Statistics every 5 s: 20 ms a second, in sum 100 ms. */
    desk.same_stall = true;
    for (balloon_time_t t = 1; t < 5; t++) {
        desk_decide(&desk, t * SECOND);
        cr_assert(desk_is_still(&desk));
    }
    desk.same_stall = false;
    desk.guests[0].stall = 20000;
    desk_decide(&desk, 5 * SECOND);
    cr_assert_eq(desk.wishes[0].target, SIZE + SIZE / 4);
    /* And counted once. */
    desk.same_stall = true;
    desk_decide(&desk, 6 * SECOND);
    cr_assert(desk_is_still(&desk));
    desk_close(&desk);
}

Test(stall, does_not_guess)
{
    struct policy_desk desk;

    open_one(&desk, NULL);
    desk.guests[0].flags = BALLOON_GUEST_STALE;
    for (balloon_time_t t = 0; t < 30; t++) {
        desk_decide(&desk, t * SECOND);
        cr_assert(desk_is_still(&desk));
        cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_STALE);
    }
    desk_close(&desk);
}

Test(stall, calls_within_a_second_change_nothing)
{
    struct policy_desk desk;

    open_one(&desk, NULL);
    desk.guests[0].stall = 1000000;
    desk_decide(&desk, 0);
    desk_decide(&desk, SECOND / 2);
    cr_assert(desk_is_still(&desk));
    desk_close(&desk);
}

Test(stall, budget_and_interval_are_knobs)
{
    balloon_stall_knobs knobs = {.size = sizeof(knobs), .budget = 100000, .interval = 2};
    struct policy_desk desk;

    open_one(&desk, &knobs);
    for (balloon_time_t t = 0; t < 2; t++)
        desk_decide(&desk, t * SECOND);
    desk.guests[0].stall = 100000;
    desk_decide(&desk, 2 * SECOND);
    cr_assert_eq(desk.wishes[0].target, SIZE - 9);
    desk_close(&desk);

    knobs.budget = 1000000001;
    cr_assert_not(desk_accepts(&balloon_policy_stall, &knobs));
    knobs.budget = 0;
    knobs.interval = 0;
    cr_assert(desk_accepts(&balloon_policy_stall, &knobs));
    knobs.interval = 3601;
    cr_assert_not(desk_accepts(&balloon_policy_stall, &knobs));
    knobs.interval = 1;
    knobs.size = 0;
    cr_assert_not(desk_accepts(&balloon_policy_stall, &knobs));
}

/* A host that has been up for a day is no reason to probe at once. */
Test(stall, time_before_the_first_decision_does_not_count)
{
    const balloon_time_t up = 100000;
    struct policy_desk desk;

    open_one(&desk, NULL);
    for (balloon_time_t t = 0; t < 6; t++) {
        desk_decide(&desk, (up + t) * SECOND);
        cr_assert(desk_is_still(&desk), "second %u", (unsigned)t);
    }
    desk_decide(&desk, (up + 6) * SECOND);
    cr_assert_eq(desk.wishes[0].target, SIZE - SIZE / 100);
    desk_close(&desk);
}
