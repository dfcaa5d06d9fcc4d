#include <criterion/criterion.h>

#include "policy_desk.h"

Test(buffer, edges)
{
    desk_check_edges(&balloon_policy_buffer);
}

static void open_committed(struct policy_desk *desk, const void *knobs, uint64_t pool,
                           uint32_t guests, const uint64_t *committed)
{
    cr_assert(desk_open(desk, &balloon_policy_buffer, knobs, guests));
    desk->view.pool = pool;
    for (uint32_t i = 0; i < guests; i++) {
        desk->guests[i].max = 4 * GIB;
        desk->guests[i].known = BALLOON_KNOWS_COMMITTED;
        desk->guests[i].committed = committed[i];
    }
}

Test(buffer, is_a_fifth_in_blocks_of_two_mebibytes)
{
    struct policy_desk desk;

    open_committed(&desk, NULL, 4 * GIB, 2, (const uint64_t[]){100000, 51200});
    desk_decide(&desk, 0);
    /* 120000 is in the 235th block. */
    cr_assert_eq(desk.wishes[0].target, 235 * 512);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_DEMAND);
    cr_assert_eq(desk.wishes[1].target, 61440);
    desk_follow(&desk);
    desk_decide(&desk, SECOND);
    cr_assert(desk_is_still(&desk));
    desk_close(&desk);
}

Test(buffer, is_a_knob)
{
    balloon_buffer_knobs knobs = {.size = sizeof(knobs), .buffer = 100};
    struct policy_desk desk;

    open_committed(&desk, &knobs, 4 * GIB, 1, (const uint64_t[]){51200});
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 102400);
    desk_close(&desk);

    for (uint32_t i = 1; i < 5; i++) {
        knobs.buffer = i;
        cr_assert_not(desk_accepts(&balloon_policy_buffer, &knobs));
    }
    knobs.buffer = 2001;
    cr_assert_not(desk_accepts(&balloon_policy_buffer, &knobs));
    knobs.buffer = 0;
    cr_assert(desk_accepts(&balloon_policy_buffer, &knobs));
    knobs.size = 0;
    cr_assert_not(desk_accepts(&balloon_policy_buffer, &knobs));
}

/* Demands 51200 and 102400, with buffers 61440 and 122880, so 30720 of buffer. The pool has half of
 * that: 5120 and 10240. */
Test(buffer, goes_first_when_memory_is_short)
{
    struct policy_desk desk;

    open_committed(&desk, NULL, 153600 + 15360, 2, (const uint64_t[]){51200, 102400});
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 56320);
    cr_assert_eq(desk.wishes[1].target, 112640);
    desk_close(&desk);
}

/* Not even the demands fit: 100 blocks by 1 to 3. The second needs no more than 60 of its 75, which
 * leaves 40 for the first. */
Test(buffer, then_demand_is_met_by_shares)
{
    struct policy_desk desk;

    open_committed(&desk, NULL, 51200, 2, (const uint64_t[]){51200, 102400});
    desk.guests[1].shares = 3000;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 25 * 512);
    cr_assert_eq(desk.wishes[1].target, 75 * 512);
    desk.guests[1].committed = 60 * 512;
    desk_decide(&desk, SECOND);
    cr_assert_eq(desk.wishes[0].target, 40 * 512);
    cr_assert_eq(desk.wishes[1].target, 60 * 512);
    desk_close(&desk);
}

Test(buffer, what_is_used_will_do)
{
    struct policy_desk desk;

    open_committed(&desk, NULL, 4 * GIB, 3, (const uint64_t[]){0, 1, 2});
    desk.guests[0].known = BALLOON_KNOWS_AVAILABLE;
    desk.guests[0].available = GIB - 51200;
    desk.guests[1].flags = BALLOON_GUEST_STALE;
    desk.guests[2].known = 0;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 61440);
    for (uint32_t i = 1; i < 3; i++) {
        cr_assert_eq(desk.wishes[i].target, GIB);
        cr_assert_eq(desk.wishes[i].why, (uint32_t)BALLOON_WHY_STALE);
    }
    desk_close(&desk);
}

Test(buffer, stays_within_the_pool)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0xb0ff);

    for (int round = 0; round < 500; round++) {
        struct policy_desk desk;
        uint64_t least = 0;

        cr_assert(desk_open(&desk, &balloon_policy_buffer, NULL, 5));
        desk_shuffle(&desk, &prng, UINT64_C(1) << (4 + prng_below(&prng, 36)));
        for (uint32_t i = 0; i < 5; i++)
            least += desk.guests[i].min;
        desk.view.pool = 1 + least + prng_below(&prng, 2 * least + 1);
        desk_decide(&desk, 0);
        cr_assert_leq(desk_wished(&desk), desk.view.pool, "seed %llu, round %d",
                      (unsigned long long)seed, round);
        desk_close(&desk);
    }
}
