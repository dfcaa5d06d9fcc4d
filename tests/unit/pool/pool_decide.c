/* How scarce memory is, and which wishes may become targets. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "pool_rig.h"

#define POOL UINT64_C(1600000) /* marks at 96000, 64000, 32000 and 16000 free */
#define S    RIG_SECOND
#define FREE BALLOON_STAT_FREE, UINT64_C(1), -1

static uint64_t guest;

static void make(void)
{
    pool_rig_make(POOL, NULL);
    guest = pool_rig_add(1000, POOL, 500000);
    pool_rig_sample(guest, S, FREE);
}

TestSuite(pool_decide, .init = make, .fini = pool_rig_drop);

/* --- time ------------------------------------------------------------------------------------- */

Test(pool_decide, time_goes_on)
{
    pool_rig_decide(5 * S);
    cr_assert_eq(pool_rig.view.now, 5 * S);
    cr_assert_eq(pool_rig.view.elapsed, 0);
    pool_rig_decide(7 * S);
    cr_assert_eq(pool_rig.view.elapsed, 2 * S);
    /* Never back. */
    pool_rig_decide(6 * S);
    cr_assert_eq(pool_rig.view.now, 7 * S);
    cr_assert_eq(pool_rig.view.elapsed, 0);
}

/* --- the host's state ------------------------------------------------------------------------- */

static balloon_host_state state_with_free(uint64_t free)
{
    static balloon_time_t now = S;

    pool_rig_size(guest, POOL - free, now += S);
    pool_rig_decide(now);
    cr_assert_eq(pool_rig.view.used, POOL - free);
    cr_assert_eq(pool_rig.view.free, free);
    cr_assert_eq(pool_rig.view.state, pool_rig_status().state);
    return pool_rig.view.state;
}

Test(pool_decide, the_host_gets_worse_at_once)
{
    cr_assert_eq(state_with_free(64000), BALLOON_HOST_HIGH);
    cr_assert_eq(state_with_free(63999), BALLOON_HOST_SOFT);
    cr_assert_eq(state_with_free(32000), BALLOON_HOST_SOFT);
    cr_assert_eq(state_with_free(31999), BALLOON_HOST_HARD);
    cr_assert_eq(state_with_free(16000), BALLOON_HOST_HARD);
    cr_assert_eq(state_with_free(15999), BALLOON_HOST_LOW);
    cr_assert_eq(state_with_free(0), BALLOON_HOST_LOW);
}

Test(pool_decide, the_host_can_get_worse_by_several_states)
{
    cr_assert_eq(state_with_free(0), BALLOON_HOST_LOW);
    cr_assert_eq(state_with_free(1000000), BALLOON_HOST_LOW);
    cr_assert_eq(state_with_free(1000000), BALLOON_HOST_LOW);
    /* And better, but not at once. */
    cr_assert_eq(state_with_free(1000000), BALLOON_HOST_HIGH);
}

Test(pool_decide, the_host_gets_better_when_clearly_above_the_mark)
{
    cr_assert_eq(state_with_free(15999), BALLOON_HOST_LOW);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(state_with_free(19999), BALLOON_HOST_LOW);
    cr_assert_eq(state_with_free(20000), BALLOON_HOST_LOW);
    cr_assert_eq(state_with_free(20000), BALLOON_HOST_LOW);
    /* In a row. */
    cr_assert_eq(state_with_free(19999), BALLOON_HOST_LOW);
    cr_assert_eq(state_with_free(20000), BALLOON_HOST_LOW);
    cr_assert_eq(state_with_free(20000), BALLOON_HOST_LOW);
    cr_assert_eq(state_with_free(20000), BALLOON_HOST_HARD);
    for (int i = 0; i < 3; i++)
        state_with_free(40000);
    cr_assert_eq(state_with_free(40000), BALLOON_HOST_SOFT);
    cr_assert_eq(state_with_free(79999), BALLOON_HOST_SOFT);
    state_with_free(80000);
    /* Worse in between starts anew. */
    cr_assert_eq(state_with_free(30000), BALLOON_HOST_HARD);
    state_with_free(80000);
    state_with_free(80000);
    cr_assert_eq(state_with_free(80000), BALLOON_HOST_HIGH);
}

Test(pool_decide, marks_are_parts_of_the_reserve)
{
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, POOL, 200000), BALLOON_OK);
    cr_assert_eq(state_with_free(128000), BALLOON_HOST_HIGH);
    cr_assert_eq(state_with_free(127999), BALLOON_HOST_SOFT);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, POOL, 1), BALLOON_OK);
    for (int i = 0; i < 3; i++)
        state_with_free(0);
    cr_assert_eq(state_with_free(0), BALLOON_HOST_HIGH);
}

Test(pool_decide, a_host_that_shrinks_is_short_too)
{
    pool_rig_decide(S);
    cr_assert_eq(pool_rig.view.state, BALLOON_HOST_HIGH);
    /* 4, 2, 1 and 0 % free. */
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 520000, 0), BALLOON_OK);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig.view.state, BALLOON_HOST_SOFT);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 510000, 0), BALLOON_OK);
    pool_rig_decide(3 * S);
    cr_assert_eq(pool_rig.view.state, BALLOON_HOST_HARD);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 400000, 1), BALLOON_OK);
    pool_rig_decide(4 * S);
    cr_assert_eq(pool_rig.view.state, BALLOON_HOST_LOW);
    cr_assert_eq(pool_rig.view.pool, 400000);
    cr_assert_eq(pool_rig.view.reserve, 1);
}

/* --- wishes ----------------------------------------------------------------------------------- */

static void check_wish(uint64_t wish, uint64_t asked, balloon_why why)
{
    static balloon_time_t now = S;

    pool_rig_wish(guest, wish, BALLOON_WHY_DEMAND, 0);
    pool_rig_decide(now += 1000);
    cr_assert_eq(pool_rig_asked(guest), asked);
    cr_assert_eq(pool_rig_guest(guest).why, why);
}

Test(pool_decide, wishes_within_limits_are_granted)
{
    check_wish(600000, 600000, BALLOON_WHY_DEMAND);
    cr_assert_eq(pool_rig.verdict, BALLOON_VERDICT_OK);
    check_wish(1000, 1000, BALLOON_WHY_DEMAND);
    check_wish(1000, 0, BALLOON_WHY_DEMAND);
    cr_assert_eq(pool_rig_counters().clamped_limit, 0);
    cr_assert_eq(pool_rig_counters().clamped_guard, 0);
    cr_assert_eq(pool_rig_counters().clamped_budget, 0);
}

Test(pool_decide, wishes_are_bounded)
{
    check_wish(0, 1000, BALLOON_WHY_LIMIT);
    cr_assert_eq(pool_rig_counters().clamped_limit, 1);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 2 * POOL, 0), BALLOON_OK);
    check_wish(UINT64_MAX, POOL, BALLOON_WHY_LIMIT);
    check_wish(POOL + 1, 0, BALLOON_WHY_LIMIT);
    cr_assert_eq(pool_rig_counters().clamped_limit, 3);
}

Test(pool_decide, reasons_are_bounded)
{
    pool_rig_wish(guest, 400000, (balloon_why)99, 0);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig.changes[0].why, BALLOON_WHY_HOLD);
}

Test(pool_decide, a_movement_under_way_is_not_undone)
{
    check_wish(300000, 300000, BALLOON_WHY_DEMAND);
    pool_rig_size(guest, 450000, S);
    pool_rig.wishing[guest] = false;
    pool_rig_decide(S + 5000);
    cr_assert_eq(pool_rig.change_count, 0);
    cr_assert_eq(pool_rig_guest(guest).target, 300000);
    cr_assert_eq(pool_rig_seen(guest)->target, 300000);
    cr_assert_eq(pool_rig_seen(guest)->size, 450000);
}

/* --- guests that must not be changed ---------------------------------------------------------- */

Test(pool_decide, silent_guests_stay_while_there_is_enough)
{
    pool_rig_wish(guest, 400000, BALLOON_WHY_SHARE, 0);
    pool_rig_decide(60 * S);
    cr_assert_eq(pool_rig.change_count, 0);
    cr_assert_eq(pool_rig_guest(guest).why, BALLOON_WHY_STALE);
    cr_assert_eq(pool_rig_counters().clamped_guard, 1);
    /* They may grow, */
    pool_rig_wish(guest, 600000, BALLOON_WHY_SHARE, 0);
    pool_rig_decide(61 * S);
    cr_assert_eq(pool_rig_asked(guest), 600000);
    /* and give when memory is short. */
    pool_rig_size(guest, 600000, 62 * S);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 624000, 0), BALLOON_OK);
    pool_rig_wish(guest, 550000, BALLOON_WHY_SHARE, 0);
    pool_rig_decide(63 * S);
    cr_assert_eq(pool_rig.view.state, BALLOON_HOST_SOFT);
    cr_assert_eq(pool_rig_asked(guest), 550000);
}

static void check_fixed(uint32_t flags, balloon_why why)
{
    const uint64_t wishes[] = {400000, 600000};

    for (int i = 0; i < 2; i++) {
        pool_rig_wish(guest, wishes[i], BALLOON_WHY_DEMAND, 0);
        pool_rig_decide(2 * S);
        cr_assert_eq(pool_rig.change_count, 0);
        cr_assert_eq(pool_rig_guest(guest).why, why);
        cr_assert_eq(pool_rig_seen(guest)->flags, flags);
        cr_assert_eq(pool_rig_counters().clamped_guard, (uint64_t)i + 1);
    }
    /* Not even in need. */
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 500000, 0), BALLOON_OK);
    cr_assert_eq(pool_rig_decide(3 * S), BALLOON_VERDICT_SHORT);
    cr_assert_eq(pool_rig.change_count, 0);
}

Test(pool_decide, guests_without_driver_stay)
{
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, BALLOON_GUEST_NO_DRIVER, S),
                 BALLOON_OK);
    check_fixed(BALLOON_GUEST_NO_DRIVER, BALLOON_WHY_NO_DRIVER);
}

Test(pool_decide, pinned_guests_stay)
{
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, BALLOON_GUEST_PINNED, S), BALLOON_OK);
    check_fixed(BALLOON_GUEST_PINNED, BALLOON_WHY_PINNED);
}

Test(pool_decide, the_target_of_a_guest_without_driver_follows_its_size)
{
    check_wish(300000, 300000, BALLOON_WHY_DEMAND);
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, BALLOON_GUEST_NO_DRIVER, S),
                 BALLOON_OK);
    pool_rig_size(guest, 450000, S);
    pool_rig_decide(S + 5000);
    cr_assert_eq(pool_rig_asked(guest), 450000);
    pool_rig_size(guest, 200000, S + 6000);
    pool_rig_decide(S + 7000);
    cr_assert_eq(pool_rig_asked(guest), 200000);
    /* Within its limits. */
    pool_rig_size(guest, 10, S + 8000);
    pool_rig_decide(S + 9000);
    cr_assert_eq(pool_rig_asked(guest), 1000);
}

Test(pool_decide, a_pinned_guest_goes_no_further_down_but_up)
{
    check_wish(300000, 300000, BALLOON_WHY_DEMAND);
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, BALLOON_GUEST_PINNED, S), BALLOON_OK);
    pool_rig_size(guest, 450000, S);
    pool_rig_decide(S + 5000);
    cr_assert_eq(pool_rig_asked(guest), 450000);
    pool_rig_size(guest, 400000, S + 6000);
    pool_rig_decide(S + 7000);
    cr_assert_eq(pool_rig.change_count, 0);
    cr_assert_eq(pool_rig_status().committed, 450000);
}

static void make_booting(void)
{
    pool_rig_make(POOL, &(balloon_pool_config){.boot_grace = 0});
    guest = pool_rig_add(1000, POOL, 500000);
    pool_rig_sample(guest, S, FREE);
}

Test(pool_decide, booting_guests_can_only_grow, .init = make_booting)
{
    pool_rig_wish(guest, 400000, BALLOON_WHY_SHARE, 0);
    pool_rig_decide(10 * S - 1);
    cr_assert_eq(pool_rig_seen(guest)->flags, BALLOON_GUEST_BOOTING);
    cr_assert_eq(pool_rig.change_count, 0);
    cr_assert_eq(pool_rig_counters().clamped_guard, 1);
    pool_rig_wish(guest, 600000, BALLOON_WHY_SHARE, 0);
    pool_rig_decide(10 * S - 1);
    cr_assert_eq(pool_rig_asked(guest), 600000);
    pool_rig_wish(guest, 400000, BALLOON_WHY_SHARE, 0);
    pool_rig_decide(10 * S);
    cr_assert_eq(pool_rig_seen(guest)->flags, 0);
    cr_assert_eq(pool_rig_asked(guest), 400000);
}

Test(pool_decide, a_new_driver_gets_its_grace_once_in_a_while, .init = make_booting)
{
    for (int i = 0; i < 2; i++) {
        balloon_time_t at = i == 0 ? 11 * S : 61 * S;

        cr_assert_eq(
            balloon_pool_set_flags(pool_rig.pool, guest, BALLOON_GUEST_NO_DRIVER, at - 2 * S),
            BALLOON_OK);
        pool_rig_decide(at - 1);
        cr_assert_eq(pool_rig_seen(guest)->flags & BALLOON_GUEST_NO_DRIVER,
                     BALLOON_GUEST_NO_DRIVER);
        cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, 0, at), BALLOON_OK);
        /* Said again, it is no new one. */
        cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, 0, at + 7 * S), BALLOON_OK);
        cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, BALLOON_GUEST_PINNED, at + 7 * S),
                     BALLOON_OK);
        cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, 0, at + 7 * S), BALLOON_OK);
        pool_rig_decide(at + 10 * S - 1);
        cr_assert_eq((pool_rig_seen(guest)->flags & BALLOON_GUEST_BOOTING) != 0, i == 1);
        pool_rig_decide(at + 10 * S);
        cr_assert_not(pool_rig_seen(guest)->flags & BALLOON_GUEST_BOOTING);
    }
}

/* --- growth under pressure -------------------------------------------------------------------- */

static void press(balloon_time_t now)
{
    /* It follows, or it would not be asked any more. */
    pool_rig_size(guest, pool_rig_guest(guest).target, now);
    pool_rig_wish(guest, pool_rig_guest(guest).target + 1000, BALLOON_WHY_PRESSURE, 1);
    pool_rig_decide(now);
    pool_rig.wishing[guest] = false;
}

static bool held(balloon_time_t now)
{
    pool_rig_size(guest, pool_rig_guest(guest).target, now);
    pool_rig_decide(now);
    return pool_rig_seen(guest)->flags & BALLOON_GUEST_HELD;
}

Test(pool_decide, growth_under_pressure_is_marked)
{
    check_wish(510000, 510000, BALLOON_WHY_DEMAND);
    cr_assert_not(held(2 * S));
    press(2 * S);
    cr_assert(held(22 * S - 1));
    cr_assert_not(held(22 * S));
}

Test(pool_decide, growth_under_pressure_that_was_not_enough_is_marked_longer)
{
    balloon_time_t now = 2 * S;

    press(now);
    for (uint64_t hold = 20; hold < 640; hold *= 2) {
        uint64_t longest = hold < 160 ? hold : 160;

        cr_assert(held(now + longest * S - 1), "%d", (int)hold);
        now += longest * S;
        cr_assert_not(held(now));
        press(now += 59 * S);
    }
    now += 160 * S;
    cr_assert_not(held(now));
    press(now += 60 * S);
    cr_assert_not(held(now + 20 * S));
}

Test(pool_decide, growth_goes_on_while_it_is_marked)
{
    press(2 * S);
    press(3 * S);
    press(4 * S);
    cr_assert(held(24 * S - 1));
    cr_assert_not(held(24 * S));
}

/* What is set aside for guests to come may be all that is left of the host. */
Test(pool_decide, no_policy_needs_a_pool)
{
    const balloon_policy *const *policies;
    size_t count;

    policies = balloon_policies(&count);
    for (size_t i = 0; i < count; i++) {
        balloon_pool_config config = {.size = sizeof(config),
                                      .max_guests = 2,
                                      .pages = 1 << 20,
                                      .policy = policies[i],
                                      .boot_grace = 1};
        balloon_pool_guest one = {.size = sizeof(one), .max = 1 << 18, .current = 1 << 18};
        balloon_sample sample = {.time = 0};
        balloon_layout layout;
        balloon_pool *pool;
        uint64_t id;

        cr_assert_eq(balloon_pool_layout(&config, &layout), BALLOON_OK);
        void *memory = aligned_alloc(layout.align, layout.bytes);
        cr_assert_not_null(memory);
        cr_assert_eq(balloon_pool_init(memory, layout.bytes, &config, &pool), BALLOON_OK);
        cr_assert_eq(balloon_pool_add(pool, &one, 0, &id), BALLOON_OK);
        balloon_sample_set(&sample, BALLOON_STAT_FREE, 1 << 20);
        cr_assert_eq(balloon_pool_sample(pool, id, &sample, 0), BALLOON_OK);
        cr_assert_eq(balloon_pool_reserve(pool, 1 << 19), BALLOON_OK);
        cr_assert_eq(balloon_pool_resize(pool, 1 << 18, 0), BALLOON_OK);
        for (balloon_time_t t = 0; t < 20; t++)
            balloon_pool_decide(pool, t * S);
        cr_assert(balloon_pool_check(pool, NULL), "%s", policies[i]->name);
        free(memory);
    }
}
