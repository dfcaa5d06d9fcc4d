/* When to decide next, and what to ask before: often while somebody waits, once a second else. */
#include "pool_p.h"

#define CALM_BEAT SECOND
#define BUSY_BEAT (SECOND / 10)
#define SOONEST   (SECOND / 50)

/* One with less than this available is about to wait. */
static uint64_t little(uint64_t size)
{
    return bl_min(8 * MIB + size / 64, 256 * MIB);
}

bool bl_pool_waits(const struct guest *g)
{
    const struct seen *seen = &g->seen;

    if (g->target >= g->max || g->said & BALLOON_GUEST_NO_DRIVER)
        return false;
    if (seen->known & BALLOON_KNOWS_STALL && seen->stall >= BL_WAITING)
        return true;
    /* Not after the next calm second: it grows. */
    return seen->known & BALLOON_KNOWS_AVAILABLE &&
           seen->available <
               bl_max(little(g->size), bl_min(2 * bl_less(seen->growth, g->size / 32), g->size));
}

void bl_pool_set_beat(balloon_pool *p, bool all)
{
    p->busy = !all || p->host >= BALLOON_HOST_HARD;
    p->event = false;
    for (uint32_t i = 0; i < p->count; i++) {
        struct guest *g = guest_at(p, i);
        uint32_t flags = p->views[i].flags;
        int64_t away = guest_away(g);
        bool moves =
            g->target != g->told || away > (int64_t)SIZE_SLACK || away < -(int64_t)SIZE_SLACK;

        g->hot = false;
        if (flags & (BALLOON_GUEST_NO_DRIVER | BALLOON_GUEST_INACTIVE))
            continue;
        g->hot = moves || (!(flags & BALLOON_GUEST_STALE) && bl_pool_waits(g));
        p->busy |= g->hot;
    }
}

balloon_time_t balloon_pool_deadline(const balloon_pool *p)
{
    if (!p->decided)
        return 0;
    return time_after(p->now, p->event ? SOONEST : p->busy ? BUSY_BEAT : CALM_BEAT);
}

uint32_t balloon_pool_wants(const balloon_pool *p, uint64_t id, balloon_time_t now)
{
    const struct guest *g = bl_pool_guest(p, id);
    balloon_time_t beat;
    uint32_t wants = 0;

    if (!g)
        return 0;
    /* Answers take a while: what is a little younger was asked for at the last beat. */
    beat = g->hot ? BUSY_BEAT / 2 : CALM_BEAT / 4 * 3;
    if (bl_less(now, g->sized) >= beat)
        wants |= BALLOON_POOL_WANTS_SIZE;
    if (!(g->said & BALLOON_GUEST_NO_DRIVER) &&
        (!g->seen.count || bl_less(now, g->seen.time) >= beat))
        wants |= BALLOON_POOL_WANTS_SAMPLE;
    return wants;
}
