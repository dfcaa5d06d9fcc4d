/* When to decide next, and what to ask before: often while somebody waits, once a second else. */
#include "pool_p.h"

#define CALM_BEAT SECOND
#define BUSY_BEAT (SECOND / 10)
#define SOONEST   (SECOND / 50)

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
