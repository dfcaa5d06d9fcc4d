/* Guests that do not follow. */
#include <criterion/criterion.h>

#include "pool_rig.h"

#define POOL  UINT64_C(3200000)
#define S     RIG_SECOND
#define SIZE  UINT64_C(1000000)
#define SLACK UINT64_C(256)

static uint64_t guest;
static balloon_time_t now;

static void make(void)
{
    pool_rig_make(POOL, NULL);
    guest = pool_rig_add(1000, POOL, SIZE);
    now = 0;
}

TestSuite(pool_live, .init = make, .fini = pool_rig_drop);

/* A second later it is that large. */
static void tick(uint64_t size)
{
    now += S;
    pool_rig_size(guest, size, now);
    pool_rig_sample(guest, now, BALLOON_STAT_FREE, UINT64_C(1), -1);
    pool_rig_decide(now);
}

static void wish(uint64_t target)
{
    pool_rig_wish(guest, target, BALLOON_WHY_SHARE, 0);
}

static uint64_t target(void)
{
    return pool_rig_guest(guest).target;
}

static bool inactive(void)
{
    return pool_rig_guest(guest).flags & BALLOON_GUEST_INACTIVE;
}

static uint32_t flagged(void)
{
    return pool_rig_guest(guest).flagged;
}

Test(pool_live, a_guest_that_cannot_give_is_let_off)
{
    wish(500000);
    tick(SIZE);
    cr_assert_eq(target(), 500000);
    for (int i = 0; i < 4; i++) {
        tick(SIZE);
        cr_assert_not(inactive());
    }
    tick(SIZE);
    cr_assert(inactive());
    cr_assert_eq(pool_rig_counters().inactive, 1);
    cr_assert_eq(pool_rig_seen(guest)->target, SIZE);
    /* It even gets something back, */
    cr_assert_eq(target(), SIZE + 32768);
    cr_assert_eq(pool_rig_asked(guest), SIZE + 32768);
    cr_assert_eq(pool_rig_guest(guest).why, BALLOON_WHY_INACTIVE);
    /* and is asked for nothing. */
    tick(SIZE + 32768);
    cr_assert_eq(pool_rig.change_count, 0);
    cr_assert_gt(pool_rig_counters().clamped_guard, 0);
    /* What it takes by itself is left to it. */
    tick(SIZE + 40000);
    cr_assert_eq(target(), SIZE + 40000);
}

/* It takes what it gets and gives nothing, for two hours. */
Test(pool_live, to_refuse_does_not_pay)
{
    uint64_t size = SIZE;

    wish(500000);
    for (int i = 0; i < 7200; i++) {
        tick(size);
        size = target() > size ? target() : size;
    }
    cr_assert_eq(size, SIZE + 32768);
}

/* One that is not flagged: it moves between the retries. */
Test(pool_live, who_gave_as_much_again_is_let_off_again)
{
    uint64_t size = SIZE;

    wish(500000);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 6; i++)
            tick(size);
        cr_assert(inactive());
        cr_assert_eq(target(), size + 32768, "%d", round);
        while (inactive())
            tick(size);
        for (int i = 0; i < 60; i++)
            tick(size -= 1000);
        cr_assert_eq(flagged(), 0);
    }
    /* Not so much. */
    size += 40000;
    for (int i = 0; i < 7; i++)
        tick(size);
    cr_assert(inactive());
    cr_assert_eq(target(), size);
}

Test(pool_live, there_is_nothing_back_without_room)
{
    uint64_t other = pool_rig_add(0, POOL, pool_rig_status().budget - SIZE - 500);

    wish(500000);
    for (int i = 0; i < 6; i++)
        tick(SIZE);
    cr_assert(inactive());
    cr_assert_eq(target(), SIZE + 500);
    cr_assert_eq(pool_rig_guest(other).target, pool_rig_guest(other).config.current);
}

Test(pool_live, others_go_before_relief)
{
    uint64_t other = pool_rig_add(0, POOL, 1000000);

    wish(500000);
    for (int i = 0; i < 5; i++)
        tick(SIZE);
    pool_rig_wish(other, POOL, BALLOON_WHY_DEMAND, 0);
    tick(SIZE);
    cr_assert(inactive());
    cr_assert_eq(target(), SIZE);
    cr_assert_eq(pool_rig_guest(other).target, pool_rig_status().budget - SIZE);
}

Test(pool_live, a_guest_that_cannot_take_is_promised_no_more)
{
    wish(1500000);
    for (int i = 0; i < 6; i++)
        tick(SIZE);
    cr_assert(inactive());
    cr_assert_eq(target(), SIZE);
    cr_assert_eq(pool_rig_asked(guest), SIZE);
    tick(SIZE);
    cr_assert_eq(pool_rig_status().committed, SIZE);
    cr_assert_eq(target(), SIZE);
}

Test(pool_live, it_is_tried_again_after_growing_delays)
{
    static const uint64_t delays[] = {30, 60, 120, 240, 480, 480, 480};

    wish(1500000);
    tick(SIZE);
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        for (int j = 0; j < 5; j++) {
            cr_assert_eq(target(), 1500000, "%zu %d", i, j);
            tick(SIZE);
        }
        cr_assert(inactive());
        for (uint64_t j = 1; j < delays[i]; j++) {
            tick(SIZE);
            cr_assert(inactive(), "%zu %d", i, (int)j);
            cr_assert_eq(target(), SIZE);
        }
        tick(SIZE);
        cr_assert_not(inactive());
    }
    cr_assert_eq(pool_rig_counters().inactive, 7);
    /* When it has moved, the delays begin anew. */
    tick(SIZE + 1000);
    for (int j = 0; j < 5; j++)
        tick(SIZE + 1000);
    cr_assert(inactive());
    for (int j = 0; j < 30; j++)
        tick(SIZE + 1000);
    cr_assert_not(inactive());
    /* Also when it was there at once. */
    for (int j = 0; j < 65; j++)
        tick(SIZE + 1000);
    cr_assert_not(inactive());
    tick(1500000);
    wish(2000000);
    for (int j = 0; j < 6; j++)
        tick(1500000);
    cr_assert(inactive());
    for (int j = 0; j < 30; j++)
        tick(1500000);
    cr_assert_not(inactive());
}

Test(pool_live, who_is_near_the_target_has_met_it)
{
    wish(500000);
    for (int i = 0; i < 20; i++)
        tick(500000 + SLACK);
    cr_assert_not(inactive());
    for (int i = 0; i < 20; i++)
        tick(500000 - SLACK);
    cr_assert_not(inactive());
    cr_assert_eq(flagged(), 0);
}

/* Some count otherwise than we do: they move as far as they are asked to, and rest somewhere else.
 */
Test(pool_live, a_guest_may_obey_at_a_distance)
{
    for (int64_t distance = -12000; distance <= 12000; distance += 6000) {
        uint64_t size = SIZE;

        pool_rig_drop();
        make();
        for (uint64_t wished = 900000; wished >= 300000; wished -= 50000) {
            wish(wished);
            for (int i = 0; i < 10; i++) {
                tick(size);
                size = (uint64_t)((int64_t)target() + distance);
                cr_assert_not(inactive(), "%d", (int)distance);
                cr_assert_eq(target(), wished, "%d", (int)distance);
            }
        }
        cr_assert_eq(flagged(), 0);
        /* It is not waited for either. */
        cr_assert_eq(balloon_pool_deadline(pool_rig.pool), now + S);
    }
}

/* One that goes half of the way does not follow, and one that takes more than it gave neither. */
Test(pool_live, to_come_part_of_the_way_is_not_to_obey)
{
    wish(500000);
    tick(SIZE);
    for (int i = 0; i < 6; i++)
        tick(750000);
    cr_assert(inactive());
    pool_rig_drop();
    make();
    wish(SIZE - 1000);
    tick(SIZE);
    for (int i = 0; i < 6; i++)
        tick(SIZE + 1000);
    cr_assert(inactive());
}

/* What it gives does not come back: it is let off, and gets it again; then tried more rarely. */
Test(pool_live, a_guest_that_gives_for_nothing_is_let_off)
{
    uint64_t tries = 0, size = POOL - 1;
    bool was = false;

    pool_rig_drop();
    pool_rig_make(POOL, NULL);
    guest = pool_rig_add(1000, SIZE, SIZE);
    size = SIZE;
    wish(500000);
    for (int i = 0; i < 3600; i++) {
        cr_assert_eq(balloon_pool_set_owed(pool_rig.pool, guest, SIZE - size), BALLOON_OK);
        tick(size);
        size = target() < size ? size - 5000 : target();
        cr_assert_geq(size, SIZE - 40000);
        tries += !was && target() < SIZE;
        was = target() < SIZE;
        cr_assert_not(inactive());
        if (!was && i > 10)
            cr_assert_eq(pool_rig_guest(guest).why, BALLOON_WHY_OWED);
    }
    cr_assert_leq(tries, 12);
    cr_assert_geq(tries, 4);
}

/* And it pays for nobody: not even when the host is short. */
Test(pool_live, what_is_owed_costs_nothing_to_give_back)
{
    uint64_t other, size = 1000000, owed = 0;

    pool_rig_drop();
    pool_rig_make(2133334, NULL);
    guest = pool_rig_add(1000, 1000000, 1000000);
    other = pool_rig_add(1000, 1066600, 1066600);
    wish(300000);
    for (int i = 0; i < 600; i++) {
        pool_rig_size(other, pool_rig_guest(other).target, now + S);
        cr_assert_eq(balloon_pool_set_owed(pool_rig.pool, guest, owed), BALLOON_OK);
        tick(size);
        cr_assert_geq(target(), i < 20 ? 300000 : 1000);
        size =
            target() < size ? size - (size - target() < 5000 ? size - target() : 5000) : target();
        owed = 1000000 - size;
        if (i == 25)
            cr_assert_eq(size, 1000000);
    }
    cr_assert_geq(pool_rig_guest(other).target, 1066600 - 2 * 40000);
}

/* A guest that says it is booting again and again has had its grace. */
Test(pool_live, who_resets_its_driver_all_the_time_has_no_grace)
{
    uint64_t booting = 0;

    pool_rig_drop();
    pool_rig_make(
        POOL, &(balloon_pool_config){.size = sizeof(balloon_pool_config), .boot_grace = 10 * S});
    guest = pool_rig_add(1000, SIZE, SIZE);
    for (int i = 0; i < 600; i++) {
        uint32_t flags = i % 9 == 8 ? BALLOON_GUEST_NO_DRIVER : 0;

        cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, flags, now), BALLOON_OK);
        tick(SIZE);
        booting += (pool_rig_guest(guest).flags & BALLOON_GUEST_BOOTING) != 0;
    }
    cr_assert_leq(booting, 110);
    cr_assert_geq(booting, 60);
}

Test(pool_live, a_megabyte_in_time_is_progress)
{
    uint64_t size = SIZE;

    wish(500000);
    tick(size);
    for (int i = 0; i < 100; i++) {
        tick(size);
        tick(size);
        tick(size);
        tick(size -= SLACK);
        cr_assert_not(inactive());
    }
    /* And less is not. */
    size = target() + 400000;
    tick(size);
    for (int i = 0; i < 6; i++)
        tick(size -= 50);
    cr_assert(inactive());
}

Test(pool_live, the_wrong_way_is_no_progress)
{
    wish(500000);
    for (int i = 0; i < 6; i++) {
        cr_assert_not(inactive());
        tick(SIZE + (uint64_t)i * 10000);
    }
    cr_assert(inactive());
    /* Nor is coming back from there. */
    for (int i = 0; i < 30; i++)
        tick(SIZE);
    cr_assert_not(inactive());
    tick(SIZE + 20000);
    tick(SIZE + 10000);
    tick(SIZE + 5000);
    tick(SIZE + 2000);
    tick(SIZE);
    cr_assert(inactive());
}

Test(pool_live, a_target_that_moves_on_is_no_excuse)
{
    for (uint64_t i = 0; i < 6; i++) {
        cr_assert_not(inactive());
        wish(900000 - i * 1000);
        tick(SIZE);
    }
    cr_assert(inactive());
}

Test(pool_live, a_target_on_the_other_side_is_a_fresh_start)
{
    wish(500000);
    for (int i = 0; i < 4; i++)
        tick(SIZE);
    wish(1500000);
    for (int i = 0; i < 7; i++) {
        cr_assert_not(inactive());
        tick(SIZE);
    }
    cr_assert(inactive());
}

Test(pool_live, in_need_it_must_be_faster)
{
    uint64_t other = pool_rig_add(0, POOL, POOL / 2), size = SIZE;

    for (int need = 0; need < 2; need++) {
        /* 1 % free, or plenty. */
        pool_rig_size(other, need ? POOL - 50000 - size : POOL / 2, now);
        wish(500000);
        for (int i = 0; i < 7; i++) {
            tick(size -= 3000);
            pool_rig_size(other, need ? POOL - 50000 - size : POOL / 2, now);
        }
        cr_assert_eq(inactive(), need);
    }
    while (inactive()) {
        pool_rig_size(other, POOL - 50000 - size, now);
        tick(size);
    }
    for (int i = 0; i < 20; i++) {
        tick(size -= 3840);
        pool_rig_size(other, POOL - 50000 - size, now);
        cr_assert_eq(pool_rig_status().state, BALLOON_HOST_HARD);
        cr_assert_not(inactive());
    }
}

Test(pool_live, who_stands_still_a_third_of_the_time_is_flagged)
{
    uint64_t size = SIZE;

    /* The hole of a rule of 20 s in a row: now and then it moves a little. */
    wish(100000);
    tick(size);
    for (int i = 0; i < 9; i++) {
        cr_assert_eq(flagged(), 0, "%d", i);
        for (int j = 0; j < 3; j++)
            tick(size);
        tick(size -= 1000);
    }
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++)
            tick(size);
        tick(size -= 1000);
    }
    cr_assert_not(inactive());
    cr_assert_eq(flagged(), 1);
    /* It is forgiven. */
    for (int i = 0; i < 45; i++)
        tick(size -= 1000);
    cr_assert_eq(flagged(), 0);
}

Test(pool_live, who_is_inactive_is_flagged_after_20_seconds)
{
    wish(500000);
    for (int i = 0; i < 6; i++)
        tick(SIZE);
    cr_assert(inactive());
    cr_assert_eq(flagged(), 0);
    for (int i = 0; i < 16; i++)
        tick(SIZE);
    cr_assert_eq(flagged(), 1);
}

Test(pool_live, long_gaps_between_decisions_count_whole)
{
    wish(500000);
    tick(SIZE);
    now += 100 * S;
    tick(SIZE);
    cr_assert(inactive());
    cr_assert_eq(flagged(), 1);
    wish(SIZE);
    now += 100 * S;
    tick(SIZE);
    cr_assert_eq(flagged(), 1);
    now += 100 * S;
    tick(SIZE);
    cr_assert_eq(flagged(), 0);
}

Test(pool_live, a_pinned_guest_need_not_move)
{
    wish(1500000);
    tick(SIZE);
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, BALLOON_GUEST_PINNED, now),
                 BALLOON_OK);
    for (int i = 0; i < 20; i++)
        tick(SIZE);
    cr_assert_not(inactive());
    cr_assert_eq(flagged(), 0);
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, 0, now), BALLOON_OK);
    for (int i = 0; i < 4; i++) {
        tick(SIZE);
        cr_assert_not(inactive());
    }
    tick(SIZE);
    cr_assert(inactive());
}

Test(pool_live, a_new_driver_is_a_new_life)
{
    wish(1500000);
    for (int i = 0; i < 6; i++)
        tick(SIZE);
    cr_assert(inactive());
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, BALLOON_GUEST_NO_DRIVER, now),
                 BALLOON_OK);
    tick(SIZE);
    cr_assert_not(inactive());
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, guest, 0, now), BALLOON_OK);
    tick(SIZE);
    cr_assert_eq(target(), 1500000);
    for (int i = 0; i < 6; i++)
        tick(SIZE);
    cr_assert(inactive());
    /* The first delay again. */
    for (int i = 0; i < 30; i++)
        tick(SIZE);
    cr_assert_not(inactive());
}

static void make_quick(void)
{
    pool_rig_make(POOL, &(balloon_pool_config){
                            .boot_grace = 1, .inactive_after = 2 * S, .retry_after = UINT64_MAX});
    guest = pool_rig_add(1000, POOL, SIZE);
    now = 0;
}

Test(pool_live, delays_can_be_set_and_do_not_run_over, .init = make_quick)
{
    wish(1500000);
    for (int i = 0; i < 2; i++) {
        tick(SIZE);
        cr_assert_not(inactive());
    }
    tick(SIZE);
    cr_assert(inactive());
    now = UINT64_MAX / 2;
    tick(SIZE);
    cr_assert(inactive());
}
