/* Who gets memory when not all can, and who has to give it. */
#include <criterion/criterion.h>

#include "pool_rig.h"

#define POOL   UINT64_C(3200000) /* reserve 200000, budget 3100000 */
#define BUDGET UINT64_C(3100000)
#define S      RIG_SECOND

static balloon_time_t now;

static void make(void)
{
    pool_rig_make(POOL, NULL);
    now = S;
}

TestSuite(pool_ledger, .init = make, .fini = pool_rig_drop);

/* A guest that uses that much of its size, and waits so many millionths of its time. */
static uint64_t add_with_shares(uint64_t size, uint32_t shares)
{
    balloon_pool_guest guest = {
        .size = sizeof(guest), .min = 20000, .max = POOL, .current = size, .shares = shares};
    uint64_t id;

    cr_assert_eq(balloon_pool_add(pool_rig.pool, &guest, 0, &id), BALLOON_OK);
    return id;
}

static uint64_t add(uint64_t size, uint64_t uses, uint32_t stall, uint32_t priority)
{
    balloon_pool_guest guest = {
        .size = sizeof(guest), .min = 20000, .max = POOL, .current = size, .priority = priority};
    uint64_t id;

    cr_assert_eq(balloon_pool_add(pool_rig.pool, &guest, 0, &id), BALLOON_OK);
    pool_rig_sample(id, S - 1000, BALLOON_STAT_STALL_SOME, UINT64_C(0), -1);
    pool_rig_sample(id, S, BALLOON_STAT_AVAILABLE, size - uses, BALLOON_STAT_STALL_SOME,
                    (uint64_t)stall / 1000000, -1);
    return id;
}

static balloon_verdict decide(void)
{
    return pool_rig_decide(now += 1000);
}

static uint64_t target(uint64_t id)
{
    return pool_rig_guest(id).target;
}

/* The guest does as it was asked. */
static void obey(uint64_t id)
{
    pool_rig_size(id, target(id), now + 1);
}

/* --- grants ----------------------------------------------------------------------------------- */

Test(pool_ledger, growth_is_bounded_by_the_budget)
{
    uint64_t a = add(1000000, 0, 0, 0);

    pool_rig_wish(a, POOL, BALLOON_WHY_DEMAND, 0);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(a), BUDGET);
    cr_assert_eq(pool_rig_guest(a).why, BALLOON_WHY_BUDGET);
    cr_assert_eq(pool_rig_counters().clamped_budget, 1);
    cr_assert_eq(pool_rig_status().committed, BUDGET);
    cr_assert_eq(pool_rig_status().verdict, BALLOON_VERDICT_DEGRADED);
}

Test(pool_ledger, the_urgent_come_first_then_the_important)
{
    uint64_t a = add(500000, 0, 0, 0), b = add(500000, 0, 0, 5), c = add(500000, 0, 0, 0),
             d = add(500000, 0, 0, 0), e = add(500000, 0, 0, 0);

    /* 600000 are left. */
    pool_rig_wish(a, 650000, BALLOON_WHY_DEMAND, 7);
    pool_rig_wish(b, 650000, BALLOON_WHY_DEMAND, 7);
    pool_rig_wish(c, 650000, BALLOON_WHY_DEMAND, 7);
    pool_rig_wish(d, 650000, BALLOON_WHY_DEMAND, 8);
    pool_rig_wish(e, 650000, BALLOON_WHY_DEMAND, 0);
    decide();
    for (uint64_t id = a; id <= d; id++)
        cr_assert_eq(target(id), 650000);
    cr_assert_eq(target(e), 500000);
    cr_assert_eq(pool_rig.change_count, 4);

    for (uint64_t id = a; id <= e; id++)
        pool_rig_wish(id, 500000, BALLOON_WHY_SHARE, 0), pool_rig_size(id, 500000, now + 1);
    decide();
    for (uint64_t id = a; id <= e; id++)
        pool_rig_size(id, 500000, now + 1);
    for (uint64_t id = a; id <= e; id++)
        pool_rig_wish(id, 900000, BALLOON_WHY_DEMAND, id == e ? 1 : 0);
    decide();
    cr_assert_eq(target(e), 900000);
    cr_assert_eq(target(b), 700000);
    cr_assert_eq(target(a), 500000);
    cr_assert_eq(target(c), 500000);
    for (uint64_t id = a; id <= e; id++)
        pool_rig_wish(id, 500000, BALLOON_WHY_SHARE, 0), pool_rig_size(id, 500000, now + 1);
    decide();
    for (uint64_t id = a; id <= e; id++)
        pool_rig_size(id, 500000, now + 1);
    for (uint64_t id = a; id <= e; id++)
        pool_rig_wish(id, 900000, BALLOON_WHY_DEMAND, UINT32_MAX);
    pool_rig.wishing[b] = false;
    decide();
    /* Equals, each a quarter of 600000. */
    cr_assert_eq(target(a), 650000);
    cr_assert_eq(target(c), 650000);
    cr_assert_eq(target(d), 650000);
    cr_assert_eq(target(e), 650000);
}

/* A part of 1600000 for each by shares; what one does not want goes to the oldest of the others. */
Test(pool_ledger, equals_get_their_part_by_shares)
{
    uint64_t a = add_with_shares(500000, 1000), b = add_with_shares(500000, 3000),
             c = add_with_shares(500000, 4000);

    pool_rig_wish(a, 2000000, BALLOON_WHY_DEMAND, 1);
    pool_rig_wish(b, 2000000, BALLOON_WHY_DEMAND, 1);
    pool_rig_wish(c, 700000, BALLOON_WHY_DEMAND, 1);
    decide();
    cr_assert_eq(target(a), 500000 + 200000 + 600000);
    cr_assert_eq(target(b), 500000 + 600000);
    cr_assert_eq(target(c), 700000);
}

Test(pool_ledger, memory_is_granted_when_it_has_come_back)
{
    uint64_t a = add(1500000, 0, 0, 0), b = add(1500000, 0, 0, 0);

    pool_rig_wish(a, 1000000, BALLOON_WHY_SHARE, 0);
    pool_rig_wish(b, 2000000, BALLOON_WHY_SHARE, 0);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(a), 1000000);
    cr_assert_eq(target(b), 1600000);
    pool_rig_size(a, 1400000, now + 1);
    decide();
    cr_assert_eq(target(b), 1700000);
    decide();
    cr_assert_eq(target(b), 1700000);
    pool_rig_size(a, 1000000, now + 1);
    cr_assert_eq(decide(), BALLOON_VERDICT_OK);
    cr_assert_eq(target(b), 2000000);
}

Test(pool_ledger, a_promise_counts_until_the_guest_has_heard_that_it_is_void)
{
    balloon_change change;
    uint64_t a = add(1000000, 0, 0, 0), b = add(1000000, 0, 0, 0);

    pool_rig_wish(a, 2000000, BALLOON_WHY_DEMAND, 0);
    decide();
    cr_assert_eq(target(a), 2000000);
    /* It has taken nothing of it yet. */
    pool_rig_size(a, 1000000, now + 1);
    pool_rig_wish(a, 1000000, BALLOON_WHY_SHARE, 0);
    pool_rig_wish(b, 2000000, BALLOON_WHY_DEMAND, 0);
    balloon_pool_decide(pool_rig.pool, now += 1000);
    cr_assert_eq(target(a), 1000000);
    cr_assert_eq(target(b), 1100000);
    cr_assert_eq(pool_rig_status().committed, BUDGET);

    /* A size, but it was not told. */
    pool_rig_size(a, 1000000, now + 1);
    balloon_pool_decide(pool_rig.pool, now += 1000);
    cr_assert_eq(target(b), 1100000);
    /* Told, but the size is from before. */
    while (balloon_pool_next(pool_rig.pool, &change))
        continue;
    pool_rig_size(a, 1000000, now);
    decide();
    cr_assert_eq(target(b), 1100000);
    /* Now it knows. */
    pool_rig_size(a, 1000000, now + 1);
    decide();
    cr_assert_eq(target(b), 2000000);
}

Test(pool_ledger, what_a_guest_has_can_be_left_to_it)
{
    uint64_t a = add(1000000, 0, 0, 0), b = add(2000000, 0, 0, 0);

    pool_rig_wish(a, 500000, BALLOON_WHY_SHARE, 0);
    pool_rig_wish(b, 2100000, BALLOON_WHY_DEMAND, 0);
    decide();
    cr_assert_eq(target(b), 2100000);
    cr_assert_eq(pool_rig_status().committed, BUDGET);
    pool_rig_wish(a, 900000, BALLOON_WHY_DEMAND, 0);
    cr_assert_eq(decide(), BALLOON_VERDICT_OK);
    cr_assert_eq(target(a), 900000);
    cr_assert_eq(pool_rig_status().committed, BUDGET);
}

Test(pool_ledger, what_a_guest_took_is_not_left_to_it_beyond_the_budget)
{
    uint64_t a = add(1000000, 0, 0, 0), b = add(2000000, 0, 0, 0);

    pool_rig_wish(b, 2100000, BALLOON_WHY_DEMAND, 0);
    decide();
    obey(b);
    pool_rig_size(a, 1050000, now + 1);
    pool_rig_wish(a, 1200000, BALLOON_WHY_DEMAND, 0);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(a), 1000000);
    cr_assert_eq(pool_rig_status().committed, BUDGET + 50000);
}

Test(pool_ledger, promises_that_are_void_are_no_room_for_new_ones)
{
    uint64_t a = add(1000000, 0, 0, 0), b = add(1000000, 0, 0, 0), c = add(400000, 0, 0, 0);

    pool_rig_wish(a, 1300000, BALLOON_WHY_DEMAND, 0);
    pool_rig_wish(b, 1300000, BALLOON_WHY_DEMAND, 0);
    cr_assert_eq(decide(), BALLOON_VERDICT_OK);
    pool_rig_wish(a, 1000000, BALLOON_WHY_SHARE, 0);
    pool_rig_wish(b, 1000000, BALLOON_WHY_SHARE, 0);
    pool_rig_wish(c, 20000, BALLOON_WHY_SHARE, 0);
    decide();
    cr_assert_eq(pool_rig_status().committed, 3000000);
    /* Now there is less than was promised, but more than all have and should have. */
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 2700000, 200000), BALLOON_OK);
    pool_rig_wish(a, 1300000, BALLOON_WHY_DEMAND, 0);
    pool_rig_wish(b, 1300000, BALLOON_WHY_DEMAND, 0);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(a), 1200000);
    cr_assert_eq(target(b), 1000000);
}

/* --- emergency -------------------------------------------------------------------------------- */

/* The pool becomes that large with a reserve of 2, so that all but a page is its budget. */
static void shrink_host(uint64_t pages)
{
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, pages + 1, 2), BALLOON_OK);
}

Test(pool_ledger, promises_are_taken_back_first)
{
    uint64_t a = add(1000000, 1000000, 0, 0), b = add(1000000, 0, 0, 0);

    pool_rig_wish(a, 2000000, BALLOON_WHY_DEMAND, 0);
    decide();
    pool_rig.wishing[a] = false;
    shrink_host(2300000);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(a), 1300000);
    cr_assert_eq(target(b), 1000000);
    cr_assert_eq(pool_rig_guest(a).why, BALLOON_WHY_HOST_CRITICAL);
    cr_assert_eq(pool_rig.changes[0].emergency, 1);
    cr_assert_eq(pool_rig_counters().emergencies, 1);
    cr_assert_eq(pool_rig_status().shortfall, 0);
    cr_assert_eq(decide(), BALLOON_VERDICT_OK);
}

Test(pool_ledger, then_what_the_least_important_do_not_need)
{
    uint64_t a = add(1000000, 300000, 0, 5), b = add(1000000, 300000, 0, 1),
             c = add(1000000, 300000, 0, 3);

    shrink_host(2800000);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(b), 800000);
    cr_assert_eq(pool_rig.change_count, 1);
    cr_assert_eq(pool_rig.changes[0].emergency, 1);
    shrink_host(2000000);
    decide();
    cr_assert_eq(target(b), 300000);
    cr_assert_eq(target(c), 700000);
    cr_assert_eq(target(a), 1000000);
    shrink_host(900000);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(b), 300000);
    cr_assert_eq(target(c), 300000);
    cr_assert_eq(target(a), 300000);
    cr_assert_eq(pool_rig_status().shortfall, 0);
}

/* 600000 to spare above what it uses, and 675072 above its floor: of 100000 they give 47056 and the
 * rest. */
Test(pool_ledger, equals_give_by_what_they_have_to_spare_and_those_last_that_wait)
{
    const uint64_t floor = UINT64_C(488) * 256 + POOL / 32;
    uint64_t a = add(900000, 300000, 0, 0), b = add(900000, 100000, 0, 0),
             c = add(900000, 100000, 0, 0);

    /* c is stalled all the time. */
    pool_rig_sample(c, now + 500, BALLOON_STAT_AVAILABLE, UINT64_C(800000), BALLOON_STAT_STALL_SOME,
                    UINT64_C(5000), -1);
    shrink_host(2600000);
    decide();
    cr_assert_leq(target(a), 900000 - 47056);
    cr_assert_geq(target(a), 900000 - 47057);
    cr_assert_eq(target(a) + target(b), 1700000);
    /* All of that before c has to give anything. */
    shrink_host(900000 + 300000 + floor + 100);
    decide();
    cr_assert_eq(target(a) + target(b), 300000 + floor + 100);
    cr_assert_eq(target(c), 900000);
}

/* What no policy asked for is offered back when there is enough again. */
static void run(uint64_t a, uint64_t b, uint64_t c)
{
    for (int i = 0; i < 6; i++) {
        now += S;
        decide();
        obey(a);
        obey(b);
        pool_rig_size(c, pool_rig_guest(c).config.current, now + 1);
    }
}

static void reboot(uint64_t c, uint32_t flags, uint64_t size)
{
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, c, flags, now), BALLOON_OK);
    pool_rig_size(c, size, now);
}

Test(pool_ledger, what_the_pool_took_it_gives_back)
{
    uint64_t a = add(1000000, 700000, 0, 0), b = add(1000000, 700000, 0, 0);
    uint64_t c = add(700000, 100, 0, 0);

    pool_rig_wish(c, 700000, BALLOON_WHY_SHARE, 0);
    reboot(c, BALLOON_GUEST_NO_DRIVER, 2000000);
    run(a, b, c);
    cr_assert_leq(target(a), 600000);
    cr_assert_leq(target(b) - target(a) + 1, 2);
    reboot(c, 0, 700000);
    run(a, b, c);
    cr_assert_eq(target(a), 1000000);
    cr_assert_eq(target(b), 1000000);
    /* Not what the policy takes itself. */
    reboot(c, BALLOON_GUEST_NO_DRIVER, 2000000);
    run(a, b, c);
    cr_assert_leq(target(a), 600000);
    pool_rig_wish(a, target(a) - 1000, BALLOON_WHY_SHARE, 0);
    run(a, b, c);
    pool_rig_wish(a, target(a), BALLOON_WHY_SHARE, 0);
    reboot(c, 0, 700000);
    run(a, b, c);
    cr_assert_eq(target(b), 1000000);
}

/* A guest that came back from a reboot with all of its RAM is asked for what it had before, but for
 * what it uses, when others paid for that and the policy does not care. */
Test(pool_ledger, a_guest_that_grew_by_a_reboot_gives_back)
{
    for (int uses = 0; uses < 2; uses++) {
        uint64_t a, b, c, least = uses == 0 ? 700000 : 1200000;

        pool_rig_drop();
        make();
        a = add(1000000, 700000, 0, 0);
        b = add(1000000, 700000, 0, 0);
        c = add(700000, 100, 0, 0);
        reboot(c, BALLOON_GUEST_NO_DRIVER, 2000000);
        now += 20 * S;
        run(a, b, c);
        reboot(c, 0, 2000000);
        decide();
        cr_assert_eq(target(c), 2000000, "nothing is known of it yet");
        pool_rig_sample(c, now, BALLOON_STAT_AVAILABLE,
                        uses == 0 ? UINT64_C(1990000) : UINT64_C(800000), -1);
        decide();
        cr_assert_eq(target(c), least);
        pool_rig_size(c, least, now + 1);
        run(a, b, c);
        if (uses == 0)
            cr_assert_eq(target(a), 1000000);
        else
            cr_assert_leq(target(b) - target(a) + 1, 2);
    }
}

Test(pool_ledger, then_all_down_to_a_floor_and_no_further)
{
    /* 12.5 GiB of RAM: 488 MiB and a 32nd. */
    const uint64_t floor = UINT64_C(488) * 256 + POOL / 32;
    uint64_t a = add(1000000, 900000, 0, 0), b = add(1000000, 900000, 0, 1);

    shrink_host(1500000);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(a), 600000);
    cr_assert_eq(target(b), 900000);
    shrink_host(300000);
    cr_assert_eq(decide(), BALLOON_VERDICT_SHORT);
    cr_assert_eq(target(a), floor);
    cr_assert_eq(target(b), floor);
    cr_assert_eq(pool_rig_status().shortfall, 2 * floor - 300000);
    cr_assert_eq(pool_rig_status().verdict, BALLOON_VERDICT_SHORT);
    /* It stays so, whatever their size is in between. */
    obey(a);
    obey(b);
    cr_assert_eq(decide(), BALLOON_VERDICT_SHORT);
    cr_assert_eq(pool_rig.change_count, 0);
    cr_assert_eq(pool_rig_status().shortfall, 2 * floor - 300000);
}

Test(pool_ledger, the_floor_is_not_below_the_minimum)
{
    balloon_pool_guest guest = {.size = sizeof(guest), .min = 700000, .max = POOL};
    uint64_t a = add(1000000, 1000000, 0, 0);

    cr_assert_eq(balloon_pool_set_guest(pool_rig.pool, a, &guest), BALLOON_OK);
    shrink_host(600000);
    cr_assert_eq(decide(), BALLOON_VERDICT_SHORT);
    cr_assert_eq(target(a), 700000);
    cr_assert_eq(pool_rig_status().shortfall, 100000);
}

Test(pool_ledger, the_silent_and_the_liars_give_too)
{
    uint64_t silent = pool_rig_add(0, POOL, 1000000);
    uint64_t liar = add(1000000, 1000000, 0, 0);

    shrink_host(1800000);
    decide();
    cr_assert_eq(pool_rig.view.state, BALLOON_HOST_LOW);
    cr_assert_eq(target(silent), 800000);
    cr_assert_eq(target(liar), 1000000);
    shrink_host(1700000);
    decide();
    cr_assert_eq(target(silent) + target(liar), 1700000);
    shrink_host(500000);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(silent) + target(liar), 500000);
}

Test(pool_ledger, the_silent_are_taken_to_need_three_quarters)
{
    balloon_pool_guest guest = {.size = sizeof(guest), .max = POOL, .priority = 5};
    uint64_t a = add(1000000, 1000000, 0, 0), silent = pool_rig_add(0, POOL, 1000000);

    cr_assert_eq(balloon_pool_set_guest(pool_rig.pool, silent, &guest), BALLOON_OK);
    shrink_host(1700000);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(target(silent), 750000);
    cr_assert_eq(target(a), 950000);
}

Test(pool_ledger, swapped_memory_is_needed)
{
    uint64_t a = add(1000000, 300000, 0, 0);

    pool_rig_sample(a, now + 500, BALLOON_STAT_AVAILABLE, UINT64_C(700000), BALLOON_STAT_SWAP_IN,
                    UINT64_C(0), BALLOON_STAT_SWAP_OUT, UINT64_C(200000), -1);
    uint64_t b = add(1000000, 450000, 0, 1);

    shrink_host(950000);
    decide();
    cr_assert_eq(target(a), 500000);
    cr_assert_eq(target(b), 450000);
}

Test(pool_ledger, the_silent_stay_while_there_is_enough_even_when_promises_do_not_fit)
{
    uint64_t booting = pool_rig_add(0, POOL, 100000), silent = pool_rig_add(0, POOL, 1000000);

    pool_rig_wish(booting, 2000000, BALLOON_WHY_DEMAND, 0);
    decide();
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, booting, BALLOON_GUEST_PINNED, now),
                 BALLOON_OK);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 2000000, 0), BALLOON_OK);
    cr_assert_eq(decide(), BALLOON_VERDICT_SHORT);
    cr_assert_eq(pool_rig.view.state, BALLOON_HOST_HIGH);
    cr_assert_eq(target(silent), 1000000);
    cr_assert_eq(pool_rig_status().shortfall, 3000000 - pool_rig_status().budget);
}

Test(pool_ledger, nobody_gets_what_is_being_collected)
{
    uint64_t a = add(1500000, 300000, 0, 0), b = add(1550000, 300000, 0, 1);

    /* 0.9 % free. */
    pool_rig_size(b, 1672000, now);
    pool_rig_wish(a, POOL, BALLOON_WHY_DEMAND, 0);
    cr_assert_eq(decide(), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(pool_rig_status().state, BALLOON_HOST_LOW);
    /* Room is made up to the high mark, 6 %. */
    cr_assert_eq(target(a) + target(b), POOL - 192000);
    cr_assert_eq(pool_rig_counters().emergencies, 1);
    obey(a);
    obey(b);
    decide();
    cr_assert_eq(pool_rig_status().state, BALLOON_HOST_LOW);
    cr_assert_eq(target(a) + target(b), POOL - 192000);
    /* However often it is looked at: only time counts. */
    for (int i = 0; i < 10; i++)
        decide();
    cr_assert_eq(pool_rig_status().state, BALLOON_HOST_LOW);
    now += 2 * RIG_SECOND;
    decide();
    cr_assert_eq(pool_rig_status().state, BALLOON_HOST_HIGH);
    cr_assert_eq(target(a) + target(b), BUDGET);
}

Test(pool_ledger, whoever_shrinks_in_state_low_should_hurry)
{
    uint64_t a = add(1500000, 300000, 0, 0), b = add(1550000, 300000, 0, 1);

    pool_rig_size(b, 1672000, now);
    pool_rig_wish(a, 1200000, BALLOON_WHY_SHARE, 0);
    cr_assert_eq(decide(), BALLOON_VERDICT_OK);
    cr_assert_eq(pool_rig_asked(a), 1200000);
    cr_assert_eq(pool_rig.changes[0].why, BALLOON_WHY_SHARE);
    cr_assert_eq(pool_rig.changes[0].emergency, 1);
    cr_assert_eq(pool_rig_counters().emergencies, 1);
}

Test(pool_ledger, an_over_committed_pool_does_not_get_worse)
{
    uint64_t a = add(1500000, 1500000, 0, 0), b = add(1500000, 1500000, 0, 0), before;

    pool_rig_size(a, 2500000, now);
    before = pool_rig_status().committed;
    pool_rig_wish(a, POOL, BALLOON_WHY_PRESSURE, 9);
    pool_rig_wish(b, POOL, BALLOON_WHY_PRESSURE, 9);
    for (int i = 0; i < 10; i++) {
        decide();
        cr_assert_leq(pool_rig_status().committed, before);
    }
}
