/* A guest whose driver is reset every 9 seconds has all of its RAM each time, and says each time
 * that it boots. Others pay for that until it is shrunk, so it has to be, by every policy.
 *
 * It may have 10 seconds to boot, once in a minute. From then on it should be as large as the
 * others again before its next reset. Two policies take longer, since they take little at a time;
 * what is tested of them is that the pool takes at least what others had to give. */
#include "flock.h"

TestSuite(resets, .timeout = 120);

enum { PERIOD = 9, RESETS = 7, GRACES = 2 };

/* Its size before a reset, in hundredths of its share, at most: while there is no grace, and in the
 * end. */
struct bound {
    const balloon_policy *policy;
    uint64_t most, end;
};

static const struct bound bounds[] = {
    {&balloon_policy_waterline, 95, 95},    {&balloon_policy_fixed, 115, 115},
    {&balloon_policy_proportional, 95, 95}, {&balloon_policy_shares, 110, 110},
    {&balloon_policy_mom, 275, 225},        {&balloon_policy_proxmox, 400, 400},
    {&balloon_policy_balance, 125, 115},    {&balloon_policy_stall, 225, 210},
    {&balloon_policy_buffer, 115, 115},     {&balloon_policy_curves, 115, 115},
    {&balloon_policy_greedy, 115, 115},
};
enum { POLICIES = sizeof(bounds) / sizeof(bounds[0]) };

/* The driver goes, and with it the balloon; a second later there is a new one. Returns how large
 * the guest is before that happens again. */
static uint64_t reset(struct flock *f)
{
    struct flock_guest *g = &f->guests[0];

    g->gone = true;
    g->size = FLOCK_RAM;
    cr_assert_eq(balloon_pool_set_flags(f->pool, g->id, BALLOON_GUEST_NO_DRIVER, f->now),
                 BALLOON_OK);
    flock_run(f, f->now + SECOND);
    g->gone = false;
    cr_assert_eq(balloon_pool_set_flags(f->pool, g->id, 0, f->now), BALLOON_OK);
    flock_run(f, f->now + (PERIOD - 1) * SECOND);
    return g->size * 100 / FLOCK_SHARE;
}

static void check(const struct bound *b, uint32_t count, enum sight sight)
{
    struct flock flock;
    uint64_t most = 0, end = 0;

    flock_start(&flock, b->policy, count, sight, FLOCK_SHARE / 8 * 9);
    flock_run(&flock, 60 * SECOND);
    for (int i = 0; i < RESETS; i++) {
        end = reset(&flock);
        if (i >= GRACES)
            most = end > most ? end : most;
    }
    cr_log_info("%s, %u guests: %d %% of its share, then %d %%", b->policy->name, count, (int)most,
                (int)end);
    cr_expect_leq(most, b->most, "%s: among %u guests one that is reset has %d %% of its share",
                  b->policy->name, count, (int)most);
    cr_expect_leq(end, b->end, "%s: among %u guests one that is reset has %d %% in the end",
                  b->policy->name, count, (int)end);
    flock_end(&flock);
}

Test(resets, do_not_keep_a_guest_large)
{
    size_t policies;

    (void)balloon_policies(&policies);
    cr_assert_eq(policies, (size_t)POLICIES);
    for (size_t i = 0; i < policies; i++)
        for (uint32_t sight = SIGHT_VIRTIO; sight < SIGHTS; sight++) {
            check(&bounds[i], 9, (enum sight)sight);
            check(&bounds[i], 33, (enum sight)sight);
        }
}

/* And the others have again what they had. */
Test(resets, do_not_cost_others_their_memory)
{
    struct flock flock;

    flock_start(&flock, &balloon_policy_waterline, 9, SIGHT_VIRTIO, FLOCK_SHARE / 8 * 9);
    flock_run(&flock, 60 * SECOND);
    for (int i = 0; i < RESETS; i++)
        (void)reset(&flock);
    for (uint32_t i = 1; i < flock.count; i++)
        cr_expect_geq(flock.guests[i].size, FLOCK_SHARE / 100 * 85);
    flock_end(&flock);
}
