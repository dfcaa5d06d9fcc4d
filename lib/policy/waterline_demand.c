/* What a guest of the policy waterline needs. */
#include "waterline_p.h"

/* What the guest uses: what the host has measured, if it has. By what the guest says, memory that
 * it has swapped out counts, since swapping makes it look as if it needed less. Without available,
 * free and caches must do. */
static bool used_pages(const balloon_guest_view *g, uint64_t *used)
{
    uint64_t idle;

    if (bl_knows(g, BALLOON_KNOWS_ACTIVE)) {
        *used = bl_min(g->active, g->size);
        return true;
    }
    if (bl_says(g, BALLOON_KNOWS_AVAILABLE))
        idle = g->available;
    else if (bl_says(g, BALLOON_KNOWS_FREE))
        idle = bl_sat_add(g->free, g->caches);
    else
        return false;
    *used = bl_less(g->size, idle) + bl_min(g->swapped, g->size);
    return true;
}

/* What it will need until it is looked at again and memory has come: what it uses, what it has out
 * on swap, and what it is growing by. More when it waits with nothing left. */
static uint64_t needed_soon(const struct waterline *s, const balloon_guest_view *g)
{
    uint64_t need = g->size - bl_min(g->available, g->size) + bl_min(g->swapped, g->size);
    uint64_t growth = bl_less(g->growth, g->size / 32); /* less is noise */

    need = bl_sat_add(need, margin(g->size) + growth + growth / 2);
    if (is_stalling(s, g) && g->available < margin(g->size) && !refills(g))
        need = bl_max(need, bl_sat_add(g->size, bl_max(64 * MIB, g->size / 8)));
    return need;
}

/* On new statistics, without waiting for the next second: who grows, or has nothing left, needs
 * more; and what lies there free in large amounts is not needed. Where the host measures what the
 * guest uses, it knows better than the guest. */
void bl_waterline_look(struct waterline *s, struct waterline_guest *w, const balloon_guest_view *g)
{
    uint64_t need, rise;
    bool waits;

    if (!bl_movable(g) || !bl_says(g, BALLOON_KNOWS_AVAILABLE) ||
        bl_knows(g, BALLOON_KNOWS_ACTIVE)) {
        w->urgent = false;
        return;
    }
    if (g->sample == w->seen)
        return;
    w->seen = g->sample;
    need = bl_clamp(needed_soon(s, g), g->min, g->max);
    rise = bl_less(need, w->soon);
    w->soon = need;
    /* What was in use before can be cold. */
    if (!is_stalling(s, g) &&
        bl_says(g, (uint32_t)BALLOON_KNOWS_STALL | (uint32_t)BALLOON_KNOWS_SWAP))
        need = bl_min(need, w->demand + rise);
    if (need > w->demand)
        w->demand = need;
    else if (bl_says(g, BALLOON_KNOWS_FREE) && !is_stalling(s, g) && idle_pages(g) > g->size / 4)
        w->demand = bl_max(need, bl_min(w->demand, g->size - idle_pages(g)));
    waits = is_stalling(s, g) && !refills(g);
    w->urgent = waits || bl_less(w->demand, g->target) >= margin(g->size) / 4;
    s->news |= w->urgent;
}

/* A guest that waits again soon after it was spared was spared too short a time. */
static void start_hold(const struct waterline *s, struct waterline_guest *w, balloon_time_t now)
{
    if (now >= w->hold_end || w->hold_time == 0) {
        if (w->hold_time != 0 && now - w->hold_end <= 60 * SECOND)
            w->hold_time = bl_min(bl_sat_mul(w->hold_time, 2), bl_sat_mul(s->hold, 8));
        else
            w->hold_time = s->hold;
    }
    w->hold_end = bl_sat_add(now, w->hold_time);
}

/* Up to an eighth more, all of it when a guest waits ten times as long as is fine. */
static uint64_t raised(const struct waterline *s, uint64_t demand, uint32_t stall)
{
    uint64_t part = bl_sqrt(bl_min(bl_div((uint64_t)stall << 16, s->threshold * UINT64_C(10)),
                                   UINT64_C(1) << 16)); /* of 256 */

    return demand * (256 + (32 * part >> 8)) >> 8;
}

/* Down a little, less the closer a guest is to waiting. */
static uint64_t probed(const struct waterline *s, uint64_t demand, uint32_t stall, uint32_t part)
{
    return demand - bl_mul_div(bl_div(demand, part), s->threshold - stall, s->threshold);
}

/* What a guest uses is a lower bound. But where the guest says it, memory can be in use and cold:
 * where waiting is measured and the guest can swap, demand may fall below it, half as fast as
 * through the cache, since to be wrong costs more there. What comes into use is not cold. */
static uint64_t least_demand(const struct waterline *s, struct waterline_guest *w,
                             const balloon_guest_view *g, uint64_t before, uint64_t least)
{
    uint64_t reached = bl_min(before + bl_less(least, w->least), least);

    if (least != 0) /* it is known */
        w->least = least;
    if (bl_knows(g, BALLOON_KNOWS_ACTIVE) || !bl_says(g, BALLOON_KNOWS_STALL) ||
        !bl_says(g, BALLOON_KNOWS_SWAP))
        return least;
    return is_stalling(s, g) ? reached : probed(s, reached, g->stall, 512);
}

/* Nobody can tell what a guest's cache is worth to it. So demand is let fall slowly until the guest
 * begins to wait, and then raised, once for each measurement and only when the guest already has
 * what it was thought to need. */
void bl_waterline_update_demand(const struct waterline *s, struct waterline_guest *w,
                                const balloon_guest_view *g, const balloon_view *view)
{
    uint64_t used, least = 0, before;
    bool known = used_pages(g, &used);

    w->news = bl_measured(&w->sample, g);
    if (!w->started) {
        w->demand = g->size;
        w->hold_end = bl_sat_add(view->now, s->hold); /* until it can tell that it waits */
    }
    w->started = true;
    before = w->demand;
    if (known) {
        uint64_t need;

        w->slow = w->slow == 0 ? used << 8 : bl_average(w->slow, used, 32);
        need = bl_max(used, w->slow >> 8);
        least = need +
                (bl_knows(g, BALLOON_KNOWS_ACTIVE) ? bl_max(64 * MIB, need / 16) : margin(g->size));
    }

    if (g->flags & (uint32_t)BALLOON_GUEST_STALE) {
        if (view->state == BALLOON_HOST_HIGH)
            w->demand = bl_max(w->demand, g->size);
    } else if (is_stalling(s, g)) {
        /* A little, once, is chance. */
        if (w->news && !refills(g) && g->size >= bl_div(w->demand, 100) * 98 &&
            w->stall + g->stall >= 2 * s->threshold) {
            w->demand = raised(s, bl_max(w->demand, g->size), g->stall);
            start_hold(s, w, view->now);
        }
    } else if (!bl_knows(g, BALLOON_KNOWS_STALL)) {
        /* Probing needs an answer. Without one, what the guest says has to do. */
        w->demand -= bl_less(w->demand, least) / 32;
    } else if (view->now >= w->hold_end) {
        w->demand = probed(s, w->demand, g->stall, 256);
        /* What lies there free for a while is not needed. */
        if (bl_says(g, BALLOON_KNOWS_FREE))
            w->demand -= bl_less(w->demand, g->size - bl_less(g->free, g->size / 16)) / 16;
    }
    w->demand = bl_max(w->demand, least_demand(s, w, g, before, least));
    w->demand = bl_clamp(w->demand, g->min, g->max);
}
