/* When the next decision is due, and whom to ask before it. */
#include <criterion/criterion.h>

#include "pool_rig.h"

#define POOL  UINT64_C(1600000)
#define S     RIG_SECOND
#define TENTH (S / 10)
#define RAM   UINT64_C(400000)
#define SIZE  UINT64_C(200000)
#define BOTH  ((uint32_t)BALLOON_POOL_WANTS_SAMPLE | (uint32_t)BALLOON_POOL_WANTS_SIZE)

static uint64_t a, b;

static void make(void)
{
    pool_rig_make(POOL, NULL);
    a = pool_rig_add(0, RAM, SIZE);
    b = pool_rig_add(0, RAM, SIZE);
}

TestSuite(pool_beat, .init = make, .fini = pool_rig_drop);

static balloon_time_t deadline(void)
{
    return balloon_pool_deadline(pool_rig.pool);
}

static uint32_t wants(uint64_t id, balloon_time_t now)
{
    return balloon_pool_wants(pool_rig.pool, id, now);
}

static void say(uint64_t id, uint64_t available, balloon_time_t now)
{
    pool_rig_size(id, pool_rig_guest(id).config.current, now);
    pool_rig_sample(id, now, BALLOON_STAT_AVAILABLE, available, -1);
}

static void calm(balloon_time_t now)
{
    say(a, SIZE / 2, now);
    say(b, SIZE / 2, now);
    pool_rig_decide(now);
}

Test(pool_beat, the_first_decision_is_due_at_once)
{
    cr_assert_eq(deadline(), 0);
    cr_assert_eq(wants(a, 0), BALLOON_POOL_WANTS_SAMPLE);
    cr_assert_eq(wants(7, 0), 0);
}

Test(pool_beat, once_a_second_while_all_is_calm)
{
    calm(S);
    calm(2 * S);
    cr_assert_eq(deadline(), 3 * S);
    cr_assert_eq(wants(a, 2 * S + S / 4 * 3 - 1), 0);
    /* Answers come a little later than they were asked for. */
    cr_assert_eq(wants(a, 2 * S + S / 4 * 3), BOTH);
    /* What it says by itself, and changes nothing, is no reason to hurry. */
    say(a, SIZE / 2 - 1000, 2 * S + S / 2);
    cr_assert_eq(deadline(), 3 * S);
    cr_assert_eq(wants(a, 3 * S), 0);
    cr_assert_eq(wants(b, 3 * S), BOTH);
}

Test(pool_beat, at_once_when_a_guest_begins_to_wait)
{
    calm(S);
    say(a, 100, S + S / 4);
    cr_assert_eq(deadline(), S + S / 50);
    pool_rig_decide(S + S / 4);
    cr_assert_eq(deadline(), S + S / 4 + TENTH);
    cr_assert_eq(wants(a, S + S / 4 + TENTH), BOTH);
    cr_assert_eq(wants(b, S + S / 4 + TENTH), 0);
    /* Not one that has all it may have. */
    say(b, SIZE / 2, 2 * S);
    say(a, SIZE / 2, 2 * S);
    pool_rig_decide(2 * S);
    pool_rig_wish(a, RAM, BALLOON_WHY_DEMAND, 0);
    pool_rig_decide(2 * S);
    pool_rig_size(a, RAM, 2 * S);
    say(a, 100, 2 * S + 1);
    pool_rig_decide(2 * S + 1);
    cr_assert_eq(deadline(), 3 * S + 1);
}

Test(pool_beat, at_once_when_a_guest_will_wait_soon)
{
    calm(S);
    say(a, SIZE / 4, 2 * S);
    say(b, SIZE / 2, 2 * S);
    cr_assert_eq(deadline(), S + S / 50);
    pool_rig_decide(2 * S);
    cr_assert_eq(deadline(), 2 * S + TENTH);
}

Test(pool_beat, often_while_memory_is_on_its_way)
{
    calm(S);
    pool_rig_wish(a, SIZE - 50000, BALLOON_WHY_SHARE, 0);
    pool_rig_decide(2 * S);
    cr_assert_eq(deadline(), 2 * S + TENTH);
    cr_assert_eq(wants(a, 2 * S + TENTH), BOTH);
    pool_rig_size(a, SIZE - 50000, 2 * S + TENTH);
    say(a, SIZE / 4, 2 * S + TENTH);
    say(b, SIZE / 2, 2 * S + TENTH);
    pool_rig_decide(2 * S + TENTH);
    cr_assert_eq(deadline(), 3 * S + TENTH);
}

/* b waits for what a gives. */
Test(pool_beat, at_once_when_something_has_come_back)
{
    pool_rig_wish(b, RAM, BALLOON_WHY_PRESSURE, 1);
    pool_rig_wish(a, 0, BALLOON_WHY_SHARE, 0);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 2 * SIZE + 1000, 1000), BALLOON_OK);
    pool_rig_decide(S);
    cr_assert_eq(deadline(), S + TENTH);
    pool_rig_size(b, SIZE, S + 1);
    cr_assert_eq(deadline(), S + TENTH);
    pool_rig_size(a, SIZE - 5000, S + 1);
    cr_assert_eq(deadline(), S + S / 50);
}

Test(pool_beat, at_once_when_a_guest_went)
{
    calm(S);
    cr_assert_eq(balloon_pool_remove(pool_rig.pool, b), BALLOON_OK);
    cr_assert_eq(deadline(), S + S / 50);
    pool_rig_decide(S + S / 50);
    cr_assert_eq(deadline(), 2 * S + S / 50);
}

/* A guest that deflates on OOM takes back what it needs. */
Test(pool_beat, what_is_taken_back_unasked_is_want)
{
    calm(S);
    pool_rig_size(a, SIZE + 256, S + 1);
    cr_assert_eq(deadline(), 2 * S);
    pool_rig_size(a, SIZE + 1024, S + S / 5);
    cr_assert_eq(deadline(), S + S / 50);
    pool_rig_decide(S + S / 5);
    cr_assert_eq(pool_rig_seen(a)->stall, 1000000);
    cr_assert(pool_rig_seen(a)->known & BALLOON_KNOWS_STALL);
    cr_assert_eq(pool_rig_seen(b)->stall, 0);
    pool_rig_decide(4 * S + S / 5);
    cr_assert_eq(pool_rig_seen(a)->stall, 0);
}

Test(pool_beat, what_a_guest_was_promised_or_has_after_a_reset_is_no_want)
{
    calm(S);
    pool_rig_wish(a, SIZE + 50000, BALLOON_WHY_SHARE, 0);
    pool_rig_decide(S);
    pool_rig_wish(a, SIZE, BALLOON_WHY_SHARE, 0);
    pool_rig_decide(S);
    pool_rig_size(a, SIZE + 50000, S);
    pool_rig_size(b, RAM, S);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(a)->stall, 0);
    cr_assert_eq(pool_rig_seen(b)->stall, 0);
}

/* A guest that does not follow, or has no driver, makes nobody hurry. */
Test(pool_beat, who_cannot_move_is_not_waited_for)
{
    calm(S);
    pool_rig_wish(a, 1000, BALLOON_WHY_SHARE, 0);
    for (uint64_t i = 1; i <= 7; i++)
        pool_rig_decide((1 + i) * S);
    cr_assert(pool_rig_guest(a).flags & BALLOON_GUEST_INACTIVE);
    pool_rig_decide(9 * S);
    pool_rig_decide(10 * S);
    cr_assert_eq(deadline(), 11 * S);
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, b, BALLOON_GUEST_NO_DRIVER, 10 * S),
                 BALLOON_OK);
    pool_rig_size(b, 1000, 10 * S);
    pool_rig_sample(b, 10 * S, BALLOON_STAT_AVAILABLE, UINT64_C(1), -1);
    pool_rig_decide(10 * S);
    cr_assert_eq(deadline(), 11 * S);
    cr_assert_eq(wants(b, 12 * S), BALLOON_POOL_WANTS_SIZE);
}

/* --- guests that are there already ------------------------------------------------------------ */

static balloon_status adopt(uint64_t min, uint64_t max, uint64_t current, uint64_t *id)
{
    balloon_pool_guest guest = {.size = sizeof(guest), .min = min, .max = max, .current = current};

    return balloon_pool_adopt(pool_rig.pool, &guest, S, id);
}

Test(pool_beat, guests_that_are_there_are_taken_whatever_their_size)
{
    uint64_t c = 0, d = 0;

    cr_assert_eq(adopt(1000, 2 * POOL, 2 * POOL, &c), BALLOON_OK);
    cr_assert_eq(pool_rig_guest(c).target, 2 * POOL);
    cr_assert_eq(pool_rig_guest(c).flags & BALLOON_GUEST_BOOTING, 0);
    cr_assert_eq(pool_rig_status().used, 2 * SIZE + 2 * POOL);
    pool_rig_decide(S);
    /* It has no grace: what is too much is asked back. */
    cr_assert_lt(pool_rig_guest(c).target, POOL);
    cr_assert_eq(pool_rig.verdict, BALLOON_VERDICT_DEGRADED);
    /* Nor need the size be within limits. */
    cr_assert_eq(adopt(0, 500, 700, &d), BALLOON_OK);
    cr_assert_eq(pool_rig_guest(d).target, 500);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_asked(d), 500);
}

Test(pool_beat, there_must_be_room_for_what_is_promised)
{
    uint64_t c = 0;

    cr_assert_eq(adopt(POOL, POOL, POOL, &c), BALLOON_ERR_NOSPACE);
    cr_assert_eq(adopt(2, 1, 1, &c), BALLOON_ERR_INVALID);
    cr_assert_eq(adopt(0, 0, 0, &c), BALLOON_ERR_INVALID);
    cr_assert_eq(adopt(100000, RAM, 0, &c), BALLOON_OK);
    cr_assert_eq(pool_rig_guest(c).target, 100000);
    cr_assert_eq(adopt(0, POOL, POOL, &c), BALLOON_OK);
    cr_assert_eq(adopt(100, RAM, 0, &c), BALLOON_ERR_NOSPACE);
    cr_assert_eq(adopt(100, RAM, 100, &c), BALLOON_OK);
}
