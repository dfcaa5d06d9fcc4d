/* The tracker against the naive model over random operations in many small configurations. */
#include "tracker_duel.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "../../lib/core/tracker_batch_p.h"

static void fight(uint64_t stream, uint64_t rounds, uint64_t steps, uint64_t max_pages,
                  bool long_lists)
{
    uint64_t seed = prng_seed();
    unsigned versions = 1;
    while (bl_batch_version(versions))
        versions++;
    for (uint64_t round = 0; round < rounds; round++) {
        struct prng prng = prng_start(seed, stream * 1000003 + round);
        struct tracker_duel duel;
        tracker_duel_start(&duel, &prng, 1 + prng_below(&prng, max_pages));
        duel.long_lists = long_lists;
        /* The one that BALLOON_BATCH names, if any, else each in its turn. */
        if (!getenv("BALLOON_BATCH"))
            bl_batch_use(bl_batch_version((unsigned)round % versions));
        if (prng_check_all())
            duel.check_every = max_pages > 2000 ? 16 : 1;
        const char *why = NULL;
        for (uint64_t i = 0; i < steps && !why; i++)
            why = tracker_duel_step(&duel, &prng);
        if (!why)
            why = tracker_duel_compare(&duel);
        cr_assert_null(why, "BALLOON_SEED=%" PRIu64 " stream %" PRIu64 " round %" PRIu64 ": %s",
                       seed, stream, round, why);
        tracker_duel_end(&duel);
    }
}

Test(tracker_model, a_few_pages)
{
    fight(1, 800, 500, 12, false);
}

Test(tracker_model, some_words)
{
    fight(2, 600, 1000, 300, false);
}

Test(tracker_model, some_blocks_of_two_mebibytes)
{
    fight(3, 12, 1200, 6000, false);
}

Test(tracker_model, whole_batches)
{
    fight(5, 20, 600, 8000, true);
}

/* Large enough for every level of summaries above the bitmaps. */
Test(tracker_model, many_blocks)
{
    fight(4, prng_check_all() ? 12 : 2, 600, 300000, false);
}

/* Bitmaps upon whatever random operations left: in both modes, with pages that wait, are reported
 * or were given back, at any bit, over several regions of any granule. */
Test(tracker_model, imports)
{
    uint64_t seed = prng_seed(), rounds = prng_check_all() ? 3000 : 150;

    for (uint64_t round = 0; round < rounds; round++) {
        static const uint64_t sizes[] = {100, 3000, 12000};
        struct prng prng = prng_start(seed, 6000000 + round);
        struct tracker_duel duel;
        const char *why = NULL;

        tracker_duel_start(&duel, &prng, 1 + prng_below(&prng, sizes[round % 3]));
        for (uint64_t i = 0; i < 60 && !why; i++) {
            for (uint64_t n = prng_below(&prng, 12); n && !why; n--)
                why = tracker_duel_step(&duel, &prng);
            if (!why)
                why = tracker_duel_import(&duel, &prng);
            if (!why)
                why = tracker_duel_compare(&duel);
        }
        cr_assert_null(why, "BALLOON_SEED=%" PRIu64 " round %" PRIu64 ": %s", seed, round, why);
        tracker_duel_end(&duel);
    }
}
