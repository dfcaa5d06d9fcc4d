#include <criterion/criterion.h>

#include "policy_desk.h"

#include <stdlib.h>

Test(shares, edges)
{
    desk_check_edges(&balloon_policy_shares);
}

static void open_active(struct policy_desk *desk, const void *knobs, uint64_t pool, uint32_t guests,
                        const uint64_t *active)
{
    cr_assert(desk_open(desk, &balloon_policy_shares, knobs, guests));
    desk->view.pool = pool;
    desk->view.state = BALLOON_HOST_SOFT;
    for (uint32_t i = 0; i < guests; i++) {
        desk->guests[i].max = pool;
        desk_set_size(desk, i, pool);
        desk->guests[i].known = BALLOON_KNOWS_ACTIVE;
        desk->guests[i].active = active[i];
    }
}

/* Equal shares, so both have the same y = shares * x. With the tax of 3/4 the active one has
 * min(y, 450 + y / 4) and the idle one y / 4; they share 1000 at y = 1100. */
Test(shares, idle_memory_is_taxed)
{
    struct policy_desk desk;

    open_active(&desk, NULL, 1000, 2, (const uint64_t[]){600, 0});
    desk_decide(&desk, 0);
    cr_assert_eq(desk_wished(&desk), 1000);
    cr_assert_eq(desk.wishes[0].target, 725);
    cr_assert_eq(desk.wishes[1].target, 275);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_SHARE);
    desk_close(&desk);
}

/* Three of four shares, and both use all they have: 750 and 250. */
Test(shares, active_memory_goes_by_shares)
{
    struct policy_desk desk;

    open_active(&desk, NULL, 1000, 2, (const uint64_t[]){1000, 1000});
    desk.guests[0].shares = 3000;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 750);
    cr_assert_eq(desk.wishes[1].target, 250);
    desk_close(&desk);
}

Test(shares, without_a_tax_activity_does_not_count)
{
    balloon_shares_knobs knobs = {.size = sizeof(knobs), .tax = BALLOON_KNOB_OFF};
    struct policy_desk desk;

    open_active(&desk, &knobs, 1000, 2, (const uint64_t[]){1000, 0});
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 500);
    cr_assert_eq(desk.wishes[1].target, 500);
    desk_close(&desk);
}

/* Half of an idle page: 500 + y / 2 and y / 2 - 500 + ... with y = 1000 + d: the active one has
 * 300 + y / 2, the idle one y / 2, in sum 1000 at y = 700. */
Test(shares, the_tax_is_a_knob)
{
    balloon_shares_knobs knobs = {.size = sizeof(knobs), .tax = 128};
    struct policy_desk desk;

    open_active(&desk, &knobs, 1000, 2, (const uint64_t[]){600, 0});
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 650);
    cr_assert_eq(desk.wishes[1].target, 350);
    desk_close(&desk);
}

Test(shares, knobs_have_limits)
{
    balloon_shares_knobs knobs = {.size = sizeof(knobs), .tax = 240};

    cr_assert(desk_accepts(&balloon_policy_shares, &knobs));
    knobs.tax = 0;
    cr_assert(desk_accepts(&balloon_policy_shares, &knobs));
    knobs.tax = 241;
    cr_assert_not(desk_accepts(&balloon_policy_shares, &knobs));
    knobs.tax = 1;
    knobs.size--;
    cr_assert_not(desk_accepts(&balloon_policy_shares, &knobs));
}

Test(shares, limits_bind_and_the_rest_goes_to_others)
{
    struct policy_desk desk;

    open_active(&desk, NULL, 1000, 3, (const uint64_t[]){1000, 1000, 1000});
    desk.guests[0].min = 600;
    desk.guests[1].max = 100;
    desk_set_size(&desk, 1, 50);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 600);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_LIMIT);
    cr_assert_eq(desk.wishes[1].target, 100);
    cr_assert_eq(desk.wishes[2].target, 300);
    desk_close(&desk);
}

Test(shares, memory_of_guests_that_cannot_be_changed_is_not_given_away)
{
    struct policy_desk desk;

    open_active(&desk, NULL, 1000, 3, (const uint64_t[]){1000, 1000, 1000});
    desk_set_size(&desk, 1, 100);
    desk.guests[1].flags = BALLOON_GUEST_PINNED;
    desk.guests[1].target = 200; /* what it was promised counts */
    desk.view.reserve = 100;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 350);
    cr_assert_eq(desk.wishes[1].target, 200);
    cr_assert_eq(desk.wishes[2].target, 350);
    desk_close(&desk);
}

Test(shares, while_there_is_enough_nothing_is_taken)
{
    struct policy_desk desk;

    open_active(&desk, NULL, 1000, 2, (const uint64_t[]){600, 0});
    desk.view.state = BALLOON_HOST_HIGH;
    desk_set_size(&desk, 0, 400);
    desk_set_size(&desk, 1, 600);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 725);
    cr_assert_eq(desk.wishes[1].target, 600);
    cr_assert_eq(desk.wishes[1].why, (uint32_t)BALLOON_WHY_HOLD);
    desk_close(&desk);
}

/* The average that counts the running period jumps half of the way up at once; at the end of the
 * period the fast one is there, too. Down, the slow one goes by an eighth a period. */
Test(shares, the_working_set_rises_fast_and_falls_slowly)
{
    balloon_shares_knobs knobs = {.size = sizeof(knobs), .tax = 240};
    struct policy_desk desk;

    /* The other guest's use is known, and so large that the first one's is all that matters. */
    open_active(&desk, &knobs, 1000, 2, (const uint64_t[]){100, 1000});
    desk_decide(&desk, 0);
    /* y / 16 + 15 / 16 * 100 and y: y = 906.25 / 1.0625 = 852.9. */
    cr_assert_eq(desk.wishes[1].target, 853);
    desk.guests[0].active = 300;
    desk_decide(&desk, 15 * SECOND);
    /* 200 counts: y = (1000 - 187.5) / 1.0625 = 764.7. */
    cr_assert_eq(desk.wishes[1].target, 765);
    desk_decide(&desk, 30 * SECOND);
    /* The fast one is at 200 and, with what runs, 250: y = (1000 - 234.4) / 1.0625 = 720.6. */
    cr_assert_eq(desk.wishes[1].target, 721);
    for (balloon_time_t t = 2; t < 60; t++)
        desk_decide(&desk, t * 30 * SECOND);
    desk.guests[0].active = 100;
    desk_decide(&desk, 60 * 30 * SECOND);
    /* 300 - 200 / 8 = 275 in the slow one: y = (1000 - 257.8) / 1.0625 = 698.5. */
    cr_assert_leq(desk.wishes[1].target, 700);
    cr_assert_geq(desk.wishes[1].target, 697);
    desk_close(&desk);
}

Test(shares, without_sampling_use_counts_and_without_that_everything)
{
    struct policy_desk desk;

    open_active(&desk, NULL, 1000, 2, (const uint64_t[]){0, 0});
    desk.guests[0].known = 0;
    desk.guests[1].known = BALLOON_KNOWS_AVAILABLE;
    desk.guests[1].available = 1000;
    desk_decide(&desk, 0);
    /* y and y / 4. */
    cr_assert_eq(desk.wishes[0].target, 800);
    cr_assert_eq(desk.wishes[1].target, 200);

    /* Old statistics are not new ones. */
    desk.guests[1].available = 0;
    desk.guests[1].flags = BALLOON_GUEST_STALE;
    desk_decide(&desk, 60 * SECOND);
    cr_assert_eq(desk.wishes[1].target, 200);
    desk_close(&desk);
}

/* Taking a page from whoever pays least for it, until the rest fits: shares / (active + 4 * idle).
 */
static void revoke(const struct policy_desk *desk, uint64_t *sizes)
{
    uint32_t count = desk->view.guest_count;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += sizes[i] = desk->guests[i].max;
    while (sum > desk->view.pool) {
        uint32_t victim = count;
        uint64_t victim_cost = 0;

        for (uint32_t i = 0; i < count; i++) {
            uint64_t active = desk->guests[i].active;
            uint64_t cost = sizes[i] > active ? active + 4 * (sizes[i] - active) : sizes[i];

            if (sizes[i] == desk->guests[i].min)
                continue;
            if (victim == count ||
                cost * desk->guests[victim].shares > victim_cost * desk->guests[i].shares) {
                victim = i;
                victim_cost = cost;
            }
        }
        cr_assert_neq(victim, count);
        sizes[victim]--;
        sum--;
    }
}

Test(shares, are_what_taking_page_by_page_ends_with)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0x5a43e5);

    for (int round = 0; round < 400; round++) {
        uint32_t count = (uint32_t)(1 + prng_below(&prng, 6));
        uint64_t least = 0, most = 0, sizes[6];
        struct policy_desk desk;

        cr_assert(desk_open(&desk, &balloon_policy_shares, NULL, count));
        desk.view.state = BALLOON_HOST_SOFT;
        desk_shuffle(&desk, &prng, 400);
        for (uint32_t i = 0; i < count; i++) {
            least += desk.guests[i].min;
            most += desk.guests[i].max;
        }
        desk.view.pool = 1 + least + prng_below(&prng, most - least + 1);
        revoke(&desk, sizes);
        desk_decide(&desk, 0);
        cr_assert_eq(desk_wished(&desk), desk.view.pool < most ? desk.view.pool : most);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t wish = desk.wishes[i].target;

            cr_assert(wish <= sizes[i] + 1 && sizes[i] <= wish + 1,
                      "guest %u of %u: %llu instead of %llu, seed %llu, round %d", i, count,
                      (unsigned long long)wish, (unsigned long long)sizes[i],
                      (unsigned long long)seed, round);
        }
        desk_close(&desk);
    }
}

Test(shares, more_shares_are_never_less_memory)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0x3070);

    for (int round = 0; round < 300; round++) {
        struct policy_desk desk;
        uint64_t before;

        cr_assert(desk_open(&desk, &balloon_policy_shares, NULL, 5));
        desk.view.state = BALLOON_HOST_SOFT;
        desk_shuffle(&desk, &prng, UINT64_C(1) << (1 + prng_below(&prng, 40)));
        desk.view.pool = 1 + prng_below(&prng, desk.guests[0].max * 5);
        desk_decide(&desk, 0);
        before = desk.wishes[0].target;
        desk.guests[0].shares += (uint32_t)prng_below(&prng, 10001 - desk.guests[0].shares);
        desk_decide(&desk, SECOND);
        cr_assert_geq(desk.wishes[0].target, before, "seed %llu, round %d",
                      (unsigned long long)seed, round);
        desk_close(&desk);
    }
}

/* Where the search begins makes no difference. */
Test(shares, forget_what_was_before)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0xf0e9e7);
    struct policy_desk warm;
    balloon_shares_knobs knobs = {.size = sizeof(knobs)};

    cr_assert(desk_open(&warm, &balloon_policy_shares, &knobs, 4));
    for (int round = 0; round < 300; round++) {
        struct policy_desk cold;

        cr_assert(desk_open(&cold, &balloon_policy_shares, &knobs, 4));
        desk_shuffle(&warm, &prng, UINT64_C(1) << (1 + prng_below(&prng, 40)));
        warm.view.pool = 1 + prng_below(&prng, 2 * warm.guests[0].max);
        warm.view.state = cold.view.state = BALLOON_HOST_HARD;
        cold.view.pool = warm.view.pool;
        for (uint32_t i = 0; i < 4; i++) {
            void *state = cold.guests[i].state;

            /* Without averages there is no other memory than the level. */
            warm.guests[i].known = 0;
            cold.guests[i] = warm.guests[i];
            cold.guests[i].state = state;
        }
        desk_decide(&warm, (balloon_time_t)round * SECOND);
        desk_decide(&cold, (balloon_time_t)round * SECOND);
        for (uint32_t i = 0; i < 4; i++)
            cr_assert_eq(warm.wishes[i].target, cold.wishes[i].target, "seed %llu, round %d",
                         (unsigned long long)seed, round);
        desk_close(&cold);
    }
    desk_close(&warm);
}

Test(shares, come_to_rest)
{
    struct policy_desk desk;

    open_active(&desk, NULL, 100000, 3, (const uint64_t[]){20000, 50000, 0});
    desk_decide(&desk, 0);
    desk_follow(&desk);
    desk_decide(&desk, SECOND);
    cr_assert(desk_is_still(&desk));
    desk_close(&desk);
}
