/* Inside the pool. */
#ifndef BALLOON_POOL_POOL_P_H
#define BALLOON_POOL_POOL_P_H

#include <stdalign.h>

#include <balloon/pool.h>

#include "../policy/policy_p.h"

#define PAGES_MAX  (UINT64_C(1) << 40)
#define GUESTS_MAX 100000u

/* A guest this close to its target has reached it: drivers round, and so does the device. */
#define SIZE_SLACK UINT64_C(256)

/* Counters of a guest of which the last value is kept. */
enum counter {
    COUNTER_SWAP_IN,
    COUNTER_SWAP_OUT,
    COUNTER_MAJOR_FAULTS,
    COUNTER_MINOR_FAULTS,
    COUNTER_OOM_KILL,
    COUNTER_ALLOC_STALL,
    COUNTER_DIRECT_SCAN,
    COUNTER_STALL_SOME,
    COUNTERS
};

/* What was learnt from a guest's statistics. Values are claims, bounded by its RAM. */
struct seen {
    uint64_t count;       /* statistics taken; nothing else counts while it is 0 */
    balloon_time_t time;  /* of the newest, not in the future; */
    balloon_time_t given; /* as it said */
    uint32_t known;       /* BALLOON_KNOWS_* */
    uint32_t stall;       /* of about the last second, as the next two */
    uint64_t swapped_in;  /* pages */
    uint64_t waited;      /* microseconds */
    uint32_t stall_sample;
    uint32_t counters; /* a bit a counter: there is a last value */
    uint64_t available, free, caches, committed, swapped;
    uint64_t growth;      /* of what it uses, pages a second */
    uint64_t used[2];     /* by its size and by what it says is its total; 0 is unknown */
    uint64_t size;        /* how large it was then */
    balloon_time_t roomy; /* since when much has been free; NEVER when it is not */
    uint64_t last[COUNTERS];
};

enum way { WAY_STILL, WAY_DOWN, WAY_UP };

/* Does it follow? */
struct live {
    enum way way; /* where it should be going */
    bool inactive;
    bool barren;                     /* what it gives does not come back: until retry_owed */
    uint64_t best;                   /* the size that counted as its last step, */
    balloon_time_t since;            /* made then */
    int64_t apart;                   /* it rests at its target and so much more */
    uint64_t relief;                 /* pages to give back, since it could not give any */
    uint64_t rest_size, rest_target; /* where it last rested */
    balloon_time_t delay, retry_at;
    balloon_time_t owed_since; /* when it last owed less: */
    uint64_t owed;             /* that */
    balloon_time_t retry_owed, owed_delay;
    uint64_t relieved; /* how large it was at its last relief; 0 when there was none */
    uint64_t stuck;    /* the last seconds, one bit each */
};

/* What each decision reads and writes comes first, what only news change comes last. */
struct guest {
    uint64_t id; /* 0 is free, and next_free is valid */
    uint64_t size;
    uint64_t target;
    uint64_t promised; /* largest target that the guest may still act on */
    uint64_t told;     /* target of the last change that was taken */
    uint64_t min, max;
    uint64_t owed; /* given, and not yet the host's */

    uint64_t taken; /* by the pool, against the policy's wish, and not yet given back */
    uint32_t said;  /* flags that the embedder set */
    uint32_t why, emergency;
    bool hot;   /* it waits or is changing: what it says is wanted often */
    bool needy; /* its last statistics show that it waits for memory, or is about to */
    balloon_time_t boot_until;
    balloon_time_t held_until; /* it grew under pressure: until when that counts, */
    uint64_t before; /* its target when its driver went; 0 when that does not matter any more */
    balloon_time_t view_until; /* what the policy saw last is true before, if nothing comes */
    struct live live;
    struct seen seen;

    balloon_time_t hold;    /* for how long it counts */
    balloon_time_t sized;   /* when it had its size */
    balloon_time_t told_at; /* the time of the decision that told was from */
    balloon_time_t took;    /* when it last took back memory unasked */
    balloon_time_t next_grace;
    uint64_t active;
    balloon_time_t active_until;
    uint32_t curve_count;
    uint32_t shares, priority;
    uint32_t next_free;
};

/* An entry of a sort: by rising major, then minor. Of equals the first stays first. */
struct rank {
    uint64_t major, minor;
    uint32_t at;
};

struct balloon_pool {
    const balloon_policy *policy;
    void *state;
    uint32_t max_guests, count, first_free;
    uint64_t last_id;
    uint64_t pages, reserve, reserved;
    balloon_time_t stale_after, boot_grace, inactive_after, retry_after;

    struct guest *guests;        /* by slot */
    balloon_curve_point *curves; /* BALLOON_CURVE_POINTS_MAX a slot */
    unsigned char *guest_states; /* state_stride bytes a slot */
    size_t state_stride;
    uint64_t *ids;             /* by rising id: the id, */
    uint32_t *slots;           /* and where the guest is */
    balloon_guest_view *views; /* in the same order */
    balloon_wish *wishes;
    struct rank *ranks, *spare_ranks;
    uint64_t *scratch;
    uint64_t *changed; /* a bit a position: it may have a target that was not told */

    uint64_t used, owed, committed, minimums; /* sums over all guests */
    balloon_host_state host;
    balloon_time_t calm; /* since when the host could have left its state; NEVER if it could not */
    balloon_verdict verdict;
    uint64_t shortfall;
    bool decided;
    bool took;  /* from some guest, and did not give it back yet */
    bool busy;  /* after the last decision somebody waited, or memory was on its way */
    bool event; /* since then something came in that should not wait */
    balloon_time_t now, elapsed; /* of the last decision */
    uint64_t seconds;            /* whole ones that began since the one before */
    uint32_t next, next_growing; /* where balloon_pool_next() goes on, and in which round */
    balloon_pool_counters counters;
};

static inline balloon_time_t time_after(balloon_time_t now, balloon_time_t span)
{
    return now > BALLOON_TIME_NEVER - span ? BALLOON_TIME_NEVER : now + span;
}

static inline struct guest *guest_at(const balloon_pool *p, uint32_t position)
{
    return p->guests + p->slots[position];
}

/* What a size or target costs the host beside what is owed. Of a guest of which nothing comes back
 * both together are no more than its RAM: to give back to it what it owes costs nothing. */
static inline uint64_t guest_cost(const struct guest *g, uint64_t pages)
{
    uint64_t ram = bl_max(bl_max(g->max, g->promised), g->size + g->owed);

    return g->live.barren ? bl_min(pages, ram - g->owed) : pages;
}

static inline uint64_t guest_committed(const struct guest *g)
{
    return guest_cost(g, bl_max(g->size, g->promised));
}

/* How far it is from where it should be: above, or below 0. */
static inline int64_t guest_away(const struct guest *g)
{
    return (int64_t)g->size - (int64_t)g->target - g->live.apart;
}

/* What is there for guests: without what is set aside for those to come, and without what guests
 * have given that did not come back. It is still in use, and nobody's. */
static inline uint64_t pool_pages(const balloon_pool *p)
{
    return bl_less(p->pages, p->reserved + p->owed);
}

static inline uint64_t pool_budget(const balloon_pool *p)
{
    return bl_less(pool_pages(p), p->reserve / 2);
}

/* Its target may be another now. */
static inline void pool_changed(balloon_pool *p, uint32_t position)
{
    p->changed[position / 64] |= UINT64_C(1) << position % 64;
}

/* NULL when there is none. */
struct guest *bl_pool_guest(const balloon_pool *p, uint64_t id);

/* Give a guest a size or target and keep the sums. */
void bl_pool_put_size(balloon_pool *p, struct guest *g, uint64_t size);
void bl_pool_put_target(balloon_pool *p, struct guest *g, uint64_t target);

/* BALLOON_GUEST_* at a time. */
uint32_t bl_pool_flags(const balloon_pool *p, const struct guest *g, balloon_time_t now);

/* Fill in what a guest's statistics say, and bound the time for which that holds. */
void bl_pool_view_seen(balloon_guest_view *view, const balloon_pool *p, struct guest *g,
                       balloon_time_t now);

/* Does the guest follow? Stops it where it must not go on. */
void bl_pool_watch(balloon_pool *p, struct guest *g);
bool bl_pool_flagged(const struct guest *g);

/* May the pool ask this guest for anything? */
static inline bool guest_is_movable(uint32_t flags)
{
    return !(flags & (BALLOON_GUEST_NO_DRIVER | BALLOON_GUEST_PINNED | BALLOON_GUEST_BOOTING |
                      BALLOON_GUEST_INACTIVE));
}

/* Sort in time N log N; spare has as much room. */
void bl_pool_sort(struct rank *ranks, struct rank *spare, uint32_t count);

/* Sums over all guests once wishes are bounded. */
struct tally {
    uint64_t expected; /* what they will have when all follow */
    uint64_t plain;    /* the larger of sizes and targets */
    uint64_t taken;
    uint32_t takers; /* want more: so many entries of p->ranks */
    bool back;       /* some have to get something back */
};

static inline void tally_add(struct tally *t, balloon_pool *p, uint32_t position)
{
    const struct guest *g = guest_at(p, position);
    const balloon_wish *wish = &p->wishes[position];
    uint64_t plain = guest_cost(g, bl_max(g->size, g->target));

    t->plain += plain;
    t->expected += guest_is_movable(p->views[position].flags) ? guest_cost(g, g->target) : plain;
    t->taken += g->taken;
    t->back |= g->live.relief != 0 || g->live.barren;
    /* The most urgent first, then the most important. */
    if (wish->target > g->target)
        p->ranks[t->takers++] = (struct rank){
            (uint64_t)~wish->urgency << 32 | (uint32_t)~p->views[position].priority, 0, position};
}

/* When the targets do not fit into limit: take promises back, then memory, whatever the policy
 * wished. Returns whether that was necessary, and then counts again; sets the shortfall. */
bool bl_pool_emergency(balloon_pool *p, uint64_t limit, struct tally *tally);

/* Let guests grow to their wishes, as far as limit allows. Returns whether all could. */
bool bl_pool_grant(balloon_pool *p, uint64_t limit, const struct tally *tally);

/* A guest with less than this available is about to wait. */
static inline uint64_t little(uint64_t size)
{
    return bl_min(8 * MIB + size / 64, 256 * MIB);
}

/* After its size or statistics have changed. */
static inline void guest_set_needy(struct guest *g)
{
    const struct seen *seen = &g->seen;
    bool stalls = seen->known & BALLOON_KNOWS_STALL && seen->stall >= BL_WAITING;

    /* Not after the next calm second: it grows. */
    g->needy = stalls ||
               (seen->known & BALLOON_KNOWS_AVAILABLE &&
                seen->available < bl_max(little(g->size),
                                         bl_min(2 * bl_less(seen->growth, g->size / 32), g->size)));
}

/* Does a guest wait for memory that it may have? */
static inline bool guest_waits(const struct guest *g)
{
    return g->needy && g->target < g->max && !(g->said & BALLOON_GUEST_NO_DRIVER);
}

/* Is it on its way, or will it be when it hears its target? */
static inline bool guest_moves(const struct guest *g)
{
    int64_t away = guest_away(g);

    return g->target != g->told || away > (int64_t)SIZE_SLACK || away < -(int64_t)SIZE_SLACK;
}

/* What a guest uses, or most of what it has where that is not known. */
uint64_t bl_pool_need(const balloon_guest_view *view);

#endif
