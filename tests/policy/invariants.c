/* What the pool promises, whatever policy, guests and embedder do: random worlds beside a naive
 * ledger. I1: targets are within limits. I2, I4: promises never grow past the budget, and only out
 * of what came back. I3: guests that keep their targets never have more than the budget. I5: equal
 * inputs give equal decisions. I6: the silent are not shrunk while there is enough. I7: larger
 * shares, larger guests. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pool_world.h"

static uint64_t rounds(void)
{
    return prng_check_all() ? 100000 : 1000;
}

static uint64_t live(enum world_kind kind, const balloon_policy *policy, struct prng prng,
                     unsigned char fill, uint64_t ticks, uint64_t stream, uint64_t round,
                     struct pool_world *total)
{
    struct pool_world world;
    const char *why = NULL;
    uint64_t digest;

    pool_world_start(&world, kind, policy, &prng, fill);
    for (uint64_t tick = 0; tick < ticks; tick++) {
        why = pool_world_tick(&world);
        cr_assert_null(why,
                       "BALLOON_SEED=%" PRIu64 " stream %" PRIu64 " %s round %" PRIu64
                       " tick %" PRIu64 ": %s",
                       prng_seed(), stream, policy ? policy->name : "wild", round, tick, why);
    }
    total->grown += world.grown;
    total->shrunk += world.shrunk;
    total->shorts += world.shorts;
    total->emergencies += world.emergencies;
    digest = world.digest;
    pool_world_end(&world);
    return digest;
}

static void fight(enum world_kind kind, uint64_t stream, uint64_t worlds, uint64_t ticks)
{
    struct pool_world total = {0};

    for (uint64_t round = 0; round < worlds; round++)
        live(kind, NULL, prng_start(prng_seed(), stream * 1000003 + round), 0xa5, ticks, stream,
             round, &total);
    /* All of it happened. */
    cr_assert_gt(total.grown, worlds);
    cr_assert_gt(total.shrunk, worlds);
    cr_assert_gt(total.shorts, 0);
    cr_assert_gt(total.emergencies, 0);
}

Test(pool_invariants, hold_whatever_anybody_does)
{
    fight(WORLD_WILD, 31, rounds(), 60);
}

Test(pool_invariants, hold_for_long_lives)
{
    fight(WORLD_WILD, 32, rounds() / 100, 3000);
}

Test(pool_invariants, keep_honest_guests_within_the_budget)
{
    fight(WORLD_HONEST, 33, rounds(), 60);
}

Test(pool_invariants, equal_inputs_give_equal_decisions)
{
    struct pool_world total = {0};

    for (uint64_t round = 0; round < rounds() / 10; round++) {
        struct prng prng = prng_start(prng_seed(), UINT64_C(34) * 1000003 + round);
        uint64_t first = live(WORLD_WILD, NULL, prng, 0x00, 60, 34, round, &total);
        uint64_t second = live(WORLD_WILD, NULL, prng, 0xff, 60, 34, round, &total);

        cr_assert_eq(first, second, "BALLOON_SEED=%" PRIu64 " round %" PRIu64, prng_seed(), round);
        cr_assert_neq(first, 0);
    }
}

/* --- the built-in policies -------------------------------------------------------------------- */

static void hold_with(const balloon_policy *policy, uint64_t stream)
{
    struct pool_world total = {0};
    uint64_t worlds = rounds() / 10;

    for (uint64_t round = 0; round < worlds; round++) {
        struct prng prng = prng_start(prng_seed(), stream * 1000003 + round);
        enum world_kind kind = round % 2 ? WORLD_WILD : WORLD_HONEST;
        uint64_t first = live(kind, policy, prng, 0x00, 60, stream, round, &total), second;

        /* Also in what a policy remembers, and finds in its scratch. */
        if (round % 5)
            continue;
        second = live(kind, policy, prng, 0xff, 60, stream, round, &total);
        cr_assert_eq(first, second, "BALLOON_SEED=%" PRIu64 " %s round %" PRIu64, prng_seed(),
                     policy->name, round);
    }
    cr_assert_gt(total.shrunk, worlds);
    cr_assert_gt(total.shorts, 0);
}

/* What a policy wishes may be bad, but it is not random: it stays at the limits, and insists. */
#define HOLD_WITH(policy, stream)                                                                  \
    Test(pool_invariants, hold_with_##policy)                                                      \
    {                                                                                              \
        hold_with(&balloon_policy_##policy, stream);                                               \
    }
HOLD_WITH(waterline, 36)
HOLD_WITH(fixed, 37)
HOLD_WITH(proportional, 38)
HOLD_WITH(shares, 39)
HOLD_WITH(mom, 40)
HOLD_WITH(proxmox, 41)
HOLD_WITH(balance, 42)
HOLD_WITH(stall, 43)
HOLD_WITH(buffer, 44)
HOLD_WITH(curves, 45)

/* --- shares ----------------------------------------------------------------------------------- */

#define ALIKE 8
#define USED  UINT64_C(100000) /* pages, by each */

static void settle_by_shares(const balloon_policy *policy, struct prng *prng, uint64_t round)
{
    balloon_pool_config config = {.size = sizeof(config),
                                  .max_guests = ALIKE,
                                  .pages = 1 << 22,
                                  .policy = policy,
                                  .boot_grace = 1};
    balloon_pool_guest guest = {.size = sizeof(guest), .min = 1 << 16, .max = 1 << 20};
    uint64_t ids[ALIKE], sizes[ALIKE];
    uint32_t shares[ALIKE];
    balloon_layout layout;
    balloon_pool *pool;

    cr_assert_eq(balloon_pool_layout(&config, &layout), BALLOON_OK);
    void *memory = aligned_alloc(layout.align, layout.bytes);
    cr_assert_eq(balloon_pool_init(memory, layout.bytes, &config, &pool), BALLOON_OK);
    guest.current = 1 << 18;
    for (int i = 0; i < ALIKE; i++) {
        guest.shares = shares[i] = (uint32_t)(1 + prng_below(prng, 10000));
        cr_assert_eq(balloon_pool_add(pool, &guest, 0, &ids[i]), BALLOON_OK);
        sizes[i] = guest.current;
    }
    for (uint64_t tick = 1; tick <= 400; tick++) {
        balloon_time_t now = tick * UINT64_C(1000000000);
        balloon_change change;

        for (int i = 0; i < ALIKE; i++) {
            balloon_sample sample = {.time = now};

            uint64_t uses = sizes[i] < USED ? sizes[i] : USED;

            balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, (sizes[i] - uses) << 12);
            balloon_sample_set(&sample, BALLOON_STAT_STALL_SOME, 0);
            cr_assert_eq(balloon_pool_set_size(pool, ids[i], sizes[i], now), BALLOON_OK);
            cr_assert_eq(balloon_pool_sample(pool, ids[i], &sample, now), BALLOON_OK);
            cr_assert_eq(balloon_pool_set_active(pool, ids[i], uses, now), BALLOON_OK);
        }
        balloon_pool_decide(pool, now);
        while (balloon_pool_next(pool, &change))
            sizes[change.id - ids[0]] = change.target;
    }
    for (int i = 0; i < ALIKE; i++)
        for (int j = 0; j < ALIKE; j++) {
            /* Small differences are not worth a change to a policy; for twice the shares there is
             * more, unless the maximum or what they use is in the way, or nobody took anything from
             * either of them. */
            bool less = shares[j] < shares[i] - shares[i] / 8;
            bool clear = shares[j] <= shares[i] / 2 && sizes[i] < guest.max &&
                         sizes[j] > 2 * USED && sizes[i] != guest.current;

            cr_assert(!less || sizes[j] + clear <= sizes[i],
                      "BALLOON_SEED=%" PRIu64 " %s round %" PRIu64 ": %" PRIu64
                      " pages for %u shares, %" PRIu64 " for %u",
                      prng_seed(), policy->name, round, sizes[i], shares[i], sizes[j], shares[j]);
        }
    free(memory);
}

Test(pool_invariants, larger_shares_make_larger_guests)
{
    for (uint64_t round = 0; round < (prng_check_all() ? 30000 : 1000); round++) {
        struct prng prng = prng_start(prng_seed(), UINT64_C(35) * 1000003 + round);

        settle_by_shares(&balloon_policy_shares, &prng, round);
        settle_by_shares(&balloon_policy_waterline, &prng, round);
    }
}
