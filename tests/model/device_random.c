/* The device, driven by real bytes, against the naive model: answers, discards, counters, and
 * being saved and loaded, or reset, at any point. */
#include "device_duel.h"

#include <criterion/criterion.h>
#include <inttypes.h>

/* What happens between two random steps. */
enum between { NOTHING, MOVE, RESET };

static void fight(uint64_t stream, uint64_t rounds, uint64_t steps, enum between between,
                  uint64_t one_in)
{
    uint64_t seed = prng_seed();
    uint64_t discarded = 0, acks = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        struct prng prng = prng_start(seed, stream * 1000003 + round);
        struct device_duel duel;
        device_duel_start(&duel, &prng);
        if (prng_check_all())
            duel.check_every = 1;
        const char *why = NULL;
        for (uint64_t i = 0; i < steps && !why; i++) {
            why = device_duel_step(&duel);
            if (why || between == NOTHING || !prng_one_in(&prng, one_in))
                continue;
            if (between == MOVE)
                why = device_duel_move(&duel);
            else
                device_duel_reset(&duel);
            if (!why)
                why = device_duel_compare(&duel);
        }
        if (!why)
            why = device_duel_compare(&duel);
        cr_assert_null(why, "BALLOON_SEED=%" PRIu64 " stream %" PRIu64 " round %" PRIu64 ": %s",
                       seed, stream, round, why);
        discarded += duel.count.discarded;
        acks += duel.count.acks;
        device_duel_end(&duel);
    }
    cr_assert_gt(discarded, 0);
    cr_assert_gt(acks, 0);
}

Test(device_model, many_guests)
{
    fight(11, 300, 300, NOTHING, 0);
}

Test(device_model, long_lived_guests)
{
    fight(12, 6, 6000, NOTHING, 0);
}

Test(device_model, moved_at_every_step)
{
    fight(13, 100, 60, MOVE, 1);
}

Test(device_model, moved_now_and_then)
{
    fight(14, 60, 300, MOVE, 20);
}

Test(device_model, reset_at_every_other_step)
{
    fight(15, 100, 60, RESET, 2);
}

Test(device_model, reset_now_and_then)
{
    fight(16, 60, 300, RESET, 30);
}
