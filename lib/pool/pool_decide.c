/* A decision: what the policy sees, what it may have of its wishes, what the caller is told. */
#include <string.h>

#include "pool_p.h"

/* A guest that grew because it waited for memory is marked for so long, and longer when that was
 * not enough: it needs it again soon after the mark is gone. */
#define HOLD       (20 * SECOND)
#define HOLD_MAX   (160 * SECOND)
#define HOLD_AGAIN (60 * SECOND)

/* The host must have been well above a mark for so long before its state is left. */
#define CALM (2 * SECOND)

/* --- host ------------------------------------------------------------------------------------- */

/* The marks, in hundredths of the reserve: below it a state begins, except for high, which is what
 * an emergency makes room for. With the default reserve, 6, 4, 2 and 1 % of the pool. */
static const uint32_t marks[4] = {
    [BALLOON_HOST_HIGH] = 96,
    [BALLOON_HOST_SOFT] = 64,
    [BALLOON_HOST_HARD] = 32,
    [BALLOON_HOST_LOW] = 16,
};

static uint64_t mark(const balloon_pool *p, int state)
{
    return bl_div(p->reserve * marks[state], 100);
}

static balloon_host_state state_for(const balloon_pool *p, uint64_t free, bool clearly)
{
    int state = BALLOON_HOST_LOW;

    while (state > BALLOON_HOST_HIGH) {
        uint64_t needed = mark(p, state);

        if (free < needed + (clearly ? needed / 4 : 0))
            break;
        state--;
    }
    return p->used > pool_pages(p) ? BALLOON_HOST_LOW : (balloon_host_state)state;
}

static void judge_host(balloon_pool *p)
{
    uint64_t free = bl_less(pool_pages(p), p->used);
    balloon_host_state worst = state_for(p, free, false), best = state_for(p, free, true);

    if (worst >= p->host || best >= p->host) {
        p->host = worst > p->host ? worst : p->host;
        p->calm = BALLOON_TIME_NEVER;
    } else if (p->calm == BALLOON_TIME_NEVER) {
        p->calm = p->now;
    } else if (p->now - p->calm >= CALM) {
        p->host = best;
        p->calm = BALLOON_TIME_NEVER;
    }
}

/* What targets may add up to. In an emergency nobody gets what is just being collected. */
static uint64_t targets_limit(const balloon_pool *p)
{
    if (p->host == BALLOON_HOST_LOW)
        return bl_min(pool_budget(p), bl_less(pool_pages(p), mark(p, BALLOON_HOST_HIGH)));
    return pool_budget(p);
}

/* --- the policy ------------------------------------------------------------------------------- */

/* All that is known of a guest, and until when that holds by itself. */
static void look_anew(balloon_pool *p, struct guest *g, balloon_guest_view *view)
{
    memset(view, 0, sizeof(*view));
    view->state = p->guest_states + (size_t)(g - p->guests) * p->state_stride;
    view->id = g->id;
    view->size = g->size;
    view->min = g->min;
    view->max = g->max;
    view->shares = g->shares;
    view->priority = g->priority;
    view->flags = bl_pool_flags(p, g, p->now);
    g->view_until = BALLOON_TIME_NEVER;
    if (view->flags & BALLOON_GUEST_BOOTING)
        g->view_until = g->boot_until;
    if (view->flags & BALLOON_GUEST_HELD)
        g->view_until = bl_min(g->view_until, g->held_until);
    bl_pool_view_seen(view, p, g, p->now);
}

static void look(balloon_pool *p, uint32_t position)
{
    struct guest *g = guest_at(p, position);
    balloon_guest_view *view = &p->views[position];

    bl_pool_watch(p, g);
    p->took |= g->taken != 0;
    g->emergency = 0;
    if (p->now >= g->view_until || view->id != g->id)
        look_anew(p, g, view);
    view->target = g->target;
    view->age = view->sample ? bl_less(p->now, g->seen.time) : BALLOON_TIME_NEVER;
    p->wishes[position] = (balloon_wish){.target = g->target, .why = BALLOON_WHY_HOLD};
}

static void ask_policy(balloon_pool *p)
{
    balloon_view view = {
        .size = sizeof(view),
        .now = p->now,
        .elapsed = p->elapsed,
        .pool = pool_pages(p),
        .reserve = bl_min(p->reserve, pool_pages(p)),
        .used = p->used,
        .free = bl_less(pool_pages(p), p->used),
        .state = p->host,
        .guests = p->views,
        .guest_count = p->count,
        .scratch = p->scratch,
    };

    p->policy->decide(p->state, &view, p->wishes);
}

/* --- what may be ------------------------------------------------------------------------------ */

/* Why nothing may be taken from a guest, or BALLOON_WHY_HOLD. */
static uint32_t guard(const balloon_pool *p, const struct guest *g, uint32_t flags)
{
    if (flags & BALLOON_GUEST_NO_DRIVER)
        return BALLOON_WHY_NO_DRIVER;
    if (flags & BALLOON_GUEST_PINNED)
        return BALLOON_WHY_PINNED;
    if (flags & BALLOON_GUEST_INACTIVE)
        return BALLOON_WHY_INACTIVE;
    if (flags & BALLOON_GUEST_BOOTING)
        return BALLOON_WHY_COOL_DOWN;
    if (flags & BALLOON_GUEST_STALE && p->host == BALLOON_HOST_HIGH)
        return BALLOON_WHY_STALE;
    if (g->live.barren)
        return BALLOON_WHY_OWED;
    return BALLOON_WHY_HOLD;
}

/* A guest that was reset has all of its RAM, and others may have paid for that. When its policy
 * leaves it so, it is asked for what it had before, as far as it does not use it. */
static uint64_t undo_reset(const balloon_pool *p, struct guest *g, const balloon_guest_view *view)
{
    uint64_t least;

    if (!g->before || !p->took || g->said & BALLOON_GUEST_NO_DRIVER ||
        !bl_says(view, BALLOON_KNOWS_AVAILABLE))
        return g->target;
    least = bl_max(g->before, bl_pool_need(view));
    g->before = 0;
    return bl_clamp(bl_min(g->target, least), g->min, g->max);
}

/* Bound a wish. Shrinking takes effect at once, which is always safe; growing has to wait for the
 * ledger. Wishes count from the target, not from the size: a guest on its way is not turned round
 * because it has not arrived. */
static void bound(balloon_pool *p, uint32_t position)
{
    struct guest *g = guest_at(p, position);
    balloon_wish *wish = &p->wishes[position];
    uint32_t flags = p->views[position].flags, reason = guard(p, g, flags);
    uint64_t target = bl_clamp(wish->target, g->min, g->max);

    g->why = wish->why <= BALLOON_WHY_OWED ? wish->why : BALLOON_WHY_HOLD;
    if (target != wish->target) {
        p->counters.clamped_limit++;
        g->why = BALLOON_WHY_LIMIT;
    }
    if (reason != BALLOON_WHY_HOLD && target != g->target &&
        (target < g->target ||
         flags & (BALLOON_GUEST_NO_DRIVER | BALLOON_GUEST_PINNED | BALLOON_GUEST_INACTIVE))) {
        p->counters.clamped_guard++;
        g->why = reason;
        target = g->target;
    }
    if (target == g->target && reason == BALLOON_WHY_HOLD) {
        target = undo_reset(p, g, &p->views[position]);
        g->why = target < g->target ? BALLOON_WHY_HOST_LOW : g->why;
    }
    wish->target = target;
    /* What the policy would have taken need not be given back. */
    g->taken = bl_less(g->taken, bl_less(g->target, target));
    if (target < g->target)
        bl_pool_put_target(p, g, target);
}

static void note_pressure(struct guest *g, balloon_time_t now)
{
    if (now >= g->held_until) {
        bool again = g->hold && now - g->held_until < HOLD_AGAIN;

        g->hold = again ? bl_min(2 * g->hold, HOLD_MAX) : HOLD;
    }
    g->view_until = 0;
    g->held_until = time_after(now, g->hold);
}

static void finish(balloon_pool *p, uint32_t position)
{
    struct guest *g = guest_at(p, position);
    const balloon_guest_view *view = &p->views[position];

    if (g->target > view->target && p->wishes[position].why == BALLOON_WHY_PRESSURE)
        note_pressure(g, p->now);
    if (p->host == BALLOON_HOST_LOW)
        g->emergency = 1;
    /* Nobody needs to hurry to grow. */
    if (g->target >= g->told)
        g->emergency = 0;
    if (g->target != g->told)
        pool_changed(p, position);
    g->hot = !(view->flags & (BALLOON_GUEST_NO_DRIVER | BALLOON_GUEST_INACTIVE)) &&
             (guest_moves(g) || (!(view->flags & BALLOON_GUEST_STALE) && guest_waits(g)));
    p->busy |= g->hot;
}

balloon_verdict balloon_pool_decide(balloon_pool *p, balloon_time_t now)
{
    struct tally tally = {0};
    uint64_t limit;
    bool emergency, all;

    now = bl_max(now, p->now);
    p->elapsed = p->decided ? now - p->now : 0;
    p->seconds = bl_div(now, SECOND) - bl_div(now - p->elapsed, SECOND);
    p->now = now;
    p->decided = true;
    p->counters.decisions++;

    judge_host(p);
    p->took = false;
    for (uint32_t i = 0; i < p->count; i++)
        look(p, i);
    ask_policy(p);
    for (uint32_t i = 0; i < p->count; i++) {
        bound(p, i);
        tally_add(&tally, p, i);
    }
    limit = targets_limit(p);
    emergency = bl_pool_emergency(p, limit, &tally);
    all = bl_pool_grant(p, limit, &tally);
    p->busy = !all || p->host >= BALLOON_HOST_HARD;
    p->event = false;
    memset(p->changed, 0, (p->count + 63) / 64 * sizeof(*p->changed));
    for (uint32_t i = 0; i < p->count; i++)
        finish(p, i);
    p->counters.emergencies += emergency || p->host == BALLOON_HOST_LOW;

    p->next = 0;
    p->next_growing = 0;
    p->verdict = p->shortfall        ? BALLOON_VERDICT_SHORT
                 : emergency || !all ? BALLOON_VERDICT_DEGRADED
                                     : BALLOON_VERDICT_OK;
    return p->verdict;
}

bool balloon_pool_next(balloon_pool *p, balloon_change *change)
{
    for (; p->next_growing < 2; p->next_growing++, p->next = 0) {
        while (p->next < p->count) {
            uint64_t left = p->changed[p->next / 64] >> p->next % 64;

            if (!(left & 1)) {
                p->next = (uint32_t)bl_min(p->next + (left ? 1 : 64 - p->next % 64), p->count);
                continue;
            }

            struct guest *g = guest_at(p, p->next++);

            if (p->next_growing ? g->target <= g->told : g->target >= g->told)
                continue;
            *change = (balloon_change){
                .id = g->id, .target = g->target, .why = g->why, .emergency = g->emergency};
            g->told = g->target;
            g->told_at = p->now;
            p->counters.changes++;
            return true;
        }
    }
    return false;
}
