/* One of many guests lies to get more memory, while the others want more, too. How far it gets, by
 * policy: docs/policies.md has the table.
 *
 * Half again of its share is what a liar may have. Where a policy cannot keep it to that, what is
 * tested is how far it gets, so that it does not get further. */
#include "flock.h"

TestSuite(liars, .timeout = 300);

static const uint32_t counts[] = {9, 16, 33};
static const uint32_t lies[] = {LIE_NEED, LIE_STALL | LIE_SWAP | LIE_KILLS, LIE_COMMITTED, LIE_ALL};
static const uint64_t wants[] = {FLOCK_SHARE / 8 * 9, FLOCK_SHARE * 2};

/* The most that a liar gets, in hundredths of its share. */
struct bound {
    const balloon_policy *policy;
    enum sight sight; /* the most that it can make use of */
    uint64_t waiting; /* the others wait for what they lack, as thrashing guests do */
    uint64_t patient; /* the others wait for it about a hundredth of their time */
    uint64_t belated; /* the others begin to want it when the liar already has what it can get */
};

static const struct bound bounds[] = {
    {&balloon_policy_waterline, SIGHT_CURVES, 100, 170, 400},
    {&balloon_policy_fixed, SIGHT_STALLS, 94, 94, 94},
    {&balloon_policy_proportional, SIGHT_STALLS, 94, 94, 94},
    {&balloon_policy_shares, SIGHT_ACTIVE, 96, 96, 140},
    {&balloon_policy_mom, SIGHT_STALLS, 94, 94, 175},
    {&balloon_policy_proxmox, SIGHT_STALLS, 80, 80, 94},
    {&balloon_policy_balance, SIGHT_STALLS, 95, 95, 360},
    {&balloon_policy_stall, SIGHT_STALLS, 97, 97, 400},
    {&balloon_policy_buffer, SIGHT_STALLS, 400, 400, 400},
    {&balloon_policy_curves, SIGHT_CURVES, 101, 101, 101},
    {&balloon_policy_greedy, SIGHT_STALLS, 97, 97, 400},
};

#define LENGTH(list) (sizeof(list) / sizeof((list)[0]))
enum { POLICIES = LENGTH(bounds) };

struct story {
    const char *name;
    uint64_t hurry;
    balloon_time_t calm; /* the others want little for so long */
};

static uint64_t play(const struct story *story, const balloon_policy *policy, enum sight sight,
                     uint32_t count, uint32_t lie, uint64_t want)
{
    struct flock flock;
    uint64_t got;

    flock_start(&flock, policy, count, sight, want);
    flock.lies = lie;
    flock.hurry = story->hurry;
    if (story->calm) {
        flock_want(&flock, FLOCK_SHARE / 2);
        flock_run(&flock, story->calm);
        flock_want(&flock, want);
    }
    flock_run(&flock, story->calm + 120 * SECOND);
    got = flock_run(&flock, story->calm + 180 * SECOND);
    flock_end(&flock);
    return got;
}

/* By all lies, numbers of guests and of pages that are wanted. */
static uint64_t most_of(const struct story *story, const balloon_policy *policy, enum sight sight)
{
    uint64_t most = 0;

    for (size_t c = 0; c < LENGTH(counts); c++)
        for (size_t l = 0; l < LENGTH(lies); l++)
            for (size_t w = 0; w < LENGTH(wants); w++) {
                uint64_t got = play(story, policy, sight, counts[c], lies[l], wants[w]);

                most = got > most ? got : most;
            }
    return most;
}

/* Whatever the host sees. */
static void check(const struct story *story, const struct bound *b, uint64_t bound)
{
    for (uint32_t sight = 0; sight <= (uint32_t)b->sight; sight++) {
        uint64_t most = most_of(story, b->policy, (enum sight)sight);

        cr_log_info("%s, %s, sight %u: %d %% of its share", b->policy->name, story->name, sight,
                    (int)most);
        cr_expect_leq(most, bound, "%s, %s: a liar gets %d %% of its share, not %d",
                      b->policy->name, story->name, (int)most, (int)bound);
    }
}

Test(liars, among_guests_that_wait)
{
    const struct story story = {.name = "waiting", .hurry = 16};

    for (size_t i = 0; i < POLICIES; i++)
        check(&story, &bounds[i], bounds[i].waiting);
}

Test(liars, among_guests_that_wait_a_little)
{
    const struct story story = {.name = "patient", .hurry = 1024};

    for (size_t i = 0; i < POLICIES; i++)
        check(&story, &bounds[i], bounds[i].patient);
}

Test(liars, that_came_first)
{
    const struct story story = {.name = "belated", .hurry = 16, .calm = 120 * SECOND};

    for (size_t i = 0; i < POLICIES; i++)
        check(&story, &bounds[i], bounds[i].belated);
}

/* A policy that is new has to be in the table. */
Test(liars, every_policy_has_a_bound)
{
    size_t count;

    (void)balloon_policies(&count);
    cr_assert_eq(count, (size_t)POLICIES);
}
