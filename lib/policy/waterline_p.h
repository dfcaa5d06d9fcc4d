/* What the files of the policy waterline share. */
#ifndef BALLOON_POLICY_WATERLINE_P_H
#define BALLOON_POLICY_WATERLINE_P_H

#include "policy_p.h"

struct waterline {
    uint64_t level;
    uint64_t wanted, offered; /* pages that guests want beyond what the pool has, and could give */
    uint64_t density;         /* the greatest of those that wait for more */
    uint64_t worth;           /* changes of more pages are worth it in any guest */
    balloon_time_t next, hold;
    uint32_t tax, boost, boost_cap, threshold, dead_band, shrink;
    bool proactive, curves;
    bool due, news, urgent; /* a second has passed; somebody cannot wait for that; or could not */
};

struct waterline_guest {
    uint64_t demand;          /* pages that it is not taxed for */
    uint64_t slow;            /* average of its use, 8 bits behind the point; 0 when not known */
    uint64_t least;           /* what the last statistics said it needs */
    balloon_time_t hold_end;  /* not made smaller before */
    balloon_time_t hold_time; /* how long it was the last time */
    uint32_t price;           /* units of waiting, PRICE_ONE each */
    uint32_t stall;           /* average */
    uint64_t seen;            /* statistics that were looked at last */
    uint64_t soon;            /* and what they said it needs soon */
    uint32_t sample;          /* of waiting, that was looked at last, */
    bool news;                /* and whether it was a new one */
    bool urgent;              /* it needs more than it was asked to be, and soon */
    bool started;
};

static inline bool is_stalling(const struct waterline *s, const balloon_guest_view *g)
{
    return bl_says(g, BALLOON_KNOWS_STALL) && g->stall >= s->threshold;
}

/* What a guest should have available: small ones have some that no program can have, and large ones
 * do not need a part of all they have. */
static inline uint64_t margin(uint64_t size)
{
    return 16 * MIB + bl_min(size, 16 * GIB) / 32 + bl_less(size, 16 * GIB) / 128;
}

/* What a Linux guest keeps free by itself, short of memory or not: its high watermarks, where huge
 * pages have raised them (68 MiB, a 20th of small guests), and what programs cannot have. */
static inline uint64_t kept_free(uint64_t size)
{
    return 8 * MIB + bl_min(bl_div(size, 40) * 3, 102 * MIB);
}

/* What lies there free and could be used. */
static inline uint64_t idle_pages(const balloon_guest_view *g)
{
    return bl_less(g->free, kept_free(g->size));
}

/* With memory free, more would not help: what was dropped comes back by and by, and until then the
 * guest waits whatever it gets. */
static inline bool refills(const balloon_guest_view *g)
{
    uint64_t kept = bl_knows(g, BALLOON_KNOWS_ACTIVE) ? 0 : kept_free(g->size);

    return bl_says(g, BALLOON_KNOWS_FREE) && g->free > g->size / 32 + kept;
}

/* Once a second, and on new statistics: what a guest needs (waterline_demand.c). */
void bl_waterline_update_demand(const struct waterline *s, struct waterline_guest *w,
                                const balloon_guest_view *g, const balloon_view *view);
void bl_waterline_look(struct waterline *s, struct waterline_guest *w, const balloon_guest_view *g);

#endif
