/* Does balloon_pool_check() see it when a rule is broken? Here the state is broken on purpose, one
 * thing at a time; this file looks inside. */
#include <criterion/criterion.h>
#include <string.h>

#include "../../../lib/pool/pool_p.h"
#include "pool_rig.h"

static balloon_pool *pool;

static void make(void)
{
    const balloon_curve_point points[] = {{10, 9}, {20, 5}};
    const balloon_curve curve = {points, 2};

    pool_rig_make(100000, NULL);
    pool = pool_rig.pool;
    for (int i = 0; i < 3; i++)
        pool_rig_add(10, 1000, 500);
    cr_assert_eq(balloon_pool_remove(pool, 2), BALLOON_OK);
    cr_assert_eq(balloon_pool_set_curve(pool, 1, &curve), BALLOON_OK);
    pool_rig_sample(1, 1, BALLOON_STAT_AVAILABLE, UINT64_C(5), -1);
    pool_rig_decide(2);
}

TestSuite(pool_check, .init = make, .fini = pool_rig_drop);

static void check_broken(const char *rule)
{
    const char *why = "nothing";

    cr_assert_not(balloon_pool_check(pool, &why), "not seen: %s", rule);
    cr_assert(strcmp(why, rule) == 0, "seen: %s\nnot: %s", why, rule);
    cr_assert_not(balloon_pool_check(pool, NULL));
}

/* Break a field, see that it is found, and mend it. */
#define BREAK(field, value, rule)                                                                  \
    do {                                                                                           \
        __typeof__(field) was_ = field;                                                            \
        field = (__typeof__(field))(value);                                                        \
        check_broken(rule);                                                                        \
        field = was_;                                                                              \
        cr_assert(balloon_pool_check(pool, NULL));                                                 \
    } while (0)

Test(pool_check, sees_broken_sums)
{
    BREAK(pool->used, pool->used + 1, "sizes add up");
    BREAK(pool->committed, pool->committed - 1, "promises add up");
    BREAK(pool->minimums, 0, "minimums add up");
}

Test(pool_check, sees_a_broken_pool)
{
    BREAK(pool->count, POOL_RIG_GUESTS + 1, "there are not too many guests");
    BREAK(pool->pages, 0, "the host is possible");
    BREAK(pool->pages, PAGES_MAX + 1, "the host is possible");
    BREAK(pool->reserve, pool->pages, "the host is possible");
    BREAK(pool->reserved, PAGES_MAX + 1, "what is set aside has a bound");
}

Test(pool_check, sees_broken_lists)
{
    BREAK(pool->slots[0], POOL_RIG_GUESTS, "places exist");
    BREAK(pool->slots[0], pool->slots[1], "ids are where they belong");
    BREAK(pool->ids[0], 7, "ids are where they belong");
    BREAK(pool->last_id, 2, "ids are where they belong");
    BREAK(guest_at(pool, 0)->id, 0, "ids are where they belong");
    BREAK(pool->first_free, pool->slots[0], "free places are listed");
    BREAK(pool->first_free, POOL_RIG_GUESTS, "free places are listed");
    BREAK(pool->guests[POOL_RIG_GUESTS - 1].next_free, 3, "only free places are listed");

    uint64_t id = pool->ids[0];

    pool->ids[0] = guest_at(pool, 0)->id = pool->ids[1];
    check_broken("ids rise");
    pool->ids[0] = guest_at(pool, 0)->id = id;
}

Test(pool_check, sees_a_broken_guest)
{
    struct guest *g = bl_pool_guest(pool, 1);

    BREAK(g->min, g->max + 1, "limits are in order");
    BREAK(g->max, PAGES_MAX + 1, "limits are in order");
    BREAK(g->size, PAGES_MAX + 1, "sizes have a bound");
    BREAK(g->owed, PAGES_MAX + 1, "sizes have a bound");
    BREAK(g->owed, 1, "sizes add up");
    BREAK(g->target, g->min - 1, "a target is within its limits");
    BREAK(g->target, g->max + 1, "a target is within its limits");
    BREAK(g->target, g->promised + 1, "a target is a promise");
    BREAK(g->shares, 0, "shares are in their range");
    BREAK(g->shares, 10001, "shares are in their range");
    BREAK(g->said, BALLOON_GUEST_STALE, "the embedder sets its own flags only");
    BREAK(g->seen.stall, 1000001, "nobody waits longer than always");
    BREAK(g->seen.count, 0, "who was silent is not known");
    BREAK(g->seen.time, 2, "no statistics are from the future");
    BREAK(g->live.delay, 16 * pool->retry_after + 1, "retries have a longest delay");
    BREAK(g->curve_count, BALLOON_CURVE_POINTS_MAX + 1, "a curve has its place");

    balloon_curve_point *points =
        pool->curves + (size_t)(g - pool->guests) * BALLOON_CURVE_POINTS_MAX;

    BREAK(points[1].pages, 10, "a curve falls");
    BREAK(points[1].misses, 10, "a curve falls");
}

/* The other way to break something is a policy that writes where it may not; then all else is lost.
 * The sort is the one thing inside whose result does not show. */
Test(pool_check, sorts_are_right)
{
    enum { MOST = 40 };
    struct rank ranks[MOST], spare[MOST];
    uint64_t random = 1;

    for (uint32_t count = 0; count <= MOST; count++) {
        for (uint32_t i = 0; i < count; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            ranks[i] = (struct rank){random >> 62, random >> 61 & 1, i};
        }
        bl_pool_sort(ranks, spare, count);
        for (uint32_t i = 1; i < count; i++) {
            const struct rank *a = &ranks[i - 1], *b = &ranks[i];

            cr_assert(a->major < b->major ||
                      (a->major == b->major &&
                       (a->minor < b->minor || (a->minor == b->minor && a->at < b->at))));
        }
    }
}
