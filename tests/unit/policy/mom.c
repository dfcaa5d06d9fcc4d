#include <criterion/criterion.h>

#include "policy_desk.h"

Test(mom, edges)
{
    desk_check_edges(&balloon_policy_mom);
}

/* One guest that can be looked at, and one that fills the pool of 100000 pages up to what should be
 * free. */
static void open_with_free(struct policy_desk *desk, uint64_t host_free, uint64_t guest_free)
{
    cr_assert(desk_open(desk, &balloon_policy_mom, NULL, 2));
    desk->view.pool = 100000;
    desk->guests[0].min = 1000;
    desk->guests[0].max = 20000;
    desk_set_size(desk, 0, 10000);
    desk->guests[0].known = BALLOON_KNOWS_FREE;
    desk->guests[0].free = guest_free;
    desk_set_size(desk, 1, 90000 - host_free);
}

static uint64_t decide_once(uint64_t host_free, uint64_t guest_free)
{
    struct policy_desk desk;
    uint64_t wish;

    open_with_free(&desk, host_free, guest_free);
    desk_decide(&desk, 0);
    wish = desk.wishes[0].target;
    cr_assert_eq(desk.wishes[1].target, 90000 - host_free);
    cr_assert_eq(desk.wishes[1].why, (uint32_t)BALLOON_WHY_STALE, "nothing is known of it");
    desk_close(&desk);
    return wish;
}

Test(mom, grows_to_used_and_a_fifth)
{
    /* 9000 used and 0.2 * 10000. */
    cr_assert_eq(decide_once(30000, 1000), 11000);
    /* That would be 7000, but 5 % more is always given. */
    cr_assert_eq(decide_once(30000, 5000), 10500);
    /* The mark itself is not below the mark. */
    cr_assert_eq(decide_once(20000, 1000), 11000);
}

Test(mom, grows_to_the_maximum_at_most)
{
    struct policy_desk desk;

    open_with_free(&desk, 30000, 1000);
    desk.guests[0].max = 10300;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 10300);
    desk_set_size(&desk, 0, 10300);
    desk_decide(&desk, 10 * SECOND);
    cr_assert(desk_is_still(&desk));
    desk_close(&desk);
}

Test(mom, shrinks_with_what_the_host_has_free)
{
    /* 7000 used and 0.1 * 10000, but 5 % at most. */
    cr_assert_eq(decide_once(10000, 3000), 9500);
    /* 8700 used and 0.1 * 10000. */
    cr_assert_eq(decide_once(10000, 1300), 9700);
    /* 9000 used and 0.1 * 10000 is what it has; more would be growing. */
    cr_assert_eq(decide_once(10000, 1000), 10000);
    cr_assert_eq(decide_once(10000, 500), 10000);
}

Test(mom, makes_guests_swap_when_it_is_critical)
{
    /* Host at 3 %: 9800 used less 0.02 * 10000. */
    cr_assert_eq(decide_once(3000, 200), 9600);
    /* At 5 % nothing is added or taken: 9800. Just above, 0.06 * 10000 is added. */
    cr_assert_eq(decide_once(5000, 200), 9800);
    cr_assert_eq(decide_once(6000, 200), 10000);
}

Test(mom, keeps_the_minimum)
{
    struct policy_desk desk;

    open_with_free(&desk, 1000, 9000);
    desk.guests[0].min = 9800;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 9800);
    desk_close(&desk);
}

Test(mom, leaves_small_changes_alone)
{
    /* 0.25 % of 10000 is 25. */
    cr_assert_eq(decide_once(10000, 1025), 10000);
    cr_assert_eq(decide_once(10000, 1026), 9974);
}

Test(mom, decides_every_ten_seconds_on_averages_of_ten)
{
    struct policy_desk desk;

    open_with_free(&desk, 10000, 1000);
    desk_decide(&desk, 0);
    desk.guests[0].free = 1400;
    desk_decide(&desk, 4 * SECOND);
    desk_decide(&desk, 5 * SECOND);
    cr_assert(desk_is_still(&desk));
    desk_decide(&desk, 10 * SECOND);
    /* Used 9000, 8600, 8600: 8733. */
    cr_assert_eq(desk.wishes[0].target, 9733);
    for (balloon_time_t t = 3; t <= 20; t++)
        desk_decide(&desk, t * 5 * SECOND);
    /* Ten times 8600. */
    cr_assert_eq(desk.wishes[0].target, 9600);
    desk_close(&desk);
}

Test(mom, old_statistics_do_not_count)
{
    struct policy_desk desk;

    open_with_free(&desk, 10000, 1400);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 9600);
    desk.guests[0].flags = BALLOON_GUEST_STALE;
    desk_decide(&desk, 10 * SECOND);
    cr_assert(desk_is_still(&desk));
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_STALE);
    desk_close(&desk);
}
