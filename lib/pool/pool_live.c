/* Does a guest follow? One that does not is left in peace for a while: what is asked of it in vain
 * keeps its driver busy and others waiting. */
#include "pool_p.h"

/* What a guest must move in a second when the host is in need: 15 MiB. */
#define RATE_IN_NEED UINT64_C(3840)

/* Given back to a guest that could not give anything: 128 MiB. Only after it has given as much can
 * it have that again, and not when it never follows: to refuse must not pay. */
#define RELIEF UINT64_C(32768)

/* A guest is tried again after growing delays, up to so many times the first. */
#define DELAY_GROWTH 16

/* To have moved as far as its target says something only of a way of 64 MiB or more. */
#define LONG_WAY (64 * MIB)

#define STUCK_SECONDS 60
#define STUCK_FLAGGED 20

/* Ask for what there is. Neither way does that cost the ledger anything. */
static void stop(balloon_pool *p, struct guest *g)
{
    uint64_t above = g->live.apart > 0 ? (uint64_t)g->live.apart : 0;
    uint64_t there = bl_less(g->size, above);

    bl_pool_put_target(p, g, bl_clamp(bl_max(there, bl_min(g->target, g->size)), g->min, g->max));
}

/* Take no more from it. What was promised to it stays promised. */
static void stop_shrinking(balloon_pool *p, struct guest *g)
{
    bl_pool_put_target(p, g, bl_max(g->target, bl_min(g->size, g->max)));
}

static enum way way_to_go(const struct guest *g)
{
    int64_t away = guest_away(g);

    if (away > (int64_t)SIZE_SLACK)
        return WAY_DOWN;
    return away < -(int64_t)SIZE_SLACK ? WAY_UP : WAY_STILL;
}

/* From here on it counts whether it moves, and which way. */
static void start(struct guest *g, enum way way, balloon_time_t now)
{
    g->live.way = way;
    g->live.best = g->size;
    g->live.since = now;
}

static balloon_time_t next_delay(const balloon_pool *p, balloon_time_t delay)
{
    if (!delay)
        return p->retry_after;
    return bl_min(bl_sat_mul(delay, 2), bl_sat_mul(p->retry_after, DELAY_GROWTH));
}

static void give_up(balloon_pool *p, struct guest *g)
{
    struct live *l = &g->live;

    l->inactive = true;
    l->delay = next_delay(p, l->delay);
    l->retry_at = time_after(p->now, l->delay);
    l->relief = 0;
    if (l->way == WAY_DOWN && !bl_pool_flagged(g) &&
        (!l->relieved || g->size <= bl_less(l->relieved, RELIEF))) {
        l->relief = RELIEF;
        l->relieved = g->size;
    }
    p->counters.inactive++;
    stop(p, g);
}

/* Pages moved, the right way if there is one. Back from the wrong way is none. */
static uint64_t progress(const struct guest *g, enum way way)
{
    uint64_t down = bl_less(g->live.best, g->size), up = bl_less(g->size, g->live.best);

    return way == WAY_DOWN ? down : way == WAY_UP ? up : down + up;
}

/* It stands still, away from its target. Some guests obey at a distance: what they count is not
 * what is counted here. They moved as far as their target did, or keep a little less than they may.
 */
static bool obeys_at_a_distance(const struct guest *g)
{
    const struct live *l = &g->live;
    int64_t moved = (int64_t)g->size - (int64_t)l->rest_size;
    int64_t asked = (int64_t)g->target - (int64_t)l->rest_target;
    int64_t away = (int64_t)g->size - (int64_t)g->target;

    if (asked < 0) {
        moved = -moved;
        asked = -asked;
    }
    /* Smaller than it may be is its own affair. */
    if (away < 0 && -away <= (int64_t)bl_max(g->max / 64, 2 * SIZE_SLACK))
        return true;
    return asked >= (int64_t)LONG_WAY && moved >= asked - asked / 8;
}

static void rest(struct guest *g)
{
    g->live.rest_size = g->size;
    g->live.rest_target = g->target;
}

static void set_barren(balloon_pool *p, struct guest *g, bool barren)
{
    p->committed -= guest_committed(g);
    g->live.barren = barren;
    p->committed += guest_committed(g);
}

/* Does what it gives come back? While most of its balloon is owed, and does not become less, to ask
 * for more is only to its harm. */
static void watch_owed(balloon_pool *p, struct guest *g)
{
    struct live *l = &g->live;
    uint64_t balloon = bl_less(g->max, g->size);

    if (g->owed < bl_max(4 * SIZE_SLACK, balloon / 2)) {
        if (balloon >= LONG_WAY)
            l->owed_delay = 0;
        l->owed_since = BALLOON_TIME_NEVER;
    } else if (l->owed_since == BALLOON_TIME_NEVER || g->owed < l->owed) {
        l->owed_since = p->now;
        l->owed = g->owed;
    } else if (!l->barren && p->now - l->owed_since >= p->inactive_after) {
        set_barren(p, g, true);
        l->owed_delay = next_delay(p, l->owed_delay);
        l->retry_owed = time_after(p->now, l->owed_delay);
        stop_shrinking(p, g);
    }
    if (l->barren && p->now >= l->retry_owed)
        set_barren(p, g, false);
}

/* Returns whether the guest has stood still for more than a second. */
static bool follow(balloon_pool *p, struct guest *g)
{
    struct live *l = &g->live;
    enum way way = way_to_go(g);
    balloon_time_t lasted = bl_less(p->now, l->since);
    bool in_need = p->host >= BALLOON_HOST_HARD;
    uint64_t needed = SIZE_SLACK;

    if (progress(g, l->way == WAY_STILL ? way : l->way) >= needed)
        l->delay = 0;
    /* A new target in the same direction is no fresh start, or a policy that moves it a little with
     * each decision would never find out. */
    if (way == WAY_STILL)
        rest(g);
    if (way == WAY_STILL || (l->way != WAY_STILL && way != l->way)) {
        start(g, way, p->now);
        return false;
    }
    l->way = way;
    if (in_need)
        needed = bl_max(needed, bl_mul_div(RATE_IN_NEED, lasted, SECOND));
    if (progress(g, way) >= needed) {
        if (!in_need || lasted >= p->inactive_after)
            start(g, way, p->now);
        return false;
    }
    if (lasted >= p->inactive_after && obeys_at_a_distance(g)) {
        l->apart = (int64_t)g->size - (int64_t)g->target;
        rest(g);
        start(g, WAY_STILL, p->now);
        return false;
    }
    if (lasted >= p->inactive_after)
        give_up(p, g);
    return lasted > SECOND;
}

static void remember(struct live *l, uint64_t seconds, bool stuck)
{
    if (seconds >= STUCK_SECONDS) {
        l->stuck = stuck ? UINT64_MAX : 0;
    } else {
        l->stuck <<= seconds;
        if (stuck)
            l->stuck |= (UINT64_C(1) << seconds) - 1;
    }
}

bool bl_pool_flagged(const struct guest *g)
{
    uint64_t bits = g->live.stuck & ((UINT64_C(1) << STUCK_SECONDS) - 1);
    int count = 0;

    for (; bits; bits &= bits - 1)
        count++;
    return count >= STUCK_FLAGGED;
}

void bl_pool_watch(balloon_pool *p, struct guest *g)
{
    struct live *l = &g->live;
    bool stuck = false, was_inactive = l->inactive;

    if (g->said & BALLOON_GUEST_NO_DRIVER) {
        /* The next driver is a new life, and starts with what there is. */
        l->inactive = false;
        l->delay = 0;
        l->relieved = 0;
        l->apart = 0;
        start(g, WAY_STILL, p->now);
        stop(p, g);
        rest(g);
    } else if (l->inactive) {
        stuck = true;
        if (p->now >= l->retry_at) {
            l->inactive = false;
            start(g, WAY_STILL, p->now);
        } else {
            stop_shrinking(p, g);
        }
    } else if (g->said & BALLOON_GUEST_PINNED || p->now < g->boot_until) {
        start(g, WAY_STILL, p->now);
        stop_shrinking(p, g);
    } else {
        stuck = follow(p, g);
    }
    watch_owed(p, g);
    remember(l, p->seconds, stuck);
    if (l->inactive != was_inactive)
        g->view_until = 0;
}
