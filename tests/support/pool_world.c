#include "pool_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define MIB    UINT64_C(256)

#define BROKEN(...)                                                                                \
    do {                                                                                           \
        snprintf(w->why, sizeof(w->why), __VA_ARGS__);                                             \
        return w->why;                                                                             \
    } while (0)

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Of all sizes: small ones, large ones, and up to a bound. */
static uint64_t amount(struct prng *prng, uint64_t bound)
{
    switch (prng_below(prng, 4)) {
    case 0:
        return prng_below(prng, smaller(bound, 1000) + 1);
    case 1:
        return bound - prng_below(prng, smaller(bound, 1000) + 1);
    default:
        return prng_below(prng, bound + 1);
    }
}

/* --- the policy: anything --------------------------------------------------------------------- */

struct wild_state {
    struct prng prng;
};

static bool wild_init(void *state, const void *knobs)
{
    struct wild_state *s = state;

    s->prng = *(const struct prng *)knobs;
    return true;
}

static uint64_t wild_target(struct prng *prng, const balloon_guest_view *g)
{
    switch (prng_below(prng, 8)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return prng_next(prng);
    case 3:
        return g->size;
    case 4:
        return g->target - amount(prng, g->target) / 8;
    case 5:
        return g->target + amount(prng, g->max) / 8;
    case 6:
        return g->min + amount(prng, g->max - g->min);
    default:
        return g->target;
    }
}

static void wild_decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct wild_state *s = state;
    bool calm = prng_one_in(&s->prng, 3);

    for (uint32_t i = 0; i < view->guest_count; i++) {
        unsigned char *own = view->guests[i].state;

        memset(own, 0xff, 24);
        if (calm && !prng_one_in(&s->prng, 5))
            continue;
        wishes[i].target = wild_target(&s->prng, &view->guests[i]);
        wishes[i].why = (uint32_t)prng_below(&s->prng, 20);
        wishes[i].urgency = (uint32_t)prng_next(&s->prng);
    }
    memset(view->scratch, 0xee, view->guest_count * 2 * sizeof(uint64_t));
}

static const balloon_policy wild = {.size = sizeof(wild),
                                    .name = "wild",
                                    .state_bytes = sizeof(struct wild_state),
                                    .guest_bytes = 24,
                                    .scratch_words = 2,
                                    .init = wild_init,
                                    .decide = wild_decide};

/* --- life ------------------------------------------------------------------------------------- */

void pool_world_start(struct pool_world *w, enum world_kind kind, const balloon_policy *policy,
                      const struct prng *prng, unsigned char fill)
{
    balloon_pool_config config = {.size = sizeof(config), .policy = policy ? policy : &wild};
    struct prng own;
    balloon_layout layout;

    memset(w, 0, sizeof(*w));
    w->kind = kind;
    w->prng = *prng;
    own = prng_start(prng_next(&w->prng), 1);
    config.knobs = policy ? NULL : &own;
    config.max_guests = (uint32_t)(1 + prng_below(&w->prng, WORLD_GUESTS));
    config.pages = prng_one_in(&w->prng, 10)   ? 1 + prng_below(&w->prng, 1000)
                   : prng_one_in(&w->prng, 20) ? UINT64_C(1) << 40
                                               : (UINT64_C(1) << (10 + prng_below(&w->prng, 20))) +
                                                     prng_below(&w->prng, 999);
    if (prng_one_in(&w->prng, 2))
        config.reserve =
            amount(&w->prng, prng_one_in(&w->prng, 4) ? config.pages - 1 : (config.pages - 1) / 8);
    if (prng_one_in(&w->prng, 2))
        config.boot_grace = 1;
    if (prng_one_in(&w->prng, 4))
        config.inactive_after = SECOND;
    if (prng_one_in(&w->prng, 4))
        config.retry_after = 2 * SECOND;
    w->pages = config.pages;
    w->reserve = config.reserve ? config.reserve : config.pages / 16;
    w->now = prng_below(&w->prng, 100 * SECOND);
    if (balloon_pool_layout(&config, &layout) != BALLOON_OK ||
        (w->memory = aligned_alloc(layout.align, layout.bytes)) == NULL)
        abort();
    memset(w->memory, fill, layout.bytes);
    if (balloon_pool_init(w->memory, layout.bytes, &config, &w->pool) != BALLOON_OK)
        abort();
}

void pool_world_end(struct pool_world *w)
{
    free(w->memory);
}

/* --- the naive ledger ------------------------------------------------------------------------- */

/* The most that a guest may have without anybody being told anything. */
static uint64_t may_have(const struct world_guest *g)
{
    uint64_t most = larger(g->reported, g->target);

    for (uint32_t i = 0; i < g->promise_count; i++)
        most = larger(most, g->promises[i]);
    return most;
}

/* A size from after the last news: older promises are void. */
static void hear(struct world_guest *g, uint64_t size, balloon_time_t when)
{
    g->reported = smaller(size, UINT64_C(1) << 40);
    if (g->told == g->target && when > g->told_at)
        g->promise_count = 0;
}

static void promise(struct world_guest *g, uint64_t target)
{
    /* When there is no room, only the largest matters. */
    if (g->promise_count == WORLD_PROMISES) {
        for (uint32_t i = 1; i < WORLD_PROMISES; i++)
            g->promises[0] = larger(g->promises[0], g->promises[i]);
        g->promise_count = 1;
    }
    g->promises[g->promise_count++] = g->target;
    g->target = target;
}

static uint64_t sum_committed(const struct pool_world *w)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < w->count; i++)
        sum += may_have(&w->guests[i]);
    return sum;
}

static uint64_t sum_plain(const struct pool_world *w)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < w->count; i++)
        sum += larger(w->guests[i].reported, w->guests[i].target);
    return sum;
}

static uint64_t budget(const struct pool_world *w)
{
    uint64_t less = w->reserve / 2 + w->reserved;

    return w->pages > less ? w->pages - less : 0;
}

/* --- guests ----------------------------------------------------------------------------------- */

static const char *check_memory(struct pool_world *w)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < w->count; i++)
        sum += w->guests[i].actual;
    if (w->kind == WORLD_HONEST && sum > w->pages - w->reserve / 2)
        BROKEN("I3: guests have %" PRIu64 " pages, the budget is %" PRIu64, sum,
               w->pages - w->reserve / 2);
    return NULL;
}

static void move(struct pool_world *w, struct world_guest *g)
{
    uint64_t gap = g->told > g->actual ? g->told - g->actual : g->actual - g->told;
    uint64_t step = prng_one_in(&w->prng, 2) ? gap : amount(&w->prng, gap);

    if (g->flags & BALLOON_GUEST_NO_DRIVER)
        return;
    if (w->kind == WORLD_WILD) {
        switch (g->ways % 6) {
        case 1: /* never */
            return;
        case 2: /* the wrong way */
            g->actual = g->told > g->actual ? g->actual - smaller(g->actual, step)
                                            : smaller(g->actual + step, 2 * g->max);
            return;
        case 3: /* anywhere */
            g->actual =
                prng_one_in(&w->prng, 50) ? prng_next(&w->prng) : amount(&w->prng, 2 * g->max);
            return;
        case 4: /* takes what it can */
            g->actual = g->max;
            return;
        default:
            break;
        }
    } else if (g->ways % 6 == 1) {
        step = smaller(step, 10);
    }
    if (g->told > g->actual)
        g->actual += step;
    else
        g->actual -= step;
}

static void say(struct pool_world *w, struct world_guest *g)
{
    balloon_time_t when = w->now;

    switch ((g->ways / 6) % 4) {
    case 0: /* nothing */
        return;
    case 1: /* lies */
        for (int i = 0; i < BALLOON_STAT_COUNT; i++)
            if (!prng_one_in(&w->prng, 3))
                balloon_sample_set(&g->sample, (balloon_stat)i,
                                   prng_next(&w->prng) >> prng_below(&w->prng, 64));
        if (prng_one_in(&w->prng, 8))
            when = prng_next(&w->prng);
        break;
    case 2: /* now and then, and late */
        if (!prng_one_in(&w->prng, 20))
            return;
        when -= smaller(when, 7 * SECOND);
        /* fall through */
    default: /* something likely */
        balloon_sample_set(&g->sample, BALLOON_STAT_AVAILABLE,
                           prng_below(&w->prng, g->actual + 1) << 12);
        balloon_sample_set(&g->sample, BALLOON_STAT_SWAP_OUT,
                           g->sample.value[BALLOON_STAT_SWAP_OUT] + prng_below(&w->prng, 1 << 24));
        balloon_sample_set(&g->sample, BALLOON_STAT_SWAP_IN,
                           g->sample.value[BALLOON_STAT_SWAP_IN] + prng_below(&w->prng, 1 << 24));
        balloon_sample_set(&g->sample, BALLOON_STAT_MAJOR_FAULTS,
                           g->sample.value[BALLOON_STAT_MAJOR_FAULTS] + prng_below(&w->prng, 999));
        if (prng_one_in(&w->prng, 40))
            memset(&g->sample, 0, sizeof(g->sample));
    }
    g->sample.time = when;
    if (balloon_pool_sample(w->pool, g->id, &g->sample, w->now) != BALLOON_OK)
        abort();
}

static const char *come(struct pool_world *w)
{
    balloon_pool_guest guest = {.size = sizeof(guest)};
    struct world_guest *g = &w->guests[w->count];
    uint64_t minimums = 0;
    balloon_status status, expected = BALLOON_OK;

    guest.max = 1 + amount(&w->prng, smaller(w->pages, (UINT64_C(1) << 40) - 1));
    guest.min = prng_one_in(&w->prng, 2) ? 0 : amount(&w->prng, guest.max) / 8;
    guest.current = guest.min + amount(&w->prng, guest.max - guest.min) / 4;
    guest.shares = (uint32_t)prng_below(&w->prng, 10001);
    guest.priority = (uint32_t)prng_below(&w->prng, 4);
    for (uint32_t i = 0; i < w->count; i++)
        minimums += w->guests[i].min;
    /* What needs nothing fits everywhere. */
    if ((guest.min && minimums + guest.min > w->pages - w->reserve) ||
        (guest.current && sum_committed(w) + guest.current > w->pages - w->reserve / 2))
        expected = BALLOON_ERR_NOSPACE;
    *g = (struct world_guest){0};
    status = balloon_pool_add(w->pool, &guest, w->now, &g->id);
    if (status != expected && (status != BALLOON_ERR_NOSPACE || w->count < WORLD_GUESTS)) {
        balloon_pool_status full;

        balloon_pool_status_get(w->pool, &full);
        /* It may hold less than WORLD_GUESTS. */
        if (status != BALLOON_ERR_NOSPACE || full.guests != w->count)
            BROKEN("a guest is answered %d, not %d", (int)status, (int)expected);
    }
    if (status != BALLOON_OK)
        return NULL;
    g->min = guest.min;
    g->max = guest.max;
    g->actual = g->told = g->target = g->reported = guest.current;
    g->ways = (uint32_t)prng_next(&w->prng);
    w->reserved -= smaller(w->reserved, guest.current);
    w->count++;
    return NULL;
}

static void go(struct pool_world *w, uint32_t at)
{
    if (balloon_pool_remove(w->pool, w->guests[at].id) != BALLOON_OK)
        abort();
    w->count--;
    memmove(&w->guests[at], &w->guests[at + 1], (w->count - at) * sizeof(w->guests[0]));
}

static void change_limits(struct pool_world *w, struct world_guest *g)
{
    balloon_pool_guest guest = {.size = sizeof(guest)};
    uint64_t target;

    guest.max = 1 + amount(&w->prng, smaller(w->pages, (UINT64_C(1) << 40) - 1));
    guest.min = prng_one_in(&w->prng, 2) ? 0 : amount(&w->prng, guest.max) / 8;
    if (balloon_pool_set_guest(w->pool, g->id, &guest) != BALLOON_OK)
        return;
    g->min = guest.min;
    g->max = guest.max;
    target = g->target < g->min ? g->min : smaller(g->target, g->max);
    if (target != g->target)
        promise(g, target);
}

static void change_flags(struct pool_world *w, struct world_guest *g)
{
    uint32_t flags = 0;

    if (prng_one_in(&w->prng, 3))
        flags |= (uint32_t)BALLOON_GUEST_NO_DRIVER;
    if (prng_one_in(&w->prng, 3))
        flags |= (uint32_t)BALLOON_GUEST_PINNED;
    if (balloon_pool_set_flags(w->pool, g->id, flags, w->now) != BALLOON_OK)
        abort();
    g->flags = flags;
}

/* --- the embedder ----------------------------------------------------------------------------- */

static void report(struct pool_world *w, struct world_guest *g, uint64_t size, balloon_time_t when)
{
    if (balloon_pool_set_size(w->pool, g->id, size, when) != BALLOON_OK)
        abort();
    hear(g, size, when);
}

static const char *happen(struct pool_world *w)
{
    const char *why = NULL;

    if (w->count < WORLD_GUESTS && prng_one_in(&w->prng, w->count < 4 ? 1 : 8))
        why = come(w);
    if (w->count && prng_one_in(&w->prng, 40))
        go(w, (uint32_t)prng_below(&w->prng, w->count));
    if (prng_one_in(&w->prng, 20)) {
        uint64_t pages = prng_one_in(&w->prng, 2) ? 0 : amount(&w->prng, w->pages / 2);

        if (balloon_pool_reserve(w->pool, pages) == BALLOON_OK)
            w->reserved = pages;
    }
    if (w->kind == WORLD_WILD && prng_one_in(&w->prng, 30)) {
        uint64_t pages = 1 + amount(&w->prng, smaller(2 * w->pages, (UINT64_C(1) << 40) - 1));

        if (balloon_pool_resize(w->pool, pages, 0) != BALLOON_OK)
            abort();
        w->pages = pages;
        w->reserve = pages / 16;
    }
    for (uint32_t i = 0; i < w->count; i++) {
        struct world_guest *g = &w->guests[i];

        if (prng_one_in(&w->prng, 50))
            change_flags(w, g);
        if (prng_one_in(&w->prng, 100))
            change_limits(w, g);
        if (prng_one_in(&w->prng, 100))
            g->ways = (uint32_t)prng_next(&w->prng);
        if (prng_one_in(&w->prng, 20) &&
            balloon_pool_set_active(w->pool, g->id, prng_next(&w->prng), w->now) != BALLOON_OK)
            abort();
        say(w, g);
        /* It moves on after it was measured, and a measure can be lost. */
        if (!prng_one_in(&w->prng, 8))
            report(w, g, g->actual, w->now);
        move(w, g);
    }
    return why;
}

static uint64_t naive_floor(uint64_t pages)
{
    uint64_t mib = pages / MIB, more = pages % MIB;

    if (mib < 128)
        return 8 * MIB + (mib * MIB + more) / 2;
    if (mib < 512)
        return 40 * MIB + (mib * MIB + more) / 4;
    if (mib < 2048)
        return 104 * MIB + (mib * MIB + more) / 8;
    if (mib < 8192)
        return 232 * MIB + (mib * MIB + more) / 16;
    return 488 * MIB + (mib * MIB + more) / 32;
}

static const char *check_guest(struct pool_world *w, const struct world_guest *g,
                               const balloon_pool_guest_status *is, balloon_host_state host)
{
    bool inactive = is->flags & BALLOON_GUEST_INACTIVE;

    if (is->target < g->min || is->target > g->max)
        BROKEN("I1: target %" PRIu64 " is outside of %" PRIu64 "..%" PRIu64, is->target, g->min,
               g->max);
    if (host == BALLOON_HOST_HIGH && is->flags & BALLOON_GUEST_STALE && is->target < g->target &&
        is->target < g->reported)
        BROKEN("I6: a silent guest is to shrink from %" PRIu64 " to %" PRIu64, g->target,
               is->target);
    if (is->flags & BALLOON_GUEST_NO_DRIVER &&
        is->target != larger(g->min, smaller(g->reported, g->max)))
        BROKEN("the target of a guest without driver is not its size");
    if (is->flags & (BALLOON_GUEST_PINNED | BALLOON_GUEST_BOOTING) &&
        !(is->flags & BALLOON_GUEST_NO_DRIVER) && !inactive && is->target < g->target)
        BROKEN("a pinned or booting guest is to shrink");
    if (is->flags & BALLOON_GUEST_PINNED && !inactive &&
        is->target > larger(g->target, g->reported))
        BROKEN("a pinned guest is to grow");
    if (is->config.current != g->reported)
        BROKEN("a size is wrong");
    return NULL;
}

static const char *check_short(struct pool_world *w, uint64_t expected, balloon_verdict verdict,
                               const balloon_pool_status *status)
{
    uint64_t pool = w->pages > w->reserved ? w->pages - w->reserved : 0, limit = budget(w);
    uint64_t missing;

    if (status->state == BALLOON_HOST_LOW) {
        uint64_t high = w->reserve * 96 / 100;

        limit = smaller(limit, pool > high ? pool - high : 0);
    }
    missing = expected > limit ? expected - limit : 0;
    if (missing != status->shortfall)
        BROKEN("%" PRIu64 " pages are missing, not %" PRIu64, missing, status->shortfall);
    if ((verdict == BALLOON_VERDICT_SHORT) != (missing > 0) || verdict != status->verdict)
        BROKEN("verdict %d with %" PRIu64 " pages missing", (int)verdict, missing);
    return NULL;
}

/* What must hold after a decision; also takes the targets over. */
static const char *judge(struct pool_world *w, balloon_verdict verdict, uint64_t before,
                         uint64_t plain_before)
{
    balloon_pool_status status;
    const char *why = NULL;
    uint64_t expected = 0, used = 0;

    balloon_pool_status_get(w->pool, &status);
    if (!balloon_pool_check(w->pool, &why))
        return why;
    for (uint32_t i = 0; i < w->count; i++) {
        struct world_guest *g = &w->guests[i];
        balloon_pool_guest_status is;
        bool movable;

        if (balloon_pool_guest_get(w->pool, g->id, &is) != BALLOON_OK)
            BROKEN("a guest is gone");
        why = check_guest(w, g, &is, status.state);
        if (why)
            return why;
        w->grown += is.target > g->target;
        w->shrunk += is.target < g->target;
        if (is.target != g->target)
            promise(g, is.target);
        movable = !(is.flags & (BALLOON_GUEST_NO_DRIVER | BALLOON_GUEST_PINNED |
                                BALLOON_GUEST_BOOTING | BALLOON_GUEST_INACTIVE));
        expected += movable ? is.target : larger(is.target, g->reported);
        used += g->reported;
        if (verdict == BALLOON_VERDICT_SHORT && movable &&
            !(status.state == BALLOON_HOST_HIGH && is.flags & BALLOON_GUEST_STALE) &&
            is.target > larger(g->min, smaller(g->reported, naive_floor(g->max))))
            BROKEN("memory is short, and a guest above its floor");
        w->digest = (w->digest ^ is.target ^ (uint64_t)is.flags << 48 ^ is.why) *
                    UINT64_C(0x9e3779b97f4a7c15);
    }
    if (sum_committed(w) > larger(before, budget(w)))
        BROKEN("I4: %" PRIu64 " pages are promised, after %" PRIu64 ", of %" PRIu64,
               sum_committed(w), before, budget(w));
    if (sum_plain(w) > larger(plain_before, budget(w)))
        BROKEN("I2: %" PRIu64 " pages, after %" PRIu64 ", of %" PRIu64, sum_plain(w), plain_before,
               budget(w));
    if (used != status.used || sum_committed(w) != status.committed)
        BROKEN("sums are %" PRIu64 " and %" PRIu64 ", not %" PRIu64 " and %" PRIu64, status.used,
               status.committed, used, sum_committed(w));
    w->shorts += verdict == BALLOON_VERDICT_SHORT;
    return check_short(w, expected, verdict, &status);
}

static struct world_guest *find(struct pool_world *w, uint64_t id)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->guests[i].id == id)
            return &w->guests[i];
    return NULL;
}

static const char *take_changes(struct pool_world *w)
{
    balloon_time_t decided = w->now;
    balloon_change change;
    bool growing = false, all = true;

    while (all && balloon_pool_next(w->pool, &change)) {
        struct world_guest *g = find(w, change.id);
        uint64_t measured;

        if (!g || change.target != g->target || change.target == g->told)
            BROKEN("a change is none");
        if (growing && change.target < g->told)
            BROKEN("a guest that shrinks is told after one that grows");
        if (change.emergency && change.target > g->told)
            BROKEN("a guest is to grow in a hurry");
        growing = change.target > g->told;
        w->emergencies += change.emergency;
        measured = g->actual;
        /* It had not heard of it while it moved a last time. */
        move(w, g);
        g->told = change.target;
        g->told_at = decided;
        if (prng_one_in(&w->prng, 4))
            report(w, g, measured, decided);
        all = !prng_one_in(&w->prng, 30);
    }
    if (!all)
        return NULL;
    for (uint32_t i = 0; i < w->count; i++)
        if (w->guests[i].told != w->guests[i].target)
            BROKEN("a guest was not told");
    return NULL;
}

const char *pool_world_tick(struct pool_world *w)
{
    const char *why;
    uint64_t before, plain;
    balloon_verdict verdict;

    w->now += prng_one_in(&w->prng, 10) ? prng_below(&w->prng, 40 * SECOND)
                                        : SECOND / 2 + prng_below(&w->prng, SECOND);
    why = happen(w);
    if (!why)
        why = check_memory(w);
    if (why)
        return why;
    before = sum_committed(w);
    plain = sum_plain(w);
    w->now += 1 + prng_below(&w->prng, 1000);
    verdict = balloon_pool_decide(w->pool, w->now);
    why = judge(w, verdict, before, plain);
    if (!why)
        why = take_changes(w);
    for (uint32_t i = 0; i < w->count; i++)
        move(w, &w->guests[i]);
    return why ? why : check_memory(w);
}
