/* The rules inside the pool, for tests and fuzzers. */
#include "pool_p.h"

#define RULE(condition, text)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            if (why)                                                                               \
                *why = (text);                                                                     \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

static bool check_guest(const balloon_pool *p, const struct guest *g, const char **why)
{
    const struct seen *seen = &g->seen;
    const balloon_curve_point *points =
        p->curves + (size_t)(g - p->guests) * BALLOON_CURVE_POINTS_MAX;

    RULE(g->min <= g->max && g->max && g->max <= PAGES_MAX, "limits are in order");
    RULE(g->size <= PAGES_MAX && g->owed <= PAGES_MAX, "sizes have a bound");
    RULE(g->min <= g->target && g->target <= g->max, "a target is within its limits");
    RULE(g->target <= g->promised, "a target is a promise");
    RULE(g->shares >= 1 && g->shares <= 10000, "shares are in their range");
    RULE((g->said & ~BALLOON_POOL_FLAGS) == 0, "the embedder sets its own flags only");
    RULE(seen->stall <= 1000000, "nobody waits longer than always");
    RULE(seen->count || !seen->known, "who was silent is not known");
    RULE(seen->time <= seen->given, "no statistics are from the future");
    RULE(g->live.delay <= bl_mul_div(p->retry_after, 16, 1), "retries have a longest delay");
    RULE(g->curve_count <= BALLOON_CURVE_POINTS_MAX, "a curve has its place");
    for (uint32_t i = 1; i < g->curve_count; i++)
        RULE(points[i].pages > points[i - 1].pages && points[i].misses <= points[i - 1].misses,
             "a curve falls");
    return true;
}

static bool check_free(const balloon_pool *p, const char **why)
{
    uint32_t slot = p->first_free;

    for (uint32_t i = p->count; i < p->max_guests; i++) {
        RULE(slot < p->max_guests && !p->guests[slot].id, "free places are listed");
        slot = p->guests[slot].next_free;
    }
    RULE(slot >= p->max_guests, "only free places are listed");
    return true;
}

bool balloon_pool_check(const balloon_pool *p, const char **why)
{
    uint64_t used = 0, owed = 0, committed = 0, minimums = 0;

    RULE(p->count <= p->max_guests, "there are not too many guests");
    RULE(p->pages && p->pages <= PAGES_MAX && p->reserve < p->pages, "the host is possible");
    RULE(p->reserved <= PAGES_MAX, "what is set aside has a bound");
    for (uint32_t i = 0; i < p->count; i++) {
        RULE(p->slots[i] < p->max_guests, "places exist");

        const struct guest *g = guest_at(p, i);

        RULE(g->id && g->id == p->ids[i] && g->id <= p->last_id, "ids are where they belong");
        RULE(!i || p->ids[i - 1] < p->ids[i], "ids rise");
        if (!check_guest(p, g, why))
            return false;
        used += g->size;
        owed += g->owed;
        committed += guest_committed(g);
        minimums += g->min;
    }
    RULE(used == p->used && owed == p->owed, "sizes add up");
    RULE(committed == p->committed, "promises add up");
    RULE(minimums == p->minimums, "minimums add up");
    return check_free(p, why);
}
