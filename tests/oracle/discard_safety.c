/* No page that the guest may be using is ever discarded: every host granule, every guest page
 * size, both modes, with and without free page reporting, checked against the guest's memory. */
#include "guest_sim.h"

#include <criterion/criterion.h>
#include <inttypes.h>

static const uint64_t sizes[] = {1, 4, 16, 512};

/* Returns how many pages were discarded; *reported grows by those of them that were reported. */
static uint64_t fight(struct guest_sim_plan plan, uint64_t stream, uint64_t steps,
                      uint64_t *reported)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 7000 + stream);
    struct guest_sim sim;
    guest_sim_start(&sim, &plan, &prng);
    const char *why = NULL;
    uint64_t step = 0;
    while (step < steps && !why) {
        step++;
        why = guest_sim_step(&sim);
    }
    if (!why)
        why = guest_sim_finish(&sim);
    cr_assert_null(why,
                   "BALLOON_SEED=%" PRIu64 " stream %" PRIu64 " step %" PRIu64
                   ", host granule %" PRIu64 ", guest page %" PRIu64 ", features %#x: %s",
                   seed, stream, step, plan.host_granule, plan.guest_page, plan.features, why);
    uint64_t discarded = sim.discarded;
    *reported += sim.reported;
    guest_sim_end(&sim);
    return discarded;
}

static void matrix(uint32_t features, bool faults, bool moves, uint64_t stream)
{
    uint64_t gathered = 0, reported = 0;
    for (int host = 0; host < 4; host++) {
        for (int guest = 0; guest < 4; guest++) {
            struct guest_sim_plan plan = {.host_granule = sizes[host],
                                          .guest_page = sizes[guest],
                                          .features = features,
                                          .faults = faults,
                                          .moves = moves};
            uint64_t steps = sizes[host] + sizes[guest] > 500 ? 400 : 2000;
            uint64_t discarded = fight(plan, stream * 16 + (uint64_t)(host * 4 + guest),
                                       prng_check_all() ? steps * 10 : steps, &reported);
            /* The test would prove nothing if nothing was ever discarded. */
            if (host <= guest)
                cr_assert_gt(discarded, 0,
                             "BALLOON_SEED=%" PRIu64 ", host granule %" PRIu64
                             ", guest page %" PRIu64,
                             prng_seed(), plan.host_granule, plan.guest_page);
            else
                gathered += discarded;
        }
    }
    cr_assert_gt(gathered, 0, "BALLOON_SEED=%" PRIu64, prng_seed());
    cr_assert_eq(reported > 0, (features & BALLOON_F_REPORTING) != 0, "BALLOON_SEED=%" PRIu64,
                 prng_seed());
}

Test(discard_safety, settling)
{
    matrix(0, false, false, 0);
}

Test(discard_safety, settling_and_reporting)
{
    matrix(BALLOON_F_REPORTING, false, false, 1);
}

Test(discard_safety, gathering)
{
    matrix(BALLOON_F_MUST_TELL, false, false, 2);
}

Test(discard_safety, gathering_and_reporting)
{
    matrix(BALLOON_F_MUST_TELL | BALLOON_F_REPORTING, false, false, 3);
}

Test(discard_safety, settling_with_failing_discards)
{
    matrix(BALLOON_F_REPORTING, true, false, 4);
}

Test(discard_safety, gathering_with_failing_discards)
{
    matrix(BALLOON_F_MUST_TELL | BALLOON_F_REPORTING, true, false, 5);
}

Test(discard_safety, settling_while_the_device_moves)
{
    matrix(BALLOON_F_REPORTING, false, true, 6);
}

Test(discard_safety, gathering_while_the_device_moves)
{
    matrix(BALLOON_F_MUST_TELL | BALLOON_F_REPORTING, true, true, 7);
}

Test(discard_safety, reported_pages_keep_their_poison)
{
    struct guest_sim_plan plan = {.host_granule = 4,
                                  .guest_page = 4,
                                  .features = BALLOON_F_REPORTING | BALLOON_F_POISON,
                                  .poison = 0xaaaaaaaa};
    uint64_t reported = 0;
    cr_assert_gt(fight(plan, 200, 4000, &reported), 0);
    plan.features |= BALLOON_F_MUST_TELL;
    cr_assert_gt(fight(plan, 201, 4000, &reported), 0);
    cr_assert_eq(reported, 0);
    plan.poison = 0;
    fight(plan, 202, 4000, &reported);
    cr_assert_gt(reported, 0);
}
